"""
``Issuer(mapping=)``: where an issuer keeps single fields, as users write it → paths, checked.
"""

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ._profiles import FIELDS
from ._shapes import is_object, is_sequence, is_strings
from .errors import PolicyError

__all__ = ["ClaimPaths", "Path", "field_paths"]

Path = tuple[str, ...]
ClaimPaths = str | Sequence[str] | Sequence[Sequence[str]]

_EXAMPLE: Final = 'such as mapping={"roles": ["realm_access", "roles"]}'
_FORMS: Final = (
    'a member name ("roles"), a path of member names (["realm_access", "roles"]) '
    'or a list of such paths ([["azp"], ["appid"]])'
)


def field_paths(value: object) -> Mapping[str, tuple[Path, ...]] | None:
    """
    The paths of each field that *value* maps, read-only in depth; None if it maps none.

    Dots never split a name: names of claims contain them.

    Raises:
        PolicyError: Another field, or a value of another form; the message names the right one.
    """
    if value is None:
        return None
    if not is_object(value):
        raise PolicyError(f"mapping must map fields to claims, {_EXAMPLE}; got {type(value)}")
    found = {_field(field): _paths(paths, field=field) for field, paths in value.items()}
    return MappingProxyType(found) if found else None


def _field(name: object) -> str:
    if isinstance(name, str) and name in FIELDS:
        return name
    close = difflib.get_close_matches(str(name), FIELDS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(FIELDS)}"
    raise PolicyError(f"mapping has no field {name!r}; {hint}")


def _paths(value: object, *, field: str) -> tuple[Path, ...]:
    """
    There are three forms, told apart by their outermost elements: a name, names, paths.
    """
    if isinstance(value, str):
        several: Sequence[object] = ((value,),)
    elif is_sequence(value) and is_strings(value):
        several = (value,)
    else:
        several = value if is_sequence(value) else ()
    paths = tuple(tuple(path) for path in several if is_strings(path) and path and "" not in path)
    if not paths or len(paths) < len(several):
        raise PolicyError(f"mapping of {field!r} must be {_FORMS}; got {value!r}")
    return paths
