"""
RFC 8725 and its successor: best current practices for JWTs.
"""

import json

import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization

from guardrail.directory import OperatorKey, OperatorRecord
from guardrail.errors import PolicyError
from guardrail.events import TokenRefused

from .api import Api, forged, issuer, package
from .tokens import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    NOW,
    Members,
    Sign,
    claims_json,
    encode,
    header_json,
    jwk,
    raw_token,
    rsa_key,
    signer,
    token,
)

pytestmark = pytest.mark.anyio

GOOD = token()


async def test_r16_the_size_of_a_token_is_bounded() -> None:
    """
    R16 (RFC 8725 §3.10): A field of more than 16 KiB is refused unread; a token that fits is judged.
    """
    api = Api()
    large, too_large = token(x="x" * 11_000), token(x="x" * 12_500)

    assert len(large) < 16_384 < len(too_large)
    await api.accepts(large)
    for made in (too_large, b"." * 1_000_000, b"{" * 1_000_000, b"a" * 16_378):
        await api.refuses(made, status=400, error="invalid_request")


@pytest.mark.parametrize("character", [*"{}\"'\\:,[]()<> %&;@!#$^*?|`", "\0", "é"])
@pytest.mark.parametrize("place", [1, -1])
async def test_r40_a_token_has_the_characters_of_a_token(character: str, place: int) -> None:
    """
    R40 (RFC 8725bis §3.14): Letters, digits, ``-``, ``_`` and ``.``; anything else is refused unparsed.
    """
    api = Api()

    await api.accepts(GOOD)
    await api.refuses(GOOD[:place] + character.encode() + GOOD[place:], status=400, error="invalid_request")


@pytest.mark.parametrize("character", "~+/=")
async def test_r40_what_only_a_token68_has_is_refused_too(character: str) -> None:
    """
    R40 (RFC 8725bis §3.14): Four more characters make bearer credentials, and no JWT.
    """
    await Api().refuses(GOOD + character.encode(), code="malformed_token")


HOSTILE_TEXTS = [
    "../../../../dev/null",
    "/etc/passwd\0",
    "' OR '1'='1' --",
    "key-1'; DROP TABLE keys; --",
    "*)(uid=*))(|(uid=*",
    "$(touch /tmp/x)`id`|id",
    "https://evil.example/keys.json",
    "file:///dev/null",
    "key-1\r\nSet-Cookie: a=b\r\n\r\n",
    "\x1b[2J\x1b[31mkey-1\x07",
    "{{7*7}}${7*7}%s%n",
    "key-1\u202e\u2066",
    "__proto__",
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
async def test_r54_key_ids_and_claims_are_data(text: str) -> None:
    """
    R54 (RFC 8725 §3.10): A hostile key ID names no key, a hostile claim is a text, and neither is written
    out as it is.
    """
    api = Api()

    answer = await api.refuses(token({"kid": text}), code="unknown_key")
    operator = await api.accepts(token(sub=text, client_id=text, x=text))

    (event,) = [event for event in api.events if isinstance(event, TokenRefused)]
    assert event.kid is not None
    assert event.kid.isascii()
    assert event.kid.isprintable()
    assert answer.headers == (await api.refuses(token({"kid": "other"}))).headers
    assert (operator.subject, operator.claims["x"]) == (text, text)


def changed(good: bytes, index: int) -> bytes:
    """
    The same token with another first octet in one of its parts.
    """
    parts = good.split(b".")
    parts[index] = (b"f" if parts[index][:1] != b"f" else b"e") + parts[index][1:]
    return b".".join(parts)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_r55_every_signature_is_verified_whole(algorithm: str) -> None:
    """
    R55 (RFC 8725 §3.3): Nothing but the right signature over this header and these claims is accepted.
    """
    api = Api(issuer(jwk(algorithm)))
    header, sign = {"alg": algorithm}, signer(algorithm)
    good = token(header, sign=sign)
    signed, _, signature = good.rpartition(b".")
    other = token(header, sign=sign, sub="mallory").rpartition(b".")[2]

    await api.accepts(good)
    for spoilt in (b"", signature[:-4], signature + b"AAAA", b"A" * len(signature), other):
        await api.refuses(signed + b"." + spoilt)
    for bad in (changed(good, 2), token(header, sign=signer(algorithm, "other"))):
        await api.refuses(bad, code="bad_signature")
    lenient = token({**header, "x": 1}, sign=sign).split(b".")[0]
    await api.refuses(lenient + b"." + good.partition(b".")[2], code="bad_signature")


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(
            b".".join([encode(b'{"alg":"dir","enc":"A256GCM"}').encode(), b"", b"AAAA", b"AAAA", b"AAAA"]),
            id="a JWE",
        ),
        pytest.param(
            b".".join([encode(b'{"alg":"RSA-OAEP","enc":"A256GCM"}').encode(), *[b"AAAA"] * 4]),
            id="a JWE with its key",
        ),
        pytest.param(GOOD + b".AAAA.AAAA", id="a JWS of five parts"),
        pytest.param(token({"enc": "A256GCM"}), id="a JWS that says enc"),
        pytest.param(token({"enc": None}), id="a JWS that says enc null"),
        pytest.param(token({"alg": "dir", "enc": "A256GCM"}), id="three parts of a JWE"),
    ],
)
async def test_r56_an_encrypted_token_is_not_a_signed_one(made: bytes) -> None:
    """
    R56 (RFC 8725bis §3.3): Five parts, or *enc* in the header, and it is refused; nothing is decrypted.
    """
    api = Api()

    await api.accepts(GOOD)
    await api.refuses(made)


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": NOW - 600}, "token_expired"),
        ({"nbf": NOW + 600}, "token_not_yet_valid"),
        ({"aud": "https://other.example"}, "audience_mismatch"),
        ({"sub": 1}, "claims_malformed"),
        ({"nonce": "x"}, "other_token_kind"),
        ({"cnf": {}}, "sender_constrained"),
    ],
)
async def test_r59_the_signature_comes_before_the_claims(claims: Members, code: str) -> None:
    """
    R59 (RFC 8725 §2.9, §3.10): What a claim says is acted on only when the signature held; a forger learns
    nothing of it.
    """
    api, made = Api(), token(**claims)

    await api.refuses(made, code=code)
    answer = await api.refuses(forged(made), code="bad_signature")

    assert answer.body == (await api.refuses(forged(GOOD))).body


def nested(depth: int) -> bytes:
    """
    Arrays in arrays.
    """
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(nested(32), id="one level too deep"),
        pytest.param(nested(5_000), id="5,000 arrays"),
        pytest.param(b'{"a":' * 1_500 + b"1" + b"}" * 1_500, id="1,500 objects"),
        pytest.param(b"[" * 9_000, id="9,000 arrays that never close"),
        pytest.param(b"[" + b"{}," * 600 + b"1]", id="600 objects side by side"),
    ],
)
async def test_r63_nesting_and_number_are_bounded(value: bytes) -> None:
    """
    R63 (RFC 8725 §3.10): Depth and number of arrays and objects are bounded before they are parsed: 401,
    and never a recursion error.
    """
    api = Api()

    await api.accepts(raw_token(b"", claims_json()[:-1] + b', "x": ' + nested(31) + b"}"))
    await api.refuses(raw_token(b"", claims_json()[:-1] + b', "x": ' + value + b"}"))
    await api.accepts(raw_token(header_json()[:-1] + b', "x": ' + nested(31) + b"}", claims_json()))
    await api.refuses(raw_token(header_json()[:-1] + b', "x": ' + value + b"}", claims_json()))


async def test_r64_r89_the_algorithms_are_the_configurations_choice() -> None:
    """
    R64, R89 (RFC 8725 §3.1, §3.2): Each issuer has its list; outside of it nothing is used, and it changes
    without code.
    """
    keys = [jwk(), jwk("RS256", "key-2"), jwk("ES512", "key-3")]
    made = {
        "ES256": GOOD,
        "RS256": token({"alg": "RS256", "kid": "key-2"}, sign=signer("RS256", "key-2")),
        "ES512": token({"alg": "ES512", "kid": "key-3"}, sign=signer("ES512", "key-3")),
    }

    for allowed in made:
        api = Api(issuer(*keys, algorithms=[allowed]))
        for algorithm, one in made.items():
            if algorithm == allowed:
                await api.accepts(one)
            else:
                await api.refuses(one, code="algorithm_not_allowed")


@pytest.mark.parametrize(("said", "used"), [("RS256", "PS256"), ("PS256", "RS256"), ("RS256", "RS512")])
async def test_r66_the_algorithm_said_is_the_algorithm_run(said: str, used: str) -> None:
    """
    R66 (RFC 8725 §3.1): Where one key could do both, the header's algorithm is run, and no other one tried.
    """
    for key in (jwk("RS256", alg=said), jwk("RS256", alg=ABSENT)):
        api = Api(issuer(key, algorithms=[said, used]))
        await Api(issuer(jwk("RS256", alg=said), algorithms=[said])).accepts(
            token({"alg": said}, sign=signer(said))
        )
        await api.refuses(token({"alg": said}, sign=signer(used)), code="bad_signature")


@pytest.mark.parametrize("other", ["PS256", "RS384", "RS512"])
async def test_r67_a_key_is_used_with_the_algorithm_it_names(other: str) -> None:
    """
    R67 (RFC 8725 §3.1): A JWK for RS256 verifies RS256 alone, though the issuer may use others too.
    """
    api = Api(issuer(jwk("RS256"), algorithms=["RS256", other]))

    await api.accepts(token({"alg": "RS256"}, sign=signer("RS256")))
    await api.refuses(token({"alg": other}, sign=signer(other)), code="unknown_key")


@pytest.mark.parametrize("algorithms", [["RS256"], ["PS256"]])
async def test_r67_a_key_that_names_no_algorithm_has_the_configured_ones(algorithms: list[str]) -> None:
    """
    R67 (RFC 8725 §3.1): The configuration chooses for a key without *alg*, and no token does.

    Where it lists two for one type of key, such a key serves both: a certified server signs RS256 and PS256
    with one key that names neither.
    """
    api = Api(issuer(jwk("RS256", alg=ABSENT), algorithms=algorithms))
    both = Api(issuer(jwk("RS256", alg=ABSENT), algorithms=["RS256", "PS256"]))
    first, other = algorithms[0], {"RS256": "PS256", "PS256": "RS256"}[algorithms[0]]

    await api.accepts(token({"alg": first}, sign=signer(first)))
    await api.refuses(token({"alg": other}, sign=signer(other)))
    await both.accepts(token({"alg": other}, sign=signer(other)))


@pytest.mark.parametrize(
    ("header", "sign"),
    [
        pytest.param({"alg": "ES256", "kid": "rsa"}, signer("ES256"), id="another type"),
        pytest.param({"alg": "RS256", "kid": "key-1"}, signer("RS256", "rsa"), id="another type still"),
        pytest.param({"alg": "ES384"}, signer("ES384", kind="P-256"), id="another curve"),
        pytest.param({"alg": "EdDSA"}, signer("EdDSA"), id="another type of curve"),
        pytest.param({"kid": "enc"}, signer(name="enc"), id="another use"),
        pytest.param({"kid": "sign"}, signer(name="sign"), id="another operation"),
    ],
)
async def test_r68_the_key_of_a_kid_fits_the_algorithm(header: Members, sign: Sign) -> None:
    """
    R68 (RFC 8725bis §3.1): A key that its ID finds is used only if type, curve, use and operations fit.
    """
    keys = [
        jwk(),
        jwk("RS256", "rsa"),
        jwk(name="enc", use="enc"),
        jwk(name="sign", use=ABSENT, key_ops=["sign"]),
    ]
    api = Api(issuer(*keys))

    await api.accepts(GOOD)
    await api.accepts(token({"alg": "RS256", "kid": "rsa"}, sign=signer("RS256", "rsa")))
    await api.refuses(token(header, sign=sign), code="unknown_key")


def public_texts() -> list[bytes]:
    """
    The public key in every form that somebody could take for a secret.
    """
    encoding, form = serialization.Encoding, serialization.PublicFormat
    key = rsa_key().public_key()
    forms = [
        key.public_bytes(encoding.PEM, form.SubjectPublicKeyInfo),
        key.public_bytes(encoding.PEM, form.PKCS1),
        key.public_bytes(encoding.DER, form.SubjectPublicKeyInfo),
        key.public_bytes(encoding.OpenSSH, form.OpenSSH),
        json.dumps(jwk("RS256")).encode(),
        jwk("RS256")["n"].encode(),
        b"",
    ]
    return [*forms, *(one.strip() for one in forms), *(b" " + one + b"\n" for one in forms)]


@pytest.mark.parametrize(("algorithm", "digest"), [("HS256", hashes.SHA256()), ("HS512", hashes.SHA512())])
async def test_r69_public_keys_are_no_secrets(algorithm: str, digest: hashes.HashAlgorithm) -> None:
    """
    R69 (RFC 8725 §2.1, RFC 9068 §4): No HMAC verifies, whatever form of the public key it was made with, or
    with a key from the set; and none can be configured, alone or beside others.
    """
    oct_key = {"kty": "oct", "kid": "oct", "alg": algorithm, "k": encode(b"s" * 64)}
    api = Api(issuer(jwk("RS256"), oct_key))

    def keyed(secret: bytes) -> Sign:
        def sign(octets: bytes) -> bytes:
            mac = hmac.HMAC(secret or b"\0", digest)
            mac.update(octets)
            return mac.finalize()

        return sign

    await api.accepts(token({"alg": "RS256"}, sign=signer("RS256")))
    for kid in ("key-1", "oct", ABSENT):
        for secret in (*public_texts(), b"s" * 64):
            for said in (algorithm, "RS256"):
                await api.refuses(token({"alg": said, "kid": kid}, sign=keyed(secret)))
    for algorithms in ([algorithm], ["RS256", algorithm]):
        with pytest.raises(PolicyError, match="asymmetric"):
            issuer(algorithms=algorithms)


OTHER_TYPES = [
    "dpop+jwt",
    "token-introspection+jwt",
    "statuslist+jwt",
    "secevent+jwt",
    "logout+jwt",
    "txntoken+jwt",
    "oauth-authz-req+jwt",
    "client-authentication+jwt",
    "rt+jwt",
    "id_token",
    "",
]
OTHER_KINDS: list[tuple[str, Members, Members]] = [
    *[(f"typ {name!r}", {"typ": name}, {}) for name in OTHER_TYPES],
    ("typ of another type", {"typ": ["at+jwt"]}, {}),
    ("typ null", {"typ": None}, {}),
    ("ID token: nonce", {"typ": "JWT"}, {"nonce": "n"}),
    ("ID token: at_hash", {"typ": "JWT"}, {"at_hash": "x"}),
    ("ID token: c_hash", {"typ": ABSENT}, {"c_hash": "x"}),
    ("ID token: s_hash", {"typ": ABSENT}, {"s_hash": "x"}),
    ("ID token: token_use", {"typ": ABSENT}, {"token_use": "id"}),
    ("ID token: claim typ", {"typ": "JWT"}, {"typ": "ID"}),
    ("refresh token: claim typ", {"typ": "JWT"}, {"typ": "Refresh"}),
    ("logout token", {"typ": "JWT"}, {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
    ("client assertion", {"typ": "JWT"}, {"aud": ISSUER, "sub": "shop"}),
]


@pytest.mark.parametrize(
    ("header", "claims"), [pytest.param(header, claims, id=name) for name, header, claims in OTHER_KINDS]
)
async def test_r106_r109_other_kinds_of_jwt_are_no_access_tokens(header: Members, claims: Members) -> None:
    """
    R106, R109 (RFC 8725 §3.12): What the issuer signs for another purpose is refused, by its *typ* or, where
    issuers have none, by what only that kind holds.
    """
    api = Api()

    for typ in ("at+jwt", "JWT", ABSENT):
        await api.accepts(token({"typ": typ}))
    await api.refuses(token(header, **claims))


def test_r112_there_is_no_package_without_an_audience() -> None:
    """
    R112 (RFC 8725 §3.9): An audience has no default, cannot be empty, and no setting leaves it unlooked-at.
    """
    package(audience=AUDIENCE)
    for nothing in ("", " ", [], [""], None):
        with pytest.raises(PolicyError):
            package(audience=nothing)  # type: ignore[arg-type]  # what the type forbids is refused too


async def test_r112_a_token_without_an_audience_is_refused() -> None:
    """
    R112 (RFC 8725 §3.9): A missing *aud* is a refusal, with every profile.
    """
    for profile in ("default", "rfc9068"):
        api = Api(issuer(profile=profile))
        await api.accepts(GOOD)
        await api.refuses(token(aud=ABSENT), code="claim_missing")


async def test_r119_an_identity_is_issuer_and_subject() -> None:
    """
    R119 (RFC 8725 §3.8): One subject at two issuers is two operators, and a token without a subject nobody.
    """
    other = "https://partner.example.org"
    api = Api(package(issuer(), issuer(url=other)).requires("orders:read"))

    mine, theirs = [await api.accepts(token(iss=iss)) for iss in (ISSUER, other)]

    assert mine.subject == theirs.subject == "alice"
    assert (mine.operator_id, theirs.operator_id) == (f"{ISSUER}#alice", f"{other}#alice")
    assert len({mine.identity, theirs.identity}) == 2
    await api.refuses(token(sub=ABSENT), code="claim_missing")


async def test_r119_a_subject_that_the_application_does_not_know_is_nobody() -> None:
    """
    R119 (RFC 8725 §3.8): With a directory, whoever is not in it is refused, at each issuer apart.
    """

    class Directory:
        async def resolve(self, key: OperatorKey) -> OperatorRecord | None:
            return OperatorRecord("emp-7") if key.issuer == ISSUER else None

    other = "https://partner.example.org"
    two = package(issuer(), issuer(url=other))
    api = Api(two.requires("orders:read"), directory=Directory())

    assert (await api.accepts(token())).operator_id == "emp-7"
    await api.refuses(token(iss=other), code="operator_unknown", status=403, error=None)
