"""
Keys and tokens for the benchmarks: real ones, made once per run.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.utils import base64url_decode, raw_to_der_signature

ISSUER = "https://login.example.com"
AUDIENCE = "https://api.example.com/orders"
SCOPE = "orders:read"
KEY_ID = "2026-01"

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}

Signed = tuple[bytes, bytes]  # a signature as cryptography wants it, and what was signed


@dataclass(frozen=True)
class Signer:
    """
    One algorithm, with a key of its own.
    """

    algorithm: str
    private_key: Any
    jwk: dict[str, Any]
    raw_verify: Callable[[bytes, bytes], object]

    def token(self, number: int = 0, **claims: object) -> str:
        """
        A token like those of large issuers, about 800 bytes with RS256; each *number* is another one.
        """
        now = int(time.time())
        body = {
            "iss": ISSUER,
            "aud": [AUDIENCE, "https://other.example.com"],
            "sub": f"00u1a2b3c4d5e6f7{number:08d}",
            "client_id": "0oa9z8y7x6w5v4u3",
            "iat": now,
            "exp": now + 3_600,
            "jti": f"AT.{number:032d}",
            "scope": f"openid profile {SCOPE} orders:write",
            "roles": ["reader", "approver"],
            "preferred_username": "alice",
            "email": "alice@example.com",
            "ver": 1,
            **claims,
        }
        headers = {"kid": KEY_ID, "typ": "at+jwt"}
        return jwt.encode(body, self.private_key, algorithm=self.algorithm, headers=headers)

    def signed(self, token: str) -> Signed:
        """
        What cryptography is given of *token*.
        """
        signing_input, _, encoded = token.rpartition(".")
        signature = base64url_decode(encoded)
        if isinstance(self.private_key, ec.EllipticCurvePrivateKey):
            signature = raw_to_der_signature(signature, self.private_key.curve)
        return signature, signing_input.encode()


def rsa_signer(algorithm: str = "RS256", bits: int = 2_048) -> Signer:
    """
    RSA, by PKCS #1 v1.5 or PSS.
    """
    key = rsa.generate_private_key(public_exponent=65_537, key_size=bits)
    public_key = key.public_key()
    hashed = _HASHES[algorithm[2:]]
    pad: Any = padding.PKCS1v15()
    if algorithm.startswith("PS"):
        pad = padding.PSS(mgf=padding.MGF1(hashed), salt_length=hashed.digest_size)

    def verify(signature: bytes, signing_input: bytes) -> object:
        return public_key.verify(signature, signing_input, pad, hashed)

    return Signer(algorithm, key, _named(RSAAlgorithm.to_jwk(public_key), algorithm), verify)


def ec_signer() -> Signer:
    """
    ECDSA with P-256.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    public_key = key.public_key()
    scheme = ec.ECDSA(hashes.SHA256())

    def verify(signature: bytes, signing_input: bytes) -> object:
        return public_key.verify(signature, signing_input, scheme)

    return Signer("ES256", key, _named(ECAlgorithm.to_jwk(public_key), "ES256"), verify)


def ed_signer() -> Signer:
    """
    Ed25519.
    """
    key = ed25519.Ed25519PrivateKey.generate()
    public_key = key.public_key()
    return Signer("EdDSA", key, _named(OKPAlgorithm.to_jwk(public_key), "EdDSA"), public_key.verify)


def _named(jwk: str, algorithm: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(jwk)
    read.pop("key_ops", None)
    return {**read, "kid": KEY_ID, "alg": algorithm, "use": "sig"}
