"""
*Authorize* in Swagger UI, as FastAPI serves it, against ``guardrail issuer``: a browser does as a user does.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from fastapi import FastAPI

from guardrail import Issuer, ServicePackage, public
from guardrail.cli._servers import address, free_port, serving
from guardrail.fastapi import CurrentOperator, install

from .browser import Browser, Page, find_chromium, run_chromium

pytestmark = pytest.mark.interop

ASSETS = Path(__file__).parent / "node_modules" / "swagger-ui-dist"
FILES = {f"/{name}": ASSETS / name for name in ("swagger-ui-bundle.js", "swagger-ui.css")}
MISSING = "Swagger UI's tests need Chromium (Debian: chromium) and `npm ci` in tests/interop"
AUDIENCE = "https://api.example.com/orders"
START_TIMEOUT = 30.0  # seconds

# A browser can keep no secret: a public client, which has PKCE instead.
CLIENT = """
[[client]]
client_id = "swagger-ui"
public = true
scopes = ["orders:read", "orders:write"]
audiences = ["{audience}"]
grant_types = ["authorization_code"]
redirect_uris = ["{api}/docs/oauth2-redirect"]
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """
    Run the browser. Skips where it cannot run, but never on CI.
    """
    chromium = find_chromium()
    is_there = chromium is not None and all(path.is_file() for path in FILES.values())
    if not is_there and os.environ.get("CI"):
        pytest.fail(MISSING)
    if chromium is None or not is_there:
        pytest.skip(MISSING)
    profile = tmp_path_factory.mktemp("swagger-ui") / "profile"
    with run_chromium(chromium, profile=profile, files=FILES) as running:
        yield running


@pytest.fixture(params=["configured", "learned", "discovered by the browser"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """
    Run an API and its issuer, and return the API's URL; the document has flows, or an issuer to discover.
    """
    way: str = request.param
    sock = free_port()
    url = address(sock)
    clients = tmp_path / "clients.toml"
    clients.write_text(CLIENT.format(api=url, audience=AUDIENCE))
    command = [sys.executable, "-m", "guardrail.cli", "issuer", "--port", "0", "--clients", str(clients)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            warm_up: Literal["wait", "off"] = "wait" if way == "learned" else "off"
            app = build_app(issuer_of(process), has_flows=way == "configured", warm_up=warm_up)
            with serving(app, sock=sock):
                scheme = app.openapi()["components"]["securitySchemes"]["orders"]
                assert ("flows" in scheme) == (way in {"configured", "learned"})
                yield url
        finally:
            process.terminate()


@pytest.fixture
def page(browser: Browser, api: str, tmp_path: Path) -> Iterator[Page]:
    """
    Open the documentation. What it looks like in the end is in the test's directory, as a picture.
    """
    opened = browser.open(f"{api}/docs")
    # It discovers an issuer in its own time, and a dialog that is opened before stays empty.
    opened.wait('() => typeof ui !== "undefined" && ui.authSelectors.definitionsToAuthorize()?.size > 0')
    yield opened
    opened.screenshot(tmp_path / "swagger-ui.png")


def issuer_of(process: subprocess.Popen[str]) -> str:
    """
    The URL that ``guardrail issuer`` prints when it serves.
    """
    assert process.stdout is not None
    watch = threading.Timer(START_TIMEOUT, process.kill)  # ends the lines below
    watch.start()
    url = next(line.split()[1] for line in process.stdout if line.startswith("issuer "))
    watch.cancel()
    return url


def build_app(issuer: str, *, has_flows: bool, warm_up: Literal["wait", "off"]) -> FastAPI:
    """
    An API as its team writes it, documentation included.
    """
    orders = ServicePackage(
        "orders",
        issuer=Issuer(issuer, warm_up=warm_up),
        audience=AUDIENCE,
        scopes={"orders:read": "Read orders", "orders:write": "Place and change orders"},
    )
    code = {"authorizationUrl": f"{issuer}/authorize", "tokenUrl": f"{issuer}/token"}
    flows = {issuer: {"authorizationCode": code}} if has_flows else None
    app = FastAPI()
    install(app, oauth_flows=flows)

    @app.get("/orders")
    @orders.requires("orders:read")
    async def list_orders(operator: CurrentOperator) -> dict[str, Any]:
        return {"orders_of": operator.subject, "called_by": operator.client_id}

    @app.post("/orders")
    @orders.requires("orders:write")
    async def place_order() -> dict[str, Any]:
        return {"placed": True}

    @app.get("/healthz")
    @public
    async def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    return app


def execute(page: Page, operation: str) -> tuple[str, str]:
    """
    Try an operation out, and return the status and the body that Swagger UI shows.
    """
    block = f".opblock[id$={operation}]"
    response = f"{block} .live-responses-table tr.response"
    page.click(f"{block} .opblock-summary-control")
    page.click(f"{block} .try-out__btn")
    page.click(f"{block} .execute")
    status = page.read(f"{response} .response-col_status")
    body = page.read(f"{response} .response-col_description .highlight-code")
    page.click(f"{block} .btn-clear")
    page.click(f"{block} .try-out__btn.cancel")
    page.click(f"{block} .opblock-summary-control")
    return status[:3], body


def authorize(page: Page, *, scope: str) -> None:
    """
    Fill in the dialog that the padlocks open, up to where the issuer's page opens.
    """
    page.click(".btn.authorize")
    page.type(".auth-container input[id^=client_id]", "swagger-ui")
    page.click(".auth-container .scopes label", scope)
    page.click(".auth-btn-wrapper .authorize")


def test_authorize_gets_a_token_with_the_scopes_that_are_ticked(browser: Browser, page: Page) -> None:
    """
    Without a token 401; after Authorize the operation answers whose token it is, and another lacks its scope.
    """
    before = execute(page, "list_orders_orders_get")

    authorize(page, scope="orders:read")
    browser.opened_by(page).click("button", "Allow")
    page.read(".auth-container button", "Logout")
    page.click(".auth-btn-wrapper .btn-done")
    after = [execute(page, one) for one in ("list_orders_orders_get", "place_order_orders_post")]

    assert before[0] == "401"
    assert [status for status, _ in after] == ["200", "403"]
    assert '"orders_of": "alice"' in after[0][1]
    assert '"called_by": "swagger-ui"' in after[0][1]
    assert "insufficient_scope" in after[1][1]


def test_authorize_that_is_denied_gets_no_token(browser: Browser, page: Page) -> None:
    """
    What the user denies is said in the dialog, and the operation stays refused.
    """
    authorize(page, scope="orders:read")
    browser.opened_by(page).click("button", "Deny")

    error = page.read(".auth-container .errors")
    page.click(".auth-btn-wrapper .btn-done")

    assert "access_denied" in error
    assert execute(page, "list_orders_orders_get")[0] == "401"
