"""
``prefixes=``: declarations by path prefix, for what cannot be decorated.

The one place where guardrail reads a path itself; so it reads only paths that every parser reads alike.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from ._alternatives import requirements_of
from ._declaration import Declaration, public
from ._shapes import is_object
from .errors import PolicyError

__all__ = ["PrefixTable", "Resolved", "compile_prefixes"]

# What a second parser behind us could read as another path than the one we compared: dot segments, empty
# segments, backslashes, control characters, and escapes that survived one decoding.
_AMBIGUOUS: Final = re.compile(r"/\.{0,2}/|/\.{1,2}(?:$|;)|\\|[\x00-\x1f\x7f]|%2[ef]|%5c", re.IGNORECASE)
_ESCAPED_SLASH: Final = re.compile(rb"%2f|%5c", re.IGNORECASE)
# A template, another parser's path, or one as it is sent: no path that is compared begins so.
_NEVER_IN_A_PREFIX: Final = re.compile(rf"{_AMBIGUOUS.pattern}|[{{?#]|%[0-9a-f]{{2}}", re.IGNORECASE)
_READ_AGAIN: Final = re.compile(r"[%?#;]")
_PARAMETERS: Final = re.compile(r";[^/]*")


@dataclass(frozen=True, slots=True)
class Resolved:
    """
    The endpoint that will run.

    Attributes:
        declaration: What it declared.
        route: Its path template, for events.
        endpoints: What ``scope["endpoint"]`` may be when it answers: itself, and the mounts it is under.
        is_mount: Whether it is a mounted application that may put endpoints of its own there.
        root_path: For such an application: the scope's root path behind the mount.
    """

    declaration: Declaration
    route: str
    endpoints: tuple[object, ...] = ()
    is_mount: bool = False
    root_path: str = ""


@dataclass(frozen=True, slots=True)
class PrefixTable:
    """
    Declarations by path prefix, on segment boundaries; the longest one wins.
    """

    declarations: Mapping[str, Declaration]

    def find(self, path: str, raw_path: bytes = b"", *, is_certain: bool = False) -> Resolved | None:
        """
        The declaration for a request path; None also for a path that two parsers could read differently.

        An application that routes by the undecoded path sees one segment where an escaped slash is. One that
        does not care for case sees /admin in /Admin: with a token less is at stake than without one, so only
        what is public has to keep away from there.

        Args:
            path: The path, decoded.
            raw_path: The path as it was sent.
            is_certain: Whether a router that we see into has chosen the endpoint already.
        """
        if _AMBIGUOUS.search(path) or _ESCAPED_SLASH.search(raw_path):
            return None
        prefix = self.covering(path)
        if prefix is None:
            return None
        if not is_certain and any(self._is_guarded_otherwise(one, prefix) for one in _readings(path)):
            return None
        return Resolved(self.declarations[prefix], prefix)

    def _is_guarded_otherwise(self, path: str, prefix: str) -> bool:
        """
        Whether a parser that reads *path* could serve what another declaration than that of *prefix* guards.
        """
        other = self.covering(path)
        is_others = other is not None and other != prefix and not self.declarations[other].is_public
        return is_others or bool(_AMBIGUOUS.search(path)) or self._is_guarded_in_another_case(path, prefix)

    def _is_guarded_in_another_case(self, path: str, prefix: str) -> bool:
        """
        Whether a public *path* is, but for its case, under a longer prefix that needs a token.
        """
        return self.declarations[prefix].is_public and any(
            len(one) > len(prefix) and not declaration.is_public and _in_any_case(one).match(path)
            for one, declaration in self.declarations.items()
        )

    def covering(self, path: str) -> str | None:
        """
        The longest prefix that *path*, or a path template, is under.
        """
        return max((one for one in self.declarations if is_under(path, one)), key=len, default=None)


@functools.lru_cache(maxsize=1024)
def _in_any_case(prefix: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(prefix)}(?:/|$)", re.IGNORECASE)


def _readings(path: str) -> set[str]:
    """
    *path*, and how it reads unescaped once more, up to a query or fragment, or without path parameters.
    """
    readings = {path}
    if _READ_AGAIN.search(path):
        readings |= {unquote(one) for one in readings}
        readings |= {re.split(r"[?#]", one, maxsplit=1)[0] for one in readings}
        readings |= {_PARAMETERS.sub("", one) for one in readings}
    return readings


def is_under(path: str, prefix: str) -> bool:
    """
    Whether *path* is *prefix* or below it, on segment boundaries.
    """
    return path == prefix or path.startswith(f"{prefix.rstrip('/')}/")


def compile_prefixes(prefixes: object) -> PrefixTable:
    """
    Check ``prefixes=`` and make it a table.

    Raises:
        PolicyError: A prefix that is no plain path, or a value that is neither a requirement nor `public`.
    """
    if prefixes is not None and not is_object(prefixes):
        raise PolicyError('prefixes must map paths, such as {"/mcp": orders.requires("orders:read")}')
    declarations: dict[str, Declaration] = {}
    for prefix, value in (prefixes or {}).items():
        is_path = isinstance(prefix, str) and prefix.startswith("/")
        if not is_path or (prefix != "/" and prefix.endswith("/")) or _NEVER_IN_A_PREFIX.search(prefix):
            raise PolicyError(
                'a prefix is a plain path without a trailing slash, such as "/mcp", as the server decodes it '
                f"(a space, not %20); got {prefix!r}"
            )
        requirement = value if requirements_of(value) else None
        if value is not public and requirement is None:
            raise PolicyError(
                f'prefixes: {prefix} needs a requirement, such as orders.requires("orders:read"), or public'
            )
        declarations[prefix] = Declaration(requirement, f"prefix {prefix}")
    return PrefixTable(declarations)
