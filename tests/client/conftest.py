"""
Servers on loopback that are shared by the tests of a module.
"""

from collections.abc import Iterator

import pytest

from .loopback import Party, serving


@pytest.fixture(scope="module")
def listening_party() -> Iterator[Party]:
    """
    A party that listens for as long as the module runs.
    """
    with serving() as party:
        yield party


@pytest.fixture
def party(listening_party: Party) -> Party:
    """
    That party without memories.
    """
    listening_party.reset()
    return listening_party
