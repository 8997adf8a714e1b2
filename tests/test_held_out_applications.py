"""
Held out: applications that change, nest, share and spoof, used to lead past the guard.

As in `test_held_out`, each test says what ran, and for whom.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from held_out_kit import ORDERS, OURS, Answer, Ran, bearer, request, send_request
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from guardrail import GuardrailMiddleware, Operator, ServicePackage, current_operator, public
from guardrail.errors import MiddlewareMissingError, PolicyError, UndeclaredRouteError
from guardrail.fastapi import CurrentOperator, GuardedRouter, get_operator, install
from guardrail.testing import FakeIssuer

pytestmark = pytest.mark.anyio

READ: Final = "orders:read"
WRITE: Final = "orders:write"
read, write = ORDERS.requires(READ), ORDERS.requires(WRITE)
NOW: Final = 2_000_000_000.0  # seconds since the epoch
ROOT: Final = Operator(operator_id="root", kind="user", issuer="https://evil.example", subject="root")


async def ask(app: ASGIApp, path: str, scope: str | None = None, **more: Any) -> Answer:
    """
    One request, with a token that has *scope*, or none.
    """
    token = () if scope is None else bearer(OURS.token(scope=scope, sub=more.pop("sub", "alice")))
    return await send_request(app, request(path, fields=token, **more))


# What an application is after it has started


def insert_in_front(app: Any, endpoint: Any) -> None:
    app.router.routes.insert(0, Route("/x", endpoint))


def append(app: Any, endpoint: Any) -> None:
    app.router.routes.append(Route("/late", endpoint))


def exchange_route(app: Any, endpoint: Any) -> None:
    app.router.routes[0] = Route("/x", endpoint)


def exchange_public(app: Any, endpoint: Any) -> None:
    app.router.routes[1] = Route("/open", endpoint)


def exchange_endpoint(app: Any, endpoint: Any) -> None:
    app.router.routes[1].endpoint = endpoint
    app.router.routes[1].app = Route("/open", endpoint).app


@pytest.mark.parametrize(
    ("change", "path"),
    [
        pytest.param(insert_in_front, "/x", id="in front of a guarded one"),
        pytest.param(append, "/late", id="behind all"),
        pytest.param(exchange_route, "/x", id="in place of a guarded one"),
        pytest.param(exchange_public, "/open", id="in place of a public one"),
        pytest.param(exchange_endpoint, "/open", id="in a public route"),
    ],
)
async def test_what_came_after_startup_answers_nobody_without_a_token(
    change: Callable[[Any, Any], None], path: str
) -> None:
    """
    A declared endpoint that took another one's place does not run; one that is new is not there.
    """
    ran = Ran()
    app = Starlette(routes=[Route("/x", read(ran.http("x"))), Route("/open", public(ran.http("open")))])
    guarded = GuardrailMiddleware(app)
    before = [(await ask(guarded, "/open")).status, (await ask(guarded, "/x", READ)).status]
    ran.names.clear()

    change(app, write(ran.http("late")))
    answers = [await ask(guarded, path), await ask(guarded, path, READ)]

    assert before == [200, 200]
    assert ({one.status for one in answers} <= {0, 401, 404}, ran.names) == (True, [])


# What stands around it, or inside of it


class Rewriting:
    """
    Middleware that sends every request to ``/secret``, on the scope it got or on a copy.
    """

    def __init__(self, app: ASGIApp, *, is_copying: bool) -> None:
        self.app = app
        self.is_copying = is_copying

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        there = {"path": "/sub/secret", "raw_path": b"/sub/secret"}
        if self.is_copying:
            scope = {**scope, **there}
        else:
            scope.update(there)
        await self.app(scope, receive, send)


@pytest.mark.parametrize(
    ("is_copying", "is_marked"),
    [
        pytest.param(False, True, id="a mark"),
        pytest.param(True, True, id="a mark, on a copy"),
        pytest.param(False, False, id="a prefix"),
    ],
)
async def test_no_rewriting_behind_the_decision_leads_to_another_endpoint(
    is_copying: bool, is_marked: bool
) -> None:
    """
    A mounted application's own middleware that changes the path gets no answer from a guarded endpoint.
    """
    ran = Ran()
    secret = write(ran.http("secret")) if is_marked else ran.http("secret")
    inner = Starlette(
        routes=[Route("/open", public(ran.http("open"))), Route("/secret", secret)],
        middleware=[Middleware(Rewriting, is_copying=is_copying)],
    )
    prefixes = {} if is_marked else {"/sub/secret": write}
    app = GuardrailMiddleware(Starlette(routes=[Mount("/sub", inner)]), prefixes=prefixes)

    answer = await ask(app, "/sub/open")

    assert (answer.status, answer.fields) == (0, ())
    assert ran.names == ([] if is_marked else ["secret"])  # without a wrapper it can only be silenced


async def test_a_guard_inside_of_a_guard_decides_again() -> None:
    """
    Both must accept, whichever is in shadow mode, and the operator is the token's.
    """
    statuses: list[int] = []
    for outer, inner in ((True, False), (False, True)):
        ran = Ran()
        sub = FastAPI(openapi_url=None)
        sub.add_api_route("/x", read(ran.operation("x")))
        sub.add_middleware(GuardrailMiddleware, enforce=inner)
        app = FastAPI(openapi_url=None)
        app.mount("/sub", sub)
        app.add_middleware(GuardrailMiddleware, enforce=outer)

        statuses += [(await ask(app, "/sub/x", scope)).status for scope in (None, WRITE, READ)]

        assert (ran.names, ran.operators) == (["x"], ["alice"])
    assert statuses == [401, 403, 200] * 2


async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
    """
    A foreign application that makes a URL of the path it was given, and says what it would ask for.
    """
    url = httpx.URL(f"http://upstream.internal{scope['path']}")
    await PlainTextResponse(url.path)(scope, receive, send)


@pytest.mark.parametrize(
    "path", ["/admin?", "/admin?x", "/admin#x", "/x/..?/admin", "/%61dmin", "/%61dmin?", "/x/%2e%2e/admin"]
)
async def test_a_proxy_behind_a_public_prefix_is_not_led_to_a_guarded_one(path: str) -> None:
    """
    What would be asked of the upstream server is never what needs a token.
    """
    app = GuardrailMiddleware(proxy, prefixes={"/": public, "/admin": read})

    refused = await ask(app, path)
    opened = await ask(app, "/x?")
    allowed = await ask(app, "/admin/x", READ)

    assert (refused.status, (opened.status, opened.body)) == (404, (200, "/x"))
    assert (allowed.status, allowed.body) == (200, "/admin/x")


# Who the operator is


async def test_no_operator_of_somebody_elses_making_is_left() -> None:
    """
    Whatever middleware in front put on a request, handlers see who the token is, or nobody.
    """
    seen: list[list[str]] = []

    async def look(request_: Request) -> Response:
        several = [request_.state.operator, request_.user, request_.auth, current_operator()]
        seen.append([one.subject for one in several])
        return PlainTextResponse("")

    async def guarded(request_: Request) -> Response:
        return await look(request_)

    routes = [Route("/x", read(guarded)), Route("/open", public(look))]
    app = GuardrailMiddleware(Starlette(routes=routes))
    spoofed: dict[str, Any] = {
        "state": {"operator": ROOT},
        "user": ROOT,
        "auth": ROOT,
        "session": {"user": "root"},
    }

    refused = await ask(app, "/x", **spoofed)
    await ask(app, "/x", READ, **spoofed)
    await ask(app, "/open", **spoofed)

    assert (refused.status, seen) == (401, [["alice"] * 4, [""] * 4])


async def test_a_state_that_a_server_shares_does_not_carry_operators_over() -> None:
    """
    Where every request has the same state, each still sees its own operator, at the same time.
    """
    both = asyncio.Barrier(2)

    @read
    async def wait(request_: Request) -> Response:
        await both.wait()
        return PlainTextResponse(request_.state.operator.subject)

    @public
    async def nobody(request_: Request) -> Response:
        return PlainTextResponse(request_.state.operator.subject)

    shared: dict[str, Any] = {"pool": object()}
    app = GuardrailMiddleware(Starlette(routes=[Route("/wait", wait), Route("/open", nobody)]))

    pair = await asyncio.gather(*(ask(app, "/wait", READ, sub=sub, state=shared) for sub in ("alice", "bob")))
    opened = await ask(app, "/open", state=shared)

    assert ([one.body for one in pair], opened.body) == (["alice", "bob"], "")


async def test_each_of_many_requests_has_its_own_operator_to_its_end() -> None:
    """
    Streams, tasks, and threads that carry the context see the operator of the request that began them.
    """
    seen: list[tuple[str, str]] = []

    def note(expected: str) -> None:
        seen.append((expected, current_operator().subject))

    @read
    async def endpoint(request_: Request) -> Response:
        expected = request_.user.subject

        async def pieces() -> Any:
            for _ in range(3):
                await asyncio.sleep(0)
                note(expected)
                yield b"."
            await asyncio.to_thread(note, expected)

        return StreamingResponse(pieces(), background=BackgroundTask(note, expected))

    app = GuardrailMiddleware(Starlette(routes=[Route("/x", endpoint)]))

    await asyncio.gather(*(ask(app, "/x", READ, sub=f"user-{number % 20}") for number in range(100)))

    assert len(seen) == 500
    assert all(expected == found for expected, found in seen)


async def test_a_bare_thread_has_no_operator() -> None:
    """
    A thread that no context came with is outside of any request, and says so.
    """
    raised: list[type[BaseException]] = []

    def look() -> None:
        try:
            current_operator()
        except MiddlewareMissingError as exc:
            raised.append(type(exc))

    @read
    async def endpoint(_: Request) -> Response:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return PlainTextResponse("")

    await ask(GuardrailMiddleware(Starlette(routes=[Route("/x", endpoint)])), "/x", READ)

    assert raised == [MiddlewareMissingError]
    with pytest.raises(MiddlewareMissingError):
        current_operator()


async def test_a_guarded_function_does_not_run_for_another_ones_decision() -> None:
    """
    Calling one endpoint out of another is not a request for it.
    """
    ran = Ran()
    secret = write(ran.http("secret"))

    @public
    async def outer(request_: Request) -> Response:
        return await secret(request_)  # type: ignore[no-any-return]

    app = GuardrailMiddleware(Starlette(routes=[Route("/open", outer), Route("/secret", secret)]))

    answer = await ask(app, "/open")

    assert (answer.status, ran.names) == (0, [])


# Routers with one declaration


def shared_routers(ran: Ran, requirement: Any, *, plain_first: bool) -> FastAPI:
    """
    One function on a guarded router, which is included twice, and on a plain one.
    """
    endpoint, guarded, plain = ran.operation("shared"), GuardedRouter(requirement), APIRouter()
    app = FastAPI(openapi_url=None)
    if plain_first:
        plain.add_api_route("/plain", endpoint)
    guarded.add_api_route("/x", endpoint)
    if not plain_first:
        plain.add_api_route("/plain", endpoint)
    app.include_router(guarded, prefix="/a")
    app.include_router(plain)
    app.include_router(guarded, prefix="/b")
    app.add_middleware(GuardrailMiddleware)
    return app


@pytest.mark.parametrize("plain_first", [False, True])
@pytest.mark.parametrize("path", ["/a/x", "/b/x", "/plain"])
async def test_a_shared_function_is_guarded_wherever_it_is(path: str, plain_first: bool) -> None:
    """
    What a router declared of a function holds at every path that it has.
    """
    ran = Ran()
    app = shared_routers(ran, read, plain_first=plain_first)

    statuses = [(await ask(app, path, scope)).status for scope in (None, WRITE, READ)]

    assert (statuses, ran.names) == ([401, 403, 200], ["shared"])


def routers_apart(first: Any, second: Any) -> None:
    """
    One function on two routers that do not declare alike.
    """
    endpoint = Ran().operation("x")
    GuardedRouter(first).add_api_route("/x", endpoint)
    GuardedRouter(second).add_api_route("/y", endpoint)


@pytest.mark.parametrize(("first", "second"), [(read, public), (public, read), (read, write)])
def test_two_routers_do_not_declare_one_function_differently(first: Any, second: Any) -> None:
    """
    Neither the stricter nor the looser one wins: it is refused when the route is added.
    """
    with pytest.raises(PolicyError, match="declared twice"):
        routers_apart(first, second)


async def test_what_a_guarded_router_does_not_declare_stops_the_start() -> None:
    """
    Routes of an included router, mounts, and routes given to the constructor are not the router's to declare.
    """
    refused: list[str] = []
    for build in (_including, _mounting, _given):
        app = GuardrailMiddleware(build(Ran()))

        with pytest.raises(UndeclaredRouteError) as raised:
            await app(request("/x"), _nothing, _nothing)
        refused.append(str(raised.value))

    assert len(refused) == 3


async def _nothing(*_: object) -> Any:
    return None


def _including(ran: Ran) -> GuardedRouter:
    plain = APIRouter()
    plain.add_api_route("/x", ran.operation("x"))
    router = GuardedRouter(public)
    router.include_router(plain)
    return router


def _mounting(ran: Ran) -> GuardedRouter:
    router = GuardedRouter(public)
    router.mount("/x", ran.raw("x"))
    return router


def _given(ran: Ran) -> GuardedRouter:
    return GuardedRouter(public, routes=[Route("/x", ran.http("x"))])


async def test_overrides_replace_the_parameter_and_not_the_guard() -> None:
    """
    With every dependency overridden, a request without a token runs nothing.
    """
    ran = Ran()
    seen: list[str] = []

    async def dependency() -> str:
        ran.note("dependency")
        return "real"

    async def endpoint(operator: CurrentOperator, said: str = Depends(dependency)) -> str:
        ran.note("endpoint")
        seen.append(f"{operator.subject} {said}")
        return said

    app = FastAPI(openapi_url=None)
    router = GuardedRouter(read)
    router.add_api_route("/x", endpoint)
    app.include_router(router)
    install(app)
    app.dependency_overrides = {get_operator: lambda: ROOT, dependency: lambda: "fake", endpoint: lambda: "x"}

    statuses = [(await ask(app, "/x", scope)).status for scope in (None, WRITE, READ)]

    assert (statuses, ran.names, seen) == ([401, 403, 200], ["endpoint"], ["root fake"])
    assert ran.operators == ["alice"]


async def test_installed_documentation_is_all_that_is_public() -> None:
    """
    Beside the documentation nothing of an installed application is open; a route on its path is undeclared.
    """
    ran = Ran()
    app = FastAPI()
    install(app)
    app.add_api_route("/x", read(ran.operation("x")))

    statuses = {path: (await ask(app, path)).status for path in ("/docs", "/openapi.json", "/docs/x", "/x")}

    assert (statuses, ran.names) == ({"/docs": 200, "/openapi.json": 200, "/docs/x": 404, "/x": 401}, [])


# What goes on after the decision


async def test_a_stream_that_waits_is_cut_with_its_token() -> None:
    """
    With ``stream_expiry="cut"`` what was sent before the end is all there is, and the stream is closed.
    """
    fake, now = FakeIssuer(algorithm="EdDSA", clock=lambda: NOW), list[str]()
    package = ServicePackage("stream", issuer=fake.issuer, audience=fake.audience)

    @package.requires()
    async def endpoint(_: Request) -> Response:
        async def made() -> Any:
            try:
                yield b"."
                await asyncio.Event().wait()
            finally:
                now.append("closed")

        return StreamingResponse(made())

    routes = [Route("/x", endpoint)]
    app = GuardrailMiddleware(Starlette(routes=routes), stream_expiry="cut", clock=lambda: NOW)

    answer = await send_request(app, request("/x", fields=bearer(fake.token(expires_in=0.05))))

    assert (answer.status, answer.body, now) == (200, ".", ["closed"])


async def test_a_socket_is_closed_with_its_token() -> None:
    """
    When the token ends the application sees a disconnect, and the client 1008.
    """
    fake, closed = FakeIssuer(algorithm="EdDSA", clock=lambda: NOW), list[int]()
    package = ServicePackage("feed", issuer=fake.issuer, audience=fake.audience)
    sent: list[Any] = []
    says = [{"type": "websocket.connect"}]

    @package.requires()
    async def feed(websocket: WebSocket) -> None:
        await websocket.accept()
        closed.append((await websocket.receive())["code"])

    async def receive() -> Any:
        return says.pop(0) if says else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    app = GuardrailMiddleware(Starlette(routes=[WebSocketRoute("/feed", feed)]), clock=lambda: NOW)
    token = fake.token(expires_in=0.05)

    await app(request("/feed", kind="websocket", fields=bearer(token)), receive, send)

    assert ([one["type"] for one in sent], closed) == (["websocket.accept", "websocket.close"], [1008])
    assert sent[-1]["code"] == 1008


async def test_a_method_that_a_class_borrows_keeps_its_own_declaration() -> None:
    """
    A function declared elsewhere is guarded as declared there, as a method of another class as well.
    """
    ran = Ran()

    @write
    async def shared(self: Any, _: Request) -> Response:
        ran.note(type(self).__name__)
        return PlainTextResponse("")

    class First(HTTPEndpoint):
        get = shared

    class Second(First):
        post = public(ran.http("never"))

    with pytest.raises(PolicyError):
        public(Second.get)
    app = GuardrailMiddleware(Starlette(routes=[Route("/first", First), Route("/second", Second)]))

    statuses = [
        (await ask(app, path, scope)).status for path in ("/first", "/second") for scope in (READ, WRITE)
    ]

    assert (statuses, ran.names) == ([403, 200] * 2, ["First", "Second"])


async def test_a_routers_default_runs_for_nobody() -> None:
    """
    What a router would serve where nothing matches is no route: 404, for a preflight too.
    """
    ran = Ran()
    router = Router([Route("/x", read(ran.http("x")))], default=ran.raw("default"))
    preflight = (("origin", "https://a.example"), ("access-control-request-method", "GET"))
    app = GuardrailMiddleware(router)

    answers = [await ask(app, "/y"), await ask(app, "/y", READ)]
    answers += [await send_request(app, request("/y", method="OPTIONS", fields=preflight))]

    assert ([one.status for one in answers], ran.names) == ([404, 404, 404], [])
