"""
Steps 2 to 4 of the road: a request and what its endpoint requires → a verdict.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ._asgi import Scope
from ._authorization import authorize
from ._bearer import extract_token
from ._decision import assumed_operator
from ._operator import ANONYMOUS, Operator
from ._policies import CompiledPolicy
from .directory._step import DirectoryStep
from .errors import (
    InsufficientAuthenticationError,
    InsufficientScopeError,
    OperatorRefusedError,
    TokenError,
    UnavailableError,
    UnknownIssuerError,
)

__all__ = ["Judge", "Verdict"]

_AUTHENTIC: Final = (InsufficientScopeError, InsufficientAuthenticationError, OperatorRefusedError)


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What is to become of a request.

    Attributes:
        policy: The one of the endpoint's policies that decided.
        operator: Who it is for; anonymous if it is refused.
        seconds_left: Seconds the token is still good for, or None where there is none.
        error: Why it is refused, or None.
    """

    policy: CompiledPolicy
    operator: Operator = ANONYMOUS
    seconds_left: float | None = None
    error: TokenError | UnavailableError | None = None

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
        try:
            assumed = assumed_operator.get()
            token = b"" if assumed is not None else extract_token(scope)
        except TokenError as error:
            return Verdict(policies[0], error=error)
        refused: list[Verdict] = []
        for policy in policies:
            try:
                return self._assume(policy, assumed) if assumed else await self._authenticate(policy, token)
            except (TokenError, UnavailableError) as error:
                refused.append(Verdict(policy, error=error))
        return min(refused, key=_distance)

    async def _authenticate(self, policy: CompiledPolicy, token: bytes) -> Verdict:
        verified = await policy.verifier.authenticate(token)
        operator = verified.operator
        if self._directory is not None:
            operator = await self._directory.refine(operator)
        now = self._clock()
        if self._directory is not None:  # a look-up takes time, in which a token may expire
            verified.dates.validate(now=now, leeway=verified.leeway)
        authorize(operator, policy.requirement, now=now, leeway=verified.leeway)
        return Verdict(policy, operator, verified.seconds_left(now))

    def _assume(self, policy: CompiledPolicy, operator: Operator) -> Verdict:
        authorize(operator, policy.requirement, now=self._clock(), leeway=0.0)
        return Verdict(policy, operator)


def _distance(verdict: Verdict) -> int:
    """
    How far a token was from being accepted: might have been, is valid, is of a known issuer, or nothing.
    """
    if isinstance(verdict.error, UnavailableError):
        return 0  # nobody can say that it is not accepted
    if verdict.is_authentic:
        return 1
    return 3 if isinstance(verdict.error, UnknownIssuerError) else 2
