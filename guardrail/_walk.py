"""
One walk over an application's routes: what is there, what each declares, what each needs to be found again.

What cannot be seen into is one undeclared route, until it is declared as a whole: marked itself, or covered
by ``prefixes=``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Host, Route, Router, WebSocketRoute

from ._declaration import (
    HTTP_METHODS,
    Declaration,
    declaration_of,
    dispatches_by_method,
    endpoint_name,
    has_handler,
    method_declaration,
)
from ._frameworks import KNOWN_ROUTES, entries_of, find_router, root_path_of
from ._path_index import PathIndex, template_of
from ._prefixes import PrefixTable, Resolved, is_under
from ._route_table import Branch, Known, Leaf, Level, RouteRow
from .errors import PolicyError

__all__ = ["Walk", "refuse_declarations_inside"]


@dataclass(slots=True)
class Walk:
    """
    One walk over a tree of routes.
    """

    prefixes: PrefixTable
    public_paths: Mapping[str, Declaration]
    used_public_paths: set[str] = field(default_factory=set[str])
    rows: list[RouteRow] = field(default_factory=list[RouteRow])
    endpoints: set[int] = field(default_factory=set[int])

    def level(self, app: Starlette | Router, path: str, mounts: tuple[object, ...]) -> Level:
        """
        The routes of one router, found at *path* under *mounts*.
        """
        router = app.router if isinstance(app, Starlette) else app
        entries = tuple(entries_of(router.routes))
        nodes = tuple(self._node(*entry, path, mounts) for entry in entries)
        return Level(nodes, PathIndex(template_of(*entry) for entry in entries), router.redirect_slashes)

    def known(self) -> Known:
        """
        What was found, to tell endpoints apart when they answer.
        """
        mounts = {row.template.partition("{")[0] for row in self.rows if row.methods == "MOUNT"}
        return Known(frozenset(self.endpoints), tuple(sorted(mounts - {"/"})))

    def refuse_idle_settings(self) -> None:
        """
        A setting that changes nothing is a mistake, and one that opens or closes something by being ignored.

        Raises:
            PolicyError: A public path that is no route's template, or a prefix inside of what a decorator
                declares as a whole.
        """
        unknown = sorted(self.public_paths.keys() - self.used_public_paths)
        if unknown:
            raise PolicyError(f"public_paths names no route's template: {', '.join(unknown)}")
        used = {row.declaration for row in self.rows}
        idle = [prefix for prefix, one in self.prefixes.declarations.items() if one not in used]
        for row in self.rows:
            inside = [prefix for prefix in idle if is_under(prefix, row.template)]
            if row.methods == "MOUNT" and row.is_own and inside:
                raise PolicyError(f"prefix {inside[0]} is declared twice: {row} declares all of it")

    def _node(self, matcher: Any, route: BaseRoute, path: str, mounts: tuple[object, ...]) -> Leaf | Branch:
        if not isinstance(route, KNOWN_ROUTES):
            # Nothing can be known of it but its name, so nothing can declare it.
            self.rows.append(RouteRow("", "", type(getattr(matcher, "original_route", route)).__name__, None))
            return Leaf(matcher, "")
        if isinstance(route, Route | WebSocketRoute):
            return self._leaf(matcher, route, path + matcher.path, mounts)
        template = path if isinstance(route, Host) else path + matcher.path
        inner = find_router(matcher.app)
        if isinstance(inner, Starlette | Router) and declaration_of(inner) is None:
            return Branch(matcher, self.level(inner, template, (*mounts, matcher.app)), root_path_of(inner))
        refuse_declarations_inside(inner, template or "/")
        return self._plain(matcher, "MOUNT", template or "/", inner, (*mounts, matcher.app))

    def _leaf(
        self, matcher: Any, route: Route | WebSocketRoute, template: str, mounts: tuple[object, ...]
    ) -> Leaf:
        endpoint = matcher.endpoint
        methods = frozenset(getattr(matcher, "methods", None) or ())
        if isinstance(route, Route) and isinstance(endpoint, type) and dispatches_by_method(endpoint):
            return self._by_method(matcher, methods or frozenset(HTTP_METHODS), template, mounts)
        verbs = "WEBSOCKET" if isinstance(route, WebSocketRoute) else _verbs(methods)
        return replace(self._plain(matcher, verbs, template, endpoint, (*mounts, endpoint)), methods=methods)

    def _plain(
        self, matcher: Any, verbs: str, template: str, endpoint: object, endpoints: tuple[object, ...]
    ) -> Leaf:
        """
        An endpoint that has one declaration: its own mark, or what a setting says of its path.
        """
        own = declaration_of(endpoint)
        declaration = own or self._setting(template, is_mount=verbs == "MOUNT")
        if own is not None and template in self.public_paths:
            raise PolicyError(f"{template} is declared twice: by a decorator and in public_paths")
        self.rows.append(RouteRow(verbs, template, endpoint_name(endpoint), declaration, own is not None))
        self.endpoints.add(id(endpoints[-1]))
        if declaration is None:
            return Leaf(matcher, template)
        by_prefix = self.prefixes if declaration in self.prefixes.declarations.values() else None
        resolved = Resolved(declaration, template, endpoints, is_mount=verbs == "MOUNT")
        return Leaf(matcher, template, resolved=resolved, prefixes=by_prefix)

    def _by_method(
        self, matcher: Any, methods: frozenset[str], template: str, mounts: tuple[object, ...]
    ) -> Leaf:
        """
        A class-based endpoint whose methods may declare for themselves; then none is left to a setting.
        """
        endpoint: type = matcher.endpoint
        own = {
            method: method_declaration(endpoint, method)
            for method in HTTP_METHODS
            if method in methods and has_handler(endpoint, method)
        }
        if not any(own.values()):
            return replace(self._by_setting(matcher, template, own, (*mounts, endpoint)), methods=methods)
        if template in self.public_paths:
            raise PolicyError(f"{template} is declared twice: by a decorator and in public_paths")
        self._add_method_rows(endpoint, template, own, is_own=True)
        resolved = {
            method: Resolved(declaration, template, (*mounts, endpoint))
            for method, declaration in own.items()
            if declaration is not None
        }
        return Leaf(matcher, template, methods, resolved)

    def _by_setting(
        self, matcher: Any, template: str, methods: Iterable[str], endpoints: tuple[object, ...]
    ) -> Leaf:
        """
        A class-based endpoint that declares nothing.
        """
        declaration = self._setting(template)
        by_method = dict.fromkeys(methods, declaration)
        self._add_method_rows(cast("type", endpoints[-1]), template, by_method, is_own=False)
        if declaration is None:
            return Leaf(matcher, template)
        resolved = Resolved(declaration, template, endpoints)
        if declaration in self.prefixes.declarations.values():
            return Leaf(matcher, template, resolved=resolved, prefixes=self.prefixes)
        return Leaf(matcher, template, resolved=dict.fromkeys(methods, resolved))

    def _add_method_rows(
        self, endpoint: type, template: str, methods: Mapping[str, Declaration | None], *, is_own: bool
    ) -> None:
        self.endpoints.add(id(endpoint))
        for method, declaration in methods.items():
            if hasattr(endpoint, method.lower()):
                name = f"{endpoint_name(endpoint)}.{method.lower()}"
                self.rows.append(
                    RouteRow(method, template, name, declaration, is_own and declaration is not None)
                )

    def _setting(self, template: str, *, is_mount: bool = False) -> Declaration | None:
        """
        What ``public_paths`` or ``prefixes`` say of an endpoint without a mark.

        A public path is the template of one route; it does not open all that is mounted there.
        """
        if template in self.public_paths and not is_mount:
            self.used_public_paths.add(template)
            return self.public_paths[template]
        prefix = self.prefixes.covering(template)
        return None if prefix is None else self.prefixes.declarations[prefix]


def refuse_declarations_inside(app: object, template: str) -> None:
    """
    A router declared as a whole must hold no declarations of its own: which one should count?
    """
    if not isinstance(app, Starlette | Router):
        return
    walk = Walk(PrefixTable({}), {})
    walk.level(app, template.rstrip("/"), ())
    for row in walk.rows:
        if row.declaration is not None:
            raise PolicyError(f"{row} is declared twice: by itself and by what declares all of {template}")


def _verbs(methods: frozenset[str]) -> str:
    shown = methods - {"HEAD"} if "GET" in methods else methods
    return ",".join(sorted(shown)) or "*"
