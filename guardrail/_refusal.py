"""
A team's own body for refusals: one hook; status and headers stay ours.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from ._asgi import Headers, Scope, Send
from ._challenge import Answer, send_answer
from ._shapes import is_object, is_sequence

__all__ = ["Refusal", "RefusalBody", "RefusalWriter"]

_logger: Final = logging.getLogger("guardrail")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """
    What a caller who is refused may be told.

    Attributes:
        status: The HTTP status, which is sent whatever the hook does.
        title: Its phrase, such as ``Unauthorized``.
        error: The OAuth error code (RFC 6750 §3.1), or None.
        error_description: Its fixed text, or None.
        scope: The ASGI scope of the request, for a request ID or a path; without its credentials.
    """

    status: int
    title: str
    error: str | None
    error_description: str | None
    scope: Scope


RefusalBody = Mapping[str, object] | tuple[str, bytes]
"""
A JSON object, or a media type and the body's bytes.
"""


_CREDENTIALS: Final = frozenset(
    {b"authorization", b"cookie", b"proxy-authorization", b"sec-websocket-protocol"}
)
_BODY_FIELDS: Final = frozenset({b"content-type", b"content-length"})


class RefusalWriter:
    """
    Sends answers, with a body of the hook's making if there is a hook.
    """

    def __init__(self, hook: Callable[[Refusal], RefusalBody] | None = None) -> None:
        """
        Args:
            hook: Makes the body. It is called on the event loop, and must not block.
        """
        self._hook = hook

    async def send(self, answer: Answer, scope: Scope, send: Send) -> None:
        """
        Answer an HTTP request, or refuse a WebSocket handshake.
        """
        if self._hook is not None:
            answer = _rendered(answer, scope, self._hook)
        await send_answer(answer, scope, send)


def _rendered(answer: Answer, scope: Scope, hook: Callable[[Refusal], RefusalBody]) -> Answer:
    try:
        media_type, body = _encoded(hook(_refusal(answer, scope)))
    except Exception:  # a broken hook must not turn a refusal into an error, or into anything else
        _logger.exception("the refusal body hook %r failed", hook)
        return answer
    described = [(b"content-type", media_type), (b"content-length", str(len(body)).encode("ascii"))]
    kept: Headers = [field for field in answer.headers if field[0] not in _BODY_FIELDS]
    return replace(answer, headers=(*described, *kept), body=body)


def _refusal(answer: Answer, scope: Scope) -> Refusal:
    ours = json.loads(answer.body)
    headers = [field for field in scope.get("headers", ()) if field[0].lower() not in _CREDENTIALS]
    return Refusal(
        status=answer.status,
        title=HTTPStatus(answer.status).phrase,
        error=ours.get("error"),
        error_description=ours.get("error_description"),
        scope={**scope, "headers": headers, "query_string": b"", "subprotocols": []},
    )


def _encoded(made: object) -> tuple[bytes, bytes]:
    if is_object(made):
        return b"application/json", json.dumps(dict(made)).encode("utf-8")
    media_type, body = made if is_sequence(made) and len(made) == 2 else (None, None)
    if not isinstance(media_type, str) or not isinstance(body, bytes) or not media_type.isprintable():
        raise TypeError(f"the hook must return a JSON object, or a media type and bytes; got {type(made)}")
    return media_type.encode("ascii"), body
