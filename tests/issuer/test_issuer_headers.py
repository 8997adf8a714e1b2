"""
The headers of the embedded issuer: its mark on every response, and who may read what (CORS).
"""

import pytest

from .builders import SECRET, SERVICE, an_issuer, connect

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/", id="welcome"),
        pytest.param("GET", "/jwks", id="keys"),
        pytest.param("GET", "/authorize", id="refused page"),
        pytest.param("POST", "/token", id="refused token"),
        pytest.param("OPTIONS", "/token", id="preflight"),
        pytest.param("GET", "/token", id="wrong method"),
        pytest.param("GET", "/nothing", id="not found"),
    ],
)
async def test_every_response_is_marked(method: str, path: str) -> None:
    """Every response says that it is not for production."""
    async with connect(an_issuer()) as http:
        response = await http.request(method, path)

    assert response.headers["x-development-issuer"] == "not for production"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/jwks", id="keys"),
        pytest.param("GET", "/.well-known/oauth-authorization-server", id="metadata"),
        pytest.param("GET", "/.well-known/openid-configuration", id="OpenID metadata"),
        pytest.param("POST", "/token", id="refused token"),
        pytest.param("POST", "/revoke", id="refused revocation"),
    ],
)
async def test_any_origin_may_read_what_browser_clients_need(method: str, path: str) -> None:
    """Keys, metadata, token and revocation endpoint answer any origin, without credentials."""
    async with connect(an_issuer()) as http:
        response = await http.request(method, path, headers={"Origin": "http://127.0.0.1:8000"})

    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/authorize", id="consent"),
        pytest.param("POST", "/authorize", id="decision"),
        pytest.param("POST", "/rotate", id="rotation"),
        pytest.param("POST", "/faults", id="faults"),
        pytest.param("POST", "/introspect", id="introspection"),
        pytest.param("GET", "/", id="welcome"),
    ],
)
async def test_no_origin_may_read_the_rest(method: str, path: str) -> None:
    """The rest answers no other origin: a page could otherwise allow itself, or read what tokens say."""
    async with connect(an_issuer()) as http:
        response = await http.request(method, path, headers={"Origin": "http://127.0.0.1:8000"})

    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("path", ["/token", "/revoke", "/jwks", "/.well-known/oauth-authorization-server"])
async def test_preflight_allows_what_browser_clients_send(path: str) -> None:
    """A preflight request allows what client_secret_basic needs, and what Swagger UI adds to each request."""
    headers = {"Origin": "http://127.0.0.1:8000", "Access-Control-Request-Method": "POST"}

    async with connect(an_issuer()) as http:
        response = await http.options(path, headers=headers)

    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "*"
    allowed = response.headers["access-control-allow-headers"].split(", ")
    assert {"Authorization", "Content-Type", "X-Requested-With"} == set(allowed)


@pytest.mark.parametrize("path", ["/authorize", "/rotate", "/faults", "/introspect"])
async def test_preflight_of_the_rest_is_refused(path: str) -> None:
    """A preflight request for the consent page, the controls or introspection is not allowed anything."""
    headers = {"Origin": "http://127.0.0.1:8000", "Access-Control-Request-Method": "POST"}

    async with connect(an_issuer()) as http:
        response = await http.options(path, headers=headers)

    assert response.status_code == 405
    assert "access-control-allow-origin" not in response.headers


async def test_endpoint_with_a_slash_more_is_not_redirected() -> None:
    """A secret is not sent a second time: there is no redirect to the right address."""
    async with connect(an_issuer(SERVICE)) as http:
        response = await http.post("/token/", data={"client_id": "orders-service", "client_secret": SECRET})

    assert response.status_code == 404
