"""
Published test vectors, against the layer of compact JWS, and as bearer tokens against the whole.

Most vectors sign prose, not claims, so a good one is accepted at the layer of the compact JWS alone. As a
bearer token every one of them must be refused. `tests/vectors/NOTICE.md` says where they come from.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from advisories.kit import AUDIENCE, SCOPE, URL, Api, bearer, endpoint, frozen, jwk_set, new_issuer
from starlette.applications import Starlette
from starlette.routing import Route

from guardrail import GuardrailMiddleware, Issuer, ServicePackage
from guardrail._compact import MAX_HEADER_PART_BYTES, MAX_TOKEN_BYTES, decode_base64url
from guardrail._header import validate_header
from guardrail._issuer import SUPPORTED_ALGORITHMS
from guardrail._json import parse_json_object
from guardrail._jwk import VerificationKey, read_jwk
from guardrail._keys import read_jwk_set, verify_signature
from guardrail.errors import AlgorithmNotAllowedError, MalformedTokenError, TokenError, UnknownKeyError
from guardrail.events import Event, TokenRefused

pytestmark = pytest.mark.anyio

VECTORS: Final = Path(__file__).parent / "vectors"
TOKEN_TYPES: Final = frozenset({"", "jwt", "at+jwt"})
PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})

JWKSet = Mapping[str, Any]


def load(*parts: str) -> Any:
    """
    One file of vectors.
    """
    return json.loads(VECTORS.joinpath(*parts).read_text("utf-8"))


def verify(jws: bytes, jwks: JWKSet) -> None:
    """
    Verify a compact JWS as guardrail does, but for its payload, which may be anything.

    Raises:
        TokenError: It is refused.
    """
    if len(jws) > MAX_TOKEN_BYTES or jws.count(b".") != 2:
        raise MalformedTokenError("not three parts")
    header_part, payload_part, signature_part = jws.split(b".")
    if len(header_part) > MAX_HEADER_PART_BYTES:
        raise MalformedTokenError("the header is too large")
    try:
        header = parse_json_object(decode_base64url(header_part))
    except ValueError as exc:
        raise MalformedTokenError("the header is not strict JSON") from exc
    if payload_part:  # no octets are a payload too, though never a claims set
        decode_base64url(payload_part)
    signature = decode_base64url(signature_part)
    reference = validate_header(header, algorithms=SUPPORTED_ALGORITHMS, token_types=TOKEN_TYPES)
    try:
        keys = read_jwk_set(jwks, algorithms=SUPPORTED_ALGORITHMS)
    except ValueError as exc:
        raise UnknownKeyError("no usable key", kid=reference.unverified_kid) from exc
    algorithm = reference.unverified_algorithm
    verify_signature(
        keys.select(reference.unverified_kid, algorithm),
        signing_input=header_part + b"." + payload_part,
        signature=signature,
        algorithm=algorithm,
    )


def is_accepted(jws: bytes, jwks: JWKSet) -> bool:
    """
    Whether the layer of the compact JWS accepts it.
    """
    try:
        verify(jws, jwks)
    except TokenError:
        return False
    return True


def public(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """
    The public half of a JWK.
    """
    return {name: value for name, value in jwk.items() if name not in PRIVATE_MEMBERS}


@dataclass(frozen=True)
class Case:
    """
    One published case: a token, the keys it is to be verified with, and what is said of it.
    """

    source: str
    number: int | str
    jws: bytes
    jwks: JWKSet
    is_valid: bool

    def __str__(self) -> str:
        return f"{self.source}-{self.number}"

    @property
    def key(self) -> tuple[str, int | str]:
        """
        What the tables of exceptions call it.
        """
        return self.source, self.number


# Wycheproof


def octets(token: object) -> bytes:
    """
    A token as a client would send it; one in a JSON serialization as its text.
    """
    return (token if isinstance(token, str) else json.dumps(token)).encode()


@cache
def wycheproof(name: str) -> tuple[Case, ...]:
    """
    The JWS cases of one file. A group's key is its public half, where it has one, else its secret.
    """
    found = []
    for group in load("wycheproof", f"json_web_{name}_test.json")["testGroups"]:
        keys = group.get("public") or group["private"]
        jwks = keys if "keys" in keys else {"keys": [keys]}
        found += [
            Case(name, test["tcId"], octets(test["jws"]), jwks, test["result"] == "valid")
            for test in group["tests"]
            if "jws" in test
        ]
    return tuple(found)


WYCHEPROOF: Final = [*wycheproof("signature"), *wycheproof("key"), *wycheproof("crypto")]

_HMAC: Final = "HS256 and its like: guardrail accepts asymmetric signatures alone (RFC 8725 §3.1)"
_ALG_384: Final = "wrong label: the key says PS256 and the header PS384 (RFC 7517 §4.4)"
_ALG_521: Final = "wrong label: the key says ES521, which is no registered algorithm, and the header ES512"
_INSERTED: Final = "wrong label: a ? stands in the base64url (RFC 7515 §2); and HS256"
_ROCA: Final = (
    "no fingerprint test for ROCA moduli (CVE-2017-15361): the one maintained library that has it, badkeys, "
    "brings gmpy2 and pyOpenSSL; the issuer vouches for its keys"
)

# Where guardrail does not do what the label says, and why.
EXCEPTIONS: Final[Mapping[tuple[str, int], str]] = {
    **{("signature", number): _HMAC for number in (1, 348, 352, 357, 358, 359, 376, 377)},
    **{("signature", number): _ALG_384 for number in (346, 350)},
    **{("signature", number): _ALG_521 for number in (347, 351)},
    **{("signature", number): _INSERTED for number in (372, 373)},
    **{("key", number): _HMAC for number in (2, 13, 14, 15)},
    ("key", 7): _ROCA,
    **{("crypto", number): _HMAC for number in (1, 48)},
    ("crypto", 46): _ROCA,
}

# Where guardrail does what the label says, and the label is not the reason.
RIGHT_BY_CHANCE: Final[Mapping[tuple[str, int], str]] = {
    ("signature", 367): "wrong label: the padding was lost upstream, it is byte for byte case 357; and HS256",
    ("signature", 370): "wrong label: the padding was lost upstream, it is byte for byte case 357; and HS256",
    ("key", 1): "a set of symmetric and asymmetric keys: we skip the symmetric ones, and refuse HS256",
    ("crypto", 47): "a set of symmetric and asymmetric keys: we skip the symmetric ones, and refuse HS256",
}

# Cases of the crypto file that carry a JWE and no JWS, groups 6 and 7; 50 and 67 are labelled valid. 67 is a
# good ECDH-ES+A128KW encryption, and nothing was signed: its key is for encryption ("use": "enc"), so whoever
# takes it for a JWS case finds no usable key.
JWE_CASES: Final = range(50, 84)


def expected(case: Case) -> bool:
    """
    Whether guardrail accepts *case*.
    """
    return case.is_valid is (case.key not in EXCEPTIONS)


@pytest.mark.parametrize("case", WYCHEPROOF, ids=str)
def test_wycheproof_at_the_layer_of_the_compact_jws(case: Case) -> None:
    """
    A case is accepted when its label says so, but for those in the table of exceptions.
    """
    assert is_accepted(case.jws, case.jwks) is expected(case)


def test_every_case_of_wycheproof_is_run() -> None:
    """
    The files are whole: none of their cases got lost on the way.
    """
    counts = {name: len(wycheproof(name)) for name in ("signature", "key", "crypto")}
    valid = {name: sum(case.is_valid for case in wycheproof(name)) for name in counts}

    assert counts == {"signature": 401, "key": 26, "crypto": 49}
    assert valid == {"signature": 46, "key": 5, "crypto": 4}


def test_no_exception_is_stale() -> None:
    """
    Each exception is of a case that there is, whose label guardrail really contradicts.
    """
    cases = {case.key: case for case in WYCHEPROOF}

    assert EXCEPTIONS.keys() <= cases.keys()
    assert [
        key for key in EXCEPTIONS if is_accepted(cases[key].jws, cases[key].jwks) is cases[key].is_valid
    ] == []


def test_no_exception_for_a_secret_is_of_another_key() -> None:
    """
    What is excepted for its algorithm is refused for it, and every key of it is symmetric or beside one.
    """
    cases = {case.key: case for case in WYCHEPROOF}
    excepted = [cases[key] for key, reason in EXCEPTIONS.items() if reason == _HMAC]

    for case in excepted:
        assert any(key["kty"] == "oct" for key in case.jwks["keys"])
        with pytest.raises(AlgorithmNotAllowedError):
            verify(case.jws, case.jwks)


def test_labels_that_are_right_by_chance() -> None:
    """
    Each is refused as its label says, and for its algorithm.
    """
    cases = {case.key: case for case in WYCHEPROOF}

    assert RIGHT_BY_CHANCE.keys().isdisjoint(EXCEPTIONS)
    for key in RIGHT_BY_CHANCE:
        assert not cases[key].is_valid
        with pytest.raises(AlgorithmNotAllowedError):
            verify(cases[key].jws, cases[key].jwks)
    assert {cases["signature", number].jws for number in (357, 367, 370)} == {cases["signature", 357].jws}


# The whole


@cache
def whole(jwks: str) -> Api:
    """
    An API whose issuer publishes these keys, in JSON, beside one that is good.
    """
    fake, ran, heard = new_issuer(), list[str](), list[Event]()
    keys = [*json.loads(jwks)["keys"], fake.keys.current.jwk()]
    issuer = Issuer(URL, keys=jwk_set(*keys), algorithms=SUPPORTED_ALGORITHMS, http_client=fake.http_client)
    orders = ServicePackage("orders", issuer=issuer, audience=AUDIENCE)
    app = GuardrailMiddleware(
        Starlette(routes=[Route("/orders", orders.requires(SCOPE)(endpoint(ran)))]),
        on_event=[heard.append],
        clock=frozen,
        http_client=fake.http_client,
    )
    return Api(app, lambda: fake.token(scope=SCOPE), ran, fake.requests, heard)


async def refuse_as_bearer(jws: bytes, jwks: JWKSet) -> None:
    """
    Send *jws* as a bearer token: 400 or 401, a well-formed challenge, nothing run, nobody asked, and a good
    token passes before and after.
    """
    api = whole(json.dumps(jwks))
    await api.accepts()
    ran = len(api.ran)
    answer = await api.send(headers=[bearer(jws)])

    assert (answer.status, answer.challenge["error"]) in {(400, "invalid_request"), (401, "invalid_token")}
    assert (len(api.ran), api.outgoing) == (ran, [])
    assert isinstance(api.heard[-1], TokenRefused)
    await api.accepts()


@pytest.mark.parametrize("case", WYCHEPROOF, ids=str)
async def test_wycheproof_as_a_bearer_token(case: Case) -> None:
    """
    Forged or not, no case is an access token, and each is answered with a plain refusal.
    """
    await refuse_as_bearer(case.jws, case.jwks)


@cache
def jwe_cases() -> dict[int, tuple[bytes, JWKSet]]:
    """
    The encrypted cases of the crypto file, with the public half of their key.
    """
    groups = load("wycheproof", "json_web_crypto_test.json")["testGroups"][6:]
    return {
        test["tcId"]: (octets(test["jwe"]), {"keys": [public(group["private"])]})
        for group in groups
        for test in group["tests"]
    }


@pytest.mark.parametrize("number", JWE_CASES)
async def test_wycheproof_jwe_as_a_bearer_token(number: int) -> None:
    """
    An encrypted token is no access token, whether it decrypts or not.
    """
    case = jwe_cases()[number]

    assert not is_accepted(*case)
    await refuse_as_bearer(*case)


def test_wycheproof_key_for_encryption_is_no_signature_key() -> None:
    """
    The key of case 67 of the crypto file is unusable because it is for encryption.
    """
    _, jwks = jwe_cases()[67]
    (key,) = jwks["keys"]

    assert (key["use"], key["alg"]) == ("enc", "ECDH-ES+A128KW")
    for_signatures = {**key, "use": "sig", "alg": "ES256"}
    assert read_jwk(key, algorithms=SUPPORTED_ALGORITHMS) == "not_for_signatures"
    assert isinstance(read_jwk(for_signatures, algorithms=SUPPORTED_ALGORITHMS), VerificationKey)
    assert [*jwe_cases()] == [*JWE_CASES]


# The examples of the RFCs


def rfc_examples() -> Iterator[Case]:
    """
    RFC 7515 Appendix A, RFC 8037 Appendix A.4, RFC 7519 §6.1.
    """
    for example in load("rfc-examples", "rfc_examples.json")["jws"]:
        keys = [example["key"]] if example["key"] else []
        is_asymmetric = any(key["kty"] != "oct" for key in keys)
        is_valid = example["signature_result"] == "valid" and is_asymmetric
        yield Case("rfc", example["name"], octets(example["jws"]), {"keys": keys}, is_valid)


def cookbook_examples() -> Iterator[Case]:
    """
    RFC 7520 §4, RFC 7797 §4 and RFC 8037 Appendix A.4, in each serialization that they have.
    """
    folder = VECTORS / "ietf-jose-cookbook"
    for path in sorted(path for path in folder.glob("*/*.json") if path.parent.name != "jwk"):
        example = json.loads(path.read_text("utf-8"))
        keys = example["input"]["key"]
        jwks = {"keys": [public(key) for key in (keys if isinstance(keys, list) else [keys])]}
        for form, token in example["output"].items():
            is_valid = form == "compact" and path.stem in COOKBOOK_VALID
            yield Case("cookbook", f"{path.stem}-{form}", octets(token), jwks, is_valid)


# The others: HS256 (4.4), a detached payload (4.5), unprotected headers (4.6, 4.7), several signatures (4.8),
# and an unencoded payload (RFC 7797).
COOKBOOK_VALID: Final = {
    "4_1.rsa_v15_signature", "4_2.rsa-pss_signature", "4_3.ecdsa_signature", "jws",
}  # fmt: skip


def joserfc_key(test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    The key of a fixture of joserfc: one of its files, or its secret.
    """
    name = test.get("public_key", "")
    if "secret" in test:
        return [{"kty": "oct", "k": urlsafe_b64encode(test["secret"].encode()).decode().rstrip("=")}]
    if name.endswith(".json"):
        return [load("joserfc", "keys", name)]
    return [load("joserfc", "public_keys_as_jwk.json")[name]] if name else []


def joserfc_examples() -> Iterator[Case]:
    """
    The fixtures of joserfc: RFC 7520, RFC 7797, and tokens under an RSA key and short secrets.
    """
    forms = ("compact", "token", "general_json", "flattened_json")
    for name in ("jws_rfc7520", "jws_rfc7797", "jws_examples", "jwt_use_jws"):
        for test in load("joserfc", "fixtures", f"{name}.json")["tests"]:
            # Those without a token have the key of an algorithm that does not give the same signature twice.
            for form in (one for one in forms if one in test):
                keys = joserfc_key(test)
                is_valid = form in {"compact", "token"} and any(key["kty"] != "oct" for key in keys)
                yield Case(name, f"{test['name']}-{form}", octets(test[form]), {"keys": keys}, is_valid)


EXAMPLES: Final = [*rfc_examples(), *cookbook_examples(), *joserfc_examples()]


@pytest.mark.parametrize("case", EXAMPLES, ids=str)
def test_example_at_the_layer_of_the_compact_jws(case: Case) -> None:
    """
    The asymmetric compact signatures verify; secrets, other serializations and unsigned tokens do not.
    """
    assert is_accepted(case.jws, case.jwks) is case.is_valid


@pytest.mark.parametrize("case", EXAMPLES, ids=str)
async def test_example_as_a_bearer_token(case: Case) -> None:
    """
    No example is an access token: of another issuer, expired since 2011, without claims, or unsigned.
    """
    await refuse_as_bearer(case.jws, case.jwks)


def test_examples_that_verify() -> None:
    """
    Every algorithm family of the RFCs has an example that is accepted.
    """
    accepted = {
        json.loads(decode_base64url(case.jws.split(b".")[0]))["alg"] for case in EXAMPLES if case.is_valid
    }

    assert accepted == {"RS256", "RS384", "RS512", "PS384", "ES256", "ES512", "EdDSA"}


@pytest.mark.parametrize("case", [case for case in EXAMPLES if case.is_valid], ids=str)
def test_example_with_a_byte_changed(case: Case) -> None:
    """
    What verifies does not verify once the payload or the signature is another.
    """
    header, payload, signature = case.jws.split(b".")
    other = b"B" if payload.startswith(b"A") else b"A"

    assert not is_accepted(b".".join((header, other + payload[1:], signature)), case.jwks)
    other = b"B" if signature.startswith(b"A") else b"A"
    assert not is_accepted(b".".join((header, payload, other + signature[1:])), case.jwks)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("3_1.ec_public_key", None, id="3.1 public EC"),
        pytest.param("3_2.ec_private_key", "private", id="3.2 private EC"),
        pytest.param("3_3.rsa_public_key", None, id="3.3 public RSA"),
        pytest.param("3_4.rsa_private_key", "private", id="3.4 private RSA"),
        pytest.param("3_5.symmetric_key_mac_computation", "private", id="3.5 secret for MACs"),
        pytest.param("3_6.symmetric_key_encryption", "private", id="3.6 secret for encryption"),
    ],
)
def test_key_of_the_cookbook(name: str, reason: str | None) -> None:
    """
    Public keys are used; private and symmetric ones, which nobody should publish, are skipped (RFC 7520 §3).
    """
    jwk = load("ietf-jose-cookbook", "jwk", f"{name}.json")

    key = read_jwk(jwk, algorithms=SUPPORTED_ALGORITHMS)

    assert isinstance(key, VerificationKey) if reason is None else key == reason


@pytest.mark.parametrize("number", range(3), ids=["token", "refresh", "resource"])
async def test_dpop_proof_as_a_bearer_token(number: int) -> None:
    """
    A proof of RFC 9449 is no access token, though its signature is good under a key that we trust.
    """
    proof = load("rfc-examples", "rfc_examples.json")["dpop"]["proofs"][number]
    jwks = {"keys": [proof["header"]["jwk"]]}

    assert not is_accepted(octets(proof["proof"]), jwks)
    await refuse_as_bearer(octets(proof["proof"]), jwks)


def test_every_file_has_a_source() -> None:
    """
    Each folder of vectors is in the notice, with its licence.
    """
    notice = (VECTORS / "NOTICE.md").read_text("utf-8")

    for folder in (path for path in VECTORS.iterdir() if path.is_dir()):
        rows = [line for line in notice.splitlines() if line.startswith(f"| `{folder.name}/")]
        assert rows
        assert all(any(name in row for name in ("Apache-2.0", "BSD", "public domain")) for row in rows)
    assert (VECTORS / "joserfc" / "LICENSE").is_file()
