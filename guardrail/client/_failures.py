"""
Why there is no token: one closed set of reasons, and what each of them means for the next attempt.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from ..errors import PolicyError, TokenUnavailableError

__all__ = ["OAUTH_ERRORS", "TIMEOUT", "AttemptError", "Failure", "description_of", "retry_after_of"]

# RFC 6749 §5.2; invalid_target is RFC 8693 §2.2.2's, and RFC 8707 §2's.
OAUTH_ERRORS: Final = frozenset(
    {
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
MAX_DESCRIPTION: Final = 200  # characters
MAX_RETRY_AFTER: Final = 300.0  # seconds; an authorization server must not switch us off for a day

_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Failure:
    """
    An attempt that brought no token. Holds no secret, so that it can be kept and told.

    Attributes:
        error: A code of `guardrail.errors.TokenUnavailableError`.
        detail: What it was, for people; nothing a server or a secret could have put there.
        description: The server's words, made printable.
        permanent: Whether asking again as it is cannot help.
        retry_after: Seconds the server asked for.
        is_final: Whether this profile will never ask again.
        policy: What is wrong with the configuration, if that is what it is.
    """

    error: str
    detail: str
    description: str | None = None
    permanent: bool = False
    retry_after: float = 0.0
    is_final: bool = False
    policy: str | None = None

    def raised(self, client_id: str, retry_after: float | None) -> TokenUnavailableError | PolicyError:
        """
        An exception of its own for each who waits: a shared one would collect everybody's traceback.
        """
        if self.policy is not None:
            return PolicyError(self.policy)
        when = (
            "it will not be asked for again"
            if retry_after is None
            else f"next attempt in {retry_after:.1f} s"
        )
        return TokenUnavailableError(
            f"no access token for client {client_id!r}: {self.error} ({self.detail}); {when}",
            error=self.error,
            error_description=self.description,
            retry_after=retry_after,
            permanent=self.permanent,
        )


TIMEOUT: Final = Failure("timeout", "no answer in time")


class AttemptError(Exception):
    """
    Raised on the way to an answer; never leaves the thread that asks. Everybody else is given the failure.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.failure = failure


def description_of(text: object, *, secrets: Iterable[str] = ()) -> str | None:
    """
    A server's *error_description* made safe to log: what is not printable ASCII is left out.

    None of it is kept if it says back one of *secrets*, which what was left out may have interrupted.
    """
    if not isinstance(text, str):
        return None
    kept = _printable(text)
    if any(secret in kept for secret in map(_printable, secrets) if secret):
        return None
    return kept[:MAX_DESCRIPTION] or None


def _printable(text: str) -> str:
    return "".join(char for char in text if " " <= char <= "~")


def retry_after_of(value: str | None, *, wall_clock: Callable[[], float]) -> float:
    """
    The seconds a ``Retry-After`` field asks for (RFC 9110 §10.2.3), at most 300; zero if it says nothing
    usable.
    """
    if value is None:
        return 0.0
    if _DIGITS.fullmatch(value):
        # Not parsed when it is long: it is the most in any case, and int() has a limit.
        return min(float(value), MAX_RETRY_AFTER) if len(value) <= 7 else MAX_RETRY_AFTER
    try:
        date = parsedate_to_datetime(value)
        # "-0000" means a UTC without a place, and gives a naive one.
        seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - wall_clock()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
