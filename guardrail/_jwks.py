"""
`RemoteKeySet`: an issuer's keys over HTTP, fetched once for any number of callers, kept, and replaced.

What to do when is decided by the machine in `_key_state`; the fetches run in `_key_fetches`, in tasks of
their own, so that a cancelled caller takes nobody else's keys along. Here requests are answered.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable

import httpx

from ._discovery import Endpoints
from ._fork import renew_after_fork
from ._health import IssuerHealth
from ._issuer import Issuer
from ._key_fetches import KeyFetches
from ._key_report import KeyReport
from ._key_state import Phase, Snapshot, Step
from ._keys import Selection
from .errors import UnavailableError, UnknownKeyError
from .events import Listener

__all__ = ["RemoteKeySet"]


class RemoteKeySet:
    """
    The keys of one issuer, discovered and fetched; used by any number of tasks, threads and event loops.

    A loop cannot wait for another one's fetch: each has its own, and they share all the rest.
    """

    def __init__(
        self,
        issuer: Issuer,
        *,
        http_client: httpx.AsyncClient | None = None,
        emit: Listener = lambda _: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """
        Args:
            issuer: Whose keys; its ``fetching`` has the limits.
            http_client: What to fetch with, unless the issuer brings its own; None makes one per fetch
                around one shared TLS context.
            emit: Hears of what happens to the keys.
            clock: Wall clock for what `health` reports, in seconds since the epoch.
            monotonic: Clock for durations, in seconds.
            jitter: Numbers from 0 up to 1.
        """
        self._issuer = issuer
        self._report = KeyReport(issuer, emit=emit, clock=clock)
        self._fetches = KeyFetches(
            issuer, http_client=http_client, report=self._report, monotonic=monotonic, jitter=jitter
        )
        self._state = self._fetches.state
        self._monotonic = monotonic
        renew_after_fork(self._fetches)

    @property
    def endpoints(self) -> Endpoints | None:
        """
        What discovery last said of the issuer's endpoints; None before, and where nothing is discovered.
        """
        return self._fetches.source.endpoints

    def holds(self, generation: int) -> bool:
        """
        Whether what was verified under *generation* still stands, with nothing to be waited for first.

        Begins a scheduled refresh in the background, and tells when stale keys are used.
        """
        snapshot = self._state.snapshot
        if snapshot is None or snapshot.generation != generation:
            return False
        now = self._monotonic()
        if now < snapshot.refresh_at:
            return True
        step = self._state.step(now)
        if step is Step.USE_AND_REFRESH:
            self._fetches.begin()
        elif step is not Step.USE:
            return False
        self._report.used(snapshot, now)
        return True

    async def select(self, kid: str | None, algorithm: str) -> Selection:
        """
        The keys that may verify a token with this header.

        Keys past their lifetime are fetched again first. An unknown key ID fetches again on behalf of this
        very request, within a budget.

        Raises:
            UnknownKeyError: The issuer has no such key, or was asked often enough.
            UnavailableError: No keys are in hand and none could be fetched; or the key is unknown, and the
                issuer cannot be asked for it.
        """
        begun_before = self._state.fetches
        snapshot = self._state.snapshot
        if snapshot is None or self._monotonic() >= snapshot.refresh_at:
            snapshot = await self._current()
        if snapshot.number > begun_before:
            return self._judge(snapshot, kid, algorithm)
        return self._find(snapshot, kid, algorithm) or await self._ask_again(kid, algorithm, begun_before)

    async def _current(self) -> Snapshot:
        """
        The keys to use now, fetched first where the machine says so.
        """
        step = self._state.step(self._monotonic())
        if step is Step.WAIT:
            await self._fetches.begin().wait()
        elif step is Step.USE_AND_REFRESH:
            self._fetches.begin()
        snapshot = self._state.snapshot
        if snapshot is None or self._state.phase(self._monotonic()) is Phase.EMPTY:
            raise self._unavailable()
        return snapshot

    async def _ask_again(self, kid: str | None, algorithm: str, begun_before: int) -> Selection:
        """
        Ask for a key that is not in hand, with a fetch that begins after the request for it came.
        """
        with self._fetches.lock:
            now = self._monotonic()
            is_known = self._state.is_known_unknown(kid, algorithm, now)
            refetches_left = self._state.refetches_left(now)
        if is_known:
            raise UnknownKeyError("the issuer said a short while ago that it has no such key", kid=kid)
        running = self._fetches.running()
        if running is not None and (running.number or math.inf) <= begun_before:
            # It may have been answered before the key was there. Who could not ask again then does not wait
            # for it: with a slow issuer, random key IDs would pile up here.
            if not refetches_left or running.is_full:
                raise self._over_budget(kid)
            await running.wait()
            found = self._find(await self._current(), kid, algorithm)
            if found is not None:
                return found
        snapshot = self._newer_than(begun_before) or await self._refetch(kid, begun_before)
        return self._judge(snapshot, kid, algorithm)

    def _newer_than(self, begun_before: int) -> Snapshot | None:
        snapshot = self._state.snapshot
        if snapshot is None or self._state.phase(self._monotonic()) is Phase.EMPTY:
            return None
        return snapshot if snapshot.number > begun_before else None

    async def _refetch(self, kid: str | None, begun_before: int) -> Snapshot:
        """
        Fetch within the budget. One that is about to begin, or began since the request came, costs nothing.
        """
        if self._fetches.running() is None:
            with self._fetches.lock:
                is_taken = self._state.take_refetch(self._monotonic())
            if not is_taken:
                raise self._over_budget(kid)
        flight = self._fetches.begin()
        if flight.is_full:
            raise self._over_budget(kid)
        await flight.wait()
        snapshot = self._newer_than(begun_before)
        if snapshot is None:
            # A key we could not ask for is not a key that does not exist: 503, never 401.
            raise self._unavailable()
        return snapshot

    def _find(self, snapshot: Snapshot, kid: str | None, algorithm: str) -> Selection | None:
        keys = snapshot.keys.find(kid, algorithm)
        if not keys:
            return None
        self._report.used(snapshot, self._monotonic())
        return Selection(keys, snapshot.generation)

    def _judge(self, snapshot: Snapshot, kid: str | None, algorithm: str) -> Selection:
        # Of a snapshot asked for since the request came: what is not in it does not exist.
        found = self._find(snapshot, kid, algorithm)
        if found is not None:
            return found
        with self._fetches.lock:
            self._state.remember_unknown(kid, algorithm, self._monotonic())
        raise UnknownKeyError("no single key of the issuer fits the header", kid=kid)

    def _over_budget(self, kid: str | None) -> UnknownKeyError | UnavailableError:
        if self._state.failures:  # or in a pause, when nobody may ask
            return self._unavailable()
        self._report.budget_spent(self._state.refetches)
        return UnknownKeyError("no key fits, and the issuer was asked often enough", kid=kid)

    def _unavailable(self) -> UnavailableError:
        retry_after = math.ceil(max(1.0, self._state.retry_at - self._monotonic()))
        return UnavailableError(f"the keys of {self._issuer.url} could not be had", retry_after=retry_after)

    def refresh(self) -> asyncio.Task[None] | None:
        """
        Begin what the next request would have to wait for, or would begin. None if that is nothing.
        """
        is_wanted = self._state.step(self._monotonic()) in {Step.WAIT, Step.USE_AND_REFRESH}
        return self._fetches.begin().task if is_wanted else None

    async def aclose(self) -> None:
        """
        Cancel the fetch that runs on this event loop. The key set can be used again afterwards.
        """
        await self._fetches.cancel()

    def health(self) -> IssuerHealth:
        """
        How it stands, now.
        """
        with self._fetches.lock:
            return self._report.health(self._state, self._monotonic())
