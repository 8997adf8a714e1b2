"""
Clients of the authorization server for calls of ours: who they are, and how each proves it.

Knows nothing of guardrail: what it signs and encodes, it does on its own.
"""

import base64
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus

import jwt
from jwt.algorithms import get_default_algorithms

LIFETIME: Final = 60  # seconds of an assertion
JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class OutboundClient:
    """
    A registered client and what it authenticates with.

    Attributes:
        auth_method: Its one method (RFC 7591 §2).
        secret: Its secret, or ``None``.
        key: Its private JWK, or ``None``.
    """

    client_id: str
    auth_method: str
    secret: str | None = field(repr=False)
    key: Mapping[str, Any] | None = field(repr=False)

    @property
    def name(self) -> str:
        """
        What tests call it: the first word of its identifier.
        """
        return self.client_id.split(" ")[0]

    def headers(self) -> dict[str, str]:
        """
        The header it authenticates with, if it does so in the header (RFC 6749 §2.3.1).
        """
        if self.auth_method != "client_secret_basic":
            return {}
        credentials = f"{quote_plus(self.client_id)}:{quote_plus(self.secret or '')}"
        return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}

    def form(self, issuer: str) -> dict[str, str]:
        """
        The parameters it authenticates with, if it does so in the body.
        """
        if self.auth_method == "client_secret_basic":
            return {}
        if self.key is not None:
            return {"client_assertion_type": JWT_BEARER, "client_assertion": self.assertion(issuer)}
        return {"client_id": self.client_id} | ({} if self.secret is None else {"client_secret": self.secret})

    def assertion(self, issuer: str) -> str:
        """
        Sign an assertion for *issuer* (RFC 7523 §3).
        """
        assert self.key is not None
        now = int(time.time())
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": issuer,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + LIFETIME,
        }
        # RFC 9864: a key that names "Ed25519" signs under that name; the implementation is that of "EdDSA".
        implementation = self.key["alg"].replace("Ed25519", "EdDSA")
        header = {"alg": self.key["alg"], "kid": self.key["kid"], "typ": "client-authentication+jwt"}
        signing_input = b".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
        key = jwt.PyJWK({**self.key, "alg": implementation}).key
        signature = get_default_algorithms()[implementation].sign(signing_input, key)
        return b".".join((signing_input, _encode(signature))).decode()

    def profile_arguments(self) -> dict[str, Any]:
        """
        What `guardrail.client.AuthenticationProfile` is told of it.
        """
        given = {
            "client_id": self.client_id,
            "auth_method": self.auth_method,
            "client_secret": self.secret,
            "client_assertion_key": self.key,
        }
        return {name: value for name, value in given.items() if value is not None}


def _encode(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
