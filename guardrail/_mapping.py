"""
User profile mapping: a verified claims set → an `Operator`.

Compiled once for an issuer and a service package, since it runs once for every token that is verified.
"""

from collections.abc import Mapping
from typing import Any, Final

from ._claim_paths import ABSENT, PathReader, Read, path_reader
from ._claim_values import Claims, malformed, missing, read_names, read_ordered_names, read_scopes, read_text
from ._drafts import OperatorDraft
from ._frozen import FrozenClaims
from ._kinds import service_tests
from ._mapping_setting import Path
from ._operator import Operator
from ._profiles import Profile, ProfilePath
from ._token_facts import has_overage, read_actors, read_token_facts

__all__ = ["OperatorMapping"]

_READERS: Final[Mapping[str, Read]] = {
    "scopes": read_scopes,
    "roles": read_names,
    "groups": read_names,
    "permissions": read_names,
    "access_groups": read_ordered_names,
}
_SLOT: Final = {"token_id": "token"}  # where the token ID waits until the facts of the token are made


class OperatorMapping:
    """
    Makes the operators of the tokens that one issuer made for one service package.

    Does not verify anything, and looks at *aud* for nothing but what a claim keeps under its names.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        replaced: Mapping[str, tuple[Path, ...]] | None = None,
        audiences: frozenset[str] = frozenset(),
    ) -> None:
        """
        Args:
            profile: How the issuer spells its claims.
            replaced: The fields that are read elsewhere, and where: ``Issuer(mapping=)``.
            audiences: The package's audiences.
        """
        paths: dict[str, tuple[ProfilePath, ...]] = {**profile.fields, **(replaced or {})}
        reads: dict[str, Read] = {field: _READERS.get(field, read_text) for field in paths}
        if profile.audience == "client" and "client_id" not in (replaced or {}):
            reads["client_id"] = _after(profile.client_prefix)
        required = {one: str(paths[one][0][0]) for one in profile.required}
        # The claim where the value nearly always is comes first: looking there is enough then.
        self._fields = tuple(
            (
                _SLOT.get(one, one),
                _first_member(paths[one]),
                reads[one] is read_text,
                reads[one],
                _elsewhere(paths[one], reads[one], audiences),
                required.get(one),
            )
            for one in paths
        )
        self._service_tests = service_tests(profile.service_when)
        self._of_groups = tuple(
            one for one in paths if one in _READERS and any(path[0] == "groups" for path in paths[one])
        )

    def operator(self, claims: Claims) -> Operator:
        """
        Make the operator that *claims*, verified and validated, speak of. They are the operator's then.

        Raises:
            ClaimError: A required claim is missing, or a mapped claim has the wrong shape.
        """
        issuer = claims["iss"]
        draft = OperatorDraft(issuer)
        self._read(claims, draft)
        for is_service in self._service_tests:
            if is_service(claims, draft):
                draft.kind = "service"
        if draft.access_groups:
            draft.access_group = draft.access_groups[0]
        if "act" in claims:
            draft.actors = read_actors(claims)
        if "_claim_names" in claims or "hasgroups" in claims:
            self._tell_of_overage(claims, draft)
        draft.operator_id = f"{issuer}#{draft.subject}"
        draft.token = read_token_facts(claims, draft.token)
        draft.claims = FrozenClaims(claims)
        return draft.finished()

    def _read(self, claims: Claims, draft: OperatorDraft) -> None:
        for slot, claim, is_text, read, elsewhere, required in self._fields:
            if claim in claims:
                value = claims[claim]
                # What `read_text` would find out, without calling it for each of many texts.
                if not (is_text and isinstance(value, str) and value):
                    value = read(value, claim)
                setattr(draft, slot, value)
            elif elsewhere is not None and (value := elsewhere(claims)) is not ABSENT:
                setattr(draft, slot, value)
            elif required is not None:
                raise missing(required)

    def _tell_of_overage(self, claims: Claims, draft: OperatorDraft) -> None:
        if has_overage(claims):
            draft.groups_overage = True
            # What was not read from another claim either: a list that was read stands.
            left_out = frozenset(one for one in self._of_groups if not getattr(draft, one))
            draft._left_out = left_out  # noqa: SLF001 - it is ours until it is made


def _first_member(paths: tuple[ProfilePath, ...]) -> Any:
    """
    The first of *paths*, if it is a member of the claims set itself; else None, which no claim is called.
    """
    return paths[0][0] if len(paths[0]) == 1 else None


def _elsewhere(paths: tuple[ProfilePath, ...], read: Read, audiences: frozenset[str]) -> PathReader | None:
    """
    What looks where `_first_member` of *paths* is not the place; None if there is no other.
    """
    return None if paths == ((_first_member(paths),),) else path_reader(paths, read, audiences=audiences)


def _after(prefix: str) -> Read:
    """
    What reads a text less its *prefix*, which must be there and be followed by something.
    """

    def read(value: object, claim: str) -> str:
        if isinstance(value, str) and value.startswith(prefix):
            return read_text(value.removeprefix(prefix), claim)
        raise malformed(claim, value)

    return read
