"""
A person with a browser, as an authorization server sees one: a cookie jar, redirects taken one at a time, and
the proof that who redeems a code is who asked for it.
"""

import base64
import hashlib
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import httpx

REDIRECT_URI = "http://127.0.0.1/callback"  # nobody listens there: the answer's Location says it all
TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """
    One authorization code request with PKCE (RFC 6749 §4.1, RFC 7636).
    """

    client_id: str
    scope: str
    resource: str
    code_verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def parameters(self) -> dict[str, str]:
        """
        Name what the authorization endpoint is asked with.
        """
        challenge = hashlib.sha256(self.code_verifier.encode("ascii")).digest()
        return {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT_URI,
            "scope": self.scope,
            "resource": self.resource,
            "nonce": secrets.token_urlsafe(16),
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode("ascii"),
            "code_challenge_method": "S256",
        }

    def redemption(self, location: str) -> dict[str, str]:
        """
        Name what the token endpoint is asked with, given where the browser was sent.

        Raises:
            RuntimeError: It was sent elsewhere, or without a code.
        """
        code = parse_qs(urlsplit(location).query).get("code")
        if not location.startswith(REDIRECT_URI) or code is None:
            raise RuntimeError(f"no code came with {location}")
        return {
            "grant_type": "authorization_code",
            "code": code[0],
            "redirect_uri": REDIRECT_URI,
            "resource": self.resource,
            "code_verifier": self.code_verifier,
        }


@contextmanager
def visit(base_url: str) -> Iterator[httpx.Client]:
    """
    Go to *base_url* with an empty cookie jar. Follows no redirect by itself.
    """
    # All here is plain HTTP; without certificate authorities to load, a client costs next to nothing.
    no_authorities = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with httpx.Client(base_url=base_url, trust_env=False, timeout=TIMEOUT, verify=no_authorities) as client:
        yield client
