"""
One bounded GET, and the client to do it with: all the network guardrail touches for keys.
"""

import asyncio
import functools
import ssl
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx

from ._addresses import is_link_local
from ._shapes import is_sequence

__all__ = ["LOOPBACK", "Answer", "client_for_fetching", "fetch", "tls_context", "unpacked"]

CHUNKS_PER_TURN: Final = 32  # pieces of a body taken before others get their turn
LOOPBACK: Final = ("all://localhost", "all://127.0.0.1", "all://[::1]")


@functools.cache
def tls_context() -> ssl.SSLContext:
    """
    The TLS context of all our own clients. Building it takes 30 ms, once.
    """
    return httpx.create_ssl_context()


def _new_client(*, is_local: bool) -> httpx.AsyncClient:
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    # A proxy from the environment is for the network, not for an issuer on this machine.
    direct: dict[str, httpx.AsyncBaseTransport | None] = dict.fromkeys(LOOPBACK)
    return httpx.AsyncClient(
        verify=tls_context(),
        follow_redirects=False,
        cookies=no_cookies,
        mounts=direct,
        trust_env=not is_local,
    )


@asynccontextmanager
async def client_for_fetching(
    given: httpx.AsyncClient | None, *, is_local: bool = False
) -> AsyncGenerator[httpx.AsyncClient]:
    """
    The client to fetch with: the one given, or a new one that lives for this fetch.

    A client belongs to the event loop it was first used on, and loops come and go. What is slow to build,
    the TLS context, is built once, in a thread: it would hold the loop for 30 ms.

    Args:
        given: The application's client, or None.
        is_local: Whether the issuer is on this machine: then no proxy of the environment's is asked for it.
    """
    if given is not None:
        yield given
        return
    await _tls_context_is_built()
    async with _new_client(is_local=is_local) as client:
        yield client


async def _tls_context_is_built() -> None:
    # Only the first time: what else the threads are busy with must not keep keys from being fetched.
    if not tls_context.cache_info().currsize:
        await asyncio.to_thread(tls_context)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a server answered; the body only of a 200.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


async def fetch(
    client: httpx.AsyncClient, url: str, *, max_body_bytes: int, insecure_allow_link_local: bool = False
) -> Answer:
    """
    GET *url*: no redirect followed, no more than *max_body_bytes* read or unpacked.

    RFC 8414 §3 knows no redirect, and following one would let an open redirector choose the keys.

    Raises:
        ValueError: The answer is too large or packed in an unknown way, or comes from a link-local address.
        Exception: Whatever the HTTP client raises.
    """
    extensions: dict[str, Any] = {}
    if not insecure_allow_link_local:
        _refuse_link_local(httpx.URL(url).host)
        extensions["trace"] = _refuse_link_local_connection
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    # No timeout of the client's: the caller has one for the whole, and it counts in another way.
    async with client.stream(
        "GET", url, headers=headers, follow_redirects=False, extensions=extensions, timeout=None
    ) as response:
        if not insecure_allow_link_local:
            # A client that is used for other things too may have been connected already.
            _refuse_link_local(_peer_of(response.extensions.get("network_stream")))
        if response.status_code != HTTPStatus.OK:
            return Answer(response.status_code, response.headers)
        return Answer(response.status_code, response.headers, await _read(response, max_body_bytes))


async def _refuse_link_local_connection(event: str, info: Mapping[str, Any]) -> None:
    """
    Hang up on a link-local address as soon as there is a connection, before anything is sent.

    The address of the connection counts, not what the name resolved to a moment before or after.
    """
    if event.endswith(".connect_tcp.complete"):
        stream = info["return_value"]
        try:
            _refuse_link_local(_peer_of(stream))
        except ValueError:
            await stream.aclose()
            raise


def _peer_of(stream: Any) -> str:
    """
    The address at the other end of a connection; empty where there is none, as with a transport for tests.
    """
    address: object = None if stream is None else stream.get_extra_info("server_addr")
    return str(address[0]) if is_sequence(address) and address else ""


def _refuse_link_local(host: str) -> None:
    if is_link_local(host):
        # RFC 8725 §3.10. Clouds serve a machine its credentials there.
        raise ValueError("keys are not fetched from link-local addresses")


async def _read(response: httpx.Response, max_body_bytes: int) -> bytes:
    is_packed = response.headers.get("content-encoding", "identity").lower() != "identity"
    body = bytearray()
    chunks = response.aiter_raw() if is_packed else response.aiter_bytes()
    number = 0
    async for chunk in chunks:
        body += chunk
        _refuse_oversize(body, max_body_bytes)
        number += 1
        if number % CHUNKS_PER_TURN == 0:
            await asyncio.sleep(0)  # a body in pieces of one byte must not hold the loop
    return unpacked(bytes(body), max_body_bytes) if is_packed else bytes(body)


def unpacked(body: bytes, max_body_bytes: int) -> bytes:
    """
    Undo a gzip that was sent although we asked for none, as some caches do; never more than the bound.
    """
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(body, max_body_bytes + 1)
    except zlib.error as exc:
        raise ValueError("the answer has a content coding that is not gzip") from exc
    _refuse_oversize(unpacked, max_body_bytes)
    if not unpacker.eof:
        raise ValueError("the answer's content coding was cut short")
    return unpacked


def _refuse_oversize(body: bytes | bytearray, max_body_bytes: int) -> None:
    if len(body) > max_body_bytes:
        raise ValueError(f"the answer is larger than {max_body_bytes} bytes")
