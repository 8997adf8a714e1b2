"""
`FakeIssuer`: an authorization server without sockets, with real keys and real signatures.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx

from .. import Issuer
from .._discovery import metadata_urls
from ..issuer import SigningKeys

DEFAULT_URL: Final = "https://login.example.com"
DEFAULT_AUDIENCE: Final = "https://api.example.com/orders"
DEFAULT_LIFETIME: Final = 600.0  # seconds


class FakeIssuer:
    """
    An issuer for tests: guardrail discovers it, fetches its keys and verifies its tokens, all in process.

    Use `issuer` in a `guardrail.ServicePackage`, and `token` for what a client would send::

        fake = FakeIssuer()
        orders = ServicePackage("orders", issuer=fake.issuer, audience=fake.audience)
        headers = {"Authorization": f"Bearer {fake.token(scope='orders:read')}"}

    A package that names the same URL as a string reaches it too, with
    ``GuardrailMiddleware(http_client=fake.http_client)``.

    Args:
        url: The issuer identifier.
        audience: The *aud* of its tokens, unless a token says otherwise.
        algorithm: What it signs with: ``RS256``, ``PS256``, ``ES256`` or ``EdDSA``.
        clock: Current time in seconds since the epoch, for *iat* and *exp*.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        audience: str = DEFAULT_AUDIENCE,
        algorithm: str = "RS256",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self.audience = audience
        self.keys = SigningKeys(algorithm)
        self.requests: list[str] = []
        self._clock = clock
        self._is_down = False
        self.http_client = httpx.AsyncClient(transport=httpx.MockTransport(self._respond))

    @property
    def issuer(self) -> Issuer:
        """
        This issuer, as a service package takes it; it fetches from here and nowhere else.
        """
        return Issuer(self.url, http_client=self.http_client)

    @property
    def request_count(self) -> int:
        """
        How many requests were made to it: discovery and key set alike, failed ones too.
        """
        return len(self.requests)

    def token(
        self,
        *,
        scope: str | None = None,
        expires_in: float = DEFAULT_LIFETIME,
        headers: Mapping[str, object] | None = None,
        **claims: Any,
    ) -> str:
        """
        Sign an access token (RFC 9068) with the current key.

        Args:
            scope: Scopes, separated by spaces; None leaves the claim out.
            expires_in: Seconds until it expires. For an expired one, go below the leeway: -31 where it is
                the default 30.
            headers: Header parameters to add or replace; None removes one.
            claims: Claims to add or replace; None removes one.
        """
        now = self._clock()
        standard: dict[str, object] = {
            "iss": self.url,
            "aud": self.audience,
            "sub": "alice",
            "client_id": "test-client",
            "iat": int(now),
            "exp": now + expires_in,
            "jti": secrets.token_urlsafe(16),
            "scope": scope,
        }
        present = {name: value for name, value in (standard | claims).items() if value is not None}
        return self.keys.sign(present, headers=headers)

    def rotate(self, *, keep_previous: bool = True) -> str:
        """
        Sign with a new key from now on, and return its key ID; the previous one stays published, or goes.
        """
        return self.keys.rotate(keep_previous=keep_previous)

    def go_down(self) -> None:
        """
        Refuse every connection from now on.
        """
        self._is_down = True

    def come_up(self) -> None:
        """
        Answer again.
        """
        self._is_down = False

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(str(request.url))
        if self._is_down:
            raise httpx.ConnectError("the fake issuer is down", request=request)
        # As httpx reads them: "https://Login.Example.com:443" is asked for as "https://login.example.com".
        if request.url == self._jwks_uri:
            return httpx.Response(200, json=self.keys.jwks())
        if any(request.url == url for url in metadata_urls(self.url)):
            return httpx.Response(200, json={"issuer": self.url, "jwks_uri": self._jwks_uri})
        return httpx.Response(404)

    @property
    def _jwks_uri(self) -> str:
        return f"{self.url.rstrip('/')}/jwks"
