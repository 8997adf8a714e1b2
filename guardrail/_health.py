"""
How a guarded application stands with its issuers, as data.
"""

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Health", "IssuerHealth", "IssuerState"]

IssuerState = Literal["ready", "stale", "unavailable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerHealth:
    """
    One issuer's keys. Keys in hand (``Issuer(keys=...)``) are always ready, and have no age.

    Attributes:
        issuer: The issuer identifier.
        state: ``ready``: keys within their lifetime, or past it and nobody has asked since. ``stale``: past
            it, in use all the same, because the issuer cannot be had. ``unavailable``: none to use.
        is_required: Whether readiness waits for this issuer.
        keys: How many keys are in use.
        key_ids: Those of them that have a key ID, escaped and shortened, sorted.
        skipped: How many keys of its JWK Set are not usable.
        generation: Changes whenever the keys do; None before the first.
        age: Seconds since the keys were asked for, or None.
        expires_in: Seconds until their lifetime ends, negative after it, or None.
        last_success: When keys were fetched last, in seconds since the epoch, or None.
        last_failure: When fetching them failed last, in seconds since the epoch, or None.
        last_error: What went wrong then, or None.
        failures: Attempts that failed since the last success.
        refetches_left: How many key IDs that are not in hand may be asked for now.
    """

    issuer: str
    state: IssuerState
    is_required: bool
    keys: int
    key_ids: tuple[str, ...]
    skipped: int
    generation: int | None = None
    age: float | None = None
    expires_in: float | None = None
    last_success: float | None = None
    last_failure: float | None = None
    last_error: str | None = None
    failures: int = 0
    refetches_left: int = 0

    def as_dict(self) -> dict[str, Any]:
        """
        The same, for JSON.
        """
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Health:
    """
    All issuers of a guarded application.

    Attributes:
        issuers: One entry for each.
        is_started: Whether the routes were compiled: before, their issuers are not known.
    """

    issuers: tuple[IssuerHealth, ...] = ()
    is_started: bool = True

    @property
    def is_ready(self) -> bool:
        """
        Whether there are usable keys of every required issuer. Stale keys are usable.
        """
        has_all = all(one.state != "unavailable" for one in self.issuers if one.is_required)
        return self.is_started and has_all

    def as_dict(self) -> dict[str, Any]:
        """
        The same, for JSON.
        """
        issuers = [one.as_dict() for one in self.issuers]
        return {"is_ready": self.is_ready, "is_started": self.is_started, "issuers": issuers}
