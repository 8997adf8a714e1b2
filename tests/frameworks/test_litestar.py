"""
Litestar behind ``prefixes=``: what runs, for whom, and that its own reading of a path opens nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.handlers import asgi
from litestar.response import ServerSentEvent, Stream
from litestar.types import ControllerRouterHandler
from litestar.types import Receive as LitestarReceive
from litestar.types import Scope as LitestarScope
from litestar.types import Send as LitestarSend
from starlette.applications import Starlette
from starlette.routing import Mount

from guardrail import GuardrailMiddleware, current_operator, public
from guardrail.testing import assert_guarded

from . import bearer, lifespan
from .foreign import (
    Foreign,
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
    wait_until,
)
from .targets import ADMIN, ANSWERS, MOUNTED_TARGETS, PATHS, READ, TARGETS

pytestmark = pytest.mark.anyio


def litestar(*handlers: ControllerRouterHandler, **settings: Any) -> Foreign:
    """
    A Litestar application that leaves the logging of this process alone.
    """
    return Litestar(handlers, logging_config=None, openapi_config=None, **settings)


def plain(ran: list[str]) -> Foreign:
    """
    An application with a handler, and a WebSocket, at each of the usual paths.
    """
    handlers: list[ControllerRouterHandler] = []
    for path, name in {**PATHS, "/open": "open"}.items():
        handlers += [a_handler(ran, path, name), a_socket(ran, path, name)]

    @get("/open/{rest:path}", sync_to_thread=False)
    def below() -> str:
        ran.append("open-rest")
        return "open-rest"

    @websocket("/open/{rest:path}")
    async def feed_below(socket: WebSocket[Any, Any, Any]) -> None:
        ran.append("open-rest")
        await socket.accept()
        await socket.close()

    return litestar(*handlers, below, feed_below)


def a_handler(ran: list[str], path: str, name: str) -> ControllerRouterHandler:
    """
    A handler that notes its name when it runs.
    """

    @get(path, sync_to_thread=False)
    def handler() -> str:
        ran.append(name)
        return name

    return handler


def a_socket(ran: list[str], path: str, name: str) -> ControllerRouterHandler:
    """
    A WebSocket handler that notes its name when it runs, and says whose connection it is.
    """

    @websocket(path)
    async def feed(socket: WebSocket[Any, Any, Any]) -> None:
        ran.append(name)
        await socket.accept()
        await socket.send_text(str(socket.user.subject))
        await socket.close()

    return feed


@pytest.mark.parametrize(("path", "scopes", "status", "names"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_a_request_is_judged_by_its_prefix(
    path: str, scopes: list[str] | None, status: int, names: list[str]
) -> None:
    """
    401, 403 and 404 are answered before Litestar hears of the request; what is allowed runs.
    """
    ran: list[str] = []
    app = guard(plain(ran))

    answer = await (call(app, path) if scopes is None else call_with(app, path, *scopes))

    assert (answer.status, ran) == (status, names)
    assert ("www-authenticate" in answer.headers) == (status in {401, 403})
    assert_guarded(app)


async def test_litestars_own_pages_are_not_in_the_table() -> None:
    """
    Its OpenAPI pages are 404 until a prefix declares them.
    """
    app = Litestar([], logging_config=None)

    statuses = [
        (await call(guard(app, table), "/schema/openapi.json")).status
        for table in ({"/orders": READ}, {"/": READ})
    ]

    assert statuses == [404, 401]


async def test_the_operator_is_known_in_handlers_of_every_kind() -> None:
    """
    On the event loop, in a worker thread, in a hook of Litestar's, and where Litestar has its users.
    """
    hooked: list[str | None] = []

    @get("/orders/async")
    async def in_a_coroutine() -> str:
        await asyncio.sleep(0)
        return str(current_operator().subject)

    @get("/orders/thread", sync_to_thread=True)
    def in_a_thread() -> str:
        return str(current_operator().subject)

    @post("/orders/request", sync_to_thread=False, status_code=200)
    def on_the_request(request: Request[Any, Any, Any]) -> str:
        assert request.user is request.auth is request.state.operator is current_operator()
        return str(request.user.subject)

    def hook(_: object) -> None:
        hooked.append(current_operator().subject)

    app = guard(litestar(in_a_coroutine, in_a_thread, on_the_request, before_request=hook))

    answers = [
        (await call_with(app, f"/orders/{kind}", "orders:read", method=method)).text
        for kind, method in [("async", "GET"), ("thread", "GET"), ("request", "POST")]
    ]

    assert answers == hooked == ["alice"] * 3


async def test_on_a_public_prefix_there_is_nobody() -> None:
    """
    The operator is the anonymous one, and a token that is sent all the same changes nothing.
    """

    @get("/open", sync_to_thread=False)
    def who(request: Request[Any, Any, Any]) -> str:
        return f"{request.user.is_authenticated} {current_operator().is_authenticated}"

    app = guard(litestar(who))

    answers = [(await call(app, "/open")).text, (await call_with(app, "/open", "orders:read")).text]

    assert answers == ["False False"] * 2


async def test_concurrent_requests_see_their_own_operator() -> None:
    """
    Handlers that are all in the middle of a request know whose it is, before and after they waited.
    """
    meeting = Meeting(coroutines=50, threads=4)

    @get("/orders/async")
    async def in_a_coroutine() -> str:
        before = current_operator().subject
        await meeting.join()
        return f"{before} {current_operator().subject}"

    @get("/orders/thread", sync_to_thread=True)
    def in_a_thread() -> str:
        before = current_operator().subject
        meeting.wait()
        return f"{before} {current_operator().subject}"

    app = guard(litestar(in_a_coroutine, in_a_thread))

    seen = await seen_by_everyone(app, in_coroutines="/orders/async", in_threads="/orders/thread")

    assert seen == twice(seen)


async def test_a_stream_knows_its_operator_to_the_end() -> None:
    """
    Each piece is made on behalf of who asked.
    """

    async def pieces() -> AsyncIterator[str]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield f"{current_operator().subject} "

    @get("/orders", sync_to_thread=False)
    def stream() -> Stream:
        return Stream(pieces())

    app = guard(litestar(stream))

    allowed, refused = await call_with(app, "/orders", "orders:read"), await call(app, "/orders")

    assert allowed.text == "alice alice alice "
    assert refused.status == 401


@pytest.mark.parametrize("response", [Stream, ServerSentEvent])
@pytest.mark.parametrize("pause", [0.0, None], ids=["busy", "idle"])
async def test_a_stream_is_cut_when_its_token_expires(response: type[Stream], pause: float | None) -> None:
    """
    It ends properly, and Litestar stops the generator, as if the client had left.
    """
    stopped: list[str] = []
    expiry = expiry_of("orders:read")

    @get("/orders", sync_to_thread=False)
    def stream() -> Stream:
        return response(endless(stopped, pause))

    app = guard(litestar(stream), stream_expiry="cut", clock=lambda: expiry - 0.05)

    answer = await call_with(app, "/orders", "orders:read")

    assert (answer.status, "tick" in answer.text) == (200, True)
    assert answer.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert await let_go(stopped) == ["stopped"]


@pytest.mark.parametrize(
    ("path", "scopes", "status", "names"),
    [
        pytest.param("/orders", None, 401, [], id="no token"),
        pytest.param("/admin", ["orders:read"], 403, [], id="too little"),
        pytest.param("/hidden", ["orders:read"], 404, [], id="not in the table"),
    ],
)
async def test_a_websocket_is_refused_before_it_is_accepted(
    path: str, scopes: list[str] | None, status: int, names: list[str]
) -> None:
    """
    The handshake is answered by HTTP, and no handler runs.
    """
    ran: list[str] = []
    headers = [] if scopes is None else bearer(*scopes)

    answer = await call(guard(plain(ran)), path, kind="websocket", headers=headers)

    assert (answer.status, ran) == (status, names)


async def test_a_websocket_knows_its_operator() -> None:
    """
    With a token it is accepted on behalf of who sent it; on a public prefix, on behalf of nobody.
    """
    ran: list[str] = []
    app = guard(plain(ran))

    orders = await call_with(app, "/orders", "orders:read", kind="websocket")
    anyone = await call(app, "/open", kind="websocket")

    assert (texts(orders), texts(anyone), ran) == (["alice"], [""], ["orders", "open"])


@pytest.mark.parametrize("path", TARGETS.values(), ids=TARGETS.keys())
async def test_no_spelling_of_a_path_reaches_what_it_may_not(path: str) -> None:
    """
    Whatever Litestar makes of a target, the handler that runs is one that the caller may reach.
    """
    ran: list[str] = []

    assert await unguarded_runs(plain(ran), ran, path) == []


@pytest.mark.parametrize(("root_path", "path"), MOUNTED_TARGETS.values(), ids=MOUNTED_TARGETS.keys())
async def test_no_root_path_leads_past_the_decision(root_path: str, path: str) -> None:
    """
    Litestar takes the root path out at its first occurrence, wherever that is.
    """
    ran: list[str] = []

    assert await unguarded_runs(plain(ran), ran, path, root_path=root_path) == []


async def test_no_root_path_leads_out_of_a_mount() -> None:
    """
    Litestar mounted in Starlette takes off the mount's root path, in the same way; the server's is in it.
    """
    ran: list[str] = []
    app = Starlette(routes=[Mount("/legacy", plain(ran))])
    app.add_middleware(GuardrailMiddleware, prefixes={"/legacy": ADMIN, "/legacy/open": public})

    opened = await call(app, "/api/legacy/open", root_path="/api")
    refused = await call(app, "/legacy/open/api/legacy/admin", root_path="/api")

    assert (opened.status, refused.status, ran) == (200, 404, ["open"])


@pytest.mark.parametrize(
    ("path", "status"), [("/administrator", 401), ("/admin.json", 401), ("/admin;v=1", 404)]
)
async def test_a_mount_that_takes_longer_segments_needs_what_is_around_it(path: str, status: int) -> None:
    """
    Litestar's mounts end anywhere in a segment; where all around is guarded, nobody gets in without a token.
    """
    ran: list[str] = []

    @asgi("/admin", is_mount=True, copy_scope=True)
    async def mount(scope: LitestarScope, receive: LitestarReceive, send: LitestarSend) -> None:
        ran.append("admin")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    app = guard(litestar(mount), {"/": READ, "/admin": ADMIN})

    answer = await call(app, path)

    assert (answer.status, ran) == (status, [])


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
def test_litestar_is_guarded_with_and_without_lifespan(mode: str) -> None:
    """
    A real server starts it either way: with lifespan its own hooks run, without it keys are fetched later.
    """
    started: list[str] = []
    fake, table = fetching()

    @get("/orders", sync_to_thread=True)
    def orders() -> str:
        return str(current_operator().subject)

    app = litestar(orders, on_startup=[lambda: started.append("started")])

    with served(guard(app, table), lifespan=mode) as client:
        if mode != "off":
            wait_until(lambda: fake.request_count == 2)  # the metadata and the keys, before anybody asked
        allowed = client.get("/orders", headers=authorized(fake))
        refused = client.get("/orders")

    assert (allowed.status_code, allowed.text, refused.status_code) == (200, "alice", 401)
    assert started == ([] if mode == "off" else ["started"])
    assert fake.request_count == 2


async def test_litestars_failure_to_start_is_its_own() -> None:
    """
    The server hears of it from Litestar, as without guardrail.
    """

    def fail() -> None:
        raise RuntimeError("no database")

    sent: list[Any] = []

    with pytest.raises((RuntimeError, ExceptionGroup)):
        await lifespan(guard(litestar(on_startup=[fail])), sent)

    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
