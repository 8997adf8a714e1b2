"""
Every published attack of the groups that concern us is either tried here or listed with the reason it is not.
"""

import re
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent

# The entries of our list of attacks: group, and how many it has.
GROUPS: Final = {"A": 34, "B": 17, "C": 24, "E": 20, "F": 12, "H": 5}

NOT_OURS: Final = {
    "A30": "time-constant comparison of MACs: no symmetric algorithm is accepted, so no MAC is compared",
    "C21": "authorization_details (RFC 9396): no requirement can speak of them, and they decide nothing",
    "F10": "DNS rebinding: Host and Origin are the server's and the proxy's to check (SECURITY.md)",
}


def entries() -> set[str]:
    """
    The identifiers of all entries.
    """
    return {f"{group}{number}" for group, count in GROUPS.items() for number in range(1, count + 1)}


def tried() -> set[str]:
    """
    The identifiers that the names of the tests begin with.
    """
    source = "\n".join(path.read_text("utf-8") for path in sorted(HERE.glob("test_group_*.py")))
    found: list[tuple[str, str]] = re.findall(r"^(?:async )?def test_([a-h])(\d\d)_", source, re.MULTILINE)
    return {f"{group.upper()}{int(number)}" for group, number in found}


def test_every_entry_is_tested_or_not_ours() -> None:
    """
    No entry is forgotten, and no test names one that there is not.
    """
    assert tried() | NOT_OURS.keys() == entries()


def test_no_entry_is_both_tested_and_not_ours() -> None:
    """
    The table of what is not ours has no entry that a test is there for.
    """
    assert tried() & NOT_OURS.keys() == set()
    assert all(NOT_OURS.values())


def test_a_test_is_in_the_file_of_its_group() -> None:
    """
    Whoever looks for an entry finds it in the file of its group.
    """
    for path in HERE.glob("test_group_*.py"):
        group = path.stem.removeprefix("test_group_")[0]
        named = re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
        assert named
        assert [one for one in named if not re.match(rf"test_{group}\d\d_", one)] == []
