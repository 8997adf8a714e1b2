"""
One fetch for everybody: tasks, threads, event loops; and nobody who waits is left waiting.
"""

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable

import httpx
import pytest

from guardrail.client._deadline import MAX_LEFT, Deadline
from guardrail.client._flight import Flight
from guardrail.errors import TokenUnavailableError

from .kit import World, granted, refused

pytestmark = pytest.mark.anyio


class Gate:
    """
    A token request that hangs until it may go on.
    """

    def __init__(self, answer: httpx.Response | None = None) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._answer = answer or granted("shared")

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        self.reached.set()
        assert self.opened.wait(20)
        return self._answer

    async def is_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 20)


def threads_have_ended() -> None:
    """
    Wait for the threads of fetches.
    """
    for thread in threading.enumerate():
        if thread.name.startswith("guardrail-token"):
            thread.join(20)


async def test_tasks_share_one_fetch() -> None:
    """
    A hundred tasks that need a token cause one request.
    """
    gate = Gate()
    world = World(gate)

    tasks = [asyncio.create_task(world.profile.token()) for _ in range(100)]
    await gate.is_reached()
    gate.opened.set()

    assert set(await asyncio.gather(*tasks)) == {"shared"}
    assert len(world.requests) == 1


async def test_threads_and_loops_share_one_fetch() -> None:
    """
    So do threads with synchronous clients and event loops in other threads, beside the tasks of this one.
    """
    gate, found = Gate(), list[str]()
    world = World(gate)
    together = threading.Barrier(8, timeout=20)

    def in_thread() -> None:
        together.wait()
        found.append(world.get().request.headers["authorization"].removeprefix("Bearer "))

    def in_loop() -> None:
        together.wait()
        found.append(asyncio.run(world.profile.token()))

    threads = [threading.Thread(target=target) for target in (in_thread, in_loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    here = asyncio.create_task(world.profile.token())
    await gate.is_reached()
    gate.opened.set()
    for thread in threads:
        await asyncio.to_thread(thread.join, 20)

    assert [*found, await here] == ["shared"] * 9
    assert len(world.requests) == 1


@pytest.mark.parametrize("cancelled", [0, 1], ids=["the first", "a later one"])
async def test_a_cancelled_waiter_harms_nobody(cancelled: int) -> None:
    """
    Cancelling who waits, the one who started the fetch too, does not cancel the fetch.
    """
    gate = Gate()
    world = World(gate)
    tasks = [asyncio.create_task(world.profile.token()) for _ in range(3)]
    await gate.is_reached()

    tasks[cancelled].cancel()
    await asyncio.wait([tasks[cancelled]])
    gate.opened.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(results.pop(cancelled), asyncio.CancelledError)
    assert results == ["shared", "shared"]
    assert len(world.requests) == 1


async def test_a_fetch_goes_on_when_all_who_waited_are_gone() -> None:
    """
    Its token is there for the next.
    """
    gate = Gate()
    world = World(gate)
    task = asyncio.create_task(world.profile.token())
    await gate.is_reached()
    task.cancel()
    await asyncio.wait([task])

    gate.opened.set()
    await asyncio.to_thread(world.wait_for, "token_fetched")

    assert await world.profile.token() == "shared"
    assert len(world.requests) == 1


async def test_a_failure_goes_to_all_who_wait() -> None:
    """
    Each gets an exception of its own.
    """
    gate = Gate(refused(401))
    world = World(gate)
    tasks = [asyncio.create_task(world.profile.token()) for _ in range(5)]
    await gate.is_reached()

    gate.opened.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(error) for error in errors] == [TokenUnavailableError] * 5
    assert len({id(error) for error in errors}) == 5
    assert len(world.requests) == 1


async def test_the_event_loop_is_not_blocked() -> None:
    """
    While a fetch hangs, other tasks of the loop run.
    """
    gate, turns = Gate(), 0
    world = World(gate)
    task = asyncio.create_task(world.profile.token())
    await gate.is_reached()

    while turns < 100:
        await asyncio.sleep(0)
        turns += 1
    assert not task.done()
    gate.opened.set()

    assert await task == "shared"


def test_a_loop_that_closes_meanwhile_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    """
    Whoever waited on a closed event loop is not there to be told; the fetch ends as ever.
    """
    gate = Gate()
    world = World(gate)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await world.profile.token()

    asyncio.run(give_up())
    gate.opened.set()
    world.wait_for("token_fetched")

    threads_have_ended()
    assert world.get().status_code == 200
    assert len(world.requests) == 1
    assert [record for record in caplog.records if record.levelname in {"ERROR", "WARNING"}] == []


async def test_one_probe_after_a_pause() -> None:
    """
    When the pause is over, many callers at once cause one request.
    """
    gate = Gate()
    world = World(httpx.Response(503), gate)
    with pytest.raises(TokenUnavailableError):
        await world.profile.token()
    world.now += 1.0

    tasks = [asyncio.create_task(world.profile.token()) for _ in range(20)]
    await gate.is_reached()
    gate.opened.set()

    assert set(await asyncio.gather(*tasks)) == {"shared"}
    assert len(world.requests) == 2


async def test_the_fetch_has_no_context_of_a_request() -> None:
    """
    What its first caller has in a context variable is not there for a fetch that all share.
    """
    variable = contextvars.ContextVar("variable", default="nothing")
    seen: list[str] = []

    def answer(_request: httpx.Request) -> httpx.Response:
        seen.append(variable.get())
        return granted()

    world = World(answer)
    variable.set("the first caller's")

    await world.profile.token()

    assert seen == ["nothing"]


def test_no_thread_is_kept() -> None:
    """
    Between fetches a profile has no thread, and nothing keeps it in memory.
    """
    world = World()
    for number in range(3):
        world.get()
        world.profile.invalidate(f"token-{number + 1}")
    threads_have_ended()
    gone = weakref.ref(world.profile)
    world.profile = None  # type: ignore[assignment] # the last reference to it
    gc.collect()

    assert gone() is None
    assert not [one for one in threading.enumerate() if one.name.startswith("guardrail-token")]


def no_thread(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """
    From here on the interpreter makes no thread, as while it shuts down.
    """

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", start)
    return monkeypatch.undo


def test_without_threads_there_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whoever needs one is told, and is not left waiting; later it works again.
    """
    world = World()
    undo = no_thread(monkeypatch)

    with pytest.raises(TokenUnavailableError, match="no thread"):
        world.get()
    undo()
    world.now += 1.0

    assert world.get().status_code == 200


async def test_work_that_raises_ends_a_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A mistake of ours is not hidden, and nobody waits for ever.
    """
    seen: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_value))
    flight: Flight[str] = Flight()
    error = ZeroDivisionError()

    def work() -> str:
        raise error

    flight.begin(work, otherwise=lambda: "otherwise")

    assert (flight.wait(), await flight.wait_async()) == ("otherwise", "otherwise")
    for thread in threading.enumerate():
        if thread.name == "guardrail-token":
            await asyncio.to_thread(thread.join, 20)
    assert seen == [error]


def test_work_is_left_when_time_is_up() -> None:
    """
    Whoever asked goes on; what was begun is told to end.
    """
    deadline, may_end, told = Deadline(), threading.Event(), list[str]()

    with pytest.raises(TimeoutError):
        deadline.run(lambda: may_end.wait(20), seconds=0.01, give_up=lambda: told.append("end"))

    assert told == ["end"]
    assert deadline.run(lambda: "next", seconds=20, give_up=may_end.set) == "next"
    may_end.set()


def test_work_that_was_left_is_bounded() -> None:
    """
    While some never end, no more are begun; when they have ended, the next is.
    """
    deadline, may_end, begun = Deadline(), threading.Event(), list[int]()

    def work() -> bool:
        begun.append(1)
        return may_end.wait(20)

    for _ in range(MAX_LEFT + 2):
        with pytest.raises(TimeoutError):
            deadline.run(work, seconds=0.01, give_up=lambda: None)
    before = len(begun)
    may_end.set()
    for thread in deadline._left:
        thread.join(20)

    assert before == MAX_LEFT
    assert deadline.run(work, seconds=20, give_up=lambda: None)


def test_no_thread_for_a_request_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If the second of two threads cannot be had, it is an outage like any other.
    """
    world = World()
    server = world.profile._source._server
    no_thread(monkeypatch)

    answer = server.request_token(None)

    assert getattr(answer, "error", None) == "connect"
