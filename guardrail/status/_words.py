"""
Policies, notices and durations in words.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from .._alternatives import requirements_of
from .._declaration import Declaration
from .._policy import Requirement
from ..events import DirectoryFailed, PlainHttpUsed, RefetchBudgetSpent, StaleKeysUsed

__all__ = ["NOTICES", "duration", "needs"]

# What a notice means, and what to do.
NOTICES: Final[Mapping[str, tuple[str, str]]] = {
    PlainHttpUsed.name: (
        "A token came over plain HTTP to this package, as far as the server says.",
        "Serve over TLS; behind a proxy that ends it, let the server take the scheme from the proxy.",
    ),
    StaleKeysUsed.name: (
        "Tokens were judged by keys past their lifetime, because this issuer cannot be had.",
        "Look at the issuer's last failure, among the issuers.",
    ),
    RefetchBudgetSpent.name: (
        "Unknown key IDs are refused without asking this issuer, which was asked often enough.",
        "Look for a caller that sends them, in the refusals with unknown_key.",
    ),
    DirectoryFailed.name: (
        "A look-up in the operator directory failed, in this way.",
        "The event directory_failed names the error; CachedDirectory(max_stale=...) bridges an outage.",
    ),
}

_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def duration(seconds: float) -> str:
    """
    A duration in its largest unit, such as ``3 min``; what is less than one of that is left out.
    """
    sign, size = "-" if seconds <= -1.0 else "", abs(seconds)
    for length, unit in _UNITS:
        if size >= length:
            return f"{sign}{int(size // length)} {unit}"
    return "0 s"


def needs(declaration: Declaration | None) -> str:
    """
    What a route asks of its callers, in a sentence without its full stop.
    """
    if declaration is None:
        return "undeclared"
    several = requirements_of(declaration.requirement)
    if not several:
        return "public: no token"
    if len(several) == 1:
        return _of_one(several[0])
    return ", or ".join(f"for {one.package.name}: {_of_one(one)}" for one in several)


def _of_one(requirement: Requirement) -> str:
    wanted: tuple[tuple[str, str, str, Sequence[str]], ...] = (
        ("the scope", "the scopes", "and", requirement.all_scopes),
        ("the scope", "one of the scopes", "or", requirement.any_scopes),
        ("the role", "one of the roles", "or", sorted(requirement.roles)),
        ("the access group", "one of the access groups", "or", sorted(requirement.access_groups)),
        ("authentication as", "authentication as", "or", requirement.acr_values),
    )
    parts = [_listed(*one) for one in wanted if one[-1]]
    if requirement.max_age is not None:
        parts.append(f"authentication at most {requirement.max_age:g} s ago")
    return f"a valid token with {'; '.join(parts)}" if parts else "any valid token"


def _listed(one: str, many: str, joint: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{one} {names[0]}"
    return f"{many} {', '.join(names[:-1])} {joint} {names[-1]}"
