"""
An application as people ask about it: is it guarded, and by what?
"""

from collections.abc import Iterable
from typing import Any

from starlette.applications import Starlette

from ._middleware import GuardrailMiddleware
from ._prefixes import compile_prefixes
from ._route_table import RouteTable
from ._routing import find_router, survey_routes
from .errors import MiddlewareMissingError, PolicyError

__all__ = ["survey"]


def survey(app: object) -> RouteTable:
    """
    The route table of *app*, with the settings its `GuardrailMiddleware` was given; undeclared ones too.

    Raises:
        MiddlewareMissingError: *app* has no `GuardrailMiddleware`, or not innermost.
        PolicyError: A setting is wrong, a route is declared twice, or *app* is no ASGI application we know.
    """
    if isinstance(app, GuardrailMiddleware):
        return survey_routes(find_router(app.app), prefixes=app.prefixes, public_paths=app.public_paths)
    if not isinstance(app, Starlette):
        raise PolicyError(f"{app!r} is neither a Starlette or FastAPI application nor a GuardrailMiddleware")
    settings = _settings(app)
    public_paths: Iterable[str] = settings.get("public_paths", ())
    return survey_routes(app, prefixes=compile_prefixes(settings.get("prefixes")), public_paths=public_paths)


def _settings(app: Starlette) -> dict[str, Any]:
    """
    What ``add_middleware`` was given. Each call puts its middleware outermost: the innermost was added first.
    """
    ours = [_is_ours(middleware.cls) for middleware in app.user_middleware]
    if not any(ours):
        raise MiddlewareMissingError(
            "GuardrailMiddleware is not added: app.add_middleware(GuardrailMiddleware)"
        )
    if not ours[-1]:
        raise MiddlewareMissingError(
            "GuardrailMiddleware is not innermost: add it before any other middleware"
        )
    return dict(app.user_middleware[-1].kwargs)


def _is_ours(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, GuardrailMiddleware)
