"""
The token verifier of the official SDK, for servers that leave the rest of authorization to it.
"""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

from .._key_sets import KeySets
from .._operator import Operator
from .._policies import PolicyCompiler
from .._policy import Requirement
from .._settings import entries, listeners, require_async_client, require_callables
from ..errors import InvalidTokenError, MalformedTokenError, PolicyError, UnavailableError
from ..events import KeysUnavailable, Listener, TokenAccepted, TokenRefused
from ..events._event import dispatcher, printable
from ._access import access_token, require_resource_of

if TYPE_CHECKING:
    import httpx

__all__ = ["TokenVerifier"]

_ROUTE = "mcp"  # what events say where the SDK does not tell


class TokenVerifier:
    """
    Verifies tokens for the ``token_verifier`` of the official SDK as the middleware does: keys, issuer,
    audience, times, kind. Refusals are the SDK's, and so are sessions, which it binds to what this tells it::

        verifier = TokenVerifier(orders.requires("orders:read"))
        server = MCPServer("orders", token_verifier=verifier, auth=verifier.auth_settings)

    Does **not** look at scopes: the SDK does, by ``auth_settings``, and answers 403 where this could only
    make it answer 401. Does not see the request: of two `Authorization` fields the SDK takes the first, and
    `guardrail.current_operator` is not there. `guardrail.mcp.guard` has neither limit.

    Args:
        requirement: Scopes, all of which are needed. What else a requirement can ask, the SDK cannot.
        on_event: Listeners, as of `guardrail.GuardrailMiddleware`; the route of their events is ``mcp``.
        http_client: As of `guardrail.GuardrailMiddleware`.
        clock: Wall clock for token times, in seconds since the epoch. The SDK has its own for *exp*.
        monotonic: Clock for durations, in seconds.
        token_cache_size: How many verified tokens to remember, 10,000 by default; 0 for none.

    Raises:
        PolicyError: A setting is wrong; the message names the right form.
    """

    def __init__(
        self,
        requirement: Requirement,
        *,
        on_event: Iterable[Listener] = (),
        http_client: "httpx.AsyncClient | None" = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        token_cache_size: int = 10_000,
    ) -> None:
        self._resource = require_resource_of(requirement)
        _require_scopes_alone(requirement)
        require_callables(clock=clock, monotonic=monotonic)
        require_async_client(http_client)
        self._emit = dispatcher(listeners(on_event))
        self._package = requirement.package
        self._key_sets = KeySets(emit=self._emit, http_client=http_client, clock=clock, monotonic=monotonic)
        compiler = PolicyCompiler(
            key_sets=self._key_sets, clock=clock, token_cache_size=entries(token_cache_size)
        )
        self._verifier = compiler.compile(requirement).verifier
        self.required_scopes = list(requirement.all_scopes)

    @property
    def auth_settings(self) -> AuthSettings:
        """
        What the SDK has to ask for and to publish; its metadata has room for one issuer, the package's first.
        """
        # Of strings: a URL object would add a slash to a bare host, and name another issuer.
        return AuthSettings.model_validate(
            {
                "issuer_url": self._package.issuers[0].url,
                "resource_server_url": self._resource,
                "required_scopes": self.required_scopes,
                "validate_token_resource": True,
            }
        )

    async def verify_token(self, token: str) -> AccessToken | None:
        """
        Authenticate *token* for the package; None if it is not acceptable. Does not authorize.

        Raises:
            UnavailableError: The issuer's keys could not be had. The SDK answers 500.
        """
        package = self._package.name
        try:
            operator = await self._authenticate(token)
        except InvalidTokenError as error:
            self._emit(TokenRefused.of(error, package=package, route=_ROUTE))
            return None
        except UnavailableError as error:
            self._emit(
                KeysUnavailable(code=error.code, retry_after=error.retry_after, package=package, route=_ROUTE)
            )
            raise
        self._emit(
            TokenAccepted(
                package=package,
                route=_ROUTE,
                issuer=operator.issuer,
                client_id=None if operator.client_id is None else printable(operator.client_id, limit=128),
                operator_kind=operator.kind,
            )
        )
        return access_token(operator, (self._package,))

    async def aclose(self) -> None:
        """
        End what runs in the background of this event loop.
        """
        await self._key_sets.aclose()

    async def _authenticate(self, token: str) -> Operator:
        try:
            encoded = token.encode("ascii")
        except UnicodeEncodeError:  # its text would quote the token
            raise MalformedTokenError("the token is not ASCII") from None
        return (await self._verifier.authenticate(encoded)).operator


def _require_scopes_alone(requirement: Requirement) -> None:
    beyond = (requirement.any_scopes, requirement.roles, requirement.access_groups, requirement.acr_values)
    if any(beyond) or requirement.max_age is not None:
        raise PolicyError(
            "the SDK can ask for scopes, all of them, and for nothing else: "
            "put guardrail.mcp.guard() in front of its application for what this requirement needs"
        )
