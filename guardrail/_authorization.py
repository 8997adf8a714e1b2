"""
An operator and a requirement → nothing, or the refusal (RFC 6750 §3.1, RFC 9470 §3).
"""

from ._operator import Operator
from ._policy import Requirement
from .errors import InsufficientAuthenticationError, InsufficientScopeError, OperatorRefusedError


def authorize(operator: Operator, requirement: Requirement, *, now: float, leeway: float) -> None:
    """
    Refuse *operator* unless it meets all of *requirement*.

    The authentication event is judged before scopes (401 before 403), scopes before roles and access groups.

    Args:
        operator: The verified operator.
        requirement: What the route needs.
        now: Current time in seconds since the epoch.
        leeway: Clock skew to forgive, in seconds.

    Raises:
        InsufficientAuthenticationError: *acr* or *auth_time* is missing or not good enough.
        InsufficientScopeError: A scope is missing.
        OperatorRefusedError: No required role, or not the right access group; or nobody can say, since what
            is required was to be read from groups that the issuer left out of the token.
    """
    if requirement.acr_values or requirement.max_age is not None:
        _authorize_authentication(operator, requirement, now=now, leeway=leeway)
    # What is granted outright need not be looked for among what that implies.
    if requirement.any_scopes or not operator.scopes.issuperset(requirement.all_scopes):
        _authorize_scopes(operator, requirement)
    if requirement.roles and requirement.roles.isdisjoint(operator.roles):
        _refuse_overage(operator, "roles")
        raise OperatorRefusedError("the operator has none of the required roles")
    if requirement.access_groups and operator.access_group not in requirement.access_groups:
        _refuse_overage(operator, "access_groups")
        raise OperatorRefusedError("the operator's access group is not accepted", code="access_group_missing")


def _refuse_overage(operator: Operator, field: str) -> None:
    """
    What the operator lacks in *field* may be among the groups that the issuer left out.
    """
    if field in operator._left_out:  # noqa: SLF001 - for the steps after the mapping, and for nobody else
        raise OperatorRefusedError(
            f"{field} are read from the groups, which the issuer left out of the token",
            code="groups_overage",
        )


def _authorize_scopes(operator: Operator, requirement: Requirement) -> None:
    granted = requirement.package.expand(operator.scopes)
    lacks_any = bool(requirement.any_scopes) and granted.isdisjoint(requirement.any_scopes)
    if lacks_any or not granted.issuperset(requirement.all_scopes):
        _refuse_overage(operator, "scopes")
        raise InsufficientScopeError(
            "the token lacks a required scope",
            required=requirement.all_scopes + requirement.any_scopes,
            granted=operator.scopes,
            lacking=[
                *(scope for scope in requirement.all_scopes if scope not in granted),
                *(requirement.any_scopes if lacks_any else ()),
            ],
        )


def _authorize_authentication(
    operator: Operator, requirement: Requirement, *, now: float, leeway: float
) -> None:
    """
    A missing fact fails (RFC 9470 §6.1); *iat* is no substitute for *auth_time*.
    """
    if requirement.acr_values and operator.token.acr not in requirement.acr_values:
        raise InsufficientAuthenticationError("the authentication context class is not accepted")
    if requirement.max_age is None:
        return
    auth_time = operator.token.auth_time
    if auth_time is None or not -leeway <= now - auth_time <= requirement.max_age + leeway:
        raise InsufficientAuthenticationError("the user authenticated too long ago, or at an unknown time")
