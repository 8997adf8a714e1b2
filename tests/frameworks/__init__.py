"""
What the tests of declarations, routing and frameworks share: a service package, tokens, endpoints that say
they ran, and a caller that speaks ASGI itself.
"""

import functools
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from guardrail import Issuer, ServicePackage
from guardrail._decision import Decision, decision_in_force
from guardrail._operator import ANONYMOUS, Operator

ISSUER: Final = "https://login.example.com"
AUDIENCE: Final = "https://api.example.com/orders"
_KEY: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_JWK: Final = {
    **RSAAlgorithm.to_jwk(_KEY.public_key(), as_dict=True),
    "kid": "k1",
    "use": "sig",
    "alg": "RS256",
}

ORDERS: Final = ServicePackage("orders", issuer=Issuer(ISSUER, keys={"keys": [_JWK]}), audience=AUDIENCE)

Endpoint = Callable[[Request], Awaitable[Response]]
Headers = Iterable[tuple[str, str]]


@functools.cache
def mint(*scopes: str, subject: str = "alice") -> str:
    """
    A valid access token with these scopes (RFC 9068 §2.2).
    """
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "client_id": "web",
        "iat": now,
        "exp": now + 3600,
        "jti": f"{subject}-{' '.join(scopes)}",
        "scope": " ".join(scopes),
    }
    return jwt.encode(claims, _KEY, algorithm="RS256", headers={"typ": "at+jwt", "kid": "k1"})


def bearer(*scopes: str, subject: str = "alice") -> list[tuple[str, str]]:
    """
    The header field that carries such a token.
    """
    return [("authorization", f"Bearer {mint(*scopes, subject=subject)}")]


def endpoint(ran: list[str], name: str) -> Endpoint:
    """
    A handler that notes its name when it runs, and answers with it.
    """

    async def handler(request: Request) -> Response:
        ran.append(name)
        return PlainTextResponse(name)

    handler.__name__ = handler.__qualname__ = name
    return handler


def websocket_endpoint(ran: list[str], name: str) -> Callable[[WebSocket], Awaitable[None]]:
    """
    A WebSocket handler that notes its name when it runs, and accepts.
    """

    async def handler(websocket: WebSocket) -> None:
        ran.append(name)
        await websocket.accept()
        await websocket.close()

    handler.__name__ = handler.__qualname__ = name
    return handler


@contextmanager
def decision(declaration: object, operator: Operator = ANONYMOUS) -> Iterator[None]:
    """
    The decision that the middleware would have put in force.
    """
    token = decision_in_force.set(Decision(declaration, operator))
    try:
        yield
    finally:
        decision_in_force.reset(token)


class Application:
    """
    An ASGI application as opaque as a foreign framework: it notes its name when it runs, and answers with it.
    """

    def __init__(self, ran: list[str], name: str) -> None:
        self._ran = ran
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one request, whatever it is.
        """
        self._ran.append(self._name)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self._name.encode()})


@dataclass
class Answer:
    """
    What an application sent.
    """

    messages: list[Message] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        """
        The types of its messages.
        """
        return [message["type"] for message in self.messages]

    @property
    def status(self) -> int:
        """
        The status of the response, an HTTP one or a WebSocket denial.
        """
        statuses: list[int] = [message["status"] for message in self.messages if "status" in message]
        assert len(statuses) == 1
        return statuses[0]

    @property
    def headers(self) -> dict[str, str]:
        """
        The response's header fields.
        """
        pairs: list[tuple[bytes, bytes]] = next(one["headers"] for one in self.messages if "headers" in one)
        return {name.decode(): value.decode() for name, value in pairs}

    @property
    def text(self) -> str:
        """
        The response's body.
        """
        return b"".join(message.get("body", b"") for message in self.messages).decode()


def request_scope(
    path: str,
    *,
    method: str = "GET",
    headers: Headers = (),
    kind: str = "http",
    **extra: Any,
) -> dict[str, Any]:
    """
    A connection scope as a server makes one for the request target *path*, which is not normalised.
    """
    fields = [(name.lower().encode(), value.encode()) for name, value in (("host", "testserver"), *headers)]
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http" if kind == "http" else "ws",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": fields,
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
    }
    own: dict[str, Any] = {"method": method} if kind == "http" else {"subprotocols": []}
    return scope | own | extra


async def call(
    app: ASGIApp,
    path: str,
    *,
    method: str = "GET",
    headers: Headers = (),
    kind: str = "http",
    body: bytes = b"",
    **extra: Any,
) -> Answer:
    """
    Send one request, or open one WebSocket; no client in between changes the path.
    """
    scope = request_scope(path, method=method, headers=headers, kind=kind, **extra)
    return await serve(app, scope, body=body)


async def serve(app: ASGIApp, scope: Scope, *, body: bytes = b"") -> Answer:
    """
    Run *app* on *scope* as a server does.
    """
    answer = Answer()
    first = (
        {"type": "http.request", "body": body} if scope["type"] == "http" else {"type": "websocket.connect"}
    )
    disconnect = "http.disconnect" if scope["type"] == "http" else "websocket.disconnect"
    incoming: list[Message] = [first]

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": disconnect}

    async def send(message: Message) -> None:
        answer.messages.append(message)

    await app(scope, receive, send)
    return answer


async def start(app: ASGIApp) -> list[Message]:
    """
    Start the application up, as a server does, and shut it down again.

    Raises:
        Exception: What the application raised; a server would take it for "no lifespan support".
    """
    sent: list[Message] = []
    await lifespan(app, sent)
    return sent


async def lifespan(app: ASGIApp, sent: list[Message]) -> None:
    """
    As `start`, with the messages in *sent* even when the application raises.
    """
    incoming: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
