"""
A profile on an HTTP client: tokens on requests, renewals, failures, as a user sees them.
"""

import asyncio
import base64
import gzip
import logging
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from guardrail.client import AuthenticationProfile
from guardrail.client._call import Call
from guardrail.errors import CODES, PolicyError, TokenUnavailableError, UnavailableError

from .kit import API, ISSUER, SECRET, TOKEN_URL, World, granted, metadata, names, refused

pytestmark = pytest.mark.anyio


def failure(world: World) -> TokenUnavailableError:
    """
    A call of the API fails; the API hears nothing of it.
    """
    before = len(world.calls)
    with pytest.raises(TokenUnavailableError) as failed:
        world.get()
    assert len(world.calls) == before
    return failed.value


def test_the_token_is_fetched_once_and_used() -> None:
    """
    The first request fetches it, later ones and other clients reuse it.
    """
    world = World()

    world.get()
    world.get()

    assert world.tokens_sent == ["token-1", "token-1"]
    assert (len(world.requests), str(world.requests[0].url)) == (1, TOKEN_URL)


async def test_the_same_profile_serves_an_event_loop() -> None:
    """
    Asynchronous clients, synchronous ones and `token` share one token.
    """
    world = World()

    async with world.async_client() as client:
        await client.get("/invoices")
    await asyncio.to_thread(world.get)

    assert await world.profile.token() == "token-1"
    assert world.tokens_sent == ["token-1", "token-1"]
    assert len(world.requests) == 1


def test_credentials_on_the_request_are_replaced() -> None:
    """
    The profile's token is the only Authorization field.
    """
    world = World()

    with world.client(headers={"Authorization": "Basic eDp5"}) as client:
        client.get("/invoices")

    assert world.calls[0].headers.get_list("authorization") == ["Bearer token-1"]


@pytest.mark.parametrize("url", ["http://api.example.com/a", "http://192.0.2.1/", "ftp://localhost/"])
async def test_no_token_in_the_clear(url: str) -> None:
    """
    To another machine without TLS nothing is sent, and no token is fetched for it.
    """
    world = World()

    with pytest.raises(PolicyError, match="https only"):
        world.get(url)
    with pytest.raises(PolicyError, match="https only"):
        async with world.async_client() as client:
            await client.get(url)

    assert (world.requests, world.calls) == ([], [])


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/a", "http://localhost/", "http://[::1]:1/", f"{API}/"]
)
def test_loopback_needs_no_tls(url: str) -> None:
    """
    What never leaves the machine may be plain.
    """
    world = World()

    assert world.get(url).status_code == 200


@pytest.mark.parametrize(
    ("location", "follows"),
    [
        pytest.param(f"{API}/b", True, id="same origin"),
        pytest.param("https://elsewhere.example.com/b", False, id="another host"),
        pytest.param("https://api.example.com:8443/b", False, id="another port"),
        pytest.param("http://api.example.com/b", False, id="another scheme"),
    ],
)
def test_the_token_does_not_follow_to_another_origin(location: str, follows: bool) -> None:
    """
    A redirect within the origin keeps the token, any other one loses it; its 401 renews nothing.
    """
    world = World()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/a":
            return httpx.Response(307, headers={"location": location})
        return httpx.Response(200 if follows else 401)

    world.api = answer
    with world.client(follow_redirects=True) as client:
        world.now += 10.0
        client.get("/a")

    assert world.tokens_sent == ["token-1", "token-1" if follows else ""]
    assert len(world.requests) == 1
    assert world.named("token_rejected") == []


def test_a_way_there_and_back_renews_nothing() -> None:
    """
    A 401 to a request that came back from elsewhere, without its token, says nothing about the token.
    """
    world = World()
    ways = {"/a": "https://elsewhere.example.com/b", "/b": f"{API}/c"}

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        return httpx.Response(307, headers={"location": ways[path]}) if path in ways else httpx.Response(401)

    world.get()
    world.now += 10.0
    world.api = answer
    with world.client(follow_redirects=True) as client:
        assert client.get("/a").status_code == 401

    assert len(world.requests) == 1


def test_a_fetch_is_told() -> None:
    """
    Why it was made, how long the token is used, and whose it is.
    """
    world = World(granted(expires_in="300"))

    world.get()

    (event,) = world.named("token_fetched")
    assert len(world.events) == 1
    assert (event.name, event.trigger, event.lifetime) == ("guardrail.client.token_fetched", "missing", 300.0)
    assert (event.client_id, event.token_host, event.duration) == ("orders-batch", "login.example.com", 0.0)


def test_unknown_lifetime_is_a_minute_and_told() -> None:
    """
    Without *expires_in* a token is used for 60 s.
    """
    world = World(granted(expires_in=None))

    world.get()
    world.now += 29.9
    world.get()
    world.now += 30.2
    world.get()

    assert names(world.events) == ["token_fetched", "lifetime_unknown", "token_fetched"]
    assert [event.trigger for event in world.named("token_fetched")] == ["missing", "expired"]
    assert world.named("token_fetched")[0].lifetime == 60.0


def test_lifetime_counts_from_before_the_request() -> None:
    """
    What the answer took is not added: a token of 60 s that took 10 s is used for 50 s.
    """
    world = World()

    def slow(_request: httpx.Request) -> httpx.Response:
        world.now += 10.0
        return granted(expires_in=60)

    world._answers.append(slow)
    world.get()
    world.now += 50.0
    world.get()

    assert [event.trigger for event in world.named("token_fetched")] == ["missing", "expired"]
    assert world.named("token_fetched")[0].duration == 10.0


def test_aging_token_is_renewed_in_the_background() -> None:
    """
    The request that finds it aging goes out with the old token, while the renewal hangs; later ones do not.
    """
    may_answer = threading.Event()

    def hanging(_request: httpx.Request) -> httpx.Response:
        assert may_answer.wait(10)
        return granted("new")

    world = World(granted("old", expires_in=1_000), hanging)
    world.get()

    world.now += 900.0
    world.get()
    world.get()
    may_answer.set()
    world.wait_for("token_fetched", 2)
    world.get()

    assert world.tokens_sent == ["old", "old", "old", "new"]
    assert len(world.requests) == 2
    assert world.named("token_fetched")[1].trigger == "aging"


def test_failed_renewal_keeps_a_living_token() -> None:
    """
    It is an event; the token is used to its end, then the failure comes out.
    """
    world = World(granted("old", expires_in=1_000), refused(503), refused(400))
    world.get()

    world.now += 900.0
    world.get()
    world.wait_for("token_fetch_failed")
    world.now += 30.0
    world.get()
    world.wait_for("token_fetch_failed", 2)
    world.now += 69.0
    world.get()
    world.now += 1.5

    assert world.tokens_sent == ["old"] * 4
    first, second = world.named("token_fetch_failed")
    assert (first.trigger, first.token_alive, first.permanent) == ("aging", True, False)
    assert (second.trigger, second.token_alive, second.permanent) == ("aging", True, True)


def test_permanent_failure_is_repeated_without_a_request() -> None:
    """
    For a minute the same error comes at once; then one request is made.
    """
    world = World(refused(401, "invalid_client", error_description="no\nsuch client"))

    first = failure(world)
    world.now += 59.0
    second = failure(world)
    requests = len(world.requests)
    world.now += 1.0
    world.get()

    assert (first.error, first.permanent, first.retry_after) == ("invalid_client", True, 60.0)
    assert (second.error, second.permanent, second.retry_after) == ("invalid_client", True, 1.0)
    assert first.error_description == "nosuch client"
    assert first is not second
    assert (requests, len(world.requests)) == (1, 2)


def test_error_is_an_unavailable_error_with_a_code_of_its_own() -> None:
    """
    Whoever catches UnavailableError catches it; its code is not one of a caller's token.
    """
    error = failure(World(httpx.Response(500)))

    assert isinstance(error, UnavailableError)
    assert error.code == "token_unavailable"
    assert error.code not in CODES
    assert str(error).startswith(
        "no access token for client 'orders-batch': http_5xx (status 500); next attempt"
    )


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(httpx.Response(503), "http_5xx", id="503"),
        pytest.param(httpx.Response(429), "http_4xx", id="429"),
        pytest.param(httpx.Response(408), "http_4xx", id="408"),
        pytest.param(httpx.ConnectTimeout("t"), "timeout", id="connect timeout"),
        pytest.param(httpx.ReadTimeout("t"), "timeout", id="read timeout"),
        pytest.param(httpx.ConnectError("c"), "connect", id="connect"),
        pytest.param(httpx.RemoteProtocolError("p"), "connect", id="protocol"),
        pytest.param(RuntimeError("closed"), "connect", id="whatever a transport raises"),
        pytest.param(httpx.Response(302, headers={"location": ISSUER}), "redirect", id="redirect"),
        pytest.param(httpx.Response(200, text="<html>"), "bad_response", id="no JSON"),
        pytest.param(
            httpx.Response(200, content=granted().content + b" " * 65_536), "bad_response", id="too large"
        ),
        pytest.param(
            httpx.Response(200, content=gzip.compress(b" " * 90_000), headers={"content-encoding": "gzip"}),
            "bad_response",
            id="too large unpacked",
        ),
        pytest.param(
            httpx.Response(200, content=b"x", headers={"content-encoding": "x-none"}),
            "bad_response",
            id="packed in an unknown way",
        ),
    ],
)
def test_transient_failures(answer: Any, error: str) -> None:
    """
    Each fails now, is not asked for again for half a second to a second, and then by one request.
    """
    world = World(answer)

    found = failure(world)
    again = failure(world)
    world.now += 1.0
    world.get()

    assert (found.error, found.permanent, again.error) == (error, False, error)
    assert found.retry_after is not None
    assert 0.5 <= found.retry_after <= 1.0
    assert len(world.requests) == 2


class Unread(httpx.SyncByteStream):
    """
    A body as it comes from the network: not there yet.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(gzip.compress(b"[]" + b" " * 65_000), "bad_response", id="no object"),
        pytest.param(gzip.compress(granted().content + b" " * 10_000_000), "bad_response", id="a bomb"),
        pytest.param(gzip.compress(b"{}")[:-4], "bad_response", id="cut short"),
        pytest.param(b"{}", "bad_response", id="not packed at all"),
        pytest.param(gzip.compress(granted().content), None, id="a token"),
    ],
)
def test_what_is_unpacked_is_bounded(body: bytes, error: str | None) -> None:
    """
    A gzip that nobody asked for is unpacked up to 64 KiB.
    """
    world = World(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Unread(body)))

    found = failure(world).error if error else world.get().status_code

    assert found == (error or 200)


def test_a_request_is_never_made_without_its_token() -> None:
    """
    Asking for it too early is a mistake that stops there.
    """
    world = World()
    call = Call(httpx.Request("GET", API), world.profile._source, client_id="a", emit=world.profile._emit)

    with pytest.raises(AssertionError, match="without its token"):
        call.authorized()


def test_a_packed_answer_is_read() -> None:
    """
    A gzip that nobody asked for is unpacked within bounds; the largest body is.
    """
    body = granted("a").content
    padded = body + b" " * (65_536 - len(body))
    packed = httpx.Response(200, content=gzip.compress(body), headers={"content-encoding": "gzip"})
    world = World(packed, httpx.Response(200, content=padded))

    world.get()
    world.profile.invalidate("a")
    world.get()

    assert world.tokens_sent == ["a", "a"]
    assert {request.headers["accept-encoding"] for request in world.requests} == {"identity"}


def test_retry_after_holds_back_the_next_request() -> None:
    """
    The server's pause counts when it is longer than ours.
    """
    world = World(httpx.Response(429, headers={"retry-after": "42"}))

    found = failure(world)
    world.now += 41.9
    failure(world)
    world.now += 0.2
    world.get()

    assert found.retry_after == 42.0
    assert len(world.requests) == 2


def test_circuit_is_told_once() -> None:
    """
    The fifth failure opens it, the next success closes it.
    """
    world = World(*[httpx.Response(503)] * 6)

    for _ in range(6):
        failure(world)
        world.now += 60.0
    world.get()

    told = [name for name in names(world.events) if name != "token_fetch_failed"]
    assert told == ["circuit_opened", "token_fetched", "circuit_closed"]
    assert names(world.events).index("circuit_opened") == 5


def test_listener_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """
    It is logged, and the token is used.
    """

    def broken(_event: object) -> None:
        raise ValueError("listener")

    world = World(on_event=[broken])

    assert world.get().status_code == 200
    assert "event listener" in caplog.text


def test_invalidate_forgets_only_this_token() -> None:
    """
    Another token than the one in hand changes nothing.
    """
    world = World()
    world.get()

    world.profile.invalidate("another")
    world.get()
    world.profile.invalidate("token-1")
    world.get()

    assert world.tokens_sent == ["token-1", "token-1", "token-2"]
    assert [event.trigger for event in world.named("token_fetched")] == ["missing", "invalidated"]


def test_metadata_is_asked_for_once() -> None:
    """
    With an issuer alone the endpoint is discovered, and kept.
    """
    world = World(metadata(), token_url=None, issuer=ISSUER)

    world.get()
    world.profile.invalidate("token-2")
    world.get()

    paths = [(request.method, request.url.path) for request in world.requests]
    assert paths == [
        ("GET", "/.well-known/oauth-authorization-server"),
        ("POST", "/token"),
        ("POST", "/token"),
    ]
    assert "authorization" not in world.requests[0].headers


def test_nothing_is_discovered_with_a_token_url() -> None:
    """
    With both, the token URL is used.
    """
    world = World(issuer=ISSUER)

    world.get()

    assert [request.method for request in world.requests] == ["POST"]


@pytest.mark.parametrize(
    ("answers", "error", "requests"),
    [
        pytest.param([metadata(issuer=f"{ISSUER}/"), httpx.Response(404)], "bad_response", 2, id="a slash"),
        pytest.param([metadata(token_endpoint=None)] * 2, "bad_response", 2, id="no endpoint"),
        pytest.param(
            [metadata(token_endpoint="http://a.example/t")] * 2, "bad_response", 2, id="http endpoint"
        ),
        pytest.param([metadata(token_endpoint="http://127.0.0.1/t")] * 2, "bad_response", 2, id="loopback"),
        pytest.param([metadata(token_endpoint=f"{TOKEN_URL}#a")] * 2, "bad_response", 2, id="fragment"),
        pytest.param([httpx.Response(200, text="<html>")] * 2, "bad_response", 2, id="no JSON"),
        pytest.param([httpx.Response(200, content=b" " * 70_000)] * 2, "bad_response", 2, id="too large"),
        pytest.param([httpx.Response(404)] * 2, "http_4xx", 2, id="nowhere"),
        pytest.param([httpx.Response(503)], "http_5xx", 1, id="503 ends it"),
        pytest.param([httpx.Response(302, headers={"location": "/x"})] * 2, "redirect", 2, id="redirects"),
        pytest.param([httpx.Response(204)] * 2, "bad_response", 2, id="204"),
        pytest.param([httpx.ConnectError("")], "connect", 1, id="nobody there"),
    ],
)
def test_discovery_that_fails_is_transient(answers: list[Any], error: str, requests: int) -> None:
    """
    Nothing is posted anywhere; after the pause discovery is tried again.
    """
    world = World(*answers, metadata(), token_url=None, issuer=ISSUER)

    found = failure(world)
    failure(world)
    before = len(world.requests)
    world.now += 1.0
    world.get()

    assert (found.error, found.permanent) == (error, False)
    assert before == requests
    assert {request.method for request in world.requests[:before]} == {"GET"}


def test_nothing_of_the_given_client_but_its_transport_is_used() -> None:
    """
    Its headers, cookies, parameters, credentials and redirects stay at home, and it takes no cookie back.
    """
    elsewhere = httpx.Response(307, headers={"location": "https://evil.example.com/"})
    world = World(httpx.Response(200, headers={"set-cookie": "a=b"}, json=granted().json()), elsewhere)
    given: httpx.Client = world.arguments["http_client"]
    given.headers["x-api-key"] = "key"
    given.cookies.set("session", "mine")
    given.params = httpx.QueryParams({"debug": "1"})
    given.auth = ("someone", "else")
    given.follow_redirects = True

    world.get()
    world.profile.invalidate("token-1")
    error = failure(world)

    sent = world.requests[0]
    assert error.error == "redirect"
    assert str(sent.url) == TOKEN_URL
    assert {"x-api-key", "cookie"}.isdisjoint(sent.headers)
    assert base64.b64decode(sent.headers["authorization"][6:]).decode() == f"orders-batch:{SECRET}"
    assert [str(request.url) for request in world.requests] == [TOKEN_URL] * 2


def test_hook_that_raises_for_status_is_told_by_its_status() -> None:
    """
    A client that raises for every error status keeps the classes of failures.
    """
    world = World(refused(401), httpx.Response(503))
    world.arguments["http_client"].event_hooks = {"response": [lambda response: response.raise_for_status()]}

    first = failure(world)
    world.now += 60.0
    second = failure(world)

    assert [(one.error, one.permanent) for one in (first, second)] == [
        ("http_4xx", True),
        ("http_5xx", False),
    ]


def test_closed_client_is_told_as_such() -> None:
    """
    A token client that the application closed is no hanging request.
    """
    world = World()
    world.arguments["http_client"].close()

    assert failure(world).error == "connect"


def everything_said(world: World, error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    """
    All that a log, a listener or an error tracker could get at.
    """
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    words = [repr(link) + str(link) + repr(link.__dict__) for link in chain]
    for link in chain:
        frame = link.__traceback__
        while frame is not None:
            if (
                "guardrail" in frame.tb_frame.f_code.co_filename
                and "test" not in frame.tb_frame.f_code.co_filename
            ):
                words += [repr(value) for value in frame.tb_frame.f_locals.values()]
            frame = frame.tb_next
    return "\n".join([*words, repr(world.profile), repr(world.events), caplog.text])


@pytest.mark.parametrize(
    ("answer", "arguments"),
    [
        pytest.param(refused(401, "invalid_client"), {}, id="refused"),
        pytest.param(httpx.ConnectError(SECRET), {}, id="an exception that quotes it"),
        pytest.param(httpx.Response(200, json={"access_token": f"{SECRET} "}), {}, id="a bad token"),
        pytest.param(refused(400, SECRET), {}, id="an error that is it"),
        pytest.param(refused(500), {"auth_method": "client_secret_post"}, id="in the form"),
        pytest.param(refused(400, "invalid_grant"), {"refresh_token": SECRET}, id="refresh token"),
        pytest.param(refused(400, "invalid_grant"), {"subject_token": SECRET}, id="subject token"),
    ],
)
async def test_secrets_are_nowhere(
    answer: Any, arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """
    Not in the exception, its chain or our frames' locals, a log at DEBUG, an event or a representation.
    """
    caplog.set_level(logging.DEBUG)
    world = World(answer, **arguments)

    with pytest.raises(TokenUnavailableError) as by_token:
        await world.profile.token()
    world.now += 100.0
    world._answers.insert(0, answer)
    by_call = failure(world)

    for error in (by_token.value, by_call):
        said = everything_said(world, error, caplog)
        assert SECRET not in said
        assert base64.b64encode(f"orders-batch:{SECRET}".encode()).decode() not in said


def test_tokens_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """
    With everything logged, httpx's own loggers too, neither token nor secret is.
    """
    caplog.set_level(logging.DEBUG)
    world = World(granted("t0ken-of-mine", refresh_token="r3fresh"), refresh_token="r3fresh-0")

    world.get()

    assert "POST https://login.example.com/token" in caplog.text
    for secret in ("t0ken-of-mine", "r3fresh", SECRET):
        assert secret not in caplog.text
        assert secret not in repr(world.events)
        assert secret not in repr(world.profile)


def test_own_client_asks_no_proxy_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With a proxy in the environment that does not exist, a server on loopback is still reached directly.
    """
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://proxy.invalid:3128")
    profile = AuthenticationProfile(token_url="http://127.0.0.1:1/token", client_id="a")

    with pytest.raises(TokenUnavailableError) as failed:
        asyncio.run(profile.token())

    assert "ECONNREFUSED" in str(failed.value)
