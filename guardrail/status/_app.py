"""
`status_app` and `status_page`: small ASGI applications, to be declared and guarded like any route.
"""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from .._asgi import ASGIApp, Receive, Scope, Send, header_values, send_response
from .._readiness import guard_of
from ..errors import PolicyError
from ._board import StatusBoard
from ._page import CONTENT_SECURITY_POLICY, empty_page, full_page
from ._report import report

__all__ = ["status_app", "status_page"]

_METHODS: Final = ("GET", "HEAD")
_HTML: Final = b"text/html; charset=utf-8"
_JSON: Final = b"application/json"
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"vary", b"accept, sec-fetch-site, sec-fetch-mode"),
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode("ascii")),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

Answer = Callable[[Scope], tuple[bytes, str]]


def status_app(app: object = None, *, board: StatusBoard) -> ASGIApp:
    """
    A small ASGI application that answers ``GET`` with the state of the guard: HTML for who accepts
    ``text/html``, else JSON.

    It declares nothing: mark it with a requirement, or `guardrail.public`, like any route. A browser sends
    no token when somebody types an address: where this is guarded, people open a `status_page`, and programs
    send their tokens. What is public is for whoever can reach it: bind it to loopback, or have a network in
    front. It fetches nothing, and nothing on it is a token, a secret or a person. It does tell the
    configuration: issuers, key IDs, routes and what they need. Scripts and frames of other sites get nothing.

    Args:
        app: As for `guardrail.health`: what the middleware was added to; None is the Starlette or FastAPI
            application that serves the request.
        board: What to show; the middleware and profiles tell it, by ``on_event=[board]``.

    Raises:
        PolicyError: *board* is no `StatusBoard`.
    """
    if not isinstance(board, StatusBoard):
        raise PolicyError(f"board must be a StatusBoard, the one in on_event=[board]; got {type(board)}")

    def answer(scope: Scope) -> tuple[bytes, str]:
        found = report(guard_of(scope.get("app") if app is None else app), board)
        if any(b"text/html" in value.lower() for value in header_values(scope, b"accept")):
            return _HTML, full_page(found)
        return _JSON, json.dumps(found)

    return _Page(answer)


def status_page(source: str) -> ASGIApp:
    """
    The status page with nothing on it, to be marked `guardrail.public` beside a `status_app` that is guarded.

    It asks for an access token, keeps it in the page's memory, and shows what *source* answers with it. The
    token is in no URL, cookie or storage, and is gone with the page, or when it is refused.

    Args:
        source: The path of the `status_app` on the same origin, as browsers see it, such as ``/status/data``.

    Raises:
        PolicyError: *source* is no such path.
    """
    # Browsers take a backslash for a slash, and two of them for another host.
    is_path = isinstance(source, str) and source.startswith("/") and source.isascii() and source.isprintable()
    if not is_path or source.startswith("//") or "\\" in source:
        raise PolicyError(f'source must be a path on the same origin, such as "/status/data"; got {source!r}')
    page = empty_page(source)
    return _Page(lambda _: (_HTML, page))


class _Page:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            raise PolicyError(f"a status page has nothing to do with the ASGI scope type {scope['type']!r}")
        if scope["type"] == "websocket" or scope["method"] not in _METHODS:
            allow = (b"allow", ", ".join(_METHODS).encode("ascii"))
            await _send(scope, send, HTTPStatus.METHOD_NOT_ALLOWED, b"text/plain", "", allow)
        elif _is_of_another_site(scope):
            await _send(scope, send, HTTPStatus.FORBIDDEN, b"text/plain", "Not for pages of other sites.\n")
        else:
            await _send(scope, send, HTTPStatus.OK, *self._answer(scope))


def _is_of_another_site(scope: Scope) -> bool:
    """
    Whether a browser says that another site's page asks, other than by a link to follow.

    A CORS layer that lets every origin in adds its headers to this page too, and on loopback, or in a network
    of ours, it would be read by any site that somebody there visits.
    """
    sites, modes = header_values(scope, b"sec-fetch-site"), header_values(scope, b"sec-fetch-mode")
    return any(one not in {b"same-origin", b"none"} for one in sites) and modes != [b"navigate"]


async def _send(
    scope: Scope, send: Send, status: int, media_type: bytes, text: str, *more: tuple[bytes, bytes]
) -> None:
    body = text.encode("utf-8")
    own = ((b"content-type", media_type), (b"content-length", str(len(body)).encode("ascii")))
    await send_response(scope, send, status=status, headers=[*own, *_HEADERS, *more], body=body)
