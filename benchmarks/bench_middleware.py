"""
What the whole middleware costs beside the signature that it has to verify anyway.

Each request goes through `GuardrailMiddleware` around a plain ASGI application: routing, extraction,
verification, operator, decision. What the bare application costs is taken off. *Cold* is a token never seen
before; *warm* the same one again. Everything is timed in turns in one event loop.

    python benchmarks/bench_middleware.py [--rounds N] [--json FILE]
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import jwt
from signing import AUDIENCE, ISSUER, SCOPE, Signer, ec_signer, ed_signer, rsa_signer
from timing import Case, Figure, options, ratio, report, time_in_turns, write

from guardrail import GuardrailMiddleware, Issuer, ServicePackage

TOKENS = 160
CACHE = 32  # entries, fewer than tokens: each is new again when its turn comes
DECODES = 40
Sender = Callable[[dict[str, Any]], Any]


async def bare(_scope: Any, _receive: Any, send: Sender) -> None:
    """
    An application that does nothing but answer.
    """
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def receive() -> dict[str, Any]:
    """
    No body.
    """
    return {"type": "http.request"}


async def ignore(message: dict[str, Any]) -> None:
    """
    Send to nobody.
    """


def scope_with(token: bytes) -> dict[str, Any]:
    """
    A request as a server hands it over.
    """
    return {
        "type": "http",
        "method": "GET",
        "scheme": "https",
        "path": "/orders/17",
        "raw_path": b"/orders/17",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"api.example.com"),
            (b"user-agent", b"benchmark/1"),
            (b"accept", b"*/*"),
            (b"authorization", b"Bearer " + token),
        ],
        "state": {},
    }


def guarded(signer: Signer, *, cache: int, scope: str = SCOPE) -> GuardrailMiddleware:
    """
    The bare application, guarded.
    """
    issuer = Issuer(ISSUER, keys={"keys": [signer.jwk]})
    orders = ServicePackage("orders", issuer=issuer, audience=AUDIENCE)
    return GuardrailMiddleware(bare, prefixes={"/orders": orders.requires(scope)}, token_cache_size=cache)


def through(name: str, app: Any, tokens: Iterable[bytes]) -> Case:
    """
    A request with each of *tokens* to *app*.
    """
    wanted = list(tokens)

    async def run(scopes: Any) -> None:
        for scope in scopes:
            await app(scope, receive, ignore)

    return Case(name, run, len(wanted), lambda: [scope_with(token) for token in wanted])


async def status_of(app: Any, token: bytes) -> int:
    """
    The answer to one request, so that nothing is timed that does not work.
    """
    seen: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            seen.append(message["status"])

    await app(scope_with(token), receive, send)
    return seen[0]


def cases_for(signer: Signer) -> list[Case]:
    """
    What is timed with one algorithm.
    """
    texts = [signer.token(number) for number in range(TOKENS)]
    tokens = [text.encode() for text in texts]
    signed = [signer.signed(text) for text in texts]
    public_key = signer.private_key.public_key()

    async def verify_raw(_: object) -> None:
        for signature, signing_input in signed:
            signer.raw_verify(signature, signing_input)

    async def decode(_: object) -> None:
        for text in texts[:DECODES]:
            jwt.decode(text, public_key, algorithms=[signer.algorithm], audience=AUDIENCE, issuer=ISSUER)

    warm = guarded(signer, cache=10_000)
    cold = guarded(signer, cache=CACHE)
    forbidden = guarded(signer, cache=10_000, scope="orders:audit")
    broken = tokens[0][:-1] + b"~"
    expected = [(warm, tokens[0], 200), (cold, tokens[0], 200), (forbidden, tokens[0], 403)]
    expected += [(warm, broken, 401), (warm, b"x.y.z", 401)]
    for app, token, status in expected:
        assert asyncio.run(status_of(app, token)) == status
    return [
        Case("raw", verify_raw, TOKENS),
        Case("decode", decode, DECODES),
        through("bare", bare, tokens),
        through("cold", cold, tokens),
        through("warm", warm, [tokens[0]] * TOKENS),
        through("403", forbidden, [tokens[0]] * TOKENS),
        through("garbage", warm, [tokens[0][:-40] + b"." * 40] * TOKENS),
        through("garbled", warm, [broken] * TOKENS),
    ]


def main() -> None:
    """
    Time, print, write.
    """
    given = options(__doc__)
    signers = (rsa_signer(), ec_signer(), ed_signer())
    to_raw: dict[str, Figure | str] = {}
    to_decode: dict[str, Figure | str] = {}
    for signer in signers:
        samples = asyncio.run(time_in_turns(cases_for(signer), given.rounds))
        algorithm = signer.algorithm
        to_raw[f"{algorithm}, a token never seen"] = ratio(samples, "cold", "raw", less="bare")
        to_raw[f"{algorithm}, a token of too many parts"] = ratio(samples, "garbage", "raw", less="bare")
        to_raw[f"{algorithm}, a token that is no base64url"] = ratio(samples, "garbled", "raw", less="bare")
        to_decode[f"{algorithm}, the same token again"] = ratio(samples, "warm", "decode", less="bare")
        to_decode[f"{algorithm}, a known token without the scope"] = ratio(
            samples, "403", "decode", less="bare"
        )
    tables = {
        "Of one raw verification by cryptography": to_raw,
        "Of one PyJWT decode, key in hand": to_decode,
    }
    for title, rows in tables.items():
        report(title, rows, unit="x")
    write(given.json, "middleware", tables)


if __name__ == "__main__":
    main()
