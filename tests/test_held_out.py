"""
Held out: which endpoint runs for which request, on applications that were built to lead past the guard.

Each row is one request and says what ran, not only the status. What a row with a token says is asked again
without one, with a token that lacks the scope, and with one that another key signed: then nothing runs.
"""

import warnings
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from held_out_kit import ORDERS, OURS, STRANGER, Answer, Fields, Ran, bearer, request, send_request
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTasks
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from guardrail import GuardrailMiddleware, public

pytestmark = pytest.mark.anyio

READ: Final = "orders:read"
WRITE: Final = "orders:write"
read, write = ORDERS.requires(READ), ORDERS.requires(WRITE)
PREFLIGHT: Final[Fields] = (("origin", "https://app.example"), ("access-control-request-method", "GET"))
World = Callable[[Ran], ASGIApp]


def included(ran: Ran) -> ASGIApp:
    """
    FastAPI routers in routers, with prefixes on both sides of the inclusion.
    """
    inner = APIRouter(prefix="/items")
    inner.add_api_route("/{item}", read(ran.operation("item")), methods=["GET"])
    inner.add_api_route("/{item}", write(ran.operation("change")), methods=["PUT"])
    inner.add_api_route("", public(ran.operation("list")), methods=["GET"])
    inner.add_api_websocket_route("/{item}/feed", write(ran.socket("feed")))
    middle = APIRouter(prefix="/v1")
    middle.include_router(inner, prefix="/shop")
    middle.include_router(inner, prefix="/{tenant}/shop")
    app = FastAPI(openapi_url=None)
    app.include_router(middle, prefix="/api")
    app.add_api_route("/api/v1/shop/items/late", write(ran.operation("shadowed")), methods=["GET"])
    app.add_middleware(GuardrailMiddleware)
    return app


def mounted(ran: Ran) -> ASGIApp:
    """
    Mounts in mounts, one with a parameter, one at the root, all with routes of the same names.
    """
    innermost = Router([Route("/c", write(ran.http("a/b/c"))), Route("/open", public(ran.http("a/b/open")))])
    tenant = Starlette(routes=[Route("/c", read(ran.http("tenant/c")), methods=["GET", "POST"])])
    rest = Starlette(routes=[Route("/c", public(ran.http("c")))])
    opaque = Mount("/opaque", write(ran.raw("opaque")))
    routes = [
        Mount("/a", routes=[Mount("/b", innermost)]),
        opaque,
        Mount("/t/{tenant}", tenant),
        Mount("", rest),
    ]
    return GuardrailMiddleware(Starlette(routes=routes))


def hosts(ran: Ran) -> ASGIApp:
    """
    The same path on several hosts.
    """
    admin = Router([Route("/", write(ran.http("admin")))])
    tenant = Router([Route("/", read(ran.http("tenant")))])
    return GuardrailMiddleware(
        Starlette(
            routes=[
                Host("admin.example.com", admin),
                Host("{tenant}.tenants.example.com", tenant),
                Route("/", public(ran.http("anybody"))),
            ]
        )
    )


def overlapping(ran: Ran) -> ASGIApp:
    """
    Templates that overlap, in the order public, reading, writing, and methods apart on one path.
    """
    return GuardrailMiddleware(
        Starlette(
            routes=[
                Route("/x/me", public(ran.http("me"))),
                Route("/x/{n:int}", read(ran.http("number"))),
                Route("/x/{name}", write(ran.http("name"))),
                Route("/x/{name}", read(ran.http("name.post")), methods=["POST"]),
                Route("/x/{rest:path}", read(ran.http("rest")), methods=["GET", "DELETE"]),
                Route("/é/{name}", read(ran.http("unicode"))),
            ]
        )
    )


def classes(ran: Ran) -> ASGIApp:
    """
    Class-based endpoints: a mark for each method, one for the class, and both.
    """

    class Each(HTTPEndpoint):
        @read
        async def get(self, _: Request) -> Response:
            ran.note("each.get")
            return PlainTextResponse("get")

        @write
        async def post(self, _: Request) -> Response:
            ran.note("each.post")
            return PlainTextResponse("post")

        @public
        async def options(self, _: Request) -> Response:
            ran.note("each.options")
            return PlainTextResponse("options")

    @write
    class Both(HTTPEndpoint):
        async def delete(self, _: Request) -> Response:
            ran.note("both.delete")
            return PlainTextResponse("delete")

        @public
        async def get(self, _: Request) -> Response:
            ran.note("both.get")
            return PlainTextResponse("get")

    @read
    class Feed(WebSocketEndpoint):
        async def on_connect(self, websocket: Any) -> None:
            ran.note("feed")
            await websocket.accept()

    routes = [Route("/each", Each), Route("/both", Both), WebSocketRoute("/feed", Feed)]
    return GuardrailMiddleware(Starlette(routes=routes))


def slashes(ran: Ran) -> ASGIApp:
    """
    A path that ends with a slash, one that does not, and a template that takes any text.
    """
    routes = [
        Route("/with/", read(ran.http("with"))),
        Route("/without", read(ran.http("without"))),
        Route("/file/{name:path}", read(ran.http("file"))),
        Route("/plain", public(ran.http("plain"))),
    ]
    return GuardrailMiddleware(Starlette(routes=routes))


def prefixed(ran: Ran) -> ASGIApp:
    """
    A foreign application: public around guarded around public around guarded.
    """
    table = {"/": public, "/admin": read, "/admin/open": public, "/admin/open/deep": write}
    return GuardrailMiddleware(ran.raw("app"), prefixes=table)


def closed(ran: Ran) -> ASGIApp:
    """
    A foreign application, guarded but for one prefix.
    """
    return GuardrailMiddleware(ran.raw("app"), prefixes={"/": read, "/public": public, "/write": write})


def settings(ran: Ran) -> ASGIApp:
    """
    Routes that declare nothing, under prefixes and among public paths.
    """
    routes = [
        Route("/docs", ran.http("docs")),
        Route("/docs/{page}", read(ran.http("page"))),
        Route("/in/{name}", ran.http("in")),
        Route("/in/{name}/marked", public(ran.http("marked"))),
    ]
    table = {"/in": read, "/in/open": public}
    return GuardrailMiddleware(Starlette(routes=routes), public_paths=["/docs"], prefixes=table)


def sockets(ran: Ran) -> ASGIApp:
    """
    One path for requests and for WebSockets.
    """
    routes = [
        WebSocketRoute("/both", write(ran.socket("socket"))),
        Route("/both", public(ran.http("http"))),
        WebSocketRoute("/open", public(ran.socket("open"))),
        Route("/guarded", write(ran.http("guarded"))),
    ]
    return GuardrailMiddleware(Starlette(routes=routes))


def early(ran: Ran) -> ASGIApp:
    """
    FastAPI with a dependency, a body, a route class and middleware in a mounted application: all of them note
    that they ran.
    """

    class Body(BaseModel):
        n: int

    class Noting(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def noting(request: Request) -> Response:
                ran.note("route class")
                return await handler(request)

            return noting

    async def dependency() -> None:
        ran.note("dependency")

    async def place(body: Body) -> int:
        ran.note("place")
        return body.n

    class Outer:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            ran.note("middleware")
            await self.app(scope, receive, send)

    router = APIRouter(route_class=Noting, dependencies=[Depends(dependency)])
    router.add_api_route("/place", write(place), methods=["POST"])
    app = FastAPI(openapi_url=None)
    app.include_router(router)
    inner = Starlette(routes=[Route("/x", write(ran.http("x")))], middleware=[Middleware(Outer)])
    app.mount("/sub", inner)
    app.add_middleware(GuardrailMiddleware)
    return app


def answers(ran: Ran) -> ASGIApp:
    """
    Answers that go on after they began: streams, tasks behind them, and errors with handlers.
    """

    @read
    async def stream(_: Request) -> Response:
        async def pieces() -> Any:
            ran.note("piece")
            yield b"a"

        return StreamingResponse(pieces())

    @read
    async def tasks(_: Request) -> Response:
        several = BackgroundTasks()
        several.add_task(ran.note, "in a thread")
        several.add_task(task)
        return PlainTextResponse("", background=several)

    async def task() -> None:
        ran.note("task")

    @read
    async def fails(_: Request) -> Response:
        ran.note("fails")
        raise LookupError("of the application")

    async def handled(_: Request, __: Exception) -> Response:
        return PlainTextResponse("handled", 418)

    routes = [Route("/stream", stream), Route("/tasks", tasks), Route("/fails", fails)]
    return GuardrailMiddleware(Starlette(routes=routes, exception_handlers={LookupError: handled}))


def cross_origin(ran: Ran) -> ASGIApp:
    """
    A CORS layer inside of the guard: in a mounted application, with and without an ``OPTIONS`` handler.
    """
    cors = [Middleware(CORSMiddleware, allow_origins=["*"])]
    inner = Starlette(routes=[Route("/x", read(ran.http("x")))], middleware=cors)
    routes = [
        Mount("/cors", inner),
        Mount("/opaque", read(ran.raw("opaque"))),
        Route("/options", read(ran.http("options")), methods=["GET", "OPTIONS"]),
        Route("/open", public(ran.http("open")), methods=["GET", "OPTIONS"]),
    ]
    return GuardrailMiddleware(Starlette(routes=routes))


def own_404(ran: Ran) -> ASGIApp:
    """
    A page of the team's own for what is not there.
    """
    return GuardrailMiddleware(Starlette(routes=[Route("/x", read(ran.http("x")))]), not_found=ran.raw("404"))


def rooted(ran: Ran) -> ASGIApp:
    """
    FastAPI with a root path of its own, and an application mounted in it.
    """
    inner = FastAPI(openapi_url=None)
    inner.add_api_route("/x", write(ran.operation("inner")), methods=["GET"])
    with warnings.catch_warnings(action="ignore"):  # newer versions deprecate it
        app = FastAPI(openapi_url=None, root_path="/api")
    app.add_api_route("/x", read(ran.operation("outer")), methods=["GET"])
    app.mount("/sub", inner)
    app.add_middleware(GuardrailMiddleware)
    return app


def static(ran: Ran) -> ASGIApp:
    """
    Static files, guarded, beside a public mount that is like it.
    """
    here = str(Path(__file__).parent)
    routes = [
        Mount("/static", read(StaticFiles(directory=here))),
        Mount("/public", public(StaticFiles(directory=here))),
    ]
    return GuardrailMiddleware(Starlette(routes=routes))


@dataclass(frozen=True)
class Case:
    """
    One request, who sends it, and what becomes of it.
    """

    world: World
    path: str
    ran: tuple[str, ...] = ()
    status: int = 200
    scope: str | None = None
    method: str = "GET"
    fields: Fields = ()
    options: tuple[tuple[str, Any], ...] = ()
    body: bytes = b""

    async def ask(self, ran: Ran, fields: Fields) -> Answer:
        """
        Send it with *fields* beside its own.
        """
        scope = request(self.path, method=self.method, fields=(*self.fields, *fields), **dict(self.options))
        return await send_request(self.world(ran), scope, self.body)


def case(id_: str, world: World, path: str, ran: str = "", status: int = 200, **more: Any) -> Any:
    """
    A row. *ran* names what runs, in order.
    """
    named = {name: more.pop(name) for name in ("scope", "method", "fields", "body") if name in more}
    found = Case(
        world, path, tuple(filter(None, ran.split(", "))), status, **named, options=tuple(more.items())
    )
    return pytest.param(found, id=f"{world.__name__}: {id_}")


WS: Final = {"kind": "websocket"}
CASES = [
    case("a reader reads", included, "/api/v1/shop/items/7", "item", scope=READ),
    case("a writer changes", included, "/api/v1/shop/items/7", "change", scope=WRITE, method="PUT"),
    case("the list is public", included, "/api/v1/shop/items", "list"),
    case("included again", included, "/api/v1/acme/shop/items/7", "item", scope=READ),
    case("the first of two wins", included, "/api/v1/shop/items/late", "item", scope=READ),
    case("a socket", included, "/api/v1/shop/items/7/feed", "feed", 101, scope=WRITE, **WS),
    case("no such method", included, "/api/v1/shop/items/7", status=405, method="DELETE"),
    case("HEAD is none of FastAPI's", included, "/api/v1/shop/items/7", status=405, method="HEAD"),
    case("without the outer prefix", included, "/v1/shop/items/7", status=404),
    case(
        "an escaped slash in a parameter",
        included,
        "/api/v1/shop/items/7/8",
        status=404,
        raw_path="/api/v1/shop/items/7%2F8",
    ),
    case("another case", included, "/API/v1/shop/items/7", status=404),
    case("a slash too many", included, "/api//v1/shop/items/7", status=404),
    case("a redirect", included, "/api/v1/shop/items/", status=307),
    case("mounts in mounts", mounted, "/a/b/c", "a/b/c", scope=WRITE),
    case("public in the same", mounted, "/a/b/open", "a/b/open"),
    case("a parameter of a mount", mounted, "/t/acme/c", "tenant/c", scope=READ),
    case("a method there", mounted, "/t/acme/c", "tenant/c", scope=READ, method="POST"),
    case("at the root", mounted, "/c", "c"),
    case("a mount that matches has the last say", mounted, "/a/c", status=404),
    case("a parameter is one segment", mounted, "/t/acme/b/c", status=404),
    case("an empty parameter", mounted, "/t//c", status=404),
    case("dots in a parameter are a name", mounted, "/t/../c", "tenant/c", scope=READ),
    case("dots before a mount", mounted, "/t/acme/../../a/b/c", status=404),
    case("an opaque application", mounted, "/opaque/any", "opaque", scope=WRITE),
    case("its own root", mounted, "/opaque/", "opaque", scope=WRITE),
    case("without a slash, the mount at the root answers", mounted, "/opaque", status=404),
    case("its every method", mounted, "/opaque/any", "opaque", scope=WRITE, method="PURGE"),
    case("a socket to it", mounted, "/opaque/any", "opaque", 101, scope=WRITE, **WS),
    case("dots behind it stay behind it", mounted, "/opaque/../c", "opaque", scope=WRITE),
    case("a name that only begins like it", mounted, "/opaquely", status=404),
    case("a host", hosts, "/", "admin", scope=WRITE, fields=(("host", "admin.example.com"),)),
    case(
        "a host with a port", hosts, "/", "admin", scope=WRITE, fields=(("host", "admin.example.com:8443"),)
    ),
    case(
        "a host with a parameter",
        hosts,
        "/",
        "tenant",
        scope=READ,
        fields=(("host", "acme.tenants.example.com"),),
    ),
    case(
        "the first of two host fields",
        hosts,
        "/",
        "admin",
        scope=WRITE,
        fields=(("host", "admin.example.com"), ("host", "public.example.com")),
    ),
    case(
        "another host first",
        hosts,
        "/",
        "anybody",
        fields=(("host", "public.example.com"), ("host", "admin.example.com")),
    ),
    case(
        "a forwarded host is none", hosts, "/", "anybody", fields=(("x-forwarded-host", "admin.example.com"),)
    ),
    case("a path in the host", hosts, "/", "anybody", fields=(("host", "admin.example.com/"),)),
    case("the first template wins", overlapping, "/x/me", "me"),
    case("a number", overlapping, "/x/7", "number", scope=READ),
    case("no number", overlapping, "/x/7a", "name", scope=WRITE),
    case("a number that is too long", overlapping, "/x/" + "7" * 5000, status=404),
    case("the method decides", overlapping, "/x/7a", "name.post", scope=READ, method="POST"),
    case("a path behind a name", overlapping, "/x/7/8", "rest", scope=READ),
    case("another method of it", overlapping, "/x/me", "rest", scope=READ, method="DELETE"),
    case("HEAD is as GET", overlapping, "/x/me", "me", method="HEAD"),
    case("HEAD is as GET, guarded", overlapping, "/x/7", "number", scope=READ, method="HEAD"),
    case("no such method of any", overlapping, "/x/me", status=405, method="PATCH"),
    case("an unknown method", overlapping, "/x/me", status=405, method="FOO"),
    case("OPTIONS of nobody", overlapping, "/x/me", status=405, method="OPTIONS"),
    case("TRACE", overlapping, "/x/me", status=405, method="TRACE"),
    case("a method in small letters", overlapping, "/x/me", status=405, method="get"),
    case(
        "a method named elsewhere",
        overlapping,
        "/x/me",
        status=405,
        method="PATCH",
        fields=(("x-http-method-override", "GET"),),
    ),
    case("a line feed at the end", overlapping, "/x/me\n", "me"),
    case("letters beyond ASCII", overlapping, "/é/x", "unicode", scope=READ),
    case("composed otherwise", overlapping, "/e\u0301/x", status=404),
    case("a method of a class", classes, "/each", "each.get", scope=READ),
    case("HEAD falls to get", classes, "/each", "each.get", scope=READ, method="HEAD"),
    case("its other method", classes, "/each", "each.post", scope=WRITE, method="POST"),
    case("its public method", classes, "/each", "each.options", method="OPTIONS"),
    case("what it does not have", classes, "/each", status=405, method="DELETE"),
    case("a name of its parts", classes, "/each", status=405, method="DISPATCH"),
    case("the class's mark", classes, "/both", "both.delete", scope=WRITE, method="DELETE"),
    case("a method's own mark wins", classes, "/both", "both.get"),
    case("a class of sockets", classes, "/feed", "feed", 101, scope=READ, **WS),
    case("a socket where there is none", classes, "/each", status=404, **WS),
    case("a request where there is none", classes, "/feed", status=404),
    case("with its slash", slashes, "/with/", "with", scope=READ),
    case("without its slash", slashes, "/with", status=307),
    case("without a slash", slashes, "/without", "without", scope=READ),
    case("with a slash too many", slashes, "/without/", status=307),
    case("a redirect for a method it has not", slashes, "/with", status=307, method="DELETE"),
    case("a file far down", slashes, "/file/a/b/c", "file", scope=READ),
    case("a file with dots", slashes, "/file/../plain", "file", scope=READ),
    case("dots are no way", slashes, "/plain/../without", status=404),
    case("a dot segment", slashes, "/./without", status=404),
    case("two slashes in front", slashes, "//without", status=404),
    case("a backslash", slashes, "\\without", status=404),
    case("a path parameter", slashes, "/without;x=1", status=404),
    case("an escape that survived", slashes, "/%77ithout", status=404, raw_path="/%2577ithout"),
    case("a question mark in the path", slashes, "/plain?", status=404, raw_path="/plain%3F"),
    case("a NUL", slashes, "/plain\x00", status=404, raw_path="/plain%00"),
    case(
        "a bad token is not looked at where none is needed", slashes, "/plain", "plain", fields=bearer("x y")
    ),
    case("no path", slashes, "", status=404),
    case("an asterisk", slashes, "*", status=404, method="OPTIONS"),
    case("a whole URL", slashes, "https://api.example.com/plain", status=404),
    case("behind a root path", slashes, "/v1/without", "without", scope=READ, root_path="/v1"),
    case("in front of a root path", slashes, "/without", "without", scope=READ, root_path="/v1"),
    case(
        "a root path that is a name's beginning",
        slashes,
        "/without",
        "without",
        scope=READ,
        root_path="/with",
    ),
    case("a root path twice", slashes, "/v1/v1/without", status=404, root_path="/v1"),
    case("a root path that is a path", slashes, "/plain/without", "without", scope=READ, root_path="/plain"),
    case("a root path with an escape", slashes, "/a b/without", status=404, root_path="/a%20b"),
    case("a public neighbour", prefixed, "/x", "app"),
    case("guarded in public", prefixed, "/admin", "app", scope=READ),
    case("and below it", prefixed, "/admin/x", "app", scope=READ),
    case("public in guarded", prefixed, "/admin/open/x", "app"),
    case("guarded in that", prefixed, "/admin/open/deep", "app", scope=WRITE),
    case("not on a boundary", prefixed, "/administrator", "app"),
    case("not on an inner boundary", prefixed, "/admin/openly", "app", scope=READ),
    case("another case is not public", prefixed, "/Admin/x", status=404),
    case("a long s is an s", prefixed, "/admin/open/Deep", status=404),
    case("out of public by dots", prefixed, "/x/../admin", status=404),
    case("by dots at the end", prefixed, "/admin/open/..", status=404),
    case("by dots with a parameter", prefixed, "/admin/open/..;/x", status=404),
    case("by an empty segment", prefixed, "//admin", status=404),
    case("by a backslash", prefixed, "/x\\..\\admin", status=404),
    case("by an escaped slash", prefixed, "/admin/open/deep", status=404, raw_path="/admin/open%2Fdeep"),
    case("by an escape that survived", prefixed, "/x/%2e%2E/admin", status=404),
    case("by a letter that stayed escaped", prefixed, "/%61dmin", status=404, raw_path="/%2561dmin"),
    case("by a path parameter", prefixed, "/admin;x/y", status=404),
    case("by a path parameter below", prefixed, "/admin/open;x/deep", status=404),
    case("by a question mark", prefixed, "/admin?x", status=404, raw_path="/admin%3Fx"),
    case("by a number sign", prefixed, "/admin#x", status=404, raw_path="/admin%23x"),
    case(
        "by dots before a question mark",
        prefixed,
        "/admin/open/..?x",
        status=404,
        raw_path="/admin/open/..%3Fx",
    ),
    case("by a NUL", prefixed, "/admin\x00", status=404),
    case("a question mark that leads nowhere else", prefixed, "/x/what?", "app", raw_path="/x/what%3F"),
    case("the query is no path", prefixed, "/admin", "app", scope=READ, query="/admin/open"),
    case("a socket", prefixed, "/admin", "app", 101, scope=READ, **WS),
    case("a public socket", prefixed, "/x", "app", 101, **WS),
    case("behind a root path", prefixed, "/v1/admin", "app", scope=READ, root_path="/v1"),
    case("a root path in the middle", prefixed, "/x/v1/admin", status=404, root_path="/v1"),
    case("a root path within a segment", prefixed, "/v1admin", status=404, root_path="/v1"),
    case("a root path with a slash", prefixed, "/v1/admin", status=404, root_path="/v1/"),
    case("all else is guarded", closed, "/x", "app", scope=READ),
    case("its root, too", closed, "/", "app", scope=READ),
    case("but for one", closed, "/public/x", "app"),
    case("a name that begins like it", closed, "/publicity", "app", scope=READ),
    case("another case of it is guarded", closed, "/PUBLIC/x", "app", scope=READ),
    case("the longest counts alone", closed, "/write/x", "app", scope=WRITE),
    case("the asterisk is nobody's", closed, "*", status=404, method="OPTIONS"),
    case(
        "a forwarded path is none",
        closed,
        "/x",
        "app",
        scope=READ,
        fields=(
            ("x-forwarded-uri", "/public"),
            ("x-original-url", "/public"),
            ("x-rewrite-url", "/public"),
            ("x-forwarded-prefix", "/public"),
            ("user-agent", "kube-probe/1.30"),
        ),
    ),
    case("a public path", settings, "/docs", "docs"),
    case("is its template alone", settings, "/docs/x", "page", scope=READ),
    case("and a redirect", settings, "/docs/", status=307),
    case("a prefix of routes", settings, "/in/x", "in", scope=READ),
    case("the request's path decides", settings, "/in/open", "in"),
    case("not another case of it", settings, "/in/Open", "in", scope=READ),
    case("a mark goes before a prefix", settings, "/in/x/marked", "marked"),
    case("dots are no name in a prefix", settings, "/in/..", status=404),
    case("what no route has is not there", settings, "/in/x/y", status=404),
    case("a socket beside a public route", sockets, "/both", "socket", 101, scope=WRITE, **WS),
    case("a public route beside a socket", sockets, "/both", "http"),
    case("a public socket", sockets, "/open", "open", 101, **WS),
    case("a socket to a route", sockets, "/guarded", status=404, **WS),
    case("a slash after a socket", sockets, "/both/", status=404, **WS),
    case(
        "all of them in order",
        early,
        "/place",
        "route class, dependency, place",
        scope=WRITE,
        method="POST",
        body=b'{"n": 1}',
        fields=(("content-type", "application/json"),),
    ),
    case("middleware inside", early, "/sub/x", "middleware, x", scope=WRITE),
    case("middleware inside sees a redirect, and nobody", early, "/sub/x/", "middleware", 307),
    case("a stream", answers, "/stream", "piece", scope=READ),
    case("tasks behind the answer", answers, "/tasks", "in a thread, task", scope=READ),
    case("an error with a handler", answers, "/fails", "fails", 418, scope=READ),
    case("a preflight", cross_origin, "/cors/x", method="OPTIONS", fields=PREFLIGHT),
    case("what it is about", cross_origin, "/cors/x", "x", scope=READ),
    case(
        "no preflight: no origin", cross_origin, "/cors/x", status=405, method="OPTIONS", fields=PREFLIGHT[1:]
    ),
    case(
        "no preflight: no method", cross_origin, "/cors/x", status=405, method="OPTIONS", fields=PREFLIGHT[:1]
    ),
    case("no preflight: GET", cross_origin, "/cors/x", "x", scope=READ, fields=PREFLIGHT),
    case(
        "a preflight of an opaque one",
        cross_origin,
        "/opaque/x",
        status=405,
        method="OPTIONS",
        fields=PREFLIGHT,
    ),
    case("OPTIONS of an opaque one", cross_origin, "/opaque/x", "opaque", scope=READ, method="OPTIONS"),
    case(
        "a preflight of a handler", cross_origin, "/options", status=405, method="OPTIONS", fields=PREFLIGHT
    ),
    case("its OPTIONS", cross_origin, "/options", "options", scope=READ, method="OPTIONS"),
    case("a preflight of a public one", cross_origin, "/open", "open", method="OPTIONS", fields=PREFLIGHT),
    case("a preflight of nothing", cross_origin, "/none", status=404, method="OPTIONS", fields=PREFLIGHT),
    case("a page of one's own", own_404, "/y", "404"),
    case("not for a method", own_404, "/x", status=405, method="PUT"),
    case("not for a socket", own_404, "/y", status=404, **WS),
    case("and what is there", own_404, "/x", "x", scope=READ),
    case("behind its root path", rooted, "/api/x", "outer", scope=READ),
    case("a proxy took it off", rooted, "/x", "outer", scope=READ),
    case("mounted behind it", rooted, "/api/sub/x", "inner", scope=WRITE),
    case("mounted, taken off", rooted, "/sub/x", status=404),
    case("a server's own is replaced", rooted, "/other/x", status=404, root_path="/other"),
    case("a public file", static, "/public/conftest.py"),
    case("dots out of it", static, "/public/../static/conftest.py", status=404),
    case("a file that is not there", static, "/public/none", status=404),
]


@pytest.mark.parametrize("one", CASES)
async def test_what_runs_is_what_was_declared(one: Case) -> None:
    """
    A request runs the endpoint that it reaches, for the operator of its token, and nothing else.
    """
    ran = Ran()

    answer = await one.ask(ran, () if one.scope is None else bearer(OURS.token(scope=one.scope)))

    assert (answer.status, tuple(ran.names)) == (one.status, one.ran), answer
    assert set(ran.operators) == ({"alice"} if one.scope else {""} if one.ran else set())


ALLOWED: Final = [
    pytest.param(included, "/api/v1/shop/items/7", "PATCH", {"GET", "PUT"}, id="of several operations"),
    pytest.param(overlapping, "/x/me", "PATCH", {"GET", "HEAD", "POST", "DELETE"}, id="of several templates"),
    pytest.param(classes, "/each", "PUT", {"GET", "HEAD", "POST", "OPTIONS"}, id="of a class"),
    pytest.param(mounted, "/t/acme/c", "DELETE", {"GET", "HEAD", "POST"}, id="behind a mount"),
    pytest.param(cross_origin, "/options", "PUT", {"GET", "HEAD", "OPTIONS"}, id="of one route"),
]


@pytest.mark.parametrize("scope", [None, f"{READ} {WRITE}"], ids=["no token", "a token"])
@pytest.mark.parametrize(("world", "path", "method", "allowed"), ALLOWED)
async def test_a_wrong_method_is_told_the_right_ones(
    world: World, path: str, method: str, allowed: set[str], scope: str | None
) -> None:
    """
    405 has all methods of the path, whoever asks, and no challenge.
    """
    ran = Ran()
    fields = () if scope is None else bearer(OURS.token(scope=scope))

    answer = await send_request(world(ran), request(path, method=method, fields=fields))

    assert (answer.status, answer.all("www-authenticate"), ran.names) == (405, [], [])
    assert {one for value in answer.all("allow") for one in value.split(", ")} == allowed


GUARDED = [row for row in CASES if row.values[0].scope is not None]
WRONG = [
    pytest.param(lambda _: (), 401, id="no token"),
    pytest.param(lambda _: bearer(OURS.token(scope="orders:readwrite ORDERS:READ")), 403, id="other scopes"),
    pytest.param(lambda scope: bearer(STRANGER.token(scope=scope)), 401, id="another key"),
    pytest.param(
        lambda scope: bearer(OURS.token(scope=scope, aud="https://x.example")), 401, id="another audience"
    ),
]


@pytest.mark.parametrize(("fields", "status"), WRONG)
@pytest.mark.parametrize("one", GUARDED)
async def test_nothing_runs_for_a_token_that_differs_in_one_thing(
    one: Case, fields: Callable[[str | None], Fields], status: int
) -> None:
    """
    Without a token, without the scope, with another key's or another audience's, nothing of a route runs.
    """
    ran = Ran()

    answer = await one.ask(ran, fields(one.scope))

    assert (answer.status, ran.names) == (status, []), answer
