"""
`AuthenticationProfile`: attached to an HTTP client, it puts an access token on each request.
"""

import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping

import httpx

from .._settings import listeners, require_callables
from ..errors import PolicyError
from ..events import Listener
from ..events._event import dispatcher
from . import _arguments
from ._authentication import AuthMethod
from ._call import Call
from ._flight import Flight
from ._life import AccessToken
from ._refresh import RefreshTokens
from ._server import AuthorizationServer
from ._source import TokenSource

__all__ = ["AuthenticationProfile"]

_HIDDEN = "********"


class AuthenticationProfile(httpx.Auth):
    """
    One client at one authorization server for one purpose, with its one token.

    It is an `httpx.Auth`: give it to `httpx.AsyncClient` and `httpx.Client`, to many of them, and call from
    any thread and event loop. Make it once, at start-up; making it does no I/O. Does not survive
    ``os.fork``: make it in the child. A token is fetched when it is first needed, by a thread, at most one
    at a time, and renewed in the background before it expires.

    The grant follows from the arguments: a *refresh_token* means that grant (RFC 6749 §6), a *subject_token*
    token exchange (RFC 8693), neither means client credentials (RFC 6749 §4.4).
    """

    def __init__(  # noqa: PLR0913 - by keyword; one per thing that a profile can be told
        self,
        *,
        client_id: str,
        issuer: str | None = None,
        token_url: str | None = None,
        client_secret: str | Callable[[], str] | None = None,
        client_assertion_key: Mapping[str, object] | Callable[[], Mapping[str, object]] | None = None,
        auth_method: AuthMethod | None = None,
        scopes: Iterable[str] = (),
        audience: str | None = None,
        resource: str | Iterable[str] | None = None,
        extra_params: Mapping[str, str] | None = None,
        refresh_token: str | None = None,
        on_refresh_token: Callable[[str], object] | None = None,
        subject_token: str | Callable[[], str] | None = None,
        subject_token_type: str | None = None,
        revocation_url: str | None = None,
        timeout: float = 10.0,
        http_client: httpx.Client | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_event: Iterable[Listener] = (),
    ) -> None:
        """
        Callables are called in a thread, never on an event loop; those for secrets at every token request.

        Args:
            client_id: The client's identifier.
            issuer: The authorization server; its metadata is fetched once (RFC 8414). ``https``, loopback
                hosts excepted.
            token_url: Its token endpoint; with it, nothing is discovered. One of the two is required.
            client_secret: The client's secret, or a callable that returns it.
            client_assertion_key: A private JWK with *kid* and *alg* for ``private_key_jwt`` (RFC 7523), or a
                callable that returns one.
            auth_method: ``client_secret_basic``, ``client_secret_post``, ``private_key_jwt`` or ``none``. By
                default the first with a secret, ``private_key_jwt`` with a key, ``none`` with neither.
            scopes: Sent in the order given.
            audience: Sent as it is; some authorization servers choose the API by it.
            resource: One resource or several (RFC 8707).
            extra_params: Further parameters of each token request.
            refresh_token: The refresh token to begin with.
            on_refresh_token: Called with each new refresh token before its access token is used. If it
                raises, that access token is not used; the new refresh token is, and is offered again.
            subject_token: The token to exchange, or a callable that returns it.
            subject_token_type: Its type; an access token by default.
            revocation_url: The revocation endpoint (RFC 7009), if not from the metadata.
            timeout: Seconds for one token request, all of it; 10 by default.
            http_client: For token requests: its TLS and proxies. None of its headers, cookies and
                credentials are sent, and redirects are not followed. Not closed by the profile.
            clock: Seconds; only differences count.
            on_event: Callables taking one event of `guardrail.events`.

        Raises:
            PolicyError: An argument is wrong, or does not go with another; the message has no secret.
        """
        endpoints = _arguments.endpoints(issuer, token_url, revocation_url)
        authentication = _arguments.authentication(
            client_id, client_secret, client_assertion_key, auth_method
        )
        token_request = _arguments.token_request(
            scopes=scopes,
            audience=audience,
            resource=resource,
            extra_params=extra_params,
            subject_token=subject_token,
            subject_token_type=subject_token_type,
        )
        _arguments.hooks(refresh_token, on_refresh_token, subject_token)
        _arguments.require_client(http_client)
        require_callables(clock=clock)
        self._emit = dispatcher(listeners(on_event))
        self._client_id = client_id
        server = AuthorizationServer(
            endpoints,
            authentication,
            token_request,
            timeout=_arguments.seconds(timeout),
            http_client=http_client,
        )
        self._source = TokenSource(
            server,
            RefreshTokens(refresh_token, on_refresh_token),
            client_id=client_id,
            clock=clock,
            emit=self._emit,
        )
        shown = {
            "client_id": client_id,
            "issuer": issuer,
            "token_url": token_url,
            "auth_method": authentication.method,
            "scopes": token_request.scopes or None,
            "audience": audience,
            "resource": token_request.resources or None,
        }
        secrets = {
            "client_secret": client_secret,
            "client_assertion_key": client_assertion_key,
            "extra_params": extra_params,
            "refresh_token": refresh_token,
            "subject_token": subject_token,
        }
        words = [f"{name}={value!r}" for name, value in shown.items() if value is not None]
        hidden = [f"{name}={_HIDDEN!r}" for name, value in secrets.items() if value is not None]
        self._shown = ", ".join([*words, *hidden])

    def __repr__(self) -> str:
        return f"AuthenticationProfile({self._shown})"

    async def token(self) -> str:
        """
        The access token, fetched if need be.

        Raises:
            TokenUnavailableError: There is none to be had now.
            PolicyError: Likewise, because of what a callable of the profile returned.
        """
        found = self._source.obtain()
        if isinstance(found, AccessToken):
            return found.value
        return self._source.landed(await found.wait_async()).value

    def invalidate(self, token: str) -> None:
        """
        Forget the token in hand if it is this one; the next request gets another. Does nothing else.
        """
        self._source.invalidate(token)

    async def revoke(self) -> bool:
        """
        Revoke the refresh and the access token in hand (RFC 7009), and forget them whatever the answer.

        A profile with a refresh token gets no further tokens after that.

        Returns:
            Whether the authorization server confirmed it.

        Raises:
            PolicyError: There is no revocation endpoint. Nothing is forgotten.
        """
        flight: Flight[bool | None] = Flight()
        flight.begin(self._source.revoke, otherwise=lambda: False)
        is_confirmed = await flight.wait_async()
        if is_confirmed is None:
            raise PolicyError("the authorization server has no revocation endpoint: give revocation_url")
        return is_confirmed

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """
        What `httpx.Client` runs for each request.

        Raises:
            PolicyError: The request would carry the token in the clear.
            TokenUnavailableError: There is no token; the request is not sent.
        """
        call = Call(request, self._source, client_id=self._client_id, emit=self._emit)
        landing = call.begin()
        if landing is not None:
            call.landed(landing.wait())
        after = call.sent((yield call.authorized()))
        if after if isinstance(after, bool) else call.renewed(after.wait()):
            call.sent_again((yield call.authorized_again()))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """
        What `httpx.AsyncClient` runs for each request. The event loop is never blocked.

        Raises:
            PolicyError: The request would carry the token in the clear.
            TokenUnavailableError: There is no token; the request is not sent.
        """
        call = Call(request, self._source, client_id=self._client_id, emit=self._emit)
        landing = call.begin()
        if landing is not None:
            call.landed(await landing.wait_async())
        after = call.sent((yield call.authorized()))
        if after if isinstance(after, bool) else call.renewed(await after.wait_async()):
            call.sent_again((yield call.authorized_again()))
