"""
One bounded GET: what is read, what is refused, and the client it is done with when none was given.
"""

import asyncio
import datetime as dt
import gzip
import ipaddress
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from guardrail import _fetch
from guardrail._fetch import Answer, client_for_fetching, fetch

pytestmark = pytest.mark.anyio

URL = "https://login.example.com/jwks"
MAX_BODY_BYTES = 512 * 1024  # the default, which test_fetching spells out


async def get(
    client: httpx.AsyncClient,
    url: str = URL,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    insecure_allow_link_local: bool = False,
) -> Answer:
    """
    Fetch with the limits that an issuer has by default.
    """
    return await fetch(
        client, url, max_body_bytes=max_body_bytes, insecure_allow_link_local=insecure_allow_link_local
    )


async def answered(client: httpx.AsyncClient, url: str = URL) -> tuple[int, bytes]:
    """
    The status and the body of an answer.
    """
    answer = await get(client, url)
    return answer.status, answer.body


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

    answer = await answered(client)

    assert answer == (200, b'{"keys":[]}')


@pytest.mark.parametrize("status", [201, 202, 204, 301, 302, 303, 307, 308, 400, 401, 404, 429, 500, 503])
async def test_the_body_of_another_status_is_not_read(status: int) -> None:
    """
    Only a 200 has a body for us; that of anything else is neither read nor kept open.
    """
    body = Body([b'{"keys":[]}'])
    client = client_streaming(body, status=status, location=URL)

    answer = await answered(client)

    assert answer == (status, b"")
    assert (body.read, body.is_closed) == (0, True)


async def test_the_request_is_a_plain_get() -> None:
    """
    It asks for JSON, unpacked, and says nothing about us.
    """
    seen: list[httpx.Request] = []
    client = client_answering(b"{}", seen=seen)

    await get(client)

    (request,) = seen
    assert (request.method, str(request.url), request.content) == ("GET", URL, b"")
    assert request.headers["accept"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert not {"authorization", "cookie"} & set(request.headers)


async def test_the_request_has_no_time_out_of_the_clients() -> None:
    """
    Whoever asks has one for all of discovery and fetch; a client's own would count in another way.
    """
    seen: list[httpx.Request] = []
    client = client_answering(b"{}", seen=seen)
    client.timeout = httpx.Timeout(0.001)

    await get(client)

    assert seen[0].extensions["timeout"] == dict.fromkeys(("connect", "read", "write", "pool"))


async def test_no_redirect_is_followed_whatever_the_client_does_elsewhere() -> None:
    """
    A client told to follow redirects follows none of ours (D8).
    """
    seen: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(302, headers={"location": "https://evil.example/jwks"})

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond), follow_redirects=True)

    answer = await answered(client)

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

    answer = await answered(client_answering(*cut(inside)))

    assert answer == (200, inside)
    with pytest.raises(ValueError, match="larger than 524288 bytes"):
        await get(client_answering(*cut(outside)))


async def test_a_body_in_tiny_pieces_leaves_the_loop_to_others() -> None:
    """
    Half a megabyte of single bytes that are all there at once holds nobody else up.
    """
    pieces, turns = 10_000, list[None]()

    async def take_turns() -> None:
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    other = asyncio.ensure_future(take_turns())

    answer = await get(client_streaming(Body(b"x" for _ in range(pieces))))

    other.cancel()
    assert len(answer.body) == pieces
    assert len(turns) >= pieces / 64


async def test_a_body_without_end_is_given_up_on() -> None:
    """
    No more is read of an endless body than shows that it is too large, and it is let go (D9).
    """
    body = Body(bytes(65_536) for _ in iter(int, 1))

    with pytest.raises(ValueError, match="larger"):
        await get(client_streaming(body))

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

    answer = await answered(client_answering(packed[:5], packed[5:], content_encoding=coding))

    assert answer == (200, b'{"keys":[]}')


@pytest.mark.parametrize(
    "coding", [pytest.param("identity", id="as registered"), pytest.param("Identity", id="in another case")]
)
async def test_an_answer_that_says_it_is_not_packed_is_read_as_it_is(coding: str) -> None:
    """
    *identity* is no packing, and codings have no case (RFC 9110 §8.4.1).
    """
    answer = await answered(client_answering(b'{"keys":[]}', content_encoding=coding))

    assert answer == (200, b'{"keys":[]}')


async def test_what_is_unpacked_is_bounded() -> None:
    """
    A gzip of 512 KiB unpacks; one byte more is refused.
    """
    inside, outside = gzip.compress(bytes(MAX_BODY_BYTES)), gzip.compress(bytes(MAX_BODY_BYTES + 1))

    answer = await answered(client_answering(inside, content_encoding="gzip"))

    assert answer == (200, bytes(MAX_BODY_BYTES))
    with pytest.raises(ValueError, match="larger"):
        await get(client_answering(outside, content_encoding="gzip"))


async def test_a_gzip_bomb_is_not_unpacked() -> None:
    """
    Of a gzip that would become 256 MiB no more than the bound is ever in memory (D9).
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    client = client_answering(bomb, content_encoding="gzip")
    tracemalloc.start()

    with pytest.raises(ValueError, match="larger"):
        await get(client)

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
        await get(client_streaming(body, content_encoding="gzip"))

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
        await get(client)


@pytest.mark.parametrize("bound", [1, 2, 100, 1_000_000])
async def test_bound_of_the_body_is_the_issuers(bound: int) -> None:
    """
    As much is read, and unpacked, as the issuer's settings say; one byte more is refused.
    """
    inside, outside = bytes(bound), bytes(bound + 1)

    answer = await get(client_answering(inside), max_body_bytes=bound)

    assert len(answer.body) == bound
    with pytest.raises(ValueError, match=f"larger than {bound} bytes"):
        await get(client_answering(outside), max_body_bytes=bound)
    with pytest.raises(ValueError, match=f"larger than {bound} bytes"):
        await get(client_answering(gzip.compress(outside), content_encoding="gzip"), max_body_bytes=bound)


@pytest.mark.parametrize("status", [200, 304, 404, 503])
async def test_fields_of_an_answer_are_there_whatever_its_status(status: int) -> None:
    """
    What an answer says of its freshness is read; field names have no case, and repeated fields are one list.
    """

    def respond(request: httpx.Request) -> httpx.Response:
        fields = [("Cache-Control", "public"), ("CACHE-CONTROL", "max-age=60"), ("Age", "7")]
        return httpx.Response(status, headers=fields, content=b"{}")

    answer = await get(httpx.AsyncClient(transport=httpx.MockTransport(respond)))

    assert (answer.headers.get("cache-control"), answer.headers.get("Age")) == ("public, max-age=60", "7")
    assert "expires" not in answer.headers


async def test_what_the_network_raises_is_raised() -> None:
    """
    Nothing is made of an error here: whoever asked knows what it means.
    """
    error = httpx.ReadTimeout("too slow")

    def respond(request: httpx.Request) -> httpx.Response:
        raise error

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond))

    with pytest.raises(httpx.ReadTimeout) as caught:
        await get(client)

    assert caught.value is error


# Link-local addresses


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("169.254.169.254", id="IPv4"),
        pytest.param("169.254.0.1:8443", id="IPv4 with a port"),
        pytest.param("[fe80::1]", id="IPv6"),
        pytest.param("[fe80::1%25eth0]", id="IPv6 with a zone"),
        pytest.param("[::ffff:169.254.169.254]", id="mapped"),
        pytest.param("[64:ff9b::a9fe:a9fe]", id="through NAT64"),
        pytest.param("[fd00:ec2::254]", id="metadata that is not link-local"),
        pytest.param("100.100.100.200", id="metadata that is not link-local, IPv4"),
        pytest.param("2852039166", id="one number"),
        pytest.param("0xA9FEA9FE", id="one number, hexadecimal"),
        pytest.param("169.254.43518", id="three parts"),
        pytest.param("user:password@169.254.169.254", id="behind a user"),
        pytest.param("169。254。169。254", id="other dots"),
    ],
)
async def test_link_local_host_is_not_asked(host: str) -> None:
    """
    An address that is one is refused before there is a request, unless the issuer's settings allow it.
    """
    seen: list[httpx.Request] = []
    client, url = client_answering(b"{}", seen=seen), f"https://{host}/jwks"

    with pytest.raises(ValueError, match=r"^keys are not fetched from link-local addresses$"):
        await get(client, url)

    assert seen == []
    assert (await get(client, url, insecure_allow_link_local=True)).body == b"{}"
    assert len(seen) == 1


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("login.example.com", id="a name"),
        pytest.param("169.254.169.254.example.com", id="a name that begins like one"),
        pytest.param("10.0.0.1", id="private"),
        pytest.param("127.0.0.1:8443", id="loopback"),
        pytest.param("[::1]", id="IPv6 loopback"),
        pytest.param("[fd00::1]", id="IPv6 private"),
    ],
)
async def test_other_host_is_asked(host: str) -> None:
    """
    Names, private and loopback addresses are good places for an issuer.
    """
    seen: list[httpx.Request] = []

    answer = await get(client_answering(b"{}", seen=seen), f"https://{host}/jwks")

    assert (answer.body, len(seen)) == (b"{}", 1)


class Line(httpcore.AsyncNetworkStream):
    """
    A connection to somebody at *address*, who answers every request alike; and what was done with it.

    Its methods have the time-outs that httpcore's interface has.
    """

    def __init__(self, address: object) -> None:
        self.address = address
        self.sent = b""
        self.is_encrypted = False
        self.is_closed = False
        self._answers: list[bytes] = []

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return self._answers.pop(0) if self._answers else b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.sent += buffer
        if buffer.endswith(b"\r\n\r\n"):
            self._answers.append(http_answer(b"{}"))

    async def aclose(self) -> None:
        self.is_closed = True

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        self.is_encrypted = True
        return self

    def get_extra_info(self, info: str) -> Any:
        return self.address if info == "server_addr" else None


class Network(httpcore.AsyncNetworkBackend):
    """
    A network in which every name leads to *address*.
    """

    def __init__(self, address: object) -> None:
        self.address = address
        self.lines: list[Line] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.lines.append(Line(self.address))
        return self.lines[-1]


class PoolTransport(httpx.AsyncBaseTransport):
    """
    httpx over a connection pool of httpcore on a *network* of our own, as it is over one on the real network.
    """

    def __init__(self, network: Network) -> None:
        self.pool = httpcore.AsyncConnectionPool(network_backend=network)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        found = await self.pool.handle_async_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        assert isinstance(found.stream, AsyncIterable)
        return httpx.Response(
            found.status,
            headers=found.headers,
            stream=PoolStream(found),
            extensions=found.extensions,
        )

    async def aclose(self) -> None:
        await self.pool.aclose()


class PoolStream(httpx.AsyncByteStream):
    """
    The body of an answer that came through the pool.
    """

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._answer.aiter_stream():
            yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()


LINK_LOCAL_PEERS = pytest.mark.parametrize(
    "address",
    [
        pytest.param(("169.254.169.254", 443), id="IPv4"),
        pytest.param(["169.254.169.254", 443], id="in a list"),
        pytest.param(("fe80::1", 443, 0, 2), id="IPv6"),
        pytest.param(("fe80::1%eth0", 443, 0, 2), id="IPv6 with a zone"),
        pytest.param(("::ffff:169.254.169.254", 443, 0, 0), id="mapped"),
        pytest.param(("fd00:ec2::254", 443, 0, 0), id="metadata that is not link-local"),
    ],
)


@LINK_LOCAL_PEERS
@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_name_that_leads_to_a_link_local_address_is_hung_up_on(scheme: str, address: object) -> None:
    """
    The address of the connection counts: it is closed before a byte of TLS or HTTP was sent.
    """
    network = Network(address)
    transport = PoolTransport(network)

    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(ValueError, match=r"^keys are not fetched from link-local addresses$"):
            await get(client, f"{scheme}://login.example.com/jwks")
        kept = list(transport.pool.connections)

    (line,) = network.lines
    assert (line.sent, line.is_encrypted, line.is_closed) == (b"", False, True)
    assert kept == []


@LINK_LOCAL_PEERS
async def test_link_local_address_may_be_allowed(address: object) -> None:
    """
    ``insecure_allow_link_local=True`` connects wherever the name leads.
    """
    network = Network(address)

    async with httpx.AsyncClient(transport=PoolTransport(network)) as client:
        answer = await get(client, insecure_allow_link_local=True)

    (line,) = network.lines
    assert (answer.status, answer.body) == (200, b"{}")
    assert line.sent.startswith(b"GET /jwks HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(("203.0.113.7", 443), id="public"),
        pytest.param(("10.0.0.1", 443), id="private"),
        pytest.param(("127.0.0.1", 443), id="loopback"),
        pytest.param(("169.253.255.255", 443), id="beside link-local"),
        pytest.param(("2001:db8::1", 443, 0, 0), id="IPv6"),
        pytest.param("/run/issuer.sock", id="a Unix socket"),
        pytest.param(b"", id="an unnamed Unix socket"),
        pytest.param((), id="no address"),
        pytest.param(7, id="no address at all"),
        pytest.param(None, id="nothing known"),
    ],
)
async def test_name_that_leads_elsewhere_is_asked(address: object) -> None:
    """
    The same way with another end, or with one that has no address.
    """
    network = Network(address)

    async with httpx.AsyncClient(transport=PoolTransport(network)) as client:
        answers = [await answered(client) for _ in range(2)]

    assert answers == [(200, b"{}")] * 2
    assert [line.is_encrypted for line in network.lines] == [True]  # one connection for both


async def test_client_that_is_connected_already_is_noticed() -> None:
    """
    A client that somebody else used connects no more; its answer is refused, and its connection closed.
    """
    network = Network(("169.254.169.254", 443))
    transport = PoolTransport(network)

    async with httpx.AsyncClient(transport=transport) as client:
        before = (await client.get("https://login.example.com/")).status_code
        (line,) = network.lines
        was_closed = line.is_closed
        with pytest.raises(ValueError, match="link-local"):
            await get(client)
        kept = list(transport.pool.connections)

    assert (before, was_closed, line.is_closed, kept) == (200, False, True, [])
    assert len(network.lines) == 1


async def test_client_that_is_connected_already_may_be_used_where_that_is_allowed() -> None:
    """
    The same client, with the danger allowed.
    """
    network = Network(("169.254.169.254", 443))

    async with httpx.AsyncClient(transport=PoolTransport(network)) as client:
        await client.get("https://login.example.com/")
        answer = await get(client, insecure_allow_link_local=True)

    assert answer.body == b"{}"
    assert len(network.lines) == 1


async def test_address_may_change_between_two_fetches() -> None:
    """
    A name that leads to a good address now and to a link-local one later is refused when it does.
    """
    network = Network(("203.0.113.7", 443))
    outcomes: list[str] = []

    for address in (("203.0.113.7", 443), ("169.254.169.254", 443), ("203.0.113.7", 443)):
        network.address = address
        async with httpx.AsyncClient(transport=PoolTransport(network)) as client:
            try:
                outcomes.append((await get(client)).body.decode())
            except ValueError as error:
                outcomes.append(str(error))

    assert outcomes == ["{}", "keys are not fetched from link-local addresses", "{}"]


async def test_connection_that_fails_is_no_address() -> None:
    """
    Where there is no connection there is nothing to judge: what the network raised is raised.
    """

    class Broken(Network):
        async def connect_tcp(self, *args: Any, **settings: Any) -> httpcore.AsyncNetworkStream:
            raise httpcore.ConnectError("no route")

    async with httpx.AsyncClient(transport=PoolTransport(Broken(None))) as client:
        with pytest.raises(httpcore.ConnectError, match="no route"):
            await get(client)


# A network namespace of its own, in which this machine is the metadata service, and names lead to it.
OWN_NETWORK = """
set -e
ip link set lo up
ip addr add 169.254.169.254/32 dev lo
ip addr add fd00:ec2::254/128 dev lo nodad
mount --bind "$1" /etc/hosts
shift
exec "$@"
"""
IN_OWN_NETWORK = r"""
import asyncio, json
from guardrail._fetch import client_for_fetching, fetch

NAMES = {
    "metadata.example.com": "169.254.169.254",
    "metadata6.example.com": "fd00:ec2::254",
    "login.example.com": "127.0.0.1",
}

async def ask(name, address, *, is_allowed):
    heard = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        head = await reader.read(65536)
        heard.set_result(head.decode()[:9])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}" if head else b"")
        writer.close()

    async with await asyncio.start_server(serve, address, 0) as server:
        url = f"http://{name}:{server.sockets[0].getsockname()[1]}/jwks"
        try:
            async with client_for_fetching(None) as client:
                answer = await fetch(client, url, max_body_bytes=100, insecure_allow_link_local=is_allowed)
            outcome = answer.body.decode()
        except ValueError as error:
            outcome = str(error)
        return [name, is_allowed, outcome, await heard]

async def main():
    async with asyncio.timeout(30):
        for name, address in NAMES.items():
            for is_allowed in (False, True):
                print(json.dumps(await ask(name, address, is_allowed=is_allowed)))

asyncio.run(main())
"""


def in_own_network(script: str, *, hosts: Path) -> str:
    """
    What *script* prints in a network namespace of its own; skips where the system does not let us have one.
    """
    if not all(map(shutil.which, ("unshare", "ip", "mount"))):
        pytest.skip("needs unshare, ip and mount (Linux)")
    unshare = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", OWN_NETWORK, "sh"]
    try_out = subprocess.run([*unshare, str(hosts), "true"], capture_output=True, text=True, check=False)
    if try_out.returncode != 0:
        pytest.skip(f"no network namespace of our own: {try_out.stderr.strip()}")
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    command = [*unshare, str(hosts), sys.executable, "-c", script]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_real_name_of_a_real_link_local_address_is_hung_up_on(tmp_path: Path) -> None:
    """
    With real sockets and a real resolver: who is at the metadata service's address gets not one byte from us.
    """
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "127.0.0.1 login.example.com\n"
        "169.254.169.254 metadata.example.com\n"
        "fd00:ec2::254 metadata6.example.com\n"
    )

    outcomes = [json.loads(line) for line in in_own_network(IN_OWN_NETWORK, hosts=hosts).splitlines()]

    refused = "keys are not fetched from link-local addresses"
    assert outcomes == [
        ["metadata.example.com", False, refused, ""],
        ["metadata.example.com", True, "{}", "GET /jwks"],
        ["metadata6.example.com", False, refused, ""],
        ["metadata6.example.com", True, "{}", "GET /jwks"],
        ["login.example.com", False, "{}", "GET /jwks"],
        ["login.example.com", True, "{}", "GET /jwks"],
    ]


# The client


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
        _fetch.tls_context.cache_clear()


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


async def test_the_tls_context_is_made_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A worker thread builds what takes 30 ms, and builds it once for all clients.
    """
    recorded = Recorded(monkeypatch)

    for _ in range(3):
        async with client_for_fetching(None):
            pass

    assert len(recorded.clients) == 3
    assert threading.get_ident() not in recorded.context_threads
    assert len(recorded.context_threads) == 1
    assert len({id(context) for context in recorded.verifications}) == 1


async def test_busy_threads_keep_nobody_from_fetching() -> None:
    """
    Once the TLS context is there no worker thread is needed: handlers may occupy them all, for as long as
    they like.
    """
    async with client_for_fetching(None):
        pass
    loop, is_over = asyncio.get_running_loop(), threading.Event()
    executor = ThreadPoolExecutor(1)
    loop.set_default_executor(executor)
    occupied = loop.run_in_executor(None, is_over.wait)

    try:
        async with asyncio.timeout(30.0), client_for_fetching(None) as client:
            outcome = (client.is_closed, occupied.done())
    finally:
        is_over.set()
        executor.shutdown()

    assert outcome == (False, False)
    assert await occupied


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
        answer = await answered(client, f"http://127.0.0.1:{port}/jwks")

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
        await get(client, f"http://127.0.0.1:{port}/.well-known/openid-configuration")
        await get(client, f"http://127.0.0.1:{port}/jwks")

    assert len(heads) == 2
    assert [b"cookie:" in head for head in heads] == [False, False]


@pytest.mark.parametrize(
    ("host", "is_local", "proxied"),
    [
        pytest.param("127.0.0.1", False, False, id="this machine"),
        pytest.param("localhost", False, False, id="this machine, by name"),
        pytest.param("login.example.com", False, True, id="elsewhere"),
        pytest.param("127.0.0.7", False, True, id="another loopback address, not said to be local"),
        pytest.param("127.0.0.7", True, False, id="another loopback address, said to be local"),
    ],
)
async def test_a_proxy_from_the_environment_is_for_the_network(
    host: str, is_local: bool, proxied: bool, monkeypatch: pytest.MonkeyPatch
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
        async with client_for_fetching(None, is_local=is_local) as client:
            with suppress(httpx.ConnectError):  # not every machine answers at each of its addresses
                await get(client, f"http://{host}:{port}/jwks")

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
            await get(client, f"https://127.0.0.1:{port}/jwks")

    assert not requests
