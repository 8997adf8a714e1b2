"""
What sections are made of: a heading, a table of cells, and badges, whose words say it without their colour.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from ._markup import Markup, fill, joined
from ._words import duration

__all__ = ["Section", "ago", "badge", "clock_time", "contents", "section"]


# Roles said, because a style that makes cards of rows may take the table's own away.
_TABLE: Final = (
    '<table role="table" aria-labelledby="{}"><thead role="rowgroup"><tr role="row">{}</tr></thead>'
    '<tbody role="rowgroup">{}</tbody></table>'
)


class Section(NamedTuple):
    """
    A part of the page, and where it is on it.
    """

    name: str
    title: str
    content: Markup


def contents(sections: Iterable[Section]) -> Markup:
    """
    Links to *sections*.
    """
    links = joined(fill('<li><a href="#{}">{}</a></li>', one.name, one.title) for one in sections)
    return fill('<nav aria-label="On this page"><ul>{}</ul></nav>', links)


def section(
    report: Mapping[str, Any],
    name: str,
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    empty: str = "Nothing yet.",
) -> Section:
    """
    A heading and a table; on a narrow screen the style makes a card of each row, labelled by *heads*.
    """
    head = joined(fill('<th scope="col" role="columnheader">{}</th>', one) for one in heads)
    body = joined(fill('<tr role="row">{}</tr>', joined(map(_cell, heads, row))) for row in rows)
    table = fill(_TABLE, name, head, body) if rows else fill("<p>{}</p>", empty)
    left_out = report["forgotten"].get(name, 0)
    note = fill("<p>Left out, as seen longest ago: {}.</p>", f"{left_out:,}") if left_out else ""
    made = fill('<section><h2 id="{}">{}</h2>{}{}</section>', name, title, table, note)
    return Section(name, title, made)


def _cell(head: str, value: object) -> Markup:
    return fill('<td role="cell" data-label="{}"><div>{}</div></td>', head, value)


def badge(kind: str, text: str) -> Markup:
    """
    A word that stands out: *kind* is ``good``, ``warning`` or ``bad``.
    """
    return fill('<span class="badge {}">{}</span>', kind, text)


def clock_time(seconds: float) -> Markup:
    """
    When something was, as a log has it.
    """
    when = datetime.fromtimestamp(seconds, UTC)
    return fill(
        '<small class="when"><time datetime="{}">{}</time></small>', f"{when:%FT%TZ}", f"{when:%T} UTC"
    )


def ago(one: Mapping[str, Any]) -> Markup:
    """
    How long ago something was last.
    """
    return fill('<span class="when">{} ago</span>', duration(one["seconds_ago"]))
