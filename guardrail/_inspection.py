"""
An application as people ask about it: is it guarded, and by what?
"""

from typing import Any, cast

from starlette.applications import Starlette
from starlette.middleware import Middleware

from ._middleware import GuardrailMiddleware
from ._route_table import RouteTable
from ._routing import find_router, survey_routes, wrapped_by
from .errors import MiddlewareMissingError, PolicyError

__all__ = ["is_guarded", "survey"]


def survey(app: object) -> RouteTable:
    """
    The route table of *app*, with the settings its `GuardrailMiddleware` was given; undeclared ones too.

    Raises:
        MiddlewareMissingError: *app* has no `GuardrailMiddleware`, or not innermost.
        PolicyError: A setting is wrong, a route is declared twice, or *app* is no ASGI application we know.
    """
    guard = next((one for one in wrapped_by(app) if isinstance(one, GuardrailMiddleware | Starlette)), None)
    if isinstance(guard, GuardrailMiddleware):
        return _survey(find_router(guard.app), guard)
    if guard is None:
        raise PolicyError(f"{app!r} is neither a Starlette or FastAPI application nor a GuardrailMiddleware")
    return _survey(guard, _added_to(guard))


def _survey(app: object, guard: GuardrailMiddleware) -> RouteTable:
    return survey_routes(app, prefixes=guard.prefixes, public_paths=guard.public_paths)


def _added_to(app: Starlette) -> GuardrailMiddleware:
    """
    The guard that *app* will make of what ``add_middleware`` was given.

    Each call puts its middleware outermost, so the innermost was added first.
    """
    ours = [_is_ours(middleware.cls) for middleware in app.user_middleware]
    if not any(ours):
        raise MiddlewareMissingError(
            "GuardrailMiddleware is not added: app.add_middleware(GuardrailMiddleware)"
        )
    if not ours[-1]:
        stack = "\n".join(map(_described, app.user_middleware, ours))
        raise MiddlewareMissingError(
            "GuardrailMiddleware is not innermost: add it before any other middleware. From the outside in:\n"
            + stack
        )
    added = app.user_middleware[-1]
    try:
        guard: Any = added.cls(app, *added.args, **added.kwargs)
    except TypeError as exc:
        raise PolicyError(f"GuardrailMiddleware cannot be made as it was added: {exc}") from exc
    return cast("GuardrailMiddleware", guard)


def is_guarded(app: Starlette) -> bool:
    """
    Whether `GuardrailMiddleware` was added to *app*, at whichever place.
    """
    return any(_is_ours(middleware.cls) for middleware in app.user_middleware)


def _described(middleware: Middleware, is_ours: bool) -> str:
    name = str(getattr(middleware.cls, "__name__", middleware.cls))
    if is_ours:
        return f"  {name}  <- should be the last of these"
    # CORS inside would have to answer preflights that guardrail refuses, and adds no headers to refusals.
    return f"  {name}  <- should be outside of GuardrailMiddleware" if "CORS" in name else f"  {name}"


def _is_ours(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, GuardrailMiddleware)
