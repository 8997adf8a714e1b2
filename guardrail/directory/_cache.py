"""
A directory asked once for any number of requests, its answers kept.
"""

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Final

from ..errors import UnavailableError
from ..events import DirectoryFailed, Listener
from ..events._event import printable
from ._ages import Stopwatch
from ._kept import Answer, KeptAnswers
from ._look_ups import Failure, LookUp, OnLoop, Outcome
from ._records import OperatorDirectory, OperatorKey, OperatorRecord

__all__ = ["DirectoryCache"]

_logger: Final = logging.getLogger("guardrail")


class DirectoryCache:
    """
    What is behind a `CachedDirectory`; used by any number of tasks, threads and event loops.

    A loop cannot wait for another one's look-up: each has its own, and they share the answers.
    """

    def __init__(
        self,
        directory: OperatorDirectory,
        *,
        kept: Callable[[], KeptAnswers],
        timeout: float,
        stopwatch: Stopwatch,
    ) -> None:
        """
        Args:
            directory: Whom to ask.
            kept: Makes an empty place for answers.
            timeout: Seconds after which a look-up has failed.
            stopwatch: Tells when it began.
        """
        self._directory = directory
        self._new_kept = kept
        self._timeout = timeout
        self._stopwatch = stopwatch
        self._numbers = itertools.count()
        self._has_logged = False
        self.renew()

    def renew(self) -> None:
        """
        Forget everything, and whatever lock another thread holds: in a forked child, nobody does.
        """
        self._lock = threading.Lock()
        self._kept = self._new_kept()
        self._by_loop: dict[asyncio.AbstractEventLoop, OnLoop] = {}

    async def look_up(self, key: OperatorKey, emit: Listener) -> OperatorRecord | None:
        """
        The record, or None for "no such operator"; without giving way to anybody if that is kept.

        Args:
            key: Whom it is about.
            emit: Hears of a look-up that begins here and fails.

        Raises:
            UnavailableError: The directory cannot be had, and there is no record that may still be used.
        """
        with self._lock:
            answer = self._kept.fresh(key)
        if answer is not None:
            return answer.record
        outcome = await self._outcome(key, emit)
        if not isinstance(outcome, Failure):
            return outcome
        with self._lock:
            record = self._kept.last(key)
        if record is None:
            raise UnavailableError("the operator directory could not be had", code="directory_unavailable")
        return record

    def invalidate(self, key: OperatorKey) -> None:
        """
        Forget what is known of *key*; of a look-up under way nothing will be kept, and nobody else joins it.
        """
        with self._lock:
            self._kept.discard(key)
            for on_loop in self._by_loop.values():
                look_up = on_loop.look_ups.pop(key, None)
                if look_up is not None:
                    look_up.is_current = False

    async def _outcome(self, key: OperatorKey, emit: Listener) -> Outcome:
        with self._lock:
            on_loop = self._on_this_loop()
            look_up = on_loop.running(key)
        if look_up is None:
            if on_loop.is_full:
                self._tell(key, Failure("overloaded"), emit)
                return Failure("overloaded")
            look_up = self._begin(key, on_loop, emit)
        await look_up.flight.wait()
        return look_up.outcome

    def _on_this_loop(self) -> OnLoop:
        loop = asyncio.get_running_loop()
        if loop not in self._by_loop:
            self._by_loop = {one: other for one, other in self._by_loop.items() if not one.is_closed()}
            self._by_loop[loop] = OnLoop()
        return self._by_loop[loop]

    def _begin(self, key: OperatorKey, on_loop: OnLoop, emit: Listener) -> LookUp:
        with self._lock:
            look_up = LookUp(key, number=next(self._numbers), begun_at=self._stopwatch.now())
            on_loop.look_ups[key] = look_up

        async def run(look_up: LookUp) -> None:
            look_up.outcome = await on_loop.call(self._directory, key, seconds=self._timeout)
            self._ended(look_up, look_up.outcome, emit)

        def leave(_task: asyncio.Task[None]) -> None:
            with self._lock:
                if on_loop.look_ups.get(key) is look_up:
                    del on_loop.look_ups[key]

        # Not under the lock: a loop may be set to run a new task at once.
        look_up.begin(run)
        look_up.flight.task.add_done_callback(leave)
        return look_up

    def _ended(self, look_up: LookUp, outcome: Outcome, emit: Listener) -> None:
        if isinstance(outcome, Failure):
            self._tell(look_up.key, outcome, emit)
            return
        with self._lock:
            if look_up.is_current:
                self._kept.put(look_up.key, Answer(outcome, look_up.begun_at, look_up.number))

    def _tell(self, key: OperatorKey, failure: Failure, emit: Listener) -> None:
        with self._lock:
            has_record = self._kept.last(key) is not None
        error = None if failure.error is None else printable(failure.error, limit=128)
        if failure.reason == "wrong_answer" and not self._has_logged:
            # A mistake in the program, which nothing but a change of it puts right.
            self._has_logged = True
            _logger.error(
                "%s.resolve() returned %s: it must be `async def`, and return an OperatorRecord "
                "or None; its callers are refused with 503",
                type(self._directory).__qualname__,
                error,
            )
        emit(DirectoryFailed(reason=failure.reason, error=error, has_record=has_record))
