"""
`status_app` and `status_page`: what they show, to whom, and with which fields.
"""

import json
import os
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import httpx
import pytest
from road_kit import connect, handshake
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from status_kit import (
    HOSTILE,
    ISSUER,
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

from guardrail import GuardrailMiddleware, ServicePackage, any_of, public
from guardrail._alternatives import Alternatives
from guardrail._declaration import Declaration
from guardrail.errors import MiddlewareMissingError, PolicyError
from guardrail.events import TokenFetchFailed
from guardrail.status import StatusBoard, status_app, status_page
from guardrail.status._words import duration, needs

pytestmark = pytest.mark.anyio

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
ORDERS = ServicePackage("orders", issuer=ISSUER, audience="https://api.example.com/orders")


async def ask(
    app: ASGIApp,
    path: str = "/status",
    *,
    method: str = "GET",
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """
    Send one request.
    """
    fields = (headers or {}) | ({} if token is None else {"authorization": f"Bearer {token}"})
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        return await client.request(method, path, headers=fields)


class Elements(HTMLParser):
    """
    The elements of a document, as a browser would see them.
    """

    def __init__(self, document: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


# What it shows


async def test_programs_get_json() -> None:
    """
    The health, the configuration and the counts, in one object.
    """
    fake, board = new_issuer(), StatusBoard(monotonic=Clock())
    app = guarded_app(package_of(fake, required_scopes=["orders:read"]), board, scopes=(), monotonic=Clock())
    await ask(app, "/orders", token=fake.token(scope="orders:read", client_id="web"))
    await ask(app, "/orders", token=fake.token(scope="other"))

    response = await ask(app)

    found = response.json()
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert (found["process"], found["is_ready"], found["is_started"]) == (os.getpid(), True, True)
    assert [(one["issuer"], one["state"]) for one in found["issuers"]] == [(ISSUER, "ready")]
    assert found["issuers"][0]["key_ids"] == [fake.keys.current.kid]
    assert found["packages"] == [
        {
            "package": "orders",
            "issuers": [ISSUER],
            "audiences": [fake.audience],
            "required_scopes": ["orders:read"],
            "is_enforced": True,
            "accepted": 1,
            "not_enforced": 0,
            "refused": {"insufficient_scope": 1},
        }
    ]
    assert found["routes"] == [
        {
            "methods": "GET",
            "path": "/orders",
            "packages": ["orders"],
            "needs": "a valid token with the scope orders:read",
        },
        {"methods": "*", "path": "/status", "packages": [], "needs": "public: no token"},
    ]
    assert found["scopes"] == [{"package": "orders", "scope": "orders:read", "routes": 1, "lacking": 1}]
    assert [one["code"] for one in found["refusals"]] == ["insufficient_scope"]
    assert [one["client_id"] for one in found["clients"]] == ["web"]


async def test_people_get_a_page_with_the_same_on_it() -> None:
    """
    Readable as it comes: nothing waits for a script.
    """
    fake, board = new_issuer(), StatusBoard(monotonic=Clock())
    app = guarded_app(package_of(fake), board, monotonic=Clock())
    await ask(app, "/orders", token=fake.token(scope="orders:read", client_id="web"))
    await ask(app, "/orders", token=fake.token(scope="other"))
    tell(board, *one_of_each("told-of"))

    page = await ask(app, headers=HTML)

    text = " ".join("".join(Elements(page.text).text).split())
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for shown in (
        "ready Process",
        fake.keys.current.kid,
        "insufficient_scope",
        "Ask for a token with all scopes of the challenge",
        "lacking orders:read",
        "a valid token with the scope orders:read",
        "told-of",
        "open",
        "A token came over plain HTTP to this package",
        "2 accepted, 5 refused",
    ):
        assert shown in text


async def test_nothing_of_a_token_is_shown() -> None:
    """
    Neither the token nor a part of it, nor who its user is, in the page or in the JSON.
    """
    fake, board = new_issuer(), StatusBoard()
    app = guarded_app(package_of(fake), board)
    tokens = [
        fake.token(scope="orders:read", sub="alice@example.com", email="alice@example.com"),
        fake.token(scope="private-scope", sub="bob@example.com"),
        fake.token(scope="orders:read", aud="private-audience"),
        fake.token(scope="orders:read", expires_in=-600.0),
    ]
    for token in tokens:
        await ask(app, "/orders", token=token)

    shown = (await ask(app)).text + (await ask(app, headers=HTML)).text

    parts = {part for token in tokens for part in token.split(".")}
    secrets = parts | {"alice", "bob", "private-scope", "private-audience"}
    assert [one for one in secrets if one in shown] == []


@pytest.mark.parametrize(
    ("alive", "seconds", "shown"),
    [
        pytest.param(True, 30.0, "<div>4 min</div>", id="time left"),
        pytest.param(True, 300.0, "expired", id="none left"),
        pytest.param(False, 30.0, "no token", id="no token"),
    ],
)
async def test_tokens_for_calls_of_ours_have_their_time_left(alive: bool, seconds: float, shown: str) -> None:
    """
    What failed last is beside it, and when it will be tried again.
    """
    monotonic = Clock()
    board = StatusBoard(monotonic=monotonic)
    failure = TokenFetchFailed(
        client_id="orders-batch",
        token_host="login.example.com",
        trigger="aging",
        error="http_5xx",
        permanent=False,
        retry_after=400.0,
        token_alive=alive,
    )
    tell(board, fetched(duration=0.0), failure)
    monotonic.now = seconds

    page = (await ask(guarded_app(package_of(new_issuer()), board), headers=HTML)).text

    table = page[page.index('<h2 id="outbound">') : page.index('<h2 id="routes">')]
    assert all(text in table for text in (shown, "1; now: http_5xx", f"in {duration(400.0 - seconds)}"))


async def test_before_the_start_there_is_a_page_too() -> None:
    """
    It says that nothing is started, and what was counted elsewhere.
    """
    board = StatusBoard()
    app = guarded_app(package_of(new_issuer()), board)
    served = status_app(app, board=board)
    board(accepted(package="elsewhere"))

    found = (await ask(served)).json()
    page = await ask(served, headers=HTML)

    assert (found["is_started"], found["is_ready"], found["routes"], found["issuers"]) == (
        False,
        False,
        [],
        [],
    )
    assert found["packages"] == [{"package": "elsewhere", "accepted": 1, "not_enforced": 0, "refused": {}}]
    assert "not started" in page.text
    assert "elsewhere" in page.text


async def test_issuer_that_is_down_is_shown_with_its_last_error() -> None:
    """
    As `guardrail.health` has it, without asking the issuer again.
    """
    fake, board = new_issuer(), StatusBoard()
    fake.go_down()
    app = guarded_app(package_of(fake), board)
    await ask(app, "/orders", token=fake.token())
    asked = fake.request_count

    page = await ask(app, headers=HTML)

    assert "1 in a row; last: ConnectError: the fake issuer is down" in page.text
    assert "not ready" in page.text
    assert "keys_unavailable" in page.text
    assert fake.request_count == asked


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        pytest.param(0.0, "in 10 min", id="new"),
        pytest.param(100.0, "in 8 min", id="aging"),
        pytest.param(600.0, "with the next request", id="due"),
    ],
)
async def test_keys_have_an_age_and_a_next_refresh(seconds: float, shown: str) -> None:
    """
    Their lifetime is what is left of ten minutes.
    """
    fake, board, monotonic = new_issuer(), StatusBoard(), Clock()
    app = guarded_app(package_of(fake), board, monotonic=monotonic)
    await ask(app, "/orders", token=fake.token())
    monotonic.now = seconds

    page = await ask(app, headers=HTML)

    assert shown in page.text
    assert duration(seconds) in page.text


async def test_keys_in_hand_are_never_refreshed() -> None:
    """
    They have no age.
    """
    fake, board = new_issuer(), StatusBoard()
    issuer = replace(fake.issuer, keys=fake.keys.jwks(), required=False)
    app = guarded_app(ServicePackage("orders", issuer=issuer, audience=fake.audience), board)
    await ask(app, "/orders")

    page = await ask(app, headers=HTML)

    assert all(text in page.text for text in ("in hand", "never", "not required"))


@pytest.mark.parametrize("of", ["middleware", "package"])
async def test_what_is_not_enforced_is_said(of: str) -> None:
    """
    Of the package, with how many were served all the same, and of each refusal.
    """
    fake, board = new_issuer(), StatusBoard()
    settings: dict[str, Any] = {"enforce": False} if of == "middleware" else {}
    app = guarded_app(package_of(fake, enforce=of != "package"), board, **settings)

    response = await ask(app, "/orders")
    found, page = (await ask(app)).json(), (await ask(app, headers=HTML)).text

    assert response.status_code == 200
    assert (found["packages"][0]["is_enforced"], found["packages"][0]["not_enforced"]) == (False, 1)
    assert "not enforced: 1 served all the same" in page
    assert found["refusals"][0]["is_enforced"] is False


async def test_prefixes_are_the_routes_around_a_foreign_application() -> None:
    """
    What they declare is all that is known of it.
    """
    board = StatusBoard()

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("foreign")(scope, receive, send)

    guard = GuardrailMiddleware(
        foreign, prefixes={"/reports": ORDERS.requires("reports:read"), "/": public}, on_event=[board]
    )
    await ask(guard, "/")

    found = (await ask(status_app(guard, board=board))).json()

    assert {(one["path"], one["needs"]) for one in found["routes"]} == {
        ("/reports", "a valid token with the scope reports:read"),
        ("/", "public: no token"),
    }


async def test_what_made_room_is_said() -> None:
    """
    A list that is not complete does not look complete.
    """
    fake, board = new_issuer(), StatusBoard()
    tell(board, *[refused("unknown_key", kid=str(number)) for number in range(203)])

    page = await ask(guarded_app(package_of(fake), board), headers=HTML)

    assert page.text.count("Left out, as seen longest ago: 3.") == 1


# Words


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        pytest.param(ORDERS.requires(), "any valid token", id="any token"),
        pytest.param(ORDERS.requires("a"), "a valid token with the scope a", id="a scope"),
        pytest.param(ORDERS.requires("b", "a", "c"), "a valid token with the scopes b, a and c", id="scopes"),
        pytest.param(
            ORDERS.requires_any("a", "b"), "a valid token with one of the scopes a or b", id="any scope"
        ),
        pytest.param(
            ORDERS.requires("a", roles=["y", "x"], access_groups=["G"]),
            "a valid token with the scope a; one of the roles x or y; the access group G",
            id="operator's rights",
        ),
        pytest.param(
            ORDERS.requires(acr_values=["mfa", "hwk"], max_age=90.0),
            "a valid token with authentication as mfa or hwk; authentication at most 90 s ago",
            id="step-up",
        ),
        pytest.param(
            any_of(ORDERS.requires("a"), ORDERS.requires(roles=["r"])),
            "for orders: a valid token with the scope a, or for orders: a valid token with the role r",
            id="alternatives",
        ),
        pytest.param(None, "public: no token", id="public"),
    ],
)
def test_policies_are_told_in_words(requirement: Alternatives | None, words: str) -> None:
    """
    All that a route needs, as a person would say it.
    """
    assert needs(Declaration(requirement, "endpoint")) == words


def test_what_declares_nothing_is_undeclared() -> None:
    """
    Such a route is never served; where it is listed, it is called by its name.
    """
    assert needs(None) == "undeclared"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (0.99, "0 s"),
        (1.0, "1 s"),
        (59.9, "59 s"),
        (60.0, "1 min"),
        (3_599.0, "59 min"),
        (3_600.0, "1 h"),
        (86_399.0, "23 h"),
        (86_400.0, "1 d"),
        (-0.5, "0 s"),
        (-90.0, "-1 min"),
    ],
)
def test_durations_are_told_in_their_largest_unit(seconds: float, words: str) -> None:
    """
    Cut off, never rounded up: what has not passed is not said to have.
    """
    assert duration(seconds) == words


# Escaping


async def test_nothing_that_is_shown_becomes_an_element() -> None:
    """
    Hostile text in every field of every event: the page has the elements it has with harmless text.
    """
    pages = []
    for text in ("harmless", HOSTILE):
        board = StatusBoard()
        tell(board, *one_of_each(text))
        pages.append(await ask(guarded_app(package_of(new_issuer()), board), headers=HTML))

    harmless, hostile = (Elements(page.text) for page in pages)
    shapes = [[(tag, sorted(attributes)) for tag, attributes in one.found] for one in (harmless, hostile)]
    assert shapes[0] == shapes[1]
    assert "".join(hostile.text).count(HOSTILE) >= len(one_of_each())
    assert [name for _, attributes in hostile.found for name in attributes if name.startswith("on")] == []


async def test_hostile_text_stays_a_string_in_json() -> None:
    """
    ASCII, and no markup that a browser could take it for: it is told not to guess.
    """
    board = StatusBoard()
    tell(board, *one_of_each(HOSTILE + "\u2028é"))

    response = await ask(guarded_app(package_of(new_issuer()), board))

    assert response.content.isascii()
    assert response.json()["clients"][0]["client_id"] == HOSTILE + "\u2028é"
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_hostile_tokens_reach_the_page_as_text() -> None:
    """
    The same from the road: a client ID and a key ID of a caller's choice.
    """
    fake, board = new_issuer(), StatusBoard()
    app = guarded_app(package_of(fake), board)
    await ask(app, "/orders", token=fake.token(scope="orders:read", client_id="<b>client</b>"))
    await ask(app, "/orders", token=fake.token(headers={"kid": "<b>kid</b>"}))

    page = (await ask(app, headers=HTML)).text

    assert "<b>" not in page
    assert "&lt;b&gt;client&lt;/b&gt;" in page
    assert "&lt;b&gt;kid&lt;/b&gt;" in page


# To whom


def shell() -> ASGIApp:
    """
    The page with nothing on it.
    """
    return status_page("/status/data")


def public_app() -> ASGIApp:
    """
    The page with everything on it.
    """
    return guarded_app(package_of(new_issuer()), StatusBoard())


BOTH = pytest.mark.parametrize("make", [public_app, shell], ids=["status_app", "status_page"])


@BOTH
async def test_fields_keep_browsers_from_doing_more(make: Any) -> None:
    """
    No cache keeps it, no page frames it, no other site reads it, and nothing runs but our own script.
    """
    response = await ask(make(), headers=HTML)

    policy = response.headers["content-security-policy"]
    directives = dict(one.strip().split(" ", 1) for one in policy.split(";"))
    scripts = re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    assert (len(scripts), len(styles)) == (1, 1)
    assert directives == {
        "default-src": "'none'",
        "script-src": hash_of(scripts[0]),
        "style-src": hash_of(styles[0]),
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert {name: response.headers[name] for name in FIELDS} == FIELDS
    assert response.headers["content-length"] == str(len(response.content))


FIELDS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def hash_of(text: str) -> str:
    """
    A source expression of Content Security Policy.
    """
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


@BOTH
async def test_page_asks_for_nothing_from_elsewhere(make: Any) -> None:
    """
    No image, font, script or style has a URL, and no element has a handler or a style of its own.
    """
    page = Elements((await ask(make(), headers=HTML)).text)

    names = {name for _, attributes in page.found for name in attributes}
    targets = [attributes["href"] for _, attributes in page.found if "href" in attributes]
    assert names.isdisjoint({"src", "style", "action", "srcset"})
    assert [one for one in names if one.startswith("on")] == []
    assert all(target is not None and target.startswith("#") for target in targets)


@BOTH
async def test_head_is_get_without_a_body(make: Any) -> None:
    """
    The same fields (RFC 9110 §9.3.2).
    """
    app = make()

    get, head = await ask(app, headers=HTML), await ask(app, method="HEAD", headers=HTML)

    assert (head.status_code, head.content) == (200, b"")
    assert [(name, value) for name, value in head.headers.items() if name != "content-length"] == [
        (name, value) for name, value in get.headers.items() if name != "content-length"
    ]


@BOTH
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def test_other_methods_are_405(make: Any, method: str) -> None:
    """
    There is nothing to do but read (RFC 9110 §15.5.6); the answer is no less protected.
    """
    response = await ask(make(), method=method, headers=HTML)

    assert (response.status_code, response.headers["allow"], response.content) == (405, "GET, HEAD", b"")
    assert {name: response.headers[name] for name in FIELDS} == FIELDS


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(status_app(public_app(), board=StatusBoard()), id="status_app"),
        pytest.param(shell(), id="status_page"),
    ],
)
async def test_handshakes_are_denied(app: ASGIApp) -> None:
    """
    It is no WebSocket.
    """
    sent: list[Message] = await connect(app, handshake("/status"))

    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 405)


async def test_other_scopes_are_refused() -> None:
    """
    It serves requests alone, whatever a server asks besides.
    """

    async def never(*_: object) -> Any:
        raise AssertionError("nothing is sent or received")

    with pytest.raises(PolicyError, match="lifespan"):
        await status_page("/data")({"type": "lifespan"}, never, never)


@BOTH
@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        pytest.param(None, None, 200, id="not a browser"),
        pytest.param("none", "navigate", 200, id="typed"),
        pytest.param("same-origin", "cors", 200, id="its own script"),
        pytest.param("cross-site", "navigate", 200, id="a link"),
        pytest.param("cross-site", "cors", 403, id="another site's script"),
        pytest.param("cross-site", "no-cors", 403, id="another site's image"),
        pytest.param("same-site", "cors", 403, id="a script of another subdomain"),
        pytest.param("cross-site", None, 403, id="no mode said"),
        pytest.param("what", "cors", 403, id="an unknown site"),
    ],
)
async def test_other_sites_get_nothing(make: Any, site: str | None, mode: str | None, status: int) -> None:
    """
    Even where a CORS layer lets every origin in.
    """
    said = {"sec-fetch-site": site, "sec-fetch-mode": mode}

    response = await ask(make(), headers=HTML | {name: one for name, one in said.items() if one is not None})

    assert response.status_code == status
    assert ("<main>" in response.text) is (status == 200)


async def test_guarded_by_a_requirement_it_asks_for_a_token() -> None:
    """
    The data is for who has the scope; the page around it is for everybody, and has nothing on it.
    """
    fake, board = new_issuer(), StatusBoard()
    orders = package_of(fake)
    data = Route("/data", orders.requires("status:read")(status_app(board=board)))
    page = Route("/page", public(status_page("/data")))
    app = guarded_app(orders, board, data, page)

    without = await ask(app, "/data", headers=HTML)
    answers = [
        await ask(app, "/data", headers=HTML, token=fake.token(scope=scope))
        for scope in ("orders:read", "status:read")
    ]
    empty = await ask(app, "/page", headers=HTML)

    assert [one.status_code for one in (without, *answers, empty)] == [401, 403, 200, 200]
    assert [ISSUER in one.text for one in (without, *answers, empty)] == [False, False, True, False]
    assert 'data-source="/data"' in empty.text


# Made wrongly


async def test_application_without_the_middleware_is_refused() -> None:
    """
    It says what is missing, when it is asked: before, the application is not known.
    """
    app = Starlette(routes=[Route("/status", status_app(board=StatusBoard()))])

    with pytest.raises(MiddlewareMissingError):
        await ask(app)


@pytest.mark.parametrize("board", [None, "board", StatusBoard, lambda _: None])
def test_what_is_no_board_is_refused(board: Any) -> None:
    """
    At once, with the right form.
    """
    with pytest.raises(PolicyError, match=r"on_event=\[board\]"):
        status_app(board=board)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "data",
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/\t/evil.example",
        "/é",
        None,
        7,
    ],
)
def test_source_elsewhere_is_refused(source: Any) -> None:
    """
    A token goes to the page's own origin: nothing that a browser may take for another host.
    """
    with pytest.raises(PolicyError, match="/status/data"):
        status_page(source)


async def test_source_is_escaped() -> None:
    """
    It is configuration, and no markup either.
    """
    page = await ask(status_page('/a?b="><script>x</script>&c'))

    assert Elements(page.text).found.count(("script", {})) == 1
    assert next(attributes for tag, attributes in Elements(page.text).found if tag == "body") == {
        "data-source": '/a?b="><script>x</script>&c'
    }


# Its looks


def palettes() -> list[dict[str, str]]:
    """
    The colours of both schemes.
    """
    style = resources.files("guardrail").joinpath("status", "page.css").read_text("utf-8")
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    found = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", part)) for part in (light, dark)]
    assert found[0].keys() == found[1].keys()
    return found


def luminance(colour: str) -> float:
    """
    Relative luminance (WCAG 2.2).
    """
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("ink", "paper"),
        ("ink", "shade"),
        ("quiet", "paper"),
        ("quiet", "shade"),
        ("good", "good-paper"),
        ("warning", "warning-paper"),
        ("bad", "bad-paper"),
        ("focus", "paper"),
    ],
)
@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_contrast(scheme: int, text: str, ground: str) -> None:
    """
    At least 4.5 to 1 (WCAG 2.2, 1.4.3), in both schemes.
    """
    colours = palettes()[scheme]

    lighter, darker = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)

    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


async def test_json_is_what_the_page_is_made_of() -> None:
    """
    Both are of one report, so that neither knows more.
    """
    board = StatusBoard(clock=Clock(1_800_000_000.0), monotonic=Clock())
    tell(board, *one_of_each("text"))
    app = guarded_app(package_of(new_issuer()), board)

    first, second = (await ask(app)).json(), (await ask(app)).json()

    assert first == second == json.loads(json.dumps(first))
