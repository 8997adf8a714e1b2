"""
A client of the embedded issuer in words of the command line: ``ID KEY=VALUE …``.
"""

from collections.abc import Sequence
from typing import Any, Final

from ..issuer import Client, new_secret
from ._errors import UsageError

_LISTS: Final = ("scopes", "audiences", "grant_types", "redirect_uris")
_NUMBERS: Final = ("token_lifetime", "refresh_token_lifetime")
_TEXTS: Final = ("operator", "access_group")
_REQUIRED: Final = {
    "scopes": 'scopes="orders:read orders:write"',
    "audiences": "audiences=https://api.example.com",
}

KEYS: Final = (*_LISTS, *_NUMBERS, *_TEXTS)


def parse_client(words: Sequence[str]) -> Client:
    """
    Make a client of ``ID KEY=VALUE …``, with a generated secret.

    Raises:
        UsageError: The ID or a required key is missing, or a word is not a known key, once, and a value.
        ValueError: A value is not acceptable.
    """
    client_id, *pairs = words
    if client_id.partition("=")[0] in KEYS:
        raise UsageError(f"{client_id!r} is no client ID: write --client ID KEY=VALUE, the ID first")
    arguments: dict[str, Any] = {}
    for pair in pairs:
        name, value = _read(pair)
        if name in arguments:
            raise UsageError(f'client {client_id} has {name} twice: write one, such as {name}="first second"')
        arguments[name] = value
    missing = [example for name, example in _REQUIRED.items() if name not in arguments]
    if missing:
        raise UsageError(f"client {client_id} needs {' and '.join(missing)}")
    return Client(client_id, client_secret=new_secret(), **arguments)


def _read(pair: str) -> tuple[str, object]:
    name, separator, text = pair.partition("=")
    if name not in KEYS or not separator:
        raise UsageError(
            f'{pair!r}: write KEY=VALUE, several values as KEY="first second"; keys: {", ".join(KEYS)}'
        )
    if name in _LISTS:
        return name, text.split()
    return name, _seconds(name, text) if name in _NUMBERS else text


def _seconds(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as exc:
        raise UsageError(f"{name} must be a number of seconds, such as {name}=600; got {text!r}") from exc
