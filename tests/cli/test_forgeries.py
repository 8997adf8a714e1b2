"""
The forged tokens of the demo are what their names say.
"""

import base64
import hashlib
import hmac

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from guardrail.cli import _forgeries as forgeries
from guardrail.issuer import SigningKeys

from .commands import part_of

CLAIMS = {"sub": "alice", "scope": "orders:read"}


@pytest.fixture(scope="module")
def keys() -> SigningKeys:
    """
    The issuer's keys.
    """
    return SigningKeys("RS256")


def _public_key(keys: SigningKeys) -> RSAPublicKey:
    key = keys.current.private_key.public_key()
    assert isinstance(key, RSAPublicKey)
    return key


def test_tampered_keeps_header_and_signature(keys: SigningKeys) -> None:
    """
    Only the claims differ, and the old signature no longer holds.
    """
    token = keys.sign(CLAIMS)

    forged = forgeries.tampered(token)

    assert part_of(forged, 1) == CLAIMS | {"sub": "administrator"}
    assert forged.split(".")[::2] == token.split(".")[::2]
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(forged, _public_key(keys), algorithms=["RS256"])


def test_unsigned_says_none_and_has_no_signature(keys: SigningKeys) -> None:
    """
    ``alg`` is ``none`` and the third part empty (RFC 7519 §6).
    """
    forged = forgeries.unsigned(keys.sign(CLAIMS))

    assert part_of(forged, 0)["alg"] == "none"
    assert part_of(forged, 1) == CLAIMS
    assert forged.endswith(".")


def test_signed_with_public_key_holds_for_a_confused_verifier(keys: SigningKeys) -> None:
    """
    Its HMAC is right, for whoever takes the public key for a secret.
    """
    forged = forgeries.signed_with_public_key(keys.sign(CLAIMS), dict(keys.current.jwk()))

    signing_input, _, signature = forged.rpartition(".")
    secret = _public_key(keys).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mac = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
    assert part_of(forged, 0)["alg"] == "HS256"
    assert part_of(forged, 0)["kid"] == keys.current.kid
    assert base64.urlsafe_b64encode(mac).rstrip(b"=").decode() == signature


def test_signed_with_own_key_has_the_claims_and_another_key(keys: SigningKeys) -> None:
    """
    The claims are the same and well signed, by nobody we know.
    """
    forged = forgeries.signed_with_own_key(keys.sign(CLAIMS))

    assert part_of(forged, 1) == CLAIMS
    assert part_of(forged, 0)["kid"] != keys.current.kid
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(forged, _public_key(keys), algorithms=["RS256"])
