"""
How long an answer says it may be used (RFC 9111 §4.2), of which we take the one part that key sets use.
"""

import re
from typing import Final

__all__ = ["max_age_of"]

# RFC 9111 §5.2: a directive's argument may be a token or a quoted string.
# Possessive: nothing is tried twice, however the field was made.
_DIRECTIVE: Final = re.compile(
    r'\s*+([!#$%&\'*+.^_`|~0-9A-Za-z-]++)\s*+(?:=\s*+("(?:[^"\\]|\\.)*+"|[^\s,"]*+))?\s*+(?:,|$)'
)
_SECONDS: Final = re.compile(r"[0-9]+", re.ASCII)
_MAX_FIELD: Final = 512  # characters read of a field


def max_age_of(cache_control: str, age: str) -> float | None:
    """
    The seconds an answer is fresh for from now on, or None if it does not say.

    A cache on the way used up its *Age* (RFC 9111 §5.1). What must not be kept, or says it in a way we cannot
    read, is fresh for no time at all (RFC 9111 §4.2.1).

    Args:
        cache_control: The ``Cache-Control`` field; empty when there is none.
        age: The ``Age`` field; empty when there is none.
    """
    found = _DIRECTIVE.findall(cache_control[:_MAX_FIELD])
    # RFC 9111 §4.2.1: of a directive that is there twice, the first counts.
    directives = {name.lower(): value.strip('"') for name, value in reversed(found)}
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    if "max-age" not in directives:
        return None
    if not _SECONDS.fullmatch(directives["max-age"]):
        return 0.0
    first_age = age[:_MAX_FIELD].partition(",")[0].strip()
    spent = float(first_age) if _SECONDS.fullmatch(first_age) else 0.0
    return max(0.0, float(directives["max-age"]) - spent)
