"""
Applications of protected routes and public ones.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from guardrail import public
from guardrail.testing import FakeIssuer

from .kit import (
    SCOPE,
    Api,
    endpoint,
    guard,
    naming,
    package,
)

Handler = Callable[[Request], Awaitable[Response]]


def open_to_all(ran: list[str]) -> Handler:
    """
    A public handler, which notes nothing.
    """

    @public
    async def health(request: Request) -> Response:
        return PlainTextResponse("")

    return health


def beside_a_public_route(fake: FakeIssuer, ran: list[str], **settings: Any) -> Api:
    """
    An API with a protected route and public ones.
    """
    protected = package(fake).requires(SCOPE)(endpoint(ran))
    routes = [
        Route("/orders", protected),
        Route("/admin", protected),
        *(Route(path, open_to_all(ran)) for path in ("/public", "/health", "/")),
    ]
    return guard(routes, fake, ran, **settings)


async def never_runs(guarded: Api, statuses: set[int], **request: Any) -> None:
    """
    The request without a token is answered with one of *statuses*, and runs no protected handler.
    """
    before = list(guarded.ran)
    with naming(repr(request)):
        answer = await guarded.send(**request)
        assert answer.status in statuses
        assert answer.challenge.get("error") is None
        assert guarded.ran == before
