"""
What can become of a request for an issuer's metadata or keys, on the wire.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

DRIP_EVERY: Final = 0.02  # seconds
FLOOD_BYTES: Final = 100 * 2**20
PIECE_BYTES: Final = 2**16
GARBAGE: Final = bytes(range(256)) * 4
HTML: Final = b"<!doctype html><title>Welcome</title><p>This network asks you to log in first."
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)


class Fault(Enum):
    """
    What becomes of a request.
    """

    NONE = auto()  # the issuer's answer
    DELAY = auto()  # the issuer's answer, once the fault is lifted
    REFUSE = auto()  # nobody listens; every path is concerned
    RESET = auto()  # the connection is reset: TCP's RST, not its FIN
    SERVER_ERROR = auto()  # the issuer's answer, under status 503
    REDIRECT = auto()  # the issuer's answer is elsewhere: right where the issuer listens
    TRUNCATE = auto()  # half of the issuer's body, less than its Content-Length
    DRIP = auto()  # white space, which JSON may begin with, a byte at a time, for ever
    OVERSIZE = auto()  # white space, 100 MiB of it
    HTML = auto()  # a page, under status 200
    EMPTY = auto()  # a JWK Set without keys
    GARBAGE = auto()  # octets that are no HTTP


@dataclass(frozen=True, slots=True)
class Exchange:
    """
    One request, and what can be done about it.
    """

    path: str
    head: bytes
    writer: asyncio.StreamWriter
    issuer: tuple[str, int]

    async def answer_with(self, fault: Fault) -> None:
        """
        Let *fault* become of it.
        """
        await _ANSWERS[fault](self)

    async def ask_issuer(self) -> bytes:
        """
        The issuer's answer: head and body, as they come.
        """
        reader, writer = await asyncio.open_connection(*self.issuer)
        try:
            writer.write(self.head)
            return await reader.read()
        finally:
            writer.close()

    async def send(self, octets: bytes) -> None:
        """
        Send *octets*, or fail if the client has hung up.
        """
        self.writer.write(octets)
        await self.writer.drain()

    async def send_ok(self, body: bytes = b"") -> None:
        """
        Begin an answer that ends with the connection.
        """
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
        await self.send(head + body)


async def _relay(exchange: Exchange) -> None:
    await exchange.send(await exchange.ask_issuer())


async def _reset(exchange: Exchange) -> None:
    exchange.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    exchange.writer.transport.abort()


async def _server_error(exchange: Exchange) -> None:
    _, _, rest = (await exchange.ask_issuer()).partition(b"\r\n")
    await exchange.send(b"HTTP/1.1 503 Service Unavailable\r\n" + rest)


async def _redirect(exchange: Exchange) -> None:
    host, port = exchange.issuer
    location = f"http://{host}:{port}{exchange.path}".encode("ascii")
    head = b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nconnection: close\r\nlocation: " + location
    await exchange.send(head + b"\r\n\r\n")


async def _truncate(exchange: Exchange) -> None:
    head, end, body = (await exchange.ask_issuer()).partition(b"\r\n\r\n")
    await exchange.send(head + end + body[: len(body) // 2])


async def _drip(exchange: Exchange) -> None:
    await exchange.send_ok()
    while True:
        await exchange.send(b" ")
        await asyncio.sleep(DRIP_EVERY)


async def _oversize(exchange: Exchange) -> None:
    await exchange.send_ok()
    for _ in range(FLOOD_BYTES // PIECE_BYTES):
        await exchange.send(b" " * PIECE_BYTES)


async def _html(exchange: Exchange) -> None:
    await exchange.send_ok(HTML)


async def _empty(exchange: Exchange) -> None:
    await exchange.send_ok(b'{"keys": []}')


async def _garbage(exchange: Exchange) -> None:
    await exchange.send(GARBAGE)


_ANSWERS: Final[Mapping[Fault, Callable[[Exchange], Awaitable[None]]]] = {
    Fault.NONE: _relay,
    Fault.DELAY: _relay,
    Fault.RESET: _reset,
    Fault.SERVER_ERROR: _server_error,
    Fault.REDIRECT: _redirect,
    Fault.TRUNCATE: _truncate,
    Fault.DRIP: _drip,
    Fault.OVERSIZE: _oversize,
    Fault.HTML: _html,
    Fault.EMPTY: _empty,
    Fault.GARBAGE: _garbage,
}
