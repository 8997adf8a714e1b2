"""
Profiles: how a provider spells its claims, and what its tokens need beyond the usual checks.

What a provider does is data: one file in ``profiles/`` each, read once.
"""

import functools
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, Literal

__all__ = ["FIELDS", "PROFILES", "Profile", "ProfilePath", "load_profile"]

PROFILES: Final = (
    "default", "rfc9068", "entra", "keycloak", "okta", "auth0", "cognito", "google_id_token", "pega",
)  # fmt: skip
FIELDS: Final = (
    "subject", "client_id", "scopes", "roles", "groups", "permissions", "access_groups", "tenant",
    "username", "email", "token_id",
)  # fmt: skip

# Exact member names from the outside in; None stands for an audience of the package that the token names.
ProfilePath = tuple[str | None, ...]
AudienceStyle = Literal["package", "package_if_present", "client"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """
    One provider's way of spelling claims. Does not look at any token; `OperatorMapping` is compiled of it.

    Attributes:
        name: What `guardrail.Issuer` calls it.
        token_types: Accepted *typ* header values, normalized; the empty string is "absent".
        fields: Per field, the paths to look at; the first present one is used.
        required: Fields that must be there, the subject always among them.
        required_claims: Claims that must be there beside them.
        audience: What *aud* names: the service ``package``; it, or *aud* is missing
            (``package_if_present``); or the ``client``.
        client_prefix: What stands before the client ID in an *aud* of style ``client``.
        forbidden_audiences: Audiences that say nothing of who a token is for; no package may accept them.
        wanted_marks: Marks of another kind of token that do not refuse one here.
        tenant_claim: The claim that must equal the tenant in the issuer URL, its first path segment; "" for
            none.
        no_tenants: First path segments of issuer URLs that name no tenant, so that no token bears them.
        service_when: Tests, of which one must hold, for a subject that is a service; see `service_test`.
        pins_client: Whether *aud* does not hold tokens to this API, so that registered clients must: without
            registrations the issuer is not to be configured, and an unregistered client is not to be served.
    """

    name: str
    token_types: frozenset[str]
    fields: Mapping[str, tuple[ProfilePath, ...]]
    required: frozenset[str] = frozenset({"subject"})
    required_claims: tuple[str, ...] = ()
    audience: AudienceStyle = "package"
    client_prefix: str = ""
    forbidden_audiences: frozenset[str] = frozenset()
    wanted_marks: frozenset[str] = frozenset()
    tenant_claim: str = ""
    no_tenants: frozenset[str] = frozenset()
    service_when: tuple[Mapping[str, Any], ...] = ()
    pins_client: bool = False

    @property
    def is_kind_registered(self) -> bool:
        """
        Whether claims cannot tell a service, so that the registration of the token's client has to.

        The mapping alone then makes every operator a ``user``. The step that knows the registrations makes
        it a ``service`` where the client's has an ``operator_id``.
        """
        return any("registered" in rule for rule in self.service_when)


@functools.cache
def load_profile(name: str) -> Profile:
    """
    Read the data file of the profile called *name*, one of `PROFILES`.
    """
    text = resources.files("guardrail").joinpath("profiles", f"{name}.toml").read_text("utf-8")
    # A misspelt key in a data file must not be a rule that nobody keeps.
    return Profile(name=name, **{key: _FORM[key](value) for key, value in tomllib.loads(text).items()})


def _fields(value: dict[str, list[list[Any]]]) -> Mapping[str, tuple[ProfilePath, ...]]:
    return MappingProxyType({field: tuple(map(_path, value[field])) for field in FIELDS if field in value})


def _path(value: list[Any]) -> ProfilePath:
    return tuple(one if isinstance(one, str) else None for one in value)


_FORM: Final[Mapping[str, Callable[[Any], Any]]] = {
    "token_types": frozenset,
    "fields": _fields,
    "required": frozenset,
    "required_claims": tuple,
    "audience": str,
    "client_prefix": str,
    "forbidden_audiences": frozenset,
    "wanted_marks": frozenset,
    "tenant_claim": str,
    "no_tenants": frozenset,
    "service_when": tuple,
    "pins_client": bool,
}
