"""
Group A: keys and signatures, from A12 to A34.
"""

import asyncio
import functools
import hashlib
import json
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from starlette.applications import Starlette
from starlette.routing import Route

from guardrail import GuardrailMiddleware, Issuer, ServicePackage
from guardrail.errors import PolicyError, UndeclaredRouteError
from guardrail.issuer import SigningKeys

from . import jwe
from .kit import (
    AUDIENCE,
    NOW,
    SCOPE,
    URL,
    Api,
    Sign,
    api,
    claims_of,
    compact,
    decode,
    encode,
    endpoint,
    forged,
    guard,
    header_of,
    hmac_with,
    jwk_set,
    new_issuer,
    octets_of,
    package,
    rsa_issuer,
    rsa_keys,
    scope_of,
    send,
    unsigned,
    with_signature,
)
from .signing import ec_jwk, es, hmac_tokens, rs, rsa_jwk, rsa_public, secrets_of_public_key

pytestmark = pytest.mark.anyio

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


async def test_a12_cve_2026_27962_key_embedded_in_the_header() -> None:
    """
    A key in the header is not looked at, whether its key ID is missing, known or the attacker's own.
    """
    fake, attacker = new_issuer(), SigningKeys("EdDSA")
    embedded = attacker.current.jwk()

    await api(fake).refuses_all(
        {
            f"kid {kid!r}": compact(
                header_of(attacker, kid=kid, jwk=embedded), claims_of(), attacker.current.sign
            )
            for kid in (None, fake.keys.current.kid, attacker.current.kid)
        }
    )
    await api(fake).accepts(fake.token(scope=SCOPE, headers={"jwk": embedded}))


async def test_a13_certificate_in_the_header() -> None:
    """
    A self-signed certificate in the header, thumbprints and all, is no key.
    """
    fake, attacker = rsa_issuer(), SigningKeys("RS256")
    der = jwe.self_signed(cast("rsa.RSAPrivateKey", attacker.current.private_key))
    header = {
        "x5c": [jwe.standard_base64(der)],
        "x5t#S256": encode(hashlib.sha256(der).digest()),
    }

    await api(fake).refuses_all(
        {
            f"kid {kid!r}": compact(
                header_of(attacker, kid=kid, **header), claims_of(), attacker.current.sign
            )
            for kid in (None, fake.keys.current.kid, attacker.current.kid)
        }
    )


async def test_a14_cve_2026_48522_key_fetched_from_where_the_token_says() -> None:
    """
    No location in a header is visited, on whatever scheme or host.
    """
    fake, attacker = new_issuer(), SigningKeys("EdDSA")
    hits: list[object] = []
    server = await asyncio.start_server(lambda *streams: hits.append(streams), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    locations = (
        f"http://127.0.0.1:{port}/jwks",
        f"http://localhost:{port}/jwks",
        "file:///etc/passwd",
        "ftp://127.0.0.1/jwks",
        "data:application/json," + json.dumps(attacker.jwks()),
        "https://login.example.com.evil.example/jwks",
        f"{fake.url}@evil.example/jwks",
    )

    async with server:
        await api(fake).refuses_all(
            {
                f"{name} {location}": compact(
                    header_of(attacker, kid=kid, **{name: location}), claims_of(), attacker.current.sign
                )
                for name in ("jku", "x5u")
                for location in locations
                for kid in (None, attacker.current.kid)
            }
        )

    assert hits == []


@pytest.mark.parametrize("r", [0, 1, P256_ORDER, P256_ORDER + 1])
@pytest.mark.parametrize("s", [0, 1, P256_ORDER, P256_ORDER + 1])
async def test_a15_psychic_signature(r: int, s: int) -> None:
    """
    An ECDSA signature of zeros, ones or numbers at the order of the curve is none.
    """
    fake = new_issuer(algorithm="ES256")

    await api(fake).refuses(
        with_signature(fake.token(scope=SCOPE), r.to_bytes(32) + s.to_bytes(32)), code="bad_signature"
    )


async def test_a16_cve_2019_14853_ecdsa_in_der_or_of_another_length() -> None:
    """
    An ECDSA signature is exactly two numbers of the curve's size, on the curve of the algorithm.
    """
    fake = new_issuer(algorithm="ES256")
    token = fake.token(scope=SCOPE)
    good = decode(token.rpartition(".")[2])
    r, s = int.from_bytes(good[:32]), int.from_bytes(good[32:])
    signatures = {
        "DER": encode_dss_signature(r, s),
        "63 bytes": good[:-1],
        "65 bytes": good + b"\0",
        "a zero before each": b"\0" + good[:32] + b"\0" + good[32:],
        "128 bytes": good + good,
        "96 bytes": r.to_bytes(48) + s.to_bytes(48),
        "negated s": r.to_bytes(32) + (2**256 - s).to_bytes(32),
    }

    await api(fake).refuses_all(
        {name: with_signature(token, signature) for name, signature in signatures.items()},
        code="bad_signature",
    )


async def test_a16_algorithm_and_curve() -> None:
    """
    An algorithm is used on its own curve alone.
    """
    fake = new_issuer(algorithm="ES256")
    small, large = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
    keys = jwk_set(ec_jwk(small, kid="p256"), ec_jwk(large, kid="p384"), fake.keys.current.jwk())
    guarded = api(fake, issuers=[Issuer(URL, keys=keys)])

    def token(alg: str, kid: str, sign: Sign) -> str:
        return compact({"alg": alg, "kid": kid, "typ": "at+jwt"}, claims_of(), sign)

    await guarded.refuses_all(
        {
            "ES256 over P-384": token("ES256", "p384", es(large, hashes.SHA256(), 48)),
            "ES384 over P-256": token("ES384", "p256", es(small, hashes.SHA384())),
            "ES512 over P-384": token("ES512", "p384", es(large, hashes.SHA512(), 48)),
        }
    )
    await guarded.accepts(token("ES256", "p256", es(small, hashes.SHA256())))
    await guarded.accepts(token("ES384", "p384", es(large, hashes.SHA384(), 48)))


async def test_a17_signature_forged_for_exponent_three() -> None:
    """
    A cube root that only begins as a signature does is refused (Bleichenbacher 2006).
    """
    private = rsa.generate_private_key(public_exponent=3, key_size=2048)
    issuer = Issuer(URL, keys=jwk_set(rsa_jwk(private.public_key(), kid="e3", alg="RS256")))
    header = {"alg": "RS256", "kid": "e3", "typ": "at+jwt"}

    def forge(octets: bytes) -> bytes:
        prefix = bytes.fromhex("0001ffffffffffffffff003031300d060960864801650304020105000420")
        block = (prefix + hashlib.sha256(octets).digest()).ljust(256, b"\0")
        root = _cube_root(int.from_bytes(block)) + 1
        assert (root**3).to_bytes(256).startswith(block[:60])
        return root.to_bytes(256)

    good = compact(header, claims_of(), rs(private, hashes.SHA256()))
    guarded = api(issuers=[issuer], good=lambda: good)

    await guarded.refuses(compact(header, claims_of(), forge), code="bad_signature")


def _cube_root(number: int) -> int:
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= number else (low, middle - 1)
    return low


async def test_a18_salt_and_hash_of_pss() -> None:
    """
    PS256 has one salt length and one hash, both times (RFC 7518 §3.5); and it is not RS256.
    """
    private = cast("rsa.RSAPrivateKey", rsa_keys().current.private_key)
    issuer = Issuer(URL, keys=jwk_set(rsa_jwk(rsa_public(), kid="ps", alg="PS256")))

    def pss(
        salt: int, *, digest: hashes.HashAlgorithm | None = None, mask: hashes.HashAlgorithm | None = None
    ) -> Sign:
        scheme = padding.PSS(padding.MGF1(mask or hashes.SHA256()), salt)
        return lambda octets: private.sign(octets, scheme, digest or hashes.SHA256())

    def token(sign: Sign) -> str:
        return compact({"alg": "PS256", "kid": "ps", "typ": "at+jwt"}, claims_of(), sign)

    await api(issuers=[issuer], good=lambda: token(pss(32))).refuses_all(
        {
            "no salt": token(pss(0)),
            "a short salt": token(pss(31)),
            "the longest salt": token(pss(222)),
            "another mask hash": token(pss(32, mask=hashes.SHA512())),
            "another hash": token(pss(32, digest=hashes.SHA512())),
            "PKCS#1 v1.5": token(rs(private, hashes.SHA256())),
        },
        code="bad_signature",
    )


async def test_a19_cve_2026_45363_empty_hmac_key() -> None:
    """
    No key is not a key: an HMAC under an empty secret is refused, and so is an empty JWK Set at construction.
    """
    empty = {"an empty secret": b"", "a null byte": b"\0"}

    await api(rsa_issuer()).refuses_all(hmac_tokens(empty), code="algorithm_not_allowed")
    await api(rsa_issuer()).refuses_all(hmac_tokens(empty, kid=None), code="algorithm_not_allowed")
    oct_key = {"kty": "oct", "k": "", "kid": "empty"}
    empty_sets: list[dict[str, Any]] = [{}, {"keys": None}, {"keys": []}, {"keys": [{}]}, jwk_set(oct_key)]
    for keys in empty_sets:
        with pytest.raises(PolicyError, match="keys"):
            Issuer(URL, keys=keys)


async def test_a20_no_key_by_default() -> None:
    """
    There is no default issuer, key or secret; a key set of nothing usable stops the start-up.
    """
    unusable = Issuer(URL, keys=jwk_set(rsa_keys().current.jwk()), algorithms=["ES256"])

    with pytest.raises(PolicyError, match="issuer"):
        ServicePackage("orders", audience=AUDIENCE)  # type: ignore[call-arg]  # the mistake
    with pytest.raises(PolicyError, match="no usable key"):
        await api(issuers=[unusable]).send("anything")


@functools.cache
def weak_keys() -> dict[str, dict[str, object]]:
    """
    Keys that must not verify anything.
    """
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what must be refused
    public = rsa_jwk(rsa_public())
    point = ec_jwk(ec.generate_private_key(ec.SECP256R1()))
    y = bytearray(decode(str(point["y"])))
    y[-1] ^= 1
    return {
        "1024 bits": rsa_jwk(weak.public_key()),
        "e = 1": public | {"e": "AQ"},
        "e = 2": public | {"e": "Ag"},
        "e = 0": public | {"e": "AA"},
        "off the curve": point | {"y": encode(bytes(y))},
        "a short secret": {"kty": "oct", "k": encode(b"short")},
        "for encryption": public | {"use": "enc"},
        "for signing only": public | {"key_ops": ["sign"]},
        "Ed25519 of small order": {"kty": "OKP", "crv": "Ed25519", "x": encode(b"\1" + bytes(31))},
    }


@pytest.mark.parametrize("name", list(weak_keys()))
async def test_a21_cve_2025_45768_weak_key(name: str) -> None:
    """
    A weak key is as good as absent, and the good key beside it serves.
    """
    fake, weak = rsa_issuer(), weak_keys()[name] | {"kid": "weak"}
    keys = jwk_set(weak, fake.keys.current.jwk())
    guarded = api(fake, issuers=[Issuer(URL, keys=keys)])
    private = cast("rsa.RSAPrivateKey", fake.keys.current.private_key)
    # With e = 1 the signature is the padded hash itself: anybody makes it.
    padded = b"\0\1" + b"\xff" * 202 + b"\0" + bytes.fromhex("3031300d060960864801650304020105000420")
    signers: dict[str, tuple[str, Sign]] = {
        "signed": ("RS256", rs(private, hashes.SHA256())),
        "padded hash": ("RS256", lambda octets: padded + hashlib.sha256(octets).digest()),
        "elliptic": ("ES256", lambda _: b"\1" * 64),
        "identity": ("EdDSA", lambda _: b"\1" + bytes(63)),
        "secret": ("HS256", hmac_with(b"short")),
    }

    await guarded.refuses_all(
        {
            case: compact({"alg": alg, "kid": "weak", "typ": "at+jwt"}, claims_of(), sign)
            for case, (alg, sign) in signers.items()
        }
    )


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"crit": ["x"], "x": 1}, id="unknown"),
        pytest.param({"crit": []}, id="empty"),
        pytest.param({"crit": "exp", "exp": NOW}, id="a string"),
        pytest.param({"crit": ["alg"]}, id="a registered name"),
        pytest.param({"crit": ["missing"]}, id="not there"),
        pytest.param({"crit": [1]}, id="a number"),
        pytest.param({"crit": {}}, id="an object"),
        pytest.param({"crit": ["b64"], "b64": True}, id="b64"),
        pytest.param({"crit": ["exp", "x"], "exp": NOW + 600, "x": None}, id="one known, one unknown"),
    ],
)
async def test_a22_cve_2025_59420_unknown_critical_extension(header: dict[str, Any]) -> None:
    """
    A header that demands an extension is refused (also CVE-2026-32597 and CVE-2026-35042).
    """
    fake = new_issuer()

    await api(fake).refuses(fake.token(scope=SCOPE, headers=header), code="unsupported_header")
    await api(fake).refuses(
        compact(header_of(fake.keys) | header | {"crit": None}, claims_of(), fake.keys.current.sign),
        code="unsupported_header",
    )


async def test_a23_cve_2026_48525_unencoded_payload() -> None:
    """
    An unencoded or detached payload is refused, with ``crit`` and without, small and huge.
    """
    fake = new_issuer()
    plain = octets_of(claims_of())

    def unencoded(payload: bytes, **header: object) -> bytes:
        start = encode(octets_of(header_of(fake.keys, b64=False, **header))).encode() + b"." + payload
        return start + b"." + encode(fake.keys.current.sign(start)).encode()

    def encoded(**header: object) -> str:
        return compact(header_of(fake.keys, **header), claims_of(), fake.keys.current.sign)

    await api(fake).refuses_all(
        {
            "b64 false": encoded(b64=False),
            "b64 false, critical": encoded(b64=False, crit=["b64"]),
            "b64 true": encoded(b64=True),
            "unencoded": unencoded(b"payload"),
            "detached": unencoded(b"", crit=["b64"]),
        }
    )
    await api(fake).refuses_all(
        {"JSON": unencoded(plain, crit=["b64"]), "10 MB": unencoded(b"a" * 10_000_000)},
        status=400,
        error="invalid_request",
    )


def serializations(token: str) -> dict[str, dict[str, object]]:
    """
    A signed token in the JSON serializations (RFC 7515 §7.2).
    """
    protected, payload, signature = token.split(".")
    one = {"protected": protected, "signature": signature}
    return {
        "flattened": {"payload": payload, **one},
        "general": {"payload": payload, "signatures": [one]},
        "with dots": {"payload": payload, **one, "header": {"x": "a.b.c"}},
        "split into three": {"payload": payload, **one, "x": "..", "y": token},
        "compact inside": {"token": token},
    }


async def test_a24_cve_2022_39227_json_and_compact_at_once() -> None:
    """
    The compact form is the only one: JSON is refused, and so is JSON that splits into three parts.
    """
    fake = new_issuer()
    token = fake.token(scope=SCOPE)
    header, _, signature = token.split(".")
    swapped = encode(octets_of(claims_of(sub="mallory")))

    await api(fake).refuses_all(
        {
            **{name: json.dumps(one) for name, one in serializations(token).items()},
            "a polyglot": json.dumps({f"  {header}.{swapped}.": "", **serializations(token)["flattened"]}),
        },
        status=400,
        error="invalid_request",
    )
    await api(fake).refuses_all(
        {name: encode(octets_of(one)) for name, one in serializations(token).items()},
        code="malformed_token",
    )
    await api(fake).refuses(f"{header}.{swapped}.{signature}", code="bad_signature")


async def test_a25_unprotected_header_overrides_the_algorithm() -> None:
    """
    There is no unprotected header, so it overrides nothing (web-token/jwt-library).
    """
    fake = new_issuer()
    flattened = serializations(fake.token(scope=SCOPE))["flattened"]
    for header in ({"alg": "none"}, {"alg": "EdDSA", "kid": fake.keys.current.kid}):
        document = json.dumps(flattened | {"header": header})

        await api(fake).refuses(document, status=400, error="invalid_request")
        await api(fake).refuses(encode(document.encode()), code="malformed_token")


async def test_a26_cve_2026_29000_encrypted_and_never_signed() -> None:
    """
    A JWE is refused, whatever is inside: that anybody can encrypt to a public key proves nothing.
    """
    fake = rsa_issuer()
    claims = octets_of(claims_of())
    inner = compact({"alg": "none"}, claims_of(), unsigned).encode()
    kid = fake.keys.current.kid

    await api(fake).refuses_all(
        {
            "RSA-OAEP, claims": jwe.rsa_oaep(claims, rsa_public(), kid=kid),
            "RSA-OAEP, an unsigned JWT": jwe.rsa_oaep(inner, rsa_public(), kid=kid, cty="JWT"),
            "RSA-OAEP, a signed JWT": jwe.rsa_oaep(fake.token(scope=SCOPE).encode(), rsa_public(), cty="JWT"),
            "dir": jwe.direct(claims, hashlib.sha256(octets_of(fake.keys.jwks())).digest(), kid=kid),
        },
        code="malformed_token",
    )


async def test_a27_cve_2023_51774_decryption_is_not_a_signature() -> None:
    """
    Nothing that only decrypts is accepted, under a password or a shared key.
    """
    secret = secrets_of_public_key()["SPKI"]
    claims = octets_of(claims_of())

    await api(rsa_issuer()).refuses_all(
        {
            "PBES2": jwe.pbes2(claims, secret, count=1000),
            "A128KW": jwe.key_wrapped(claims, hashlib.md5(secret, usedforsecurity=False).digest()),
            "A128KW, zeros": jwe.key_wrapped(claims, bytes(16)),
        },
        code="malformed_token",
    )


async def test_a28_cve_2026_49230_default_configuration_accepts() -> None:
    """
    With nothing declared nothing is served; with nothing but an issuer named, a token is needed.
    """
    ran: list[str] = []
    bare = GuardrailMiddleware(Starlette(routes=[Route("/orders", endpoint(ran))]))
    fake = new_issuer()
    least = guard([Route("/orders", package(fake).requires()(endpoint(ran)))], fake, ran)

    with pytest.raises(UndeclaredRouteError, match="/orders"):
        await send(bare, scope_of())
    await least.refuses(error=None, code="missing_token")
    await least.refuses("anything")
    assert (await send(GuardrailMiddleware(Starlette()), scope_of())).status == 404


async def test_a29_expired_and_badly_signed() -> None:
    """
    A forged token is not called expired: the signature is judged first.
    """
    fake = new_issuer()
    expired = fake.token(scope=SCOPE, expires_in=-3600)

    answer = await api(fake).refuses(forged(expired), code="bad_signature")
    honest = await api(fake).refuses(expired, code="token_expired")

    assert "expired" not in answer.challenge["error_description"]
    assert "expired" in honest.challenge["error_description"]


async def test_a31_stripped_and_truncated() -> None:
    """
    A token without a byte, a part, a separator or its own claims set is refused.
    """
    fake = rsa_issuer()
    token, other = fake.token(scope=SCOPE), fake.token(scope=SCOPE, sub="bob")
    header, claims, signature = token.split(".")
    other_claims = other.split(".")[1]

    await api(fake).refuses_all(
        {
            "no last byte": f"{header}.{claims}.{encode(decode(signature)[:-1])}",
            "no first byte": f"{header}.{claims}.{encode(decode(signature)[1:])}",
            "no last character": token[:-1],
            "no signature": f"{header}.{claims}.",
            "no signature and separator": f"{header}.{claims}",
            "no claims set": f"{header}..{signature}",
            "no claims set and separator": f"{header}.{signature}",
            "no header": f".{claims}.{signature}",
            "no header and separator": f"{claims}.{signature}",
            "only the signature": f"..{signature}",
            "only dots": "..",
            "one part more": f"{token}.{signature}",
            "one separator more": f"{token}.",
            "another claims set": f"{header}.{other_claims}.{signature}",
            "another signature": f"{header}.{claims}.{other.split('.')[2]}",
            "a zero before": f"{header}.{claims}.{encode(bytes(1) + decode(signature))}",
            "a zero behind": f"{header}.{claims}.{encode(decode(signature) + bytes(1))}",
        }
    )


async def test_a32_header_written_again_before_verifying() -> None:
    """
    The octets received are verified: odd spacing and order are as good as any, another spelling is not.
    """
    fake = new_issuer()
    keys = fake.keys
    spaced = f' {{ "typ":"at+jwt" ,\n"kid" : "{keys.current.kid}", "x":"\\u0061", "alg":"EdDSA" }} '.encode()
    claims = json.dumps(dict(reversed(claims_of().items())), indent=1).encode()
    token = compact(spaced, claims, keys.current.sign)
    signature = token.rpartition(".")[2]
    guarded = api(fake)

    await guarded.accepts(token)
    await guarded.refuses_all(
        {
            "header": f"{encode(octets_of(json.loads(spaced)))}.{encode(claims)}.{signature}",
            "claims set": f"{encode(spaced)}.{encode(octets_of(json.loads(claims)))}.{signature}",
        },
        code="bad_signature",
    )


def respelled(token: str) -> dict[str, str]:
    """
    The same octets in other spellings of base64url; the signature has unused bits.
    """
    header, claims, signature = token.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    flipped = alphabet[alphabet.index(signature[-1]) ^ 1]
    return {
        "padding": f"{token}==",
        "one padding": f"{token}=",
        "unused bits": f"{header}.{claims}.{signature[:-1]}{flipped}",
        "standard alphabet": f"{header}.{claims}.{signature.replace('-', '+').replace('_', '/')}",
    }


async def test_a33_one_token_one_spelling() -> None:
    """
    Padding, white space, another alphabet or unused bits make another token, and that one is refused.
    """
    fake = new_issuer()
    token = next(
        one for one in iter(lambda: fake.token(scope=SCOPE), "") if {"-", "_"} & set(one.rpartition(".")[2])
    )
    guarded = api(fake)

    await guarded.accepts(token)
    await guarded.refuses_all(respelled(token), code="malformed_token")
    await guarded.refuses_all(
        {
            "escaped padding": f"{token}%3D",
            "a newline": f"{token}\n",
            "a space inside": token.replace(".", ". ", 1),
            "a tab": f"{token}\t",
            "padding inside": token.replace(".", "=.", 1),
            "a null byte": f"{token}\0",
        },
        status=400,
        error="invalid_request",
    )


async def test_a34_key_of_another_issuer_under_the_same_key_id() -> None:
    """
    The same key ID at two issuers names two keys, and a token is verified with its own issuer's.
    """
    fake, other = new_issuer(), new_issuer("https://partner.example.org")
    kid = {"kid": "current"}
    issuers = [
        Issuer(one.url, keys=jwk_set(one.keys.current.jwk() | kid), algorithms=["EdDSA"])
        for one in (fake, other)
    ]
    guarded: Api = api(fake, issuers=issuers, good=lambda: fake.token(scope=SCOPE, headers=kid))

    await guarded.accepts(other.token(scope=SCOPE, headers=kid))
    await guarded.refuses(fake.token(scope=SCOPE, headers=kid, iss=other.url), code="bad_signature")
    await guarded.refuses(other.token(scope=SCOPE, headers=kid, iss=fake.url), code="bad_signature")
