"""
The compiled route table: which endpoint will this scope reach, and what did it declare?

The question goes to the framework's own matchers, in the router's order; the first full match wins, as it
does when the router dispatches. There is no second path parser here, except for ``prefixes=``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from starlette.routing import Match

from ._asgi import Scope
from ._declaration import Declaration
from ._path_index import PathIndex
from ._paths import Request, entered, is_root_path_clear, route_path_of
from ._prefixes import PrefixTable, Resolved


class Matcher(Protocol):
    """
    The one thing asked of a framework's route.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """
        Whether this route takes *scope*, and what it would add to it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Unresolved:
    """
    No endpoint will run: 404, 405 with *allow*, or the router's own redirect to the toggled slash.

    Attributes:
        status: 404, 405 or 307.
        allow: The methods the path has.
        is_routers: Whether the router itself, asked, would come to the same end without running anything.
    """

    status: int
    allow: tuple[str, ...] = ()
    is_routers: bool = False


NOT_FOUND: Final = Unresolved(404)
REDIRECT: Final = Unresolved(307, is_routers=True)


@dataclass(frozen=True, slots=True)
class Leaf:
    """
    A route whose endpoint runs.

    Attributes:
        matcher: The framework's route.
        template: Its path template, mounts included.
        methods: The methods it takes; empty for all.
        resolved: What to answer when it matches; per method for a class-based endpoint.
        prefixes: Where to look the request's path up instead, for what is declared by prefix.
    """

    matcher: Matcher
    template: str
    methods: frozenset[str] = frozenset()
    resolved: Resolved | Mapping[str, Resolved] | None = None
    prefixes: PrefixTable | None = None

    def resolve(self, request: Request, child_scope: Mapping[str, Any]) -> Resolved | Unresolved:
        """
        The answer for a scope that matches in full.
        """
        if not isinstance(self.resolved, Resolved):
            by_method = self.resolved or {}
            no_handler = Unresolved(405, tuple(by_method), is_routers=True)
            return by_method.get(request.scope["method"]) or no_handler
        found = self.resolved
        root_path = child_scope.get("root_path", request.scope.get("root_path", ""))
        if self.prefixes is not None:
            by_prefix = self.prefixes.find(request.path, request.raw_path, is_certain=not found.is_mount)
            is_clear = not found.is_mount or is_root_path_clear(request.scope, root_path)
            if by_prefix is None or not is_clear:
                return NOT_FOUND
            found = replace(found, declaration=by_prefix.declaration)
        return replace(found, root_path=root_path) if found.is_mount else found


@dataclass(frozen=True, slots=True)
class Branch:
    """
    A mount or host whose routes are visible: once it matches, only they count.
    """

    matcher: Matcher
    level: "Level"
    root_path: str = ""  # what a mounted FastAPI(root_path=...) puts in place of the scope's


@dataclass(frozen=True, slots=True)
class Level:
    """
    The routes of one router, in its order.

    Attributes:
        nodes: The routes.
        index: Which of them to ask.
        redirects_slashes: Whether the router answers a toggled slash with a redirect.
    """

    nodes: tuple[Leaf | Branch, ...]
    index: PathIndex
    redirects_slashes: bool = True

    def find(self, request: Request) -> Resolved | Unresolved:
        """
        What this router would do with *request*.
        """
        found = self._match(request)
        if found is not None:
            return found
        is_http = request.scope["type"] == "http"
        if not self.redirects_slashes or not is_http or route_path_of(request.scope) == "/":
            return NOT_FOUND
        # Starlette redirects to whatever matches at all, the wrong method included.
        return NOT_FOUND if self._match(request.toggled()) in (None, NOT_FOUND) else REDIRECT

    def _match(self, request: Request) -> Resolved | Unresolved | None:
        """
        The first full match, else 405 if the path is known, else None. A mount that matches has the last say.
        """
        allow: list[str] = []
        for position in self.index.candidates(route_path_of(request.scope)):
            node = self.nodes[position]
            match, child_scope = node.matcher.matches(request.scope)
            if match is Match.NONE:
                continue
            if isinstance(node, Branch):
                return node.level.find(request.entered(child_scope, node.root_path))
            if match is Match.FULL:
                return node.resolve(request, child_scope)
            allow += sorted(node.methods)
        return Unresolved(405, tuple(dict.fromkeys(allow)), is_routers=True) if allow else None


@dataclass(frozen=True, slots=True)
class RouteRow:
    """
    One line of the table, for people.

    Attributes:
        methods: The methods, or WEBSOCKET, or MOUNT.
        template: The path template; empty for what has none.
        endpoint: The endpoint's name.
        declaration: What was declared, or None.
        is_own: Whether the endpoint declared it itself, rather than a setting.
    """

    methods: str
    template: str
    endpoint: str
    declaration: Declaration | None
    is_own: bool = False

    def __str__(self) -> str:
        """
        As undeclared routes are listed.
        """
        return f"{self.methods} {self.template} -> {self.endpoint}" if self.template else self.endpoint


@dataclass(frozen=True, slots=True)
class Known:
    """
    What there is behind the router, to tell one endpoint's answer from another's.

    Attributes:
        endpoints: The identities of all endpoints.
        mounts: The paths of all mounted applications, but for those at the root.
    """

    endpoints: frozenset[int] = frozenset()
    mounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteTable:
    """
    Every route of an application, compiled once; immutable.

    Attributes:
        level: The routes of the outermost router, or None around an application that has none we know.
        prefixes: What ``prefixes=`` declares.
        rows: The routes, for people.
        known: All endpoints and mounts there are.
        root_path: What the application itself puts in place of the scope's root path.
    """

    level: Level | None
    prefixes: PrefixTable
    rows: tuple[RouteRow, ...] = field(default=(), repr=False)
    known: Known = field(default=Known(), repr=False)
    root_path: str = ""

    def find(self, scope: Scope) -> Resolved | Unresolved:
        """
        Which endpoint will run for *scope* (type ``http`` or ``websocket``), and what it declared.

        Does not change *scope*.
        """
        if self.root_path:
            scope = entered(scope, {}, self.root_path)
        root_path: str = scope.get("root_path", "")
        path = route_path_of(scope) if root_path else scope["path"]
        if self.level is None:
            is_clear = not root_path or is_root_path_clear(scope, root_path)
            by_prefix = self.prefixes.find(path, scope.get("raw_path") or b"") if is_clear else None
            return NOT_FOUND if by_prefix is None else by_prefix
        try:
            return self.level.find(Request(scope, path))
        except ValueError:
            # A path convertor refused its text (int() does, over 4,300 digits): the router would fail on it.
            return NOT_FOUND

    def declarations(self) -> Iterable[Declaration]:
        """
        Every declaration in force, once.
        """
        on_routes = (row.declaration for row in self.rows if row.declaration is not None)
        return dict.fromkeys((*on_routes, *self.prefixes.declarations.values()))
