"""
What tests watch an API with: the events it told of, a clock that can leap, and patience that ends.
"""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from guardrail import events

EventT = TypeVar("EventT", bound=events.Event)

PATIENCE: Final = 15.0  # seconds; what takes as long does not happen
POLL_EVERY: Final = 0.01  # seconds


class Heard:
    """
    A listener that keeps what it hears, in order.
    """

    def __init__(self) -> None:
        self._events: list[events.Event] = []

    def __call__(self, event: events.Event) -> None:
        self._events.append(event)

    def of(self, kind: type[EventT]) -> list[EventT]:
        """
        The events of one *kind*.
        """
        return [event for event in self._events if isinstance(event, kind)]

    def refusal_codes(self) -> list[str]:
        """
        Why the API refused; the answers themselves do not tell.
        """
        return [event.code for event in self.of(events.TokenRefused)]


class LeapingClock:
    """
    A monotonic clock that goes on by itself, and further when told to.
    """

    def __init__(self) -> None:
        self._leapt = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._leapt

    def leap(self, seconds: float) -> None:
        """
        Let *seconds* pass at once.
        """
        self._leapt += seconds


def wait_until(is_so: Callable[[], bool]) -> None:
    """
    Return as soon as *is_so*, asking again and again.

    Raises:
        AssertionError: It was not within `PATIENCE`.
    """
    ends_at = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < ends_at, "waited in vain"
        time.sleep(POLL_EVERY)
