"""
An API that answers 401: when the token is renewed, when the request is sent again.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from .kit import API, World, granted, names, refused, rejecting

pytestmark = pytest.mark.anyio

AGE = 10.0  # seconds after which a token is no longer new


def aged(*answers: Any, **arguments: Any) -> World:
    """
    A profile with ``token-1`` in hand, not new, and an API that wants another.
    """
    world = World(granted("token-1"), *answers, **arguments)
    world.get()
    world.now += AGE
    world.calls.clear()
    world.api = rejecting("token-1")
    return world


def told(world: World) -> list[tuple[bool, str]]:
    return [(event.retried, event.reason) for event in world.named("token_rejected")]


def test_a_401_renews_and_retries() -> None:
    """
    The caller sees the second answer; the first one is in its history.
    """
    world = aged()

    response = world.get()

    assert response.status_code == 200
    assert [one.status_code for one in response.history] == [401]
    assert world.tokens_sent == ["token-1", "token-2"]
    assert told(world) == [(True, "invalid_token")]
    assert world.named("token_fetched")[1].trigger == "rejected"
    assert world.named("token_rejected")[0].host == "api.example.com"


async def test_a_401_renews_and_retries_on_an_event_loop() -> None:
    """
    Likewise with `httpx.AsyncClient`.
    """
    world = aged()

    async with world.async_client() as client:
        response = await client.post("/invoices", json={"a": 1})

    assert response.status_code == 200
    assert world.tokens_sent == ["token-1", "token-2"]
    assert [json.loads(request.content) for request in world.calls] == [{"a": 1}] * 2


@pytest.mark.parametrize(
    ("challenge", "renews"),
    [
        pytest.param(None, True, id="none"),
        pytest.param('Bearer realm="a"', True, id="no error"),
        pytest.param('Bearer error="invalid_token"', True, id="invalid_token"),
        pytest.param('Bearer error="insufficient_scope"', False, id="insufficient_scope"),
        pytest.param('Basic realm="a"', False, id="another scheme"),
    ],
)
def test_the_challenge_decides(challenge: str | None, renews: bool) -> None:
    """
    Only a challenge that blames the token, or nothing in particular, renews it.
    """
    world = aged()
    world.api = rejecting("token-1", challenge=challenge)

    response = world.get()

    assert response.status_code == (200 if renews else 401)
    assert len(world.requests) == (2 if renews else 1)


@pytest.mark.parametrize("status", [400, 403, 407, 500])
def test_no_other_status_renews(status: int) -> None:
    """
    403 above all: another token would have the same rights.
    """
    world = aged()
    world.api = lambda _request: httpx.Response(status, headers={"www-authenticate": "Bearer"})

    assert world.get().status_code == status
    assert (len(world.requests), told(world)) == (1, [])


def test_another_token_in_hand_is_tried() -> None:
    """
    If somebody else has renewed it meanwhile, the request is sent again with that token; nothing is fetched.
    """
    world = aged()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == "Bearer token-1":
            if len(world.requests) == 1:
                world.profile.invalidate("token-1")
                assert asyncio.run(world.profile.token()) == "token-2"
            return httpx.Response(401)
        return httpx.Response(200)

    world.api = answer

    assert world.get().status_code == 200
    assert (len(world.requests), told(world)) == (2, [(True, "invalid_token")])


def test_a_late_401_to_an_old_token_is_retried() -> None:
    """
    That this origin has had the token renewed just now is no reason to keep the 401 of a call from before.
    """
    world = aged()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] != "Bearer token-1":
            return httpx.Response(200)
        if request.url.path == "/slow":
            assert world.get("/fast").status_code == 200
        return httpx.Response(401)

    world.api = answer

    assert world.get("/slow").status_code == 200
    assert (len(world.requests), told(world)) == (2, [(True, "invalid_token")] * 2)


def test_a_401_of_another_origin_renews_nothing() -> None:
    """
    Not even where httpx takes the token along: from port 80 to TLS on the same host.
    """
    world = World(granted("token-1"))
    world.get()
    world.now += AGE

    def answer(request: httpx.Request) -> httpx.Response:
        is_plain = request.url.scheme == "http"
        return (
            httpx.Response(307, headers={"location": "https://localhost/"})
            if is_plain
            else httpx.Response(401)
        )

    world.api = answer
    with world.client(follow_redirects=True) as client:
        assert client.get("http://localhost/").status_code == 401

    assert world.tokens_sent[1:] == ["token-1", "token-1"]
    assert (len(world.requests), told(world)) == (1, [])


def test_a_token_of_this_call_is_kept() -> None:
    """
    A token that was fetched for this very call is not blamed, however long that took.
    """
    world = World()

    def slow(_request: httpx.Request) -> httpx.Response:
        world.now += 30.0
        return httpx.Response(401)

    world.api = slow

    assert world.get().status_code == 401
    assert (len(world.requests), told(world)) == (1, [(False, "fresh_token")])
    assert asyncio.run(world.profile.token()) == "token-1"


@pytest.mark.parametrize(
    ("age", "renews"), [pytest.param(4.9, False, id="new"), pytest.param(5.1, True, id="no longer")]
)
def test_a_new_token_is_kept(age: float, renews: bool) -> None:
    """
    For 5 s another call's 401 does not renew it either.
    """
    world = World()
    world.get()
    world.now += age
    world.api = rejecting("token-1")

    world.get()

    assert told(world) == [(True, "invalid_token") if renews else (False, "fresh_token")]
    assert len(world.requests) == (2 if renews else 1)


@pytest.mark.parametrize(
    ("pause", "renews"), [pytest.param(59.0, False, id="too soon"), pytest.param(60.0, True, id="later")]
)
def test_an_origin_renews_once_a_minute(pause: float, renews: bool) -> None:
    """
    An API that rejects every token costs one renewal a minute, not two requests for each of its own.
    """
    world = aged()
    world.api = rejecting("token-1", "token-2")
    world.get()
    world.now += pause

    world.get()

    rejected_twice = [(True, "invalid_token"), (False, "fresh_token")]
    assert told(world) == rejected_twice + ([(True, "invalid_token")] if renews else [(False, "too_soon")])
    assert len(world.requests) == (3 if renews else 2)


def test_another_origin_may_renew_meanwhile() -> None:
    """
    The pause is each origin's own.
    """
    world = aged()
    world.get()
    world.now += AGE
    world.api = rejecting("token-2")

    assert world.get("https://other.example.com/").status_code == 200
    assert len(world.requests) == 3


def test_one_retry() -> None:
    """
    The second 401 is the answer.
    """
    world = aged()
    world.api = lambda _request: httpx.Response(401)

    response = world.get()

    assert (response.status_code, len(world.calls), len(world.requests)) == (401, 2, 2)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="none"),
        pytest.param({"content": b"bytes"}, id="bytes"),
        pytest.param({"content": "text"}, id="text"),
        pytest.param({"data": {"a": "b"}}, id="form"),
        pytest.param({"json": [1]}, id="JSON"),
    ],
)
def test_a_body_in_memory_is_sent_again(body: dict[str, Any]) -> None:
    """
    The second request has the same body.
    """
    world = aged()

    with world.client() as client:
        response = client.post("/invoices", **body)

    assert response.status_code == 200
    assert world.calls[0].content == world.calls[1].content


def chunks() -> Iterator[bytes]:
    yield b"a"
    yield b"b"


async def async_chunks() -> AsyncIterator[bytes]:
    yield b"a"


def test_a_streamed_body_is_not_sent_again() -> None:
    """
    The 401 is returned; the token is renewed for the next request all the same.
    """
    world = aged()

    with world.client() as client:
        response = client.post("/invoices", content=chunks())
        after = client.get("/invoices")

    assert (response.status_code, after.status_code) == (401, 200)
    assert world.tokens_sent == ["token-1", "token-2"]
    assert told(world) == [(False, "streamed_body")]
    assert len(world.requests) == 2


async def test_an_asynchronous_stream_is_not_sent_again() -> None:
    """
    Likewise for an asynchronous one.
    """
    world = aged()

    async with world.async_client() as client:
        response = await client.post("/invoices", content=async_chunks())

    assert response.status_code == 401
    assert told(world) == [(False, "streamed_body")]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_renewal_that_fails_returns_the_401(is_streamed: bool) -> None:
    """
    The caller gets the API's answer and not an exception; the next call has no token to be sent with.
    """
    world = aged(refused(503))

    async with world.async_client() as client:
        content = async_chunks() if is_streamed else b""
        response = await client.post("/invoices", content=content)

    assert response.status_code == 401
    assert told(world) == [(False, "streamed_body" if is_streamed else "invalid_token")]
    assert names(world.events)[-2:] == ["token_fetch_failed", "token_rejected"]
    assert world.named("token_fetch_failed")[0].trigger == "rejected"


def test_a_renewal_during_a_pause_returns_the_401() -> None:
    """
    Where it is not time to ask again, nothing is asked, and the 401 is returned.
    """
    world = World(granted("token-1", expires_in=1_000), httpx.Response(503))
    world.get()
    world.now += 900.0
    world.get()
    world.wait_for("token_fetch_failed")
    world.api = rejecting("token-1")

    response = world.get()

    assert (response.status_code, len(world.requests)) == (401, 2)
    assert told(world) == [(False, "invalid_token")]


def test_a_failed_renewal_does_not_count_as_one() -> None:
    """
    The minute's pause of an origin begins with a renewal that brought a token.
    """
    world = aged(refused(503))
    world.get()
    world.now += 1.0
    world.get()
    world.now += AGE
    world.api = rejecting("token-3")

    assert world.get().status_code == 200
    assert told(world)[-1] == (True, "invalid_token")


def test_many_401_at_once_are_one_renewal() -> None:
    """
    Calls that were under way with the old token share one renewal, and all are sent again.
    """
    world = aged()
    together = threading.Barrier(8, timeout=20)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == "Bearer token-1":
            together.wait()
            return httpx.Response(401)
        return httpx.Response(200)

    world.api = answer
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(world.get().status_code)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert statuses == [200] * 8
    assert len(world.requests) == 2


def test_the_first_answer_is_closed_before_the_second_request() -> None:
    """
    httpx gives the connection of the 401 back: its body is read, the second answer is the caller's.
    """
    world = aged()

    def answer(request: httpx.Request) -> httpx.Response:
        is_old = request.headers["authorization"] == "Bearer token-1"
        return httpx.Response(401 if is_old else 200, text="old" if is_old else "new")

    world.api = answer
    with world.client() as client, client.stream("GET", f"{API}/invoices") as response:
        text = response.read().decode()

    assert text == "new"
    assert response.history[0].is_closed
