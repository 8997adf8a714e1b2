"""
The operator: who a request acts for, and with what authority, as the verified token says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

__all__ = ["ANONYMOUS", "Actor", "Operator", "TokenFacts"]

OperatorKind = Literal["user", "service", "anonymous"]

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Actor:
    """
    A party acting on the subject's behalf (RFC 8693 §4.1).
    """

    subject: str
    issuer: str | None = None
    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """
    Facts of the token that was verified; never the token.

    Attributes:
        token_id: *jti*, or the provider's equivalent.
        issued_at: *iat*, in seconds since the epoch.
        expires_at: *exp*, in seconds since the epoch.
        auth_time: When the user authenticated, in seconds since the epoch (RFC 9068 §2.2.1).
        acr: Authentication context class reference.
        amr: Authentication methods; empty when the token has none.
    """

    token_id: str | None = None
    issued_at: float | None = None
    expires_at: float | None = None
    auth_time: float | None = None
    acr: str | None = None
    amr: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """
    Who a request acts for, and with what authority. Frozen in depth: a handler cannot change what the next
    request sees.

    It also has the shape of a Starlette user and of its credentials, so that ``request.user``,
    ``request.auth`` and Starlette's own ``@requires`` work. The token itself is not in it.

    Attributes:
        operator_id: ``{issuer}#{subject}``, a key that no other issuer's subject shares, unless a client
            registration or the directory gives its own.
        kind: What the subject is: ``user``, ``service`` (a client acting as itself) or ``anonymous``.
        issuer: The verified issuer.
        subject: The subject, unique within the issuer.
        client_id: The calling application.
        tenant: The isolation boundary, where the provider has one.
        username: For showing, never for deciding: names change hands.
        email: For showing, never for deciding.
        scopes: What the client was granted, implied scopes not added.
        roles: The subject's roles.
        groups: The subject's groups.
        permissions: The subject's entitlements.
        groups_overage: Whether the issuer left the groups out of the token, there being too many. They are
            not asked for anywhere; a route that needs a field read from them refuses with ``groups_overage``.
        access_groups: The access groups held, in the order given.
        access_group: The active access group: the directory's default, else the first held.
        actors: Who acts for the subject, the current actor first; only that one is for deciding.
        token: Facts of the token.
        claims: The verified claims set, read-only; its arrays are tuples.
    """

    operator_id: str
    kind: OperatorKind
    issuer: str
    subject: str
    client_id: str | None = None
    tenant: str | None = None
    username: str | None = None
    email: str | None = None
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()
    groups_overage: bool = False
    access_groups: tuple[str, ...] = ()
    access_group: str | None = None
    actors: tuple[Actor, ...] = ()
    token: TokenFacts = field(default_factory=TokenFacts)
    claims: Mapping[str, Any] = field(default_factory=lambda: _EMPTY, hash=False)
    # Names of list fields that were left out by groups overage, and that no step has given since.
    _left_out: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    @property
    def is_authenticated(self) -> bool:
        """
        Whether a token was verified for this request.
        """
        return self.kind != "anonymous"

    @property
    def is_delegated(self) -> bool:
        """
        Whether somebody acts on the subject's behalf (RFC 8693 §4.1).
        """
        return bool(self.actors)

    @property
    def display_name(self) -> str:
        """
        A name for showing (Starlette's user shape).
        """
        return self.username or self.subject

    @property
    def identity(self) -> str:
        """
        The operator's key (Starlette's user shape).
        """
        return self.operator_id

    def __repr__(self) -> str:
        """
        Enough to recognise the operator; no e-mail address and no claims.
        """
        return (
            f"Operator(operator_id={self.operator_id!r}, kind={self.kind!r}, "
            f"client_id={self.client_id!r}, scopes={sorted(self.scopes)!r})"
        )


ANONYMOUS: Final = Operator(operator_id="anonymous", kind="anonymous", issuer="", subject="")
