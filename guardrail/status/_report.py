"""
What the status page tells: the configuration, how the keys stand, and what a board has counted.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from .._alternatives import requirements_of
from .._declaration import Declaration
from .._health import Health
from .._middleware import GuardrailMiddleware
from .._policy import Requirement, ServicePackage
from .._route_table import RouteRow, RouteTable
from ._board import StatusBoard
from ._words import NOTICES, needs

__all__ = ["report"]


def report(guard: GuardrailMiddleware | None, board: StatusBoard) -> dict[str, Any]:
    """
    Everything there is to tell, for JSON. Fetches nothing.

    Args:
        guard: The application's middleware; None before it is made.
        board: What was counted.
    """
    health = Health(is_started=False) if guard is None else guard.health
    rows = _rows(None if guard is None else guard.table)
    counted = board.as_dict()
    required = [one for row in rows for one in _requirements(row.declaration)]
    is_enforced = guard is None or guard.is_enforced
    return {
        "process": os.getpid(),
        **health.as_dict(),
        **counted,
        "packages": _packages(required, counted["packages"], is_enforced=is_enforced),
        "routes": [_route(row) for row in rows],
        "scopes": _scopes(required, counted["scopes"]),
        "notices": [one | _in_words(one["event"]) for one in counted["notices"]],
    }


def _rows(table: RouteTable | None) -> tuple[RouteRow, ...]:
    if table is None:
        return ()
    prefixes = table.prefixes.declarations.items()
    # Around a foreign application, the prefixes are the whole table.
    return table.rows or tuple(RouteRow("*", prefix, "", one) for prefix, one in prefixes)


def _requirements(declaration: Declaration | None) -> tuple[Requirement, ...]:
    return () if declaration is None else requirements_of(declaration.requirement)


def _packages(
    required: Iterable[Requirement], counted: Iterable[Mapping[str, Any]], *, is_enforced: bool
) -> list[dict[str, Any]]:
    """
    Each package of the application, and what was counted of it; then those that only the board knows.
    """
    by_name = {one["package"]: one for one in counted}
    configured = dict.fromkeys(one.package for one in required)
    nothing = {"accepted": 0, "not_enforced": 0, "refused": dict[str, int]()}
    found = [
        _package(one, is_enforced=is_enforced) | dict(by_name.pop(one.name, nothing)) for one in configured
    ]
    return [*found, *(dict(one) for one in by_name.values())]


def _package(package: ServicePackage, *, is_enforced: bool) -> dict[str, Any]:
    return {
        "package": package.name,
        "issuers": [one.url for one in package.issuers],
        "audiences": list(package.audience),
        "required_scopes": list(package.required_scopes),
        "is_enforced": is_enforced and package.enforce,
    }


def _route(row: RouteRow) -> dict[str, Any]:
    packages = dict.fromkeys(one.package.name for one in _requirements(row.declaration))
    return {
        "methods": row.methods,
        "path": row.template,
        "packages": list(packages),
        "needs": needs(row.declaration),
    }


def _scopes(required: Iterable[Requirement], counted: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """
    Each scope that a route asks for, with how many do, and how often it was lacking; those first that were.
    """
    lacking = {(one["package"], one["scope"]): one for one in counted}
    routes: dict[tuple[str, str], int] = dict.fromkeys(lacking, 0)
    for one in required:
        for scope in dict.fromkeys(one.all_scopes + one.any_scopes):
            key = (one.package.name, scope)
            routes[key] = routes.get(key, 0) + 1
    return [
        {
            "package": package,
            "scope": scope,
            "routes": count,
            "lacking": lacking[package, scope]["count"] if (package, scope) in lacking else 0,
        }
        for (package, scope), count in routes.items()
    ]


def _in_words(event: str) -> dict[str, str]:
    cause, fix = NOTICES[event]
    return {"cause": cause, "fix": fix}
