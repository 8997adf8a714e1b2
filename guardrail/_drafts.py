"""
Operators in the making.

A frozen dataclass sets its fields with one call each. For an operator that is a tenth of the cost of
verifying a signature, and one is made for every token that is verified. So it is made in a twin with the same
slots that is not frozen, whose class is then the operator's: the very object, unchanged from there on.
"""

from ._operator import Operator, TokenFacts

__all__ = ["OperatorDraft", "TokenFactsDraft"]

_NO_NAMES = frozenset[str]()


class OperatorDraft:
    """
    An `Operator` whose fields can still be set. Those with a default have it; *token* and *claims* have none.
    """

    __slots__ = Operator.__slots__  # in their order: only then may an object of one class become the other's

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.kind = "user"
        self.subject = self.client_id = self.tenant = self.username = self.email = None
        self.scopes = self.roles = self.groups = self.permissions = self._left_out = _NO_NAMES
        self.access_groups = self.actors = ()
        self.access_group = self.token = None
        self.groups_overage = False


class TokenFactsDraft:
    """
    `TokenFacts` whose fields can still be set, in the order in which they are declared.
    """

    __slots__ = TokenFacts.__slots__

    def __init__(
        self,
        token_id: str | None,
        issued_at: float | None,
        expires_at: float,
        auth_time: float | None,
        acr: str | None,
        amr: tuple[str, ...],
    ) -> None:
        self.token_id = token_id
        self.issued_at = issued_at
        self.expires_at = expires_at
        self.auth_time = auth_time
        self.acr = acr
        self.amr = amr
