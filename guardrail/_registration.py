"""
Client registrations: which clients may call, and which operator a machine client acts as.

It is the resource server's side of a registration. The authorization server knows the client's secret and
grants; here stands what its tokens are worth.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

from ._operator import Operator
from ._scopes import SCOPES_EXAMPLE, quotable
from ._settings import optional_names, require_flag
from ._shapes import is_iterable
from .errors import OperatorRefusedError, PolicyError

__all__ = ["UNREGISTERED_CLIENTS", "ClientRegistration", "RegisteredClients", "registrations"]

UNREGISTERED_CLIENTS: Final = ("allow", "refuse")

_EXAMPLE: Final = 'clients=[ClientRegistration("orders-batch", operator_id="svc-orders")]'


@dataclass(frozen=True, slots=True)
class ClientRegistration:
    """
    What the tokens of one client are worth here.

    It takes nothing from a user's token but scopes above the ceiling, and adds nothing to it: a person never
    gets a machine's operator, roles or access groups.

    Args:
        client_id: The client, exactly as its tokens name it.
        operator_id: The operator it acts as with tokens of its own (RFC 6749 §4.4); None keeps the token's.
        access_groups: What that operator holds, the active one first; None keeps the token's, and anything
            else, even nothing, replaces them.
        roles: That operator's roles; None keeps the token's, anything else replaces them.
        scopes: The most that any token of the client is good for, a user's too; None for no ceiling. Scopes
            are cut before implied ones are added.
        enabled: False refuses every token of the client.

    Raises:
        PolicyError: A value is not acceptable; the message names the right form.
    """

    client_id: str
    operator_id: str | None = field(default=None, kw_only=True)
    access_groups: Iterable[str] | None = field(default=None, kw_only=True)
    roles: Iterable[str] | None = field(default=None, kw_only=True)
    scopes: Iterable[str] | None = field(default=None, kw_only=True)
    enabled: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.client_id, str) or not self.client_id:
            raise PolicyError(
                f'client_id must be as tokens name the client, such as "orders-batch"; got {self.client_id!r}'
            )
        if self.operator_id is not None and (not isinstance(self.operator_id, str) or not self.operator_id):
            raise PolicyError(
                f'operator_id must be an operator, such as "svc-orders", or None; got {self.operator_id!r}'
            )
        require_flag("enabled", self.enabled)
        groups = optional_names(self.access_groups, what="access_groups", example='["Orders:Api"]')
        roles = optional_names(self.roles, what="roles", example='["approver"]')
        scopes = optional_names(self.scopes, what="scopes", example=SCOPES_EXAMPLE)
        _set(self, "access_groups", groups)
        _set(self, "roles", None if roles is None else frozenset(roles))
        _set(self, "scopes", None if scopes is None else frozenset(quotable(scopes)))


class RegisteredClients:
    """
    An issuer's registrations, ready to be held against the operators that its tokens make.
    """

    def __init__(
        self,
        clients: Iterable[ClientRegistration],
        *,
        refuse_unregistered: bool,
        kind_from_registration: bool = False,
    ) -> None:
        """
        Args:
            clients: The registrations; no client twice.
            refuse_unregistered: Whether a client without one is refused, and a token that names no client.
            kind_from_registration: Whether nothing in a token tells a machine, so that the subject is one
                where the client's registration has an operator.
        """
        self._by_id = {one.client_id: one for one in clients}
        self._refuse_unregistered = refuse_unregistered
        self._kind_from_registration = kind_from_registration

    def apply(self, operator: Operator) -> Operator:
        """
        *operator*, as far as the registration of its client lets it come.

        Raises:
            OperatorRefusedError: The client is disabled, or it is not registered and has to be.
        """
        client_id = operator.client_id
        registration = None if client_id is None else self._by_id.get(client_id)
        if registration is None:
            if self._refuse_unregistered:
                raise OperatorRefusedError("the client is not registered here", code="client_not_allowed")
            return operator
        if not registration.enabled:
            raise OperatorRefusedError("the client's registration is disabled", code="client_not_allowed")
        changes: dict[str, Any] = {}
        if registration.scopes is not None:
            changes["scopes"] = operator.scopes.intersection(registration.scopes)
        if self._kind_from_registration and registration.operator_id is not None:
            changes["kind"] = "service"
        # The subject decides, not the client: a person in front of this client stays a person.
        if changes.get("kind", operator.kind) == "service":
            changes |= _authority(registration, operator)
        return replace(operator, **changes) if changes else operator


def registrations(value: object, *, are_required: bool = False) -> tuple[ClientRegistration, ...]:
    """
    Several registrations as a tuple, in the order of their clients.

    Args:
        value: What was given as ``clients=``.
        are_required: Whether the issuer's tokens name no API, so that only the client can tell whose they
            are: then there must be some.

    Raises:
        PolicyError: Something else, a client twice, or none where there must be some.
    """
    found = tuple(value) if is_iterable(value) else (value,)
    several = [one for one in found if isinstance(one, ClientRegistration)]
    if not is_iterable(value) or len(several) < len(found):
        raise PolicyError(f"clients must be several ClientRegistration, such as {_EXAMPLE}; got {value!r}")
    if are_required and not several:
        raise PolicyError(f"this profile's tokens are told apart by their client alone: it needs {_EXAMPLE}")
    in_order = sorted(several, key=lambda one: one.client_id)
    for one, next_one in pairwise(in_order):
        if one.client_id == next_one.client_id:
            raise PolicyError(f"clients has {one.client_id!r} twice; a client has one ClientRegistration")
    return tuple(in_order)


def _authority(registration: ClientRegistration, operator: Operator) -> dict[str, Any]:
    """
    What the registration has of its own for a machine.
    """
    changes: dict[str, Any] = {}
    left_out = operator._left_out  # noqa: SLF001 - a field of our own
    if registration.operator_id is not None:
        changes["operator_id"] = registration.operator_id
    if registration.roles is not None:
        changes["roles"] = registration.roles
        left_out -= {"roles"}
    if registration.access_groups is not None:
        groups = tuple(registration.access_groups)
        changes |= {"access_groups": groups, "access_group": groups[0] if groups else None}
        left_out -= {"access_groups"}
    return {**changes, "_left_out": left_out} if changes else changes


def _set(instance: object, name: str, value: object) -> None:
    object.__setattr__(instance, name, value)  # the dataclass is frozen for everyone else
