"""
What guardrail needs of ASGI: the types, one header read, one small answer sent.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "ASGIApp",
    "AnyASGIApp",
    "Headers",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "header_values",
    "is_plain_http",
    "is_preflight",
    "send_response",
]

# An application of any framework: each has types of its own for the same three arguments.
AnyASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

WEBSOCKET_DENIAL: Final = "websocket.http.response"  # ASGI's WebSocket Denial Response extension
_PREFLIGHT_FIELDS: Final = (b"origin", b"access-control-request-method")
_PLAIN_SCHEMES: Final = frozenset({"http", "ws"})
_LOCAL_NAMES: Final = frozenset({"localhost", "::1", "testserver"})  # the last is what test clients say
POLICY_VIOLATION: Final = 1008  # RFC 6455 §7.4.1


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """
    Every value of one request header, in order of arrival; *name* in lower case.

    Field names are compared without regard to case: the ASGI specification asks servers for lower case,
    and a server that does not oblige must not hide a second field from us.
    """
    return [value for field, value in scope.get("headers", ()) if field.lower() == name]


def is_preflight(scope: Scope) -> bool:
    """
    Whether it is a CORS preflight, as the Fetch standard defines one.
    """
    return (
        scope["type"] == "http"
        and scope["method"] == "OPTIONS"
        and all(header_values(scope, field) for field in _PREFLIGHT_FIELDS)
    )


def is_plain_http(scope: Scope) -> bool:
    """
    Whether a request came over plain ``http`` or ``ws`` to an address that other machines can reach.
    """
    server = scope.get("server")
    host = server[0] if server else ""
    is_plain = scope.get("scheme", "http") in _PLAIN_SCHEMES
    return is_plain and not (host in _LOCAL_NAMES or host.startswith("127."))


async def send_response(scope: Scope, send: Send, *, status: int, headers: Headers, body: bytes) -> None:
    """
    Answer an HTTP request, or refuse a WebSocket handshake, with a whole small response.

    A handshake is refused with a real HTTP response where the server can send one, else by closing before
    accept, which servers turn into 403. HEAD gets the headers that GET would get, and no body.
    """
    if scope["type"] == "http":
        prefix, body = "http.response", b"" if scope["method"] == "HEAD" else body
    elif WEBSOCKET_DENIAL in (scope.get("extensions") or {}):
        prefix = WEBSOCKET_DENIAL
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
        return
    await send({"type": f"{prefix}.start", "status": status, "headers": list(headers)})
    await send({"type": f"{prefix}.body", "body": body, "more_body": False})
