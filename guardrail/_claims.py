"""
A claims set whose signature held → refused, or checked (RFC 7519 §4.1, RFC 9068 §4).

Each function looks at one thing and raises `ClaimError`; a claim of the wrong type is refused, never taken
for absent (CVE-2026-25537).
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ._shapes import is_array, is_string_array
from .errors import ClaimError

__all__ = [
    "NumericDates",
    "read_numeric_dates",
    "refuse_other_kinds",
    "require_claims",
    "validate_audience",
    "validate_issuer",
    "validate_token_type",
]

ClaimsSet = Mapping[str, Any]

MAX_NUMERIC_DATE: Final = 253_402_300_799  # 9999-12-31T23:59:59Z; beyond it lie milliseconds and mischief
_NUMBERS: Final = (int, float)  # what JSON numbers are parsed to

# Claims that only another kind of JWT carries: ID tokens (OpenID Connect Core §2, §3.3.2.11) and logout
# tokens and security events (OpenID Connect Back-Channel Logout §2.4, RFC 8417 §2.2).
_OTHER_KINDS: Final = ("nonce", "at_hash", "c_hash", "s_hash", "events")
_ALL_MARKS: Final = (*_OTHER_KINDS, "token_use", "typ", "cnf")
_OTHER_TYP_CLAIMS: Final = frozenset({"id", "refresh", "offline", "logout"})  # Keycloak's claim "typ"


class NumericDates(NamedTuple):
    """
    The times of a token, in seconds since the epoch; judged again each time the token is used.
    """

    expires_at: float
    not_before: float | None
    issued_at: float | None

    def validate(self, *, now: float, leeway: float) -> None:
        """
        Refuse a token that is not valid at *now* (RFC 7519 §4.1.4 to §4.1.6).

        Args:
            now: Current time in seconds since the epoch.
            leeway: Clock skew to forgive, in seconds. Zero forgives none.

        Raises:
            ClaimError: ``now >= exp + leeway``, ``now < nbf - leeway`` or ``now < iat - leeway``.
        """
        # RFC 7519 §4.1.4: "on or after" the expiration time it MUST NOT be accepted.
        if now >= self.expires_at + leeway:
            raise ClaimError("the token has expired", claim="exp", reason="expired", actual=self.expires_at)
        if self.not_before is not None and now < self.not_before - leeway:
            raise ClaimError(
                "the token is not valid yet", claim="nbf", reason="too_early", actual=self.not_before
            )
        if self.issued_at is not None and now < self.issued_at - leeway:
            raise ClaimError(
                "the token is from the future", claim="iat", reason="too_early", actual=self.issued_at
            )


def read_numeric_dates(claims: ClaimsSet) -> NumericDates:
    """
    Read *exp* (required), *nbf* and *iat* (RFC 7519 §2, NumericDate). Does not compare them with a clock.

    Raises:
        ClaimError: *exp* is missing, or one of them is not a number between 0 and the year 9999.
    """
    expires_at = _numeric_date(claims, "exp")
    if expires_at is None:
        raise ClaimError('missing required "exp" claim', claim="exp", reason="missing")
    return NumericDates(expires_at, _numeric_date(claims, "nbf"), _numeric_date(claims, "iat"))


def _numeric_date(claims: ClaimsSet, name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if not is_numeric_date(value):
        raise ClaimError(f'"{name}" is not a NumericDate', claim=name, reason="invalid", actual=value)
    return float(value)


def is_numeric_date(value: Any) -> bool:
    """
    Whether *value* is a number of seconds between 1970 and the year 9999 (RFC 7519 §2).
    """
    # bool is an int in Python, and `exp: true` is a wrong type all the same: these very types, no subclass.
    # Compared before it is converted: an integer of 400 digits does not fit a float.
    return type(value) in _NUMBERS and 0 <= value <= MAX_NUMERIC_DATE


def require_claims(claims: ClaimsSet, names: tuple[str, ...]) -> None:
    """
    Refuse a claims set that lacks one of *names*.

    Raises:
        ClaimError: The first one missing.
    """
    for name in names:
        if name not in claims:
            raise ClaimError(f'missing required "{name}" claim', claim=name, reason="missing")


def validate_issuer(claims: ClaimsSet, *, issuer: str) -> None:
    """
    Refuse a claims set of another issuer; compared code point by code point (RFC 7519 §4.1.1, RFC 9068 §4).

    Raises:
        ClaimError: *iss* is missing, or not exactly *issuer*.
    """
    require_claims(claims, ("iss",))
    if claims["iss"] != issuer:
        raise ClaimError(
            '"iss" is not the configured issuer',
            claim="iss",
            reason="mismatch",
            code="issuer_mismatch",
            expected=issuer,
            actual=claims["iss"],
        )


def validate_audience(claims: ClaimsSet, *, audiences: frozenset[str]) -> None:
    """
    Refuse a claims set that does not name one of *audiences* (RFC 7519 §4.1.3, RFC 9068 §4).

    A membership test on whole elements: further audiences are allowed, a substring is not.

    Raises:
        ClaimError: *aud* is missing, not a string or a non-empty array of strings, or names none of them.
    """
    require_claims(claims, ("aud",))
    value: object = claims["aud"]
    named = value if is_array(value) else [value]
    if not named or not is_string_array(named) or "" in named:
        raise ClaimError(
            '"aud" is not a string or an array of strings', claim="aud", reason="invalid", actual=value
        )
    if audiences.isdisjoint(named):
        raise ClaimError(
            '"aud" does not name this resource server',
            claim="aud",
            reason="mismatch",
            code="audience_mismatch",
            expected=sorted(audiences),
            actual=value,
        )


def refuse_other_kinds(claims: ClaimsSet, *, wanted: frozenset[str] = frozenset()) -> None:
    """
    Refuse a claims set that bears the marks of another kind of JWT (RFC 8725 §3.12), or is bound to a key.

    A bound token (*cnf*, RFC 7800) presented as a bearer token has lost its protection: RFC 9449 §7.2 and
    RFC 8705 §3 both refuse it.

    Args:
        claims: The claims set.
        wanted: Marks among *nonce*, *at_hash*, *c_hash*, *s_hash* and *events* that the token may bear.

    Raises:
        ClaimError: *nonce*, *at_hash*, *c_hash*, *s_hash*, *events* or *cnf* is there, *token_use* is not
            ``access``, or the claim *typ* names an ID, refresh, offline or logout token.
    """
    if claims.keys().isdisjoint(_ALL_MARKS):
        return
    marks = [name for name in _OTHER_KINDS if name in claims and name not in wanted]
    if claims.get("token_use", "access") != "access":
        marks.append("token_use")
    kind = claims.get("typ", "")
    if not isinstance(kind, str) or kind.lower() in _OTHER_TYP_CLAIMS:
        marks.append("typ")
    if marks:
        message = f'the claim "{marks[0]}" marks another kind of token'
        raise ClaimError(message, claim=marks[0], reason="mismatch", code="other_token_kind")
    if "cnf" in claims:
        raise ClaimError(
            "a sender-constrained token was presented as a bearer token",
            claim="cnf",
            reason="invalid",
            code="sender_constrained",
        )


def validate_token_type(header: ClaimsSet, *, accepted: frozenset[str]) -> None:
    """
    Refuse a header whose *typ* is not one of *accepted* (RFC 9068 §4, RFC 8725 §3.11).

    Media type names are compared without regard to case and without their ``application/`` (RFC 7515
    §4.1.9). An absent *typ* is the empty string in *accepted*.

    Raises:
        ClaimError: *typ* is not a string, or not accepted.
    """
    value = header.get("typ")
    named = normalize_token_type(value) if isinstance(value, str) else ""
    is_absent = "typ" not in header
    # An explicit typ that names nothing ("", "application/", null) is not an absent one.
    if (not named and not is_absent) or named not in accepted:
        raise ClaimError(
            '"typ" is not accepted', claim="typ", reason="mismatch", expected=sorted(accepted), actual=value
        )


def normalize_token_type(name: str) -> str:
    """
    The form in which media types of tokens are compared: lower case, without ``application/``.
    """
    return name.lower().removeprefix("application/")
