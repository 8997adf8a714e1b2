"""
Compile an application's routes into a `RouteTable`, or name every route that declares nothing.
"""

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.routing import Router

from ._declaration import Declaration, declaration_of
from ._frameworks import find_router, root_path_of, wrapped_by
from ._prefixes import PrefixTable
from ._route_table import RouteTable
from ._walk import Walk, refuse_declarations_inside
from .errors import UndeclaredRouteError

__all__ = ["compile_routes", "find_router", "router_behind", "survey_routes", "wrapped_by"]


def compile_routes(app: object, *, prefixes: PrefixTable, public_paths: Iterable[str] = ()) -> RouteTable:
    """
    Compile the routes of *app*, as `find_router` returned it.

    Raises:
        UndeclaredRouteError: Routes that declare nothing; all of them are listed.
        PolicyError: A route declared twice, or one of *public_paths* that is no route's template.
    """
    table = survey_routes(app, prefixes=prefixes, public_paths=public_paths)
    undeclared = [str(row) for row in table.rows if row.declaration is None]
    if undeclared:
        raise UndeclaredRouteError(undeclared)
    return table


def survey_routes(app: object, *, prefixes: PrefixTable, public_paths: Iterable[str] = ()) -> RouteTable:
    """
    As `compile_routes`, but with undeclared routes among the rows. For people: such a table guards nothing.

    Raises:
        PolicyError: A route declared twice, or one of *public_paths* that is no route's template.
    """
    whole = declaration_of(app)
    if whole is not None:  # an application marked as a whole
        refuse_declarations_inside(app, "/")
        prefixes = PrefixTable({"/": whole, **prefixes.declarations})
    walk = Walk(prefixes, {path: Declaration(None, f"public path {path}") for path in public_paths})
    level = walk.level(app, "", ()) if isinstance(app, Starlette | Router) and whole is None else None
    walk.refuse_idle_settings()
    return RouteTable(level, prefixes, tuple(walk.rows), walk.known(), root_path_of(app))


def router_behind(guard: object, outer: object) -> object:
    """
    The router behind the middleware *guard*; failing that, the Starlette application whose middleware it is.

    Args:
        guard: The middleware, which keeps what it wraps in ``app``.
        outer: What ``scope["app"]`` has. It may be an application that *guard* is mounted in.
    """
    inner = find_router(guard)
    if isinstance(inner, Starlette | Router) or not isinstance(outer, Starlette):
        return inner
    stack = wrapped_by(outer.middleware_stack)
    classes: list[object] = [middleware.cls for middleware in outer.user_middleware]
    # A middleware in front that hides what it wraps leaves only the class to go by.
    is_hidden = type(guard) in classes and not any(isinstance(one, Router) for one in stack)
    return outer if guard in stack or is_hidden else inner
