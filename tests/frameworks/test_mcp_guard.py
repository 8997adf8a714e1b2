"""
`guardrail.mcp.guard` without sockets: its settings, its metadata, and what stands around it.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from guardrail import GuardrailMiddleware, ServicePackage, current_operator, health, public
from guardrail.errors import MiddlewareMissingError, PolicyError
from guardrail.events import Event
from guardrail.testing import FakeIssuer, as_operator, assert_guarded

from . import Application, call, serve, start
from .mcp_kit import RawClient, issuer_of, notes_of, rpc, served

if not os.environ.get("CI"):
    pytest.importorskip("mcp")

from mcp.server.mcpserver import MCPServer
from starlette.types import ASGIApp, Receive, Scope, Send

from guardrail.mcp import SessionBinding, guard

pytestmark = pytest.mark.anyio

BASE = "https://api.example.com"
WELL_KNOWN = "/.well-known/oauth-protected-resource"


def new_server() -> MCPServer[Any]:
    """
    A server of the SDK with a tool that says for whom it runs, and a route of its own.
    """
    server = MCPServer("notes", log_level="ERROR")

    @server.tool()
    async def who() -> dict[str, Any]:
        return {"operator": current_operator().operator_id}

    @server.custom_route("/healthz", methods=["GET"])  # type: ignore[untyped-decorator] # so it is typed
    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    return server


def package(**settings: Any) -> ServicePackage:
    """
    A package with keys nobody needs.
    """
    given = {"issuer": "https://login.example.com", "audience": f"{BASE}/mcp"} | settings
    return ServicePackage("notes", **given)


async def ask(app: ASGIApp, path: str = "/mcp", method: str = "GET", **headers: str) -> httpx.Response:
    """
    Send one request.
    """
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:
        return await client.request(method, path, headers=headers)


# Metadata (R235, R238, R240, R242)


@pytest.mark.parametrize("path", [pytest.param("/mcp", id="a path"), pytest.param("", id="a bare host")])
async def test_metadata_is_open_to_pages_of_any_origin(path: str) -> None:
    """
    A browser's client reads where to get a token before anything else, wherever its page comes from.
    """
    notes = package(audience=f"{BASE}{path}", scopes=["notes:read", "offline_access"])
    app = guard(Application([], "mcp"), notes.requires("notes:read"))

    answer = await ask(app, f"{WELL_KNOWN}{path}", origin="https://app.example.com")

    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json() == {
        "resource": f"{BASE}{path}",
        "authorization_servers": ["https://login.example.com"],
        "scopes_supported": ["notes:read"],
        "bearer_methods_supported": ["header"],
        "resource_name": "notes",
    }


async def test_other_well_known_paths_of_resources_are_not_open() -> None:
    """
    What is not our document needs a token there too.
    """
    app = guard(Application([], "mcp"), package().requires())

    answer = await ask(app, f"{WELL_KNOWN}/mcp/other", origin="https://app.example.com")

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("settings", "resource"),
    [
        pytest.param({}, f"{BASE}/mcp", id="the audience"),
        pytest.param(
            {"audience": [f"{BASE}/mcp", "api://notes"]}, f"{BASE}/mcp", id="the audience that is one"
        ),
        pytest.param({"audience": "api://notes", "resource": f"{BASE}/mcp"}, f"{BASE}/mcp", id="its own"),
        pytest.param(
            {"audience": f"{BASE}/mcp/", "resource": f"{BASE}/mcp"}, f"{BASE}/mcp", id="not the audience"
        ),
        pytest.param({"audience": BASE}, BASE, id="a bare host"),
    ],
)
async def test_the_metadata_has_the_url_that_clients_connect_to(
    settings: dict[str, Any], resource: str
) -> None:
    """
    In its canonical form, where clients look for it.
    """
    app = guard(Application([], "mcp"), package(**settings).requires())

    answer = await ask(app)
    url = answer.headers["www-authenticate"].partition('resource_metadata="')[2].rstrip('"')

    assert (await ask(app, url.removeprefix(BASE))).json()["resource"] == resource


@pytest.mark.parametrize(
    ("spelling", "statuses"),
    [
        pytest.param(f"{BASE}/mcp", [200, 200], id="the canonical one"),
        pytest.param("HTTPS://API.example.com/mcp", [401, 200], id="scheme and host in capitals"),
        pytest.param(f"{BASE}/MCP", [401, 401], id="another path"),
    ],
)
async def test_an_audience_in_another_spelling_is_configured(spelling: str, statuses: list[int]) -> None:
    """
    What tokens say is compared as it stands (R139); who has tokens in another spelling names that one too.
    """
    fake = FakeIssuer(audience=f"{BASE}/mcp", algorithm="EdDSA")
    also = [fake.audience, "HTTPS://API.example.com/mcp"]
    packages = [
        ServicePackage("notes", issuer=fake.issuer, audience=audience, resource=fake.audience)
        for audience in (fake.audience, also)
    ]

    apps = [guard(Application([], "mcp"), one.requires()) for one in packages]
    token = fake.token(aud=spelling)
    answers = [await ask(app, authorization=f"Bearer {token}") for app in apps]

    assert [answer.status_code for answer in answers] == statuses


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"audience": "api://notes"}, "needs the URL", id="no URL"),
        pytest.param({"audience": [f"{BASE}/a", f"{BASE}/b"]}, "needs the URL", id="two URLs"),
        pytest.param({"audience": f"{BASE}/mcp/"}, f"is written '{BASE}/mcp'", id="a trailing slash"),
        pytest.param({"audience": f"{BASE}/"}, f"is written '{BASE}'", id="a slash alone"),
        pytest.param(
            {"audience": "https://API.example.com/mcp"}, f"is written '{BASE}/mcp'", id="a host in capitals"
        ),
        pytest.param(
            {"audience": "HTTPS://api.example.com/mcp"}, f"is written '{BASE}/mcp'", id="a scheme in capitals"
        ),
    ],
)
def test_a_resource_that_clients_could_not_find_is_refused(settings: dict[str, Any], message: str) -> None:
    """
    The message has the right form.
    """
    with pytest.raises(PolicyError, match=message):
        guard(Application([], "mcp"), package(**settings).requires())


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        pytest.param(public, "needs a requirement", id="public"),
        pytest.param(package(), "needs a requirement", id="a package"),
        pytest.param(package().requires("offline_access"), "offline_access", id="offline_access"),
        pytest.param(package().requires_any("a", "offline_access"), "offline_access", id="or offline_access"),
    ],
)
def test_what_is_no_requirement_of_an_mcp_server_is_refused(requirement: Any, message: str) -> None:
    """
    A server is never open by mistake, and asks nothing that only an authorization server can answer.
    """
    with pytest.raises(PolicyError, match=message):
        guard(Application([], "mcp"), requirement)


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "http://localhost:3000",
        "http://[::1]:3000",
        "vscode-webview://1a2b",
        "https://app.example.com:80",
    ],
)
async def test_allowed_origins_are_compared_as_browsers_write_them(origin: str) -> None:
    """
    Exactly, whatever their scheme.
    """
    app = guard(Application([], "mcp"), package().requires(), allowed_origins=[origin])

    assert (await ask(app, origin=origin)).status_code == 401
    assert (await ask(app, origin=f"{origin}0")).status_code == 403


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/page",
        "https://App.example.com",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://*.example.com",
        "https://münchen.example",
        "https://app.example.com\n",
    ],
)
def test_what_no_browser_sends_is_no_origin(origin: str) -> None:
    """
    A setting that could never match, or that would match everything, is an error.
    """
    with pytest.raises(PolicyError, match="an origin is scheme, host and port"):
        guard(Application([], "mcp"), package().requires(), allowed_origins=[origin])


def test_one_origin_is_not_several() -> None:
    """
    A bare string is not taken for its characters.
    """
    with pytest.raises(PolicyError, match="allowed_origins"):
        guard(Application([], "mcp"), package().requires(), allowed_origins="https://app.example.com")


async def test_two_origins_must_both_be_allowed() -> None:
    """
    A second field does not hide behind the first.
    """
    app = guard(Application([], "mcp"), package().requires(), allowed_origins=["https://a.example"])
    both = [("origin", "https://a.example"), ("origin", "https://evil.example")]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:
        answers = [(await client.get("/mcp", headers=fields)).status_code for fields in (both[:1], both)]

    assert answers == [401, 403]


@pytest.mark.parametrize(
    ("origin", "is_asked"),
    [
        pytest.param("https://a.example", True, id="an allowed page"),
        pytest.param("https://evil.example", False, id="another page"),
    ],
)
async def test_pages_of_other_origins_open_no_sockets(origin: str, is_asked: bool) -> None:
    """
    A WebSocket handshake is no way around, token or not.
    """
    ran: list[str] = []
    app = guard(Application(ran, "mcp"), package().requires(), allowed_origins=["https://a.example"])

    with as_operator():
        answer = await call(app, "/mcp", kind="websocket", headers=[("origin", origin)])

    assert answer.types == ["websocket.accept" if is_asked else "websocket.close"]
    assert ran == (["mcp"] if is_asked else [])


async def test_what_is_neither_http_nor_a_socket_does_not_pass() -> None:
    """
    A connection of an unknown type reaches nobody.
    """
    ran: list[str] = []
    app = guard(Application(ran, "mcp"), package().requires())

    with pytest.raises(PolicyError, match="scope type"):
        await serve(app, {"type": "mqtt"})

    assert ran == []


async def test_a_teams_error_body_is_used_for_origins_too() -> None:
    """
    One hook renders every refusal.
    """
    app = guard(
        Application([], "mcp"), package().requires(), refusal_body=lambda refusal: {"told": refusal.title}
    )

    answer = await ask(app, origin="https://evil.example")

    assert (answer.status_code, answer.json()) == (403, {"told": "Forbidden"})


# What stands around it


@pytest.mark.parametrize(
    ("audience", "path"),
    [pytest.param(f"{BASE}/mcp", "/mcp", id="a path"), pytest.param(BASE, "/", id="a bare host")],
)
def test_the_server_itself_is_never_public(audience: str, path: str) -> None:
    """
    The path of the resource cannot be named among those that need no token; another one can.
    """
    requirement = package(audience=audience).requires()

    guard(Application([], "mcp"), requirement, public_paths=["/healthz"])
    with pytest.raises(PolicyError, match="which needs a token"):
        guard(Application([], "mcp"), requirement, public_paths=["/healthz", path])


async def test_a_public_route_has_the_authorization_field() -> None:
    """
    What was no token of ours may be the route's own credentials; where a token is needed it is taken away.
    """

    async def has_it(request: Request) -> Response:
        return PlainTextResponse(str("authorization" in request.headers))

    routes = [Route(path, has_it) for path in ("/hook", "/other")]
    app = guard(Starlette(routes=routes), package().requires(), public_paths=["/hook"])
    with as_operator():
        seen = [(await ask(app, path, authorization="Basic YTpi")).text for path in ("/hook", "/other")]

    assert seen == ["True", "False"]


async def test_settings_are_passed_on() -> None:
    """
    The routes that need no token, the listeners, and whatever else the middleware takes.
    """
    heard: list[Event] = []
    app = guard(
        new_server().streamable_http_app(),
        package().requires(),
        public_paths=["/healthz"],
        on_event=[heard.append],
    )

    statuses = [(await ask(app, path)).status_code for path in ("/healthz", "/mcp", "/elsewhere")]

    assert statuses == [200, 401, 404]
    assert [event.name for event in heard] == ["guardrail.token_refused"]


async def test_routes_of_the_server_are_guarded_with_it() -> None:
    """
    A custom route needs the token as well, unless it is named; `assert_guarded` and `health` find the guard.
    """
    app = guard(new_server().streamable_http_app(), package().requires())

    assert_guarded(app)
    assert (await ask(app, "/healthz")).status_code == 401
    assert [issuer.issuer for issuer in health(app).issuers] == ["https://login.example.com"]


async def test_a_cors_layer_belongs_around_it() -> None:
    """
    It answers preflights, and adds its headers to refusals, so that a page can read the challenge.
    """
    origin = "https://app.example.com"
    inner = guard(new_server().streamable_http_app(), package().requires(), allowed_origins=[origin])
    app = CORSMiddleware(
        inner, [origin], allow_methods=["*"], allow_headers=["*"], expose_headers=["WWW-Authenticate"]
    )
    asking = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}

    preflight = await ask(app, method="OPTIONS", origin=origin, **asking)
    refusal = await ask(app, method="POST", origin=origin)

    assert preflight.status_code == 200
    assert refusal.status_code == 401
    assert refusal.headers["access-control-expose-headers"] == "WWW-Authenticate"


async def test_what_runs_behind_no_guard_raises() -> None:
    """
    The binding alone lets nobody in: it decides nothing.
    """
    ran: list[str] = []

    with pytest.raises(MiddlewareMissingError):
        await ask(SessionBinding(Application(ran, "mcp")))

    assert ran == []


async def test_lifespans_reach_the_server() -> None:
    """
    The sessions of the SDK begin and end with the application.
    """
    app = guard(new_server().streamable_http_app(), package().requires())

    types = [message["type"] for message in await start(app)]

    assert types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def mounted(fake: FakeIssuer) -> Starlette:
    """
    An API with an MCP server mounted in it; one guard for both.
    """
    server = new_server()
    requirement = notes_of(fake).requires("notes:read")
    mcp_app = requirement(SessionBinding(server.streamable_http_app()))

    @public
    async def index(_: Request) -> Response:
        return PlainTextResponse("index")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with server.session_manager.run():
            yield

    app = Starlette(routes=[Route("/", index), Mount("/", mcp_app)], lifespan=lifespan)
    app.add_middleware(GuardrailMiddleware)
    return app


def test_a_mounted_server_has_sessions_that_are_bound() -> None:
    """
    In a larger application the binding goes around the server, and the declaration around the binding.
    """
    fakes: list[FakeIssuer] = []

    def make(url: str) -> ASGIApp:
        fakes.append(issuer_of(url))
        return mounted(fakes[0])

    with served(make) as url:
        tokens = [fakes[0].token(scope="notes:read", sub=user) for user in ("alice", "bob")]
        alice, bob = (RawClient(f"{url}/mcp", token) for token in tokens)
        with alice, bob:
            alice.initialize()
            bob.session_id = alice.session_id
            seen = alice.call("who")
            refused = bob.post(rpc("ping")).status_code
        open_ = httpx.get(url).text
        metadata = httpx.get(f"{url}{WELL_KNOWN}/mcp").json()["resource"]

    assert seen == {"operator": "https://login.example.com#alice"}
    assert refused == 404
    assert (open_, metadata) == ("index", f"{url}/mcp")


async def test_operators_can_be_assumed_in_tests() -> None:
    """
    `as_operator` stands in for a token here too, and its policy is applied.
    """
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["user"].access_token.subject)
        await Application([], "mcp")(scope, receive, send)

    guarded = guard(app, package().requires("notes:read"))
    with as_operator(scopes=["notes:read"]) as operator:
        assert (await ask(guarded)).status_code == 200
    with as_operator(scopes=["notes:write"]):
        assert (await ask(guarded)).status_code == 403

    assert seen == [operator.subject]
