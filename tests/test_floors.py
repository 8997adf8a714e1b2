"""
`tests/floors.txt` pins what `pyproject.toml` promises.
"""

import itertools
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_oldest_versions_are_the_floors() -> None:
    """
    Each floor of a dependency, and of a framework, is the version that the oldest environment has.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = (project["optional-dependencies"][name] for name in ("fastapi", "mcp", "fastmcp"))
    required = "\n".join([*project["dependencies"], *itertools.chain(*extras)])
    pinned = (ROOT / "tests" / "floors.txt").read_text("utf-8")

    floors = dict(re.findall(r"^([a-z]+)>=([0-9.]+?)(?:\.0)?(?:,|$)", required, re.MULTILINE))

    assert dict(re.findall(r"^([a-z]+)==([0-9.]+?)(?:\.0)?$", pinned, re.MULTILINE)) == floors
    assert len(floors) == 8
