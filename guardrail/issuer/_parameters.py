"""
Request parameters of the two endpoints: parsing, and the two that both read.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from ._errors import OAuthError

MAX_PARAMETERS: Final = 100  # parameters in one request; no grant knows more than ten


def parse_parameters(encoded: bytes) -> dict[str, str]:
    """
    Parse ``application/x-www-form-urlencoded`` parameters, from a body or a query.

    Does not bound the length: the caller has.

    Raises:
        OAuthError: ``invalid_request``: not UTF-8, too many, or one parameter twice.
    """
    try:
        pairs = parse_qsl(
            encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except ValueError as exc:
        raise OAuthError("invalid_request", "the parameters cannot be parsed") from exc
    parameters = dict(pairs)
    # RFC 6749 §3.1, §3.2: parameters MUST NOT be included more than once.
    if len(parameters) != len(pairs):
        raise OAuthError("invalid_request", "a parameter is included more than once")
    # RFC 6749 §3.1, §3.2: a parameter without a value MUST be treated as if it were omitted.
    return {name: value for name, value in parameters.items() if value}


def required_parameter(parameters: Mapping[str, str], *, name: str) -> str:
    """
    Return the parameter.

    Raises:
        OAuthError: ``invalid_request``: it is missing.
    """
    if name not in parameters:
        raise OAuthError("invalid_request", f"missing required parameter {name}")
    return parameters[name]


def requested_scope(parameters: Mapping[str, str], *, allowed: Collection[str]) -> frozenset[str]:
    """
    Return the scope asked for, or all that is allowed when none was (RFC 6749 §3.3).

    Raises:
        OAuthError: ``invalid_scope``: more than is allowed, or not a list of scope tokens.
    """
    if "scope" not in parameters:
        return frozenset(allowed)
    scope = frozenset(parameters["scope"].split(" "))
    if not scope.issubset(allowed):
        raise OAuthError("invalid_scope", "the scope is more than this client may have")
    return scope


def requested_audience(parameters: Mapping[str, str], *, allowed: Sequence[str]) -> str:
    """
    Return the audience asked for with *audience* or *resource* (RFC 8707 §2), or the first allowed one.

    Raises:
        OAuthError: ``invalid_target``: not an allowed one, or the two parameters disagree.
    """
    asked = {parameters[name] for name in ("audience", "resource") if name in parameters} or {allowed[0]}
    audience = asked.pop()
    if asked or audience not in allowed:
        raise OAuthError("invalid_target", "the audience is not one this client may have")
    return audience
