"""
The fetches of one issuer's keys: begun, run, and their outcome put into the state and told.
"""

import asyncio
import threading
from collections.abc import Callable

import httpx

from ._flights import Flight, Flights, running_timeout
from ._issuer import Issuer
from ._key_report import KeyReport
from ._key_state import KeyState
from ._source import Download, KeySource

__all__ = ["KeyFetches"]


class KeyFetches:
    """
    What runs, or ran, for one `RemoteKeySet`.

    Attributes:
        state: What became of it.
        source: Where they come from.
        lock: Held by whoever changes the state, or reads more of it than one attribute.
    """

    def __init__(
        self,
        issuer: Issuer,
        *,
        http_client: httpx.AsyncClient | None,
        report: KeyReport,
        monotonic: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """
        Args: as of `RemoteKeySet`; *report* tells of fetches.
        """
        self.state = KeyState(issuer.fetching, jitter=jitter)
        self._timeout = issuer.fetching.timeout
        self.source = KeySource(issuer, http_client=http_client)
        self._report = report
        self._monotonic = monotonic
        self.renew()

    def renew(self) -> None:
        """
        Forget the fetches under way, and whatever lock another thread holds: in a forked child, nobody does.
        """
        self.lock = threading.Lock()
        self._flights = Flights()

    def running(self) -> Flight | None:
        """
        The fetch that runs on this event loop, or is about to.
        """
        return self._flights.running()

    def begin(self) -> Flight:
        """
        The running fetch of this loop, or a new one.
        """
        flight = self._flights.running()
        if flight is not None:
            return flight
        with self.lock:
            self.state.attempt(self._monotonic())
        return self._flights.begin(self._fetch)

    async def cancel(self) -> None:
        """
        Cancel the fetch of this event loop, if one runs, and see it end.
        """
        await self._flights.cancel()

    async def _fetch(self, flight: Flight) -> None:
        began_at = self._monotonic()
        with self.lock:
            flight.number = number = self.state.begin()
        try:
            async with running_timeout(self._timeout):
                download = await self.source.download()
        except asyncio.CancelledError:
            self.state.lost(self._monotonic())
            raise
        except Exception as exc:  # noqa: BLE001 - an injected client raises what it likes; it is told, and 503
            self._failed(exc, number)
        else:
            self._succeeded(download, number, began_at)

    def _failed(self, exc: Exception, number: int) -> None:
        with self.lock:
            counts = self.state.failed(self._monotonic(), number=number)
        if counts:
            self._report.failed(exc, self.state, self._monotonic())

    def _succeeded(self, download: Download, number: int, began_at: float) -> None:
        with self.lock:
            before = self.state.snapshot
            is_taken = self.state.succeeded(
                download.keys, number=number, began_at=began_at, max_age=download.max_age
            )
            after = self.state.snapshot
        if is_taken and after is not None:
            self._report.fetched(before, after, duration=self._monotonic() - began_at)
