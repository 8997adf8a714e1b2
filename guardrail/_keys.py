"""
JWK Sets (RFC 7517 §5): which keys of a set may verify a given token.

Keys that cannot verify are skipped, and the rest serves.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from ._health import IssuerHealth, IssuerState
from ._issuer import Issuer
from ._jwk import JWK, UnusableReason, VerificationKey, read_jwk
from ._shapes import is_array, is_object
from .errors import PolicyError, SignatureError, UnknownKeyError
from .events._event import printable

__all__ = ["KeySet", "SkippedKey", "StaticKeySet", "VerificationKeys", "read_jwk_set"]

MAX_KEYS: Final = 100
MAX_CANDIDATES: Final = 2  # keys of one kid that are tried; rotation needs two


class Selection(NamedTuple):
    """
    The keys to try on one token, and the generation of the set they come from.
    """

    keys: tuple[VerificationKey, ...]
    generation: int


class SkippedKey(NamedTuple):
    """
    A key of a set that verifies nothing.

    Attributes:
        kid: Its key ID, as received, or None.
        reason: Why it is not used.
    """

    kid: str | None
    reason: UnusableReason


@dataclass(frozen=True, slots=True)
class VerificationKeys:
    """
    An immutable snapshot of the usable keys of one issuer.

    Attributes:
        keys: The usable keys.
        skipped: Those that are not.
    """

    keys: tuple[VerificationKey, ...]
    skipped: tuple[SkippedKey, ...] = ()
    _by_header: Mapping[tuple[str | None, str], tuple[VerificationKey, ...]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        by_header: dict[tuple[str | None, str], list[VerificationKey]] = {}
        for key in self.keys:
            for algorithm in key.algorithms:
                by_header.setdefault((None, algorithm), []).append(key)
                if key.kid is not None:
                    by_header.setdefault((key.kid, algorithm), []).append(key)
        object.__setattr__(
            self, "_by_header", {header: _choose(header[0], keys) for header, keys in by_header.items()}
        )

    @property
    def key_ids(self) -> frozenset[str]:
        """
        The key IDs of the usable keys.
        """
        return frozenset(key.kid for key in self.keys if key.kid is not None)

    def find(self, kid: str | None, algorithm: str) -> tuple[VerificationKey, ...]:
        """
        The keys that may verify a token with this header: one, or for a repeated *kid* at most two; or none.

        Without *kid* there must be exactly one key that fits; one that names *algorithm* itself goes before
        those that name none.
        """
        return self._by_header.get((kid, algorithm), ())

    def select(self, kid: str | None, algorithm: str) -> tuple[VerificationKey, ...]:
        """
        The same, when there must be some.

        Raises:
            UnknownKeyError: None fits, or without *kid* more than one.
        """
        found = self.find(kid, algorithm)
        if not found:
            raise UnknownKeyError("no single key of the issuer fits the header", kid=kid)
        return found


def _choose(kid: str | None, fitting: list[VerificationKey]) -> tuple[VerificationKey, ...]:
    """
    Of the keys that fit a header, those to try: none of too many.
    """
    if kid is None:
        fitting = [key for key in fitting if key.declared_algorithm is not None] or fitting
    return tuple(fitting) if len(fitting) <= (1 if kid is None else MAX_CANDIDATES) else ()


class KeySet(Protocol):
    """
    Where an issuer's keys come from.
    """

    def holds(self, generation: int) -> bool:
        """
        Whether what was verified under *generation* still stands: those keys are in use, and not to be
        looked at again first.
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


GENERATION: Final = 0  # of keys that never change


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

    def holds(self, generation: int) -> bool:
        """
        Whether *generation* is that of these keys: there is only one.
        """
        return generation == GENERATION

    def health(self, issuer: Issuer) -> IssuerHealth:
        """
        How they stand as the keys of *issuer*.
        """
        return health_of(issuer, self._keys, state="ready", generation=GENERATION)

    async def select(self, kid: str | None, algorithm: str) -> Selection:
        """
        The keys that may verify a token with this header.

        Raises:
            UnknownKeyError: There is no such key.
        """
        return Selection(self._keys.select(kid, algorithm), GENERATION)


def health_of(
    issuer: Issuer, keys: VerificationKeys, *, state: IssuerState, generation: int | None
) -> IssuerHealth:
    """
    How an issuer with *keys* stands, without their times.
    """
    return IssuerHealth(
        issuer=issuer.url,
        state=state,
        is_required=issuer.required,
        keys=len(keys.keys),
        key_ids=tuple(sorted(map(printable, keys.key_ids))),
        skipped=len(keys.skipped),
        generation=generation,
    )


def verify_signature(
    keys: tuple[VerificationKey, ...], *, signing_input: bytes, signature: bytes, algorithm: str
) -> None:
    """
    Refuse unless one of *keys* made *signature* over the octets received (RFC 7515 §5.2 step 8).

    Raises:
        SignatureError: None did.
    """
    for key in keys:
        if key.verify(signing_input, signature, algorithm):
            return
    raise SignatureError("the signature does not verify")


def read_jwk_set(
    document: object, *, algorithms: Collection[str], max_keys: int = MAX_KEYS
) -> VerificationKeys:
    """
    Read a JWK Set (RFC 7517 §5), skipping each key that cannot verify with one of *algorithms*.

    Raises:
        ValueError: Not a JWK Set, more than *max_keys* keys, or not one usable key.
    """
    keys = document.get("keys") if is_object(document) else None
    if not is_array(keys):
        raise ValueError('not a JWK Set: {"keys": [...]}')
    if len(keys) > max_keys:
        raise ValueError(f"more than {max_keys} keys")
    read = [_read(key, algorithms) for key in keys]
    # A key that is there twice is one key: two would be no single one, and three none at all.
    usable = _distinct(key for key in read if isinstance(key, VerificationKey))
    if not usable:
        raise ValueError("no usable key for the configured algorithms")
    return VerificationKeys(usable, tuple(key for key in read if isinstance(key, SkippedKey)))


def _distinct(keys: Iterable[VerificationKey]) -> tuple[VerificationKey, ...]:
    found: list[VerificationKey] = []
    for key in keys:
        if key not in found:
            found.append(key)
    return tuple(found)


def _read(jwk: object, algorithms: Collection[str]) -> VerificationKey | SkippedKey:
    found = read_jwk(jwk, algorithms=algorithms)
    return found if isinstance(found, VerificationKey) else SkippedKey(_key_id(jwk), found)


def _key_id(jwk: object) -> str | None:
    kid = jwk.get("kid") if is_object(jwk) else None
    return kid if isinstance(kid, str) else None
