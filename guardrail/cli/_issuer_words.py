"""
An issuer's mapping and its client registrations, in words of the command line.

A value that begins with ``[`` is JSON: a path of member names, or names that have spaces in them.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from .. import ClientRegistration
from ._errors import UsageError

__all__ = ["parse_mapping", "parse_registration"]

_LISTS: Final = ("access_groups", "roles", "scopes")
_KEYS: Final = ("operator_id", *_LISTS, "enabled")
_FLAGS: Final = {"yes": True, "no": False}
_PATH_EXAMPLE: Final = """--mapping 'roles=["realm_access", "roles"]'"""


def parse_mapping(pairs: Sequence[str]) -> dict[str, Any]:
    """
    Make an ``Issuer(mapping=)`` of ``FIELD=CLAIM`` words. Whether there is such a field, `Issuer` says.

    Raises:
        UsageError: A word is not a field and a claim, a field stands twice, or a path is not JSON.
    """
    mapping: dict[str, Any] = {}
    for pair in pairs:
        field, separator, claim = pair.partition("=")
        if not separator:
            # Not repeated, and so below: what stands in the wrong place may be the token.
            raise UsageError(f"write --mapping FIELD=CLAIM, or a path in JSON: {_PATH_EXAMPLE}")
        if field in mapping:
            raise UsageError(f'mapping has {field} twice: write one, such as {field}=[["first"], ["second"]]')
        mapping[field] = _json(claim) if claim.startswith("[") else claim
    return mapping


def parse_registration(words: Sequence[str]) -> ClientRegistration:
    """
    Make a client registration of ``ID KEY=VALUE …``; the ID alone is a client that may call.

    Raises:
        UsageError: The ID is missing, or a word is not a known key, once, and a value.
        PolicyError: A value is not acceptable.
    """
    client_id, *pairs = words
    if client_id.partition("=")[0] in _KEYS:
        raise UsageError(f"{client_id!r} is no client ID: write --client ID KEY=VALUE, the ID first")
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, value = _argument(pair)
        if key in arguments:
            raise UsageError(f'client {client_id} has {key} twice: write one, such as {key}="first second"')
        arguments[key] = value
    return ClientRegistration(client_id, **arguments)


def _argument(pair: str) -> tuple[str, object]:
    key, separator, text = pair.partition("=")
    if key not in _KEYS or not separator:
        raise UsageError(
            'after --client ID write KEY=VALUE, several values as KEY="first second"; '
            f"keys: {', '.join(_KEYS)}. The file stands before --client"
        )
    if key in _LISTS:
        return key, _json(text) if text.startswith("[") else text.split()
    return key, _flag(text) if key == "enabled" else text


def _flag(text: str) -> bool:
    if text not in _FLAGS:
        raise UsageError(f"enabled must be yes or no, such as enabled=no; got {text!r}")
    return _FLAGS[text]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise UsageError(f"{text!r} begins with [ and is not JSON, such as {_PATH_EXAMPLE}: {exc}") from exc
