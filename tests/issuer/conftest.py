"""
What all tests of the embedded issuer share: the event loop.
"""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
