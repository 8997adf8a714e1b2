"""
The contract of outbound tokens: how long a token is used, who fetches it, and who waits for it.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from guardrail.errors import TokenUnavailableError

from .loopback import PATIENCE, TLS, Answer, Party, Request, Scene, grant, refusal

pytestmark = pytest.mark.anyio


class Gate:
    """
    A token request that is answered when the test says so.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, _request: Request) -> Answer:
        self.reached.set()
        assert self.open.wait(PATIENCE)
        return self._answer


@pytest.mark.parametrize(
    ("lifetime", "earliest", "latest"),
    [
        pytest.param(3600, 3150.0, 3300.0, id="hour"),
        pytest.param(86_400, 85_950.0, 86_100.0, id="day"),
        pytest.param(1500, 1050.0, 1200.0, id="fifth-is-300"),
        pytest.param(1000, 700.0, 800.0, id="fifth-is-200"),
        pytest.param(60, 42.0, 48.0, id="minute"),
        pytest.param(25, 17.5, 20.0, id="fifth-is-5"),
        pytest.param(20, 12.5, 15.0, id="at-least-5"),
        pytest.param(12, 6.0, 7.0, id="not-before-half"),
        pytest.param(10, 5.0, 5.0, id="half-is-5"),
        pytest.param(4, 2.0, 2.0, id="half"),
    ],
)
def test_margin(party: Party, lifetime: int, earliest: float, latest: float) -> None:
    """
    A token is renewed neither before the widest margin nor after the narrowest.
    """
    scene = Scene(party, grant(expires_in=lifetime))
    scene.get()
    begin = scene.now
    scene.now = begin + earliest - 0.01
    scene.get()
    assert len(party.token_requests) == 1
    scene.now = begin + latest
    scene.get()
    scene.wait_for("token_fetched", 2)

    assert [one.token for one in party.calls] == ["token-1"] * 3
    assert [event.trigger for event in scene.named("token_fetched")] == ["missing", "aging"]


def test_the_spread_is_drawn_for_each_token(party: Party) -> None:
    """
    Fleets do not renew at once: of 32 tokens some age before the middle of the spread, some after.
    """
    scene = Scene(party, revocation_url=f"{party.origin}/revoke")
    renewed: set[int] = set()
    for _ in range(32):
        scene.events.clear()
        scene.get()
        scene.now += 3225.0
        scene.get()
        asyncio.run(scene.profile.revoke())  # waits for the renewal, if there is one
        renewed.add(len(scene.named("token_fetched")) - 1)

    assert renewed == {0, 1}


@pytest.mark.parametrize(("age", "fetches"), [(59.99, 1), (60.0, 2), (60.01, 2)])
def test_expiry(party: Party, age: float, fetches: int) -> None:
    """
    A token is used until its expiry, and no longer.
    """
    gate = Gate(grant("token-2"))
    scene = Scene(party, grant(expires_in=60), gate)
    scene.get()
    scene.now += age
    gate.open.set() if fetches == 2 else None
    scene.get()

    assert party.calls[-1].token == f"token-{fetches}"
    gate.open.set()
    scene.wait_for("token_fetched", 2)


def test_lifetime_counts_from_before_the_request(party: Party) -> None:
    """
    What an answer takes is part of its token's lifetime.
    """
    scene = Scene(party)

    def slow(_request: Request) -> Answer:
        scene.now += 50.0
        return grant(expires_in=60)

    party.answers.append(slow)
    scene.get()
    scene.now += 9.99
    party.answers.append(grant("token-2"))
    scene.get()
    scene.wait_for("token_fetched", 2)
    scene.profile.invalidate("token-2")

    assert [one.token for one in party.calls] == ["token-1", "token-1"]
    assert scene.named("token_fetched")[0].duration == 50.0


def test_a_token_that_has_expired_on_arrival_is_for_those_who_waited(party: Party) -> None:
    """
    A lifetime shorter than the answer took makes no endless loop.
    """
    scene = Scene(party)

    def slow(_request: Request) -> Answer:
        scene.now += 50.0
        return grant(expires_in=10)

    party.answers.extend([slow, grant("token-2")])
    scene.get()
    scene.get()

    assert [one.token for one in party.calls] == ["token-1", "token-2"]
    assert len(party.token_requests) == 2


def test_aging_never_waits(party: Party) -> None:
    """
    Any number of requests use an aging token while the one renewal is under way.
    """
    gate = Gate(grant("token-2"))
    scene = Scene(party, grant(), gate)
    scene.get()
    scene.now += 3400.0
    for _ in range(5):
        scene.get()
    assert gate.reached.wait(PATIENCE)

    assert [one.token for one in party.calls] == ["token-1"] * 6
    assert len(party.token_requests) == 2
    gate.open.set()
    scene.wait_for("token_fetched", 2)
    scene.get()
    assert party.calls[-1].token == "token-2"


@pytest.mark.parametrize(
    ("answer", "error", "permanent"),
    [
        pytest.param(refusal(503, "x"), "http_5xx", False, id="transient"),
        pytest.param(refusal(401), "invalid_client", True, id="permanent"),
        pytest.param(Answer(200, b"no"), "bad_response", False, id="bad-response"),
        pytest.param(Answer(302), "redirect", False, id="redirect"),
    ],
)
def test_a_failed_renewal_keeps_the_token(party: Party, answer: Answer, error: str, permanent: bool) -> None:
    """
    A renewal that fails is an event; the token is used until it expires, then the failure is told.
    """
    scene = Scene(party, grant(), answer, answer)
    scene.get()
    scene.now += 3599.0
    scene.get()
    scene.wait_for("token_fetch_failed")
    scene.get()
    scene.now += 0.4
    scene.get()

    assert [one.token for one in party.calls] == ["token-1"] * 4
    assert len(party.token_requests) == 2
    event = scene.named("token_fetch_failed")[0]
    assert (event.trigger, event.error, event.permanent, event.token_alive) == (
        "aging",
        error,
        permanent,
        True,
    )
    scene.now += 0.6 if permanent else 61.0
    with pytest.raises(TokenUnavailableError):
        scene.get()
    assert len(party.token_requests) == (2 if permanent else 3)


async def test_any_number_of_tasks(party: Party) -> None:
    """
    A hundred tasks cost one token request.
    """
    gate = Gate(grant())
    scene = Scene(party, gate)
    tasks = [asyncio.create_task(scene.profile.token()) for _ in range(100)]
    await asyncio.to_thread(gate.reached.wait, PATIENCE)
    gate.open.set()

    assert await asyncio.gather(*tasks) == ["token-1"] * 100
    assert len(party.token_requests) == 1


def test_any_number_of_threads_and_loops(party: Party) -> None:
    """
    Threads with clients and threads with event loops of their own cost one token request together.
    """
    gate = Gate(grant())
    scene = Scene(party, gate)
    workers = 16
    together = threading.Barrier(workers + 1)

    def work(number: int) -> str:
        together.wait(PATIENCE)
        return (
            asyncio.run(scene.profile.token()) if number % 2 else scene.get().request.headers["authorization"]
        )

    with ThreadPoolExecutor(workers) as pool:
        results = [pool.submit(work, number) for number in range(workers)]
        together.wait(PATIENCE)
        assert gate.reached.wait(PATIENCE)
        gate.open.set()
        found = {one.result(PATIENCE).removeprefix("Bearer ") for one in results}

    assert found == {"token-1"}
    assert len(party.token_requests) == 1


@pytest.mark.parametrize("cancelled", [[0], [1], [0, 1, 2]], ids=["first", "second", "all-but-one"])
async def test_cancelling_who_waits_cancels_nothing(party: Party, cancelled: list[int]) -> None:
    """
    The fetch goes on, whoever gives up, the first one too.
    """
    gate = Gate(grant())
    scene = Scene(party, gate)
    tasks = [asyncio.create_task(scene.profile.token()) for _ in range(4)]
    await asyncio.to_thread(gate.reached.wait, PATIENCE)
    for number in cancelled:
        tasks[number].cancel()
    await asyncio.sleep(0)
    gate.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)

    for number, one in enumerate(found):
        assert isinstance(one, asyncio.CancelledError) if number in cancelled else one == "token-1"
    assert await scene.profile.token() == "token-1"
    assert len(party.token_requests) == 1


async def test_a_failure_goes_to_all_who_wait(party: Party) -> None:
    """
    Each gets an exception of its own, from one request.
    """
    gate = Gate(refusal(401, "invalid_client"))
    scene = Scene(party, gate)
    tasks = [asyncio.create_task(scene.profile.token()) for _ in range(5)]
    await asyncio.to_thread(gate.reached.wait, PATIENCE)
    gate.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert [getattr(one, "error", None) for one in found] == ["invalid_client"] * 5
    assert len({id(one) for one in found}) == 5
    assert len(party.token_requests) == len(scene.named("token_fetch_failed")) == 1


@pytest.mark.parametrize("answer", [refusal(503, "x"), refusal(400, "x")], ids=["transient", "permanent"])
async def test_one_probe_after_a_pause(party: Party, answer: Answer) -> None:
    """
    After the pause one request is made, whoever waits for it, and if that fails none but that.
    """
    gate = Gate(answer)
    scene = Scene(party, answer, gate)
    with pytest.raises(TokenUnavailableError) as raised:
        await scene.profile.token()
    scene.now += raised.value.retry_after or 0.0
    tasks = [asyncio.create_task(scene.profile.token()) for _ in range(20)]
    await asyncio.to_thread(gate.reached.wait, PATIENCE)
    gate.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(TokenUnavailableError):
        await scene.profile.token()

    assert {type(one) for one in found} == {TokenUnavailableError}
    assert len(party.token_requests) == 2


async def test_the_event_loop_runs_meanwhile(party: Party) -> None:
    """
    A callable, a token request and a listener that take their time hold up no other task.
    """
    go_on = threading.Event()

    def secret() -> str:
        assert go_on.wait(PATIENCE)
        return "s"

    scene = Scene(party, client_secret=secret)
    async with httpx.AsyncClient(auth=scene.profile, base_url=party.origin, verify=TLS) as client:
        call = asyncio.create_task(client.get("/api"))
        for _ in range(50):
            await asyncio.sleep(0)
        go_on.set()

        assert (await call).status_code == 200


@pytest.mark.parametrize(
    ("value", "fetches"),
    [("token-1", 2), ("token-2", 1), ("", 1), ("Bearer token-1", 1)],
    ids=["this", "another", "empty", "header"],
)
def test_invalidate(party: Party, value: str, fetches: int) -> None:
    """
    Only the very token in hand is forgotten; the next fetch says why.
    """
    scene = Scene(party)
    scene.get()
    scene.profile.invalidate(value)
    scene.get()

    assert len(party.token_requests) == fetches
    triggers = [event.trigger for event in scene.named("token_fetched")]
    assert triggers == ["missing", "invalidated"][:fetches]


def test_an_expired_token_is_not_sent_while_the_server_is_down(party: Party) -> None:
    """
    Without a token a request is not sent.
    """
    scene = Scene(party, grant(), refusal(503, "x"))
    scene.get()
    scene.now += 3600.0

    with pytest.raises(TokenUnavailableError):
        scene.get()

    assert len(party.calls) == 1
    event = scene.named("token_fetch_failed")[0]
    assert (event.trigger, event.token_alive) == ("expired", False)


def rotating(*tokens: str | None) -> list[Answer]:
    """
    Grants, each with a refresh token or none.
    """
    return [grant(f"token-{n}", refresh_token=one) for n, one in enumerate(tokens, 1)]


@pytest.mark.parametrize(
    ("answers", "sent", "stored"),
    [
        pytest.param(["r2", "r3"], ["r1", "r2"], ["r2", "r3"], id="rotated"),
        pytest.param([None, None], ["r1", "r1"], [], id="kept"),
        pytest.param(["r1", "r1"], ["r1", "r1"], [], id="same"),
        pytest.param(["r2", None], ["r1", "r2"], ["r2"], id="rotated-once"),
        pytest.param(["", "r3"], ["r1", "r1"], ["r3"], id="empty"),
    ],
)
def test_refresh_tokens(party: Party, answers: list[Any], sent: list[str], stored: list[str]) -> None:
    """
    A new refresh token replaces the old one and is given to be stored; without one the old one is kept.
    """
    kept: list[str] = []
    scene = Scene(party, *rotating(*answers), refresh_token="r1", on_refresh_token=kept.append)
    for _ in answers:
        scene.get()
        scene.now += 3600.0

    assert [dict(one.form)["refresh_token"] for one in party.token_requests] == sent
    assert kept == stored
    assert len(scene.named("refresh_token_rotated")) == len(stored)


def test_a_refresh_token_is_stored_before_its_token_is_used(party: Party) -> None:
    """
    When *on_refresh_token* is called the API has not seen the new access token.
    """
    seen: list[int] = []
    scene = Scene(
        party,
        *rotating("r2"),
        refresh_token="r1",
        on_refresh_token=lambda _new: seen.append(len(party.calls)),
    )
    scene.get()

    assert seen == [0]
    assert len(party.calls) == 1


def test_invalid_grant_is_for_good(party: Party) -> None:
    """
    A refresh token that was taken back is not tried again, ever; the living access token is used to its end.
    """
    scene = Scene(party, grant(), refusal(400, "invalid_grant"), refresh_token="r1")
    scene.get()
    scene.now += 3500.0
    scene.get()
    scene.wait_for("token_fetch_failed")
    scene.get()
    scene.now += 100.0
    failures: list[TokenUnavailableError] = []
    for _ in range(3):
        scene.now += 10_000.0
        with pytest.raises(TokenUnavailableError) as raised:
            scene.get()
        failures.append(raised.value)

    assert [one.token for one in party.calls] == ["token-1"] * 3
    assert len(party.token_requests) == 2
    assert {(one.error, one.permanent, one.retry_after) for one in failures} == {
        ("invalid_grant", True, None)
    }


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        pytest.param({"refresh_token": "r1"}, refusal(400, "invalid_client"), id="another-error"),
        pytest.param({"refresh_token": "r1"}, refusal(503, "invalid_grant"), id="another-status"),
        pytest.param({"subject_token": "s1"}, refusal(400, "invalid_grant"), id="exchange"),
        pytest.param({}, refusal(400, "invalid_grant"), id="client-credentials"),
    ],
)
def test_other_failures_are_not_for_good(party: Party, arguments: dict[str, Any], answer: Answer) -> None:
    """
    Whatever else a server refuses is asked for again.
    """
    scene = Scene(party, answer, **arguments)
    with pytest.raises(TokenUnavailableError):
        scene.get()
    scene.now += 60.0

    assert scene.get().status_code == 200


def _never(_new: str) -> None:
    raise ValueError("the disk is full: r2")


@pytest.mark.parametrize("store", [_never, None], ids=["raises", "none"])
def test_a_refresh_token_that_cannot_be_stored(party: Party, store: Callable[[str], None] | None) -> None:
    """
    The access token that came with it is not used, and what was raised, which may quote it, is not told.
    """
    scene = Scene(party, *rotating("r2"), refresh_token="r1", on_refresh_token=store)
    if store is None:
        assert scene.get().status_code == 200
        return
    with pytest.raises(TokenUnavailableError) as raised:
        scene.get()

    assert party.calls == []
    assert "r2" not in f"{raised.value!r}{raised.value.__cause__!r}{raised.value.__context__!r}"
    assert raised.value.permanent is False
