"""
Fetches under way: one for any number of callers, nobody's request, and a timeout that counts only what runs.
"""

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from jwks_world import VirtualTimeLoop, a_new_loop, in_virtual_time, run_a_while, settle, without_waiting

from guardrail._flights import MAX_WAITING, RELEASED_PER_TURN, Flight, Flights, running_timeout

pytestmark = pytest.mark.anyio

Fetch = Callable[[Flight], Coroutine[Any, Any, None]]


def until(gate: asyncio.Event) -> Fetch:
    """
    A fetch that ends when *gate* is set.
    """

    async def fetch(_flight: Flight) -> None:
        await gate.wait()

    return fetch


# One flight


async def test_whoever_waits_waits_until_the_end() -> None:
    """
    All of them, and whoever comes when it has ended not at all.
    """
    gate = asyncio.Event()
    flight = Flight(until(gate))
    waiting = [asyncio.create_task(flight.wait()) for _ in range(20)]
    await settle()
    were_waiting = [not task.done() for task in waiting]

    gate.set()
    await asyncio.gather(*waiting)

    assert were_waiting == [True] * 20
    assert flight.task.done()
    without_waiting(flight.wait())


async def test_a_fetch_is_given_its_flight() -> None:
    """
    It can say there which one it is, as soon as it has begun.
    """

    async def fetch(flight: Flight) -> None:
        flight.number = 7

    flight = Flight(fetch)
    before = flight.number
    await flight.wait()

    assert (before, flight.number) == (None, 7)


async def test_who_leaves_takes_nobody_along() -> None:
    """
    A cancelled waiter is gone; the fetch and the others are not.
    """
    gate = asyncio.Event()
    flight = Flight(until(gate))
    first, second = (asyncio.create_task(flight.wait()) for _ in range(2))
    await settle()

    first.cancel()
    await asyncio.wait([first])
    gate.set()
    await second

    assert first.cancelled()
    assert not flight.task.cancelled()


async def test_a_cancelled_fetch_does_not_cancel_those_who_wait() -> None:
    """
    They go on, and see for themselves what there is.
    """
    flight = Flight(until(asyncio.Event()))
    waiting = [asyncio.create_task(flight.wait()) for _ in range(20)]
    await settle()

    flight.task.cancel()

    assert await asyncio.gather(*waiting) == [None] * 20
    assert flight.task.cancelled()


async def test_those_who_waited_go_on_in_order_a_few_per_turn() -> None:
    """
    A thousand who waited do not hold up the loop: whoever needs no fetch gets a turn between each few.
    """
    gate = asyncio.Event()
    flight = Flight(until(gate))
    order: list[int | str] = []

    async def wait(number: int) -> None:
        await flight.wait()
        order.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(100)]
    await settle()
    gate.set()
    for _ in range(40):
        order.append("a turn")
        await asyncio.sleep(0)

    numbers = [entry for entry in order if isinstance(entry, int)]
    runs = [0]
    for entry in order:
        runs.append(0) if entry == "a turn" else runs.append(runs.pop() + 1)
    assert numbers == list(range(100))
    assert max(runs) == RELEASED_PER_TURN == 8
    await asyncio.gather(*waiting)


async def test_who_left_does_not_count_among_those_who_go_on() -> None:
    """
    However many have left, those behind them are not kept waiting for it.
    """
    gate = asyncio.Event()
    flight = Flight(until(gate))
    waiting = [asyncio.create_task(flight.wait()) for _ in range(1_001)]
    await settle()
    for task in waiting[:-1]:
        task.cancel()
    await asyncio.wait(waiting[:-1])
    gate.set()
    for _ in range(4):
        await asyncio.sleep(0)

    assert waiting[-1].done()


@pytest.mark.parametrize("missing", [0, 1])
async def test_a_flight_is_full_when_a_thousand_wait(missing: int) -> None:
    """
    At 1,024, and not with one less.
    """
    gate = asyncio.Event()
    flight = Flight(until(gate))
    waiting = [asyncio.create_task(flight.wait()) for _ in range(1_024 - missing)]
    await asyncio.sleep(0)

    is_full = flight.is_full

    assert MAX_WAITING == 1_024
    assert is_full is (not missing)
    gate.set()
    await asyncio.gather(*waiting)
    assert not flight.is_full


request: ContextVar[str] = ContextVar("request")


async def test_a_fetch_has_a_context_of_its_own() -> None:
    """
    Neither does it see its first caller's context variables, nor do they see what it sets.
    """
    seen: list[str | None] = []

    async def fetch(_flight: Flight) -> None:
        seen.append(request.get(None))
        request.set("the fetch's")

    request.set("the caller's")
    await Flight(fetch).wait()

    assert seen == [None]
    assert request.get() == "the caller's"


# The flights of a key set


async def test_a_flight_runs_until_it_has_ended() -> None:
    """
    From its beginning to its end it is the one that runs; before and after there is none.
    """
    flights, gate = Flights(), asyncio.Event()
    before = flights.running()

    flight = flights.begin(until(gate))

    during = flights.running()
    gate.set()
    await flight.wait()
    assert (before, during, flights.running()) == (None, flight, None)


async def test_after_the_end_another_may_begin() -> None:
    """
    Each is its own.
    """
    flights, gate = Flights(), asyncio.Event()
    gate.set()
    first = flights.begin(until(gate))
    await first.wait()

    second = flights.begin(until(gate))

    assert first is not second
    assert flights.running() is second
    await second.wait()


def test_each_loop_has_its_own() -> None:
    """
    A flight of another loop does not run here, and is not cancelled from here.
    """
    flights = Flights()

    async def begin() -> Flight:
        return flights.begin(until(asyncio.Event()))

    async def running() -> Flight | None:
        return flights.running()

    with a_new_loop() as one, a_new_loop() as other:
        first = one.run_until_complete(begin())
        nothing = other.run_until_complete(running())
        second = other.run_until_complete(begin())
        other.run_until_complete(flights.cancel())
        run_a_while(one)

        assert nothing is None
        assert one.run_until_complete(running()) is first
        assert not first.task.done()
        assert second.task.cancelled()


async def test_the_running_flight_is_cancelled_and_waited_for() -> None:
    """
    When `cancel` returns, the fetch has cleaned up behind it.
    """
    flights = Flights()
    steps: list[str] = []

    async def fetch(_flight: Flight) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    flight = flights.begin(fetch)
    await settle()

    await flights.cancel()
    steps.append("returned")

    assert steps == ["cleaned up", "returned"]
    assert flight.task.cancelled()
    assert flights.running() is None


async def test_nothing_is_cancelled_where_nothing_runs() -> None:
    """
    Neither before the first nor after the last.
    """
    flights, gate = Flights(), asyncio.Event()
    await flights.cancel()
    gate.set()
    flight = flights.begin(until(gate))
    await flight.wait()

    await flights.cancel()

    assert not flight.task.cancelled()


def test_closed_loops_are_let_go() -> None:
    """
    The next flight, on whichever loop, forgets those of loops that are closed.
    """
    flights = Flights()
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def begin() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        gate = asyncio.Event()
        gate.set()
        await flights.begin(until(gate)).wait()

    for _ in range(5):
        asyncio.run(begin())

    gc.collect()
    assert [loop() is not None for loop in loops] == [False] * 4 + [True]


# The timeout


@pytest.mark.parametrize(
    ("seconds", "is_over"),
    [pytest.param(4.99, False, id="just in time"), pytest.param(5.01, True, id="too long")],
)
def test_a_timeout_is_over_when_its_seconds_are(seconds: float, is_over: bool) -> None:
    """
    Not before, and not after.
    """

    async def take() -> tuple[bool, float]:
        began = asyncio.get_running_loop().time()
        try:
            async with running_timeout(5.0):
                await asyncio.sleep(seconds)
        except TimeoutError:
            return True, asyncio.get_running_loop().time() - began
        return False, asyncio.get_running_loop().time() - began

    was_over, took = in_virtual_time(take())

    assert was_over is is_over
    assert took == pytest.approx(min(seconds, 5.0))


@pytest.mark.parametrize(
    ("seconds", "is_over"), [pytest.param(4.5, False, id="in time"), pytest.param(5.1, True, id="too long")]
)
def test_a_timeout_does_not_count_the_time_in_which_the_loop_stands_still(
    seconds: float, is_over: bool
) -> None:
    """
    A handler that holds up the loop for a minute costs a fetch a twentieth of its time, not all of it.
    """

    async def take() -> bool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        try:
            async with running_timeout(5.0):
                loop.virtual.waited += 60.0  # as if something had run for a minute
                for _ in range(100):
                    await asyncio.sleep(seconds / 100)
        except TimeoutError:
            return True
        return False

    assert in_virtual_time(take()) is is_over


def test_a_timeout_that_was_not_needed_leaves_nothing_behind() -> None:
    """
    No timer goes off later, in somebody else's time.
    """

    went_wrong: list[object] = []

    async def take() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: went_wrong.append(context))
        async with running_timeout(5.0):
            await asyncio.sleep(1.0)
        await asyncio.sleep(100.0)

    in_virtual_time(take())

    assert went_wrong == []


def test_what_fails_within_a_timeout_fails_as_it_did() -> None:
    """
    Another exception is not made a timeout, nor is a cancellation.
    """

    async def fail() -> None:
        async with running_timeout(5.0):
            raise ValueError("as it was")

    async def wait() -> None:
        async with running_timeout(5.0):
            await asyncio.Event().wait()

    async def cancel() -> bool:
        task = asyncio.create_task(wait())
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    with pytest.raises(ValueError, match="as it was"):
        in_virtual_time(fail())
    assert in_virtual_time(cancel())
