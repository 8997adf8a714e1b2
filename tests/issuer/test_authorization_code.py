"""
The authorization code grant: one use, one client, one redirect URI, one code verifier.
"""

from dataclasses import replace

import pytest

from .builders import (
    BILLING,
    NOW,
    ORDERS,
    OTHER_WEB,
    WEB,
    Clock,
    an_issuer,
    code_parameters,
    connect,
    obtain_code,
    refresh_parameters,
    verified_claims,
)

pytestmark = pytest.mark.anyio


async def test_code_brings_a_token_for_the_user() -> None:
    """A good code brings an access token for the user who allowed it, and a refresh token."""
    issuer = an_issuer(WEB)

    async with connect(issuer) as http:
        code = await obtain_code(http)
        response = await http.post("/token", data=code_parameters(code))

    answer = response.json()
    claims = verified_claims(answer["access_token"], issuer=issuer)
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 600, "orders:read")
    assert answer["refresh_token"]
    assert (claims["sub"], claims["client_id"], claims["aud"]) == ("alice", "web", ORDERS)
    assert (claims["scope"], claims["auth_time"]) == ("orders:read", int(NOW))


async def test_client_without_the_refresh_grant_gets_no_refresh_token() -> None:
    """A client that may not refresh gets an access token alone."""
    client = replace(WEB, grant_types=["authorization_code"])

    async with connect(an_issuer(client)) as http:
        code = await obtain_code(http)
        response = await http.post("/token", data=code_parameters(code))

    assert response.status_code == 200
    assert "refresh_token" not in response.json()


async def test_audience_of_the_authorization_request_is_kept() -> None:
    """A token is for the audience that the user was asked about, and may be asked for again."""
    issuer = an_issuer(WEB)

    async with connect(issuer) as http:
        code = await obtain_code(http, resource=BILLING)
        response = await http.post("/token", data=code_parameters(code, resource=BILLING))

    assert verified_claims(response.json()["access_token"], issuer=issuer, audience=BILLING)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"code": None}, "invalid_request", id="no code"),
        pytest.param({"code": "unknown"}, "invalid_grant", id="unknown code"),
        pytest.param({"redirect_uri": None}, "invalid_request", id="no redirect URI"),
        pytest.param(
            {"redirect_uri": "http://127.0.0.1:8000/callback/"}, "invalid_grant", id="other redirect URI"
        ),
        pytest.param({"code_verifier": None}, "invalid_request", id="no verifier"),
        pytest.param({"code_verifier": "w" * 43}, "invalid_grant", id="other verifier"),
        pytest.param({"code_verifier": "v" * 42}, "invalid_request", id="verifier too short"),
        pytest.param({"code_verifier": "v" * 129}, "invalid_request", id="verifier too long"),
        pytest.param({"client_id": "other-web"}, "invalid_grant", id="other client"),
        pytest.param({"resource": BILLING}, "invalid_target", id="other audience"),
    ],
)
async def test_token_request_that_differs_in_one_thing_is_refused(
    changes: dict[str, str | None], error: str
) -> None:
    """A code is refused when any one thing of its token request is not as it was authorized."""
    async with connect(an_issuer(WEB, OTHER_WEB)) as http:
        code = await obtain_code(http)
        response = await http.post("/token", data=code_parameters(code, **changes))

    assert (response.status_code, response.json()["error"]) == (400, error)


async def test_failed_attempt_uses_the_code_up() -> None:
    """A code whose verifier was guessed wrong once is worth nothing afterwards."""
    async with connect(an_issuer(WEB)) as http:
        code = await obtain_code(http)
        await http.post("/token", data=code_parameters(code, code_verifier="w" * 43))
        response = await http.post("/token", data=code_parameters(code))

    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


async def test_code_lives_just_long_enough() -> None:
    """A code is good just before its 60 seconds are over."""
    clock = Clock()

    async with connect(an_issuer(WEB, clock=clock)) as http:
        code = await obtain_code(http)
        clock.now += 59.9
        response = await http.post("/token", data=code_parameters(code))

    assert response.status_code == 200


async def test_expired_code_is_refused() -> None:
    """A code is worth nothing once its 60 seconds are over."""
    clock = Clock()

    async with connect(an_issuer(WEB, clock=clock)) as http:
        code = await obtain_code(http)
        clock.now += 60
        response = await http.post("/token", data=code_parameters(code))

    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


async def test_code_used_twice_revokes_its_refresh_token() -> None:
    """A code that comes a second time is refused and takes the refresh token of the first time with it."""
    async with connect(an_issuer(WEB)) as http:
        code = await obtain_code(http)
        first = await http.post("/token", data=code_parameters(code))
        second = await http.post("/token", data=code_parameters(code))
        refresh = await http.post("/token", data=refresh_parameters(first.json()["refresh_token"]))

    assert (second.status_code, second.json()["error"]) == (400, "invalid_grant")
    assert (refresh.status_code, refresh.json()["error"]) == (400, "invalid_grant")


async def test_code_used_once_leaves_its_refresh_token() -> None:
    """An unknown code revokes nobody's refresh token."""
    async with connect(an_issuer(WEB)) as http:
        code = await obtain_code(http)
        first = await http.post("/token", data=code_parameters(code))
        await http.post("/token", data=code_parameters("unknown"))
        refresh = await http.post("/token", data=refresh_parameters(first.json()["refresh_token"]))

    assert refresh.status_code == 200
