"""
The metadata document, the JWK Set and the welcome page.
"""

import pytest

from .builders import ORDERS, SERVICE, URL, WEB, an_issuer, connect

pytestmark = pytest.mark.anyio


ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"]
CONFIDENTIAL = ["client_secret_basic", "client_secret_post", "private_key_jwt"]


async def test_metadata_names_issuer_and_endpoints() -> None:
    """The metadata document says where everything is and what is supported."""
    async with connect(an_issuer(SERVICE, WEB)) as http:
        response = await http.get("/.well-known/oauth-authorization-server")

    assert response.json() == {
        "issuer": URL,
        "authorization_endpoint": f"{URL}/authorize",
        "token_endpoint": f"{URL}/token",
        "revocation_endpoint": f"{URL}/revoke",
        "introspection_endpoint": f"{URL}/introspect",
        "jwks_uri": f"{URL}/jwks",
        "scopes_supported": ["orders:read", "orders:write"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "authorization_code",
            "client_credentials",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "token_endpoint_auth_methods_supported": [*CONFIDENTIAL, "none"],
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": [*CONFIDENTIAL, "none"],
        "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": CONFIDENTIAL,
        "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }


async def test_every_endpoint_of_the_metadata_is_there() -> None:
    """No endpoint is advertised that is not served."""
    async with connect(an_issuer(SERVICE, WEB)) as http:
        metadata = (await http.get("/.well-known/oauth-authorization-server")).json()
        endpoints = [metadata[name] for name in metadata if name.endswith("_endpoint")]
        statuses = [(await http.post(url)).status_code for url in endpoints]

    assert len(endpoints) == 4
    assert set(statuses) <= {400, 401}


@pytest.mark.parametrize("document", ["oauth-authorization-server", "openid-configuration"])
@pytest.mark.parametrize(
    "form",
    [
        pytest.param("/.well-known/{}/tenants/a", id="inserted"),
        pytest.param("/tenants/a/.well-known/{}", id="appended"),
        pytest.param("/.well-known/{}", id="bare"),
    ],
)
async def test_metadata_of_an_issuer_with_a_path_is_found(form: str, document: str) -> None:
    """With an issuer path both documents answer in the inserted, the appended and the bare form."""
    async with connect(an_issuer(url=f"{URL}/tenants/a")) as http:
        response = await http.get(form.format(document))

    assert response.status_code == 200
    assert response.json()["issuer"] == f"{URL}/tenants/a"
    assert response.json()["token_endpoint"] == f"{URL}/tenants/a/token"


async def test_metadata_of_another_path_is_not_found() -> None:
    """A path that is not the issuer's is not found."""
    async with connect(an_issuer(url=f"{URL}/tenants/a")) as http:
        response = await http.get("/.well-known/oauth-authorization-server/tenants/b")

    assert response.status_code == 404


async def test_trailing_slash_of_the_issuer_is_kept_and_not_doubled() -> None:
    """An issuer with a trailing slash keeps it, its endpoints have one slash."""
    async with connect(an_issuer(url=f"{URL}/")) as http:
        response = await http.get("/.well-known/openid-configuration")

    assert response.json()["issuer"] == f"{URL}/"
    assert response.json()["jwks_uri"] == f"{URL}/jwks"


@pytest.mark.parametrize("path", ["/jwks", "/tenants/a/jwks"])
async def test_jwk_set_is_published_with_its_media_type(path: str) -> None:
    """The JWK Set has the media type of RFC 7517 and a short life in caches."""
    issuer = an_issuer(url=f"{URL}/tenants/a")

    async with connect(issuer) as http:
        response = await http.get(path)

    assert response.json() == issuer.keys.jwks()
    assert response.headers["content-type"] == "application/jwk-set+json"
    assert response.headers["cache-control"] == "public, max-age=60"


async def test_minted_token_is_accepted_with_the_published_set_only() -> None:
    """The published set holds the key ID a minted token names."""
    issuer = an_issuer(SERVICE)
    issuer.mint(SERVICE, scope=(), audience=ORDERS)

    async with connect(issuer) as http:
        response = await http.get("/jwks")

    assert [jwk["kid"] for jwk in response.json()["keys"]] == [issuer.keys.current.kid]


@pytest.mark.parametrize("path", ["/", "/tenants/a"])
async def test_welcome_page_says_that_it_is_for_development(path: str) -> None:
    """The first page says loudly what the server is not."""
    async with connect(an_issuer(url=f"{URL}/tenants/a")) as http:
        response = await http.get(path)

    assert response.status_code == 200
    assert "DEVELOPMENT ONLY" in response.text
    assert f'href="{URL}/tenants/a/jwks"' in response.text
    assert "form-action 'self'" in response.headers["content-security-policy"]
