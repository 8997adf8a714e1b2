"""
A token and a service package → a verified token, whichever of the package's issuers made it.

In front stand the cache of verified tokens, and what headers selected before: an issuer's tokens have the
same one or two, byte for byte, until its keys change.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Final

from ._compact import CompactToken, parse_compact
from ._issuer import Issuer
from ._issuer_verifier import IssuerVerifier, KnownHeader
from ._keys import KeySet
from ._policy import ServicePackage
from ._token_cache import TokenCache, VerifiedToken
from .errors import ClaimError, UnknownIssuerError

__all__ = ["PackageVerifier", "TokenCache", "VerifiedToken", "digest_of"]

MAX_KNOWN_HEADERS: Final = 64  # an issuer has one or two at a time: its key ID is what changes


def digest_of(token: bytes) -> bytes:
    """
    What *token* is remembered by.
    """
    return hashlib.sha256(token).digest()


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
        self._headers: dict[bytes, KnownHeader] = {}

    async def authenticate(self, token: bytes) -> VerifiedToken:
        """
        Authenticate *token* for this package. Does not authorize it for a route.

        Raises:
            InvalidTokenError: It is not acceptable.
            OperatorRefusedError: Its client may not call.
            UnavailableError: The issuer's keys could not be had.
        """
        digest = digest_of(token)
        return self.recall(digest, self._clock()) or await self.verify(token, digest)

    def recall(self, digest: bytes, now: float) -> VerifiedToken | None:
        """
        What was found of the token with *digest*, if it still holds.

        Raises:
            ClaimError: The token has expired meanwhile, or the clock went back.
        """
        # Packages share the cache and not its entries: another package has other audiences.
        verified = self._cache.get((id(self), digest))
        if verified is None:
            return None
        if not verified.key_set.holds(verified.generation):
            self._cache.discard((id(self), digest))
            return None
        try:
            verified.dates.validate(now=now, leeway=verified.leeway)
        except ClaimError:
            self._cache.discard((id(self), digest))
            raise
        return verified

    async def verify(self, token: bytes, digest: bytes) -> VerifiedToken:
        """
        Authenticate *token*, whatever is remembered, and remember it by its *digest*.

        Raises:
            InvalidTokenError: It is not acceptable.
            OperatorRefusedError: Its client may not call.
            UnavailableError: The issuer's keys could not be had.
        """
        compact = parse_compact(token, known_headers=self._headers)
        verifier = self._verifier_of(compact)
        known = self._headers.get(compact.header_part)
        is_known = known is not None and known.verifier is verifier and verifier.holds(known.selection)
        if known is None or not is_known:
            known = await verifier.select(compact)
        verified = verifier.verify(compact, known.algorithm, known.selection)
        if not is_known:  # and not before: what nobody signed must not push out what somebody did
            self._remember(compact.header_part, known)
        self._cache.put((id(self), digest), verified)
        return verified

    def _verifier_of(self, token: CompactToken) -> IssuerVerifier:
        # The unverified issuer only selects among those configured, by exact match; it builds no URL.
        unverified_issuer = token.unverified_claims.get("iss")
        verifier = self._issuers.get(unverified_issuer) if isinstance(unverified_issuer, str) else None
        if verifier is None:
            raise UnknownIssuerError("the token's issuer is not configured for this service package")
        return verifier

    def _remember(self, header_part: bytes, known: KnownHeader) -> None:
        if len(self._headers) >= MAX_KNOWN_HEADERS:
            self._headers = {}
        self._headers[header_part] = known
