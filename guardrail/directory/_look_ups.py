"""
Look-ups under way: at most one for each key on each event loop, in a task that is nobody's request.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from .._flights import Flight, running_timeout
from ..events._directory import DirectoryFailure
from ._ages import Instant
from ._records import OperatorDirectory, OperatorKey, OperatorRecord

__all__ = ["Failure", "LookUp", "OnLoop", "Outcome"]

MAX_CALLS: Final = 10_000  # of a directory, on one event loop, that have not returned


@dataclass(frozen=True, slots=True)
class Failure:
    """
    Why there is no answer.

    Attributes:
        reason: Which way it failed.
        error: The name of the class that was raised, or of what was returned; never its text.
    """

    reason: DirectoryFailure
    error: str | None = None


Outcome = OperatorRecord | Failure | None  # None: there is no such operator


@dataclass(slots=True, eq=False)
class LookUp:
    """
    One question to a directory, and what became of it.

    Attributes:
        key: Whom it is about.
        number: A later one has a greater number.
        begun_at: When it began.
        outcome: What came of it. As long as nothing has, that is its failure.
        is_current: Whether its answer may be kept: nobody has said since that there is a newer one.
        flight: Its task, and who waits for it.
    """

    key: OperatorKey
    number: int
    begun_at: Instant
    outcome: Outcome = Failure("cancelled")
    is_current: bool = True
    flight: Flight = field(init=False)

    def begin(self, run: Callable[["LookUp"], Coroutine[Any, Any, None]]) -> None:
        """
        Let *run* find the outcome, soon, in a task and a context of its own.
        """
        self.flight = Flight(lambda _: run(self))


class OnLoop:
    """
    What runs on one event loop.

    Attributes:
        look_ups: Those that may be joined.
    """

    def __init__(self) -> None:
        self.look_ups: dict[OperatorKey, LookUp] = {}
        self._calls: set[asyncio.Task[OperatorRecord | None]] = set()

    @property
    def is_full(self) -> bool:
        """
        Whether so much was asked, and never answered, that to ask once more is of no use.
        """
        return max(len(self.look_ups), len(self._calls)) >= MAX_CALLS

    def running(self, key: OperatorKey) -> LookUp | None:
        """
        The look-up to join, if there is one.
        """
        found = self.look_ups.get(key)
        return None if found is None or found.flight.task.done() else found

    async def call(self, directory: OperatorDirectory, key: OperatorKey, *, seconds: float) -> Outcome:
        """
        Ask *directory*, and wait for *seconds* at most.

        The call has a task of its own: one that does not let itself be cancelled is left alone, and counted.
        """
        call = asyncio.get_running_loop().create_task(_resolve(directory, key))
        self._calls.add(call)
        call.add_done_callback(self._returned)
        try:
            async with running_timeout(seconds):
                await asyncio.wait({call})
        except TimeoutError:
            return Failure("timed_out")
        finally:
            call.cancel()
        return _outcome_of(call)

    def _returned(self, call: asyncio.Task[OperatorRecord | None]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # seen: asyncio's own log would have its text


class _WrongAnswerError(Exception):
    """
    Raised when a directory returns something else than it should.
    """

    def __init__(self, answer: object) -> None:
        self.name = type(answer).__qualname__
        super().__init__(self.name)


async def _resolve(directory: OperatorDirectory, key: OperatorKey) -> OperatorRecord | None:
    answer: object = directory.resolve(key)
    if not inspect.isawaitable(answer):
        raise _WrongAnswerError(answer)
    found: object = await answer
    if found is not None and not isinstance(found, OperatorRecord):
        raise _WrongAnswerError(found)
    return found


def _outcome_of(call: asyncio.Task[OperatorRecord | None]) -> Outcome:
    if call.cancelled():  # by whatever the directory waits for, in the middle of it
        return Failure("cancelled")
    error = call.exception()
    if error is None:
        return call.result()
    if isinstance(error, _WrongAnswerError):
        return Failure("wrong_answer", error.name)
    return Failure("raised", f"{type(error).__module__}.{type(error).__qualname__}")
