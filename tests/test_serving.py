"""
Serving behind a decision: the operator on the request, the endpoint that answers, the WebSocket that ends.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guardrail import Operator, current_operator
from guardrail._decision import Decision, decision_in_force
from guardrail._declaration import Declaration
from guardrail._operator import ANONYMOUS
from guardrail._prefixes import Resolved
from guardrail._route_table import Known
from guardrail._serving import checked_forward, checked_send, run_decided, run_until_expiry
from guardrail.errors import MiddlewareMissingError

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


# The operator on the request


@pytest.mark.anyio
@pytest.mark.parametrize(
    "stale",
    [
        pytest.param({}, id="nothing there"),
        pytest.param({"user": "mallory", "auth": "admin", "state": {"operator": "mallory"}}, id="a forgery"),
        pytest.param({"state": None}, id="no state"),
        pytest.param({"state": "operator"}, id="a state that is none"),
        pytest.param({"state": ("operator",)}, id="a state that cannot be written to"),
    ],
)
@pytest.mark.parametrize(
    "operator", [pytest.param(ALICE, id="alice"), pytest.param(ANONYMOUS, id="anonymous")]
)
async def test_the_operator_is_put_over_whatever_stood_there(
    operator: Operator, stale: dict[str, Any]
) -> None:
    """
    User, authority and state are the decision's, whatever an outer component left (F5, R254).
    """
    scope = http_scope(**stale)
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((scope["user"], scope["auth"], scope["state"]["operator"], current_operator()))

    await run_decided(app, Decision(DECLARATION, operator), scope, nothing_comes, nothing_is_sent)

    assert [one is operator for one in seen] == [True] * 4


@pytest.mark.anyio
async def test_the_rest_of_the_state_stays() -> None:
    """
    What the lifespan put into the state is the application's, in the same mapping.
    """
    state = {"pool": object()}
    scope = http_scope(state=state)
    before = dict(state)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["state"] is state

    await run_decided(app, DECISION, scope, nothing_comes, nothing_is_sent)

    assert state == before | {"operator": ALICE}


@pytest.mark.anyio
async def test_a_state_that_somebody_else_uses_is_left_to_them() -> None:
    """
    A server that shares one state between requests does not make them share an operator.
    """
    shared: dict[str, object] = {"pool": "open"}
    scopes = [http_scope(state=shared) for _ in range(2)]
    seen: list[dict[str, object]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["state"])

    for scope, operator in zip(scopes, (ALICE, ANONYMOUS), strict=True):
        await run_decided(app, Decision(DECLARATION, operator), scope, nothing_comes, nothing_is_sent)

    assert seen == [{"pool": "open", "operator": ALICE}, {"pool": "open", "operator": ANONYMOUS}]


@pytest.mark.anyio
async def test_a_decision_is_in_force_as_long_as_the_application_runs() -> None:
    """
    Before and after there is none, nor after an application that failed.
    """
    seen: list[Decision | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(decision_in_force.get())
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await run_decided(app, DECISION, http_scope(), nothing_comes, nothing_is_sent)

    assert seen == [DECISION]
    assert decision_in_force.get() is None


@pytest.mark.anyio
async def test_the_application_gets_what_the_server_gave() -> None:
    """
    Scope, receive and send are passed on as they are.
    """
    scope = http_scope()
    given: list[object] = []

    async def app(*arguments: object) -> None:
        given.extend(arguments)

    await run_decided(app, DECISION, scope, nothing_comes, nothing_is_sent)

    assert [one is other for one, other in zip(given, (scope, nothing_comes, nothing_is_sent), strict=True)]


# The endpoint that answers


def read_orders() -> None:
    """
    The endpoint decided on.
    """


def write_orders() -> None:
    """
    Another one.
    """


class EqualToAll:
    """
    An endpoint that says it is any other.
    """

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__


START: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def send_checked(
    message: Message,
    scope: Scope,
    *endpoints: object,
    decision: Decision | None = None,
    is_mount: bool = False,
    root_path: str = "",
) -> list[Message]:
    """
    What comes out of a checked send; `read_orders` and `write_orders` are all the endpoints there are.
    """
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    found = Resolved(DECLARATION, "/orders", endpoints, is_mount=is_mount, root_path=root_path)
    checked = checked_send(send, scope, found, decision or Decision(DECLARATION, ALICE), KNOWN)
    await checked(message)
    return sent


KNOWN = Known(frozenset({id(read_orders), id(write_orders)}), ("/mount", "/other"))
RESPONSE_STARTS = [
    pytest.param(START, id="a response"),
    pytest.param({**START, "status": 404}, id="a refusal"),
    pytest.param(ACCEPT, id="an accepted handshake"),
    pytest.param({"type": "websocket.http.response.start", "status": 403, "headers": []}, id="a denial"),
]


@pytest.mark.anyio
@pytest.mark.parametrize("message", RESPONSE_STARTS)
async def test_the_endpoint_decided_on_may_answer(message: Message) -> None:
    """
    Itself, or the mount it is under: its response begins.
    """
    scopes = [http_scope(endpoint=one) for one in (read_orders, write_orders)]

    sent = [await send_checked(message, scope, read_orders, write_orders) for scope in scopes]

    assert sent == [[message], [message]]


@pytest.mark.anyio
@pytest.mark.parametrize("message", RESPONSE_STARTS)
@pytest.mark.parametrize(
    "endpoint",
    [pytest.param(write_orders, id="another"), pytest.param(EqualToAll(), id="one that equals it")],
)
async def test_no_other_endpoint_may_answer(endpoint: object, message: Message) -> None:
    """
    Not a byte leaves from an endpoint that was not decided on.
    """
    with pytest.raises(MiddlewareMissingError, match="read_orders was decided on, and another") as caught:
        await send_checked(message, http_scope(endpoint=endpoint), read_orders)

    assert "innermost" in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "passes"),
    [
        pytest.param(200, False, id="success"),
        pytest.param(302, False, id="redirect"),
        pytest.param(399, False, id="just no error"),
        pytest.param(400, True, id="just an error"),
        pytest.param(500, True, id="failure"),
    ],
)
@pytest.mark.parametrize("scope", [http_scope(), http_scope(endpoint=None)], ids=["absent", "none"])
async def test_before_dispatch_only_an_error_may_be_answered(scope: Scope, status: int, passes: bool) -> None:
    """
    What stands between may refuse before anything was dispatched; it may not serve.
    """
    message = {**START, "status": status}

    try:
        sent = await send_checked(message, scope, read_orders)
    except MiddlewareMissingError:
        sent = []

    assert sent == ([message] if passes else [])


@pytest.mark.anyio
async def test_a_handshake_is_not_accepted_before_dispatch() -> None:
    """
    An accept is no error, so nothing but the endpoint may send it.
    """
    with pytest.raises(MiddlewareMissingError):
        await send_checked(ACCEPT, http_scope(), read_orders)


@pytest.mark.anyio
@pytest.mark.parametrize("message", RESPONSE_STARTS)
async def test_an_endpoint_whose_tripwire_was_passed_may_answer(message: Message) -> None:
    """
    The right one runs, whatever the scope says by now.
    """
    decision = Decision(DECLARATION, ALICE, is_entered=True)

    sent = await send_checked(message, http_scope(endpoint=write_orders), read_orders, decision=decision)

    assert sent == [message]


def inside() -> None:
    """
    An endpoint that only a mounted application knows.
    """


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("endpoint", "root_path", "is_mount", "passes"),
    [
        pytest.param(inside, "/mount", True, True, id="inside of it"),
        pytest.param(inside, "/mount/deeper", True, True, id="deep inside of it"),
        pytest.param(inside, "/mount", False, False, id="inside of what can be seen into"),
        pytest.param(inside, "/other", True, False, id="inside of another mount"),
        pytest.param(inside, "", True, False, id="outside"),
        pytest.param(write_orders, "/mount", True, False, id="an endpoint of ours"),
    ],
)
async def test_an_opaque_application_may_dispatch_further(
    endpoint: object, root_path: str, is_mount: bool, passes: bool
) -> None:
    """
    A mounted application puts its own endpoints into the scope; those that are in our table are not its own.
    """
    scope = http_scope(endpoint=endpoint, root_path=root_path)

    try:
        sent = await send_checked(START, scope, read_orders, is_mount=is_mount, root_path="/mount")
    except MiddlewareMissingError:
        sent = []

    assert sent == ([START] if passes else [])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("root_path", "passes"),
    [
        pytest.param("/deeper", True, id="inside of it"),
        pytest.param("/others", True, id="inside of it, under a name that begins like a mount's"),
        pytest.param("/other", False, id="inside of a mount beside it"),
        pytest.param("/other/deeper", False, id="deep inside of a mount beside it"),
    ],
)
async def test_a_mount_at_the_root_does_not_answer_for_those_beside_it(root_path: str, passes: bool) -> None:
    """
    Everything is under the root: what another mount dispatched to is still that mount's.
    """
    scope = http_scope(endpoint=inside, root_path=root_path)

    try:
        sent = await send_checked(START, scope, read_orders, is_mount=True, root_path="")
    except MiddlewareMissingError:
        sent = []

    assert sent == ([START] if passes else [])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", ["http.response.body", "http.response.debug", "websocket.send", "websocket.close"]
)
async def test_what_begins_no_response_is_passed_on(kind: str) -> None:
    """
    Only the start is held to the decision.
    """
    message = {"type": kind}

    sent = await send_checked(message, http_scope(endpoint=write_orders), read_orders)

    assert sent == [message]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("endpoint", "message", "passes"),
    [
        pytest.param(None, START, True, id="nobody"),
        pytest.param(inside, START, True, id="something that is no endpoint of ours"),
        pytest.param(read_orders, START, False, id="an endpoint"),
        pytest.param(read_orders, {**START, "status": 307}, False, id="an endpoint, redirecting"),
        pytest.param(read_orders, {**START, "status": 404}, False, id="an endpoint, finding nothing"),
        pytest.param(read_orders, {**START, "status": 405}, True, id="a route, refusing the method"),
        pytest.param(read_orders, ACCEPT, False, id="an endpoint, accepting"),
        pytest.param(read_orders, {"type": "http.response.body"}, True, id="no start"),
    ],
)
async def test_what_no_endpoint_may_answer_none_answers(
    endpoint: object, message: Message, passes: bool
) -> None:
    """
    A redirect and a CORS answer pass; a response that an endpoint begins does not.
    """
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    checked = checked_forward(send, http_scope(endpoint=endpoint), KNOWN, least=200)

    try:
        await checked(message)
    except MiddlewareMissingError as error:
        assert "innermost" in str(error)  # noqa: PT017 - what passes is in the table
    assert sent == ([message] if passes else [])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("message", "passes"),
    [
        pytest.param({**START, "status": 299}, False, id="just no redirect"),
        pytest.param({**START, "status": 300}, True, id="just a redirect"),
        pytest.param(ACCEPT, True, id="no status"),
    ],
)
async def test_where_a_redirect_is_due_no_success_is_answered(message: Message, passes: bool) -> None:
    """
    Nobody need be named in the scope for a response to be the wrong one.
    """
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    checked = checked_forward(send, http_scope(), KNOWN, least=300)

    outcome = (await asyncio.gather(checked(message), return_exceptions=True))[0]

    assert isinstance(outcome, MiddlewareMissingError) is not passes
    assert sent == ([message] if passes else [])


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
        await run_until_expiry(app, DECISION, scope, client.receive, send, seconds=seconds)
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

    with pytest.raises(OSError, match="closed"):
        serve(application(handler), client)

    assert [message["type"] for _, message in client.sent] == [
        "websocket.accept",
        "websocket.send",
        "websocket.send",
        "websocket.send",
        "websocket.close",
    ]


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

    await run_until_expiry(
        application(handler),
        DECISION,
        {"type": "websocket", "path": "/", "headers": []},
        client.receive,
        client.send,
        seconds=0.05,
    )

    assert seen == [DISCONNECT]
    assert [message for _, message in client.sent] == [ACCEPT, CLOSE]
