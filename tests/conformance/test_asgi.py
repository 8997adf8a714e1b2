"""
ASGI, CORS and the place of a guard: what must never run without a decision, and what a decision is.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import FrozenInstanceError
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from guardrail import GuardrailMiddleware, Issuer, Operator, current_operator, public
from guardrail.errors import CODES, PolicyError, UndeclaredRouteError
from guardrail.events import TokenRefused

from .api import (
    REFUSALS,
    Api,
    Clock,
    Exchange,
    Fields,
    Refusal,
    bearer,
    forged,
    http_scope,
    package,
    refused,
)
from .challenges import parse_challenges
from .tokens import ISSUER, claims_json, header_json, jwk, raw_token, token

pytestmark = pytest.mark.anyio

GOOD = token()
READ = package().requires("orders:read")


async def status_of(app: ASGIApp, fields: Fields = (), **scope: Any) -> int:
    """
    The status of one request.
    """
    exchange = Exchange()
    await app(http_scope(fields, **scope), exchange.receive, exchange.send)
    status: int = exchange.sent[0]["status"]
    return status


def guarded(*routes: BaseRoute, **settings: Any) -> ASGIApp:
    """
    An application of these routes behind the middleware.
    """
    return GuardrailMiddleware(Starlette(routes=routes), clock=Clock(), **settings)


# Hostile input


DIGITS = b"9" * 5_000


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(bearer(b"." * 16_000), id="dots"),
        pytest.param(bearer(b"A" * 1_000_000), id="a megabyte"),
        pytest.param(bearer(b"A.A.A"), id="impossible lengths"),
        pytest.param(bearer(raw_token(b"[" * 3_000, claims_json())), id="a deep header"),
        pytest.param(bearer(raw_token(b"", b'{"a":' * 1_500)), id="deep claims"),
        pytest.param(bearer(raw_token(b"", claims_json()[:-1] + b', "exp": ' + DIGITS + b"}")), id="digits"),
        pytest.param(
            bearer(raw_token(b"", claims_json()[:-1] + b', "x": ' + DIGITS + b"}")), id="more digits"
        ),
        pytest.param(bearer(raw_token(b"", b'{"iss": "\\ud800"}')), id="half a surrogate pair"),
        pytest.param(
            bearer(raw_token(b"", claims_json(sub="\0")[:-1] + b', "x": "\\udfff"}')), id="the other"
        ),
        pytest.param(bearer(raw_token(header_json(kid="\0" * 300), b"{}")), id="NULs"),
        pytest.param(bearer(token({"alg": {"a": []}, "kid": [], "typ": {}})), id="types"),
        pytest.param(bearer(token(iss=[], aud={}, sub=[], exp={}, scope=1)), id="types of claims"),
        pytest.param([(b"authorization", b"\xff\xfe\x00")], id="no text"),
        pytest.param([(b"authorization", b"Bearer " + b"\xc3\x28" * 9)], id="no UTF-8"),
        pytest.param([(b"authorization", b"Bearer")] * 500, id="many fields"),
        pytest.param([(b"Authorization", b" Bearer x")], id="a space in front"),
    ],
)
async def test_r35_no_input_makes_an_error_of_ours(fields: Fields) -> None:
    """
    R35 (RFC 9110 §15.6): Whatever is sent, the answer is 400 or 401, and the next request is served.
    """
    api = Api()

    answer = await api.send(fields)

    assert answer.status in {400, 401}
    refused(
        answer, status=answer.status, error="invalid_request" if answer.status == 400 else "invalid_token"
    )
    await api.accepts(GOOD)


# CORS


async def test_r37_cors_stands_in_front() -> None:
    """
    R37 (Fetch, CORS protocol): A preflight is the CORS layer's to answer and runs nothing; a browser may
    read a refusal's challenge.
    """
    api = Api()
    app = CORSMiddleware(api.app, allow_origins=["https://app.example"], expose_headers=["WWW-Authenticate"])
    origin = (b"origin", b"https://app.example")
    preflight: Fields = [origin, (b"access-control-request-method", b"GET")]
    exchange = Exchange()

    await app(http_scope([origin]), exchange.receive, exchange.send)

    fields = dict(exchange.sent[0]["headers"])
    assert exchange.sent[0]["status"] == 401
    assert fields[b"access-control-allow-origin"] == b"https://app.example"
    assert fields[b"access-control-expose-headers"] == b"WWW-Authenticate"
    assert await status_of(app, preflight, method="OPTIONS") == 200
    assert len(api.events) == 1
    without_cors = await api.send(preflight, method="OPTIONS")
    assert (without_cors.status, without_cors.operator) == (405, None)


# Kinds of scope


async def test_r246_lifespan_passes_and_unknown_kinds_do_not() -> None:
    """
    R246 (ASGI): HTTP and WebSocket are guarded, a lifespan reaches the application, and what nobody knows is
    denied.
    """
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    middleware = GuardrailMiddleware(app, prefixes={"/": READ}, clock=Clock())
    exchange = Exchange()

    await middleware({"type": "lifespan"}, exchange.receive, exchange.send)
    await middleware(http_scope(bearer(GOOD)), exchange.receive, exchange.send)
    assert seen == ["lifespan", "http"]
    assert exchange.sent == []
    for kind in ("http", "websocket"):
        await middleware(http_scope(type=kind), exchange.receive, exchange.send)
    for kind in ("webtransport", "HTTP", ""):
        with pytest.raises(PolicyError, match="scope type"):
            await middleware(http_scope(bearer(GOOD), type=kind), exchange.receive, exchange.send)
    assert seen == ["lifespan", "http"]


class Handshake:
    """
    A WebSocket client that says nothing, and leaves.
    """

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self._says: list[Message] = [
            {"type": "websocket.connect"},
            {"type": "websocket.disconnect", "code": 1000},
        ]

    async def receive(self) -> Message:
        """
        The next message.
        """
        return self._says.pop(0)

    async def send(self, message: Message) -> None:
        """
        Note a message.
        """
        self.sent.append(message)


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("extensions", [{"websocket.http.response": {}}, {}], ids=["denial", "close"])
async def test_r247_a_refused_handshake_is_not_accepted(refusal: Refusal, extensions: dict[str, Any]) -> None:
    """
    R247 (ASGI, WebSocket): A real answer with its challenge where the server can send one, else a close
    before accept; no endpoint runs.
    """
    ran: list[Operator] = []

    async def feed(websocket: WebSocket) -> None:
        ran.append(current_operator())
        await websocket.accept()

    app = guarded(WebSocketRoute("/feed", READ(feed)))

    async def handshake(fields: Fields) -> list[Message]:
        client = Handshake()
        scope = http_scope(
            fields, path="/feed", type="websocket", scheme="wss", subprotocols=[], extensions=extensions
        )
        del scope["method"]
        await app(scope, client.receive, client.send)
        return client.sent

    refusing = await handshake(refusal.fields)
    assert ran == []
    if extensions:
        assert refusing[0]["status"] == refusal.status
        challenges = [value for name, value in refusing[0]["headers"] if name == b"www-authenticate"]
        assert parse_challenges(challenges)[0].parameters.get("error") == refusal.error
    else:
        assert [message["type"] for message in refusing] == ["websocket.close"]
    assert (await handshake(bearer(GOOD)))[0]["type"] == "websocket.accept"
    assert len(ran) == 1


# Paths, routes and methods


class Site:
    """
    A public page beside a guarded one, at the top and in a mounted application.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []

        def page(name: str) -> Callable[[Request], Response]:
            def endpoint(_: Request) -> Response:
                self.ran.append(f"{name} for {current_operator().kind}")
                return PlainTextResponse(name)

            return endpoint

        async def noted(scope: Scope, receive: Receive, send: Send) -> None:
            self.ran.append(f"mounted for {current_operator().kind}")
            await PlainTextResponse("mounted")(scope, receive, send)

        self.app = guarded(
            Route("/admin", READ(page("admin"))),
            Route("/healthz", public(page("healthz"))),
            Mount("/sub", routes=[Route("/admin", READ(page("sub"))), Route("/open", public(page("open")))]),
            Mount("/foreign", READ(noted)),
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"host", b"api.example.com/healthz"),
        (b"x-original-url", b"/healthz"),
        (b"x-rewrite-url", b"/healthz"),
        (b"x-forwarded-uri", b"/healthz"),
        (b"x-forwarded-path", b"/healthz"),
        (b"x-forwarded-prefix", b"/healthz"),
        (b"x-script-name", b"/admin"),
    ],
)
async def test_r248_the_policy_is_that_of_the_route_that_runs(name: bytes, value: bytes) -> None:
    """
    R248 (CVE-2026-48710, and others): No header chooses another policy than the router's own route has.
    """
    site = Site()

    assert await status_of(site.app, headers=[(name, value)], path="/admin") == 401
    assert site.ran == []
    assert await status_of(site.app, headers=[(name, value), *bearer(GOOD)], path="/admin") == 200
    assert await status_of(site.app, headers=[(name, value)], path="/healthz") == 200
    assert site.ran == ["admin for user", "healthz for anonymous"]


@pytest.mark.parametrize("root_path", ["", "/api", "/admin"])
@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("//admin", b"//admin"),
        ("/admin/", b"/admin/"),
        ("/admin//", b"/admin//"),
        ("/./admin", b"/./admin"),
        ("/healthz/../admin", b"/healthz/../admin"),
        ("/admin", b"/%61dmin"),
        ("/admin/", b"/admin%2f"),
        ("/admin%2f", b"/admin%252f"),
        ("/ADMIN", b"/ADMIN"),
        ("/admin;x", b"/admin;x"),
        ("/admin;/healthz", b"/admin;/healthz"),
        ("/admin\0", b"/admin%00"),
        ("/admin\n", b"/admin%0a"),
        ("\\admin", b"\\admin"),
        ("/sub/admin", b"/sub/admin"),
        ("/sub//admin", b"/sub//admin"),
        ("/sub/../admin", b"/sub/../admin"),
        ("/sub/open/../admin", b"/sub/open/../admin"),
        ("/foreign", b"/foreign"),
        ("/foreign/", b"/foreign/"),
        ("/foreign/../healthz", b"/foreign/../healthz"),
        ("/foreign//x", b"/foreign//x"),
        ("admin", b"admin"),
        ("", b""),
        ("*", b"*"),
    ],
)
async def test_r249_no_spelling_of_a_path_gets_round_a_policy(
    path: str, raw_path: bytes, root_path: str
) -> None:
    """
    R249 (CVE-2016-5007, CVE-2023-20860): However a path is spelled, a guarded handler runs for an operator
    or not at all.
    """
    site = Site()
    scope: dict[str, Any] = {"path": root_path + path, "raw_path": raw_path, "root_path": root_path}

    without = await status_of(site.app, **scope)
    assert without in {307, 401, 404}
    assert site.ran == []
    await status_of(site.app, bearer(GOOD), **scope)
    assert not [run for run in site.ran if not run.endswith("for user")]


async def test_r250_a_route_that_declares_nothing_does_not_run() -> None:
    """
    R250 (OWASP ASVS, deny by default): Startup fails and names it, without a startup the first request; what
    is public says so.
    """
    ran: list[str] = []

    async def forgotten(_: Request) -> Response:
        ran.append("forgotten")
        return PlainTextResponse("forgotten")

    app, exchange = guarded(Route("/orders", forgotten)), Exchange()

    with pytest.raises(UndeclaredRouteError, match="forgotten"):
        await app({"type": "lifespan"}, exchange.receive, exchange.send)
    assert [message["type"] for message in exchange.sent] == ["lifespan.startup.failed"]
    with pytest.raises(UndeclaredRouteError):
        await status_of(app, bearer(GOOD))
    assert ran == []
    assert await status_of(guarded(Route("/orders", forgotten), public_paths=["/orders"])) == 200
    assert await status_of(guarded(Route("/orders", public(forgotten)))) == 200


class ByMethod(HTTPEndpoint):
    """
    Reading is open, and writing is not.
    """

    ran: list[str]

    @public
    async def get(self, _: Request) -> Response:
        """
        For everybody.
        """
        self.ran.append("get")
        return PlainTextResponse("get")

    @READ
    async def post(self, _: Request) -> Response:
        """
        For an operator.
        """
        self.ran.append("post")
        return PlainTextResponse("post")


@pytest.mark.parametrize(
    "override",
    [
        [],
        [(b"x-http-method-override", b"GET")],
        [(b"x-http-method", b"GET")],
        [(b"x-method-override", b"GET")],
    ],
)
async def test_r251_a_policy_covers_every_method(override: list[tuple[bytes, bytes]]) -> None:
    """
    R251 (RFC 9110 §9): HEAD is guarded as GET, no other method is a way round, and an override header means
    nothing.
    """
    ByMethod.ran = []
    app = guarded(Route("/orders", ByMethod), Route("/admin", READ(lambda _: PlainTextResponse("admin"))))

    for method in ("GET", "HEAD"):
        assert await status_of(app, override, path="/admin", method=method) == 401
        assert await status_of(app, [*override, *bearer(GOOD)], path="/admin", method=method) == 200
    for method in ("POST", "OPTIONS", "PUT", "TRACE", "get", "FOO"):
        assert await status_of(app, [*override, *bearer(GOOD)], path="/admin", method=method) == 405
    assert await status_of(app, override, method="GET") == 200
    assert await status_of(app, override, method="POST") == 401
    assert ByMethod.ran == ["get"]
    assert await status_of(app, [*override, *bearer(GOOD)], method="POST") == 200
    assert await status_of(app, override, method="POST", query_string=b"_method=GET") == 401
    assert ByMethod.ran == ["get", "post"]


def logged(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """
    Somebody's own decorator, as most are written.
    """

    @functools.wraps(endpoint)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await endpoint(*args, **kwargs)

    return wrapper


def plain() -> Callable[..., Any]:
    """
    A new endpoint.
    """

    async def orders(_: Request, *, text: str = "orders") -> Response:
        return PlainTextResponse(text)

    return orders


def synchronous() -> Callable[..., Any]:
    """
    A new endpoint that runs in a thread.
    """
    return lambda _: PlainTextResponse("orders")


class View(HTTPEndpoint):
    """
    A class-based endpoint.
    """

    async def get(self, _: Request) -> Response:
        """
        Answer.
        """
        return PlainTextResponse("orders")


class Inheriting(View):
    """
    One that inherits what it answers with.
    """


class Overriding(Inheriting):
    """
    One that does not.
    """

    async def get(self, _: Request) -> Response:
        """
        Answer otherwise.
        """
        return PlainTextResponse("other orders")


class Serving:
    """
    An object with an endpoint.
    """

    async def get(self, _: Request) -> Response:
        """
        Answer.
        """
        return PlainTextResponse("orders")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: READ(plain()), id="async function"),
        pytest.param(lambda: READ(synchronous()), id="function"),
        pytest.param(lambda: READ(logged(plain())), id="above another decorator"),
        pytest.param(lambda: logged(READ(plain())), id="below another decorator"),
        pytest.param(lambda: READ(functools.partial(plain(), text="partial")), id="partial"),
        pytest.param(lambda: functools.partial(READ(plain()), text="partial"), id="partial of it"),
        pytest.param(lambda: READ(type("View", (View,), {})), id="class"),
        pytest.param(lambda: READ(type("Inheriting", (Inheriting,), {})), id="inheriting class"),
        pytest.param(lambda: READ(type("Overriding", (Overriding,), {})), id="overriding class"),
        pytest.param(
            lambda: type("ByMethod", (HTTPEndpoint,), {"get": READ(lambda _, __: PlainTextResponse(""))}),
            id="method",
        ),
        pytest.param(lambda: READ(Serving().get), id="bound method"),
    ],
)
async def test_r252_a_declaration_takes_effect_on_every_kind_of_endpoint(make: Callable[[], Any]) -> None:
    """
    R252 (Python): Whatever serves a route can declare, in either order with other decorators, and is held to
    it.
    """
    app = guarded(Route("/orders", make()))

    assert await status_of(app) == 401
    assert await status_of(app, bearer(token(scope="other"))) == 403
    assert await status_of(app, bearer(GOOD)) == 200


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: READ(READ(plain())), id="twice"),
        pytest.param(lambda: public(READ(plain())), id="guarded and public"),
        pytest.param(lambda: READ(len), id="a builtin"),
        pytest.param(lambda: READ(object()), id="an object that takes no attribute"),
        pytest.param(lambda: READ(1), id="a number"),
    ],
)
def test_r252_a_declaration_that_cannot_take_effect_raises(make: Callable[[], Any]) -> None:
    """
    R252 (Python): What could be ignored silently is an error where it is written.
    """
    READ(functools.partial(plain()))
    with pytest.raises(PolicyError):
        make()


def test_r252_a_declaration_is_not_inherited() -> None:
    """
    R252 (Python): A subclass can override anything, and so declares for itself or is undeclared.
    """
    parent = READ(type("Parent", (View,), {}))
    child = type("Child", (parent,), {})

    guarded(Route("/orders", parent))
    with pytest.raises(UndeclaredRouteError):
        asyncio.run(status_of(guarded(Route("/orders", child))))


# The operator


async def test_r253_requests_do_not_see_each_other() -> None:
    """
    R253 (ASGI): Many at once, each streaming and with a background task, see their own operator throughout.
    """
    seen: list[tuple[str, ...]] = []

    async def orders(request: Request) -> Response:
        first = current_operator().subject

        async def stream() -> AsyncIterator[bytes]:
            for _ in range(3):
                await asyncio.sleep(0)
                yield current_operator().subject.encode()

        async def after() -> None:
            await asyncio.sleep(0)
            seen.append((first, request.state.operator.subject, current_operator().subject))

        return StreamingResponse(stream(), background=BackgroundTask(after))

    app = guarded(Route("/orders", READ(orders)))

    async def ask(subject: str) -> bytes:
        exchange = Exchange()
        scope = http_scope(bearer(token(sub=subject)), asgi={"version": "3.0", "spec_version": "2.4"})
        await app(scope, exchange.receive, exchange.send)
        return b"".join(message.get("body", b"") for message in exchange.sent)

    subjects = [f"user-{number}" for number in range(20)]
    bodies = await asyncio.gather(*map(ask, subjects))

    assert bodies == [(subject * 3).encode() for subject in subjects]
    assert sorted(seen) == sorted((subject,) * 3 for subject in subjects)
    await ask("the last")  # in this very task, which keeps nothing of it
    with pytest.raises(PolicyError):
        current_operator()


async def test_r254_nothing_set_beforehand_is_believed() -> None:
    """
    R254 (ASGI): An operator that stood on the scope already is overwritten, on a public route by nobody.
    """
    forged_operator = Operator(operator_id="x#root", kind="user", issuer="x", subject="root")
    seen: list[Any] = []

    async def note(request: Request) -> Response:
        seen.append((request.state.operator, request.user, request.auth, current_operator()))
        return PlainTextResponse("noted")

    opened = public(functools.partial(note))
    app = guarded(Route("/orders", READ(note)), Route("/open", opened))
    beforehand: dict[str, Any] = {"user": forged_operator, "auth": forged_operator}
    state = {"operator": forged_operator}

    assert await status_of(app, state=dict(state), **beforehand) == 401
    assert await status_of(app, bearer(GOOD), state=dict(state), **beforehand) == 200
    assert await status_of(app, path="/open", state=dict(state), **beforehand) == 200
    assert [[one.kind for one in each] for each in seen] == [["user"] * 4, ["anonymous"] * 4]
    assert {one.subject for one in seen[0]} == {"alice"}


async def test_r255_a_cancelled_request_takes_no_keys_along() -> None:
    """
    R255 (asyncio): A client that leaves during the fetch of the keys neither spoils them nor holds anybody
    up.
    """
    may_answer, was_asked, fetches = asyncio.Event(), asyncio.Event(), list[str]()

    async def respond(request: httpx.Request) -> httpx.Response:
        fetches.append(str(request.url))
        was_asked.set()
        await may_answer.wait()
        return httpx.Response(200, json={"keys": [jwk()]})

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    api = Api(Issuer(ISSUER, jwks_uri="https://keys.example/orders", http_client=client))
    leaving, staying = [asyncio.create_task(api.send(bearer(GOOD))) for _ in range(2)]
    await was_asked.wait()

    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    may_answer.set()

    assert (await staying).status == 200
    await api.accepts(GOOD)
    await api.refuses(forged(GOOD), code="bad_signature")
    assert len(fetches) == 1


async def test_r256_an_operator_cannot_be_changed() -> None:
    """
    R256 (Python): What a handler tries on its operator fails, and the next request with the token sees no
    trace.
    """
    api, made = Api(), token(roles=["reader"], x={"deep": ["list"]})

    operator = await api.accepts(made)
    attempts: list[Callable[[], object]] = [
        lambda: setattr(operator, "roles", frozenset({"approver"})),
        lambda: setattr(operator.token, "acr", "mfa"),
        lambda: operator.claims.update(sub="root"),  # type: ignore[attr-defined]  # there is no such method
        lambda: operator.claims["x"].__setitem__("deep", []),
        lambda: operator.claims["x"]["deep"].append("more"),
        lambda: operator.roles.add("approver"),  # type: ignore[attr-defined]  # nor this one
    ]

    for attempt in attempts:
        with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
            attempt()
    again = await api.accepts(made)
    assert again.roles == {"reader"}
    assert again.claims["x"]["deep"] == ("list",)


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_r258_listeners_hear_why(refusal: Refusal) -> None:
    """
    R258 (OWASP ASVS, security logging): Each refusal is one event with a code from a closed list, which
    clients do not see.
    """
    api = Api()

    answer = await api.send(refusal.fields)

    (event,) = api.events
    assert isinstance(event, TokenRefused)
    assert (event.code, event.status, event.route) == (refusal.code, refusal.status, "/orders")
    assert event.code in CODES
    if event.code != refusal.error:
        assert event.code.encode() not in answer.body + b"".join(value for _, value in answer.headers)
