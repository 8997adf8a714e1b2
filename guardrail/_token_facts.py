"""
What a claims set says of the token itself, and of who acts for its subject.
"""

from typing import Any, Final

from ._claim_values import Claims, malformed, read_text
from ._claims import is_numeric_date
from ._drafts import TokenFactsDraft
from ._operator import Actor, TokenFacts
from ._shapes import is_array, is_object

__all__ = ["MAX_ACTORS", "has_overage", "read_actors", "read_token_facts"]

MAX_ACTORS: Final = 4  # RFC 8693 §4.1 chains deeper than this are refused


def read_actors(claims: Claims) -> tuple[Actor, ...]:
    """
    The ``act`` chain, current actor first (RFC 8693 §4.1).

    Raises:
        ClaimError: Not an object with a subject, at any depth, or nested deeper than `MAX_ACTORS`.
    """
    actors: list[Actor] = []
    holder: Claims = claims
    while "act" in holder:
        acting: object = holder["act"]
        if not is_object(acting) or "sub" not in acting or len(actors) == MAX_ACTORS:
            raise malformed("act", claims["act"])
        holder = acting
        texts = {
            name: read_text(holder[name], "act") for name in ("sub", "iss", "client_id") if name in holder
        }
        actors.append(Actor(texts["sub"], texts.get("iss"), texts.get("client_id")))
    return tuple(actors)


def read_token_facts(claims: Claims, token_id: str | None) -> TokenFacts:
    """
    Facts that decide nothing here; one of the wrong type counts as missing, so that step-up fails closed.
    """
    auth_time, acr, amr = claims.get("auth_time"), claims.get("acr"), claims.get("amr")
    draft: Any = TokenFactsDraft()
    draft.token_id = token_id
    draft.issued_at = claims.get("iat")
    draft.expires_at = claims["exp"]
    draft.auth_time = auth_time if auth_time is not None and is_numeric_date(auth_time) else None
    draft.acr = acr if isinstance(acr, str) else None
    draft.amr = () if amr is None else _strings_of(amr)
    draft.__class__ = TokenFacts
    facts: TokenFacts = draft
    return facts


def _strings_of(amr: object) -> tuple[str, ...]:
    return tuple([one for one in amr if isinstance(one, str)]) if is_array(amr) else ()


def has_overage(claims: Claims) -> bool:
    """
    Whether the issuer left the groups out: they were too many, and it says where they are to be had.

    Nobody asks there: a URL out of a token is the token's choice (OpenID Connect Core §5.6.2).
    """
    elsewhere = claims.get("_claim_names")
    return (isinstance(elsewhere, dict) and "groups" in elsewhere) or bool(claims.get("hasgroups"))
