"""
The token endpoint misbehaves when told to, so that clients can be seen to cope.
"""

import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import anyio
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from ._errors import OAuthError
from ._parameters import Parameters, required_parameter
from ._tokens import Issuance

_KINDS: Final = ("rate_limited", "unavailable", "slow", "short_lived", "opaque", "not_json", "redirect")
MAX_SECONDS: Final = 3600.0
MAX_DELAY: Final = 60.0  # seconds; a request that waits holds a connection

# Of those that take seconds, how many when nothing is said; None: the answer has no Retry-After.
_DEFAULT_SECONDS: Final[dict[str, float | None]] = {
    "rate_limited": 5.0,
    "unavailable": None,
    "slow": 5.0,
    "short_lived": 5.0,
}
_STATUS: Final = {"rate_limited": 429, "unavailable": 503}
_TIMES: Final = re.compile(r"[1-9][0-9]{0,5}")
_FORM: Final = f"fault is none or one of {', '.join(_KINDS)}; seconds and times are numbers that suit it"


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One way in which the token endpoint misbehaves.

    Args:
        kind: ``rate_limited``: 429 with *Retry-After*. ``unavailable``: 503. ``slow``: the right answer,
            late. ``short_lived``: a token that soon expires. ``opaque``: a token that is no JWT, and without
            *expires_in*. ``not_json``: 200 with a page. ``redirect``: 307, to the token endpoint itself.
        seconds: Of *Retry-After* (default 5, but none for ``unavailable``), delay (5, at most 60) or lifetime
            (5); at most an hour. The other kinds take none.

    Raises:
        ValueError: Another kind, or seconds that it does not take.
    """

    KINDS: ClassVar[tuple[str, ...]] = _KINDS

    kind: str
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"a fault is one of {', '.join(_KINDS)}")
        if self.seconds is None:
            object.__setattr__(self, "seconds", _DEFAULT_SECONDS.get(self.kind))
            return
        most = MAX_DELAY if self.kind == "slow" else MAX_SECONDS
        if self.kind not in _DEFAULT_SECONDS or not 0 < self.seconds <= most:
            takers = ", ".join(_DEFAULT_SECONDS)
            raise ValueError(f"seconds are for {takers}, more than 0 and at most {most:.0f} for this fault")

    @property
    def delay(self) -> float:
        """
        How long the answer is held back, in seconds.
        """
        return self.seconds or 0.0 if self.kind == "slow" else 0.0

    def apply(self, issuance: Issuance) -> Issuance:
        """
        Return what a client gets instead of what it should.
        """
        if self.kind == "short_lived" and self.seconds is not None:
            return replace(issuance, lifetime=min(issuance.lifetime, self.seconds))
        return replace(issuance, is_opaque=True) if self.kind == "opaque" else issuance

    def response(self, *, token_endpoint: str) -> Response | None:
        """
        Return what is answered instead of anything; ``None`` when the request is served.
        """
        if self.kind == "redirect":
            return RedirectResponse(token_endpoint, status_code=307)
        if self.kind == "not_json":
            return HTMLResponse("<!doctype html><title>Welcome</title><p>Log in to this network first.")
        if self.kind not in _STATUS:
            return None
        headers = {} if self.seconds is None else {"Retry-After": str(math.ceil(self.seconds))}
        content = {"error": "temporarily_unavailable", "error_description": "a fault was asked for"}
        return JSONResponse(content, status_code=_STATUS[self.kind], headers=headers)


class Faults:
    """
    Which fault the next token requests meet: none, until one is injected.

    Args:
        sleep: Waits for a number of seconds.
    """

    def __init__(self, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        self._fault: Fault | None = None
        self._left: float = 0.0
        self.sleep = sleep

    def inject(self, fault: Fault, *, times: int | None = None) -> None:
        """
        Let the following token requests meet a fault, in place of an earlier one.

        Args:
            times: How many; ``None`` means all, until `clear`.

        Raises:
            ValueError: *times* is below one.
        """
        if times is not None and times < 1:
            raise ValueError("times must be 1 or more, or None for all")
        self._fault, self._left = fault, math.inf if times is None else times

    def clear(self) -> None:
        """
        Let the following token requests be served as they should.
        """
        self._fault = None

    def take(self) -> Fault | None:
        """
        Return what one token request meets.
        """
        fault = self._fault
        self._left -= 1
        if self._left <= 0:
            self._fault = None
        return fault


def read_fault(parameters: Parameters) -> tuple[Fault | None, int | None]:
    """
    Read which fault is asked for with *fault*, *seconds* and *times*, and for how many requests.

    Raises:
        OAuthError: ``invalid_request``: there is no such fault.
    """
    kind = required_parameter(parameters, name="fault")
    seconds, times = parameters.get("seconds"), parameters.get("times")
    try:
        fault = None if kind == "none" else Fault(kind, None if seconds is None else float(seconds))
    except ValueError:
        raise OAuthError("invalid_request", _FORM) from None
    if times is not None and not _TIMES.fullmatch(times):
        raise OAuthError("invalid_request", _FORM)
    return fault, None if times is None else int(times)
