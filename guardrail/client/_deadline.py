"""
Blocking work that is given up on after a time, however it blocks.

Timeouts of an HTTP client are for one read each: a server that sends a byte every few seconds is never late,
and looking up a name has no timeout at all. So the work runs in a thread of its own, and is left when time
is up.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

__all__ = ["Deadline"]

MAX_LEFT: Final = 4  # threads given up on that may still be there; then nothing is begun

Result = TypeVar("Result")


class Deadline:
    """
    Runs one piece of work after another, each for at most a given time.
    """

    def __init__(self) -> None:
        self._left: list[threading.Thread] = []

    def run(self, work: Callable[[], Result], *, seconds: float, give_up: Callable[[], None]) -> Result:
        """
        What *work* returns; it must not raise.

        Args:
            seconds: How long it may take.
            give_up: Called when that was not enough, to make the work end soon if that can be done.

        Raises:
            TimeoutError: It has not ended in time, or too many others never did.
            RuntimeError: The interpreter makes no new thread.
        """
        self._left = [thread for thread in self._left if thread.is_alive()]
        if len(self._left) >= MAX_LEFT:
            raise TimeoutError
        result: Future[Result] = Future()
        thread = threading.Thread(
            target=lambda: result.set_result(work()), name="guardrail-token-request", daemon=True
        )
        until = time.monotonic() + seconds
        thread.start()
        try:
            return result.result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            self._left.append(thread)
            give_up()
            raise
