"""
An issuer's keys over HTTP: where they are looked for, what counts as a key set, one fetch for any number of
callers, and what may be kept of what they verified.

Unknown key IDs, lifetimes, outages, events and event loops have files of their own beside this one.
"""

import asyncio
import gzip
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from typing import Any, cast

import httpx
import pytest
from jwks_world import (
    ISSUER,
    JWKS_URI,
    LIFETIME,
    MAX_BODY_BYTES,
    MAX_STALE,
    METADATA,
    NEVER,
    OPENID,
    OPENID_INSERTED,
    PAUSES,
    REFRESH_AT,
    RFC8414,
    Clock,
    Reply,
    Server,
    T,
    World,
    holding,
    in_virtual_time,
    jwk_set,
    outcome,
    settle,
    unpublish,
    until_asked,
    without_waiting,
)

from guardrail import Issuer, ServicePackage
from guardrail._discovery import metadata_urls
from guardrail._jwks import RemoteKeySet
from guardrail._keys import Selection
from guardrail._verifier import PackageVerifier, TokenCache
from guardrail.errors import PolicyError, SignatureError, TokenError, UnavailableError, UnknownKeyError
from guardrail.events import KeysFetched, KeysFetchFailed, KeysRotated, StaleKeysUsed
from guardrail.issuer import SigningKeys

AUDIENCE = "https://api.example.com"

pytestmark = pytest.mark.anyio


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


# What counts as a key set


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

    assert (error.code, error.retry_after) == ("keys_unavailable", 2.0)
    assert not world.key_set.holds(0)
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
    (failure,) = world.told(KeysFetchFailed)
    assert failure.detail == f"ValueError: the answer is larger than {MAX_BODY_BYTES} bytes"


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


def test_discovery_and_fetch_together_take_five_seconds_at_most() -> None:
    """
    An issuer that answers too slowly, in whatever portions, counts as one that does not answer (R96).
    """
    world = World()

    def slowly(seconds: float) -> tuple[Any, float]:
        async def hold() -> None:
            await asyncio.sleep(seconds)

        async def ask() -> tuple[Any, float]:
            world.server.hold = hold
            began = asyncio.get_running_loop().time()
            found = await outcome(world.select())
            return found, asyncio.get_running_loop().time() - began

        return in_virtual_time(ask())

    failed, took = slowly(2.6)
    world.clock.now += PAUSES[0]
    selection, in_time = slowly(2.4)

    assert isinstance(failed, UnavailableError)
    assert took == pytest.approx(5.0)
    assert len(selection.keys) == 1
    assert in_time == pytest.approx(4.8)


def test_a_fetch_that_never_ends_ends_in_five_seconds() -> None:
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

    took = in_virtual_time(ask())

    assert took == pytest.approx(5.0)


# A key in hand


def in_a_thread(function: Callable[[], T]) -> T:
    """
    What *function* returns in another thread, which must not wait for a lock that this one has.
    """
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(function()), daemon=True)
    thread.start()
    thread.join(10.0)
    assert found, "it waits for a lock"
    return found[0]


async def test_a_key_in_hand_is_had_without_waiting() -> None:
    """
    Within its lifetime a set answers at once, whatever lock somebody else holds, from first to last.
    """
    world = World()
    await world.select()
    world.clock.now += REFRESH_AT - 0.1

    with world.key_set._fetches.lock:
        fresh = in_a_thread(lambda: without_waiting(world.select()))
    world.clock.now += LIFETIME - REFRESH_AT
    ageing = without_waiting(world.select())

    assert [key.kid for key in fresh.keys] == [world.server.kid]
    assert ageing == fresh
    await settle()


async def test_a_key_set_in_use_never_changes() -> None:
    """
    What a request was given stays as it was, whatever a fetch brings meanwhile.
    """
    world = World()
    before = await world.select()
    copy = tuple(before.keys)
    fresh = world.server.keys.rotate(keep_previous=False)

    after = await world.select(fresh)

    assert before.keys == copy
    assert [key.kid for key in after.keys] == [fresh]


async def test_of_several_keys_with_one_key_id_two_are_tried() -> None:
    """
    A repeated key ID is narrowed by what else the keys say; if more than two still fit, none is used (R86).
    """
    world = World()
    keys = [SigningKeys("EdDSA").current.jwk() | {"kid": "one"} for _ in range(3)]
    elsewhere = [
        SigningKeys("ES256").current.jwk() | {"kid": "one"},
        {**keys[2], "use": "enc"},
        {**keys[2], "use": "sig", "key_ops": ["sign"]},
        {**keys[2], "kty": "RSA"},
    ]
    world.break_down(jwk_set(keys[0], *elsewhere, keys[1]))
    selection = await world.select("one")
    world.break_down(jwk_set(*keys))
    world.clock.now += LIFETIME

    error = await world.refused("one")

    assert [key.kid for key in selection.keys] == ["one", "one"]
    assert error.kid == "one"


# What may be kept of what the keys verified


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
    assert world.key_set.holds(other)
    assert not world.key_set.holds(first)


async def test_the_same_keys_in_another_order_are_the_same_keys() -> None:
    """
    An issuer that publishes its keys in another order each time does not make anybody verify again.
    """
    world = World()
    world.server.keys.rotate()
    generation = (await world.select()).generation
    keys = cast("list[object]", world.server.keys.jwks()["keys"])
    world.break_down(jwk_set(*reversed(keys)))
    world.clock.now += LIFETIME

    after = await world.select()

    assert len(keys) == 2
    assert after.generation == generation
    assert world.key_set.holds(generation)
    assert world.told(KeysRotated) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"kid": "another"}, id="another key ID"),
        pytest.param({"x": SigningKeys("EdDSA").current.jwk()["x"]}, id="another key under its name"),
        pytest.param({"alg": "Ed25519"}, id="another algorithm"),
    ],
)
async def test_a_key_that_differs_in_one_thing_is_another(change: dict[str, object]) -> None:
    """
    What was verified under the old key must be verified again: a generation is the keys, not their names.
    """
    issuer = Issuer(ISSUER, jwks_uri=JWKS_URI, algorithms=["EdDSA", "Ed25519"])
    world = World(issuer=issuer)
    one, other = (world.server.keys.current.jwk(), SigningKeys("EdDSA").current.jwk())
    world.break_down(jwk_set(one, other))
    generation = (await world.select()).generation
    world.break_down(jwk_set({**one, **change}, other))
    world.clock.now += LIFETIME

    after = await world.key_set.select(str(other["kid"]), "EdDSA")

    assert after.generation != generation
    assert not world.key_set.holds(generation)


async def test_nothing_is_held_by_keys_that_are_due() -> None:
    """
    What was verified under keys past their lifetime must be looked at again; until then it may be kept.
    """
    world = World()
    cold = world.key_set.holds(0)
    generation = (await world.select()).generation
    fresh = world.key_set.holds(generation)
    other = world.key_set.holds(generation + 1)

    world.clock.now += LIFETIME - 0.1
    at_last = world.key_set.holds(generation)
    world.clock.now += 0.1
    due = world.key_set.holds(generation)

    assert (cold, fresh, other, at_last, due) == (False, True, False, True, False)
    await settle()


async def test_stale_keys_hold_what_they_verified() -> None:
    """
    While the issuer cannot be had its keys are in use, through pause and attempt, and each use is told.
    """
    world = World()
    generation = (await world.select()).generation
    world.break_down()
    world.clock.now += LIFETIME
    await world.select()

    in_pause = world.key_set.holds(generation)
    world.clock.now += PAUSES[0]
    gate = holding(world.server)
    begun = world.key_set.holds(generation)
    await until_asked(world.server, 5)
    under_way = world.key_set.holds(generation)
    other = world.key_set.holds(generation + 1)

    assert (in_pause, begun, under_way, other) == (True, True, True, False)
    assert len(world.told(StaleKeysUsed)) == 1 + 3
    gate.set()
    await settle()


async def test_keys_that_are_too_old_hold_nothing() -> None:
    """
    After a day without an answer nothing stands that was verified before.
    """
    world = World()
    generation = (await world.select()).generation
    world.break_down()
    world.clock.now += LIFETIME + MAX_STALE - 0.1
    await world.select()
    at_last = world.key_set.holds(generation)
    world.clock.now += 0.1

    assert at_last
    assert not world.key_set.holds(generation)


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
    assert world.key_set.holds(selection.generation)
    assert world.server.fetches == failed


async def test_a_removed_key_holds_nothing_after_a_good_answer() -> None:
    """
    A fetch replaces the set: tokens that a key verified before it was taken back are refused at once (R99).
    """
    world = World()
    generation = (await world.select()).generation
    gone = unpublish(world.server.keys)
    world.clock.now += REFRESH_AT
    before = world.key_set.holds(generation)
    await settle()

    error = await world.refused(gone)

    assert before
    assert not world.key_set.holds(generation)
    assert error.kid == gone


# Only what can matter asks the issuer


def package_verifier(world: World) -> PackageVerifier:
    """
    What verifies tokens for an API, with the keys of *world*.
    """
    package = ServicePackage("orders", issuer=world.issuer, audience=AUDIENCE)
    return PackageVerifier(package, key_sets={world.issuer: world.key_set}, cache=TokenCache(100))


def token(keys: SigningKeys, *, headers: Mapping[str, object] | None = None, **claims: object) -> str:
    """
    A good token, but for what is said otherwise.
    """
    now = time.time()
    standard: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "somebody",
        "client_id": "a client",
        "iat": now,
        "exp": now + 300,
        "jti": "1",
    }
    return keys.sign(standard | claims, headers=headers)


async def test_an_unknown_key_id_in_a_token_asks_the_issuer() -> None:
    """
    A token that is as it should be, but for its key ID, is worth one fetch.
    """
    world = World()
    verifier = package_verifier(world)
    await verifier.authenticate(token(world.server.keys).encode())

    with pytest.raises(UnknownKeyError):
        await verifier.authenticate(token(world.server.keys, headers={"kid": NEVER}).encode())

    assert world.server.fetches == 2


@pytest.mark.parametrize(
    ("headers", "claims"),
    [
        pytest.param({"alg": "HS256", "kid": NEVER}, {}, id="an algorithm that is none of ours"),
        pytest.param({"alg": "none", "kid": NEVER}, {}, id="no algorithm"),
        pytest.param({"alg": "ES512", "kid": NEVER}, {}, id="an algorithm not configured"),
        pytest.param({"kid": 1}, {}, id="a key ID that is no string"),
        pytest.param({"kid": NEVER * 2_000}, {}, id="a token too large"),
        pytest.param({"kid": NEVER, "crit": ["x"], "x": 1}, {}, id="an extension"),
        pytest.param({"kid": NEVER}, {"iss": f"{ISSUER}/"}, id="another issuer"),
        pytest.param({"kid": NEVER}, {"iss": None}, id="no issuer"),
        pytest.param({}, {"exp": 1}, id="a known key ID, long expired"),
    ],
)
async def test_what_cannot_be_a_good_token_asks_nobody(
    headers: dict[str, object], claims: dict[str, object]
) -> None:
    """
    Algorithm, size, issuer and the shape of the key ID are judged before the issuer is asked for a key.
    """
    world = World()
    verifier = package_verifier(world)
    await verifier.authenticate(token(world.server.keys).encode())

    with pytest.raises(TokenError):
        await verifier.authenticate(token(world.server.keys, headers=headers, **claims).encode())

    assert world.server.fetches == 1


async def test_a_bad_signature_asks_nobody() -> None:
    """
    A token that a known key did not sign is refused by that key; nobody's forgery fetches.
    """
    world = World()
    verifier = package_verifier(world)
    await verifier.authenticate(token(world.server.keys).encode())
    forged = token(SigningKeys("EdDSA"), headers={"kid": world.server.kid})

    with pytest.raises(SignatureError):
        await verifier.authenticate(forged.encode())

    assert world.server.fetches == 1


async def test_the_callers_words_are_not_sent_to_the_issuer() -> None:
    """
    What an unknown key ID makes us ask is what we would have asked anyhow, to the byte.
    """
    world = World()
    sent: list[tuple[str, str, list[tuple[bytes, bytes]], bytes]] = []

    def record(request: httpx.Request) -> httpx.Response:
        sent.append((request.method, str(request.url), request.headers.raw, request.content))
        return httpx.Response(200, json=METADATA if len(sent) % 2 else world.server.keys.jwks())

    key_set = RemoteKeySet(
        Issuer(ISSUER, http_client=httpx.AsyncClient(transport=httpx.MockTransport(record)))
    )
    await key_set.select(world.server.kid, "EdDSA")

    with pytest.raises(UnknownKeyError):
        await key_set.select("../../\r\nX: y?jwks_uri=https://evil.example", "EdDSA")

    assert len(sent) == 4
    assert sent[2:] == sent[:2]


# Callers that leave, and the end


@pytest.mark.parametrize(
    "has_begun", [pytest.param(False, id="before it began"), pytest.param(True, id="begun")]
)
async def test_the_end_of_a_fetch_is_unavailable_to_those_who_wait(has_begun: bool) -> None:
    """
    ``aclose`` cancels the fetch, not the callers who wait for it: they are told to come again.
    """
    world = World()
    holding(world.server)
    waiting = [asyncio.create_task(world.select()) for _ in range(10)]
    await (until_asked(world.server, 1) if has_begun else asyncio.sleep(0))

    await world.key_set.aclose()

    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(found) for found in outcomes} == {UnavailableError}
    assert len(world.server.requests) == has_begun
    assert world.told(KeysFetchFailed) == []


async def test_the_end_of_a_fetch_for_an_unknown_key_id_is_unavailable_too() -> None:
    """
    Nobody was told that there is no such key, so nobody may be refused for it.
    """
    world = World()
    await world.select()
    holding(world.server)
    waiting = asyncio.create_task(outcome(world.select(NEVER)))
    await until_asked(world.server, 3)

    await world.key_set.aclose()

    assert isinstance(await waiting, UnavailableError)
    assert len((await world.select()).keys) == 1


async def test_the_end_takes_no_keys_away_from_those_who_wait_for_newer_ones() -> None:
    """
    Who waits at the end of the lifetime is served by the keys in hand when the fetch is cancelled.
    """
    world = World()
    before = await world.select()
    world.clock.now += LIFETIME
    holding(world.server)
    waiting = asyncio.create_task(outcome(world.select()))
    await until_asked(world.server, 3)

    await world.key_set.aclose()

    assert await waiting == before


async def test_the_end_is_not_for_good() -> None:
    """
    A key set fetches again after ``aclose``, and nothing of the one cancelled stands in its way.
    """
    world = World()
    holding(world.server)
    waiting = asyncio.create_task(outcome(world.select()))
    await until_asked(world.server, 1)
    await world.key_set.aclose()
    await waiting
    world.server.hold = None

    selection = await world.select()

    assert len(selection.keys) == 1
    assert world.server.requests == [RFC8414, RFC8414, JWKS_URI]
    await world.key_set.aclose()
    assert await world.select() == selection


async def test_after_the_end_of_a_refresh_the_next_is_begun_in_a_second() -> None:
    """
    A cancelled refresh has no outcome: another one follows, but not at once with the next request.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    await world.select()
    world.clock.now += REFRESH_AT
    holding(world.server)
    task = world.key_set.refresh()
    await until_asked(world.server, 2)
    await world.key_set.aclose()
    world.server.hold = None
    fetches = []

    for elapsed in (0.0, 0.9, 0.1):
        world.clock.now += elapsed
        await world.refreshed()
        fetches.append(world.server.fetches)

    assert task is not None
    assert task.cancelled()
    assert fetches == [2, 2, 3]
    assert world.told(KeysFetchFailed) == []


async def test_the_end_of_nothing_is_nothing() -> None:
    """
    Where no fetch runs there is none to cancel.
    """
    world = World()

    await world.key_set.aclose()

    assert world.server.requests == []


async def test_callers_that_leave_leave_nothing_behind() -> None:
    """
    When a thousand who wait are cancelled, the fetch ends as it would have, and no task or error is left.
    """
    world = World()
    tasks = asyncio.all_tasks()
    gate = holding(world.server)
    waiting = [asyncio.create_task(world.select()) for _ in range(1_000)]
    await until_asked(world.server, 1)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)

    gate.set()
    await settle()

    assert all(task.cancelled() for task in waiting)
    assert len(world.told(KeysFetched)) == 1
    assert asyncio.all_tasks() == tasks
    assert len((await world.select()).keys) == 1


request: ContextVar[str] = ContextVar("request")


async def test_a_fetch_is_nobodys_request() -> None:
    """
    What the first caller has in its context variables is not there in a fetch that others share.
    """
    world = World()
    seen: list[str | None] = []

    async def look() -> None:
        seen.append(request.get(None))

    world.server.hold = look
    request.set("the first caller's")
    await world.select()
    world.clock.now += REFRESH_AT

    await world.refreshed()

    assert seen == [None] * 4
    assert request.get() == "the first caller's"


# Two issuers


@pytest.mark.parametrize("shared", ["the place", "the key ID"])
async def test_two_issuers_do_not_mix(shared: str) -> None:
    """
    An issuer's key set has its own keys, fetches and budget, even where URL and key ID are another's, too.
    """
    server, clock = Server(), Clock()
    one, other = (
        World(server=server, clock=clock, issuer=Issuer(url, jwks_uri=JWKS_URI))
        for url in ("https://one.example", "https://other.example")
    )
    await one.select()
    kid = server.kid
    if shared == "the key ID":
        server.replies[JWKS_URI] = jwk_set(SigningKeys("EdDSA").current.jwk() | {"kid": kid})
    theirs = await other.select(kid)
    for _ in range(3):
        await other.refused()
    ours = await one.select(kid)

    error = await one.refused()

    assert [key.kid for key in ours.keys] == [key.kid for key in theirs.keys] == [kid]
    assert (ours.keys == theirs.keys) is (shared == "the place")
    assert error.kid == NEVER
    assert {event.issuer for event in one.told(KeysFetched)} == {"https://one.example"}
    assert (len(one.told(KeysFetched)), len(other.told(KeysFetched))) == (2, 2)


# Clients


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


async def test_a_key_set_needs_no_listener() -> None:
    """
    Without *emit* and clock it works all the same, by the machine's own.
    """
    server = Server()
    key_set = RemoteKeySet(Issuer(ISSUER, http_client=server.client))

    selection = await key_set.select(server.kid, "EdDSA")

    assert len(selection.keys) == 1
    assert key_set.holds(selection.generation)
