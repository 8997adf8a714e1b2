"""
`guardrail.mcp` where the MCP SDK is not installed, too old, or alone.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest


@pytest.fixture
def fresh() -> Iterator[None]:
    """
    As if `guardrail.mcp` had never been imported.
    """
    kept = {name: module for name, module in sys.modules.items() if name.startswith("guardrail.mcp")}
    for name in kept:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.startswith("guardrail.mcp")]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.mark.usefixtures("fresh")
def test_a_missing_sdk_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The message says what to install.
    """
    monkeypatch.setitem(sys.modules, "mcp.server.auth.provider", None)

    with pytest.raises(ImportError, match=r"asgi-guardrail\[mcp\]"):
        importlib.import_module("guardrail.mcp")


@pytest.mark.usefixtures("fresh")
def test_an_old_sdk_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Before 2.0 a session's tools ran in the context of the request that opened it.
    """
    for name in ("mcp", "mcp.server", "mcp.server.auth"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    old = ModuleType("mcp.server.auth.provider")
    monkeypatch.setattr(old, "AccessToken", object, raising=False)
    monkeypatch.setitem(sys.modules, old.__name__, old)

    with pytest.raises(ImportError, match=r"2\.3 or newer: pip install 'asgi-guardrail\[mcp\]'"):
        importlib.import_module("guardrail.mcp")


@pytest.mark.usefixtures("fresh")
def test_a_missing_fastmcp_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The official SDK does not bring it.
    """
    if not os.environ.get("CI"):
        pytest.importorskip("mcp")
    monkeypatch.setitem(sys.modules, "fastmcp.server.auth", None)

    with pytest.raises(ImportError, match=r"asgi-guardrail\[fastmcp\]"):
        importlib.import_module("guardrail.mcp.fastmcp")


def test_guardrail_itself_needs_neither() -> None:
    """
    Who has no MCP server pays for none.
    """
    program = "import sys, guardrail, guardrail._middleware; assert not {'mcp', 'fastmcp'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", program], check=True)
