"""
What the tests of foreign frameworks do: guard an application, call it with a client that stays on the line
until it was answered, and see what ran.
"""

import asyncio
import base64
import gc
import json
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx
from starlette.types import Message

from guardrail import GuardrailMiddleware, ServicePackage, public
from guardrail.cli._servers import address, free_port, serving
from guardrail.testing import FakeIssuer

from . import Answer, Headers, bearer, mint, request_scope
from .targets import ADMIN_HANDLERS, LISTED, PUBLIC_HANDLERS, TABLES

Foreign = Callable[[Any, Any, Any], Awaitable[None]]  # an ASGI application, with types of its framework's

DEADLINE: Final = 10.0  # seconds until what should have happened did not


def guard(app: Foreign, prefixes: Mapping[str, object] | None = None, **settings: Any) -> GuardrailMiddleware:
    """
    Guardrail around a foreign application; the shorter of the two tables, if none is given.
    """
    return GuardrailMiddleware(app, prefixes=LISTED if prefixes is None else prefixes, **settings)


async def call(
    app: Foreign,
    path: str,
    *,
    method: str = "GET",
    headers: Headers = (),
    kind: str = "http",
    body: bytes = b"",
    **extra: Any,
) -> Answer:
    """
    Send one request, or open one WebSocket, and leave once it is answered: frameworks stop serving those
    who left. No client in between changes the path.
    """
    scope = request_scope(path, method=method, headers=headers, kind=kind, **extra)
    if kind == "websocket":
        scope["extensions"] = {"websocket.http.response": {}}
    line = _Line(kind, body)
    async with asyncio.timeout(DEADLINE):
        await app(scope, line.receive, line.send)
    return line.answer


async def call_with(app: Foreign, path: str, *scopes: str, subject: str = "alice", **extra: Any) -> Answer:
    """
    As `call`, with a token.
    """
    return await call(app, path, headers=bearer(*scopes, subject=subject), **extra)


class _Line:
    """
    One connection, from the client's end.
    """

    def __init__(self, kind: str, body: bytes) -> None:
        self.answer = Answer()
        self._kind = kind
        request = {"type": "http.request", "body": body, "more_body": False}
        self._incoming: list[Message] = [request if kind == "http" else {"type": "websocket.connect"}]
        self._is_answered = asyncio.Event()

    async def receive(self) -> Message:
        if self._incoming:
            return self._incoming.pop(0)
        await self._is_answered.wait()
        return {"type": f"{self._kind}.disconnect", "code": 1000}

    async def send(self, message: Message) -> None:
        self.answer.messages.append(message)
        is_last_piece = message["type"].endswith("response.body") and not message.get("more_body", False)
        if is_last_piece or message["type"] == "websocket.close":
            self._is_answered.set()


def texts(answer: Answer) -> list[str]:
    """
    What a WebSocket application said.
    """
    return [message["text"] for message in answer.messages if message["type"] == "websocket.send"]


async def unguarded_runs(app: Foreign, ran: list[str], path: str, *, root_path: str = "") -> list[str]:
    """
    What ran that should not have, of *app*, for a request target: with either table, as a request and as a
    WebSocket, without a token and with one that may read but not administer.
    """
    wrong: list[str] = []
    for table in TABLES:
        for kind in ("http", "websocket"):
            for headers, allowed in (([], PUBLIC_HANDLERS), (bearer("orders:read"), None)):
                ran.clear()
                await _try(guard(app, table), path, kind=kind, headers=headers, root_path=root_path)
                wrong += [one for one in ran if one in ADMIN_HANDLERS or (allowed and one not in allowed)]
    return wrong


async def _try(app: Foreign, path: str, **request: Any) -> None:
    try:
        await call(app, path, **request)
    except ValueError as exc:
        # Django's answer to a WebSocket that a public prefix let through.
        if "not websocket" not in str(exc):
            raise


class Meeting:
    """
    Where handlers wait for one another, so that all of them are in the middle of a request at once.
    """

    def __init__(self, *, coroutines: int, threads: int) -> None:
        self._coroutines = asyncio.Barrier(coroutines)
        self._threads = threading.Barrier(threads)

    async def join(self) -> None:
        """
        Wait on the event loop.
        """
        await self._coroutines.wait()

    def wait(self) -> None:
        """
        Wait in a thread.
        """
        self._threads.wait(DEADLINE)


async def seen_by_everyone(
    app: Foreign, *, in_coroutines: str, in_threads: str, coroutines: int = 50, threads: int = 4
) -> dict[str, str]:
    """
    What handlers that `Meeting` makes overlap answered, by the subject who asked.
    """
    callers = [(in_coroutines, f"async-{number}") for number in range(coroutines)]
    callers += [(in_threads, f"sync-{number}") for number in range(threads)]
    answers = await asyncio.gather(
        *(call_with(app, path, "orders:read", subject=who) for path, who in callers)
    )
    return {who: answer.text for (_, who), answer in zip(callers, answers, strict=True)}


def twice(subjects: Iterable[str]) -> dict[str, str]:
    """
    What everyone should have seen: themselves, before the others came and after.
    """
    return {subject: f"{subject} {subject}" for subject in subjects}


async def endless(ended: list[str], pause: float | None) -> AsyncIterator[bytes]:
    """
    A stream that goes on for ever, with a pause between its pieces, or falls silent after the first.
    """
    try:
        yield b"tick"
        while pause is not None:
            await asyncio.sleep(pause)
            yield b"tick"
        await asyncio.Event().wait()
    finally:
        ended.append("stopped")


async def let_go(ended: list[str]) -> list[str]:
    """
    *ended*, once the framework has let go of the stream; some leave it to the collector when sending fails.
    """
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # Django, its body file too
        gc.collect()
    async with asyncio.timeout(DEADLINE):
        # The collector hands generators to the loop, and tells nobody.
        while not ended:  # noqa: ASYNC110
            await asyncio.sleep(0)
    return ended


def expiry_of(*scopes: str) -> float:
    """
    When the token that `call_with` sends for *scopes* expires, in seconds since the epoch.
    """
    payload = mint(*scopes, subject="alice").split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(payload + "=="))["exp"])


def wait_until(is_so: Callable[[], bool]) -> None:
    """
    Return as soon as it is so.

    Raises:
        AssertionError: It is not, after `DEADLINE` seconds.
    """
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < deadline, "it never was"
        time.sleep(0.005)


@contextmanager
def served(app: Foreign, *, lifespan: str) -> Iterator[httpx.Client]:
    """
    A client of *app*, which uvicorn serves from a thread.
    """
    with (
        free_port() as sock,
        serving(app, sock=sock, lifespan=lifespan),
        httpx.Client(base_url=address(sock), timeout=DEADLINE, trust_env=False) as client,
    ):
        yield client


def fetching() -> tuple[FakeIssuer, dict[str, object]]:
    """
    An issuer whose keys have to be fetched, and a table that needs its tokens.
    """
    fake = FakeIssuer(algorithm="EdDSA")
    orders = ServicePackage("orders", issuer=fake.issuer, audience=fake.audience)
    return fake, {"/orders": orders.requires("orders:read"), "/open": public}


def authorized(fake: FakeIssuer, **claims: Any) -> dict[str, str]:
    """
    The header field of a token that may read.
    """
    return {"Authorization": f"Bearer {fake.token(scope='orders:read', **claims)}"}
