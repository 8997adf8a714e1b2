"""
``prefixes=``: declarations by path prefix, for what cannot be decorated.

The one place where guardrail reads a path itself; so it reads only paths that every parser reads alike.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
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
# Segments that begin with a letter, a digit, "_" or "~", and have nothing that anybody could read twice.
_PLAIN: Final = re.compile(r"(?:/[A-Za-z0-9_~][A-Za-z0-9._~-]*+)*+/?")
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


class _Row(NamedTuple):
    """
    One prefix, and what startup can make of it.
    """

    prefix: str
    below: str  # what the paths under it begin with
    resolved: Resolved
    guarded_below: tuple[re.Pattern[str], ...]  # where it is public: longer ones that are not, in any case


@dataclass(frozen=True, slots=True)
class PrefixTable:
    """
    Declarations by path prefix, on segment boundaries; the longest one wins.
    """

    declarations: Mapping[str, Declaration]
    _rows: tuple[_Row, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        longest_first = sorted(self.declarations, key=len, reverse=True)
        object.__setattr__(self, "_rows", tuple(self._row(prefix) for prefix in longest_first))

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
        if b"%" in raw_path and _ESCAPED_SLASH.search(raw_path):
            return None
        is_plain = _PLAIN.fullmatch(path) is not None
        if not is_plain and _AMBIGUOUS.search(path):
            return None
        row = self._covering(path)
        if row is None:
            return None
        is_doubtful = not is_certain and (not is_plain or bool(row.guarded_below))
        return None if is_doubtful and self._is_guarded_otherwise(path, row) else row.resolved

    def _is_guarded_otherwise(self, path: str, row: _Row) -> bool:
        """
        Whether a parser that reads *path* again could serve what another declaration than *row*'s guards.
        """
        return any(_AMBIGUOUS.search(reading) or self._is_others(reading, row) for reading in _readings(path))

    def _is_others(self, reading: str, row: _Row) -> bool:
        other = self._covering(reading)
        is_others = other is not None and other is not row and not other.resolved.declaration.is_public
        return is_others or any(one.match(reading) for one in row.guarded_below)

    def covering(self, path: str) -> str | None:
        """
        The longest prefix that *path*, or a path template, is under.
        """
        row = self._covering(path)
        return None if row is None else row.prefix

    def _covering(self, path: str) -> _Row | None:
        for row in self._rows:
            if path.startswith(row.below) or path == row.prefix:
                return row
        return None

    def _row(self, prefix: str) -> _Row:
        declaration = self.declarations[prefix]
        guarded = [
            re.compile(rf"{re.escape(one)}(?:/|$)", re.IGNORECASE)
            for one, other in self.declarations.items()
            if declaration.is_public and not other.is_public and len(one) > len(prefix)
        ]
        return _Row(prefix, _below(prefix), Resolved(declaration, prefix), tuple(guarded))


def _readings(path: str) -> set[str]:
    """
    *path*, and how it reads unescaped once more, up to a query or fragment, or without path parameters.
    """
    readings = {path, unquote(path)}
    readings |= {re.split(r"[?#]", one, maxsplit=1)[0] for one in readings}
    return readings | {_PARAMETERS.sub("", one) for one in readings}


def is_under(path: str, prefix: str) -> bool:
    """
    Whether *path* is *prefix* or below it, on segment boundaries.
    """
    return path == prefix or path.startswith(_below(prefix))


def _below(prefix: str) -> str:
    return f"{prefix.rstrip('/')}/"


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
