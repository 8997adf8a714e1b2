"""
The pytest plugin: there by its entry point, and gone when it is told to.
"""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from guardrail.testing import FakeIssuer, pytest_plugin

TEST_FILE = """
import pytest

@pytest.mark.parametrize("round", [1, 2])
def test_fake(fake_issuer, round):
    assert fake_issuer.request_count == 0
    fake_issuer.requests.append("seen")
    assert fake_issuer.token(scope="orders:read").count(".") == 2
"""


def _pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    (folder / "test_fake.py").write_text(TEST_FILE)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_entry_point_is_named_guardrail() -> None:
    """
    ``pytest11`` finds the plugin under the name that ``-p no:`` takes.
    """
    assert entry_points(group="pytest11")["guardrail"].load() is pytest_plugin


def test_the_fixture_is_there_without_an_import(tmp_path: Path) -> None:
    """
    In a project that only installed guardrail, each test gets a fresh issuer, and no warning.
    """
    status, output = _pytest(tmp_path)

    assert status == 0, output
    assert "2 passed" in output


def test_the_plugin_can_be_left_out(tmp_path: Path) -> None:
    """
    ``-p no:guardrail`` takes the fixture away.
    """
    status, output = _pytest(tmp_path, "-p", "no:guardrail")

    assert status == 1
    assert "fixture 'fake_issuer' not found" in output


def test_a_fixture_of_ones_own_goes_first(tmp_path: Path) -> None:
    """
    A project's own ``fake_issuer``, with another audience say, hides the plugin's.
    """
    (tmp_path / "conftest.py").write_text(
        "import pytest\nfrom guardrail.testing import FakeIssuer\n\n"
        "@pytest.fixture\ndef fake_issuer():\n    return FakeIssuer(audience='mine', algorithm='ES256')\n"
    )

    status, output = _pytest(tmp_path)

    assert status == 0, output


@pytest.mark.parametrize("_round", [1, 2])
def test_each_test_has_its_own(fake_issuer: FakeIssuer, _round: int) -> None:
    """
    Nothing of one test is left in the next one's issuer.
    """
    assert isinstance(fake_issuer, FakeIssuer)
    assert fake_issuer.request_count == 0
    fake_issuer.requests.append("seen")
