"""
A token and a service package → a verified token: header, key, signature, claims, client, in that order.

In front stands the cache of verified tokens. It holds what was verified, never a route's verdict, under the
SHA-256 of the exact bytes; times are judged again on every use, and an entry ends with the generation of
the key set that verified it. Refused tokens never enter.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cachetools import LRUCache

from ._claims import (
    NumericDates,
    read_numeric_dates,
    validate_issuer,
)
from ._compact import CompactToken, parse_compact
from ._fork import renew_after_fork
from ._header import validate_header
from ._issuer import Issuer
from ._json import JSONObject
from ._keys import KeySet, verify_signature
from ._mapping import OperatorMapping
from ._mapping_setting import field_paths
from ._operator import Operator
from ._policy import ServicePackage
from ._profiles import load_profile
from ._provider_rules import ProviderRules
from ._registration import RegisteredClients
from .errors import ClaimError, UnknownIssuerError

__all__ = ["PackageVerifier", "TokenCache", "VerifiedToken"]


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """
    What a token was found to say, and under which keys.
    """

    operator: Operator
    dates: NumericDates
    leeway: float
    key_set: KeySet
    generation: int

    def stands(self) -> bool:
        """
        Whether the keys it was verified under are still those in use.
        """
        return self.key_set.holds(self.generation)

    def seconds_left(self, now: float) -> float:
        """
        How long what it let in may go on: until *exp*; a token let in on its leeway, until that is over.
        """
        ends_at = self.dates.expires_at
        return ends_at - now if now < ends_at else ends_at + self.leeway - now


CacheKey = tuple[int, bytes]


class TokenCache:
    """
    Verified tokens by digest, at most *size* of them; the least recently used go first. Size 0: no cache.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """
        Forget all tokens, and whatever lock another thread holds: in a forked child, nobody does.
        """
        self._tokens: LRUCache[CacheKey, VerifiedToken] = LRUCache(maxsize=max(self._size, 1))
        # One middleware may serve several event loops in several threads, and a look-up reorders.
        self._lock = threading.Lock()

    def get(self, key: CacheKey) -> VerifiedToken | None:
        """
        The verified token under *key*, whatever has become of its keys since.
        """
        with self._lock:
            return self._tokens.get(key)

    def put(self, key: CacheKey, verified: VerifiedToken) -> None:
        """
        Keep *verified* for the next request with the same token.
        """
        if self._size:
            with self._lock:
                self._tokens[key] = verified

    def discard(self, key: CacheKey) -> None:
        """
        Forget what is under *key*, if anything.
        """
        with self._lock:
            self._tokens.pop(key, None)


class IssuerVerifier:
    """
    Verifies the tokens of one issuer for one service package.
    """

    def __init__(
        self, issuer: Issuer, *, audiences: frozenset[str], key_set: KeySet, clock: Callable[[], float]
    ) -> None:
        self._issuer = issuer
        self._algorithms = frozenset(issuer.algorithms)
        self._key_set = key_set
        self._clock = clock
        profile = load_profile(issuer.profile)
        self._rules = ProviderRules(profile, issuer_url=issuer.url, audiences=audiences)
        self._mapping = OperatorMapping(profile, replaced=field_paths(issuer.mapping), audiences=audiences)
        self._token_types = issuer.accepted_token_types or profile.token_types
        self._clients = RegisteredClients(
            issuer.clients,
            refuse_unregistered=issuer.unregistered_clients == "refuse" or profile.pins_client,
            kind_from_registration=profile.is_kind_registered,
        )

    async def verify(self, token: CompactToken) -> VerifiedToken:
        """
        Authenticate a token that says it is this issuer's.

        Raises:
            InvalidTokenError: It is not acceptable.
            OperatorRefusedError: Its client may not call.
            UnavailableError: The issuer's keys could not be had.
        """
        reference = validate_header(
            token.unverified_header, algorithms=self._algorithms, token_types=self._token_types
        )
        algorithm = reference.unverified_algorithm
        keys, generation = await self._key_set.select(reference.unverified_kid, algorithm)
        verify_signature(
            keys, signing_input=token.signing_input, signature=token.signature, algorithm=algorithm
        )
        claims = token.unverified_claims  # verified from here on
        dates = self._validate(claims)
        return VerifiedToken(
            operator=self._clients.apply(self._mapping.operator(claims)),
            dates=dates,
            leeway=self._issuer.leeway,
            key_set=self._key_set,
            generation=generation,
        )

    def _validate(self, claims: JSONObject) -> NumericDates:
        """
        Everything RFC 9068 §4 asks of the claims set, cheapest first.
        """
        validate_issuer(claims, issuer=self._issuer.url)
        self._rules.validate_audience(claims)
        dates = read_numeric_dates(claims)
        dates.validate(now=self._clock(), leeway=self._issuer.leeway)
        self._rules.validate_kind(claims)
        self._rules.validate_tenant(claims)
        return dates


class PackageVerifier:
    """
    Verifies tokens for one service package, whichever of its issuers made them.
    """

    def __init__(
        self,
        package: ServicePackage,
        *,
        key_sets: Mapping[Issuer, KeySet],
        cache: TokenCache,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            package: Whose issuers and audiences count.
            key_sets: The key set of each of its issuers.
            cache: The cache of verified tokens, which several packages may share.
            clock: Wall clock for token times, in seconds since the epoch.
        """
        self._issuers = {
            issuer.url: IssuerVerifier(
                issuer, audiences=package.audiences, key_set=key_sets[issuer], clock=clock
            )
            for issuer in package.issuers
        }
        self._cache = cache
        self._clock = clock

    async def authenticate(self, token: bytes) -> VerifiedToken:
        """
        Authenticate *token* for this package. Does not authorize it for a route.

        Raises:
            InvalidTokenError: It is not acceptable.
            OperatorRefusedError: Its client may not call.
            UnavailableError: The issuer's keys could not be had.
        """
        # Packages share the cache and not its entries: another package has other audiences.
        key = (id(self), hashlib.sha256(token).digest())
        verified = self._cache.get(key)
        if verified is not None and not verified.stands():
            self._cache.discard(key)
            verified = None
        if verified is None:
            verified = await self._verify(parse_compact(token))
            self._cache.put(key, verified)
            return verified
        try:
            verified.dates.validate(now=self._clock(), leeway=verified.leeway)
        except ClaimError:
            self._cache.discard(key)
            raise
        return verified

    async def _verify(self, token: CompactToken) -> VerifiedToken:
        # The unverified issuer only selects among those configured, by exact match; it builds no URL.
        unverified_issuer = token.unverified_claims.get("iss")
        verifier = self._issuers.get(unverified_issuer) if isinstance(unverified_issuer, str) else None
        if verifier is None:
            raise UnknownIssuerError("the token's issuer is not configured for this service package")
        return await verifier.verify(token)
