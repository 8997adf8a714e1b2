"""
Client authentication at the token endpoint.
"""

import base64
from dataclasses import replace

import pytest

from .builders import SECRET, SERVICE, WEB, an_issuer, basic, changed, connect, request_token

pytestmark = pytest.mark.anyio

GOOD = {"grant_type": "client_credentials", "client_id": "orders-service", "client_secret": SECRET}


def header(text: bytes) -> dict[str, str]:
    """
    Build a Basic header of any bytes.
    """
    return {"Authorization": f"Basic {base64.b64encode(text).decode()}"}


async def test_client_with_its_secret_in_the_header_gets_a_token() -> None:
    """client_secret_basic: the right secret gets a token."""
    response = await request_token(
        SERVICE, form={"grant_type": "client_credentials"}, headers=basic("orders-service", SECRET)
    )

    assert response.status_code == 200


async def test_basic_credentials_are_form_decoded() -> None:
    """Identifier and secret are form-decoded after base64: colons, plus signs and percent signs survive."""
    client = replace(SERVICE, client_id="a:b+c %d", client_secret="s:e+c %r")

    response = await request_token(
        client, form={"grant_type": "client_credentials"}, headers=basic("a:b+c %d", "s:e+c %r")
    )

    assert response.status_code == 200


async def test_basic_scheme_is_case_insensitive() -> None:
    """The scheme of the Authorization header is compared without regard to case."""
    headers = {"Authorization": basic("orders-service", SECRET)["Authorization"].replace("Basic", "bAsIc")}

    response = await request_token(SERVICE, form={"grant_type": "client_credentials"}, headers=headers)

    assert response.status_code == 200


async def test_basic_with_its_own_client_id_in_the_body_gets_a_token() -> None:
    """A body that names the authenticated client once more is accepted."""
    form = {"grant_type": "client_credentials", "client_id": "orders-service"}

    response = await request_token(SERVICE, form=form, headers=basic("orders-service", SECRET))

    assert response.status_code == 200


async def test_basic_with_another_client_id_in_the_body_is_refused() -> None:
    """A body that names another client than the header is refused."""
    form = {"grant_type": "client_credentials", "client_id": "web"}

    response = await request_token(SERVICE, WEB, form=form, headers=basic("orders-service", SECRET))

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


async def test_secret_in_header_and_body_is_refused() -> None:
    """Two authentication methods in one request are refused even when both are right."""
    response = await request_token(SERVICE, form=GOOD, headers=basic("orders-service", SECRET))

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


async def test_two_authorization_headers_are_refused() -> None:
    """Two Authorization headers are two authentication methods."""
    value = basic("orders-service", SECRET)["Authorization"]

    async with connect(an_issuer(SERVICE)) as http:
        response = await http.post(
            "/token",
            data={"grant_type": "client_credentials"},
            headers=[("Authorization", value), ("Authorization", value)],
        )

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(basic("orders-service", "wrong"), id="wrong secret"),
        pytest.param(basic("orders-service", ""), id="empty secret"),
        pytest.param(basic("nobody", SECRET), id="unknown client"),
        pytest.param(basic("web", ""), id="public client"),
        pytest.param(header(b"orders-service"), id="no colon"),
        pytest.param(header(b"orders-service:\xff"), id="not UTF-8"),
        pytest.param(header(b"orders-service:%ff"), id="not UTF-8 within"),
        pytest.param({"Authorization": "Basic !!!"}, id="not base64"),
        pytest.param({"Authorization": b"Basic \xe9".decode("latin-1")}, id="not ASCII"),
        pytest.param({"Authorization": "Basic"}, id="no credentials"),
        pytest.param({"Authorization": "Bearer abc"}, id="another scheme"),
        pytest.param(
            {"Authorization": basic("orders-service", SECRET)["Authorization"].replace("Basic", "Bearer")},
            id="right credentials in another scheme",
        ),
        pytest.param({"Authorization": ""}, id="empty header"),
    ],
)
async def test_wrong_credentials_in_the_header_get_a_challenge(headers: dict[str, str]) -> None:
    """Every wrong Authorization header gets one and the same 401 and a Basic challenge."""
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    async with connect(an_issuer(SERVICE, WEB)) as http:
        response = await http.post("/token", data={"grant_type": "client_credentials"}, headers=encoded)

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Basic realm="token"'
    assert response.json() == {"error": "invalid_client", "error_description": "client authentication failed"}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"client_secret": "wrong"}, id="wrong secret"),
        pytest.param({"client_secret": "\N{SNOWMAN}"}, id="secret is not ASCII"),
        pytest.param({"client_secret": None}, id="no secret"),
        pytest.param({"client_id": "nobody"}, id="unknown client"),
        pytest.param({"client_id": None}, id="no client"),
        pytest.param({"client_id": "web"}, id="public client with a secret"),
        pytest.param({"client_id": "nobody", "client_secret": None}, id="unknown client without a secret"),
    ],
)
async def test_wrong_credentials_in_the_body_are_refused(changes: dict[str, str | None]) -> None:
    """Every wrong secret or client in the body gets one and the same 401, without a challenge."""
    response = await request_token(SERVICE, WEB, form=changed(GOOD, **changes))

    assert response.status_code == 401
    assert "www-authenticate" not in response.headers
    assert response.json() == {"error": "invalid_client", "error_description": "client authentication failed"}
    assert response.headers["cache-control"] == "no-store"
