"""
Fetches under way: at most one on each event loop, in a task that is nobody's request.
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

__all__ = ["Flight", "Flights"]

MAX_WAITING: Final = 1_024  # requests; many more make each pass of the garbage collector felt
TICKS: Final = 20  # pieces a timeout is counted in; a loop that stands still loses one
RELEASED_PER_TURN: Final = 8  # those who waited, per turn of the loop


class Flight:
    """
    A fetch on one event loop.

    Attributes:
        number: Its number, from when it begins: who came before that shares in it.
    """

    def __init__(self, fetch: Callable[["Flight"], Coroutine[Any, Any, None]]) -> None:
        """
        Run *fetch* on this event loop, soon. Its outcome goes elsewhere, and is never an exception.
        """
        self.number: int | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        # A context of its own: what its first caller has in one must not be there for all who share it.
        self.task = contextvars.Context().run(self._loop.create_task, fetch(self))
        self.task.add_done_callback(self._release)

    @property
    def is_full(self) -> bool:
        """
        Whether as many wait for it as may wait with a key ID that is not in hand.
        """
        return len(self._waiting) >= MAX_WAITING

    async def wait(self) -> None:
        """
        Wait until it has ended. Who waits may be cancelled, and it goes on for the others; or it is, and
        those who waited are not.
        """
        if not self.task.done():
            waiter = self._loop.create_future()
            self._waiting.append(waiter)
            await waiter

    def _release(self, _task: asyncio.Task[None] | None = None) -> None:
        """
        Let those who wait go on, a few in each turn of the loop: whoever needs no fetch gets a turn between.
        """
        released = 0
        while self._waiting and released < RELEASED_PER_TURN:
            waiter = self._waiting.popleft()
            if not waiter.done():  # or it was cancelled
                waiter.set_result(None)
                released += 1
        if self._waiting:
            self._loop.call_soon(self._release)


@asynccontextmanager
async def running_timeout(seconds: float) -> AsyncGenerator[None]:
    """
    A timeout that counts the time in which the event loop runs.

    While a handler holds the loop up, answers that are there cannot be taken: that is not the issuer's fault.

    Raises:
        TimeoutError: *seconds* were not enough.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:
        timers: list[asyncio.TimerHandle] = []

        def tick(left: int) -> None:
            if left:
                timers[:] = [loop.call_later(seconds / TICKS, tick, left - 1)]
            else:
                scope.reschedule(loop.time())

        tick(TICKS)
        try:
            yield
        finally:
            timers[0].cancel()


class Flights:
    """
    The fetches of one issuer's keys. One of another event loop cannot be waited for.
    """

    def __init__(self) -> None:
        self._by_loop: dict[asyncio.AbstractEventLoop, Flight] = {}
        self._lock = threading.Lock()

    def running(self) -> Flight | None:
        """
        The fetch that runs on this event loop, or is about to.
        """
        flight = self._by_loop.get(asyncio.get_running_loop())
        return None if flight is None or flight.task.done() else flight

    def begin(self, fetch: Callable[[Flight], Coroutine[Any, Any, None]]) -> Flight:
        """
        Run *fetch* on this event loop, soon.
        """
        loop, flight = asyncio.get_running_loop(), Flight(fetch)
        with self._lock:
            self._by_loop = {one: other for one, other in self._by_loop.items() if not one.is_closed()}
            self._by_loop[loop] = flight
        return flight

    async def cancel(self) -> None:
        """
        Cancel the fetch of this event loop, if one runs, and see it end.
        """
        flight = self.running()
        if flight is not None:
            with self._lock:  # who comes from here on does not join what ends without an answer
                del self._by_loop[asyncio.get_running_loop()]
            flight.task.cancel()
            await flight.wait()
