"""
What a team may choose of the road: how long after its token's expiry something goes on, and wrong settings.
"""

import asyncio
import contextlib
from typing import Any

import pytest
from road_kit import new_issuer, package_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message, Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from guardrail import GuardrailMiddleware
from guardrail.errors import PolicyError
from guardrail.testing import FakeIssuer, as_operator

pytestmark = pytest.mark.anyio

LIFETIME = 0.2  # seconds that the token of a test is good for
NOW = 1_800_000_000.0


async def run(kind: str, *, is_assumed: bool = False, **settings: Any) -> list[Message]:
    """
    What is sent within three lifetimes by an endpoint that goes on for ever.
    """
    fake = new_issuer(clock=lambda: NOW)
    app = GuardrailMiddleware(endless(fake), clock=lambda: NOW, **settings)
    field = (b"authorization", f"Bearer {fake.token(scope='orders:read', expires_in=LIFETIME)}".encode())
    scope: Scope = {
        "type": kind,
        "method": "GET",
        "path": "/endless",
        "scheme": "https",
        "query_string": b"",
        "headers": [] if is_assumed else [field],
        "subprotocols": [],
    }
    sent: list[Message] = []
    says: list[Message] = [{"type": "websocket.connect"}] if kind == "websocket" else []

    async def receive() -> Message:
        if says:
            return says.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    try:
        async with asyncio.timeout(3 * LIFETIME):
            with as_operator(scopes=["orders:read"]) if is_assumed else contextlib.nullcontext():
                await app(scope, receive, send)
    except TimeoutError:
        sent.append({"type": "went on"})
    return sent


def endless(fake: FakeIssuer) -> Starlette:
    """
    An endpoint that streams for ever, and a WebSocket that does.
    """
    requires = package_of(fake).requires("orders:read")

    async def ticks() -> Any:
        while True:
            yield b"tick"
            await asyncio.sleep(LIFETIME / 10)

    @requires
    async def stream(request: Request) -> Response:
        return StreamingResponse(ticks(), media_type="text/event-stream")

    @requires
    async def feed(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.receive()
        except (WebSocketDisconnect, RuntimeError):
            pass

    return Starlette(routes=[Route("/endless", stream), WebSocketRoute("/endless", feed)])


END: Message = {"type": "http.response.body", "body": b"", "more_body": False}
CLOSE: Message = {"type": "websocket.close", "code": 1008, "reason": "token expired"}
WENT_ON: Message = {"type": "went on"}


@pytest.mark.parametrize(
    ("kind", "settings", "last"),
    [
        pytest.param("http", {}, WENT_ON, id="a stream goes on by default"),
        pytest.param("http", {"stream_expiry": "allow"}, WENT_ON, id="a stream may go on"),
        pytest.param("http", {"stream_expiry": "cut"}, END, id="a stream may be cut"),
        pytest.param("http", {"websocket_expiry": "close"}, WENT_ON, id="a stream is no WebSocket"),
        pytest.param("websocket", {}, CLOSE, id="a WebSocket is closed by default"),
        pytest.param("websocket", {"websocket_expiry": "close"}, CLOSE, id="a WebSocket may be closed"),
        pytest.param("websocket", {"websocket_expiry": "allow"}, WENT_ON, id="a WebSocket may go on"),
        pytest.param(
            "websocket",
            {"websocket_expiry": "allow", "stream_expiry": "cut"},
            WENT_ON,
            id="a WebSocket is no stream",
        ),
    ],
)
async def test_what_goes_on_after_the_token_has_expired(
    kind: str, settings: dict[str, Any], last: Message
) -> None:
    """
    Each is as its own setting says.
    """
    sent = await run(kind, **settings)

    assert sent[-1] == last


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_an_assumed_operator_has_no_expiry(kind: str) -> None:
    """
    Where there is no token, nothing ends with it.
    """
    sent = await run(kind, is_assumed=True, stream_expiry="cut", websocket_expiry="close")

    assert sent[-1] == WENT_ON


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param({"stream_expiry": "close"}, "stream_expiry must be one of allow, cut", id="stream"),
        pytest.param(
            {"websocket_expiry": "cut"}, "websocket_expiry must be one of close, allow", id="socket"
        ),
        pytest.param({"not_found": "404"}, "not_found must be callable", id="not found"),
        pytest.param({"resource_metadata": 1}, "resource_metadata must be True or False", id="metadata"),
    ],
)
def test_a_wrong_setting_is_refused_at_construction(settings: dict[str, Any], says: str) -> None:
    """
    The message has the right form.
    """
    with pytest.raises(PolicyError, match=says):
        GuardrailMiddleware(Starlette(), **settings)
