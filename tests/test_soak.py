"""
The soak, in short, and that it would notice.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

import pytest

BENCHMARKS: Final = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from soak import OUTAGES, REMOVALS, ROTATIONS, Soak  # noqa: E402
from soak_world import LEEWAY, IssuerWorld, Token  # noqa: E402

CALLS: Final = 20_000


def test_every_answer_is_the_right_one() -> None:
    """
    Across rotations, removals, outages and garbage nobody is let in, or kept out, wrongly.
    """
    soak = Soak(CALLS, seed=7)

    asyncio.run(soak.run())

    table = soak.table()
    assert soak.tally.firsts == []
    assert soak.is_clean(), table
    assert (table["wrong accepts"], table["wrong refusals"], table["errors"]) == (0, 0, 0)
    assert (table["rotations"], table["keys withdrawn"], table["outages"]) == (ROTATIONS, REMOVALS, OUTAGES)
    assert table["calls"] == CALLS
    assert soak.tally.answers.keys() >= {200, 401, 403}


@pytest.mark.parametrize(
    ("claims_to_be", "counted"),
    [
        pytest.param(frozenset({401}), "wrong_accepts", id="everything is a forgery"),
        pytest.param(frozenset({200}), "wrong_refusals", id="everything is good"),
    ],
)
def test_a_wrong_answer_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch, claims_to_be: frozenset[int], counted: str
) -> None:
    """
    Held against another truth, the same answers are wrong, and said to be.
    """
    monkeypatch.setattr(IssuerWorld, "right_answers", lambda *_: claims_to_be)
    soak = Soak(1_000, seed=7)

    asyncio.run(soak.run())

    assert getattr(soak.tally, counted) > 0
    assert not soak.is_clean()
    assert len(soak.tally.firsts) == 5


def test_the_truth_knows_when_a_token_ends() -> None:
    """
    Good until its end and the leeway, and not at that moment.
    """
    world = Soak(CALLS, seed=7).world
    world.answer()  # somebody fetched its keys
    token = Token(b"", world.current.kid, world.now + 10.0)

    world.now += 10.0 + LEEWAY - 0.001
    before = world.right_answers(token)
    world.now += 0.001

    assert (before, world.right_answers(token)) == (frozenset({200}), frozenset({401}))
