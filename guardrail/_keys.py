"""
JWK Sets (RFC 7517 §5): which keys of a set may verify a given token.

Keys that cannot verify are skipped, and the rest serves.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from ._jwk import JWK, VerificationKey, read_jwk
from ._shapes import is_array, is_object
from .errors import PolicyError, SignatureError, UnknownKeyError

__all__ = ["KeySet", "StaticKeySet", "VerificationKeys", "read_jwk_set"]

MAX_KEYS: Final = 100
MAX_CANDIDATES: Final = 2  # keys of one kid that are tried; rotation needs two


class Selection(NamedTuple):
    """
    The keys to try on one token, and the generation of the set they come from.
    """

    keys: tuple[VerificationKey, ...]
    generation: int


@dataclass(frozen=True, slots=True)
class VerificationKeys:
    """
    An immutable snapshot of the usable keys of one issuer.

    Attributes:
        keys: The usable keys.
        skipped: How many keys of the set are not usable.
    """

    keys: tuple[VerificationKey, ...]
    skipped: int = 0

    @property
    def key_ids(self) -> frozenset[str]:
        """
        The key IDs of the usable keys.
        """
        return frozenset(key.kid for key in self.keys if key.kid is not None)

    def select(self, kid: str | None, algorithm: str) -> tuple[VerificationKey, ...]:
        """
        The keys that may verify a token with this header: one, or for a repeated *kid* at most two.

        Without *kid* there must be exactly one key that fits; one that names *algorithm* itself goes before
        those that name none.

        Raises:
            UnknownKeyError: None fits, or without *kid* more than one.
        """
        fitting = [key for key in self.keys if algorithm in key.algorithms]
        if kid is not None:
            found = [key for key in fitting if key.kid == kid]
        else:
            found = [key for key in fitting if key.declared_algorithm is not None] or fitting
        if not found or (kid is None and len(found) > 1) or len(found) > MAX_CANDIDATES:
            raise UnknownKeyError("no single key fits the header", kid=kid)
        return tuple(found)


class KeySet(Protocol):
    """
    Where an issuer's keys come from.
    """

    @property
    def generation(self) -> int | None:
        """
        A number that changes whenever the keys do; None while they are due for a refresh.
        """
        ...

    async def select(self, kid: str | None, algorithm: str) -> Selection:
        """
        The keys that may verify a token with this header, fetched if need be.

        Raises:
            UnknownKeyError: The issuer has no such key.
            UnavailableError: The issuer's keys could not be had.
        """
        ...


class StaticKeySet:
    """
    Keys in hand: nothing is fetched, and nothing changes.
    """

    def __init__(self, jwk_set: JWK, *, algorithms: Collection[str]) -> None:
        """
        Raises:
            PolicyError: No key of the set can verify anything with *algorithms*.
        """
        try:
            self._keys = read_jwk_set(jwk_set, algorithms=algorithms)
        except ValueError as exc:
            raise PolicyError(f"keys: {exc}") from exc

    @property
    def generation(self) -> int:
        """
        Always the same.
        """
        return 0

    async def select(self, kid: str | None, algorithm: str) -> Selection:
        """
        The keys that may verify a token with this header.

        Raises:
            UnknownKeyError: There is no such key.
        """
        return Selection(self._keys.select(kid, algorithm), self.generation)


def verify_signature(
    keys: tuple[VerificationKey, ...], *, signing_input: bytes, signature: bytes, algorithm: str
) -> None:
    """
    Refuse unless one of *keys* made *signature* over the octets received (RFC 7515 §5.2 step 8).

    Raises:
        SignatureError: None did.
    """
    if not any(key.verify(signing_input, signature, algorithm) for key in keys):
        raise SignatureError("the signature does not verify")


def read_jwk_set(document: object, *, algorithms: Collection[str]) -> VerificationKeys:
    """
    Read a JWK Set (RFC 7517 §5), skipping each key that cannot verify with one of *algorithms*.

    Raises:
        ValueError: Not a JWK Set, more than `MAX_KEYS` keys, or not one usable key.
    """
    keys = document.get("keys") if is_object(document) else None
    if not is_array(keys):
        raise ValueError('not a JWK Set: {"keys": [...]}')
    if len(keys) > MAX_KEYS:
        raise ValueError(f"more than {MAX_KEYS} keys")
    usable = tuple(filter(None, (read_jwk(key, algorithms=algorithms) for key in keys)))
    if not usable:
        raise ValueError("no usable key for the configured algorithms")
    return VerificationKeys(usable, skipped=len(keys) - len(usable))
