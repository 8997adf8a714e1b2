"""
What happened, as frozen records, and how a listener hears of it.

A listener is any callable that takes one event. Every event has a dotted ``name`` in the past tense. Fields
that can become metric labels (``code``, ``package``, ``route``, ``issuer``; ``client_id``, ``token_host``,
``trigger``, ``error``, ``reason``) come from closed sets: the configuration, `guardrail.errors.CODES`, what
an event lists. No event holds a token or a secret; what a caller chose (``kid``) is printable ASCII, short.
A listener that raises is logged and ignored: telemetry never decides.
"""

from ._client import (
    CircuitClosed,
    CircuitOpened,
    LifetimeUnknown,
    RefreshTokenRotated,
    TokenFetched,
    TokenFetchFailed,
    TokenRejected,
    TokenRevoked,
)
from ._directory import DirectoryFailed
from ._event import Event, Listener
from ._keys import KeysFetched, KeysFetchFailed, KeySkipped, KeysRotated, RefetchBudgetSpent, StaleKeysUsed
from ._requests import DirectoryUnavailable, KeysUnavailable, PlainHttpUsed, TokenAccepted, TokenRefused

__all__ = [
    "CircuitClosed",
    "CircuitOpened",
    "DirectoryFailed",
    "DirectoryUnavailable",
    "Event",
    "KeySkipped",
    "KeysFetchFailed",
    "KeysFetched",
    "KeysRotated",
    "KeysUnavailable",
    "LifetimeUnknown",
    "Listener",
    "PlainHttpUsed",
    "RefetchBudgetSpent",
    "RefreshTokenRotated",
    "StaleKeysUsed",
    "TokenAccepted",
    "TokenFetchFailed",
    "TokenFetched",
    "TokenRefused",
    "TokenRejected",
    "TokenRevoked",
]
