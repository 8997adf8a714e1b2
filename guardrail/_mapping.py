"""
User profile mapping: a verified claims set → an `Operator`.

What a provider calls things is data: one file in ``profiles/`` each. How a claim is read follows from the
field it fills, in one way each; a claim of the wrong shape refuses the token, a missing list is empty.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from ._claims import is_numeric_date
from ._operator import Actor, Operator, TokenFacts, freeze
from ._shapes import is_array, is_object, is_strings
from .errors import ClaimError

Claims = Mapping[str, Any]
Path = tuple[str, ...]

MAX_ACTORS: Final = 4  # RFC 8693 §4.1 chains deeper than this are refused
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Profile:
    """
    One provider's way of spelling claims, read once at startup.

    Attributes:
        token_types: Accepted *typ* header values, normalized; the empty string is "absent".
        required: Fields that must be there.
        required_claims: Claims that must be there beside them.
        fields: Per field, the paths to look at; the first present one is used.
        service_equal: Two fields whose equality marks a client acting as itself (RFC 9068 §5).
    """

    token_types: frozenset[str]
    required: frozenset[str]
    required_claims: tuple[str, ...]
    fields: Mapping[str, tuple[Path, ...]]
    service_equal: tuple[str, str]

    def operator(self, claims: Claims) -> Operator:
        """
        Make the operator that *claims*, verified and validated, speak of.

        Raises:
            ClaimError: A required claim is missing, or a mapped claim has the wrong shape.
        """
        mapped = {field: self._read(field, claims) for field in self.fields}
        one, other = (mapped[field] for field in self.service_equal)
        token_id = mapped.pop("token_id")
        return Operator(
            operator_id=f"{claims['iss']}#{mapped['subject']}",
            kind="service" if one == other else "user",
            issuer=claims["iss"],
            actors=_actors(claims),
            token=_token_facts(claims, token_id),
            claims=freeze(claims),
            **mapped,
        )

    def _read(self, field: str, claims: Claims) -> Any:
        read = _READERS.get(field, _text)
        for path in self.fields[field]:
            value = _at(claims, path)
            if value is not _ABSENT:
                return read(value, path[0])
        if field in self.required:
            name = self.fields[field][0][0]
            raise ClaimError(f'missing required "{name}" claim', claim=name, reason="missing")
        return _EMPTY_OF.get(field)


def load_profile(name: str) -> Profile:
    """
    Read the data file of the profile called *name*.
    """
    text = resources.files("guardrail").joinpath("profiles", f"{name}.toml").read_text("utf-8")
    data = tomllib.loads(text)
    first, second = data["service_when"]["equal"]
    return Profile(
        token_types=frozenset(data["token_types"]),
        required=frozenset(data["required"]),
        required_claims=tuple(data.get("required_claims", ())),
        fields={field: tuple(map(tuple, paths)) for field, paths in data["fields"].items()},
        service_equal=(first, second),
    )


def _at(claims: Claims, path: Path) -> object:
    value: object = claims
    for name in path:
        if not is_object(value) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _scopes(value: object, claim: str) -> frozenset[str]:
    """
    A space-separated string (RFC 6749 §3.3) or an array of strings; only the space separates.
    """
    if isinstance(value, str):
        return frozenset(filter(None, value.split(" ")))
    if is_array(value) and is_strings(value):
        return frozenset(value)
    raise _malformed(claim, value)


def _list(value: object, claim: str) -> frozenset[str]:
    """
    An array of strings, or of objects with a string ``value`` (RFC 7643 §2.4); a lone string is one element.
    """
    elements = [value] if isinstance(value, str) else value
    if not is_array(elements):
        raise _malformed(claim, value)
    plain = [one.get("value") if is_object(one) else one for one in elements]
    if not is_strings(plain):
        raise _malformed(claim, value)
    return frozenset(plain)


def _text(value: object, claim: str) -> str:
    if not isinstance(value, str) or not value:
        raise _malformed(claim, value)
    return value


def _actors(claims: Claims) -> tuple[Actor, ...]:
    """
    The ``act`` chain, current actor first (RFC 8693 §4.1).
    """
    actors: list[Actor] = []
    holder: Claims = claims
    while "act" in holder:
        acting: object = holder["act"]
        if not is_object(acting) or "sub" not in acting or len(actors) == MAX_ACTORS:
            raise _malformed("act", claims["act"])
        holder = acting
        texts = {name: _text(holder[name], "act") for name in ("sub", "iss", "client_id") if name in holder}
        actors.append(Actor(texts["sub"], texts.get("iss"), texts.get("client_id")))
    return tuple(actors)


def _token_facts(claims: Claims, token_id: str | None) -> TokenFacts:
    """
    Facts that decide nothing here; one of the wrong type counts as missing, so that step-up fails closed.
    """
    acr, amr, auth_time = claims.get("acr"), claims.get("amr"), claims.get("auth_time")
    return TokenFacts(
        token_id=token_id,
        issued_at=claims.get("iat"),
        expires_at=claims["exp"],
        auth_time=auth_time if is_numeric_date(auth_time) else None,
        acr=acr if isinstance(acr, str) else None,
        amr=tuple(one for one in amr if isinstance(one, str)) if is_array(amr) else (),
    )


def _malformed(claim: str, value: object) -> ClaimError:
    return ClaimError(f'"{claim}" has the wrong shape', claim=claim, reason="invalid", actual=value)


_READERS: Final[Mapping[str, Callable[[object, str], Any]]] = {
    "scopes": _scopes,
    "roles": _list,
    "groups": _list,
    "permissions": _list,
}
_EMPTY_OF: Final[Mapping[str, frozenset[str]]] = dict.fromkeys(_READERS, frozenset())
