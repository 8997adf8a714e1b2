"""
What the held-out tests share: endpoints that say that they ran, and requests as bytes on the wire would be.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from guardrail import ServicePackage, current_operator
from guardrail.errors import GuardrailError
from guardrail.testing import FakeIssuer

Fields = tuple[tuple[str, str], ...]

OURS: Final = FakeIssuer(algorithm="EdDSA")
THEIRS: Final = FakeIssuer(
    "https://partner.example.org", audience="https://api.example.com/partners", algorithm="EdDSA"
)
STRANGER: Final = FakeIssuer(algorithm="EdDSA")  # the same URL and audience, other keys
ORDERS: Final = ServicePackage("orders", issuer=OURS.issuer, audience=OURS.audience)
PARTNERS: Final = ServicePackage("partners", issuer=THEIRS.issuer, audience=THEIRS.audience)


@dataclass(frozen=True)
class Answer:
    """
    What came back: a status (0 for an exception, 101 for an accepted WebSocket), fields, body.
    """

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: str = ""

    def all(self, name: str) -> list[str]:
        """
        Every value of one field.
        """
        return [value for field_, value in self.fields if field_ == name]


@dataclass
class Ran:
    """
    Which endpoints ran, and for whom.
    """

    names: list[str] = field(default_factory=list[str])
    operators: list[str] = field(default_factory=list[str])

    def note(self, name: str) -> None:
        """
        Say that *name* runs.
        """
        self.names.append(name)
        self.operators.append(current_operator().subject)

    def http(self, name: str) -> Any:
        """
        A Starlette endpoint.
        """

        async def endpoint(_: Request) -> Response:
            self.note(name)
            return PlainTextResponse(name)

        return endpoint

    def operation(self, name: str) -> Any:
        """
        A FastAPI path operation.
        """

        async def operation() -> str:
            self.note(name)
            return name

        return operation

    def socket(self, name: str) -> Any:
        """
        A WebSocket endpoint.
        """

        async def endpoint(websocket: WebSocket) -> None:
            self.note(name)
            await websocket.accept()
            await websocket.close()

        return endpoint

    def raw(self, name: str) -> Any:
        """
        A whole ASGI application, which says as which path it was reached.
        """

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            self.note(name)
            if scope["type"] == "websocket":
                await send({"type": "websocket.accept"})
                return
            await PlainTextResponse(scope["path"])(scope, receive, send)

        return app


def request(
    path: str,
    *,
    method: str = "GET",
    fields: Iterable[tuple[str, str]] = (),
    query: str = "",
    root_path: str = "",
    raw_path: str | None = None,
    kind: str = "http",
    **more: Any,
) -> Scope:
    """
    The scope that a server would make.
    """
    scope: Scope = {
        "type": kind,
        "path": path,
        "raw_path": (path if raw_path is None else raw_path).encode("utf-8", "surrogateescape"),
        "root_path": root_path,
        "scheme": "https" if kind == "http" else "wss",
        "query_string": query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields],
        "server": ("api.example.com", 443),
        "client": ("203.0.113.9", 50000),
        "http_version": "1.1",
        **more,
    }
    if not any(name.lower() == "host" for name, _ in fields):
        scope["headers"].insert(0, (b"host", b"api.example.com"))
    special: Scope = {"method": method} if kind == "http" else {"extensions": {"websocket.http.response": {}}}
    return {**special, **scope}


async def send_request(app: ASGIApp, scope: Scope, body: bytes = b"") -> Answer:
    """
    Serve one request and collect its answer. What guardrail raises has status 0.
    """
    sent: list[Message] = []
    is_complete = asyncio.Event()
    first = "websocket.connect" if scope["type"] == "websocket" else "http.request"
    says: list[Message] = [{"type": first, "body": body, "more_body": False}]

    async def receive() -> Message:
        if not says and scope["type"] == "http":
            await is_complete.wait()  # the client stays until it has its answer
            return {"type": "http.disconnect"}
        return says.pop(0) if says else {"type": "websocket.disconnect", "code": 1001}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            is_complete.set()

    try:
        await app(scope, receive, send)
    except GuardrailError as exc:
        return Answer(0, body=f"{type(exc).__name__}: {exc}")
    return _answer(sent)


def _answer(sent: list[Message]) -> Answer:
    start = sent[0]
    status = {"websocket.accept": 101, "websocket.close": 403}.get(start["type"]) or start["status"]
    fields = tuple(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())
    )
    body = b"".join(message.get("body", b"") for message in sent)
    return Answer(status, fields, body.decode("latin-1"))


def bearer(token: str) -> Fields:
    """
    The one field of an ordinary request.
    """
    return (("authorization", f"Bearer {token}"),)
