"""
What a directory is asked, and what it answers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from .._operator import OperatorKind
from .._settings import optional_names, require_flag
from ..errors import PolicyError

__all__ = ["OperatorDirectory", "OperatorKey", "OperatorRecord"]


@dataclass(frozen=True, slots=True)
class OperatorKey:
    """
    Whom a directory is asked about: the operator as its token and its client's registration made it.

    A user is identified by *issuer*, *tenant* and *subject*, and never by a name or an e-mail address, which
    are not here. Another client makes another key: a directory may, and need not, answer differently for it.

    Attributes:
        operator_id: ``{issuer}#{subject}``, or the operator of the client's registration.
        issuer: The verified issuer.
        tenant: The isolation boundary, where the provider has one.
        subject: The subject, unique within the issuer.
        client_id: The calling application.
        kind: ``user``, or ``service`` for a client acting as itself.
    """

    operator_id: str
    issuer: str
    tenant: str | None
    subject: str
    client_id: str | None
    kind: OperatorKind

    def __repr__(self) -> str:
        """
        Which kind of key it is; whose it is stays out of logs.
        """
        return f"OperatorKey(kind={self.kind!r}, ...)"


@dataclass(frozen=True, slots=True)
class OperatorRecord:
    """
    What a directory knows of an operator. It has no scopes: what a client was granted, its token says.

    Args:
        operator_id: The operator's key from here on.
        enabled: False refuses the operator.
        access_groups: What the operator holds, in order; None keeps what it had, and anything else, even
            nothing, replaces it.
        default_access_group: Which of those is active; None for the first. One that the operator does not
            hold, where the record leaves that to the token, makes none active.
        roles: The operator's roles; None keeps what it had, anything else replaces it.

    Raises:
        PolicyError: A value is not acceptable, or the default is not among the access groups. In a directory
            this counts as a failed look-up.
    """

    operator_id: str
    enabled: bool = field(default=True, kw_only=True)
    access_groups: Iterable[str] | None = field(default=None, kw_only=True)
    default_access_group: str | None = field(default=None, kw_only=True)
    roles: Iterable[str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.operator_id, str) or not self.operator_id:
            raise PolicyError('operator_id must be the operator\'s key, such as "svc-orders"')
        require_flag("enabled", self.enabled)
        default = self.default_access_group
        if default is not None and (not isinstance(default, str) or not default):
            raise PolicyError('default_access_group must be one access group, such as "Orders:Api", or None')
        groups = optional_names(self.access_groups, what="access_groups", example='["Orders:Api"]')
        roles = optional_names(self.roles, what="roles", example='["approver"]')
        if default is not None and groups is not None and default not in groups:
            raise PolicyError("default_access_group must be one of access_groups")
        object.__setattr__(self, "access_groups", groups)
        object.__setattr__(self, "roles", None if roles is None else frozenset(roles))


class OperatorDirectory(Protocol):
    """
    Where operators are looked up.
    """

    async def resolve(self, key: OperatorKey) -> OperatorRecord | None:
        """
        The operator's record, or None if there is no such operator.

        Called on the event loop, which it must not block, in a task of its own; it is cancelled when it takes
        too long. Whatever it raises counts as "cannot be had", never as "unknown".
        """
        ...
