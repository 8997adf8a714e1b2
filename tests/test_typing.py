"""
The annotations as a type checker sees them: one file it accepts, one whose every marked line it refuses.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TYPING = Path(__file__).parent / "typing"


def mypy(path: Path, cache: Path) -> str:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        str(cache),
        "--config-file=",
        str(path),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=TYPING.parents[1]).stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


def test_right_use_is_accepted(cache: Path) -> None:
    """
    Everything the README does type-checks in strict mode.
    """
    assert "Success: no issues found" in mypy(TYPING / "accepted.py", cache)


def test_wrong_use_is_refused(cache: Path) -> None:
    """
    Every marked line is an error, and no other line is.
    """
    lines = (TYPING / "refused.py").read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}

    refused = {
        int(number) for number in re.findall(r"refused\.py:(\d+): error", mypy(TYPING / "refused.py", cache))
    }

    assert refused == marked
