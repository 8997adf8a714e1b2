"""
Where each field of an operator comes from: the claim, the client's registration, or neither.

Says nothing that the mapping or the registration did not do; it does it again, to see how.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from .._claim_paths import ABSENT, path_reader
from .._issuer import Issuer
from .._kinds import service_tests
from .._mapping_setting import field_paths
from .._operator import Operator
from .._profiles import FIELDS, Profile, ProfilePath, load_profile
from .._registration import ClientRegistration
from .._shapes import is_sequence

__all__ = ["sources"]

_COMPARISONS: Final = ("equals", "starts_with", "ends_with")
_FACTS: Final = {
    "issued_at": "iat",
    "expires_at": "exp",
    "auth_time": "auth_time",
    "acr": "acr",
    "amr": "amr",
}
_REGISTRATION: Final = "client registration"


def sources(operator: Operator, *, issuer: Issuer, audiences: frozenset[str]) -> dict[str, str]:
    """
    The origin in words of each field of *operator*, as token and registration made it; facts of the token as
    ``token.acr``. A directory may have the last word on some of them, and is not asked here.

    Has no value of the token in it: claims are named as profile and mapping name them.

    Args:
        operator: The operator.
        issuer: Whose token made it.
        audiences: The package's audiences.
    """
    profile, replaced = load_profile(issuer.profile), field_paths(issuer.mapping) or {}
    claims, token = operator.claims, {}
    found = {field: _read(field, operator, profile, replaced, audiences) for field in FIELDS}
    token["token.token_id"] = found.pop("token_id")
    for fact, claim in _FACTS.items():
        token[f"token.{fact}"] = _claim(claim, claims)
    found |= {
        "operator_id": "issuer and subject",
        "kind": _kind(operator, profile),
        "issuer": "claim iss",
        "groups_overage": "claim _claim_names or hasgroups" if operator.groups_overage else "default",
        "access_group": "first of access_groups" if operator.access_groups else "no access groups",
        "actors": _claim("act", claims),
        "claims": "the verified token",
        **token,
    }
    registered = {one.client_id: one for one in issuer.clients}
    registration = registered.get(operator.client_id or "")
    return found if registration is None else found | _from(registration, operator, found)


def _from(registration: ClientRegistration, operator: Operator, found: Mapping[str, str]) -> dict[str, str]:
    """
    What a registration changes: the ceiling for everybody's tokens, the rest for a machine's.
    """
    changed: dict[str, str] = {}
    if registration.scopes is not None:
        changed["scopes"] = f"{found['scopes']}, at most those of the {_REGISTRATION}"
    if operator.kind == "service":
        given = ("operator_id", "roles", "access_groups")
        changed |= {field: _REGISTRATION for field in given if getattr(registration, field) is not None}
    return changed


def _read(
    field: str,
    operator: Operator,
    profile: Profile,
    replaced: Mapping[str, tuple[ProfilePath, ...]],
    audiences: frozenset[str],
) -> str:
    """
    The claim that *field* was read from, or those that were looked for.
    """
    paths = replaced.get(field) or profile.fields.get(field, ())
    if not paths:
        return f"not in profile {profile.name}"
    suffix = ", by mapping" if field in replaced else ""
    for path in paths:
        if there := [_spell(one) for one in _places(path, operator, audiences) if _leads(one, operator)]:
            is_in_audience = field == "client_id" and profile.audience == "client" and not suffix
            less = f', less "{profile.client_prefix}"' if is_in_audience else ""
            return f"claim {' and '.join(there)}{less}{suffix}"
    left_out = "; left out" if field in operator._left_out else ""  # noqa: SLF001 - for telling of it
    places = [_spell(one) for path in paths for one in _places(path, operator, audiences)]
    return f"no claim {' or '.join(places)}{suffix}{left_out}"


def _places(path: ProfilePath, operator: Operator, audiences: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """
    *path* with each audience of the package that the token names in it, if it has a place for that.
    """
    if None not in path:
        yield tuple(one for one in path if one is not None)
        return
    aud: object = operator.claims["aud"]
    named = aud if is_sequence(aud) else (aud,)
    for audience in sorted(one for one in audiences if one in named):
        yield tuple(audience if one is None else one for one in path)


def _leads(path: tuple[str, ...], operator: Operator) -> bool:
    return path_reader((path,), _as_it_is, audiences=())(operator.claims) is not ABSENT


def _as_it_is(value: object, _: str) -> object:
    return value


def _spell(path: tuple[str, ...]) -> str:
    """
    A path as `guardrail explain --mapping` takes it.
    """
    return path[0] if len(path) == 1 else json.dumps(path)


def _claim(name: str, claims: Mapping[str, Any]) -> str:
    return f"claim {name}" if name in claims else f"no claim {name}"


def _kind(operator: Operator, profile: Profile) -> str:
    """
    What makes the subject a service; or that nothing does.
    """
    for rule in profile.service_when:
        if "registered" in rule:
            if operator.kind == "service":
                return _REGISTRATION
        elif service_tests([rule])[0](operator.claims, operator):
            return _told(rule)
    return "no mark of a service"


def _told(rule: Mapping[str, Any]) -> str:
    if "same" in rule:
        return " is ".join(rule["same"])
    if "absent" in rule:
        return f"no claim {' or '.join(rule['absent'])}"
    [comparison] = [one for one in _COMPARISONS if one in rule]
    return f'claim {rule["claim"]} {comparison.replace("_", " ")} "{rule[comparison]}"'
