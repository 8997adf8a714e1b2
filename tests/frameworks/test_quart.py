"""
Quart behind ``prefixes=``: what runs, for whom, and that its own reading of a path opens nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from quart import Quart, Response, ResponseReturnValue, request, websocket
from quart.utils import run_sync

from guardrail import current_operator
from guardrail.errors import MiddlewareMissingError
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
    wait_until,
)
from .targets import ANSWERS, MOUNTED_TARGETS, PATHS, READ, TARGETS

pytestmark = pytest.mark.anyio

View = Callable[..., Awaitable[ResponseReturnValue]]


def plain(ran: list[str]) -> Quart:
    """
    An application with a view, and a WebSocket, at each of the usual paths.
    """
    app = Quart("plain")
    for path, name in {**PATHS, "/open": "open", "/open/<path:rest>": "open-rest"}.items():
        app.add_url_rule(path, name, a_view(ran, name))
        app.add_websocket(path, f"{name} feed", a_feed(ran, name))
    return app


def a_view(ran: list[str], name: str) -> View:
    """
    A view that notes its name when it runs.
    """

    async def view(rest: str = "") -> str:
        ran.append(name)
        return name

    return view


def a_feed(ran: list[str], name: str) -> Callable[..., Awaitable[None]]:
    """
    A WebSocket view that notes its name when it runs, and says whose connection it is.
    """

    async def feed(rest: str = "") -> None:
        ran.append(name)
        await websocket.accept()
        await websocket.send(str(current_operator().subject))
        await websocket.close(1000)

    return feed


@pytest.mark.parametrize(("path", "scopes", "status", "names"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_a_request_is_judged_by_its_prefix(
    path: str, scopes: list[str] | None, status: int, names: list[str]
) -> None:
    """
    401, 403 and 404 are answered before Quart hears of the request; what is allowed runs.
    """
    ran: list[str] = []
    app = guard(plain(ran))

    answer = await (call(app, path) if scopes is None else call_with(app, path, *scopes))

    assert (answer.status, ran) == (status, names)
    assert ("www-authenticate" in answer.headers) == (status in {401, 403})
    assert_guarded(app)


async def test_quarts_own_routes_are_not_in_the_table() -> None:
    """
    Its static files are 404 until a prefix declares them.
    """
    app = Quart("own", root_path="/", static_folder="static")

    statuses = [
        (await call(guard(app, table), "/static/app.js")).status for table in ({"/orders": READ}, {"/": READ})
    ]

    assert statuses == [404, 401]


async def test_the_operator_is_known_in_handlers_of_every_kind() -> None:
    """
    In a coroutine, in a function that Quart runs in a thread, in a thread of the view's own, in a hook.
    """
    app = Quart("kinds")
    hooked: list[str | None] = []

    @app.before_request
    async def hook() -> None:
        hooked.append(current_operator().subject)

    @app.get("/orders/async")
    async def in_a_coroutine() -> str:
        await asyncio.sleep(0)
        assert request.scope["user"] is current_operator()  # type: ignore[typeddict-item]
        return str(current_operator().subject)

    @app.get("/orders/sync")
    def in_a_function() -> str:
        return str(current_operator().subject)

    @app.get("/orders/thread")
    async def in_a_thread() -> str:
        return str(await run_sync(lambda: current_operator().subject)())

    answers = [
        (await call_with(guard(app), f"/orders/{kind}", "orders:read")).text
        for kind in ("async", "sync", "thread")
    ]

    assert answers == hooked == ["alice"] * 3


async def test_on_a_public_prefix_there_is_nobody() -> None:
    """
    The operator is the anonymous one, and a token that is sent all the same changes nothing.
    """
    app = Quart("public")

    @app.get("/open")
    async def who() -> str:
        return str(current_operator().is_authenticated)

    answers = [
        (await call(guard(app), "/open")).text,
        (await call_with(guard(app), "/open", "orders:read")).text,
    ]

    assert answers == ["False"] * 2


async def test_concurrent_requests_see_their_own_operator() -> None:
    """
    Views that are all in the middle of a request know whose it is, before and after they waited.
    """
    meeting = Meeting(coroutines=50, threads=4)
    app = Quart("meeting")

    @app.get("/orders/async")
    async def in_a_coroutine() -> str:
        before = current_operator().subject
        await meeting.join()
        return f"{before} {current_operator().subject}"

    @app.get("/orders/thread")
    def in_a_thread() -> str:
        before = current_operator().subject
        meeting.wait()
        return f"{before} {current_operator().subject}"

    seen = await seen_by_everyone(guard(app), in_coroutines="/orders/async", in_threads="/orders/thread")

    assert seen == twice(seen)


async def test_a_background_task_knows_whose_request_started_it() -> None:
    """
    It runs on after the answer, on behalf of who asked.
    """
    app = Quart("background")
    noted: list[str | None] = []

    async def note() -> None:
        noted.append(current_operator().subject)

    @app.post("/orders")
    async def order() -> str:
        app.add_background_task(note)
        return "ordered"

    await call_with(guard(app), "/orders", "orders:read", method="POST")
    await asyncio.gather(*app.background_tasks)

    assert noted == ["alice"]


async def test_a_stream_knows_its_operator_to_the_end() -> None:
    """
    Each piece is made on behalf of who asked.
    """
    app = Quart("stream")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield f"{current_operator().subject} ".encode()

    @app.get("/orders")
    async def stream() -> Response:
        return Response(pieces())

    allowed, refused = (
        await call_with(guard(app), "/orders", "orders:read"),
        await call(guard(app), "/orders"),
    )

    assert allowed.text == "alice alice alice "
    assert refused.status == 401


@pytest.mark.parametrize("pause", [0.0, None], ids=["busy", "idle"])
async def test_a_stream_is_cut_when_its_token_expires(pause: float | None) -> None:
    """
    It ends properly, and Quart stops the generator, as if the client had left.
    """
    app = Quart("cut")
    stopped: list[str] = []
    expiry = expiry_of("orders:read")

    @app.get("/orders")
    async def stream() -> Response:
        return Response(endless(stopped, pause))

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
    The handshake is answered by HTTP, and no view runs.
    """
    ran: list[str] = []
    headers = [] if scopes is None else bearer(*scopes)

    answer = await call(guard(plain(ran)), path, kind="websocket", headers=headers)

    assert (answer.status, ran) == (status, [])


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
    Whatever Quart makes of a target, the view that runs is one that the caller may reach.
    """
    ran: list[str] = []

    assert await unguarded_runs(plain(ran), ran, path) == []


@pytest.mark.parametrize(("root_path", "path"), MOUNTED_TARGETS.values(), ids=MOUNTED_TARGETS.keys())
async def test_no_root_path_leads_past_the_decision(root_path: str, path: str) -> None:
    """
    Quart takes the root path off in the middle of a segment too.
    """
    ran: list[str] = []

    assert await unguarded_runs(plain(ran), ran, path, root_path=root_path) == []


async def test_a_decorator_on_a_view_is_refused_loudly(caplog: pytest.LogCaptureFixture) -> None:
    """
    Guardrail sees no Quart routes: a view that declares something for itself was not decided on. It does not
    run, and the log says why.
    """
    app = Quart("decorated")
    ran: list[str] = []

    @app.get("/orders")
    @READ
    async def decorated() -> str:
        ran.append("decorated")
        return "ran"

    answer = await call_with(guard(app), "/orders", "orders:read")

    assert (answer.status, ran) == (500, [])
    assert MiddlewareMissingError.__name__ in caplog.text


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
def test_quart_is_guarded_with_and_without_lifespan(mode: str) -> None:
    """
    A real server starts it either way: with lifespan its own hooks run, without it keys are fetched later.
    """
    app = Quart("lifespan")
    started: list[str] = []
    fake, table = fetching()

    @app.before_serving
    async def begin() -> None:
        started.append("started")

    @app.get("/orders")
    def orders() -> str:
        return str(current_operator().subject)

    with served(guard(app, table), lifespan=mode) as client:
        if mode != "off":
            wait_until(lambda: fake.request_count == 2)  # the metadata and the keys, before anybody asked
        allowed = client.get("/orders", headers=authorized(fake))
        refused = client.get("/orders")

    assert (allowed.status_code, allowed.text, refused.status_code) == (200, "alice", 401)
    assert started == ([] if mode == "off" else ["started"])
    assert fake.request_count == 2


async def test_quarts_failure_to_start_is_its_own() -> None:
    """
    The server hears of it from Quart, as without guardrail.
    """
    app = Quart("fails")

    @app.before_serving
    async def fail() -> None:
        raise RuntimeError("no database")

    sent: list[Any] = await start(guard(app))

    assert sent[0]["type"] == "lifespan.startup.failed"
    assert "no database" in sent[0]["message"]
