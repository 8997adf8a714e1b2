"""
`RemoteKeySet`: an issuer's keys over HTTP, fetched once for any number of callers, kept, and replaced.

Its state is the keys in use, or none yet, and what recent fetches say of the next one. A fetch runs in a
task of its own, so that a cancelled caller takes nobody else's keys along.

    no keys ──fetched──► fresh ──lifetime──► due ──fetched──► fresh
       │ failed                               │ failed
       ▼                                      ▼
    503 until the pause is over          keys stay in use, nobody waits; after a day, 503
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

from ._issuer import Issuer
from ._keys import Selection, VerificationKeys
from ._source import KeySource
from .errors import UnavailableError, UnknownKeyError
from .events import KeysFetched, KeysFetchFailed, Listener, printable

LIFETIME: Final = 600.0  # seconds a fetched set is used before it is asked for again
MAX_STALE: Final = 86_400.0  # seconds a set outlives its lifetime while the issuer cannot be reached
TIMEOUT: Final = 5.0  # seconds for discovery and fetch together
REFETCH_BUDGET: Final = 2  # fetches for unknown key IDs, per window: random key IDs must not flood an issuer
REFETCH_WINDOW: Final = 30.0  # seconds
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds after the n-th failure in a row


@dataclass(frozen=True, slots=True)
class _Snapshot:
    keys: VerificationKeys
    generation: int
    fetched_at: float  # monotonic seconds, when the fetch began


class RemoteKeySet:
    """
    The keys of one issuer, discovered and fetched; used by any number of tasks and event loops.
    """

    def __init__(
        self,
        issuer: Issuer,
        *,
        http_client: httpx.AsyncClient | None = None,
        emit: Listener = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            issuer: Whose keys.
            http_client: What to fetch with, unless the issuer brings its own; None makes one per fetch
                around one shared TLS context.
            emit: Hears of fetches.
            monotonic: Clock for durations, in seconds.
        """
        self._issuer = issuer
        self._source = KeySource(issuer, http_client=http_client)
        self._emit = emit
        self._monotonic = monotonic
        self._snapshot: _Snapshot | None = None
        self._flights: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}
        self._failures = 0
        self._retry_at = float("-inf")
        self._trying_until = float("-inf")
        self._refetches: deque[float] = deque(maxlen=REFETCH_BUDGET)
        self._budget_lock = threading.Lock()  # event loops in several threads share the budget

    @property
    def generation(self) -> int | None:
        """
        A number that changes whenever the keys do; None while they are due for a refresh.
        """
        snapshot = self._snapshot
        if snapshot is None or self._is_due(snapshot) or self._is_too_old(snapshot):
            return None
        return snapshot.generation

    async def select(self, kid: str | None, algorithm: str) -> Selection:
        """
        The keys that may verify a token with this header.

        Keys past their lifetime are fetched again first. An unknown key ID fetches again on behalf of this
        very request, within a budget.

        Raises:
            UnknownKeyError: The issuer has no such key.
            UnavailableError: No keys are in hand and none could be fetched; or the key is unknown, and the
                issuer cannot be asked for it.
        """
        before = self._snapshot
        snapshot = await self._current()
        try:
            return Selection(snapshot.keys.select(kid, algorithm), snapshot.generation)
        except UnknownKeyError:
            # A set that this very request fetched is as new as it gets.
            if snapshot is not before:
                raise
        await self._refetch(kid)
        snapshot = await self._current()
        return Selection(snapshot.keys.select(kid, algorithm), snapshot.generation)

    async def _refetch(self, kid: str | None) -> None:
        """
        Ask the issuer again for a key we do not have; joining a fetch that runs costs nothing.
        """
        is_running = self._running() is not None
        if not is_running and self._monotonic() >= self._retry_at:
            self._take_refetch(kid)
            is_running = True
        if is_running:
            await self._refresh()
        if self._failures:
            # A key we could not ask for is not a key that does not exist: 503, never 401.
            raise self._unavailable()

    def _is_due(self, snapshot: _Snapshot) -> bool:
        """
        Whether a refresh should be begun: not while a failed one pauses, or is being tried again.
        """
        return self._monotonic() >= max(snapshot.fetched_at + LIFETIME, self._retry_at, self._trying_until)

    def _is_too_old(self, snapshot: _Snapshot) -> bool:
        return self._monotonic() >= snapshot.fetched_at + LIFETIME + MAX_STALE

    async def _current(self) -> _Snapshot:
        """
        The keys to use now. Whoever finds them due waits for the refresh; once one has failed, nobody does.
        """
        snapshot = self._snapshot
        if snapshot is None or self._is_too_old(snapshot):
            if self._monotonic() >= self._retry_at:
                await self._refresh()
        elif self._is_due(snapshot):
            must_wait = not self._failures or self._lost_flight()
            flight = self._begin()
            if must_wait:
                await asyncio.shield(flight)
        snapshot = self._snapshot
        if snapshot is None or self._is_too_old(snapshot):
            raise self._unavailable()
        return snapshot

    def _unavailable(self) -> UnavailableError:
        message = f"the keys of {self._issuer.url} could not be had"
        return UnavailableError(message, retry_after=math.ceil(max(1.0, self._retry_at - self._monotonic())))

    def _take_refetch(self, kid: str | None) -> None:
        """
        Take one refetch out of the budget.

        Raises:
            UnknownKeyError: There is none left: random key IDs must not flood the issuer.
            UnavailableError: There is none left, and the last one failed.
        """
        now = self._monotonic()
        with self._budget_lock:
            if len(self._refetches) < REFETCH_BUDGET or now >= self._refetches[0] + REFETCH_WINDOW:
                self._refetches.append(now)
                return
        if self._failures:
            raise self._unavailable()
        raise UnknownKeyError("no key fits, and the issuer was asked often enough", kid=kid)

    def _running(self) -> asyncio.Task[None] | None:
        """
        The fetch that runs on this event loop. One of another loop cannot be awaited here.
        """
        flight = self._flights.get(asyncio.get_running_loop())
        return None if flight is None or flight.done() else flight

    def _lost_flight(self) -> bool:
        """
        Whether the last retry in the background ended with its event loop: then the next one is waited for.
        """
        flights = list(self._flights.items())
        return any(loop.is_closed() and (flight.cancelled() or not flight.done()) for loop, flight in flights)

    def _begin(self) -> asyncio.Task[None]:
        """
        The running fetch of this loop, or a new one; its outcome is in the state, never an exception.
        """
        flight = self._running()
        if flight is None:
            loop = asyncio.get_running_loop()
            self._flights = {one: task for one, task in list(self._flights.items()) if not one.is_closed()}
            flight = self._flights[loop] = loop.create_task(self._fetch())
            if self._failures:
                self._trying_until = self._monotonic() + TIMEOUT
        return flight

    async def _refresh(self) -> None:
        # Shielded: who waits may be cancelled, and the fetch goes on for the others.
        await asyncio.shield(self._begin())

    async def _fetch(self) -> None:
        started = self._monotonic()
        try:
            async with asyncio.timeout(TIMEOUT):
                keys = await self._source.download()
        except Exception as exc:  # noqa: BLE001 - an injected client raises what it likes; it is told, and 503
            self._failed(exc)
            return
        self._fetched(keys, started)

    def _failed(self, exc: Exception) -> None:
        self._retry_at = self._monotonic() + PAUSES[min(self._failures, len(PAUSES) - 1)]
        self._failures += 1
        self._trying_until = float("-inf")
        detail = printable(f"{type(exc).__name__}: {exc}", limit=200)
        self._emit(
            KeysFetchFailed(issuer=self._issuer.url, detail=detail, has_keys=self._snapshot is not None)
        )

    def _fetched(self, keys: VerificationKeys, started: float) -> None:
        before = self._snapshot
        if before is not None and before.fetched_at > started:
            return  # another loop began later and was answered first: its keys are newer
        generation = 0 if before is None else before.generation + (before.keys != keys)
        self._snapshot = _Snapshot(keys, generation, started)
        self._failures, self._retry_at, self._trying_until = 0, float("-inf"), float("-inf")
        known = before.keys.key_ids if before is not None else frozenset[str]()
        self._emit(
            KeysFetched(
                issuer=self._issuer.url,
                added=tuple(sorted(map(printable, keys.key_ids - known))),
                removed=tuple(sorted(map(printable, known - keys.key_ids))),
                skipped=keys.skipped,
                duration=self._monotonic() - started,
            )
        )
