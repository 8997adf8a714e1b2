"""
The path of a scope as a Starlette router reads it, level by level.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ._asgi import Scope

__all__ = ["Request", "entered", "is_root_path_clear", "route_path_of"]


class Request(NamedTuple):
    """
    One scope on its way down the levels, and the path that prefixes are compared with.
    """

    scope: Scope
    path: str

    @property
    def raw_path(self) -> bytes:
        """
        The path as it was sent, still escaped; empty where the server does not say.
        """
        return self.scope.get("raw_path") or b""

    def entered(self, child_scope: Mapping[str, Any], root_path: str) -> "Request":
        """
        The request as the routes behind a mount see it.
        """
        return Request(entered(self.scope, child_scope, root_path), self.path)

    def toggled(self) -> "Request":
        """
        The same with or without the slash at the end, as the router's redirect would have it.
        """
        path: str = self.scope["path"]
        if route_path_of(self.scope).endswith("/"):
            return Request({**self.scope, "path": path.rstrip("/")}, self.path.rstrip("/"))
        return Request({**self.scope, "path": path + "/"}, self.path + "/")


def route_path_of(scope: Scope) -> str:
    """
    The path as a Starlette router reads it: without the root path, if it begins with it.
    """
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if not root_path or not path.startswith(root_path):
        return path
    rest = path[len(root_path) :]
    return rest if not rest or rest[0] == "/" else path


def is_root_path_clear(scope: Scope, root_path: str) -> bool:
    """
    Whether any framework would take the same *root_path* off the path: it is at the beginning, on a segment
    boundary, or nowhere.

    Litestar takes it off at its first occurrence, and Quart in the middle of a segment.
    """
    path: str = scope["path"]
    if root_path in {"", "/"} or root_path not in path:
        return True
    return path.startswith(root_path) and path[len(root_path) :][:1] in {"", "/"}


def entered(scope: Scope, child_scope: Mapping[str, Any], root_path: str) -> Scope:
    """
    A copy of *scope* as the routes behind a mount see it.
    """
    entered = {**scope, **child_scope}
    if root_path:
        entered["root_path"] = root_path
    return entered
