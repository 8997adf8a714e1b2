"""
What an attacker tried on key sets, and what became of it: each test is named after what went wrong before.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from guardrail import Fetching, Issuer
from guardrail._fetch import fetch
from guardrail._flights import MAX_WAITING, running_timeout
from guardrail._freshness import max_age_of
from guardrail._jwks import RemoteKeySet
from guardrail._key_state import KeyState
from guardrail._keys import Selection, read_jwk_set
from guardrail.errors import UnavailableError, UnknownKeyError
from guardrail.events import Event, KeysFetched, KeySkipped, KeysRotated
from guardrail.issuer import SigningKeys

pytestmark = pytest.mark.anyio

ISSUER = "https://login.example.com"
JWKS_URI = "https://login.example.com/jwks"


class World:
    """
    A key set and an issuer of which a test says what it answers.
    """

    def __init__(self, **limits: Any) -> None:
        self.now = 1_000.0
        self.events: list[Event] = []
        self.keys: list[dict[str, Any]] = [new_jwk("a"), new_jwk("b")]
        self.body: bytes | None = None
        self.is_down = False
        self.fetches = 0
        self.hold: Callable[[], Awaitable[Any]] | None = None
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._respond))
        issuer = Issuer(ISSUER, jwks_uri=JWKS_URI, http_client=client, fetching=Fetching(**limits))
        self.key_set = RemoteKeySet(
            issuer, emit=self.events.append, monotonic=lambda: self.now, jitter=lambda: 0.5
        )

    async def _respond(self, request: httpx.Request) -> httpx.Response:
        self.fetches += 1
        answer = httpx.Response(200, json={"keys": self.keys})
        if self.body is not None:
            answer = httpx.Response(200, content=self.body)
        if self.is_down:
            answer = httpx.Response(503)
        if self.hold is not None:
            await self.hold()
        return answer

    async def outcome(self, kid: str | None) -> object:
        """
        The generation of a selection, or the class of what it raised.
        """
        (found,) = await asyncio.gather(self.key_set.select(kid, "EdDSA"), return_exceptions=True)
        return found.generation if isinstance(found, Selection) else type(found)


def new_jwk(kid: str) -> dict[str, Any]:
    """
    A public key of that key ID.
    """
    return {**SigningKeys("EdDSA").current.jwk(), "kid": kid}


async def test_a_key_in_the_place_of_a_removed_one_does_not_hide_that_it_was_removed() -> None:
    """
    An issuer with two places puts the good key into both: the other one is gone, and what it verified too.
    """
    world = World()
    verified = await world.outcome("b")
    assert isinstance(verified, int)
    world.keys = [world.keys[0], world.keys[0]]
    world.now += 600.0

    kept = await world.outcome("a")

    assert kept != verified
    assert not world.key_set.holds(verified)
    assert [event.removed for event in world.events if isinstance(event, KeysRotated)] == [("b",)]


@pytest.mark.parametrize("copies", [2, 3, 5])
@pytest.mark.parametrize("kid", ["a", None])
async def test_a_key_that_is_there_several_times_is_one_key(copies: int, kid: str | None) -> None:
    """
    Its tokens are verified, with a key ID and without.
    """
    world = World()
    world.keys = [world.keys[0]] * copies

    assert await world.outcome(kid) == 0


@pytest.mark.parametrize(
    "fails_at", [pytest.param(500.0, id="ageing"), pytest.param(700.0, id="past its lifetime")]
)
async def test_an_outage_long_over_does_not_vouch_for_old_keys(fails_at: float) -> None:
    """
    One failed attempt, hours without a request, and the key was removed meanwhile: the issuer is asked first.
    """
    world = World()
    await world.outcome("b")
    world.now += fails_at
    world.is_down = True
    await world.outcome("b")
    await settled()
    world.is_down, world.keys = False, world.keys[:1]
    world.now += 82_800.0

    outcomes = [await world.outcome("b") for _ in range(3)]

    assert outcomes == [UnknownKeyError] * 3


async def test_an_outage_just_now_does() -> None:
    """
    The same within a lifetime of the last failure: nobody waits for an issuer that was down a moment ago.
    """
    world = World()
    await world.outcome("b")
    world.now += 700.0
    world.is_down = True
    await world.outcome("b")
    world.now += 599.0
    gate = asyncio.Event()
    world.hold = gate.wait

    assert await world.outcome("b") == 0
    gate.set()
    await settled()


async def settled() -> None:
    """
    Let what runs in the background come to its end.
    """
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "field",
    [
        pytest.param("a" * 333 + " " * 666 + '"', id="spaces"),
        pytest.param("max-age" + " " * 993, id="spaces at the end"),
        pytest.param("=" * 1_000, id="equals signs"),
        pytest.param('a="' * 333, id="quotes"),
        pytest.param(", " * 500, id="commas"),
        pytest.param("a=b" * 100_000, id="long"),
    ],
)
def test_a_hostile_cache_control_costs_next_to_nothing(field: str) -> None:
    """
    Reading it takes no longer than reading a thousand plain fields, whatever it was made for.
    """
    began = time.perf_counter()
    for _ in range(1_000):
        max_age_of("public, max-age=600, must-revalidate", "")
    plain = time.perf_counter() - began

    began = time.perf_counter()
    max_age_of(field, "")
    hostile = time.perf_counter() - began

    assert hostile < plain


class Crumbs(httpx.AsyncByteStream):
    """
    A body in pieces of one byte, all there at once.
    """

    def __init__(self, size: int) -> None:
        self.left = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.left:
            self.left -= 1
            yield b" "


async def test_a_body_in_crumbs_lets_others_have_their_turn() -> None:
    """
    Between any two turns of a neighbour only a few of them are taken.
    """
    crumbs = Crumbs(10_000)
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=crumbs)))
    reading = asyncio.create_task(fetch(client, JWKS_URI, max_body_bytes=20_000))
    taken = []

    while not reading.done():
        before = crumbs.left
        await asyncio.sleep(0)
        taken.append(before - crumbs.left)

    assert len((await reading).body) == 10_000
    assert max(taken) <= 64


async def test_no_more_than_so_many_wait_with_unknown_key_ids() -> None:
    """
    The rest is refused at once: a crowd that waits is felt by everybody else.
    """
    world = World()
    await world.outcome("a")
    gate = asyncio.Event()
    world.hold = gate.wait

    tasks = [asyncio.create_task(world.outcome(f"random-{n}")) for n in range(MAX_WAITING + 500)]
    await settled()

    assert sum(task.done() for task in tasks) == 500
    assert {task.result() for task in tasks if task.done()} == {UnknownKeyError}
    gate.set()
    await asyncio.gather(*tasks)


async def test_no_more_than_so_many_wait_behind_a_fetch_that_began_before() -> None:
    """
    The same where they would wait for somebody else's fetch first.
    """
    world = World()
    await world.outcome("a")
    gate = asyncio.Event()
    world.hold = gate.wait
    first = asyncio.create_task(world.outcome("first"))
    await settled()

    tasks = [asyncio.create_task(world.outcome(f"random-{n}")) for n in range(MAX_WAITING + 500)]
    await settled()

    assert sum(task.done() for task in tasks) == 501
    gate.set()
    await asyncio.gather(first, *tasks)


async def test_a_known_key_is_not_kept_waiting_by_that_crowd() -> None:
    """
    However many wait, a good token is judged at once, and again among those who are let go.
    """
    world = World()
    await world.outcome("a")
    gate = asyncio.Event()
    world.hold = gate.wait
    crowd = [asyncio.create_task(world.outcome(f"random-{n}")) for n in range(1_000)]
    await settled()

    during = await world.outcome("a")
    gate.set()
    while not any(task.done() for task in crowd):  # noqa: ASYNC110 - turns of the loop are what is counted
        await asyncio.sleep(0)
    gone_before = sum(task.done() for task in crowd)
    after = await asyncio.create_task(world.outcome("a"))
    gone_after = sum(task.done() for task in crowd)

    assert (during, after) == (0, 0)
    assert gone_after - gone_before <= 100
    await asyncio.gather(*crowd)


def test_one_outage_seen_by_many_event_loops_is_one_failure() -> None:
    """
    Attempts that were under way when it was noticed do not make the pause longer.
    """
    state = KeyState(Fetching(), jitter=lambda: 0.999)
    numbers = [state.begin() for _ in range(16)]

    counted = [state.failed(100.0, number=number) for number in numbers]

    assert counted == [True] + [False] * 15
    assert (state.failures, state.retry_at <= 102.0) == (1, True)
    assert state.failed(110.0, number=state.begin())
    assert state.failures == 2


GOOD = b'{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"good"}'


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(GOOD.replace(b'"kid":"good"', b'"kid":"odd","kid":"two"'), id="a member twice"),
        pytest.param(b'{"kty":"OKP","kid":"\\ud800"}', id="an unpaired surrogate"),
        pytest.param(b'{"kty":"new","size":1e999}', id="a number out of range"),
        pytest.param(b'{"kty":"RSA","n":7,"e":"AQAB"}', id="a number for a string"),
        pytest.param(b'{"kty":"new","n":' + b"7" * 5_000 + b"}", id="a number of 5,000 digits"),
        pytest.param(b"[]", id="no object"),
    ],
)
async def test_one_odd_key_does_not_take_the_good_one_along(odd: bytes) -> None:
    """
    It is skipped and counted (RFC 7517 §5).
    """
    world = World()
    world.body = b'{"keys":[' + odd + b"," + GOOD + b"]}"

    assert await world.outcome("good") == 0
    assert [event.skipped for event in world.events if isinstance(event, KeysFetched)] == [1]
    assert len([event for event in world.events if isinstance(event, KeySkipped)]) == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"keys":[' + GOOD + b'],"keys":[]}', id="keys twice"),
        pytest.param(b'{"keys":[' + GOOD + b'],"size":NaN}', id="not JSON"),
        pytest.param(b'{"keys":[' + GOOD + b"," + b"[" * 40 + b"]" * 40 + b"]}", id="too deep"),
    ],
)
async def test_an_odd_set_is_no_set(body: bytes) -> None:
    """
    What is wrong with the whole of it is not one key's fault.
    """
    world = World()
    world.body = body

    assert await world.outcome("good") is UnavailableError


@pytest.mark.parametrize("max_keys", [100, 1_000])
async def test_as_many_keys_as_are_allowed_are_read(max_keys: int) -> None:
    """
    With a few arrays each, as issuers have them; one more than allowed is too many.
    """
    jwk = GOOD[:-1] + b',"key_ops":["verify"],"x5c":["a"],"x5t":{"a":[]}}'
    world = World(max_keys=max_keys)
    world.body = b'{"keys":[' + b",".join([jwk] * max_keys) + b"]}"

    assert await world.outcome("good") == 0
    world.body = world.body[:-2] + b"," + jwk + b"]}"
    world.now += 600.0
    await world.outcome("good")
    assert world.events[-1].name in {"guardrail.keys_fetch_failed", "guardrail.stale_keys_used"}
    assert world.key_set.health().state == "stale"


async def test_a_handler_that_holds_the_loop_up_is_not_the_issuers_fault() -> None:
    """
    An answer that came while the loop stood still is taken when it runs again.
    """
    world = World(timeout=0.2)
    answered = asyncio.Event()
    world.hold = answered.wait
    task = asyncio.create_task(world.outcome("a"))
    await settled()

    answered.set()
    time.sleep(0.5)  # noqa: ASYNC251 - this is the handler that blocks

    assert await task == 0


async def test_an_issuer_that_does_not_answer_in_time_is() -> None:
    """
    While the loop runs, the timeout is what it says.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()

    with pytest.raises(TimeoutError):
        async with running_timeout(0.2):
            await asyncio.Event().wait()

    assert 0.15 < loop.time() - began < 2.0


async def test_the_timeout_leaves_nothing_behind() -> None:
    """
    In time, or failed otherwise, it does not strike later.
    """
    async with running_timeout(0.02):
        pass
    with pytest.raises(LookupError):
        async with running_timeout(0.02):
            raise LookupError

    await asyncio.sleep(0.05)


def test_an_equal_key_under_another_name_is_another_key() -> None:
    """
    Only what is the same in everything is there twice.
    """
    one, other = new_jwk("a"), new_jwk("b")

    keys = read_jwk_set({"keys": [one, {**one, "kid": "c"}, other, one]}, algorithms=["EdDSA"])

    assert [key.kid for key in keys.keys] == ["a", "c", "b"]


async def test_whether_a_key_id_was_asked_for_is_read_under_the_lock() -> None:
    """
    Event loops in several threads: a look-up during an eviction must not fail, so it waits for it.
    """
    world = World()
    await world.outcome("a")
    await world.outcome("nobody's")
    world.key_set._fetches.lock.acquire()
    blocked = asyncio.get_running_loop().run_in_executor(None, asyncio.run, world.outcome("nobody's"))

    done, _ = await asyncio.wait([blocked], timeout=0.05)

    assert done == set()
    world.key_set._fetches.lock.release()
    assert await blocked is UnknownKeyError
