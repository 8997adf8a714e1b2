"""
What a route needs: service packages, and the requirements they make.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

from ._declaration import declare
from ._issuer import Issuer, issuers, package_audiences
from ._scopes import (
    QUOTABLE,
    SCOPES_EXAMPLE,
    quotable,
    reachable,
    require_known,
    require_scope_token,
    vocabulary,
)
from ._settings import names, require_flag, seconds
from ._urls import require_resource
from .errors import PolicyError

__all__ = ["Requirement", "ServicePackage"]

_Endpoint = TypeVar("_Endpoint")

_REQUIRES_EXAMPLE: Final = 'requires("orders:read", "orders:write")'
_REQUIRED: Final = {
    "issuer": 'who issues its tokens, such as issuer="https://login.example.com"',
    "audience": 'how tokens name this API, such as audience="https://api.example.com/orders"',
}


@dataclass(frozen=True, slots=True)
class ServicePackage:
    """
    One protected API: who may issue its tokens, how they name it, which scopes it knows.

    Args:
        name: A short name for challenges (realm), logs and metrics.
        issuer: The issuer's URL, an `Issuer`, or several of them.
        audience: The identifier, or identifiers, of this API; one of them must be in the token's *aud*.
        scopes: The vocabulary: names, or a mapping of names to descriptions. When given, a scope outside
            it is refused where the decorator is written.
        required_scopes: Scopes that every route of the package needs.
        implies: Broader scopes and what they include, such as ``{"orders:write": ["orders:read"]}``.
        resource: The URL clients know this API by, for its metadata (RFC 9728) and in challenges. None takes
            the audience, if there is one alone that is a URL.
        enforce: False decides, and tells listeners, but refuses nobody: for a roll-out.

    Raises:
        PolicyError: A value is missing or not acceptable; the message names the right form.
    """

    name: str
    issuer: str | Issuer | Iterable[str | Issuer] = field(kw_only=True)
    audience: str | Iterable[str] = field(kw_only=True)
    scopes: Iterable[str] | Mapping[str, str] = field(default=(), kw_only=True)
    required_scopes: Iterable[str] = field(default=(), kw_only=True)
    implies: Mapping[str, Iterable[str]] | None = field(default=None, kw_only=True, repr=False)
    resource: str | None = field(default=None, kw_only=True, repr=False)
    enforce: bool = field(default=True, kw_only=True, repr=False)
    issuers: tuple[Issuer, ...] = field(init=False, repr=False, compare=False)
    audiences: frozenset[str] = field(init=False, repr=False, compare=False)
    vocabulary: Mapping[str, str] = field(init=False, repr=False, compare=False)
    _implied: Mapping[str, frozenset[str]] = field(init=False, repr=False, compare=False)

    if not TYPE_CHECKING:  # pragma: no branch - type checkers alone skip it: the fields tell them

        def __new__(cls, *args: object, **kwargs: object) -> Self:
            for name, example in _REQUIRED.items():
                if (args or kwargs) and name not in kwargs:
                    raise PolicyError(f"a service package needs {name}=, {example}")
            return object.__new__(cls)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or not QUOTABLE.issuperset(self.name):
            raise PolicyError(
                f"name must be printable ASCII without quotes or backslashes; got {self.name!r}"
            )
        require_flag("enforce", self.enforce)
        if self.resource is not None:
            require_resource(self.resource)
        _set(self, "issuers", issuers(self.issuer))
        _set(self, "issuer", self.issuers)
        _set(self, "audiences", package_audiences(self.audience, issuers=self.issuers))
        _set(self, "audience", tuple(sorted(self.audiences)))
        _set(self, "vocabulary", MappingProxyType(vocabulary(self.scopes)))
        _set(self, "scopes", self.vocabulary)
        _set(self, "required_scopes", self._known(self.required_scopes, what="required_scopes"))
        _set(self, "_implied", self._closure({} if self.implies is None else self.implies))
        _set(
            self,
            "implies",
            MappingProxyType({scope: tuple(sorted(all_)) for scope, all_ in self._implied.items()}),
        )

    def __hash__(self) -> int:
        return hash((self.name, self.audiences))

    def requires(
        self,
        *scopes: str,
        roles: Iterable[str] = (),
        access_groups: Iterable[str] = (),
        acr_values: Iterable[str] = (),
        max_age: float | None = None,
    ) -> "Requirement":
        """
        All of *scopes*, any of *roles*, any of *access_groups*; use it as a decorator.

        No scope named means "any valid token for this package", never "no token".

        Args:
            scopes: Scope names, each its own argument.
            roles: The operator must have at least one of them.
            access_groups: The operator's active access group must be one of them.
            acr_values: Accepted authentication context classes, preferred first (RFC 9470 §3).
            max_age: Seconds since the user authenticated, at most (RFC 9470 §3); None for any.

        Raises:
            PolicyError: A scope outside the vocabulary, a bare string for several, a negative age.
        """
        return self._requirement(scopes, (), roles, access_groups, acr_values, max_age)

    def requires_any(
        self,
        *scopes: str,
        roles: Iterable[str] = (),
        access_groups: Iterable[str] = (),
        acr_values: Iterable[str] = (),
        max_age: float | None = None,
    ) -> "Requirement":
        """
        Any one of *scopes*, beside the package's required ones; otherwise as `requires`.

        Raises:
            PolicyError: No scope named; and as `requires`.
        """
        if not scopes:
            raise PolicyError(
                'requires_any() needs scopes, such as requires_any("orders:read", "orders:audit")'
            )
        return self._requirement((), scopes, roles, access_groups, acr_values, max_age)

    def expand(self, granted: frozenset[str]) -> frozenset[str]:
        """
        *granted* with everything it implies.
        """
        if not self._implied:
            return granted
        return granted.union(*(self._implied.get(scope, ()) for scope in granted))

    def _requirement(
        self,
        all_of: tuple[str, ...],
        any_of: tuple[str, ...],
        roles: Iterable[str],
        access_groups: Iterable[str],
        acr_values: Iterable[str],
        max_age: float | None,
    ) -> "Requirement":
        all_scopes = self._known(all_of, what="scopes", example=_REQUIRES_EXAMPLE)
        return Requirement(
            package=self,
            all_scopes=(*self.required_scopes, *all_scopes),
            any_scopes=self._known(any_of, what="scopes", example=_REQUIRES_EXAMPLE),
            roles=cast("frozenset[str]", roles),  # Requirement checks and converts what it is given
            access_groups=cast("frozenset[str]", access_groups),
            acr_values=cast("tuple[str, ...]", acr_values),
            max_age=max_age,
        )

    def _known(self, scopes: object, *, what: str, example: str = SCOPES_EXAMPLE) -> tuple[str, ...]:
        found = names(scopes, what=what, example=example)
        for scope in found:
            require_scope_token(scope)
            require_known(scope, self.vocabulary, package=self.name)
        return found

    def _closure(self, implies: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
        if not isinstance(implies, Mapping):
            raise PolicyError('implies must map scopes to scopes, such as {"orders:write": ["orders:read"]}')
        direct = {scope: self._known(implied, what="implies") for scope, implied in implies.items()}
        self._known(direct, what="implies")
        return {scope: frozenset(reachable(scope, direct)) for scope in direct}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """
    What one route needs of a token; made by `ServicePackage.requires`, used as a decorator.

    Attributes:
        package: The service package the route belongs to.
        all_scopes: Scopes that must all be granted, in the order written.
        any_scopes: Scopes of which one must be granted; empty for no such condition.
        roles: Roles of which the operator must have one; empty for any.
        access_groups: Access groups of which the active one must be one; empty for any.
        acr_values: Accepted authentication context classes; empty for any.
        max_age: Seconds since authentication, at most; None for any.
    """

    package: ServicePackage
    all_scopes: tuple[str, ...] = ()
    any_scopes: tuple[str, ...] = ()
    roles: frozenset[str] = frozenset()
    access_groups: frozenset[str] = frozenset()
    acr_values: tuple[str, ...] = ()
    max_age: float | None = None

    def __post_init__(self) -> None:
        for name in ("all_scopes", "any_scopes"):
            _set(self, name, quotable(names(getattr(self, name), what=name, example=SCOPES_EXAMPLE)))
        for name, example in (("roles", '["approver"]'), ("access_groups", '["Orders:Api"]')):
            _set(self, name, frozenset(names(getattr(self, name), what=name, example=example)))
        _set(self, "acr_values", quotable(names(self.acr_values, what="acr_values", example='["urn:mfa"]')))
        _set(self, "max_age", seconds(self.max_age))

    def __call__(self, endpoint: _Endpoint) -> _Endpoint:
        """
        Declare *endpoint*: a function, a class-based endpoint or one of its methods, a partial, a callable
        object, or a whole ASGI application.

        Raises:
            PolicyError: It is declared already, or cannot hold a mark.
        """
        return declare(endpoint, self)

    def __str__(self) -> str:
        """
        The requirement in a table's cell.
        """
        parts = [" ".join(self.all_scopes), " | ".join(self.any_scopes)]
        parts += [f"{name}: {' | '.join(sorted(some))}" for name, some in self._beside_scopes() if some]
        parts += [f"max_age: {self.max_age:g}"] if self.max_age is not None else []
        return ", ".join(filter(None, parts)) or "any valid token"

    def _beside_scopes(self) -> tuple[tuple[str, Iterable[str]], ...]:
        return (("roles", self.roles), ("access groups", self.access_groups), ("acr", self.acr_values))


def _set(instance: object, name: str, value: object) -> None:
    object.__setattr__(instance, name, value)  # the dataclass is frozen for everyone else
