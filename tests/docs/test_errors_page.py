"""
The error catalogue says what the code says.
"""

import runpy
from pathlib import Path

import pytest

from guardrail._catalogue import CATALOGUE, STEPS
from guardrail.errors import CODES

GENERATOR = runpy.run_path(str(Path(__file__).with_name("errors_page.py")))


def test_the_page_is_not_stale() -> None:
    """
    ``python tests/docs/errors_page.py`` would change nothing.
    """
    assert GENERATOR["PAGE"].read_text("utf-8") == GENERATOR["page"]()


def test_every_code_is_explained_and_no_other() -> None:
    """
    The catalogue has the codes of the closed list.
    """
    assert set(CATALOGUE) == CODES
    assert list(CATALOGUE) == sorted(CATALOGUE)


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_entry_says_where_why_and_what_to_do(code: str) -> None:
    """
    Each entry has a step of the road, a status, and two sentences.
    """
    entry = CATALOGUE[code]

    assert entry.step in STEPS
    assert entry.status in {400, 401, 403, 503}
    assert entry.cause.endswith(".")
    assert entry.fix.endswith(".")
    assert entry.cause != entry.fix
