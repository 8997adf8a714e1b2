"""
What tests of key sets share: an authorization server of which a test chooses every answer, a clock, and event
loops that go as far as a test says.
"""

import asyncio
import json
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import httpx
import pytest

from guardrail import Fetching, Issuer
from guardrail._jwks import RemoteKeySet
from guardrail._keys import Selection
from guardrail.errors import UnavailableError, UnknownKeyError
from guardrail.events import Event
from guardrail.issuer import SigningKeys

ISSUER = "https://login.example.com/tenant"
RFC8414 = "https://login.example.com/.well-known/oauth-authorization-server/tenant"
OPENID = "https://login.example.com/tenant/.well-known/openid-configuration"
OPENID_INSERTED = "https://login.example.com/.well-known/openid-configuration/tenant"
JWKS_URI = "https://keys.example.net/tenant"
METADATA = {"issuer": ISSUER, "jwks_uri": JWKS_URI}
NEVER = "never published"

LIFETIME = 600.0  # seconds; the defaults, each of which a test spells out
MAX_STALE = 86_400.0
MAX_BODY_BYTES = 524_288
REFRESH_AT = 0.8 * LIFETIME  # with the jitter in the middle
PAUSES = (1.5, 3.0, 6.0, 12.0, 22.5, 22.5, 22.5)  # seconds after the n-th failure, the jitter in the middle

T = TypeVar("T")
Told = TypeVar("Told", bound=Event)
Reply = int | bytes | Mapping[str, Any] | httpx.Response | Exception


class Clock:
    """
    A monotonic clock that goes where a test sends it.
    """

    def __init__(self, now: float = 5_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Server:
    """
    An authorization server of which a test chooses every answer; what it does not name is 404.
    """

    def __init__(self) -> None:
        self.keys = SigningKeys("EdDSA")
        self.replies: dict[str, Reply] = {RFC8414: METADATA}
        self.fields: dict[str, str] = {}  # of the key set's answer
        self.requests: list[str] = []
        self.hold: Callable[[], Awaitable[object]] | None = None
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._respond))

    @property
    def kid(self) -> str:
        """
        The key ID of the key that signs now.
        """
        return self.keys.current.kid

    @property
    def fetches(self) -> int:
        """
        How often the key set was asked for.
        """
        return self.requests.count(JWKS_URI)

    async def _respond(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        self.requests.append(url)
        is_keys = url == JWKS_URI and JWKS_URI not in self.replies
        keys = httpx.Response(200, json=self.keys.jwks(), headers=self.fields)
        reply = keys if is_keys else self.replies.get(url, 404)
        if self.hold is not None:
            await self.hold()
        if isinstance(reply, Exception):
            raise reply
        return as_response(reply)


def as_response(reply: int | bytes | Mapping[str, Any] | httpx.Response) -> httpx.Response:
    """
    A status alone, a body of a 200, a JSON object, or the response itself.
    """
    if isinstance(reply, int):
        return httpx.Response(reply)
    if isinstance(reply, bytes):
        return httpx.Response(200, content=reply)
    return httpx.Response(200, json=dict(reply)) if isinstance(reply, Mapping) else reply


@dataclass
class World:
    """
    A key set, the server it fetches from, its clock, and what it told.
    """

    server: Server = field(default_factory=Server)
    clock: Clock = field(default_factory=Clock)
    events: list[Event] = field(default_factory=list)
    issuer: Issuer = field(default_factory=lambda: Issuer(ISSUER))
    jitter: float = 0.5

    def __post_init__(self) -> None:
        self.key_set = RemoteKeySet(
            self.issuer,
            http_client=self.server.client,
            emit=self.events.append,
            clock=lambda: 1_700_000_000.0 + self.clock(),
            monotonic=self.clock,
            jitter=lambda: self.jitter,
        )

    async def select(self, kid: str | None = None) -> Selection:
        """
        What the key set has for a token of the server's current key, or of another.
        """
        return await self.key_set.select(kid or self.server.kid, "EdDSA")

    async def refused(self, kid: str = NEVER) -> UnknownKeyError:
        """
        The refusal of a key ID.
        """
        with pytest.raises(UnknownKeyError) as caught:
            await self.select(kid)
        return caught.value

    async def unavailable(self, kid: str | None = None) -> UnavailableError:
        """
        The failure to have any keys, or to ask for one more.
        """
        with pytest.raises(UnavailableError) as caught:
            await self.select(kid)
        return caught.value

    async def refreshed(self) -> None:
        """
        Let a refresh in the background that is due begin, and end.
        """
        await self.select()
        await settle()

    def told(self, kind: type[Told]) -> list[Told]:
        """
        The events of one kind.
        """
        return [event for event in self.events if isinstance(event, kind)]

    def break_down(self, reply: Reply = 503) -> None:
        """
        Fail every fetch of the key set from now on.
        """
        self.server.replies[JWKS_URI] = reply

    def recover(self) -> None:
        """
        Answer with the keys again.
        """
        del self.server.replies[JWKS_URI]


def world_with(*, jitter: float = 0.5, **fetching: Any) -> World:
    """
    A world of one request for each fetch, with these limits.
    """
    issuer = Issuer(ISSUER, jwks_uri=JWKS_URI, fetching=Fetching(**fetching))
    return World(issuer=issuer, jitter=jitter)


def unpublish(keys: SigningKeys) -> str:
    """
    Take every key back but a fresh one, and return the key ID of the last one taken back.
    """
    gone = keys.current.kid
    keys.rotate(keep_previous=False)
    return gone


def jwk_set(*keys: object, **extra: object) -> bytes:
    """
    A JWK Set as a body.
    """
    return json.dumps({"keys": list(keys), **extra}).encode()


async def settle() -> None:
    """
    Let what runs in the background come to its end.
    """
    for _ in range(100):
        await asyncio.sleep(0)


def holding(server: Server) -> asyncio.Event:
    """
    Keep *server* from answering until the event is set.
    """
    gate = asyncio.Event()
    server.hold = gate.wait
    return gate


def hold_for_ever(server: Server) -> None:
    """
    Keep *server* from answering any request it gets from now on, on whichever loop.
    """

    async def never() -> None:
        await asyncio.Event().wait()

    server.hold = never


class Gate:
    """
    What keeps a server from answering, on whichever loops, until it is opened.
    """

    is_open = False

    async def wait(self) -> None:
        """
        Give way to others until it is.
        """
        while True:
            if self.is_open:
                return
            await asyncio.sleep(0)


async def until_asked(server: Server, requests: int) -> None:
    """
    Let others run until the server got that many requests.
    """
    for _ in range(1_000):
        if len(server.requests) >= requests:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"the server got {server.requests}")


async def outcome(select: Awaitable[T]) -> T | UnknownKeyError | UnavailableError:
    """
    What comes of a look-up, whatever it is.
    """
    try:
        return await select
    except (UnknownKeyError, UnavailableError) as exc:
        return exc


def without_waiting(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    The outcome of *coroutine*, which must have one without giving way to anybody.
    """
    try:
        coroutine.send(None)
    except StopIteration as exc:
        return cast("T", exc.value)
    coroutine.close()
    raise AssertionError("it waits for something")


@contextmanager
def a_new_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """
    An event loop that runs when a test says so.
    """
    with asyncio.Runner() as runner:
        yield runner.get_loop()


def run_a_while(loop: asyncio.AbstractEventLoop) -> None:
    """
    Let everything on *loop* come as far as it can.
    """
    loop.run_until_complete(settle())


# Virtual time: a loop that does not wait, but moves its own clock to whatever it would have waited for


class _VirtualSelector(selectors.DefaultSelector):
    """
    A selector that reports at once, and counts the seconds it was asked to wait.
    """

    waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing would ever happen again"
            self.waited += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """
    An event loop whose seconds take no time.
    """

    def __init__(self) -> None:
        self.virtual = _VirtualSelector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.waited


def in_virtual_time(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    Run *coroutine* on such a loop.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


# A server on a socket


class RealServer:
    """
    An authorization server on a real loopback socket, on the loop it was started on.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.keys = SigningKeys("EdDSA")
        self.requests: list[str] = []
        self.left: list[asyncio.Event] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """
        Serve one connection until the client leaves.
        """
        left = asyncio.Event()
        self.left.append(left)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head.split()[1].decode()))
        except asyncio.IncompleteReadError:
            left.set()
        finally:
            writer.close()

    def _answer(self, path: str) -> bytes:
        self.requests.append(path)
        documents: dict[str, Mapping[str, object]] = {
            "/.well-known/oauth-authorization-server": {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
            },
            "/keys": self.keys.jwks(),
        }
        body = json.dumps(documents[path]).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@asynccontextmanager
async def real_server() -> AsyncIterator[RealServer]:
    """
    A `RealServer` that stops at the end.
    """
    served: list[RealServer] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served[0].serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        served.append(RealServer(server.sockets[0].getsockname()[1]))
        yield served[0]
