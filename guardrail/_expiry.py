"""
What goes on after a token has expired: WebSockets end with it, streamed responses if a team wants that.
"""

import asyncio
import contextlib
from typing import cast

from ._asgi import POLICY_VIOLATION, WEBSOCKET_DENIAL, ASGIApp, Message, Receive, Scope, Send
from ._decision import Decision
from ._serving import run_decided

__all__ = ["run_socket_until_expiry", "run_stream_until_expiry"]


async def run_socket_until_expiry(
    app: ASGIApp, decision: Decision, scope: Scope, receive: Receive, send: Send, *, seconds: float
) -> None:
    """
    Run a WebSocket application as `run_decided` does, and close its connection after *seconds*.

    The application then sees the disconnect that it would see from a client that left.
    """
    socket = _ExpiringWebSocket(receive, send, seconds)
    timer = asyncio.create_task(socket.close_at_deadline())
    try:
        await run_decided(app, decision, scope, socket.receive, socket.send)
    except Exception as exc:
        if not _comes_of_an_end(exc):
            raise
    finally:
        await socket.stop(timer)


class _ExpiringWebSocket:
    """
    The two ends of a connection that closes at a deadline, whichever end the application is waiting at.
    """

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._lock = asyncio.Lock()  # a close that has begun is sent, whatever becomes of the application
        self._is_closed = False
        self._is_denied = False
        self._is_expired = False

    async def close_at_deadline(self) -> None:
        await asyncio.sleep(self._deadline - asyncio.get_running_loop().time())
        await self._close()

    async def stop(self, timer: "asyncio.Task[None]") -> None:
        async with self._lock:
            timer.cancel()

    async def receive(self) -> Message:
        # A client that never pauses would never let the timeout speak: the clock is read each time.
        if asyncio.get_running_loop().time() >= self._deadline:
            return await self._expire()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            return await self._expire()
        self._is_closed = self._is_closed or message["type"] == "websocket.disconnect"
        return message

    async def send(self, message: Message) -> None:
        if asyncio.get_running_loop().time() >= self._deadline:
            await self._close()
        if self._is_closed:
            raise self._closed_error()
        self._is_closed = message["type"] == "websocket.close"
        # A refused handshake ends by itself; closing in the middle of its answer would break it.
        self._is_denied = self._is_denied or message["type"].startswith(WEBSOCKET_DENIAL)
        await self._send(message)

    def _closed_error(self) -> OSError:
        """
        What ASGI has send raise after a disconnect.
        """
        kind = _EndedError if self._is_expired else OSError
        return kind("the connection is closed")

    async def _expire(self) -> Message:
        await self._close()
        return {"type": "websocket.disconnect", "code": POLICY_VIOLATION, "reason": ""}

    async def _close(self) -> None:
        async with self._lock:
            if self._is_closed or self._is_denied:
                return
            self._is_closed = self._is_expired = True
            close = {"type": "websocket.close", "code": POLICY_VIOLATION, "reason": "token expired"}
            with contextlib.suppress(OSError):  # the client left just now
                await self._send(close)


async def run_stream_until_expiry(
    app: ASGIApp, decision: Decision, scope: Scope, receive: Receive, send: Send, *, seconds: float
) -> None:
    """
    Run an HTTP application as `run_decided` does, and end a response that is still being streamed after
    *seconds*. One that comes in a single piece is sent, however late.

    The application then sees the disconnect that it would see from a client that left.
    """
    response = _ExpiringResponse(receive, send, seconds)
    timer = asyncio.create_task(response.end_at_deadline())
    try:
        await run_decided(app, decision, scope, response.receive, response.send)
    except Exception as exc:
        if not _comes_of_an_end(exc):
            raise
    finally:
        await response.stop(timer)


class _EndedError(OSError):
    """
    Raised when an application goes on sending: what ASGI has send do after a disconnect.
    """


def _comes_of_an_end(exc: BaseException | None) -> bool:
    """
    Whether an application only let its own disconnect through, as it may: as it is, as the cause of its
    framework's error, or in a group of such errors. What went wrong besides is not hidden.
    """
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:  # "raise exc from exc" makes a circle
        if isinstance(exc, _EndedError):
            return True
        if isinstance(exc, ExceptionGroup):
            return all(map(_comes_of_an_end, cast("ExceptionGroup[Exception]", exc).exceptions))
        seen.add(id(exc))
        exc = exc.__cause__
    return False


class _ExpiringResponse:
    """
    The two ends of a response that may not be streamed beyond a deadline.
    """

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._lock = asyncio.Lock()  # the timer must not end a response in the middle of a piece
        self._is_streaming = False  # it has begun, and is not complete
        self._is_ended = False
        self._has_length = False

    async def end_at_deadline(self) -> None:
        await asyncio.sleep(self._deadline - asyncio.get_running_loop().time())
        async with self._lock:
            await self._end()

    async def stop(self, timer: "asyncio.Task[None]") -> None:
        async with self._lock:
            timer.cancel()

    async def receive(self) -> Message:
        if not self._is_streaming and not self._is_ended:
            return await self._receive()  # the body of the request may take as long as it takes
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            # An application that hears of it may be gone before the timer's turn comes.
            async with self._lock:
                await self._end()
            return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        async with self._lock:
            is_late = asyncio.get_running_loop().time() >= self._deadline
            if is_late and message["type"] == "http.response.body" and message.get("more_body", False):
                await self._end()
            if self._is_ended:
                raise _EndedError("the response was ended: the token expired")
            if message["type"] == "http.response.start":
                self._is_streaming = True
                self._has_length = any(
                    name.lower() == b"content-length" for name, _ in message.get("headers", ())
                )
            elif message["type"] == "http.response.body":
                self._is_streaming = message.get("more_body", False)
            await self._send(message)

    async def _end(self) -> None:
        if not self._is_streaming:
            return
        self._is_streaming, self._is_ended = False, True
        if not self._has_length:  # else it cannot be made to look complete, and the server breaks it off
            with contextlib.suppress(OSError):  # the client left just now
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
