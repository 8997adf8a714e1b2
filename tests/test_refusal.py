"""
A team's own body for refusals; status and headers stay as they are.
"""

import functools
import json
import logging
from typing import Any

import httpx
import pytest
from road_kit import ask, connect, endpoint, handshake, new_issuer, package_of
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from guardrail import GuardrailMiddleware, Refusal
from guardrail.errors import PolicyError
from guardrail.testing import FakeIssuer

pytestmark = pytest.mark.anyio


def guarded(fake: FakeIssuer, hook: Any = None) -> ASGIApp:
    """
    One route, with *hook* for refusals.
    """
    requires = package_of(fake).requires("orders:read")

    async def feed(websocket: Any) -> None:
        await websocket.accept()

    routes = [Route("/orders", requires(endpoint())), WebSocketRoute("/feed", requires(feed))]
    return GuardrailMiddleware(Starlette(routes=routes), refusal_body=hook)


def envelope(refusal: Refusal) -> dict[str, object]:
    """
    What an organisation may wrap its errors in.
    """
    return {"ok": False, "problem": {"status": refusal.status, "code": refusal.error}}


async def refusals(app: ASGIApp, fake: FakeIssuer) -> dict[int, httpx.Response]:
    """
    One answer for each status that guardrail writes by itself.
    """
    answers = [
        await ask(app, token="x", headers=[("Authorization", "Bearer y")]),
        await ask(app),
        await ask(app, token=fake.token(scope="other")),
        await ask(app, "/nowhere"),
        await ask(app, method="POST"),
    ]
    fake.go_down()
    answers.append(await ask(guarded(fake, envelope), token=fake.token()))
    return {answer.status_code: answer for answer in answers}


async def test_every_refusal_has_the_teams_body() -> None:
    """
    400, 401, 403, 404, 405 and 503 alike, as JSON of the declared length.
    """
    fake = new_issuer()

    answers = await refusals(guarded(fake, envelope), fake)

    assert {status: answer.json()["problem"]["code"] for status, answer in answers.items()} == {
        400: "invalid_request",
        401: None,
        403: "insufficient_scope",
        404: None,
        405: None,
        503: None,
    }
    for answer in answers.values():
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["content-length"] == str(len(answer.content))


async def test_status_and_headers_are_those_without_the_hook() -> None:
    """
    The challenge, ``Allow``, ``Retry-After`` and ``Cache-Control`` are not the hook's business.
    """
    kept = ("www-authenticate", "allow", "retry-after", "cache-control")

    with_hook = await refusals(guarded(new := new_issuer(), envelope), new)
    without = await refusals(guarded(plain := new_issuer()), plain)

    assert with_hook.keys() == without.keys()
    for status, answer in with_hook.items():
        theirs = without[status]
        assert [answer.headers.get(name) for name in kept] == [theirs.headers.get(name) for name in kept]


async def test_the_hook_is_told_what_the_caller_may_know() -> None:
    """
    Status, phrase, OAuth code and fixed text; the request without its credentials.
    """
    fake = new_issuer()
    told: list[Refusal] = []

    def hook(refusal: Refusal) -> dict[str, object]:
        told.append(refusal)
        return {}

    token = fake.token(scope="orders:read", expires_in=-100)
    fields = [
        ("X-Request-Id", "r-1"),
        ("Cookie", "session=secret"),
        ("Proxy-Authorization", "Basic c2VjcmV0"),
    ]

    await ask(guarded(fake, hook), "/orders?api_key=secret", token=token, headers=fields)

    (refusal,) = told
    assert (refusal.status, refusal.title) == (401, "Unauthorized")
    assert (refusal.error, refusal.error_description) == ("invalid_token", "The access token expired")
    assert (b"x-request-id", b"r-1") in refusal.scope["headers"]
    assert refusal.scope["path"] == "/orders"
    assert token not in repr(refusal)
    assert "secret" not in repr(refusal)
    assert "c2VjcmV0" not in repr(refusal)


async def test_a_body_may_be_of_any_media_type() -> None:
    """
    A media type and bytes, for those who do not speak JSON.
    """
    fake = new_issuer()

    answer = await ask(guarded(fake, lambda _: ("application/xml; charset=utf-8", "<no/>é".encode())))

    assert answer.headers["content-type"] == "application/xml; charset=utf-8"
    assert (answer.status_code, answer.content) == (401, "<no/>é".encode())


async def test_head_has_the_length_and_no_body() -> None:
    """
    A refused HEAD says what GET would have said.
    """
    fake = new_issuer()
    app = guarded(fake, envelope)

    head, get = await ask(app, method="HEAD"), await ask(app)

    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]


def fails(refusal: Refusal) -> dict[str, object]:
    """
    A hook with a bug.
    """
    raise LookupError("no template")


@pytest.mark.parametrize(
    "hook",
    [
        pytest.param(fails, id="raises"),
        pytest.param(lambda _: None, id="nothing"),
        pytest.param(lambda _: "text", id="a string"),
        pytest.param(lambda _: ("text/plain",), id="no body"),
        pytest.param(lambda _: ("text/plain", "text"), id="a body of text"),
        pytest.param(lambda _: (b"text/plain", b"text"), id="a media type of bytes"),
        pytest.param(lambda _: ("text/plain\r\nX-Injected: 1", b""), id="a header injected"),
        pytest.param(lambda _: ("text/é", b""), id="not ASCII"),
        pytest.param(lambda _: {"when": object()}, id="not JSON"),
    ],
)
async def test_a_broken_hook_falls_back_to_our_body(hook: Any, caplog: pytest.LogCaptureFixture) -> None:
    """
    The refusal stands, in our words, and the log says what is wrong with the hook.
    """
    fake = new_issuer()
    caplog.set_level(logging.ERROR, logger="guardrail")

    answer = await ask(guarded(fake, hook))

    ours = await ask(guarded(new_issuer()))
    assert (answer.status_code, answer.json()) == (
        401,
        {"type": "about:blank", "title": "Unauthorized", "status": 401},
    )
    assert dict(answer.headers) == dict(ours.headers)
    assert "refusal body hook" in caplog.text


async def test_a_denied_handshake_has_it_too() -> None:
    """
    Where the server can deny a handshake with a response, its body is the team's.
    """
    sent = await connect(guarded(new_issuer(), envelope), handshake("/feed"))

    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert sent[0]["status"] == 401
    assert json.loads(sent[1]["body"])["problem"] == {"status": 401, "code": None}


async def test_an_accepted_request_does_not_call_the_hook() -> None:
    """
    Who is let in sees nothing of it.
    """
    fake = new_issuer()

    answer = await ask(guarded(fake, fails), token=fake.token(scope="orders:read"))

    assert answer.status_code == 200


async def asynchronous(_: object) -> dict[str, object]:
    """
    What would have to be awaited.
    """
    return {"ok": False}


class Asynchronous:
    """
    An object that would have to be awaited.
    """

    async def __call__(self, _: object) -> dict[str, object]:
        return {"ok": False}


@pytest.mark.parametrize("setting", ["refusal_body", "on_event"])
@pytest.mark.parametrize(
    "function",
    [asynchronous, functools.partial(asynchronous), Asynchronous()],
    ids=["function", "partial", "object"],
)
def test_what_nobody_would_await_is_refused_at_construction(setting: str, function: Any) -> None:
    """
    An asynchronous hook or listener would do nothing, and nobody would notice.
    """
    settings: Any = {setting: [function] if setting == "on_event" else function}

    with pytest.raises(PolicyError, match=f"{setting} is not awaited: it must be a plain function"):
        GuardrailMiddleware(Starlette(), **settings)


def test_a_hook_must_be_callable() -> None:
    """
    A body in its place is refused at construction.
    """
    with pytest.raises(PolicyError, match="refusal_body must be callable"):
        guarded(new_issuer(), {"ok": False})
