"""
The value of one claim → the value of one field: one way to read each, and a refusal for any other shape.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ._shapes import is_array, is_object, is_string_array, is_strings
from .errors import ClaimError

__all__ = ["Claims", "malformed", "missing", "read_names", "read_ordered_names", "read_scopes", "read_text"]

Claims = Mapping[str, Any]


def read_text(value: object, claim: str) -> str:
    """
    A string that is not empty.

    Raises:
        ClaimError: Anything else.
    """
    if isinstance(value, str) and value:
        return value
    raise malformed(claim, value)


def read_scopes(value: object, claim: str) -> frozenset[str]:
    """
    A space-separated string (RFC 6749 §3.3) or an array of strings; only the space separates.

    Raises:
        ClaimError: Anything else.
    """
    if isinstance(value, str):
        scopes = value.split(" ")
        return frozenset(filter(None, scopes)) if "" in scopes else frozenset(scopes)
    if is_string_array(value):
        return frozenset(value)
    raise malformed(claim, value)


def read_names(value: object, claim: str) -> frozenset[str]:
    """
    An array of strings, or of objects with a string ``value`` (RFC 7643 §2.4); a lone string is one element.

    Raises:
        ClaimError: Anything else.
    """
    return frozenset(value if is_string_array(value) else _elements(value, claim))


def read_ordered_names(value: object, claim: str) -> tuple[str, ...]:
    """
    As `read_names`, in the order given and without repetition.

    Raises:
        ClaimError: As there.
    """
    return tuple(dict.fromkeys(_elements(value, claim)))


def malformed(claim: str, value: object) -> ClaimError:
    """
    The refusal of a claim that has the wrong shape.
    """
    return ClaimError(f'"{claim}" has the wrong shape', claim=claim, reason="invalid", actual=value)


def missing(claim: str) -> ClaimError:
    """
    The refusal of a token without a claim that it must have.
    """
    return ClaimError(f'missing required "{claim}" claim', claim=claim, reason="missing")


def _elements(value: object, claim: str) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    if not is_array(value):
        raise malformed(claim, value)
    elements = [one.get("value") if is_object(one) else one for one in value]
    if not is_strings(elements):
        raise malformed(claim, value)
    return elements
