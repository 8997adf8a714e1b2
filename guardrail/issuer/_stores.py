"""
What the embedded issuer remembers between requests: bounded, in memory, gone when it stops.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from cachetools import LRUCache, TLRUCache, TTLCache

from ._errors import OAuthError

CAPACITY: Final = 1_000  # entries of each kind; the oldest give way
CODE_LIFETIME: Final = 60.0  # seconds; RFC 6749 §4.1.2 allows ten minutes at most

Value = TypeVar("Value")


def _random_name() -> str:
    return secrets.token_urlsafe(32)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Grant:
    """
    What one user allowed one client.

    Attributes:
        auth_time: When the user decided, in seconds since the epoch.
        family: Names everything that ever comes of this grant, so that it can be revoked together.
    """

    client_id: str
    subject: str
    scope: frozenset[str]
    audience: tuple[str, ...]
    auth_time: int
    family: str = field(default_factory=_random_name, repr=False)


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """
    A grant waiting to be collected, with what proves that the collector may (RFC 7636 §4.4).
    """

    grant: Grant
    redirect_uri: str
    code_challenge: str


class OneTimeStore(Generic[Value]):
    """
    Values kept under random names; each can be taken once, within its lifetime.

    Only the digest of a name is kept, so what is in memory opens nothing.
    """

    def __init__(self, *, lifetime: float, clock: Callable[[], float]) -> None:
        self._values: TTLCache[str, Value] = TTLCache(CAPACITY, lifetime, timer=clock)

    def put(self, value: Value) -> str:
        """
        Keep a value and return the name to take it by.
        """
        name = _random_name()
        self._values[_digest(name)] = value
        return name

    def take(self, name: str) -> Value:
        """
        Return the value and forget it.

        Raises:
            KeyError: No such name, not any more, or taken already.
        """
        return self._values.pop(_digest(name))


class AuthorizationCodes:
    """
    Authorization codes (RFC 6749 §4.1.2): any use, even a failing one, uses a code up.

    Args:
        revoke: Called with the grant's family when a code comes a second time.
    """

    def __init__(self, *, clock: Callable[[], float], revoke: Callable[[str], None]) -> None:
        self._issued: OneTimeStore[IssuedCode] = OneTimeStore(lifetime=CODE_LIFETIME, clock=clock)
        self._redeemed: LRUCache[str, str] = LRUCache(CAPACITY)
        self._revoke = revoke

    def issue(self, issued: IssuedCode) -> str:
        """
        Keep a grant for its client to collect, and return the code for it.
        """
        return self._issued.put(issued)

    def redeem(self, code: str) -> IssuedCode:
        """
        Return what the code stands for; does not look whose it is.

        Raises:
            OAuthError: ``invalid_grant``: unknown, expired, or used before.
        """
        try:
            issued = self._issued.take(code)
        except KeyError:
            # RFC 6749 §4.1.2: a code used twice SHOULD revoke all tokens that came of it.
            self._revoke(self._redeemed.get(_digest(code), ""))
            raise OAuthError("invalid_grant", "the code is unknown, expired or used") from None
        self._redeemed[_digest(code)] = issued.grant.family
        return issued


@dataclass(frozen=True, slots=True)
class _Family:
    """
    The one refresh token of a grant that is good now.
    """

    grant: Grant
    digest: str = field(repr=False)
    expires_at: float


def _expires_at(_name: str, family: _Family, _now: float) -> float:
    return family.expires_at


class RefreshTokens:
    """
    Rotating refresh tokens (RFC 9700 §4.14.2): each is good once, a used one revokes its family.

    A token is the family's name, a dot and a secret. So a used token is known for one without a record of
    every token ever used, and only the digest of the latest secret is kept.

    Args:
        on_revoke: Called with each family that is revoked, whether or not it has a refresh token.
    """

    def __init__(self, *, clock: Callable[[], float], on_revoke: Callable[[str], None]) -> None:
        self._families: TLRUCache[str, _Family] = TLRUCache(CAPACITY, _expires_at, timer=clock)
        self._clock = clock
        self._on_revoke = on_revoke

    def issue(self, grant: Grant, *, lifetime: float) -> str:
        """
        Return a fresh refresh token for the grant; the one before it is used from now on.

        Args:
            lifetime: In seconds.
        """
        secret = _random_name()
        family = _Family(grant, digest=_digest(secret), expires_at=self._clock() + lifetime)
        self._families[grant.family] = family
        return f"{grant.family}.{secret}"

    def find(self, token: str) -> Grant:
        """
        Return the grant of a good token; does not use it up and does not look whose it is.

        Raises:
            OAuthError: ``invalid_grant``: unknown, expired, revoked, or used before.
        """
        name, _, secret = token.partition(".")
        with suppress(KeyError):
            family = self._families[name]
            if hmac.compare_digest(family.digest, _digest(secret)):
                return family.grant
        # RFC 9700 §4.14.2: a used token is either an attacker's or its theft's first sign; both end here.
        self.revoke(name)
        raise OAuthError("invalid_grant", "the refresh token is unknown, expired, revoked or used")

    def family_of(self, token: str) -> Grant:
        """
        Return the grant whose family a token is of, be it the latest or a used one; does not use it up.

        Raises:
            KeyError: There is no such family, or not any more.
        """
        return self._families[token.partition(".")[0]].grant

    def revoke(self, family: str) -> None:
        """
        Forget a family; unknown ones are none's.
        """
        self._families.pop(family, None)
        self._on_revoke(family)
