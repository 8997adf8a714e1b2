"""
What a forked child has of its parent's keys: all of them, and none of its parent's locks, tasks and loops.

Each scenario forks in a process of its own, which has no threads but those that the scenario is about.
"""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jwks_world import (
    LIFETIME,
    REFRESH_AT,
    Clock,
    World,
    hold_for_ever,
    holding,
    outcome,
    real_server,
    settle,
    until_asked,
    world_with,
)

from guardrail import Issuer
from guardrail._fork import _renew_all, renew_after_fork
from guardrail._jwks import RemoteKeySet
from guardrail._verifier import TokenCache
from guardrail.errors import UnknownKeyError

pytestmark = pytest.mark.anyio

TESTS = Path(__file__).parent
PATIENCE = 30  # seconds until a child that hangs is ended

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


# In this process: starting over


class Counting:
    """
    Something that counts how often it was renewed.
    """

    renewed = 0

    def renew(self) -> None:
        """
        Count.
        """
        self.renewed += 1


def test_whatever_is_to_be_renewed_is_renewed() -> None:
    """
    All of it, with every fork.
    """
    one, other, unknown = Counting(), Counting(), Counting()
    renew_after_fork(one)
    renew_after_fork(other)

    _renew_all()
    _renew_all()

    assert (one.renewed, other.renewed, unknown.renewed) == (2, 2, 0)


def test_what_is_gone_is_not_renewed() -> None:
    """
    To be renewed keeps nothing alive: key sets and caches that nobody uses any more are let go.
    """
    one, world, cache = Counting(), World(), TokenCache(1)
    renew_after_fork(one)
    gone: list[weakref.ref[Any]] = [
        weakref.ref(one),
        weakref.ref(world.key_set),
        weakref.ref(world.key_set._fetches),
        weakref.ref(cache),
    ]

    del one, world, cache
    gc.collect()

    assert [reference() for reference in gone] == [None] * 4
    _renew_all()


async def test_a_key_set_starts_over_with_the_keys_it_has() -> None:
    """
    Neither a held lock nor a fetch that never ends stands in its way; keys and budget are as they were.
    """
    world = world_with()
    before = await world.select()
    await world.refused()
    gate = holding(world.server)
    waiting = asyncio.create_task(outcome(world.select("another")))
    await until_asked(world.server, 3)
    world.server.hold = None
    world.key_set._fetches.lock.acquire()

    world.key_set._fetches.renew()

    assert not world.key_set._fetches.lock.locked()
    assert await world.select() == before
    assert world.key_set.health().refetches_left == 0
    world.clock.now += LIFETIME
    fresh = world.server.keys.rotate()
    assert [key.kid for key in (await world.select(fresh)).keys] == [fresh]
    gate.set()
    assert isinstance(await waiting, UnknownKeyError)


async def test_a_key_set_starts_over_by_itself() -> None:
    """
    Making it is enough.
    """
    world = world_with()
    await world.select()
    lock = world.key_set._fetches.lock

    _renew_all()

    assert world.key_set._fetches.lock is not lock
    assert len((await world.select()).keys) == 1


# In a process of its own: forking


def child(scenario: Callable[[], None]) -> int:
    """
    Run *scenario* in a forked child, and return the child's process ID.
    """
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(PATIENCE)
    try:
        scenario()
        status = 0
    except BaseException:  # noqa: BLE001 - the child must end here, and say why
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)


def in_a_child(scenario: Callable[[], None]) -> None:
    """
    Run *scenario* in a forked child, which must succeed.
    """
    _, status = os.waitpid(child(scenario), 0)
    assert os.waitstatus_to_exitcode(status) == 0


def arguments(scenario: Callable[..., None], *words: str) -> list[str]:
    """
    The command that runs a function of this module in a fresh process, warnings being errors.
    """
    call = f"import test_fork; test_fork.{scenario.__name__}(*{words!r})"
    return [sys.executable, "-W", "error", "-c", call]


def environment() -> dict[str, str]:
    """
    That of this process, and the place of this module.
    """
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def after_warm_up() -> None:
    """
    A parent has its keys, forks, and goes on; so does the child.
    """
    world = world_with()
    before = asyncio.run(world.select())

    def serve() -> None:
        assert asyncio.run(world.select()) == before
        assert world.key_set.holds(before.generation)
        assert world.server.fetches == 1
        fresh = world.server.keys.rotate()
        assert [key.kid for key in asyncio.run(world.select(fresh)).keys] == [fresh]
        world.clock.now += REFRESH_AT
        asyncio.run(world.refreshed())
        assert world.server.fetches == 3

    in_a_child(serve)
    in_a_child(serve)
    serve()


def with_a_fetch_under_way() -> None:
    """
    A parent forks from its running event loop, in the middle of a fetch: the child has one of its own.
    """
    world = world_with()

    def serve() -> None:
        world.server.hold = None
        assert len(asyncio.run(world.select()).keys) == 1
        assert world.server.fetches == 2

    async def fork() -> None:
        hold_for_ever(world.server)
        waiting = asyncio.create_task(outcome(world.select()))
        await until_asked(world.server, 1)
        in_a_child(serve)
        await world.key_set.aclose()
        await waiting

    asyncio.run(fork())


def with_a_refresh_under_way() -> None:
    """
    A child does not wait for its parent's refresh longer than a fetch may take, and then makes its own.
    """
    world = world_with()

    def serve() -> None:
        world.server.hold = None
        for elapsed in (0.0, 9.9, 0.1):
            world.clock.now += elapsed
            asyncio.run(world.refreshed())
        assert world.server.fetches == 3

    async def fork() -> None:
        await world.select()
        hold_for_ever(world.server)
        world.clock.now += REFRESH_AT
        await world.select()
        await until_asked(world.server, 2)
        in_a_child(serve)
        await world.key_set.aclose()

    asyncio.run(fork())


def with_locks_held_by_another_thread() -> None:
    """
    A parent forks while another thread holds the locks: that thread is not there in the child to let them go.
    """
    world, cache = world_with(), TokenCache(10)
    asyncio.run(world.select())
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with world.key_set._fetches.lock, world.key_set._fetches._flights._lock, cache._lock:
            held.set()
            done.wait(PATIENCE)

    def serve() -> None:
        assert len(asyncio.run(world.select()).keys) == 1
        assert isinstance(asyncio.run(outcome(world.select("unknown"))), UnknownKeyError)
        world.clock.now += LIFETIME
        assert len(asyncio.run(world.select()).keys) == 1
        assert world.key_set.health().state == "ready"
        assert cache.get((0, b"")) is None

    # Python 3.12 warns of any fork of a process with threads, for the very reason this scenario is about.
    warnings.simplefilter("ignore", DeprecationWarning)
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(PATIENCE)
    try:
        in_a_child(serve)
    finally:
        done.set()
        thread.join()


@needs_fork
@pytest.mark.parametrize(
    "scenario",
    [after_warm_up, with_a_fetch_under_way, with_a_refresh_under_way, with_locks_held_by_another_thread],
)
def test_a_forked_child_has_keys(scenario: Callable[[], None]) -> None:
    """
    Whatever its parent was doing, a child answers with the keys it inherited, and fetches new ones.
    """
    ended = subprocess.run(
        arguments(scenario),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")


def over_sockets(url: str, kid: str) -> None:
    """
    A parent fetches with a client of its own, forks twice, and all three fetch again.
    """
    clock = Clock()
    key_set = RemoteKeySet(Issuer(url), monotonic=clock)
    asyncio.run(key_set.select(kid, "EdDSA"))

    def serve() -> None:
        clock.now += LIFETIME
        for _ in range(2):
            (key,) = asyncio.run(key_set.select(kid, "EdDSA")).keys
            assert key.kid == kid

    children = [child(serve) for _ in range(2)]
    serve()
    for pid in children:
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0


@needs_fork
async def test_a_forked_child_fetches_over_sockets_of_its_own() -> None:
    """
    A server that loads the application first and forks its workers then: no connection is shared.
    """
    async with real_server() as server:
        process = await asyncio.create_subprocess_exec(
            *arguments(over_sockets, server.url, server.keys.current.kid),
            env=environment(),
            stderr=asyncio.subprocess.PIPE,
        )
        _, stderr = await asyncio.wait_for(process.communicate(), 2 * PATIENCE)
        await settle()

    assert (process.returncode, stderr) == (0, b"")
    assert server.requests.count("/keys") == 1 + 3
    assert len(server.left) == 1 + 3
