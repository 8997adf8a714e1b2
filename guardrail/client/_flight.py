"""
One piece of work in a thread, and whoever waits for it: threads, and tasks of any event loop.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, TypeVar

from ..errors import PolicyError

__all__ = ["Flight"]

Outcome = TypeVar("Outcome")


class Flight(Generic[Outcome]):
    """
    Work that belongs to nobody who waits for it: cancelling one of them, the first one too, changes nothing.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._future: Future[Outcome] = Future()
        self._future.set_running_or_notify_cancel()  # from here on it cannot be cancelled

    def begin(self, work: Callable[[], Outcome], *, otherwise: Callable[[], Outcome]) -> None:
        """
        Run *work* in a thread that does not keep the process alive.

        Args:
            work: Should not raise; if it does, its thread ends with the exception.
            otherwise: Makes the outcome then, and where there can be no thread, as while the interpreter
                shuts down.
        """

        def run() -> None:
            try:
                outcome = work()
            except BaseException:
                self._future.set_result(otherwise())  # nobody waits for ever, and nothing is hidden
                raise
            self._future.set_result(outcome)

        try:
            # A thread for each fetch, which is one in minutes: none is kept while nothing is to be done.
            self._thread = threading.Thread(target=run, name="guardrail-token", daemon=True)
            self._thread.start()
        except RuntimeError:
            self._future.set_result(otherwise())

    def wait(self) -> Outcome:
        """
        Block this thread until it has ended.

        Raises:
            PolicyError: It is the very thread that does the work, and would wait for itself for ever.
        """
        self._refuse_own_thread()
        return self._future.result()

    async def wait_async(self) -> Outcome:
        """
        Wait on this event loop until it has ended.

        Raises:
            PolicyError: The loop runs in the very thread that does the work.
        """
        self._refuse_own_thread()
        loop = asyncio.get_running_loop()
        landed = loop.create_future()

        def land() -> None:
            if not landed.done():  # or whoever waited was cancelled
                landed.set_result(None)

        def tell(_future: Future[Outcome]) -> None:
            with suppress(RuntimeError):  # that event loop is closed, and nobody waits there
                loop.call_soon_threadsafe(land)

        self._future.add_done_callback(tell)
        await landed
        return self._future.result()

    def _refuse_own_thread(self) -> None:
        if threading.current_thread() is self._thread and not self._future.done():
            raise PolicyError("on_refresh_token must not need a token of its own profile: there is none yet")
