"""
The status page in a browser: what it shows, that it stays new, and that nothing hostile runs on it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from guardrail import public
from guardrail.cli._servers import address, free_port, serving
from guardrail.status import StatusBoard, status_app, status_page

from status_kit import (
    HOSTILE,
    Clock,
    accepted,
    fetched,
    guarded_app,
    new_issuer,
    one_of_each,
    package_of,
    refused,
    tell,
)
from .browser import Browser, Page, find_chromium, run_chromium

pytestmark = pytest.mark.interop

MISSING = "the status page's tests need Chromium (Debian: chromium)"
PHONE = 360  # CSS pixels


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """
    Run the browser. Skips where there is none, but never on CI.
    """
    chromium = find_chromium()
    if chromium is None and os.environ.get("CI"):
        pytest.fail(MISSING)
    if chromium is None:
        pytest.skip(MISSING)
    profile = tmp_path_factory.mktemp("status-page") / "profile"
    with run_chromium(chromium, profile=profile, files={}) as running:
        yield running


@pytest.fixture
def serve() -> Iterator[Any]:
    """
    Serve applications, each until the test is over.
    """
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(app: ASGIApp) -> str:
            sock = free_port()
            stack.enter_context(serving(app, sock=sock))
            return address(sock)

        yield start


def busy_board(board: StatusBoard) -> None:
    tell(
        board,
        *[refused()] * 41,
        refused("token_expired", detail="the token has expired", claim="exp"),
        refused("unknown_key", detail="no single key of the issuer fits the header", kid="2024-key"),
        refused(
            "insufficient_scope",
            status=403,
            detail="the token lacks a required scope",
            scopes_lacking=("orders:write",),
            route="/orders/{id}",
        ),
        *[accepted()] * 1234,
        *[accepted(client_id="nightly", operator_kind="service", operator_id="svc-nightly", seconds_left=3.0)]
        * 12,
        fetched(),
        *one_of_each("https://very-long.example.com/" + "x" * 60)[3:],
        *one_of_each(HOSTILE),
    )


def test_looks(browser: Browser, serve: Any, tmp_path: Path) -> None:
    fake, board = new_issuer(), StatusBoard()
    url = serve(
        guarded_app(
            package_of(fake, scopes={"orders:read": "r"}, required_scopes=["orders:read"]),
            board,
            http_client=fake.http_client,
        )
    )
    import httpx

    busy_board(board)
    httpx.get(url + "/orders", headers={"authorization": "Bearer " + fake.token(scope="orders:read")})
    page = browser.open(url + "/status")
    page.read("h1", "status")
    for name, scheme, width in (
        ("light", "light", 1280),
        ("dark", "dark", 1280),
        ("phone", "light", 360),
        ("phonedark", "dark", 360),
    ):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=1800,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        page.screenshot(Path("/tmp/shots") / f"{name}.png")
    print(page.wait("() => String(document.documentElement.scrollWidth)"))
