"""
`GuardrailMiddleware`: the road of a request.

    1 which endpoint will run, and what did it declare?    none: 404 · no such method: 405
    2 the token, from one header field
    3 authenticate it for the endpoint's service package
    4 authorize its operator for the endpoint
    5 put the operator on the request
    6 tell the listeners
    7 run the application, with the decision in force

Every step takes the step before's value. Nothing of a request is kept on the middleware. A refusal in 2 to
4 becomes an answer here, and nowhere else.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from ._asgi import ASGIApp, Receive, Scope, Send, header_values, is_plain_http, is_preflight
from ._authorization import authorize
from ._bearer import extract_token
from ._challenge import not_allowed, not_found, send_answer, unavailable
from ._decision import Decision, assumed_operator
from ._declaration import Declaration
from ._health import Health
from ._key_sets import KeySets
from ._operator import ANONYMOUS, Operator
from ._policies import CompiledPolicy, PolicyCompiler
from ._policy import Requirement
from ._prefixes import Resolved, compile_prefixes
from ._route_table import Known, RouteTable, Unresolved
from ._routing import compile_routes, router_behind
from ._serving import checked_forward, checked_send, run_decided, run_until_expiry
from ._settings import entries, listeners, names, require_async_client, require_callables
from .errors import PolicyError, TokenError, UnavailableError
from .events import (
    KeysUnavailable,
    Listener,
    PlainHttpUsed,
    TokenAccepted,
    TokenRefused,
)
from .events._event import dispatcher, printable

if TYPE_CHECKING:
    import httpx

__all__ = ["GuardrailMiddleware"]

_NO_ENDPOINT: Final = Decision(declaration=None, operator=ANONYMOUS)
_NOT_FOUND: Final = not_found()


class GuardrailMiddleware:
    """
    Guards every route of an ASGI application by what the route declares.

    Add it innermost (with Starlette and FastAPI: the first ``add_middleware`` call), so that CORS headers
    reach its answers and nothing rewrites a path after the decision. Startup fails while a route declares
    nothing; a request to what is not in the route table is answered 404.

    It does not read bodies, cookies or query strings for tokens, and never passes a token on.

    Args:
        app: The application to guard.
        public_paths: Templates of routes that cannot be decorated and need no token, exactly as declared.
        prefixes: Declarations by path prefix, on segment boundaries, for what cannot be decorated: mounted
            foreign applications, or a whole application that is not Starlette's. Values are requirements,
            or `guardrail.public`.
        on_event: Listeners: callables that take one event of `guardrail.events`.
        http_client: What to fetch keys with; an object with the interface of `httpx.AsyncClient`. None
            makes clients as needed.
        not_found: An ASGI application for the 404 answer.
        clock: Wall clock for token times, in seconds since the epoch.
        monotonic: Clock for durations, in seconds.
        token_cache_size: How many verified tokens to remember, 10,000 by default; 0 for none.

    Raises:
        PolicyError: A setting is wrong; the message names the right form.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        public_paths: Iterable[str] = (),
        prefixes: Mapping[str, object] | None = None,
        on_event: Iterable[Listener] = (),
        http_client: "httpx.AsyncClient | None" = None,
        not_found: ASGIApp | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        token_cache_size: int = 10_000,
    ) -> None:
        require_callables(app=app, clock=clock, monotonic=monotonic)
        require_callables(**({} if not_found is None else {"not_found": not_found}))
        require_async_client(http_client)
        self.app = app
        self.public_paths = names(public_paths, what="public_paths", example='["/docs"]')
        self.prefixes = compile_prefixes(prefixes)
        self._emit = dispatcher(listeners(on_event))
        self._not_found = not_found
        self._clock = clock
        self.key_sets = KeySets(emit=self._emit, http_client=http_client, clock=clock, monotonic=monotonic)
        self._compiler = PolicyCompiler(
            key_sets=self.key_sets, clock=clock, token_cache_size=entries(token_cache_size)
        )
        self._policies: dict[Declaration, CompiledPolicy] = {}
        self._table: RouteTable | None = None
        self._known = Known()
        self._has_told_of_plain_http = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one ASGI connection.
        """
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if scope["type"] not in {"http", "websocket"}:
            raise PolicyError(
                f"guardrail does not know the ASGI scope type {scope['type']!r}, and lets none pass"
            )
        table = self._table or self._compile(scope)
        found = table.find(scope)
        if isinstance(found, Unresolved):
            await self._serve_unresolved(found, scope, receive, send)
        elif found.declaration.is_public:
            await self._serve(found, ANONYMOUS, scope, receive, send)
        elif is_preflight(scope) and not header_values(scope, b"authorization"):
            # No CORS layer in front answered it, and what it is about must not run without a token.
            await send_answer(not_allowed(()), scope, send)
        else:
            await self._guard(found, scope, receive, send)

    @property
    def health(self) -> Health:
        """
        How the issuers of the application stand; see `guardrail.health`.
        """
        return Health(self.key_sets.health(), is_started=self._table is not None)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._compile(scope)
        except Exception as exc:
            # A server takes an exception for "no lifespan support", and serves. It must hear "failed" first.
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(exc)})
            raise
        await self.key_sets.warm_up()
        await self.app(scope, self.key_sets.until_shutdown(receive), send)

    def _compile(self, scope: Scope) -> RouteTable:
        """
        Compile the routes as they are now. Without a lifespan it happens on the first request.
        """
        target = router_behind(self, scope.get("app"))
        table = compile_routes(target, prefixes=self.prefixes, public_paths=self.public_paths)
        for declaration in table.declarations():
            if isinstance(declaration.requirement, Requirement):
                self._policies[declaration] = self._compiler.compile(declaration.requirement)
        self._table, self._known = table, table.known
        return table

    async def _serve_unresolved(self, found: Unresolved, scope: Scope, receive: Receive, send: Send) -> None:
        """
        No endpoint will run: the router's redirect, a CORS layer behind us, or an answer of ours.
        """
        is_http = scope["type"] == "http"
        if found.status == 307 or (found.is_routers and is_preflight(scope)):
            least = 300 if found.status == 307 else 200
            send = checked_forward(send, scope, self._known, least=least)
            await run_decided(self.app, _NO_ENDPOINT, scope, receive, send)
        elif found.status == 405:
            await send_answer(not_allowed(found.allow), scope, send)
        elif self._not_found is not None and is_http:
            await run_decided(self._not_found, _NO_ENDPOINT, scope, receive, send)
        else:
            await send_answer(_NOT_FOUND, scope, send)

    async def _guard(self, found: Resolved, scope: Scope, receive: Receive, send: Send) -> None:
        policy = self._policies[found.declaration]
        labels = {"package": policy.requirement.package.name, "route": found.route}
        self._tell_of_plain_http(scope, **labels)
        try:
            operator, seconds_left = await self._decide(policy, scope)
        except TokenError as error:
            self._emit(TokenRefused.of(error, **labels))
            await send_answer(policy.challenges.answer(error), scope, send)
            return
        except UnavailableError as error:
            self._emit(KeysUnavailable(code=error.code, retry_after=error.retry_after, **labels))
            await send_answer(unavailable(error), scope, send)
            return
        self._emit(
            TokenAccepted(
                issuer=operator.issuer,
                client_id=None if operator.client_id is None else printable(operator.client_id, limit=128),
                operator_kind=operator.kind,
                **labels,
            )
        )
        await self._serve(found, operator, scope, receive, send, seconds_left=seconds_left)

    def _tell_of_plain_http(self, scope: Scope, *, package: str, route: str) -> None:
        # RFC 6750 §5.2: tokens travel over TLS. A proxy may see to that, so it is said and not refused.
        if not self._has_told_of_plain_http and is_plain_http(scope):
            self._has_told_of_plain_http = True
            self._emit(PlainHttpUsed(package=package, route=route))

    async def _decide(self, policy: CompiledPolicy, scope: Scope) -> tuple[Operator, float | None]:
        """
        Steps 2 to 4: the operator and the seconds its token has left, or the error that refuses it.
        """
        assumed = assumed_operator.get()
        if assumed is not None:
            authorize(assumed, policy.requirement, now=self._clock(), leeway=0.0)
            return assumed, None
        verified = await policy.verifier.authenticate(extract_token(scope))
        now = self._clock()
        authorize(verified.operator, policy.requirement, now=now, leeway=verified.leeway)
        return verified.operator, verified.seconds_left(now)

    async def _serve(
        self,
        found: Resolved,
        operator: Operator,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        seconds_left: float | None = None,
    ) -> None:
        """
        Steps 5 to 7: the endpoint that answers is the one decided on; a WebSocket ends with its token.
        """
        decision = Decision(found.declaration, operator)
        if found.endpoints:
            send = checked_send(send, scope, found, decision, self._known)
        if scope["type"] == "websocket" and seconds_left is not None:
            await run_until_expiry(self.app, decision, scope, receive, send, seconds=seconds_left)
        else:
            await run_decided(self.app, decision, scope, receive, send)
