"""
Requirements compiled: everything a request needs that startup can make.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._challenge import Challenges
from ._issuer import Issuer
from ._jwks import RemoteKeySet
from ._keys import KeySet, StaticKeySet
from ._policy import Requirement, ServicePackage
from ._verifier import PackageVerifier, TokenCache
from .events import Listener

if TYPE_CHECKING:
    import httpx

__all__ = ["CompiledPolicy", "PolicyCompiler"]


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """
    A requirement, with what verifies its package's tokens and what answers its refusals.
    """

    requirement: Requirement
    verifier: PackageVerifier
    challenges: Challenges


class PolicyCompiler:
    """
    Compiles requirements. Equal packages share a verifier, equal issuers one key set, and all one cache.
    """

    def __init__(
        self,
        *,
        emit: Listener,
        http_client: "httpx.AsyncClient | None" = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        token_cache_size: int = 10_000,
    ) -> None:
        """
        Args: as of `guardrail.GuardrailMiddleware`; *emit* hears of key fetches.
        """
        self._emit = emit
        self._http_client = http_client
        self._clock = clock
        self._monotonic = monotonic
        self._cache = TokenCache(token_cache_size)
        self._key_sets: dict[Issuer, KeySet] = {}
        self._verifiers: dict[ServicePackage, PackageVerifier] = {}

    def compile(self, requirement: Requirement) -> CompiledPolicy:
        """
        Make the policy of one requirement. Fetches nothing.

        Raises:
            PolicyError: An issuer's keys in hand hold no usable one.
        """
        package = requirement.package
        if package not in self._verifiers:
            self._verifiers[package] = PackageVerifier(
                package,
                key_sets={issuer: self._key_set(issuer) for issuer in package.issuers},
                cache=self._cache,
                clock=self._clock,
            )
        return CompiledPolicy(requirement, self._verifiers[package], Challenges(requirement))

    def _key_set(self, issuer: Issuer) -> KeySet:
        if issuer not in self._key_sets:
            self._key_sets[issuer] = self._new_key_set(issuer)
        return self._key_sets[issuer]

    def _new_key_set(self, issuer: Issuer) -> KeySet:
        if issuer.keys is not None:
            return StaticKeySet(issuer.keys, algorithms=tuple(issuer.algorithms))
        return RemoteKeySet(issuer, http_client=self._http_client, emit=self._emit, monotonic=self._monotonic)
