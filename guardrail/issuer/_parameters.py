"""
Request parameters of the endpoints: parsing, and the two that several read.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final
from urllib.parse import parse_qsl

from ._errors import OAuthError

MAX_PARAMETERS: Final = 100  # parameters in one request; no grant knows more than ten

# RFC 8707 §2, RFC 8693 §2.1: the only parameters that may be included more than once.
_REPEATABLE: Final = frozenset({"audience", "resource"})


class Parameters(dict[str, str]):
    """
    Request parameters by name. Of *audience* and *resource*, which may be repeated, `all_of` has every value.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)
        super().__init__(self._pairs)

    def __repr__(self) -> str:
        return f"Parameters({list(self)})"  # names only: among the values are secrets and tokens

    def all_of(self, name: str) -> tuple[str, ...]:
        """
        Return the values of one parameter in their order, each once; none when it is missing.
        """
        return tuple(dict.fromkeys(value for other, value in self._pairs if other == name))


def parse_parameters(encoded: bytes) -> Parameters:
    """
    Parse ``application/x-www-form-urlencoded`` parameters, from a body or a query.

    Does not bound the length: the caller has.

    Raises:
        OAuthError: ``invalid_request``: not UTF-8, too many, or one twice that may not be repeated.
    """
    try:
        pairs = parse_qsl(
            encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except ValueError as exc:
        raise OAuthError("invalid_request", "the parameters cannot be parsed") from exc
    once = [name for name, _ in pairs if name not in _REPEATABLE]
    # RFC 6749 §3.1, §3.2: parameters MUST NOT be included more than once.
    if len(set(once)) != len(once):
        raise OAuthError("invalid_request", "a parameter is included more than once")
    # RFC 6749 §3.1, §3.2: a parameter without a value MUST be treated as if it were omitted.
    return Parameters((name, value) for name, value in pairs if value)


def required_parameter(parameters: Parameters, *, name: str) -> str:
    """
    Return the parameter.

    Raises:
        OAuthError: ``invalid_request``: it is missing.
    """
    if name not in parameters:
        raise OAuthError("invalid_request", f"missing required parameter {name}")
    return parameters[name]


def requested_scope(parameters: Parameters, *, allowed: Collection[str]) -> frozenset[str]:
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


def requested_audience(
    parameters: Parameters, *, allowed: Sequence[str], default: Sequence[str]
) -> tuple[str, ...]:
    """
    Return the audience asked for with *resource* (RFC 8707 §2) or *audience*, or the default.

    Raises:
        OAuthError: ``invalid_target``: not an allowed one, or the two parameters disagree.
    """
    resources, audiences = parameters.all_of("resource"), parameters.all_of("audience")
    do_disagree = bool(resources and audiences) and set(resources) != set(audiences)
    asked = resources or audiences or tuple(default)
    if do_disagree or not set(asked).issubset(allowed):
        raise OAuthError("invalid_target", "the audience is not one this client may have")
    return asked
