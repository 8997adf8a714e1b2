"""
What a value of unknown origin is: `isinstance`, with the element types a type checker then needs.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeGuard


def is_array(value: object) -> TypeGuard[list[object]]:
    """
    Whether *value* is a parsed JSON array.
    """
    return isinstance(value, list)


def is_object(value: object) -> TypeGuard[Mapping[str, object]]:
    """
    Whether *value* is a parsed JSON object, or another mapping in its place.
    """
    return isinstance(value, Mapping)


def is_iterable(value: object) -> TypeGuard[Iterable[object]]:
    """
    Whether *value* holds several values: an iterable, but not a bare string.
    """
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def is_strings(values: object) -> TypeGuard[Sequence[str]]:
    """
    Whether *values* is a list or tuple of strings and nothing else.
    """
    return is_sequence(values) and all(isinstance(one, str) for one in values)


def is_string_array(value: object) -> TypeGuard[list[str]]:
    """
    Whether *value* is a parsed JSON array of strings and nothing else; told quickly, for every token.
    """
    if not isinstance(value, list):
        return False
    # A generator would cost more than all the rest, and so would a cast.
    for one in value:  # noqa: SIM110 # pyright: ignore[reportUnknownVariableType]
        if not isinstance(one, str):
            return False
    return True


def is_sequence(value: object) -> TypeGuard[Sequence[object]]:
    """
    Whether *value* is a list or a tuple.
    """
    return isinstance(value, list | tuple)
