"""
The table on a terminal.
"""

import pytest

from guardrail.cli._table import print_table


def test_columns_are_as_wide_as_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A column is as wide as its widest cell, heading included; no line ends in spaces.
    """
    print_table(("a", "heading", "last"), [("long cell", "b", "x"), ("c", "d", "")])

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a          heading  last"
    assert lines[1] == f"---------  -------  {'-' * 64}"
    assert lines[2] == "long cell  b        x"
    assert lines[3] == "c          d"


def test_the_last_column_wraps_under_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A long last cell goes on in the next line, in its own column.
    """
    print_table(("a", "b"), [("x", "word " * 20)])

    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == f"x  {' '.join(['word'] * 13)}"
    assert lines[3] == f"   {' '.join(['word'] * 7)}"


def test_a_table_without_rows_is_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nothing to show is no error.
    """
    print_table(("a", "b"), [])

    assert capsys.readouterr().out.splitlines()[0] == "a  b"
