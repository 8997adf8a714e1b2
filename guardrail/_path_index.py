"""
Which of a router's routes can match a path at all, by the literal segments their templates begin with.

Asking every route is what makes routing slow. The index only says whom *not* to ask: the framework's own
matcher decides on the rest, in the router's order. A route whose matcher we do not know is always asked.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute, compile_path

__all__ = ["PathIndex", "template_of"]

_FRAMEWORKS: Final = frozenset({"starlette", "fastapi"})


@dataclass(slots=True)
class _Node:
    children: dict[str, "_Node"] = field(default_factory=dict[str, "_Node"])
    below: tuple[int, ...] = ()  # those that match here and, perhaps, further down; of the nodes above, too
    here: tuple[int, ...] = ()  # and those that match exactly here


class PathIndex:
    """
    Positions of routes, by path. Immutable once made.
    """

    def __init__(self, templates: Iterable[str | None]) -> None:
        """
        Args:
            templates: For each route in order, what `template_of` says of it.
        """
        self._root = _Node()
        keys = [_literal_segments(template) for template in templates]
        for position, (segments, is_whole) in enumerate(keys):
            self._add(position, segments, is_whole=is_whole)
        _inherit(self._root, ())
        self._all = tuple(range(len(keys)))

    def _add(self, position: int, segments: list[str], *, is_whole: bool) -> None:
        node = self._root
        for segment in segments:
            node = node.children.setdefault(segment, _Node())
        if is_whole:
            node.here += (position,)
        else:
            node.below += (position,)

    def candidates(self, path: str) -> tuple[int, ...]:
        """
        The positions of all routes that can match *path*, in order, and perhaps some more.
        """
        # "$" of the frameworks' patterns matches before a last line feed, where no segment ends.
        if path[:1] != "/" or path[-1] == "\n":
            return self._all
        node = self._root
        for segment in path[1:].split("/"):
            child = node.children.get(segment)
            if child is None:
                return node.below
            node = child
        return node.here


def _literal_segments(template: str | None) -> tuple[list[str], bool]:
    """
    The whole segments that a template begins with, and whether they are all of it.
    """
    literal, brace, _ = (template or "{").partition("{")
    segments = literal.split("/")[1:]
    # "/file{name}" may match "/files": the segment a parameter begins in does not count.
    return (segments[:-1], False) if brace else (segments, True)


def _inherit(node: _Node, above: tuple[int, ...]) -> None:
    node.below = tuple(sorted(above + node.below))
    node.here = tuple(sorted(node.below + node.here))
    for child in node.children.values():
        _inherit(child, node.below)


def template_of(matcher: Any, route: BaseRoute) -> str | None:
    """
    The template by which *matcher* matches, or None where that cannot be told.

    Args:
        matcher: What is asked: the route, or what FastAPI makes of an included one.
        route: What it is.
    """
    if type(route).matches.__module__.partition(".")[0] not in _FRAMEWORKS:
        return None
    if not isinstance(route, Route | WebSocketRoute | Mount):
        return None
    template = f"{matcher.path}/{{path:path}}" if isinstance(route, Mount) else str(matcher.path)
    is_its_own = compile_path(template)[0] == getattr(matcher, "path_regex", None)
    return template if is_its_own else None
