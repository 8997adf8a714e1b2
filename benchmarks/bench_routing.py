"""
What it costs to find out which endpoint will run, beside the framework's own dispatch of the same request.

Each row is an application with that many routes, of which a request reaches the last, the middle or none.
The dispatch is the framework's router called with the request: it looks for the route and calls an endpoint
that does nothing. Both are timed in turns; the ratio is what to quote.

    python benchmarks/bench_routing.py [ROUNDS]
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, cast

from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from guardrail import public
from guardrail._prefixes import PrefixTable
from guardrail._route_table import RouteTable
from guardrail._routing import compile_routes

SIZES = (10, 100, 400, 1_000)
ROUNDS = 15
BATCH = 40  # requests timed together


class Nothing:
    """
    An ASGI application that does nothing.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def paths(size: int) -> list[str]:
    """
    Templates as an API has them: resources under one version, items, and things of items.
    """
    shapes = (
        "/api/v1/resource{n}",
        "/api/v1/resource{n}/{{item}}",
        "/api/v1/resource{n}/{{item}}/parts/{{part:int}}",
    )
    return [shapes[number % 3].format(n=number // 3) for number in range(size)]


def flat(size: int) -> Starlette:
    """
    All routes on one Starlette application.
    """
    return Starlette(routes=[Route(path, public(Nothing())) for path in paths(size)])


def mounted(size: int) -> Starlette:
    """
    Ten mounts of a tenth of the routes each.
    """
    parts = [paths(size)[start::10] for start in range(10)]
    inner = [[Route(path, public(Nothing())) for path in part] for part in parts]
    return Starlette(routes=[Mount(f"/part{n}", routes=routes) for n, routes in enumerate(inner)])


def included(size: int) -> FastAPI:
    """
    Ten included routers of a tenth of the routes each.
    """
    app = FastAPI(openapi_url=None)
    for number in range(10):
        router = APIRouter(prefix=f"/part{number}")
        for path in paths(size)[number::10]:
            router.add_route(path, cast("Any", public(Nothing())))  # an ASGI application is a route too
        app.include_router(router)
    return app


def requests_for(table: RouteTable) -> list[dict[str, Any]]:
    """
    The last route's path, the middle one's, and one that is nobody's.
    """
    templates = [row.template for row in table.rows]
    wanted = [templates[-1], templates[len(templates) // 2], "/api/v1/nothing/here"]
    filled = [path.replace("{item}", "widget").replace("{part:int}", "42") for path in wanted]
    return [
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "headers": [],
            "root_path": "",
        }
        for path in filled
    ]


async def compare(build: Callable[[int], Any], size: int, rounds: int) -> tuple[float, float]:
    """
    Microseconds per request of our look-up, and of the framework's dispatch.
    """
    app = build(size)
    table = compile_routes(app, prefixes=PrefixTable({}))
    scopes = requests_for(table)
    ours: list[float] = []
    theirs: list[float] = []

    async def receive() -> Any: ...
    async def send(message: Any) -> None: ...

    for _ in range(rounds):
        for scope in scopes:
            copies = [dict(scope) for _ in range(BATCH)]
            began = time.perf_counter()
            for copy in copies:
                table.find(copy)
            middle = time.perf_counter()
            for copy in copies:
                await app.router(copy, receive, send)
            ended = time.perf_counter()
            ours.append((middle - began) / BATCH)
            theirs.append((ended - middle) / BATCH)
    return 1e6 * statistics.median(ours), 1e6 * statistics.median(theirs)


def main() -> None:
    """
    Print the table.
    """
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(f"{'application':<20}{'routes':>8}{'ours, us':>10}{'dispatch, us':>14}{'ratio':>8}")
    for build in (flat, mounted, included):
        for size in SIZES:
            ours, theirs = asyncio.run(compare(build, size, rounds))
            print(f"{build.__name__:<20}{size:>8}{ours:>10.1f}{theirs:>14.1f}{ours / theirs:>8.2f}")


if __name__ == "__main__":
    main()
