"""
An issuer that cannot be had: pauses between attempts, keys that outlive their lifetime, and the way back.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from jwks_world import (
    ISSUER,
    JWKS_URI,
    LIFETIME,
    MAX_STALE,
    METADATA,
    NEVER,
    PAUSES,
    RFC8414,
    Clock,
    Reply,
    World,
    hold_for_ever,
    holding,
    in_virtual_time,
    jwk_set,
    outcome,
    settle,
    unpublish,
    until_asked,
    world_with,
)

from guardrail import Fetching, Issuer
from guardrail._keys import Selection
from guardrail.errors import UnavailableError, UnknownKeyError
from guardrail.events import KeysFetchFailed, StaleKeysUsed
from guardrail.issuer import SigningKeys

pytestmark = pytest.mark.anyio


# Pauses


@pytest.mark.parametrize(
    ("jitter", "pauses"),
    [
        pytest.param(0.0, (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0), id="the shortest"),
        pytest.param(0.5, PAUSES, id="the middle"),
        pytest.param(1.0, (2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0), id="the longest"),
    ],
)
@pytest.mark.parametrize(
    "has_keys", [pytest.param(False, id="none in hand"), pytest.param(True, id="some in hand")]
)
async def test_the_pause_grows_with_each_failure(
    has_keys: bool, jitter: float, pauses: tuple[float, ...]
) -> None:
    """
    After the n-th failure in a row nothing is asked for half to all of 2, 4, 8, 16 and then always 30 s.
    """
    world = world_with(jitter=jitter)
    if has_keys:
        await world.select()
        world.clock.now += LIFETIME
    world.break_down()
    first = world.server.fetches
    attempts: list[int] = []

    async def ask() -> None:
        await asyncio.gather(*(outcome(world.select()) for _ in range(10)))
        await settle()
        attempts.append(world.server.fetches - first)

    for pause in pauses:
        await ask()
        world.clock.now += pause - 0.01
        await ask()
        world.clock.now += 0.01

    assert attempts == [attempt for attempt in range(1, 8) for _ in range(2)]
    failures = world.told(KeysFetchFailed)
    assert [event.failures for event in failures] == list(range(1, 8))
    assert [event.retry_after for event in failures] == [pytest.approx(pause) for pause in pauses]


@pytest.mark.parametrize(
    ("bounds", "pauses"),
    [
        pytest.param((0.1, 0.5), [0.15, 0.3, 0.375, 0.375], id="short"),
        pytest.param((10.0, 10.0), [10.0, 10.0, 10.0, 10.0], id="always the same"),
        pytest.param((60.0, 3_600.0), [90.0, 180.0, 360.0, 720.0], id="long"),
    ],
)
async def test_pauses_are_configurable(bounds: tuple[float, float], pauses: list[float]) -> None:
    """
    ``backoff_bounds`` are the least and the most seconds between a failure and the next attempt.
    """
    world = world_with(backoff_bounds=bounds)
    world.break_down()

    for pause in pauses:
        await world.unavailable()
        world.clock.now += pause + 0.001

    assert [event.retry_after for event in world.told(KeysFetchFailed)] == pytest.approx(pauses)
    assert world.server.fetches == len(pauses)


async def test_a_good_answer_ends_the_pauses() -> None:
    """
    After a recovery the next failure pauses as briefly as the first.
    """
    world = world_with()
    world.break_down()
    for pause in PAUSES[:2]:
        await world.unavailable()
        world.clock.now += pause
    world.recover()
    await world.select()
    world.break_down()
    world.clock.now += LIFETIME
    await world.select()
    attempts = [world.server.fetches]

    for elapsed in (PAUSES[0] - 0.1, 0.1):
        world.clock.now += elapsed
        await world.refreshed()
        attempts.append(world.server.fetches)

    failed = attempts[0]
    assert attempts == [failed, failed, failed + 1]
    assert [event.failures for event in world.told(KeysFetchFailed)] == [1, 2, 1, 2]


# Stale keys


@pytest.mark.parametrize("is_remembered", [pytest.param(False, id="select"), pytest.param(True, id="holds")])
async def test_once_a_refresh_has_failed_nobody_waits_for_the_next(is_remembered: bool) -> None:
    """
    While a failing issuer is tried again, those with a key in hand are served at once (H3, R102).
    """
    world = world_with()
    before = await world.select()
    world.break_down()
    world.clock.now += LIFETIME
    await world.select()
    world.clock.now += PAUSES[0]
    gate = holding(world.server)

    for _ in range(1_000):
        if is_remembered:
            assert world.key_set.holds(before.generation)
        else:
            assert await world.select() == before
    await until_asked(world.server, 3)
    await settle()

    assert world.server.fetches == 3
    assert len(world.told(StaleKeysUsed)) == 1_001
    gate.set()
    await settle()


async def test_a_refresh_in_the_background_takes_effect() -> None:
    """
    What the retry brings is used from then on: a key taken back during the outage is refused.
    """
    world = World()
    generation = (await world.select()).generation
    gone = unpublish(world.server.keys)
    world.break_down()
    world.clock.now += LIFETIME
    await world.select(gone)
    world.recover()
    world.clock.now += PAUSES[0]
    await world.select(gone)
    await settle()

    error = await world.refused(gone)

    assert error.kid == gone
    assert not world.key_set.holds(generation)


async def test_keys_stay_in_use_for_a_day_past_their_lifetime() -> None:
    """
    An outage is survived for 24 hours, and not for a moment longer.
    """
    world = World()
    before = await world.select()
    world.break_down()
    world.clock.now += LIFETIME + MAX_STALE - 0.1

    stale = await world.select()

    assert MAX_STALE == 86_400.0
    assert stale == before
    world.clock.now += 0.1  # within the pause after the failure just now
    assert (await world.unavailable()).retry_after == 2.0
    assert not world.key_set.holds(before.generation)


@pytest.mark.parametrize("max_stale", [0.0, 1.0, 1_000_000.0])
async def test_how_long_keys_stay_in_use_is_configurable(max_stale: float) -> None:
    """
    ``max_stale`` is how long keys outlive their lifetime; 0: not at all.
    """
    world = world_with(max_stale=max_stale)
    before = await world.select()
    world.break_down()
    world.clock.now += LIFETIME + max_stale - 0.1

    at_last = await world.select()
    await settle()
    world.clock.now += 0.1
    error = await outcome(world.select())

    assert at_last == before
    assert isinstance(error, UnavailableError)


async def test_the_most_staleness_is_counted_from_the_end_of_the_answers_own_lifetime() -> None:
    """
    Keys that the issuer calls good for a day outlive that day, not our ten minutes.
    """
    world = world_with(max_stale=100.0)
    world.server.fields = {"cache-control": "max-age=86400"}
    await world.select()
    world.break_down()
    world.clock.now += 86_400.0 + 99.9
    stale = await world.select()
    world.clock.now += 0.1

    error = await outcome(world.select())

    assert len(stale.keys) == 1
    assert isinstance(error, UnavailableError)


async def test_keys_that_are_too_old_are_asked_for_before_they_are_given_up() -> None:
    """
    A service that slept for days serves its first request if the issuer answers, and only then.
    """
    world = World()
    await world.select()
    world.clock.now += 10 * MAX_STALE
    world.break_down()
    error = await world.unavailable()
    world.recover()
    world.clock.now += error.retry_after

    selection = await world.select()

    assert len(selection.keys) == 1


@pytest.mark.parametrize(
    ("elapsed", "is_refused"),
    [
        pytest.param(LIFETIME - 0.1, False, id="less than a lifetime ago"),
        pytest.param(LIFETIME + PAUSES[0], True, id="a lifetime ago"),
    ],
)
async def test_a_failure_long_ago_does_not_make_keys_stale(elapsed: float, is_refused: bool) -> None:
    """
    Nobody asked for a lifetime after the last failure: whoever comes then waits for an answer of today.
    """
    world = world_with()
    await world.select()
    gone = unpublish(world.server.keys)
    world.break_down()
    world.clock.now += LIFETIME
    await world.select(gone)
    world.recover()
    world.clock.now += elapsed

    found = await outcome(world.select(gone))

    assert isinstance(found, UnknownKeyError) is is_refused
    assert len(world.told(StaleKeysUsed)) == 1 + (not is_refused)
    await settle()


async def test_stale_keys_and_an_unknown_key_id() -> None:
    """
    In an outage a key ID that is not in hand is 503, pause or no pause: nobody can say whether it exists.
    """
    world = world_with()
    await world.select()
    world.break_down()
    world.clock.now += LIFETIME
    await world.select()

    errors = [await outcome(world.select(NEVER))]
    for pause in PAUSES[:4]:
        world.clock.now += pause
        errors.append(await outcome(world.select(NEVER)))
        await settle()

    assert {type(error) for error in errors} == {UnavailableError}


# No keys at all


async def test_an_issuer_down_from_the_start_recovers() -> None:
    """
    Cold and down: 503 with the time to wait, one attempt per pause, and keys again without a restart (R101).
    """
    world = World()
    world.server.replies = {RFC8414: httpx.ConnectError("refused")}
    retry_after = [(await world.unavailable()).retry_after]  # of 1.5 s
    world.clock.now += PAUSES[0]
    retry_after.append((await world.unavailable()).retry_after)  # of 3 s
    world.clock.now += 0.5
    retry_after.append((await world.unavailable()).retry_after)
    world.clock.now += 1.6
    retry_after.append((await world.unavailable()).retry_after)
    attempts = len(world.server.requests)
    world.server.replies = {RFC8414: METADATA}
    world.clock.now += 0.9

    selection = await world.select()

    assert retry_after == [2, 3, 3, 1]  # whole seconds, rounded up, never less than one
    assert attempts == 2
    assert len(selection.keys) == 1


async def test_a_failed_discovery_is_not_kept() -> None:
    """
    Metadata that was missing, or another's, a moment ago is looked for again, and the right place is found.
    """
    world = World()
    world.server.replies = {RFC8414: {**METADATA, "issuer": "https://another.example"}}
    await world.unavailable()
    world.server.replies = {RFC8414: METADATA}
    world.clock.now += PAUSES[0]

    selection = await world.select()

    assert len(selection.keys) == 1


async def test_an_issuer_that_moves_its_keys_is_followed() -> None:
    """
    Metadata is asked for with every fetch, so that a new place of the keys needs no restart.
    """
    world = World()
    await world.select()
    moved = SigningKeys("EdDSA")
    world.server.replies = {
        RFC8414: {"issuer": ISSUER, "jwks_uri": "https://keys.example.org/"},
        "https://keys.example.org/": moved.jwks(),
    }
    world.clock.now += LIFETIME

    selection = await world.select(moved.current.kid)

    assert [key.kid for key in selection.keys] == [moved.current.kid]


# Limits of an answer


@pytest.mark.parametrize("timeout", [0.5, 20.0])
def test_the_timeout_is_configurable(timeout: float) -> None:
    """
    ``timeout`` is what discovery and keys may take together.
    """
    world = World(issuer=Issuer(ISSUER, fetching=Fetching(timeout=timeout)))

    async def ask() -> float:
        hold_for_ever(world.server)
        await world.unavailable()
        return asyncio.get_running_loop().time()

    took = in_virtual_time(ask())

    assert took == pytest.approx(timeout)


@pytest.mark.parametrize(
    ("most", "is_read"), [pytest.param(0, True, id="just fits"), pytest.param(-1, False, id="just not")]
)
async def test_the_size_of_an_answer_is_configurable(most: int, is_read: bool) -> None:
    """
    ``max_body_bytes`` is the largest answer that is read.
    """
    body = jwk_set(SigningKeys("EdDSA").current.jwk() | {"kid": "a"})
    world = world_with(max_body_bytes=len(body) + most)
    world.break_down(body)

    found = await outcome(world.select("a"))

    assert isinstance(found, UnavailableError) is not is_read


@pytest.mark.parametrize(
    ("most", "is_read"), [pytest.param(3, True, id="just fit"), pytest.param(2, False, id="just not")]
)
async def test_the_number_of_keys_is_configurable(most: int, is_read: bool) -> None:
    """
    ``max_keys`` is how many keys a set may have, usable or not.
    """
    world = world_with(max_keys=most)
    world.break_down(jwk_set(world.server.keys.current.jwk(), {"kty": "new"}, {"kty": "new"}))

    found = await outcome(world.select())

    assert isinstance(found, UnavailableError) is not is_read


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_link_local_addresses_are_asked_only_when_allowed(is_allowed: bool) -> None:
    """
    ``insecure_allow_link_local`` lets an issuer name a place where clouds serve machines their credentials.
    """
    world = World(issuer=Issuer(ISSUER, fetching=Fetching(insecure_allow_link_local=is_allowed)))
    place = "https://169.254.169.254/keys"
    world.server.replies = {
        RFC8414: {"issuer": ISSUER, "jwks_uri": place},
        place: world.server.keys.jwks(),
    }

    found = await outcome(world.select())

    assert isinstance(found, UnavailableError) is not is_allowed
    assert (place in world.server.requests) is is_allowed


# A day of it


class LoopClock(Clock):
    """
    The clock of the event loop that runs.
    """

    def __call__(self) -> float:
        return asyncio.get_running_loop().time()


DOWN: list[Any] = [
    pytest.param(httpx.ConnectError("refused"), id="connection refused"),
    pytest.param(503, id="503"),
    pytest.param(b"<!doctype html><title>Sorry</title>", id="HTML"),
    pytest.param(b'{"keys": []}', id="no keys"),
    pytest.param(None, id="no answer"),
]


@dataclass
class Outage:
    """
    Hours of an issuer that is down, with a request every so many seconds.
    """

    hours: float
    every: float
    served: dict[float, float] = field(default_factory=dict)  # when: and how long it took
    refused: dict[float, float] = field(default_factory=dict)
    errors: list[UnavailableError] = field(default_factory=list)
    attempts: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(clock=LoopClock(), issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))

    async def happens(self, reply: Reply | None) -> float:
        """
        The keys come, the issuer goes down, and comes back with other keys.

        Returns:
            The seconds until one of those is accepted, for who asks every second.
        """
        await self.world.select()
        kid = self.world.server.kid

        async def hold() -> None:
            self.attempts.append(self.world.clock())
            if reply is None:
                await asyncio.Event().wait()

        self.world.server.hold = hold
        if reply is not None:
            self.world.break_down(reply)
        while self.world.clock() < self.hours * 3_600:
            await asyncio.sleep(self.every)
            await self._ask(kid)
        self.world.server.hold = None
        self.world.server.replies.pop(JWKS_URI, None)
        return await self._recovers()

    async def _ask(self, kid: str) -> None:
        began = self.world.clock()
        found = await outcome(self.world.select(kid))
        took = self.world.clock() - began
        if isinstance(found, Selection):
            self.served[began] = took
        if isinstance(found, UnavailableError):
            self.refused[began] = took
            self.errors.append(found)

    async def _recovers(self) -> float:
        fresh = self.world.server.keys.rotate(keep_previous=False)
        for seconds in range(60):
            if isinstance(await outcome(self.world.select(fresh)), Selection):
                return seconds
            await asyncio.sleep(1.0)
        raise AssertionError("the new key is not accepted")


@pytest.mark.parametrize("reply", DOWN)
def test_an_outage_of_25_hours_is_survived(reply: Reply | None) -> None:
    """
    For 24 hours past the lifetime everybody is served and nobody waits; then 503; afterwards all is well.
    """
    outage = Outage(hours=25, every=59.0)

    recovered_after = in_virtual_time(outage.happens(reply))

    assert max(outage.served) < LIFETIME + MAX_STALE <= min(outage.refused)
    assert max(outage.served) > LIFETIME + MAX_STALE - 60.0
    assert max(outage.served.values()) == 0.0
    assert max(outage.refused.values()) <= 5.1
    assert all(1 <= error.retry_after <= 30 for error in outage.errors)
    assert recovered_after <= 31.0
    told = [event.age for event in outage.world.told(StaleKeysUsed)]
    assert told == [at for at in outage.served if at >= LIFETIME]


@pytest.mark.parametrize("reply", DOWN)
def test_an_issuer_that_is_down_is_left_alone(reply: Reply | None) -> None:
    """
    Asked for a token every second, for an hour, we ask the issuer as often as the pauses allow.
    """
    outage = Outage(hours=1, every=1.0)

    in_virtual_time(outage.happens(reply))

    gaps = [later - earlier for earlier, later in zip(outage.attempts, outage.attempts[1:], strict=False)]
    failures = outage.world.told(KeysFetchFailed)
    assert outage.attempts[0] >= 0.75 * LIFETIME
    assert 1.0 <= min(gaps) <= 7.0
    assert 22.0 <= min(gaps[5:]) <= max(gaps) <= 30.0
    assert len(failures) >= len(outage.attempts) - 1 > 100
    assert all(event.has_keys for event in failures)
    assert outage.refused == {}
