"""
The access tokens that are good now: what introspection, exchange and revocation ask.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cachetools import TLRUCache

CAPACITY: Final = 10_000  # tokens, of about a kilobyte each; the oldest give way


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """
    What is known of one access token.

    Attributes:
        claims: What it says, *exp* among it.
        expires_at: When it ends, in seconds since the epoch.
        family: Names the grant it came of, or ``None`` when no user granted it.
        kid: The key that signed it, or ``None`` when it is opaque.
    """

    claims: Mapping[str, object]
    expires_at: float
    family: str | None = field(repr=False)
    kid: str | None


def _expires_at(_digest: str, issued: IssuedToken, _now: float) -> float:
    return issued.expires_at


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class AccessTokens:
    """
    Access tokens by their digests. One that is not in here, or not any more, is good for nothing here.

    So what is forgotten for want of room counts as revoked, and never the other way about. Whoever verifies
    a signed token by its signature alone does not learn of it (RFC 7009 §3).
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._issued: TLRUCache[str, IssuedToken] = TLRUCache(CAPACITY, _expires_at, timer=clock)
        # Tests mint in their own thread while a server answers in another.
        self._lock = threading.Lock()

    def keep(self, token: str, issued: IssuedToken) -> None:
        """
        Know a token until it expires.
        """
        with self._lock:
            self._issued[_digest(token)] = issued

    def find(self, token: str) -> IssuedToken:
        """
        Return what is known of a token.

        Raises:
            KeyError: Unknown, expired or revoked.
        """
        with self._lock:
            return self._issued[_digest(token)]

    def revoke(self, token: str) -> None:
        """
        Forget a token; unknown ones are none's.
        """
        with self._lock:
            self._issued.pop(_digest(token), None)

    def revoke_family(self, family: str) -> None:
        """
        Forget every token that came of one grant.
        """
        with self._lock:
            ended = [digest for digest, issued in self._issued.items() if issued.family == family]
            for digest in ended:
                self._issued.pop(digest, None)
