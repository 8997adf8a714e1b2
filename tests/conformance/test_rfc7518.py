"""
RFC 7518: signature algorithms and the keys they take. With RFC 8037 and RFC 9864 for the Edwards curve.
"""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from guardrail.errors import PolicyError

from .api import Api, issuer
from .tokens import (
    ABSENT,
    CURVES,
    HASHES,
    JWK,
    Sign,
    integer,
    jwk,
    private_key,
    public_members,
    rsa_key,
    signer,
    token,
)

pytestmark = pytest.mark.anyio

ALL = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
OTHER = jwk(name="other")
RSA_MEMBERS = public_members(rsa_key())


@pytest.mark.parametrize("spelling", ["none", "None", "NONE", "nOnE", "none ", "\u200bnone"])
@pytest.mark.parametrize("signature", ["", "AA", "kept"])
async def test_r65_none_is_never_accepted(spelling: str, signature: str) -> None:
    """
    R65 (RFC 7518 §3.6, RFC 9068 §2.1): However it is spelled, with a signature or without; and it cannot be
    configured.
    """
    good = token({"alg": spelling, "kid": ABSENT})
    made = good if signature == "kept" else good.rpartition(b".")[0] + b"." + signature.encode()

    await Api().accepts(token({"kid": ABSENT}))
    await Api().refuses(made)
    with pytest.raises(PolicyError, match="asymmetric"):
        issuer(algorithms=[spelling])


async def test_r70_rs256_is_supported() -> None:
    """
    R70 (RFC 9068 §2.1): An issuer that signs with RS256 needs no setting.
    """
    api = Api(issuer(jwk("RS256")))

    await api.accepts(token({"alg": "RS256"}, sign=signer("RS256")))
    await api.refuses(token({"alg": "RS256"}, sign=signer("RS256", "other")), code="bad_signature")


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
@pytest.mark.parametrize("bits", [1_024, 2_040])
async def test_r72_short_rsa_keys_are_not_used(algorithm: str, bits: int) -> None:
    """
    R72 (RFC 7518 §3.3, §3.5): Under 2,048 bits a key does not verify, though its signature is right.
    """
    short = public_members(private_key(f"RSA-{bits}")) | {"kid": "key-1", "alg": algorithm}

    await Api(issuer(jwk(algorithm), OTHER)).accepts(token({"alg": algorithm}, sign=signer(algorithm)))
    await Api(issuer(short, OTHER)).refuses(
        token({"alg": algorithm}, sign=signer(algorithm, kind=f"RSA-{bits}")), code="unknown_key"
    )


def padded(octets: bytes, size: int = 256, *, block: bytes = b"\x00\x01", fill: bytes = b"\xff") -> bytes:
    """
    EMSA-PKCS1-v1_5 (RFC 8017 §9.2) around *octets*.
    """
    return block + fill * (size - len(block) - 1 - len(octets)) + b"\x00" + octets


SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017 §9.2, note 1


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"e": integer(1)}, id="exponent 1"),
        pytest.param({"e": integer(65_536)}, id="even exponent"),
        pytest.param({"e": integer(2**64 + 13)}, id="large exponent"),
        pytest.param({"e": RSA_MEMBERS["n"]}, id="exponent as large as the modulus"),
        pytest.param({"e": integer(0)}, id="exponent 0"),
        pytest.param({"n": integer(2**16_384 + 1)}, id="huge modulus"),
        pytest.param({"n": integer(2**2_047)}, id="even modulus"),
    ],
)
async def test_r73_odd_rsa_keys_are_not_used(members: JWK) -> None:
    """
    R73 (RFC 8017 §3.1): With an exponent of 1 anybody signs; with a huge key anybody keeps us busy.
    """
    key = jwk("RS256")

    def anybody(signing_input: bytes) -> bytes:
        return padded(SHA256_INFO + hashlib.sha256(signing_input).digest())

    await Api(issuer(key, OTHER)).accepts(token({"alg": "RS256"}, sign=signer("RS256")))
    for sign in (anybody, signer("RS256")):
        await Api(issuer(key | members, OTHER)).refuses(
            token({"alg": "RS256"}, sign=sign), code="unknown_key"
        )


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
@pytest.mark.parametrize("curve", list(CURVES))
async def test_r74_each_ecdsa_algorithm_has_its_curve(algorithm: str, curve: str) -> None:
    """
    R74 (RFC 7518 §3.4, RFC 8725 §3.4): ES256 is P-256, ES384 P-384 and ES512 P-521, whatever a key says.
    """
    fits = curve == {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm]
    members = public_members(private_key(curve)) | {"kid": "key-1"}
    made = token({"alg": algorithm}, sign=signer(algorithm, kind=curve))

    for key in (members, members | {"alg": algorithm}):
        api = Api(issuer(key, jwk("EdDSA", "other"), algorithms=ALL))
        if fits:
            await api.accepts(made)
        else:
            await api.refuses(made, code="unknown_key")


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"y": jwk()["x"]}, id="a point that is not on the curve"),
        pytest.param({"x": integer(0, 32), "y": integer(0, 32)}, id="infinity, as some write it"),
        pytest.param({"x": integer(2**256 - 1, 32)}, id="outside the field"),
        pytest.param({"crv": "P-384"}, id="another curve's name"),
        pytest.param({"crv": "p-256"}, id="the name in another case"),
        pytest.param({"crv": ABSENT}, id="no curve"),
    ],
)
async def test_r74_a_point_is_on_the_curve(members: JWK) -> None:
    """
    R74 (RFC 7518 §6.2.1, RFC 8725 §3.4): A key that is no point of its curve is not used.
    """
    await Api(issuer(jwk(), OTHER)).accepts(token())
    await Api(issuer(jwk(**members), OTHER)).refuses(token(), code="unknown_key")


ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


def ecdsa(octets: bytes) -> bytes:
    """
    The DER signature of ``key-1`` for ES256.
    """
    key = private_key("P-256")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(octets, ec.ECDSA(hashes.SHA256()))


def fixed(r: int, s: int, size: int = 32) -> bytes:
    """
    R and S in *size* octets each.
    """
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def spellings(der: bytes) -> dict[str, bytes]:
    """
    What could pass for the signature that *der* is, or for one that verifies everything; but is not.
    """
    r, s = decode_dss_signature(der)
    return {
        "DER": der,
        "an octet short": fixed(r, s)[:-1],
        "an octet long": fixed(r, s) + b"\0",
        "padded with zeros": fixed(r, s, 48),
        "R alone": fixed(r, s)[:32],
        "the wrong way round": fixed(s, r),
        "R of 0": fixed(0, s),
        "S of 0": fixed(r, 0),
        "both 0": fixed(0, 0),
        "R of n": fixed(ORDER, s),
        "S of n": fixed(r, ORDER),
        "both n": fixed(ORDER, ORDER),
        "1 and n - 1": fixed(1, ORDER - 1),
        "S over n": fixed(r, 2**256 - 1),
    }


@pytest.mark.parametrize("spelling", list(spellings(ecdsa(b""))))
async def test_r75_ecdsa_signatures_are_r_and_s(spelling: str) -> None:
    """
    R75 (RFC 7518 §3.4): R and S in exactly 32 octets each, between 1 and n - 1.
    """
    api = Api()

    await api.accepts(token(sign=lambda octets: fixed(*decode_dss_signature(ecdsa(octets)))))
    await api.refuses(token(sign=lambda octets: spellings(ecdsa(octets))[spelling]), code="bad_signature")


@pytest.mark.parametrize(("algorithm", "size"), [("ES384", 96), ("ES512", 132)])
async def test_r75_the_larger_curves_have_larger_signatures(algorithm: str, size: int) -> None:
    """
    R75 (RFC 7518 §3.4): 96 octets for ES384 and 132 for ES512, and no other number.
    """
    api = Api(issuer(jwk(algorithm), algorithms=ALL))
    sign = signer(algorithm)

    assert len(sign(b"")) == size
    await api.accepts(token({"alg": algorithm}, sign=sign))
    for spoilt in (lambda octets: sign(octets)[:-1], lambda octets: b"\0" + sign(octets)):
        await api.refuses(token({"alg": algorithm}, sign=spoilt), code="bad_signature")


@pytest.mark.parametrize("algorithm", ["PS256", "PS384", "PS512"])
async def test_r76_pss_has_one_hash_and_one_salt_length(algorithm: str) -> None:
    """
    R76 (RFC 7518 §3.5): The salt is as long as the hash, and MGF1 uses the same hash.
    """
    digest = HASHES[algorithm[2:]]
    api = Api(issuer(jwk("RS256", alg=algorithm), algorithms=ALL))

    def signing(mask: hashes.HashAlgorithm, salt: int) -> Sign:
        return lambda octets: rsa_key().sign(octets, padding.PSS(padding.MGF1(mask), salt), digest)

    await api.accepts(token({"alg": algorithm}, sign=signing(digest, digest.digest_size)))
    odd = [(digest, salt) for salt in (0, 20, digest.digest_size - 1, 256 - digest.digest_size - 2)]
    for mask, salt in (*odd, (hashes.SHA1(), digest.digest_size)):  # noqa: S303 - it must be refused
        await api.refuses(token({"alg": algorithm}, sign=signing(mask, salt)), code="bad_signature")


def raw_rsa(message: bytes) -> bytes:
    """
    RSASP1 (RFC 8017 §5.2.1): the key applied to an encoded message as it is.
    """
    assert len(message) == 256
    numbers = rsa_key().private_numbers()
    return pow(int.from_bytes(message, "big"), numbers.d, numbers.public_numbers.n).to_bytes(256, "big")


def encodings(octets: bytes) -> dict[str, bytes]:
    """
    What lenient verifiers of PKCS#1 v1.5 have taken for the encoding of *octets*' digest.
    """
    digest = hashlib.sha256(octets).digest()
    right = SHA256_INFO + digest
    return {
        "no NULL": padded(b"\x30\x2f\x30\x0b" + SHA256_INFO[4:15] + SHA256_INFO[17:] + digest),
        "no DigestInfo": padded(digest),
        "garbage after the digest": padded(right + b"\0" * 8),
        "garbage after a short padding": padded(right, 64) + b"\x17" * 192,
        "another filling": padded(right, fill=b"\xfe"),
        "another block type": padded(right, block=b"\0\x02"),
        "no block type": padded(right, block=b"\0\0"),
        "BER lengths": padded(b"\x30\x81" + right[1:]),
        "the digest of SHA-1": padded(bytes.fromhex("3021300906052b0e03021a05000414") + digest[:20]),
    }


@pytest.mark.parametrize("encoding", list(encodings(b"")))
async def test_r77_pkcs1_padding_is_checked_exactly(encoding: str) -> None:
    """
    R77 (RFC 7518 §3.3, RFC 8017 §8.2.2): One encoding of the digest, compared whole; no lenient ASN.1.
    """
    api = Api(issuer(jwk("RS256")))

    def right(octets: bytes) -> bytes:
        return raw_rsa(padded(SHA256_INFO + hashlib.sha256(octets).digest()))

    await api.accepts(token({"alg": "RS256"}, sign=right))
    wrong = token({"alg": "RS256"}, sign=lambda octets: raw_rsa(encodings(octets)[encoding]))
    await api.refuses(wrong, code="bad_signature")


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
@pytest.mark.parametrize(
    "key",
    [
        pytest.param(public_members(private_key("Ed448")), id="Ed448"),
        pytest.param(public_members(private_key("Ed448")) | {"crv": "Ed25519"}, id="Ed448 called Ed25519"),
        pytest.param(public_members(private_key("X25519")), id="X25519"),
        pytest.param(public_members(private_key("Ed25519")) | {"crv": "X25519"}, id="Ed25519 called X25519"),
        pytest.param(public_members(private_key("Ed25519")) | {"kty": "EC"}, id="Ed25519 called EC"),
        pytest.param(public_members(private_key("Ed25519")) | {"crv": "ed25519"}, id="name in another case"),
        pytest.param(public_members(private_key("P-256")), id="P-256"),
        pytest.param(public_members(private_key("RSA")), id="RSA"),
    ],
)
async def test_r78_an_edwards_algorithm_takes_its_curve_alone(algorithm: str, key: JWK) -> None:
    """
    R78 (RFC 8037 §2, §3.1, RFC 9864 §2.2): Both names mean an OKP key on Ed25519, and nothing else.
    """
    header, other = {"alg": algorithm}, jwk(name="other")
    right = public_members(private_key("Ed25519")) | {"kid": "key-1"}
    by_ed25519, by_ed448 = (token(header, sign=signer("", kind=kind)) for kind in ("Ed25519", "Ed448"))

    await Api(issuer(right, other)).accepts(by_ed25519)
    await Api(issuer(right, other)).refuses(by_ed448, code="bad_signature")
    for made in (by_ed25519, by_ed448):
        for members in (key | {"kid": "key-1"}, key | {"kid": "key-1", "alg": algorithm}):
            await Api(issuer(members, other)).refuses(made, code="unknown_key")


@pytest.mark.parametrize(("algorithm", "other"), [("Ed25519", "EdDSA"), ("EdDSA", "Ed25519")])
async def test_r79_the_fully_specified_name_is_its_own(algorithm: str, other: str) -> None:
    """
    R79 (RFC 9864 §4.1.2, §4.4): Both names are accepted at first, and each can be accepted alone.
    """
    members = public_members(private_key("Ed25519")) | {"kid": "key-1"}
    made, otherwise = (token({"alg": name}, sign=signer("EdDSA")) for name in (algorithm, other))
    lenient, strict = Api(issuer(members)), Api(issuer(members, algorithms=[algorithm]))

    await lenient.accepts(made)
    await lenient.accepts(otherwise)
    await strict.accepts(made)
    await strict.refuses(otherwise, code="algorithm_not_allowed")
