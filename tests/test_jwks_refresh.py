"""
How long keys are used before they are asked for again: lifetime, the scheduled refresh in the background, and
what an answer's ``Cache-Control`` has to say.
"""

import asyncio
from typing import Any

import httpx
import pytest
from jwks_world import (
    ISSUER,
    JWKS_URI,
    LIFETIME,
    METADATA,
    NEVER,
    PAUSES,
    REFRESH_AT,
    RFC8414,
    World,
    hold_for_ever,
    holding,
    in_virtual_time,
    outcome,
    settle,
    unpublish,
    until_asked,
    world_with,
)

from guardrail import Issuer
from guardrail.errors import UnknownKeyError
from guardrail.events import KeysFetched, KeysFetchFailed, RefetchBudgetSpent, StaleKeysUsed

pytestmark = pytest.mark.anyio


# The lifetime


async def test_a_set_lives_for_ten_minutes() -> None:
    """
    Just inside its lifetime a set serves while newer keys are on their way; at its end they are waited for.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    before = await world.select()
    holding(world.server)
    world.clock.now += LIFETIME - 0.1
    inside = await world.select()
    await settle()
    world.clock.now += 0.1
    waiting = asyncio.create_task(outcome(world.select()))

    await settle()

    assert LIFETIME == 600.0
    assert inside == before
    assert not waiting.done()
    assert world.server.fetches == 2  # who waits joins the fetch that runs
    await world.key_set.aclose()
    await waiting


@pytest.mark.parametrize("lifetime", [1.0, 90.0, 100_000.0])
async def test_the_lifetime_is_configurable(lifetime: float) -> None:
    """
    ``lifetime`` is the seconds a set is used, without bounds of ours, when its answer does not say.
    """
    world = world_with(lifetime=lifetime)
    await world.select()
    world.clock.now += 0.79 * lifetime
    await world.refreshed()
    inside = world.server.fetches
    world.clock.now += 0.21 * lifetime

    await world.select()

    assert (inside, world.server.fetches) == (1, 2)
    assert [event.lifetime for event in world.told(KeysFetched)] == [pytest.approx(lifetime)] * 2


async def test_a_set_is_as_old_as_the_request_for_it() -> None:
    """
    A slow answer shortens the lifetime of what it brings, which was true when it was asked for.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))

    async def take_a_while() -> None:
        world.clock.now += 4.0

    world.server.hold = take_a_while
    await world.select()
    world.server.hold = None
    world.clock.now += REFRESH_AT - 4.1
    await world.refreshed()
    inside = world.server.fetches
    world.clock.now += 0.1

    await world.refreshed()

    assert (inside, world.server.fetches) == (1, 2)


async def test_who_finds_the_keys_due_waits_for_new_ones() -> None:
    """
    As long as the issuer answers, nobody is served by keys past their lifetime.
    """
    world = World()
    await world.select()
    gone = unpublish(world.server.keys)
    world.clock.now += LIFETIME
    gate = holding(world.server)
    waiting = [asyncio.create_task(world.refused(gone)) for _ in range(3)]
    await until_asked(world.server, 3)
    await settle()
    were_waiting = [not task.done() for task in waiting]

    gate.set()
    errors = await asyncio.gather(*waiting)

    assert were_waiting == [True] * 3
    assert {error.kid for error in errors} == {gone}
    assert world.told(StaleKeysUsed) == []


async def test_a_removed_key_is_refused_after_a_good_answer() -> None:
    """
    A fetch replaces the set; nothing of the old one lives on (D2, R99).
    """
    world = World()
    await world.select()
    gone = unpublish(world.server.keys)
    world.clock.now += REFRESH_AT - 0.1
    before = await world.select(gone)
    world.clock.now += LIFETIME - REFRESH_AT + 0.1

    error = await world.refused(gone)

    assert [key.kid for key in before.keys] == [gone]
    assert error.kid == gone


# The scheduled refresh


@pytest.mark.parametrize(
    ("jitter", "part"),
    [
        pytest.param(0.0, 0.75, id="the earliest"),
        pytest.param(0.5, 0.80, id="the middle"),
        pytest.param(1.0, 0.85, id="the latest"),
    ],
)
async def test_keys_are_refreshed_at_about_80_percent_of_their_lifetime(jitter: float, part: float) -> None:
    """
    Between 75 and 85 %, so that instances started together do not ask together for ever.
    """
    world = world_with(jitter=jitter)
    await world.select()
    world.clock.now += part * LIFETIME - 0.01
    await world.refreshed()
    before = world.server.fetches
    world.clock.now += 0.02

    await world.refreshed()

    assert (before, world.server.fetches) == (1, 2)


async def test_each_refresh_is_jittered_anew() -> None:
    """
    Two sets in a row need not live equally long.
    """
    world = world_with(jitter=0.0)
    await world.select()
    world.clock.now += 0.75 * LIFETIME
    world.jitter = 1.0
    await world.refreshed()
    world.clock.now += 0.84 * LIFETIME
    await world.refreshed()
    before = world.server.fetches
    world.clock.now += 0.02 * LIFETIME

    await world.refreshed()

    assert (before, world.server.fetches) == (2, 3)


@pytest.mark.parametrize("is_remembered", [pytest.param(False, id="select"), pytest.param(True, id="holds")])
async def test_a_thousand_callers_share_one_refresh_and_are_served_meanwhile(is_remembered: bool) -> None:
    """
    A refresh is nobody's request: all are served by the keys in hand, remembered tokens too.
    """
    world = World()
    before = await world.select()
    world.clock.now += REFRESH_AT
    gate = holding(world.server)

    for _ in range(1_000):
        if is_remembered:
            assert world.key_set.holds(before.generation)
        else:
            assert await world.select() == before
    await until_asked(world.server, 3)
    world.clock.now += 4.0
    assert await world.select() == before
    await settle()

    assert world.server.requests[2:] == [RFC8414]
    gate.set()
    await settle()
    assert world.server.requests[2:] == [RFC8414, JWKS_URI]
    assert world.told(StaleKeysUsed) == []


async def test_a_refresh_takes_effect_at_once() -> None:
    """
    A key that a refresh no longer brings verifies nothing from then on, and a new one does.
    """
    world = World()
    generation = (await world.select()).generation
    gone = unpublish(world.server.keys)
    world.clock.now += REFRESH_AT
    still = await world.select(gone)
    await settle()

    error = await world.refused(gone)

    assert [key.kid for key in still.keys] == [gone]
    assert error.kid == gone
    assert not world.key_set.holds(generation)
    assert [key.kid for key in (await world.select()).keys] == [world.server.kid]


async def test_nobody_asks_nobody_is_asked() -> None:
    """
    Without requests there is no refresh: an idle application leaves its issuer alone, and asks when it wakes.
    """
    world = World()
    await world.select()

    world.clock.now += 10 * LIFETIME
    await settle()
    idle = world.server.fetches
    await world.select()

    assert (idle, world.server.fetches) == (1, 2)


@pytest.mark.parametrize(
    ("elapsed", "is_wanted"),
    [
        pytest.param(None, True, id="no keys"),
        pytest.param(0.0, False, id="fresh"),
        pytest.param(REFRESH_AT - 0.1, False, id="still fresh"),
        pytest.param(REFRESH_AT, True, id="ageing"),
        pytest.param(LIFETIME, True, id="due"),
    ],
)
async def test_a_refresh_may_be_begun_without_a_request(elapsed: float | None, is_wanted: bool) -> None:
    """
    ``refresh`` begins what the next request would have to wait for, or would begin; if that is nothing, not.
    """
    world = World()
    if elapsed is not None:
        await world.select()
        world.clock.now += elapsed
    before = world.server.fetches

    task = world.key_set.refresh()

    assert (task is not None) is is_wanted
    if task is not None:
        await task
    await settle()
    assert world.server.fetches == before + is_wanted


async def test_refreshes_are_not_refetches() -> None:
    """
    However many refreshes there were, the budget for unknown key IDs is whole.
    """
    world = world_with(lifetime=10.0, refetch_window=1_000.0)
    await world.select()
    for _ in range(10):
        world.clock.now += 8.0
        await world.refreshed()
    refreshes = world.server.fetches

    for number in range(3):
        await world.refused(f"random-{number}")

    assert refreshes == 1 + 10
    assert world.server.fetches == refreshes + 2


async def test_refetches_are_not_refreshes() -> None:
    """
    When random key IDs have spent the budget, keys are refreshed on time all the same.
    """
    world = world_with(lifetime=10.0, refetch_window=1_000.0)
    await world.select()
    for number in range(3):
        await world.refused(f"random-{number}")
    refetches = world.server.fetches
    fresh = world.server.keys.rotate()
    world.clock.now += 8.0

    await world.refreshed()

    assert refetches == 1 + 2
    assert world.server.fetches == refetches + 1
    assert len(world.told(RefetchBudgetSpent)) == 1
    assert [key.kid for key in (await world.select(fresh)).keys] == [fresh]


async def test_what_a_refetch_brought_is_refreshed_later() -> None:
    """
    Keys live from the last fetch on, whatever it was for.
    """
    world = world_with()
    await world.select()
    world.clock.now += REFRESH_AT - 1.0
    await world.refused()
    world.clock.now += REFRESH_AT - 0.1
    await world.refreshed()
    before = world.server.fetches
    world.clock.now += 0.1

    await world.refreshed()

    assert (before, world.server.fetches) == (2, 3)


async def test_who_comes_at_the_end_of_the_lifetime_waits_for_the_refresh_that_runs() -> None:
    """
    There is one fetch, which was begun in the background and is now waited for.
    """
    world = world_with()
    await world.select()
    world.clock.now += LIFETIME - 1.0
    gate = holding(world.server)
    await world.select()
    await until_asked(world.server, 2)
    gone = unpublish(world.server.keys)
    world.clock.now += 1.0
    waiting = asyncio.create_task(world.select(gone))
    await settle()
    was_waiting = not waiting.done()
    gate.set()

    selection = await waiting

    assert was_waiting
    assert [key.kid for key in selection.keys] == [gone]  # as the issuer said a second ago
    assert world.server.fetches == 2


async def test_once_a_refresh_has_failed_the_end_of_the_lifetime_makes_nobody_wait() -> None:
    """
    The failure in the background made the keys stale: they are served at once, and asked for again behind it.
    """
    world = world_with()
    before = await world.select()
    world.break_down()
    world.clock.now += REFRESH_AT
    await world.refreshed()
    failed = world.server.fetches
    hold_for_ever(world.server)
    world.clock.now += LIFETIME - REFRESH_AT

    after = await world.select()
    await settle()

    assert (failed, world.server.fetches) == (2, 3)
    assert after == before
    assert [event.age for event in world.told(StaleKeysUsed)] == [LIFETIME]
    await world.key_set.aclose()


async def test_a_refresh_that_failed_is_tried_again_after_the_pause() -> None:
    """
    In the background, before the lifetime ends, and with nobody being told of stale keys.
    """
    world = world_with()
    await world.select()
    world.break_down()
    world.clock.now += REFRESH_AT
    fetches = []

    for elapsed in (0.0, PAUSES[0] - 0.1, 0.1, PAUSES[1] - 0.1, 0.1):
        world.clock.now += elapsed
        await world.refreshed()
        await world.refreshed()
        fetches.append(world.server.fetches)

    assert fetches == [2, 2, 3, 3, 4]
    assert world.told(StaleKeysUsed) == []


async def test_a_failure_long_before_says_nothing_of_the_refresh() -> None:
    """
    A fetch for an unknown key ID failed when the keys were fresh: at the end of theirs a request waits, once.
    """
    world = world_with()
    await world.select()
    world.break_down()
    await world.unavailable(NEVER)
    world.clock.now += LIFETIME
    gate = holding(world.server)
    waiting = asyncio.create_task(world.select())
    await until_asked(world.server, 3)
    await settle()
    was_waiting = not waiting.done()
    gate.set()
    await waiting
    hold_for_ever(world.server)
    world.clock.now += PAUSES[1]

    selection = await world.select()

    assert was_waiting
    assert len(selection.keys) == 1
    assert len(world.told(KeysFetchFailed)) == 2
    assert len(world.told(StaleKeysUsed)) == 2
    await world.key_set.aclose()


def test_a_refresh_that_hangs_is_given_up_in_time() -> None:
    """
    A background refresh has the same five seconds; when they are over it is a failure like any other.
    """

    async def hang() -> World:
        loop = asyncio.get_running_loop()
        world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
        await world.select()
        world.clock.now += REFRESH_AT
        hold_for_ever(world.server)
        began = loop.time()
        await world.select()
        assert loop.time() == began
        await asyncio.sleep(4.9)
        assert world.told(KeysFetchFailed) == []
        await asyncio.sleep(0.2)
        return world

    world = in_virtual_time(hang())

    assert [event.detail for event in world.told(KeysFetchFailed)] == ["TimeoutError"]


# What an answer says


FIELDS = [
    pytest.param({}, 600.0, id="nothing"),
    pytest.param({"cache-control": "public"}, 600.0, id="nothing of an age"),
    pytest.param({"cache-control": ""}, 600.0, id="an empty field"),
    pytest.param({"age": "500"}, 600.0, id="only an age"),
    pytest.param({"expires": "Thu, 01 Jan 2026 00:00:00 GMT"}, 600.0, id="only Expires"),
    pytest.param({"cache-control": "max-age=120"}, 120.0, id="less than ours"),
    pytest.param({"cache-control": "public, max-age=3600, must-revalidate"}, 3_600.0, id="more than ours"),
    pytest.param({"cache-control": "MAX-AGE=120"}, 120.0, id="capitals"),
    pytest.param({"cache-control": "max-age=60"}, 60.0, id="the least"),
    pytest.param({"cache-control": "max-age=59"}, 60.0, id="less than the least"),
    pytest.param({"cache-control": "max-age=86400"}, 86_400.0, id="the most"),
    pytest.param({"cache-control": "max-age=86401"}, 86_400.0, id="more than the most"),
    pytest.param({"cache-control": f"max-age={'9' * 400}"}, 86_400.0, id="for ever"),
    pytest.param({"cache-control": "max-age=0"}, 60.0, id="max-age=0"),
    pytest.param({"cache-control": "no-store"}, 60.0, id="no-store"),
    pytest.param({"cache-control": "no-cache"}, 60.0, id="no-cache"),
    pytest.param({"cache-control": "max-age=3600, no-store"}, 60.0, id="no-store, and an age"),
    pytest.param({"cache-control": "max-age=300", "age": "100"}, 200.0, id="some of it used up"),
    pytest.param({"cache-control": "max-age=300", "age": "299"}, 60.0, id="almost used up"),
    pytest.param({"cache-control": "max-age=300", "age": "4000"}, 60.0, id="more than used up"),
    pytest.param({"cache-control": "max-age=300", "age": "-1"}, 300.0, id="an age below zero"),
    pytest.param({"cache-control": "max-age=300", "age": "a while"}, 300.0, id="an age that is no number"),
    pytest.param({"cache-control": "max-age=banana"}, 60.0, id="no number"),
    pytest.param({"cache-control": "max-age=-1"}, 60.0, id="less than nothing"),
    pytest.param({"cache-control": "max-age=1e9"}, 60.0, id="a number of another kind"),
    pytest.param({"cache-control": "max-age"}, 60.0, id="no value"),
    pytest.param({"cache-control": ",;=\"'\\"}, 600.0, id="garbage"),
    pytest.param({"cache-control": "x-max-age=100"}, 600.0, id="another word"),
]


@pytest.mark.parametrize(("fields", "lifetime"), FIELDS)
async def test_an_answer_may_say_how_long_its_keys_are_used(fields: dict[str, str], lifetime: float) -> None:
    """
    ``max-age``, less what a cache used up, counts within 60 s and 24 h; what forbids keeping counts as 60 s.
    """
    world = world_with()
    world.server.fields = fields
    await world.select()
    world.clock.now += 0.8 * lifetime - 0.1
    for _ in range(10):
        await world.refreshed()
    fresh = world.server.fetches
    world.clock.now += 0.2
    await world.refreshed()
    refreshed = world.server.fetches
    world.clock.now += lifetime
    holding(world.server)
    waiting = asyncio.create_task(outcome(world.select()))

    await settle()

    assert (fresh, refreshed) == (1, 2)
    assert [event.lifetime for event in world.told(KeysFetched)] == [pytest.approx(lifetime)] * 2
    assert not waiting.done()
    await world.key_set.aclose()
    await waiting


@pytest.mark.parametrize("field", ["no-store", "no-cache", "max-age=0", "max-age=0, no-store, private"])
async def test_what_must_not_be_kept_does_not_cause_a_request_per_call(field: str) -> None:
    """
    A thousand calls in a minute are one fetch and one refresh.
    """
    world = world_with()
    world.server.fields = {"cache-control": field}
    await world.select()

    for _ in range(100):
        world.clock.now += 0.6
        for _ in range(10):
            await world.select()
        await settle()

    assert world.server.fetches == 2


@pytest.mark.parametrize(
    ("bounds", "max_age", "lifetime"),
    [
        pytest.param((1.0, 10.0), 0, 1.0, id="the least"),
        pytest.param((1.0, 10.0), 5, 5.0, id="between"),
        pytest.param((1.0, 10.0), 20, 10.0, id="the most"),
        pytest.param((300.0, 300.0), 20, 300.0, id="nothing of it, for it is less"),
        pytest.param((300.0, 300.0), 2_000, 300.0, id="nothing of it, for it is more"),
        pytest.param((1.0, 1_000_000.0), 1_000_000, 1_000_000.0, id="days"),
    ],
)
async def test_the_bounds_of_max_age_are_configurable(
    bounds: tuple[float, float], max_age: int, lifetime: float
) -> None:
    """
    ``max_age_bounds`` are the least and the most seconds believed; the same twice makes nothing of an answer.
    """
    world = world_with(max_age_bounds=bounds)
    world.server.fields = {"cache-control": f"max-age={max_age}"}

    await world.select()

    assert [event.lifetime for event in world.told(KeysFetched)] == [pytest.approx(lifetime)]


async def test_the_bounds_of_max_age_are_not_for_our_own_lifetime() -> None:
    """
    Who wants their keys fetched every ten seconds gets that, where the answer does not say otherwise.
    """
    world = world_with(lifetime=10.0)

    await world.select()

    assert [event.lifetime for event in world.told(KeysFetched)] == [pytest.approx(10.0)]


async def test_only_the_key_sets_own_answer_says_how_long_keys_are_used() -> None:
    """
    That metadata may be kept for a day says nothing of the keys.
    """
    world = World()
    world.server.replies[RFC8414] = httpx.Response(
        200, json=METADATA, headers={"cache-control": "max-age=86400"}
    )

    await world.select()

    assert [event.lifetime for event in world.told(KeysFetched)] == [pytest.approx(LIFETIME)]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(httpx.Response(503, headers={"cache-control": "max-age=86400"}), id="503"),
        pytest.param(
            httpx.Response(200, json={"keys": []}, headers={"cache-control": "max-age=86400"}), id="no keys"
        ),
    ],
)
async def test_a_bad_answer_does_not_say_how_long_keys_are_used(reply: Any) -> None:
    """
    Only what brings keys may say how long they live.
    """
    world = world_with()
    await world.select()
    world.break_down(reply)
    world.clock.now += REFRESH_AT
    await world.refreshed()
    world.recover()
    gone = unpublish(world.server.keys)
    world.clock.now += PAUSES[0]
    await world.select(gone)
    await settle()

    error = await outcome(world.select(gone))

    assert isinstance(error, UnknownKeyError)
