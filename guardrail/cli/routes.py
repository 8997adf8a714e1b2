"""
``guardrail routes``: every route and what it needs.
"""

import argparse
import importlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

from .._alternatives import requirements_of
from .._inspection import survey
from .._route_table import RouteRow
from ..errors import PolicyError
from ._errors import UsageError
from ._table import print_table

_HEADINGS: Final = ("method", "path", "endpoint", "package", "needs")


def _print_text(rows: Sequence[Sequence[str]]) -> None:
    print_table(_HEADINGS, rows)


def _print_json(rows: Sequence[Sequence[str]]) -> None:
    print(json.dumps([dict(zip(_HEADINGS, row, strict=True)) for row in rows], indent=2))


def _print_markdown(rows: Sequence[Sequence[str]]) -> None:
    for row in (_HEADINGS, ("---",) * len(_HEADINGS), *rows):
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")


_PRINTERS: Final = {"text": _print_text, "json": _print_json, "markdown": _print_markdown}


def add_parser(commands: Any) -> None:
    """
    Add this command to the parser.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "routes",
        help="print every route of an application and what it needs",
        description="Print every route of an application and what it needs; exit with 1 while one declares "
        "nothing. The application is imported as a server run from this folder would import it.",
        allow_abbrev=False,
    )
    parser.add_argument("app", metavar="MODULE:ATTRIBUTE", help='such as "examples.orders_api:app"')
    parser.add_argument(
        "--format",
        choices=("text", "json", "markdown"),
        default="text",
        help="how to print it; text by default",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="print what is wrong and nothing else, for CI; silent if all is well",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """
    Print the table; 1 while a route is undeclared.

    Raises:
        UsageError: The application cannot be imported, or is not guarded.
    """
    app = import_app(options.app)
    try:
        table = survey(app)
    except PolicyError as exc:
        raise UsageError(str(exc)) from exc
    rows = table.rows
    if not rows:  # around a foreign application, the prefixes are the whole table
        prefixes = table.prefixes.declarations.items()
        rows = tuple(RouteRow("*", prefix, "", declaration) for prefix, declaration in prefixes)
    undeclared = [row for row in rows if row.declaration is None]
    if options.check:
        rows = tuple(undeclared)
    if rows or not options.check:
        _PRINTERS[options.format]([_cells(row) for row in rows])
    if undeclared and options.format != "json":
        print(f"\n{len(undeclared)} undeclared: declare each with a package's requires() or with public.")
    return 1 if undeclared else 0


def import_app(path: str) -> object:
    """
    Import ``module:attribute`` as a server run from this folder would.

    Raises:
        UsageError: There is no such module or attribute, or the module fails; its traceback is then printed.
    """
    module_name, _, attribute = path.partition(":")
    if not all(map(str.isidentifier, (*module_name.split("."), *attribute.split(".")))) or ".py:" in path:
        raise UsageError(f'name the application as module:attribute, such as "main:app"; got {path!r}')
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found: object = _import_module(module_name)
    try:
        for name in attribute.split("."):
            found = getattr(found, name)
    except AttributeError as exc:
        raise UsageError(f"cannot import {path}: {exc}") from exc
    if inspect.isroutine(found):
        raise UsageError(f"{path} is a function: write app = {attribute}() in a module, and name that app")
    return found


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as exc:  # whatever the user's module does
        frames = exc.__traceback__
        while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
            frames = frames.tb_next
        if frames is not None or isinstance(exc, SyntaxError):
            traceback.print_exception(exc.with_traceback(frames))
        raise UsageError(f"cannot import {name}: {type(exc).__name__}: {exc}") from exc


def _is_machinery(filename: str) -> bool:
    return filename in {__file__, importlib.__file__} or filename.startswith("<frozen importlib")


def _cells(row: RouteRow) -> Sequence[str]:
    declaration = row.declaration
    packages, needs = "", "UNDECLARED"
    if declaration is not None:
        required = requirements_of(declaration.requirement)
        packages = ", ".join(dict.fromkeys(one.package.name for one in required))
        needs = str(declaration.requirement) if required else "public"
    return (row.methods, row.template, row.endpoint, packages, needs)
