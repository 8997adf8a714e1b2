"""
The consent page: what it shows, and what may be done with it.
"""

from dataclasses import replace

import pytest

from .builders import CALLBACK, WEB, an_issuer, authorization_parameters, connect

pytestmark = pytest.mark.anyio


async def test_consent_page_shows_the_request() -> None:
    """A good request gets a page with client, scope, audience, redirect URI and the users."""
    async with connect(an_issuer(WEB)) as http:
        response = await http.get("/authorize", params=authorization_parameters())

    assert response.status_code == 200
    for text in ("DEVELOPMENT ONLY", "web", "orders:read", CALLBACK, "<option>alice", "<option>bob"):
        assert text in response.text


async def test_consent_page_is_guarded_by_its_headers() -> None:
    """The page may not be cached, framed or scripted; its form leads only to issuer and client."""
    async with connect(an_issuer(WEB)) as http:
        response = await http.get("/authorize", params=authorization_parameters())

    assert response.headers["content-security-policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; "
        "form-action 'self' http://127.0.0.1:8000"
    )
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("redirect_uri", "source"),
    [
        pytest.param("https://app.example.com/cb", "https://app.example.com", id="host"),
        pytest.param("https://app.example.com", "https://app.example.com", id="host alone"),
        pytest.param("https://app.example.com?a=b", "https://app.example.com", id="host and query"),
        pytest.param("http://[::1]:8000/cb", "http:", id="IPv6"),
        pytest.param("https://a;b/cb", "https:", id="host that would end the directive"),
        pytest.param("com.example.app:/cb", "com.example.app:", id="private-use scheme"),
    ],
)
async def test_form_may_lead_to_the_clients_origin(redirect_uri: str, source: str) -> None:
    """The policy names the client's origin, or its scheme where an origin cannot be written."""
    client = replace(WEB, redirect_uris=[redirect_uri])

    async with connect(an_issuer(client)) as http:
        response = await http.get("/authorize", params=authorization_parameters(redirect_uri=redirect_uri))

    assert response.headers["content-security-policy"].endswith(f"form-action 'self' {source}")


async def test_every_value_on_the_page_is_escaped() -> None:
    """Names that look like markup are shown as text."""
    client = replace(WEB, client_id="<script>", audiences=["<audience>"], scopes=["<scope>"])

    async with connect(an_issuer(client, users=["<user>"])) as http:
        response = await http.get(
            "/authorize", params=authorization_parameters(client_id="<script>", scope=None)
        )

    for name in ("script", "audience", "scope", "user"):
        assert f"<{name}>" not in response.text
        assert f"&lt;{name}&gt;" in response.text
