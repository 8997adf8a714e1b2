"""
One bounded GET, and the client to do it with: all the network guardrail touches for keys.
"""

import asyncio
import functools
import ssl
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

MAX_BODY_BYTES: Final = 524_288

_LOOPBACK: Final = ("all://localhost", "all://127.0.0.1", "all://[::1]")


@functools.cache
def _tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _new_client() -> httpx.AsyncClient:
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    # A proxy from the environment is for the network, not for an issuer on this machine.
    direct: dict[str, httpx.AsyncBaseTransport | None] = dict.fromkeys(_LOOPBACK)
    return httpx.AsyncClient(verify=_tls_context(), follow_redirects=False, cookies=no_cookies, mounts=direct)


@asynccontextmanager
async def client_for_fetching(given: httpx.AsyncClient | None) -> AsyncGenerator[httpx.AsyncClient, None]:
    """
    The client to fetch with: the one given, or a new one that lives for this fetch.

    A client belongs to the event loop it was first used on, and loops come and go. What is slow to build,
    the TLS context, is built once, in a thread: it would hold the loop for 30 ms.
    """
    if given is not None:
        yield given
        return
    async with await asyncio.to_thread(_new_client) as client:
        yield client


async def fetch(client: httpx.AsyncClient, url: str) -> tuple[int, bytes]:
    """
    The status and, of a 200, the body: no redirect followed, no more than `MAX_BODY_BYTES` read or unpacked.

    RFC 8414 §3 knows no redirect, and following one would let an open redirector choose the keys.
    """
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    async with client.stream("GET", url, headers=headers, follow_redirects=False) as response:
        if response.status_code != HTTPStatus.OK:
            return response.status_code, b""
        is_packed = response.headers.get("content-encoding", "identity").lower() != "identity"
        body = bytearray()
        async for chunk in response.aiter_raw() if is_packed else response.aiter_bytes():
            body += chunk
            _refuse_oversize(body)
        return response.status_code, _unpacked(bytes(body)) if is_packed else bytes(body)


def _unpacked(body: bytes) -> bytes:
    """
    Undo a gzip that was sent although we asked for none, as some caches do; never more than the bound.
    """
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as exc:
        raise ValueError("the answer has a content coding that is not gzip") from exc
    _refuse_oversize(unpacked)
    if not unpacker.eof:
        raise ValueError("the answer's content coding was cut short")
    return unpacked


def _refuse_oversize(body: bytes | bytearray) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"the answer is larger than {MAX_BODY_BYTES} bytes")
