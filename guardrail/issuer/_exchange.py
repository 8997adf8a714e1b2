"""
Token exchange (RFC 8693): one of the issuer's own access tokens for another, which says who acts.
"""

from collections.abc import Mapping
from typing import Final

from .._shapes import is_object
from ._access_tokens import IssuedToken
from ._clients import Client
from ._errors import OAuthError
from ._parameters import Parameters, requested_audience, requested_scope, required_parameter
from ._tokens import Issuance, Minter, access_token_claims

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name of RFC 8693 §3
MAX_ACTORS: Final = 4  # in one chain; guardrail's resource servers read no longer ones


def exchange(client: Client, parameters: Parameters, *, minter: Minter) -> Issuance:
    """
    Give a client a token for the subject of another token, never for more than that one is good for.

    The scope is at most what subject token and client have in common, and the life ends with the subject
    token's. Does not look for whom the subject token was meant, does not take actor tokens, and knows access
    tokens alone. There is no refresh token: it would outlive what it came of.

    Raises:
        OAuthError: ``invalid_request``: the subject token is not good (RFC 8693 §2.2.2), or something else
            than access tokens is asked for; ``invalid_scope``, ``invalid_target``: more than there is.
    """
    subject_token = required_parameter(parameters, name="subject_token")
    _refuse_other_kinds(parameters)
    subject = _subject(subject_token, minter=minter)
    lifetime = min(client.token_lifetime, subject.expires_at - minter.clock())
    if lifetime < 1:
        raise OAuthError("invalid_request", "the subject token is about to expire")
    had = frozenset(str(subject.claims.get("scope", "")).split())
    claims = access_token_claims(
        client,
        subject=str(subject.claims["sub"]),
        scope=requested_scope(parameters, allowed=had.intersection(client.scopes)),
        audience=requested_audience(parameters, allowed=client.audiences, default=client.audiences[:1]),
    )
    kept = {name: subject.claims[name] for name in ("auth_time",) if name in subject.claims}
    further = {"issued_token_type": ACCESS_TOKEN}
    return Issuance(
        claims | kept | _actors(client, subject.claims), lifetime, family=subject.family, further=further
    )


def _refuse_other_kinds(parameters: Parameters) -> None:
    if required_parameter(parameters, name="subject_token_type") != ACCESS_TOKEN:
        raise OAuthError("invalid_request", "subject_token_type must be that of access tokens")
    if parameters.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
        raise OAuthError("invalid_request", "requested_token_type must be that of access tokens")
    if "actor_token" in parameters or "actor_token_type" in parameters:
        raise OAuthError("invalid_request", "the actor is the client: there are no actor tokens")


def _subject(subject_token: str, *, minter: Minter) -> IssuedToken:
    try:
        return minter.find(subject_token)
    except KeyError:
        raise OAuthError("invalid_request", "the subject token is unknown, expired or revoked") from None


def _actors(client: Client, claims: Mapping[str, object]) -> dict[str, object]:
    """
    Return the ``act`` chain with the client at its head (RFC 8693 §4.1).

    A client that exchanges what it acts with already, or its own token, adds nothing to the chain.
    """
    kept: dict[str, object] = {"act": claims["act"]} if "act" in claims else {}
    chain = _chain(claims)
    actor = client.operator or client.client_id
    if (chain[0] if chain else claims)["sub"] == actor:
        return kept
    if len(chain) == MAX_ACTORS:
        raise OAuthError("invalid_request", "too many clients act for the subject already")
    return {"act": {"sub": actor, "client_id": client.client_id, **kept}}


def _chain(claims: Mapping[str, object]) -> list[Mapping[str, object]]:
    """
    Return those who act, the current one first.
    """
    chain: list[Mapping[str, object]] = []
    acting = claims.get("act")
    while is_object(acting):
        chain.append(acting)
        acting = acting.get("act")
    return chain
