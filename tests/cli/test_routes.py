"""
``guardrail routes``: every route, and what is said when there is no application to ask.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guardrail.cli.routes import import_app

from .commands import CHECKOUT
from .conftest import Run

PREAMBLE = """
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from guardrail import GuardrailMiddleware, ServicePackage, public

orders = ServicePackage("orders", issuer="https://login.example.com", audience="https://api.example.com/orders")
app = FastAPI(openapi_url=None)
"""

Write = Callable[[str], str]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """
    Run in an empty folder, and forget the modules imported from it.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """
    Write a module after `PREAMBLE`; its name.
    """

    def write_module(source: str) -> str:
        (tmp_path / "shop.py").write_text(PREAMBLE + source)
        return "shop"

    return write_module


def test_the_example_lists_every_route(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Method, path, endpoint, package and requirement of each route; all are declared, so it ends well.
    """
    monkeypatch.chdir(CHECKOUT)

    ran = run("routes", "examples.orders_api:app")

    assert (ran.status, ran.err) == (0, "")
    lines = [tuple(line.split()) for line in ran.out.splitlines()]
    assert lines[0] == ("method", "path", "endpoint", "package", "needs")
    assert lines[2:] == [
        ("GET", "/openapi.json", "openapi", "public"),
        ("GET", "/docs", "swagger_ui_html", "public"),
        ("GET", "/docs/oauth2-redirect", "swagger_ui_redirect", "public"),
        ("GET", "/redoc", "redoc_html", "public"),
        ("GET", "/orders", "list_orders", "orders", "orders:read"),
        ("POST", "/orders", "place_order", "orders", "orders:write"),
        ("GET", "/healthz", "healthz", "public"),
    ]


def test_it_runs_as_a_process_from_the_folder_of_the_application(write: Write, tmp_path: Path) -> None:
    """
    The installed command finds a module beside it, as a server would.
    """
    name = write("app.add_middleware(GuardrailMiddleware)\n")
    script = "import sys; sys.path[:] = sys.path[1:]; from guardrail.cli import main; sys.exit(main())"

    done = subprocess.run(
        [sys.executable, "-c", script, "routes", f"{name}:app"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("method")


def test_undeclared_routes_are_shown_and_counted(run: Run, write: Write) -> None:
    """
    While one route declares nothing the status is 1, and every one of them is marked.
    """
    name = write(
        """
app.add_middleware(GuardrailMiddleware)

@app.get("/v1/orders")
@orders.requires_any("orders:read", "orders:admin", roles=["clerk"], max_age=300)
async def list_orders(): ...

@app.get("/v1/invoices/{id}")
async def read_invoice(id: str): ...

@app.websocket("/v1/feed")
async def feed(websocket): ...
"""
    )

    ran = run("routes", f"{name}:app")

    lines = [line.split() for line in ran.out.splitlines()]
    assert (ran.status, ran.err) == (1, "")
    assert ["GET", "/v1/invoices/{id}", "read_invoice", "UNDECLARED"] in lines
    assert ["WEBSOCKET", "/v1/feed", "feed", "UNDECLARED"] in lines
    assert "orders:read | orders:admin, roles: clerk, max_age: 300" in ran.out
    assert "2 undeclared: declare each with a package's requires() or with public." in ran.out


def test_a_middleware_around_an_application_is_one_too(run: Run, write: Write) -> None:
    """
    ``guarded = GuardrailMiddleware(app, …)`` may be named, its settings counting.
    """
    name = write(
        """
@app.get("/metrics")
async def metrics(): ...

guarded = GuardrailMiddleware(app, public_paths=["/metrics"])
"""
    )

    ran = run("routes", f"{name}:guarded")

    assert ran.status == 0
    assert "public" in ran.out


def test_around_a_foreign_application_the_prefixes_are_the_table(run: Run, write: Write) -> None:
    """
    What is not Starlette has no routes to list; its prefixes are listed instead.
    """
    name = write(
        """
async def foreign(scope, receive, send): ...

guarded = GuardrailMiddleware(foreign, prefixes={"/mcp": orders.requires("mcp:use"), "/healthz": public})
"""
    )

    ran = run("routes", f"{name}:guarded")

    lines = [line.split() for line in ran.out.splitlines()]
    assert ran.status == 0
    assert lines[2:] == [["*", "/mcp", "orders", "mcp:use"], ["*", "/healthz", "public"]]


TWO_ROUTES = """
from guardrail import any_of
partners = ServicePackage("partners", issuer="https://partner.example.org", audience="partners")
app.add_middleware(GuardrailMiddleware)

@app.get("/v1/orders")
@any_of(orders.requires_any("orders:read", "orders:audit"), partners.requires("feed"))
async def list_orders(): ...

@app.get("/healthz")
@public
async def healthz(): ...
"""


def test_json_is_for_other_programs(run: Run, write: Write) -> None:
    """
    One object for each route, with the columns of the table.
    """
    name = write(TWO_ROUTES)

    ran = run("routes", f"{name}:app", "--format", "json")

    assert (ran.status, ran.err) == (0, "")
    assert json.loads(ran.out) == [
        {
            "method": "GET",
            "path": "/v1/orders",
            "endpoint": "list_orders",
            "package": "orders, partners",
            "needs": "orders: orders:read | orders:audit or partners: feed",
        },
        {"method": "GET", "path": "/healthz", "endpoint": "healthz", "package": "", "needs": "public"},
    ]


def test_markdown_is_for_documents(run: Run, write: Write) -> None:
    """
    A table whose cells cannot break it.
    """
    name = write(TWO_ROUTES)

    ran = run("routes", f"{name}:app", "--format", "markdown")

    assert ran.out.splitlines() == [
        "| method | path | endpoint | package | needs |",
        "| --- | --- | --- | --- | --- |",
        "| GET | /v1/orders | list_orders | orders, partners "
        "| orders: orders:read \\| orders:audit or partners: feed |",
        "| GET | /healthz | healthz |  | public |",
    ]


def test_check_is_silent_when_all_is_declared(run: Run, write: Write) -> None:
    """
    CI prints nothing about an application that is in order.
    """
    name = write(TWO_ROUTES)

    ran = run("routes", f"{name}:app", "--check")

    assert (ran.status, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_check_shows_undeclared_routes_alone(run: Run, write: Write, form: str) -> None:
    """
    Whatever the format, only what is wrong is shown, and the status is 1.
    """
    name = write(TWO_ROUTES + '@app.get("/v1/open")\nasync def forgotten(): ...\n')

    ran = run("routes", f"{name}:app", "--check", "--format", form)

    assert ran.status == 1
    assert "UNDECLARED" in ran.out
    assert "healthz" not in ran.out


def test_a_wrong_order_of_middleware_is_shown_from_the_outside_in(run: Run, write: Write) -> None:
    """
    Which middleware is where, and which two should change places.
    """
    name = write("app.add_middleware(CORSMiddleware)\napp.add_middleware(GuardrailMiddleware)\n")

    ran = run("routes", f"{name}:app", "--check")

    assert ran.status == 2
    assert "GuardrailMiddleware is not innermost" in ran.err.splitlines()[0]
    assert ran.err.splitlines()[1:] == [
        "  GuardrailMiddleware  <- should be the last of these",
        "  CORSMiddleware  <- should be outside of GuardrailMiddleware",
    ]


def test_an_attribute_may_be_inside_another(run: Run, write: Write) -> None:
    """
    ``module:holder.app`` is followed.
    """
    name = write("app.add_middleware(GuardrailMiddleware)\nclass Holder:\n    inner = app\n")

    assert run("routes", f"{name}:Holder.inner").status == 0


def test_the_folder_is_looked_in_once(run: Run, write: Write, tmp_path: Path) -> None:
    """
    The current folder goes to the front of the path, and only one time.
    """
    name = write("app.add_middleware(GuardrailMiddleware)\n")

    run("routes", f"{name}:app")
    run("routes", f"{name}:app")

    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[0] == str(tmp_path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        pytest.param("", "GuardrailMiddleware is not added", id="no middleware"),
        pytest.param(
            'app.add_middleware(GuardrailMiddleware, public_paths=["/nowhere"])',
            "public_paths names no route's template: /nowhere",
            id="unknown public path",
        ),
        pytest.param("app = 3", "3 is neither a Starlette or FastAPI application", id="no app"),
        pytest.param("def app(): ...", "is a function: write app = app() in a module", id="a factory"),
        pytest.param("del app", "module 'shop' has no attribute 'app'", id="no attribute"),
    ],
)
def test_an_application_that_cannot_be_listed_says_why(
    run: Run, write: Write, source: str, says: str
) -> None:
    """
    One line, status 2, nothing on standard output.
    """
    ran = run("routes", f"{write(source)}:app")

    assert ran.status == 2
    assert ran.only_line.startswith("guardrail routes: ")
    assert says in ran.only_line


@pytest.mark.parametrize(
    "path", ["", "shop", "shop:", ":app", ".shop:app", "./shop:app", "shop.py:app", "a:b:c"]
)
def test_what_names_no_application_is_answered_with_the_form(run: Run, write: Write, path: str) -> None:
    """
    A path, a file name or half a name: the message shows how to name it.
    """
    write("")

    ran = run("routes", path)

    assert ran.status == 2
    assert 'name the application as module:attribute, such as "main:app"' in ran.only_line
    assert repr(path) in ran.only_line


@pytest.mark.parametrize("path", ["nowhere:app", "shop.nowhere:app"])
def test_a_module_that_is_not_there_is_one_line(run: Run, write: Write, path: str) -> None:
    """
    Without a module there is no traceback to show.
    """
    write("")

    ran = run("routes", path)

    assert ran.status == 2
    assert f"cannot import {path.partition(':')[0]}: ModuleNotFoundError: No module named" in ran.only_line


@pytest.mark.parametrize(
    ("source", "says", "last_frame"),
    [
        pytest.param(
            "import nowhere", "ModuleNotFoundError: No module named 'nowhere'", "line 9", id="import"
        ),
        pytest.param("1 / 0", "ZeroDivisionError: division by zero", "line 9", id="exception"),
        pytest.param("raise SystemExit(3)", "SystemExit: 3", "line 9", id="exit"),
        pytest.param("def (", "SyntaxError: invalid syntax", "line 9", id="syntax"),
        pytest.param(
            'ServicePackage("x", issuer="http://example.com", audience="x")',
            "PolicyError: issuer must be an https URL",
            "line 9",
            id="policy",
        ),
    ],
)
def test_a_module_that_fails_shows_where(
    run: Run, write: Write, tmp_path: Path, source: str, says: str, last_frame: str
) -> None:
    """
    The traceback begins in the user's file, not in ours, and ends with the same line that any failure has.
    """
    name = write(source)

    ran = run("routes", f"{name}:app")

    lines = ran.err.splitlines()
    assert (ran.status, ran.out) == (2, "")
    assert f'File "{tmp_path / "shop.py"}", {last_frame}' in "\n".join(lines[:2])
    assert lines[-1].startswith(f"guardrail routes: cannot import shop: {says}")
    assert "importlib" not in ran.err
    assert "cli/routes.py" not in ran.err


def test_interrupting_an_import_is_not_an_import_error(write: Write) -> None:
    """
    Ctrl-C while the user's module runs goes through.
    """
    name = write("raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        import_app(f"{name}:app")
