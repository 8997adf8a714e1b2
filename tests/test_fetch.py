"""
One bounded GET: what is read, what is refused, and the client it is done with when none was given.
"""

import asyncio
import datetime as dt
import gzip
import ipaddress
import ssl
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from guardrail import _fetch
from guardrail._fetch import MAX_BODY_BYTES, client_for_fetching, fetch

pytestmark = pytest.mark.anyio

URL = "https://login.example.com/jwks"


class Body(httpx.AsyncByteStream):
    """
    A response body that says how much of it was read, and whether it was let go.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = chunks
        self.read = 0
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            self.read += 1
            yield chunk

    async def aclose(self) -> None:
        self.is_closed = True


def client_answering(
    *chunks: bytes, status: int = 200, seen: list[httpx.Request] | None = None, **headers: str
) -> httpx.AsyncClient:
    """
    A client whose server answers everything alike.
    """
    return client_streaming(Body(chunks), status=status, seen=seen, **headers)


def client_streaming(
    body: Body, *, status: int = 200, seen: list[httpx.Request] | None = None, **headers: str
) -> httpx.AsyncClient:
    """
    A client whose server answers with *body*.
    """

    def respond(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.Response(status, headers=named, stream=body)

    return httpx.AsyncClient(transport=httpx.MockTransport(respond))


async def test_the_body_of_a_200_is_returned() -> None:
    """
    A good answer is its status and its bytes, however they were cut up on the way.
    """
    client = client_answering(b'{"keys"', b"", b":[]}")

    answer = await fetch(client, URL)

    assert answer == (200, b'{"keys":[]}')


@pytest.mark.parametrize("status", [201, 202, 204, 301, 302, 303, 307, 308, 400, 401, 404, 429, 500, 503])
async def test_the_body_of_another_status_is_not_read(status: int) -> None:
    """
    Only a 200 has a body for us; that of anything else is neither read nor kept open.
    """
    body = Body([b'{"keys":[]}'])
    client = client_streaming(body, status=status, location=URL)

    answer = await fetch(client, URL)

    assert answer == (status, b"")
    assert (body.read, body.is_closed) == (0, True)


async def test_the_request_is_a_plain_get() -> None:
    """
    It asks for JSON, unpacked, and says nothing about us.
    """
    seen: list[httpx.Request] = []
    client = client_answering(b"{}", seen=seen)

    await fetch(client, URL)

    (request,) = seen
    assert (request.method, str(request.url), request.content) == ("GET", URL, b"")
    assert request.headers["accept"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert not {"authorization", "cookie"} & set(request.headers)


async def test_no_redirect_is_followed_whatever_the_client_does_elsewhere() -> None:
    """
    A client told to follow redirects follows none of ours (D8).
    """
    seen: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(302, headers={"location": "https://evil.example/jwks"})

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond), follow_redirects=True)

    answer = await fetch(client, URL)

    assert answer == (302, b"")
    assert [str(request.url) for request in seen] == [URL]


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(lambda raw: [raw], id="in one piece"),
        pytest.param(lambda raw: [raw[:1000], raw[1000:]], id="in two"),
        pytest.param(lambda raw: [raw[at : at + 4096] for at in range(0, len(raw), 4096)], id="in many"),
    ],
)
async def test_the_body_is_bounded(cut: Callable[[bytes], list[bytes]]) -> None:
    """
    512 KiB are read; one byte more is refused (D9).
    """
    inside, outside = bytes(MAX_BODY_BYTES), bytes(MAX_BODY_BYTES + 1)

    answer = await fetch(client_answering(*cut(inside)), URL)

    assert MAX_BODY_BYTES == 512 * 1024
    assert answer == (200, inside)
    with pytest.raises(ValueError, match="larger than 524288 bytes"):
        await fetch(client_answering(*cut(outside)), URL)


async def test_a_body_without_end_is_given_up_on() -> None:
    """
    No more is read of an endless body than shows that it is too large, and it is let go (D9).
    """
    body = Body(bytes(65_536) for _ in iter(int, 1))

    with pytest.raises(ValueError, match="larger"):
        await fetch(client_streaming(body), URL)

    assert (body.read, body.is_closed) == (9, True)


@pytest.mark.parametrize(
    "coding",
    [
        pytest.param("gzip", id="gzip"),
        pytest.param("x-gzip", id="x-gzip, its old name"),
        pytest.param("GZIP", id="in another case"),
    ],
)
async def test_a_gzip_nobody_asked_for_is_unpacked(coding: str) -> None:
    """
    Some caches compress whatever was asked; the answer is as good.
    """
    packed = gzip.compress(b'{"keys":[]}')

    answer = await fetch(client_answering(packed[:5], packed[5:], content_encoding=coding), URL)

    assert answer == (200, b'{"keys":[]}')


@pytest.mark.parametrize(
    "coding", [pytest.param("identity", id="as registered"), pytest.param("Identity", id="in another case")]
)
async def test_an_answer_that_says_it_is_not_packed_is_read_as_it_is(coding: str) -> None:
    """
    *identity* is no packing, and codings have no case (RFC 9110 §8.4.1).
    """
    answer = await fetch(client_answering(b'{"keys":[]}', content_encoding=coding), URL)

    assert answer == (200, b'{"keys":[]}')


async def test_what_is_unpacked_is_bounded() -> None:
    """
    A gzip of 512 KiB unpacks; one byte more is refused.
    """
    inside, outside = gzip.compress(bytes(MAX_BODY_BYTES)), gzip.compress(bytes(MAX_BODY_BYTES + 1))

    answer = await fetch(client_answering(inside, content_encoding="gzip"), URL)

    assert answer == (200, bytes(MAX_BODY_BYTES))
    with pytest.raises(ValueError, match="larger"):
        await fetch(client_answering(outside, content_encoding="gzip"), URL)


async def test_a_gzip_bomb_is_not_unpacked() -> None:
    """
    Of a gzip that would become 256 MiB no more than the bound is ever in memory (D9).
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    client = client_answering(bomb, content_encoding="gzip")
    tracemalloc.start()

    with pytest.raises(ValueError, match="larger"):
        await fetch(client, URL)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(bomb) < MAX_BODY_BYTES
    assert peak < 8 * MAX_BODY_BYTES


async def test_a_packed_body_is_bounded_before_it_is_unpacked() -> None:
    """
    What comes over the wire counts too, although it would unpack to nothing.
    """
    packed = gzip.compress(b"{}")
    body = Body((packed + bytes(MAX_BODY_BYTES), b"never read"))

    with pytest.raises(ValueError, match="larger"):
        await fetch(client_streaming(body, content_encoding="gzip"), URL)

    assert body.read == 1


@pytest.mark.parametrize(
    ("coding", "sent"),
    [
        pytest.param("gzip", b"<!doctype html>", id="not gzip at all"),
        pytest.param("gzip", gzip.compress(b"{}")[:-8], id="a gzip cut short of its checksum"),
        pytest.param("gzip", gzip.compress(b"{}")[:-8] + bytes(8), id="a wrong checksum"),
        pytest.param("deflate", zlib.compress(b"{}"), id="deflate"),
        pytest.param("br", b"\x0b\x02\x80{}\x03", id="brotli"),
        pytest.param("", b"{}", id="a coding without a name"),
    ],
)
async def test_what_cannot_be_unpacked_is_no_answer(coding: str, sent: bytes) -> None:
    """
    Another coding, or a broken one, is refused as an answer is, not as a network that failed.
    """
    client = client_answering(sent, content_encoding=coding)

    with pytest.raises(ValueError, match="coding"):
        await fetch(client, URL)


async def test_what_the_network_raises_is_raised() -> None:
    """
    Nothing is made of an error here: whoever asked knows what it means.
    """
    error = httpx.ReadTimeout("too slow")

    def respond(request: httpx.Request) -> httpx.Response:
        raise error

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond))

    with pytest.raises(httpx.ReadTimeout) as caught:
        await fetch(client, URL)

    assert caught.value is error


async def test_a_given_client_is_used_and_left_open() -> None:
    """
    An injected client is its owner's to close.
    """
    given = client_answering(b"{}")

    async with client_for_fetching(given) as client:
        used = client

    assert used is given
    assert not given.is_closed


class Recorded:
    """
    What was made of httpx, and in which thread.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clients: list[httpx.AsyncClient] = []
        self.client_threads: list[int] = []
        self.verifications: list[object] = []
        self.context_threads: list[int] = []
        new_context = httpx.create_ssl_context
        recorded = self

        class Client(httpx.AsyncClient):
            def __init__(self, **settings: Any) -> None:
                recorded.clients.append(self)
                recorded.client_threads.append(threading.get_ident())
                recorded.verifications.append(settings.get("verify", True))
                super().__init__(**settings)

        def create_ssl_context() -> ssl.SSLContext:
            recorded.context_threads.append(threading.get_ident())
            return new_context()

        monkeypatch.setattr(httpx, "AsyncClient", Client)
        monkeypatch.setattr(httpx, "create_ssl_context", create_ssl_context)
        _fetch._tls_context.cache_clear()


async def test_an_own_client_lives_for_one_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without an injected client each fetch has its own, closed behind it, so that no loop inherits another's.
    """
    recorded = Recorded(monkeypatch)

    async with client_for_fetching(None) as first:
        was_open = not first.is_closed
    async with client_for_fetching(None) as second:
        pass

    assert was_open
    assert first is not second
    assert [client.is_closed for client in recorded.clients] == [True, True]


async def test_an_own_client_is_closed_when_the_fetch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A failed fetch leaves no open client behind either.
    """
    recorded = Recorded(monkeypatch)

    with pytest.raises(ValueError, match="no answer"):
        async with client_for_fetching(None):
            raise ValueError("no answer")

    assert [client.is_closed for client in recorded.clients] == [True]


async def test_clients_and_their_tls_context_are_made_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A worker thread builds them, and the TLS context, which takes 30 ms, is built once for all clients.
    """
    recorded = Recorded(monkeypatch)

    for _ in range(3):
        async with client_for_fetching(None):
            pass

    assert len(recorded.clients) == 3
    assert threading.get_ident() not in recorded.client_threads + recorded.context_threads
    assert len(recorded.context_threads) == 1
    assert len({id(context) for context in recorded.verifications}) == 1


Respond = Callable[[bytes], bytes]


@asynccontextmanager
async def loopback(respond: Respond, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """
    A real HTTP server on a loopback port: *respond* makes an answer of a request's head.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with AsyncExitStack() as stack:
            stack.callback(writer.close)
            while head := await reader.readuntil(b"\r\n\r\n"):
                writer.write(respond(head))
                await writer.drain()

    async def serve_until_they_leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            return

    server = await asyncio.start_server(serve_until_they_leave, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def http_answer(body: bytes, *headers: bytes) -> bytes:
    """
    A 200 on the wire.
    """
    length = b"content-length: %d" % len(body)
    return b"\r\n".join((b"HTTP/1.1 200 OK", length, *headers, b"", body))


async def test_an_own_client_fetches_over_a_real_socket() -> None:
    """
    The way that needs no injected client works against a real server.
    """
    async with loopback(lambda _: http_answer(b'{"keys":[]}')) as port, client_for_fetching(None) as client:
        answer = await fetch(client, f"http://127.0.0.1:{port}/jwks")

    assert answer == (200, b'{"keys":[]}')


async def test_an_own_client_sends_no_cookies() -> None:
    """
    What one answer sets is not sent with the next request (R95).
    """
    heads: list[bytes] = []

    def respond(head: bytes) -> bytes:
        heads.append(head.lower())
        return http_answer(b"{}", b"set-cookie: session=1; Path=/")

    async with loopback(respond) as port, client_for_fetching(None) as client:
        await fetch(client, f"http://127.0.0.1:{port}/.well-known/openid-configuration")
        await fetch(client, f"http://127.0.0.1:{port}/jwks")

    assert len(heads) == 2
    assert [b"cookie:" in head for head in heads] == [False, False]


@pytest.mark.parametrize(
    ("host", "proxied"),
    [
        pytest.param("127.0.0.1", False, id="this machine"),
        pytest.param("localhost", False, id="this machine, by name"),
        pytest.param("login.example.com", True, id="elsewhere"),
    ],
)
async def test_a_proxy_from_the_environment_is_for_the_network(
    host: str, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    An own client goes through the proxy it is told to, and to this machine directly.
    """
    for name in ("http_proxy", "all_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    asked: list[bytes] = []

    def respond(head: bytes) -> bytes:
        asked.append(head)
        return http_answer(b"{}")

    async with loopback(respond) as proxy, loopback(lambda _: http_answer(b"{}")) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy}")
        async with client_for_fetching(None) as client:
            with suppress(httpx.ConnectError):  # not every machine answers at each of its addresses
                await fetch(client, f"http://{host}:{port}/jwks")

    assert bool(asked) is proxied


def self_signed(directory: Path) -> ssl.SSLContext:
    """
    A TLS context of a server whose certificate nobody vouches for.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = directory / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def test_an_own_client_verifies_certificates(tmp_path: Path) -> None:
    """
    A server whose certificate nobody vouches for is not believed (R94).
    """
    requests: list[bytes] = []

    def respond(head: bytes) -> bytes:
        requests.append(head)
        return http_answer(b"{}")

    async with loopback(respond, tls=self_signed(tmp_path)) as port, client_for_fetching(None) as client:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await fetch(client, f"https://127.0.0.1:{port}/jwks")

    assert not requests
