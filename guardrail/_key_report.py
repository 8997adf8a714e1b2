"""
What is told of one issuer's keys: events as things happen, and health when somebody asks.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from ._health import IssuerHealth, IssuerState
from ._issuer import Issuer
from ._key_state import KeyState, Phase, Snapshot
from ._keys import VerificationKeys, health_of
from .events import (
    Event,
    KeysFetched,
    KeysFetchFailed,
    KeySkipped,
    KeysRotated,
    Listener,
    RefetchBudgetSpent,
    StaleKeysUsed,
)
from .events._event import printable

__all__ = ["KeyReport"]

NO_KEYS: Final = VerificationKeys(())
_PAST_LIFETIME: Final = frozenset({Phase.DUE, Phase.STALE})


class KeyReport:
    """
    Tells listeners what happens to one issuer's keys, and remembers the last of it for `health`.
    """

    def __init__(self, issuer: Issuer, *, emit: Listener, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            issuer: Whose keys.
            emit: Hears of it.
            clock: Wall clock, in seconds since the epoch.
        """
        self._issuer = issuer
        self._emit = emit
        self._clock = clock
        self._last_success: float | None = None
        self._last_failure: float | None = None
        self._last_error: str | None = None
        self._told_refetches: int | None = None

    def used(self, snapshot: Snapshot, now: float) -> None:
        """
        Keys verified a token, or vouched for one that they verified before.
        """
        if now >= snapshot.expires_at:
            self._emit(StaleKeysUsed(issuer=self._issuer.url, age=now - snapshot.fetched_at))

    def budget_spent(self, refetches: int) -> None:
        """
        A key ID was refused without asking, after *refetches* in all. Told once until there is another one.
        """
        if self._told_refetches != refetches:
            self._told_refetches = refetches
            self._emit(RefetchBudgetSpent(issuer=self._issuer.url))

    def failed(self, exc: Exception, state: KeyState, now: float) -> None:
        """
        A fetch failed.
        """
        self._last_failure = self._clock()
        self._last_error = printable(": ".join(filter(None, (type(exc).__name__, str(exc)))), limit=200)
        self._emit(
            KeysFetchFailed(
                issuer=self._issuer.url,
                detail=self._last_error,
                has_keys=state.phase(now) is not Phase.EMPTY,
                failures=state.failures,
                retry_after=max(0.0, state.retry_at - now),
            )
        )

    def fetched(self, before: Snapshot | None, after: Snapshot, *, duration: float) -> None:
        """
        A fetch brought the keys of *after*, in place of those of *before*.
        """
        self._last_success = self._clock()
        for event in _events(self._issuer.url, before, after, duration):
            self._emit(event)

    def health(self, state: KeyState, now: float) -> IssuerHealth:
        """
        How the keys stand at *now*.
        """
        snapshot = state.snapshot
        keys = NO_KEYS if snapshot is None else snapshot.keys
        phase = _state_of(state, now)
        generation = None if snapshot is None else snapshot.generation
        return replace(
            health_of(self._issuer, keys, state=phase, generation=generation),
            age=None if snapshot is None else now - snapshot.fetched_at,
            expires_in=None if snapshot is None else snapshot.expires_at - now,
            last_success=self._last_success,
            last_failure=self._last_failure,
            last_error=self._last_error,
            failures=state.failures,
            refetches_left=state.refetches_left(now),
        )


def _state_of(state: KeyState, now: float) -> IssuerState:
    phase = state.phase(now)
    if phase is Phase.EMPTY:
        return "unavailable"
    return "stale" if phase in _PAST_LIFETIME and state.failures else "ready"


def _events(issuer: str, before: Snapshot | None, after: Snapshot, duration: float) -> Iterator[Event]:
    known = before.keys.key_ids if before is not None else frozenset[str]()
    added, removed = _printable(after.keys.key_ids - known), _printable(known - after.keys.key_ids)
    yield KeysFetched(
        issuer=issuer,
        added=added,
        removed=removed,
        skipped=len(after.keys.skipped),
        lifetime=after.expires_at - after.fetched_at,
        duration=duration,
    )
    if before is not None and before.generation != after.generation:
        yield KeysRotated(issuer=issuer, added=added, removed=removed, generation=after.generation)
    # An issuer with a key we cannot use has it in every answer; it is told when it appears.
    told = before.keys.skipped if before is not None else ()
    for key in after.keys.skipped:
        if key not in told:
            kid = None if key.kid is None else printable(key.kid)
            yield KeySkipped(issuer=issuer, kid=kid, reason=key.reason)


def _printable(key_ids: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(map(printable, key_ids)))
