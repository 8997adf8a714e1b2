"""
On any tree of routes, the endpoint that was authorised is the one the framework dispatches.

Every tree is built twice from one description: bare, and declared behind the middleware, each endpoint with a
scope of its own. The bare application says which endpoint a request reaches. Behind the middleware, a caller
with that one scope must reach that one, and a caller with all the others must reach none.
"""

import asyncio
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from fastapi import APIRouter, FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route
from starlette.types import ASGIApp, Message, Scope

from guardrail import GuardrailMiddleware, ServicePackage
from guardrail.testing import as_operator

TREES: Final = 500
REQUESTS: Final = 20  # on each tree
EXAMPLES: Final = settings(
    max_examples=TREES,
    deadline=None,
    database=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
PACKAGE: Final = ServicePackage("any", issuer="https://login.example.com", audience="any")
SEEN: Final[Counter[str]] = Counter()

Kind = Literal["function", "class", "operation"]


@dataclass(frozen=True)
class Leaf:
    """
    A route: its template, its methods (none for all), and what kind of endpoint it has.
    """

    path: str
    methods: tuple[str, ...]
    kind: Kind


@dataclass(frozen=True)
class Inner:
    """
    Routes behind a mount, an included router or a host.
    """

    kind: Literal["mount", "include", "host"]
    path: str
    children: "tuple[Leaf | Inner, ...]"


Tree = tuple[Leaf | Inner, ...]


@dataclass
class Builder:
    """
    Makes an application of a description, and numbers its endpoints in order.
    """

    is_declared: bool
    ran: list[str] = field(default_factory=list[str])
    count: int = 0
    parameters: int = 0

    def application(self, tree: Tree, *, is_fastapi: bool) -> ASGIApp:
        """
        The whole application.
        """
        app = FastAPI(openapi_url=None) if is_fastapi else Starlette()
        self._fill(app.router, tree)
        return app

    def _fill(self, router: Any, tree: Tree) -> None:
        for node in tree:
            path = self._named_apart(node.path)
            if isinstance(node, Leaf):
                self._add_leaf(router, node, path)
            elif node.kind == "include" and isinstance(router, APIRouter):
                included = APIRouter()
                self._fill(included, node.children)
                router.include_router(included, prefix=path)
            else:
                inner = Starlette()
                self._fill(inner.router, node.children)
                is_host = node.kind == "host"
                host = f"h{len(node.path) % 2}.example"
                router.routes.append(Host(host, inner) if is_host else Mount(path, inner))

    def _add_leaf(self, router: Any, leaf: Leaf, path: str) -> None:
        self.count += 1
        name = f"e{self.count}"
        methods = list(leaf.methods) or None
        if leaf.kind == "class":
            router.routes.append(Route(path, self._class(name)))
        elif leaf.kind == "operation" and isinstance(router, APIRouter):
            router.add_api_route(path, self._operation(name), methods=methods)
        else:
            router.routes.append(Route(path, self._function(name), methods=methods))

    def _named_apart(self, path: str) -> str:
        """
        The template with parameters that no other template has: frameworks refuse a name twice in one path.
        """
        for _ in range(path.count("{")):
            self.parameters += 1
            path = re.sub(r"\{[pn]", f"{{v{self.parameters}", path, count=1)
        return path

    def _declared(self, endpoint: Any, name: str) -> Any:
        return PACKAGE.requires(name)(endpoint) if self.is_declared else endpoint

    def _function(self, name: str) -> Any:
        async def endpoint(request: Request) -> Response:
            self.ran.append(name)
            return PlainTextResponse(name)

        return self._declared(endpoint, name)

    def _operation(self, name: str) -> Any:
        async def endpoint() -> Response:
            self.ran.append(name)
            return PlainTextResponse(name)

        return self._declared(endpoint, name)

    def _class(self, name: str) -> Any:
        ran = self.ran

        class Endpoint(HTTPEndpoint):
            async def get(self, request: Request) -> Response:
                ran.append(name)
                return PlainTextResponse(name)

            post = get

        return self._declared(Endpoint, name)


# Few words, so that templates overlap and requests meet them

SEGMENTS: Final = ("a", "b", "{p}", "{n:int}", "a{p}")
WORDS: Final = ("a", "a", "b", "7", "ab", "")
PATHS: Final = st.lists(st.sampled_from(SEGMENTS), max_size=2)


def templates(*ends: str) -> st.SearchStrategy[str]:
    """
    Templates that end in one of *ends*.
    """
    return st.builds(
        lambda segments, end: "".join(f"/{one}" for one in segments) + end, PATHS, st.sampled_from(ends)
    )


LEAVES: Final = st.builds(
    Leaf,
    path=templates("", "", "/", "/{p:path}").map(lambda path: path or "/"),
    methods=st.sampled_from([(), ("GET",), ("POST",), ("GET", "POST"), ("DELETE",)]),
    kind=st.sampled_from(["function", "class", "operation"]),
)
PREFIXES: Final = templates("").filter(bool)


def _inner(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(children, min_size=1, max_size=4).map(tuple)
    return st.builds(
        Inner, kind=st.sampled_from(["mount", "include", "host"]), path=PREFIXES, children=several
    )


NODES: Final = st.recursive(LEAVES, _inner, max_leaves=12)
FORESTS: Final = st.lists(NODES, min_size=1, max_size=8).map(tuple)
Asked = tuple[str, int, list[str], str]
ASKED: Final[st.SearchStrategy[Asked]] = st.tuples(
    st.sampled_from(["GET", "GET", "GET", "POST", "HEAD", "DELETE", "OPTIONS"]),
    st.integers(0, 1_000),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4),
    st.sampled_from(["h0.example", "h1.example", "api.example"]),
)


def templates_in(tree: Tree, prefix: str = "") -> Iterator[str]:
    """
    The whole template of every leaf.
    """
    for node in tree:
        if isinstance(node, Leaf):
            yield prefix + node.path
        else:
            yield from templates_in(node.children, prefix if node.kind == "host" else prefix + node.path)


def path_asked(tree: Tree, number: int, words: list[str]) -> str:
    """
    The path of one template of *tree* with words for its parameters, or, one time in three, any words.
    """
    found = tuple(templates_in(tree))
    if number % 3 == 0 or not found:
        return "/" + "/".join(words)
    fill = itertools.cycle(words)
    return re.sub(r"\{[^}]*\}", lambda _: next(fill), found[number % len(found)])


def scope_of(method: str, path: str, host: str) -> Scope:
    """
    An HTTP request.
    """
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", host.encode())],
        "server": (host, 443),
        "client": ("10.0.0.1", 1),
    }


async def call(app: ASGIApp, ran: list[str], scope: Scope) -> tuple[int, tuple[str, ...]]:
    """
    The status of an answer, and which endpoints ran for it.
    """
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    ran.clear()
    await app(dict(scope), receive, send)
    return statuses[0], tuple(ran)


def as_caller(*scopes: str) -> AbstractContextManager[object]:
    """
    A caller with these scopes; no token is needed, and the policy holds.
    """
    return as_operator(scopes=scopes)


@EXAMPLES
@given(tree=FORESTS, is_fastapi=st.booleans(), asked=st.lists(ASKED, min_size=REQUESTS, max_size=REQUESTS))
def test_the_endpoint_authorised_is_the_one_dispatched(
    tree: Tree, is_fastapi: bool, asked: list[Asked]
) -> None:
    """
    The scope of the endpoint that a request reaches opens it, and all other scopes together open nothing.
    """
    asyncio.run(_check(tree, is_fastapi, asked))


async def _check(tree: Tree, is_fastapi: bool, asked: list[Asked]) -> None:
    bare, declared = Builder(is_declared=False), Builder(is_declared=True)
    plain = bare.application(tree, is_fastapi=is_fastapi)
    guarded = GuardrailMiddleware(declared.application(tree, is_fastapi=is_fastapi))
    everyone = [f"e{number}" for number in range(1, bare.count + 1)]

    for method, number, words, host in asked:
        request = method, path_asked(tree, number, words), host
        status, reached = await call(plain, bare.ran, scope_of(*request))
        with as_caller(*reached):
            allowed = await call(guarded, declared.ran, scope_of(*request))
        with as_caller(*(name for name in everyone if name not in reached)):
            refused, ran = await call(guarded, declared.ran, scope_of(*request))

        if status == 307 and allowed[0] == 404:
            # A redirect that is not offered lets nobody in: to where nothing is, as from a mount's path
            # without its slash, or from the very prefix of an included router that holds a host.
            status = 404
        assert allowed == (status, reached)
        assert ran == ()
        assert refused == (403 if reached else status)
        SEEN["reached" if reached else str(status)] += 1


def test_enough_requests_of_every_kind_were_made() -> None:
    """
    Ten thousand, among them many that reached an endpoint, and many of each answer without one.
    """
    total = sum(SEEN.values())

    print(f"\n{total} requests: {dict(SEEN.most_common())}")
    assert total >= TREES * REQUESTS
    assert SEEN["reached"] >= total // 8
    assert all(SEEN[status] >= 10 for status in ("404", "405", "307"))
