"""
The page of requirements is true: it is current, complete, and names tests that exist.
"""

import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from .page import PAGE, ROOT, functions_of, read_holders, read_sections, render

SECTIONS, HOLDERS = read_sections(), read_holders()
REQUIREMENTS = [one for section in SECTIONS for one in section.requirements]
NUMBERS = [*range(1, 157), *range(202, 210), *range(219, 225), *range(231, 259)]


def test_the_page_is_current() -> None:
    """
    The page is what the data and the docstrings make of it.
    """
    assert PAGE.read_text("utf-8") == render(SECTIONS, HOLDERS), "run python -m tests.conformance.page"


def test_every_number_is_there_once() -> None:
    """
    No requirement is left out, and none is there twice.
    """
    assert [one.number for one in REQUIREMENTS] == NUMBERS


def test_every_requirement_is_held_or_says_why_not() -> None:
    """
    Each requirement has a test, or a reason why there is nothing to test.
    """
    held = set(chain.from_iterable(holder.numbers for holder in HOLDERS))

    open_ones = [
        f"R{one.number}"
        for one in REQUIREMENTS
        if one.number not in held and not one.held_by and not one.not_applicable
    ]

    assert open_ones == []


def test_every_test_names_requirements_that_exist() -> None:
    """
    A test of the suite names what it holds in its docstring, with the section: ``R7 (RFC 9110 §5.3): …``.
    """
    assert [holder.node_id for holder in HOLDERS if not holder.numbers] == []
    assert set(chain.from_iterable(holder.numbers for holder in HOLDERS)) <= set(NUMBERS)


def test_the_names_of_tests_say_the_same() -> None:
    """
    The numbers in a test's name are those of its docstring.
    """
    for holder in HOLDERS:
        name = holder.node_id.partition("::")[2]
        named = [part[1:] for part in name.split("_")[1:] if part[:1] == "r" and part[1:].isdigit()]
        assert [str(number) for number in sorted(holder.numbers)] == named, holder.node_id


def test_tests_elsewhere_exist() -> None:
    """
    A test that holds a requirement from outside the suite is there.
    """
    for node_id in chain.from_iterable(one.held_by for one in REQUIREMENTS):
        path, _, name = node_id.partition("::")
        assert name in {function.name for function in functions_of(ROOT / path)}, node_id


def test_no_test_is_there_twice() -> None:
    """
    Two tests of one name in one file would be one test.
    """
    assert [name for name, times in Counter(one.node_id for one in HOLDERS).items() if times > 1] == []


@pytest.mark.parametrize("command", [["-m", "tests.conformance.page"], ["-I", "tests/conformance/page.py"]])
def test_the_page_is_written_by_module_and_by_script(command: list[str], tmp_path: Path) -> None:
    """
    Both ways of running the generator write the same page, with nothing but the standard library.
    """
    path = tmp_path / "conformance.md"

    subprocess.run([sys.executable, *command, path], cwd=ROOT, check=True)

    assert path.read_text("utf-8") == render(SECTIONS, HOLDERS)


def test_a_row_is_a_row() -> None:
    """
    Nothing in the data breaks out of its cell.
    """
    rows = [line for line in render(SECTIONS, HOLDERS).splitlines() if line.startswith("| R")]

    assert len(rows) == len(NUMBERS)
    assert {row.count("|") for row in rows} == {6}
