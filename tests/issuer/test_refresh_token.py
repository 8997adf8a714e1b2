"""
The refresh token grant: rotation, reuse, binding and narrowing.
"""

import pytest

from .builders import (
    BILLING,
    NOW,
    OTHER_WEB,
    WEB,
    Clock,
    an_issuer,
    connect,
    obtain_tokens,
    refresh_parameters,
    verified_claims,
)

pytestmark = pytest.mark.anyio


async def test_refresh_brings_a_token_for_the_same_user_and_a_new_refresh_token() -> None:
    """A refresh brings the user's token anew, with the time the user decided, and another refresh token."""
    clock = Clock()
    issuer = an_issuer(WEB, clock=clock)

    async with connect(issuer) as http:
        tokens = await obtain_tokens(http)
        clock.now += 300
        response = await http.post("/token", data=refresh_parameters(tokens["refresh_token"]))

    answer = response.json()
    claims = verified_claims(answer["access_token"], issuer=issuer)
    assert answer["refresh_token"] != tokens["refresh_token"]
    assert (claims["sub"], claims["client_id"], claims["scope"]) == ("alice", "web", "orders:read")
    assert (claims["auth_time"], claims["iat"]) == (int(NOW), int(NOW) + 300)


async def test_new_refresh_token_is_good() -> None:
    """The refresh token of a refresh can be used in turn."""
    async with connect(an_issuer(WEB)) as http:
        tokens = await obtain_tokens(http)
        first = await http.post("/token", data=refresh_parameters(tokens["refresh_token"]))
        second = await http.post("/token", data=refresh_parameters(first.json()["refresh_token"]))

    assert second.status_code == 200


async def test_used_refresh_token_revokes_its_family() -> None:
    """A refresh token that comes a second time is refused and takes its successor with it."""
    async with connect(an_issuer(WEB)) as http:
        tokens = await obtain_tokens(http)
        first = await http.post("/token", data=refresh_parameters(tokens["refresh_token"]))
        reused = await http.post("/token", data=refresh_parameters(tokens["refresh_token"]))
        successor = await http.post("/token", data=refresh_parameters(first.json()["refresh_token"]))

    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    assert (successor.status_code, successor.json()["error"]) == (400, "invalid_grant")


async def test_revoked_family_leaves_other_families() -> None:
    """The reuse of one refresh token does not revoke what the user allowed another time."""
    async with connect(an_issuer(WEB)) as http:
        reused, other = await obtain_tokens(http), await obtain_tokens(http)
        for _ in range(2):
            await http.post("/token", data=refresh_parameters(reused["refresh_token"]))
        response = await http.post("/token", data=refresh_parameters(other["refresh_token"]))

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"refresh_token": None}, "invalid_request", id="none"),
        pytest.param({"refresh_token": "unknown"}, "invalid_grant", id="unknown"),
        pytest.param({"refresh_token": "un.known"}, "invalid_grant", id="unknown with a dot"),
        pytest.param({"client_id": "other-web"}, "invalid_grant", id="other client"),
        pytest.param({"scope": "orders:read orders:write"}, "invalid_scope", id="wider scope"),
        pytest.param({"audience": BILLING}, "invalid_target", id="other audience"),
    ],
)
async def test_refused_refresh_does_not_use_the_token_up(changes: dict[str, str | None], error: str) -> None:
    """A refresh that differs in one thing is refused, and the rightful client can still refresh."""
    async with connect(an_issuer(WEB, OTHER_WEB)) as http:
        tokens = await obtain_tokens(http)
        refused = await http.post("/token", data=refresh_parameters(tokens["refresh_token"], **changes))
        response = await http.post("/token", data=refresh_parameters(tokens["refresh_token"]))

    assert (refused.status_code, refused.json()["error"]) == (400, error)
    assert response.status_code == 200


async def test_scope_may_narrow_and_widen_back_to_the_grant() -> None:
    """A refresh may ask for less; the next may ask for all again, for the grant is unchanged."""
    async with connect(an_issuer(WEB)) as http:
        tokens = await obtain_tokens(http, scope="orders:read orders:write")
        narrow = await http.post(
            "/token", data=refresh_parameters(tokens["refresh_token"], scope="orders:read")
        )
        whole = await http.post("/token", data=refresh_parameters(narrow.json()["refresh_token"]))

    assert narrow.json()["scope"] == "orders:read"
    assert whole.json()["scope"] == "orders:read orders:write"


async def test_refresh_token_lives_just_long_enough() -> None:
    """A refresh token is good just before its lifetime is over."""
    clock = Clock()

    async with connect(an_issuer(WEB, clock=clock)) as http:
        tokens = await obtain_tokens(http)
        clock.now += WEB.refresh_token_lifetime - 0.1
        response = await http.post("/token", data=refresh_parameters(tokens["refresh_token"]))

    assert response.status_code == 200


async def test_expired_refresh_token_is_refused() -> None:
    """A refresh token is worth nothing once its lifetime is over."""
    clock = Clock()

    async with connect(an_issuer(WEB, clock=clock)) as http:
        tokens = await obtain_tokens(http)
        clock.now += WEB.refresh_token_lifetime
        response = await http.post("/token", data=refresh_parameters(tokens["refresh_token"]))

    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
