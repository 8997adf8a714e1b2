"""
How old something is, whatever becomes of the wall clock meanwhile.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Instant", "Stopwatch"]


@dataclass(frozen=True, slots=True)
class Instant:
    """
    One moment on both clocks, in seconds.
    """

    wall: float
    monotonic: float


class Stopwatch:
    """
    Tells ages by two clocks, and believes the one that says "older".

    The wall clock goes on while a machine sleeps, and may be set; the monotonic one is never set, and may
    stand still. An age from before the wall clock went back cannot be told, and is infinite.
    """

    def __init__(
        self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            clock: Wall clock, in seconds since the epoch.
            monotonic: Clock for durations, in seconds.
        """
        self._clock = clock
        self._monotonic = monotonic

    def now(self) -> Instant:
        """
        This moment.
        """
        return Instant(self._clock(), self._monotonic())

    def age(self, since: Instant) -> float:
        """
        Seconds from *since* to now, at the most.
        """
        now = self.now()
        if now.wall < since.wall:
            return math.inf
        return max(now.wall - since.wall, now.monotonic - since.monotonic)
