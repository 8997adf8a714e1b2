"""
What an attacker makes of a token he saw, and of the keys that are public anyway.
"""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..issuer import SigningKeys


def tampered(token: str) -> str:
    """
    The token with another subject in its claims, and its old signature.
    """
    header, claims, signature = token.split(".")
    return ".".join((header, _encode(_decode(claims) | {"sub": "administrator"}), signature))


def unsigned(token: str) -> str:
    """
    The token with ``alg: none`` and no signature (RFC 7519 §6).
    """
    header, claims, _ = token.split(".")
    return ".".join((_encode(_decode(header) | {"alg": "none"}), claims, ""))


def signed_with_public_key(token: str, jwk: dict[str, Any]) -> str:
    """
    The token signed by HMAC with the issuer's public key for a secret (CVE-2015-9235 and its many heirs).
    """
    header, claims, _ = token.split(".")
    public_key = jwt.PyJWK(jwk).key
    secret = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing_input = f"{_encode(_decode(header) | {'alg': 'HS256'})}.{claims}"
    mac = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
    return f"{signing_input}.{_encode_bytes(mac)}"


def signed_with_own_key(token: str) -> str:
    """
    The same claims, properly signed, with a key the issuer never had.
    """
    return SigningKeys("RS256").sign(_decode(token.split(".")[1]))


def _decode(part: str) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return decoded


def _encode(members: dict[str, Any]) -> str:
    return _encode_bytes(json.dumps(members, separators=(",", ":")).encode())


def _encode_bytes(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
