"""
One JWK (RFC 7517 §4) → a key that can verify, or the reason why it must not.

A key is used with the algorithm it names, or, naming none, with those its type allows among the issuer's
configured ones; never with what only the token says (RFC 8725 §3.1). Symmetric, private, encryption, weak,
broken and unknown keys are not used.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import PyJWTError

from ._shapes import is_array, is_object

__all__ = ["JWK", "UnusableReason", "VerificationKey", "read_jwk"]

JWK = Mapping[str, Any]
UnusableReason = Literal["malformed", "private", "not_for_signatures", "no_algorithm", "weak"]

MIN_RSA_BITS: Final = 2_048  # RFC 7518 §3.3, §3.5
MAX_RSA_BITS: Final = 16_384  # verification time grows with the square
MAX_RSA_EXPONENT_BITS: Final = 33  # 65537 has 17; a huge exponent is a denial of service

# Per algorithm: key type, curve, and the implementation. RFC 9864 §2.2: "Ed25519" is "EdDSA" with its curve
# spelled out; PyJWT has the one implementation for both. EdDSA is used with Ed25519 alone.
_IMPLEMENTATIONS: Final = get_default_algorithms()
_SHAPES: Final[Mapping[str, tuple[str, str | None, str]]] = {
    **{name: ("RSA", None, name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")},
    "ES256": ("EC", "P-256", "ES256"),
    "ES384": ("EC", "P-384", "ES384"),
    "ES512": ("EC", "P-521", "ES512"),
    "EdDSA": ("OKP", "Ed25519", "EdDSA"),
    "Ed25519": ("OKP", "Ed25519", "EdDSA"),
}
# Points whose order divides 8, as Ed25519 encodes them, the sign bit cleared: y = 0, 1, -1, the two of order
# 8, and the two that are spelled with y >= p. With such a key a signature fits messages nobody signed.
_SMALL_ORDER: Final = frozenset(
    map(
        bytes.fromhex,
        (
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
    )
)
_PRIVATE_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """
    One usable public key.

    Attributes:
        kid: Its key ID, or None.
        declared_algorithm: The algorithm it names itself, or None.
        algorithms: The implementations it may be used with, by algorithm name.
        public_key: The prepared key.
    """

    kid: str | None
    declared_algorithm: str | None
    algorithms: Mapping[str, Algorithm]
    public_key: Any

    def verify(self, signing_input: bytes, signature: bytes, algorithm: str) -> bool:
        """
        Whether *signature* is this key's over *signing_input* (RFC 7515 §5.2).
        """
        return self.algorithms[algorithm].verify(signing_input, self.public_key, signature)


def read_jwk(jwk: object, *, algorithms: Collection[str]) -> VerificationKey | UnusableReason:
    """
    Read one key, or say why it cannot, or must not, verify with one of *algorithms*.
    """
    if not is_object(jwk):
        return "malformed"
    reason = _reason_against(jwk)
    if reason is not None:
        return reason
    declared = cast("str | None", jwk.get("alg"))
    fitting = {
        name: _IMPLEMENTATIONS[implementation]
        for name, (kty, crv, implementation) in _SHAPES.items()
        # RFC 8725 §3.1: one key, one algorithm, where the key names it. RFC 7517 §4.4: case-sensitive.
        if name in algorithms and declared in (None, name) and jwk.get("kty") == kty and jwk.get("crv") == crv
    }
    if not fitting:
        return "no_algorithm"
    public_key = _public_key(jwk, next(iter(fitting)))
    if public_key is None:
        return "malformed"
    if not _is_strong(public_key):
        return "weak"
    return VerificationKey(cast("str | None", jwk.get("kid")), declared, fitting, public_key)


def _reason_against(jwk: JWK) -> UnusableReason | None:
    """
    What is wrong with a key whatever its numbers, or None.
    """
    # RFC 7517 §4.4, §4.5: strings, where they are there.
    if not all(isinstance(jwk.get(name, ""), str) for name in ("alg", "kid")):
        return "malformed"
    if any(member in jwk for member in _PRIVATE_MEMBERS):
        return "private"
    return None if _is_for_verification(jwk) else "not_for_signatures"


def _is_for_verification(jwk: JWK) -> bool:
    """
    Meant for verifying signatures, or for nothing in particular (RFC 7517 §4.2, §4.3).
    """
    operations = jwk.get("key_ops", ["verify"])
    # RFC 7517 §4.3: where both are given, "use" and "key_ops" must agree.
    accepted = ("sign", "verify") if "use" in jwk else operations
    return (
        jwk.get("use", "sig") == "sig"
        and is_array(operations)
        and "verify" in operations
        and all(operation in accepted for operation in operations)
    )


def _public_key(jwk: JWK, algorithm: str) -> Any:
    """
    The key PyJWT makes of it, or None: off the curve, a missing or malformed member, and the like.
    """
    try:
        return PyJWK({**jwk, "alg": _SHAPES[algorithm][2]}).key
    except (PyJWTError, ValueError, TypeError, AttributeError):
        return None


def _is_strong(public_key: Any) -> bool:
    """
    RSA within bounds (RFC 7518 §3.3), Ed25519 not of small order; an EC point is checked when it is loaded.
    """
    if isinstance(public_key, Ed25519PublicKey):
        encoded = public_key.public_bytes_raw()
        return encoded[:-1] + bytes([encoded[-1] & 0x7F]) not in _SMALL_ORDER
    if not isinstance(public_key, RSAPublicKey):
        return True
    numbers = public_key.public_numbers()
    exponent = numbers.e
    is_sound = (
        numbers.n % 2 == 1
        and exponent > 1
        and exponent % 2 == 1
        and exponent.bit_length() <= MAX_RSA_EXPONENT_BITS
    )
    return is_sound and MIN_RSA_BITS <= public_key.key_size <= MAX_RSA_BITS
