"""
`CachedDirectory`: another directory's answers, kept for a while.
"""

import inspect
import time
from collections.abc import Callable
from functools import partial

from .._fork import renew_after_fork
from .._settings import require_callables, require_count, require_seconds
from ..errors import PolicyError
from ..events import Event
from ._ages import Stopwatch
from ._cache import DirectoryCache
from ._kept import KeptAnswers
from ._records import OperatorDirectory, OperatorKey, OperatorRecord

__all__ = ["CachedDirectory"]


class CachedDirectory:
    """
    Another directory's answers, kept for a while in this process, each asked for once at a time.

    A look-up goes on when the request that began it is cancelled. Failures are not kept: the next request
    asks again. It may be shared by threads, event loops and middlewares; a forked child starts empty.

    Args:
        directory: Whom to ask.
        max_age: Seconds for which a record is used without asking, 60 by default: that long at most a change
            takes to be seen. They count from when it was asked for. 0 keeps nothing.
        negative_max_age: The same for "no such operator", 10 by default.
        max_stale: Seconds beyond *max_age* for which a record is used when asking fails; 0, the default, for
            none. Who is disabled during an outage is let in for that long.
        timeout: Seconds a look-up may take, 2 by default. Those during which the event loop stands still
            count in part.
        max_entries: How many answers to keep, 10,000 by default; the least recently used go first.
        clock: Wall clock, in seconds since the epoch. When it is set back, records are asked for again; a
            monotonic clock beside it sees to it that none gets older for that.

    Raises:
        PolicyError: A setting is wrong, or *directory* has no ``async def resolve``.
    """

    def __init__(
        self,
        directory: OperatorDirectory,
        *,
        max_age: float = 60.0,
        negative_max_age: float = 10.0,
        max_stale: float = 0.0,
        timeout: float = 2.0,
        max_entries: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _require_directory(directory)
        ages = {"max_age": max_age, "negative_max_age": negative_max_age, "max_stale": max_stale}
        for name, value in ages.items():
            require_seconds(name, value, is_positive=False)
        require_seconds("timeout", timeout, is_positive=True)
        require_count("max_entries", max_entries, least=1)
        require_callables(clock=clock)
        stopwatch = Stopwatch(clock)
        kept = partial(KeptAnswers, **ages, max_entries=max_entries, stopwatch=stopwatch)
        self._cache = DirectoryCache(directory, kept=kept, timeout=timeout, stopwatch=stopwatch)
        renew_after_fork(self._cache)

    async def resolve(self, key: OperatorKey) -> OperatorRecord | None:
        """
        The operator's record, or None if there is no such operator. Does not judge it.

        Raises:
            UnavailableError: The directory cannot be had, and there is no record that may still be used.
        """
        return await self._cache.look_up(key, _nobody)

    def invalidate(self, key: OperatorKey) -> None:
        """
        Ask again for *key* with the next request, here, in this process; a look-up under way is not kept.

        Raises:
            TypeError: *key* is no `OperatorKey`: nothing would be forgotten.
        """
        if not isinstance(key, OperatorKey):
            raise TypeError(f"invalidate() takes an OperatorKey, as resolve() got it; got {type(key)}")
        self._cache.invalidate(key)


def _require_directory(directory: object) -> None:
    resolve = getattr(directory, "resolve", None)
    # What is callable and no function may return an awaitable all the same.
    is_sync = inspect.isroutine(resolve) and not inspect.iscoroutinefunction(inspect.unwrap(resolve))
    if isinstance(directory, type) or not callable(resolve) or is_sync:
        raise PolicyError(
            "directory must be an object with `async def resolve(self, key)`, such as StaffDirectory(); "
            f"got {directory!r}"
        )


def _nobody(_: Event) -> None:
    """
    The listener where nobody listens.
    """
