"""
Client registrations of the embedded issuer in a TOML file.
"""

import tomllib
from dataclasses import fields
from os import PathLike
from typing import Any, Final

from ._client_rules import NO_SECRET_METHODS
from ._clients import Client, new_secret

_KNOWN: Final = frozenset({field.name for field in fields(Client) if field.init} | {"public"})
_REQUIRED: Final = ("client_id", "scopes", "audiences")


def load_clients(path: str | PathLike[str]) -> tuple[Client, ...]:
    """
    Read the ``[[client]]`` tables of a TOML file; their keys are the arguments of ``Client``.

    A table without *client_secret* gets a generated one, which is then nowhere but in the returned value.
    One with *jwks* gets none, nor does a public client: ``public = true``, or ``auth_method = "none"``. Does
    not look for two clients of one name: that is ``EmbeddedIssuer``'s to refuse.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not such a TOML file, or a client is not well formed. The message names the
            file and the client, never a secret.
    """
    tables = _tables(path)
    return tuple(_client(table, where=f"{path}: client {n}") for n, table in enumerate(tables, start=1))


def _tables(path: str | PathLike[str]) -> list[dict[str, Any]]:
    """
    Read the file as far as the list of its ``[[client]]`` tables.
    """
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except ValueError as exc:
        raise ValueError(f"{path}: not a TOML file: {exc}") from exc
    _refuse_unknown(document, known=frozenset({"client"}), where=str(path))
    tables: list[dict[str, Any]] = document.get("client", [])
    if type(tables) is not list or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{path}: write each client as a [[client]] table")
    return tables


def _client(table: dict[str, Any], *, where: str) -> Client:
    """
    Make one client of one table.
    """
    _refuse_unknown(table, known=_KNOWN, where=where)
    for name in _REQUIRED:
        if name not in table:
            raise ValueError(f'{where}: missing required key "{name}"')
    arguments = {name: value for name, value in table.items() if name not in ("public", "client_secret")}
    try:
        return Client(client_secret=_secret(table), **arguments)
    except ValueError as exc:
        raise ValueError(f"{where}: {exc}") from exc


def _secret(table: dict[str, Any]) -> str | None:
    """
    Decide the secret of one table: its own, a generated one, or none for a client that needs none.
    """
    is_public = table.get("public", False)
    if type(is_public) is not bool:
        raise ValueError("public must be true or false")
    for name in ("client_secret", "jwks"):
        if is_public and name in table:
            raise ValueError(f"a public client has no {name}: remove it, or public = true")
    needs_none = is_public or "jwks" in table or table.get("auth_method") in NO_SECRET_METHODS
    secret: str | None = table.get("client_secret", None if needs_none else new_secret())
    return secret


def _refuse_unknown(table: dict[str, Any], *, known: frozenset[str], where: str) -> None:
    """
    Refuse a key that nothing would read: a misspelt limit must not become no limit.
    """
    unknown = sorted(set(table) - known)
    if unknown:
        raise ValueError(f'{where}: unknown key "{unknown[0]}"; known: {", ".join(sorted(known))}')
