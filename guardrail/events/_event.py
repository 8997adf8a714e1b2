"""
What every event is, and how listeners hear of it.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

__all__ = ["Event", "Listener", "dispatcher", "printable"]

_logger: Final = logging.getLogger("guardrail")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    The base of all events.
    """

    name: ClassVar[str] = "guardrail.event"


Listener = Callable[[Event], object]


def printable(text: str, *, limit: int = 64) -> str:
    """
    Somebody else's text made safe to log: printable ASCII, at most *limit* characters.
    """
    escaped = text[:limit].encode("ascii", "backslashreplace").decode("ascii")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in escaped)[:limit]


def dispatcher(listeners: Iterable[Listener]) -> Listener:
    """
    One callable that hands an event to each of *listeners*, and survives each of them.
    """
    targets = tuple(listeners)

    def emit(event: Event) -> None:
        for listener in targets:
            try:
                listener(event)
            except Exception:  # a broken listener must not refuse, or admit, anybody
                _logger.exception("event listener %r failed on %s", listener, event.name)

    return emit
