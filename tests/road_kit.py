"""
What the tests of the road share: an issuer that is quickly made, one request, one handshake.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Scope

from guardrail import ServicePackage, current_operator
from guardrail.testing import FakeIssuer


def new_issuer(
    url: str = "https://login.example.com",
    *,
    audience: str = "https://api.example.com/orders",
    clock: Callable[[], float] = time.time,
) -> FakeIssuer:
    """
    An authorization server with keys that are quickly made.
    """
    return FakeIssuer(url, audience=audience, algorithm="EdDSA", clock=clock)


def package_of(fake: FakeIssuer, name: str = "orders", **settings: Any) -> ServicePackage:
    """
    A service package whose tokens *fake* issues.
    """
    return ServicePackage(name, issuer=fake.issuer, audience=fake.audience, **settings)


def endpoint() -> Callable[[Request], Awaitable[Response]]:
    """
    A handler that answers with the operator's key; a new one each time, since each is declared once.
    """

    async def who(request: Request) -> Response:
        return JSONResponse({"operator": current_operator().operator_id})

    return who


async def ask(
    app: ASGIApp,
    path: str = "/orders",
    *,
    token: str | None = None,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
) -> httpx.Response:
    """
    Send one request.
    """
    fields = [*headers, *([] if token is None else [("Authorization", f"Bearer {token}")])]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        return await client.request(method, path, headers=fields)


def handshake(path: str = "/feed", *protocols: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> Scope:
    """
    The scope of a WebSocket handshake, from a server that can deny one.
    """
    offered = [(b"sec-websocket-protocol", ", ".join(protocols).encode())] if protocols else []
    return {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "wss",
        "query_string": b"",
        "headers": [*offered, *headers],
        "subprotocols": list(protocols),
        "extensions": {"websocket.http.response": {}},
    }


async def connect(app: ASGIApp, scope: Scope) -> list[Message]:
    """
    What an application sends on a connection whose client says nothing and leaves.
    """
    sent: list[Message] = []
    says: list[Message] = [{"type": "websocket.connect"}]

    async def receive() -> Message:
        return says.pop(0) if says else {"type": "websocket.disconnect", "code": 1001}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent
