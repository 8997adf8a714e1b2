"""
What happened to the operator directory.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ._event import Event

__all__ = ["DirectoryFailed"]

DirectoryFailure = Literal["raised", "timed_out", "wrong_answer", "cancelled", "overloaded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryFailed(Event):
    """
    A look-up in the operator directory failed. Told once, however many requests waited for it; by the
    middleware whose request began it.

    Attributes:
        reason: ``raised``, ``timed_out``, ``wrong_answer`` (neither a record nor None, or not an ``async
            def``), ``cancelled`` (whatever it waited for was) or ``overloaded`` (not asked: too many look-ups
            have not returned).
        error: The name of the class that was raised or returned, or None. No text of an exception, which may
            name hosts, accounts or the operator.
        has_record: Whether there is an earlier record of the operator that is used instead.
    """

    name: ClassVar[str] = "guardrail.directory_failed"

    reason: DirectoryFailure
    error: str | None
    has_record: bool
