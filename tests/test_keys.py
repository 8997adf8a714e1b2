"""
JWK Sets: which keys may verify, which of them may verify a given token, and whether they do.
"""

import base64
import functools
import json
import time
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

from guardrail._issuer import DEFAULT_ALGORITHMS, SUPPORTED_ALGORITHMS
from guardrail._jwk import (
    MAX_RSA_BITS,
    MAX_RSA_EXPONENT_BITS,
    MIN_RSA_BITS,
    UnusableReason,
    VerificationKey,
    read_jwk,
)
from guardrail._keys import (
    MAX_CANDIDATES,
    MAX_KEYS,
    SkippedKey,
    StaticKeySet,
    VerificationKeys,
    read_jwk_set,
    verify_signature,
)
from guardrail.errors import PolicyError, SignatureError, UnknownKeyError

JWK = dict[str, Any]

MESSAGE: Final = b"header.claims"
RSA_NAMES: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
}
# The y of the points of order eight on edwards25519 (RFC 8032 §5.1); with its negative that is all of them.
ORDER_EIGHT: Final = 0x5FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@functools.cache
def _rsa_key(bits: int, which: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


@functools.cache
def _ec_key(algorithm: str, which: int) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(CURVES[algorithm])


@functools.cache
def ed_key(which: int) -> ed25519.Ed25519PrivateKey:
    """
    One Ed25519 key per number, made once in a session; so are the others.
    """
    return ed25519.Ed25519PrivateKey.generate()


def rsa_key(bits: int = 2_048, which: int = 0) -> rsa.RSAPrivateKey:
    return _rsa_key(bits, which)  # positionally: the cache tells a default from the same value


def ec_key(algorithm: str = "ES256", which: int = 0) -> ec.EllipticCurvePrivateKey:
    return _ec_key(algorithm, which)


def rsa_jwk(bits: int = 2_048, which: int = 0, **members: Any) -> JWK:
    return RSAAlgorithm.to_jwk(rsa_key(bits, which).public_key(), as_dict=True) | members


def ec_jwk(algorithm: str = "ES256", which: int = 0, **members: Any) -> JWK:
    return ECAlgorithm.to_jwk(ec_key(algorithm, which).public_key(), as_dict=True) | members


def ed_jwk(which: int = 0, **members: Any) -> JWK:
    return OKPAlgorithm.to_jwk(ed_key(which).public_key(), as_dict=True) | members


def jwk_for(algorithm: str, **members: Any) -> JWK:
    if algorithm in RSA_NAMES:
        return rsa_jwk(**members)
    return ec_jwk(algorithm, **members) if algorithm in CURVES else ed_jwk(**members)


def private_jwk(algorithm: str) -> JWK:
    if algorithm in RSA_NAMES:
        return RSAAlgorithm.to_jwk(rsa_key(), as_dict=True)
    if algorithm in CURVES:
        return ECAlgorithm.to_jwk(ec_key(algorithm), as_dict=True)
    return OKPAlgorithm.to_jwk(ed_key(0), as_dict=True)


def sign(algorithm: str, message: bytes = MESSAGE, which: int = 0) -> bytes:
    key: Any = rsa_key(which=which) if algorithm in RSA_NAMES else ed_key(which)
    if algorithm in CURVES:
        key = ec_key(algorithm, which)
    name = "EdDSA" if algorithm == "Ed25519" else algorithm
    return get_default_algorithms()[name].sign(message, key)


def number(value: int) -> str:
    """
    A JWK's Base64urlUInt.
    """
    octets = value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def octets(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read(jwk: object, algorithms: tuple[str, ...] = SUPPORTED_ALGORITHMS) -> VerificationKey | UnusableReason:
    return read_jwk(jwk, algorithms=algorithms)


def usable(jwk: object, algorithms: tuple[str, ...] = SUPPORTED_ALGORITHMS) -> VerificationKey:
    key = read(jwk, algorithms)
    assert isinstance(key, VerificationKey)
    return key


def keys_of(*jwks: JWK, algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS) -> VerificationKeys:
    return read_jwk_set({"keys": list(jwks)}, algorithms=algorithms)


@pytest.mark.parametrize("declares", [pytest.param(True, id="alg named"), pytest.param(False, id="no alg")])
@pytest.mark.parametrize("algorithm", SUPPORTED_ALGORITHMS)
def test_signature_of_each_algorithm_verifies(algorithm: str, declares: bool) -> None:
    """
    Every supported algorithm, RFC 9864's `Ed25519` among them, verifies what its key signed.
    """
    members: JWK = {"alg": algorithm} if declares else {}
    key = usable(jwk_for(algorithm, **members))
    signature = sign(algorithm)

    verify_signature((key,), signing_input=MESSAGE, signature=signature, algorithm=algorithm)


@pytest.mark.parametrize("algorithm", SUPPORTED_ALGORITHMS)
def test_signature_that_differs_is_refused(algorithm: str) -> None:
    """
    Another message, another key, a changed, shortened, lengthened or empty signature: none verifies (A31).
    """
    key = usable(jwk_for(algorithm))
    good = sign(algorithm)
    wrong = {
        "another message": sign(algorithm, message=b"header.other"),
        "another key": sign(algorithm, which=1),
        "first bit": bytes([good[0] ^ 0x80]) + good[1:],
        "last bit": good[:-1] + bytes([good[-1] ^ 1]),
        "one octet less": good[:-1],
        "one octet more": good + b"\x00",
        "a zero in front": b"\x00" + good,
        "empty": b"",
        "zeros": bytes(len(good)),
        "twice": good + good,
    }

    accepted = [name for name, signature in wrong.items() if key.verify(MESSAGE, signature, algorithm)]

    assert accepted == []


@pytest.mark.parametrize(
    ("r", "s"),
    [
        (0, 0),
        (0, 1),
        (1, 0),
        (P256_ORDER, P256_ORDER),
        (P256_ORDER, 1),
        (1, P256_ORDER),
        (P256_ORDER + 1, 1),
        (1, P256_ORDER + 1),
    ],
)
def test_ecdsa_numbers_outside_their_range_are_refused(r: int, s: int) -> None:
    """
    R and S of zero, of the order and beyond verify nothing (R75, A15).
    """
    key = usable(ec_jwk())

    assert not key.verify(MESSAGE, r.to_bytes(32, "big") + s.to_bytes(32, "big"), "ES256")


def test_ecdsa_signature_in_der_is_refused() -> None:
    """
    An ECDSA signature is R and S of fixed length; DER of the same numbers is another spelling (R75, A16).
    """
    key = usable(ec_jwk())
    der = ec_key().sign(MESSAGE, ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(der)

    assert key.verify(MESSAGE, r.to_bytes(32, "big") + s.to_bytes(32, "big"), "ES256")
    assert not key.verify(MESSAGE, der, "ES256")
    assert not key.verify(MESSAGE, r.to_bytes(48, "big") + s.to_bytes(48, "big"), "ES256")


@pytest.mark.parametrize(
    ("salt_length", "mgf_hash", "verifies"),
    [
        pytest.param(32, hashes.SHA256(), True, id="salt as long as the hash"),
        pytest.param(31, hashes.SHA256(), False, id="salt one octet shorter"),
        pytest.param(33, hashes.SHA256(), False, id="salt one octet longer"),
        pytest.param(0, hashes.SHA256(), False, id="no salt"),
        pytest.param(32, hashes.SHA384(), False, id="another hash in the mask"),
    ],
)
def test_pss_parameters_are_exact(salt_length: int, mgf_hash: hashes.HashAlgorithm, verifies: bool) -> None:
    """
    PS256 means MGF1 with SHA-256 and a salt of 32 octets, and nothing near it (R76, A18).
    """
    key = usable(rsa_jwk())
    pss = padding.PSS(padding.MGF1(mgf_hash), salt_length)
    signature = rsa_key().sign(MESSAGE, pss, hashes.SHA256())

    assert key.verify(MESSAGE, signature, "PS256") is verifies


@pytest.mark.parametrize("algorithm", RSA_NAMES)
def test_rsa_signature_of_another_algorithm_is_refused(algorithm: str) -> None:
    """
    The algorithm named in the header is the one that runs: the same key's other signatures fail (R66, A10).
    """
    key = usable(rsa_jwk())

    verified = [name for name in RSA_NAMES if key.verify(MESSAGE, sign(name), algorithm)]

    assert verified == [algorithm]


def test_any_of_the_keys_may_have_signed() -> None:
    """
    Of two keys with one key ID either verifies; a third one's signature does not.
    """
    keys = keys_of(ec_jwk(kid="a"), ec_jwk(which=1, kid="a")).keys

    verify_signature(keys, signing_input=MESSAGE, signature=sign("ES256"), algorithm="ES256")
    verify_signature(keys, signing_input=MESSAGE, signature=sign("ES256", which=1), algorithm="ES256")
    with pytest.raises(SignatureError) as caught:
        verify_signature(keys, signing_input=MESSAGE, signature=sign("ES256", which=2), algorithm="ES256")

    assert caught.value.code == "bad_signature"


def test_no_key_verifies_nothing() -> None:
    """
    An empty choice of keys refuses, it does not pass.
    """
    with pytest.raises(SignatureError):
        verify_signature((), signing_input=MESSAGE, signature=b"", algorithm="RS256")


@pytest.mark.parametrize(
    ("jwk", "algorithms"),
    [
        pytest.param(rsa_jwk(), RSA_NAMES, id="RSA"),
        pytest.param(rsa_jwk(alg="PS256"), ("PS256",), id="RSA for PS256"),
        pytest.param(ec_jwk("ES256"), ("ES256",), id="P-256"),
        pytest.param(ec_jwk("ES384"), ("ES384",), id="P-384"),
        pytest.param(ec_jwk("ES512"), ("ES512",), id="P-521"),
        pytest.param(ed_jwk(), ("EdDSA", "Ed25519"), id="Ed25519"),
        pytest.param(ed_jwk(alg="EdDSA"), ("EdDSA",), id="Ed25519 for EdDSA"),
        pytest.param(ed_jwk(alg="Ed25519"), ("Ed25519",), id="Ed25519 for Ed25519"),
        pytest.param(ec_jwk(use="sig"), ("ES256",), id="use sig"),
        pytest.param(ec_jwk(key_ops=["verify"]), ("ES256",), id="key_ops verify"),
        pytest.param(ec_jwk(key_ops=["sign", "verify"]), ("ES256",), id="key_ops sign and verify"),
        pytest.param(ec_jwk(use="sig", key_ops=["verify"]), ("ES256",), id="use and key_ops that agree"),
        pytest.param(
            ec_jwk(key_ops=["verify", "deriveBits"]), ("ES256",), id="key_ops with others, and no use"
        ),
        pytest.param(
            ec_jwk(x5c=["garbage"], x5t="x", ext=True, unknown={}), ("ES256",), id="unknown members"
        ),
    ],
)
def test_key_is_used_with_the_algorithms_that_fit_it(jwk: JWK, algorithms: tuple[str, ...]) -> None:
    """
    A key serves the algorithm it names, else those its type and curve allow (R67, R68, R74, R78, R85).
    """
    key = usable(jwk)

    assert tuple(sorted(key.algorithms)) == tuple(sorted(algorithms))
    assert key.declared_algorithm == jwk.get("alg")


@pytest.mark.parametrize("algorithm", SUPPORTED_ALGORITHMS)
def test_key_without_alg_is_used_with_configured_algorithms_alone(algorithm: str) -> None:
    """
    A key that names no algorithm gets its one from the configuration, never from a token (R67, A8).
    """
    key = usable(jwk_for(algorithm), (algorithm,))

    assert list(key.algorithms) == [algorithm]


@pytest.mark.parametrize(
    ("jwk", "algorithms", "reason"),
    [
        pytest.param(rsa_jwk(alg="RS512"), ("RS256",), "no_algorithm", id="alg that is not configured"),
        pytest.param(rsa_jwk(), ("ES256",), "no_algorithm", id="type that is not configured"),
        pytest.param(rsa_jwk(alg="ES256"), DEFAULT_ALGORITHMS, "no_algorithm", id="RSA key that names ES256"),
        pytest.param(ec_jwk(alg="RS256"), DEFAULT_ALGORITHMS, "no_algorithm", id="EC key that names RS256"),
        pytest.param(
            ec_jwk("ES384", alg="ES256"), DEFAULT_ALGORITHMS, "no_algorithm", id="P-384 key that names ES256"
        ),
        pytest.param(
            ec_jwk("ES512"), DEFAULT_ALGORITHMS, "no_algorithm", id="P-521 key where ES512 is not configured"
        ),
        pytest.param(
            ed_jwk(alg="EdDSA"),
            ("Ed25519",),
            "no_algorithm",
            id="key for EdDSA where only Ed25519 is configured",
        ),
        pytest.param(
            ed_jwk(alg="Ed25519"),
            ("EdDSA",),
            "no_algorithm",
            id="key for Ed25519 where only EdDSA is configured",
        ),
        pytest.param(rsa_jwk(alg="HS256"), DEFAULT_ALGORITHMS, "no_algorithm", id="RSA key that names HS256"),
        pytest.param(
            rsa_jwk(alg="HS256"),
            ("RS256", "HS256"),
            "no_algorithm",
            id="RSA key that names HS256, even if configured",
        ),
        pytest.param(
            rsa_jwk(alg="none"),
            ("RS256", "none"),
            "no_algorithm",
            id="RSA key that names none, even if configured",
        ),
        pytest.param(
            rsa_jwk(alg="RSA-OAEP"), DEFAULT_ALGORITHMS, "no_algorithm", id="RSA key for encryption"
        ),
        pytest.param(rsa_jwk(alg="rs256"), DEFAULT_ALGORITHMS, "no_algorithm", id="alg in another case"),
        pytest.param(rsa_jwk(alg=""), DEFAULT_ALGORITHMS, "no_algorithm", id="empty alg"),
        pytest.param(rsa_jwk(alg=["RS256"]), DEFAULT_ALGORITHMS, "malformed", id="alg in an array"),
        pytest.param(rsa_jwk(alg=256), DEFAULT_ALGORITHMS, "malformed", id="alg of the wrong type"),
        pytest.param(rsa_jwk(), (), "no_algorithm", id="no algorithm configured"),
    ],
)
def test_key_of_another_algorithm_is_skipped(jwk: JWK, algorithms: tuple[str, ...], reason: str) -> None:
    """
    What a key names must be configured and must fit its type and curve (R64, R68, A10, A11).
    """
    key = read(jwk, algorithms)

    assert key == reason


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        pytest.param({"use": "enc"}, "not_for_signatures", id="use enc"),
        pytest.param({"use": "SIG"}, "not_for_signatures", id="use in another case"),
        pytest.param({"use": ""}, "not_for_signatures", id="empty use"),
        pytest.param({"use": None}, "not_for_signatures", id="use null"),
        pytest.param({"use": ["sig"]}, "not_for_signatures", id="use in an array"),
        pytest.param(
            {"use": "enc", "key_ops": ["verify"]}, "not_for_signatures", id="use enc and key_ops verify"
        ),
        pytest.param(
            {"use": "sig", "key_ops": ["encrypt"]}, "not_for_signatures", id="use sig and key_ops encrypt"
        ),
        pytest.param(
            {"use": "sig", "key_ops": ["verify", "encrypt"]},
            "not_for_signatures",
            id="use sig and key_ops verify and encrypt",
        ),
        pytest.param({"key_ops": ["sign"]}, "not_for_signatures", id="key_ops without verify"),
        pytest.param({"key_ops": ["Verify"]}, "not_for_signatures", id="key_ops in another case"),
        pytest.param({"key_ops": []}, "not_for_signatures", id="empty key_ops"),
        pytest.param({"key_ops": "verify"}, "not_for_signatures", id="key_ops as a string"),
        pytest.param({"key_ops": {"verify": 1}}, "not_for_signatures", id="key_ops as an object"),
        pytest.param({"key_ops": None}, "not_for_signatures", id="key_ops null"),
        pytest.param({"kid": 1}, "malformed", id="kid a number"),
        pytest.param({"kid": None}, "malformed", id="kid null"),
        pytest.param({"kid": ["a"]}, "malformed", id="kid an array"),
        *(
            pytest.param({name: "AQAB"}, "private", id=f"private member {name}")
            for name in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
        ),
        pytest.param({"d": None}, "private", id="private member null"),
    ],
)
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519"])
def test_key_that_is_not_for_verifying_is_skipped(algorithm: str, members: JWK, reason: str) -> None:
    """
    Encryption, signing and private keys do not verify, nor those whose *kid* is no string (R81 to R83).
    """
    key = read(jwk_for(algorithm, **members))

    assert key == reason


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519"])
def test_whole_private_key_is_skipped(algorithm: str) -> None:
    """
    A private key that an issuer published by mistake is not used.
    """
    key = read(private_jwk(algorithm))

    assert key == "private"


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        pytest.param({"kty": "oct", "k": "AAAA"}, "private", id="oct"),
        pytest.param({"kty": "oct", "k": "AAAA", "alg": "HS256"}, "private", id="oct for HS256"),
        pytest.param({"kty": "oct", "k": "AAAA", "alg": "RS256"}, "private", id="oct that names RS256"),
        pytest.param({"kty": "oct"}, "no_algorithm", id="oct without k"),
        pytest.param({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}, "no_algorithm", id="unknown type"),
        pytest.param(rsa_jwk(kty="rsa"), "no_algorithm", id="type in another case"),
        pytest.param(rsa_jwk(kty=["RSA"]), "no_algorithm", id="type in an array"),
        pytest.param(rsa_jwk(kty=None), "no_algorithm", id="type null"),
        pytest.param(rsa_jwk(kty="oct"), "no_algorithm", id="RSA numbers as oct"),
        pytest.param({}, "no_algorithm", id="no members"),
        pytest.param({"alg": "RS256", "kid": "a"}, "no_algorithm", id="no type"),
        pytest.param({"kty": "RSA"}, "malformed", id="RSA without numbers"),
        pytest.param(rsa_jwk(n=None), "malformed", id="n null"),
        pytest.param(rsa_jwk(n=""), "malformed", id="n empty"),
        pytest.param(rsa_jwk(n=7), "malformed", id="n a number"),
        pytest.param(rsa_jwk(n=True), "malformed", id="n a boolean"),
        pytest.param(rsa_jwk(n=["AQAB"]), "malformed", id="n an array"),
        pytest.param(rsa_jwk(n={}), "malformed", id="n an object"),
        pytest.param(rsa_jwk(n="é"), "malformed", id="n non-ASCII"),
        pytest.param(rsa_jwk(n="\ud800"), "malformed", id="n half a surrogate pair"),
        pytest.param(rsa_jwk(n="AAAAA"), "malformed", id="n of an impossible length"),
        pytest.param(rsa_jwk(n=number(0)), "malformed", id="n zero"),
        pytest.param(rsa_jwk(e=None), "malformed", id="e null"),
        pytest.param(rsa_jwk(e=""), "malformed", id="e empty"),
        pytest.param(rsa_jwk(e=65_537), "malformed", id="e a number"),
        pytest.param(
            {key: value for key, value in rsa_jwk().items() if key != "e"}, "malformed", id="e missing"
        ),
        pytest.param(rsa_jwk(crv="P-256"), "no_algorithm", id="RSA with a curve"),
        pytest.param({"kty": "EC", "crv": "P-256"}, "malformed", id="EC without a point"),
        pytest.param(ec_jwk(x=None), "malformed", id="x null"),
        pytest.param(ec_jwk(x=1), "malformed", id="x a number"),
        pytest.param(ec_jwk(x=ec_jwk()["x"][:-2]), "malformed", id="x short"),
        pytest.param(ec_jwk(x="AA" + ec_jwk()["x"]), "malformed", id="x long"),
        pytest.param(
            {key: value for key, value in ec_jwk().items() if key != "y"}, "malformed", id="y missing"
        ),
        pytest.param(ec_jwk(y=ec_jwk(which=1)["y"]), "malformed", id="off the curve"),
        pytest.param(ec_jwk(y=ec_jwk()["x"], x=ec_jwk()["y"]), "malformed", id="x and y exchanged"),
        pytest.param(ec_jwk(x=octets(bytes(32)), y=octets(bytes(32))), "malformed", id="the point zero"),
        pytest.param(ec_jwk(crv="P-384"), "malformed", id="P-256 numbers under P-384"),
        pytest.param(ec_jwk(crv="secp256k1"), "no_algorithm", id="another curve"),
        pytest.param(
            ec_jwk(crv="secp256k1", alg="ES256K"), "no_algorithm", id="another curve and its algorithm"
        ),
        pytest.param(ec_jwk(crv="p-256"), "no_algorithm", id="curve in another case"),
        pytest.param(ec_jwk(crv=["P-256"]), "no_algorithm", id="curve in an array"),
        pytest.param(ec_jwk(crv=None), "no_algorithm", id="curve null"),
        pytest.param(ec_jwk(kty="OKP"), "no_algorithm", id="EC numbers as OKP"),
        pytest.param(ec_jwk(kty="RSA"), "no_algorithm", id="EC numbers as RSA"),
        pytest.param({"kty": "OKP", "crv": "Ed25519"}, "malformed", id="OKP without a point"),
        pytest.param(ed_jwk(x=None), "malformed", id="OKP x null"),
        pytest.param(ed_jwk(x=3), "malformed", id="OKP x a number"),
        pytest.param(ed_jwk(x=octets(bytes(31))), "malformed", id="OKP x short"),
        pytest.param(ed_jwk(x=octets(bytes(33))), "malformed", id="OKP x long"),
        pytest.param(ed_jwk(crv="Ed448"), "no_algorithm", id="Ed25519 numbers under Ed448"),
        pytest.param(ed_jwk(crv="X25519"), "no_algorithm", id="Ed25519 numbers under X25519"),
        pytest.param(ed_jwk(crv="ed25519"), "no_algorithm", id="OKP curve in another case"),
        pytest.param("RSA", "malformed", id="a string"),
        pytest.param(None, "malformed", id="null"),
        pytest.param(1, "malformed", id="a number"),
        pytest.param([], "malformed", id="an array"),
        pytest.param([["kty", "RSA"]], "malformed", id="an array of pairs"),
    ],
)
def test_broken_and_unknown_keys_are_skipped(jwk: object, reason: str) -> None:
    """
    A key with unknown, missing or impossible members is no key, and no exception either (R69, R84, D10).
    """
    key = read(jwk)

    assert key == reason


@pytest.mark.parametrize(
    ("curve", "public"),
    [
        pytest.param("Ed448", ed448.Ed448PrivateKey.generate().public_key().public_bytes_raw(), id="Ed448"),
        pytest.param(
            "X25519", x25519.X25519PrivateKey.generate().public_key().public_bytes_raw(), id="X25519"
        ),
        pytest.param("X448", x448.X448PrivateKey.generate().public_key().public_bytes_raw(), id="X448"),
    ],
)
@pytest.mark.parametrize("algorithm", [None, "EdDSA", "Ed25519", "Ed448"])
def test_other_octet_key_pairs_are_skipped(curve: str, public: bytes, algorithm: str | None) -> None:
    """
    EdDSA is used with Ed25519 alone, whatever a sound key of another curve names (R78).
    """
    named = {"alg": algorithm} if algorithm else {}

    key = read({"kty": "OKP", "crv": curve, "x": octets(public), **named})

    assert key == "no_algorithm"


@pytest.mark.parametrize("sign", [0x00, 0x80], ids=["even", "odd"])
@pytest.mark.parametrize(
    "y",
    [
        pytest.param(1, id="the neutral element"),
        pytest.param(2**255 - 18, id="the neutral element, not canonical"),
        pytest.param(2**255 - 20, id="the point of order two"),
        pytest.param(0, id="a point of order four"),
        pytest.param(2**255 - 19, id="a point of order four, not canonical"),
        pytest.param(ORDER_EIGHT, id="a point of order eight"),
        pytest.param(2**255 - 19 - ORDER_EIGHT, id="its negative"),
    ],
)
def test_ed25519_key_of_small_order_is_skipped(y: int, sign: int) -> None:
    """
    A point of small order verifies signatures that nobody made, as RSA with exponent 1 would (A21).
    """
    point = y.to_bytes(32, "little")

    key = read({"kty": "OKP", "crv": "Ed25519", "x": octets(point[:-1] + bytes([point[-1] | sign]))})

    assert key == "weak"


@pytest.mark.parametrize(
    ("bits", "is_used"),
    [
        pytest.param(1_024, False, id="1024 bits"),
        pytest.param(MIN_RSA_BITS - 1, False, id="2047 bits, just too few"),
        pytest.param(MIN_RSA_BITS, True, id="2048 bits, just enough"),
    ],
)
def test_rsa_keys_have_2048_bits(bits: int, is_used: bool) -> None:
    """
    A modulus under 2048 bits is skipped (R72, A21).
    """
    key = read(rsa_jwk(bits))

    assert MIN_RSA_BITS == 2_048
    assert isinstance(key, VerificationKey) if is_used else key == "weak"


@pytest.mark.parametrize(
    ("bits", "is_used"),
    [
        pytest.param(MAX_RSA_BITS, True, id="16384 bits, just within"),
        pytest.param(MAX_RSA_BITS + 1, False, id="16385 bits, just beyond"),
        pytest.param(8_000_000, False, id="a megabyte"),
    ],
)
def test_rsa_moduli_are_bounded(bits: int, is_used: bool) -> None:
    """
    A modulus over 16384 bits is skipped: verifying with it costs too much (R73, H2).
    """
    key = read(rsa_jwk(n=number(2 ** (bits - 1) + 1)))

    assert MAX_RSA_BITS == 16_384
    assert isinstance(key, VerificationKey) if is_used else key == "weak"


@pytest.mark.parametrize(
    ("exponent", "is_used"),
    [
        pytest.param(0, False, id="0"),
        pytest.param(1, False, id="1"),
        pytest.param(2, False, id="2"),
        pytest.param(3, True, id="3"),
        pytest.param(65_536, False, id="even"),
        pytest.param(65_537, True, id="65537"),
        pytest.param(2**MAX_RSA_EXPONENT_BITS - 1, True, id="33 bits, just within"),
        pytest.param(2**MAX_RSA_EXPONENT_BITS + 1, False, id="34 bits, just beyond"),
        pytest.param(2**2_040 + 1, False, id="huge"),
        pytest.param(2**2_050 + 1, False, id="larger than the modulus"),
    ],
)
def test_rsa_exponents_are_odd_and_bounded(exponent: int, is_used: bool) -> None:
    """
    An exponent of 1, an even and a huge one are skipped (R73).
    """
    key = read(rsa_jwk(e=number(exponent)))

    assert MAX_RSA_EXPONENT_BITS == 33
    assert isinstance(key, VerificationKey) is is_used
    assert is_used or key in {"malformed", "weak"}  # some are no RSA keys to begin with


def test_one_good_key_serves_among_bad_ones() -> None:
    """
    Unusable keys of a set are counted and skipped; the good one beside them serves (R84, D10).
    """
    bad: list[object] = [
        {"kty": "oct", "k": "AAAA", "kid": "good"},
        rsa_jwk(1_024, kid="good"),
        ec_jwk(y=ec_jwk(which=1)["y"], kid="good"),
        ed_jwk(use="enc", kid="good"),
        {"kty": "AKP"},
        rsa_jwk(kid=7),
        "garbage",
        None,
    ]

    keys = read_jwk_set({"keys": [*bad, rsa_jwk(kid="good")], "extra": 1}, algorithms=DEFAULT_ALGORITHMS)

    assert (len(keys.keys), keys.key_ids) == (1, frozenset({"good"}))
    assert keys.skipped == (
        SkippedKey("good", "private"),
        SkippedKey("good", "weak"),
        SkippedKey("good", "malformed"),
        SkippedKey("good", "not_for_signatures"),
        SkippedKey(None, "no_algorithm"),
        SkippedKey(None, "malformed"),
        SkippedKey(None, "malformed"),
        SkippedKey(None, "malformed"),
    )
    assert keys.select("good", "RS256") == keys.keys


def test_key_ids_are_those_of_the_usable_keys() -> None:
    """
    Key IDs are listed once each, and a key without one adds none.
    """
    keys = keys_of(
        rsa_jwk(kid="a"), ec_jwk(kid="a"), ed_jwk(kid="b"), ec_jwk("ES384"), ec_jwk(kid="c", use="enc")
    )

    assert keys.key_ids == frozenset({"a", "b"})
    assert (len(keys.keys), keys.skipped) == (4, (SkippedKey("c", "not_for_signatures"),))


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(None, id="null"),
        pytest.param([], id="an array"),
        pytest.param([rsa_jwk()], id="an array of keys"),
        pytest.param("keys", id="a string"),
        pytest.param(rsa_jwk(), id="one key and no set"),
        pytest.param({}, id="no keys member"),
        pytest.param({"Keys": [rsa_jwk()]}, id="keys in another case"),
        pytest.param({"keys": None}, id="keys null"),
        pytest.param({"keys": rsa_jwk()}, id="keys an object"),
        pytest.param({"keys": {"a": rsa_jwk()}}, id="keys by name"),
        pytest.param({"keys": "AQAB"}, id="keys a string"),
    ],
)
def test_document_that_is_no_jwk_set_is_refused(document: object) -> None:
    """
    A JWK Set is an object with an array named `keys` (RFC 7517 §5).
    """
    with pytest.raises(ValueError, match="not a JWK Set"):
        read_jwk_set(document, algorithms=DEFAULT_ALGORITHMS)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([], id="no keys"),
        pytest.param([{"kty": "oct", "k": "AAAA"}], id="a symmetric key"),
        pytest.param([rsa_jwk(1_024), ec_jwk(use="enc")], id="unusable keys"),
        pytest.param([ec_jwk("ES512")], id="a key of an algorithm that is not configured"),
    ],
)
def test_set_without_a_usable_key_is_refused(keys: list[JWK]) -> None:
    """
    A set that can verify nothing is no set to replace another with (A19).
    """
    with pytest.raises(ValueError, match="no usable key"):
        read_jwk_set({"keys": keys}, algorithms=DEFAULT_ALGORITHMS)


def test_set_of_100_keys_is_read() -> None:
    """
    A set just within the bound is read whole.
    """
    keys = keys_of(*(ec_jwk(kid=str(index)) for index in range(MAX_KEYS)))

    assert MAX_KEYS == 100
    assert len(keys.keys) == MAX_KEYS


def test_set_of_101_keys_is_refused() -> None:
    """
    A set just beyond the bound is refused before any of its keys is read, unusable ones counted (D9).
    """
    jwks: list[JWK] = [{"kty": "oct", "k": "AAAA"}] * MAX_KEYS

    with pytest.raises(ValueError, match="more than 100 keys"):
        keys_of(ec_jwk(), *jwks)


@pytest.mark.parametrize(
    ("kid", "algorithm", "expected"),
    [
        pytest.param("rsa", "RS256", 0, id="RSA"),
        pytest.param("rsa", "PS256", 0, id="the same key, another algorithm"),
        pytest.param("ec", "ES256", 1, id="EC"),
        pytest.param("ed", "EdDSA", 2, id="EdDSA"),
        pytest.param("ed", "Ed25519", 2, id="Ed25519"),
        pytest.param("shared", "RS256", 3, id="one key ID, narrowed to RSA"),
        pytest.param("shared", "ES256", 4, id="one key ID, narrowed to P-256"),
        pytest.param("shared", "ES384", 5, id="one key ID, narrowed to P-384"),
        pytest.param(None, "ES384", 5, id="no key ID, the one key that fits"),
    ],
)
def test_single_fitting_key_is_selected(kid: str | None, algorithm: str, expected: int) -> None:
    """
    The key is the one with the header's key ID that fits its algorithm (R68, R86).
    """
    jwks = [
        rsa_jwk(kid="rsa"),
        ec_jwk(kid="ec"),
        ed_jwk(kid="ed"),
        rsa_jwk(which=1, kid="shared"),
        ec_jwk(which=1, kid="shared"),
        ec_jwk("ES384", kid="shared"),
    ]
    keys = keys_of(*jwks)

    selected = keys.select(kid, algorithm)

    assert selected == (keys.keys[expected],)


@pytest.mark.parametrize(
    ("kid", "algorithm"),
    [
        pytest.param("unknown", "RS256", id="unknown key ID"),
        pytest.param("RSA", "RS256", id="key ID in another case"),
        pytest.param("rs", "RS256", id="a prefix of a key ID"),
        pytest.param("", "RS256", id="empty key ID"),
        pytest.param("rsa", "ES256", id="RSA key, EC algorithm"),
        pytest.param("ec", "RS256", id="EC key, RSA algorithm"),
        pytest.param("ec", "ES384", id="P-256 key, ES384"),
        pytest.param("rsa", "RS512", id="algorithm that is not configured"),
        pytest.param("rsa", "HS256", id="symmetric algorithm"),
        pytest.param("rsa", "none", id="none"),
        pytest.param("ps", "RS256", id="key for PS256, RS256"),
        pytest.param("eddsa", "Ed25519", id="key for EdDSA, Ed25519"),
        pytest.param(None, "ES384", id="no key ID, none fits"),
        pytest.param(None, "none", id="no key ID, none"),
    ],
)
def test_no_fitting_key_is_refused(kid: str | None, algorithm: str) -> None:
    """
    Another algorithm never borrows a key, and an unknown key ID finds none (R66 to R69, A11).
    """
    keys = keys_of(
        rsa_jwk(kid="rsa"),
        ec_jwk(kid="ec"),
        rsa_jwk(which=1, kid="ps", alg="PS256"),
        ed_jwk(kid="eddsa", alg="EdDSA"),
    )

    with pytest.raises(UnknownKeyError) as caught:
        keys.select(kid, algorithm)

    assert (caught.value.kid, caught.value.code) == (kid, "unknown_key")


def test_repeated_key_id_gives_two_candidates() -> None:
    """
    Two fitting keys of one key ID are both tried, as a rotation may need (R86).
    """
    keys = keys_of(
        ec_jwk(kid="a"), ec_jwk(which=1, kid="a", alg="ES256"), rsa_jwk(kid="a"), ec_jwk(which=2, kid="b")
    )

    selected = keys.select("a", "ES256")

    assert len(selected) == MAX_CANDIDATES == 2
    assert selected == keys.keys[:2]


@pytest.mark.parametrize("times", [2, 3, MAX_KEYS])
@pytest.mark.parametrize("kid", ["a", None])
def test_key_that_is_there_several_times_is_one_key(kid: str | None, times: int) -> None:
    """
    An issuer that lists one key twice, or more often, has one key: there is no choice to make.
    """
    members: JWK = {} if kid is None else {"kid": kid}
    keys = keys_of(*[ec_jwk(**members)] * times)

    assert (len(keys.keys), keys.skipped) == (1, ())
    assert keys.select(kid, "ES256") == keys.keys


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(ec_jwk(which=1, kid="a"), id="another point"),
        pytest.param(ec_jwk(kid="b"), id="another key ID"),
        pytest.param(ec_jwk(), id="no key ID"),
        pytest.param(ec_jwk(kid="a", alg="ES256"), id="an algorithm of its own"),
    ],
)
def test_keys_that_differ_are_several(other: JWK) -> None:
    """
    What differs in one thing that counts is another key.
    """
    keys = keys_of(ec_jwk(kid="a"), other, ec_jwk(kid="a", unknown="member"))

    assert len(keys.keys) == 2


def test_key_id_of_three_fitting_keys_is_refused() -> None:
    """
    Three fitting keys of one key ID are one trial too many.
    """
    keys = keys_of(*(ec_jwk(which=which, kid="a") for which in range(3)))

    with pytest.raises(UnknownKeyError):
        keys.select("a", "ES256")


@pytest.mark.parametrize(
    ("jwks", "expected"),
    [
        pytest.param([rsa_jwk()], 0, id="one key"),
        pytest.param([rsa_jwk(kid="a")], 0, id="one key, with a key ID"),
        pytest.param([rsa_jwk(alg="RS256")], 0, id="one key that names the algorithm"),
        pytest.param([rsa_jwk(), ec_jwk(), ed_jwk()], 0, id="one key of each type"),
        pytest.param([rsa_jwk(), rsa_jwk(which=1, alg="RS256")], 1, id="one names it, one names none"),
        pytest.param([rsa_jwk(alg="PS256"), rsa_jwk(which=1)], 1, id="one names another, one names none"),
        pytest.param(
            [rsa_jwk(), rsa_jwk(which=2), rsa_jwk(which=1, alg="RS256")], 2, id="one names it, two name none"
        ),
        pytest.param([rsa_jwk(alg="PS256"), rsa_jwk(which=1, alg="RS256")], 1, id="one for each algorithm"),
    ],
)
def test_without_key_id_the_one_fitting_key_is_selected(jwks: list[JWK], expected: int) -> None:
    """
    Without a key ID a key that names the algorithm goes before those that name none (R88, HOUSE).
    """
    keys = keys_of(*jwks)

    selected = keys.select(None, "RS256")

    assert selected == (keys.keys[expected],)


@pytest.mark.parametrize(
    "jwks",
    [
        pytest.param([rsa_jwk(), rsa_jwk(which=1)], id="two that name none"),
        pytest.param([rsa_jwk(kid="a"), rsa_jwk(which=1, kid="b")], id="two with key IDs"),
        pytest.param([rsa_jwk(alg="RS256"), rsa_jwk(which=1, alg="RS256")], id="two that name it"),
        pytest.param(
            [rsa_jwk(alg="RS256"), rsa_jwk(which=1, alg="RS256"), rsa_jwk()],
            id="two that name it and one more",
        ),
    ],
)
def test_without_key_id_two_fitting_keys_are_refused(jwks: list[JWK]) -> None:
    """
    Without a key ID nobody guesses between two keys (R88).
    """
    keys = keys_of(*jwks)

    with pytest.raises(UnknownKeyError) as caught:
        keys.select(None, "RS256")

    assert caught.value.kid is None


def test_keys_cannot_be_changed() -> None:
    """
    A key, and a set of them, is what was read: neither can be exchanged (R256).
    """
    keys = VerificationKeys(keys_of(rsa_jwk()).keys)

    assert keys.skipped == ()
    with pytest.raises(AttributeError):
        keys.keys = ()  # type: ignore[misc]  # what the test is about
    with pytest.raises(AttributeError):
        keys.keys[0].public_key = None  # type: ignore[misc]  # what the test is about


@pytest.mark.anyio
async def test_static_key_set_selects_at_generation_zero() -> None:
    """
    Keys in hand are selected without a fetch, and their generation never changes.
    """
    key_set = StaticKeySet({"keys": [rsa_jwk(kid="a"), ec_jwk(kid="b")]}, algorithms=DEFAULT_ALGORITHMS)

    selection = await key_set.select("b", "ES256")

    assert [key.kid for key in selection.keys] == ["b"]
    assert selection.generation == 0
    assert key_set.holds(selection.generation)
    assert not key_set.holds(selection.generation + 1)


@pytest.mark.anyio
async def test_static_key_set_refuses_an_unknown_key() -> None:
    """
    A key ID that is not in the set in hand is unknown.
    """
    key_set = StaticKeySet({"keys": [rsa_jwk(kid="a")]}, algorithms=DEFAULT_ALGORITHMS)

    with pytest.raises(UnknownKeyError):
        await key_set.select("b", "RS256")


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([], id="no keys"),
        pytest.param([{"kty": "oct", "k": "AAAA"}], id="a symmetric key"),
        pytest.param([rsa_jwk(1_024)], id="a weak key"),
        pytest.param([rsa_jwk()] * 101, id="too many"),
    ],
)
def test_static_key_set_that_verifies_nothing_is_refused(keys: list[JWK]) -> None:
    """
    Configured keys that cannot verify anything stop the startup, not the requests (A19, A20).
    """
    with pytest.raises(PolicyError, match=r"^keys: "):
        StaticKeySet({"keys": keys}, algorithms=DEFAULT_ALGORITHMS)


def test_key_set_from_json_is_read_within_its_bounds() -> None:
    """
    Reading a hundred keys as they come over the wire takes a moment, not seconds.
    """
    document = json.loads(json.dumps({"keys": [rsa_jwk(kid=str(index)) for index in range(MAX_KEYS)]}))
    started = time.process_time()

    keys = read_jwk_set(document, algorithms=DEFAULT_ALGORITHMS)

    assert len(keys.key_ids) == MAX_KEYS
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("algorithm", [None, 7, ["RS256"]])
def test_algorithm_that_is_no_string_skips_the_key(algorithm: object) -> None:
    """
    A key whose *alg* names nothing is not a key without one (RFC 7517 §4.4).
    """
    jwk = ec_jwk()

    assert isinstance(read(jwk), VerificationKey)
    assert read({**jwk, "alg": algorithm}) == "malformed"


def test_rsa_modulus_that_is_even_is_skipped() -> None:
    """
    An even modulus is no product of two large primes: anybody can factor it.
    """
    jwk = rsa_jwk()
    modulus = int.from_bytes(base64.urlsafe_b64decode(str(jwk["n"]) + "=="), "big")

    assert isinstance(read(jwk), VerificationKey)
    assert read({**jwk, "n": octets((modulus - 1).to_bytes(256, "big"))}) == "weak"


def test_key_id_is_compared_by_its_characters() -> None:
    """
    Equal characters are the same key ID, whichever object holds them (R53).
    """
    kid = "".join(["key", "-1"])
    keys = read_jwk_set({"keys": [ec_jwk(kid="key-1")]}, algorithms=DEFAULT_ALGORITHMS)

    assert kid is not keys.keys[0].kid
    assert keys.select(kid, "ES256") == keys.keys
