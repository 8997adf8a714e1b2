"""
The client credentials grant: what a client gets for itself.
"""

from dataclasses import replace

import pytest

from .builders import (
    BILLING,
    CALLBACK,
    NOW,
    ORDERS,
    SECRET,
    SERVICE,
    WEB,
    an_issuer,
    changed,
    connect,
    request_token,
    verified_claims,
)

pytestmark = pytest.mark.anyio

GOOD = {"grant_type": "client_credentials", "client_id": "orders-service", "client_secret": SECRET}


async def test_client_with_its_secret_in_the_body_gets_a_token() -> None:
    """client_secret_post: the right secret gets a token with all scopes for the first audience."""
    issuer = an_issuer(SERVICE)

    async with connect(issuer) as http:
        response = await http.post("/token", data=GOOD)

    answer = response.json()
    claims = verified_claims(answer.pop("access_token"), issuer=issuer)
    assert answer == {"token_type": "Bearer", "expires_in": 600, "scope": "orders:read orders:write"}
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("orders-service", ORDERS, answer["scope"])
    assert (claims["iat"], claims["exp"]) == (int(NOW), int(NOW) + 600)
    assert "auth_time" not in claims
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["pragma"] == "no-cache"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"grant_type": None}, "invalid_request", id="no grant type"),
        pytest.param({"grant_type": ""}, "invalid_request", id="empty grant type"),
        pytest.param({"grant_type": "password"}, "unsupported_grant_type", id="unknown grant type"),
        pytest.param({"grant_type": "refresh_token"}, "unauthorized_client", id="grant type of others"),
        pytest.param({"scope": "orders:delete"}, "invalid_scope", id="unknown scope"),
        pytest.param({"scope": "orders:read orders:delete"}, "invalid_scope", id="one scope too many"),
        pytest.param({"scope": "orders:read  orders:write"}, "invalid_scope", id="two spaces"),
        pytest.param({"scope": "orders:read\torders:write"}, "invalid_scope", id="tab"),
        pytest.param({"audience": "https://other.example.com"}, "invalid_target", id="unknown audience"),
        pytest.param({"resource": "https://other.example.com"}, "invalid_target", id="unknown resource"),
        pytest.param({"audience": ORDERS, "resource": BILLING}, "invalid_target", id="two audiences"),
    ],
)
async def test_request_that_differs_in_one_thing_is_refused(
    changes: dict[str, str | None], error: str
) -> None:
    """An authenticated client that asks for what it may not have is told why."""
    response = await request_token(SERVICE, form=changed(GOOD, **changes))

    assert response.status_code == 400
    assert response.json()["error"] == error
    assert "access_token" not in response.json()


async def test_public_client_gets_no_client_credentials_token() -> None:
    """A public client is authenticated by nothing and gets no token of its own."""
    response = await request_token(WEB, form={"grant_type": "client_credentials", "client_id": "web"})

    assert (response.status_code, response.json()["error"]) == (400, "unauthorized_client")


async def test_narrower_scope_is_granted() -> None:
    """A client that asks for less gets less."""
    issuer = an_issuer(SERVICE)

    async with connect(issuer) as http:
        response = await http.post("/token", data=GOOD | {"scope": "orders:read"})

    assert response.json()["scope"] == "orders:read"
    assert verified_claims(response.json()["access_token"], issuer=issuer)["scope"] == "orders:read"


async def test_client_without_scopes_gets_a_token_without_scope() -> None:
    """A client that may do nothing gets a token that says nothing."""
    client = replace(SERVICE, scopes=[])
    issuer = an_issuer(client)

    async with connect(issuer) as http:
        response = await http.post("/token", data=GOOD)

    assert "scope" not in response.json()
    assert "scope" not in verified_claims(response.json()["access_token"], issuer=issuer)


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"audience": BILLING}, id="audience"),
        pytest.param({"resource": BILLING}, id="resource"),
        pytest.param({"audience": BILLING, "resource": BILLING}, id="both alike"),
    ],
)
async def test_allowed_audience_is_granted(form: dict[str, str]) -> None:
    """A client chooses among its audiences with *audience* or *resource*."""
    issuer = an_issuer(SERVICE)

    async with connect(issuer) as http:
        response = await http.post("/token", data=GOOD | form)

    assert verified_claims(response.json()["access_token"], issuer=issuer, audience=BILLING)["aud"] == BILLING


async def test_operator_access_group_and_lifetime_are_the_clients() -> None:
    """A token runs as the operator and access group of its client, as long as the client says."""
    client = replace(SERVICE, operator="alice", access_group="berlin", token_lifetime=60.0)
    issuer = an_issuer(client)

    async with connect(issuer) as http:
        response = await http.post("/token", data=GOOD)

    claims = verified_claims(response.json()["access_token"], issuer=issuer)
    assert (claims["sub"], claims["access_group"]) == ("alice", "berlin")
    assert (response.json()["expires_in"], claims["exp"]) == (60, int(NOW) + 60)


async def test_client_credentials_never_bring_a_refresh_token() -> None:
    """A client that may refresh gets no refresh token for itself."""
    client = replace(
        SERVICE,
        grant_types=["client_credentials", "authorization_code", "refresh_token"],
        redirect_uris=[CALLBACK],
    )

    response = await request_token(client, form=GOOD)

    assert response.status_code == 200
    assert "refresh_token" not in response.json()


async def test_token_endpoint_of_an_issuer_with_a_path_answers_below_it() -> None:
    """An issuer with a path has its endpoints below that path."""
    issuer = an_issuer(SERVICE, url="http://127.0.0.1:9000/tenants/a")

    async with connect(issuer) as http:
        response = await http.post("/tenants/a/token", data=GOOD)

    assert verified_claims(response.json()["access_token"], issuer=issuer)["iss"] == issuer.url
