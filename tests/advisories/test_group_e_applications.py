"""
Group E: ways round a route's policy by the form of an application, from E10 to E20.
"""

import asyncio
import functools
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from guardrail import GuardrailMiddleware, Issuer, Requirement, current_operator, public
from guardrail.errors import MiddlewareMissingError, PolicyError, UndeclaredRouteError
from guardrail.events import Event, KeysUnavailable, TokenRefused
from guardrail.testing import assert_guarded

from .kit import (
    SCOPE,
    URL,
    api,
    bearer,
    endpoint,
    forged,
    frozen,
    guard,
    new_issuer,
    package,
    scope_of,
    send,
)
from .routes import beside_a_public_route, never_runs

pytestmark = pytest.mark.anyio

T = TypeVar("T")


async def test_e10_sibling_endpoint_left_open() -> None:
    """
    One endpoint that declares nothing stops the start-up, wherever it is, and is named.
    """
    fake, ran = new_issuer(), list[str]()
    declared = Route("/mcp", package(fake).requires(SCOPE)(endpoint(ran)))
    siblings: list[BaseRoute] = [
        Route("/mcp_message", endpoint(ran)),
        Mount("/v1", routes=[Route("/mcp_message", endpoint(ran))]),
        WebSocketRoute("/mcp_message", endpoint(ran)),
        Mount("/mcp_message", app=PlainTextResponse("")),
    ]

    for sibling in siblings:
        app = Starlette(routes=[declared, sibling])
        app.add_middleware(GuardrailMiddleware)
        with pytest.raises(UndeclaredRouteError, match="mcp_message"):
            await send(app, scope_of("/mcp_message"))
        with pytest.raises(AssertionError, match="mcp_message"):
            assert_guarded(app)
    assert ran == []


def classes_of_every_kind(requirement: Requirement, ran: list[str]) -> dict[str, Any]:
    """
    Classes whose declaration has some way to get lost.
    """

    class Base(HTTPEndpoint):
        @requirement
        async def get(self, request: Request) -> Response:
            ran.append("base")
            return JSONResponse({})

    class Inherited(Base):
        pass

    class Overridden(Base):
        async def get(self, request: Request) -> Response:
            ran.append("overridden")
            return JSONResponse({})

    class CallsSuper(Base):
        async def get(self, request: Request) -> Response:
            return await super().get(request)

    class Mixin:
        @requirement
        async def get(self, request: Request) -> Response:
            ran.append("mixin")
            return JSONResponse({})

    class WithMixin(Mixin, HTTPEndpoint):
        pass

    class Parametrized(HTTPEndpoint, Generic[T]):
        @requirement
        async def get(self, request: Request) -> Response:
            ran.append("generic")
            return JSONResponse({})

    class OfStrings(Parametrized[str]):
        pass

    @requirement
    class Marked(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            ran.append("marked")
            return JSONResponse({})

    class UnderMarked(Marked):
        async def get(self, request: Request) -> Response:
            ran.append("under marked")
            return JSONResponse({})

    return {
        "inherited": Inherited,
        "overridden": Overridden,
        "calls super": CallsSuper,
        "mixin": WithMixin,
        "generic": OfStrings,
        "marked": Marked,
        "under a marked class": UnderMarked,
    }


def functions_of_every_kind(requirement: Requirement, ran: list[str]) -> dict[str, Any]:
    """
    Functions and methods whose declaration has some way to get lost.
    """

    @requirement
    def plain(request: Request) -> Response:
        ran.append("plain")
        return JSONResponse({})

    async def curried(request: Request, name: str) -> Response:
        ran.append(name)
        return JSONResponse({})

    def wrapped(function: Any) -> Any:
        @functools.wraps(function)
        async def outer(request: Request) -> Any:
            return await function(request)

        return outer

    class Callee:
        @requirement
        async def __call__(self, request: Request) -> Response:
            ran.append("callee")
            return JSONResponse({})

        @requirement
        async def method(self, request: Request) -> Response:
            ran.append("method")
            return JSONResponse({})

    return {
        "plain": plain,
        "partial": requirement(functools.partial(curried, name="partial")),
        "partial of a declared one": functools.partial(requirement(curried), name="partial of"),
        "wrapped": wrapped(wrapped(requirement(endpoint(ran)))),
        "wraps": requirement(wrapped(wrapped(endpoint(ran)))),
        "callable": Callee().__call__,
        "method": Callee().method,
    }


def endpoints_of_every_kind(requirement: Requirement, ran: list[str]) -> dict[str, Any]:
    """
    All of them.
    """
    return classes_of_every_kind(requirement, ran) | functions_of_every_kind(requirement, ran)


@pytest.mark.parametrize("kind", list(endpoints_of_every_kind(package(new_issuer()).requires(), [])))
async def test_e11_declaration_lost_on_the_way(kind: str) -> None:
    """
    A declaration on a base class, a wrapped function or the like is enforced, or stops the start-up.
    """
    fake, ran = new_issuer(), list[str]()
    requirement = package(fake).requires(SCOPE)
    route = Route("/orders", endpoints_of_every_kind(requirement, ran)[kind], methods=["GET"])
    guarded = guard([route], fake, ran)

    try:
        await guarded.accepts()
    except UndeclaredRouteError:
        assert kind in {"overridden", "calls super", "under a marked class"}
        assert ran == []
    else:
        await guarded.refuses(error=None, code="missing_token")
        await guarded.refuses("anything", code="malformed_token")


async def test_e12_order_of_the_decorators() -> None:
    """
    Above or below the framework's own decorator, a declaration holds; without the middleware it still does.
    """
    fake, ran = new_issuer(), list[str]()
    requirement = package(fake).requires(SCOPE)
    app = FastAPI(openapi_url=None)

    @app.get("/orders")
    @requirement
    async def below() -> None:
        ran.append("below")

    @requirement
    @app.get("/above")
    async def above() -> None:
        ran.append("above")

    guarded = guard(app, fake, ran)

    for target in ("/orders", "/above"):
        await guarded.refuses(target=target, error=None, code="missing_token")
        await guarded.accepts(target=target)
    before = list(ran)
    with pytest.raises(MiddlewareMissingError):
        await send(app, scope_of("/orders"))
    assert ran == before


async def test_e13_authentication_taken_for_optional() -> None:
    """
    Without a bearer token there is no anonymous access: no field, an empty one, another scheme are all 401.
    """
    guarded = api()

    await guarded.refuses(error=None, code="missing_token")
    for value in (b"", b"Basic YWRtaW46YWRtaW4=", b"Negotiate", b"Token x", b"DPoP x", b"anonymous", b"null"):
        await guarded.refuses(headers=[(b"authorization", value)], error=None, code="missing_token")


async def test_e14_cve_2022_29226_presence_of_a_token_is_enough() -> None:
    """
    That there is a token says nothing.
    """
    await api().refuses_all({one: one for one in ("x", "null", "undefined", "true", "0", "-")})


async def test_e15_what_does_not_parse_is_let_through_as_opaque() -> None:
    """
    What is no JWT is refused, whatever it looks like, and nobody is asked about it (upstash/context7 #2987).
    """
    fake = new_issuer()
    token = fake.token(scope=SCOPE)
    opaque = (
        "anything",
        "a.b",
        "a.b.c",
        "sk-live-0123456789abcdef",
        "ghp_0123456789",
        "ctx7sk-1",
        "..",
        "v4.public.x",
    )

    await api(fake).refuses_all({one: one for one in (*opaque, token[1:], f"x{token}")})
    spaced = [(b"authorization", b"Bearer " + token.encode() + b" x")]
    await api(fake).refuses(headers=spaced, status=400, error="invalid_request")


async def test_e16_claims_that_nobody_verified() -> None:
    """
    What a refused token says is in no event, no answer and no operator.
    """
    fake, ran = new_issuer(), list[str]()
    guarded = api(fake)
    secret = "mallory-7f3a"
    token = fake.token(scope=f"{SCOPE} {secret}", sub=secret, email=secret, roles=[secret], client_id=secret)

    for one in (forged(token), fake.token(scope=SCOPE, sub=secret, expires_in=-3600)):
        answer = await guarded.refuses(one)
        refused = [event for event in guarded.heard if isinstance(event, TokenRefused)]
        assert secret not in repr(refused)
        assert secret not in repr(answer)
    with pytest.raises(MiddlewareMissingError):
        current_operator()
    assert ran == []


async def test_e17_policy_of_the_route_replaces_the_packages() -> None:
    """
    What a package requires is required of every route, beside what the route adds.
    """
    fake, ran = new_issuer(), list[str]()
    orders = package(fake, required_scopes=[SCOPE])
    routes = [
        Route("/orders", orders.requires("orders:write")(endpoint(ran))),
        Route("/any", orders.requires_any("orders:write", "orders:audit")(endpoint(ran))),
    ]
    guarded = guard(routes, fake, ran, good=lambda: fake.token(scope=f"{SCOPE} orders:write"))

    for target in ("/orders", "/any"):
        for scope in ("orders:write", SCOPE, ""):
            await guarded.refuses(
                fake.token(scope=scope), target=target, status=403, error="insufficient_scope"
            )
        await guarded.accepts(target=target)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(RuntimeError("broken"), id="an exception"),
        pytest.param(httpx.ReadTimeout("late"), id="a timeout"),
        pytest.param(KeyError("keys"), id="a mistake"),
        pytest.param(RecursionError(), id="a recursion"),
        pytest.param(httpx.Response(200, content=b"null"), id="nothing"),
        pytest.param(httpx.Response(200, content=b'{"keys": []}'), id="no keys"),
        pytest.param(httpx.Response(200, content=b"<html>"), id="a page"),
        pytest.param(httpx.Response(500), id="an error"),
    ],
)
async def test_e18_failure_while_deciding(failure: Exception | httpx.Response) -> None:
    """
    Whatever goes wrong on the way to the keys, no handler runs: 503, and once they are there, 200.
    """
    fake, ran, heard = new_issuer(), list[str](), list[Event]()
    broken = True
    clock = [0.0]

    def respond(request: httpx.Request) -> httpx.Response:
        if not broken:
            return httpx.Response(200, json=fake.keys.jwks())
        if isinstance(failure, Exception):
            raise failure
        return failure

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    issuer = Issuer(URL, jwks_uri=f"{URL}/jwks", http_client=client)
    app = GuardrailMiddleware(
        Starlette(routes=[Route("/orders", package(fake, issuer=issuer).requires(SCOPE)(endpoint(ran)))]),
        on_event=[heard.append],
        clock=frozen,
        monotonic=lambda: clock[0],
    )
    scope = scope_of(headers=[bearer(fake.token(scope=SCOPE))])

    answer = await send(app, scope)
    assert (answer.status, answer.values(b"www-authenticate"), ran) == (503, [], [])
    assert int(answer.values(b"retry-after")[0]) >= 1
    assert isinstance(heard[-1], KeysUnavailable)
    broken, clock[0] = False, 3600.0
    assert ((await send(app, scope)).status, ran) == (200, ["/orders"])


async def test_e18_listener_that_raises_decides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """
    A listener that raises neither lets anybody in nor keeps anybody out.
    """
    fake, ran = new_issuer(), list[str]()

    def broken(event: Event) -> None:
        raise RuntimeError(event.name)

    requirement = package(fake).requires(SCOPE)
    guarded = guard([Route("/orders", requirement(endpoint(ran)))], fake, ran, on_event=[broken])

    with caplog.at_level(logging.CRITICAL, logger="guardrail"):
        refused = await guarded.send("anything")
        await guarded.accepts()

    assert (refused.status, refused.challenge["error"]) == (401, "invalid_token")


async def test_e19_streams_mounts_and_files(tmp_path: Path) -> None:
    """
    A mounted application, files and a stream are behind their declarations like any handler.
    """
    fake, ran = new_issuer(), list[str]()
    requirement = package(fake).requires(SCOPE)
    (tmp_path / "secret.txt").write_text("secret")

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        ran.append("mounted")
        await PlainTextResponse("secret")(scope, receive, send)

    async def events() -> AsyncIterator[str]:
        ran.append("stream")
        for number in range(3):
            await asyncio.sleep(0)
            yield f"data: {number} {current_operator().subject}\n\n"

    async def stream(request: Request) -> Response:
        return StreamingResponse(events(), media_type="text/event-stream")

    routes: list[BaseRoute] = [
        Mount("/app", app=requirement(mounted)),
        Mount("/files", app=requirement(StaticFiles(directory=tmp_path))),
        Route("/stream", requirement(stream)),
        Route("/orders", requirement(endpoint(ran))),
    ]
    guarded = guard(routes, fake, ran)

    for target in ("/app", "/app/", "/app/x/../y", "/files/secret.txt", "/files/../secret.txt", "/stream"):
        await never_runs(guarded, {401, 307, 404}, target=target)
        refused = await guarded.send(forged(guarded.good()), target=target)
        assert (refused.status in {401, 307, 404}, b"secret" in refused.body) == (True, False)
    assert ran == []
    token = guarded.good()
    assert (await guarded.send(token, target="/files/secret.txt")).body == b"secret"
    assert (await guarded.send(token, target="/app/x")).body == b"secret"
    assert b"data: 2 alice" in (await guarded.send(token, target="/stream")).body


async def test_e19_client_that_leaves_early() -> None:
    """
    A client that disconnects at once gets no handler to run that it had no token for.
    """
    fake, ran = new_issuer(), list[str]()
    guarded = beside_a_public_route(fake, ran)
    sent: list[Message] = []

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def collect(message: Message) -> None:
        sent.append(message)

    await guarded.app(scope_of(), gone, collect)

    assert (sent[0]["status"], ran) == (401, [])
    with pytest.raises(PolicyError, match="scope type"):
        await guarded.app({"type": "unheard-of"}, gone, collect)


async def test_e20_public_wildcard_before_a_protected_path() -> None:
    """
    A public wildcard serves what the router gives it, and never the handler of another route.
    """
    fake, ran = new_issuer(), list[str]()

    @public
    async def anything(request: Request) -> Response:
        return JSONResponse({"path": request.path_params["p"]})

    protected = package(fake).requires(SCOPE)(endpoint(ran))
    routes = [
        Route("/public/{p:path}", anything),
        Route("/admin", protected),
        Route("/orders", protected),
        Route("/{p:path}", protected),
    ]
    guarded = guard(routes, fake, ran)

    for target in ("/public/../admin", "/public/%2e%2e/admin", "/public/..%2fadmin", "/public//admin"):
        answer = await guarded.send(target=target)
        assert (answer.status, json.loads(answer.body).keys()) == (200, {"path"})
    for target in (
        "/admin",
        "/public",
        "/publicity",
        "/./public/x",
        "//public/x",
        "/Public/x",
        "/admin/public/",
    ):
        await never_runs(guarded, {401, 307}, target=target)
    assert ran == []
    await guarded.accepts(target="/admin")
