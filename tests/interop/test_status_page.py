"""
The status page in a browser: what it shows, that it stays new, and that nothing hostile runs on it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.routing import Route
from starlette.types import ASGIApp
from status_kit import (
    HOSTILE,
    accepted,
    fetched,
    guarded_app,
    new_issuer,
    one_of_each,
    package_of,
    refused,
    tell,
)

from guardrail import public
from guardrail.cli._servers import address, free_port, serving
from guardrail.status import StatusBoard, status_app, status_page
from guardrail.testing import FakeIssuer

from .browser import Browser, Page, find_chromium, run_chromium

pytestmark = pytest.mark.interop

MISSING = "the status page's tests need Chromium (Debian: chromium)"
PHONE = 360  # CSS pixels
Serve = Callable[[ASGIApp], str]


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
def serve() -> Iterator[Serve]:
    """
    Serve applications, each until the test is over.
    """
    with ExitStack() as stack:

        def start(app: ASGIApp) -> str:
            sock = free_port()
            stack.enter_context(serving(app, sock=sock))
            return address(sock)

        yield start


def busy_board() -> StatusBoard:
    """
    What a bad day brings: failures of every kind, long names, and hostile ones.
    """
    board = StatusBoard()
    tell(
        board,
        *one_of_each(HOSTILE),
        *one_of_each(f"https://long.example.com/{'x' * 100}"),
        *[refused()] * 41,
        refused("token_expired", detail="the token has expired", claim="exp"),
        refused("unknown_key", detail="no single key of the issuer fits the header", kid="2024-11-key"),
        refused(
            "insufficient_scope",
            status=403,
            route="/orders/{order_id}",
            detail="the token lacks a required scope",
            scopes_lacking=("orders:write",),
        ),
        *[accepted()] * 1_234,
        accepted(client_id="nightly", operator_kind="service", operator_id="svc-nightly", seconds_left=3.0),
        fetched(),
    )
    return board


def app_of(fake: FakeIssuer, board: StatusBoard) -> ASGIApp:
    """
    An API whose page is public, whose data is guarded at another path, and a page that asks for a token.
    """
    orders = package_of(fake)
    data = Route("/status/data", orders.requires("status:read")(status_app(board=board)))
    asks = Route("/status/ask", public(status_page("/status/data")))
    return guarded_app(orders, board, data, asks, http_client=fake.http_client)


def look_again(page: Page) -> None:
    """
    Let the page look at once, as it does when its tab is shown again.
    """
    page.wait("() => document.dispatchEvent(new Event('visibilitychange'))")


def test_page_shows_what_happened_and_nothing_hostile_runs(
    browser: Browser, serve: Serve, tmp_path: Path
) -> None:
    """
    Hostile text is read as text, in both schemes and on a phone; pictures are in the test's directory.
    """
    page = browser.open(f"{serve(app_of(new_issuer(), busy_board()))}/status")

    for scheme, width in (("light", 1_280), ("dark", 1_280), ("light", PHONE), ("dark", PHONE)):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.call("Emulation.setEmulatedMedia", features=features)
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=2_400,
            deviceScaleFactor=1,
            mobile=width == PHONE,
        )
        page.screenshot(tmp_path / f"{scheme}-{width}.png")
        assert float(page.wait("() => document.documentElement.scrollWidth")) <= width

    look_again(page)
    shown = page.read("main", "svc-nightly")
    assert all(text in shown for text in (HOSTILE, "What would fix it", "unknown_key", "2024-11-key"))
    assert page.wait("() => document.title") == "guardrail status"
    assert page.wait("() => String(document.querySelectorAll('main img, main script').length)") == "0"


def test_dark_and_light_are_different(browser: Browser, serve: Serve) -> None:
    """
    The page follows its reader's system.
    """
    page = browser.open(f"{serve(app_of(new_issuer(), StatusBoard()))}/status")
    page.read("h1")

    grounds = []
    for scheme in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        grounds.append(page.wait("() => getComputedStyle(document.body).backgroundColor"))

    assert grounds == ["rgb(255, 255, 255)", "rgb(17, 21, 26)"]


def test_policy_lets_nothing_else_run(browser: Browser, serve: Serve) -> None:
    """
    Were markup injected all the same, its script would not run, nor its handlers.
    """
    page = browser.open(f"{serve(app_of(new_issuer(), StatusBoard()))}/status")
    page.read("h1")

    page.wait(
        """() => {
            window.blocked = 0;
            document.addEventListener("securitypolicyviolation", () => { window.blocked += 1; });
            const script = document.createElement("script");
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
            const image = `<img src="data:," onerror="document.title = 'owned'">`;
            document.body.insertAdjacentHTML("beforeend", image);
            return true;
        }"""
    )

    page.wait("() => window.blocked >= 3")  # the script, the image, and its handler
    assert page.wait("() => document.title") == "guardrail status"


def test_page_stays_new_and_its_reader_where_he_is(browser: Browser, serve: Serve) -> None:
    """
    What happens appears without a reload; the focus is still on the same element; paused, nothing moves.
    """
    board = StatusBoard()
    page = browser.open(f"{serve(app_of(new_issuer(), board))}/status")
    page.read("main", "Nobody was refused.")
    page.wait("() => (window.link = document.querySelector('nav a')) && (window.link.focus(), true)")

    board(refused("unknown_key", kid="first-key"))
    look_again(page)
    page.read("main", "first-key")
    is_same = page.wait("() => document.activeElement === window.link && window.link.isConnected")
    page.click("#pause", "Pause")
    board(refused("unknown_key", kid="second-key"))
    page.wait(
        """() => {
            const fetching = window.fetch;
            window.asked = 0;
            window.fetch = (...all) => { window.asked += 1; return fetching(...all); };
            return true;
        }"""
    )
    look_again(page)
    status, asked = page.read("#live", "Paused."), page.wait("() => String(window.asked)")
    page.click("#pause", "Go on")

    assert (is_same, status, asked) == ("True", "Paused.", "0")
    assert "second-key" in page.read("main", "second-key")


def test_page_says_that_it_is_not_up_to_date(browser: Browser) -> None:
    """
    A server that is gone leaves what was shown, and says so.
    """
    board, sock = busy_board(), free_port()
    with serving(app_of(new_issuer(), board), sock=sock):
        page = browser.open(f"{address(sock)}/status")
        page.read("main", "svc-nightly")

    look_again(page)

    assert "Not up to date" in page.read("#live", "Not up to date")
    assert "svc-nightly" in page.read("main")


def test_page_is_readable_without_its_script(browser: Browser, serve: Serve) -> None:
    """
    Everything is there, what does not work is not, and a token that is typed in goes nowhere.
    """
    url = serve(app_of(new_issuer(), busy_board()))
    page = browser.open("about:blank")
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.call("Page.navigate", url=f"{url}/status")

    shown, said = page.read("main", "svc-nightly"), page.read("#live", "reload")
    is_hidden = page.wait("() => document.querySelector('#pause').hidden")
    page.call("Page.navigate", url=f"{url}/status/ask")
    page.type("#token", "a-token")
    page.click("#ask button")
    where = page.wait("() => location.href")

    assert "What would fix it" in shown
    assert (said, is_hidden) == ("Not updated by itself: reload the page.", "True")
    assert where == f"{url}/status/ask"


def test_token_that_is_pasted_shows_the_data_and_stays_in_the_page(browser: Browser, serve: Serve) -> None:
    """
    Nothing is shown before, and nothing after it is forgotten; it is in no URL, storage, cookie or field.
    """
    fake, board = new_issuer(), busy_board()
    token = fake.token(scope="status:read")
    url = serve(app_of(fake, board))
    page = browser.open(f"{url}/status/ask")

    said, before = page.read("#live", "Needs an access token."), page.wait("() => document.body.innerText")
    page.type("#token", f"Bearer {token}")
    page.click("#ask button")
    shown = page.read("main", "svc-nightly")
    kept = page.wait(
        """() => JSON.stringify([
            location.href, {...localStorage}, {...sessionStorage}, document.cookie,
            document.documentElement.outerHTML, document.querySelector("#token").value,
        ])"""
    )
    board(refused("unknown_key", kid="later-key"))
    look_again(page)
    later = page.read("main", "later-key")
    page.click("#forget")
    page.wait("() => document.querySelector('main').textContent === ''")

    assert "svc-nightly" not in said + before
    assert "What would fix it" in shown
    assert "later-key" in later
    assert token not in kept
    assert token.split(".")[2] not in kept
    assert page.read("#live") == "The token is forgotten."


@pytest.mark.parametrize(
    ("scope", "status"),
    [pytest.param(None, 401, id="no token at all"), pytest.param("orders:read", 403, id="another scope")],
)
def test_token_that_is_refused_shows_nothing(
    browser: Browser, serve: Serve, scope: str | None, status: int
) -> None:
    """
    The page says so, and asks again.
    """
    fake = new_issuer()
    page = browser.open(f"{serve(app_of(fake, busy_board()))}/status/ask")

    page.type("#token", "abc" if scope is None else fake.token(scope=scope))
    page.click("#ask button")

    assert page.read("#live", "refused") == f"Not shown: the token was refused ({status})."
    assert page.wait("() => document.querySelector('main').textContent.trim() === ''") == "True"
    assert page.wait("() => !document.querySelector('#ask').hidden") == "True"
