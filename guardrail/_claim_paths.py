"""
A path of member names → what finds and reads the value there, made once and used for every token.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from ._claim_values import Claims
from ._profiles import ProfilePath

__all__ = ["ABSENT", "PathReader", "Read", "path_reader"]

ABSENT: Final[Any] = object()

Read = Callable[[Any, str], Any]
PathReader = Callable[[Claims], Any]  # the value that was read, or ABSENT; a value of the wrong shape refuses


def path_reader(paths: Iterable[ProfilePath], read: Read, *, audiences: Iterable[str]) -> PathReader:
    """
    What reads the value at the first of *paths* that is there, with *read*.

    A path that leads through a missing member, or through something that is not an object, leads nowhere:
    there is no value at it, so the next path is tried. *read* judges the value at the end.
    """
    readers = tuple(_reader(path, read, audiences) for path in paths)

    def first(claims: Claims) -> Any:
        for reader in readers:
            value = reader(claims)
            if value is not ABSENT:
                return value
        return ABSENT

    return readers[0] if len(readers) == 1 else first


def _reader(path: ProfilePath, read: Read, audiences: Iterable[str]) -> PathReader:
    names = tuple(one for one in path if one is not None)
    if len(names) < len(path):
        return _audience_reader(path, read, audiences)
    first, *inner = names
    return _nested_reader(names, read) if inner else _member_reader(first, read)


def _member_reader(name: str, read: Read) -> PathReader:
    def member(claims: Claims) -> Any:
        return read(claims[name], name) if name in claims else ABSENT

    return member


def _nested_reader(names: tuple[str, ...], read: Read) -> PathReader:
    def nested(claims: Claims) -> Any:
        value: Any = claims
        try:
            for name in names:
                value = value[name]
        except (KeyError, TypeError):  # no such member; or no object, and nothing else has members by name
            return ABSENT
        return read(value, names[0])

    return nested


def _audience_reader(path: ProfilePath, read: Read, audiences: Iterable[str]) -> PathReader:
    """
    What reads a set under each of the package's audiences that the token names, and unites them.
    """
    readers = [
        (audience, _nested_reader(tuple(audience if one is None else one for one in path), read))
        for audience in audiences
    ]

    def united(claims: Claims) -> Any:
        aud: Any = claims.get("aud")
        found = ABSENT
        for audience, reader in readers:
            is_named = audience in aud if isinstance(aud, list) else audience == aud
            if is_named and (value := reader(claims)) is not ABSENT:
                found = value if found is ABSENT else found | value
        return found

    return united
