"""
The embedded issuer: the ASGI application around the pure parts.
"""

import time
from collections.abc import Callable, Iterable

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from ._access_tokens import AccessTokens
from ._assertions import ClientAssertions
from ._authentication import ClientAuthentication
from ._authorize import PENDING_LIFETIME, AuthorizationEndpoint
from ._client_rules import strings
from ._clients import Client
from ._endpoints import Endpoints
from ._faults import Faults
from ._grants import TokenEndpoint
from ._keys import SigningKeys
from ._metadata import issuer_path
from ._stores import AuthorizationCodes, OneTimeStore, RefreshTokens
from ._token_states import TokenStates
from ._tokens import Issuance, Minter, access_token_claims


class EmbeddedIssuer:
    """
    An OAuth 2.0 authorization server for development and tests, as an ASGI application.

    Does not authenticate users, does not keep anything across a restart, and is not for production: every
    response says so in ``X-Development-Issuer``. Serves from one event loop.

    Args:
        url: The issuer; what tokens carry as *iss* and where the endpoints are.
        clients: The registered clients.
        algorithm: What it signs with: ``RS256``, ``PS256``, ``ES256`` or ``EdDSA``.
        clock: Current time in seconds since the epoch.
        users: Whom the consent page offers to be.
        faults: How the token endpoint misbehaves; ``None``: not, until `faults` or ``POST /faults`` says so.

    Raises:
        ValueError: The URL is no issuer URL, two clients have one name, the algorithm is another, or there
            are no users.
    """

    def __init__(
        self,
        url: str,
        *,
        clients: Iterable[Client] = (),
        algorithm: str = "RS256",
        clock: Callable[[], float] = time.time,
        users: Iterable[str] = ("alice",),
        faults: Faults | None = None,
    ) -> None:
        path = issuer_path(url)
        self._url = url
        self._clients = _by_client_id(clients)
        self._faults = faults or Faults()
        self._minter = Minter(url, SigningKeys(algorithm), AccessTokens(clock=clock), clock=clock)
        endpoints = self._endpoints(strings(users, name="users"), clock=clock)
        self._app = Starlette(routes=endpoints.routes(path))
        # An endpoint has one address: a redirect would have the client send its secret a second time.
        self._app.router.redirect_slashes = False

    def __repr__(self) -> str:
        return f"EmbeddedIssuer({self._url!r}, clients={list(self._clients)}, keys={self.keys!r})"

    @property
    def url(self) -> str:
        """
        The issuer, as given.
        """
        return self._url

    @property
    def keys(self) -> SigningKeys:
        """
        The keys it signs with; rotating them here is the same as ``POST /rotate``.
        """
        return self._minter.keys

    @property
    def faults(self) -> Faults:
        """
        How the token endpoint misbehaves; injecting a fault here is the same as ``POST /faults``.
        """
        return self._faults

    @property
    def clients(self) -> tuple[Client, ...]:
        """
        The registered clients.
        """
        return tuple(self._clients.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one ASGI connection.
        """

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Development-Issuer"] = "not for production"
            await send(message)

        await self._app(scope, receive, send_marked)

    def mint(
        self,
        client: Client,
        *,
        subject: str | None = None,
        scope: Iterable[str],
        audience: str,
        lifetime: float | None = None,
    ) -> str:
        """
        Mint an access token for a client, without a request.

        Does not look whether the client may have scope and audience: a test may want what no request gets.

        Args:
            subject: The *sub*; ``None`` means the client's operator, or else the client.
            lifetime: In seconds; below zero makes an expired token. ``None`` means the client's.

        Raises:
            ValueError: *scope* is one string.
        """
        subject = subject or client.operator or client.client_id
        scope = frozenset(strings(scope, name="scope"))
        lifetime = client.token_lifetime if lifetime is None else lifetime
        claims = access_token_claims(client, subject=subject, scope=scope, audience=(audience,))
        return self._minter.mint(Issuance(claims, lifetime))

    def _endpoints(self, users: tuple[str, ...], *, clock: Callable[[], float]) -> Endpoints:
        """
        Give the endpoints one memory of codes and tokens.
        """
        if not users:
            raise ValueError('users must name at least one, such as ("alice",)')
        minter = self._minter
        authentication = self._authentication(clock=clock)
        refresh_tokens = RefreshTokens(clock=clock, on_revoke=minter.access_tokens.revoke_family)
        codes = AuthorizationCodes(clock=clock, revoke=refresh_tokens.revoke)
        authorization = AuthorizationEndpoint(
            issuer=self._url,
            clients=self._clients,
            users=users,
            codes=codes,
            pending=OneTimeStore(lifetime=PENDING_LIFETIME, clock=clock),
            clock=clock,
        )
        return Endpoints(
            issuer=self._url,
            clients=self._clients,
            keys=self.keys,
            faults=self._faults,
            token=TokenEndpoint(authentication, minter, codes=codes, refresh_tokens=refresh_tokens),
            token_states=TokenStates(authentication, minter, refresh_tokens),
            authorization=authorization,
        )

    def _authentication(self, *, clock: Callable[[], float]) -> ClientAuthentication:
        audiences = (self._url, f"{self._url.rstrip('/')}/token")
        assertions = ClientAssertions(self._clients, audiences=audiences, clock=clock)
        return ClientAuthentication(self._clients, assertions)


def _by_client_id(clients: Iterable[Client]) -> dict[str, Client]:
    """
    Index the clients, and refuse two of one name: the second would silently replace the first.
    """
    listed = tuple(clients)
    index = {client.client_id: client for client in listed}
    if len(index) != len(listed):
        raise ValueError("two clients have one client_id: give each its own")
    return index
