"""
The public surface is what HOUSE and README say, and no more.
"""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import guardrail

PACKAGE = Path(guardrail.__file__).parent
PUBLIC_MODULES = [
    f"guardrail{name}"
    for name in (
        "",
        ".client",
        ".errors",
        ".directory",
        ".events",
        ".fastapi",
        ".issuer",
        ".status",
        ".testing",
        ".cli",
    )
]
EXTRAS = [
    pytest.param("guardrail.mcp", "mcp", id="guardrail.mcp"),
    pytest.param("guardrail.mcp.fastmcp", "fastmcp", id="guardrail.mcp.fastmcp"),
]


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_all_is_sorted_and_true(name: str) -> None:
    """
    ``__all__`` is sorted as ruff sorts it, and every name in it exists.
    """
    module = importlib.import_module(name)

    constants = [one for one in module.__all__ if one.isupper()]
    others = [one for one in module.__all__ if not one.isupper()]

    assert module.__all__ == [*constants, *sorted(others, key=lambda one: (not one[:1].isupper(), one))]
    assert all(getattr(module, one) is not None for one in module.__all__)


@pytest.mark.parametrize(("name", "needs"), EXTRAS)
def test_all_of_an_extra_is_sorted_and_true(name: str, needs: str) -> None:
    """
    The same holds for modules that need more than guardrail does.
    """
    if not os.environ.get("CI"):
        pytest.importorskip(needs)

    test_all_is_sorted_and_true(name)


@pytest.mark.parametrize("name", ["guardrail.errors", "guardrail.events"])
def test_all_is_complete(name: str) -> None:
    """
    Every class and function these modules define for users is in ``__all__``; two are for our own wiring.
    """
    module = importlib.import_module(name)
    file = Path(str(module.__file__))
    files = list(file.parent.glob("*.py")) if file.name == "__init__.py" else [file]
    trees = [ast.parse(one.read_text()) for one in files]

    definitions = [node for tree in trees for node in tree.body]
    defined = {node.name for node in definitions if isinstance(node, ast.ClassDef | ast.FunctionDef)}

    assert len(defined) > 10
    assert {one for one in defined if not one.startswith("_")} - {"dispatcher", "printable"} <= set(
        module.__all__
    )


def test_the_contract_is_there() -> None:
    """
    The names that README, examples and users rely on.
    """
    names = {"ServicePackage", "Issuer", "public", "GuardrailMiddleware", "Operator", "current_operator"}
    of_keys = {"Fetching", "Health", "IssuerHealth", "health", "health_app"}

    assert names | of_keys | {"errors", "events"} <= set(guardrail.__all__)
    assert guardrail.__dir__() == sorted(guardrail.__all__)


def test_unknown_names_are_refused() -> None:
    """
    The lazy attribute access raises for anything but what is loaded lazily.
    """
    with pytest.raises(AttributeError, match="has no attribute 'Guardrails'"):
        _ = guardrail.Guardrails


def test_importing_guardrail_loads_neither_network_nor_cryptography() -> None:
    """
    ``import guardrail`` is for declarations; httpx, cryptography and FastAPI load with what needs them.
    """
    heavy = ("httpx", "cryptography", "jwt", "fastapi")
    script = f"import sys, guardrail; print([name for name in {heavy} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


def test_the_package_is_typed() -> None:
    """
    ``py.typed`` tells type checkers to read the annotations (PEP 561).
    """
    assert (PACKAGE / "py.typed").exists()
