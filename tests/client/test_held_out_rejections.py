"""
The contract of outbound tokens: on the way to the API, and back with a 401.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from guardrail.errors import PolicyError

from .loopback import TLS, Answer, Party, Request, Scene, grant, refusal, serving

pytestmark = pytest.mark.anyio

INVALID = 'Bearer error="invalid_token"'


def rejecting(*challenges: str, tokens: tuple[str, ...] = ("token-1",)) -> Callable[[Request], Answer]:
    """
    An API that answers 401 to these tokens, with a field for each challenge.
    """

    def answer(request: Request) -> Answer:
        fields = tuple(("WWW-Authenticate", one) for one in challenges)
        return Answer(401, b"no", fields) if request.token in tokens else Answer(200, request.body)

    return answer


def aged(party: Party, *answers: Any, age: float = 10.0, **arguments: Any) -> Scene:
    """
    A profile with ``token-1`` in hand, so old, and an API that does not want it.
    """
    scene = Scene(party, grant("token-1"), *answers, **arguments)
    scene.get()
    party.got.clear()
    party.answers[:] = party.answers or [grant("token-2"), grant("token-3")]
    scene.now += age
    party.api = rejecting()
    return scene


def told(scene: Scene) -> list[tuple[bool, str]]:
    return [(event.retried, event.reason) for event in scene.named("token_rejected")]


RENEWS: dict[str, tuple[str, ...]] = {
    "missing": (),
    "bearer-alone": ("Bearer",),
    "bearer-lower-case": ("bearer",),
    "bearer-upper-case": ('BEARER REALM="x", ERROR="invalid_token"',),
    "realm": ('Bearer realm="orders"',),
    "invalid-token": (INVALID,),
    "invalid-token-unquoted": ("Bearer error=invalid_token",),
    "spaces-around-equals": ('Bearer error = "invalid_token"',),
    "no-space-after-comma": ('Bearer realm="x",error="invalid_token",error_description="y"',),
    "error-first": ('Bearer error="invalid_token", realm="x", scope="a b"',),
    "error-word-in-realm": (r'Bearer realm="a, error=\"insufficient_scope\""',),
    "error-in-description": ('Bearer error_description="error=insufficient_scope"',),
    "other-parameter": ('Bearer xerror="insufficient_scope"',),
    "second-in-one-field": ('Basic realm="x", Bearer',),
    "second-with-error": ('Basic realm="x", Bearer error="invalid_token"',),
    "first-in-one-field": ('Bearer realm="x", Basic realm="y"',),
    "error-of-another-scheme": ('Bearer realm="x", DPoP error="insufficient_scope"',),
    "second-field": ('Basic realm="x"', INVALID),
    "first-field": (INVALID, "Negotiate"),
    "third-field": ("Negotiate", 'DPoP algs="ES256"', "Bearer"),
    "after-token68": ("Negotiate YWJj==, Bearer",),
    "two-bearers": ('Bearer error="insufficient_scope"', INVALID),
    "empty-elements": (", ,Bearer , ,",),
    "rubbish-before": ("@@@, Bearer",),
    "tabs": ('Bearer\trealm="x"', "Bearer"),
}
KEEPS: dict[str, tuple[str, ...]] = {
    "basic": ('Basic realm="x"',),
    "dpop": ('DPoP error="invalid_token"',),
    "several-others": ('Basic realm="x", Digest realm="y", nonce="z"',),
    "insufficient-scope": ('Bearer error="insufficient_scope"',),
    "invalid-request": ('Bearer realm="x", error="invalid_request"',),
    "step-up": ('Bearer error="insufficient_user_authentication", acr_values="x"',),
    "unquoted-other": ("Bearer error=insufficient_scope",),
    "error-empty": ('Bearer error=""',),
    "error-upper-case": ('Bearer error="INVALID_TOKEN"',),
    "longer-name": ("BearerX",),
    "shorter-name": ("Bear er",),
    "bearer-in-realm": ('Basic realm="Bearer"',),
    "challenge-in-realm": (r'Basic realm="x, Bearer error=\"invalid_token\""',),
    "bearer-as-parameter": ('Basic bearer="x"',),
    "error-after-basic": ('Basic realm="x", error="invalid_token"',),
    "error-twice": ('Bearer error="insufficient_scope", error="invalid_token"',),
}


@pytest.mark.parametrize("challenges", RENEWS.values(), ids=RENEWS)
def test_a_challenge_that_renews(party: Party, challenges: tuple[str, ...]) -> None:
    """
    No challenge, or a Bearer one that blames no more than the token: renewed, and sent once more.
    """
    scene = aged(party)
    party.api = rejecting(*challenges)

    assert scene.get().status_code == 200
    assert [one.token for one in party.calls] == ["token-1", "token-2"]
    assert told(scene) == [(True, "invalid_token")]
    assert [one.trigger for one in scene.named("token_fetched")] == ["missing", "rejected"]


@pytest.mark.parametrize("challenges", KEEPS.values(), ids=KEEPS)
def test_a_challenge_that_renews_nothing(party: Party, challenges: tuple[str, ...]) -> None:
    """
    Another scheme or another error: the 401 is returned, and the token kept.
    """
    scene = aged(party)
    party.api = rejecting(*challenges)

    assert scene.get().status_code == 401
    assert [one.token for one in party.calls] == ["token-1"]
    assert party.token_requests == []
    assert told(scene) == []


@pytest.mark.parametrize("status", [400, 402, 403, 404, 407, 419, 498, 500, 503])
def test_no_other_status_renews(party: Party, status: int) -> None:
    """
    Whatever a 403 or another status says in its challenge, the token is kept.
    """
    scene = aged(party)
    party.api = lambda _request: Answer(status, b"", (("WWW-Authenticate", INVALID),))

    assert scene.get().status_code == status
    assert party.token_requests == []


@pytest.mark.parametrize(
    ("age", "reason"), [(0.0, "fresh_token"), (4.99, "fresh_token"), (5.0, None), (5.01, None)]
)
def test_a_new_token_is_kept(party: Party, age: float, reason: str | None) -> None:
    """
    A token obtained less than 5 seconds ago is not blamed.
    """
    scene = aged(party, age=age)

    assert scene.get().status_code == (401 if reason else 200)
    assert told(scene) == [(False, reason) if reason else (True, "invalid_token")]


def test_a_token_of_this_very_call_is_kept(party: Party) -> None:
    """
    However long the API takes to say no.
    """
    scene = Scene(party)

    def slow(request: Request) -> Answer:
        scene.now += 30.0
        return rejecting()(request)

    party.api = slow

    assert scene.get().status_code == 401
    assert told(scene) == [(False, "fresh_token")]
    assert len(party.token_requests) == 1


@pytest.mark.parametrize(("later", "status"), [(59.99, 401), (60.0, 200)])
def test_an_origin_renews_once_a_minute(party: Party, later: float, status: int) -> None:
    """
    An API that wants no token costs one renewal a minute.
    """
    scene = aged(party)
    scene.get()
    scene.now += later
    party.api = rejecting(tokens=("token-1", "token-2"))

    assert scene.get().status_code == status
    assert told(scene)[1:] == [(False, "too_soon") if status == 401 else (True, "invalid_token")]


def test_another_origin_has_a_minute_of_its_own(party: Party) -> None:
    """
    What one API does to the token does not count against another.
    """
    scene = aged(party)
    scene.get()
    scene.now += 10.0
    with serving() as other:
        other.api = rejecting(tokens=("token-2",))
        response = scene.get(f"{other.origin}/api")

    assert response.status_code == 200
    assert [one.token for one in other.calls] == ["token-2", "token-3"]


def test_another_token_in_hand_is_tried(party: Party) -> None:
    """
    When the profile holds another token by now, that is sent, however new it is.
    """
    scene = aged(party)

    def late(request: Request) -> Answer:
        if request.token == "token-1":
            scene.profile.invalidate("token-1")
            asyncio.run(scene.profile.token())
        return rejecting()(request)

    party.api = late

    assert scene.get().status_code == 200
    assert [one.token for one in party.calls] == ["token-1", "token-2"]
    assert len(party.token_requests) == 1


def test_there_is_one_retry(party: Party) -> None:
    """
    The second 401 is returned.
    """
    scene = aged(party)
    party.api = rejecting(tokens=("token-1", "token-2", "token-3"))

    assert scene.get().status_code == 401
    assert [one.token for one in party.calls] == ["token-1", "token-2"]
    assert len(party.token_requests) == 1


BODIES: dict[str, dict[str, Any]] = {
    "bytes": {"content": b"\x00\xff"},
    "text": {"content": "é"},
    "form": {"data": {"a": "b c"}},
    "json": {"json": {"a": [1]}},
    "none": {},
    "empty": {"content": b""},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_in_memory_is_sent_again(party: Party, body: dict[str, Any]) -> None:
    """
    The same method, target, fields and body, but for the token.
    """
    scene = aged(party)

    response = scene.send("POST", "/api?q=%20#f", headers={"x-mine": "1", "cookie": "a=b"}, **body)

    first, second = party.calls
    assert response.status_code == 200
    assert (first.method, first.path, first.body) == (second.method, second.path, second.body)
    differ = set(first.fields) ^ set(second.fields)
    assert {name.lower() for name, _ in differ} == {"authorization"}


def _pieces() -> Iterator[bytes]:
    yield b"a"
    yield b"b"


async def _async_pieces() -> AsyncIterator[bytes]:
    for piece in _pieces():
        yield piece


def test_a_stream_is_not_sent_again(party: Party) -> None:
    """
    The 401 is returned, and the token renewed for the next request all the same.
    """
    scene = aged(party)

    assert scene.send("POST", content=_pieces()).status_code == 401
    assert told(scene) == [(False, "streamed_body")]
    assert scene.get().status_code == 200
    assert [one.token for one in party.calls] == ["token-1", "token-2"]
    assert len(party.token_requests) == 1


async def test_an_asynchronous_stream_is_not_sent_again(party: Party) -> None:
    """
    Likewise on an event loop.
    """
    scene = aged(party)
    async with httpx.AsyncClient(auth=scene.profile, base_url=party.origin, verify=TLS) as client:
        streamed = await client.post("/api", content=_async_pieces())
        after = await client.post("/api", json={})

    assert (streamed.status_code, after.status_code) == (401, 200)
    assert [one.body for one in party.calls] == [b"ab", b"{}"]


@pytest.mark.parametrize(
    "answer", [refusal(503, "x"), refusal(401), Answer(200, b"no")], ids=["503", "401", "page"]
)
def test_a_renewal_that_fails_returns_the_401(party: Party, answer: Answer) -> None:
    """
    The 401 says more to the caller than that there is no token.
    """
    scene = aged(party, answer)

    response = scene.get()

    assert (response.status_code, response.content) == (401, b"no")
    assert told(scene) == [(False, "invalid_token")]
    assert scene.named("token_fetch_failed")[0].trigger == "rejected"


async def test_many_401_are_one_renewal(party: Party) -> None:
    """
    Twenty requests with one rejected token cost one token request, and all succeed.
    """
    scene = aged(party)
    async with httpx.AsyncClient(auth=scene.profile, base_url=party.origin, verify=TLS) as client:
        found = await asyncio.gather(*(client.get("/api") for _ in range(20)))

    assert {one.status_code for one in found} == {200}
    assert len(party.token_requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_token_goes_to_no_other_origin(party: Party, status: int) -> None:
    """
    Another port is another origin: no token is sent there, and its 401 renews nothing.
    """
    scene = aged(party)
    with serving() as other:
        other.api = lambda _request: Answer(401, b"", (("WWW-Authenticate", INVALID),))
        party.api = lambda _request: Answer(status, b"", (("Location", f"{other.origin}/api"),))
        response = scene.get(follow_redirects=True)

    assert response.status_code == 401
    assert [one.header("authorization") for one in other.calls] == [None]
    assert party.token_requests == []
    assert told(scene) == []


def test_a_way_there_and_back_renews_nothing(party: Party) -> None:
    """
    A 401 to a request that came back without its token does not blame it.
    """
    scene = aged(party)
    with serving() as other:
        other.api = lambda _request: Answer(302, b"", (("Location", f"{party.origin}/api/back"),))
        party.api = lambda request: (
            Answer(401)
            if request.path == "/api/back"
            else Answer(302, b"", (("Location", f"{other.origin}/api"),))
        )
        response = scene.get(follow_redirects=True)

    assert response.status_code == 401
    assert party.token_requests == []


def test_an_upgrade_to_https_is_another_origin(party: Party) -> None:
    """
    httpx keeps credentials from http to https on one host; a 401 of that other origin renews nothing.
    """
    scene = aged(party)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "http":
            return httpx.Response(307, headers={"location": "https://localhost/api"})
        return httpx.Response(401, headers={"www-authenticate": INVALID})

    with httpx.Client(auth=scene.profile, transport=httpx.MockTransport(answer)) as client:
        response = client.get("http://localhost/api", follow_redirects=True)

    assert (response.status_code, response.request.url.scheme) == (401, "https")
    assert party.token_requests == []


def test_a_redirect_on_the_same_origin_takes_the_token_along(party: Party) -> None:
    """
    There the token is at home, and a 401 blames it.
    """
    scene = aged(party)
    party.api = lambda request: (
        rejecting()(request)
        if request.path == "/api/there"
        else Answer(307, b"", (("Location", "/api/there"),))
    )

    assert scene.get(follow_redirects=True).status_code == 200
    assert [one.token for one in party.calls] == ["token-1", "token-1", "token-2", "token-2"]


@pytest.mark.parametrize(
    ("status", "calls"),
    [
        pytest.param(303, ["POST /api", "GET /api/1"], id="see-other"),
        pytest.param(302, ["POST /api", "GET /api/1"], id="found"),
        pytest.param(308, ["POST /api", "POST /api/1"] * 2, id="permanent"),
    ],
)
def test_what_the_api_has_done_is_not_done_twice(party: Party, status: int, calls: list[str]) -> None:
    """
    A POST that was answered "done, see there" is not sent again because there it says 401; the token is
    renewed for the next request all the same.
    """
    scene = aged(party)
    party.api = lambda request: (
        rejecting()(request) if request.path == "/api/1" else Answer(status, b"", (("Location", "/api/1"),))
    )
    response = scene.send("POST", json={"amount": 1}, follow_redirects=True)

    assert [f"{one.method} {one.path}" for one in party.calls] == calls
    assert response.status_code == (200 if len(calls) == 4 else 401)
    assert told(scene) == [(len(calls) == 4, "invalid_token")]
    assert len(party.token_requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/",
        "http://127.0.0.1.example.com/",
        "http://localhost.example.com/",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://[2001:db8::1]/",
        "http://127.0.0.1@api.example.com/",
        "HTTP://API.EXAMPLE.COM/",
    ],
)
async def test_no_token_in_the_clear(party: Party, url: str) -> None:
    """
    Elsewhere than on loopback a request over http is not sent, and no token is fetched for it.
    """
    scene = Scene(party)
    async with httpx.AsyncClient(auth=scene.profile, verify=TLS) as client:
        with pytest.raises(PolicyError, match="https"):
            await client.get(url)
    with pytest.raises(PolicyError, match="https"):
        scene.get(url)

    assert party.got == []


def test_credentials_of_the_request_are_replaced(party: Party) -> None:
    """
    There is one Authorization field, and it is the token.
    """
    Scene(party).get(headers={"authorization": "Basic bWU6bWU="})

    assert party.calls[0].header("authorization") == "Bearer token-1"
