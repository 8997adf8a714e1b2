"""
Starlette, oldest and newest supported: every kind of endpoint, mounts, hosts, WebSockets, and that no request
sees another one's operator.
"""

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from guardrail import GuardrailMiddleware, Operator, current_operator, public
from guardrail.errors import MiddlewareMissingError, PolicyError

from . import ORDERS, Application, bearer, call, endpoint, websocket_endpoint

READ = ORDERS.requires("orders:read")
WRITE = ORDERS.requires("orders:write")
ADMIN = ORDERS.requires("orders:admin")


def guarded(*routes: BaseRoute, **settings: Any) -> Starlette:
    """
    A Starlette application with guardrail innermost.
    """
    return Starlette(routes=routes, middleware=[Middleware(GuardrailMiddleware, **settings)])


def client(app: ASGIApp) -> httpx.AsyncClient:
    """
    A client of *app* as its users have one.
    """
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")


# Every kind of endpoint


class Service:
    """
    An object whose methods are endpoints.
    """

    def __init__(self, ran: list[str]) -> None:
        self._ran = ran

    async def read(self, request: Request) -> Response:
        """
        Answer, once it is declared.
        """
        self._ran.append("ran")
        return PlainTextResponse("ran")

    @READ
    async def declared(self, request: Request) -> Response:
        """
        Answer, declared in the class.
        """
        return await self.read(request)


class MarkedCall:
    """
    An ASGI application whose ``__call__`` is declared.
    """

    def __init__(self, ran: list[str]) -> None:
        self._ran = ran

    @READ
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Answer everything.
        """
        await Application(self._ran, "ran")(scope, receive, send)


def a_function(ran: list[str]) -> Any:
    @READ
    def handler(request: Request) -> Response:
        ran.append("ran")
        return PlainTextResponse("ran")

    return handler


def a_coroutine_function(ran: list[str]) -> Any:
    return READ(endpoint(ran, "ran"))


def a_function_declared_after_registration(ran: list[str]) -> Any:
    handler = endpoint(ran, "ran")
    READ(handler)
    return handler


def a_partial(ran: list[str]) -> Any:
    async def handler(request: Request, *, name: str) -> Response:
        ran.append(name)
        return PlainTextResponse(name)

    return READ(functools.partial(handler, name="ran"))


def a_partial_declared_after_registration(ran: list[str]) -> Any:
    partial = functools.partial(endpoint(ran, "ran"))
    READ(partial)
    return partial


def a_partial_of_a_declared_function(ran: list[str]) -> Any:
    return functools.partial(READ(endpoint(ran, "ran")))


def a_bound_method(ran: list[str]) -> Any:
    return READ(Service(ran).read)


def a_method_declared_in_its_class(ran: list[str]) -> Any:
    return Service(ran).declared


def a_static_method(ran: list[str]) -> Any:
    class Handlers:
        @READ
        @staticmethod
        async def read(request: Request) -> Response:
            ran.append("ran")
            return PlainTextResponse(request.url.path and "ran")

    return Handlers.read


def a_class_method(ran: list[str]) -> Any:
    class Handlers:
        @READ
        @classmethod
        async def read(cls, request: Request) -> Response:
            ran.append("ran")
            return PlainTextResponse(request.url.path and "ran")

    return Handlers.read


def a_function_wrapped_outside(ran: list[str]) -> Any:
    return through(READ(endpoint(ran, "ran")))


def a_function_wrapped_inside(ran: list[str]) -> Any:
    return READ(through(endpoint(ran, "ran")))


def through(function: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """
    A decorator of somebody else's, well behaved.
    """

    @functools.wraps(function)
    async def wrapper(request: Request) -> Response:
        return await function(request)

    return wrapper


def a_class(ran: list[str]) -> Any:
    @READ
    class Handler(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            ran.append("ran")
            return PlainTextResponse("ran")

    return Handler


def a_method_of_a_class(ran: list[str]) -> Any:
    class Handler(HTTPEndpoint):
        @READ
        def get(self, request: Request) -> Response:
            ran.append("ran")
            return PlainTextResponse("ran")

    return Handler


def a_class_that_dispatches_in_its_own_way(ran: list[str]) -> Any:
    @READ
    class Handler(HTTPEndpoint):
        async def dispatch(self) -> None:
            await Application(ran, "ran")(self.scope, self.receive, self.send)

    return Handler


def an_application_object(ran: list[str]) -> Any:
    return READ(Application(ran, "ran"))


def an_object_whose_call_is_declared(ran: list[str]) -> Any:
    return MarkedCall(ran)


KINDS = [
    a_function,
    a_coroutine_function,
    a_function_declared_after_registration,
    a_partial,
    a_partial_declared_after_registration,
    a_partial_of_a_declared_function,
    a_bound_method,
    a_method_declared_in_its_class,
    a_static_method,
    a_class_method,
    a_function_wrapped_outside,
    a_function_wrapped_inside,
    a_class,
    a_method_of_a_class,
    a_class_that_dispatches_in_its_own_way,
    an_application_object,
    an_object_whose_call_is_declared,
]
SELF_GUARDING = [
    kind
    for kind in KINDS
    if kind
    not in {
        an_application_object,
        a_function_declared_after_registration,
        a_partial_declared_after_registration,
    }
]


@pytest.mark.anyio
@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
async def test_every_kind_of_endpoint_is_guarded(build: Callable[[list[str]], Any]) -> None:
    """
    Without a token 401, without the scope 403, with it the endpoint runs, once.
    """
    ran: list[str] = []
    app = guarded(Route("/orders", build(ran)))

    async with client(app) as http:
        refused = [
            await http.get("/orders"),
            await http.head("/orders"),
            await http.get("/orders", headers=bearer("orders:write")),
        ]
        before = list(ran)
        served = await http.get("/orders", headers=bearer("orders:read"))

    assert [answer.status_code for answer in refused] == [401, 401, 403]
    assert before == []
    assert (served.status_code, served.text, ran) == (200, "ran", ["ran"])


@pytest.mark.anyio
@pytest.mark.parametrize("build", SELF_GUARDING, ids=lambda build: build.__name__)
async def test_without_the_middleware_no_declared_endpoint_runs(build: Callable[[list[str]], Any]) -> None:
    """
    An application that forgot the middleware answers nothing from a declared endpoint, token or not.
    """
    ran: list[str] = []
    app = Starlette(routes=[Route("/orders", build(ran))])

    with pytest.raises(MiddlewareMissingError):
        await call(app, "/orders", headers=bearer("orders:read"))

    assert ran == []


@pytest.mark.anyio
async def test_the_methods_of_a_class_are_judged_apart() -> None:
    """
    The mark of a method wins over that of its class; HEAD falls to ``get``; what there is not is 405.
    """
    ran: list[str] = []

    @READ
    class Orders(HTTPEndpoint):
        @public
        async def get(self, request: Request) -> Response:
            ran.append("get")
            return PlainTextResponse("get")

        async def post(self, request: Request) -> Response:
            ran.append("post")
            return PlainTextResponse("post")

        @ADMIN
        def delete(self, request: Request) -> Response:
            ran.append("delete")
            return PlainTextResponse("delete")

    app = guarded(Route("/orders", Orders))
    read = bearer("orders:read")

    answers = [
        await call(app, "/orders", method=method, headers=headers)
        for method, headers in [
            ("GET", []),
            ("HEAD", []),
            ("POST", []),
            ("POST", read),
            ("DELETE", read),
            ("DELETE", bearer("orders:admin")),
            ("PATCH", read),
            ("TRACE", []),
        ]
    ]

    assert [answer.status for answer in answers] == [200, 200, 401, 200, 403, 200, 405, 405]
    assert ran == ["get", "get", "post", "delete"]
    assert answers[-1].headers["allow"] == "GET, HEAD, POST, DELETE"


@pytest.mark.anyio
async def test_a_class_with_a_head_of_its_own_does_not_fall_to_get() -> None:
    """
    ``head`` is judged by its own declaration.
    """
    ran: list[str] = []

    class Orders(HTTPEndpoint):
        @public
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("get")

        @READ
        async def head(self, request: Request) -> Response:
            ran.append("head")
            return PlainTextResponse("")

    app = guarded(Route("/orders", Orders))

    assert (await call(app, "/orders")).status == 200
    assert (await call(app, "/orders", method="HEAD")).status == 401
    assert ran == []


@pytest.mark.anyio
async def test_a_class_on_a_route_with_methods_takes_only_those() -> None:
    """
    The methods of the route count before those of the class.
    """
    ran: list[str] = []

    @READ
    class Orders(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            ran.append("get")
            return PlainTextResponse("get")

        async def post(self, request: Request) -> Response:
            ran.append("post")
            return PlainTextResponse("post")

    app = guarded(Route("/orders", Orders, methods=["GET"]))

    answer = await call(app, "/orders", method="POST", headers=bearer("orders:read"))

    assert (answer.status, answer.headers["allow"], ran) == (405, "GET, HEAD", [])


@pytest.mark.anyio
async def test_static_files_are_guarded_as_a_whole(tmp_path: Path) -> None:
    """
    Static files are declared where they are mounted; their 404 and their redirects are theirs.
    """
    (tmp_path / "page.txt").write_text("page", encoding="utf-8")
    app = guarded(
        Mount("/static", public(StaticFiles(directory=tmp_path))),
        Mount("/files", READ(StaticFiles(directory=tmp_path))),
    )
    read = bearer("orders:read")

    async with client(app) as http:
        answers = [
            await http.get(path, headers=headers)
            for path, headers in [
                ("/static/page.txt", []),
                ("/static/none.txt", []),
                ("/files/page.txt", []),
                ("/files/none.txt", []),
                ("/files/page.txt", read),
                ("/files/none.txt", read),
                ("/static/../files/page.txt", []),
                ("/static/%2e%2e/files/page.txt", []),
                ("/static/..%2ffiles/page.txt", []),
            ]
        ]

    assert [answer.status_code for answer in answers] == [200, 404, 401, 401, 200, 404, 401, 404, 404]


# Mounts and hosts


@pytest.mark.anyio
@pytest.mark.parametrize("make", [Router, Starlette], ids=["router", "starlette"])
async def test_endpoints_in_a_mount_are_judged_one_by_one(make: Callable[..., ASGIApp]) -> None:
    """
    A mounted router or application is seen into, with its parameters, three levels deep.
    """
    ran: list[str] = []
    deepest = make(routes=[Route("/{id}", READ(endpoint(ran, "deep")))])
    middle = make(routes=[Mount("/items", deepest), Route("/open", public(endpoint(ran, "open")))])
    app = guarded(Mount("/tenants/{tenant}", make(routes=[Mount("/v1", middle)])))
    path = "/tenants/acme/v1/items/1"

    answers = [
        await call(app, path),
        await call(app, path, headers=bearer("orders:read")),
        await call(app, "/tenants/acme/v1/open"),
        await call(app, "/tenants/acme/v2/open"),
        await call(app, "/tenants/v1/items/1"),
    ]

    assert [answer.status for answer in answers] == [401, 200, 200, 404, 404]
    assert ran == ["deep", "open"]


@pytest.mark.anyio
async def test_a_mount_that_matches_has_the_last_word() -> None:
    """
    A later route under the path of an earlier mount is never reached, by the router or by the table.
    """
    ran: list[str] = []
    app = guarded(
        Mount("/sub", Router([Route("/x", READ(endpoint(ran, "inner")))])),
        Route("/sub/y", public(endpoint(ran, "outer"))),
        Route("/sub/x", public(endpoint(ran, "shadowed"))),
    )

    answers = [await call(app, path) for path in ("/sub/x", "/sub/y")]

    assert [answer.status for answer in answers] == [401, 404]
    assert ran == []


@pytest.mark.anyio
async def test_hosts_are_judged_apart() -> None:
    """
    One path on two hosts is two endpoints; a host that is not there is 404.
    """
    ran: list[str] = []
    app = guarded(
        Host("api.example.com", Router([Route("/x", READ(endpoint(ran, "api")))])),
        Host("{tenant}.example.com", Router([Route("/x", public(endpoint(ran, "tenant")))])),
    )

    async with client(app) as http:
        statuses = [
            (await http.get("/x", headers={"host": host})).status_code
            for host in ("api.example.com", "shop.example.com", "api.example.com:8000", "example.org")
        ]

    assert statuses == [401, 200, 401, 404]
    assert ran == ["tenant"]


@pytest.mark.anyio
async def test_an_application_on_a_host_is_declared_as_a_whole() -> None:
    """
    An opaque application on a host is guarded there and nowhere else.
    """
    ran: list[str] = []
    app = guarded(Host("files.example.com", READ(Application(ran, "files"))))

    async with client(app) as http:
        statuses = [
            (await http.get("/x", headers=[("host", host), *headers])).status_code
            for host, headers in [
                ("files.example.com", []),
                ("files.example.com", bearer("orders:read")),
                ("example.org", bearer("orders:read")),
            ]
        ]

    assert (statuses, ran) == ([401, 200, 404], ["files"])


@pytest.mark.anyio
@pytest.mark.parametrize("make", [Router, Starlette], ids=["router", "starlette"])
async def test_a_mounted_application_can_be_declared_as_a_whole(make: Callable[..., ASGIApp]) -> None:
    """
    A router whose endpoints declare nothing may be declared where it is mounted.
    """
    ran: list[str] = []
    whole = READ(make(routes=[Route("/x", endpoint(ran, "x"))]))
    app = guarded(Mount("/sub", whole))

    refused = await call(app, "/sub/x")
    served = await call(app, "/sub/x", headers=bearer("orders:read"))

    assert (refused.status, served.status, ran) == (401, 200, ["x"])


@pytest.mark.anyio
async def test_an_application_behind_an_opaque_wrapper_is_served_by_its_prefix() -> None:
    """
    A mounted Starlette application that guardrail cannot see into answers what its prefix allows.
    """
    ran: list[str] = []
    hidden = Starlette(routes=[Route("/x", endpoint(ran, "x"))])

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        await hidden(scope, receive, send)

    app = guarded(Mount("/sub", wrapper), prefixes={"/sub": READ})

    refused = await call(app, "/sub/x")
    served = await call(app, "/sub/x", headers=bearer("orders:read"))

    assert (refused.status, served.status, ran) == (401, 200, ["x"])


@pytest.mark.anyio
async def test_an_endpoint_declared_inside_a_declared_mount_is_a_contradiction() -> None:
    """
    A mount declared as a whole holds no other declarations: neither of the two silently wins.
    """
    inner = public(Router([Route("/x", ADMIN(endpoint([], "x")))]))
    app = guarded(Mount("/sub", inner))

    with pytest.raises(PolicyError, match="GET /sub/x -> x is declared twice"):
        await call(app, "/sub/x")


class Answering:
    """
    A middleware that answers one path by itself.
    """

    def __init__(self, app: ASGIApp, status: int = 200) -> None:
        self.app = app
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Answer, or pass on.
        """
        if scope["type"] == "http" and "x-short" in Request(scope).headers:
            await PlainTextResponse("short", status_code=self._status)(scope, receive, send)
            return
        await self.app(scope, receive, send)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", [a_coroutine_function, a_class, an_application_object], ids=lambda one: one.__name__
)
@pytest.mark.parametrize("status", [200, 429])
async def test_a_mounts_own_middleware_may_answer(kind: Callable[[list[str]], Any], status: int) -> None:
    """
    A middleware of the mount answers after the decision and in place of the endpoint, with anything.
    """
    ran: list[str] = []
    routes = [Route("/x", kind(ran))]
    app = guarded(
        Mount("/routes", routes=routes, middleware=[Middleware(Answering, status=status)]),
        Mount("/app", Starlette(routes=routes, middleware=[Middleware(Answering, status=status)])),
    )
    short = [("x-short", "1")]

    for path in ("/routes/x", "/app/x"):
        answers = [
            await call(app, path, headers=headers)
            for headers in (short, [*short, *bearer("orders:read")], bearer("orders:read"))
        ]
        assert [answer.status for answer in answers] == [401, status, 200]
    assert ran == ["ran", "ran"]


@pytest.mark.anyio
async def test_the_middleware_of_a_sub_application_sees_the_operator() -> None:
    """
    A sub-application's own middleware, CORS among it, runs behind the decision.
    """
    seen: list[str] = []

    class Noting(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            seen.append(request.user.subject)
            return await call_next(request)

    sub = Starlette(
        routes=[Route("/x", READ(endpoint([], "x")))],
        middleware=[Middleware(Noting), Middleware(CORSMiddleware, allow_origins=["*"])],
    )
    app = guarded(Mount("/sub", sub))

    answer = await call(
        app, "/sub/x", headers=[("origin", "https://a.example"), *bearer("orders:read", subject="bob")]
    )

    assert (answer.status, answer.headers["access-control-allow-origin"], seen) == (200, "*", ["bob"])


@pytest.mark.anyio
async def test_guardrail_on_a_sub_application_guards_that() -> None:
    """
    On a mounted application, which hears of no lifespan, guardrail compiles on the first request.
    """
    ran: list[str] = []
    app = Starlette(
        routes=[
            Mount("/sub", guarded(Route("/x", READ(endpoint(ran, "x"))))),
            Route("/x", endpoint(ran, "outside")),
        ]
    )

    statuses = [
        (await call(app, path, headers=headers)).status
        for path, headers in [("/sub/x", []), ("/sub/x", bearer("orders:read")), ("/sub/y", []), ("/x", [])]
    ]

    assert (statuses, ran) == ([401, 200, 404, 200], ["x", "outside"])


@pytest.mark.anyio
async def test_guardrail_may_be_the_middleware_of_a_mount() -> None:
    """
    ``Mount(..., middleware=[Middleware(GuardrailMiddleware)])`` guards the mount's routes.
    """
    ran: list[str] = []
    mount = Mount(
        "/sub",
        routes=[Route("/x", READ(endpoint(ran, "x"))), Route("/open", public(endpoint(ran, "open")))],
        middleware=[Middleware(GuardrailMiddleware)],
    )
    app = Starlette(routes=[mount])

    statuses = [
        (await call(app, path, headers=headers)).status
        for path, headers in [
            ("/sub/x", []),
            ("/sub/x", bearer("orders:read")),
            ("/sub/open", []),
            ("/sub/y", []),
        ]
    ]

    assert (statuses, ran) == ([401, 200, 200, 404], ["x", "open"])


@pytest.mark.anyio
async def test_two_guardrails_in_a_row_decide_the_same() -> None:
    """
    Guardrail around an application that has it already changes nothing.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(guarded(Route("/x", READ(endpoint(ran, "x")))))

    assert (await call(app, "/x")).status == 401
    assert (await call(app, "/x", headers=bearer("orders:read"))).status == 200
    assert ran == ["x"]


@pytest.mark.anyio
async def test_middleware_of_a_route_runs_behind_the_decision() -> None:
    """
    What stands around one route's endpoint runs only once that endpoint was decided on.
    """
    ran: list[str] = []
    app = guarded(Route("/x", READ(Application(ran, "x")), middleware=[Middleware(Answering)]))
    short = [("x-short", "1")]

    refused = await call(app, "/x", headers=short)
    served = await call(app, "/x", headers=[*short, *bearer("orders:read")])

    assert (refused.status, served.status, served.text) == (401, 200, "short")


# WebSockets


class Feed(WebSocketEndpoint):
    """
    A class-based WebSocket endpoint that greets.
    """

    async def on_connect(self, websocket: WebSocket) -> None:
        """
        Greet the operator.
        """
        await websocket.accept()
        await websocket.send_text(websocket.user.subject)


DENIAL: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda ran: READ(websocket_endpoint(ran, "feed")), id="function"),
        pytest.param(lambda ran: READ(Application(ran, "feed")), id="application"),
        pytest.param(lambda ran: READ(functools.partial(websocket_endpoint(ran, "feed"))), id="partial"),
    ],
)
@pytest.mark.parametrize("mounted", [False, True], ids=["top", "mounted"])
async def test_a_websocket_is_guarded_before_it_is_accepted(
    build: Callable[[list[str]], Any], mounted: bool
) -> None:
    """
    Without the right token the handshake ends with a real refusal, or a close where there is no such thing.
    """
    ran: list[str] = []
    route = WebSocketRoute("/feed", build(ran))
    app = guarded(Mount("/sub", routes=[route]) if mounted else route)
    path = "/sub/feed" if mounted else "/feed"

    denials = [
        await call(app, path, kind="websocket", headers=headers, **DENIAL)
        for headers in ([], bearer("orders:write"), [("authorization", "Bearer x")])
    ]
    closed = await call(app, path, kind="websocket")
    before = list(ran)
    accepted = await call(app, path, kind="websocket", headers=bearer("orders:read"), **DENIAL)

    assert [denial.status for denial in denials] == [401, 403, 401]
    assert denials[0].headers["www-authenticate"].startswith('Bearer realm="orders"')
    assert [denial.types for denial in denials] == [
        ["websocket.http.response.start", "websocket.http.response.body"]
    ] * 3
    assert closed.messages == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert before == []
    assert (accepted.types[0], ran) == ("websocket.accept", ["feed"])


@pytest.mark.anyio
async def test_a_websocket_class_is_guarded() -> None:
    """
    A class-based WebSocket endpoint greets whom the token names, and nobody without one.
    """
    app = guarded(WebSocketRoute("/feed", READ(type("GuardedFeed", (Feed,), {}))))

    refused = await call(app, "/feed", kind="websocket")
    greeted = await call(app, "/feed", kind="websocket", headers=bearer("orders:read", subject="bob"))

    assert refused.types == ["websocket.close"]
    assert [message.get("text") for message in greeted.messages][1:2] == ["bob"]


@pytest.mark.anyio
async def test_a_public_websocket_needs_no_token() -> None:
    """
    A public WebSocket is accepted, with nobody on it.
    """
    app = guarded(WebSocketRoute("/feed", public(type("OpenFeed", (Feed,), {}))))

    answer = await call(app, "/feed", kind="websocket", headers=bearer("orders:read"))

    assert answer.types[:2] == ["websocket.accept", "websocket.send"]
    assert answer.messages[1]["text"] == ""


@pytest.mark.anyio
async def test_an_unknown_websocket_is_refused() -> None:
    """
    A WebSocket to no route, or to a path that only HTTP has, is refused whoever asks.
    """
    ran: list[str] = []
    app = guarded(
        Route("/x", public(endpoint(ran, "x"))), WebSocketRoute("/feed", READ(websocket_endpoint(ran, "f")))
    )
    read = bearer("orders:read")

    for path in ("/x", "/nothing", "/feed/"):
        denied = await call(app, path, kind="websocket", headers=read, **DENIAL)
        closed = await call(app, path, kind="websocket", headers=read)
        assert (denied.status, closed.types) == (404, ["websocket.close"])
    assert (await call(app, "/feed", headers=read)).status == 404
    assert ran == []


# The operator on the request


@pytest.mark.anyio
async def test_the_operator_is_in_every_place_and_the_same() -> None:
    """
    ``request.state.operator``, ``request.user``, ``request.auth`` and `current_operator` are one object.
    """
    seen: list[Any] = []

    @READ
    async def read(request: Request) -> Response:
        seen.extend([request.state.operator, request.user, request.auth, current_operator()])
        return PlainTextResponse("ok")

    await call(guarded(Route("/x", read)), "/x", headers=bearer("orders:read", subject="bob"))

    assert [one is seen[0] for one in seen] == [True] * 4
    assert isinstance(seen[0], Operator)
    assert (seen[0].subject, seen[0].scopes) == ("bob", frozenset({"orders:read"}))


@pytest.mark.anyio
@pytest.mark.parametrize(
    "preset",
    [
        pytest.param({"user": "root", "auth": "root"}, id="user_and_auth"),
        pytest.param({"state": {"operator": "root", "kept": "kept"}}, id="state"),
        pytest.param({"state": None}, id="no_state"),
        pytest.param({"operator": "root"}, id="another_key"),
    ],
)
@pytest.mark.parametrize("path", ["/guarded", "/open"])
async def test_what_was_there_before_is_overwritten(preset: dict[str, Any], path: str) -> None:
    """
    An operator that something outside put on the request is gone, on public routes too.
    """
    seen: list[Any] = []

    async def read(request: Request) -> Response:
        seen.extend([request.state.operator.subject, request.user.subject, request.auth.subject])
        seen.append(getattr(request.state, "kept", "kept"))
        return PlainTextResponse("ok")

    async def read_open(request: Request) -> Response:
        return await read(request)

    app = guarded(Route("/guarded", READ(read)), Route("/open", public(read_open)))
    forged = [("x-operator", "root"), ("x_forwarded_user", "root"), ("x-auth-request-user", "root")]

    await call(app, path, headers=[*forged, *bearer("orders:read", subject="bob")], **preset)

    subject = "bob" if path == "/guarded" else ""
    assert seen == [subject, subject, subject, "kept"]


@pytest.mark.anyio
async def test_a_public_route_has_nobody_on_it() -> None:
    """
    On a public route no token is looked at, not even a good one.
    """
    seen: list[Operator] = []

    @public
    async def read(request: Request) -> Response:
        seen.extend([request.user, current_operator()])
        return PlainTextResponse("ok")

    app = guarded(Route("/x", read))

    for headers in ([], bearer("orders:read"), [("authorization", "Bearer x")]):
        assert (await call(app, "/x", headers=headers)).status == 200

    assert [operator.kind for operator in seen] == ["anonymous"] * 6
    assert not any(operator.is_authenticated for operator in seen)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(READ(requires(["orders:read", "extra"])(endpoint([], "x"))), id="inside"),
        pytest.param(requires(["orders:read", "extra"])(READ(endpoint([], "x"))), id="outside"),
    ],
)
async def test_starlettes_own_requires_works_on_the_operator(handler: Any) -> None:
    """
    ``starlette.authentication.requires`` reads the operator's scopes from ``request.auth``.
    """
    app = guarded(Route("/x", handler))

    answers = [
        await call(app, "/x", headers=headers)
        for headers in ([], bearer("orders:read"), bearer("orders:read", "extra"))
    ]

    assert [answer.status for answer in answers] == [401, 403, 200]


# No request sees another one's operator


async def wander(steps: random.Random) -> None:
    """
    Let other requests run, a random number of times.
    """
    for _ in range(steps.randrange(6)):
        await asyncio.sleep(0)


def everywhere(request: Request) -> set[str]:
    """
    Whoever the request is for, as each place tells it.
    """
    return {
        request.state.operator.subject,
        request.user.subject,
        request.auth.subject,
        current_operator().subject,
    }


def isolation_application(background: list[tuple[str, str]], steps: random.Random) -> Starlette:
    @READ
    async def plain(request: Request) -> Response:
        seen = everywhere(request)
        await wander(steps)
        in_task = await asyncio.create_task(_later(request, steps))
        return JSONResponse(sorted(seen | in_task | everywhere(request)))

    @READ
    def threaded(request: Request) -> Response:
        return JSONResponse(sorted(everywhere(request)))

    @READ
    async def streamed(request: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            for _ in range(3):
                await wander(steps)
                yield "".join(f"{subject} " for subject in sorted(everywhere(request)))

        return StreamingResponse(body())

    @READ
    async def in_background(request: Request) -> Response:
        subject = current_operator().subject

        async def task() -> None:
            await wander(steps)
            background.append((subject, current_operator().subject))

        return JSONResponse([subject], background=BackgroundTask(task))

    @public
    async def open_to_all(request: Request) -> Response:
        await wander(steps)
        return JSONResponse(sorted(everywhere(request)))

    return guarded(
        Route("/plain", plain),
        Route("/threaded", threaded),
        Route("/streamed", streamed),
        Route("/background", in_background),
        Route("/open", open_to_all),
    )


async def _later(request: Request, steps: random.Random) -> set[str]:
    await wander(steps)
    return everywhere(request)


@pytest.mark.anyio
async def test_two_hundred_concurrent_requests_see_their_own_operator() -> None:
    """
    Async handlers, tasks, worker threads, streams and background tasks of 20 operators never mix.
    """
    steps = random.Random(20)  # noqa: S311 - any order of events will do
    background: list[tuple[str, str]] = []
    paths = ["/plain", "/threaded", "/streamed", "/background", "/open"]
    plan = [(f"operator{number % 20}", paths[number % 5]) for number in range(200)]
    steps.shuffle(plan)

    async with client(isolation_application(background, steps)) as http:

        async def ask(subject: str, path: str) -> set[str]:
            await wander(steps)
            answer = await http.get(path, headers=bearer("orders:read", subject=subject))
            return set(answer.text.split()) if path == "/streamed" else set(answer.json())

        answers = await asyncio.gather(*(ask(subject, path) for subject, path in plan))

    assert answers == [{""} if path == "/open" else {subject} for subject, path in plan]
    assert len(background) == 40
    assert all(subject == seen for subject, seen in background)


@pytest.mark.anyio
async def test_requests_that_share_a_state_see_their_own_operator() -> None:
    """
    A server that gives the requests of one connection the same ``state`` does not mix their operators.
    """
    steps = random.Random(20)  # noqa: S311 - any order of events will do
    app = isolation_application([], steps)
    state: dict[str, Any] = {"pool": "shared"}

    async def ask(subject: str) -> str:
        answer = await call(app, "/plain", headers=bearer("orders:read", subject=subject), state=state)
        return answer.text

    answers = await asyncio.gather(*(ask(f"operator{number}") for number in range(20)))

    assert answers == [f'["operator{number}"]' for number in range(20)]


@pytest.mark.anyio
async def test_after_a_request_there_is_no_operator() -> None:
    """
    The decision ends with its request, also when the endpoint fails.
    """

    @READ
    async def failing(request: Request) -> Response:
        raise LookupError(current_operator().subject)

    app = guarded(Route("/x", failing))

    with pytest.raises(LookupError, match="alice"):
        await call(app, "/x", headers=bearer("orders:read"))
    with pytest.raises(MiddlewareMissingError):
        current_operator()
