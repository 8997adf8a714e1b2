"""
An issuer's keys over HTTP: where they are looked for, when they are asked for again, and what they outlive.
"""

import asyncio
import gc
import gzip
import json
import selectors
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import httpx
import pytest

from guardrail import Issuer
from guardrail._discovery import metadata_urls
from guardrail._fetch import MAX_BODY_BYTES
from guardrail._jwks import LIFETIME, MAX_STALE, PAUSES, RemoteKeySet
from guardrail._keys import Selection
from guardrail.errors import PolicyError, UnavailableError, UnknownKeyError
from guardrail.events import Event, KeysFetched, KeysFetchFailed
from guardrail.issuer import SigningKeys

pytestmark = pytest.mark.anyio

ISSUER = "https://login.example.com/tenant"
RFC8414 = "https://login.example.com/.well-known/oauth-authorization-server/tenant"
OPENID = "https://login.example.com/tenant/.well-known/openid-configuration"
OPENID_INSERTED = "https://login.example.com/.well-known/openid-configuration/tenant"
JWKS_URI = "https://keys.example.net/tenant"
METADATA = {"issuer": ISSUER, "jwks_uri": JWKS_URI}
NEVER = "never published"

T = TypeVar("T")
Reply = int | bytes | Mapping[str, Any] | httpx.Response | Exception


class Clock:
    """
    A monotonic clock that goes where a test sends it.
    """

    def __init__(self) -> None:
        self.now = 5_000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """
    An authorization server of which a test chooses every answer; what it does not name is 404.
    """

    def __init__(self) -> None:
        self.keys = SigningKeys("EdDSA")
        self.replies: dict[str, Reply] = {RFC8414: METADATA}
        self.requests: list[str] = []
        self.hold: Callable[[], Awaitable[object]] | None = None
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._respond))

    @property
    def kid(self) -> str:
        """
        The key ID of the key that signs now.
        """
        return self.keys.current.kid

    @property
    def fetches(self) -> int:
        """
        How often the key set was asked for.
        """
        return self.requests.count(JWKS_URI)

    async def _respond(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        self.requests.append(url)
        default = cast("Reply", self.keys.jwks()) if url == JWKS_URI else 404
        reply = self.replies.get(url, default)
        if self.hold is not None:
            await self.hold()
        if isinstance(reply, Exception):
            raise reply
        return as_response(reply)


def as_response(reply: int | bytes | Mapping[str, Any] | httpx.Response) -> httpx.Response:
    """
    A status alone, a body of a 200, a JSON object, or the response itself.
    """
    if isinstance(reply, int):
        return httpx.Response(reply)
    if isinstance(reply, bytes):
        return httpx.Response(200, content=reply)
    return httpx.Response(200, json=dict(reply)) if isinstance(reply, Mapping) else reply


@dataclass
class World:
    """
    A key set, the server it fetches from, its clock, and what it told.
    """

    server: Server = field(default_factory=Server)
    clock: Clock = field(default_factory=Clock)
    events: list[Event] = field(default_factory=list)
    issuer: Issuer = field(default_factory=lambda: Issuer(ISSUER))

    def __post_init__(self) -> None:
        self.key_set = RemoteKeySet(
            self.issuer, http_client=self.server.client, emit=self.events.append, monotonic=self.clock
        )

    async def select(self, kid: str | None = None) -> Selection:
        """
        What the key set has for a token of the server's current key, or of another.
        """
        return await self.key_set.select(kid or self.server.kid, "EdDSA")

    async def refused(self, kid: str = NEVER) -> UnknownKeyError:
        """
        The refusal of a key ID.
        """
        with pytest.raises(UnknownKeyError) as caught:
            await self.select(kid)
        return caught.value

    async def unavailable(self, kid: str | None = None) -> UnavailableError:
        """
        The failure to have any keys, or to ask for one more.
        """
        with pytest.raises(UnavailableError) as caught:
            await self.select(kid)
        return caught.value

    def break_down(self, reply: Reply = 503) -> None:
        """
        Fail every fetch of the key set from now on.
        """
        self.server.replies[JWKS_URI] = reply

    def recover(self) -> None:
        """
        Answer with the keys again.
        """
        del self.server.replies[JWKS_URI]


def unpublish(keys: SigningKeys) -> str:
    """
    Take every key back but a fresh one, and return the key ID of the last one taken back.
    """
    gone = keys.current.kid
    keys.rotate(keep_previous=False)
    return gone


# Where the keys are


@pytest.mark.parametrize(
    ("issuer", "asked"),
    [
        pytest.param(
            "https://login.example.com",
            [
                "https://login.example.com/.well-known/oauth-authorization-server",
                "https://login.example.com/.well-known/openid-configuration",
            ],
            id="an issuer without a path",
        ),
        pytest.param(ISSUER, [RFC8414, OPENID, OPENID_INSERTED], id="an issuer with a path"),
    ],
)
async def test_metadata_is_looked_for_in_order(issuer: str, asked: list[str]) -> None:
    """
    RFC 8414's place is asked first, then OpenID Connect's, then RFC 8414's other form; each once.
    """
    world = World(issuer=Issuer(issuer))
    world.server.replies.clear()

    await world.unavailable()

    assert world.server.requests == asked


@pytest.mark.parametrize("place", [RFC8414, OPENID, OPENID_INSERTED])
async def test_metadata_is_found_at_each_place(place: str) -> None:
    """
    Whichever place has the metadata, the key set is fetched from where it says, and no further place asked.
    """
    world = World()
    world.server.replies = {place: METADATA}

    selection = await world.select()

    asked = [RFC8414, OPENID, OPENID_INSERTED]
    assert [key.kid for key in selection.keys] == [world.server.kid]
    assert world.server.requests == [*asked[: asked.index(place) + 1], JWKS_URI]


def raw(members: str) -> bytes:
    return f'{{"issuer": "{ISSUER}", {members}}}'.encode()


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(400, id="400"),
        pytest.param(401, id="401"),
        pytest.param(403, id="403"),
        pytest.param(404, id="404"),
        pytest.param(410, id="410"),
        pytest.param(429, id="429"),
        pytest.param(499, id="499"),
        pytest.param(204, id="no content"),
        pytest.param(httpx.Response(301, headers={"location": JWKS_URI}), id="moved"),
        pytest.param(httpx.Response(302, headers={"location": OPENID}), id="redirect to good metadata"),
        pytest.param(httpx.Response(307, headers={"location": RFC8414}), id="redirect to itself"),
        pytest.param(b"<!doctype html><title>Welcome</title>", id="HTML"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b"null", id="null"),
        pytest.param({}, id="an empty object"),
        pytest.param({**METADATA, "issuer": "https://evil.example"}, id="another issuer"),
        pytest.param({**METADATA, "issuer": f"{ISSUER}/"}, id="another slash"),
        pytest.param({**METADATA, "issuer": "https://LOGIN.example.com/tenant"}, id="another case"),
        pytest.param({**METADATA, "issuer": [ISSUER]}, id="an issuer in an array"),
        pytest.param({"issuer": ISSUER}, id="no jwks_uri"),
        pytest.param({**METADATA, "jwks_uri": None}, id="a null jwks_uri"),
        pytest.param({**METADATA, "jwks_uri": [JWKS_URI]}, id="a jwks_uri in an array"),
        pytest.param({**METADATA, "jwks_uri": "/keys"}, id="a relative jwks_uri"),
        pytest.param({**METADATA, "jwks_uri": "http://keys.example.net/tenant"}, id="plain http"),
        pytest.param({**METADATA, "jwks_uri": "http://169.254.169.254/"}, id="plain http, link-local"),
        pytest.param({**METADATA, "jwks_uri": "file:///etc/keys"}, id="file"),
        pytest.param({**METADATA, "jwks_uri": "data:application/json,{}"}, id="data"),
        pytest.param({**METADATA, "jwks_uri": "https://a@keys.example.net/tenant"}, id="user information"),
        pytest.param(raw(f'"jwks_uri": "{JWKS_URI}", "jwks_uri": "{JWKS_URI}"'), id="a member twice"),
        pytest.param(raw(f'"jwks_uri": "{JWKS_URI}", "x": NaN'), id="not a number"),
        pytest.param(raw(f'"jwks_uri": "{JWKS_URI}", "x": {"[" * 50}{"]" * 50}'), id="deep"),
        pytest.param(json.dumps(METADATA).encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf" + json.dumps(METADATA).encode(), id="a BOM"),
        pytest.param(b"\xff\xfe", id="garbage"),
        pytest.param(bytes(MAX_BODY_BYTES + 1), id="a page larger than the bound"),
        pytest.param(
            httpx.Response(
                200, headers={"content-encoding": "br"}, stream=httpx.ByteStream(b"\x0b\x02\x80{}\x03")
            ),
            id="a page in a packing we do not know",
        ),
    ],
)
async def test_what_moves_discovery_on(reply: Reply) -> None:
    """
    A 4xx, a redirect, or a 200 that is not this issuer's metadata means: not here; the next place is asked.
    """
    world = World()
    world.server.replies = {RFC8414: reply, OPENID: METADATA}

    selection = await world.select()

    assert [key.kid for key in selection.keys] == [world.server.kid]
    assert world.server.requests == [RFC8414, OPENID, JWKS_URI]


OUTAGES = [
    pytest.param(500, id="500"),
    pytest.param(502, id="502"),
    pytest.param(503, id="503"),
    pytest.param(599, id="599"),
    pytest.param(httpx.ConnectError("refused"), id="connection refused"),
    pytest.param(httpx.ConnectTimeout("connecting"), id="connect timeout"),
    pytest.param(httpx.ReadTimeout("reading"), id="read timeout"),
    pytest.param(httpx.RemoteProtocolError("not HTTP"), id="not HTTP"),
    pytest.param(ConnectionResetError("reset"), id="reset"),
    pytest.param(RuntimeError("Cannot send a request, as the client has been closed."), id="closed client"),
    pytest.param(TypeError("not an asynchronous context manager"), id="a client of another kind"),
    pytest.param(KeyError("what an injected client raises"), id="a bug of the client"),
]


@pytest.mark.parametrize("reply", OUTAGES)
async def test_what_ends_discovery(reply: Reply) -> None:
    """
    A 5xx, a timeout or a broken connection may be hiding the metadata: no other place is asked instead.
    """
    world = World()
    world.server.replies = {RFC8414: reply, OPENID: METADATA}

    await world.unavailable()

    assert world.server.requests == [RFC8414]


async def test_an_explicit_jwks_uri_is_not_discovered() -> None:
    """
    With ``jwks_uri`` no metadata is asked for.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))

    await world.select()

    assert world.server.requests == [JWKS_URI]


LOOPBACK = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("issuer", "jwks_uri", "accepted"),
    [
        pytest.param(Issuer(LOOPBACK), "http://127.0.0.1:9000/keys", True, id="all on this machine"),
        pytest.param(Issuer(LOOPBACK), "http://[::1]:9000/keys", True, id="all on this machine, version 6"),
        pytest.param(Issuer(LOOPBACK), "http://localhost/keys", True, id="all on this machine, by name"),
        pytest.param(Issuer(LOOPBACK), "http://keys.example.net/keys", False, id="elsewhere"),
        pytest.param(Issuer(ISSUER), "http://127.0.0.1:9000/keys", False, id="another's pointing at us"),
        pytest.param(Issuer(ISSUER), "http://keys.example.net/keys", False, id="another's, in the open"),
        pytest.param(
            Issuer(ISSUER, insecure_allow_http=True), "http://keys.example.net/keys", True, id="wanted so"
        ),
    ],
)
async def test_plain_http_is_for_this_machine_and_for_those_who_ask(
    issuer: Issuer, jwks_uri: str, accepted: bool
) -> None:
    """
    A *jwks_uri* on plain http is fetched by a loopback issuer's word, or with ``insecure_allow_http`` (R94).
    """
    world = World(issuer=issuer)
    place = metadata_urls(issuer.url)[0]
    world.server.replies = {
        place: {"issuer": issuer.url, "jwks_uri": jwks_uri},
        jwks_uri: world.server.keys.jwks(),
    }

    outcomes = await asyncio.gather(world.select(), return_exceptions=True)

    assert isinstance(outcomes[0], Selection) is accepted
    assert (jwks_uri in world.server.requests) is accepted


def test_an_explicit_jwks_uri_on_plain_http_is_refused_at_construction() -> None:
    """
    Off loopback it takes a keystroke that says "insecure".
    """
    with pytest.raises(PolicyError, match="insecure_allow_http=True"):
        Issuer(ISSUER, jwks_uri="http://keys.example.net/tenant")


async def test_a_redirected_key_set_is_not_followed() -> None:
    """
    A redirect would let whoever answers for the key set's host choose another (D8).
    """
    world = World()
    world.break_down(httpx.Response(302, headers={"location": "https://evil.example/keys"}))
    world.server.replies["https://evil.example/keys"] = world.server.keys.jwks()
    world.server.client.follow_redirects = True

    await world.unavailable()

    assert world.server.requests == [RFC8414, JWKS_URI]


def jwk_set(*keys: object, **extra: object) -> bytes:
    return json.dumps({"keys": list(keys), **extra}).encode()


HOSTILE_SETS = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"<!doctype html>", id="HTML"),
    pytest.param(b"[]", id="an array"),
    pytest.param(b"{}", id="an empty object"),
    pytest.param(b'{"keys": {}}', id="keys not an array"),
    pytest.param(b'{"keys": null}', id="null keys"),
    pytest.param(b'{"keys": []}', id="an empty set"),
    pytest.param(jwk_set({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}), id="no usable key"),
    pytest.param(b'{"keys": [], "keys": [{}]}', id="a member twice"),
    pytest.param(jwk_set(*({} for _ in range(101))), id="too many keys"),
    pytest.param(b'{"keys": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", id="deep"),
    pytest.param(b'{"keys": [NaN]}', id="not a number"),
    pytest.param(b'{"keys": [1' + b"0" * 5_000 + b"]}", id="a number of 5,000 digits"),
    pytest.param(b"\xff\xfe\x00", id="garbage"),
    pytest.param(bytes(MAX_BODY_BYTES + 1), id="too large"),
    pytest.param(
        httpx.Response(
            200,
            headers={"content-encoding": "gzip"},
            stream=httpx.ByteStream(gzip.compress(bytes(64 * MAX_BODY_BYTES))),
        ),
        id="a bomb",
    ),
    pytest.param(
        httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"garbage")),
        id="not the gzip it says it is",
    ),
    pytest.param(204, id="no content"),
    pytest.param(206, id="a part of it"),
    pytest.param(404, id="404"),
]


@pytest.mark.parametrize("reply", [*HOSTILE_SETS, *OUTAGES])
async def test_without_a_usable_set_there_are_no_keys(reply: Reply) -> None:
    """
    Nothing but a strict, bounded JWK Set with a usable key is one; no key stands in for it (D3, R100).
    """
    world = World()
    world.break_down(reply)

    error = await world.unavailable()

    assert (error.code, error.retry_after) == ("keys_unavailable", 1.0)
    assert world.key_set.generation is None
    assert [type(event) for event in world.events] == [KeysFetchFailed]


@pytest.mark.parametrize("reply", [*HOSTILE_SETS, *OUTAGES])
async def test_a_failed_fetch_keeps_the_good_set(reply: Reply) -> None:
    """
    Whatever answers instead of the keys, those in hand stay in use (D1, R100).
    """
    world = World()
    before = await world.select()
    world.break_down(reply)
    world.clock.now += LIFETIME

    after = await world.select()

    assert after == before
    assert world.server.fetches == 2


async def test_an_answer_is_bounded() -> None:
    """
    A key set of 512 KiB is read; one of a byte more is not.
    """
    world = World()
    keys = cast("list[object]", world.server.keys.jwks()["keys"])
    padding = "x" * (MAX_BODY_BYTES - len(jwk_set(*keys, pad="")))
    world.break_down(jwk_set(*keys, pad=padding))

    selection = await world.select()

    assert len(selection.keys) == 1
    world.break_down(jwk_set(*keys, pad=padding + "x"))
    world.clock.now += LIFETIME
    await world.select()
    assert isinstance(world.events[-1], KeysFetchFailed)


async def test_a_gzip_nobody_asked_for_is_read() -> None:
    """
    A key set that a cache compressed on its own account is as good.
    """
    world = World()
    packed = gzip.compress(json.dumps(world.server.keys.jwks()).encode())
    world.break_down(
        httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(packed))
    )

    selection = await world.select()

    assert len(selection.keys) == 1


async def test_bad_keys_do_not_spoil_the_good_one() -> None:
    """
    What cannot verify is skipped and counted; the rest of the set serves (D10, R84).
    """
    world = World()
    good = world.server.keys.current.jwk()
    bad = [
        {"kty": "new"},
        {"kty": "RSA", "e": "AQAB", "kid": "no modulus"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "off the curve"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": good["kid"]},
        {**good, "use": "enc"},
        "not a key",
    ]
    world.break_down(jwk_set(*bad, good))

    selection = await world.select()

    assert len(selection.keys) == 1
    assert [event.skipped for event in world.events if isinstance(event, KeysFetched)] == [6]


async def test_only_configured_algorithms_are_used() -> None:
    """
    A set whose every key is for another algorithm is no set for this issuer.
    """
    world = World(issuer=Issuer(ISSUER, algorithms=["RS256"]))

    await world.unavailable()

    assert isinstance(world.events[0], KeysFetchFailed)
    assert "no usable key" in world.events[0].detail


# One fetch for everybody


async def settle() -> None:
    """
    Let what runs in the background come to its end.
    """
    for _ in range(100):
        await asyncio.sleep(0)


def holding(server: Server) -> asyncio.Event:
    """
    Keep *server* from answering until the event is set.
    """
    gate = asyncio.Event()
    server.hold = gate.wait
    return gate


async def until_asked(server: Server, requests: int) -> None:
    """
    Let others run until the server got that many requests.
    """
    for _ in range(1_000):
        if len(server.requests) >= requests:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"the server got {server.requests}")


async def test_a_thousand_cold_callers_share_one_fetch() -> None:
    """
    Whoever comes while the keys are being fetched waits for the same fetch (D11, R98).
    """
    world = World()

    selections = await asyncio.gather(*(world.select() for _ in range(1_000)))

    assert world.server.requests == [RFC8414, JWKS_URI]
    assert len(selections) == 1_000
    assert all(selection == selections[0] for selection in selections)


async def test_a_thousand_callers_of_an_issuer_that_is_down_share_one_attempt() -> None:
    """
    All are told that there are no keys, after one request.
    """
    world = World()
    world.server.replies = {RFC8414: 503}

    outcomes = await asyncio.gather(*(world.select() for _ in range(1_000)), return_exceptions=True)

    assert {type(outcome) for outcome in outcomes} == {UnavailableError}
    assert world.server.requests == [RFC8414]


async def test_a_thousand_callers_at_the_end_of_the_lifetime_share_one_fetch() -> None:
    """
    A set that is due is fetched once, however many ask (D11).
    """
    world = World()
    await world.select()
    world.clock.now += LIFETIME

    await asyncio.gather(*(world.select() for _ in range(1_000)))

    assert world.server.fetches == 2


@pytest.mark.parametrize(
    "reason",
    [pytest.param("none", id="cold"), pytest.param("due", id="due"), pytest.param("unknown", id="new")],
)
async def test_a_cancelled_first_caller_harms_nobody(reason: str) -> None:
    """
    The fetch is not the first caller's: those who wait get their keys, nothing stays locked (D16, R255).
    """
    world = World()
    if reason != "none":
        await world.select()
    if reason == "due":
        world.clock.now += LIFETIME
    if reason == "unknown":
        world.server.keys.rotate()
    before = len(world.server.requests)
    gate = holding(world.server)
    first = asyncio.create_task(world.select())
    await until_asked(world.server, before + 1)
    second = asyncio.create_task(world.select())
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.wait([first])
    gate.set()
    selection = await second

    assert first.cancelled()
    assert len(selection.keys) == 1
    assert world.server.requests[before:] == [RFC8414, JWKS_URI]


async def test_a_fetch_nobody_waits_for_is_not_lost() -> None:
    """
    When all who waited have left, the keys still arrive, for whoever comes next (D16).
    """
    world = World()
    gate = holding(world.server)
    only = asyncio.create_task(world.select())
    await until_asked(world.server, 1)
    only.cancel()
    await asyncio.wait([only])

    gate.set()
    selection = await world.select()

    assert len(selection.keys) == 1
    assert world.server.requests == [RFC8414, JWKS_URI]


async def test_a_slow_issuer_holds_nobody_elses_tokens_up() -> None:
    """
    While one issuer's keys are on their way, another's are to be had (R102).
    """
    slow, other = World(), World()
    gate = holding(slow.server)
    waiting = asyncio.create_task(slow.select())
    await until_asked(slow.server, 1)

    selection = await other.select()

    assert len(selection.keys) == 1
    assert not waiting.done()
    gate.set()
    await waiting


async def test_a_slow_fetch_for_an_unknown_key_id_holds_no_known_one_up() -> None:
    """
    Who has a key in hand does not wait for somebody else's unknown one (H3, R102).
    """
    world = World()
    await world.select()
    gate = holding(world.server)
    waiting = asyncio.create_task(world.select(NEVER))
    await until_asked(world.server, 3)

    selection = await world.select()

    assert len(selection.keys) == 1
    assert not waiting.done()
    gate.set()
    with pytest.raises(UnknownKeyError):
        await waiting


# A key ID nobody knows


async def test_an_unknown_key_id_fetches_again_and_is_judged_by_the_new_set() -> None:
    """
    After a rotation the first token of the new key is accepted, at the price of one fetch.
    """
    world = World()
    await world.select()
    fresh = world.server.keys.rotate()

    selection = await world.select(fresh)

    assert [key.kid for key in selection.keys] == [fresh]
    assert world.server.fetches == 2


async def test_a_key_id_unknown_to_the_new_set_too_is_refused() -> None:
    """
    One fetch on its behalf, and no more.
    """
    world = World()
    await world.select()

    error = await world.refused()

    assert error.kid == NEVER
    assert world.server.fetches == 2


@pytest.mark.parametrize(
    "elapsed", [pytest.param(0.0, id="nothing in hand"), pytest.param(LIFETIME, id="a set that is due")]
)
async def test_a_set_fetched_for_this_very_request_is_not_fetched_again(elapsed: float) -> None:
    """
    An unknown key ID that meets keys as new as can be is refused by them.
    """
    world = World()
    if elapsed:
        await world.select()
        world.clock.now += elapsed
    before = world.server.fetches

    await world.refused()

    assert world.server.fetches == before + 1


async def test_a_thousand_unknown_key_ids_at_once_cost_one_fetch() -> None:
    """
    They join the one that runs (D1, R98).
    """
    world = World()
    await world.select()

    outcomes = await asyncio.gather(
        *(world.select(f"random-{number}") for number in range(1_000)), return_exceptions=True
    )

    assert {type(outcome) for outcome in outcomes} == {UnknownKeyError}
    assert world.server.fetches == 2


async def test_a_thousand_unknown_key_ids_in_a_row_cost_two_fetches() -> None:
    """
    Random key IDs do not flood an issuer: beyond the budget they are refused without a request (D1, R98).
    """
    world = World()
    await world.select()

    for number in range(1_000):
        await world.refused(f"random-{number}")

    assert world.server.fetches == 1 + 2


async def test_the_budget_is_two_fetches_in_any_thirty_seconds() -> None:
    """
    The window slides: the third fetch is allowed 30 s after the first, the fourth 30 s after the second.
    """
    world = World()
    await world.select()
    fetched = []

    for elapsed in (0.0, 10.0, 10.0, 9.9, 0.1, 9.9, 0.1, 0.1):
        world.clock.now += elapsed
        await world.refused()
        fetched.append(world.server.fetches - 1)

    #                  0  10  20  29.9  30  39.9  40  40.1 seconds after the first
    assert fetched == [1, 2, 2, 2, 3, 3, 4, 4]


async def test_joining_a_running_fetch_costs_no_budget() -> None:
    """
    Only who starts a fetch spends: a hundred who joined one leave the second to be had.
    """
    world = World()
    await world.select()
    gate = holding(world.server)
    waiting = [asyncio.create_task(world.refused(f"random-{number}")) for number in range(100)]
    await until_asked(world.server, 3)
    gate.set()
    await asyncio.gather(*waiting)
    fresh = world.server.keys.rotate()

    selection = await world.select(fresh)

    assert [key.kid for key in selection.keys] == [fresh]
    assert world.server.fetches == 1 + 2


async def test_a_running_fetch_may_be_joined_when_the_budget_is_spent() -> None:
    """
    The keys are being fetched anyway, so the new key's token need not be refused.
    """
    world = World()
    await world.select()
    await world.refused()
    gate = holding(world.server)
    running = asyncio.create_task(world.refused())  # the second, and last, of the budget
    await until_asked(world.server, 5)
    fresh = world.server.keys.rotate()

    joining = asyncio.create_task(world.select(fresh))
    await asyncio.sleep(0)
    gate.set()
    selection = await joining

    assert [key.kid for key in selection.keys] == [fresh]
    assert world.server.fetches == 1 + 2
    await running


async def test_who_joined_a_fetch_that_was_too_early_gets_the_key_next_time() -> None:
    """
    One fetch on behalf of each request: the next request has another, and with it the new key.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    await world.select()
    gate = holding(world.server)
    early = asyncio.create_task(world.refused())
    await until_asked(world.server, 2)  # its answer, without the new key, is under way
    fresh = world.server.keys.rotate()
    joining = asyncio.create_task(world.refused(fresh))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(early, joining)

    selection = await world.select(fresh)

    assert [key.kid for key in selection.keys] == [fresh]
    assert world.server.fetches == 1 + 2


async def test_a_key_id_whose_key_is_for_another_algorithm_is_asked_for_once() -> None:
    """
    A key that does not fit may have been replaced under its name; after one fetch it is the token's fault.
    """
    world = World()
    await world.select()

    with pytest.raises(UnknownKeyError):
        await world.key_set.select(world.server.kid, "ES256")

    assert world.server.fetches == 2


async def test_an_unknown_key_id_during_a_pause_is_unavailable_without_a_request() -> None:
    """
    An issuer that just failed is left alone: nobody can say whether it has such a key, so 503, unspent.
    """
    world = World()
    await world.select()
    world.break_down()
    await world.unavailable(NEVER)
    world.recover()
    world.clock.now += PAUSES[0] - 0.1
    for _ in range(10):
        await world.unavailable(NEVER)
    during = world.server.fetches
    fresh = world.server.keys.rotate()
    world.clock.now += 0.1

    selection = await world.select(fresh)

    assert during == 2
    assert [key.kid for key in selection.keys] == [fresh]
    assert world.server.fetches == 3


async def test_a_key_that_could_not_be_asked_for_is_not_one_that_does_not_exist() -> None:
    """
    The fetch for an unknown key ID failed: 503 for that token (C9), and known keys serve on.
    """
    world = World()
    await world.select()
    world.break_down()

    error = await world.unavailable(NEVER)

    assert (error.code, error.retry_after) == ("keys_unavailable", 1.0)
    assert len((await world.select()).keys) == 1


async def test_failed_fetches_do_not_make_an_unasked_key_an_unknown_one() -> None:
    """
    However often asking failed, a new key's token is 503 until the issuer was asked, and then accepted.
    """
    world = World()
    await world.select()
    fresh = world.server.keys.rotate()
    world.break_down()
    retry_after = []
    for pause in PAUSES[:4]:
        retry_after.append((await world.unavailable(fresh)).retry_after)
        world.clock.now += pause
    world.recover()
    world.clock.now += 30.0

    selection = await world.select(fresh)

    assert min(retry_after) >= 1
    assert [key.kid for key in selection.keys] == [fresh]


async def test_who_joined_a_fetch_that_failed_is_told_the_same() -> None:
    """
    A failed fetch that was joined is not tried again at once.
    """
    world = World()
    await world.select()
    world.break_down()
    gate = holding(world.server)
    waiting = [asyncio.create_task(world.unavailable(NEVER)) for _ in range(10)]
    await until_asked(world.server, 3)
    gate.set()

    errors = await asyncio.gather(*waiting)

    assert {error.code for error in errors} == {"keys_unavailable"}
    assert world.server.fetches == 2


# Lifetime, pauses, staleness


async def test_a_set_lives_for_ten_minutes() -> None:
    """
    Just inside its lifetime a set is used as it is; at its end it is asked for again.
    """
    world = World()
    await world.select()

    world.clock.now += LIFETIME - 0.1
    await world.select()
    inside = world.server.fetches
    world.clock.now += 0.1
    await world.select()

    assert LIFETIME == 600.0
    assert (inside, world.server.fetches) == (1, 2)


async def test_a_set_is_as_old_as_the_request_for_it() -> None:
    """
    A slow answer shortens the lifetime of what it brings, which was true when it was asked for.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))

    async def take_a_while() -> None:
        world.clock.now += 4.0

    world.server.hold = take_a_while
    await world.select()
    world.server.hold = None
    world.clock.now += LIFETIME - 4.1
    await world.select()
    inside = world.server.fetches
    world.clock.now += 0.1

    await world.select()

    assert (inside, world.server.fetches) == (1, 2)


async def test_a_removed_key_is_refused_after_a_good_answer() -> None:
    """
    A fetch replaces the set; nothing of the old one lives on (D2, R99).
    """
    world = World()
    await world.select()
    gone = unpublish(world.server.keys)
    world.clock.now += LIFETIME - 0.1
    before = await world.select(gone)
    world.clock.now += 0.1

    error = await world.refused(gone)

    assert [key.kid for key in before.keys] == [gone]
    assert error.kid == gone


@pytest.mark.parametrize(
    "has_keys", [pytest.param(False, id="none in hand"), pytest.param(True, id="some in hand")]
)
async def test_the_pause_grows_with_each_failure(has_keys: bool) -> None:
    """
    After the n-th failure in a row nothing is asked for 1, 2, 4, 8, 16 and then always 30 s.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    if has_keys:
        await world.select()
        world.clock.now += LIFETIME
    world.break_down()
    first = world.server.fetches
    attempts: list[int] = []

    async def ask() -> None:
        await asyncio.gather(*(world.select() for _ in range(10)), return_exceptions=True)
        await settle()
        attempts.append(world.server.fetches - first)

    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0):
        await ask()
        world.clock.now += pause - 0.01
        await ask()
        world.clock.now += 0.01

    assert attempts == [attempt for attempt in range(1, 9) for _ in range(2)]


async def test_a_good_answer_ends_the_pauses() -> None:
    """
    After a recovery the next failure pauses for one second again.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    world.break_down()
    for pause in (1.0, 2.0):
        await world.unavailable()
        world.clock.now += pause
    world.recover()
    await world.select()
    world.break_down()
    world.clock.now += LIFETIME
    await world.select()
    attempts = [world.server.fetches]

    for elapsed in (0.9, 0.1):
        world.clock.now += elapsed
        await world.select()
        await settle()
        attempts.append(world.server.fetches)

    failed = attempts[0]
    assert attempts == [failed, failed, failed + 1]


async def test_who_finds_the_keys_due_waits_for_new_ones() -> None:
    """
    As long as the issuer answers, nobody is served by keys past their lifetime.
    """
    world = World()
    await world.select()
    gone = unpublish(world.server.keys)
    world.clock.now += LIFETIME
    gate = holding(world.server)
    waiting = [asyncio.create_task(world.refused(gone)) for _ in range(3)]
    await until_asked(world.server, 3)
    await settle()
    were_waiting = [not task.done() for task in waiting]

    gate.set()
    errors = await asyncio.gather(*waiting)

    assert were_waiting == [True] * 3
    assert {error.kid for error in errors} == {gone}


async def test_once_a_refresh_has_failed_nobody_waits_for_the_next() -> None:
    """
    While a failing issuer is tried again, those with a key in hand are served at once (H3, R102).
    """
    world = World()
    before = await world.select()
    world.break_down()
    world.clock.now += LIFETIME
    await world.select()
    world.clock.now += 1.0
    gate = holding(world.server)

    during = await asyncio.gather(*(world.select() for _ in range(10)))
    await until_asked(world.server, 5)
    generation = world.key_set.generation
    attempts = len(world.server.requests)

    assert during == [before] * 10
    assert (generation, attempts) == (before.generation, 5)
    gate.set()
    await settle()


async def test_a_refresh_in_the_background_takes_effect() -> None:
    """
    What the retry brings is used from then on: a key taken back during the outage is refused.
    """
    world = World()
    await world.select()
    gone = unpublish(world.server.keys)
    world.break_down()
    world.clock.now += LIFETIME
    await world.select(gone)
    world.recover()
    world.clock.now += 1.0
    await world.select(gone)
    await settle()

    error = await world.refused(gone)

    assert error.kid == gone
    assert world.key_set.generation is not None


async def test_an_issuer_down_from_the_start_recovers() -> None:
    """
    Cold and down: 503 with the time to wait, one attempt per pause, and keys again without a restart (R101).
    """
    world = World()
    world.server.replies = {RFC8414: httpx.ConnectError("refused")}
    retry_after = [(await world.unavailable()).retry_after]
    world.clock.now += 1.0
    retry_after.append((await world.unavailable()).retry_after)
    world.clock.now += 0.5
    retry_after.append((await world.unavailable()).retry_after)
    world.clock.now += 1.0
    retry_after.append((await world.unavailable()).retry_after)
    attempts = len(world.server.requests)
    world.server.replies = {RFC8414: METADATA}
    world.clock.now += 0.5

    selection = await world.select()

    assert retry_after == [1, 2, 2, 1]  # whole seconds, rounded up, never less than one
    assert attempts == 2
    assert len(selection.keys) == 1


async def test_keys_stay_in_use_for_a_day_past_their_lifetime() -> None:
    """
    An outage is survived for 24 hours, and not for a moment longer.
    """
    world = World()
    before = await world.select()
    world.break_down()
    world.clock.now += LIFETIME + MAX_STALE - 0.1

    stale = await world.select()

    assert MAX_STALE == 86_400.0
    assert stale == before
    world.clock.now += 0.1  # within the pause after the failure just now
    assert (await world.unavailable()).retry_after == 1.0
    assert world.key_set.generation is None


async def test_keys_that_are_too_old_are_asked_for_before_they_are_given_up() -> None:
    """
    A service that slept for days serves its first request if the issuer answers, and only then.
    """
    world = World()
    await world.select()
    world.clock.now += 10 * MAX_STALE
    world.break_down()
    error = await world.unavailable()
    world.recover()
    world.clock.now += error.retry_after

    selection = await world.select()

    assert len(selection.keys) == 1


async def test_discovery_and_fetch_together_take_five_seconds_at_most() -> None:
    """
    An issuer that answers too slowly, in whatever portions, counts as one that does not answer (R96).
    """
    world = World()

    def slowly(seconds: float) -> list[Any]:
        outcomes: list[Any] = []

        async def hold() -> None:
            await asyncio.sleep(seconds)

        async def ask() -> float:
            world.server.hold = hold
            began = asyncio.get_running_loop().time()
            outcomes.extend(await asyncio.gather(world.select(), return_exceptions=True))
            return asyncio.get_running_loop().time() - began

        outcomes.append(in_virtual_time(ask()))
        return outcomes

    failed, took = await asyncio.to_thread(slowly, 2.6)
    world.clock.now += 1.0
    selection, in_time = await asyncio.to_thread(slowly, 2.4)

    assert (type(failed), took) == (UnavailableError, pytest.approx(5.0))
    assert (len(selection.keys), in_time) == (1, pytest.approx(4.8))


async def test_a_fetch_that_never_ends_ends_in_five_seconds() -> None:
    """
    A slow drip is no answer (D9); time limits count the whole, not the pieces.
    """
    world = World()

    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.5)
                yield b" "

    async def ask() -> float:
        world.break_down(httpx.Response(200, stream=Drip()))
        began = asyncio.get_running_loop().time()
        await world.unavailable()
        return asyncio.get_running_loop().time() - began

    took = await asyncio.to_thread(lambda: in_virtual_time(ask()))

    assert took == pytest.approx(5.0)


# Generations


async def test_the_generation_changes_when_the_keys_do() -> None:
    """
    A fetch that brings the same keys leaves it as it was; one that brings others changes it.
    """
    world = World()
    generations = [(await world.select()).generation]

    for change in (None, world.server.keys.rotate, None):
        if change is not None:
            change()
        world.clock.now += LIFETIME
        generations.append((await world.select()).generation)

    first, same, other, same_again = generations
    assert first == same != other == same_again


async def test_the_generation_is_none_while_the_keys_are_due() -> None:
    """
    What was verified under keys that are due must be looked at again; until then it may be kept.
    """
    world = World()
    cold = world.key_set.generation
    selection = await world.select()
    fresh = world.key_set.generation

    world.clock.now += LIFETIME - 0.1
    at_last = world.key_set.generation
    world.clock.now += 0.1
    due = world.key_set.generation

    assert (cold, fresh, at_last, due) == (None, selection.generation, selection.generation, None)


async def test_the_generation_stays_during_a_pause() -> None:
    """
    While the issuer is left alone its keys are in use; when it may be asked again they are due again.
    """
    world = World()
    selection = await world.select()
    world.break_down()
    world.clock.now += LIFETIME
    await world.select()

    during = world.key_set.generation
    world.clock.now += PAUSES[0]

    assert (during, world.key_set.generation) == (selection.generation, None)


async def test_a_failed_fetch_does_not_make_fresh_keys_due() -> None:
    """
    A failure on behalf of an unknown key ID changes nothing for those in hand.
    """
    world = World()
    selection = await world.select()
    world.break_down()
    await world.unavailable(NEVER)
    failed = world.server.fetches
    world.clock.now += 100.0

    again = await world.select()
    await settle()

    assert again == selection
    assert world.key_set.generation == selection.generation
    assert world.server.fetches == failed


# What is told


async def test_the_first_fetch_tells_of_every_key() -> None:
    """
    The event of a fetch names the issuer, the keys and the time it took.
    """
    world = World()

    async def take_a_while() -> None:
        world.clock.now += 0.25

    world.server.hold = take_a_while

    await world.select()

    (event,) = world.events
    assert event == KeysFetched(issuer=ISSUER, added=(world.server.kid,), removed=(), skipped=0, duration=0.5)
    assert event.name == "guardrail.keys_fetched"


async def test_later_fetches_tell_what_changed() -> None:
    """
    Added and removed are key IDs against the set before, sorted; keys that stayed are neither.
    """
    world = World()
    first = world.server.kid
    await world.select()
    second = world.server.keys.rotate()
    world.clock.now += LIFETIME
    await world.select()
    world.server.keys.rotate(keep_previous=False)
    third = world.server.keys.rotate()
    world.clock.now += LIFETIME

    await world.select(third)

    changes = [(event.added, event.removed) for event in world.events if isinstance(event, KeysFetched)]
    fourth = next(kid for kid in changes[2][0] if kid != third)
    assert changes == [
        ((first,), ()),
        ((second,), ()),
        (tuple(sorted((third, fourth))), tuple(sorted((first, second)))),
    ]


async def test_hostile_key_ids_are_escaped_and_shortened() -> None:
    """
    Key IDs of an answer reach a log as short printable ASCII, coming and going (C24).
    """
    world = World()
    good = world.server.keys.current.jwk()
    hostile = {"\x1b[31m\r\nX: y", "é" * 100, "' OR 1=1 --"}
    world.break_down(jwk_set(*({**good, "kid": kid} for kid in hostile)))
    await world.select("' OR 1=1 --")
    world.recover()
    world.clock.now += LIFETIME

    await world.select()

    came, went = world.events
    assert isinstance(came, KeysFetched)
    assert isinstance(went, KeysFetched)
    assert came.added == went.removed
    assert len(came.added) == 3
    assert "\\x1b[31m\\x0d\\x0aX: y" in came.added
    assert all(kid.isascii() and kid.isprintable() and len(kid) <= 64 for kid in came.added)


async def test_keys_without_a_key_id_are_not_listed() -> None:
    """
    They verify, and have no name to tell.
    """
    world = World()
    world.break_down(
        jwk_set({name: value for name, value in world.server.keys.current.jwk().items() if name != "kid"})
    )

    selection = await world.key_set.select(None, "EdDSA")

    assert len(selection.keys) == 1
    assert [event.added for event in world.events if isinstance(event, KeysFetched)] == [()]


async def test_a_failed_fetch_tells_what_went_wrong_and_what_is_in_hand() -> None:
    """
    The event of a failure says whether anybody is still served.
    """
    world = World()
    world.break_down(httpx.ConnectError("refused"))
    await world.unavailable()
    world.recover()
    world.clock.now += 1.0
    await world.select()
    world.break_down(503)
    world.clock.now += LIFETIME

    await world.select()

    failures = [event for event in world.events if isinstance(event, KeysFetchFailed)]
    assert failures == [
        KeysFetchFailed(issuer=ISSUER, detail="ConnectError: refused", has_keys=False),
        KeysFetchFailed(
            issuer=ISSUER, detail="ValueError: the JWK Set was answered with status 503", has_keys=True
        ),
    ]
    assert failures[0].name == "guardrail.keys_fetch_failed"


@pytest.mark.parametrize("status", [204, 206, 302, 404, 500])
async def test_the_event_says_how_the_key_set_was_answered(status: int) -> None:
    """
    A key set that is not there is told apart from one that cannot be read.
    """
    world = World()
    world.break_down(status)

    await world.unavailable()

    (event,) = world.events
    assert isinstance(event, KeysFetchFailed)
    assert event.detail == f"ValueError: the JWK Set was answered with status {status}"


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        pytest.param(404, "no metadata of this issuer was found; last: status 404", id="nowhere"),
        pytest.param(503, "status 503", id="5xx"),
        pytest.param(
            {**METADATA, "issuer": "https://evil.example"},
            "last: the metadata names another issuer",
            id="another issuer",
        ),
    ],
)
async def test_the_event_says_why_discovery_failed(reply: Reply, detail: str) -> None:
    """
    Whoever reads the log learns what the last place asked had to say.
    """
    world = World()
    world.server.replies = {RFC8414: reply, OPENID: reply, OPENID_INSERTED: reply}

    await world.unavailable()

    (event,) = world.events
    assert isinstance(event, KeysFetchFailed)
    assert event.detail.startswith("ValueError: ")
    assert event.detail.endswith(detail)


async def test_the_detail_of_a_failure_is_escaped_and_shortened() -> None:
    """
    What a server wrote reaches a log as one short line of printable ASCII.
    """
    world = World()
    world.break_down(httpx.RemoteProtocolError("\x1b[31m\r\nFAKE LINE\u202e" + "x" * 10_000))

    await world.unavailable()

    (event,) = world.events
    assert isinstance(event, KeysFetchFailed)
    assert event.detail.startswith("RemoteProtocolError: \\x1b[31m\\x0d\\x0aFAKE LINE\\u202e")
    assert event.detail.isascii()
    assert event.detail.isprintable()
    assert len(event.detail) <= 200


async def test_a_key_set_needs_no_listener() -> None:
    """
    Without *emit* and clock it works all the same, by the machine's own.
    """
    server = Server()
    key_set = RemoteKeySet(Issuer(ISSUER, http_client=server.client))

    selection = await key_set.select(server.kid, "EdDSA")

    assert len(selection.keys) == 1
    assert key_set.generation == selection.generation


# Clients and loops


async def test_an_issuers_own_client_goes_before_the_middlewares() -> None:
    """
    A private CA belongs to one issuer, and other clients are not asked instead.
    """
    own, general = Server(), Server()
    key_set = RemoteKeySet(Issuer(ISSUER, http_client=own.client), http_client=general.client)

    await key_set.select(own.kid, "EdDSA")

    assert (len(own.requests), general.requests) == (2, [])


async def test_a_closed_client_is_an_unavailable_issuer() -> None:
    """
    httpx raises RuntimeError for a client closed by its owner: no keys, no crash.
    """
    world = World()
    await world.server.client.aclose()

    error = await world.unavailable()

    assert error.code == "keys_unavailable"
    (event,) = world.events
    assert isinstance(event, KeysFetchFailed)
    assert event.detail.startswith("RuntimeError: ")


def test_one_loop_after_another_is_served() -> None:
    """
    Keys outlive the event loop they were fetched on; the next loop fetches again by itself when they are due.
    """
    world = World()

    kids = []
    for _ in range(3):
        selection = asyncio.run(world.select())
        kids.append(selection.keys[0].kid)
        world.clock.now += LIFETIME

    assert kids == [world.server.kid] * 3
    assert world.server.fetches == 3


def test_loops_that_ended_are_let_go() -> None:
    """
    A process that makes loops for ever keeps none of them because its keys were once fetched there.
    """
    world = World()
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def select() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await world.select()

    for _ in range(5):
        asyncio.run(select())
        world.clock.now += LIFETIME

    gc.collect()
    assert len([loop for loop in loops if loop() is not None]) <= 1


def test_a_loop_that_ended_in_mid_fetch_is_not_waited_for() -> None:
    """
    A fetch that went down with its loop is started again by the next caller (D16).
    """
    world = World()

    async def leave_in_the_middle() -> None:
        holding(world.server)
        task = asyncio.create_task(world.select())
        await until_asked(world.server, 1)
        assert not task.done()

    asyncio.run(leave_in_the_middle())
    world.server.hold = None

    selection = asyncio.run(world.select())

    assert len(selection.keys) == 1
    assert world.server.requests == [RFC8414, RFC8414, JWKS_URI]


@contextmanager
def a_new_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """
    An event loop that runs when a test says so.
    """
    with asyncio.Runner() as runner:
        yield runner.get_loop()


def run_a_while(loop: asyncio.AbstractEventLoop) -> None:
    """
    Let everything on *loop* come as far as it can.
    """

    async def yields() -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    loop.run_until_complete(yields())


def hold_for_ever(server: Server) -> None:
    """
    Keep *server* from answering any request it gets from now on, on whichever loop.
    """

    async def never() -> None:
        await asyncio.Event().wait()

    server.hold = never


def test_a_stopped_loop_is_not_waited_for() -> None:
    """
    A loop that stands still with a fetch on it, neither done nor cancelled, holds up no other loop.
    """
    world = World()
    with a_new_loop() as stopped:
        hold_for_ever(world.server)
        standing = stopped.create_task(world.select())
        run_a_while(stopped)
        world.server.hold = None

        selection = asyncio.run(world.select())

        assert len(selection.keys) == 1
        assert not standing.done()
        standing.cancel()


def test_two_loops_fetch_once_each() -> None:
    """
    Loops cannot share a fetch, and each starts one only, however their callers take turns.
    """
    world = World()
    hold_for_ever(world.server)
    with a_new_loop() as one, a_new_loop() as other:
        tasks = []

        for _ in range(5):
            for loop in (one, other):
                tasks.append(loop.create_task(world.select()))
                run_a_while(loop)

        for task in tasks:
            task.cancel()
    assert world.server.requests == [RFC8414, RFC8414]


def test_a_fetch_on_another_loop_is_not_joined_for_free() -> None:
    """
    What runs on another loop cannot be joined, so it does not open the budget: two fetches are two (D1).
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    asyncio.run(world.select())
    with a_new_loop() as other:
        hold_for_ever(world.server)
        tasks = [other.create_task(world.refused())]
        run_a_while(other)  # a fetch that stays under way there

        for _ in range(10):
            world.server.hold = None
            asyncio.run(world.refused())
            hold_for_ever(world.server)
            tasks.append(other.create_task(world.refused()))
            run_a_while(other)

        for task in tasks:
            task.cancel()
    assert world.server.fetches == 1 + 2


def test_an_old_answer_that_comes_late_does_not_bring_a_removed_key_back() -> None:
    """
    Of two fetches on two loops the one begun later has the newer keys, whichever ends first (D2).
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    with a_new_loop() as slow:
        gate = asyncio.Event()
        world.server.hold = gate.wait
        gone = world.server.kid
        waiting = slow.create_task(world.select())
        run_a_while(slow)  # its answer, with the old key, is under way
        world.server.hold = None
        unpublish(world.server.keys)
        world.clock.now += 1.0
        asyncio.run(world.select())

        gate.set()
        run_a_while(slow)

        assert waiting.done()
        waiting.exception()
    with pytest.raises(UnknownKeyError):
        asyncio.run(world.select(gone))


def test_after_a_failure_one_loop_after_another_still_comes_by_new_keys() -> None:
    """
    Where each request has a loop of its own, a retry must not end with the request that began it (D2).
    """
    world = World()
    world.server.hold = settle  # an answer takes its time
    asyncio.run(world.select())
    gone = unpublish(world.server.keys)
    world.break_down()
    world.clock.now += LIFETIME
    asyncio.run(world.select(gone))
    world.recover()

    outcomes = []
    for _ in range(5):
        world.clock.now += 60.0
        outcomes += asyncio.run(gathered(world.select(gone)))

    assert isinstance(outcomes[-1], UnknownKeyError)


async def gathered(select: Awaitable[Selection]) -> list[Selection | BaseException]:
    """
    The outcome of one look-up, whatever it is.
    """
    return list(await asyncio.gather(select, return_exceptions=True))


def test_a_retry_on_a_loop_that_stopped_does_not_keep_others_from_trying() -> None:
    """
    A retry that stands still on a stopped loop is no reason to use old keys elsewhere (D2).
    """
    world = World()
    with a_new_loop() as stopped:
        stopped.run_until_complete(world.select())
        gone = unpublish(world.server.keys)
        world.break_down()
        world.clock.now += LIFETIME
        stopped.run_until_complete(world.select(gone))
        world.recover()
        world.clock.now += 1.0
        hold_for_ever(world.server)
        stopped.run_until_complete(world.select(gone))  # begins a retry, and the loop stops
        world.server.hold = None
        world.clock.now += 60.0

        async def ask_and_settle() -> None:
            await asyncio.gather(world.select(gone), return_exceptions=True)
            await settle()

        asyncio.run(ask_and_settle())

        (outcome,) = asyncio.run(gathered(world.select(gone)))
        for task in asyncio.all_tasks(stopped):
            task.cancel()
    assert isinstance(outcome, UnknownKeyError)


def test_loops_in_threads_are_served_at_once() -> None:
    """
    Several loops in several threads use one key set, each getting the right keys.
    """
    world = World()
    barrier = threading.Barrier(8)

    def serve() -> list[str | None]:
        barrier.wait()
        return [asyncio.run(world.select()).keys[0].kid for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        served = [future.result() for future in [pool.submit(serve) for _ in range(8)]]

    assert served == [[world.server.kid] * 20] * 8
    assert 1 <= world.server.fetches <= 8


class RealServer:
    """
    An authorization server on a real loopback socket, on the loop it was started on.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.keys = SigningKeys("EdDSA")
        self.requests: list[str] = []
        self.left: list[asyncio.Event] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """
        Serve one connection until the client leaves.
        """
        left = asyncio.Event()
        self.left.append(left)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head.split()[1].decode()))
        except asyncio.IncompleteReadError:
            left.set()
        finally:
            writer.close()

    def _answer(self, path: str) -> bytes:
        self.requests.append(path)
        documents: dict[str, Mapping[str, object]] = {
            "/.well-known/oauth-authorization-server": {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
            },
            "/keys": self.keys.jwks(),
        }
        body = json.dumps(documents[path]).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@asynccontextmanager
async def real_server() -> AsyncIterator[RealServer]:
    """
    A `RealServer` that stops at the end.
    """
    served: list[RealServer] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served[0].serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        served.append(RealServer(server.sockets[0].getsockname()[1]))
        yield served[0]


async def test_keys_are_fetched_over_a_real_socket_which_is_then_closed() -> None:
    """
    Without any client given, discovery and key set come over one connection, closed behind the fetch.
    """
    async with real_server() as server:
        key_set = RemoteKeySet(Issuer(server.url))

        selection = await key_set.select(server.keys.current.kid, "EdDSA")

        await asyncio.gather(*(left.wait() for left in server.left))

    assert len(selection.keys) == 1
    assert server.requests == ["/.well-known/oauth-authorization-server", "/keys"]
    assert len(server.left) == 1


async def test_own_clients_serve_one_loop_after_another_and_several_at_once() -> None:
    """
    A client of one's own per fetch belongs to no loop for longer: threads with loops of their own are served.
    """
    clock = Clock()
    async with real_server() as server:
        key_set = RemoteKeySet(Issuer(server.url), monotonic=clock)

        def serve() -> str | None:
            return asyncio.run(key_set.select(server.keys.current.kid, "EdDSA")).keys[0].kid

        kids = []
        for _ in range(2):
            kids += await asyncio.gather(*(asyncio.to_thread(serve) for _ in range(4)))
            clock.now += LIFETIME
        kids += [await asyncio.to_thread(serve)]

    assert kids == [server.keys.current.kid] * 9


async def test_nobody_listening_is_an_unavailable_issuer() -> None:
    """
    A real connection refused is a 503, not a crash.
    """
    async with real_server() as server:
        pass
    key_set = RemoteKeySet(Issuer(server.url))

    with pytest.raises(UnavailableError):
        await key_set.select("any", "EdDSA")


# Virtual time: a loop that does not wait, but moves its own clock to whatever it would have waited for


class _VirtualSelector(selectors.DefaultSelector):
    """
    A selector that reports at once, and counts the seconds it was asked to wait.
    """

    waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing would ever happen again"
            self.waited += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """
    An event loop whose seconds take no time.
    """

    def __init__(self) -> None:
        self.virtual = _VirtualSelector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.waited


def in_virtual_time(coroutine: Any) -> Any:
    """
    Run *coroutine* on such a loop.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)
