"""
`GuardedRouter`, and the dependency behind `CurrentOperator`; oldest and newest FastAPI.
"""

import functools
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, WebSocket
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from guardrail import Operator, any_of, public
from guardrail.errors import MiddlewareMissingError, PolicyError, UndeclaredRouteError
from guardrail.fastapi import CurrentOperator, GuardedRouter, get_operator, install
from guardrail.testing import as_operator

from . import ORDERS, bearer, call, endpoint, start, websocket_endpoint

READ = ORDERS.requires("orders:read")
WRITE = ORDERS.requires("orders:write")
CAROL = Operator(operator_id="carol", kind="user", issuer="https://testing.invalid", subject="carol")


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


def guarded(*routers: APIRouter) -> FastAPI:
    """
    An application of these routers, guarded.
    """
    app = FastAPI()
    install(app)
    for router in routers:
        app.include_router(router)
    return app


async def statuses(app: FastAPI, *paths: str, scope: str) -> list[int]:
    """
    How each of *paths* answers a token with *scope*.
    """
    async with client(app) as http:
        return [(await http.get(path, headers=bearer(scope))).status_code for path in paths]


# The router's declaration


@pytest.mark.anyio
async def test_a_router_declares_for_its_routes() -> None:
    """
    Each of its routes needs what the router says, by decorator or added, in the table and in the document.
    """
    ran: list[str] = []
    router = GuardedRouter(READ, prefix="/orders", tags=["orders"])
    router.get("/decorated")(handler(ran, "decorated"))
    router.add_api_route("/added", handler(ran, "added"))
    router.add_route("/plain", endpoint(ran, "plain"))
    app = guarded(router)

    paths = ("/orders/decorated", "/orders/added", "/plain")  # a plain route has no prefix in FastAPI
    async with client(app) as http:
        without = [(await http.get(path)).status_code for path in paths]
    wrong = await statuses(app, *paths, scope="orders:write")
    assert ran == []

    assert (without, wrong) == ([401] * 3, [403] * 3)
    assert await statuses(app, *paths, scope="orders:read") == [200] * 3
    assert ran == ["decorated", "added", "plain"]
    document = app.openapi()["paths"]["/orders/decorated"]["get"]
    assert (document["security"], document["tags"]) == ([{"orders": ["orders:read"]}], ["orders"])


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["fastapi", "starlette"])
async def test_a_router_declares_for_its_websockets(kind: str) -> None:
    """
    A WebSocket of the router is denied without a token, and accepted with one.
    """
    ran: list[str] = []
    router = GuardedRouter(READ)
    if kind == "fastapi":

        @router.websocket("/feed", name="feed")
        async def feed(websocket: WebSocket) -> None:
            await websocket_endpoint(ran, "feed")(websocket)
    else:
        router.add_websocket_route("/feed", websocket_endpoint(ran, "feed"), name="feed")
    app = guarded(router)

    denied = await call(app, "/feed", kind="websocket")
    assert ran == []
    accepted = await call(app, "/feed", kind="websocket", headers=bearer("orders:read"))

    assert denied.types == ["websocket.close"]
    assert accepted.types[0] == "websocket.accept"
    assert ran == ["feed"]
    assert app.url_path_for("feed") == "/feed"


@pytest.mark.anyio
async def test_a_route_may_declare_for_itself() -> None:
    """
    An own declaration holds alone: the router's is neither added to it nor put in its place.
    """
    ran: list[str] = []
    router = GuardedRouter(READ)
    router.get("/own")(WRITE(handler(ran, "own")))
    router.get("/open")(public(handler(ran, "open")))
    app = guarded(router)

    assert await statuses(app, "/own", scope="orders:read") == [403]
    assert await statuses(app, "/own", scope="orders:write") == [200]
    async with client(app) as http:
        assert (await http.get("/open")).status_code == 200


def test_declaring_above_the_routers_decorator_raises() -> None:
    """
    The router has declared the endpoint by then, and marking twice raises.
    """
    router = GuardedRouter(READ)

    with pytest.raises(PolicyError, match="cancel is declared twice"):

        @WRITE
        @router.get("/cancel")
        async def cancel() -> None: ...


def test_declaring_what_was_added_raises() -> None:
    """
    An endpoint that a router has declared cannot be declared anew, however it was added.
    """
    operation = handler([], "operation")
    GuardedRouter(READ).add_api_route("/", operation)

    with pytest.raises(PolicyError, match="operation is declared twice"):
        WRITE(operation)


@pytest.mark.anyio
async def test_one_function_on_two_paths_is_guarded_on_both() -> None:
    """
    Stacked decorators of one router, and routers that declare alike, share the declaration.
    """
    ran: list[str] = []
    first, second = GuardedRouter(READ), GuardedRouter(ORDERS.requires("orders:read"), prefix="/v2")
    operation = first.get("/a")(first.get("/b")(handler(ran, "both")))
    second.get("/a")(operation)
    app = guarded(first, second)

    paths = ("/a", "/b", "/v2/a")
    assert await statuses(app, *paths, scope="orders:write") == [403] * 3
    assert ran == []
    assert await statuses(app, *paths, scope="orders:read") == [200] * 3


@pytest.mark.parametrize("second", [WRITE, public], ids=["another requirement", "public"])
def test_two_routers_that_do_not_agree_on_a_function_raise(second: Any) -> None:
    """
    It must not depend on the order of two routers what a function needs.
    """
    operation = handler([], "operation")
    GuardedRouter(READ).add_api_route("/", operation)

    with pytest.raises(PolicyError, match="operation is declared twice: by two routers, and not alike"):
        GuardedRouter(second).add_api_route("/", operation)


@pytest.mark.anyio
async def test_without_the_middleware_a_routers_operation_raises() -> None:
    """
    The tripwire of a declared function is on the router's functions too, on each of their paths.
    """
    ran: list[str] = []
    router = GuardedRouter(READ)
    router.get("/a")(router.get("/b")(handler(ran, "operation")))
    app = FastAPI()
    app.include_router(router)

    for path in ("/a", "/b"):
        with pytest.raises(MiddlewareMissingError):
            await call(app, path, headers=bearer("orders:read"))

    assert ran == []


def noting(ran: list[str], function: Callable[..., Any]) -> Callable[..., Any]:
    """
    A decorator of a team's own, such as a second check.
    """

    @functools.wraps(function)
    async def checked(*args: Any, **kwargs: Any) -> Any:
        ran.append("checked")
        return await function(*args, **kwargs)

    return checked


@pytest.mark.anyio
@pytest.mark.parametrize("is_guarded", [True, False], ids=["guarded", "without the middleware"])
async def test_what_was_made_of_a_routers_function_is_not_replaced_by_it(is_guarded: bool) -> None:
    """
    A decorated one keeps its decorator, a partial its arguments, a method its object; each is guarded.
    """
    ran: list[str] = []

    class Orders:
        async def of(self) -> None:
            ran.append(type(self).__name__)

    async def tenant(name: str = "anybody's") -> None:
        ran.append(name)

    router = GuardedRouter(READ)
    router.add_api_route("/function", tenant)
    router.add_api_route("/unbound", Orders.of)
    router.add_api_route("/decorated", noting(ran, tenant))
    router.add_api_route("/partial", functools.partial(tenant, "ours"))
    router.add_api_route("/method", Orders().of)
    app = guarded(router) if is_guarded else FastAPI()
    if not is_guarded:
        app.include_router(router)

    for path in ("/decorated", "/partial?name=theirs", "/method"):
        if is_guarded:
            assert await statuses(app, path, scope="orders:write") == [403]
            assert await statuses(app, path, scope="orders:read") == [200]
        else:
            with pytest.raises(MiddlewareMissingError):
                await call(app, path.partition("?")[0], headers=bearer("orders:read"))

    assert ran == (["checked", "anybody's", "ours", "Orders"] if is_guarded else [])


@pytest.mark.anyio
async def test_classes_and_partials_are_declared_too() -> None:
    """
    Of a class the router's declaration is for the methods that have none.
    """
    ran: list[str] = []

    class Orders(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            ran.append("get")
            return PlainTextResponse("get")

        @WRITE
        async def delete(self, request: Request) -> Response:
            ran.append("delete")
            return PlainTextResponse("delete")

    async def of(kind: str, request: Request) -> Response:
        ran.append(kind)
        return PlainTextResponse(kind)

    router = GuardedRouter(READ)
    router.add_route("/class", Orders)
    router.add_route("/partial", functools.partial(of, "partial"))
    app = guarded(router)

    assert await statuses(app, "/class", "/partial", scope="orders:write") == [403, 403]
    assert ran == []
    assert await statuses(app, "/class", "/partial", scope="orders:read") == [200, 200]
    async with client(app) as http:
        reading = await http.delete("/class", headers=bearer("orders:read"))
        writing = await http.delete("/class", headers=bearer("orders:write"))
    assert (reading.status_code, writing.status_code) == (403, 200)
    assert ran == ["get", "partial", "delete"]


@pytest.mark.anyio
async def test_an_included_router_declares_for_itself() -> None:
    """
    A plain router inside a guarded one is undeclared on every FastAPI; a guarded one keeps what it says.
    """
    plain, inner = APIRouter(), GuardedRouter(WRITE)
    plain.get("/plain")(handler([], "plain"))
    inner.get("/inner")(handler([], "inner"))
    router, other = GuardedRouter(READ), GuardedRouter(READ)
    router.include_router(inner, prefix="/v1")
    router.get("/after")(handler([], "after"))
    other.include_router(plain)

    app = guarded(router)

    assert await statuses(app, "/v1/inner", "/after", scope="orders:write") == [200, 403]
    with pytest.raises(UndeclaredRouteError, match="GET /plain -> plain"):
        await start(guarded(other))


def test_a_failed_inclusion_leaves_the_router_declaring() -> None:
    """
    After an inclusion that FastAPI refuses, routes are declared as before.
    """
    router = GuardedRouter(READ)
    with pytest.raises((AssertionError, ValueError)):
        router.include_router(APIRouter(), prefix="no-slash")

    router.get("/")(handler([], "root"))

    assert guarded(router).openapi()["paths"]["/"]["get"]["security"] == [{"orders": ["orders:read"]}]


@pytest.mark.anyio
async def test_a_router_may_be_public_or_open_to_several() -> None:
    """
    It takes whatever declares: `public`, and alternatives.
    """
    open_, either = GuardedRouter(public), GuardedRouter(any_of(READ, WRITE))
    open_.get("/open")(handler([], "open"))
    either.get("/either")(handler([], "either"))
    app = guarded(open_, either)

    async with client(app) as http:
        assert (await http.get("/open")).status_code == 200
        assert (await http.get("/either")).status_code == 401
    assert await statuses(app, "/either", scope="orders:write") == [200]


@pytest.mark.parametrize(
    "wrong", [None, ORDERS, "orders:read", print], ids=["none", "package", "scope", "function"]
)
def test_a_router_needs_a_requirement(wrong: Any) -> None:
    """
    The message has the right form.
    """
    with pytest.raises(PolicyError, match=r"GuardedRouter takes a requirement, such as orders.requires\("):
        GuardedRouter(wrong)


# The dependency behind CurrentOperator


@pytest.mark.anyio
async def test_an_override_replaces_the_parameter() -> None:
    """
    ``dependency_overrides`` says who the operator is to a path operation, and the guard still decides.
    """
    router = GuardedRouter(READ)

    @router.get("/me")
    async def me(operator: CurrentOperator) -> str:
        return operator.operator_id

    app = guarded(router)
    app.dependency_overrides[get_operator] = lambda: CAROL

    async with client(app) as http:
        refused = await http.get("/me")
        with as_operator(scopes=["orders:read"], operator_id="alice"):
            overridden = await http.get("/me")
            app.dependency_overrides.clear()
            plain = await http.get("/me")

    assert refused.status_code == 401
    assert (overridden.json(), plain.json()) == ("carol", "alice")


@pytest.mark.anyio
async def test_an_override_needs_no_guard_where_nothing_is_declared() -> None:
    """
    A dependency that takes the operator can be tested alone, in an application of the test's own.
    """
    app = FastAPI()

    @app.get("/me")
    async def me(operator: CurrentOperator) -> str:
        return operator.operator_id

    app.dependency_overrides[get_operator] = lambda: CAROL

    async with client(app) as http:
        assert (await http.get("/me")).json() == "carol"
