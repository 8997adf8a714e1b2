"""
Names of scopes, and what includes what: checked when they are written.
"""

import difflib
from collections.abc import Mapping
from typing import Final

from ._settings import names
from ._shapes import is_object
from .errors import PolicyError

# RFC 6749 §3.3 scope-token and RFC 6750 §3: what may stand in a challenge without escaping.
SCOPE_CHARACTERS: Final = frozenset(map(chr, [0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F)]))
QUOTABLE: Final = SCOPE_CHARACTERS | {" "}
SCOPES_EXAMPLE: Final = '["orders:read"]'


def vocabulary(value: object) -> dict[str, str]:
    """
    Scope names, or a mapping of names to descriptions, as a mapping; a description may be empty.

    Raises:
        PolicyError: Not several scope names.
    """
    found = names(value, what="scopes", example=SCOPES_EXAMPLE)
    for scope in found:
        require_scope_token(scope)
    described: Mapping[str, object] = value if is_object(value) else {}
    return {scope: str(described.get(scope, "")) for scope in found}


def require_scope_token(scope: str) -> None:
    """
    Refuse what is not one scope name (RFC 6749 §3.3): it could neither be granted nor stand in a challenge.

    Raises:
        PolicyError: It has a space, a quote, a backslash, or is not visible ASCII.
    """
    if not SCOPE_CHARACTERS.issuperset(scope):
        raise PolicyError(
            f"{scope!r} is not one scope: no spaces, quotes or backslashes (RFC 6749 §3.3); "
            'write requires("orders:read", "orders:write")'
        )


def require_known(scope: str, known: Mapping[str, str], *, package: str) -> None:
    """
    Refuse a scope outside a vocabulary, with the nearest one in it; an empty vocabulary has them all.

    Raises:
        PolicyError: It is not in it.
    """
    if not known or scope in known:
        return
    close = difflib.get_close_matches(scope, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    raise PolicyError(f"{scope!r} is not a scope of service package {package!r}; {hint}")


def quotable(values: tuple[str, ...]) -> tuple[str, ...]:
    """
    *values*, each fit to stand in a space-separated challenge parameter.

    Raises:
        PolicyError: One is not.
    """
    for value in values:
        require_scope_token(value)
    return values


def reachable(scope: str, direct: Mapping[str, tuple[str, ...]]) -> set[str]:
    """
    Everything that *scope* implies, over any number of steps; circles end.
    """
    found: set[str] = set()
    ahead = list(direct.get(scope, ()))
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead.extend(direct.get(one, ()))
    return found
