"""
The wheel: what is installed from it, and that the demo runs from it alone.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .commands import CHECKOUT

pytestmark = pytest.mark.slow

NO_BACKEND = ("No matching distribution found for hatchling", "Could not find a version that satisfies")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The wheel of this checkout.
    """
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), "."]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=240)
    if done.returncode and any(message in done.stderr for message in NO_BACKEND):
        pytest.skip("no wheel: hatchling is neither installed nor to be had from an index")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_what_is_no_module(wheel: Path) -> None:
    """
    The example, the profiles and the typing marker are installed too, each once.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        example = archive.read("guardrail/cli/orders_api.py")

    profiles = {
        f"guardrail/profiles/{file.name}" for file in (CHECKOUT / "guardrail" / "profiles").glob("*.toml")
    }
    assert profiles
    assert profiles <= set(names)
    assert {"guardrail/py.typed", "guardrail/status/page.css", "guardrail/status/page.js"} <= set(names)
    assert len(names) == len(set(names))
    assert example == (CHECKOUT / "examples" / "orders_api.py").read_bytes()


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """
    No tests, no examples beside the package, no caches.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert {name.split("/")[0].partition("-")[0] for name in names} == {"guardrail", "asgi_guardrail"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_demo_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """
    Unpacked far from the checkout, ``guardrail demo`` finds its example and ends well.
    """
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from guardrail import cli; print(cli.__file__)"
    )

    done = subprocess.run(
        [sys.executable, "-c", f"{script}; sys.exit(cli.main(['demo']))"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(tmp_path))
    assert "13 of 13 answers as expected." in done.stdout
