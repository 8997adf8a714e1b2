"""
`any_of`: a route that is open to the callers of either of several service packages.
"""

from dataclasses import dataclass
from typing import TypeVar

from ._declaration import declare
from ._policy import Requirement
from .errors import PolicyError

__all__ = ["Alternatives", "any_of", "requirements_of"]

_Endpoint = TypeVar("_Endpoint")


@dataclass(frozen=True, slots=True)
class Alternatives:
    """
    Requirements of which a token must meet one in full; made by `any_of`, used as a decorator.

    Attributes:
        requirements: Two or more, in the order in which a token is held against them.
    """

    requirements: tuple[Requirement, ...]

    def __call__(self, endpoint: _Endpoint) -> _Endpoint:
        """
        Declare *endpoint*, as `Requirement` does.

        Raises:
            PolicyError: It is declared already, or cannot hold a mark.
        """
        return declare(endpoint, self)

    def __str__(self) -> str:
        """
        The alternatives in a table's cell.
        """
        return " or ".join(f"{one.package.name}: {one}" for one in self.requirements)


def any_of(*requirements: Requirement | Alternatives) -> Alternatives:
    """
    Any one of *requirements*, each with its own issuers, audiences and scopes; use it as a decorator.

    A token that one of them accepts is accepted. One that none accepts gets the answer of the one that it
    came closest to; one that is valid nowhere, a challenge of each.

    Args:
        requirements: What `ServicePackage.requires` and `requires_any` return, two or more.

    Raises:
        PolicyError: Fewer than two, or something else.
    """
    found: list[Requirement] = []
    for one in requirements:
        if not isinstance(one, Requirement | Alternatives):
            raise PolicyError(
                f'any_of() takes requirements, such as orders.requires("orders:read"); got {one!r}'
            )
        found += requirements_of(one)
    several = tuple(dict.fromkeys(found))
    if len(several) < 2:
        raise PolicyError("any_of() needs two different requirements; one alone is a decorator by itself")
    return Alternatives(several)


def requirements_of(requirement: object) -> tuple[Requirement, ...]:
    """
    What a declaration's requirement asks for: nothing of a public one, else one or more alternatives.
    """
    if isinstance(requirement, Alternatives):
        return requirement.requirements
    return (requirement,) if isinstance(requirement, Requirement) else ()
