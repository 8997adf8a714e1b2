"""
Operators in the making.

A frozen dataclass sets its fields with one call each. For an operator that is a tenth of the cost of
verifying a signature, and one is made for every token that is verified. So it is made in a twin with the same
slots that is not frozen, whose class is then the operator's: the very object, unchanged from there on.
"""

from collections.abc import Mapping
from typing import Any, cast

from ._operator import Actor, Operator, OperatorKind, TokenFacts

__all__ = ["OperatorDraft", "TokenFactsDraft"]

_NO_NAMES = frozenset[str]()


class OperatorDraft:
    """
    An `Operator` whose fields can still be set. Those with a default have it; *token* and *claims* have none.
    """

    __slots__ = Operator.__slots__  # in their order: only then may an object of one class become the other's

    operator_id: str
    subject: str
    claims: Mapping[str, Any]

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.kind: OperatorKind = "user"
        self.client_id = self.tenant = self.username = self.email = None
        self.scopes = self.roles = self.groups = self.permissions = self._left_out = _NO_NAMES
        self.access_groups: tuple[str, ...] = ()
        self.actors: tuple[Actor, ...] = ()
        self.access_group: str | None = None
        self.token: Any = None
        self.groups_overage = False

    def finished(self) -> Operator:
        """
        This object, which is the operator from here on.
        """
        self.__class__ = Operator  # type: ignore[assignment] # the same slots
        return cast("Operator", self)


class TokenFactsDraft:
    """
    `TokenFacts` whose fields can still be set. None has a default.
    """

    __slots__ = TokenFacts.__slots__
