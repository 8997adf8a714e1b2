"""
ASGI: header values as they came, and one small answer over HTTP or in place of a WebSocket.
"""

from typing import Any

import pytest

from guardrail._asgi import Message, Scope, header_values, is_preflight, send_response

HEADERS = [(b"content-length", b"4"), (b"x-one", b"1")]


class Sent:
    """
    What an application sent, in order.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)


async def answer(scope: Scope) -> list[Message]:
    sent = Sent()
    await send_response(scope, sent, status=403, headers=HEADERS, body=b"body")
    return sent.messages


def test_every_value_of_a_field_is_found_in_order() -> None:
    """
    Repeated fields are all there, in the order of arrival, whatever the case of their names.
    """
    scope = {"headers": [(b"a", b"1"), (b"b", b"2"), (b"A", b"3"), (b"a ", b"4"), (b"aa", b"5")]}

    values = header_values(scope, b"a")

    assert values == [b"1", b"3"]


@pytest.mark.parametrize("scope", [{}, {"headers": []}, {"headers": [(b"b", b"1")]}], ids=repr)
def test_absent_field_has_no_values(scope: Scope) -> None:
    """
    A field that was not sent has no values, also where the scope has no headers.
    """
    assert header_values(scope, b"a") == []


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "FOO", "head"])
async def test_http_request_is_answered_whole(method: str) -> None:
    """
    One start and one body, with status and headers as given.
    """
    messages = await answer({"type": "http", "method": method})

    assert messages == [
        {"type": "http.response.start", "status": 403, "headers": HEADERS},
        {"type": "http.response.body", "body": b"body", "more_body": False},
    ]


@pytest.mark.anyio
async def test_head_request_is_answered_without_a_body() -> None:
    """
    HEAD gets the status and headers of GET and no body (R36).
    """
    get, head = (
        await answer({"type": "http", "method": "GET"}),
        await answer({"type": "http", "method": "HEAD"}),
    )

    assert head[0] == get[0]
    assert (get[1]["body"], head[1]["body"]) == (b"body", b"")


@pytest.mark.anyio
async def test_handshake_is_refused_with_a_response_where_the_server_can() -> None:
    """
    With the denial extension a refused handshake gets the whole answer (R247).
    """
    messages = await answer({"type": "websocket", "extensions": {"websocket.http.response": {}}})

    assert messages == [
        {"type": "websocket.http.response.start", "status": 403, "headers": HEADERS},
        {"type": "websocket.http.response.body", "body": b"body", "more_body": False},
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({}, id="no extensions"),
        pytest.param({"extensions": None}, id="extensions None"),
        pytest.param({"extensions": {}}, id="empty extensions"),
        pytest.param({"extensions": {"tls": {}}}, id="another extension"),
    ],
)
async def test_handshake_is_closed_before_accept_elsewhere(extra: dict[str, Any]) -> None:
    """
    Without the extension the handshake is closed with 1008, and nothing else is sent (R247).
    """
    messages = await answer({"type": "websocket", **extra})

    assert messages == [{"type": "websocket.close", "code": 1008, "reason": ""}]


@pytest.mark.anyio
async def test_headers_are_a_list_of_their_own() -> None:
    """
    A server or middleware that adds to the headers it was sent changes no later answer.
    """
    messages = await answer({"type": "http", "method": "GET"})

    messages[0]["headers"].append((b"x-two", b"2"))

    assert len(HEADERS) == 2


PREFLIGHT: Scope = {
    "type": "http",
    "method": "OPTIONS",
    "headers": [(b"origin", b"https://app.example.com"), (b"access-control-request-method", b"GET")],
}


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        pytest.param(PREFLIGHT, True, id="a preflight"),
        pytest.param(
            {**PREFLIGHT, "headers": [(b"Origin", b"null"), (b"Access-Control-Request-Method", b"PUT")]},
            True,
            id="names in another case",
        ),
        pytest.param({**PREFLIGHT, "method": "GET"}, False, id="another method"),
        pytest.param({**PREFLIGHT, "method": "options"}, False, id="the method in another case"),
        pytest.param({**PREFLIGHT, "headers": PREFLIGHT["headers"][:1]}, False, id="no requested method"),
        pytest.param({**PREFLIGHT, "headers": PREFLIGHT["headers"][1:]}, False, id="no origin"),
        pytest.param({**PREFLIGHT, "headers": []}, False, id="a plain OPTIONS"),
        pytest.param({"type": "websocket", "headers": PREFLIGHT["headers"]}, False, id="a handshake"),
    ],
)
def test_preflight_is_what_the_fetch_standard_says(scope: Scope, expected: bool) -> None:
    """
    OPTIONS with an origin and a requested method is a preflight, and nothing less (R37).
    """
    assert is_preflight(scope) is expected
