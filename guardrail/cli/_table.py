"""
A table on a terminal.
"""

import textwrap
from collections.abc import Sequence
from typing import Final

_LAST_COLUMN: Final = 64  # characters; longer cells of the last column go on in the next line


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """
    Print *rows* under *headings*, each column as wide as it needs; the last one wraps.
    """
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings) - 1)]
    _print_row(headings, widths)
    print("  ".join("-" * width for width in (*widths, _LAST_COLUMN)))
    for row in rows:
        _print_row(row, widths)


def _print_row(row: Sequence[str], widths: Sequence[int]) -> None:
    first, *rest = textwrap.wrap(row[-1], _LAST_COLUMN) or [""]
    start = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
    print(f"{start}  {first}".rstrip())
    for line in rest:
        print(" " * (sum(widths) + 2 * len(widths)) + line)
