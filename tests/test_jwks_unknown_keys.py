"""
Key IDs that are not in hand: one fetch on behalf of the request, a budget of such fetches, and a memory of
what the issuer does not have.
"""

import asyncio
from typing import Any

import pytest
from jwks_world import (
    ISSUER,
    JWKS_URI,
    LIFETIME,
    NEVER,
    PAUSES,
    REFRESH_AT,
    World,
    holding,
    jwk_set,
    outcome,
    settle,
    unpublish,
    until_asked,
    world_with,
)

from guardrail import Issuer
from guardrail.errors import UnavailableError, UnknownKeyError
from guardrail.events import KeysFetchFailed, RefetchBudgetSpent
from guardrail.issuer import SigningKeys

pytestmark = pytest.mark.anyio

MAX_REFETCHES = 2  # the defaults
REFETCH_WINDOW = 30.0  # seconds
UNKNOWN_KEY_AGE = 60.0  # seconds
MAX_UNKNOWN_KEYS = 1_024
MAX_WAITING = 1_024  # with an unknown key ID, for one fetch


# One fetch on behalf of the request


async def test_an_unknown_key_id_fetches_again_and_is_judged_by_the_new_set() -> None:
    """
    After a rotation the first token of the new key is accepted, at the price of one fetch.
    """
    world = World()
    await world.select()
    fresh = world.server.keys.rotate()

    selection = await world.select(fresh)

    assert [key.kid for key in selection.keys] == [fresh]
    assert world.server.fetches == 2


async def test_a_key_id_unknown_to_the_new_set_too_is_refused() -> None:
    """
    One fetch on its behalf, and no more.
    """
    world = World()
    await world.select()

    error = await world.refused()

    assert error.kid == NEVER
    assert world.server.fetches == 2


@pytest.mark.parametrize(
    "elapsed", [pytest.param(0.0, id="nothing in hand"), pytest.param(LIFETIME, id="a set that is due")]
)
async def test_a_set_fetched_for_this_very_request_is_not_fetched_again(elapsed: float) -> None:
    """
    An unknown key ID that meets keys as new as can be is refused by them.
    """
    world = World()
    if elapsed:
        await world.select()
        world.clock.now += elapsed
    before = world.server.fetches

    await world.refused()

    assert world.server.fetches == before + 1


async def test_a_slow_fetch_for_an_unknown_key_id_holds_no_known_one_up() -> None:
    """
    Who has a key in hand does not wait for somebody else's unknown one (H3, R102).
    """
    world = World()
    await world.select()
    gate = holding(world.server)
    waiting = asyncio.create_task(world.select(NEVER))
    await until_asked(world.server, 3)

    selection = await world.select()

    assert len(selection.keys) == 1
    assert not waiting.done()
    gate.set()
    with pytest.raises(UnknownKeyError):
        await waiting


async def test_a_key_id_whose_key_is_for_another_algorithm_is_asked_for_once() -> None:
    """
    A key that does not fit may have been replaced under its name; after one fetch it is the token's fault.
    """
    world = World()
    await world.select()

    with pytest.raises(UnknownKeyError):
        await world.key_set.select(world.server.kid, "ES256")

    assert world.server.fetches == 2


async def test_a_key_under_a_name_in_hand_may_be_new_for_another_algorithm() -> None:
    """
    A key ID in hand does not say that the issuer has no further key of that name: the algorithm counts too.
    """
    world = World()
    await world.select()
    kid = world.server.kid
    other = SigningKeys("ES256").current.jwk() | {"kid": kid}
    world.break_down(jwk_set(world.server.keys.current.jwk(), other))

    selection = await world.key_set.select(kid, "ES256")

    assert [(key.kid, key.declared_algorithm) for key in selection.keys] == [(kid, "ES256")]


async def test_a_token_without_key_id_may_be_of_a_new_key() -> None:
    """
    Where no single key fits a token without a key ID, the issuer is asked, once, and may have one by now.
    """
    world = World()
    world.server.keys.rotate()
    await world.select()
    with pytest.raises(UnknownKeyError):
        await world.key_set.select(None, "EdDSA")
    refused_after = world.server.fetches
    unpublish(world.server.keys)
    world.clock.now += UNKNOWN_KEY_AGE

    selection = await world.key_set.select(None, "EdDSA")

    assert refused_after == 2
    assert [key.kid for key in selection.keys] == [world.server.kid]


async def test_who_came_when_a_fetch_had_begun_has_one_of_its_own() -> None:
    """
    A running fetch may have been answered before the new key was there: it is waited for, then asked again.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    await world.select()
    gate = holding(world.server)
    early = asyncio.create_task(world.refused())
    await until_asked(world.server, 2)  # its answer, without the new key, is under way
    fresh = world.server.keys.rotate()
    joining = asyncio.create_task(world.select(fresh))
    await settle()
    during = world.server.fetches
    gate.set()

    selection = await joining

    assert during == 2
    assert [key.kid for key in selection.keys] == [fresh]
    assert world.server.fetches == 1 + 2
    await early


async def test_who_came_when_a_fetch_had_begun_may_find_the_key_in_it() -> None:
    """
    What the running fetch brings is looked at first: if the key is there, nothing more is asked or spent.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    await world.select()
    fresh = world.server.keys.rotate()
    gate = holding(world.server)
    early = asyncio.create_task(world.refused())
    await until_asked(world.server, 2)
    joining = asyncio.create_task(world.select(fresh))
    await settle()
    gate.set()

    selection = await joining

    assert [key.kid for key in selection.keys] == [fresh]
    assert world.server.fetches == 2
    assert world.key_set.health().refetches_left == MAX_REFETCHES - 1
    await early


async def test_a_thousand_who_came_when_a_fetch_had_begun_share_the_next() -> None:
    """
    The first of them to go on begins another fetch, and the others join that: one refetch, not a thousand.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    await world.select()
    gate = holding(world.server)
    early = asyncio.create_task(world.refused())
    await until_asked(world.server, 2)
    fresh = world.server.keys.rotate()
    joining = [asyncio.create_task(world.select(fresh)) for _ in range(1_000)]
    await settle()
    gate.set()

    selections = await asyncio.gather(*joining)

    assert {key.kid for selection in selections for key in selection.keys} == {fresh}
    assert world.server.fetches == 1 + 2
    await early


# The budget


async def test_a_thousand_unknown_key_ids_at_once_cost_one_fetch() -> None:
    """
    They join the one that runs (D1, R98).
    """
    world = World()
    await world.select()

    outcomes = await asyncio.gather(
        *(world.select(f"random-{number}") for number in range(1_000)), return_exceptions=True
    )

    assert {type(outcome) for outcome in outcomes} == {UnknownKeyError}
    assert world.server.fetches == 2


async def test_a_thousand_unknown_key_ids_in_a_row_cost_two_fetches() -> None:
    """
    Random key IDs do not flood an issuer: beyond the budget they are refused without a request (D1, R98).
    """
    world = World()
    await world.select()

    for number in range(1_000):
        await world.refused(f"random-{number}")

    assert world.server.fetches == 1 + 2


async def test_the_budget_is_two_fetches_in_any_thirty_seconds() -> None:
    """
    The window slides: the third fetch is allowed 30 s after the first, the fourth 30 s after the second.
    """
    world = World()
    await world.select()
    fetched = []

    for elapsed in (0.0, 10.0, 10.0, 9.9, 0.1, 9.9, 0.1, 0.1):
        world.clock.now += elapsed
        await world.refused(f"random at {world.clock.now}")
        fetched.append(world.server.fetches - 1)

    #                  0  10  20  29.9  30  39.9  40  40.1 seconds after the first
    assert (MAX_REFETCHES, REFETCH_WINDOW) == (2, 30.0)
    assert fetched == [1, 2, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("most", [1, 2, 5])
async def test_the_budget_is_configurable(most: int) -> None:
    """
    ``max_refetches`` fetches in any ``refetch_window`` seconds, and no more.
    """
    world = world_with(max_refetches=most, refetch_window=7.0)
    await world.select()
    fetched = []

    for elapsed in (0.0, 6.9, 0.1):
        world.clock.now += elapsed
        for number in range(10):
            await world.refused(f"{number} at {world.clock.now}")
        fetched.append(world.server.fetches - 1)

    assert fetched == [most, most, 2 * most]


async def test_without_a_budget_unknown_key_ids_fetch_nothing() -> None:
    """
    ``max_refetches=0``: new keys come with a scheduled refresh, and until then are refused without a request.
    """
    world = world_with(max_refetches=0)
    await world.select()
    fresh = world.server.keys.rotate()
    errors = [await world.refused(fresh) for _ in range(3)]
    before = world.server.fetches
    world.clock.now += REFRESH_AT

    selection = await world.select(fresh)

    assert [error.code for error in errors] == ["unknown_key"] * 3
    assert before == 1
    assert [key.kid for key in selection.keys] == [fresh]
    assert world.key_set.health().refetches_left == 0


async def test_without_a_budget_the_first_keys_are_fetched_all_the_same() -> None:
    """
    Keys that are not in hand at all, or past their lifetime, are no matter of the budget.
    """
    world = world_with(max_refetches=0)

    await world.refused()
    world.clock.now += LIFETIME
    await world.refused("another")

    assert world.server.fetches == 2


async def test_joining_a_running_fetch_costs_no_budget() -> None:
    """
    Only who starts a fetch spends: a hundred who joined one leave the second to be had.
    """
    world = World()
    await world.select()
    gate = holding(world.server)
    waiting = [asyncio.create_task(world.refused(f"random-{number}")) for number in range(100)]
    await until_asked(world.server, 3)
    gate.set()
    await asyncio.gather(*waiting)
    fresh = world.server.keys.rotate()

    selection = await world.select(fresh)

    assert [key.kid for key in selection.keys] == [fresh]
    assert world.server.fetches == 1 + 2


async def test_a_fetch_that_is_about_to_begin_is_joined_when_the_budget_is_spent() -> None:
    """
    Whoever comes before a fetch begins shares in it: the keys are being asked for anyway.
    """
    world = world_with(max_refetches=1)
    await world.select()
    fresh = world.server.keys.rotate()

    first, second = await asyncio.gather(outcome(world.select(NEVER)), outcome(world.select(fresh)))

    assert isinstance(first, UnknownKeyError)
    assert not isinstance(second, Exception)
    assert world.server.fetches == 1 + 1


@pytest.mark.parametrize(
    ("refetches", "elapsed"),
    [pytest.param(1, 0.0, id="a refetch hangs"), pytest.param(0, REFRESH_AT, id="a scheduled refresh hangs")],
)
async def test_beyond_the_budget_nobody_waits_for_a_fetch_that_has_begun(
    refetches: int, elapsed: float
) -> None:
    """
    A flood of random key IDs does not pile up behind a slow issuer: it is refused at once, never parked.
    """
    world = world_with(max_refetches=refetches)
    await world.select()
    world.clock.now += elapsed
    gate = holding(world.server)
    running = asyncio.create_task(outcome(world.select(NEVER)))
    await until_asked(world.server, 2)
    if elapsed:
        running.cancel()
        await asyncio.wait([running])
    waiting = len(asyncio.all_tasks())
    flood = [asyncio.create_task(world.refused(f"random-{number}")) for number in range(1_000)]

    await settle()

    assert all(task.done() for task in flood)
    assert {task.result().code for task in flood} == {"unknown_key"}
    assert len(asyncio.all_tasks()) == waiting
    assert world.server.fetches == 2
    gate.set()
    await settle()


@pytest.mark.parametrize(
    "has_begun", [pytest.param(False, id="about to begin"), pytest.param(True, id="begun")]
)
async def test_so_many_wait_with_an_unknown_key_id_and_no_more(has_begun: bool) -> None:
    """
    Even within the budget a flood does not fill the memory: 1,024 wait, and the next is refused at once.
    """
    world = world_with(max_refetches=100)
    await world.select()
    gate = holding(world.server)
    first = [asyncio.create_task(outcome(world.select(NEVER)))] if has_begun else []
    await (until_asked(world.server, 2) if has_begun else settle())
    waiting = [
        asyncio.create_task(outcome(world.select(f"random-{number}")))
        for number in range(MAX_WAITING - len(first))
    ]
    await asyncio.sleep(0)

    error = await world.refused("one more")

    assert error.code == "unknown_key"
    assert not any(task.done() for task in waiting)
    assert len((await world.select()).keys) == 1
    gate.set()
    assert {type(found) for found in await asyncio.gather(*first, *waiting)} == {UnknownKeyError}


async def test_keys_that_are_due_are_waited_for_by_any_number() -> None:
    """
    The bound is for key IDs that are not in hand: everybody else's are, but for the lifetime, and are served.
    """
    world = World()
    await world.select()
    world.clock.now += LIFETIME

    selections = await asyncio.gather(*(world.select() for _ in range(2 * MAX_WAITING)))

    assert len(selections) == 2 * MAX_WAITING
    assert world.server.fetches == 2


# An issuer that fails


async def test_an_unknown_key_id_during_a_pause_is_unavailable_without_a_request() -> None:
    """
    An issuer that just failed is left alone: nobody can say whether it has such a key, so 503, unspent.
    """
    world = World()
    await world.select()
    world.break_down()
    await world.unavailable(NEVER)
    world.recover()
    world.clock.now += PAUSES[0] - 0.1
    for _ in range(10):
        await world.unavailable(NEVER)
    during = world.server.fetches
    fresh = world.server.keys.rotate()
    world.clock.now += 0.1

    selection = await world.select(fresh)

    assert during == 2
    assert [key.kid for key in selection.keys] == [fresh]
    assert world.server.fetches == 3


async def test_a_key_that_could_not_be_asked_for_is_not_one_that_does_not_exist() -> None:
    """
    The fetch for an unknown key ID failed: 503 for that token (C9), and known keys serve on.
    """
    world = World()
    await world.select()
    world.break_down()

    error = await world.unavailable(NEVER)

    assert (error.code, error.retry_after) == ("keys_unavailable", 2.0)
    assert len((await world.select()).keys) == 1


async def test_failed_fetches_count() -> None:
    """
    An issuer that is down is not asked more often than one that is up; beyond the budget it is 503, not 401.
    """
    world = World()
    await world.select()
    world.break_down()
    codes = []

    for pause in (*PAUSES[:2], 0.1, REFETCH_WINDOW - PAUSES[0] - PAUSES[1] - 0.1):
        codes.append((await world.unavailable(NEVER)).code)
        world.clock.now += pause
    fetches = world.server.fetches
    await world.unavailable(NEVER)

    assert codes == ["keys_unavailable"] * 4
    assert fetches == 1 + MAX_REFETCHES
    assert world.server.fetches == fetches + 1
    assert world.told(RefetchBudgetSpent) == []


async def test_failed_fetches_do_not_make_an_unasked_key_an_unknown_one() -> None:
    """
    However often asking failed, a new key's token is 503 until the issuer was asked, and then accepted.
    """
    world = World()
    await world.select()
    fresh = world.server.keys.rotate()
    world.break_down()
    retry_after = []
    for pause in PAUSES[:4]:
        retry_after.append((await world.unavailable(fresh)).retry_after)
        world.clock.now += pause
    world.recover()
    world.clock.now += 30.0

    selection = await world.select(fresh)

    assert min(retry_after) >= 1
    assert [key.kid for key in selection.keys] == [fresh]


async def test_who_joined_a_fetch_that_failed_is_told_the_same() -> None:
    """
    A failed fetch that was joined is not tried again at once.
    """
    world = World()
    await world.select()
    world.break_down()
    gate = holding(world.server)
    waiting = [asyncio.create_task(world.unavailable(NEVER)) for _ in range(10)]
    await until_asked(world.server, 3)
    gate.set()

    errors = await asyncio.gather(*waiting)

    assert {error.code for error in errors} == {"keys_unavailable"}
    assert world.server.fetches == 2


async def test_who_came_when_a_failing_fetch_had_begun_does_not_ask_again() -> None:
    """
    The fetch that was waited for failed: the issuer is left alone, and the key is not said to be unknown.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    await world.select()
    world.break_down()
    gate = holding(world.server)
    early = asyncio.create_task(outcome(world.select(NEVER)))
    await until_asked(world.server, 2)
    joining = asyncio.create_task(outcome(world.select("another")))
    await settle()
    gate.set()

    outcomes = await asyncio.gather(early, joining)

    assert {type(found) for found in outcomes} == {UnavailableError}
    assert world.server.fetches == 2
    assert len(world.told(KeysFetchFailed)) == 1


# What the issuer does not have


async def test_a_key_the_issuer_does_not_have_is_remembered_for_a_minute() -> None:
    """
    Asked for in vain, a key ID is refused without asking again, just inside of 60 s, and asked for at 60 s.
    """
    world = World()
    await world.select()
    await world.refused()
    fetched = []

    for elapsed in (0.0, UNKNOWN_KEY_AGE - 0.1, 0.1):
        world.clock.now += elapsed
        error = await world.refused()
        fetched.append(world.server.fetches - 2)

    assert UNKNOWN_KEY_AGE == 60.0
    assert fetched == [0, 0, 1]
    assert (error.code, error.kid) == ("unknown_key", NEVER)


async def test_a_remembered_key_costs_no_budget() -> None:
    """
    Whoever repeats one wrong key ID does not keep a new key from being asked for.
    """
    world = World()
    await world.select()
    for _ in range(100):
        await world.refused()
    fresh = world.server.keys.rotate()

    selection = await world.select(fresh)

    assert [key.kid for key in selection.keys] == [fresh]
    assert world.told(RefetchBudgetSpent) == []


async def test_a_remembered_key_does_not_wait_for_a_fetch() -> None:
    """
    It is refused at once, even while others wait with the key ID of a new key.
    """
    world = World()
    await world.select()
    await world.refused()
    gate = holding(world.server)
    waiting = asyncio.create_task(outcome(world.select("another")))
    await until_asked(world.server, 5)

    error = await world.refused()

    assert error.kid == NEVER
    assert not waiting.done()
    gate.set()
    await waiting


async def test_a_key_is_remembered_with_its_algorithm() -> None:
    """
    That the issuer has no such key for one algorithm says nothing of another.
    """
    world = World()
    await world.select()
    kid = str(SigningKeys("ES256").current.kid)
    await world.refused(kid)
    added = SigningKeys("ES256").current.jwk() | {"kid": kid}
    world.break_down(jwk_set(world.server.keys.current.jwk(), added))

    selection = await world.key_set.select(kid, "ES256")

    assert [key.kid for key in selection.keys] == [kid]


async def test_a_key_in_hand_is_not_looked_up_among_the_unknown() -> None:
    """
    A key that came with any fetch after it was asked for in vain is used at once.
    """
    world = World()
    await world.select()
    jwk = SigningKeys("EdDSA").current.jwk() | {"kid": NEVER}
    await world.refused()
    world.break_down(jwk_set(world.server.keys.current.jwk(), jwk))
    await world.refused("another")  # and its fetch brings the first one's key

    selection = await world.select(NEVER)

    assert [key.kid for key in selection.keys] == [NEVER]
    assert world.clock.now == 5_000.0


async def test_a_key_that_could_not_be_asked_for_is_not_remembered() -> None:
    """
    Neither a failed fetch nor a spent budget says that the issuer has no such key.
    """
    world = world_with(max_refetches=1, refetch_window=10.0)
    await world.select()
    world.break_down()
    fresh = world.server.keys.rotate()
    await world.unavailable(fresh)
    world.recover()
    world.clock.now += 10.0
    await world.refused()
    await world.refused("over the budget")
    world.clock.now += 10.0

    selection = await world.select(fresh)

    assert [key.kid for key in selection.keys] == [fresh]
    before = world.server.fetches
    world.clock.now += 10.0
    await world.refused("over the budget")
    assert world.server.fetches == before + 1


@pytest.mark.parametrize(
    ("others", "fetches"),
    [
        pytest.param(MAX_UNKNOWN_KEYS - 1, 0, id="as many as are remembered"),
        pytest.param(MAX_UNKNOWN_KEYS, 1, id="one more"),
    ],
)
async def test_so_many_unknown_keys_are_remembered(others: int, fetches: int) -> None:
    """
    Random key IDs do not fill the memory: of the 1,024 last ones it is known, and the oldest is forgotten.
    """
    world = world_with(max_refetches=100)
    await world.select()
    await world.refused()
    await asyncio.gather(*(world.refused(f"random-{number}") for number in range(others)))
    before = world.server.fetches

    await world.refused()

    assert MAX_UNKNOWN_KEYS == 1_024
    assert world.server.fetches == before + fetches


@pytest.mark.parametrize(
    ("settings", "fetches"),
    [
        pytest.param({}, 0, id="as it is"),
        pytest.param({"unknown_key_age": 0}, 1, id="for no time"),
        pytest.param({"max_unknown_keys": 0}, 1, id="none"),
        pytest.param({"unknown_key_age": 5.0}, 1, id="for less time than passed"),
        pytest.param({"unknown_key_age": 5.1}, 0, id="for more time than passed"),
        pytest.param({"max_unknown_keys": 1}, 1, id="only the other"),
        pytest.param({"max_unknown_keys": 2}, 0, id="both"),
    ],
)
async def test_the_memory_of_unknown_keys_is_configurable(settings: dict[str, Any], fetches: int) -> None:
    """
    ``unknown_key_age`` and ``max_unknown_keys`` bound it; zero of either turns it off.
    """
    world = world_with(max_refetches=100, **settings)
    await world.select()
    await world.refused("first")
    await world.refused("other")
    world.clock.now += 5.0
    before = world.server.fetches

    await world.refused("first")

    assert world.server.fetches == before + fetches
