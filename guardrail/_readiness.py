"""
Readiness, for people and for probes: `health` as data, `health_app` over HTTP.
"""

import json
from http import HTTPStatus

from starlette.applications import Starlette

from ._asgi import ASGIApp, Receive, Scope, Send, send_response
from ._health import Health
from ._inspection import is_guarded
from ._middleware import GuardrailMiddleware
from ._routing import wrapped_by
from .errors import MiddlewareMissingError

__all__ = ["guard_of", "health", "health_app"]

_METHODS = ("GET", "HEAD")


def health(app: object) -> Health:
    """
    How the issuers of a guarded application stand: their keys, ages, last errors.

    Fetches nothing, and waits for nothing.

    Args:
        app: A Starlette or FastAPI application that `guardrail.GuardrailMiddleware` was added to, or the
            middleware around any application.

    Raises:
        MiddlewareMissingError: It has no `GuardrailMiddleware`.
    """
    guard = guard_of(app)
    # Starlette makes its middleware when it is first called.
    return Health(is_started=False) if guard is None else guard.health


def health_app(app: object = None, *, details: bool = True) -> ASGIApp:
    """
    A small ASGI application that answers ``GET``: 200 when ready, 503 when not, and `Health` as JSON.

    It declares nothing: mark it `guardrail.public`, or with a requirement, like any route. A probe also
    begins the fetch of keys that are missing or due, so that an idle application becomes, and stays, ready.

    Args:
        app: As for `health`; None is the Starlette or FastAPI application that serves the request.
        details: Whether to tell of each issuer, its key IDs and last error among it; False tells ``is_ready``
            alone, which suits a probe that anybody may ask.
    """
    return _HealthApp(app, details=details)


class _HealthApp:
    def __init__(self, app: object, *, details: bool) -> None:
        self._app = app
        self._details = details

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _METHODS:
            allow = [(b"allow", ", ".join(_METHODS).encode("ascii"))]
            await send_response(scope, send, status=HTTPStatus.METHOD_NOT_ALLOWED, headers=allow, body=b"")
            return
        guard = guard_of(scope.get("app") if self._app is None else self._app)
        if guard is not None:
            guard.key_sets.refresh()
        found = Health(is_started=False) if guard is None else guard.health
        body = json.dumps(found.as_dict() if self._details else {"is_ready": found.is_ready}).encode("ascii")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
        ]
        status = HTTPStatus.OK if found.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        await send_response(scope, send, status=status, headers=headers, body=body)


def guard_of(app: object) -> GuardrailMiddleware | None:
    """
    The middleware of *app*, or None while it has not been made.

    Raises:
        MiddlewareMissingError: It has no `GuardrailMiddleware`.
    """
    for one in wrapped_by(app):
        if isinstance(one, GuardrailMiddleware):
            return one
        if isinstance(one, Starlette) and is_guarded(one):
            if one.middleware_stack is None:
                return None
            made = wrapped_by(one.middleware_stack)
            guard = next((inner for inner in made if isinstance(inner, GuardrailMiddleware)), None)
            if guard is not None:
                return guard
    raise MiddlewareMissingError(
        "no GuardrailMiddleware is in the application: pass the one it was added to, health_app(app)"
    )
