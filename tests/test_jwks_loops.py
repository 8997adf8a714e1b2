"""
One key set on several event loops: one after another, side by side, in threads, and stopped in mid-fetch.
"""

import asyncio
import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from jwks_world import (
    ISSUER,
    JWKS_URI,
    LIFETIME,
    PAUSES,
    REFRESH_AT,
    RFC8414,
    Clock,
    Gate,
    World,
    a_new_loop,
    hold_for_ever,
    holding,
    outcome,
    real_server,
    run_a_while,
    settle,
    unpublish,
    until_asked,
    world_with,
)

from guardrail import Issuer
from guardrail._jwks import RemoteKeySet
from guardrail.errors import UnavailableError, UnknownKeyError
from guardrail.events import KeysFetched, KeysFetchFailed

pytestmark = pytest.mark.anyio


# One after another


def test_one_loop_after_another_is_served() -> None:
    """
    Keys outlive the event loop they were fetched on; the next loop fetches again by itself when they are due.
    """
    world = World()

    kids = []
    for _ in range(3):
        selection = asyncio.run(world.select())
        kids.append(selection.keys[0].kid)
        world.clock.now += LIFETIME

    assert kids == [world.server.kid] * 3
    assert world.server.fetches == 3


def test_loops_that_ended_are_let_go() -> None:
    """
    A process that makes loops for ever keeps none of them because its keys were once fetched there.
    """
    world = World()
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def select() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await world.select()

    for _ in range(5):
        asyncio.run(select())
        world.clock.now += LIFETIME

    gc.collect()
    assert len([loop for loop in loops if loop() is not None]) <= 1


def test_a_loop_that_ended_in_mid_fetch_is_not_waited_for() -> None:
    """
    A fetch that went down with its loop is started again by the next caller (D16).
    """
    world = World()

    async def leave_in_the_middle() -> None:
        holding(world.server)
        task = asyncio.create_task(world.select())
        await until_asked(world.server, 1)
        assert not task.done()

    asyncio.run(leave_in_the_middle())
    world.server.hold = None

    selection = asyncio.run(world.select())

    assert len(selection.keys) == 1
    assert world.server.requests == [RFC8414, RFC8414, JWKS_URI]


def test_after_a_failure_one_loop_after_another_still_comes_by_new_keys() -> None:
    """
    Where each request has a loop of its own, a retry must not end with the request that began it (D2).
    """
    world = World()
    world.server.hold = settle  # an answer takes its time
    asyncio.run(world.select())
    gone = unpublish(world.server.keys)
    world.break_down()
    world.clock.now += LIFETIME
    asyncio.run(world.select(gone))
    world.recover()

    outcomes = []
    for _ in range(5):
        world.clock.now += 60.0
        outcomes.append(asyncio.run(outcome(world.select(gone))))

    assert isinstance(outcomes[-1], UnknownKeyError)


def test_a_loop_for_each_request_refreshes_its_keys() -> None:
    """
    Where each request has a loop of its own, a refresh in the background ends with it; keys are renewed yet.
    """
    world = world_with()
    world.server.hold = settle  # an answer takes its time
    asyncio.run(world.select())
    gone = unpublish(world.server.keys)
    world.clock.now += REFRESH_AT

    outcomes = []
    while world.clock.now < 5_000.0 + LIFETIME + 1.0:
        outcomes.append(asyncio.run(outcome(world.select(gone))))
        world.clock.now += 1.0

    assert not isinstance(outcomes[0], Exception)
    assert isinstance(outcomes[-1], UnknownKeyError)
    assert world.server.fetches <= 1 + LIFETIME - REFRESH_AT + 1  # not with each, however many there are


# Stopped


def test_a_stopped_loop_is_not_waited_for() -> None:
    """
    A loop that stands still with a fetch on it, neither done nor cancelled, holds up no other loop.
    """
    world = World()
    with a_new_loop() as stopped:
        hold_for_ever(world.server)
        standing = stopped.create_task(world.select())
        run_a_while(stopped)
        world.server.hold = None

        selection = asyncio.run(world.select())

        assert len(selection.keys) == 1
        assert not standing.done()
        standing.cancel()


def test_a_retry_on_a_loop_that_stopped_does_not_keep_others_from_trying() -> None:
    """
    A retry that stands still on a stopped loop is no reason to use old keys elsewhere (D2).
    """
    world = World()
    with a_new_loop() as stopped:
        stopped.run_until_complete(world.select())
        gone = unpublish(world.server.keys)
        world.break_down()
        world.clock.now += LIFETIME
        stopped.run_until_complete(world.select(gone))
        world.recover()
        world.clock.now += PAUSES[0]
        hold_for_ever(world.server)
        stopped.run_until_complete(world.select(gone))  # begins a retry, and the loop stops
        world.server.hold = None
        world.clock.now += 60.0

        async def ask_and_settle() -> None:
            await outcome(world.select(gone))
            await settle()

        asyncio.run(ask_and_settle())

        error = asyncio.run(outcome(world.select(gone)))
        for task in asyncio.all_tasks(stopped):
            task.cancel()
    assert isinstance(error, UnknownKeyError)


def test_a_refresh_on_a_loop_that_stopped_is_begun_elsewhere_in_time() -> None:
    """
    Twice the time that a fetch may take is enough to wait for another loop's: then somebody else refreshes.
    """
    world = world_with(timeout=5.0)
    with a_new_loop() as stopped:
        stopped.run_until_complete(world.select())
        world.clock.now += REFRESH_AT
        hold_for_ever(world.server)
        stopped.run_until_complete(world.select())
        run_a_while(stopped)  # a refresh that stands still
        world.server.hold = None
        fetches = []

        for elapsed in (0.0, 9.9, 0.1):
            world.clock.now += elapsed
            asyncio.run(world.refreshed())
            fetches.append(world.server.fetches)

        stopped.run_until_complete(world.key_set.aclose())
    assert fetches == [2, 2, 3]


# Side by side


def test_two_loops_fetch_once_each() -> None:
    """
    Loops cannot share a fetch, and each starts one only, however their callers take turns.
    """
    world = World()
    hold_for_ever(world.server)
    with a_new_loop() as one, a_new_loop() as other:
        tasks = []

        for _ in range(5):
            for loop in (one, other):
                tasks.append(loop.create_task(world.select()))
                run_a_while(loop)

        for task in tasks:
            task.cancel()
    assert world.server.requests == [RFC8414, RFC8414]


def test_a_fetch_on_another_loop_is_not_joined_for_free() -> None:
    """
    What runs on another loop cannot be joined, so it does not open the budget: two fetches are two (D1).
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    asyncio.run(world.select())
    with a_new_loop() as other:
        hold_for_ever(world.server)
        tasks = [other.create_task(world.refused())]
        run_a_while(other)  # a fetch that stays under way there

        for _ in range(10):
            world.server.hold = None
            asyncio.run(world.refused())
            hold_for_ever(world.server)
            tasks.append(other.create_task(world.refused()))
            run_a_while(other)

        for task in tasks:
            task.cancel()
    assert world.server.fetches == 1 + 2


def test_an_old_answer_that_comes_late_does_not_bring_a_removed_key_back() -> None:
    """
    Of two fetches on two loops the one begun later has the newer keys, whichever ends first (D2).
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    with a_new_loop() as slow:
        gate = Gate()
        world.server.hold = gate.wait
        gone = world.server.kid
        waiting = slow.create_task(world.select())
        run_a_while(slow)  # its answer, with the old key, is under way
        world.server.hold = None
        unpublish(world.server.keys)
        world.clock.now += 1.0
        asyncio.run(world.select())

        gate.is_open = True
        run_a_while(slow)

        assert isinstance(waiting.exception(), UnknownKeyError)
    assert isinstance(asyncio.run(outcome(world.select(gone))), UnknownKeyError)
    assert len(world.told(KeysFetched)) == 1


def test_an_old_failure_that_comes_late_does_not_count() -> None:
    """
    Of two fetches on two loops the one begun later was answered: the issuer is not down.
    """
    world = world_with()
    world.break_down()
    with a_new_loop() as slow:
        gate = Gate()
        world.server.hold = gate.wait
        waiting = slow.create_task(world.select())
        run_a_while(slow)  # its answer, a failure, is under way
        world.server.hold = None
        world.recover()
        asyncio.run(world.select())

        gate.is_open = True
        run_a_while(slow)

        assert len(waiting.result().keys) == 1
    assert world.told(KeysFetchFailed) == []
    assert world.key_set.health().failures == 0


def test_one_outage_seen_by_several_loops_is_one_failure() -> None:
    """
    The pause does not grow with the number of loops: fetches begun before the first failed add nothing.
    """
    world = world_with()
    world.break_down()
    with a_new_loop() as one, a_new_loop() as other, a_new_loop() as third:
        gate = Gate()
        world.server.hold = gate.wait
        waiting = []
        for loop in (one, other, third):
            waiting.append(loop.create_task(world.select()))
            run_a_while(loop)
        gate.is_open = True

        for loop in (one, other, third):
            run_a_while(loop)

        errors = [task.exception() for task in waiting]
    assert [type(error) for error in errors] == [UnavailableError] * 3
    assert [event.failures for event in world.told(KeysFetchFailed)] == [1]
    world.clock.now += PAUSES[0]
    world.recover()
    assert len(asyncio.run(world.select()).keys) == 1


def test_a_later_fetch_of_another_loop_is_as_good() -> None:
    """
    Whoever waited for a fetch that began too early is judged by one that another loop has made meanwhile.
    """
    world = world_with(max_refetches=1)
    with a_new_loop() as here:
        here.run_until_complete(world.select())
        world.clock.now += REFRESH_AT
        gate = Gate()
        world.server.hold = gate.wait
        here.run_until_complete(world.select())
        run_a_while(here)  # a refresh is under way
        fresh = world.server.keys.rotate()
        waiting = here.create_task(world.select(fresh))
        run_a_while(here)
        world.server.hold = None
        asyncio.run(outcome(world.select("another")))  # takes the one refetch there is

        gate.is_open = True
        run_a_while(here)

        assert [key.kid for key in waiting.result().keys] == [fresh]
    assert world.server.fetches == 3


def test_a_later_fetch_of_another_loop_says_no_as_well() -> None:
    """
    What a fetch begun after the request did not bring does not exist, on whichever loop: nothing is spent.
    """
    world = world_with(max_refetches=2)
    with a_new_loop() as here:
        here.run_until_complete(world.select())
        world.clock.now += REFRESH_AT
        gate = Gate()
        world.server.hold = gate.wait
        here.run_until_complete(world.select())
        run_a_while(here)
        waiting = here.create_task(world.select("one"))
        run_a_while(here)
        world.server.hold = None
        asyncio.run(outcome(world.select("another")))

        gate.is_open = True
        run_a_while(here)

        assert isinstance(waiting.exception(), UnknownKeyError)
    assert world.server.fetches == 3
    assert world.key_set.health().refetches_left == 1
    assert isinstance(asyncio.run(outcome(world.select("one"))), UnknownKeyError)
    assert world.server.fetches == 3


def test_who_waited_in_vain_may_find_the_budget_spent() -> None:
    """
    While a request waited for a fetch that began too early, another loop took the last refetch: refused.
    """
    world = world_with(max_refetches=1)
    with a_new_loop() as here, a_new_loop() as there:
        here.run_until_complete(world.select())
        world.clock.now += REFRESH_AT
        gate = Gate()
        world.server.hold = gate.wait
        here.run_until_complete(world.select())
        run_a_while(here)
        waiting = here.create_task(world.select("one"))
        run_a_while(here)
        hold_for_ever(world.server)
        elsewhere = there.create_task(outcome(world.select("other")))
        run_a_while(there)

        gate.is_open = True
        run_a_while(here)

        assert isinstance(waiting.exception(), UnknownKeyError)
        assert world.server.fetches == 3
        there.run_until_complete(world.key_set.aclose())
        run_a_while(there)
        assert isinstance(elsewhere.result(), UnavailableError)


def test_the_end_is_for_one_loop() -> None:
    """
    ``aclose`` cancels what runs on its own event loop, and leaves others' fetches to them.
    """
    world = world_with()
    with a_new_loop() as one, a_new_loop() as other:
        gate = Gate()
        world.server.hold = gate.wait
        waiting = [loop.create_task(outcome(world.select())) for loop in (one, other)]
        run_a_while(one)
        run_a_while(other)

        one.run_until_complete(world.key_set.aclose())

        gate.is_open = True
        run_a_while(one)
        run_a_while(other)
        cancelled, served = (task.result() for task in waiting)
    assert isinstance(cancelled, UnavailableError)
    assert not isinstance(served, Exception)


def test_loops_in_threads_are_served_at_once() -> None:
    """
    Several loops in several threads use one key set, each getting the right keys.
    """
    world = World()
    barrier = threading.Barrier(8)

    def serve() -> list[str | None]:
        barrier.wait()
        return [asyncio.run(world.select()).keys[0].kid for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        served = [future.result() for future in [pool.submit(serve) for _ in range(8)]]

    assert served == [[world.server.kid] * 20] * 8
    assert 1 <= world.server.fetches <= 8


def test_threads_share_budget_and_memory() -> None:
    """
    Eight loops in eight threads that ask for random key IDs make two refetches, as one loop does.
    """
    world = world_with()
    asyncio.run(world.select())
    barrier = threading.Barrier(8)

    def ask(thread: int) -> list[str]:
        async def flood() -> list[str]:
            found = [await outcome(world.select(f"{thread}-{number}")) for number in range(50)]
            return [error.code for error in found if isinstance(error, UnknownKeyError)]

        barrier.wait()
        return asyncio.run(flood())

    with ThreadPoolExecutor(8) as pool:
        codes = [code for found in pool.map(ask, range(8)) for code in found]

    assert codes == ["unknown_key"] * 400
    assert world.server.fetches == 1 + 2


# An event loop that starts tasks at once


if sys.version_info >= (3, 12):  # asyncio.eager_task_factory is new there

    @pytest.mark.parametrize(
        "is_held", [pytest.param(False, id="answered at once"), pytest.param(True, id="later")]
    )
    def test_tasks_may_start_at_once(is_held: bool) -> None:
        """
        With ``asyncio.eager_task_factory`` a fetch may end before the call that begins it does.
        """
        world = world_with()
        if is_held:
            world.server.hold = settle

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            loop.set_task_factory(asyncio.eager_task_factory)
            selections = await asyncio.gather(*(world.select() for _ in range(1_000)))
            assert {selection.generation for selection in selections} == {0}
            fresh = world.server.keys.rotate()
            found = await asyncio.gather(*(outcome(world.select(kid)) for kid in (fresh, "random", fresh)))
            assert [isinstance(one, UnknownKeyError) for one in found] == [False, True, False]
            world.clock.now += REFRESH_AT
            assert len((await world.select()).keys) == 1
            await settle()
            world.clock.now += LIFETIME
            assert len((await world.select()).keys) == 1
            hold_for_ever(world.server)
            world.clock.now += LIFETIME
            waiting = asyncio.create_task(outcome(world.select()))
            await settle()
            await world.key_set.aclose()
            assert not isinstance(await waiting, Exception)

        asyncio.run(serve())

        # The random key ID came when the fetch for the new one had begun, if only just.
        assert world.server.fetches == 6


# On real sockets


async def test_keys_are_fetched_over_a_real_socket_which_is_then_closed() -> None:
    """
    Without any client given, discovery and key set come over one connection, closed behind the fetch.
    """
    async with real_server() as server:
        key_set = RemoteKeySet(Issuer(server.url))

        selection = await key_set.select(server.keys.current.kid, "EdDSA")

        await asyncio.gather(*(left.wait() for left in server.left))

    assert len(selection.keys) == 1
    assert server.requests == ["/.well-known/oauth-authorization-server", "/keys"]
    assert len(server.left) == 1


async def test_own_clients_serve_one_loop_after_another_and_several_at_once() -> None:
    """
    A client of one's own per fetch belongs to no loop for longer: threads with loops of their own are served.
    """
    clock = Clock()
    async with real_server() as server:
        key_set = RemoteKeySet(Issuer(server.url), monotonic=clock)

        def serve() -> str | None:
            return asyncio.run(key_set.select(server.keys.current.kid, "EdDSA")).keys[0].kid

        kids = []
        for _ in range(2):
            kids += await asyncio.gather(*(asyncio.to_thread(serve) for _ in range(4)))
            clock.now += LIFETIME
        kids += [await asyncio.to_thread(serve)]

    assert kids == [server.keys.current.kid] * 9


async def test_nobody_listening_is_an_unavailable_issuer() -> None:
    """
    A real connection refused is a 503, not a crash.
    """
    async with real_server() as server:
        pass
    key_set = RemoteKeySet(Issuer(server.url))

    with pytest.raises(UnavailableError):
        await key_set.select("any", "EdDSA")
