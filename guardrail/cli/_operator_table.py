"""
An operator on a terminal, field by field, with where each one comes from.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Final

from .._operator import Operator, TokenFacts
from .._shapes import is_iterable, is_sequence
from ._table import print_table

__all__ = ["print_operator"]

_LONGEST: Final = 1_000  # characters of a value; a list of all groups of a company is no help
_TIMES: Final = frozenset({"issued_at", "expires_at", "auth_time"})


def print_operator(operator: Operator, sources: Mapping[str, str]) -> None:
    """
    Print the fields of *operator* with their *sources*, by field.

    It shows values of claims: to whoever holds the token. It does not show the token, nor claims that no
    field was read from but by their names.
    """
    rows = [(field, sources[field], _cut(value)) for field, value in _values(operator)]
    print_table(("field", "from", "value"), rows)


def _values(operator: Operator) -> Iterator[tuple[str, str]]:
    """
    Each field and its value in printable ASCII: whatever a token says, it does not command the terminal.
    """
    for one in fields(Operator):
        value = getattr(operator, one.name)
        if isinstance(value, TokenFacts):
            yield from (
                (f"token.{fact.name}", _fact(fact.name, getattr(value, fact.name)))
                for fact in fields(TokenFacts)
            )
        elif one.repr:  # what is not ours alone
            yield one.name, _text(value)


def _fact(name: str, value: object) -> str:
    if name in _TIMES and isinstance(value, int | float):
        return f"{value} ({datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC)"
    return _text(value)


def _text(value: object) -> str:
    if is_iterable(value):
        texts = map(ascii, value)
        return ", ".join(texts if is_sequence(value) else sorted(texts)) or "none"
    return "none" if value is None else ascii(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ... ({len(text)} characters)"
