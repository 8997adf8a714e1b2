"""
Protected resource metadata (RFC 9728): where it is, what it says, and who names it.
"""

import json
from typing import Any

import pytest
from road_kit import ask, endpoint, handshake, new_issuer, package_of
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from guardrail import GuardrailMiddleware, Issuer, ServicePackage, public
from guardrail._resource_metadata import ResourceMetadata, metadata_url
from guardrail.errors import PolicyError

pytestmark = pytest.mark.anyio

WELL_KNOWN = "/.well-known/oauth-protected-resource"
RESOURCE = "https://api.example.com/orders"


def package(name: str = "orders", audience: Any = RESOURCE, **settings: Any) -> ServicePackage:
    """
    A service package of an issuer that nobody asks.
    """
    return ServicePackage(
        name, issuer=settings.pop("issuer", "https://login.example.com"), audience=audience, **settings
    )


def guarded(*packages: ServicePackage, **settings: Any) -> ASGIApp:
    """
    A route for each package.
    """
    routes = [Route(f"/{one.name}", one.requires()(endpoint())) for one in packages]
    return GuardrailMiddleware(Starlette(routes=routes), **settings)


@pytest.mark.parametrize(
    ("resource", "url"),
    [
        pytest.param("https://h", f"https://h{WELL_KNOWN}", id="no path"),
        pytest.param("https://h/", f"https://h{WELL_KNOWN}", id="the slash after the host is dropped"),
        pytest.param("https://h/mcp", f"https://h{WELL_KNOWN}/mcp", id="a path"),
        pytest.param("https://h/mcp/", f"https://h{WELL_KNOWN}/mcp/", id="a slash at the end stays"),
        pytest.param("https://h/a?x=1", f"https://h{WELL_KNOWN}/a?x=1", id="a query"),
        pytest.param("https://h:8443/a/b", f"https://h:8443{WELL_KNOWN}/a/b", id="a port"),
    ],
)
def test_the_well_known_path_goes_between_host_and_path(resource: str, url: str) -> None:
    """
    RFC 9728 §3.1.
    """
    assert metadata_url(resource) == url


async def test_the_document_says_what_the_package_says() -> None:
    """
    Resource, authorization servers, scopes, methods and name, to anybody, with a lifetime.
    """
    orders = package(
        scopes={"orders:read": "Read", "orders:write": "Write", "offline_access": "no scope of ours"},
        issuer=["https://login.example.com", "https://partner.example.org"],
    )

    response = await ask(guarded(orders), f"{WELL_KNOWN}/orders")

    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.headers["cache-control"] == "max-age=3600"
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.json() == {
        "resource": RESOURCE,
        "authorization_servers": ["https://login.example.com", "https://partner.example.org"],
        "scopes_supported": ["orders:read", "orders:write"],
        "bearer_methods_supported": ["header"],
        "resource_name": "orders",
    }


async def test_what_has_no_value_is_left_out() -> None:
    """
    RFC 9728 §3.2: no empty lists. An issuer that is no URL is no authorization server to go to.
    """
    keys = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}

    response = await ask(
        guarded(package(issuer=Issuer("urn:example:issuer", keys=keys))), f"{WELL_KNOWN}/orders"
    )

    assert response.json().keys() == {"resource", "bearer_methods_supported", "resource_name"}


@pytest.mark.parametrize(
    ("method", "status"),
    [
        pytest.param("HEAD", 200, id="HEAD"),
        pytest.param("OPTIONS", 204, id="a browser's preflight"),
        pytest.param("POST", 405, id="POST"),
    ],
)
async def test_other_methods(method: str, status: int) -> None:
    """
    HEAD says what GET does; a preflight is answered for any origin; nothing else is there.
    """
    app = guarded(package())

    response = await ask(app, f"{WELL_KNOWN}/orders", method=method)

    get = await ask(app, f"{WELL_KNOWN}/orders")
    assert (response.status_code, response.content) == (status, b"")
    if method == "HEAD":
        assert response.headers["content-length"] == get.headers["content-length"]
    elif method == "OPTIONS":
        assert response.headers["access-control-allow-origin"] == "*"
        assert response.headers["access-control-allow-methods"] == "GET"
    else:
        assert response.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(WELL_KNOWN, id="the host's"),
        pytest.param(f"{WELL_KNOWN}/", id="a slash"),
        pytest.param(f"{WELL_KNOWN}/orders/", id="another slash"),
        pytest.param(f"{WELL_KNOWN}/orders/1", id="below it"),
        pytest.param(f"{WELL_KNOWN}/ORDERS", id="another case"),
        pytest.param(f"{WELL_KNOWN}/orders?x=1", id="a query"),
        pytest.param("/orders/.well-known/oauth-protected-resource", id="appended"),
    ],
)
async def test_no_other_path_has_a_document(path: str) -> None:
    """
    RFC 9728 §7.10: an unknown one is not another resource's.
    """
    response = await ask(guarded(package()), path)

    assert response.status_code == 404


async def test_the_document_of_a_resource_with_a_query() -> None:
    """
    It is asked for with that query, and with no other.
    """
    app = guarded(package(audience="https://api.example.com/a?x=1"))

    statuses = [
        (await ask(app, f"{WELL_KNOWN}/a{query}")).status_code for query in ("?x=1", "", "?x=2", "?x=1&y=1")
    ]

    assert statuses == [200, 404, 404, 404]


@pytest.mark.parametrize("host", ["evil.example", "api.example.com:444", ""])
async def test_the_host_header_changes_nothing(host: str) -> None:
    """
    What is published and what is named in challenges comes from the configuration (RFC 9728 §7.3).
    """
    app = guarded(package())
    fields = [("Host", host), ("X-Forwarded-Host", host), ("Forwarded", f"host={host}")]

    document = await ask(app, f"{WELL_KNOWN}/orders", headers=fields)
    refused = await ask(app, "/orders", headers=fields)

    assert document.json()["resource"] == RESOURCE
    url = f'resource_metadata="https://api.example.com{WELL_KNOWN}/orders"'
    assert url in refused.headers["www-authenticate"]


# Challenges


async def test_401_and_403_name_it_and_400_does_not() -> None:
    """
    RFC 9728 §5.1: where authorization is needed; a malformed request is not helped by it.
    """
    fake = new_issuer()
    orders = package_of(fake)
    routes = [
        Route("/read", orders.requires("orders:read")(endpoint())),
        Route("/approve", orders.requires(roles=["approver"])(endpoint())),
        Route("/pay", orders.requires(acr_values=["mfa"])(endpoint())),
    ]
    app = GuardrailMiddleware(Starlette(routes=routes))
    good = fake.token(scope="other")

    answers = [
        await ask(app, "/read"),
        await ask(app, "/read", token=f"{good}x"),
        await ask(app, "/read", token=good),
        await ask(app, "/approve", token=good),
        await ask(app, "/pay", token=good),
        await ask(app, "/read", token="a b"),
    ]

    named = [("resource_metadata" in answer.headers["www-authenticate"]) for answer in answers]
    assert [answer.status_code for answer in answers] == [401, 401, 403, 403, 401, 400]
    assert named == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        pytest.param({"audience": RESOURCE}, f"https://api.example.com{WELL_KNOWN}/orders", id="a URL"),
        pytest.param({"audience": "orders-api"}, None, id="a plain name"),
        pytest.param({"audience": "api://orders"}, None, id="another scheme"),
        pytest.param({"audience": "http://api.example.com/orders"}, None, id="plain http"),
        pytest.param(
            {"audience": "http://localhost:8000/orders"},
            f"http://localhost:8000{WELL_KNOWN}/orders",
            id="plain http on this machine",
        ),
        pytest.param(
            {"audience": ["orders-api", RESOURCE]},
            f"https://api.example.com{WELL_KNOWN}/orders",
            id="one URL",
        ),
        pytest.param({"audience": [RESOURCE, "https://orders.example.com/v1"]}, None, id="two URLs"),
        pytest.param(
            {"audience": [RESOURCE, "https://orders.example.com/v1"], "resource": RESOURCE},
            f"https://api.example.com{WELL_KNOWN}/orders",
            id="one of two URLs",
        ),
        pytest.param(
            {"audience": "orders-api", "resource": "https://api.example.com"},
            f"https://api.example.com{WELL_KNOWN}",
            id="a resource beside the audience",
        ),
    ],
)
async def test_which_resource_a_challenge_names(settings: Any, url: str | None) -> None:
    """
    The package's own, or the only one there is; where there are several and none is chosen, none.
    """
    response = await ask(guarded(package(**settings)))

    challenge = response.headers["www-authenticate"]
    assert challenge == (
        'Bearer realm="orders"' if url is None else f'Bearer realm="orders", resource_metadata="{url}"'
    )


async def test_each_of_several_resources_has_its_document() -> None:
    """
    Clients that know the API by either name find its metadata.
    """
    app = guarded(package(audience=[RESOURCE, "https://orders.example.com/v1"]))

    resources = [(await ask(app, WELL_KNOWN + path)).json()["resource"] for path in ("/orders", "/v1")]

    assert resources == [RESOURCE, "https://orders.example.com/v1"]


async def test_packages_of_one_resource_share_its_document() -> None:
    """
    Their issuers and scopes together, each once.
    """
    app = guarded(
        package("orders", scopes=["orders:read"]),
        package(
            "reports",
            scopes=["reports:read"],
            issuer=["https://partner.example.org", "https://login.example.com"],
        ),
    )

    document = (await ask(app, f"{WELL_KNOWN}/orders")).json()

    assert document["authorization_servers"] == ["https://login.example.com", "https://partner.example.org"]
    assert document["scopes_supported"] == ["orders:read", "reports:read"]
    assert document["resource_name"] == "orders and reports"


HOSTS = ["https://api.example.com/orders", "https://staging.example.com/orders"]


@pytest.mark.parametrize(
    ("own", "status"),
    [pytest.param(None, 404, id="neither chosen"), pytest.param(HOSTS[1], 200, id="one chosen")],
)
async def test_resources_that_differ_in_the_host_alone(own: str | None, status: int) -> None:
    """
    A request's path cannot tell them apart, and its ``Host`` is not to be trusted.
    """
    app = guarded(package(audience=HOSTS, resource=own))

    response = await ask(app, f"{WELL_KNOWN}/orders")
    refused = await ask(app)

    assert response.status_code == status
    assert ("resource_metadata" in refused.headers["www-authenticate"]) is (status == 200)
    if own is not None:
        assert response.json()["resource"] == own


async def test_it_can_be_left_out() -> None:
    """
    Without it there is no document, and no challenge names one.
    """
    app = guarded(package(), resource_metadata=False)

    statuses = [(await ask(app, f"{WELL_KNOWN}/orders")).status_code, (await ask(app)).status_code]

    assert statuses == [404, 401]
    assert "resource_metadata" not in (await ask(app)).headers["www-authenticate"]


# Its place among the routes


async def test_what_the_application_publishes_itself_goes_before() -> None:
    """
    A route at that very path is the team's own document.
    """

    @public
    async def own(request: Any) -> Response:
        return PlainTextResponse("ours")

    routes = [
        Route("/orders", package().requires()(endpoint())),
        Route(f"{WELL_KNOWN}/orders", own),
    ]

    response = await ask(GuardrailMiddleware(Starlette(routes=routes)), f"{WELL_KNOWN}/orders")

    assert response.text == "ours"


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(
            lambda: GuardrailMiddleware(_nobody, prefixes={"/": package().requires()}),
            id="a foreign application",
        ),
        pytest.param(
            lambda: GuardrailMiddleware(Starlette(routes=[Mount("/", package().requires()(_Opaque()))])),
            id="a mount",
        ),
    ],
)
async def test_a_client_without_a_token_finds_it_although_everything_needs_one(app: Any) -> None:
    """
    It is what a client reads before it has a token.
    """
    guarded_app = app()

    document = await ask(guarded_app, f"{WELL_KNOWN}/orders")
    other = await ask(guarded_app, f"{WELL_KNOWN}/invoices")

    assert [document.status_code, other.status_code] == [200, 401]


async def _nobody(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the application ran")


class _Opaque:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the application ran")


async def test_a_handshake_has_no_document() -> None:
    """
    Metadata is fetched, not connected to.
    """
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any: ...

    await guarded(package())(handshake(f"{WELL_KNOWN}/orders"), receive, send)

    assert sent[0]["status"] == 404


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param("/orders", id="relative"),
        pytest.param("http://api.example.com/orders", id="plain http"),
        pytest.param(f"{RESOURCE}#part", id="a fragment"),
        pytest.param("urn:example:orders", id="a name"),
        pytest.param("https://user@api.example.com/", id="user information"),
        pytest.param('https://api.example.com/"', id="a quote"),
        pytest.param(7, id="a number"),
    ],
)
def test_what_is_no_resource_identifier_is_refused_at_construction(resource: Any) -> None:
    """
    RFC 9728 §1.2: an https URL without a fragment.
    """
    with pytest.raises(PolicyError, match="resource"):
        package(resource=resource)


@pytest.mark.parametrize(
    ("root_path", "path", "is_found"),
    [
        pytest.param("/api", f"/api{WELL_KNOWN}/orders", True, id="as uvicorn has it"),
        pytest.param("/api", f"{WELL_KNOWN}/orders", True, id="as others have it"),
        pytest.param("/api", f"/other{WELL_KNOWN}/orders", False, id="behind another path"),
        pytest.param("", f"/api{WELL_KNOWN}/orders", False, id="behind no root path"),
        pytest.param("/ap", f"/api{WELL_KNOWN}/orders", False, id="behind a part of a segment"),
    ],
)
def test_a_servers_root_path_is_not_part_of_the_well_known_one(
    root_path: str, path: str, is_found: bool
) -> None:
    """
    A request for the path of RFC 9728 §3.1 finds the document, with a server's root path in front or without.
    """
    scope = {"type": "http", "path": path, "root_path": root_path, "query_string": b""}

    assert (ResourceMetadata([package()]).find(scope) is not None) == is_found


def test_without_packages_there_are_no_documents() -> None:
    """
    An application of public routes publishes nothing.
    """
    scope = {"type": "http", "path": f"{WELL_KNOWN}/orders", "query_string": b""}

    assert ResourceMetadata(()).find(scope) is None
    assert json.loads(ResourceMetadata([package()]).find(scope) or b"{}")["resource"] == RESOURCE
