"""
Token exchange (RFC 8693): for whom, by whom, and never for more.
"""

from typing import Any

import httpx
import pytest

from guardrail.issuer import Client, EmbeddedIssuer

from .builders import (
    ACCESS_TOKEN,
    BILLING,
    CALLBACK,
    NOW,
    ORDERS,
    SERVICE,
    TOKEN_EXCHANGE,
    WEB,
    Clock,
    a_gateway,
    an_issuer,
    connect,
    exchange_parameters,
    obtain_tokens,
    verified_claims,
)

pytestmark = pytest.mark.anyio

READ = ["orders:read"]


async def exchange(
    http: httpx.AsyncClient, subject_token: str, /, **changes: str | None
) -> tuple[int, dict[str, Any]]:
    """
    Exchange a token; status and answer.
    """
    response = await http.post("/token", data=exchange_parameters(subject_token, **changes))
    answer: dict[str, Any] = response.json()
    return response.status_code, answer


def token_of(issuer: EmbeddedIssuer, client: Client = SERVICE, *, lifetime: float | None = None) -> str:
    """
    Mint a token of a client's that may read orders.
    """
    return issuer.mint(client, scope=READ, audience=ORDERS, lifetime=lifetime)


async def test_exchanged_token_is_for_the_same_user_and_says_who_acts() -> None:
    """The new token has the user's subject and time, the gateway's audience, and the gateway as its actor."""
    issuer = an_issuer(WEB, a_gateway())

    async with connect(issuer) as http:
        subject_token = (await obtain_tokens(http))["access_token"]
        status, answer = await exchange(http, subject_token)

    claims = verified_claims(answer.pop("access_token"), issuer=issuer, audience=BILLING)
    assert status == 200
    assert answer == {
        "token_type": "Bearer",
        "expires_in": 600,
        "scope": "orders:read",
        "issued_token_type": ACCESS_TOKEN,
    }
    assert (claims["sub"], claims["client_id"], claims["auth_time"]) == ("alice", "gateway", int(NOW))
    assert claims["act"] == {"sub": "gateway", "client_id": "gateway"}


async def test_actors_form_a_chain_the_current_one_first() -> None:
    """Each client that exchanges comes before those that did earlier."""
    gateway, operated = a_gateway(), a_gateway("second", operator="svc-second")
    issuer = an_issuer(SERVICE, gateway, operated)

    async with connect(issuer) as http:
        _, first = await exchange(http, token_of(issuer))
        _, second = await exchange(http, first["access_token"], client_id="second")

    claims = verified_claims(second["access_token"], issuer=issuer, audience=BILLING)
    assert claims["sub"] == "orders-service"
    assert claims["act"] == {
        "sub": "svc-second",
        "client_id": "second",
        "act": {"sub": "gateway", "client_id": "gateway"},
    }


async def test_client_does_not_act_for_itself() -> None:
    """A client that exchanges its own token, or one it acts with already, adds nothing to the chain."""
    gateway = a_gateway()
    issuer = an_issuer(SERVICE, gateway)

    async with connect(issuer) as http:
        _, own = await exchange(http, token_of(issuer, gateway))
        _, first = await exchange(http, token_of(issuer))
        _, again = await exchange(http, first["access_token"])

    assert "act" not in verified_claims(own["access_token"], issuer=issuer, audience=BILLING)
    acting = verified_claims(again["access_token"], issuer=issuer, audience=BILLING)["act"]
    assert acting == {"sub": "gateway", "client_id": "gateway"}


async def test_chain_of_actors_has_an_end() -> None:
    """A fourth actor is the last: resource servers read no longer chains."""
    issuer = an_issuer(SERVICE, *(a_gateway(f"gateway-{number}") for number in range(5)))

    async with connect(issuer) as http:
        token, statuses = token_of(issuer), []
        for number in range(5):
            status, answer = await exchange(http, token, client_id=f"gateway-{number}")
            token = answer.get("access_token", token)
            statuses.append(status)

    assert statuses == [200, 200, 200, 200, 400]
    assert answer["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("changes", "scope"),
    [
        pytest.param({}, "orders:read", id="what both may"),
        pytest.param({"scope": "orders:read"}, "orders:read", id="asked for"),
    ],
)
async def test_scope_is_what_token_and_client_have_in_common(changes: dict[str, str], scope: str) -> None:
    """The gateway may do more, and gets no more than the token it brings may."""
    issuer = an_issuer(SERVICE, a_gateway())

    async with connect(issuer) as http:
        _, answer = await exchange(http, token_of(issuer), **changes)

    assert answer["scope"] == scope


async def test_token_of_a_wider_scope_does_not_widen_the_clients() -> None:
    """What the subject token may and the client may not is not in the new token."""
    issuer = an_issuer(SERVICE, a_gateway(scopes=["orders:write"]))

    async with connect(issuer) as http:
        _, answer = await exchange(http, token_of(issuer))

    assert "scope" not in answer


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"subject_token": None}, "invalid_request", id="no subject token"),
        pytest.param({"subject_token": "x.y.z"}, "invalid_request", id="unknown subject token"),
        pytest.param({"subject_token_type": None}, "invalid_request", id="no type"),
        pytest.param(
            {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"}, "invalid_request", id="type"
        ),
        pytest.param(
            {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
            "invalid_request",
            id="requested type",
        ),
        pytest.param({"actor_token": "x"}, "invalid_request", id="actor token"),
        pytest.param({"actor_token_type": ACCESS_TOKEN}, "invalid_request", id="actor token type"),
        pytest.param({"scope": "orders:write"}, "invalid_scope", id="scope the token has not"),
        pytest.param({"resource": "https://other.example.com"}, "invalid_target", id="other resource"),
        pytest.param({"client_id": "orders-service"}, "unauthorized_client", id="client without the grant"),
    ],
)
async def test_exchange_that_differs_in_one_thing_is_refused(
    changes: dict[str, str | None], error: str
) -> None:
    """An exchange that asks for something else is told why, and gets no token."""
    issuer = an_issuer(SERVICE, a_gateway())

    async with connect(issuer) as http:
        status, answer = await exchange(http, token_of(issuer), **changes)

    assert (status, answer["error"]) == (400, error)
    assert "access_token" not in answer


async def test_access_token_may_be_asked_for_by_name() -> None:
    """requested_token_type names the one kind there is, and resource the audience."""
    issuer = an_issuer(SERVICE, a_gateway())

    async with connect(issuer) as http:
        status, answer = await exchange(
            http, token_of(issuer), requested_token_type=ACCESS_TOKEN, resource=ORDERS
        )

    assert status == 200
    assert verified_claims(answer["access_token"], issuer=issuer)["aud"] == ORDERS


async def test_exchanged_token_does_not_outlive_its_subject_token() -> None:
    """The new token ends with the old one, however long the client's own would live."""
    clock = Clock()
    issuer = an_issuer(SERVICE, a_gateway(), clock=clock)

    async with connect(issuer) as http:
        token = token_of(issuer, lifetime=100)
        clock.now += 40
        _, answer = await exchange(http, token)

    claims = verified_claims(answer["access_token"], issuer=issuer, audience=BILLING)
    assert (answer["expires_in"], claims["exp"]) == (60, int(NOW) + 100)


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        pytest.param(99.0, 200, id="a second left"),
        pytest.param(99.5, 400, id="less"),
        pytest.param(100.0, 400, id="expired"),
    ],
)
async def test_subject_token_must_live_a_second(later: float, expected: int) -> None:
    """A subject token that ends now is refused like one that ended."""
    clock = Clock()
    issuer = an_issuer(SERVICE, a_gateway(), clock=clock)

    async with connect(issuer) as http:
        token = token_of(issuer, lifetime=100)
        clock.now += later
        status, _ = await exchange(http, token)

    assert status == expected


async def test_token_whose_key_is_gone_is_not_exchanged() -> None:
    """A key that was dropped takes its tokens along; one that stays published does not."""
    issuer = an_issuer(SERVICE, a_gateway())

    async with connect(issuer) as http:
        token = token_of(issuer)
        issuer.keys.rotate()
        kept, _ = await exchange(http, token)
        issuer.keys.rotate(keep_previous=False)
        gone, answer = await exchange(http, token)

    assert (kept, gone, answer["error"]) == (200, 400, "invalid_request")


async def test_token_of_another_issuer_is_refused() -> None:
    """A good token of the same name and claims from elsewhere is nothing here."""
    issuer, other = an_issuer(SERVICE, a_gateway()), an_issuer(SERVICE)

    async with connect(issuer) as http:
        status, answer = await exchange(http, token_of(other))

    assert (status, answer["error"]) == (400, "invalid_request")


async def test_user_refresh_token_revokes_exchanged_tokens_too() -> None:
    """What was exchanged ends with the grant it came of."""
    issuer = an_issuer(WEB, a_gateway())
    form = {"client_id": "web"}

    async with connect(issuer) as http:
        tokens = await obtain_tokens(http)
        _, first = await exchange(http, tokens["access_token"])
        await http.post("/revoke", data=form | {"token": tokens["refresh_token"]})
        status, answer = await exchange(http, first["access_token"])

    assert (status, answer["error"]) == (400, "invalid_request")


def test_public_client_cannot_be_registered_for_exchange() -> None:
    """Without authentication a stolen token would be good for other audiences."""
    with pytest.raises(ValueError, match="a public client cannot use urn:"):
        Client(
            "app",
            client_secret=None,
            scopes=READ,
            audiences=[ORDERS],
            grant_types=["authorization_code", TOKEN_EXCHANGE],
            redirect_uris=[CALLBACK],
        )
