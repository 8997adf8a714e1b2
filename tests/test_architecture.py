"""
The storeys of the house: who may import whom. Read from the sources, so that nobody has to remember.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "guardrail"

# Storey of each module. A module imports from lower storeys, and from its own row only what is listed below.
STOREYS: dict[str, int] = {
    "errors": 0, "_asgi": 0, "_json": 0, "_shapes": 0, "_version": 0, "_fork": 0,
    "events": 1, "_catalogue": 1, "_settings": 1, "_scopes": 1, "_urls": 1, "_fetching": 1, "_issuer": 1,
    "_health": 1,
    "_bearer": 1, "_compact": 1, "_claims": 1, "_header": 1,
    "_operator": 1, "_decision": 1, "_declaration": 1, "_policy": 1, "_alternatives": 1,
    "_profiles": 1, "_mapping_setting": 1, "_claim_values": 1, "_claim_paths": 1, "_kinds": 1, "_frozen": 1,
    "_drafts": 1, "_token_facts": 1, "_mapping": 1, "_provider_rules": 1,
    "_registration": 1,
    "_authorization": 2, "_discovery": 2, "_addresses": 2, "_fetch": 2, "_freshness": 2, "_source": 2,
    "_jwk": 2, "_keys": 2, "_key_state": 2, "_key_report": 2, "_flights": 2, "_key_fetches": 2, "_jwks": 2,
    "_key_sets": 2, "_token_cache": 2, "_issuer_verifier": 2, "_verifier": 2, "directory": 2,
    "_paths": 3, "_path_index": 3, "_prefixes": 3, "_route_table": 3, "_frameworks": 3, "_walk": 3,
    "_routing": 3,
    "_challenge": 3, "_policies": 3, "_judge": 3, "_refusal": 3, "_resource_metadata": 3, "_subprotocol": 3,
    "_serving": 3, "_expiry": 3, "_road": 3, "_openapi": 3,
    "_middleware": 4, "_middleware_settings": 4, "_inspection": 4, "_readiness": 4,
    "": 5, "fastapi": 5, "mcp": 5, "client": 5, "issuer": 5, "testing": 5, "cli": 5, "status": 5,
}  # fmt: skip

OWN_ROW: dict[str, set[str]] = {
    "_header": {"_claims"},
    "_fetching": {"_settings"},
    "_mapping_setting": {"_profiles"},
    "_issuer": {
        "_claims",
        "_fetching",
        "_mapping_setting",
        "_profiles",
        "_registration",
        "_settings",
        "_urls",
    },
    "_scopes": {"_settings"},
    "_registration": {"_operator", "_scopes", "_settings"},
    "_alternatives": {"_declaration", "_policy"},
    "_settings": {"events"},
    "_decision": {"_operator"},
    "_declaration": {"_decision"},
    "_policy": {"_declaration", "_issuer", "_scopes", "_settings", "_urls"},
    "_claim_paths": {"_claim_values", "_profiles"},
    "_kinds": {"_claim_values"},
    "_drafts": {"_operator"},
    "_token_facts": {"_claim_values", "_claims", "_drafts", "_operator"},
    "_mapping": {
        "_claim_paths",
        "_claim_values",
        "_drafts",
        "_frozen",
        "_kinds",
        "_mapping_setting",
        "_operator",
        "_profiles",
        "_token_facts",
    },
    "_provider_rules": {"_claim_values", "_claims", "_profiles", "_urls"},
    "_keys": {"_jwk"},
    "_fetch": {"_addresses"},
    "_source": {"_discovery", "_fetch", "_freshness", "_keys"},
    "_key_state": {"_keys"},
    "_key_report": {"_key_state", "_keys"},
    "_key_fetches": {"_flights", "_key_report", "_key_state", "_source"},
    "_jwks": {"_discovery", "_key_fetches", "_key_report", "_key_state", "_keys"},
    "_key_sets": {"_discovery", "_jwks", "_keys"},
    "_token_cache": {"_keys"},
    "_issuer_verifier": {"_keys", "_token_cache"},
    "_verifier": {"_issuer_verifier", "_keys", "_token_cache"},
    "directory": {"_flights"},
    "_route_table": {"_path_index", "_paths", "_prefixes"},
    "_walk": {"_frameworks", "_path_index", "_prefixes", "_route_table"},
    "_routing": {"_frameworks", "_prefixes", "_route_table", "_walk"},
    "_serving": {"_prefixes", "_route_table"},
    "_policies": {"_challenge"},
    "_judge": {"_policies"},
    "_refusal": {"_challenge"},
    "_resource_metadata": {"_paths"},
    "_expiry": {"_serving"},
    "_road": {
        "_challenge",
        "_expiry",
        "_judge",
        "_policies",
        "_prefixes",
        "_refusal",
        "_route_table",
        "_serving",
        "_subprotocol",
    },
    "_inspection": {"_middleware"},
    "_readiness": {"_inspection", "_middleware"},
    "testing": {"", "issuer"},
    "cli": {"", "client", "issuer"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """
    The room a file belongs to: its module, or the subpackage it is in.
    """
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported_rooms(path: Path) -> Iterator[str]:
    """
    The rooms that a file's relative imports enter, its own left out.
    """
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "guardrail" for alias in node.names), (
                "import relatively"
            )
        if isinstance(node, ast.ImportFrom):
            assert node.level or (node.module or "").split(".")[0] != "guardrail", "import relatively"
            if node.level == depth:  # relative to the package itself
                names = [node.module] if node.module else [alias.name for alias in node.names]
                yield from (room if room in STOREYS else "" for room in (one.split(".")[0] for one in names))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_only_from_below(path: Path) -> None:
    """
    A module imports from lower storeys, or from its own row what the table lists.
    """
    room = room_of(path)
    for imported in imported_rooms(path):
        is_below = STOREYS[imported] < STOREYS[room]
        assert is_below or imported in OWN_ROW.get(room, set()), f"{room or '__init__'} imports {imported}"


def test_every_room_is_on_the_plan() -> None:
    """
    The table above names every module there is, and none that is gone.
    """
    assert {room_of(path) for path in modules()} == set(STOREYS)


def test_own_rows_have_no_cycles() -> None:
    """
    What a row's modules import of each other has an order.
    """
    seen: set[str] = set()
    remaining = dict(OWN_ROW)
    while remaining:
        free = {room for room, needs in remaining.items() if not needs & remaining.keys()}
        assert free, f"a cycle among {sorted(remaining)}"
        seen |= free
        remaining = {room: needs for room, needs in remaining.items() if room not in free}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_stand_at_the_top(path: Path) -> None:
    """
    No import hides in a function to dodge a cycle; the ones that make something lazy are listed here.
    """
    lazy = {"cli/_servers.py": ["uvicorn"]}  # the package itself loads its heavy names by PEP 562
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    nested = [node for function in functions for node in ast.walk(function)]

    found = [
        *(node.module for node in nested if isinstance(node, ast.ImportFrom)),
        *(alias.name for node in nested if isinstance(node, ast.Import) for alias in node.names),
    ]

    assert found == lazy.get(str(path.relative_to(PACKAGE)), [])


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_stay_small(path: Path) -> None:
    """
    A function has at most 25 lines beside its docstring; a file at most 250, the error tree excepted.
    """
    text = path.read_text()
    assert text.count("\n") <= 250 or path.name == "errors.py"  # one tree, one file, mostly docstrings
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            prose = docstring.count("\n") + 1 if docstring else 0
            size = (node.end_lineno or node.lineno) - node.lineno + 1 - prose
            assert size <= 25 or node.name == "__init__", f"{node.name} has {size} lines"


def test_await_stays_where_io_is() -> None:
    """
    The core is synchronous: only the rooms that do I/O, or serve, await.
    """
    allowed = {
        "_jwks",
        "_flights",
        "directory",
        "_key_fetches",
        "_key_sets",
        "_readiness",
        "status",
        "_source",
        "_fetch",
        "_keys",
        "_issuer_verifier",
        "_verifier",
        "_challenge",
        "_asgi",
        "_middleware",
        "_judge",
        "_refusal",
        "_resource_metadata",
        "_road",
        "_expiry",
        "_serving",
    }
    allowed |= {
        "_declaration",
        "client",
        "fastapi",
        "mcp",
        "issuer",
        "cli",
    }  # wrappers of endpoints; applications

    awaiting = {
        room_of(path)
        for path in modules()
        if any(
            isinstance(node, ast.Await | ast.AsyncFunctionDef)
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }

    assert awaiting <= allowed
