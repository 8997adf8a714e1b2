"""
What is asked of Starlette and FastAPI about an application: its router, its routes, what stands around it.

Seen into are Starlette's routers, mounts and hosts, and FastAPI's included routers through its public
`fastapi.routing.iter_route_contexts`.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Host, Mount, Route, Router, WebSocketRoute

from ._declaration import declaration_of

__all__ = ["KNOWN_ROUTES", "entries_of", "find_router", "root_path_of", "wrapped_by"]

_MAX_WRAPPERS: Final = 64  # an object can answer any attribute with a new one, for ever
KNOWN_ROUTES: Final = (Route, WebSocketRoute, Mount, Host)


def find_router(app: object) -> object:
    """
    The Starlette application or router that *app* is or wraps; *app*'s innermost object where there is none.

    Follows the ``app`` attribute that middleware keeps what it wraps in.
    """
    wrapped = wrapped_by(app)
    known = (one for one in wrapped if isinstance(one, Starlette | Router) or declaration_of(one) is not None)
    return next(known, wrapped[-1])


def wrapped_by(app: object) -> list[object]:
    """
    *app*, what its ``app`` attribute has, and so on inwards.
    """
    found = [app]
    while len(found) < _MAX_WRAPPERS and getattr(found[-1], "app", None) is not None:
        found.append(getattr(found[-1], "app"))  # noqa: B009 - of an unknown type
    return found


def root_path_of(app: object) -> str:
    """
    The root path that ``FastAPI(root_path=...)`` sets when it is called.
    """
    return str(getattr(app, "root_path", "")) if isinstance(app, Starlette) else ""


def entries_of(routes: Sequence[BaseRoute]) -> Iterator[tuple[Any, BaseRoute]]:
    """
    What matches, and what it is: the same object, but for the routes of an included FastAPI router.
    """
    # Whoever has such routes has imported it; importing it ourselves would cost everybody else.
    look_inside = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", None)
    for route in routes:
        if isinstance(route, KNOWN_ROUTES) or look_inside is None:
            yield route, route
        else:
            for context in look_inside([route]):
                is_plain = _matches_plainly(context.original_route) and _includes_plainly(route)
                yield context, context.original_route if is_plain else route


def _matches_plainly(route: BaseRoute) -> bool:
    """
    Whether an included route, or router, matches as the frameworks' own classes do.

    A context answers for its route without asking it: a class with a ``matches`` of its own would choose
    another endpoint than we do. Such a route cannot be seen into.
    """
    return type(route).matches.__module__.partition(".")[0] in {"fastapi", "starlette"}


def _includes_plainly(included: Any) -> bool:
    """
    Whether an included router, and every one included in it, matches as FastAPI's own does.
    """
    router = getattr(included, "original_router", None)
    return router is None or (_matches_plainly(router) and all(map(_includes_plainly, router.routes)))
