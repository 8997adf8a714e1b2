"""
`GuardrailMiddleware`: the road of a request.

    1 which endpoint will run, and what did it declare?    none: 404 · no such method: 405
    2 the token, from one header field
    3 authenticate it for the endpoint's service package, or packages; look its operator up
    4 authorize its operator for the endpoint
    5 put the operator on the request
    6 tell the listeners
    7 run the application, with the decision in force

Every step takes the step before's value. Nothing of a request is kept on the middleware. A refusal in 2 to
4 becomes an answer here, and nowhere else.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Literal

from ._alternatives import requirements_of
from ._asgi import AnyASGIApp, Receive, Scope, Send, header_values, is_preflight
from ._challenge import not_allowed
from ._declaration import Declaration
from ._health import Health
from ._judge import Judge
from ._key_sets import KeySets
from ._policies import CompiledPolicy, PolicyCompiler
from ._policy import ServicePackage
from ._prefixes import compile_prefixes
from ._refusal import Refusal, RefusalBody, RefusalWriter
from ._resource_metadata import WELL_KNOWN, ResourceMetadata, send_metadata
from ._road import Road, RoadRules
from ._route_table import RouteTable, Unresolved
from ._routing import compile_routes, router_behind
from ._settings import (
    entries,
    listeners,
    names,
    require_async_client,
    require_callables,
    require_flag,
    require_synchronous,
)
from .directory import OperatorDirectory
from .directory._step import DirectoryStep
from .errors import PolicyError
from .events import Listener
from .events._event import dispatcher

if TYPE_CHECKING:
    import httpx

__all__ = ["GuardrailMiddleware"]

_logger: Final = logging.getLogger("guardrail")


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
        directory: Where operators are looked up: an object with ``async def resolve(key)``, asked about each
            verified operator before scopes are judged, and never for a public route. Its answers are kept as
            of `guardrail.directory.CachedDirectory`, which it may be itself, for other numbers. None, the
            default, takes operators as their tokens make them.
        token_cache_size: How many verified tokens to remember, 10,000 by default; 0 for none.
        enforce: False decides, and tells listeners, but refuses nobody a declared route: for a roll-out. Who
            would be refused is served without an operator. The log says so at startup.
        refusal_body: Makes the body of 4xx and 503 answers: takes a `guardrail.Refusal`, returns a JSON
            object, or a media type and bytes. Status and headers stay ours; one that raises is logged, and
            ours is sent.
        resource_metadata: Whether to serve metadata of the packages' resources (RFC 9728), and name it in
            challenges.
        stream_expiry: Whether a response that is being streamed when its token expires is ended then:
            ``allow``, the default, or ``cut``.
        websocket_expiry: Whether a WebSocket is closed when its token expires: ``close``, the default, or
            ``allow``.
        websocket_token_protocol: What a subprotocol begins with that is a token, such as ``bearer.``, for
            browsers, whose WebSockets cannot send an `Authorization` field; None, the default, for none.

    Raises:
        PolicyError: A setting is wrong; the message names the right form.
    """

    def __init__(
        self,
        app: AnyASGIApp,
        *,
        public_paths: Iterable[str] = (),
        prefixes: Mapping[str, object] | None = None,
        on_event: Iterable[Listener] = (),
        http_client: "httpx.AsyncClient | None" = None,
        not_found: AnyASGIApp | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        directory: OperatorDirectory | None = None,
        token_cache_size: int = 10_000,
        enforce: bool = True,
        refusal_body: Callable[[Refusal], RefusalBody] | None = None,
        resource_metadata: bool = True,
        stream_expiry: Literal["allow", "cut"] = "allow",
        websocket_expiry: Literal["close", "allow"] = "close",
        websocket_token_protocol: str | None = None,
    ) -> None:
        require_callables(app=app, clock=clock, monotonic=monotonic)
        require_callables(**({} if refusal_body is None else {"refusal_body": refusal_body}))
        require_synchronous(refusal_body=refusal_body, clock=clock, monotonic=monotonic)
        require_async_client(http_client)
        require_flag("resource_metadata", resource_metadata)
        rules = RoadRules(
            enforce=enforce,
            not_found=not_found,
            stream_expiry=stream_expiry,
            websocket_expiry=websocket_expiry,
            websocket_token_protocol=websocket_token_protocol,
        )
        heard = listeners(on_event)
        emit = dispatcher(heard)
        looked_up = None if directory is None else DirectoryStep(directory, clock=clock, emit=emit)
        judge = Judge(clock=clock, directory=looked_up)
        self.app = app
        self.public_paths = names(public_paths, what="public_paths", example='["/docs"]')
        self.prefixes = compile_prefixes(prefixes)
        self.key_sets = KeySets(emit=emit, http_client=http_client, clock=clock, monotonic=monotonic)
        self._compiler = PolicyCompiler(
            key_sets=self.key_sets, clock=clock, token_cache_size=entries(token_cache_size)
        )
        self._refusals = RefusalWriter(refusal_body)
        told = emit if heard else None  # where nobody listens, nothing need be said
        self._road = Road(app, judge=judge, emit=told, refusals=self._refusals, rules=rules)
        self.is_enforced = enforce
        self._has_metadata = resource_metadata
        self._metadata = ResourceMetadata(())
        self._policies: dict[Declaration, tuple[CompiledPolicy, ...]] = {}
        self._table: RouteTable | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one ASGI connection.
        """
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if kind not in {"http", "websocket"}:
            raise PolicyError(f"guardrail does not know the ASGI scope type {kind!r}, and lets none pass")
        table = self._table or self._compile(scope)
        if WELL_KNOWN in scope["path"] and kind == "http":
            document = self._metadata.find(scope)
            if document is not None:
                await send_metadata(document, scope, send)
                return
        found = table.find(scope)
        if isinstance(found, Unresolved):
            await self._road.unresolved(found, table.known, scope, receive, send)
        elif found.declaration.is_public:
            await self._road.public(found, table.known, scope, receive, send)
        elif scope.get("method") == "OPTIONS" and self._is_bare_preflight(scope):
            # No CORS layer in front answered it, and what it is about must not run without a token.
            await self._refusals.send(not_allowed(()), scope, send)
        else:
            policies = self._policies[found.declaration]
            await self._road.guarded(found, policies, table.known, scope, receive, send)

    def _is_bare_preflight(self, scope: Scope) -> bool:
        return self.is_enforced and is_preflight(scope) and not header_values(scope, b"authorization")

    @property
    def health(self) -> Health:
        """
        How the issuers of the application stand; see `guardrail.health`.
        """
        return Health(self.key_sets.health(), is_started=self._table is not None)

    @property
    def table(self) -> RouteTable | None:
        """
        The compiled routes; None before the start.
        """
        return self._table

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
        required = {one: requirements_of(one.requirement) for one in table.declarations()}
        packages = dict.fromkeys(one.package for several in required.values() for one in several)
        metadata = ResourceMetadata(packages if self._has_metadata else ())
        # What the application publishes there itself goes before.
        self._metadata = metadata.without(row.template for row in table.rows)
        for declaration, several in required.items():
            self._policies[declaration] = tuple(
                self._compiler.compile(one, alternatives=several, metadata_url=metadata.url_of)
                for one in several
            )
        self._tell_of_shadow_mode(packages)
        self._table = table
        return table

    def _tell_of_shadow_mode(self, packages: Iterable[ServicePackage]) -> None:
        names_ = [package.name for package in packages if not (self.is_enforced and package.enforce)]
        if names_:
            _logger.warning("NOT ENFORCED: requests without a valid token are served: %s", ", ".join(names_))
