"""
What happened, as frozen records, and how a listener hears of it.

A listener is any callable that takes one event. Every event has a dotted ``name`` in the past tense. Fields
that can become metric labels (``code``, ``package``, ``route``, ``issuer``) come from closed sets: the
configuration and `guardrail.errors.CODES`. No event holds a token or a secret; what a caller chose (``kid``)
is printable ASCII and short. A listener that raises is logged and ignored: telemetry never decides.
"""

from ._directory import DirectoryFailed
from ._event import Event, Listener
from ._keys import KeysFetched, KeysFetchFailed, KeySkipped, KeysRotated, RefetchBudgetSpent, StaleKeysUsed
from ._requests import DirectoryUnavailable, KeysUnavailable, PlainHttpUsed, TokenAccepted, TokenRefused

__all__ = [
    "DirectoryFailed",
    "DirectoryUnavailable",
    "Event",
    "KeySkipped",
    "KeysFetchFailed",
    "KeysFetched",
    "KeysRotated",
    "KeysUnavailable",
    "Listener",
    "PlainHttpUsed",
    "RefetchBudgetSpent",
    "StaleKeysUsed",
    "TokenAccepted",
    "TokenRefused",
]
