"""
The life of a profile's token: fresh, aging, expired; and when an authorization server may be asked again.

One small machine without I/O. It is told the time and what happened, and says what to do; whoever drives it
holds a lock.

```text
                    succeeded                       aging_at               expires_at
    (none) ─────────────────────────► fresh ───────────────► aging ───────────────► expired
      ▲                                 ▲                      │ starts one            │ starts one
      │ invalidate, reject, forget      └──────────────────────┴───────────────────────┘ fetch
```
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from ._failures import Failure

__all__ = ["AccessToken", "Next", "TokenLife", "Trigger"]

Trigger = Literal["missing", "aging", "expired", "rejected", "invalidated"]

UNKNOWN_LIFETIME: Final = 60.0  # seconds, where expires_in says nothing
PERMANENT_PAUSE: Final = 60.0  # seconds
MAX_PAUSE: Final = 60.0  # seconds
FAILURES_TO_OPEN: Final = 5  # in a row


@dataclass(frozen=True, slots=True)
class AccessToken:
    """
    A token in hand, and its times on the profile's clock.

    Attributes:
        value: The token. Never shown.
        obtained_at: When the answer came.
        aging_at: From when on it is renewed in the background.
        expires_at: From when on it is not used.
    """

    value: str = field(repr=False)
    obtained_at: float
    aging_at: float
    expires_at: float

    @classmethod
    def of(
        cls, value: str, lifetime: float, *, asked_at: float, obtained_at: float, spread: float
    ) -> "AccessToken":
        """
        A token with *lifetime* seconds from when it was asked for: the server counts from before we hear of
        it.

        Args:
            spread: From 1.0 to 1.5, so that a fleet started at once does not renew at once.
        """
        margin = min(max(0.2 * lifetime, 5.0), 300.0, lifetime / 2)
        aging = max(lifetime - margin * spread, lifetime / 2)
        return cls(value, obtained_at, asked_at + aging, asked_at + lifetime)


@dataclass(frozen=True, slots=True)
class Next:
    """
    What a request does now.

    Attributes:
        token: Use it.
        trigger: Start a fetch, for this reason.
        failure: Without a token: fail with this. With neither token nor failure: wait for the fetch that
            runs.
        retry_after: With *failure*: seconds until an attempt is made; None: never.
    """

    token: AccessToken | None = None
    trigger: Trigger | None = None
    failure: Failure | None = None
    retry_after: float | None = None


class TokenLife:
    """
    One profile's token, its renewal, and the pauses between attempts. Not safe for threads by itself.

    Attributes:
        token: The one in hand, expired or not.
        fetching: Why a fetch runs, or None.
    """

    def __init__(self, *, uniform: Callable[[float, float], float] = random.uniform) -> None:
        """
        Args:
            uniform: Draws between two numbers: the spread of renewals, the jitter of pauses.
        """
        self._uniform = uniform
        self._gap: Trigger = "missing"  # why there is no token
        self._failure: Failure | None = None
        self._resume_at: float | None = 0.0  # with a failure: when to ask again; None: never
        self._failures = 0  # transient ones in a row
        self._is_open = False
        self.token: AccessToken | None = None
        self.fetching: Trigger | None = None

    def next(self, now: float) -> Next:
        """
        What a request does at *now*. A *trigger* in the answer means that `fetching` is set: it must be done.
        """
        token = self.token
        if token is not None and now < token.expires_at:
            is_due = now >= token.aging_at and self.fetching is None and not self._is_paused(now)
            return Next(token, self._begin("aging") if is_due else None)
        if self.fetching is not None:
            return Next()
        if self._is_paused(now):
            return Next(failure=self._failure, retry_after=self.retry_after(now))
        return Next(trigger=self._begin(self._gap if token is None else "expired"))

    def succeeded(self, token: AccessToken) -> bool:
        """
        A fetch brought *token*. Returns whether that ends an outage that was told of.
        """
        was_open, self._is_open = self._is_open, False
        self.token, self.fetching, self._failure, self._failures = token, None, None, 0
        return was_open

    def failed(self, failure: Failure, now: float) -> bool:
        """
        A fetch brought none. Returns whether this is the failure that opens the circuit.
        """
        self.fetching, self._failure = None, failure
        if failure.is_final:
            self._resume_at = None
        elif failure.permanent:
            self._failures, self._resume_at = 0, now + PERMANENT_PAUSE
        else:
            self._failures += 1
            backoff = min(MAX_PAUSE, 2.0 ** min(self._failures - 1, 6)) * self._uniform(0.5, 1.0)
            self._resume_at = now + max(backoff, failure.retry_after)
        opens = self._failures >= FAILURES_TO_OPEN and not self._is_open
        self._is_open = self._is_open or opens
        return opens

    def retry_after(self, now: float) -> float | None:
        """
        Seconds until an attempt will be made again; None: never.
        """
        return None if self._resume_at is None else max(0.0, self._resume_at - now)

    def is_alive(self, now: float) -> bool:
        """
        Whether there is a token to use.
        """
        return self.token is not None and now < self.token.expires_at

    def drop(self, value: str, *, gap: Trigger) -> None:
        """
        Forget the token if it is this one.
        """
        if self.token is not None and self.token.value == value:
            self.token, self._gap = None, gap

    def forget(self, finally_: Failure | None = None) -> None:
        """
        Forget the token. With *finally_*, there will never be another: that is what requests fail with.
        """
        self.token, self._gap = None, "missing"
        if finally_ is not None:
            self._failure, self._resume_at = finally_, None

    def _begin(self, trigger: Trigger) -> Trigger:
        self.fetching = trigger
        return trigger

    def _is_paused(self, now: float) -> bool:
        return self._failure is not None and (self._resume_at is None or now < self._resume_at)
