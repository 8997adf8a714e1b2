"""
The compiled table: prefixes, the router's own order, and that the endpoint judged is the endpoint that runs.
"""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import fastapi.routing
import pytest
from fastapi import APIRouter, FastAPI
from frameworks import ORDERS, Answer, Application, Headers, bearer, call, endpoint, request_scope
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router
from starlette.types import ASGIApp

from guardrail import GuardrailMiddleware, public
from guardrail._declaration import Declaration
from guardrail._paths import route_path_of
from guardrail._prefixes import PrefixTable, Resolved, compile_prefixes
from guardrail._route_table import NOT_FOUND, REDIRECT, RouteRow, RouteTable, Unresolved
from guardrail._routing import compile_routes

READ = ORDERS.requires("orders:read")
WRITE = ORDERS.requires("orders:write")
NO_PREFIXES: Final = PrefixTable({})


def prefix_table(*prefixes: str) -> PrefixTable:
    return PrefixTable({prefix: Declaration(READ, prefix) for prefix in prefixes})


def table_of(*routes: Any) -> RouteTable:
    return compile_routes(Router(list(routes)), prefixes=NO_PREFIXES)


# Prefixes


@pytest.mark.parametrize(
    ("prefixes", "path", "found"),
    [
        pytest.param(["/mcp"], "/mcp", "/mcp", id="itself"),
        pytest.param(["/mcp"], "/mcp/", "/mcp", id="with_a_slash"),
        pytest.param(["/mcp"], "/mcp/tools/1", "/mcp", id="below"),
        pytest.param(["/mcp"], "/mcpx", None, id="not_on_a_segment_boundary"),
        pytest.param(["/mcp"], "/mcp.json", None, id="with_a_suffix"),
        pytest.param(["/mcp"], "/MCP", None, id="other_case"),
        pytest.param(["/mcp"], "/a/mcp", None, id="further_down"),
        pytest.param(["/mcp"], "/", None, id="root"),
        pytest.param(["/mcp"], "", None, id="empty"),
        pytest.param(["/mcp", "/mcp/admin"], "/mcp/admin/x", "/mcp/admin", id="the_longest_wins"),
        pytest.param(["/mcp/admin", "/mcp"], "/mcp/admin", "/mcp/admin", id="in_any_order"),
        pytest.param(["/mcp", "/mcp/admin"], "/mcp/administrator", "/mcp", id="the_longest_on_a_boundary"),
        pytest.param(["/"], "/anything", "/", id="everything"),
        pytest.param(["/"], "/", "/", id="everything_at_the_root"),
        pytest.param(["/"], "*", None, id="not_a_path"),
        pytest.param(["/", "/mcp"], "/mcp/x", "/mcp", id="more_than_everything"),
        pytest.param([], "/mcp", None, id="no_prefixes"),
    ],
)
def test_a_prefix_covers_whole_segments(prefixes: list[str], path: str, found: str | None) -> None:
    """
    A prefix covers itself and what is below it on a segment boundary, and the longest one decides.
    """
    resolved = prefix_table(*prefixes).find(path)

    assert (resolved.route if resolved else None) == found


@pytest.mark.parametrize(
    "path",
    [
        "/open/../guarded",
        "/open/..",
        "/open/.",
        "/open/./x",
        "/open//guarded",
        "//open",
        "/open/x\\..\\guarded",
        "/open/\x00",
        "/open/x\n",
        "/open/\x7f",
        "/open/%2e%2e/guarded",
        "/open/%2E%2E/guarded",
        "/open%2fguarded",
        "/open/..;/guarded",
        "/open/.;/x",
        "/open%2Fguarded",
        "/open/%5c",
        "/open/%5C..",
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_under_no_prefix(path: str) -> None:
    """
    What another parser behind us could take for another path is refused, whatever prefix it seems to have.
    """
    assert prefix_table("/open", "/").find(path) is None


@pytest.mark.parametrize(
    "path", ["/open/...", "/open/.well-known", "/open/a..b", "/open/%41", "/open/a.", "/open/~"]
)
def test_a_path_with_dots_that_are_no_segments_is_unambiguous(path: str) -> None:
    """
    Dots and escapes that mean nothing to a path parser are not refused.
    """
    assert prefix_table("/open").find(path) is not None


@pytest.mark.parametrize(
    ("path", "found"),
    [
        pytest.param("/", "/", id="public"),
        pytest.param("/other", "/", id="another word"),
        pytest.param("/open/admin", "/open", id="further down"),
        pytest.param("/admin/x", "/admin", id="guarded"),
        pytest.param("/administrator", "/", id="a longer segment"),
        pytest.param("/ADMIN", None, id="another case"),
        pytest.param("/Admin/x", None, id="another case, below"),
        pytest.param("/adm\u0131n", None, id="another alphabet"),
        pytest.param("/OPEN", "/", id="as another public one"),
        pytest.param("/ADMIN/open", "/ADMIN/open", id="declared itself"),
    ],
)
def test_a_public_path_is_not_a_guarded_prefix_in_another_case(path: str, found: str | None) -> None:
    """
    Without a token nothing is served that an application could take for what needs one.
    """
    guarded = dict(prefix_table("/admin").declarations)
    opened = {one: Declaration(None, one) for one in ("/", "/open", "/ADMIN/open")}
    prefixes = PrefixTable(guarded | opened)

    resolved = prefixes.find(path)

    assert (resolved.route if resolved else None) == found
    assert prefixes.find(path, is_certain=True) is not None


@pytest.mark.parametrize(
    ("path", "found"),
    [
        pytest.param("/admin?x", None, id="up to a query"),
        pytest.param("/admin#x", None, id="up to a fragment"),
        pytest.param("/admin;x", None, id="without a path parameter"),
        pytest.param("/open/admin;x/y", "/open", id="a path parameter further down"),
        pytest.param("/%61dmin", None, id="unescaped once more"),
        pytest.param("/%61dmi;x=%3F/y", "/", id="unescaped to nothing of the kind"),
        pytest.param("/%61dmin%3Fx", None, id="unescaped, and up to a query"),
        pytest.param("/Admin?x", None, id="in another case besides"),
        pytest.param("/open/..?x", None, id="dots in front of a query"),
        pytest.param("/open/what?", "/open", id="a query that leads nowhere else"),
        pytest.param("/open/100%", "/open", id="a per cent sign"),
        pytest.param("/admin/open?x", "/admin", id="guarded, and read as public"),
        pytest.param("/admin/strict?x", None, id="guarded, and read as guarded otherwise"),
    ],
)
def test_a_path_that_reads_as_a_url_leads_to_nothing_guarded_otherwise(path: str, found: str | None) -> None:
    """
    An application that makes a URL of the path, as a proxy does, is not led to another declaration's part.
    """
    guarded = dict(prefix_table("/admin", "/admin/strict").declarations)
    opened = {one: Declaration(None, one) for one in ("/", "/open", "/admin/open")}
    prefixes = PrefixTable(guarded | opened)

    resolved = prefixes.find(path)

    assert (resolved.route if resolved else None) == found


@pytest.mark.parametrize(
    ("root_path", "path", "found"),
    [
        pytest.param("", "/admin", "/admin", id="none"),
        pytest.param("/api", "/api/admin", "/admin", id="in front"),
        pytest.param("/api", "/admin", "/admin", id="left out by the server"),
        pytest.param("/api", "/api", None, id="alone"),
        pytest.param("/api", "/api/open/api/admin", "/open", id="in front and inside"),
        pytest.param("/api", "/open/api/admin", None, id="inside"),
        pytest.param("/api", "/open/apiadmin", None, id="inside, in a segment"),
        pytest.param("/api", "/apiadmin", None, id="in a segment"),
        pytest.param("/api", "/open/ap/i/admin", "/open", id="in pieces"),
        pytest.param("/api/", "/api//admin", "/admin", id="with a slash"),
        pytest.param("/api/", "/api/admin", None, id="with a slash, in a segment"),
        pytest.param("/", "/admin", "/admin", id="a slash"),
        pytest.param("api", "/open/api/admin", None, id="without a slash"),
    ],
)
def test_a_root_path_that_could_be_taken_off_elsewhere_is_refused(
    root_path: str, path: str, found: str | None
) -> None:
    """
    Frameworks take a root path off at its first occurrence, or in the middle of a segment; then the path
    that was compared is not the one that is served.
    """
    table = RouteTable(None, prefix_table("/", "/open", "/admin"))

    resolved = table.find(request_scope("/", root_path=root_path) | {"path": path})

    assert (resolved.route if isinstance(resolved, Resolved) else None) == found


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/legacy/open", 200, id="public"),
        pytest.param("/api/legacy/open", 200, id="public, behind the root path"),
        pytest.param("/legacy/open/api/legacy/admin", 404, id="the root path inside"),
        pytest.param("/legacy/opening", 401, id="guarded"),
    ],
)
async def test_a_root_path_inside_of_a_mounts_path_is_refused_too(path: str, status: int) -> None:
    """
    A mounted application takes the mount's root path off in its own way.
    """
    ran: list[str] = []
    prefixes = {"/legacy": READ, "/legacy/open": public}
    router = Router([Mount("/legacy", Application(ran, "legacy"))])

    answer = await call(GuardrailMiddleware(router, prefixes=prefixes), path, root_path="/api")

    assert (answer.status, ran) == (status, ["legacy"] if status == 200 else [])


# The path as the router reads it


@given(
    path=st.text(alphabet="/ab", max_size=6),
    root_path=st.text(alphabet="/ab", max_size=4),
)
def test_the_route_path_is_what_starlette_takes_it_for(path: str, root_path: str) -> None:
    """
    With and without a root path, in it, beside it and only beginning like it, both read the same path.
    """
    scope = request_scope("/", root_path=root_path) | {"path": path}

    assert route_path_of(scope) == get_route_path(scope)


def test_a_scope_without_a_root_path_is_read_whole() -> None:
    """
    ``root_path`` is optional in ASGI.
    """
    assert route_path_of({"path": "/orders"}) == "/orders"


# Finding


def test_the_first_full_match_wins() -> None:
    """
    Overlapping templates are tried in the router's order.
    """
    first, second = READ(endpoint([], "first")), READ(endpoint([], "second"))
    table = table_of(Route("/orders/{id}", first), Route("/orders/latest", second))

    found = table.find(request_scope("/orders/latest"))

    assert isinstance(found, Resolved)
    assert (found.endpoints, found.route, found.is_mount) == ((first,), "/orders/{id}", False)


def test_the_methods_of_every_route_on_a_path_are_allowed() -> None:
    """
    405 names each method once, over all routes of the path, in their order.
    """
    table = table_of(
        Route("/orders", READ(endpoint([], "list"))),
        Route("/orders", READ(endpoint([], "place")), methods=["POST", "PUT"]),
        Route("/{any}", READ(endpoint([], "any")), methods=["PUT", "PATCH"]),
    )

    found = table.find(request_scope("/orders", method="DELETE"))

    assert found == Unresolved(405, ("GET", "HEAD", "POST", "PUT", "PATCH"), is_routers=True)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/orders/", REDIRECT, id="slash_too_many"),
        pytest.param("/slashed", REDIRECT, id="slash_missing"),
        pytest.param("/orders//", REDIRECT, id="slashes_too_many"),
        pytest.param("/nothing", NOT_FOUND, id="unknown"),
        pytest.param("/nothing/", NOT_FOUND, id="unknown_with_a_slash"),
        pytest.param("/", NOT_FOUND, id="root"),
        pytest.param("//", NOT_FOUND, id="toggled_to_nothing"),
    ],
)
def test_a_toggled_slash_is_the_routers_redirect(path: str, expected: Unresolved) -> None:
    """
    A path whose slash toggled is known is left to the router's redirect; nothing else is.
    """
    table = table_of(Route("/orders", READ(endpoint([], "a"))), Route("/slashed/", READ(endpoint([], "b"))))

    assert table.find(request_scope(path)) == expected


def test_a_websocket_is_never_redirected() -> None:
    """
    The router redirects HTTP requests alone.
    """
    table = table_of(Route("/orders", READ(endpoint([], "a"))))

    assert table.find(request_scope("/orders/", kind="websocket")) == NOT_FOUND


def test_finding_leaves_the_scope_alone() -> None:
    """
    The scope that the application gets is the server's: no match has been written into it.
    """
    app = FastAPI(openapi_url=None)
    router = APIRouter()
    router.add_api_route("/{id}", READ(endpoint([], "a")))
    app.include_router(router, prefix="/orders")
    app.mount("/sub", Router([Route("/{id}", READ(endpoint([], "b")))]))
    table = compile_routes(app, prefixes=NO_PREFIXES)
    for path in ("/orders/1", "/sub/1", "/sub/1/", "/nothing"):
        scope = request_scope(path)
        before = dict(scope)

        table.find(scope)

        assert scope == before


def test_a_table_lists_its_declarations_once() -> None:
    """
    A class-based endpoint of two methods under one declaration is one declaration; prefixes count.
    """

    @READ
    class Orders(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("get")

        async def post(self, request: Request) -> Response:
            return PlainTextResponse("post")

    prefixes = compile_prefixes({"/mcp": WRITE})
    table = compile_routes(Router([Route("/orders", Orders)]), prefixes=prefixes)

    assert [one.where for one in table.declarations()] == ["Orders", "prefix /mcp"]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        pytest.param(
            RouteRow("GET", "/v1/invoices/{id}", "read", None), "GET /v1/invoices/{id} -> read", id="route"
        ),
        pytest.param(RouteRow("", "", "Strange", None), "Strange", id="unknown_entry"),
    ],
)
def test_a_row_reads_as_undeclared_routes_are_listed(row: RouteRow, line: str) -> None:
    """
    Method, template and endpoint; an entry without a path by its class's name alone.
    """
    assert str(row) == line


# Random trees of routes. Every endpoint asks for a scope that no other asks for.


@dataclass(frozen=True)
class LeafSpec:
    """
    A route: what kind of endpoint, where, for which methods.
    """

    kind: str
    path: str
    methods: tuple[str, ...]
    number: int = 0


@dataclass(frozen=True)
class GroupSpec:
    """
    Routes together: an included router, or a mounted application.
    """

    kind: str
    path: str
    children: "tuple[LeafSpec | GroupSpec, ...]"


Spec = LeafSpec | GroupSpec
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_paths = st.sampled_from(
    [
        "/",
        "/a",
        "/b",
        "/a/",
        "/a/b",
        "/b/",
        "/{p}",
        "/a/{p}",
        "/{p}/b",
        "/{p}/",
        "/{p:int}",
        "/{p:path}",
        "/a/{p:path}",
    ]
)
_groups = st.sampled_from(["/a", "/b", "/{q}", "/a/b"])
_leaves = st.builds(
    LeafSpec,
    kind=st.sampled_from(
        ["function", "late", "partial", "class", "methods", "application", "public", "public_path"]
    ),
    path=_paths,
    methods=st.sampled_from([("GET",), ("POST",), ("GET", "POST"), ("DELETE", "OPTIONS")]),
)
_trees = st.recursive(
    _leaves,
    lambda children: st.builds(
        GroupSpec,
        kind=st.sampled_from(["include", "include", "router", "starlette", "fastapi", "host", "bare"]),
        path=_groups,
        children=st.lists(children, min_size=1, max_size=4).map(tuple),
    ),
    max_leaves=10,
)
_segments = st.sampled_from(["a", "b", "1", "x"])
_paths_at_random = st.lists(st.sampled_from(["a", "b", "1", ""]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@dataclass
class Built:
    """
    An application made of a specification: guarded, or the same one unguarded.
    """

    guarded: bool
    ran: list[str] = field(default_factory=list)
    public_paths: list[str] = field(default_factory=list)
    scopes: set[str] = field(default_factory=set)

    def application(self, tree: Sequence[Spec], shared: Counter[str]) -> ASGIApp:
        app = FastAPI(openapi_url=None)
        self._add(app.router, tree, "", shared)
        if self.guarded:
            app.add_middleware(GuardrailMiddleware, public_paths=self.public_paths)
        return app

    def _add(self, router: Router, tree: Sequence[Spec], prefix: str, shared: Counter[str]) -> None:
        for spec in tree:
            if isinstance(spec, LeafSpec):
                self._leaf(router, spec, prefix + spec.path, shared)
            elif spec.kind == "include" and isinstance(router, APIRouter):
                included = APIRouter()
                self._add(included, spec.children, prefix + spec.path, shared)
                router.include_router(included, prefix=spec.path)
            elif spec.kind == "host":
                hosted = Router()
                self._add(hosted, spec.children, prefix, shared)
                router.routes.append(Host("testserver", hosted))
            else:
                self._mount(router, spec, prefix, shared)

    def _mount(self, router: Router, spec: GroupSpec, prefix: str, shared: Counter[str]) -> None:
        makers: dict[str, Callable[[], Any]] = {
            "starlette": Starlette,
            "fastapi": lambda: FastAPI(openapi_url=None),
            "bare": lambda: Router(redirect_slashes=False),
        }
        mounted = makers.get(spec.kind, Router)()
        self._add(getattr(mounted, "router", mounted), spec.children, prefix + spec.path, shared)
        router.routes.append(Mount(spec.path, mounted))

    def _leaf(self, router: Router, spec: LeafSpec, template: str, shared: Counter[str]) -> None:
        name = f"s{spec.number}"
        path_is_its_own = shared[template] == 1
        if spec.kind in {"class", "methods", "application"}:
            made = self._other(spec.kind, name)
            router.routes.append(Route(spec.path, made))
            return
        handler = endpoint(self.ran, name)
        if spec.kind == "public_path" and path_is_its_own:
            self.public_paths.append(template)
        elif spec.kind in {"public", "public_path"}:
            handler = public(handler) if self.guarded else handler
        elif spec.kind == "late":
            router.routes.append(Route(spec.path, handler, methods=list(spec.methods)))
            self._require(handler, name)
            return
        else:
            handler = self._require(handler, name)
        router.routes.append(Route(spec.path, handler, methods=list(spec.methods)))

    def _other(self, kind: str, name: str) -> Any:
        ran = self.ran

        class Both(HTTPEndpoint):
            async def get(self, request: Request) -> Response:
                ran.append(f"{name}get" if kind == "methods" else name)
                return PlainTextResponse(name)

            async def post(self, request: Request) -> Response:
                ran.append(f"{name}post" if kind == "methods" else name)
                return PlainTextResponse(name)

        if kind == "application":
            return self._require(Application(ran, name), name)
        if kind == "class":
            return self._require(Both, name)
        setattr(Both, "get", self._require(Both.get, f"{name}get"))  # noqa: B010 - mypy refuses the assignment
        setattr(Both, "post", self._require(Both.post, f"{name}post"))  # noqa: B010
        return Both

    def _require(self, declared: Any, scope: str) -> Any:
        self.scopes.add(scope)
        return ORDERS.requires(scope)(declared) if self.guarded else declared


def numbered(tree: Sequence[Spec], counter: "itertools.count[int]") -> tuple[Spec, ...]:
    """
    The tree with a number of its own in each endpoint and in each group's path parameter.
    """
    out: list[Spec] = []
    for spec in tree:
        number = next(counter)
        if isinstance(spec, LeafSpec):
            out.append(LeafSpec(spec.kind, spec.path, spec.methods, number))
        else:
            path = spec.path.replace("{q}", f"{{q{number}}}")
            out.append(GroupSpec(spec.kind, path, numbered(spec.children, counter)))
    return tuple(out)


def templates(tree: Sequence[Spec], prefix: str = "") -> Counter[str]:
    count: Counter[str] = Counter()
    for spec in tree:
        if isinstance(spec, LeafSpec):
            count[prefix + spec.path] += 1
        else:
            count += templates(spec.children, prefix if spec.kind == "host" else prefix + spec.path)
    return count


@st.composite
def requests_to(draw: st.DrawFn, among: Sequence[str]) -> tuple[str, str]:
    """
    A request that is likely, and not certain, to reach one of these templates.
    """
    template = draw(st.one_of(st.sampled_from(among), _paths_at_random))
    path = re.sub(r"\{[^}]+\}", lambda _: draw(_segments), template)
    slash = draw(st.sampled_from(["", "", "", "/"]))
    return draw(st.sampled_from(METHODS)), path + slash


async def answer_of(app: ASGIApp, built: Built, request: tuple[str, str], headers: Headers = ()) -> Answer:
    built.ran.clear()
    return await call(app, request[1], method=request[0], headers=headers)


# Before 0.137 an included router loses its mounts: the trees are others.
if hasattr(fastapi.routing, "iter_route_contexts"):

    @settings(max_examples=120, deadline=None, derandomize=True)
    @given(
        specs=st.lists(_trees, min_size=1, max_size=5).map(lambda tree: numbered(tree, itertools.count())),
        data=st.data(),
    )
    def test_the_endpoint_that_runs_is_the_one_judged(specs: tuple[Spec, ...], data: st.DataObject) -> None:
        """
        Over random trees of routes: no endpoint runs without its own scope in the token, and with all scopes
        the application answers as if guardrail were not there.
        """
        shared = templates(specs)
        requests = data.draw(st.lists(requests_to(sorted(shared)), min_size=4, max_size=12))
        plain, guarded = Built(guarded=False), Built(guarded=True)
        plain_app, guarded_app = plain.application(specs, shared), guarded.application(specs, shared)

        async def compare() -> None:
            for request in requests:
                unguarded = await answer_of(plain_app, plain, request)
                would_run = list(plain.ran)
                nobody = await answer_of(guarded_app, guarded, request)
                assert guarded.scopes.isdisjoint(guarded.ran)
                assert nobody.status in {200, 307, 401, 404, 405}
                for scope in {*would_run, "none", *sorted(guarded.scopes)[:2]}:
                    await answer_of(guarded_app, guarded, request, bearer(scope))
                    assert guarded.scopes.intersection(guarded.ran) <= {scope}
                everybody = await answer_of(guarded_app, guarded, request, bearer(*sorted(guarded.scopes)))
                assert guarded.ran == would_run
                compare_answers(unguarded, everybody)

        def compare_answers(unguarded: Answer, everybody: Answer) -> None:
            if (unguarded.status, everybody.status) == (307, 404):
                return  # the router redirects to any mount; guardrail to one that has something there
            assert everybody.status == unguarded.status
            if unguarded.status not in {404, 405}:
                assert (everybody.text, everybody.headers) == (unguarded.text, unguarded.headers)

        asyncio.run(compare())
