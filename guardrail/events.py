"""
What happened, as frozen records, and how a listener hears of it.

A listener is any callable that takes one event. Every event has a dotted ``name`` in the past tense. Fields
that can become metric labels (``code``, ``package``, ``route``, ``issuer``) come from closed sets: the
configuration and `guardrail.errors.CODES`. No event holds a token or a secret; what a caller chose (``kid``)
is printable ASCII and short. A listener that raises is logged and ignored: telemetry never decides.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

from .errors import ClaimError, TokenError, UnknownKeyError

__all__ = [
    "Event",
    "KeysFetchFailed",
    "KeysFetched",
    "KeysUnavailable",
    "Listener",
    "PlainHttpUsed",
    "TokenAccepted",
    "TokenRefused",
]

_logger: Final = logging.getLogger("guardrail")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    The base of all events.
    """

    name: ClassVar[str] = "guardrail.event"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAccepted(Event):
    """
    A token was authenticated and authorized for a route.

    Attributes:
        package: The service package's name.
        route: The route's path template.
        issuer: The issuer that was verified.
        client_id: The calling client, as the verified token names it.
        operator_kind: ``user`` or ``service``.
    """

    name: ClassVar[str] = "guardrail.token_accepted"

    package: str
    route: str
    issuer: str
    client_id: str | None
    operator_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRefused(Event):
    """
    A request was refused with 400, 401 or 403.

    Attributes:
        code: Why, from `guardrail.errors.CODES`.
        status: The HTTP status sent.
        package: The service package's name.
        route: The route's path template.
        detail: A sentence for a log; it quotes nothing of the token.
        claim: The claim concerned, or None.
        kid: The key ID concerned, escaped and shortened, or None.
    """

    name: ClassVar[str] = "guardrail.token_refused"

    code: str
    status: int
    package: str
    route: str
    detail: str
    claim: str | None = None
    kid: str | None = None

    @classmethod
    def of(cls, error: TokenError, *, package: str, route: str) -> "TokenRefused":
        """
        The event of *error* on a route.
        """
        kid = error.kid if isinstance(error, UnknownKeyError) else None
        return cls(
            code=error.code,
            status=error.status,
            package=package,
            route=route,
            detail=str(error),
            claim=error.claim if isinstance(error, ClaimError) else None,
            kid=None if kid is None else printable(kid),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFetched(Event):
    """
    An issuer's JWK Set was fetched and is in use.

    Attributes:
        issuer: The issuer whose keys these are.
        added: Key IDs that were not in the set before.
        removed: Key IDs that no longer verify anything.
        skipped: How many keys of the answer cannot be used.
        duration: Seconds that discovery and fetch took.
    """

    name: ClassVar[str] = "guardrail.keys_fetched"

    issuer: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    skipped: int
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFetchFailed(Event):
    """
    An attempt to fetch an issuer's keys failed; keys in hand, if any, stay in use.

    Attributes:
        issuer: The issuer concerned.
        detail: What went wrong.
        has_keys: Whether earlier keys are still in use.
    """

    name: ClassVar[str] = "guardrail.keys_fetch_failed"

    issuer: str
    detail: str
    has_keys: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysUnavailable(Event):
    """
    A request was answered 503, because the issuer's keys could not be had.

    Attributes:
        code: From `guardrail.errors.CODES`.
        package: The service package's name.
        route: The route's path template.
        retry_after: Seconds, as sent in ``Retry-After``.
    """

    name: ClassVar[str] = "guardrail.keys_unavailable"

    code: str
    package: str
    route: str
    retry_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainHttpUsed(Event):
    """
    A token arrived over plain ``http``, as far as the server says (RFC 6750 §5.3). Told once per middleware.

    Behind a proxy that ends TLS it means that the server does not take the scheme from that proxy.

    Attributes:
        package: The service package's name.
        route: The route's path template.
    """

    name: ClassVar[str] = "guardrail.plain_http_used"

    package: str
    route: str


Listener = Callable[[Event], object]


def printable(text: str, *, limit: int = 64) -> str:
    """
    Somebody else's text made safe to log: printable ASCII, at most *limit* characters.
    """
    escaped = text[:limit].encode("ascii", "backslashreplace").decode("ascii")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in escaped)[:limit]


def dispatcher(listeners: Iterable[Listener]) -> Listener:
    """
    One callable that hands an event to each of *listeners*, and survives each of them.
    """
    targets = tuple(listeners)

    def emit(event: Event) -> None:
        for listener in targets:
            try:
                listener(event)
            except Exception:  # a broken listener must not refuse, or admit, anybody
                _logger.exception("event listener %r failed on %s", listener, event.name)

    return emit
