"""
What all tests share.
"""

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """
    Async tests run on asyncio, as the library does.
    """
    return "asyncio"


@contextmanager
def own_import_hooks() -> Iterator[None]:
    """
    What is imported inside changes nothing for later imports. FastMCP's import puts a hook of beartype's in
    front of all of them, and it would be in the tracebacks of tests that know nothing of FastMCP.
    """
    before = [*sys.path_hooks]
    try:
        yield
    finally:
        if sys.path_hooks != before:
            sys.path_hooks[:] = before
            sys.path_importer_cache.clear()  # has what the hooks made


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """
    Test modules are imported here.
    """
    with own_import_hooks():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """
    A test and its fixtures, whatever they import.
    """
    with own_import_hooks():
        return (yield)
