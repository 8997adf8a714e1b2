"""
What became of the tokens for calls of ours. Told from the thread that fetches, or from the one that calls.
"""

from dataclasses import dataclass
from typing import ClassVar

from ._event import Event

__all__ = [
    "CircuitClosed",
    "CircuitOpened",
    "LifetimeUnknown",
    "RefreshTokenRotated",
    "TokenFetchFailed",
    "TokenFetched",
    "TokenRejected",
    "TokenRevoked",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFetched(Event):
    """
    An access token was obtained for calls of ours.

    Attributes:
        client_id: The profile's client.
        token_host: The host its tokens come from.
        trigger: Why it was asked for: ``missing``, ``aging`` (in the background), ``expired``, ``rejected``
            (after a 401 of an API) or ``invalidated``.
        lifetime: Seconds it is used for, from *duration* ago.
        duration: Seconds it took, discovery included.
    """

    name: ClassVar[str] = "guardrail.client.token_fetched"

    client_id: str
    token_host: str
    trigger: str
    lifetime: float
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFetchFailed(Event):
    """
    An attempt to obtain an access token failed.

    Attributes:
        client_id: The profile's client.
        token_host: The host its tokens come from.
        trigger: Why it was asked for, as in `TokenFetched`.
        error: As in `guardrail.errors.TokenUnavailableError`.
        permanent: Whether asking again as it is cannot help.
        retry_after: Seconds until the next attempt, at the earliest; None: there is none.
        token_alive: Whether a token is in hand, so that requests go on.
    """

    name: ClassVar[str] = "guardrail.client.token_fetch_failed"

    client_id: str
    token_host: str
    trigger: str
    error: str
    permanent: bool
    retry_after: float | None
    token_alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRejected(Event):
    """
    An API answered a request with 401, and its challenge blames the token, or nothing in particular.

    Attributes:
        client_id: The profile's client.
        token_host: The host its tokens come from.
        host: The API's host.
        retried: Whether the request was sent again, with another token.
        reason: ``invalid_token``: the token is renewed; ``streamed_body``: likewise, but the request cannot
            be sent twice; ``fresh_token``: it was new, another one would not help; ``too_soon``: this API
            has had the token renewed within a minute.
    """

    name: ClassVar[str] = "guardrail.client.token_rejected"

    client_id: str
    token_host: str
    host: str
    retried: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LifetimeUnknown(Event):
    """
    A token came without a usable *expires_in* (RFC 6749 §5.1), and is used for 60 seconds.

    Attributes:
        client_id: The profile's client.
        token_host: The host its tokens come from.
    """

    name: ClassVar[str] = "guardrail.client.lifetime_unknown"

    client_id: str
    token_host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitOpened(Event):
    """
    The fifth attempt in a row failed: the authorization server is down, for this client.

    Attributes:
        client_id: The profile's client.
        token_host: The host its tokens come from.
    """

    name: ClassVar[str] = "guardrail.client.circuit_opened"

    client_id: str
    token_host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitClosed(Event):
    """
    A token was obtained again, after `CircuitOpened`.

    Attributes:
        client_id: The profile's client.
        token_host: The host its tokens come from.
    """

    name: ClassVar[str] = "guardrail.client.circuit_closed"

    client_id: str
    token_host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshTokenRotated(Event):
    """
    The authorization server issued a new refresh token, and it is stored (RFC 6749 §6).

    Attributes:
        client_id: The profile's client.
        token_host: The host its tokens come from.
    """

    name: ClassVar[str] = "guardrail.client.refresh_token_rotated"

    client_id: str
    token_host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRevoked(Event):
    """
    The authorization server confirmed that the profile's tokens are revoked (RFC 7009 §2.2).

    Attributes:
        client_id: The profile's client.
        token_host: The host its tokens come from.
    """

    name: ClassVar[str] = "guardrail.client.token_revoked"

    client_id: str
    token_host: str
