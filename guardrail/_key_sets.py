"""
The key sets of an application: one for each issuer, begun, watched and ended together.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._asgi import Message, Receive
from ._discovery import Endpoints
from ._health import IssuerHealth
from ._issuer import Issuer
from ._jwks import RemoteKeySet
from ._keys import KeySet, StaticKeySet
from .events import Listener

if TYPE_CHECKING:
    import httpx

__all__ = ["KeySets"]


class KeySets:
    """
    A key set for each issuer. Equal issuers share one; different ones share nothing, whatever key IDs and
    URLs they have in common.
    """

    def __init__(
        self,
        *,
        emit: Listener = lambda _: None,
        http_client: "httpx.AsyncClient | None" = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args: as of `guardrail.GuardrailMiddleware`; *emit* hears of what happens to keys.
        """
        self._emit = emit
        self._http_client = http_client
        self._clock = clock
        self._monotonic = monotonic
        self._remote: dict[Issuer, RemoteKeySet] = {}
        self._static: dict[Issuer, StaticKeySet] = {}

    def of(self, issuer: Issuer) -> KeySet:
        """
        The key set of *issuer*. Fetches nothing.

        Raises:
            PolicyError: Its keys in hand hold no usable one.
        """
        if issuer.keys is not None:
            if issuer not in self._static:
                self._static[issuer] = StaticKeySet(issuer.keys, algorithms=tuple(issuer.algorithms))
            return self._static[issuer]
        if issuer not in self._remote:
            self._remote[issuer] = RemoteKeySet(
                issuer,
                http_client=self._http_client,
                emit=self._emit,
                clock=self._clock,
                monotonic=self._monotonic,
            )
        return self._remote[issuer]

    async def warm_up(self) -> None:
        """
        Begin to fetch the keys of each issuer that wants that, and wait for those that want that.

        An attempt that fails fails nothing: an issuer that is down must not keep an API from starting.
        """
        tasks = {
            issuer: key_set.refresh() for issuer, key_set in self._remote.items() if issuer.warm_up != "off"
        }
        awaited = [task for issuer, task in tasks.items() if task is not None and issuer.warm_up == "wait"]
        if awaited:
            await asyncio.wait(awaited)

    def refresh(self) -> None:
        """
        Begin, in the background, whatever the next request would have to wait for.
        """
        for key_set in list(self._remote.values()):
            key_set.refresh()

    def until_shutdown(self, receive: Receive) -> Receive:
        """
        A lifespan's *receive* that ends what runs before the application hears of its shutdown.

        The application may close the client that fetches, or fail.
        """

        async def receive_and_close() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.aclose()
            return message

        return receive_and_close

    def endpoints(self) -> dict[str, Endpoints]:
        """
        What discovery has said so far of each issuer's endpoints, by its URL. Fetches nothing.
        """
        found = {issuer.url: key_set.endpoints for issuer, key_set in list(self._remote.items())}
        return {url: endpoints for url, endpoints in found.items() if endpoints is not None}

    async def aclose(self) -> None:
        """
        End what runs in the background of this event loop.
        """
        for key_set in list(self._remote.values()):
            await key_set.aclose()

    def health(self) -> tuple[IssuerHealth, ...]:
        """
        How each of them stands; those with keys in hand are always ready, and come last.
        """
        remote = [key_set.health() for key_set in list(self._remote.values())]
        return (*remote, *(key_set.health(issuer) for issuer, key_set in list(self._static.items())))
