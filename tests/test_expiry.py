"""
What goes on after a token has expired: the WebSocket that ends, the response that may.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guardrail import Operator, current_operator
from guardrail._decision import Decision
from guardrail._declaration import Declaration
from guardrail._expiry import run_socket_until_expiry, run_stream_until_expiry

ALICE = Operator(
    operator_id="https://login.example.com#alice",
    kind="user",
    issuer="https://login.example.com",
    subject="alice",
)
DECLARATION = Declaration(None, "read_orders")
DECISION = Decision(DECLARATION, ALICE)
SECONDS = 10.0

ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close", "code": 1008, "reason": "token expired"}
DISCONNECT = {"type": "websocket.disconnect", "code": 1008, "reason": ""}
TEXT = {"type": "websocket.receive", "text": "hello"}
LEFT = {"type": "websocket.disconnect", "code": 1001}


async def nothing_comes() -> Message:
    """
    Receive nothing, ever.
    """
    await asyncio.Event().wait()
    raise AssertionError("something came")


async def nothing_is_sent(message: Message) -> None:
    """
    Refuse to send.
    """
    raise AssertionError(f"{message} was sent")


def http_scope(**extra: Any) -> Scope:
    """
    A scope as small as can be.
    """
    return {"type": "http", "path": "/", "headers": [], **extra}


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


class Client:
    """
    The other end of a WebSocket: says what it has to say at its times, and notes what it is sent and when.
    """

    def __init__(self, *says: tuple[float, Message]) -> None:
        self.sent: list[tuple[object, Message]] = []
        self._says = list(says)

    async def receive(self) -> Message:
        """
        What it says next, when the time has come.
        """
        if not self._says:
            return await nothing_comes()
        at, message = self._says[0]
        await asyncio.sleep(max(0.0, at - now()))
        self._says.pop(0)
        return message

    async def send(self, message: Message) -> None:
        """
        Note a message.
        """
        self.sent.append((pytest.approx(now()), message))


def now() -> float:
    """
    The running loop's time, in seconds since it started.
    """
    return asyncio.get_running_loop().time()


def serve(app: ASGIApp, client: Client, *, seconds: float = SECONDS, send: Send | None = None) -> list[str]:
    """
    Run *app* on a connection of that many seconds, and return the tasks left over.
    """
    return in_virtual_time(_serve(app, client, seconds, send or client.send))


async def _serve(app: ASGIApp, client: Client, seconds: float, send: Send) -> list[str]:
    scope: Scope = {"type": "websocket", "path": "/", "headers": []}
    try:
        await run_socket_until_expiry(app, DECISION, scope, client.receive, send, seconds=seconds)
    finally:
        await asyncio.sleep(0)
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    return left


def in_virtual_time(coroutine: Coroutine[Any, Any, list[str]]) -> list[str]:
    """
    Run *coroutine* on a loop whose seconds take no time.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


Handler = Callable[[Receive, Send], Awaitable[None]]


def application(handler: Handler) -> ASGIApp:
    """
    A WebSocket application that has accepted.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await handler(receive, send)

    return app


def test_an_application_that_waits_sees_the_client_leave() -> None:
    """
    Waiting in receive at the end of the token: the client is sent a close, the application a disconnect.
    """
    client = Client((4.0, TEXT))
    seen: list[object] = []

    async def handler(receive: Receive, send: Send) -> None:
        seen.extend([await receive(), now(), await receive(), now()])

    left = serve(application(handler), client)

    assert seen == [TEXT, pytest.approx(4.0), DISCONNECT, pytest.approx(SECONDS)]
    assert client.sent == [(0.0, ACCEPT), (SECONDS, CLOSE)]
    assert left == []


def test_what_comes_just_before_the_end_is_received() -> None:
    """
    The connection is the client's until its token ends, and not longer.
    """
    client = Client((SECONDS - 0.01, TEXT), (SECONDS + 0.01, TEXT))
    seen: list[Message] = []

    async def handler(receive: Receive, send: Send) -> None:
        seen.extend([await receive(), await receive()])

    serve(application(handler), client)

    assert seen == [TEXT, DISCONNECT]


def test_an_idle_application_is_closed_behind_its_back() -> None:
    """
    Busy elsewhere at the end of the token: the client is sent the close in time all the same.
    """
    client = Client()
    seen: list[Message] = []

    async def handler(receive: Receive, send: Send) -> None:
        await asyncio.sleep(3 * SECONDS)
        seen.extend([await receive(), await receive()])

    left = serve(application(handler), client)

    assert client.sent == [(0.0, ACCEPT), (SECONDS, CLOSE)]
    assert seen == [DISCONNECT, DISCONNECT]
    assert left == []


def test_nothing_is_sent_after_the_end() -> None:
    """
    A send after the end fails as after a disconnect; one just before goes out.
    """
    client = Client()
    message = {"type": "websocket.send", "text": "news"}

    async def handler(receive: Receive, send: Send) -> None:
        await asyncio.sleep(SECONDS - 0.01)
        await send(message)
        await asyncio.sleep(0.02)
        for late in (message, {"type": "websocket.close", "code": 1000}):
            with pytest.raises(OSError, match="closed"):
                await send(late)

    serve(application(handler), client)

    assert client.sent == [(0.0, ACCEPT), (SECONDS - 0.01, message), (SECONDS, CLOSE)]


def test_a_flood_does_not_outlast_the_token() -> None:
    """
    A client that always has one more message ready is cut off too: none is received after the end.
    """
    client = Client()
    received: list[float] = []

    async def always_ready() -> Message:
        return TEXT

    async def handler(receive: Receive, send: Send) -> None:
        while len(received) < 100:
            if await receive() == DISCONNECT:
                return
            received.append(now())
            await asyncio.sleep(1.0)  # the work a message makes

    client.receive = always_ready  # type: ignore[method-assign] # a server's queue that is never empty
    serve(application(handler), client)

    assert received == [pytest.approx(float(second)) for second in range(10)]
    assert client.sent == [(0.0, ACCEPT), (SECONDS, CLOSE)]


def test_an_application_that_never_pauses_is_cut_off_too() -> None:
    """
    A send is held to the deadline itself, not to a timer that has to find the loop free.
    """
    client = Client()

    async def handler(receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        for _ in range(5):
            await send({"type": "websocket.send", "text": "news"})
            loop.virtual.waited += SECONDS / 2 - 0.01  # work that holds the loop

    serve(application(handler), client)  # it lets its own disconnect through, as it may

    assert [message["type"] for _, message in client.sent] == [
        "websocket.accept",
        "websocket.send",
        "websocket.send",
        "websocket.send",
        "websocket.close",
    ]


@pytest.mark.parametrize("goes_on", [True, False], ids=["goes on", "is done"])
def test_a_close_that_has_begun_is_sent(goes_on: bool) -> None:
    """
    An application that ends meanwhile does not take it back, be it for sending on or of its own accord.
    """
    client = Client()

    async def slow_send(message: Message) -> None:
        await asyncio.sleep(1.0 if message == CLOSE else 0.0)
        await client.send(message)

    async def handler(receive: Receive, send: Send) -> None:
        await asyncio.sleep(SECONDS + 0.5)
        if goes_on:
            await send({"type": "websocket.send", "text": "news"})

    left = serve(application(handler), client, send=slow_send)

    assert client.sent == [(0.0, ACCEPT), (SECONDS + 1.0, CLOSE)]
    assert left == []


def test_only_an_end_of_ours_may_be_let_through() -> None:
    """
    An application that goes on after a client has left fails as it does without guardrail.
    """
    client = Client((4.0, LEFT))

    async def handler(receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.send", "text": "anybody there?"})

    with pytest.raises(OSError, match="closed"):
        serve(application(handler), client)


def test_a_client_that_leaves_first_is_not_closed_again() -> None:
    """
    After a disconnect nothing is sent, whatever the application does about it.
    """
    client = Client((4.0, LEFT))
    seen: list[Message] = []

    async def handler(receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await asyncio.sleep(3 * SECONDS)
        with pytest.raises(OSError, match="closed"):
            await send({"type": "websocket.send", "text": "anybody there?"})

    left = serve(application(handler), client)

    assert seen == [LEFT]
    assert client.sent == [(0.0, ACCEPT)]
    assert left == []


def test_an_application_that_closes_first_is_not_closed_again() -> None:
    """
    Its own close is the only one, with its own code.
    """
    client = Client()
    own = {"type": "websocket.close", "code": 4000, "reason": "bye"}

    async def handler(receive: Receive, send: Send) -> None:
        await send(own)
        await asyncio.sleep(3 * SECONDS)

    serve(application(handler), client)

    assert client.sent == [(0.0, ACCEPT), (0.0, own)]


def test_an_application_that_is_done_is_not_waited_for() -> None:
    """
    When it returns, the connection is the server's again, and no timer is left.
    """
    client = Client()
    ended: list[float] = []

    async def handler(receive: Receive, send: Send) -> None:
        await asyncio.sleep(1.0)
        ended.append(now())

    left = serve(application(handler), client)

    assert ended == [pytest.approx(1.0)]
    assert client.sent == [(0.0, ACCEPT)]
    assert left == []


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("a bug"), id="failed"),
        pytest.param(asyncio.CancelledError(), id="cancelled"),
    ],
)
def test_an_application_that_fails_leaves_no_timer(error: BaseException) -> None:
    """
    Its exception is the server's to see, and nothing is sent later.
    """
    client = Client()

    async def handler(receive: Receive, send: Send) -> None:
        raise error

    async def serve_and_go_on() -> list[str]:
        with pytest.raises(type(error)) as caught:
            await _serve(application(handler), client, SECONDS, client.send)
        assert caught.value is error
        await asyncio.sleep(3 * SECONDS)
        return []

    in_virtual_time(serve_and_go_on())

    assert client.sent == [(0.0, ACCEPT)]


def test_a_timeout_of_the_applications_own_is_its_own() -> None:
    """
    An application that waits for a while only gets its own timeout, and the connection goes on.
    """
    client = Client((6.0, TEXT))
    seen: list[object] = []

    async def handler(receive: Receive, send: Send) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 2.0)
        seen.extend([now(), await receive()])

    serve(application(handler), client)

    assert seen == [pytest.approx(2.0), TEXT]
    assert client.sent == [(0.0, ACCEPT)]


def test_a_client_that_leaves_at_that_very_moment_is_no_error() -> None:
    """
    The close may find nobody: the application sees the disconnect all the same.
    """
    client = Client()
    seen: list[Message] = []

    async def send(message: Message) -> None:
        if message == CLOSE:
            raise OSError("the client left")
        await client.send(message)

    async def handler(receive: Receive, send: Send) -> None:
        seen.append(await receive())

    serve(application(handler), client, send=send)

    assert seen == [DISCONNECT]
    assert client.sent == [(0.0, ACCEPT)]


def test_a_handshake_still_open_at_the_end_is_refused() -> None:
    """
    A close before accept is a refusal, and the accept that comes too late fails.
    """
    client = Client((0.0, {"type": "websocket.connect"}))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.sleep(3 * SECONDS)
        with pytest.raises(OSError, match="closed"):
            await send(ACCEPT)

    serve(app, client)

    assert client.sent == [(SECONDS, CLOSE)]


@pytest.mark.parametrize("seconds", [pytest.param(0.0, id="none left"), pytest.param(-5.0, id="over")])
def test_a_token_without_time_left_opens_nothing(seconds: float) -> None:
    """
    A token that ended while it was judged is closed on before anything comes through.
    """
    client = Client((1.0, {"type": "websocket.connect"}))
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())

    serve(app, client, seconds=seconds)

    assert seen == [DISCONNECT]
    assert client.sent == [(0.0, CLOSE)]


DENIAL: list[Message] = [
    {"type": "websocket.http.response.start", "status": 404, "headers": []},
    {"type": "websocket.http.response.body", "body": b"no ", "more_body": True},
    {"type": "websocket.http.response.body", "body": b"such room", "more_body": False},
]


def test_a_denial_by_the_application_is_passed_on() -> None:
    """
    An application may refuse the handshake itself, with a response of its own.
    """
    client = Client()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in DENIAL:
            await send(message)

    serve(app, client)

    assert client.sent == [(0.0, message) for message in DENIAL]


@pytest.mark.parametrize(
    ("before", "after"),
    [pytest.param(1, 2, id="in the middle of it"), pytest.param(3, 0, id="after it")],
)
def test_a_denied_handshake_is_not_closed_too(before: int, after: int) -> None:
    """
    Once a response has begun it is the answer: ASGI has no close in or after it.
    """
    client = Client()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in DENIAL[:before]:
            await send(message)
        await asyncio.sleep(3 * SECONDS)
        for message in DENIAL[len(DENIAL) - after :]:
            await send(message)

    serve(app, client)

    assert [message for _, message in client.sent] == DENIAL


def test_the_decision_is_in_force_on_a_websocket_too() -> None:
    """
    The application finds its operator, whether it waits or sends.
    """
    client = Client((1.0, TEXT))
    seen: list[Operator] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.extend([current_operator(), scope["user"], scope["state"]["operator"]])

    serve(app, client)

    assert [one is ALICE for one in seen] == [True] * 3


@pytest.mark.anyio
async def test_a_real_loop_closes_in_time_too() -> None:
    """
    The same on a loop with a real clock: nothing here depends on how time was made to pass.
    """
    client = Client()
    seen: list[Message] = []

    async def handler(receive: Receive, send: Send) -> None:
        seen.append(await receive())

    await run_socket_until_expiry(
        application(handler),
        DECISION,
        {"type": "websocket", "path": "/", "headers": []},
        client.receive,
        client.send,
        seconds=0.05,
    )

    assert seen == [DISCONNECT]
    assert [message for _, message in client.sent] == [ACCEPT, CLOSE]


# Responses that are being streamed


START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b"", "more_body": False}
HTTP_DISCONNECT = {"type": "http.disconnect"}


def piece(body: bytes = b"tick", *, more: bool = True) -> Message:
    """
    A part of a response.
    """
    return {"type": "http.response.body", "body": body, "more_body": more}


def stream(app: ASGIApp, client: Client, *, seconds: float = SECONDS) -> list[str]:
    """
    Run *app* on a request whose token is good for that many seconds, and return the tasks left over.
    """

    async def run() -> list[str]:
        try:
            await run_stream_until_expiry(
                app, DECISION, http_scope(), client.receive, client.send, seconds=seconds
            )
        finally:
            await asyncio.sleep(0)
            left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        return left

    return in_virtual_time(run())


def test_an_endless_stream_ends_with_its_token() -> None:
    """
    What came before is sent, then a proper end; the application is told as by a client that left.
    """
    client, errors = Client(), list[OSError]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            while True:
                await send(piece())
                await asyncio.sleep(4.0)
        except OSError as exc:
            errors.append(exc)

    left = stream(app, client)

    assert client.sent == [(0, START), (0, piece()), (4.0, piece()), (8.0, piece()), (10.0, END)]
    assert [str(error) for error in errors] == ["the response was ended: the token expired"]
    assert left == []


async def send_on(send: Send) -> None:
    """
    Stream without an end.
    """
    while True:
        await send(piece())
        await asyncio.sleep(6.0)


async def send_on_in_a_group(send: Send) -> None:
    """
    Stream in a task of a group, which makes a group of its error.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(send_on(send))


async def send_on_and_translate(send: Send) -> None:
    """
    Stream, and raise another error because of the first.
    """
    try:
        await send_on_in_a_group(send)
    except Exception as exc:
        raise RuntimeError("after the response started") from exc


async def send_on_and_fail_too(send: Send) -> None:
    """
    Stream, and fail while the first error is being handled.
    """
    try:
        await send_on(send)
    except OSError:
        raise ValueError("a bug")  # noqa: B904 - what is meant to be seen


async def send_on_beside_a_bug(send: Send) -> None:
    """
    Stream, and fail beside it.
    """
    try:
        await send_on(send)
    except OSError as exc:
        raise ExceptionGroup("several", [exc, ValueError("a bug")]) from None


@pytest.mark.parametrize("stream_to", [send_on, send_on_in_a_group, send_on_and_translate])
def test_an_application_may_let_its_own_disconnect_through(
    stream_to: Callable[[Send], Awaitable[None]],
) -> None:
    """
    The error of sending on is no error of the server's, however a framework wraps it.
    """
    client = Client()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await stream_to(send)

    stream(app, client)

    assert client.sent[-1] == (10.0, END)


def test_an_error_of_the_applications_own_is_not_hidden() -> None:
    """
    Only what was caused by the end is taken back.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        raise ConnectionResetError("the database left")

    with pytest.raises(ConnectionResetError, match="the database left"):
        stream(app, Client())


@pytest.mark.parametrize("stream_to", [send_on_and_fail_too, send_on_beside_a_bug])
def test_an_error_beside_a_disconnect_is_not_hidden(stream_to: Callable[[Send], Awaitable[None]]) -> None:
    """
    What fails while an application cleans up is a bug like any other.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await stream_to(send)

    with pytest.raises((ValueError, ExceptionGroup), match=r"a bug|several"):
        stream(app, Client())


def test_an_error_that_names_itself_as_its_cause_is_seen_through() -> None:
    """
    A circle of causes ends the search, not the server.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            raise ValueError("a bug")  # noqa: TRY301
        except ValueError as exc:
            raise exc from exc

    with pytest.raises(ValueError, match="a bug"):
        stream(app, Client())


def test_an_application_that_waits_for_the_client_to_leave_hears_of_the_end() -> None:
    """
    Frameworks watch the client while they stream; they see it leave.
    """
    client, heard = Client(), list[Message]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(piece())
        heard.append(await receive())
        heard.append(await receive())

    stream(app, client)

    assert heard == [HTTP_DISCONNECT, HTTP_DISCONNECT]
    assert client.sent[-1] == (10.0, END)


@pytest.mark.parametrize("goes_on", [True, False], ids=["goes on", "is done"])
def test_an_end_that_has_begun_is_sent(goes_on: bool) -> None:
    """
    As with a WebSocket: an application that ends meanwhile does not take it back.
    """
    client = Client()

    async def slow_send(message: Message) -> None:
        await asyncio.sleep(1.0 if message == END else 0.0)
        await client.send(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(piece())
        await asyncio.sleep(SECONDS + 0.5)
        if goes_on:
            await send(piece())

    async def run() -> list[str]:
        await run_stream_until_expiry(app, DECISION, http_scope(), client.receive, slow_send, seconds=SECONDS)
        return []

    in_virtual_time(run())

    assert client.sent == [(0.0, START), (0.0, piece()), (SECONDS + 1.0, END)]


def test_an_application_that_leaves_with_the_client_leaves_a_complete_response() -> None:
    """
    It may return as soon as it hears of the end: by then the response has ended.
    """
    client, at_return = Client(), list[object]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(piece())
        await receive()
        at_return.append(client.sent[-1])

    stream(app, client)

    assert at_return == [(10.0, END)]
    assert len(client.sent) == 3


def test_what_the_client_says_while_streaming_is_received() -> None:
    """
    Before the end, a client that leaves by itself is seen to.
    """
    client, heard = Client((3.0, HTTP_DISCONNECT)), list[tuple[Message, object]]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        heard.append((await receive(), now()))

    stream(app, client)

    assert heard == [(HTTP_DISCONNECT, pytest.approx(3.0))]
    assert client.sent == [(0, START)]


def test_a_request_body_may_come_as_late_as_it_likes() -> None:
    """
    An upload that outlasts the token was let in with it; its answer, in one piece, is sent.
    """
    body = {"type": "http.request", "body": b"last part", "more_body": False}
    client, heard = Client((25.0, body)), list[Message]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append(await receive())
        await send(START)
        await send(piece(b"done", more=False))

    stream(app, client)

    assert heard == [body]
    assert client.sent == [(25.0, START), (25.0, piece(b"done", more=False))]


def test_a_stream_that_begins_late_is_ended_with_its_first_piece() -> None:
    """
    After the end nothing is streamed, whenever it began.
    """
    client = Client()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(12.0)
        await send(START)
        await send(piece())

    stream(app, client)

    assert client.sent == [(12.0, START), (12.0, END)]


def test_a_complete_response_is_not_ended_again() -> None:
    """
    What an application does after its response, such as background work, is its own.
    """
    client = Client()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(piece(more=False))
        await asyncio.sleep(20.0)

    left = stream(app, client)

    assert client.sent == [(0, START), (0, piece(more=False))]
    assert left == []


def test_a_response_of_declared_length_is_broken_off() -> None:
    """
    It cannot be made to look complete, so nothing more is sent and the server sees it fall short.
    """
    client = Client()
    start = {**START, "headers": [(b"Content-Length", b"1000")]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        while True:
            await send(piece())
            await asyncio.sleep(9.0)

    stream(app, client)

    assert client.sent == [(0, start), (0, piece()), (9.0, piece())]


def test_other_messages_pass_while_streaming() -> None:
    """
    Trailers, pushes and whatever else a server knows are not ours to stop.
    """
    client = Client()
    push = {"type": "http.response.push", "path": "/style.css", "headers": []}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(push)
        await send(piece(more=False))

    stream(app, client)

    assert [message for _, message in client.sent] == [START, push, piece(more=False)]


def test_a_client_that_leaves_at_the_very_end_is_no_error_of_a_stream() -> None:
    """
    The server may say so when the end is sent.
    """
    client = Client()

    async def send_to_nobody(message: Message) -> None:
        if message == END:
            raise OSError("gone")
        await client.send(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(piece())
        await asyncio.sleep(15.0)

    async def run() -> list[str]:
        await run_stream_until_expiry(
            app, DECISION, http_scope(), client.receive, send_to_nobody, seconds=SECONDS
        )
        return []

    in_virtual_time(run())

    assert [message for _, message in client.sent] == [START, piece()]
