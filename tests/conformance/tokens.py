"""
Keys and tokens for the conformance suite, good ones and any other, made with nothing of guardrail's.
"""

import base64
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NOW: Final = 1_800_000_000
ISSUER: Final = "https://login.example.com"
AUDIENCE: Final = "https://api.example.com/orders"
ABSENT: Final = object()  # as a header parameter or a claim: leave it out

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | x25519.X25519PrivateKey
)
JWK = dict[str, Any]
Members = dict[str, Any]  # of a header or a claims set
Sign = Callable[[bytes], bytes]

HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_KINDS: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}


def kind_of(algorithm: str) -> str:
    """
    The kind of key that *algorithm* is for.
    """
    return "RSA" if algorithm[:2] in {"RS", "PS"} else _KINDS.get(algorithm, algorithm)


def private_key(kind: str, name: str = "key-1") -> PrivateKey:
    """
    A private key; the same one for the same kind and name. An RSA key's bits may be named: ``RSA-1024``.
    """
    return _generated(kind, name)


@functools.cache
def _generated(kind: str, name: str) -> PrivateKey:
    if kind.startswith("RSA"):
        return rsa.generate_private_key(public_exponent=65_537, key_size=int(kind[4:] or 2_048))
    if kind in CURVES:
        return ec.generate_private_key(CURVES[kind])
    other: dict[str, Callable[[], PrivateKey]] = {
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "Ed448": ed448.Ed448PrivateKey.generate,
        "X25519": x25519.X25519PrivateKey.generate,
    }
    return other[kind]()


def rsa_key(name: str = "key-1") -> rsa.RSAPrivateKey:
    """
    An RSA key, typed as one.
    """
    key = private_key("RSA", name)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def jwk(algorithm: str = "ES256", name: str = "key-1", **members: object) -> JWK:
    """
    The public JWK for *algorithm*, with members added, replaced or (`ABSENT`) left out.
    """
    made = public_members(private_key(kind_of(algorithm), name))
    return present(made | {"kid": name, "alg": algorithm, "use": "sig"} | members)


def public_members(key: PrivateKey) -> JWK:
    """
    What RFC 7518 §6 and RFC 8037 §2 say of a public key.
    """
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": integer(numbers.n), "e": integer(numbers.e)}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point, size = key.public_key().public_numbers(), -(-key.key_size // 8)
        return {
            "kty": "EC",
            "crv": f"P-{key.key_size}",
            "x": integer(point.x, size),
            "y": integer(point.y, size),
        }
    name = type(key).__name__.removeprefix("_").removesuffix("PrivateKey")
    return {"kty": "OKP", "crv": name, "x": encode(key.public_key().public_bytes_raw())}


def signer(algorithm: str = "ES256", name: str = "key-1", *, kind: str | None = None) -> Sign:
    """
    What signs with *algorithm* and the key of that name, of another kind of key if need be.
    """
    return functools.partial(_sign, algorithm, private_key(kind or kind_of(algorithm), name))


def _sign(algorithm: str, key: PrivateKey, octets: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        digest = HASHES[algorithm[2:]]
        if algorithm.startswith("RS"):
            return key.sign(octets, padding.PKCS1v15(), digest)
        salted = padding.PSS(padding.MGF1(digest), salt_length=digest.digest_size)
        return key.sign(octets, salted, digest)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        der = key.sign(octets, ec.ECDSA(HASHES[algorithm[2:]]))
        size = -(-key.key_size // 8)
        return b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(der))
    assert isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return key.sign(octets)


def encode(octets: bytes) -> str:
    """
    Unpadded base64url (RFC 7515 §2).
    """
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def integer(number: int, size: int | None = None) -> str:
    """
    Base64urlUInt (RFC 7518 §2), in *size* octets.
    """
    return encode(number.to_bytes(size or max(1, -(-number.bit_length() // 8)), "big"))


def present(members: Mapping[str, object]) -> dict[str, Any]:
    """
    *members* but for what is `ABSENT`.
    """
    return {name: value for name, value in members.items() if value is not ABSENT}


def header_json(**changes: object) -> bytes:
    """
    The header of a good token, with parameters added, replaced or left out.
    """
    return json.dumps(present({"alg": "ES256", "kid": "key-1", "typ": "at+jwt"} | changes)).encode()


def claims_json(**changes: object) -> bytes:
    """
    The claims set of a good token, with claims added, replaced or left out.
    """
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "client_id": "shop",
        "iat": NOW,
        "exp": NOW + 600,
        "jti": "token-1",
        "scope": "orders:read",
    }
    return json.dumps(present(good | changes)).encode()


def join(header_part: str, claims_part: str, sign: Sign | None = None) -> bytes:
    """
    Two parts as they are, and the signature over them.
    """
    signing_input = f"{header_part}.{claims_part}".encode()
    return signing_input + b"." + encode((sign or signer())(signing_input)).encode()


def token(
    header: Mapping[str, object] | bytes = b"", /, *, sign: Sign | None = None, **claims: object
) -> bytes:
    """
    A good token, but for what is said.

    Args:
        header: Header parameters to add, replace or leave out; or the whole header as it is.
        sign: What signs it; the key ``key-1`` with ES256.
        claims: Claims to add, replace or leave out.
    """
    return raw_token(header, claims_json(**claims), sign=sign)


def raw_token(header: Mapping[str, object] | bytes, claims: bytes, /, *, sign: Sign | None = None) -> bytes:
    """
    A token of this very claims set, in these octets.
    """
    octets = header_json(**header) if isinstance(header, Mapping) else header or header_json()
    return join(encode(octets), encode(claims), sign)


def token_with(claim: str, value: object) -> bytes:
    """
    A good token, but for one claim.
    """
    changes: Members = {claim: value}
    return token(**changes)
