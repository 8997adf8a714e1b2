"""
Serving behind a decision: the operator on the request, the endpoint that answers.
"""

import asyncio
from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from guardrail import Operator, current_operator
from guardrail._decision import Decision, decision_in_force
from guardrail._declaration import Declaration
from guardrail._operator import ANONYMOUS
from guardrail._prefixes import Resolved
from guardrail._route_table import Known
from guardrail._serving import checked_forward, checked_send, run_decided
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
@pytest.mark.parametrize("kind", [dict, UserDict], ids=["a dict", "another mapping"])
async def test_the_rest_of_the_state_stays(kind: Callable[[dict[str, object]], Any]) -> None:
    """
    What the lifespan put into the state is the application's, in the same mapping.
    """
    state = kind({"pool": object()})
    scope = http_scope(state=state)
    before = dict(state)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["state"] is state

    await run_decided(app, DECISION, scope, nothing_comes, nothing_is_sent)

    assert dict(state) == before | {"operator": ALICE}


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
