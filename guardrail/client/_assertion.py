"""
Client assertions (RFC 7523 §2.2): a private JWK → a signed statement of who we are.
"""

import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from jwt import PyJWK
from jwt.algorithms import Algorithm
from jwt.exceptions import PyJWTError

from .._jwk import VerificationKey, read_jwk
from .._shapes import is_array, is_object
from ..errors import PolicyError

__all__ = ["SigningKey", "client_assertion", "read_private_jwk"]

LIFETIME: Final = 60  # seconds; it is made for one request
ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
_EXAMPLE: Final = 'a private JWK such as {"kty": "EC", "crv": "P-256", "kid": "…", "alg": "ES256", "d": …}'
_PRIVATE: Final = ("d", "p", "q", "dp", "dq", "qi")
_PROBE: Final = b"a key whose halves belong together"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """
    A private key with its key ID and its one algorithm.
    """

    kid: str
    algorithm: str
    implementation: Algorithm = field(repr=False)
    private_key: Any = field(repr=False)

    def sign(self, signing_input: bytes) -> bytes:
        """
        Sign the bytes of a compact JWS up to its second dot (RFC 7515 §5.1).
        """
        return self.implementation.sign(signing_input, self.private_key)


def read_private_jwk(jwk: object) -> SigningKey:
    """
    Read a private key for signing (RFC 7517 §4).

    Raises:
        PolicyError: Not a private JWK, without *kid* or *alg*, symmetric, weak, broken, or not for
            signatures. The message quotes nothing of it.
    """
    if not is_object(jwk) or "d" not in jwk:
        raise PolicyError(
            f"client_assertion_key must be {_EXAMPLE}; it has no private part, or is no mapping"
        )
    for name in ("kid", "alg"):
        value = jwk.get(name)
        if not isinstance(value, str) or not value:
            raise PolicyError(f"client_assertion_key must be {_EXAMPLE}; it has no {name}")
    algorithm, kid = str(jwk["alg"]), str(jwk["kid"])
    public, key = _public_half(jwk), None
    # What a library says of a broken key may quote it: not chained.
    with suppress(PyJWTError, ValueError, TypeError, AttributeError):
        # PyJWT knows "Ed25519" (RFC 9864) by its older name.
        private_key = PyJWK({**jwk, "alg": "EdDSA" if algorithm == "Ed25519" else algorithm}).key
        made = SigningKey(kid, algorithm, public.algorithms[algorithm], private_key)
        # PyJWT 2.13 takes an Ed25519 key whose halves are of two keys.
        key = made if public.verify(_PROBE, made.sign(_PROBE), algorithm) else None
    if key is None:
        raise PolicyError(f"client_assertion_key must be {_EXAMPLE}; its halves do not belong together")
    return key


def _public_half(jwk: Mapping[str, object]) -> VerificationKey:
    """
    The public half, by the same rules as for a key that verifies.
    """
    operations = jwk.get("key_ops", ["sign"])
    if jwk.get("use", "sig") != "sig" or not is_array(operations) or "sign" not in operations:
        raise PolicyError("client_assertion_key must be for signatures: use is sig, key_ops has sign")
    private = {*_PRIVATE, "use", "key_ops"}
    public = read_jwk({name: jwk[name] for name in jwk if name not in private}, algorithms=ALGORITHMS)
    if not isinstance(public, VerificationKey):
        raise PolicyError(f"client_assertion_key must be {_EXAMPLE}; it cannot sign with its alg: {public}")
    return public


def client_assertion(
    key: SigningKey, *, client_id: str, audience: str, wall_clock: Callable[[], float] = time.time
) -> str:
    """
    A new assertion for one request (RFC 7523 §3).

    Args:
        audience: One string: the issuer, or the token endpoint where no issuer is configured.
        wall_clock: Seconds since the epoch.
    """
    now = int(wall_clock())
    header = {"alg": key.algorithm, "kid": key.kid, "typ": "client-authentication+jwt"}
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": secrets.token_urlsafe(32),
        "iat": now,
        "exp": now + LIFETIME,
    }
    signing_input = b".".join((_part(header), _part(claims)))
    return b".".join((signing_input, _encode(key.sign(signing_input)))).decode("ascii")


def _part(members: Mapping[str, object]) -> bytes:
    return _encode(json.dumps(dict(members), separators=(",", ":")).encode())


def _encode(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
