"""
Keys of the attacker's and the issuer's choice: RSA and elliptic, as JWK and as signers.
"""

import json
from collections.abc import Mapping
from typing import cast

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from .kit import (
    Sign,
    claims_of,
    compact,
    decode,
    header_of,
    hmac_with,
    octets_of,
    rsa_keys,
)


def rsa_public() -> rsa.RSAPublicKey:
    """
    The public key that the attacker knows too.
    """
    return cast("rsa.RSAPrivateKey", rsa_keys().current.private_key).public_key()


def rsa_jwk(key: rsa.RSAPublicKey, **members: object) -> dict[str, object]:
    """
    A public RSA key as a JWK, with no more than these members beside it.
    """
    made: Mapping[str, object] = RSAAlgorithm.to_jwk(key, as_dict=True)
    return {"kty": "RSA", "n": made["n"], "e": made["e"], **members}


def ec_jwk(key: ec.EllipticCurvePrivateKey, **members: object) -> dict[str, object]:
    """
    The public half of an EC key as a JWK.
    """
    made: Mapping[str, object] = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {name: made[name] for name in ("kty", "crv", "x", "y")} | members


def rs(key: rsa.RSAPrivateKey, digest: hashes.HashAlgorithm) -> Sign:
    """
    Sign as RS256 and its like do.
    """
    return lambda octets: key.sign(octets, padding.PKCS1v15(), digest)


def es(key: ec.EllipticCurvePrivateKey, digest: hashes.HashAlgorithm, size: int = 32) -> Sign:
    """
    Sign as ES256 and its like do: two numbers of *size* bytes.
    """

    def sign(octets: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(octets, ec.ECDSA(digest)))
        return r.to_bytes(size) + s.to_bytes(size)

    return sign


def secrets_of_public_key() -> dict[str, bytes]:
    """
    Every spelling of the issuer's public key that somebody's HMAC took for a secret.
    """
    key, jwk = rsa_public(), rsa_keys().current.jwk()
    pem = {
        "PKCS#1": key.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "SPKI": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }
    return {
        **pem,
        **{f"{name} without its final newline": text.rstrip() for name, text in pem.items()},
        **{f"{name} after white space": b" \n" + text for name, text in pem.items()},
        "SPKI after a BOM": b"\xef\xbb\xbf" + pem["SPKI"],
        "SPKI after a comment": b"# our key\n" + pem["SPKI"],
        "DER": key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "OpenSSH": key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "JWK": octets_of(jwk),
        "JWK with spaces": json.dumps(jwk).encode(),
        "JWK Set": octets_of(rsa_keys().jwks()),
        "JWK Set with spaces": json.dumps(rsa_keys().jwks()).encode(),
        "modulus": decode(str(jwk["n"])),
        "modulus as text": str(jwk["n"]).encode(),
    }


def hmac_tokens(secrets: Mapping[str, bytes], **header: object) -> dict[str, str]:
    """
    A good claims set under each HMAC algorithm and each of *secrets*.
    """
    return {
        f"HS{size} with {name}": compact(
            header_of(rsa_keys(), alg=f"HS{size}", **header),
            claims_of(),
            hmac_with(secret, f"sha{size}"),
        )
        for name, secret in secrets.items()
        for size in (256, 384, 512)
    }
