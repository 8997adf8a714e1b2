"""
Group B: parsers and types.
"""

import asyncio
import gc
import itertools
import json
import tracemalloc
import unicodedata
from collections.abc import Mapping
from typing import Any

import pytest

from guardrail import Issuer
from guardrail.issuer import SigningKeys

from . import jwe
from .kit import (
    METADATA_URL,
    NOW,
    SCOPE,
    URL,
    Api,
    api,
    bearer,
    claims_of,
    claims_with,
    compact,
    cost_of,
    cost_of_a_forgery,
    encode,
    fastest,
    header_of,
    naming,
    new_issuer,
    octets_of,
    rsa_issuer,
    scope_of,
    send,
)
from .signing import rsa_public, secrets_of_public_key

pytestmark = pytest.mark.anyio

# How much dearer than a forged signature a refusal may look on a machine that does other things too.
GENEROUS = 3.0
# Within the bounds (16 KiB) all of a token may have to be read; a few of its kind cost a millisecond.
READ_ALL_OF_IT = 60.0


def with_claims(keys: SigningKeys, *raw: str) -> dict[str, str]:
    """
    Tokens that are good but for these members of their claims sets.
    """
    return {one: compact(header_of(keys), claims_with(one), keys.current.sign) for one in raw}


async def test_b01_duplicate_members() -> None:
    """
    A member that is there twice, at any depth and in any spelling, refuses the token: which one counts
    depends on the parser (lestrrat-go/jwx #2234, jwtk/jjwt #1073).
    """
    fake = new_issuer()
    header = octets_of(header_of(fake.keys))
    kid = fake.keys.current.kid

    await api(fake).refuses_all(
        {
            **with_claims(
                fake.keys,
                '"sub":"alice","sub":"mallory"',
                '"sub":"alice","s\\u0075b":"mallory"',
                f'"aud":"x","aud":"{claims_of()["aud"]}"',
                '"exp":1,"exp":9999999999',
                '"cnf":{"jkt":"a","jkt":"b"}',
                '"x":[{"y":{"z":1,"z":1}}]',
                '"x":1,"x":1',
                '"":1,"":2',
            ),
            **{
                one: compact(header[:-1] + one.encode() + b"}", claims_of(), fake.keys.current.sign)
                for one in (',"alg":"EdDSA"', ',"\\u0061lg":"none"', ',"x":{"y":1,"y":1}', f',"kid":"{kid}"')
            },
        },
        code="malformed_token",
    )
    for token in with_claims(fake.keys, '"sub":"alice","SUB":"mallory","x":{"sub":"y"}').values():
        await api(fake).accepts(token)


WRONG_TYPES: Mapping[str, tuple[str, ...]] = {
    "exp": ('"9999999999"', '"never"', "null", "[1900000000]", "true", "{}", '""'),
    "nbf": ('"x"', '"0"', "null", "[]", "false", "{}"),
    "iat": ('"x"', '"0"', "null", "[]", "true", "{}"),
    "aud": ("1", "null", "true", "{}", '""'),
    "iss": ("{}", "null", "1", "true", "[]"),
    "sub": ("{}", "null", "1", "true", '["alice"]', '""'),
    "client_id": ("{}", "null", "1", '["web"]', '""'),
    "scope": ("{}", "null", "1", "true", "[1]", '["orders:read",null]'),
    "roles": ("{}", "null", "1", "true", "[1]", '[{"name":"admin"}]'),
    "act": ("null", "1", '"bob"', "[]", "{}", '{"sub":1}'),
    "cnf": ("null", "{}", "[]", '""'),
    "jti": ("{}", "null", "1", "[]"),
}


async def test_b02_cve_2026_25537_claim_of_the_wrong_type_taken_for_absent() -> None:
    """
    A claim of the wrong type refuses the token; it is never as if it were not there.
    """
    fake = new_issuer()
    wrong = [f'"{name}":{value}' for name, values in WRONG_TYPES.items() for value in values]

    await api(fake).refuses_all(with_claims(fake.keys, *wrong))


NUMBERS_TOO_FAR = ("1e309", "-1e309", "Infinity", "-Infinity", "NaN", "1" + "0" * 400, "1" + "0" * 5000)


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat", "auth_time", "x"])
async def test_b03_number_that_is_none(claim: str) -> None:
    """
    What is not a finite number is not JSON, and refuses the token wherever it stands; a huge integer
    refuses it where a time is meant (apache/superset #41394, python-jose #420).
    """
    fake = new_issuer()
    numbers = (
        NUMBERS_TOO_FAR if claim in {"exp", "nbf", "iat"} else (*NUMBERS_TOO_FAR[:5], NUMBERS_TOO_FAR[6])
    )

    await api(fake).refuses_all(with_claims(fake.keys, *(f'"{claim}":{number}' for number in numbers)))


async def test_b03_huge_time_of_authentication_fails_the_step_up() -> None:
    """
    A time of authentication of 400 digits is none: the step-up fails, and nothing breaks.
    """
    fake = new_issuer()
    guarded = api(
        fake, requirement={"max_age": 300}, good=lambda: fake.token(scope=SCOPE, auth_time=int(NOW))
    )

    for token in with_claims(fake.keys, f'"auth_time":{10**400}', '"auth_time":1e300').values():
        await guarded.refuses(token, error="insufficient_user_authentication")


async def test_b04_integer_out_of_range() -> None:
    """
    A time beyond the year 9999 or before 1970 is a mistake, not a far future (libjwt with json-c).
    """
    fake = new_issuer()
    odd = ("18446744073709551616", "9223372036854775808", "9.3e18", "-1", "-1e300", "253402300800")

    await api(fake).refuses_all(
        with_claims(fake.keys, *(f'"{name}":{one}' for name in ("exp", "nbf", "iat") for one in odd)),
        code="claims_malformed",
    )
    for token in with_claims(fake.keys, '"exp":253402300799').values():
        await api(fake).accepts(token)


@pytest.mark.parametrize("size", [1, 10, 50])
async def test_b05_cve_2025_61920_header_of_megabytes(size: int) -> None:
    """
    A header part of megabytes is refused before it is looked at, and nothing is copied.
    """
    fake = new_issuer()
    _, claims, signature = fake.token(scope=SCOPE).encode().split(b".")
    huge = b"A" * (size * 1_000_000) + b"." + claims + b"." + signature
    guarded = api(fake)
    scope = scope_of(headers=[bearer(huge)])

    await guarded.refuses(huge, status=400, error="invalid_request", code="token_too_large")
    tracemalloc.start()
    try:
        await send(guarded.app, scope)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 200_000
    assert await fastest(lambda: send(guarded.app, scope)) < GENEROUS * await cost_of_a_forgery()


async def test_b05_header_of_kilobytes() -> None:
    """
    A header part over 4 KiB is refused too, and it is not decoded.
    """
    fake = new_issuer()
    _, claims, signature = fake.token(scope=SCOPE).split(".")
    guarded = api(fake)
    just_enough, too_much = (
        compact(header_of(fake.keys, x="a" * size), claims_of(), fake.keys.current.sign)
        for size in (2_900, 3_100)
    )

    await guarded.accepts(just_enough)
    await guarded.refuses(too_much, code="token_too_large")
    await guarded.refuses(f"{'A' * 8_000}.{claims}.{signature}", code="token_too_large")
    assert await cost_of(guarded.app, f"{'A' * 15_000}.{claims}.") < GENEROUS * await cost_of_a_forgery()


@pytest.mark.parametrize("octet", [b".", b"{", b"[", b"A", b'"', b"=", b" ", b"-", b"\0", b"\xff"])
async def test_b06_cve_2025_30204_million_of_one_character(octet: bytes) -> None:
    """
    A megabyte of dots, braces, base64 or anything is refused for less than one RSA verification and the
    rest of a request (also CVE-2025-27144).
    """
    guarded = api()
    token = octet * 1_000_000

    await guarded.refuses(token, status=400, error="invalid_request", code="token_too_large")
    assert await cost_of(guarded.app, token) < GENEROUS * await cost_of_a_forgery()


async def test_b06_dots_within_the_bounds() -> None:
    """
    As many dots as the field may hold are counted, and not split at.
    """
    guarded = api()

    await guarded.refuses("." * 16_000, code="malformed_token")
    assert await cost_of(guarded.app, "." * 16_000) < GENEROUS * await cost_of_a_forgery()


def nested(opening: str, depth: int) -> bytes:
    """
    JSON text of that depth: an object, whose member is arrays or objects.
    """
    closing = "]" if opening == "[" else "}"
    return f'{{"x":{opening * depth}1{closing * depth}}}'.encode()


@pytest.mark.parametrize("opening", ["[", '{"a":'])
async def test_b07_deep_nesting(opening: str) -> None:
    """
    Nesting is bounded before the recursive parser sees it, closed or not, in header and claims set.
    """
    fake = new_issuer()
    guarded = api(fake)
    sign = fake.keys.current.sign
    deep = nested(opening, 1_900)

    await guarded.refuses_all(
        {
            "claims set": compact(header_of(fake.keys), deep, sign),
            "claims set, never closed": compact(header_of(fake.keys), deep[:6_000], sign),
            "header": compact(nested(opening, 500), claims_of(), sign),
            "just too deep": compact(header_of(fake.keys), claims_with(f'"x":{"[" * 32}{"]" * 32}'), sign),
        },
        code="malformed_token",
    )
    await guarded.refuses(
        compact(header_of(fake.keys), nested(opening, 100_000), sign), status=400, error="invalid_request"
    )
    await guarded.accepts(compact(header_of(fake.keys), claims_with(f'"x":{"[" * 31}{"]" * 31}'), sign))


async def test_b08_cve_2026_34986_malformed_token_crashes() -> None:
    """
    Every beginning of a token, and a token with any byte changed, is refused with 400 or 401.
    """
    fake = new_issuer()
    token = fake.token(scope=SCOPE).encode()
    guarded = api(fake)
    cut = [token[:length] for length in range(len(token))]
    changed = [
        token[:at] + bytes([token[at] ^ mask]) + token[at + 1 :]
        for at, mask in itertools.product(range(0, len(token), 7), (1, 32, 128, 255))
    ]

    await guarded.accepts(token)
    before = list(guarded.ran)
    for one in (*cut, *changed):
        with naming(repr(one)):
            answer = await guarded.send(one)
            assert (answer.status, answer.challenge["error"]) in {
                (400, "invalid_request"),
                (401, "invalid_token"),
            }
    assert guarded.ran == before


@pytest.mark.parametrize(
    "rewrite",
    [
        pytest.param(lambda raw: b"\xef\xbb\xbf" + raw, id="a BOM"),
        pytest.param(lambda raw: raw.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(lambda raw: raw.decode().encode("utf-16-be"), id="UTF-16 without a BOM"),
        pytest.param(lambda raw: raw.decode().encode("utf-32-le"), id="UTF-32"),
        pytest.param(lambda raw: raw[:-1] + b',"x":"\xff"}', id="no UTF-8"),
        pytest.param(lambda raw: raw[:-1] + b',"x":"\xc0\xae"}', id="an overlong dot"),
        pytest.param(lambda raw: raw[:-1] + b',"x":"\xed\xa0\x80"}', id="a surrogate"),
        pytest.param(lambda raw: raw[:-1] + b',"x":"\\ud800"}', id="an escaped surrogate"),
        pytest.param(lambda raw: raw + b"\0", id="a null byte behind"),
        pytest.param(lambda raw: raw + raw, id="two documents"),
        pytest.param(lambda raw: b"[" + raw + b"]", id="an array"),
        pytest.param(lambda raw: json.dumps(raw.decode()).encode(), id="a string"),
    ],
)
async def test_b09_other_encodings(rewrite: Any) -> None:
    """
    Header and claims set are one object each, in UTF-8 without a BOM (RFC 8725 §3.7).
    """
    fake = new_issuer()
    header, claims = octets_of(header_of(fake.keys)), octets_of(claims_of())

    await api(fake).refuses_all(
        {
            "header": compact(rewrite(header), claims, fake.keys.current.sign),
            "claims set": compact(header, rewrite(claims), fake.keys.current.sign),
        },
        code="malformed_token",
    )


async def refuses_field(guarded: Api, value: bytes, **expected: Any) -> None:
    """
    A field of exactly this value is refused.
    """
    with naming(repr(value[:40])):
        await guarded.refuses(headers=[(b"authorization", value)], **expected)


async def test_b10_ghsa_gv94_wp4h_vv8p_lenient_separators() -> None:
    """
    Between scheme and token stand plain spaces, and nothing else; the scheme's case does not matter.
    """
    fake = new_issuer()
    token = fake.token(scope=SCOPE).encode()
    guarded = api(fake)
    separators = (
        b"\t",
        b" \t",
        b"\t ",
        b"\xa0",
        b"\xc2\xa0",
        b",",
        b"=",
        b":",
        b"\0",
        b"\r",
        b"\x0b",
        b"  \t",
        b": ",
    )
    broken = (
        b" Bearer  " + token,
        b"\tBearer " + token,
        b"Bearer " + token + b" ",
        b'Bearer "' + token + b'"',
    )

    for value in (
        *(b"Bearer" + one + token for one in separators),
        *broken,
        b"Bearer",
        b"Bearer ",
        b"bearer  ",
    ):
        await refuses_field(guarded, value, status=400, error="invalid_request")
    await refuses_field(guarded, b"Bearer" + token, status=401, error=None)
    for value in (b"Bearer " + token, b"Bearer   " + token, b"bEaReR " + token):
        assert (await guarded.send(headers=[(b"authorization", value)])).status == 200


async def test_b11_several_authorization_fields() -> None:
    """
    Two fields are refused in either order, whatever they hold, and so are two tokens in one.
    """
    fake = new_issuer()
    guarded = api(fake)
    good, other = bearer(fake.token(scope=SCOPE)), bearer("anything")
    basic, empty = (b"authorization", b"Basic YTpi"), (b"Authorization", b"")

    for first, second in itertools.permutations((good, other, basic, empty), 2):
        await guarded.refuses(
            headers=[first, second], status=400, error="invalid_request", code="authorization_repeated"
        )
    await guarded.refuses(headers=[good, good], status=400, error="invalid_request")
    for joined in (good[1] + b", " + other[1], other[1] + b", " + good[1], good[1] + b"," + good[1]):
        await refuses_field(guarded, joined, status=400, error="invalid_request")


async def test_b12_token_smuggled_elsewhere() -> None:
    """
    A token in the query, a cookie, a form, a body or another header is no token at all.
    """
    fake = new_issuer()
    token = fake.token(scope=SCOPE)
    guarded = api(fake)
    elsewhere = (
        (b"cookie", f"access_token={token}; Authorization=Bearer {token}".encode()),
        *(
            (name, f"Bearer {token}".encode())
            for name in (b"x-access-token", b"proxy-authorization", b"x-authorization")
        ),
        (b"authorization-", b"Bearer " + token.encode()),
        (b"x-forwarded-access-token", token.encode()),
    )

    for one in elsewhere:
        await guarded.refuses(headers=[one], error=None, code="missing_token")
    await guarded.refuses(target=f"/orders?access_token={token}", error=None, code="missing_token")
    for body in (f"access_token={token}", json.dumps({"access_token": token})):
        for content_type in (b"application/x-www-form-urlencoded", b"application/json"):
            scope = scope_of(headers=[(b"content-type", content_type)])
            answer = await send(guarded.app, scope, body=body.encode())
            assert (answer.status, answer.challenge) == (
                401,
                {"realm": "orders", "scope": SCOPE, "resource_metadata": METADATA_URL},
            )


async def test_b13_cve_2023_6681_costly_decryption() -> None:
    """
    A JWE that would be dear to decrypt, or to inflate, costs no more than any other refusal.
    """
    secret = secrets_of_public_key()["SPKI"]
    zeros = bytes(9_000)
    bombs = {
        "p2c": jwe.pbes2(octets_of(claims_of()), secret, count=2**31),
        "zip": jwe.rsa_oaep(zeros, rsa_public(), zip="DEF"),
    }
    guarded = api(rsa_issuer())

    await guarded.refuses_all(bombs, code="malformed_token")
    limit = GENEROUS * await cost_of_a_forgery()
    for name, bomb in bombs.items():
        with naming(name):
            assert await cost_of(guarded.app, bomb) < limit


async def test_b14_cve_2026_28490_decryption_oracle() -> None:
    """
    Every token of five parts gets one and the same answer.
    """
    fake = rsa_issuer()
    guarded = api(fake)
    plaintext = octets_of(claims_of())
    good = jwe.rsa_oaep(plaintext, rsa_public(), kid=fake.keys.current.kid)
    header, key, *rest = good.split(".")
    five_parts = {
        "good": good,
        "RSA1_5": jwe.rsa_oaep(plaintext, rsa_public(), alg="RSA1_5"),
        "no key": ".".join((header, "", *rest)),
        "a broken key": ".".join((header, key[:-4] + "AAAA", *rest)),
        "no parts": "....",
        "anything": "a.b.c.d.e",
    }

    answers = [await guarded.refuses(one, code="malformed_token") for one in five_parts.values()]

    assert len({repr(answer) for answer in answers}) == 1


SHAPES = ("null", "true", "0", "-1", "1.5", '""', '"x"', "[]", "[[]]", '["x"]', "[null]", "{}", '{"sub":"x"}')
MEMBERS = (
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "azp", "scope", "scp", "roles", "groups",
    "entitlements", "preferred_username", "email", "act", "cnf", "acr", "amr", "auth_time", "nonce", "events",
    "token_use", "typ", "at_hash", "authorization_details", "x",
)  # fmt: skip
PARAMETERS = (
    "alg", "kid", "typ", "cty", "crit", "b64", "enc", "zip", "jwk", "jku", "x5u", "x5c", "x5t",
    "x5t#S256", "x",
)  # fmt: skip


async def test_b15_every_member_of_every_type() -> None:
    """
    Whatever type a claim or header parameter has, the answer is 200, 400, 401 or 403, and never an exception.
    """
    fake = new_issuer()
    guarded = api(fake)
    header = header_of(fake.keys)
    tokens = [
        *with_claims(fake.keys, *(f'"{name}":{shape}' for name in MEMBERS for shape in SHAPES)).values(),
        *(
            compact(header | {name: json.loads(shape)}, claims_of(), fake.keys.current.sign)
            for name in PARAMETERS
            for shape in SHAPES
        ),
    ]

    await guarded.accepts()
    for token in tokens:
        ran = len(guarded.ran)
        answer = await guarded.send(token)
        assert answer.status in {200, 400, 401, 403}
        assert (answer.challenge == {}) is (answer.status == 200) is (len(guarded.ran) == ran + 1)
    assert set(guarded.outgoing) == {f"{URL}/.well-known/oauth-authorization-server", f"{URL}/jwks"}


async def test_b16_unicode_in_the_issuer() -> None:
    """
    Issuers are compared code point by code point: no normalization, trimming, escaping or case folding.
    """
    url = "https://login.example.com/region"
    fake = new_issuer(url)
    issuer = Issuer(url, keys=fake.keys.jwks())
    good = compact(header_of(fake.keys), claims_of(url), fake.keys.current.sign)
    others = (
        url.replace("region", "re\u0301gion"),
        unicodedata.normalize("NFC", url.replace("region", "re\u0301gion")),
        url.replace("l", "\uff4c", 1),
        url.replace("e", "\u0435"),
        f"{url}\0",
        f"{url} ",
        f" {url}",
        f"{url}/",
        f"{url}\u200b",
        url.replace("region", "%72egion"),
        url.replace("region", "./region"),
        url.upper(),
        url.replace("https:", "HTTPS:"),
        url.replace(".com/", ".com:443/"),
    )

    await api(fake, issuers=[issuer], good=lambda: good).refuses_all(
        {one: compact(header_of(fake.keys), claims_of(one), fake.keys.current.sign) for one in others},
        code="unknown_issuer",
    )


@pytest.mark.parametrize("profile", ["default", "rfc9068"])
async def test_b17_spelling_of_the_type(profile: str) -> None:
    """
    A type is compared without case and without ``application/``, and in no other way leniently.
    """
    fake = new_issuer()
    guarded = api(fake, issuers=[Issuer(URL, keys=fake.keys.jwks(), profile=profile)])
    spellings = ("at+JWT", "AT+JWT", "application/at+jwt", "Application/At+Jwt")
    by_profile = ("JWT", "jwt", "application/jwt")
    wrong = (
        "at+jwt ", " at+jwt", "at+jwt;v=1", "at+jwt\0", "at", "jwt+at", "at +jwt", "", "application/",
        "application/application/at+jwt", "text/at+jwt", "JOSE", "dpop+jwt", "logout+jwt", "*",
    )  # fmt: skip

    for spelling in spellings:
        await guarded.accepts(fake.token(scope=SCOPE, headers={"typ": spelling}))
    await guarded.refuses_all(
        {one: fake.token(scope=SCOPE, headers={"typ": one}) for one in wrong}, code="token_type_mismatch"
    )
    absent = {"absent": fake.token(scope=SCOPE, headers={"typ": None})}
    plain = {one: fake.token(scope=SCOPE, headers={"typ": one}) for one in by_profile} | absent
    if profile == "rfc9068":
        await guarded.refuses_all(plain, code="token_type_mismatch")
    else:
        for token in plain.values():
            await guarded.accepts(token)


def fill(start: bytes, unit: bytes, end: bytes) -> bytes:
    """
    As many of *unit* as a claims set of a token within the bounds can hold.
    """
    return start + unit * ((11_600 - len(start) - len(end)) // len(unit)) + end


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param(fill(b'{"a":', b"[", b""), id="open arrays"),
        pytest.param(fill(b"", b'{"a":', b""), id="open objects"),
        pytest.param(fill(b"", b'"', b""), id="quotes"),
        pytest.param(fill(b'{"a":"', b"\\", b""), id="backslashes"),
        pytest.param(fill(b'{"a":', b"1", b"}"), id="digits"),
        pytest.param(fill(b'{"a":[1.5', b",1e5", b"]}"), id="numbers"),
        pytest.param(fill(b'{"a":[{}', b",{}", b"]}"), id="objects"),
        pytest.param(fill(b'{"a":1', b',"a":1', b"}"), id="duplicates"),
        pytest.param(fill(b'{"a":"', b"\\ud83d\\ude00", b'"}'), id="surrogate pairs"),
        pytest.param(fill(b"{", b" ", b"}"), id="spaces"),
        pytest.param(fill(b"", b"\xff", b""), id="no text"),
    ],
)
async def test_b05_claims_set_made_to_be_dear(claims: bytes) -> None:
    """
    The worst claims set that fits is read once, in a time bounded by its size, and refused.
    """
    fake = new_issuer()
    token = f"{encode(octets_of(header_of(fake.keys)))}.{encode(claims)}.{encode(bytes(64))}"
    guarded = api(fake)

    await guarded.refuses(token)
    assert await cost_of(guarded.app, token) < READ_ALL_OF_IT * await cost_of_a_forgery()


async def test_b05_refusing_does_not_keep_anything() -> None:
    """
    Refused tokens leave nothing behind: memory is where it was before hundreds of them.
    """
    fake = new_issuer()
    guarded = api(fake, on_event=())
    tokens = [fake.token(scope=SCOPE, sub=f"user-{number}", exp=1) for number in range(600)]
    await guarded.accepts()

    async def refuse(some: list[str]) -> int:
        for one in some:
            assert (await guarded.send(one)).status == 401
        gc.collect()
        await asyncio.sleep(0)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = await refuse(tokens[:100])
        after = await refuse(tokens[100:])
    finally:
        tracemalloc.stop()

    assert after - before < 50_000
