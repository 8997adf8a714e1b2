"""
What is counted, and for how many at most.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["ClientTally", "OutboundTally", "PackageTally", "Tallies", "Tally"]


class Countable(Protocol):
    """
    What is kept for one key.
    """

    def as_dict(self, now: float) -> dict[str, Any]:
        """
        How it stands at *now*, for JSON.
        """
        ...


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value", bound=Countable)


class Tallies(Generic[Key, Value]):
    """
    At most *limit* tallies by key. One more puts out the one that was touched least recently.

    Not safe for threads by itself.

    Attributes:
        forgotten: How many were put out.
    """

    def __init__(self, make: Callable[[], Value], *, limit: int) -> None:
        self._make = make
        self._limit = limit
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self.forgotten = 0

    def touch(self, key: Key) -> Value:
        """
        The tally of *key*, begun if there is none; it is now the last to be put out.
        """
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        if len(self._kept) >= self._limit:
            self._kept.popitem(last=False)
            self.forgotten += 1
        self._kept[key] = made = self._make()
        return made

    def rows(self, describe: Callable[[Key], dict[str, Any]], now: float) -> list[dict[str, Any]]:
        """
        What is kept, touched last first: the key as *describe* has it, and its tally.
        """
        return [describe(key) | value.as_dict(now) for key, value in reversed(self._kept.items())]


@dataclass(slots=True)
class Tally:
    """
    How often something happened, and when last.
    """

    count: int = 0
    last_at: float = 0.0

    def add(self, now: float) -> None:
        """
        Once more, at *now*.
        """
        self.count += 1
        self.last_at = now

    def as_dict(self, now: float) -> dict[str, Any]:
        """
        How it stands at *now*.
        """
        return {"count": self.count, "seconds_ago": max(0.0, now - self.last_at)}


@dataclass(slots=True)
class PackageTally:
    """
    What became of one package's requests. Codes come from `guardrail.errors.CODES`.
    """

    accepted: int = 0
    not_enforced: int = 0
    refused: dict[str, int] = field(default_factory=dict[str, int])

    def add_refusal(self, code: str, *, is_enforced: bool) -> None:
        """
        A request was refused, or would have been.
        """
        self.refused[code] = self.refused.get(code, 0) + 1
        self.not_enforced += not is_enforced

    def as_dict(self, now: float) -> dict[str, Any]:  # noqa: ARG002 - as all tallies have it
        """
        What there is; the most frequent refusals first.
        """
        by_count = sorted(self.refused.items(), key=lambda one: (-one[1], one[0]))
        return {"accepted": self.accepted, "not_enforced": self.not_enforced, "refused": dict(by_count)}


@dataclass(slots=True)
class ClientTally(Tally):
    """
    One client's accepted requests, and how much life its tokens had left.
    """

    nearly_expired: int = 0
    least_left: float | None = None

    def add_token(self, seconds_left: float, *, limit: float) -> None:
        """
        A token came with *seconds_left*; with at most *limit* it is nearly expired.
        """
        self.nearly_expired += seconds_left <= limit
        self.least_left = seconds_left if self.least_left is None else min(self.least_left, seconds_left)

    def as_dict(self, now: float) -> dict[str, Any]:
        """
        How it stands at *now*.
        """
        counted = Tally.as_dict(self, now)
        return counted | {"nearly_expired": self.nearly_expired, "least_seconds_left": self.least_left}


@dataclass(slots=True)
class OutboundTally:
    """
    One client's tokens for calls of ours, as of the last events.
    """

    fetched: int = 0
    failed: int = 0
    rejected: int = 0
    ends_at: float | None = None
    error: str | None = None
    retry_at: float | None = None
    is_circuit_open: bool = False

    def as_dict(self, now: float) -> dict[str, Any]:
        """
        How it stands at *now*.
        """
        return {
            "seconds_left": _until(self.ends_at, now),
            "fetched": self.fetched,
            "failed": self.failed,
            "rejected": self.rejected,
            "error": self.error,
            "retry_in": _until(self.retry_at, now),
            "is_circuit_open": self.is_circuit_open,
        }


def _until(when: float | None, now: float) -> float | None:
    return None if when is None else max(0.0, when - now)
