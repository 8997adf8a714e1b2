"""
A proxy that fails on demand, between a resource server and its issuer, over real sockets.

Stands in front of the issuer as a reverse proxy, and takes requests as a forward proxy too (RFC 9112 §3.2.2).
Knows as much HTTP as one GET for each connection needs, and nothing of guardrail. Its event loop has a thread
of its own: whatever happens on the other side, it goes on. Needs POSIX sockets.
"""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

from .faults import Exchange, Fault

WELL_KNOWN: Final = "/.well-known/"  # what the metadata's paths begin with
METADATA: Final = WELL_KNOWN + "oauth-authorization-server"  # where a fetch begins
JWKS: Final = "/jwks"  # and where it ends

CALL_TIMEOUT: Final = 10.0  # seconds
_HOP_BY_HOP: Final = (b"connection", b"proxy-connection", b"keep-alive")  # RFC 9110 §7.6.1


class FaultProxy:
    """
    A running proxy, as tests steer and watch it, from their own thread.

    Attributes:
        url: Where it listens, and the issuer behind it is found.
        connections: How many were accepted so far.
        requests: The path of each request so far.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, issuer: tuple[str, int]) -> None:
        """
        Args:
            loop: Runs in another thread.
            issuer: Where the issuer listens.
        """
        self._loop = loop
        self._issuer = issuer
        # Bound and never listening: the port stays ours while nobody listens on it.
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._placeholder.bind(("127.0.0.1", 0))
        self._listener: socket.socket | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._fault, self._only = Fault.NONE, ""
        self._lifted = asyncio.Event()
        self.url = f"http://127.0.0.1:{self._placeholder.getsockname()[1]}"
        self.connections = 0
        self.requests: list[str] = []

    @property
    def attempts(self) -> int:
        """
        How many fetches have begun so far: each asks for the metadata first.
        """
        return self.requests.count(METADATA)

    @property
    def open_connections(self) -> int:
        """
        How many clients have not hung up, and are not done with.
        """
        return len(self._open)

    def fail(self, fault: Fault, *, only: str = "") -> None:
        """
        Let *fault* become of each request from now on, if its path begins with *only*.
        """
        self._call(self._set(fault, only))

    def lift(self) -> None:
        """
        Pass everything on again, and what was delayed first of all.
        """
        self._call(self._set(Fault.NONE, ""))

    def start(self) -> None:
        """
        Listen.
        """
        self.lift()

    def stop(self) -> None:
        """
        Hang up on everybody, and listen no more.
        """
        self._call(self._close())
        self._placeholder.close()

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_TIMEOUT)

    async def _set(self, fault: Fault, only: str) -> None:
        self._fault, self._only = fault, only
        self._lifted.set()
        self._lifted = asyncio.Event()
        if fault is Fault.REFUSE:
            self._stop_listening()
        else:
            self._listen()

    async def _close(self) -> None:
        self._stop_listening()
        await asyncio.sleep(0)  # a task that has not begun would leave its connection open
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _listen(self) -> None:
        # Not asyncio's server: closed, it drops what it has just accepted, and the client waits in vain.
        if self._listener is None:
            self._listener = socket.create_server(self._placeholder.getsockname(), reuse_port=True)
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept_all)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._accept_all()  # who is connected already is not refused
            self._listener.close()
            self._listener = None

    def _accept_all(self) -> None:
        assert self._listener is not None
        with suppress(BlockingIOError):
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self.connections += 1
                task = self._loop.create_task(self._serve(connection))
                self._open.add(task)
                task.add_done_callback(self._open.discard)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            # A client that had enough ends whatever it was sent.
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve_one(reader, writer)
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = _exchange(await reader.readuntil(b"\r\n\r\n"), writer, self._issuer)
        self.requests.append(exchange.path)
        answer = asyncio.ensure_future(self._answer(exchange))
        hung_up = asyncio.ensure_future(reader.read())
        try:
            await asyncio.wait({answer, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answer.cancel()
            hung_up.cancel()
            await asyncio.gather(answer, hung_up, return_exceptions=True)

    async def _answer(self, exchange: Exchange) -> None:
        fault = self._fault if exchange.path.startswith(self._only) else Fault.NONE
        if fault is Fault.DELAY:
            await self._lifted.wait()
        await exchange.answer_with(fault)


def _exchange(head: bytes, writer: asyncio.StreamWriter, issuer: tuple[str, int]) -> Exchange:
    """
    The request of *head*, made ready for the issuer: a path for a target, and one request per connection.
    """
    request_line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, version = request_line.split(b" ")
    path = urlsplit(target.decode("ascii")).path
    kept = [field for field in fields if field.partition(b":")[0].lower() not in _HOP_BY_HOP]
    lines = (b" ".join((method, path.encode("ascii"), version)), *kept, b"connection: close", b"", b"")
    return Exchange(path, b"\r\n".join(lines), writer, issuer)


@contextmanager
def run_fault_proxy(issuer_url: str) -> Iterator[FaultProxy]:
    """
    Run a proxy in front of the issuer at *issuer_url*, on a free loopback port, until the block ends.
    """
    parts = urlsplit(issuer_url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = FaultProxy(loop, issuer=(parts.hostname or "", parts.port or 80))
    try:
        proxy.start()
        yield proxy
    finally:
        proxy.stop()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CALL_TIMEOUT)
        loop.close()
