"""
Pytest fixtures, loaded by the ``pytest11`` entry point ``guardrail``; ``-p no:guardrail`` leaves them out.
"""

import pytest

from . import FakeIssuer

__all__ = ["fake_issuer"]


@pytest.fixture
def fake_issuer() -> FakeIssuer:
    """
    A fresh `guardrail.testing.FakeIssuer` for one test.
    """
    return FakeIssuer()
