"""
What a request costs is held to a budget: of bytecode instructions and calls, which no busy machine changes.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

BENCHMARKS: Final = Path(__file__).parents[1] / "benchmarks"
COUNT: Final = "import json, bench_work; print(json.dumps(bench_work.measure()))"

# Instructions and calls of one request with Python 3.11. Whoever spends less lowers them.
BUDGET: Final = {
    "a token never seen": (2142, 178),
    "the same token again": (703, 54),
    "a malformed token": (823, 68),
}
# What may be added unnoticed; other versions of Python have other instructions for the same.
TOLERANCE: Final = 1.05 if sys.version_info[:2] == (3, 11) else 1.5


@pytest.fixture(scope="module")
def work() -> dict[str, list[float]]:
    """
    What was counted, in an interpreter of its own: nothing else that traces is in it.
    """
    command = [sys.executable, "-c", COUNT]
    ran = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True, timeout=60)
    counted: dict[str, list[float]] = json.loads(ran.stdout)
    return counted


@pytest.mark.parametrize("request_of", BUDGET)
def test_a_request_stays_within_its_budget(work: dict[str, list[float]], request_of: str) -> None:
    """
    Neither a token seen before, nor a new one, nor a malformed one costs much more than it did.
    """
    counted = dict(zip(("instructions", "calls"), work[request_of], strict=True))
    budget = dict(zip(("instructions", "calls"), BUDGET[request_of], strict=True))

    over = {name: count for name, count in counted.items() if count > budget[name] * TOLERANCE}

    assert not over, f"more than {budget}"


def test_a_token_seen_before_costs_a_fraction(work: dict[str, list[float]]) -> None:
    """
    What is remembered is not done again.
    """
    assert work["the same token again"][0] < work["a token never seen"][0] / 2
