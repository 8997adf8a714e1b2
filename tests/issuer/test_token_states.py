"""
Revocation (RFC 7009) and introspection (RFC 7662).
"""

from dataclasses import replace

import pytest

from guardrail.issuer._access_tokens import CAPACITY, AccessTokens, IssuedToken

from .builders import (
    BILLING,
    NOW,
    ORDERS,
    OTHER_WEB,
    SECRET,
    SERVICE,
    URL,
    WEB,
    Clock,
    a_gateway,
    an_issuer,
    basic,
    code_parameters,
    connect,
    introspect,
    obtain_code,
    obtain_tokens,
    refresh_parameters,
)

pytestmark = pytest.mark.anyio

INACTIVE = {"active": False}
SERVICE_HEADERS = basic("orders-service", SECRET)


async def test_live_token_is_active_and_told_whole() -> None:
    """Introspection tells everything that the token says, uncached."""
    issuer = an_issuer(SERVICE)
    token = issuer.mint(SERVICE, scope=["orders:read"], audience=ORDERS)

    async with connect(issuer) as http:
        response = await http.post("/introspect", data={"token": token}, headers=SERVICE_HEADERS)

    answer = response.json()
    assert answer.pop("jti")
    assert response.headers["cache-control"] == "no-store"
    assert answer == {
        "active": True,
        "token_type": "Bearer",
        "iss": URL,
        "sub": "orders-service",
        "aud": ORDERS,
        "client_id": "orders-service",
        "scope": "orders:read",
        "iat": int(NOW),
        "exp": int(NOW) + 600,
    }


async def test_everything_else_is_inactive_and_nothing_more() -> None:
    """Unknown, expired and refresh tokens, and those of a dropped key, get one and the same answer."""
    clock = Clock()
    issuer = an_issuer(SERVICE, WEB, clock=clock)

    async with connect(issuer) as http:
        refresh_token = (await obtain_tokens(http))["refresh_token"]
        expired = issuer.mint(SERVICE, scope=(), audience=ORDERS, lifetime=60)
        clock.now += 60
        dropped = issuer.mint(SERVICE, scope=(), audience=ORDERS)
        issuer.keys.rotate(keep_previous=False)
        other = an_issuer(SERVICE).mint(SERVICE, scope=(), audience=ORDERS)
        answers = [await introspect(http, token) for token in ("x", refresh_token, expired, dropped, other)]

    assert answers == [INACTIVE] * 5


@pytest.mark.parametrize(
    ("audiences", "is_active"),
    [
        pytest.param([ORDERS, BILLING], True, id="its audience"),
        pytest.param([BILLING], False, id="another's audience"),
    ],
)
async def test_token_is_told_of_to_its_audience_alone(audiences: list[str], is_active: bool) -> None:
    """A client that is not the token's, and could not have its audience, learns nothing."""
    issuer = an_issuer(replace(SERVICE, audiences=audiences), WEB)

    async with connect(issuer) as http:
        answer = await introspect(http, (await obtain_tokens(http))["access_token"])

    assert answer["active"] is is_active
    assert ("sub" in answer) is is_active


async def test_token_for_several_audiences_is_told_of_to_each() -> None:
    """One of a token's audiences is enough."""
    asker = a_gateway("asker", audiences=[BILLING])
    form = {"grant_type": "client_credentials", "resource": [ORDERS, BILLING]}

    async with connect(an_issuer(SERVICE, asker)) as http:
        token = (await http.post("/token", data=form, headers=SERVICE_HEADERS)).json()["access_token"]
        response = await http.post("/introspect", data={"token": token}, headers=basic("asker", SECRET))

    assert response.json()["active"] is True


async def test_own_token_is_told_of_whatever_its_audience() -> None:
    """A client may ask of its own token, as one that a test minted for elsewhere."""
    issuer = an_issuer(SERVICE)
    token = issuer.mint(SERVICE, scope=(), audience="https://elsewhere.example.com")

    async with connect(issuer) as http:
        answer = await introspect(http, token)

    assert answer["active"] is True


@pytest.mark.parametrize("path", ["/introspect", "/revoke"])
@pytest.mark.parametrize(
    ("form", "headers", "status", "error"),
    [
        pytest.param({"token": "x"}, {}, 401, "invalid_client", id="nobody"),
        pytest.param(
            {"token": "x"}, basic("orders-service", "wrong"), 401, "invalid_client", id="wrong secret"
        ),
        pytest.param({"token": "x"}, basic("nobody", SECRET), 401, "invalid_client", id="unknown client"),
        pytest.param({}, SERVICE_HEADERS, 400, "invalid_request", id="no token"),
        pytest.param({"token": ""}, SERVICE_HEADERS, 400, "invalid_request", id="empty token"),
    ],
)
async def test_request_without_client_or_token_is_refused(
    path: str, form: dict[str, str], headers: dict[str, str], status: int, error: str
) -> None:
    """Both endpoints want an authenticated client and a token."""
    async with connect(an_issuer(SERVICE)) as http:
        response = await http.post(path, data=form, headers=headers)

    assert (response.status_code, response.json()["error"]) == (status, error)


async def test_public_client_may_not_introspect() -> None:
    """An identifier that anybody may send is no authorization."""
    async with connect(an_issuer(WEB)) as http:
        token = (await obtain_tokens(http))["access_token"]
        response = await http.post("/introspect", data={"client_id": "web", "token": token})

    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


async def test_revoked_access_token_is_inactive() -> None:
    """A revoked access token ends, and another one does not."""
    issuer = an_issuer(SERVICE)
    token, other = (issuer.mint(SERVICE, scope=(), audience=ORDERS) for _ in range(2))

    async with connect(issuer) as http:
        response = await http.post("/revoke", data={"token": token}, headers=SERVICE_HEADERS)
        answers = [await introspect(http, token), await introspect(http, other)]

    assert (response.status_code, response.content) == (200, b"")
    assert [answer["active"] for answer in answers] == [False, True]


@pytest.mark.parametrize(
    "which",
    [
        pytest.param("latest", id="latest refresh token"),
        pytest.param("used", id="used refresh token"),
    ],
)
async def test_revoked_refresh_token_takes_its_family_along(which: str) -> None:
    """With a refresh token end the family's later ones and all of its access tokens."""
    async with connect(an_issuer(SERVICE, WEB)) as http:
        first = await obtain_tokens(http)
        second = (await http.post("/token", data=refresh_parameters(first["refresh_token"]))).json()
        token = {"latest": second, "used": first}[which]["refresh_token"]
        response = await http.post("/revoke", data={"client_id": "web", "token": token})
        refused = await http.post("/token", data=refresh_parameters(second["refresh_token"]))
        answers = [await introspect(http, tokens["access_token"]) for tokens in (first, second)]

    assert (response.status_code, response.content) == (200, b"")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert answers == [INACTIVE, INACTIVE]


async def test_revoked_access_token_leaves_its_family() -> None:
    """An access token is revoked alone: the client can refresh."""
    async with connect(an_issuer(WEB)) as http:
        tokens = await obtain_tokens(http)
        await http.post("/revoke", data={"client_id": "web", "token": tokens["access_token"]})
        response = await http.post("/token", data=refresh_parameters(tokens["refresh_token"]))

    assert response.status_code == 200


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_token_of_another_client_is_not_revoked(kind: str) -> None:
    """Another client gets the same answer, and nothing happens."""
    async with connect(an_issuer(SERVICE, WEB, OTHER_WEB)) as http:
        tokens = await obtain_tokens(http)
        response = await http.post("/revoke", data={"client_id": "other-web", "token": tokens[kind]})
        answer = await introspect(http, tokens["access_token"])
        refreshed = await http.post("/token", data=refresh_parameters(tokens["refresh_token"]))

    assert (response.status_code, response.content) == (200, b"")
    assert (answer["active"], refreshed.status_code) == (True, 200)


@pytest.mark.parametrize("token", ["x", "x.y", ".", "\N{SNOWMAN}"])
async def test_unknown_token_is_revoked_already(token: str) -> None:
    """What is no token is answered like one that was, whatever kind it is said to be."""
    form = {"token": token, "token_type_hint": "refresh_token"}

    async with connect(an_issuer(SERVICE)) as http:
        response = await http.post("/revoke", data=form, headers=SERVICE_HEADERS)

    assert (response.status_code, response.content) == (200, b"")


async def test_used_refresh_token_ends_access_tokens_too() -> None:
    """Reuse is theft: what the family has in hand ends with it, and other families do not."""
    async with connect(an_issuer(SERVICE, WEB)) as http:
        stolen, other = await obtain_tokens(http), await obtain_tokens(http)
        for _ in range(2):
            await http.post("/token", data=refresh_parameters(stolen["refresh_token"]))
        answers = [await introspect(http, tokens["access_token"]) for tokens in (stolen, other)]

    assert [answer["active"] for answer in answers] == [False, True]


async def test_used_code_ends_access_tokens_too() -> None:
    """A code that comes a second time ends what came of it (RFC 6749 §4.1.2), refresh token or not."""
    client = replace(WEB, grant_types=["authorization_code"])

    async with connect(an_issuer(SERVICE, client)) as http:
        code = await obtain_code(http)
        first = (await http.post("/token", data=code_parameters(code))).json()
        before = await introspect(http, first["access_token"])
        await http.post("/token", data=code_parameters(code))
        after = await introspect(http, first["access_token"])

    assert before["active"] is True
    assert after == INACTIVE


def an_issued_token(family: str | None = None) -> IssuedToken:
    """
    Build what is known of a token that lives for a minute.
    """
    return IssuedToken({"sub": "alice"}, expires_at=NOW + 60, family=family, kid=None)


def test_access_tokens_are_bounded_and_what_is_forgotten_is_not_good() -> None:
    """The oldest token gives way, and counts as revoked."""
    tokens = AccessTokens(clock=Clock())

    for number in range(CAPACITY + 1):
        tokens.keep(str(number), an_issued_token())

    assert len(tokens._issued) == CAPACITY
    assert tokens.find("1").claims == {"sub": "alice"}
    with pytest.raises(KeyError):
        tokens.find("0")


def test_memory_holds_no_access_token() -> None:
    """What is kept of an access token does not open anything."""
    tokens = AccessTokens(clock=Clock())

    tokens.keep("the-token", an_issued_token("the-family"))

    assert "the-token" not in str(dict(tokens._issued))
    assert "the-family" not in repr(an_issued_token("the-family"))


def test_revoking_what_is_not_there_does_nothing() -> None:
    """An unknown token and an unknown family end nobody's."""
    tokens = AccessTokens(clock=Clock())
    tokens.keep("one", an_issued_token("family"))

    tokens.revoke("two")
    tokens.revoke_family("other")

    assert tokens.find("one") == an_issued_token("family")
