"""
The token endpoint misbehaves when told to, and by nobody but a program on this machine.
"""

import httpx
import pytest

from guardrail.issuer import EmbeddedIssuer, Fault, Faults

from .builders import (
    NOW,
    ORDERS,
    SECRET,
    SERVICE,
    URL,
    Clock,
    an_issuer,
    connect,
    introspect,
    verified_claims,
)

pytestmark = pytest.mark.anyio

GOOD = {"grant_type": "client_credentials", "client_id": "orders-service", "client_secret": SECRET}


async def ask(http: httpx.AsyncClient) -> httpx.Response:
    """
    Make a good token request.
    """
    return await http.post("/token", data=GOOD)


async def test_issuer_serves_as_it_should_until_it_is_told_otherwise() -> None:
    """Without a fault there is none, and a cleared one is none."""
    issuer = an_issuer(SERVICE)

    async with connect(issuer) as http:
        before = await ask(http)
        issuer.faults.inject(Fault("unavailable"))
        during = await ask(http)
        issuer.faults.clear()
        after = await ask(http)

    assert [response.status_code for response in (before, during, after)] == [200, 503, 200]


@pytest.mark.parametrize(
    ("times", "statuses"),
    [
        pytest.param(1, [503, 200, 200, 200], id="one"),
        pytest.param(3, [503, 503, 503, 200], id="three"),
        pytest.param(None, [503, 503, 503, 503], id="all"),
    ],
)
async def test_fault_lasts_as_many_requests_as_asked_for(times: int | None, statuses: list[int]) -> None:
    """One, several or all following token requests meet the fault."""
    issuer = an_issuer(SERVICE)
    issuer.faults.inject(Fault("unavailable"), times=times)

    async with connect(issuer) as http:
        found = [(await ask(http)).status_code for _ in statuses]

    assert found == statuses


async def test_only_token_requests_meet_the_fault() -> None:
    """Keys, metadata, preflights and the other endpoints are served, and use the fault up no more."""
    issuer = an_issuer(SERVICE)
    token = issuer.mint(SERVICE, scope=(), audience=ORDERS)
    issuer.faults.inject(Fault("unavailable"), times=1)

    async with connect(issuer) as http:
        others = [await http.get("/jwks"), await http.options("/token"), await http.get("/token")]
        answer = await introspect(http, token)
        response = await ask(http)

    assert [other.status_code for other in others] == [200, 204, 405]
    assert answer["active"] is True
    assert response.status_code == 503


@pytest.mark.parametrize(
    ("fault", "status", "retry_after"),
    [
        pytest.param(Fault("rate_limited"), 429, "5", id="429"),
        pytest.param(Fault("rate_limited", 30), 429, "30", id="429 for 30 seconds"),
        pytest.param(Fault("rate_limited", 0.2), 429, "1", id="429 for a moment"),
        pytest.param(Fault("unavailable"), 503, None, id="503"),
        pytest.param(Fault("unavailable", 7), 503, "7", id="503 for 7 seconds"),
    ],
)
async def test_refusals_say_when_to_come_again(fault: Fault, status: int, retry_after: str | None) -> None:
    """429 and 503 have an OAuth body, and a Retry-After of whole seconds when they have one."""
    issuer = an_issuer(SERVICE)
    issuer.faults.inject(fault)

    async with connect(issuer) as http:
        response = await ask(http)

    assert (response.status_code, response.headers.get("retry-after")) == (status, retry_after)
    assert response.json()["error"] == "temporarily_unavailable"


async def test_slow_answer_is_right_and_late() -> None:
    """The right answer comes after the delay, and only then is the token minted."""
    clock = Clock()

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    issuer = EmbeddedIssuer(
        URL, clients=[SERVICE], algorithm="ES256", clock=clock, faults=Faults(sleep=sleep)
    )
    issuer.faults.inject(Fault("slow", 12))

    async with connect(issuer) as http:
        response = await ask(http)

    assert verified_claims(response.json()["access_token"], issuer=issuer)["iat"] == int(NOW) + 12


async def test_short_lived_token_lives_as_long_as_it_says() -> None:
    """The token's exp and expires_in agree, and introspection with them."""
    clock = Clock()
    issuer = an_issuer(SERVICE, clock=clock)
    issuer.faults.inject(Fault("short_lived", 2))

    async with connect(issuer) as http:
        answer = (await ask(http)).json()
        clock.now += 1
        alive = await introspect(http, answer["access_token"])
        clock.now += 1
        over = await introspect(http, answer["access_token"])

    assert answer["expires_in"] == 2
    assert verified_claims(answer["access_token"], issuer=issuer)["exp"] == int(NOW) + 2
    assert (alive["active"], over["active"]) == (True, False)


async def test_short_life_never_makes_a_token_live_longer() -> None:
    """A client whose tokens live shorter keeps them short."""
    issuer = an_issuer(SERVICE)
    issuer.faults.inject(Fault("short_lived", 3600))

    async with connect(issuer) as http:
        response = await ask(http)

    assert response.json()["expires_in"] == 600


async def test_opaque_token_says_nothing_and_can_be_introspected() -> None:
    """An opaque token is no JWT, comes without expires_in, and is known to the issuer."""
    issuer = an_issuer(SERVICE)
    issuer.faults.inject(Fault("opaque"))

    async with connect(issuer) as http:
        answer = (await ask(http)).json()
        issuer.keys.rotate(keep_previous=False)
        known = await introspect(http, answer["access_token"])

    assert answer.keys() == {"access_token", "token_type", "scope"}
    assert "." not in answer["access_token"]
    assert (known["active"], known["exp"]) == (True, int(NOW) + 600)


async def test_answer_that_is_not_json_has_status_200() -> None:
    """A page, as captive portals serve it."""
    issuer = an_issuer(SERVICE)
    issuer.faults.inject(Fault("not_json"))

    async with connect(issuer) as http:
        response = await ask(http)

    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.text.startswith("<!doctype html>")


async def test_redirect_would_have_the_request_sent_again() -> None:
    """A client that follows the redirect sends its secret again, and nowhere else than here."""
    issuer = an_issuer(SERVICE, url=f"{URL}/tenants/a/")
    issuer.faults.inject(Fault("redirect"), times=1)

    async with connect(issuer) as http:
        response = await ask(http)
        followed = await http.post(response.headers["location"], data=GOOD)

    assert (response.status_code, response.headers["location"]) == (307, f"{URL}/tenants/a/token")
    assert followed.status_code == 200


@pytest.mark.parametrize(
    ("form", "answer", "statuses"),
    [
        pytest.param(
            {"fault": "rate_limited", "seconds": "30", "times": "1"},
            {"fault": "rate_limited", "seconds": 30.0, "times": 1},
            [429, 200],
            id="once",
        ),
        pytest.param(
            {"fault": "unavailable"},
            {"fault": "unavailable", "seconds": None, "times": None},
            [503, 503],
            id="from now on",
        ),
        pytest.param({"fault": "none"}, {"fault": "none"}, [200, 200], id="none"),
    ],
)
async def test_program_on_this_machine_injects_faults(
    form: dict[str, str], answer: dict[str, object], statuses: list[int]
) -> None:
    """POST /faults does what Faults.inject and Faults.clear do, in place of what was."""
    issuer = an_issuer(SERVICE)
    issuer.faults.inject(Fault("redirect"))

    async with connect(issuer) as http:
        response = await http.post("/faults", data=form)
        found = [(await ask(http)).status_code for _ in statuses]

    assert response.json() == answer
    assert found == statuses


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"fault": "other"}, id="unknown fault"),
        pytest.param({"fault": "slow", "seconds": "x"}, id="seconds are no number"),
        pytest.param({"fault": "slow", "seconds": "nan"}, id="not a number"),
        pytest.param({"fault": "slow", "seconds": "0"}, id="no seconds"),
        pytest.param({"fault": "slow", "seconds": "60.1"}, id="waits too long"),
        pytest.param({"fault": "rate_limited", "seconds": "3601"}, id="too long"),
        pytest.param({"fault": "opaque", "seconds": "1"}, id="seconds for nothing"),
        pytest.param({"fault": "slow", "times": "0"}, id="no times"),
        pytest.param({"fault": "slow", "times": "-1"}, id="times below zero"),
        pytest.param({"fault": "slow", "times": "1.5"}, id="times is no whole number"),
        pytest.param({"fault": "slow", "times": "1" * 7}, id="times is huge"),
    ],
)
async def test_unknown_fault_is_refused_and_changes_nothing(form: dict[str, str]) -> None:
    """A fault that there is not leaves what was."""
    issuer = an_issuer(SERVICE)
    issuer.faults.inject(Fault("redirect"))

    async with connect(issuer) as http:
        response = await http.post("/faults", data=form)
        after = await ask(http)

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert '"' not in response.json()["error_description"]
    assert after.status_code == 307


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        pytest.param("192.0.2.1", {}, id="other machine"),
        pytest.param("127.0.0.1", {"Origin": URL}, id="web page"),
        pytest.param("127.0.0.1", {"Origin": "null"}, id="web page without origin"),
        pytest.param("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, id="proxy"),
        pytest.param("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, id="standard proxy"),
    ],
)
async def test_nobody_else_injects_faults(peer: str, headers: dict[str, str]) -> None:
    """Neither the network nor a web page breaks the token endpoint."""
    issuer = an_issuer(SERVICE)

    async with connect(issuer, peer=peer) as http:
        response = await http.post("/faults", data={"fault": "unavailable"}, headers=headers)
        after = await ask(http)

    assert (response.status_code, response.json()["error"]) == (403, "access_denied")
    assert after.status_code == 200


async def test_reading_request_injects_nothing() -> None:
    """A GET, which any page can have sent, changes nothing."""
    async with connect(an_issuer(SERVICE)) as http:
        response = await http.get("/faults", params={"fault": "unavailable"})
        after = await ask(http)

    assert (response.status_code, after.status_code) == (405, 200)


@pytest.mark.parametrize(
    ("kind", "seconds", "message"),
    [
        pytest.param("other", None, "a fault is one of rate_limited, unavailable, slow", id="unknown"),
        pytest.param("not_json", 1.0, "seconds are for rate_limited, unavailable, slow", id="no seconds"),
        pytest.param("slow", 61.0, "at most 60 for this fault", id="waits too long"),
        pytest.param("short_lived", 0.0, "more than 0 and at most 3600", id="no life"),
    ],
)
def test_wrong_fault_is_refused(kind: str, seconds: float | None, message: str) -> None:
    """The message has the right form."""
    with pytest.raises(ValueError, match=message):
        Fault(kind, seconds)


@pytest.mark.parametrize("kind", Fault.KINDS)
def test_each_kind_of_fault_needs_nothing_further(kind: str) -> None:
    """A fault has its defaults, and another of its kind is equal."""
    assert Fault(kind) == Fault(kind)


@pytest.mark.parametrize("times", [0, -1])
def test_fault_of_no_requests_is_refused(times: int) -> None:
    """A fault lasts one request or more."""
    with pytest.raises(ValueError, match="times must be 1 or more"):
        Faults().inject(Fault("slow"), times=times)
