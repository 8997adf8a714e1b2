"""
The cache of verified tokens.

It holds what was verified, never a route's verdict, under the SHA-256 of the exact bytes. Times are judged
again on every use, and an entry ends with the generation of the key set that verified it. Refused tokens
never enter.
"""

import threading
from collections import OrderedDict
from typing import NamedTuple

from ._claims import NumericDates
from ._fork import renew_after_fork
from ._keys import KeySet
from ._operator import Operator

__all__ = ["CacheKey", "TokenCache", "VerifiedToken"]


class VerifiedToken(NamedTuple):
    """
    What a token was found to say, and under which keys.
    """

    operator: Operator
    dates: NumericDates
    leeway: float
    key_set: KeySet
    generation: int

    def validate(self, now: float) -> None:
        """
        Refuse it once it has expired, or if the clock went back.

        Raises:
            ClaimError: It is not valid at *now*.
        """
        self.dates.validate(now=now, leeway=self.leeway)

    def seconds_left(self, now: float) -> float:
        """
        How long what it let in may go on: until *exp*; a token let in on its leeway, until that is over.
        """
        ends_at = self.dates.expires_at
        return ends_at - now if now < ends_at else ends_at + self.leeway - now


CacheKey = tuple[int, bytes]


class TokenCache:
    """
    Verified tokens by digest, at most *size* of them; the oldest go first, which also expire first. Size 0:
    no cache.

    A look-up changes nothing, so that it needs no lock: it is on the road of every request, and a lock and
    the bookkeeping of "least recently used" would be a tenth of that. For the same reason it is no cache of
    cachetools, which are written in Python.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """
        Forget all tokens, and whatever lock another thread holds: in a forked child, nobody does.
        """
        self._tokens: OrderedDict[CacheKey, VerifiedToken] = OrderedDict()
        self._lock = threading.Lock()  # one middleware may serve several event loops in several threads

    def get(self, key: CacheKey) -> VerifiedToken | None:
        """
        The verified token under *key*, whatever has become of its keys since.
        """
        return self._tokens.get(key)

    def put(self, key: CacheKey, verified: VerifiedToken) -> None:
        """
        Keep *verified* for the next request with the same token.
        """
        with self._lock:
            self._tokens[key] = verified
            self._tokens.move_to_end(key)
            if len(self._tokens) > self._size:
                self._tokens.popitem(last=False)

    def discard(self, key: CacheKey) -> None:
        """
        Forget what is under *key*, if anything.
        """
        with self._lock:
            self._tokens.pop(key, None)
