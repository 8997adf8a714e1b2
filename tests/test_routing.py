"""
Compiling routes and finding the endpoint: undeclared routes, the corners of paths, prefixes, preflights, and
what happens when something behind the middleware changes the request after the decision.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from frameworks import (
    ORDERS,
    Answer,
    Application,
    bearer,
    call,
    endpoint,
    lifespan,
    request_scope,
    serve,
    start,
    websocket_endpoint,
)
from starlette.applications import Starlette
from starlette.convertors import CONVERTOR_TYPES, Convertor, register_url_convertor
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guardrail import GuardrailMiddleware, public
from guardrail._prefixes import PrefixTable
from guardrail._routing import compile_routes, find_router
from guardrail.errors import MiddlewareMissingError, PolicyError, UndeclaredRouteError

READ = ORDERS.requires("orders:read")
ADMIN = ORDERS.requires("orders:admin")
NO_PREFIXES = PrefixTable({})
PREFLIGHT = [("origin", "https://shop.example.com"), ("access-control-request-method", "GET")]


def guarded(*routes: BaseRoute, behind: list[Middleware] | None = None, **settings: Any) -> Starlette:
    """
    A Starlette application with guardrail, and *behind* it what should not be there.
    """
    return Starlette(routes=routes, middleware=[Middleware(GuardrailMiddleware, **settings), *(behind or [])])


class Orders(HTTPEndpoint):
    """
    A class-based endpoint that declares nothing.
    """

    async def get(self, request: Request) -> Response:
        """
        Answer GET.
        """
        return PlainTextResponse("get")

    async def post(self, request: Request) -> Response:
        """
        Answer POST.
        """
        return PlainTextResponse("post")


class StrangeRoute(BaseRoute):
    """
    An entry that only its author can see inside.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """
        Take everything.
        """
        return Match.FULL, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Never get that far.
        """
        raise AssertionError("an undeclared route ran")


# Undeclared routes


def undeclared_application() -> Starlette:
    ran: list[str] = []
    inner = Router(
        [
            Route("/items/{id}", endpoint(ran, "read_item"), methods=["GET", "PATCH"]),
            Mount("/deep", Router([Route("/", endpoint(ran, "read_deep"))])),
        ]
    )
    return guarded(
        Route("/declared", READ(endpoint(ran, "declared"))),
        Route("/v1/invoices/{id}", endpoint(ran, "read_invoice")),
        Route("/orders", Orders),
        Route("/raw", Application(ran, "raw")),
        WebSocketRoute("/feed", websocket_endpoint(ran, "feed")),
        Mount("/inner", inner),
        Mount("/files", Application(ran, "files")),
        Host("{tenant}.example.com", Router([Route("/home", endpoint(ran, "read_home"))])),
        Host("files.example.com", Application(ran, "files")),
        StrangeRoute(),
    )


UNDECLARED = (
    "GET /v1/invoices/{id} -> read_invoice",
    "GET /orders -> Orders.get",
    "POST /orders -> Orders.post",
    "* /raw -> Application",
    "WEBSOCKET /feed -> feed",
    "GET,PATCH /inner/items/{id} -> read_item",
    "GET /inner/deep/ -> read_deep",
    "MOUNT /files -> Application",
    "GET /home -> read_home",
    "MOUNT / -> Application",
    "StrangeRoute",
)


@pytest.mark.anyio
async def test_startup_fails_with_every_undeclared_route() -> None:
    """
    The server hears ``startup.failed`` with the whole list first, and then the exception.
    """
    sent: list[Message] = []

    with pytest.raises(UndeclaredRouteError) as raised:
        await lifespan(undeclared_application(), sent)

    assert raised.value.routes == UNDECLARED
    assert sent == [{"type": "lifespan.startup.failed", "message": str(raised.value)}]
    assert str(raised.value).splitlines()[:2] == [
        "undeclared routes:",
        "  GET /v1/invoices/{id} -> read_invoice",
    ]


@pytest.mark.anyio
async def test_a_failed_startup_is_told_when_the_server_asks() -> None:
    """
    ``lifespan.startup`` is received before ``lifespan.startup.failed`` is sent, as ASGI has it.
    """
    happened: list[str] = []

    async def receive() -> Message:
        happened.append("lifespan.startup")
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        happened.append(message["type"])

    with pytest.raises(UndeclaredRouteError):
        await undeclared_application()({"type": "lifespan"}, receive, send)

    assert happened == ["lifespan.startup", "lifespan.startup.failed"]


@pytest.mark.anyio
async def test_without_a_lifespan_every_request_raises() -> None:
    """
    A server that runs no lifespan gets no answer at all from an application with an undeclared route.
    """
    app = undeclared_application()

    for path in ("/declared", "/v1/invoices/1", "/nothing", "/declared"):
        with pytest.raises(UndeclaredRouteError):
            await call(app, path, headers=bearer("orders:read"))


@pytest.mark.anyio
async def test_a_server_that_serves_on_after_a_failed_startup_gets_no_answer() -> None:
    """
    uvicorn's ``lifespan="auto"`` may go on serving; no request is answered then either.
    """
    app = undeclared_application()
    with pytest.raises(UndeclaredRouteError):
        await start(app)

    with pytest.raises(UndeclaredRouteError):
        await call(app, "/declared", headers=bearer("orders:read"))


def test_an_undeclared_method_beside_a_declared_one_is_listed() -> None:
    """
    A class-based endpoint is declared only when each of its methods is.
    """

    class Half(HTTPEndpoint):
        @READ
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("get")

        async def delete(self, request: Request) -> Response:
            return PlainTextResponse("delete")

    with pytest.raises(UndeclaredRouteError) as raised:
        compile_routes(Router([Route("/half", Half)]), prefixes=NO_PREFIXES)

    assert raised.value.routes == ("DELETE /half -> Half.delete",)


def test_only_the_methods_a_route_takes_must_be_declared() -> None:
    """
    A method that the route never dispatches to is not asked about.
    """

    class Half(HTTPEndpoint):
        @READ
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("get")

        async def delete(self, request: Request) -> Response:
            return PlainTextResponse("delete")

    table = compile_routes(Router([Route("/half", Half, methods=["GET"])]), prefixes=NO_PREFIXES)

    assert [str(row) for row in table.rows] == ["GET /half -> Half.get"]


def test_a_class_that_dispatches_in_its_own_way_is_declared_as_a_whole_or_not() -> None:
    """
    Marks on methods say nothing of a class whose ``dispatch`` may call anything.
    """

    class Own(HTTPEndpoint):
        async def dispatch(self) -> None: ...

        @READ
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("get")

    with pytest.raises(UndeclaredRouteError) as raised:
        compile_routes(Router([Route("/own", Own)]), prefixes=NO_PREFIXES)

    assert raised.value.routes == ("* /own -> Own",)


def test_a_subclass_of_a_declared_class_is_undeclared() -> None:
    """
    A class mark is never inherited, and startup says so.
    """

    @READ
    class Base(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("get")

    class Derived(Base): ...

    with pytest.raises(UndeclaredRouteError, match=r"GET /derived -> Derived\.get"):
        compile_routes(Router([Route("/derived", Derived)]), prefixes=NO_PREFIXES)


# What is behind the middleware


class Wrapper:
    """
    A middleware as most are written.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Pass everything on.
        """
        await self.app(scope, receive, send)


def test_the_router_is_found_through_middleware() -> None:
    """
    The ``app`` attribute of middleware leads to what it wraps, and no further than a router.
    """
    router = Router([])
    app = Starlette()

    assert find_router(Wrapper(Wrapper(router))) is router
    assert find_router(Wrapper(app)) is app


def test_a_declared_object_is_not_looked_behind() -> None:
    """
    What is declared as a whole is the end of the search.
    """
    wrapper = public(Wrapper(Router([])))

    assert find_router(Wrapper(wrapper)) is wrapper


def test_an_endless_chain_of_wrappers_ends() -> None:
    """
    An object that answers ``app`` with itself does not hang the startup.
    """

    class Loop:
        @property
        def app(self) -> "Loop":
            return Loop()

    assert isinstance(find_router(Loop()), Loop)


@pytest.mark.anyio
@pytest.mark.parametrize("in_front", [False, True], ids=["behind", "on_both_sides"])
async def test_a_middleware_that_hides_what_it_wraps_does_not_hide_the_routes(in_front: bool) -> None:
    """
    Inside Starlette the application itself says what its routes are, whatever stands between.
    """
    ran: list[str] = []

    def hiding(app: ASGIApp) -> ASGIApp:
        async def hidden(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)

        return hidden

    app = guarded(Route("/orders", READ(endpoint(ran, "orders"))), behind=[Middleware(hiding)])
    if in_front:
        app.user_middleware.insert(0, Middleware(hiding))

    assert (await call(app, "/orders")).status == 401
    assert (await call(app, "/orders", headers=bearer("orders:read"))).status == 200
    assert ran == ["orders"]


@pytest.mark.anyio
async def test_a_bare_router_can_be_guarded() -> None:
    """
    A Starlette router is an application too.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(Router([Route("/orders", READ(endpoint(ran, "orders")))]))

    assert (await call(app, "/orders")).status == 401
    assert (await call(app, "/orders", headers=bearer("orders:read"))).status == 200
    assert (await call(app, "/nothing")).status == 404


@pytest.mark.anyio
async def test_an_application_declared_as_a_whole_holds_no_other_declarations() -> None:
    """
    An application marked public with a guarded endpoint in it contradicts itself, and does not start.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(public(Starlette(routes=[Route("/secret", ADMIN(Application(ran, "secret")))])))

    with pytest.raises(PolicyError, match="declared twice"):
        await start(app)

    assert ran == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(lambda ran: Starlette(routes=[Route("/x", endpoint(ran, "x"))]), id="starlette"),
        pytest.param(lambda ran: Application(ran, "x"), id="foreign"),
    ],
)
async def test_an_application_can_be_declared_as_a_whole(whole: Callable[[list[str]], ASGIApp]) -> None:
    """
    One mark on the application is the requirement of everything in it; deeper prefixes still count.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(READ(whole(ran)), prefixes={"/admin": ADMIN})
    read = bearer("orders:read")

    statuses = [
        (await call(app, path, headers=headers)).status
        for path, headers in [("/x", []), ("/x", read), ("/admin/x", read), ("/x/../admin", read)]
    ]

    assert (statuses, ran) == ([401, 200, 403, 404], ["x"])


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["quic", "", "https"])
async def test_other_scope_types_are_refused(kind: str) -> None:
    """
    A kind of connection that guardrail does not know never reaches the application.
    """
    app = GuardrailMiddleware(public(Application([], "app")), prefixes={"/": public})

    with pytest.raises(PolicyError, match="lets none pass"):
        await app({"type": kind}, _no_receive, _no_send)


async def _no_receive() -> Message:
    raise AssertionError("nothing may be received")


async def _no_send(message: Message) -> None:
    raise AssertionError(f"nothing may be sent; got {message!r}")


@pytest.mark.anyio
async def test_routes_added_after_startup_are_not_found_until_the_next() -> None:
    """
    A route that no startup has seen is 404; after another lifespan it is served.
    """
    ran: list[str] = []
    app = guarded(Route("/orders", READ(endpoint(ran, "orders"))))
    await start(app)
    app.add_route("/late", READ(endpoint(ran, "late")))

    before = await call(app, "/late", headers=bearer("orders:read"))
    await start(app)
    after = await call(app, "/late", headers=bearer("orders:read"))

    assert (before.status, after.status, ran) == (404, 200, ["late"])


@pytest.mark.anyio
async def test_an_undeclared_route_added_after_startup_never_runs() -> None:
    """
    Adding a route at run time opens nothing.
    """
    ran: list[str] = []
    app = guarded(Route("/orders", READ(endpoint(ran, "orders"))))
    await start(app)
    app.router.routes.insert(0, Route("/late", endpoint(ran, "late")))

    answer = await call(app, "/late", headers=bearer("orders:read"))

    assert (answer.status, ran) == (404, [])


@pytest.mark.anyio
async def test_a_route_put_in_front_of_a_guarded_one_does_not_answer_for_it() -> None:
    """
    An undeclared object added at run time before a declared route gets nothing out to the client.
    """
    ran: list[str] = []
    app = guarded(Route("/orders", public(endpoint(ran, "orders"))))
    await start(app)
    app.router.routes.insert(0, Route("/orders", Application(ran, "intruder")))

    with pytest.raises(MiddlewareMissingError):
        await call(app, "/orders")


# Paths


def corner_application(ran: list[str], **settings: Any) -> Starlette:
    return guarded(
        Route("/admin", ADMIN(endpoint(ran, "admin"))),
        Route("/admin/users", ADMIN(endpoint(ran, "admin_users"))),
        Route("/open/{rest:path}", public(endpoint(ran, "open"))),
        Route("/", public(endpoint(ran, "root"))),
        **settings,
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/admin", 401),
        ("/%61dmin", 401),
        ("/admin/%75sers", 401),
        ("/admin%2Fusers", 401),
        ("/admin/", 307),
        ("/admin//", 307),
        ("//admin", 404),
        ("///admin", 404),
        ("/./admin", 404),
        ("/x/../admin", 404),
        ("/admin%2f", 307),
        ("/ADMIN", 404),
        ("/admin;x", 404),
        ("/admin;/users", 404),
        ("/admin%00", 404),
        ("/admin%0a", 401),
        ("/admin%20", 404),
        ("/%2561dmin", 404),
        ("/admin%23/open/", 404),
        ("/admin%3F/open/", 404),
        ("/admin\\", 404),
        ("\\admin", 404),
        ("admin", 404),
        ("*", 404),
        ("", 307),
        ("//", 404),
        ("/admin.json", 404),
        ("/admin/unknown", 404),
    ],
)
async def test_no_spelling_of_a_path_reaches_a_guarded_endpoint(path: str, status: int) -> None:
    """
    Without a token, a path that the router takes for the guarded one is 401; any other spelling runs nothing.
    """
    ran: list[str] = []
    app = corner_application(ran)

    answer = await call(app, path)

    assert (answer.status, ran) == (status, [])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path", ["/open/../admin", "/open/%2e%2e/admin", "/open//admin", "/open/..%2fadmin", "/open/"]
)
async def test_a_public_catch_all_runs_itself_and_nothing_else(path: str) -> None:
    """
    A path that climbs out of a public wildcard stays in it, as the router does not normalise.
    """
    ran: list[str] = []
    app = corner_application(ran)

    await call(app, path)

    assert ran == ["open"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("host", "testserver/open/x?x=")], id="host_with_a_path"),
        pytest.param([("host", "testserver#")], id="host_with_a_fragment"),
        pytest.param([("x-forwarded-uri", "/open/x")], id="forwarded_uri"),
        pytest.param([("x-original-url", "/open/x"), ("x-rewrite-url", "/open/x")], id="original_url"),
        pytest.param(
            [("x-forwarded-prefix", "/open"), ("x-forwarded-path", "/open/x")], id="forwarded_prefix"
        ),
        pytest.param([("forwarded", "for=127.0.0.1;path=/open/x")], id="forwarded"),
        pytest.param([("x-http-method-override", "OPTIONS")], id="method_override"),
        pytest.param([("user-agent", "kube-probe/1.33")], id="health_check"),
        pytest.param([("x-operator", "admin"), ("x-forwarded-user", "admin")], id="identity"),
    ],
)
async def test_headers_do_not_choose_the_policy(headers: list[tuple[str, str]]) -> None:
    """
    Only the path that the router reads counts, whatever a header says the path, the method or the caller is.
    """
    ran: list[str] = []
    app = corner_application(ran)

    answer = await serve(
        app, request_scope("/admin", query_string=b"/open/x") | {"headers": _fields(headers)}
    )

    assert (answer.status, ran) == (401, [])


def _fields(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


@pytest.mark.anyio
async def test_overlapping_templates_are_judged_in_the_routers_order() -> None:
    """
    A parameter before a fixed path takes the request, and its requirement is the one that counts.
    """
    ran: list[str] = []
    app = guarded(
        Route("/orders/{id}", public(endpoint(ran, "one"))),
        Route("/orders/export", ADMIN(endpoint(ran, "export"))),
        Route("/reports/export", ADMIN(endpoint(ran, "report_export"))),
        Route("/reports/{id}", public(endpoint(ran, "report"))),
    )

    answers = [await call(app, path) for path in ("/orders/export", "/reports/export", "/reports/1")]

    assert [answer.status for answer in answers] == [200, 401, 200]
    assert ran == ["one", "report"]


@pytest.mark.anyio
async def test_methods_of_one_path_are_judged_apart() -> None:
    """
    A path whose methods are on several routes has each method's own requirement.
    """
    ran: list[str] = []
    app = guarded(
        Route("/orders", public(endpoint(ran, "list"))),
        Route("/orders", READ(endpoint(ran, "place")), methods=["POST"]),
        Route("/orders", ADMIN(endpoint(ran, "clear")), methods=["DELETE"]),
    )

    answers = [
        await call(app, "/orders", method=method, headers=bearer("orders:read"))
        for method in ("GET", "HEAD", "POST", "DELETE", "PATCH")
    ]

    assert [answer.status for answer in answers] == [200, 200, 200, 403, 405]
    assert ran == ["list", "list", "place"]
    assert answers[-1].headers["allow"] == "GET, HEAD, POST, DELETE"


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "TRACE", "FOO", "get", "CONNECT"])
async def test_a_method_that_the_path_has_not_is_405(method: str) -> None:
    """
    405 needs no token: no handler can run.
    """
    ran: list[str] = []
    app = guarded(Route("/orders", READ(endpoint(ran, "orders"))))

    answer = await call(app, "/orders", method=method)

    assert (answer.status, answer.headers["allow"], ran) == (405, "GET, HEAD", [])


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "FOO", "POST"])
async def test_an_application_on_a_route_is_guarded_for_every_method(method: str) -> None:
    """
    An endpoint that takes any method is guarded for any method.
    """
    ran: list[str] = []
    app = guarded(Route("/raw", READ(Application(ran, "raw"))))

    assert (await call(app, "/raw", method=method)).status == 401
    assert ran == []
    assert (await call(app, "/raw", method=method, headers=bearer("orders:read"))).status == 200


@pytest.mark.anyio
async def test_an_unknown_path_is_404_whoever_asks() -> None:
    """
    Nobody needs a token to be told that there is nothing; a token makes no difference.
    """
    app = corner_application([])

    answers = [await call(app, "/nothing"), await call(app, "/nothing", headers=bearer("orders:admin"))]

    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].messages == answers[1].messages


@pytest.mark.anyio
async def test_a_team_can_have_its_own_404() -> None:
    """
    ``not_found=`` answers for unknown paths, without an operator, and for nothing else.
    """
    ran: list[str] = []

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        ran.append(scope["user"].kind)
        await PlainTextResponse("nothing here", status_code=404)(scope, receive, send)

    app = corner_application([], not_found=page)

    answer = await call(app, "/nothing", headers=bearer("orders:admin"))
    guarded_answer = await call(app, "/admin")
    socket = await call(app, "/nothing", kind="websocket")

    assert (answer.status, answer.text, ran) == (404, "nothing here", ["anonymous"])
    assert guarded_answer.status == 401
    assert socket.types == ["websocket.close"]


@pytest.mark.anyio
async def test_a_routers_own_default_is_never_reached() -> None:
    """
    A custom default application has no declaration, and answers nobody.
    """
    ran: list[str] = []
    inner = Router(
        [Route("/x", READ(endpoint(ran, "x")))],
        default=Application(ran, "inner default"),
        redirect_slashes=False,
    )
    router = Router([Mount("/inner", inner)], default=Application(ran, "default"))
    app = GuardrailMiddleware(router)

    for path in ("/nothing", "/inner/nothing", "/nothing/", "/inner/x/"):
        assert (await call(app, path, headers=bearer("orders:read"))).status == 404

    assert ran == []


# The trailing slash


@pytest.mark.anyio
async def test_the_routers_redirect_is_forwarded() -> None:
    """
    A path with its trailing slash toggled is redirected by the router, without a token, running nothing.
    """
    ran: list[str] = []
    app = guarded(
        Route("/orders", READ(endpoint(ran, "orders"))),
        Route("/slashed/", READ(endpoint(ran, "slashed"))),
        Mount("/sub", Router([Route("/x/", READ(endpoint(ran, "x")))])),
    )

    for path, target in (("/orders/", "/orders"), ("/slashed", "/slashed/"), ("/sub/x", "/sub/x/")):
        answer = await call(app, path)
        assert (answer.status, answer.headers["location"]) == (307, f"http://testserver{target}")
    assert ran == []


@pytest.mark.anyio
async def test_a_redirect_to_a_mount_needs_something_there() -> None:
    """
    ``/sub`` is redirected to ``/sub/`` when that is a route, else it is 404 at once.
    """
    app = guarded(
        Mount("/sub", Router([Route("/", READ(endpoint([], "root")))])),
        Mount("/bare", Router([Route("/x", READ(endpoint([], "x")))])),
    )

    assert (await call(app, "/sub")).status == 307
    assert (await call(app, "/bare")).status == 404


@pytest.mark.anyio
async def test_without_redirects_a_toggled_slash_is_404() -> None:
    """
    A router with ``redirect_slashes=False`` redirects nothing, at the level that is its own.
    """
    app = Starlette(
        routes=[
            Route("/orders", READ(endpoint([], "orders"))),
            Mount("/strict", Router([Route("/x", READ(endpoint([], "x")))], redirect_slashes=False)),
            Mount("/lenient", Router([Route("/x", READ(endpoint([], "x")))])),
        ],
        middleware=[Middleware(GuardrailMiddleware)],
    )
    app.router.redirect_slashes = False

    answers = [await call(app, path) for path in ("/orders/", "/strict/x/", "/lenient/x/", "/lenient")]

    assert [answer.status for answer in answers] == [404, 404, 307, 404]


@pytest.mark.anyio
async def test_a_redirect_to_what_a_prefix_declares_is_forwarded() -> None:
    """
    Slashes that the redirect takes away do not make the path ambiguous.
    """
    ran: list[str] = []
    app = guarded(Route("/open", endpoint(ran, "open")), prefixes={"/open": READ})

    answers = [await call(app, path) for path in ("/open/", "/open//")]

    assert ([answer.status for answer in answers], ran) == ([307, 307], [])


@pytest.mark.anyio
async def test_the_root_of_a_root_path_is_redirected() -> None:
    """
    Behind a proxy's prefix, the prefix without its slash is redirected as the router would.
    """
    app = guarded(Route("/", public(endpoint([], "root"))))

    answer = await call(app, "/api", root_path="/api")

    assert (answer.status, answer.headers.get("location")) == (307, "http://testserver/api/")


# Root paths, hosts, convertors


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "root_path", "status"),
    [
        pytest.param("/api/orders", "/api", 401, id="with_the_prefix"),
        pytest.param("/orders", "/api", 401, id="without_the_prefix"),
        pytest.param("/apix/orders", "/api", 404, id="not_on_a_boundary"),
        pytest.param("/api/api/orders", "/api", 404, id="twice"),
        pytest.param("/api/orders/", "/api", 307, id="toggled"),
    ],
)
async def test_a_root_path_is_read_as_the_router_reads_it(path: str, root_path: str, status: int) -> None:
    """
    With and without the proxy's prefix, the endpoint that would run is the one judged.
    """
    ran: list[str] = []
    app = guarded(Route("/orders", READ(endpoint(ran, "orders"))))

    answer = await call(app, path, root_path=root_path)
    with_token = await call(app, path, root_path=root_path, headers=bearer("orders:read"))

    assert answer.status == status
    assert (with_token.status == 200) is (status == 401)


@pytest.mark.anyio
async def test_a_number_too_long_to_convert_is_404() -> None:
    """
    A path that makes the router's own convertor fail answers 404, not 500.
    """
    app = guarded(Route("/orders/{id:int}", READ(endpoint([], "order"))))

    answer = await call(app, "/orders/" + "9" * 5_000)

    assert answer.status == 404


@pytest.mark.anyio
async def test_a_convertor_that_fails_in_its_own_way_runs_nothing() -> None:
    """
    An exception of a team's own convertor is the router's, and no endpoint runs.
    """
    ran: list[str] = []

    class Failing(Convertor[str]):
        regex = "[^/]+"

        def convert(self, value: str) -> str:
            raise LookupError(value)

        def to_string(self, value: str) -> str:
            return value

    register_url_convertor("failing", Failing())
    try:
        app = guarded(Route("/orders/{id:failing}", public(endpoint(ran, "order"))))
        with pytest.raises(LookupError):
            await call(app, "/orders/1")
    finally:
        del CONVERTOR_TYPES["failing"]

    assert ran == []


# public_paths


@pytest.mark.anyio
async def test_public_paths_open_exactly_their_templates() -> None:
    """
    A template opens the route that has it, for its methods, and nothing under or beside it.
    """
    ran: list[str] = []
    app = guarded(
        Route("/docs/{page:int}", endpoint(ran, "page")),
        Route("/docs/{page}/edit", READ(endpoint(ran, "edit"))),
        Mount("/sub", Router([Route("/docs", endpoint(ran, "sub"))])),
        public_paths=["/docs/{page:int}", "/sub/docs"],
    )

    answers = [await call(app, path) for path in ("/docs/1", "/docs/1/edit", "/docs/x", "/sub/docs")]

    assert [answer.status for answer in answers] == [200, 401, 404, 200]
    assert ran == ["page", "sub"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "template", ["/doc", "/docs/", "/docs/1", "/docs/{other}", "docs", "/docs/*", "/DOCS/{page}"]
)
async def test_a_public_path_that_is_no_routes_template_raises(template: str) -> None:
    """
    A spelling that opens nothing is found at startup, not when somebody asks for the page.
    """
    app = guarded(Route("/docs/{page}", public(endpoint([], "page"))), public_paths=[template])

    with pytest.raises(PolicyError, match="public_paths names no route's template"):
        await start(app)


@pytest.mark.anyio
async def test_a_public_path_that_is_decorated_too_raises() -> None:
    """
    Of two declarations for one route, neither silently wins.
    """
    app = guarded(Route("/docs", READ(endpoint([], "docs"))), public_paths=["/docs"])

    with pytest.raises(PolicyError, match="/docs is declared twice"):
        await start(app)


@pytest.mark.anyio
async def test_a_public_path_of_a_class_with_a_decorated_method_raises() -> None:
    """
    A class-based endpoint that declares a method is decorated, so ``public_paths`` may not name it.
    """

    class Half(HTTPEndpoint):
        @READ
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("get")

        async def delete(self, request: Request) -> Response:
            return PlainTextResponse("delete")

    app = guarded(Route("/half", Half), public_paths=["/half"])

    with pytest.raises(PolicyError, match="/half is declared twice"):
        await start(app)


@pytest.mark.anyio
async def test_a_public_path_opens_a_whole_class() -> None:
    """
    A class-based endpoint that declares nothing is opened by its template.
    """
    app = guarded(Route("/orders", Orders), public_paths=["/orders"])

    answers = [await call(app, "/orders", method=method) for method in ("GET", "HEAD", "POST", "PUT")]

    assert [answer.status for answer in answers] == [200, 200, 200, 405]
    assert answers[-1].headers["allow"] == "GET, HEAD, POST"


@pytest.mark.anyio
async def test_a_public_landing_page_does_not_open_what_is_mounted_at_the_root() -> None:
    """
    ``"/"`` is the template of a route; an undeclared application mounted there stays undeclared.
    """
    ran: list[str] = []
    app = guarded(
        Route("/", endpoint(ran, "landing")), Mount("/", Application(ran, "everything")), public_paths=["/"]
    )

    with pytest.raises(UndeclaredRouteError, match="MOUNT / -> Application"):
        await call(app, "/anything")

    assert ran == []


def test_a_single_public_path_is_no_list() -> None:
    """
    A bare string would silently be its letters.
    """
    with pytest.raises(PolicyError, match="public_paths must be several"):
        GuardrailMiddleware(Router([]), public_paths="/docs")


# prefixes, around an application that is not Starlette


@pytest.mark.anyio
async def test_around_a_foreign_application_prefixes_are_the_whole_table() -> None:
    """
    What has no prefix is 404, what has one is judged by it, and the application starts.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(
        Application(ran, "app"), prefixes={"/api": READ, "/api/admin": ADMIN, "/healthz": public}
    )
    await start(GuardrailMiddleware(_speaks_lifespan([]), prefixes={"/api": READ}))
    read = bearer("orders:read")

    statuses = [
        (await call(app, path, headers=headers)).status
        for path, headers in [
            ("/api/orders", []),
            ("/api/orders", read),
            ("/api/admin", read),
            ("/api/administrators", read),
            ("/apix", read),
            ("/healthz", []),
            ("/healthz/live", []),
            ("/", read),
            ("/anything", read),
        ]
    ]

    assert statuses == [401, 200, 403, 200, 404, 200, 200, 404, 404]
    assert len(ran) == 4


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    [
        "/open/../api/orders",
        "/open/%2e%2e/api/orders",
        "/open/..%2fapi/orders",
        "/open//api/orders",
        "/open/./x",
        "//api/orders",
        "/open/%252e%252e/api/orders",
        "/open\\..\\api",
        "/open/%5c..%5capi",
        "/open/%00",
        "/open/..",
    ],
)
async def test_no_path_leads_from_a_public_prefix_to_a_guarded_one(path: str) -> None:
    """
    A path that the application behind might normalise differently is refused, not judged by its beginning.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(Application(ran, "app"), prefixes={"/open": public, "/api": READ})

    answer = await call(app, path)

    assert (answer.status, ran) == (404, [])


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/open%2Fapi", "/open%2F..%2Fapi", "/open/x%5Capi"])
async def test_an_encoded_slash_has_no_prefix(path: str) -> None:
    """
    A framework that routes by ``raw_path`` sees one segment where the decoded path has two: refuse it.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(Application(ran, "app"), prefixes={"/open": public, "/": READ})

    answer = await call(app, path)

    assert (answer.status in {401, 404}, ran) == (True, [])


def _speaks_lifespan(seen: list[str]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})

    return app


@pytest.mark.anyio
async def test_the_lifespan_of_a_foreign_application_is_passed_on() -> None:
    """
    The application's own startup and shutdown run, after the table has been compiled.
    """
    seen: list[str] = []
    app = GuardrailMiddleware(_speaks_lifespan(seen), prefixes={"/api": READ})

    sent = await start(app)

    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert seen == ["lifespan"]


@pytest.mark.anyio
async def test_an_application_that_does_not_speak_lifespan_is_served() -> None:
    """
    Its own exception is what the server gets, as without guardrail; requests are guarded all the same.
    """
    ran: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await Application(ran, "app")(scope, receive, send)

    guarded_app = GuardrailMiddleware(app, prefixes={"/api": READ})
    sent: list[Message] = []

    with pytest.raises(NotImplementedError):
        await lifespan(guarded_app, sent)
    answers = [
        await call(guarded_app, "/api"),
        await call(guarded_app, "/api", headers=bearer("orders:read")),
    ]

    assert sent == []
    assert [answer.status for answer in answers] == [401, 200]


@pytest.mark.anyio
async def test_without_prefixes_a_foreign_application_is_shut() -> None:
    """
    An application that guardrail cannot see into, and that nothing declares, is 404 everywhere.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(Application(ran, "app"))

    answers = [await call(app, path, headers=bearer("orders:read")) for path in ("/", "/api", "")]

    assert [answer.status for answer in answers] == [404, 404, 404]
    assert ran == []


@pytest.mark.anyio
async def test_a_foreign_websocket_is_guarded_by_its_prefix() -> None:
    """
    A prefix holds for WebSockets as for HTTP.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(Application(ran, "app"), prefixes={"/api": READ})

    refused = await call(app, "/api/feed", kind="websocket")
    unknown = await call(app, "/feed", kind="websocket", headers=bearer("orders:read"))
    accepted = await call(app, "/api/feed", kind="websocket", headers=bearer("orders:read"))

    assert [answer.types for answer in (refused, unknown, accepted)] == [
        ["websocket.close"],
        ["websocket.close"],
        ["websocket.accept"],
    ]
    assert ran == ["app"]


@pytest.mark.anyio
@pytest.mark.parametrize("prefix", ["/a b", "/100%", "/.well-known", "/a.b", "/a;b", "/é"])
async def test_a_prefix_is_a_path_as_the_server_decodes_it(prefix: str) -> None:
    """
    Characters that are escaped when they are sent stand in a prefix as they are.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(Application(ran, "app"), prefixes={"/": public, prefix: READ})

    refused = await call(app, f"{prefix}/x")
    accepted = await call(app, f"{prefix}/x", headers=bearer("orders:read"))

    assert (refused.status, accepted.status, ran) == (401, 200, ["app"])


@pytest.mark.parametrize(
    "prefix",
    [
        *[
            "",
            "mcp",
            "/mcp/",
            "//mcp",
            "/a//b",
            "/{tenant}",
            "/mcp/{id}",
            "/../mcp",
            "/a/.",
            "/a/./b",
            1,
            None,
        ],
        *["/a%20b", "/%61", "/a%2Fb", "/a?x", "/a#x", "/a\\b", "/a\n"],
    ],
)
def test_a_prefix_that_is_no_plain_path_is_refused(prefix: Any) -> None:
    """
    A prefix that no request path can have would silently cover nothing.
    """
    with pytest.raises(PolicyError, match="a prefix is a plain path without a trailing slash"):
        GuardrailMiddleware(Application([], "app"), prefixes={prefix: READ})


def test_prefixes_are_a_mapping() -> None:
    """
    A list of prefixes says nothing of what they need.
    """
    settings: dict[str, Any] = {"prefixes": ["/mcp"]}

    with pytest.raises(PolicyError, match="prefixes must map paths"):
        GuardrailMiddleware(Application([], "app"), **settings)


@pytest.mark.anyio
async def test_a_prefix_declares_a_class() -> None:
    """
    A class-based endpoint that declares nothing is judged by the prefix its request is under, any method.
    """
    app = guarded(Route("/{area}/orders", Orders), prefixes={"/": READ, "/open": public})
    read = bearer("orders:read")

    statuses = [
        (await call(app, path, method=method, headers=headers)).status
        for path, method, headers in [
            ("/open/orders", "GET", []),
            ("/open/orders", "POST", []),
            ("/other/orders", "GET", []),
            ("/other/orders", "POST", []),
            ("/other/orders", "HEAD", read),
            ("/other/orders", "DELETE", read),
            ("/open%2Forders", "GET", read),
        ]
    ]

    assert statuses == [200, 200, 401, 401, 200, 405, 404]


@pytest.mark.parametrize(
    "value", [None, True, "orders:read", ["orders:read"], ORDERS, lambda endpoint: endpoint]
)
def test_a_prefix_needs_a_requirement_or_public(value: object) -> None:
    """
    Only a declaration declares.
    """
    with pytest.raises(PolicyError, match=r"prefixes: /mcp needs a requirement"):
        GuardrailMiddleware(Application([], "app"), prefixes={"/mcp": value})


# prefixes, inside Starlette


@pytest.mark.anyio
async def test_a_prefix_declares_a_mount_that_cannot_be_seen_into() -> None:
    """
    A foreign application mounted in Starlette is judged by its prefix, and by deeper ones under it.
    """
    ran: list[str] = []
    app = guarded(
        Mount("/mcp", Application(ran, "mcp")),
        prefixes={"/mcp": READ, "/mcp/admin": ADMIN, "/mcp/open": public},
    )
    read = bearer("orders:read")

    statuses = [
        (await call(app, path, headers=headers)).status
        for path, headers in [
            ("/mcp/tools", []),
            ("/mcp/tools", read),
            ("/mcp/admin/x", read),
            ("/mcp/admin/x", bearer("orders:admin")),
            ("/mcp/open/x", []),
            ("/mcp/open/../admin/x", []),
            ("/mcp/open//admin", []),
            ("/mcp/", []),
            ("/mcp", []),
            ("/mcpx", read),
            ("/mcpx/", read),
        ]
    ]

    assert statuses == [401, 200, 403, 200, 200, 404, 404, 401, 307, 404, 404]
    assert len(ran) == 3


@pytest.mark.anyio
async def test_a_mount_under_a_root_path_is_found_by_its_prefix() -> None:
    """
    Prefixes are compared with the path as the router reads it, also when the slash is toggled.
    """
    ran: list[str] = []
    app = guarded(Mount("/mcp", Application(ran, "mcp")), prefixes={"/mcp": READ})

    answers = [await call(app, path, root_path="/api") for path in ("/api/mcp/x", "/mcp/x", "/api/mcp")]

    assert [answer.status for answer in answers] == [401, 401, 307]
    assert ran == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(lambda ran: Mount("/", public(Application(ran, "site"))), id="mount_at_the_root"),
        pytest.param(lambda ran: Host("testserver", public(Application(ran, "site"))), id="host"),
    ],
)
async def test_a_prefix_and_a_public_site_beside_it_are_no_contradiction(
    rest: Callable[[list[str]], BaseRoute],
) -> None:
    """
    A site mounted after everything else, and declared as a whole, takes nothing from a mount before it.
    """
    ran: list[str] = []
    app = guarded(Mount("/mcp", Application(ran, "mcp")), rest(ran), prefixes={"/mcp": READ})

    answers = [await call(app, path) for path in ("/mcp/tools", "/index.html")]

    assert ([answer.status for answer in answers], ran) == ([401, 200], ["site"])


@pytest.mark.anyio
async def test_a_mount_that_no_prefix_covers_is_undeclared() -> None:
    """
    A prefix on another segment, or deeper than the mount, does not declare the mount.
    """
    for prefix in ("/mc", "/mcpx", "/mcp/admin"):
        app = guarded(Mount("/mcp", Application([], "mcp")), prefixes={prefix: READ})
        with pytest.raises(UndeclaredRouteError, match="MOUNT /mcp -> Application"):
            await start(app)


@pytest.mark.anyio
async def test_a_decorated_route_under_a_prefix_keeps_its_own_declaration() -> None:
    """
    A prefix declares only what declares nothing itself.
    """
    ran: list[str] = []
    app = guarded(
        Route("/api/open", public(endpoint(ran, "open"))),
        Route("/api/admin", ADMIN(endpoint(ran, "admin"))),
        Route("/api/other", endpoint(ran, "other")),
        prefixes={"/api": READ},
    )
    read = bearer("orders:read")

    answers = [
        await call(app, path, headers=headers)
        for path, headers in [
            ("/api/open", []),
            ("/api/admin", read),
            ("/api/other", []),
            ("/api/other", read),
        ]
    ]

    assert [answer.status for answer in answers] == [200, 403, 401, 200]
    assert ran == ["open", "other"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("template", "path"),
    [
        pytest.param("/files/{name:path}", "/files/private/x", id="path_parameter"),
        pytest.param("/{area}/{name}/{rest}", "/files/private/x", id="parameters"),
    ],
)
async def test_a_deeper_prefix_holds_for_a_parameterised_route(template: str, path: str) -> None:
    """
    The longest prefix of the requested path decides, also where one route's parameter spans several prefixes.
    """
    ran: list[str] = []
    app = guarded(
        Route(template, endpoint(ran, "file")),
        prefixes={"/": public, "/files": public, "/files/private": ADMIN},
    )

    answer = await call(app, path)

    assert (answer.status, ran) == (401, [])


@pytest.mark.anyio
async def test_a_deeper_prefix_under_a_declared_mount_is_not_ignored() -> None:
    """
    A stricter prefix inside a mount that is marked as a whole holds, or startup says that it cannot.
    """
    ran: list[str] = []
    app = guarded(Mount("/files", public(Application(ran, "files"))), prefixes={"/files/private": ADMIN})

    try:
        status = (await call(app, "/files/private/x")).status
    except PolicyError:
        status = 0

    assert (status in {0, 401}, ran) == (True, [])


# CORS


def cors(app: ASGIApp) -> ASGIApp:
    return CORSMiddleware(app, allow_origins=["https://shop.example.com"], allow_headers=["authorization"])


@pytest.mark.anyio
async def test_a_preflight_is_answered_by_a_cors_layer_in_front() -> None:
    """
    With guardrail innermost, CORS answers before it and dresses its refusals.
    """
    ran: list[str] = []
    app = cors(guarded(Route("/orders", READ(endpoint(ran, "orders")))))

    preflight = await call(app, "/orders", method="OPTIONS", headers=PREFLIGHT)
    refusal = await call(app, "/orders", headers=PREFLIGHT[:1])

    assert preflight.status == 200
    assert (refusal.status, refusal.headers["access-control-allow-origin"]) == (
        401,
        "https://shop.example.com",
    )
    assert ran == []


@pytest.mark.anyio
async def test_a_preflight_passes_to_a_cors_layer_behind() -> None:
    """
    Guardrail around an application with CORS lets preflights for known paths through, and runs nothing.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(
        Starlette(routes=[Route("/orders", READ(endpoint(ran, "orders")))], middleware=[Middleware(cors)])
    )

    known = await call(app, "/orders", method="OPTIONS", headers=PREFLIGHT)
    unknown = await call(app, "/nothing", method="OPTIONS", headers=PREFLIGHT)

    assert (known.status, known.headers["access-control-allow-origin"]) == (200, "https://shop.example.com")
    assert unknown.status == 404
    assert ran == []


@pytest.mark.anyio
async def test_a_preflight_for_a_class_passes_to_a_cors_layer_behind() -> None:
    """
    A class-based endpoint without ``options`` is a known path like any other.
    """
    app = GuardrailMiddleware(
        Starlette(
            routes=[Route("/orders", READ(type("Guarded", (Orders,), {})))], middleware=[Middleware(cors)]
        )
    )

    answer = await call(app, "/orders", method="OPTIONS", headers=PREFLIGHT)

    assert answer.headers.get("access-control-allow-origin") == "https://shop.example.com"


@pytest.mark.anyio
async def test_a_preflight_without_a_cors_layer_runs_nothing_of_a_class() -> None:
    """
    Starlette answers 405 for a class without ``options``, and none of its methods runs.
    """
    ran: list[str] = []

    @READ
    class Guarded(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            ran.append("get")
            return PlainTextResponse("get")

    app = guarded(Route("/orders", Guarded))

    answer = await call(app, "/orders", method="OPTIONS", headers=PREFLIGHT)

    assert (answer.status, ran) == (405, [])


@pytest.mark.anyio
@pytest.mark.parametrize("requested", ["GET", "POST", "NONSENSE"])
async def test_a_preflight_without_a_cors_layer_is_the_routers_405(requested: str) -> None:
    """
    Without CORS anywhere a preflight runs nothing and is told which methods there are.
    """
    ran: list[str] = []
    app = guarded(Route("/orders", READ(endpoint(ran, "orders"))))
    headers = [PREFLIGHT[0], ("access-control-request-method", requested)]

    answer = await call(app, "/orders", method="OPTIONS", headers=headers)

    assert (answer.status, ran) == (405, [])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "route",
    [
        pytest.param(lambda ran: Route("/x", READ(endpoint(ran, "x")), methods=["OPTIONS"]), id="function"),
        pytest.param(lambda ran: Route("/x", READ(Application(ran, "x"))), id="application"),
        pytest.param(lambda ran: Mount("/x", READ(Application(ran, "x"))), id="mount"),
    ],
)
async def test_a_preflight_never_runs_what_is_guarded(route: Callable[[list[str]], BaseRoute]) -> None:
    """
    A guarded OPTIONS route or application gets no preflight without a token; with one it is a request.
    """
    ran: list[str] = []
    app = guarded(route(ran))
    path = "/x/" if isinstance(route(ran), Mount) else "/x"

    preflight = await call(app, path, method="OPTIONS", headers=PREFLIGHT)
    with_bad_token = await call(
        app, path, method="OPTIONS", headers=[*PREFLIGHT, ("authorization", "Bearer x")]
    )
    before = list(ran)
    with_token = await call(app, path, method="OPTIONS", headers=[*PREFLIGHT, *bearer("orders:read")])

    assert (preflight.status, with_bad_token.status, before) == (405, 401, [])
    assert (with_token.status, ran) == (200, ["x"])


@pytest.mark.anyio
async def test_a_preflight_never_runs_what_a_prefix_guards() -> None:
    """
    An opaque application declared by prefix gets no preflight without a token; a public one does.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(Application(ran, "app"), prefixes={"/api": READ, "/open": public})

    guarded_answer = await call(app, "/api/x", method="OPTIONS", headers=PREFLIGHT)
    before = list(ran)
    open_answer = await call(app, "/open/x", method="OPTIONS", headers=PREFLIGHT)

    assert (guarded_answer.status, before) == (405, [])
    assert (open_answer.status, ran) == (200, ["app"])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="nothing"),
        pytest.param(PREFLIGHT[:1], id="origin_alone"),
        pytest.param(PREFLIGHT[1:], id="request_method_alone"),
    ],
)
async def test_an_options_request_that_is_no_preflight_needs_a_token(headers: list[tuple[str, str]]) -> None:
    """
    Only what the Fetch standard calls a preflight is one.
    """
    ran: list[str] = []
    app = guarded(Route("/x", READ(endpoint(ran, "x")), methods=["OPTIONS"]))

    answer = await call(app, "/x", method="OPTIONS", headers=headers)

    assert (answer.status, ran) == (401, [])


@pytest.mark.anyio
async def test_another_method_with_the_fields_of_a_preflight_is_no_preflight() -> None:
    """
    GET with the header fields of a preflight is a GET.
    """
    ran: list[str] = []
    app = guarded(Route("/x", READ(endpoint(ran, "x"))))

    answer = await call(app, "/x", headers=PREFLIGHT)

    assert (answer.status, ran) == (401, [])


# Something behind the middleware changes the request after the decision


class Rewriting:
    """
    A middleware that should stand in front, and stands behind.
    """

    def __init__(
        self, app: ASGIApp, *, path: str | None = None, method: str | None = None, copies: bool = False
    ) -> None:
        self.app = app
        self._changes = {name: value for name, value in (("path", path), ("method", method)) if value}
        self._copies = copies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Change the request and pass it on.
        """
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        target = {**scope} if self._copies else scope
        target.update(self._changes)
        await self.app(target, receive, send)


def late(declared: Any) -> Any:
    """
    *declared*, but registered before it was declared: what runs is the original, which only has the mark.
    """
    ADMIN(declared)
    return declared


class ByMethod(HTTPEndpoint):
    """
    A class whose methods declare for themselves.
    """

    ran: list[str]

    @ADMIN
    async def get(self, request: Request) -> Response:
        """
        Run, if allowed.
        """
        self.ran.append("secret")
        return PlainTextResponse("secret")


SECRETS = [
    pytest.param(lambda ran: Route("/secret", ADMIN(endpoint(ran, "secret"))), id="function"),
    pytest.param(lambda ran: Route("/secret", late(endpoint(ran, "secret"))), id="function_declared_late"),
    pytest.param(lambda ran: Route("/secret", ADMIN(Application(ran, "secret"))), id="application"),
    pytest.param(lambda ran: Mount("/secret", ADMIN(Application(ran, "secret"))), id="mount"),
    pytest.param(lambda ran: Route("/secret", ADMIN(type("Secret", (ByMethod,), {"ran": ran}))), id="class"),
    pytest.param(lambda ran: Route("/secret", type("Secret", (ByMethod,), {"ran": ran})), id="method"),
]


async def _send_nothing(app: ASGIApp, scope: Scope) -> Answer:
    """
    What got out of *app* before it raised, if it did.
    """
    answer = Answer()

    async def send(message: Message) -> None:
        answer.messages.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    with pytest.raises(MiddlewareMissingError):
        await app(scope, receive, send)
    return answer


@pytest.mark.anyio
@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "decided",
    [
        pytest.param(lambda ran: Route("/open", public(endpoint(ran, "open"))), id="from_a_function"),
        pytest.param(lambda ran: Route("/open", public(Application(ran, "open"))), id="from_an_application"),
        pytest.param(lambda _: Route("/open", public(type("Open", (Orders,), {}))), id="from_a_class"),
    ],
)
async def test_a_rewritten_path_gets_no_answer_from_a_guarded_endpoint(
    decided: Callable[[list[str]], BaseRoute], secret: Callable[[list[str]], BaseRoute]
) -> None:
    """
    A request decided for a public endpoint and rewritten to a guarded one gets nothing of it.
    """
    ran: list[str] = []
    path = "/secret/" if isinstance(secret(ran), Mount) else "/secret"
    router = Router([decided(ran), secret(ran)])
    app = GuardrailMiddleware(Rewriting(router, path=path))

    answer = await _send_nothing(app, request_scope("/open"))

    assert answer.messages == []


def hidden(ran: list[str]) -> ASGIApp:
    """
    A Starlette application that cannot be seen into; its router puts its own endpoint on the scope.
    """
    inner = Starlette(routes=[Route("/x", endpoint(ran, "hidden"))])

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)

    return wrapper


@pytest.mark.anyio
@pytest.mark.parametrize("copies", [False, True], ids=["in_place", "copied"])
@pytest.mark.parametrize(
    ("decided", "path"),
    [
        pytest.param(lambda ran: Route("/open", public(Application(ran, "open"))), "/open", id="route"),
        pytest.param(lambda ran: Mount("/sec", public(Application(ran, "open"))), "/sec/x", id="like_prefix"),
        pytest.param(
            lambda ran: Mount("", public(Application(ran, "open"))), "/open", id="mount_at_the_root"
        ),
        pytest.param(lambda ran: Host("testserver", public(Application(ran, "open"))), "/open", id="host"),
        pytest.param(lambda ran: Route("/open", public(endpoint(ran, "open"))), "/open", id="function"),
    ],
)
async def test_a_rewritten_path_gets_no_answer_from_inside_of_a_guarded_mount(
    decided: Callable[[list[str]], BaseRoute], path: str, copies: bool
) -> None:
    """
    An endpoint that a guarded application dispatched to by itself answers for that application alone.
    """
    ran: list[str] = []
    is_host = isinstance(decided(ran), Host)
    routes = [decided(ran), Mount("/secret", hidden(ran))]
    router = Router(routes if not is_host and path != "/open" else routes[::-1])
    app = GuardrailMiddleware(Rewriting(router, path="/secret/x", copies=copies), prefixes={"/secret": ADMIN})

    answer = await _send_nothing(app, request_scope(path))

    assert answer.messages == []


@pytest.mark.anyio
@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "decided",
    [
        pytest.param(lambda ran: Mount("", public(Application(ran, "site"))), id="mount_at_the_root"),
        pytest.param(lambda ran: Host("testserver", public(Application(ran, "site"))), id="host"),
    ],
)
async def test_a_site_at_the_root_does_not_answer_for_a_guarded_endpoint(
    decided: Callable[[list[str]], BaseRoute], secret: Callable[[list[str]], BaseRoute]
) -> None:
    """
    A request decided for an application that takes every path, and rewritten to a guarded one, gets nothing.
    """
    ran: list[str] = []
    path = "/secret/" if isinstance(secret(ran), Mount) else "/secret"
    app = GuardrailMiddleware(Rewriting(Router([secret(ran), decided(ran)]), path=path))

    answer = await _send_nothing(app, request_scope("/anything"))

    assert answer.messages == []


@pytest.mark.anyio
async def test_a_late_route_in_front_of_an_application_does_not_answer_for_it() -> None:
    """
    An undeclared endpoint added at run time does not pass for one that an application object has inside.
    """
    ran: list[str] = []
    app = guarded(Route("/orders", public(Application(ran, "orders"))))
    await start(app)
    app.router.routes.insert(0, Route("/orders", endpoint(ran, "intruder")))

    with pytest.raises(MiddlewareMissingError):
        await call(app, "/orders")


@pytest.mark.anyio
@pytest.mark.parametrize("secret", SECRETS)
async def test_a_slash_normalised_in_a_copied_scope_gets_no_answer(
    secret: Callable[[list[str]], BaseRoute],
) -> None:
    """
    What was forwarded for the router's redirect gets no success, also where the scope is copied on the way.
    """
    ran: list[str] = []
    is_mount = isinstance(secret(ran), Mount)
    forwarded, rewritten = ("/secret", "/secret/") if is_mount else ("/secret/", "/secret")
    app = GuardrailMiddleware(Rewriting(Router([secret(ran)]), path=rewritten, copies=True))

    answer = await _send_nothing(app, request_scope(forwarded))

    assert answer.messages == []


@pytest.mark.anyio
@pytest.mark.parametrize("secret", SECRETS)
async def test_a_normalised_slash_gets_no_answer_from_a_guarded_endpoint(
    secret: Callable[[list[str]], BaseRoute],
) -> None:
    """
    What was forwarded for the router's redirect, and loses its slash on the way, gets nothing.
    """
    ran: list[str] = []
    is_mount = isinstance(secret(ran), Mount)
    forwarded, rewritten = ("/secret", "/secret/") if is_mount else ("/secret/", "/secret")
    app = GuardrailMiddleware(Rewriting(Router([secret(ran)]), path=rewritten))

    answer = await _send_nothing(app, request_scope(forwarded))

    assert answer.messages == []


@pytest.mark.anyio
@pytest.mark.parametrize("secret", SECRETS[:2])
async def test_a_preflight_that_becomes_a_request_gets_no_answer(
    secret: Callable[[list[str]], BaseRoute],
) -> None:
    """
    What was forwarded as a preflight, and changes its method on the way, gets nothing.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(Rewriting(Router([secret(ran)]), method="GET"))

    answer = await _send_nothing(app, request_scope("/secret", method="OPTIONS", headers=PREFLIGHT))

    assert answer.messages == []


@pytest.mark.anyio
async def test_a_method_override_does_not_run_another_method_of_a_class() -> None:
    """
    A class guarded as a whole with one public method serves that method, not the others, under its decision.
    """
    ran: list[str] = []

    @ADMIN
    class Mixed(HTTPEndpoint):
        @public
        async def get(self, request: Request) -> Response:
            ran.append("get")
            return PlainTextResponse("get")

        async def post(self, request: Request) -> Response:
            ran.append("post")
            return PlainTextResponse("post")

    app = GuardrailMiddleware(Rewriting(Router([Route("/mixed", Mixed)]), method="POST"))

    answer = await _send_nothing(app, request_scope("/mixed"))

    assert (answer.messages, ran) == ([], [])


@pytest.mark.anyio
async def test_a_rewritten_path_under_prefixes_gets_no_answer() -> None:
    """
    A mount declared by prefix answers only what was decided for that mount.
    """
    ran: list[str] = []
    router = Router([Route("/open", public(endpoint(ran, "open"))), Mount("/mcp", Application(ran, "mcp"))])
    app = GuardrailMiddleware(Rewriting(router, path="/mcp/x"), prefixes={"/mcp": ADMIN})

    answer = await _send_nothing(app, request_scope("/open"))

    assert answer.messages == []


@pytest.mark.anyio
@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "decided",
    [
        pytest.param(lambda ran: Route("/open", public(endpoint(ran, "open"))), id="from_a_function"),
        pytest.param(lambda ran: Route("/open", public(Application(ran, "open"))), id="from_an_application"),
    ],
)
async def test_a_middleware_that_copies_the_scope_opens_nothing(
    decided: Callable[[list[str]], BaseRoute], secret: Callable[[list[str]], BaseRoute]
) -> None:
    """
    Behind a middleware that copies the scope a rewritten path gets nothing either.
    """
    ran: list[str] = []
    path = "/secret/" if isinstance(secret(ran), Mount) else "/secret"
    router = Router([decided(ran), secret(ran)])
    app = GuardrailMiddleware(Rewriting(router, path=path, copies=True))

    answer = await _send_nothing(app, request_scope("/open"))

    assert answer.messages == []


@pytest.mark.anyio
async def test_a_function_is_served_behind_a_middleware_that_copies_the_scope() -> None:
    """
    A copied scope changes nothing for functions: the decision goes with the context, not with the scope.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(
        Rewriting(Router([Route("/orders", READ(endpoint(ran, "orders")))]), copies=True)
    )

    answer = await call(app, "/orders", headers=bearer("orders:read"))

    assert (answer.status, ran) == (200, ["orders"])


@pytest.mark.anyio
async def test_an_early_error_of_a_middleware_behind_is_let_through() -> None:
    """
    A rate limit behind guardrail may refuse what was decided for an application object.
    """
    ran: list[str] = []

    def limited(app: ASGIApp) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        return PlainTextResponse("slow down", status_code=429)

    app = guarded(Route("/raw", READ(Application(ran, "raw"))), behind=[Middleware(limited)])

    answer = await call(app, "/raw", headers=bearer("orders:read"))

    assert (answer.status, ran) == (429, [])


@pytest.mark.anyio
async def test_an_early_success_of_a_middleware_behind_is_not() -> None:
    """
    Whatever answers 200 in place of an application object was not decided on.
    """

    def answering(app: ASGIApp) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        return PlainTextResponse("from the cache")

    app = guarded(Route("/raw", READ(Application([], "raw"))), behind=[Middleware(answering)])

    with pytest.raises(MiddlewareMissingError, match="another endpoint answered"):
        await call(app, "/raw", headers=bearer("orders:read"))
