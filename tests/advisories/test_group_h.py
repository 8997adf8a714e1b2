"""
Group H: availability.
"""

import asyncio
import gc
import tracemalloc
from typing import cast

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from guardrail import Issuer

from .kit import (
    NOW,
    SCOPE,
    URL,
    Clock,
    api,
    bearer,
    claims_of,
    compact,
    cost_of_a_forgery,
    encode,
    fastest,
    header_of,
    jwk_set,
    naming,
    new_issuer,
    rsa_issuer,
    rsa_keys,
    scope_of,
    send,
)
from .signing import rs, rsa_jwk, rsa_public

pytestmark = pytest.mark.anyio

# How much dearer than a forged signature a refusal may look on a machine that does other things too.
GENEROUS = 3.0

PATHOLOGICAL = {
    "spaces": b" " * 100_000,
    "spaces behind the scheme": b"Bearer" + b" " * 100_000,
    "equals signs": b"Bearer " + b"=" * 100_000,
    "equals signs behind a character": b"Bearer a" + b"=" * 100_000 + b"!",
    "schemes": b"Bearer " * 14_000,
    "one long scheme": b"B" * 100_000,
    "commas": b"Bearer " + b"a," * 50_000,
    "tabs": b"Bearer" + b"\t" * 100_000,
    "spaces that fit": b"Bearer" + b" " * 16_000 + b"!",
    "equals signs that fit": b"Bearer a" + b"=" * 16_000 + b"!",
    "schemes that fit": b"Bearer " * 2_300,
    "a scheme that fits": b"B" * 16_000,
    "a scheme that fits and is none": b"B" * 16_000 + b"\x7f x",
    "characters and equals signs that fit": b"Bearer " + b"a=" * 8_000,
}


@pytest.mark.parametrize("name", list(PATHOLOGICAL))
async def test_h01_cve_2026_35041_pathological_field(name: str) -> None:
    """
    No ``Authorization`` field makes its grammar slow: refusing it is less than one RSA verification.
    """
    guarded = api()
    fields = [(b"authorization", PATHOLOGICAL[name])]
    scope = scope_of(headers=fields)

    answer = await guarded.send(headers=fields)
    await guarded.accepts()

    assert (answer.status, answer.challenge.get("error")) in {(400, "invalid_request"), (401, None)}
    assert guarded.ran == ["/orders"]
    assert await fastest(lambda: send(guarded.app, scope)) < GENEROUS * await cost_of_a_forgery()


async def test_h01_pathological_query() -> None:
    """
    The query is searched for a second token in one pass, however it is escaped.
    """
    guarded = api()
    await guarded.accepts()
    limit = GENEROUS * await cost_of_a_forgery()

    for unit in ("access_token", "access_toke&", "%61", "%", "a", "&", "=", "access%5Ftoke;"):
        scope = scope_of(f"/orders?{unit * (16_000 // len(unit))}", headers=[bearer("anything")])
        with naming(unit):
            assert (await send(guarded.app, scope)).status in {400, 401}
            assert await fastest(lambda scope=scope: send(guarded.app, scope)) < 10 * limit  # type: ignore[misc]  # mypy cannot infer a lambda with a default


async def test_h02_keys_that_are_dear_to_verify_with() -> None:
    """
    A key with a huge modulus or exponent is not used, so that no token can make it work.
    """
    fake = rsa_issuer()
    public = rsa_jwk(rsa_public())
    huge = {
        "modulus over 16,384 bits": public | {"n": encode((1 << 16_392 | 1).to_bytes(2_050))},
        "modulus of 100,000 bits": public | {"n": encode(b"\xff" * 12_500)},
        "exponent of 256 bits": public | {"e": encode(b"\1" + b"\0" * 31 + b"\1")},
        "exponent of 2,048 bits": public | {"e": encode(b"\x7f" + b"\xff" * 255)},
    }
    token = compact(header_of(fake.keys, kid="dear"), claims_of(), fake.keys.current.sign)

    for name, key in huge.items():
        with naming(name):
            keys = jwk_set(key | {"kid": "dear"}, fake.keys.current.jwk())
            await api(fake, issuers=[Issuer(URL, keys=keys)]).refuses(token, code="unknown_key")


async def test_h02_large_keys_are_served() -> None:
    """
    A key of 4,096 bits is a good key.
    """
    private = rsa.generate_private_key(65537, 4096)
    issuer = Issuer(URL, keys=jwk_set(rsa_jwk(private.public_key(), kid="large", alg="RS256")))
    header = {"alg": "RS256", "kid": "large", "typ": "at+jwt"}
    good = compact(header, claims_of(), rs(private, hashes.SHA256()))
    other = compact(
        header, claims_of(), rs(cast("rsa.RSAPrivateKey", rsa_keys().current.private_key), hashes.SHA256())
    )

    await api(issuers=[issuer], good=lambda: good).refuses(other, code="bad_signature")


async def test_h03_slow_issuer_blocks_nobody() -> None:
    """
    While a fetch hangs, tokens under known keys are served, old and new, and others are refused.
    """
    fake, release, hanging = new_issuer(), asyncio.Event(), asyncio.Event()
    fetches = 0

    async def respond(request: httpx.Request) -> httpx.Response:
        nonlocal fetches
        fetches += 1
        if fetches > 1:
            hanging.set()
            await release.wait()
        return httpx.Response(200, json=fake.keys.jwks())

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as client:
        issuer = Issuer(URL, jwks_uri=f"{URL}/jwks", http_client=client)
        guarded = api(fake, issuers=[issuer])
        await guarded.accepts()
        unknown = fake.token(scope=SCOPE, headers={"kid": "unknown"})
        waiting = [asyncio.create_task(guarded.send(unknown)) for _ in range(50)]
        await hanging.wait()

        for _ in range(20):
            await guarded.accepts()
            assert (await guarded.send("anything")).status == 401
        assert not any(task.done() for task in waiting)
        release.set()
        answers = await asyncio.gather(*waiting)

    assert ({answer.status for answer in answers}, fetches) == ({401}, 2)


async def test_h04_unbounded_caches() -> None:
    """
    Neither distinct good tokens nor unknown key IDs or issuers grow memory, or the issuer's load.
    """
    fake = new_issuer()
    guarded = api(fake, token_cache_size=50, on_event=(), monotonic=lambda: 0.0)
    ran = guarded.ran

    def tokens(first: int, last: int) -> list[str]:
        return [
            token
            for number in range(first, last)
            for token in (
                fake.token(scope=SCOPE, sub=f"user-{number}"),
                fake.token(scope=SCOPE, headers={"kid": f"k-{number}"}),
                fake.token(scope=SCOPE, iss=f"{URL}/{number}"),
            )
        ]

    async def serve(some: list[str]) -> int:
        for one in some:
            await guarded.send(one)
        ran.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    early, late = tokens(0, 150), tokens(150, 700)
    tracemalloc.start()
    try:
        before = await serve(early)
        after = await serve(late)
    finally:
        tracemalloc.stop()

    assert after - before < 100_000
    # Discovery once, then the keys: at first, and for unknown key IDs within the budget of 30 seconds.
    assert len(guarded.outgoing) <= 2 * 3
    await guarded.accepts()


async def test_h05_clocks_that_jump() -> None:
    """
    Times in tokens are judged by the wall clock, the age of keys by one that does not jump.
    """
    fake, wall, steady = new_issuer(), Clock(), Clock(0.0)
    guarded = api(fake, clock=wall, monotonic=steady)
    remembered = fake.token(scope=SCOPE)
    await guarded.accepts(remembered)
    fetched = len(guarded.outgoing)

    wall.now = NOW + 3_600
    assert (await guarded.send(remembered)).challenge["error_description"] == "The access token expired"
    wall.now = NOW - 3_600
    assert (await guarded.send(remembered)).status == 401
    assert (await guarded.send(guarded.good())).status == 401
    assert len(guarded.outgoing) == fetched
    wall.now = NOW
    await guarded.accepts(remembered)

    steady.now = 7 * 86_400.0
    await guarded.accepts(remembered)
    assert len(guarded.outgoing) > fetched
