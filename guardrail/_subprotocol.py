"""
A token in ``Sec-WebSocket-Protocol``, for browsers: their WebSockets send no other header of a page's choice.

Off unless a team wants it. The token is taken out of what the application sees.
"""

from ._asgi import Scope, header_values

__all__ = ["take_token"]

_FIELD = b"sec-websocket-protocol"


def take_token(scope: Scope, prefix: str) -> tuple[Scope, Scope]:
    """
    The scope to judge, with the token as a bearer token, and the scope to serve, without it.

    An `Authorization` field beside it stays, and makes two tokens (RFC 6750 §2).

    Args:
        scope: Of a request, or a WebSocket handshake.
        prefix: What a subprotocol that is a token begins with.
    """
    if scope["type"] != "websocket":
        return scope, scope
    offered = _offered(scope)
    found = [one for one in offered if one.startswith(prefix.encode("ascii"))]
    if not found:
        return scope, scope
    others = [one for one in offered if one and one not in found]
    headers = [field for field in scope["headers"] if field[0].lower() != _FIELD]
    served = {
        **scope,
        "headers": [*headers, *([(_FIELD, b", ".join(others))] if others else [])],
        "subprotocols": [one.decode("latin-1") for one in others],
    }
    tokens = [(b"authorization", b"Bearer " + one[len(prefix) :]) for one in found]
    return {**served, "headers": [*served["headers"], *tokens]}, served


def _offered(scope: Scope) -> list[bytes]:
    """
    The subprotocols of a handshake, wherever the server puts them: some keep the field out of the headers.
    """
    fields = [one.strip() for value in header_values(scope, _FIELD) for one in value.split(b",")]
    named = [one.encode("latin-1", "replace") for one in scope.get("subprotocols") or ()]
    return [*fields, *(one for one in named if one not in fields)]
