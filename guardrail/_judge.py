"""
Steps 2 to 4 of the road: a request and what its endpoint requires → a verdict.
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from ._asgi import Scope
from ._authorization import authorize
from ._bearer import find_token, require_token68
from ._decision import assumed_operator
from ._operator import ANONYMOUS, Operator
from ._policies import CompiledPolicy
from ._verifier import VerifiedToken, digest_of
from .directory._step import DirectoryStep
from .errors import (
    InsufficientAuthenticationError,
    InsufficientScopeError,
    MalformedTokenError,
    OperatorRefusedError,
    TokenError,
    UnavailableError,
    UnknownIssuerError,
)

__all__ = ["Judge", "Verdict"]

_AUTHENTIC: Final = (InsufficientScopeError, InsufficientAuthenticationError, OperatorRefusedError)


class Verdict(NamedTuple):
    """
    What is to become of a request.

    Attributes:
        policy: The one of the endpoint's policies that decided.
        operator: Who it is for; anonymous if it is refused.
        error: Why it is refused, or None.
        verified: The token that was accepted, or None where there is none.
        now: When that was, in seconds since the epoch.
    """

    policy: CompiledPolicy
    operator: Operator = ANONYMOUS
    error: TokenError | UnavailableError | None = None
    verified: VerifiedToken | None = None
    now: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """
        Seconds the token is still good for, or None where there is none.
        """
        return None if self.verified is None else self.verified.seconds_left(self.now)

    @property
    def is_authentic(self) -> bool:
        """
        Whether the package verified the token, be it that the token is not enough for the endpoint.
        """
        return self.error is None or isinstance(self.error, _AUTHENTIC)

    def is_enforced(self, policies: tuple[CompiledPolicy, ...]) -> bool:
        """
        Whether a refusal is carried out, as far as the packages of all *policies* say.

        Beside one that is enforced, a package in shadow mode lets in whom its own issuer knows. What anybody
        can write, such as a forged token that names that issuer, must not open what the other one guards.
        """
        if self.policy.requirement.package.enforce:
            return True
        return not self.is_authentic and any(one.requirement.package.enforce for one in policies)


class Judge:
    """
    Holds requests against policies.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, directory: DirectoryStep | None = None
    ) -> None:
        """
        Args:
            clock: Wall clock for token times, in seconds since the epoch.
            directory: What makes of an operator what it is here; None leaves it as its token made it.
        """
        self._clock = clock
        self._directory = directory

    async def decide(self, policies: tuple[CompiledPolicy, ...], scope: Scope) -> Verdict:
        """
        The verdict of the first of *policies* that accepts; else of the one that came closest.
        """
        assumed = assumed_operator.get()
        try:
            token = b"" if assumed is not None else find_token(scope)
        except TokenError as error:
            return Verdict(policies[0], error=error)
        digest = digest_of(token)
        refused: list[Verdict] = []
        for policy in policies:
            try:
                if assumed is not None:
                    authorize(assumed, policy.requirement, now=self._clock(), leeway=0.0)
                    return Verdict(policy, assumed)
                now = self._clock()
                verified = policy.verifier.recall(digest, now)
                if verified is None or self._directory is not None:
                    return await self._authenticate(policy, token, digest, verified)
                authorize(verified.operator, policy.requirement, now=now, leeway=verified.leeway)
                return Verdict(policy, verified.operator, None, verified, now)
            except (TokenError, UnavailableError) as error:
                refused.append(Verdict(policy, error=error))
        return refused[0] if len(refused) == 1 else min(refused, key=_distance)

    async def _authenticate(
        self, policy: CompiledPolicy, token: bytes, digest: bytes, verified: VerifiedToken | None
    ) -> Verdict:
        """
        What takes time: to verify a token, and to look its operator up, in which the token may expire.
        """
        if verified is None:
            try:
                verified = await policy.verifier.verify(token, digest)
            except MalformedTokenError:
                # It may be no credentials at all (RFC 6750 §2.1); what is in the compact form always is.
                require_token68(token)
                raise
        operator, now = verified.operator, self._clock()
        if self._directory is not None:
            operator, now = await self._directory.refine(operator), self._clock()
            verified.validate(now)
        authorize(operator, policy.requirement, now=now, leeway=verified.leeway)
        return Verdict(policy, operator, None, verified, now)


def _distance(verdict: Verdict) -> int:
    """
    How far a token was from being accepted: might have been, is valid, is of a known issuer, or nothing.
    """
    if isinstance(verdict.error, UnavailableError):
        return 0  # nobody can say that it is not accepted
    if verdict.is_authentic:
        return 1
    return 3 if isinstance(verdict.error, UnknownIssuerError) else 2
