"""
A plain ASGI application behind ``prefixes=``: what runs, for whom, and what its server need not know.
"""

import asyncio
import posixpath
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from guardrail import current_operator, public
from guardrail.errors import PolicyError
from guardrail.testing import assert_guarded

from . import bearer, start
from .foreign import (
    Meeting,
    authorized,
    call,
    call_with,
    endless,
    expiry_of,
    fetching,
    guard,
    let_go,
    seen_by_everyone,
    served,
    texts,
    twice,
    unguarded_runs,
)
from .targets import ADMIN, ANSWERS, MOUNTED_TARGETS, PATHS, TARGETS

pytestmark = pytest.mark.anyio

Work = Callable[[], Awaitable[str]]
Name = Callable[[Scope], str | None]


async def answer_with(send: Send, text: str, status: int = 200) -> None:
    """
    Send a whole response.
    """
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


def plain(ran: list[str], name_of: Name) -> ASGIApp:
    """
    An application that routes by *name_of*, and notes the name of what runs.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        name = name_of(scope)
        if name is None and scope["type"] == "http":
            await answer_with(send, "not found", 404)
        elif name is None:
            await send({"type": "websocket.close", "code": 1000})
        else:
            ran.append(name)
            await (answer_with(send, name) if scope["type"] == "http" else say_who(send))

    return app


async def say_who(send: Send) -> None:
    """
    Accept a WebSocket, and say whose it is.
    """
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": str(current_operator().subject)})
    await send({"type": "websocket.close", "code": 1000})


def working(work: Work) -> ASGIApp:
    """
    An application that answers with what *work* returns.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer_with(send, await work())

    return app


def by_path(scope: Scope) -> str | None:
    """
    The plain way: what the server calls the path.
    """
    return named(scope["path"])


def by_path_without_root_path(scope: Scope) -> str | None:
    """
    The specification's way: without the root path, on a segment boundary.
    """
    path, root_path = scope["path"], scope["root_path"]
    is_under = path.startswith(root_path) and path[len(root_path) :][:1] in {"", "/"}
    return named(path[len(root_path) :] if is_under else path)


def by_raw_path(scope: Scope) -> str | None:
    """
    The path as it was sent, with nothing decoded.
    """
    return named(scope["raw_path"].decode("latin-1"))


def by_tidied_path(scope: Scope) -> str | None:
    """
    As on the way to a file: what is left of escaped separators decoded, dots and empty segments resolved.
    """
    path = re.sub("%(2e|2f|5c)", lambda escape: unquote(escape[0]), scope["path"], flags=re.IGNORECASE)
    return named("/" + posixpath.normpath(path.replace("\\", "/").strip("\0\t\r\n")).lstrip("/"))


def named(path: str) -> str | None:
    """
    The handler at a path.
    """
    name = {**PATHS, "/open": "open"}.get(path)
    return name or ("open-rest" if path.startswith("/open/") else None)


@pytest.mark.parametrize("name_of", [by_path, by_path_without_root_path, by_raw_path])
@pytest.mark.parametrize(("path", "scopes", "status", "names"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_a_request_is_judged_by_its_prefix(
    path: str, scopes: list[str] | None, status: int, names: list[str], name_of: Name
) -> None:
    """
    401, 403 and 404 are answered before the application hears of the request; what is allowed runs.
    """
    ran: list[str] = []
    app = guard(plain(ran, name_of))

    answer = await (call(app, path) if scopes is None else call_with(app, path, *scopes))

    assert (answer.status, ran) == (status, names)
    assert ("www-authenticate" in answer.headers) == (status in {401, 403})
    assert_guarded(app)


async def in_a_coroutine() -> str:
    """
    The subject, after a pause.
    """
    await asyncio.sleep(0)
    return str(current_operator().subject)


async def in_a_task() -> str:
    """
    The subject, in a task of its own.
    """
    return await asyncio.create_task(in_a_coroutine())


async def in_a_thread() -> str:
    """
    The subject, in a thread.
    """
    return await asyncio.to_thread(lambda: str(current_operator().subject))


@pytest.mark.parametrize("work", [in_a_coroutine, in_a_task, in_a_thread])
async def test_the_operator_is_known_wherever_the_work_is_done(work: Work) -> None:
    """
    In a coroutine, a task and a thread that the application starts.
    """
    app = guard(working(work))

    answer = await call_with(app, "/orders", "orders:read")

    assert answer.text == "alice"


async def test_the_operator_is_in_the_scope() -> None:
    """
    Where applications look for a user, whatever a server or a middleware in front had put there.
    """
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([scope["user"], scope["auth"], scope["state"]["operator"], current_operator()])
        await answer_with(send, "ran")

    await call_with(
        guard(app), "/orders", "orders:read", user="mallory", auth="all", state={"operator": "mallory"}
    )

    assert [one.subject for one in seen] == ["alice"] * 4


async def test_concurrent_requests_see_their_own_operator() -> None:
    """
    Requests that are all being served at once know whose they are, before and after they waited.
    """
    meeting = Meeting(coroutines=50, threads=4)

    def waiting_in_a_thread() -> str:
        before = current_operator().subject
        meeting.wait()
        return f"{before} {current_operator().subject}"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/orders/thread":
            await answer_with(send, await asyncio.to_thread(waiting_in_a_thread))
            return
        before = current_operator().subject
        await meeting.join()
        await answer_with(send, f"{before} {current_operator().subject}")

    seen = await seen_by_everyone(guard(app), in_coroutines="/orders", in_threads="/orders/thread")

    assert seen == twice(seen)


@pytest.mark.parametrize("pause", [0.0, None], ids=["busy", "idle"])
async def test_a_stream_is_cut_when_its_token_expires(pause: float | None) -> None:
    """
    It ends properly, and the application hears of it as of a client that left.
    """
    stopped: list[str] = []
    expiry = expiry_of("orders:read")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        streaming = asyncio.create_task(stream(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        streaming.cancel()
        await asyncio.wait([streaming])

    async def stream(send: Send) -> None:
        async for piece in endless(stopped, pause):
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    guarded = guard(app, stream_expiry="cut", clock=lambda: expiry - 0.05)

    answer = await call_with(guarded, "/orders", "orders:read")

    assert (answer.status, answer.text.startswith("tick")) == (200, True)
    assert answer.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert await let_go(stopped) == ["stopped"]


@pytest.mark.parametrize(
    ("path", "scopes", "status"),
    [
        pytest.param("/orders", None, 401, id="no token"),
        pytest.param("/admin", ["orders:read"], 403, id="too little"),
        pytest.param("/hidden", ["orders:read"], 404, id="not in the table"),
    ],
)
async def test_a_websocket_is_refused_before_it_is_accepted(
    path: str, scopes: list[str] | None, status: int
) -> None:
    """
    The handshake is answered by HTTP, and the application hears nothing of it.
    """
    ran: list[str] = []
    headers = [] if scopes is None else bearer(*scopes)

    answer = await call(guard(plain(ran, by_path)), path, kind="websocket", headers=headers)

    assert (answer.status, ran) == (status, [])


async def test_a_websocket_knows_its_operator() -> None:
    """
    With a token it is served on behalf of who sent it; on a public prefix, on behalf of nobody.
    """
    ran: list[str] = []
    app = guard(plain(ran, by_path))

    orders = await call_with(app, "/orders", "orders:read", kind="websocket")
    anyone = await call(app, "/open", kind="websocket")

    assert (texts(orders), texts(anyone), ran) == (["alice"], [""], ["orders", "open"])


@pytest.mark.parametrize("name_of", [by_path, by_path_without_root_path, by_raw_path, by_tidied_path])
@pytest.mark.parametrize("path", TARGETS.values(), ids=TARGETS.keys())
async def test_no_spelling_of_a_path_reaches_what_it_may_not(path: str, name_of: Name) -> None:
    """
    However an application reads a target, what runs is what the caller may reach.
    """
    ran: list[str] = []

    assert await unguarded_runs(plain(ran, name_of), ran, path) == []


@pytest.mark.parametrize(("root_path", "path"), MOUNTED_TARGETS.values(), ids=MOUNTED_TARGETS.keys())
async def test_no_root_path_leads_past_the_decision(root_path: str, path: str) -> None:
    """
    An application that keeps to the specification reads the path that was decided on.
    """
    ran: list[str] = []

    assert await unguarded_runs(plain(ran, by_path_without_root_path), ran, path, root_path=root_path) == []


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_an_application_without_lifespan_is_guarded(mode: str) -> None:
    """
    One that takes every scope for a request, as many do, starts and is guarded.
    """
    fake, table = fetching()

    with served(guard(working(in_a_thread), table), lifespan=mode) as client:
        allowed = client.get("/orders", headers=authorized(fake))
        refused = client.get("/orders")

    assert (allowed.status_code, allowed.text, refused.status_code) == (200, "alice", 401)


async def test_a_lifespan_of_its_own_reaches_the_application() -> None:
    """
    What it says of its start is what the server hears.
    """
    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for event in ("startup", "shutdown"):
            heard.append((await receive())["type"])
            await send({"type": f"lifespan.{event}.complete"})

    sent = await start(guard(app))

    assert heard == ["lifespan.startup", "lifespan.shutdown"]
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_a_scope_of_an_unknown_type_is_let_nowhere() -> None:
    """
    What is neither a request nor a WebSocket is not guessed about.
    """
    ran: list[str] = []
    app = guard(plain(ran, by_path))

    with pytest.raises(PolicyError, match="webtransport"):
        await app({"type": "webtransport", "path": "/open", "headers": []}, None, None)  # type: ignore[arg-type]

    assert ran == []


@pytest.mark.parametrize("path", ["/ADMIN", "/Admin/users"])
async def test_what_is_public_is_not_what_is_guarded_in_another_case(path: str) -> None:
    """
    An application that does not care for case would take it there.
    """
    ran: list[str] = []
    app = plain(ran, lambda scope: "admin" if scope["path"].lower().startswith("/admin") else None)

    answer = await call(guard(app, {"/": public, "/admin": ADMIN}), path)

    assert (answer.status, ran) == (404, [])
