"""
What an attacker makes who never signs: encrypted tokens (RFC 7516), and a certificate of their own.
"""

import base64
import datetime as dt
import secrets
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from .kit import encode, octets_of


def assemble(header: dict[str, object], plaintext: bytes, wrap: Callable[[bytes], bytes], key: bytes) -> str:
    """
    The five parts of a compact JWE with A256GCM (RFC 7516 §7.1).
    """
    protected = encode(octets_of({"enc": "A256GCM", "typ": "at+jwt"} | header))
    iv = secrets.token_bytes(12)
    sealed = AESGCM(key).encrypt(iv, plaintext, protected.encode())
    parts = (wrap(key), iv, sealed[:-16], sealed[-16:])
    return ".".join((protected, *map(encode, parts)))


def rsa_oaep(plaintext: bytes, key: rsa.RSAPublicKey, **header: object) -> str:
    """
    Encrypted to a public key, as anybody can.
    """
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return assemble(
        {"alg": "RSA-OAEP-256"} | header,
        plaintext,
        lambda secret: key.encrypt(secret, oaep),
        secrets.token_bytes(32),
    )


def direct(plaintext: bytes, key: bytes, **header: object) -> str:
    """
    Encrypted with a key that both sides know.
    """
    return assemble({"alg": "dir"} | header, plaintext, lambda _: b"", key)


def key_wrapped(plaintext: bytes, key: bytes, **header: object) -> str:
    """
    Encrypted under A128KW.
    """
    return assemble(
        {"alg": "A128KW"} | header,
        plaintext,
        lambda secret: aes_key_wrap(key, secret),
        secrets.token_bytes(32),
    )


def pbes2(plaintext: bytes, password: bytes, *, count: int, **header: object) -> str:
    """
    Encrypted under a password; *count* is what the header claims, and at most 1,000 rounds are done.
    """
    salt = secrets.token_bytes(16)
    name = "PBES2-HS256+A128KW"
    kdf = PBKDF2HMAC(hashes.SHA256(), 16, name.encode() + b"\0" + salt, min(count, 1000))
    key = kdf.derive(password)
    return assemble(
        {"alg": name, "p2s": encode(salt), "p2c": count} | header,
        plaintext,
        lambda secret: aes_key_wrap(key, secret),
        secrets.token_bytes(32),
    )


def self_signed(key: rsa.RSAPrivateKey) -> bytes:
    """
    A certificate that its owner signed, in DER.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "login.example.com")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36_500))
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def standard_base64(octets: bytes) -> str:
    """
    Padded base64 with its first alphabet, as *x5c* has it (RFC 7515 §4.1.6).
    """
    return base64.b64encode(octets).decode()
