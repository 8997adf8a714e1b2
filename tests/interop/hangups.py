"""
A server's manners towards a request whose client hung up: uvicorn lets it go on, others cancel it.
"""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send


class Hangups:
    """
    Stands around an application that reads no bodies, and watches its clients.

    Attributes:
        requests: How many have come so far.
        count: How many of their clients hung up before they were answered.
    """

    def __init__(self, *, cancel: bool) -> None:
        """
        Args:
            cancel: Whether such a request is cancelled.
        """
        self._cancel = cancel
        self.requests = 0
        self.count = 0

    def around(self, app: ASGIApp) -> ASGIApp:
        """
        The application to serve in place of *app*.
        """

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            request = asyncio.ensure_future(app(scope, receive, send))
            self.requests += 1
            await self._watch(request, receive)

        return watched

    async def _watch(self, request: asyncio.Future[None], receive: Receive) -> None:
        hangup = asyncio.ensure_future(_hangup(receive))
        await asyncio.wait({request, hangup}, return_when=asyncio.FIRST_COMPLETED)
        if not request.done():
            self.count += 1
            if self._cancel:
                request.cancel()
        hangup.cancel()
        await asyncio.gather(request, hangup, return_exceptions=True)


async def _hangup(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
