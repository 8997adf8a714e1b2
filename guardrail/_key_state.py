"""
The state of one issuer's keys, without I/O: what is in hand, how old it is, and when to ask for more.

Time is handed in, in seconds of a monotonic clock. Age, and whether asking failed, decide on the phase:

             fetched           75-85 % of the lifetime     the lifetime is over         asking failed
    EMPTY ─────────────► FRESH ──────────────────► AGEING ─────────────────► DUE ─────────────────► STALE
      ▲                    ▲                        │   │ asking failed, and the lifetime is over      ▲ │
      │                    │                        │   └──────────────────────────────────────────────┘ │
      │                    └──────── fetched, from whichever phase ◄────────────────────────────────────┤
      └───────────────────────────────────── older than lifetime and max_stale ◄────────────────────────┘

    phase    a request whose key is in hand     who asks the issuer
    EMPTY    waits; during a pause 503          the request
    FRESH    is served                          nobody
    AGEING   is served                          a task in the background
    DUE      waits, and is judged by new keys   the request
    STALE    is served, and that is told        a task in the background

From STALE it goes back to DUE when the last failure is a lifetime ago: nobody has asked since. After a
failure there is a pause before the next attempt, longer with each in a row. No failure takes a key away. A
request whose key is not in hand takes one of few refetches.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from cachetools import LRUCache

from ._fetching import Fetching
from ._keys import VerificationKeys

__all__ = ["KeyState", "Phase", "Snapshot", "Step"]

NEVER: Final = float("-inf")
REFRESH_AT: Final = 0.8  # of the lifetime, give or take
REFRESH_JITTER: Final = 0.05  # of the lifetime: instances started together must not ask together for ever


class Phase(Enum):
    """
    How the keys in hand stand; see above.
    """

    EMPTY = auto()
    FRESH = auto()
    AGEING = auto()
    DUE = auto()
    STALE = auto()


class Step(Enum):
    """
    What to do for a request.
    """

    USE = auto()
    USE_AND_REFRESH = auto()
    WAIT = auto()
    REFUSE = auto()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    Keys in hand, and their times in monotonic seconds.

    Attributes:
        keys: The keys.
        generation: Changes whenever the keys do.
        number: Which fetch they are from: later begun, greater.
        fetched_at: When that fetch began.
        refresh_at: When to refresh them in the background.
        expires_at: The end of their lifetime.
        unusable_at: When they are too old, whatever happens.
    """

    keys: VerificationKeys
    generation: int
    number: int
    fetched_at: float
    refresh_at: float
    expires_at: float
    unusable_at: float


class KeyState:
    """
    The machine. Not safe for threads by itself: whoever changes it holds a lock.
    """

    def __init__(self, fetching: Fetching, *, jitter: Callable[[], float]) -> None:
        """
        Args:
            fetching: The limits.
            jitter: Numbers from 0 up to 1.
        """
        self._fetching = fetching
        self._jitter = jitter
        self.snapshot: Snapshot | None = None
        self.failures = 0  # in a row
        self.retry_at = NEVER  # the end of the pause after the last of them
        self.fetches = 0  # begun so far
        self.refetches = 0  # taken so far
        self._failed_at = NEVER
        self._failed_number = 0  # the last fetch that had begun when the last failure was counted
        self._attempt_until = NEVER  # an attempt under way has ended by then
        self._is_attempt_open = False  # one began, and its outcome is not known
        self._taken_at: deque[float] = deque(maxlen=max(fetching.max_refetches, 1))
        self._unknown: LRUCache[tuple[str | None, str], float] = LRUCache(max(fetching.max_unknown_keys, 1))

    def phase(self, now: float) -> Phase:
        """
        The phase at *now*.
        """
        snapshot = self.snapshot
        if snapshot is None or now >= snapshot.unusable_at:
            return Phase.EMPTY
        if now < snapshot.refresh_at:
            return Phase.FRESH
        if now < snapshot.expires_at:
            return Phase.AGEING
        # An attempt that failed long ago says nothing of today: an idle application asks first.
        is_recent = snapshot.refresh_at <= self._failed_at and now < self._failed_at + self._fetching.lifetime
        return Phase.STALE if is_recent or now < self.retry_at else Phase.DUE

    def step(self, now: float) -> Step:
        """
        What to do for a request at *now*.
        """
        phase = self.phase(now)
        if phase is Phase.FRESH:
            return Step.USE
        if now < self.retry_at:
            return Step.REFUSE if phase is Phase.EMPTY else Step.USE
        if phase in {Phase.EMPTY, Phase.DUE}:
            return Step.WAIT
        if now < self._attempt_until:
            return Step.USE
        # An attempt that went down with its event loop may be followed by others that do, for ever.
        is_lost = phase is Phase.STALE and self._is_attempt_open
        return Step.WAIT if is_lost else Step.USE_AND_REFRESH

    def attempt(self, now: float) -> None:
        # As long again as it may take: then it is neither under way nor ended, and its event loop is gone.
        self._attempt_until = now + 2 * self._fetching.timeout
        self._is_attempt_open = True

    def begin(self) -> int:
        self.fetches += 1
        return self.fetches

    def lost(self, now: float) -> None:
        """
        An attempt was cancelled, and will have no outcome. With a loop for each request that may go on for
        ever, so the next one is not begun at once.
        """
        self._attempt_until = now + self._fetching.backoff_bounds[0]

    def succeeded(
        self, keys: VerificationKeys, *, number: int, began_at: float, max_age: float | None
    ) -> bool:
        """
        A fetch brought *keys*: they are in use from now on, and nothing of the earlier ones is.

        Returns:
            Whether they were taken. Those of a fetch that began before the one in hand are not.
        """
        before = self.snapshot
        if before is not None and before.number > number:
            return False
        least, most = self._fetching.max_age_bounds
        lifetime = self._fetching.lifetime if max_age is None else min(max(max_age, least), most)
        refresh_after = lifetime * (REFRESH_AT + REFRESH_JITTER * (2.0 * self._jitter() - 1.0))
        self.snapshot = Snapshot(
            keys=keys,
            generation=0 if before is None else before.generation + (not _are_same(before.keys, keys)),
            number=number,
            fetched_at=began_at,
            refresh_at=began_at + refresh_after,
            expires_at=began_at + lifetime,
            unusable_at=began_at + lifetime + self._fetching.max_stale,
        )
        self.failures, self.retry_at = 0, NEVER
        self._attempt_until, self._is_attempt_open = NEVER, False
        return True

    def failed(self, now: float, *, number: int) -> bool:
        """
        A fetch failed: the issuer is left alone for a while.

        Returns:
            Whether it counts. A fetch that began before the one in hand does not: a later one was answered.
            Nor does one that began before a failure was counted: several event loops saw the same outage.
        """
        is_outdone = self.snapshot is not None and self.snapshot.number > number
        if is_outdone or number <= self._failed_number:
            return False
        self._failed_number = self.fetches
        least, most = self._fetching.backoff_bounds
        ceiling = min(most, least * 2.0 ** min(self.failures + 1, 64))
        self.failures += 1
        self.retry_at = now + max(least, ceiling * (1.0 + self._jitter()) / 2.0)
        self._failed_at = now
        self._attempt_until, self._is_attempt_open = NEVER, False
        return True

    def refetches_left(self, now: float) -> int:
        """
        How many fetches for key IDs that are not in hand may begin at *now*; none during a pause.
        """
        if now < self.retry_at:
            return 0
        recent = sum(now < taken + self._fetching.refetch_window for taken in self._taken_at)
        return max(0, self._fetching.max_refetches - recent)

    def take_refetch(self, now: float) -> bool:
        # One of them, if there is one.
        if not self.refetches_left(now):
            return False
        self._taken_at.append(now)
        self.refetches += 1
        return True

    def remember_unknown(self, kid: str | None, algorithm: str, now: float) -> None:
        """
        The issuer was asked, and has no such key.
        """
        if self._fetching.max_unknown_keys:
            self._unknown[kid, algorithm] = now + self._fetching.unknown_key_age

    def is_known_unknown(self, kid: str | None, algorithm: str, now: float) -> bool:
        """
        Whether the issuer was asked for this key a short while ago, and had no such key.
        """
        return now < self._unknown.get((kid, algorithm), NEVER)


def _are_same(some: VerificationKeys, others: VerificationKeys) -> bool:
    """
    Whether the same keys, of which none is there twice, are usable. Some issuers publish theirs in another
    order each time.
    """
    return len(some.keys) == len(others.keys) and all(key in some.keys for key in others.keys)
