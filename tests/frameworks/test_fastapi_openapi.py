"""
`install`: the guard around a FastAPI application, and what its OpenAPI document then says; oldest and newest.
"""

import inspect
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import fastapi.routing
import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.openapi.utils import get_openapi
from fastapi.security import APIKeyHeader
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from guardrail import GuardrailMiddleware, Issuer, ServicePackage, any_of, public
from guardrail.errors import PolicyError, UndeclaredRouteError
from guardrail.fastapi import DOCS_PATHS, MiddlewareSettings, install
from guardrail.issuer import EmbeddedIssuer
from guardrail.testing import FakeIssuer, as_operator, assert_guarded

from . import AUDIENCE, ISSUER, ORDERS, bearer, endpoint, start

READ = ORDERS.requires("orders:read")
WRITE = ORDERS.requires("orders:write")
FLOWS = {ISSUER: {"clientCredentials": {"tokenUrl": f"{ISSUER}/token"}}}

EXAMPLES = Path(__file__).parents[2] / "examples"
LOOKS_INSIDE = hasattr(fastapi.routing, "iter_route_contexts")


def operation(name: str = "operation") -> Callable[..., Any]:
    """
    A new path operation.
    """

    async def handler() -> str:
        return name

    handler.__name__ = handler.__qualname__ = name
    return handler


def item_operation(name: str) -> Callable[..., Any]:
    """
    A new path operation on ``{item}``.
    """

    async def handler(item: str) -> str:
        return item

    handler.__name__ = handler.__qualname__ = name
    return handler


def installed(app: FastAPI | None = None, **settings: Any) -> FastAPI:
    """
    An application with guardrail installed.
    """
    app = FastAPI() if app is None else app
    install(app, **settings)
    return app


def client(app: ASGIApp) -> httpx.AsyncClient:
    """
    A client of *app* as its users have one.
    """
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")


def security_of(app: FastAPI) -> dict[str, Any]:
    """
    What each operation in the document requires, which is valid; None where it says nothing.
    """
    document = app.openapi()
    validate(document)
    return {
        f"{method} {path}": one.get("security")
        for path, item in document["paths"].items()
        for method, one in item.items()
    }


# The guard


@pytest.mark.anyio
async def test_one_call_guards_the_application() -> None:
    """
    Declared routes need their token, the documentation does not, and middleware added later is outside.
    """
    app = installed()
    app.add_middleware(CORSMiddleware, allow_origins=["https://app.example.com"])
    app.add_api_route("/orders", READ(operation("orders")))

    async with client(app) as http:
        origin = ("origin", "https://app.example.com")
        refused = await http.get("/orders", headers=[origin])
        answered = await http.get("/orders", headers=bearer("orders:read"))
        docs = [(await http.get(path)).status_code for path in DOCS_PATHS]

    assert_guarded(app)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example.com"
    assert (answered.status_code, answered.json()) == (200, "orders")
    assert docs == [200, 200, 200, 200]


@pytest.mark.anyio
async def test_an_undeclared_route_still_stops_the_startup() -> None:
    """
    Being in the document makes no route declared.
    """
    app = installed()
    app.add_api_route("/orders", operation("orders"))

    assert security_of(app) == {"get /orders": None}
    with pytest.raises(UndeclaredRouteError, match="GET /orders -> orders"):
        await start(app)


@pytest.mark.anyio
async def test_a_started_application_cannot_be_guarded_any_more() -> None:
    """
    Starlette makes its middleware when it starts, and what comes too late says so and changes nothing.
    """
    app = FastAPI()
    plain = app.openapi
    await start(app)

    with pytest.raises(RuntimeError, match="after an application has started"):
        install(app)
    assert app.openapi == plain


BEFORE = [
    pytest.param(installed, "added already", id="installed"),
    pytest.param(
        lambda: with_middleware(FastAPI(), GuardrailMiddleware), "added already", id="the middleware itself"
    ),
    pytest.param(
        lambda: with_middleware(FastAPI(), CORSMiddleware),
        r"innermost: .* before other middleware .* there is CORSMiddleware$",
        id="another middleware",
    ),
    pytest.param(
        lambda: FastAPI(middleware=[Middleware(GZipMiddleware), Middleware(CORSMiddleware)]),
        r"FastAPI\(middleware=\.\.\.\); there is GZipMiddleware, CORSMiddleware$",
        id="the constructor's middleware",
    ),
    pytest.param(Starlette, "takes a FastAPI application", id="plain Starlette"),
]


def with_middleware(app: FastAPI, cls: Any) -> FastAPI:
    """
    *app*, with this middleware added.
    """
    app.add_middleware(cls)
    return app


@pytest.mark.parametrize(("before", "message"), BEFORE)
def test_what_was_there_before_is_refused(before: Callable[[], Any], message: str) -> None:
    """
    Another guard, or middleware that would be inside of ours, is named.
    """
    app = before()

    with pytest.raises(PolicyError, match=message):
        install(app)


WRONG: list[Any] = [
    pytest.param({"public_paths": "/docs"}, "public_paths must be several strings", id="of the middleware"),
    pytest.param({"oauth_flows": {ISSUER: {}}}, "oauth_flows maps issuers to flows", id="of the document"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_wrong_settings_are_refused_at_once(settings: Any, message: str) -> None:
    """
    A setting shows its mistake in the call and not when the server starts; the application stays as it was.
    """
    app = FastAPI()
    plain = app.openapi

    with pytest.raises(PolicyError, match=message):
        install(app, **settings)
    assert app.openapi == plain
    assert app.user_middleware == []


def test_the_settings_are_the_middlewares() -> None:
    """
    Every setting of the middleware can be given, and no other.
    """
    parameters = inspect.signature(GuardrailMiddleware.__init__).parameters

    assert MiddlewareSettings.__annotations__.keys() == parameters.keys() - {"self", "app"}
    with pytest.raises(TypeError, match="audience"):
        install(FastAPI(), audience=AUDIENCE)  # type: ignore[call-arg]  # the mistake under test


# The documentation's own paths

DOCS = [
    pytest.param({}, set(DOCS_PATHS), id="as FastAPI has them"),
    pytest.param(
        {"openapi_url": "/api.json", "docs_url": "/", "redoc_url": "/r"},
        {"/api.json", "/", "/docs/oauth2-redirect", "/r"},
        id="elsewhere",
    ),
    pytest.param(
        {"swagger_ui_oauth2_redirect_url": "/back", "redoc_url": None},
        {"/openapi.json", "/docs", "/back"},
        id="another redirect, no ReDoc",
    ),
    pytest.param(
        {"swagger_ui_oauth2_redirect_url": None}, set(DOCS_PATHS) - {DOCS_PATHS[2]}, id="no redirect"
    ),
    pytest.param({"docs_url": None}, {"/openapi.json", "/redoc"}, id="no Swagger UI"),
    pytest.param({"openapi_url": None}, set(), id="no document"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("settings", "expected"), DOCS)
async def test_the_documentation_is_public_where_it_is(settings: Any, expected: set[str]) -> None:
    """
    The paths are taken from the application, and nothing else is public.
    """
    app = installed(FastAPI(**settings))

    await start(app)
    async with client(app) as http:
        found = {
            path
            for path in {*DOCS_PATHS, *expected}
            if (await http.get(path, follow_redirects=False)).status_code == 200
        }

    assert found == expected


def test_given_public_paths_are_all_there_are() -> None:
    """
    A documentation that is left out of them is undeclared.
    """
    app = installed(public_paths=["/openapi.json"])

    with pytest.raises(AssertionError, match="GET /docs ->"):
        assert_guarded(app)


INIT_OAUTH = [
    pytest.param(None, {"usePkceWithAuthorizationCodeGrant": True}, id="nothing"),
    pytest.param(
        {"clientId": "docs"}, {"clientId": "docs", "usePkceWithAuthorizationCodeGrant": True}, id="a client"
    ),
    pytest.param(
        {"usePkceWithAuthorizationCodeGrant": False},
        {"usePkceWithAuthorizationCodeGrant": False},
        id="no PKCE",
    ),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("own", "expected"), INIT_OAUTH)
async def test_swagger_ui_uses_pkce(own: Any, expected: dict[str, Any]) -> None:
    """
    What a public client must do is set, in the page too, unless the team set it otherwise.
    """
    app = installed(FastAPI(swagger_ui_init_oauth=own))

    async with client(app) as http:
        page = (await http.get("/docs")).text

    initialised = page.partition("ui.initOAuth(")[2].partition(")\n")[0]
    assert app.swagger_ui_init_oauth == expected
    assert json.loads(initialised) == expected


# What each operation requires


def test_each_operation_has_what_its_route_declares() -> None:
    """
    All scopes in one object, any scope as alternatives, nothing on public routes.
    """
    feed = ServicePackage("feed", issuer="https://feeds.example.com", audience=AUDIENCE)
    app = installed()
    app.add_api_route("/all", ORDERS.requires("orders:read", "orders:write")(operation("all_")))
    app.add_api_route("/any", ORDERS.requires_any("orders:read", "orders:write")(operation("any_")))
    app.add_api_route("/either", any_of(READ, feed.requires("feed"))(operation("either")))
    app.add_api_route("/public", public(operation("public_")))
    app.post("/reverse")(operation("reverse"))

    @WRITE
    @app.get("/above")
    async def above() -> None: ...

    assert security_of(app) == {
        "get /all": [{"orders": ["orders:read", "orders:write"]}],
        "get /any": [{"orders": ["orders:read"]}, {"orders": ["orders:write"]}],
        "get /either": [{"orders": ["orders:read"]}, {"feed": ["feed"]}],
        "get /public": None,
        "post /reverse": None,
        "get /above": [{"orders": ["orders:write"]}],
    }
    assert app.openapi()["paths"]["/public"]["get"]["responses"].keys() == {"200"}


def test_included_routers_are_described_at_any_depth() -> None:
    """
    Three routers deep, and twice: each operation has what its endpoint declares.
    """
    inner, middle, outer = APIRouter(prefix="/inner"), APIRouter(), APIRouter(prefix="/outer")
    inner.add_api_route("/{item:int}", READ(item_operation("read")))
    inner.add_api_route("/{item:int}", WRITE(item_operation("write")), methods=["PUT"])
    inner.add_api_route("/{item:int}", WRITE(item_operation("cancel")), methods=["DELETE"])
    middle.include_router(inner)
    middle.include_router(inner, prefix="/again")
    outer.include_router(middle, prefix="/middle")
    outer.add_api_route("/healthz", public(operation("healthz")))
    app = installed()
    app.include_router(outer)
    app.include_router(outer, prefix="/v2")

    read, write = [{"orders": ["orders:read"]}], [{"orders": ["orders:write"]}]
    items = [
        f"{version}/outer/middle{again}/inner/{{item}}" for version in ("", "/v2") for again in ("", "/again")
    ]
    expected = {f"{method} {path}": write for method in ("put", "delete") for path in items}
    expected |= {f"get {path}": read for path in items}
    assert security_of(app) == expected | {"get /outer/healthz": None, "get /v2/outer/healthz": None}


def test_only_what_the_document_has_is_described() -> None:
    """
    WebSockets, Starlette's routes, mounted applications and hidden operations bring nothing into it.
    """
    hidden = ServicePackage("hidden", issuer=ISSUER, audience=AUDIENCE)
    sub = FastAPI(openapi_url=None)
    sub.add_api_route("/orders", hidden.requires()(operation("sub")))
    app = installed()
    app.add_api_route("/orders", READ(operation("orders")))
    app.add_api_route("/hidden", hidden.requires()(operation("hidden")), include_in_schema=False)
    app.add_route("/orders", hidden.requires()(endpoint([], "plain")))
    app.mount("/sub", sub)

    @app.websocket("/orders")
    @hidden.requires()
    async def feed(websocket: WebSocket) -> None: ...

    assert security_of(app) == {"get /orders": [{"orders": ["orders:read"]}]}
    assert list(app.openapi()["components"]["securitySchemes"]) == ["orders"]


def test_a_mounted_application_does_not_lend_its_declarations() -> None:
    """
    A path that an operation and a mounted application's operation share is described by the operation.
    """
    sub = FastAPI(openapi_url=None)
    sub.add_api_route("/orders", WRITE(operation("inner")))
    app = installed()
    app.add_api_route("/v1/orders", READ(operation("outer")))
    app.mount("/v1", sub)

    assert security_of(app) == {"get /v1/orders": [{"orders": ["orders:read"]}]}


def test_of_two_operations_on_one_path_the_document_has_the_later() -> None:
    """
    What is required stands beside what FastAPI says of the same one; a hidden one does not count.
    """
    app = installed()
    app.add_api_route("/orders/{item:int}", READ(item_operation("by_number")))
    app.add_api_route("/orders/{item}", WRITE(item_operation("by_name")))
    app.add_api_route("/orders/{item}", READ(item_operation("hidden")), include_in_schema=False)

    assert security_of(app) == {"get /orders/{item}": [{"orders": ["orders:write"]}]}
    assert app.openapi()["paths"]["/orders/{item}"]["get"]["summary"] == "By Name"


def test_every_method_of_a_route_is_described() -> None:
    """
    An endpoint for several methods requires the same for each; HEAD is one of them where it is documented.
    """
    app = installed()
    app.add_api_route("/orders", READ(operation("orders")), methods=["GET", "HEAD", "POST"])

    with pytest.warns(UserWarning, match="Duplicate Operation ID"):  # FastAPI's: it gives all methods one
        operations = app.openapi()["paths"]["/orders"]

    assert {method: one["security"] for method, one in operations.items()} == {
        method: [{"orders": ["orders:read"]}] for method in ("get", "head", "post")
    }


def test_a_class_is_described_by_its_method() -> None:
    """
    Of a class-based endpoint the method declares, in the document as in the table.
    """

    class Orders(HTTPEndpoint):
        def __init__(self) -> None: ...

        @READ
        async def get(self, request: Request) -> None: ...

    app = installed()
    app.add_api_route("/orders", Orders)

    assert security_of(app) == {"get /orders": [{"orders": ["orders:read"]}]}


def test_prefixes_are_described() -> None:
    """
    What ``prefixes=`` declares is in the document, and public where that says so.
    """
    app = installed(prefixes={"/orders": READ, "/orders/public": public})
    app.add_api_route("/orders/{item}", item_operation("one"))
    app.add_api_route("/orders/public/{item}", item_operation("two"))
    app.add_api_route("/orders/own", WRITE(operation("own")))

    assert security_of(app) == {
        "get /orders/{item}": [{"orders": ["orders:read"]}],
        "get /orders/public/{item}": None,
        "get /orders/own": [{"orders": ["orders:write"]}],
    }


def test_an_application_declared_as_a_whole_is_described() -> None:
    """
    Its one declaration holds for each operation that no prefix says otherwise of.
    """
    app = READ(FastAPI(openapi_url=None))
    app.add_api_route("/orders", operation("orders"))
    app.add_api_route("/status", operation("status"))
    installed(app, prefixes={"/status": public})

    assert security_of(app) == {"get /orders": [{"orders": ["orders:read"]}], "get /status": None}


def test_a_dependencys_own_security_is_required_too() -> None:
    """
    An API key is needed beside the token: both are in one object.
    """
    key = APIKeyHeader(name="X-Key")
    app = installed()

    @app.get("/orders")
    @READ
    async def orders(api_key: Annotated[str, Depends(key)]) -> None: ...

    assert security_of(app) == {"get /orders": [{"APIKeyHeader": [], "orders": ["orders:read"]}]}


# Refusals


@pytest.mark.anyio
async def test_refusals_are_as_they_are_described(fake_issuer: FakeIssuer) -> None:
    """
    The real 401, 403 and 503 have the media type, the fields and a body of the schema in the document.
    """
    package = ServicePackage("orders", issuer=fake_issuer.issuer, audience=fake_issuer.audience)
    app = installed()
    app.add_api_route("/orders", package.requires("orders:read")(operation("orders")))
    token = {"Authorization": f"Bearer {fake_issuer.token(scope='other')}"}

    async with client(app) as http:
        fake_issuer.go_down()
        refused = [await http.get("/orders", headers=token), await http.get("/orders")]
    fake_issuer.come_up()
    async with client(recreated(package)) as http:
        refused.append(await http.get("/orders", headers=token))

    document = app.openapi()
    validator = OAS31Validator(document["components"]["schemas"]["Problem"])
    assert [one.status_code for one in refused] == [503, 401, 403]
    for one in refused:
        reference = document["paths"]["/orders"]["get"]["responses"][str(one.status_code)]["$ref"]
        response = document["components"]["responses"][reference.rpartition("/")[2]]
        assert one.headers["content-type"] in response["content"]
        assert all(name in one.headers for name in response["headers"])
        validator.validate(one.json())


def recreated(package: ServicePackage) -> FastAPI:
    """
    The application anew, which has not failed to fetch keys.
    """
    app = installed()
    app.add_api_route("/orders", package.requires("orders:read")(operation("orders")))
    return app


def test_responses_that_the_application_describes_stay() -> None:
    """
    A team's own 401 is theirs, on the application, the router or the operation.
    """

    class Envelope(BaseModel):
        ok: bool

    app = installed(FastAPI(responses={401: {"model": Envelope}}))
    app.add_api_route("/orders", READ(operation("orders")), responses={403: {"description": "Ask us"}})

    responses = app.openapi()["paths"]["/orders"]["get"]["responses"]
    assert responses["401"]["content"]["application/json"]["schema"]["$ref"].endswith("/Envelope")
    assert responses["403"] == {"description": "Ask us"}
    assert responses["503"] == {"$ref": "#/components/responses/ServiceUnavailable"}


def test_a_hooks_bodies_are_not_described() -> None:
    """
    With ``refusal_body`` the document does not claim a schema that it cannot know.
    """
    app = installed(refusal_body=lambda _: {})
    app.add_api_route("/orders", READ(operation("orders")))

    assert "content" not in app.openapi()["components"]["responses"]["Unauthorized"]


# Making the document


def test_generating_fetches_nothing(fake_issuer: FakeIssuer) -> None:
    """
    No issuer is asked for anything, whether or not it could answer.
    """
    package = ServicePackage("orders", issuer=fake_issuer.issuer, audience=AUDIENCE)
    app = installed()
    app.add_api_route("/orders", package.requires()(operation("orders")))

    scheme = app.openapi()["components"]["securitySchemes"]["orders"]

    assert scheme["openIdConnectUrl"] == f"{fake_issuer.url}/.well-known/openid-configuration"
    assert fake_issuer.request_count == 0


def test_flows_are_in_the_document() -> None:
    """
    Configured flows make the scheme one of OAuth 2.0.
    """
    app = installed(oauth_flows=FLOWS)
    app.add_api_route("/orders", READ(operation("orders")))

    scheme = app.openapi()["components"]["securitySchemes"]["orders"]

    assert scheme["flows"] == {
        "clientCredentials": {"tokenUrl": f"{ISSUER}/token", "scopes": {"orders:read": ""}}
    }


@pytest.mark.anyio
@pytest.mark.parametrize("configured", [None, FLOWS], ids=["nothing configured", "flows configured"])
async def test_flows_are_learned_from_what_discovery_fetched(configured: Any) -> None:
    """
    Once keys are in hand the document has the issuer's endpoints, unless flows are configured for it.
    """
    issuer = EmbeddedIssuer(ISSUER)
    requests: list[str] = []

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        requests.append(scope["path"])
        await issuer(scope, receive, send)

    http_client = httpx.AsyncClient(transport=httpx.ASGITransport(counted))
    app = installed(oauth_flows=configured)
    trusted = Issuer(ISSUER, http_client=http_client, warm_up="wait")
    package = ServicePackage("orders", issuer=trusted, audience=AUDIENCE)
    app.add_api_route("/orders", package.requires()(operation("orders")))

    before = app.openapi()
    await start(app)
    fetched = len(requests)
    after = app.openapi()

    assert len(requests) == fetched > 0
    assert app.openapi() is after
    if configured:
        assert after is before
        return
    scheme = after["components"]["securitySchemes"]["orders"]
    assert before["components"]["securitySchemes"]["orders"]["type"] == "openIdConnect"
    assert scheme["flows"]["authorizationCode"] == {
        "authorizationUrl": f"{ISSUER}/authorize",
        "tokenUrl": f"{ISSUER}/token",
        "refreshUrl": f"{ISSUER}/token",
        "scopes": {},
    }
    assert scheme["flows"]["clientCredentials"] == {"tokenUrl": f"{ISSUER}/token", "scopes": {}}


@pytest.mark.anyio
async def test_a_middleware_that_hides_the_guard_costs_only_what_it_has_learned() -> None:
    """
    Where the guard cannot be found any more, the document is as it was before the start.
    """

    class Hiding:
        def __init__(self, app: ASGIApp) -> None:
            self._hidden = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self._hidden(scope, receive, send)

    app = installed()
    app.add_middleware(Hiding)
    app.add_api_route("/orders", READ(operation("orders")))
    before = security_of(app)

    await start(app)

    assert security_of(app) == before


def test_flows_of_an_issuer_that_no_route_trusts_are_refused() -> None:
    """
    A misspelt issuer is told when the document is made; one of any route is known, documented or not.
    """
    app = installed(oauth_flows={f"{ISSUER}/": FLOWS[ISSUER]})
    hidden = installed(oauth_flows=FLOWS)
    for one in (app, hidden):
        one.add_api_route("/orders", READ(operation("orders")), include_in_schema=False)

    assert security_of(hidden) == {}
    with pytest.raises(PolicyError, match=f"names {ISSUER}/, which no route trusts"):
        app.openapi()


def test_the_document_is_made_once() -> None:
    """
    Asked again, the same object comes; after FastAPI's own was thrown away, a new one.
    """
    app = installed()
    app.add_api_route("/orders", READ(operation("orders")))

    first = app.openapi()
    again = app.openapi()
    app.openapi_schema = None
    app.add_api_route("/more", WRITE(operation("more")))
    later = app.openapi()

    assert first is again
    assert later is not first
    assert later["paths"]["/more"]["get"]["security"] == [{"orders": ["orders:write"]}]


if LOOKS_INSIDE:  # others keep their first document

    def test_a_new_route_makes_a_new_document() -> None:
        """
        Where FastAPI notices a new route, so do we.
        """
        app = installed()
        app.add_api_route("/orders", READ(operation("orders")))
        first = security_of(app)

        app.add_api_route("/more", WRITE(operation("more")))

        assert security_of(app) == first | {"get /more": [{"orders": ["orders:write"]}]}


def test_an_openapi_function_from_before_is_respected() -> None:
    """
    What a team's own function says is in the document, and its cache is its own.
    """
    app = FastAPI()
    made: list[str] = []

    def own() -> dict[str, Any]:
        if not app.openapi_schema:
            made.append("once")
            app.openapi_schema = get_openapi(title="Ours", version="7", routes=app.routes)
            app.openapi_schema["info"]["x-logo"] = {"url": "https://example.com/logo.png"}
        return app.openapi_schema

    app.openapi = own  # type: ignore[method-assign]  # as FastAPI documents it
    installed(app)
    app.add_api_route("/orders", READ(operation("orders")))

    first, again = app.openapi(), app.openapi()

    assert first is again
    assert made == ["once"]
    assert first["info"] == {
        "title": "Ours",
        "version": "7",
        "x-logo": {"url": "https://example.com/logo.png"},
    }
    assert security_of(app) == {"get /orders": [{"orders": ["orders:read"]}]}


def test_an_openapi_function_without_a_cache_is_followed() -> None:
    """
    A document that is another one each time is described each time; what it leaves out stays out.
    """
    app = FastAPI()
    titles = iter(["first", "second"])

    def own() -> dict[str, Any]:
        return {"openapi": "3.1.0", "info": {"title": next(titles), "version": "1"}, "paths": {}}

    app.openapi = own  # type: ignore[method-assign]  # as FastAPI documents it
    installed(app)
    app.add_api_route("/orders", READ(operation("orders")))

    assert [app.openapi()["info"]["title"] for _ in range(2)] == ["first", "second"]


@pytest.mark.anyio
async def test_the_served_document_is_the_described_one() -> None:
    """
    ``/openapi.json`` has what ``app.openapi()`` has, without a token.
    """
    app = installed()
    app.add_api_route("/orders", READ(operation("orders")))

    async with client(app) as http:
        served = await http.get("/openapi.json")

    assert served.json() == app.openapi()
    assert served.json()["paths"]["/orders"]["get"]["security"] == [{"orders": ["orders:read"]}]


@pytest.mark.anyio
async def test_the_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    ``examples/fastapi_openapi.py`` guards and describes what it says.
    """
    monkeypatch.setenv("ORDERS_ISSUER", ISSUER)
    app: FastAPI = runpy.run_path(str(EXAMPLES / "fastapi_openapi.py"))["app"]

    async with client(app) as http:
        without = (await http.get("/orders")).status_code, (await http.get("/healthz")).status_code
        with as_operator(scopes=["orders:read"]) as operator:
            order = (await http.get("/orders/7")).json(), (await http.get("/orders")).json()
            placing = (await http.post("/orders")).status_code
        with as_operator(scopes=["orders:write"]):
            placed = (await http.post("/orders")).json()

    assert without == (401, 200)
    assert order == ({"id": 7, "read_by": operator.operator_id}, {"orders_of": operator.operator_id})
    assert (placing, placed) == (403, {"placed_by": operator.operator_id})
    assert security_of(app) == {
        "get /orders": [{"orders": ["orders:read"]}],
        "get /orders/{order_id}": [{"orders": ["orders:read"]}],
        "post /orders": [{"orders": ["orders:write"]}],
        "get /healthz": None,
    }
    assert app.openapi()["components"]["securitySchemes"]["orders"]["type"] == "oauth2"
