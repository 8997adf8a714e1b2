"""
The signing keys of the embedded issuer: generated in memory, published as a JWK Set, rotated.

Usable without a running server: an in-process issuer for tests needs nothing else.
"""

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA_BITS: Final = 2048  # RFC 7518 §3.3: the least allowed, and the quickest to generate


def _generate_rsa() -> PrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def _generate_p256() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


_GENERATORS: Final[Mapping[str, Callable[[], PrivateKey]]] = {
    "RS256": _generate_rsa,
    "PS256": _generate_rsa,
    "ES256": _generate_p256,
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_ALGORITHMS: Final = get_default_algorithms()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """
    One private key with its key ID and its one algorithm.
    """

    kid: str
    algorithm: str
    private_key: PrivateKey = field(repr=False)

    def jwk(self) -> dict[str, object]:
        """
        Return the public half as a JWK (RFC 7517 §4), without *key_ops*: it has *use*, and §4.3 wants one.
        """
        members: dict[str, object] = _ALGORITHMS[self.algorithm].to_jwk(
            self.private_key.public_key(), as_dict=True
        )
        public = {name: value for name, value in members.items() if name != "key_ops"}
        return public | {"kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, signing_input: bytes) -> bytes:
        """
        Sign the bytes of a compact JWS up to its second dot (RFC 7515 §5.1).
        """
        return _ALGORITHMS[self.algorithm].sign(signing_input, self.private_key)


class SigningKeys:
    """
    The key that signs now, and the one before it while that stays published.

    Does not keep keys anywhere but in memory, and never publishes a private half.

    Args:
        algorithm: ``RS256``, ``PS256``, ``ES256`` or ``EdDSA``.

    Raises:
        ValueError: The algorithm is another.
    """

    def __init__(self, algorithm: str = "RS256") -> None:
        if algorithm not in _GENERATORS:
            raise ValueError(f"algorithm must be one of {', '.join(_GENERATORS)}, not {algorithm!r}")
        self._algorithm = algorithm
        self._published: tuple[SigningKey, ...] = (self._generate(),)

    def __repr__(self) -> str:
        return f"SigningKeys({self._algorithm!r}, kids={[key.kid for key in self._published]})"

    @property
    def algorithm(self) -> str:
        """
        The algorithm of every key in here.
        """
        return self._algorithm

    @property
    def current(self) -> SigningKey:
        """
        The key that signs now.
        """
        return self._published[0]

    @property
    def key_ids(self) -> frozenset[str]:
        """
        The key IDs of the published keys.
        """
        return frozenset(key.kid for key in self._published)

    def jwks(self) -> dict[str, object]:
        """
        Return the JWK Set of the public keys, the current one first (RFC 7517 §5).
        """
        return {"keys": [key.jwk() for key in self._published]}

    def rotate(self, *, keep_previous: bool = True) -> str:
        """
        Sign with a fresh key from now on.

        Keeps one previous public key published, so that tokens it signed can still be verified; any older
        one is dropped.

        Args:
            keep_previous: ``False`` drops the previous key too, as after a compromise.

        Returns:
            The key ID of the fresh key.
        """
        fresh = self._generate()
        # One assignment: a reader in another thread sees the set before or after, never between.
        self._published = (fresh, self.current) if keep_previous else (fresh,)
        return fresh.kid

    def sign(
        self,
        claims: Mapping[str, object],
        *,
        typ: str = "at+jwt",
        headers: Mapping[str, object] | None = None,
    ) -> str:
        """
        Sign a claims set as a compact JWS with the current key (RFC 7515 §3.1).

        Does not look at the claims. The signature is always the current key's, whatever *headers* say: a
        test can make a token whose header lies.

        Args:
            typ: The *typ* header parameter (RFC 9068 §2.1).
            headers: Header parameters to add or replace; one that is ``None`` is left out.
        """
        key = self.current
        header = {"alg": key.algorithm, "kid": key.kid, "typ": typ} | dict(headers or {})
        present = {name: value for name, value in header.items() if value is not None}
        signing_input = b".".join((_encode(_json(present)), _encode(_json(claims))))
        return b".".join((signing_input, _encode(key.sign(signing_input)))).decode()

    def _generate(self) -> SigningKey:
        return SigningKey(secrets.token_hex(8), self._algorithm, _GENERATORS[self._algorithm]())


def _json(members: Mapping[str, object]) -> bytes:
    return json.dumps(dict(members), separators=(",", ":")).encode()


def _encode(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
