"""
Verifying one token, without ASGI and routing, beside the libraries that do it too.

Each verifies signature, issuer, audience and times of the same tokens, with the key in hand or cached. Those
that are not installed say so. Everything is timed in turns; the ratio to the raw signature is what to quote.

    python benchmarks/bench_verify.py [--rounds N] [--json FILE]
"""

import asyncio
import importlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from signing import AUDIENCE, ISSUER, Signer, ec_signer, ed_signer, rsa_signer
from timing import Case, Figure, options, ratio, report, time_in_turns, write

from guardrail import Issuer, ServicePackage
from guardrail._key_sets import KeySets
from guardrail._verifier import PackageVerifier, TokenCache

TOKENS = 60
CACHE = 16  # entries, fewer than tokens: each is new again when its turn comes
Verify = Callable[[str], Awaitable[object]]


def ours(signer: Signer, *, cache: int) -> Verify:
    """
    guardrail's verifier, with a cache of verified tokens.
    """
    issuer = Issuer(ISSUER, keys={"keys": [signer.jwk]})
    package = ServicePackage("orders", issuer=issuer, audience=AUDIENCE)
    keys = {issuer: KeySets().of(issuer)}
    verifier = PackageVerifier(package, key_sets=keys, cache=TokenCache(cache))

    async def verify(token: str) -> object:
        return await verifier.authenticate(token.encode())

    return verify


def pyjwt(signer: Signer) -> Verify:
    """
    PyJWT, key in hand.
    """
    public_key = signer.private_key.public_key()

    async def verify(token: str) -> object:
        return jwt.decode(token, public_key, algorithms=[signer.algorithm], audience=AUDIENCE, issuer=ISSUER)

    return verify


def pyjwt_with_client(signer: Signer, stack: ExitStack) -> Verify:
    """
    PyJWT with its `PyJWKClient`, which has fetched the keys once.
    """
    client = jwt.PyJWKClient(stack.enter_context(serving_keys(signer)))

    async def verify(token: str) -> object:
        key = client.get_signing_key_from_jwt(token)
        return jwt.decode(token, key, algorithms=[signer.algorithm], audience=AUDIENCE, issuer=ISSUER)

    return verify


def joserfc(signer: Signer) -> Verify:
    """
    joserfc.
    """
    from joserfc import jwt as jose  # noqa: PLC0415 - a peer may be absent
    from joserfc.jwk import KeySet  # noqa: PLC0415

    keys: Any = KeySet.import_key_set({"keys": [signer.jwk]})
    registry = jose.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE}
    )

    async def verify(token: str) -> object:
        decoded = jose.decode(token, keys, algorithms=[signer.algorithm])
        registry.validate(decoded.claims)
        return decoded

    return verify


def authlib(signer: Signer) -> Verify:
    """
    Authlib.
    """
    jose: Any = importlib.import_module("authlib.jose")
    decoder = jose.JsonWebToken([signer.algorithm])
    keys = jose.JsonWebKey.import_key_set({"keys": [signer.jwk]})
    wanted = {"iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": AUDIENCE}}

    async def verify(token: str) -> object:
        claims = decoder.decode(token, keys, claims_options=wanted)
        claims.validate()
        return claims

    return verify


def fastmcp(signer: Signer) -> Verify:
    """
    FastMCP's verifier.
    """
    providers: Any = importlib.import_module("fastmcp.server.auth.providers.jwt")
    pem = jwt.PyJWK(signer.jwk).key.public_bytes(*_pem())
    verifier = providers.JWTVerifier(
        public_key=pem.decode(), issuer=ISSUER, audience=AUDIENCE, algorithm=signer.algorithm
    )

    async def verify(token: str) -> object:
        return await verifier.verify_token(token)

    return verify


def ryjwt(signer: Signer) -> Verify:
    """
    ryjwt, which is written in Rust.
    """
    rust: Any = importlib.import_module("ryjwt")
    pem = jwt.PyJWK(signer.jwk).key.public_bytes(*_pem())

    async def verify(token: str) -> object:
        return rust.decode(token, pem, algorithms=[signer.algorithm], audience=AUDIENCE, issuer=ISSUER)

    return verify


def _pem() -> tuple[Any, Any]:
    serialization: Any = importlib.import_module("cryptography.hazmat.primitives.serialization")
    return serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo


@contextmanager
def serving_keys(signer: Signer) -> Iterator[str]:
    """
    The URL of a JWK Set on this machine.
    """
    body = json.dumps({"keys": [signer.jwk]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/jwks"
    finally:
        server.shutdown()
        server.server_close()


def peers_of(signer: Signer, stack: ExitStack) -> Iterator[tuple[str, Verify | str]]:
    """
    Everything that verifies, or why it does not.
    """
    makers: dict[str, Callable[[], Verify]] = {
        "guardrail, a token never seen": lambda: ours(signer, cache=CACHE),
        "guardrail, the same token again": lambda: ours(signer, cache=10_000),
        "PyJWT decode, key in hand": lambda: pyjwt(signer),
        "PyJWT with PyJWKClient": lambda: pyjwt_with_client(signer, stack),
        "joserfc": lambda: joserfc(signer),
        "Authlib": lambda: authlib(signer),
        "FastMCP's JWTVerifier": lambda: fastmcp(signer),
        "ryjwt": lambda: ryjwt(signer),
    }
    for name, make in makers.items():
        try:
            yield name, make()
        except ImportError:
            yield name, "not installed"
        except ValueError as exc:  # FastMCP refuses an algorithm when it is told of it
            yield name, f"not with {signer.algorithm}: {exc}"


def timed(name: str, verify: Verify, tokens: list[str]) -> Case:
    """
    *verify* with each of *tokens*.
    """

    async def run(_: object) -> None:
        for token in tokens:
            assert await verify(token) is not None

    return Case(name, run, len(tokens))


def compare(signer: Signer, rounds: int) -> dict[str, Figure | str]:
    """
    The ratios for one algorithm.
    """
    tokens = [signer.token(number) for number in range(TOKENS)]
    signed = [signer.signed(token) for token in tokens]
    rows: dict[str, Figure | str] = {}

    async def verify_raw(_: object) -> None:
        for signature, signing_input in signed:
            signer.raw_verify(signature, signing_input)

    cases = [Case("raw", verify_raw, TOKENS)]
    with ExitStack() as stack:
        for name, verify in peers_of(signer, stack):
            rows[name] = verify if isinstance(verify, str) else ""
            if not isinstance(verify, str):
                again = name.endswith("again")
                cases.append(timed(name, verify, [tokens[0]] * TOKENS if again else tokens))
        samples = asyncio.run(time_in_turns(cases, rounds))
    return rows | {case.name: ratio(samples, case.name, "raw") for case in cases[1:]}


def main() -> None:
    """
    Time, print, write.
    """
    given = options(__doc__)
    tables: dict[str, dict[str, Figure | str]] = {}
    for signer in (rsa_signer(), ec_signer(), ed_signer()):
        title = f"{signer.algorithm}, of one raw verification by cryptography"
        tables[title] = compare(signer, given.rounds)
        report(title, tables[title], unit="x")
    write(given.json, "verify", tables)


if __name__ == "__main__":
    main()
