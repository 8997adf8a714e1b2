"""
What happened to issuers' keys.
"""

from dataclasses import dataclass
from typing import ClassVar

from ._event import Event

__all__ = [
    "KeySkipped",
    "KeysFetchFailed",
    "KeysFetched",
    "KeysRotated",
    "RefetchBudgetSpent",
    "StaleKeysUsed",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFetched(Event):
    """
    An issuer's JWK Set was fetched and is in use.

    Attributes:
        issuer: The issuer whose keys these are.
        added: Key IDs that were not in the set before.
        removed: Key IDs that no longer verify anything.
        skipped: How many keys of the answer cannot be used.
        lifetime: Seconds they are used before they are asked for again.
        duration: Seconds that discovery and fetch took.
    """

    name: ClassVar[str] = "guardrail.keys_fetched"

    issuer: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    skipped: int
    lifetime: float
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysRotated(Event):
    """
    A fetch brought other keys than those in use. Comes after its `KeysFetched`; not for the first keys.

    Attributes:
        issuer: The issuer concerned.
        added: Key IDs that verify from now on.
        removed: Key IDs that no longer verify anything, tokens verified before among them.
        generation: The new generation of the key set.
    """

    name: ClassVar[str] = "guardrail.keys_rotated"

    issuer: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySkipped(Event):
    """
    A key of a JWK Set is not used; the rest is. Told when the key appears, not with every fetch.

    Attributes:
        issuer: The issuer concerned.
        kid: Its key ID, escaped and shortened, or None.
        reason: ``malformed`` (a broken member, a point off the curve), ``private`` (private or symmetric
            members), ``not_for_signatures`` (*use*, *key_ops*), ``no_algorithm`` (an unknown type or curve,
            or no configured algorithm) or ``weak``.
    """

    name: ClassVar[str] = "guardrail.key_skipped"

    issuer: str
    kid: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFetchFailed(Event):
    """
    An attempt to fetch an issuer's keys failed; keys in hand, if any, stay in use.

    Attributes:
        issuer: The issuer concerned.
        detail: What went wrong.
        has_keys: Whether earlier keys are still in use.
        failures: How many attempts in a row have failed by now.
        retry_after: Seconds until the next attempt, at the earliest.
    """

    name: ClassVar[str] = "guardrail.keys_fetch_failed"

    issuer: str
    detail: str
    has_keys: bool
    failures: int
    retry_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleKeysUsed(Event):
    """
    A token was judged by keys past their lifetime, because the issuer cannot be had. Told each time.

    Attributes:
        issuer: The issuer concerned.
        age: Seconds since those keys were asked for.
    """

    name: ClassVar[str] = "guardrail.stale_keys_used"

    issuer: str
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RefetchBudgetSpent(Event):
    """
    Key IDs that are not in hand are refused without asking the issuer, which was asked often enough.

    Told once, until there is a fetch for such a key ID again.

    Attributes:
        issuer: The issuer concerned.
    """

    name: ClassVar[str] = "guardrail.refetch_budget_spent"

    issuer: str
