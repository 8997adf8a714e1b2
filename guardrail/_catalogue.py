"""
Every refusal code in words: at which step of the road it is raised, why, and what to do.

For people: `guardrail explain` prints it, and ``docs/errors.md`` is made of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["CATALOGUE", "STEPS", "Entry"]

# The road of a token, in order, and what each step makes sure of.
STEPS: Final[Mapping[str, str]] = {
    "credentials": "one bearer token in one Authorization field (RFC 6750 §2.1)",
    "compact form": "three parts, strict base64url and strict JSON (RFC 7515 §7.1)",
    "issuer": "the token names a configured issuer",
    "header": "algorithm, type and key ID are acceptable (RFC 8725 §3.1, RFC 9068 §4)",
    "key": "the issuer has a key that fits (RFC 7515 §4.1.4)",
    "signature": "the key made the signature (RFC 7515 §5.2)",
    "audience": "the token is for this API (RFC 9068 §4)",
    "times": "it is not expired, and not from the future (RFC 7519 §4.1.4 to §4.1.6)",
    "kind": "it is an access token, and not bound to a key (RFC 8725 §3.12)",
    "operator": "the claims that make the operator are there and well-formed",
    "client": "the client is registered, where it has to be, and enabled",
    "directory": "the operator directory, where there is one, knows the operator and has him enabled",
    "authentication": "the user authenticated as the route asks (RFC 9470)",
    "scopes": "the scopes that the route needs are granted (RFC 6750 §3.1)",
    "operator's rights": "the operator has the role or access group that the route needs",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One code in words.

    Attributes:
        step: Where on the road, a key of `STEPS`.
        status: The HTTP status of the answer.
        cause: What happened.
        fix: What to do about it.
    """

    step: str
    status: int
    cause: str
    fix: str


CATALOGUE: Final[Mapping[str, Entry]] = {
    "access_group_missing": Entry(
        "operator's rights",
        403,
        "The operator's active access group is none of those the route accepts.",
        "Give the operator the access group, or name his in requires(access_groups=...).",
    ),
    "algorithm_not_allowed": Entry(
        "header",
        401,
        "The header's algorithm is missing, or not in the issuer's list.",
        "Let the issuer sign with an accepted algorithm, or name its own in Issuer(algorithms=[...]).",
    ),
    "audience_mismatch": Entry(
        "audience",
        401,
        "The token is for another API: aud names none of the package's audiences.",
        "Ask the issuer for a token for this API (resource or audience), or correct audience=.",
    ),
    "authorization_malformed": Entry(
        "credentials",
        400,
        "The Authorization field is not a scheme, spaces and one token.",
        "Send `Authorization: Bearer <token>`: one space, no quotes, no comma.",
    ),
    "authorization_repeated": Entry(
        "credentials",
        400,
        "The request has more than one Authorization field.",
        "Send it once; look for a proxy that adds its own.",
    ),
    "bad_signature": Entry(
        "signature",
        401,
        "No key of the issuer that fits the header made this signature.",
        "Get a new token. If all fail, the issuer signs with another key than it publishes under this ID.",
    ),
    "claim_missing": Entry(
        "operator",
        401,
        "A claim that every access token needs is not there.",
        "Let the issuer put the claim in, or check that this is an access token for this API.",
    ),
    "claims_malformed": Entry(
        "operator",
        401,
        "A claim has the wrong type or shape.",
        "Correct the claim at the issuer: times are numbers, names are strings, lists are arrays of strings.",
    ),
    "client_not_allowed": Entry(
        "client",
        403,
        "The client is not among the issuer's registrations, and has to be, or it is disabled there.",
        "Add a ClientRegistration to Issuer(clients=[...]), or set enabled=True in the one there is.",
    ),
    "directory_unavailable": Entry(
        "directory",
        503,
        "The operator directory failed or was too slow, and no record is in hand that may still be used.",
        "The event directory_failed says how; CachedDirectory(max_stale=...) bridges an outage.",
    ),
    "groups_overage": Entry(
        "operator's rights",
        403,
        "The operator is in too many groups for a token: the issuer left them out, and the route needs them.",
        "Let the issuer put in only the groups that are assigned to the application, or app roles instead.",
    ),
    "insufficient_authentication": Entry(
        "authentication",
        401,
        "The user's authentication is too weak or too old for this route, or the token does not say.",
        "Let the client ask the user again with the acr_values and max_age of the challenge.",
    ),
    "insufficient_scope": Entry(
        "scopes",
        403,
        "The token is good and lacks a scope that the route needs.",
        "Ask for a token with all scopes of the challenge, and check that the client may have them.",
    ),
    "issuer_mismatch": Entry(
        "issuer",
        401,
        "iss is not exactly the issuer whose keys verified the token.",
        "Spell Issuer(url) exactly as the token's iss, slash at the end included.",
    ),
    "keys_unavailable": Entry(
        "key",
        503,
        "The issuer's keys could not be had, and none are in hand.",
        "Check that its metadata and JWK Set can be fetched from here; the event keys_fetch_failed says why.",
    ),
    "malformed_token": Entry(
        "compact form",
        401,
        "The token is no signed JWT: opaque, encrypted, cut off, or not strict base64url and JSON.",
        "Ask for a JWT access token for this API; an opaque one often means that no audience was asked for.",
    ),
    "missing_token": Entry(
        "credentials",
        401,
        "The request has no bearer token.",
        "Send `Authorization: Bearer <token>`; tokens in cookies, forms and the query are not looked at.",
    ),
    "operator_disabled": Entry(
        "directory",
        403,
        "The operator directory has the operator disabled.",
        "Enable him there; a change takes CachedDirectory(max_age=...) at most, or invalidate(key).",
    ),
    "operator_unknown": Entry(
        "directory",
        403,
        "The token is good, and the operator directory has no such operator.",
        "Add the operator there, under the issuer and subject of the key that resolve() gets.",
    ),
    "other_token_kind": Entry(
        "kind",
        401,
        "The token is an ID, refresh or logout token, or another kind: it bears the marks of one.",
        "Send the access token of the token response, not the ID token.",
    ),
    "role_missing": Entry(
        "operator's rights",
        403,
        "The operator has none of the roles the route accepts.",
        "Give the operator the role at the issuer, or name his in requires(roles=...).",
    ),
    "sender_constrained": Entry(
        "kind",
        401,
        "The token is bound to a key (cnf), and was sent as a plain bearer token.",
        "Ask for an unbound token: proof of possession is not checked by this version.",
    ),
    "tenant_mismatch": Entry(
        "operator",
        401,
        "The token's tenant is not the one that the issuer URL names.",
        "Configure the issuer of the tenant whose users and applications call; each tenant is an issuer.",
    ),
    "token_expired": Entry(
        "times",
        401,
        "The token has expired.",
        "Get a new one, ahead of expiry. If it is new, compare the clocks of issuer and API.",
    ),
    "token_in_query": Entry(
        "credentials",
        400,
        "The request has a token in the field and another in the query.",
        "Take access_token out of the URL: URLs are logged.",
    ),
    "token_not_yet_valid": Entry(
        "times",
        401,
        "The token's nbf or iat lies in the future.",
        "Compare the clocks of issuer and API; Issuer(leeway=...) forgives up to 300 seconds.",
    ),
    "token_too_large": Entry(
        "compact form",
        401,
        "The token, or its header, is larger than any in use (16 KiB; header 4 KiB). As a field it is 400.",
        "Let the issuer put less in: group overage and embedded certificates are the usual reasons.",
    ),
    "token_type_mismatch": Entry(
        "header",
        401,
        "The header's typ is not that of an access token.",
        "Send the access token; if the issuer has a type of its own, name it in Issuer(token_types=[...]).",
    ),
    "unknown_issuer": Entry(
        "issuer",
        401,
        "The token's iss is none of the service package's issuers.",
        "Spell the issuer exactly as the token does, or add it to issuer=[...].",
    ),
    "unknown_key": Entry(
        "key",
        401,
        "The issuer publishes no single key that fits the header's kid and algorithm.",
        "Check that token and keys are of the same issuer; weak, private and encryption keys are never used.",
    ),
    "unsupported_header": Entry(
        "header",
        401,
        "The header asks for what is not supported: crit, b64, enc, a nested token, or a strange kid.",
        "Let the issuer make plain signed access tokens.",
    ),
}
