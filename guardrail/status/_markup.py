"""
HTML that is escaped by construction: what is filled into a template is text, unless it is markup already.
"""

from collections.abc import Iterable
from html import escape

__all__ = ["Markup", "fill", "joined"]


class Markup(str):
    """
    HTML of ours.
    """

    __slots__ = ()


def fill(template: str, *values: object) -> Markup:
    """
    *template*, which is ours, with each ``{}`` replaced by a value: escaped, in attributes too.
    """
    return Markup(template.format(*map(_escaped, values)))


def joined(parts: Iterable[object], between: str = "") -> Markup:
    """
    All of *parts*, escaped, with *between* between them, which is ours.
    """
    return Markup(between.join(map(_escaped, parts)))


def _escaped(value: object) -> str:
    return value if isinstance(value, Markup) else escape(str(value))
