"""
Parsed JSON that nobody can change.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ._shapes import is_array, is_object

__all__ = ["FrozenClaims", "freeze"]


def freeze(value: object) -> Any:
    """
    A parsed JSON value made read-only in depth: objects to read-only mappings, arrays to tuples.
    """
    if is_object(value):
        return MappingProxyType({name: freeze(member) for name, member in value.items()})
    if is_array(value):
        return tuple(freeze(element) for element in value)
    return value


class FrozenClaims(Mapping[str, Any]):
    """
    A claims set, read-only in depth. A claim is frozen when somebody looks at it, which for most nobody does.

    Takes over the claims set that it is given: whoever made that changes nothing in it afterwards.
    """

    __slots__ = ("_claims",)

    def __init__(self, claims: Mapping[str, Any]) -> None:
        self._claims = claims

    def __getitem__(self, name: str) -> Any:
        return freeze(self._claims[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._claims)

    def __len__(self) -> int:
        return len(self._claims)

    def __repr__(self) -> str:
        """
        The number of claims, and none of them.
        """
        return f"FrozenClaims({len(self)} claims)"
