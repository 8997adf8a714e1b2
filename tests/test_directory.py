"""
The operator directory: asked once for many, kept for a while, never believed for longer.
"""

import asyncio
import functools
import gc
import inspect
import logging
import subprocess
import sys
import threading
import weakref
from contextvars import ContextVar
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from directory_world import (
    ALICE,
    BOB,
    CHANGED,
    DISABLED,
    MAX_AGE,
    NEGATIVE_MAX_AGE,
    RECORD,
    SECRET,
    TIMEOUT,
    Staff,
    World,
    is_unavailable,
)
from jwks_world import Clock, a_new_loop, in_virtual_time, run_a_while, settle, without_waiting
from test_fork import PATIENCE, environment, in_a_child, needs_fork

from guardrail._fork import _renew_all
from guardrail.directory import CachedDirectory, OperatorDirectory, OperatorKey, OperatorRecord
from guardrail.directory._ages import Stopwatch
from guardrail.directory._look_ups import MAX_CALLS
from guardrail.errors import PolicyError, UnavailableError
from guardrail.events import DirectoryFailed

pytestmark = pytest.mark.anyio


# Keys and records


def test_a_key_is_compared_by_every_part() -> None:
    """
    Keys that differ in one thing are different; equal ones are the same entry.
    """
    others = [
        replace(ALICE, operator_id="svc"),
        replace(ALICE, issuer="https://other.example.org"),
        replace(ALICE, tenant="acme"),
        replace(ALICE, subject="Alice"),
        replace(ALICE, client_id=None),
        replace(ALICE, kind="service"),
    ]

    assert len({ALICE, replace(ALICE), *others}) == 7
    with pytest.raises(FrozenInstanceError):
        ALICE.subject = "bob"  # type: ignore[misc]


def test_a_key_does_not_show_whose_it_is() -> None:
    """
    A directory that logs its key logs no claim value.
    """
    key = replace(ALICE, tenant="acme", client_id="the-client")

    assert repr(key) == "OperatorKey(kind='user', ...)"


def test_a_record_cannot_change() -> None:
    """
    Access groups keep their order; whatever they were made of later does.
    """
    groups = ["Orders:Clerks", "Orders:Api", "Orders:Clerks"]

    record = OperatorRecord("emp-7", access_groups=groups, default_access_group="Orders:Api", roles={"clerk"})
    groups.clear()

    assert record.access_groups == ("Orders:Clerks", "Orders:Api")
    assert (record.roles, record.enabled) == (frozenset({"clerk"}), True)
    assert hash(record) == hash(replace(record))
    with pytest.raises(FrozenInstanceError):
        record.enabled = False  # type: ignore[misc]


def test_a_record_says_nothing_unless_it_does() -> None:
    """
    None keeps, and an empty list takes away.
    """
    one, other = OperatorRecord("emp-7"), OperatorRecord("emp-7", access_groups=[], roles=[])

    assert (one.access_groups, one.default_access_group, one.roles) == (None, None, None)
    assert (other.access_groups, other.roles) == ((), frozenset())


@pytest.mark.parametrize(
    ("operator_id", "settings", "says"),
    [
        pytest.param("", {}, 'such as "svc-orders"', id="no operator"),
        pytest.param(None, {}, 'such as "svc-orders"', id="None for an operator"),
        pytest.param(7, {}, 'such as "svc-orders"', id="a number for an operator"),
        pytest.param("emp", {"enabled": 1}, "enabled must be True or False", id="a number for enabled"),
        pytest.param("emp", {"enabled": None}, "enabled must be True or False", id="None for enabled"),
        pytest.param("emp", {"access_groups": "Orders:Api"}, r'\["Orders:Api"\]', id="a bare access group"),
        pytest.param("emp", {"access_groups": [None]}, r'\["Orders:Api"\]', id="None for an access group"),
        pytest.param("emp", {"roles": "clerk"}, r'\["approver"\]', id="a bare role"),
        pytest.param("emp", {"roles": 7}, r'\["approver"\]', id="a number for roles"),
        pytest.param("emp", {"default_access_group": ""}, 'such as "Orders:Api"', id="an empty default"),
        pytest.param("emp", {"default_access_group": ["a"]}, 'such as "Orders:Api"', id="several defaults"),
        pytest.param(
            "emp",
            {"access_groups": ["a"], "default_access_group": "b"},
            "one of access_groups",
            id="not held",
        ),
        pytest.param(
            "emp", {"access_groups": [], "default_access_group": "b"}, "one of access_groups", id="none held"
        ),
    ],
)
def test_a_wrong_record_cannot_be_made(operator_id: Any, settings: Any, says: str) -> None:
    """
    The message has the right form.
    """
    with pytest.raises(PolicyError, match=says):
        OperatorRecord(operator_id, **settings)


# Settings


class NoDirectory:
    """
    Something else.
    """


class SyncDirectory:
    """
    A directory that would block.
    """

    def resolve(self, _key: OperatorKey) -> OperatorRecord:
        """
        Not awaitable.
        """
        return RECORD


@pytest.mark.parametrize(
    "directory",
    [
        pytest.param(None, id="None"),
        pytest.param(NoDirectory(), id="an object without resolve"),
        pytest.param(Staff, id="a class"),
        pytest.param({"alice": RECORD}, id="a mapping"),
        pytest.param(Staff().resolve, id="its method"),
        pytest.param(SyncDirectory(), id="a directory that blocks"),
    ],
)
def test_what_is_no_directory_is_refused(directory: Any) -> None:
    """
    The message has the right form.
    """
    with pytest.raises(PolicyError, match="async def resolve"):
        CachedDirectory(directory)


async def test_what_wraps_an_async_function_is_a_directory() -> None:
    """
    A decorated method, and an object that is called, are taken at their word.
    """

    def traced(resolve: Any) -> Any:
        @functools.wraps(resolve)
        def wrapper(*args: Any) -> Any:
            return resolve(*args)

        return wrapper

    class Traced:
        resolve = traced(Staff.resolve)
        answer, hold = RECORD, None

        def __init__(self) -> None:
            self.asked: list[OperatorKey] = []

    class Called:
        resolve = staticmethod(functools.partial(Staff().resolve))

    for directory in (Traced(), Called()):
        assert await CachedDirectory(directory).resolve(ALICE) == RECORD


@pytest.mark.parametrize("name", ["max_age", "negative_max_age", "max_stale", "timeout"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "60", None, True], ids=repr)
def test_a_wrong_duration_is_refused(name: str, value: Any) -> None:
    """
    The message names it.
    """
    with pytest.raises(PolicyError, match=f"^{name} must be a number of seconds"):
        CachedDirectory(Staff(), **{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "10", None, 1_000_001], ids=repr)
def test_a_wrong_number_of_entries_is_refused(value: Any) -> None:
    """
    At least one, and no more than fit.
    """
    with pytest.raises(PolicyError, match="max_entries must be a whole number from 1"):
        CachedDirectory(Staff(), max_entries=value)


def test_limits_of_the_settings() -> None:
    """
    Zero is a duration, but for the time-out; a clock can be called.
    """
    CachedDirectory(Staff(), max_age=0, negative_max_age=0, max_stale=0, timeout=0.001, max_entries=1)

    with pytest.raises(PolicyError, match="timeout must be a number of seconds, more than zero"):
        CachedDirectory(Staff(), timeout=0)
    with pytest.raises(PolicyError, match="clock must be callable"):
        CachedDirectory(Staff(), clock=1.0)  # type: ignore[arg-type]


def test_the_defaults_are_the_documented_ones() -> None:
    """
    The signature is the contract's.
    """
    parameters = inspect.signature(CachedDirectory).parameters

    assert {name: one.default for name, one in parameters.items() if name not in {"directory", "clock"}} == {
        "max_age": MAX_AGE,
        "negative_max_age": NEGATIVE_MAX_AGE,
        "max_stale": 0.0,
        "timeout": TIMEOUT,
        "max_entries": 10_000,
    }
    assert {one.kind for one in list(parameters.values())[1:]} == {inspect.Parameter.KEYWORD_ONLY}


# Ages


@pytest.mark.parametrize(
    ("wall", "monotonic", "age"),
    [
        pytest.param(5.0, 5.0, 5.0, id="both go on"),
        pytest.param(5.0, 0.0, 5.0, id="the machine slept"),
        pytest.param(0.0, 5.0, 5.0, id="the wall clock stands still"),
        pytest.param(1.0, 41.0, 41.0, id="the wall clock was set back by less than the age"),
        pytest.param(-0.1, 5.0, float("inf"), id="the wall clock was set back beyond it"),
        pytest.param(3_600.0, 5.0, 3_600.0, id="the wall clock was set ahead"),
    ],
)
def test_ages_do_not_shrink_with_the_wall_clock(wall: float, monotonic: float, age: float) -> None:
    """
    The clock that says "older" is believed.
    """
    clock, other = Clock(), Clock(100.0)
    stopwatch = Stopwatch(clock, other)
    since = stopwatch.now()

    clock.now += wall
    other.now += monotonic

    assert stopwatch.age(since) == pytest.approx(age)


# What is kept


@pytest.mark.parametrize(
    ("answer", "age"),
    [
        pytest.param(RECORD, MAX_AGE, id="a record"),
        pytest.param(DISABLED, MAX_AGE, id="a disabled one"),
        pytest.param(None, NEGATIVE_MAX_AGE, id="no such operator"),
    ],
)
async def test_an_answer_is_used_for_its_age(answer: OperatorRecord | None, age: float) -> None:
    """
    Within it nobody is asked, nor waited for; at it, again.
    """
    world = World(answer)
    await world.ask()

    world.clock.now += age - 0.5
    kept = without_waiting(world.ask())
    looked_up = world.look_ups
    world.clock.now += 0.5
    world.staff.answer = CHANGED

    assert (kept, looked_up) == (answer, 1)
    assert (await world.ask(), world.look_ups) == (CHANGED, 2)


async def test_ages_count_from_when_was_asked() -> None:
    """
    What a slow directory says may be as old as the question.
    """
    world, gate = World(), asyncio.Event()
    world.staff.hold = gate.wait
    asking = asyncio.create_task(world.ask())
    await settle()
    world.clock.now += 1.5
    gate.set()
    await asking

    world.clock.now += MAX_AGE - 1.5

    assert (await world.ask(), world.look_ups) == (RECORD, 2)


async def test_other_numbers() -> None:
    """
    Each setting is the one it says.
    """
    world = World(max_age=5.0, negative_max_age=1.0)
    await world.ask()
    world.staff.answer = None
    await world.ask(BOB)

    world.clock.now += 1.0
    await world.ask()
    await world.ask(BOB)
    after_one = list(world.staff.asked)
    world.clock.now += 4.0
    await world.ask()

    assert after_one == [ALICE, BOB, BOB]
    assert world.staff.asked == [ALICE, BOB, BOB, ALICE]


async def test_without_an_age_nothing_is_kept() -> None:
    """
    Every request asks.
    """
    world = World(max_age=0)

    assert [await world.ask() for _ in range(3)] == [RECORD] * 3
    assert world.look_ups == 3


async def test_keys_are_kept_apart() -> None:
    """
    What is known of one operator through one client says nothing of another.
    """
    world = World()
    await world.ask()
    world.staff.answer = None

    assert await world.ask(BOB) is None
    assert await world.ask(replace(ALICE, client_id="other")) is None
    assert await world.ask(replace(ALICE, tenant="acme")) is None
    assert await world.ask() == RECORD


async def test_no_more_is_kept_than_may_be() -> None:
    """
    The least recently used answer goes first.
    """
    world = World(max_entries=2)
    carol = replace(ALICE, subject="carol")
    await world.ask()
    await world.ask(BOB)
    await world.ask()

    await world.ask(carol)
    await world.ask()
    before = world.look_ups
    await world.ask(BOB)

    assert (before, world.look_ups) == (3, 4)
    assert len(world.cached._cache._kept._answers) == 2


async def test_a_clock_set_back_keeps_nobody_longer() -> None:
    """
    What was asked for in the future is asked for again, and is not used in an outage.
    """
    world = World(max_stale=300.0)
    await world.ask()

    world.clock.now -= 0.5
    world.staff.answer = OSError(SECRET)
    outage = await world.ask()
    world.staff.answer = CHANGED

    assert is_unavailable(outage)
    assert (await world.ask(), world.look_ups) == (CHANGED, 3)


# Once for many


async def test_many_requests_share_a_look_up() -> None:
    """
    Each gets what came of it.
    """
    world, gate = World(), asyncio.Event()
    world.staff.hold = gate.wait
    asking = [asyncio.create_task(world.ask()) for _ in range(50)]
    other = asyncio.create_task(world.ask(BOB))
    await settle()

    gate.set()

    assert await asyncio.gather(*asking, other) == [RECORD] * 51
    assert world.staff.asked == [ALICE, BOB]


async def test_many_requests_share_a_failure_that_is_told_once() -> None:
    """
    And the next one asks again.
    """
    world, gate = World(OSError(SECRET)), asyncio.Event()
    world.staff.hold = gate.wait
    asking = [asyncio.create_task(world.ask()) for _ in range(20)]
    await settle()

    gate.set()
    outcomes = await asyncio.gather(*asking)
    world.staff.answer = RECORD

    assert [is_unavailable(one) for one in outcomes] == [True] * 20
    assert (world.look_ups, world.reasons) == (1, ["raised"])
    assert (await world.ask(), world.look_ups) == (RECORD, 2)


async def test_a_look_up_goes_on_without_the_request_that_began_it() -> None:
    """
    Who is cancelled takes nobody's answer along.
    """
    world, gate = World(), asyncio.Event()
    world.staff.hold = gate.wait
    first = asyncio.create_task(world.ask())
    await settle()
    second = asyncio.create_task(world.ask())
    await settle()

    first.cancel()
    await settle()
    gate.set()

    assert await second == RECORD
    assert first.cancelled()
    assert (await world.ask(), world.look_ups) == (RECORD, 1)


async def test_a_look_up_that_nobody_waits_for_is_kept_all_the_same() -> None:
    """
    The only caller left: its answer is there for the next one.
    """
    world, gate = World(), asyncio.Event()
    world.staff.hold = gate.wait
    asking = asyncio.create_task(world.ask())
    await settle()
    asking.cancel()
    await settle()

    gate.set()
    await settle()

    assert without_waiting(world.ask()) == RECORD
    assert world.look_ups == 1


async def test_a_look_up_sees_nothing_of_the_request_that_began_it() -> None:
    """
    Its context is its own: neither an operator nor a trace of one request is there for all.
    """
    seen: list[str] = []
    variable = ContextVar("variable", default="nobody's")

    class Seeing:
        async def resolve(self, _key: OperatorKey) -> OperatorRecord:
            seen.append(variable.get())
            return RECORD

    variable.set("the first request's")
    await CachedDirectory(Seeing()).resolve(ALICE)

    assert seen == ["nobody's"]


async def test_nothing_is_left_of_look_ups_that_ended() -> None:
    """
    Neither of those that were answered, nor of one that failed, nor of one that was invalidated.
    """
    world = World()
    await world.ask()
    world.staff.answer = OSError(SECRET)
    await world.ask(BOB)
    gate = asyncio.Event()
    world.staff.hold = gate.wait
    asking = asyncio.create_task(world.ask(replace(BOB, tenant="acme")))
    await settle()
    world.cached.invalidate(replace(BOB, tenant="acme"))
    gate.set()
    await asking
    await settle()

    (on_loop,) = world.cached._cache._by_loop.values()

    assert (on_loop.look_ups, on_loop._calls) == ({}, set())


@pytest.mark.parametrize("factory", [None, *filter(None, [getattr(asyncio, "eager_task_factory", None)])])
async def test_a_loop_may_begin_tasks_at_once(factory: Any) -> None:
    """
    Where a new task runs before its creator goes on (Python 3.12), answers are kept and shared as anywhere.
    """
    asyncio.get_running_loop().set_task_factory(factory)
    world, gate = World(), asyncio.Event()
    kept = [await world.ask() for _ in range(2)]
    world.staff.hold = gate.wait

    asking = [asyncio.create_task(world.ask(BOB)) for _ in range(5)]
    await settle()
    gate.set()
    shared = await asyncio.gather(*asking)
    world.staff.answer, world.staff.hold = OSError(SECRET), None
    world.clock.now += MAX_AGE + 0.1

    assert (kept, shared, world.look_ups) == ([RECORD] * 2, [RECORD] * 5, 2)
    assert is_unavailable(await world.ask())


# What goes wrong


class MistakeError(Exception):
    """
    What a directory raises that nobody knows.
    """


@pytest.mark.parametrize(
    ("answer", "reason", "error"),
    [
        pytest.param(OSError(SECRET), "raised", "builtins.OSError", id="no connection"),
        pytest.param(MistakeError(SECRET), "raised", "test_directory.MistakeError", id="whatever it is"),
        pytest.param(PolicyError(SECRET), "raised", "guardrail.errors.PolicyError", id="a wrong record"),
        pytest.param(TimeoutError(SECRET), "raised", "builtins.TimeoutError", id="its own time-out"),
        pytest.param(
            UnavailableError(SECRET), "raised", "guardrail.errors.UnavailableError", id="unavailable itself"
        ),
        pytest.param(GeneratorExit(SECRET), "raised", "builtins.GeneratorExit", id="no Exception"),
        pytest.param(asyncio.CancelledError(SECRET), "cancelled", None, id="what it waits for was cancelled"),
        pytest.param({"operator_id": SECRET}, "wrong_answer", "dict", id="a mapping"),
        pytest.param(SECRET, "wrong_answer", "str", id="a string"),
        pytest.param(False, "wrong_answer", "bool", id="False"),
        pytest.param(OperatorRecord, "wrong_answer", "type", id="the class"),
    ],
)
async def test_what_goes_wrong_lets_nobody_in(
    answer: object, reason: str, error: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """
    It cannot be had: told without a word of what was raised, and asked again with the next request.
    """
    world = World(answer)

    outcome = await world.ask()

    assert is_unavailable(outcome)
    assert world.events == [DirectoryFailed(reason=reason, error=error, has_record=False)]  # type: ignore[arg-type]
    assert SECRET not in f"{outcome!r} {world.events} {caplog.text}"
    world.staff.answer = RECORD
    assert await world.ask() == RECORD


async def test_a_wrong_answer_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """
    It is a mistake in the program: whoever has no listener hears of it too, and not with every request.
    """
    world = World({"operator_id": SECRET})

    await world.ask()
    await world.ask()
    await world.ask(BOB)

    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "Staff.resolve() returned dict" in caplog.text
    assert SECRET not in caplog.text


async def test_what_only_looks_asynchronous_lets_nobody_in() -> None:
    """
    A resolve that is no function, and returns a record that cannot be awaited.
    """

    class Partial:
        resolve = staticmethod(functools.partial(SyncDirectory().resolve))

    class Raising:
        resolve = staticmethod(functools.partial(int, "seven"))

    told: list[Any] = []
    for directory in (Partial(), Raising()):
        with pytest.raises(UnavailableError):
            await CachedDirectory(directory)._cache.look_up(ALICE, told.append)  # type: ignore[arg-type]

    assert [(event.reason, event.error) for event in told] == [
        ("wrong_answer", "OperatorRecord"),
        ("raised", "builtins.TypeError"),
    ]


def test_a_slow_directory_is_given_up() -> None:
    """
    Just within the time-out it is waited for; just beyond it, it is cancelled, and it cannot be had.
    """

    async def scenario(seconds: float) -> tuple[World, Any, float]:
        world = World()
        world.staff.hold = functools.partial(asyncio.sleep, seconds)
        outcome = await world.ask()
        return world, outcome, asyncio.get_running_loop().time()

    world, outcome, took = in_virtual_time(scenario(TIMEOUT - 0.1))
    slow, given_up, waited = in_virtual_time(scenario(TIMEOUT + 0.1))

    assert (outcome, world.reasons) == (RECORD, [])
    assert took == pytest.approx(TIMEOUT - 0.1)
    assert is_unavailable(given_up)
    assert slow.reasons == ["timed_out"]
    assert waited == pytest.approx(TIMEOUT)


def test_another_time_out() -> None:
    """
    The setting is the one that is waited for.
    """

    async def scenario() -> float:
        world = World(timeout=0.3)
        world.staff.hold = asyncio.Event().wait
        assert is_unavailable(await world.ask())
        return asyncio.get_running_loop().time()

    assert in_virtual_time(scenario()) == pytest.approx(0.3)


def test_a_directory_that_cannot_be_cancelled_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    """
    Its callers are answered after the time-out, and what it raises afterwards is not logged.
    """
    ended: list[str] = []

    class Stubborn:
        async def resolve(self, _key: OperatorKey) -> OperatorRecord:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                await asyncio.sleep(10.0)
            ended.append("late")
            raise OSError(SECRET)

    async def scenario() -> float:
        cached = CachedDirectory(Stubborn())
        with pytest.raises(UnavailableError):
            await cached.resolve(ALICE)
        answered = asyncio.get_running_loop().time()
        (on_loop,) = cached._cache._by_loop.values()
        left = len(on_loop._calls)
        await asyncio.sleep(11.0)
        gc.collect()
        assert (left, len(on_loop._calls)) == (1, 0)
        return answered

    assert in_virtual_time(scenario()) == pytest.approx(TIMEOUT)
    assert ended == ["late"]
    assert caplog.text == ""


async def test_so_many_calls_and_no_more() -> None:
    """
    A directory that never returns is not asked without end; who has a record that may be used still uses it.
    """
    world = World(max_stale=300.0)
    await world.ask()
    (on_loop,) = world.cached._cache._by_loop.values()
    stuck: Any = [object() for _ in range(MAX_CALLS)]
    on_loop._calls.update(stuck[1:])

    just_fits = await world.ask(BOB)
    on_loop._calls.update(stuck[:1])
    too_many = await world.ask(replace(BOB, tenant="acme"))
    world.clock.now += MAX_AGE

    assert just_fits == RECORD
    assert is_unavailable(too_many)
    assert await world.ask() == RECORD
    assert (world.look_ups, world.reasons) == (2, ["overloaded", "overloaded"])


async def test_so_many_look_ups_that_have_not_begun_and_no_more() -> None:
    """
    Requests that come all at once are counted before the directory is called for the first of them.
    """
    world = World()
    await world.ask()
    (on_loop,) = world.cached._cache._by_loop.values()
    about_to: Any = {replace(ALICE, subject=f"operator {number}"): object() for number in range(MAX_CALLS)}
    on_loop.look_ups.update(about_to)

    too_many = await world.ask(BOB)
    on_loop.look_ups.popitem()

    assert is_unavailable(too_many)
    assert await world.ask(BOB) == RECORD


async def test_a_look_up_that_has_just_failed_is_not_joined() -> None:
    """
    Not even in the turn of the loop in which it ended: that request asks for itself.
    """
    world = World(OSError(SECRET))
    asking = asyncio.create_task(world.ask())
    await asyncio.sleep(0)
    on_loop = next(iter(world.cached._cache._by_loop.values()))
    flight = on_loop.look_ups[ALICE].flight
    for _ in range(100):
        if flight.task.done():
            break
        await asyncio.sleep(0)
    is_there_still = ALICE in on_loop.look_ups
    world.staff.answer = RECORD

    outcome = await world.ask()

    assert (is_there_still, outcome, world.look_ups) == (True, RECORD, 2)
    assert is_unavailable(await asking)


async def test_a_look_up_whose_loop_is_shut_down_fails() -> None:
    """
    Who waits gets an answer, a task that was cancelled before it began included, and nothing is left of it.
    """
    world = World()
    world.staff.hold = asyncio.Event().wait
    asking = asyncio.create_task(world.ask())
    await asyncio.sleep(0)
    on_loop = next(iter(world.cached._cache._by_loop.values()))
    on_loop.look_ups[ALICE].flight.task.cancel()

    outcome = await asking

    assert is_unavailable(outcome)
    assert (on_loop.look_ups, world.look_ups, world.events) == ({}, 0, [])


async def test_a_call_ends_with_the_look_up_that_is_cancelled() -> None:
    """
    What nobody waits for any more, because its loop ends, is not left to run.
    """
    world, cancelled = World(), list[str]()

    async def hold() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("yes")
            raise

    world.staff.hold = hold
    asking = asyncio.create_task(world.ask())
    await settle()
    on_loop = next(iter(world.cached._cache._by_loop.values()))
    on_loop.look_ups[ALICE].flight.task.cancel()

    assert is_unavailable(await asking)
    await settle()
    assert (cancelled, on_loop._calls) == (["yes"], set())


# Outages


async def test_without_staleness_a_record_ends_with_its_age() -> None:
    """
    In an outage nobody is let in by a record that is older than the age.
    """
    world = World()
    await world.ask()
    world.staff.answer = OSError(SECRET)

    world.clock.now += MAX_AGE
    just_within = await world.ask()
    world.clock.now += 0.1

    assert just_within == RECORD
    assert is_unavailable(await world.ask())


async def test_a_record_is_used_for_so_much_longer_in_an_outage() -> None:
    """
    Up to the age and the staleness together, and each request tries to ask.
    """
    world = World(max_stale=300.0)
    await world.ask()
    world.staff.answer = OSError(SECRET)

    world.clock.now += MAX_AGE + 300.0
    just_within = await world.ask()
    world.clock.now += 0.5
    just_beyond = await world.ask()

    assert just_within == RECORD
    assert is_unavailable(just_beyond)
    assert world.look_ups == 3
    assert [event.has_record for event in world.events if isinstance(event, DirectoryFailed)] == [True, False]


def test_what_another_loop_was_told_meanwhile_is_used_when_asking_fails() -> None:
    """
    It is there, and within its age.
    """
    world, gate = World(OSError(SECRET)), asyncio.Event()
    with a_new_loop() as one, a_new_loop() as other:
        world.staff.hold = gate.wait
        failing = one.create_task(world.ask())
        run_a_while(one)
        world.staff.hold, world.staff.answer = None, RECORD
        other.run_until_complete(world.ask())

        gate.set()

        assert one.run_until_complete(failing) == RECORD
        assert [event.has_record for event in world.events if isinstance(event, DirectoryFailed)] == [True]


async def test_a_failure_is_not_kept() -> None:
    """
    The first request after an outage has the new record; one of the last is not made younger by the outage.
    """
    world = World(max_stale=300.0)
    await world.ask()
    world.clock.now += MAX_AGE
    world.staff.answer = OSError(SECRET)
    assert await world.ask() == RECORD
    world.staff.answer = CHANGED

    assert (await world.ask(), world.look_ups) == (CHANGED, 3)


async def test_that_there_was_no_such_operator_is_nothing_to_go_by_in_an_outage() -> None:
    """
    It is neither let in nor called unknown; and an unknown operator's earlier record is gone.
    """
    world = World(max_stale=300.0)
    await world.ask()
    world.clock.now += MAX_AGE
    world.staff.answer = None
    await world.ask()
    world.clock.now += NEGATIVE_MAX_AGE
    world.staff.answer = OSError(SECRET)

    assert is_unavailable(await world.ask())


async def test_the_failure_says_when_to_try_again() -> None:
    """
    In a second: the next request asks.
    """
    outcome = await World(OSError(SECRET)).ask()

    assert isinstance(outcome, UnavailableError)
    assert outcome.retry_after == 1.0


async def test_a_cached_directory_is_a_directory() -> None:
    """
    It resolves, it raises what becomes 503, and it can be wrapped in its turn.
    """
    staff = Staff()
    inner = CachedDirectory(staff)
    directory: OperatorDirectory = CachedDirectory(inner)

    assert await directory.resolve(ALICE) == RECORD
    assert await directory.resolve(ALICE) == RECORD
    staff.answer = OSError(SECRET)
    with pytest.raises(UnavailableError, match="could not be had"):
        await directory.resolve(BOB)
    assert staff.asked == [ALICE, BOB]


# Taking back


async def test_what_is_invalidated_is_asked_for_again() -> None:
    """
    That key's answer, and no other's.
    """
    world = World()
    await world.ask()
    await world.ask(BOB)
    world.staff.answer = DISABLED

    world.cached.invalidate(ALICE)

    assert await world.ask() == DISABLED
    assert await world.ask(BOB) == RECORD


async def test_what_is_invalidated_is_not_used_in_an_outage_either() -> None:
    """
    Whoever was taken back does not come in with an old record.
    """
    world = World(max_stale=300.0)
    await world.ask()
    world.cached.invalidate(ALICE)
    world.staff.answer = OSError(SECRET)

    assert is_unavailable(await world.ask())


async def test_what_was_begun_before_is_not_kept() -> None:
    """
    A look-up under way may know nothing of the change: who comes after the change begins another.
    """
    world, gate = World(), asyncio.Event()
    world.staff.hold = gate.wait
    before = asyncio.create_task(world.ask())
    await settle()

    world.cached.invalidate(ALICE)
    world.staff.answer, world.staff.hold = DISABLED, None
    after = await world.ask()
    gate.set()

    assert after == DISABLED
    assert await before == RECORD  # its request came before the change, too
    assert (without_waiting(world.ask()), world.look_ups) == (DISABLED, 2)


async def test_what_was_begun_before_is_not_kept_if_nobody_asks_meanwhile() -> None:
    """
    The next request asks.
    """
    world, gate = World(), asyncio.Event()
    world.staff.hold = gate.wait
    before = asyncio.create_task(world.ask())
    await settle()
    world.cached.invalidate(ALICE)
    gate.set()
    await before

    world.staff.answer = DISABLED

    assert await world.ask() == DISABLED


async def test_the_look_up_after_a_change_may_be_joined() -> None:
    """
    The end of the one before it does not take it out.
    """
    world, old, new = World(), asyncio.Event(), asyncio.Event()
    world.staff.hold = old.wait
    first = asyncio.create_task(world.ask())
    await settle()
    world.cached.invalidate(ALICE)
    world.staff.answer, world.staff.hold = CHANGED, new.wait
    second = asyncio.create_task(world.ask())
    await settle()
    old.set()
    await first
    await settle()

    third = asyncio.create_task(world.ask())
    await settle()
    new.set()

    assert [await second, await third] == [CHANGED, CHANGED]
    assert world.look_ups == 2


async def test_what_is_not_known_can_be_invalidated() -> None:
    """
    Nothing comes of it.
    """
    world = World()

    world.cached.invalidate(ALICE)
    await world.ask(BOB)
    world.cached.invalidate(ALICE)

    assert (without_waiting(world.ask(BOB)), world.look_ups) == (RECORD, 1)


@pytest.mark.parametrize("key", ["alice", None, RECORD, (ALICE,)], ids=repr)
def test_only_keys_can_be_invalidated(key: Any) -> None:
    """
    Whoever means to take somebody back by another name is told that nobody was.
    """
    with pytest.raises(TypeError, match="takes an OperatorKey"):
        World().cached.invalidate(key)


# Threads and event loops


def test_event_loops_share_answers_and_not_look_ups() -> None:
    """
    A loop that is held up holds up no other; what one looked up is there for all.
    """
    world = World()
    with a_new_loop() as one, a_new_loop() as other:
        world.staff.hold = asyncio.Event().wait
        stuck = one.create_task(world.ask())
        run_a_while(one)
        world.staff.hold = None

        found = other.run_until_complete(world.ask())

        assert (found, world.look_ups) == (RECORD, 2)
        assert one.run_until_complete(world.ask()) == RECORD
        assert world.look_ups == 2
        assert not stuck.done()
        stuck.cancel()
        run_a_while(one)


def test_a_later_look_up_of_another_loop_is_not_overwritten() -> None:
    """
    What was asked for first and comes last says less.
    """
    world, gate = World(), asyncio.Event()
    with a_new_loop() as one, a_new_loop() as other:
        world.staff.hold = gate.wait
        early = one.create_task(world.ask())
        run_a_while(one)
        world.staff.hold, world.staff.answer = None, CHANGED
        other.run_until_complete(world.ask())

        gate.set()
        one.run_until_complete(early)

        assert other.run_until_complete(world.ask()) == CHANGED
        assert world.look_ups == 2


def test_invalidation_reaches_the_look_ups_of_every_loop() -> None:
    """
    From whichever thread.
    """
    world, gate = World(), asyncio.Event()
    with a_new_loop() as one, a_new_loop() as other:
        world.staff.hold = gate.wait
        early = one.create_task(world.ask())
        run_a_while(one)

        thread = threading.Thread(target=world.cached.invalidate, args=[ALICE])
        thread.start()
        thread.join()
        gate.set()
        one.run_until_complete(early)
        world.staff.hold, world.staff.answer = None, DISABLED

        assert other.run_until_complete(world.ask()) == DISABLED


def test_event_loops_that_are_closed_are_let_go() -> None:
    """
    With whatever was left on them, when there is a new one.
    """
    world = World()
    world.staff.hold = asyncio.Event().wait
    loop = asyncio.new_event_loop()
    task = loop.create_task(world.ask())
    run_a_while(loop)
    task.cancel()
    run_a_while(loop)
    for one in asyncio.all_tasks(loop):
        one.cancel()
    run_a_while(loop)
    loop.close()
    gone = weakref.ref(loop)
    del loop, task, one

    world.staff.hold = None
    with a_new_loop() as other:
        assert other.run_until_complete(world.ask()) == RECORD
        gc.collect()
        assert gone() is None
        assert list(world.cached._cache._by_loop) == [other]


def test_threads_may_share_it() -> None:
    """
    Eight loops in eight threads, some answers forgotten meanwhile: everybody gets the record of his own key.
    """

    class Echo:
        async def resolve(self, key: OperatorKey) -> OperatorRecord:
            await asyncio.sleep(0)
            return OperatorRecord(key.operator_id)

    cached, wrong, keys = CachedDirectory(Echo(), max_entries=5), list[object](), range(9)

    async def work() -> None:
        for turn in range(200):
            key = replace(ALICE, operator_id=f"operator-{turn % len(keys)}")
            record = await cached.resolve(key)
            if record != OperatorRecord(key.operator_id):
                wrong.append(record)
            if turn % 7 == 0:
                cached.invalidate(key)

    threads = [threading.Thread(target=asyncio.run, args=[work()]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert len(cached._cache._kept._answers) <= 5


# Forks


async def test_it_starts_over_by_itself() -> None:
    """
    In a forked child neither a held lock nor another loop's look-up stands in its way, and it asks again.
    """
    world = World()
    await world.ask()
    world.cached._cache._lock.acquire()

    _renew_all()

    assert (await world.ask(), world.look_ups) == (RECORD, 2)


def test_it_is_not_kept_alive() -> None:
    """
    What is renewed in children may go.
    """
    world = World()
    gone = weakref.ref(world.cached._cache)

    del world
    gc.collect()

    assert gone() is None


def with_a_look_up_under_way() -> None:
    """
    A parent forks in the middle of a look-up, the lock being held: the child has look-ups of its own.
    """
    world = World()

    def serve() -> None:
        world.staff.hold = None
        assert asyncio.run(world.ask()) == RECORD
        assert world.look_ups == 2

    async def fork() -> None:
        world.staff.hold = asyncio.Event().wait
        asking = asyncio.create_task(world.ask())
        await settle()
        with world.cached._cache._lock:
            in_a_child(serve)
        asking.cancel()

    asyncio.run(fork())


@needs_fork
def test_a_forked_child_asks_for_itself() -> None:
    """
    Whatever its parent was doing.
    """
    script = "import test_directory; test_directory.with_a_look_up_under_way()"

    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
