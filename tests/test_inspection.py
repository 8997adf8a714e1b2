"""
An application as people ask about it: its route table, with the settings its middleware was given.
"""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from guardrail import GuardrailMiddleware, ServicePackage, public
from guardrail._inspection import survey
from guardrail._route_table import RouteTable
from guardrail.errors import MiddlewareMissingError, PolicyError
from guardrail.fastapi import DOCS_PATHS

orders = ServicePackage("orders", issuer="https://login.example.com", audience="orders")


def plain_endpoint() -> Any:
    """
    An endpoint that declares nothing.
    """

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("ran")

    return endpoint


def routes() -> list[Route]:
    """
    One route of each kind: guarded, public, undeclared.
    """
    return [
        Route("/guarded", orders.requires("orders:read")(plain_endpoint())),
        Route("/public", public(plain_endpoint())),
        Route("/forgotten", plain_endpoint()),
    ]


def declared(table: RouteTable) -> dict[str, str]:
    """
    What each template declares, as people read it.
    """
    return {
        row.template: "undeclared"
        if row.declaration is None
        else "public"
        if row.declaration.is_public
        else str(row.declaration.requirement)
        for row in table.rows
    }


EXPECTED = {"/guarded": "orders:read", "/public": "public", "/forgotten": "undeclared"}


def test_an_application_is_surveyed_with_its_undeclared_routes() -> None:
    """
    A survey lists what startup would stop at, beside the rest, and raises for none of it.
    """
    app = Starlette(routes=routes())
    app.add_middleware(GuardrailMiddleware)

    assert declared(survey(app)) == EXPECTED


def test_the_middleware_around_an_application_is_surveyed_alike() -> None:
    """
    ``GuardrailMiddleware(app)`` and ``add_middleware`` make the same table.
    """
    app = GuardrailMiddleware(Starlette(routes=routes()))

    assert declared(survey(app)) == EXPECTED


def test_the_middleware_around_other_middleware_is_surveyed_alike() -> None:
    """
    The router is found through what stands between.
    """
    app = GuardrailMiddleware(GZipMiddleware(Starlette(routes=routes())))

    assert declared(survey(app)) == EXPECTED


@pytest.mark.parametrize("wraps", [pytest.param(True, id="around"), pytest.param(False, id="added")])
def test_the_settings_count(wraps: bool) -> None:
    """
    What ``public_paths`` and ``prefixes`` declare is in the table, whichever way the middleware was added.
    """
    inner = Starlette(routes=[Mount("/mcp", GZipMiddleware(opaque)), Route("/health", plain_endpoint())])
    settings: dict[str, Any] = {"public_paths": ["/health"], "prefixes": {"/mcp": orders.requires()}}
    app: object = GuardrailMiddleware(inner, **settings) if wraps else inner
    if not wraps:
        inner.add_middleware(GuardrailMiddleware, **settings)

    table = survey(app)

    assert declared(table) == {"/mcp": "any valid token", "/health": "public"}


async def opaque(scope: Scope, receive: Receive, send: Send) -> None:
    """
    A foreign application.
    """


def test_a_fastapi_application_is_surveyed() -> None:
    """
    FastAPI's own routes are among the rest.
    """
    app = FastAPI()
    app.add_middleware(GuardrailMiddleware, public_paths=DOCS_PATHS)
    app.get("/orders")(orders.requires("orders:read")(plain_endpoint()))

    table = declared(survey(app))

    assert table == {**dict.fromkeys(DOCS_PATHS, "public"), "/orders": "orders:read"}


def test_a_foreign_application_has_its_prefixes_for_a_table() -> None:
    """
    Around an application that is not Starlette's there are no rows, and the prefixes are in force.
    """
    table = survey(GuardrailMiddleware(opaque, prefixes={"/": public}))

    assert table.rows == ()
    assert list(table.prefixes.declarations) == ["/"]


@pytest.mark.parametrize(
    ("middleware", "message"),
    [
        pytest.param([], "is not added", id="none"),
        pytest.param([Middleware(GZipMiddleware)], "is not added", id="another"),
        pytest.param(
            [Middleware(GuardrailMiddleware), Middleware(GZipMiddleware)], "is not innermost", id="outermost"
        ),
        pytest.param(
            [Middleware(GZipMiddleware), Middleware(GuardrailMiddleware), Middleware(GZipMiddleware)],
            "is not innermost",
            id="in the middle",
        ),
    ],
)
def test_an_application_not_guarded_innermost_is_refused(middleware: list[Middleware], message: str) -> None:
    """
    Whoever asks about an application learns that nothing guards it, or that something rewrites paths behind.
    """
    app = Starlette(routes=routes(), middleware=middleware)

    with pytest.raises(MiddlewareMissingError, match=message):
        survey(app)


def test_an_application_guarded_innermost_is_accepted() -> None:
    """
    Other middleware may stand outside; the first ``add_middleware`` call is the innermost.
    """
    app = Starlette(routes=routes())
    app.add_middleware(GuardrailMiddleware)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])

    assert declared(survey(app)) == EXPECTED


def test_of_two_middlewares_the_innermost_counts() -> None:
    """
    Its settings are those that decide.
    """
    app = Starlette(routes=[Route("/health", plain_endpoint())])
    app.add_middleware(GuardrailMiddleware, public_paths=["/health"])
    app.add_middleware(GuardrailMiddleware)

    assert declared(survey(app)) == {"/health": "public"}


def test_a_guard_behind_other_middleware_is_found() -> None:
    """
    What stands around the guard does not hide it, nor what it leaves open.
    """
    table = survey(CORSMiddleware(GuardrailMiddleware(Starlette(routes=[Route("/orders", opaque)]))))

    assert [str(row) for row in table.rows if row.declaration is None] == ["GET /orders -> opaque"]


def test_settings_that_would_not_construct_are_refused() -> None:
    """
    A setting is as wrong before the application starts as after.
    """
    app = Starlette()
    app.add_middleware(GuardrailMiddleware, nonsense=1)  # type: ignore[call-arg] # it is what is tested

    with pytest.raises(PolicyError, match="nonsense"):
        survey(app)


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(opaque, id="a function"),
        pytest.param(None, id="nothing"),
        pytest.param("orders:app", id="a name"),
        pytest.param(Starlette, id="a class"),
        pytest.param(CORSMiddleware(opaque), id="other middleware around what is unknown"),
    ],
)
def test_what_is_no_guarded_application_is_refused(app: object) -> None:
    """
    Of what cannot be looked into nothing is said but that.
    """
    with pytest.raises(PolicyError, match="neither a Starlette or FastAPI application nor"):
        survey(app)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"public_paths": ["/nowhere"]}, id="a public path that is no route"),
        pytest.param({"prefixes": {"mcp": public}}, id="a prefix that is no path"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any]) -> None:
    """
    A survey finds the mistakes that startup would.
    """
    app = Starlette(routes=[Route("/public", public(plain_endpoint()))])
    app.add_middleware(GuardrailMiddleware, **settings)

    with pytest.raises(PolicyError):
        survey(app)


class Audited(GuardrailMiddleware):
    """
    A team's own middleware, made of ours.
    """


@pytest.mark.parametrize("wraps", [pytest.param(True, id="around"), pytest.param(False, id="added")])
def test_a_subclass_guards_like_its_base(wraps: bool) -> None:
    """
    A team's subclass is a `GuardrailMiddleware` whichever way it was added.
    """
    inner = Starlette(routes=routes())
    app: object = Audited(inner) if wraps else inner
    if not wraps:
        inner.add_middleware(Audited)

    assert declared(survey(app)) == EXPECTED
