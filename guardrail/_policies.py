"""
Requirements compiled: everything a request needs that startup can make.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ._challenge import Challenges
from ._key_sets import KeySets
from ._policy import Requirement, ServicePackage
from ._verifier import PackageVerifier, TokenCache

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
    Compiles requirements. Equal packages share a verifier, and all one cache.
    """

    def __init__(
        self,
        *,
        key_sets: KeySets,
        clock: Callable[[], float] = time.time,
        token_cache_size: int = 10_000,
    ) -> None:
        """
        Args: as of `guardrail.GuardrailMiddleware`; *key_sets* has the keys of every issuer.
        """
        self._key_sets = key_sets
        self._clock = clock
        self._cache = TokenCache(token_cache_size)
        self._verifiers: dict[ServicePackage, PackageVerifier] = {}

    def compile(
        self,
        requirement: Requirement,
        *,
        alternatives: tuple[Requirement, ...] = (),
        metadata_url: Callable[[ServicePackage], str | None] = lambda _: None,
    ) -> CompiledPolicy:
        """
        Make the policy of one requirement. Fetches nothing.

        Args:
            requirement: The requirement.
            alternatives: All that its declaration is open to, this one among them; none for this one alone.
            metadata_url: Where a package's metadata is, for challenges.

        Raises:
            PolicyError: An issuer's keys in hand hold no usable one.
        """
        return CompiledPolicy(
            requirement,
            self._verifier(requirement.package),
            Challenges(requirement, alternatives=alternatives, metadata_url=metadata_url),
        )

    def _verifier(self, package: ServicePackage) -> PackageVerifier:
        if package not in self._verifiers:
            self._verifiers[package] = PackageVerifier(
                package,
                key_sets={issuer: self._key_sets.of(issuer) for issuer in package.issuers},
                cache=self._cache,
                clock=self._clock,
            )
        return self._verifiers[package]
