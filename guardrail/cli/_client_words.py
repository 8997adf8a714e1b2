"""
A client of the embedded issuer in words of the command line: ``ID KEY=VALUE …``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from .._json import parse_json_object
from ..issuer import Client, new_secret
from ._errors import UsageError

_LISTS: Final = ("scopes", "audiences", "grant_types", "redirect_uris")
_NUMBERS: Final = ("token_lifetime", "refresh_token_lifetime")
_TEXTS: Final = ("operator", "access_group", "auth_method")
_PUBLIC: Final = {"true": True, "false": False}
_WITHOUT_SECRET: Final = ("none", "private_key_jwt")
_REQUIRED: Final = {
    "scopes": 'scopes="orders:read orders:write"',
    "audiences": "audiences=https://api.example.com",
}

KEYS: Final = (*_LISTS, *_NUMBERS, *_TEXTS, "public", "jwks")


def parse_client(words: Sequence[str]) -> Client:
    """
    Make a client of ``ID KEY=VALUE …``, with a generated secret if it needs one.

    It needs none with ``jwks=FILE``, and as a public client: ``public=true``, or ``auth_method=none``.

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
    is_public = arguments.pop("public", False)
    if is_public and "jwks" in arguments:
        raise UsageError(f"client {client_id} is public and has no jwks: remove it, or public=true")
    needs_none = is_public or "jwks" in arguments or arguments.get("auth_method") in _WITHOUT_SECRET
    return Client(client_id, client_secret=None if needs_none else new_secret(), **arguments)


def _read(pair: str) -> tuple[str, object]:
    name, separator, text = pair.partition("=")
    if name not in KEYS or not separator:
        raise UsageError(
            f'{pair!r}: write KEY=VALUE, several values as KEY="first second"; keys: {", ".join(KEYS)}'
        )
    return name, _value(name, text)


def _value(name: str, text: str) -> object:
    if name in _LISTS:
        return text.split()
    if name in _NUMBERS:
        return _seconds(name, text)
    if name == "public":
        return _truth(text)
    return _jwk_set(text) if name == "jwks" else text


def _seconds(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as exc:
        raise UsageError(f"{name} must be a number of seconds, such as {name}=600; got {text!r}") from exc


def _truth(text: str) -> bool:
    if text not in _PUBLIC:
        raise UsageError(f"public must be public=true or public=false; got {text!r}")
    return _PUBLIC[text]


def _jwk_set(file: str) -> object:
    """
    The public keys of a client, from a file: JSON is no word.
    """
    try:
        return parse_json_object(Path(file).read_bytes())
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}") from exc
    except ValueError as exc:
        raise UsageError(f"{file} is not a JWK Set in JSON") from exc
