"""
FastAPI, oldest and newest supported: included routers, parameters and dependencies, sub-applications.
"""

import asyncio
import contextlib
import functools
import random
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import fastapi.routing
import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, Request, WebSocket
from fastapi.routing import APIRoute
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Host, Match, Mount, Route, Router
from starlette.types import ASGIApp, Message, Scope

from guardrail import GuardrailMiddleware, Operator, current_operator, public
from guardrail.errors import MiddlewareMissingError, UndeclaredRouteError
from guardrail.fastapi import DOCS_PATHS, CurrentOperator

from . import ORDERS, Application, bearer, call, endpoint, lifespan, start

READ = ORDERS.requires("orders:read")
WRITE = ORDERS.requires("orders:write")
ADMIN = ORDERS.requires("orders:admin")

LOOKS_INSIDE = hasattr(fastapi.routing, "iter_route_contexts")
HAS_FRONTEND = hasattr(FastAPI, "frontend")


def guarded(**settings: Any) -> FastAPI:
    """
    A FastAPI application with guardrail innermost, and no documentation.
    """
    app = FastAPI(openapi_url=None)
    app.add_middleware(GuardrailMiddleware, **settings)
    return app


def client(app: ASGIApp) -> httpx.AsyncClient:
    """
    A client of *app* as its users have one.
    """
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")


def handler(ran: list[str], name: str) -> Callable[[], Any]:
    """
    A path operation that notes its name when it runs.
    """

    async def operation() -> str:
        ran.append(name)
        return name

    operation.__name__ = operation.__qualname__ = name
    return operation


# Declarations


@pytest.mark.anyio
async def test_either_order_of_decorators_is_enforced() -> None:
    """
    The declaration may stand above the path operation decorator or below it.
    """
    ran: list[str] = []
    app = guarded()

    @app.get("/below")
    @READ
    async def below() -> None:
        ran.append("below")

    @READ
    @app.get("/above")
    async def above() -> None:
        ran.append("above")

    async with client(app) as http:
        for path in ("/below", "/above"):
            assert (await http.get(path)).status_code == 401
            assert (await http.get(path, headers=bearer("orders:write"))).status_code == 403
        assert ran == []
        for path in ("/below", "/above"):
            assert (await http.get(path, headers=bearer("orders:read"))).status_code == 200
    assert ran == ["below", "above"]


@pytest.mark.anyio
async def test_without_the_middleware_a_declared_operation_raises() -> None:
    """
    Forgetting the middleware opens no path operation, asynchronous or not, class or not.
    """
    ran: list[str] = []
    app = FastAPI()
    app.add_api_route("/async", READ(handler(ran, "async")))

    @app.get("/sync")
    @READ
    def sync() -> None:
        ran.append("sync")

    @app.get("/class")
    @READ
    class Answer:
        def __init__(self) -> None:
            ran.append("class")

    @READ
    class Orders(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            ran.append("endpoint")
            return PlainTextResponse("endpoint")

    app.add_route("/endpoint", Orders)  # type: ignore[arg-type]  # Starlette's own example; its type says function

    for path in ("/async", "/sync", "/class", "/endpoint"):
        with pytest.raises(MiddlewareMissingError):
            await call(app, path, headers=bearer("orders:read"))

    assert ran == []


@pytest.mark.anyio
async def test_parameters_are_still_seen() -> None:
    """
    Path, query, body and dependency parameters of a declared operation work, annotations as strings too.
    """
    app = guarded()

    async def dependency(operator: CurrentOperator) -> str:
        return operator.subject

    @app.post("/orders/{order}")
    @READ
    async def place(
        order: int,
        item: Annotated[dict[str, int], Body()],
        subject: Annotated[str, Depends(dependency)],
        operator: "CurrentOperator",
        limit: "int" = 10,
    ) -> list[object]:
        return [order, item, subject, operator.subject, limit]

    async with client(app) as http:
        answer = await http.post(
            "/orders/7?limit=3", json={"a": 1}, headers=bearer("orders:read", subject="bob")
        )
        invalid = await http.post("/orders/7?limit=x", json={"a": 1}, headers=bearer("orders:read"))

    assert answer.json() == [7, {"a": 1}, "bob", "bob", 3]
    assert invalid.status_code == 422


@pytest.mark.anyio
async def test_async_operations_stay_on_the_event_loop_and_others_go_to_a_thread() -> None:
    """
    The tripwire does not change where a path operation runs.
    """
    app = guarded()

    @app.get("/async")
    @READ
    async def on_the_loop() -> int:
        return threading.get_ident()

    @app.get("/sync")
    @READ
    def in_a_thread() -> int:
        return threading.get_ident()

    async with client(app) as http:
        on_loop = (await http.get("/async", headers=bearer("orders:read"))).json()
        in_thread = (await http.get("/sync", headers=bearer("orders:read"))).json()

    assert on_loop == threading.get_ident()
    assert in_thread != threading.get_ident()


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_a_streaming_operation_is_guarded(is_async: bool) -> None:
    """
    A path operation that yields is refused before it yields, and streams under its own operator.
    """
    ran: list[str] = []
    app = guarded()

    if is_async:

        @app.get("/stream")
        @READ
        async def stream() -> AsyncIterator[str]:
            ran.append("ran")
            for _ in range(2):
                await asyncio.sleep(0)
                yield current_operator().subject

    else:

        @app.get("/stream")
        @READ
        def stream_in_a_thread() -> Iterator[str]:
            ran.append("ran")
            for _ in range(2):
                yield current_operator().subject

    async with client(app) as http:
        refused = await http.get("/stream")
        before = list(ran)
        served = await http.get("/stream", headers=bearer("orders:read", subject="bob"))

    assert (refused.status_code, before) == (401, [])
    assert (served.status_code, served.text.count("bob")) == (200, 2)


@pytest.mark.anyio
async def test_callables_of_every_kind_are_guarded() -> None:
    """
    Partials, bound methods, callable objects and classes are path operations, and guarded.
    """
    ran: list[str] = []

    class Service:
        async def read(self) -> str:
            ran.append("method")
            return "method"

    class Answering:
        async def __call__(self) -> str:
            ran.append("object")
            return "object"

    class Marked:
        @READ
        async def __call__(self) -> str:
            ran.append("marked")
            return "marked"

    async def with_argument(name: str) -> str:
        ran.append(name)
        return name

    app = guarded()
    app.add_api_route("/partial", READ(functools.partial(with_argument, name="partial")))
    app.add_api_route("/method", READ(Service().read))
    app.add_api_route("/object", READ(Answering()))
    app.add_api_route("/marked", Marked())
    paths = ["/partial", "/method", "/object", "/marked"]

    async with client(app) as http:
        refused = [(await http.get(path)).status_code for path in paths]
        before = list(ran)
        served = [(await http.get(path, headers=bearer("orders:read"))).status_code for path in paths]

    assert (refused, before) == ([401] * 4, [])
    assert (served, ran) == ([200] * 4, ["partial", "method", "object", "marked"])


@pytest.mark.anyio
async def test_a_class_can_be_a_path_operation() -> None:
    """
    A class that FastAPI instantiates with parameters keeps its parameters.
    """
    app = guarded()

    @app.get("/class")
    @READ
    class Answer:
        def __init__(self, number: int) -> None:
            self.number = number

    async with client(app) as http:
        refused = await http.get("/class?number=3")
        served = await http.get("/class?number=3", headers=bearer("orders:read"))

    assert (refused.status_code, served.status_code, served.json()) == (401, 200, {"number": 3})


@pytest.mark.anyio
async def test_bad_json_without_a_token_is_401() -> None:
    """
    The token is judged before the body is read: no 422, no dependency, not one byte received.
    """
    ran: list[str] = []
    app = guarded()

    async def dependency() -> None:
        ran.append("dependency")

    @app.post("/orders", dependencies=[Depends(dependency)])
    @READ
    async def place(item: dict[str, int]) -> None:
        ran.append("place")

    async def receive() -> Message:
        raise AssertionError("the body was read before the decision")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async with client(app) as http:
        bad_json = {"content": b"{", "headers": [("content-type", "application/json")]}
        without = await http.post("/orders", **bad_json)  # type: ignore[arg-type]  # httpx takes both
        with_token = await http.post(
            "/orders", content=b"{", headers=[("content-type", "application/json"), *bearer("orders:read")]
        )
    scope: Scope = {"type": "http", "method": "POST", "path": "/orders", "headers": [], "query_string": b""}
    await app(scope, receive, send)

    assert (without.status_code, with_token.status_code) == (401, 422)
    assert sent[0]["status"] == 401
    assert ran == []


@pytest.mark.anyio
async def test_the_operator_is_a_parameter() -> None:
    """
    `CurrentOperator` is the operator, in ``yield`` dependencies too, and anonymous on a public one.
    """
    seen: list[Operator] = []
    app = guarded()

    def dependency(operator: CurrentOperator) -> Iterator[Operator]:
        seen.append(current_operator())
        yield operator
        seen.append(current_operator())

    @app.get("/guarded")
    @READ
    def read(operator: CurrentOperator, same: Annotated[Operator, Depends(dependency)]) -> bool:
        return operator is same

    @app.get("/open")
    @public
    async def read_open(operator: CurrentOperator) -> str:
        return operator.kind

    async with client(app) as http:
        same = await http.get("/guarded", headers=bearer("orders:read", subject="bob"))
        anonymous = await http.get("/open", headers=bearer("orders:read"))

    assert same.json() is True
    assert anonymous.json() == "anonymous"
    assert [operator.subject for operator in seen] == ["bob", "bob"]


# Included routers


def three_deep(ran: list[str], requirement: Callable[[Any], Any]) -> APIRouter:
    """
    A router in a router in a router.
    """
    inner, middle, outer = APIRouter(prefix="/inner"), APIRouter(), APIRouter(prefix="/outer")
    inner.add_api_route("/{item}", requirement(handler(ran, "deep")), methods=["GET", "DELETE"])
    middle.include_router(inner, prefix="/middle/{group}")
    outer.include_router(middle)
    return outer


@pytest.mark.anyio
async def test_routers_included_three_deep_are_guarded() -> None:
    """
    Prefixes of routers and of their inclusion add up, and the endpoint at the end is judged.
    """
    ran: list[str] = []
    app = guarded()
    app.include_router(three_deep(ran, READ), prefix="/v1")
    path = "/v1/outer/middle/a/inner/b"

    answers = [
        await call(app, path),
        await call(app, path, headers=bearer("orders:read")),
        await call(app, path, method="DELETE", headers=bearer("orders:write")),
        await call(app, path, method="POST"),
        await call(app, path + "/"),
        await call(app, "/v1/outer/middle/a/inner"),
    ]

    assert [answer.status for answer in answers] == [401, 200, 403, 405, 307, 404]
    assert answers[3].headers["allow"] == "DELETE, GET"
    assert ran == ["deep"]


@pytest.mark.anyio
async def test_an_undeclared_route_three_deep_stops_the_startup() -> None:
    """
    An included router is seen into: its undeclared routes are listed with the path they are served at.
    """
    app = guarded()
    app.include_router(three_deep([], lambda operation: operation), prefix="/v1")
    app.include_router(three_deep([], READ))
    sent: list[Message] = []

    with pytest.raises(UndeclaredRouteError) as raised:
        await lifespan(app, sent)

    assert raised.value.routes == ("DELETE,GET /v1/outer/middle/{group}/inner/{item} -> deep",)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]


@pytest.mark.anyio
async def test_one_router_included_twice_is_guarded_twice() -> None:
    """
    The same declared operation under two prefixes is guarded under both.
    """
    ran: list[str] = []
    router = APIRouter()
    router.add_api_route("/x", READ(handler(ran, "x")))
    app = guarded()
    app.include_router(router, prefix="/v1")
    app.include_router(router, prefix="/v2")

    for path in ("/v1/x", "/v2/x"):
        assert (await call(app, path)).status == 401
        assert (await call(app, path, headers=bearer("orders:read"))).status == 200
    assert (await call(app, "/x")).status == 404
    assert ran == ["x", "x"]


@pytest.mark.anyio
async def test_included_routes_keep_the_routers_order() -> None:
    """
    Between an included router and the routes beside it, the first that matches in full is judged.
    """
    ran: list[str] = []
    first, second = APIRouter(), APIRouter()
    first.add_api_route("/{name}", READ(handler(ran, "parameter")), methods=["POST"])
    second.add_api_route("/fixed", public(handler(ran, "fixed")), methods=["GET", "POST"])
    app = guarded()
    app.include_router(first)
    app.include_router(second)
    app.add_api_route("/fixed", ADMIN(handler(ran, "last")), methods=["GET", "DELETE"])

    answers = [await call(app, "/fixed", method=method) for method in ("GET", "POST", "DELETE", "PUT")]

    assert [answer.status for answer in answers] == [200, 401, 401, 405]
    assert answers[-1].headers["allow"] == "POST, GET, DELETE"
    assert ran == ["fixed"]


@pytest.mark.anyio
async def test_everything_an_included_router_may_hold_is_guarded() -> None:
    """
    Plain Starlette routes, class-based endpoints and WebSockets in an included router are judged as others.
    """
    ran: list[str] = []

    @READ
    async def plain(request: Request) -> Response:
        ran.append("plain")
        return PlainTextResponse("plain")

    class Orders(HTTPEndpoint):
        @READ
        async def get(self, request: Request) -> Response:
            ran.append("class")
            return PlainTextResponse("class")

    @READ
    async def feed(websocket: WebSocket) -> None:
        ran.append("feed")
        await websocket.accept()
        await websocket.close()

    router = APIRouter()
    router.add_route("/plain", plain)
    router.add_route("/class", Orders)  # type: ignore[arg-type]  # Starlette's own example; its type says function
    router.add_api_websocket_route("/feed", feed)
    app = guarded()
    app.include_router(router, prefix="/v1")

    for path in ("/v1/plain", "/v1/class"):
        assert (await call(app, path)).status == 401
        assert (await call(app, path, headers=bearer("orders:read"))).status == 200
    assert (await call(app, "/v1/class", method="POST", headers=bearer("orders:read"))).status == 405
    assert (await call(app, "/v1/feed", kind="websocket")).types == ["websocket.close"]
    accepted = await call(app, "/v1/feed", kind="websocket", headers=bearer("orders:read"))
    assert accepted.types[0] == "websocket.accept"
    assert ran == ["plain", "class", "feed"]


if LOOKS_INSIDE:  # FastAPI before 0.137 drops mounts and hosts of an included router

    @pytest.mark.anyio
    async def test_mounts_and_hosts_of_an_included_router_are_guarded() -> None:
        """
        What is mounted in an included router is judged where its inclusion puts it.
        """
        ran: list[str] = []

        router = APIRouter()
        router.routes.extend(
            [
                Mount("/sub", Router([Route("/x", READ(endpoint(ran, "mounted")))])),
                Mount("/files", READ(Application(ran, "files"))),
                Host("api.example.com", Router([Route("/hosted", READ(endpoint(ran, "hosted")))])),
            ]
        )
        app = guarded()
        app.include_router(router, prefix="/v1")

        async with client(app) as http:
            for path, host in (("/v1/sub/x", "a"), ("/v1/files/y", "a"), ("/v1/hosted", "api.example.com")):
                headers = [("host", host)]
                assert (await http.get(path, headers=headers)).status_code == 401
                answer = await http.get(path, headers=[*headers, *bearer("orders:read")])
                assert answer.status_code == 200
            assert (await http.get("/v1/hosted")).status_code == 404
        assert ran == ["mounted", "files", "hosted"]


@pytest.mark.anyio
async def test_an_included_route_class_that_matches_in_its_own_way_is_undeclared() -> None:
    """
    A route class that chooses by a header cannot be asked through FastAPI's contexts, so it does not start.
    """
    ran: list[str] = []

    class Versioned(APIRoute):
        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            match, child_scope = super().matches(scope)
            version = dict(scope["headers"]).get(b"x-version", b"one").decode()
            return (match, child_scope) if self.name == version else (Match.NONE, {})

    router = APIRouter(route_class=Versioned)

    @router.get("/orders", name="one")
    @public
    async def one() -> None:
        ran.append("one")

    @ADMIN
    @router.get("/orders", name="two")
    async def two() -> None:
        ran.append("two")

    app = guarded()
    app.include_router(router)

    if not hasattr(fastapi.routing, "iter_route_contexts"):  # before 0.137 routes are copied, and asked
        second = await call(app, "/orders", headers=[("x-version", "two")])
        assert (second.status, ran) == (401, [])
        return

    with pytest.raises(UndeclaredRouteError) as raised:
        await call(app, "/orders")

    assert (raised.value.routes, ran) == (("Versioned", "Versioned"), [])


if LOOKS_INSIDE:  # before 0.137 an included router is not asked whether it matches

    @pytest.mark.anyio
    async def test_an_included_router_that_matches_in_its_own_way_runs_nothing_undecided() -> None:
        """
        A router class that chooses by a header: what it chooses is judged, or the application does not start.
        """
        ran: list[str] = []

        class Versioned(APIRouter):
            version = b"one"

            def matches(self, scope: Scope) -> tuple[Match, Scope]:
                chosen = dict(scope["headers"]).get(b"x-version", b"one")
                return super().matches(scope) if chosen == self.version else (Match.NONE, {})

        first, second = Versioned(), Versioned()
        second.version = b"two"
        first.add_api_route("/orders", public(handler(ran, "one")))
        two = handler(ran, "two")
        second.add_api_route("/orders", two)
        ADMIN(two)
        app = guarded()
        app.include_router(first)
        app.include_router(second)

        with contextlib.suppress(MiddlewareMissingError, UndeclaredRouteError):
            answer = await call(app, "/orders", headers=[("x-version", "two")])
            assert answer.status == 401

        assert ran == []


@pytest.mark.anyio
async def test_a_route_added_to_an_included_router_after_startup_is_not_served() -> None:
    """
    Where FastAPI takes up late routes of an included router, guardrail does at the next startup.
    """
    ran: list[str] = []
    router = APIRouter()
    router.add_api_route("/x", READ(handler(ran, "x")))
    app = guarded()
    app.include_router(router)
    await start(app)

    router.add_api_route("/late", handler(ran, "late"))

    assert (await call(app, "/late", headers=bearer("orders:read"))).status == 404
    assert ran == []


if HAS_FRONTEND:  # others have none

    @pytest.mark.anyio
    async def test_a_frontend_is_not_served_undeclared(tmp_path: Path) -> None:
        """
        Files of ``app.frontend(...)``, which FastAPI does not enumerate, are 404 and not open.
        """
        (tmp_path / "index.html").write_text("secret", encoding="utf-8")
        app = guarded()
        router = APIRouter()
        router.frontend("/included", directory=str(tmp_path))
        app.include_router(router, prefix="/v1")
        app.frontend("/front", directory=str(tmp_path))
        app.add_api_route("/x", READ(handler([], "x")))

        paths = (
            "/front",
            "/front/",
            "/front/index.html",
            "/v1/included/",
            "/v1/included/index.html",
            "/index.html",
        )
        statuses = {(await call(app, path, headers=bearer("orders:read"))).status for path in paths}

        assert statuses == {404}


# Documentation


@pytest.mark.anyio
async def test_the_documentation_is_undeclared_until_it_is_opened() -> None:
    """
    FastAPI's own routes stop the startup, and `DOCS_PATHS` opens exactly them.
    """
    shut = FastAPI()
    shut.add_middleware(GuardrailMiddleware)
    with pytest.raises(UndeclaredRouteError) as raised:
        await start(shut)
    opened = FastAPI()
    opened.add_middleware(GuardrailMiddleware, public_paths=DOCS_PATHS)
    opened.add_api_route("/x", READ(handler([], "x")))

    statuses = [(await call(opened, path)).status for path in (*DOCS_PATHS, "/x", "/docs/x", "/openapi.yaml")]

    assert {line.split()[1] for line in raised.value.routes} == set(DOCS_PATHS)
    assert statuses == [200, 200, 200, 200, 401, 404, 404]


@pytest.mark.anyio
async def test_declaring_an_operation_does_not_change_its_openapi() -> None:
    """
    Summary, description and parameters of a declared operation are in the document as before.
    """

    def application(declare: Callable[[Any], Any]) -> FastAPI:
        app = FastAPI()

        async def read_order(order: int, limit: int = 10) -> list[str]:
            """
            Read one order.
            """
            return [str(order * limit)]

        app.add_api_route("/orders/{order}", declare(read_order))
        return app

    assert application(READ).openapi() == application(lambda operation: operation).openapi()


# Sub-applications


def with_root_path(root_path: str) -> FastAPI:
    """
    A FastAPI application with a ``root_path`` of its own, which newer versions deprecate.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FastAPI(openapi_url=None, root_path=root_path)


@pytest.mark.anyio
@pytest.mark.parametrize("root_path", ["", "/sub", "/elsewhere", "/sub/deep"])
@pytest.mark.parametrize("outer_root_path", ["", "/api"])
async def test_a_mounted_application_is_judged_as_it_routes(root_path: str, outer_root_path: str) -> None:
    """
    With and without a root path of its own, a sub-application runs the endpoint that was judged.
    """

    def application(guard: bool, ran: list[str]) -> FastAPI:
        sub = with_root_path(root_path) if root_path else FastAPI(openapi_url=None)
        app = FastAPI(openapi_url=None)
        for path, scope in (("/x", "x"), ("/sub/x", "sub"), ("/deep/x", "deep")):
            operation = handler(ran, scope)
            sub.add_api_route(path, ORDERS.requires(scope)(operation) if guard else operation)
        app.mount("/sub", sub)
        if guard:
            app.add_middleware(GuardrailMiddleware)
        return app

    for path in ("/sub/x", "/sub/sub/x", "/sub/deep/x", "/api/sub/x", "/elsewhere/x", "/sub/sub/deep/x"):
        plain_ran: list[str] = []
        ran: list[str] = []
        plain = await call(application(False, plain_ran), path, root_path=outer_root_path)
        app = application(True, ran)
        nobody = await call(app, path, root_path=outer_root_path)
        everybody = await call(app, path, root_path=outer_root_path, headers=bearer("x", "sub", "deep"))

        assert nobody.status == (401 if plain.status == 200 else plain.status)
        assert (everybody.status, ran) == (plain.status, plain_ran)


@pytest.mark.anyio
@pytest.mark.parametrize("outside", [True, False], ids=["outside", "inside"])
async def test_an_application_with_a_root_path_is_judged_as_it_routes(outside: bool) -> None:
    """
    ``FastAPI(root_path=...)`` sets the root path when it is called, behind guardrail or in front of it.
    """
    ran: list[str] = []
    app = with_root_path("/api")
    app.add_api_route("/x", READ(handler(ran, "x")))
    app.add_api_route("/api/x", ADMIN(handler(ran, "api")))
    if not outside:
        app.add_middleware(GuardrailMiddleware)
    target: ASGIApp = GuardrailMiddleware(app) if outside else app

    answers = [
        await call(target, path, headers=bearer("orders:read"))
        for path in ("/x", "/api/x", "/api/api/x", "/y")
    ]

    assert [answer.status for answer in answers] == [200, 200, 403, 404]
    assert ran == ["x", "x"]


# No request sees another one's operator


STEPS = random.Random(20)  # noqa: S311 - any order of events will do


async def wander() -> None:
    """
    Let other requests run, a random number of times.
    """
    for _ in range(STEPS.randrange(6)):
        await asyncio.sleep(0)


async def early(operator: CurrentOperator) -> str:
    await wander()
    return operator.subject


def in_thread() -> str:
    return current_operator().subject


Early = Annotated[str, Depends(early)]
InThread = Annotated[str, Depends(in_thread)]


def add_short_operations(app: FastAPI) -> None:
    """
    Operations that are over when they have answered.
    """

    @app.get("/async")
    @READ
    async def asynchronous(
        operator: CurrentOperator, one: Early, two: InThread, request: Request
    ) -> list[str]:
        await wander()
        return [operator.subject, one, two, current_operator().subject, request.state.operator.subject]

    @app.get("/sync")
    @READ
    def synchronous(operator: CurrentOperator, one: Early, two: InThread, request: Request) -> list[str]:
        return [operator.subject, one, two, current_operator().subject, request.user.subject]


def add_lasting_operations(app: FastAPI, background: list[tuple[str, str]]) -> None:
    """
    Operations that go on when they have begun to answer, or have answered.
    """

    async def later(subject: str) -> None:
        await wander()
        background.append((subject, current_operator().subject))

    def later_in_thread(subject: str) -> None:
        background.append((subject, current_operator().subject))

    @app.get("/background")
    @READ
    async def in_background(tasks: BackgroundTasks, operator: CurrentOperator) -> list[str]:
        tasks.add_task(later, operator.subject)
        tasks.add_task(later_in_thread, operator.subject)
        return [operator.subject]

    @app.get("/stream")
    @READ
    async def streamed(operator: CurrentOperator) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield '["'
            for _ in range(3):
                await wander()
                yield f'{current_operator().subject}","'
            yield f'{operator.subject}"]'

        return StreamingResponse(body())


@pytest.mark.anyio
async def test_concurrent_requests_see_their_own_operator() -> None:
    """
    Dependencies, sync and async operations, streams and background tasks of 20 operators never mix.
    """
    background: list[tuple[str, str]] = []
    app = guarded()
    add_short_operations(app)
    add_lasting_operations(app, background)
    paths = ["/async", "/sync", "/stream", "/background"] * 50
    plan = [(f"operator{number % 20}", path) for number, path in enumerate(paths)]
    STEPS.shuffle(plan)

    async with client(app) as http:

        async def ask(subject: str, path: str) -> set[str]:
            await wander()
            return set((await http.get(path, headers=bearer("orders:read", subject=subject))).json())

        answers = await asyncio.gather(*(ask(subject, path) for subject, path in plan))

    assert answers == [{subject} for subject, _ in plan]
    assert len(background) == 100
    assert all(subject == seen for subject, seen in background)
