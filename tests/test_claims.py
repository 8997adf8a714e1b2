"""
Claims sets whose signature held: each claim is checked for its type and its value, or the token is refused.
"""

import math
from typing import Any

import pytest

from guardrail._claims import (
    MAX_NUMERIC_DATE,
    NumericDates,
    is_numeric_date,
    normalize_token_type,
    read_numeric_dates,
    refuse_other_kinds,
    require_claims,
    validate_audience,
    validate_issuer,
    validate_token_type,
)
from guardrail.errors import ClaimError

NOW = 1_800_000_000.0
ISSUER = "https://login.example.com"
AUDIENCES = frozenset({"https://api.example.com/orders", "orders"})
LENIENT = frozenset({"at+jwt", "jwt", ""})
STRICT = frozenset({"at+jwt"})
MARKS: tuple[object, ...] = ("x", None, {})


@pytest.mark.parametrize(
    ("dates", "leeway"),
    [
        pytest.param(NumericDates(NOW + 1, None, None), 0.0, id="one second left"),
        pytest.param(NumericDates(NOW + 0.001, None, None), 0.0, id="a millisecond left"),
        pytest.param(NumericDates(NOW - 29.9, None, None), 30.0, id="expired, just enough leeway"),
        pytest.param(NumericDates(NOW + 60, NOW, None), 0.0, id="valid from this very second"),
        pytest.param(NumericDates(NOW + 60, NOW + 30, None), 30.0, id="too early, just enough leeway"),
        pytest.param(NumericDates(NOW + 60, None, NOW), 0.0, id="issued this very second"),
        pytest.param(NumericDates(NOW + 60, None, NOW + 30), 30.0, id="from the future, just enough leeway"),
        pytest.param(NumericDates(NOW + 60, 0.0, 0.0), 0.0, id="zero is a time and not absent"),
    ],
)
def test_token_within_its_times_is_accepted(dates: NumericDates, leeway: float) -> None:
    """
    A token is good from *nbf* and *iat* until just before *exp*, leeway forgiven (R114 to R116, C16, C17).
    """
    dates.validate(now=NOW, leeway=leeway)


@pytest.mark.parametrize(
    ("dates", "leeway", "claim", "code"),
    [
        pytest.param(NumericDates(NOW, None, None), 0.0, "exp", "token_expired", id="the second of expiry"),
        pytest.param(
            NumericDates(NOW - 30, None, None),
            30.0,
            "exp",
            "token_expired",
            id="expired, just too little leeway",
        ),
        pytest.param(
            NumericDates(NOW - 3_600, None, None), 30.0, "exp", "token_expired", id="expired an hour ago"
        ),
        pytest.param(NumericDates(0.0, None, None), 30.0, "exp", "token_expired", id="expired in 1970"),
        pytest.param(
            NumericDates(NOW + 60, NOW + 0.5, None),
            0.0,
            "nbf",
            "token_not_yet_valid",
            id="half a second too early",
        ),
        pytest.param(
            NumericDates(NOW + 60, NOW + 30.1, None),
            30.0,
            "nbf",
            "token_not_yet_valid",
            id="too early, just too little leeway",
        ),
        pytest.param(
            NumericDates(NOW + 60, None, NOW + 0.5),
            0.0,
            "iat",
            "token_not_yet_valid",
            id="half a second from the future",
        ),
        pytest.param(
            NumericDates(NOW + 60, None, NOW + 30.1),
            30.0,
            "iat",
            "token_not_yet_valid",
            id="from the future, just too little leeway",
        ),
        pytest.param(
            NumericDates(NOW + 60, NOW, NOW + 3_600),
            30.0,
            "iat",
            "token_not_yet_valid",
            id="nbf does not excuse iat",
        ),
        pytest.param(
            NumericDates(NOW - 60, NOW + 60, None),
            30.0,
            "exp",
            "token_expired",
            id="expired before it is valid",
        ),
    ],
)
def test_token_outside_its_times_is_refused(
    dates: NumericDates, leeway: float, claim: str, code: str
) -> None:
    """
    On or after *exp*, before *nbf* and before *iat* a token is refused; the leeway counts once.
    """
    with pytest.raises(ClaimError) as caught:
        dates.validate(now=NOW, leeway=leeway)

    assert (caught.value.claim, caught.value.code) == (claim, code)
    assert caught.value.reason == ("expired" if claim == "exp" else "too_early")


@pytest.mark.parametrize(
    ("claims", "dates"),
    [
        pytest.param({"exp": 10}, NumericDates(10.0, None, None), id="exp alone"),
        pytest.param({"exp": 10, "nbf": 8, "iat": 7}, NumericDates(10.0, 8.0, 7.0), id="all three"),
        pytest.param({"exp": 10.75, "iat": 7.5}, NumericDates(10.75, None, 7.5), id="fractions"),
        pytest.param({"exp": 0, "nbf": 0}, NumericDates(0.0, 0.0, None), id="zero"),
        pytest.param(
            {"exp": MAX_NUMERIC_DATE}, NumericDates(float(MAX_NUMERIC_DATE), None, None), id="the end of 9999"
        ),
    ],
)
def test_numeric_dates_are_read(claims: dict[str, Any], dates: NumericDates) -> None:
    """
    NumericDates may be integers or fractions; *nbf* and *iat* may be absent (RFC 7519 §2).
    """
    read = read_numeric_dates(claims)

    assert MAX_NUMERIC_DATE == 253_402_300_799
    assert read == dates


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param("9999999999", id="a string of digits"),
        pytest.param("never", id="a word"),
        pytest.param("", id="an empty string"),
        pytest.param(None, id="null"),
        pytest.param(True, id="true"),
        pytest.param(False, id="false"),
        pytest.param([1], id="an array"),
        pytest.param({"v": 1}, id="an object"),
        pytest.param(-1, id="negative"),
        pytest.param(-0.001, id="a little negative"),
        pytest.param(MAX_NUMERIC_DATE + 1, id="the year 10000"),
        pytest.param(1_800_000_000_000, id="milliseconds"),
        pytest.param(2**64, id="2 to the 64"),
        pytest.param(-(2**63), id="minus 2 to the 63"),
        pytest.param(9.3e18, id="9.3e18"),
        pytest.param(10**400, id="an integer that no float holds"),
        pytest.param(-(10**400), id="a negative one that no float holds"),
        pytest.param(math.inf, id="infinity"),
        pytest.param(-math.inf, id="minus infinity"),
        pytest.param(math.nan, id="not a number"),
    ],
)
def test_times_of_the_wrong_type_are_refused(claim: str, value: object) -> None:
    """
    A time that is not a number between 1970 and 9999 is refused, never taken for absent (R117, B2, B3, B4).
    """
    claims = {"exp": NOW + 60, claim: value}

    with pytest.raises(ClaimError) as caught:
        read_numeric_dates(claims)

    assert (caught.value.claim, caught.value.reason, caught.value.code) == (
        claim,
        "invalid",
        "claims_malformed",
    )
    assert is_numeric_date(value) is False


def test_times_of_a_token_cannot_be_changed() -> None:
    """
    Times that were read once are judged again and never prolonged.
    """
    dates = NumericDates(NOW, None, None)

    with pytest.raises(AttributeError):
        dates.expires_at = NOW + 60  # type: ignore[misc]  # what the test is about


def test_missing_exp_is_refused() -> None:
    """
    A token without *exp* would live for ever, and is refused.
    """
    claims = {"iat": NOW}

    with pytest.raises(ClaimError) as caught:
        read_numeric_dates(claims)

    assert (caught.value.claim, caught.value.reason, caught.value.code) == ("exp", "missing", "claim_missing")


def test_required_claims_that_are_there_are_accepted() -> None:
    """
    A required claim only has to be there; what it says is another check's concern.
    """
    require_claims({"a": None, "b": 0}, ("a", "b"))


def test_first_missing_claim_is_named() -> None:
    """
    The refusal names the first claim that is missing.
    """
    with pytest.raises(ClaimError, match='missing required "b" claim') as caught:
        require_claims({"a": 1}, ("a", "b", "c"))

    assert (caught.value.claim, caught.value.code) == ("b", "claim_missing")


def test_configured_issuer_is_accepted() -> None:
    """
    *iss* that is exactly the configured issuer passes.
    """
    validate_issuer({"iss": ISSUER}, issuer=ISSUER)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(ISSUER + "/", id="a slash more"),
        pytest.param(ISSUER[:-1], id="a prefix"),
        pytest.param(ISSUER[1:], id="a suffix"),
        pytest.param("h", id="one letter of it"),
        pytest.param("", id="empty"),
        pytest.param("https://Login.example.com", id="another case"),
        pytest.param("http://login.example.com", id="another scheme"),
        pytest.param(ISSUER + " ", id="trailing space"),
        pytest.param(ISSUER + "\x00", id="trailing NUL"),
        pytest.param("https://login.example.com:443", id="the default port"),
        pytest.param("https://l\u043egin.example.com", id="a Cyrillic letter"),
        pytest.param("https://\uff4cogin.example.com", id="a full-width letter"),
        pytest.param("https://login%2Eexample.com", id="percent-encoding"),
        pytest.param([ISSUER], id="a list of it"),
        pytest.param(["https://evil.example", ISSUER], id="a list with it"),
        pytest.param({ISSUER: 1}, id="an object"),
        pytest.param(None, id="null"),
        pytest.param(1, id="a number"),
        pytest.param(True, id="a boolean"),
    ],
)
def test_any_other_issuer_is_refused(value: object) -> None:
    """
    *iss* is compared code point by code point, and only as a string (R61, R110, C1, C2, B16).
    """
    with pytest.raises(ClaimError) as caught:
        validate_issuer({"iss": value}, issuer=ISSUER)

    assert (caught.value.claim, caught.value.reason, caught.value.code) == (
        "iss",
        "mismatch",
        "issuer_mismatch",
    )
    assert (caught.value.expected, caught.value.actual) == (ISSUER, value)


def test_normal_forms_of_an_issuer_differ() -> None:
    """
    No Unicode normalization makes two issuers one (RFC 7515 §5.3).
    """
    composed, decomposed = "https://caf\u00e9.example", "https://cafe\u0301.example"

    with pytest.raises(ClaimError):
        validate_issuer({"iss": decomposed}, issuer=composed)


def test_missing_issuer_is_refused() -> None:
    """
    A claims set without *iss* is nobody's.
    """
    with pytest.raises(ClaimError) as caught:
        validate_issuer({"sub": "alice"}, issuer=ISSUER)

    assert (caught.value.claim, caught.value.reason) == ("iss", "missing")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("orders", id="a string"),
        pytest.param("https://api.example.com/orders", id="the other identifier"),
        pytest.param(["orders"], id="an array of one"),
        pytest.param(["https://other.example", "orders"], id="an array with a foreign one"),
        pytest.param(["orders", "https://api.example.com/orders"], id="both identifiers"),
    ],
)
def test_audience_that_names_us_is_accepted(value: object) -> None:
    """
    One of our identifiers, alone or among others, is enough (RFC 7519 §4.1.3).
    """
    validate_audience({"aud": value}, audiences=AUDIENCES)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("invoices", id="another resource"),
        pytest.param("not-orders-at-all", id="ours as a substring"),
        pytest.param("order", id="a prefix"),
        pytest.param("o", id="a letter"),
        pytest.param("Orders", id="another case"),
        pytest.param("orders ", id="trailing space"),
        pytest.param("orders invoices", id="a space-separated list"),
        pytest.param("https://api.example.com/orders/", id="a slash more"),
        pytest.param("https://api.example.com", id="the base URL"),
        pytest.param("https://api.example.com/orders?x=1", id="a query more"),
        pytest.param(["invoices"], id="an array of another"),
        pytest.param(list("orders"), id="our letters, one by one"),
    ],
)
def test_audience_that_names_others_is_refused(value: object) -> None:
    """
    Audiences are compared as whole elements, never as substrings (R111, R113, C4, C5, C7).
    """
    with pytest.raises(ClaimError) as caught:
        validate_audience({"aud": value}, audiences=AUDIENCES)

    assert (caught.value.claim, caught.value.reason, caught.value.code) == (
        "aud",
        "mismatch",
        "audience_mismatch",
    )
    assert (caught.value.expected, caught.value.actual) == (sorted(AUDIENCES), value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty string"),
        pytest.param([], id="empty array"),
        pytest.param([""], id="array of an empty string"),
        pytest.param(["orders", ""], id="ours and an empty string"),
        pytest.param(["orders", None], id="ours and null"),
        pytest.param(["orders", 1], id="ours and a number"),
        pytest.param([["orders"]], id="nested array"),
        pytest.param(["orders", ["orders"]], id="ours and a nested array"),
        pytest.param([{"orders": 1}], id="array of an object"),
        pytest.param({"orders": True}, id="object with our name"),
        pytest.param({"0": "orders"}, id="object like an array"),
        pytest.param(None, id="null"),
        pytest.param(1, id="number"),
        pytest.param(True, id="boolean"),
    ],
)
def test_audience_of_the_wrong_type_is_refused(value: object) -> None:
    """
    An audience that is no string and no array of strings is refused, whatever else is in it (R111, C3).
    """
    with pytest.raises(ClaimError) as caught:
        validate_audience({"aud": value}, audiences=AUDIENCES)

    assert (caught.value.claim, caught.value.reason, caught.value.code) == (
        "aud",
        "invalid",
        "claims_malformed",
    )


def test_missing_audience_is_refused() -> None:
    """
    There is no mode in which the audience is not looked at (R112).
    """
    with pytest.raises(ClaimError) as caught:
        validate_audience({"sub": "alice"}, audiences=AUDIENCES)

    assert (caught.value.claim, caught.value.reason) == ("aud", "missing")


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"token_use": "access"}, id="Cognito's access token"),
        pytest.param({"typ": "Bearer"}, id="Keycloak's access token"),
        pytest.param({"Nonce": "x", "event": {}, "hash": "x"}, id="names that only resemble"),
        pytest.param(
            {"azp": "app", "sid": "s", "auth_time": 1, "acr": "1"}, id="claims that access tokens may have"
        ),
        pytest.param({"act": {"sub": "x", "nonce": "n", "cnf": {}}}, id="marks inside another claim"),
    ],
)
def test_claims_of_an_access_token_are_accepted(claims: dict[str, Any]) -> None:
    """
    Claims that do not mark another kind of token are let through (R60).
    """
    refuse_other_kinds(claims)


@pytest.mark.parametrize(
    ("claims", "claim", "code"),
    [
        *(
            pytest.param({name: value}, name, "other_token_kind", id=f"{name} {value!r}")
            for name in ("nonce", "at_hash", "c_hash", "s_hash", "events")
            for value in MARKS
        ),
        pytest.param({"token_use": "id"}, "token_use", "other_token_kind", id="Cognito's ID token"),
        pytest.param(
            {"token_use": "Access"}, "token_use", "other_token_kind", id="token_use in another case"
        ),
        pytest.param({"token_use": None}, "token_use", "other_token_kind", id="token_use null"),
        pytest.param({"token_use": ["access"]}, "token_use", "other_token_kind", id="token_use in an array"),
        pytest.param({"typ": "ID"}, "typ", "other_token_kind", id="Keycloak's ID token"),
        pytest.param({"typ": "Refresh"}, "typ", "other_token_kind", id="Keycloak's refresh token"),
        pytest.param({"typ": "Offline"}, "typ", "other_token_kind", id="Keycloak's offline token"),
        pytest.param({"typ": "Logout"}, "typ", "other_token_kind", id="Keycloak's logout token"),
        pytest.param({"typ": "id"}, "typ", "other_token_kind", id="typ in another case"),
        pytest.param({"cnf": {"jkt": "x"}}, "cnf", "sender_constrained", id="DPoP-bound"),
        pytest.param({"cnf": {"x5t#S256": "x"}}, "cnf", "sender_constrained", id="certificate-bound"),
        pytest.param({"cnf": {"kid": "x"}}, "cnf", "sender_constrained", id="bound in an unknown way"),
        pytest.param({"cnf": {}}, "cnf", "sender_constrained", id="bound to nothing"),
        pytest.param({"cnf": None}, "cnf", "sender_constrained", id="cnf null"),
        pytest.param({"cnf": "x"}, "cnf", "sender_constrained", id="cnf of the wrong type"),
    ],
)
def test_marks_of_another_kind_of_token_are_refused(claims: dict[str, Any], claim: str, code: str) -> None:
    """
    ID, refresh, logout and bound tokens, and security events, are no bearer tokens (R106, C11, G1, G3).
    """
    with pytest.raises(ClaimError) as caught:
        refuse_other_kinds(claims)

    assert (caught.value.claim, caught.value.code) == (claim, code)
    assert caught.value.reason == ("invalid" if claim == "cnf" else "mismatch")


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        pytest.param({"typ": "at+jwt"}, STRICT, id="at+jwt"),
        pytest.param({"typ": "AT+JWT"}, STRICT, id="upper case"),
        pytest.param({"typ": "at+JWT"}, STRICT, id="as RFC 9068 writes it"),
        pytest.param({"typ": "application/at+jwt"}, STRICT, id="with application/"),
        pytest.param({"typ": "Application/AT+jwt"}, STRICT, id="with application/ in another case"),
        pytest.param({"typ": "JWT"}, LENIENT, id="JWT"),
        pytest.param({"typ": "jwt"}, LENIENT, id="jwt"),
        pytest.param({}, LENIENT, id="absent"),
    ],
)
def test_accepted_types_are_accepted(header: dict[str, Any], accepted: frozenset[str]) -> None:
    """
    *typ* is a media type: compared without regard to case and without `application/` (R104, R105, B17).
    """
    validate_token_type(header, accepted=accepted)


@pytest.mark.parametrize("accepted", [pytest.param(LENIENT, id="lenient"), pytest.param(STRICT, id="strict")])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param("dpop+jwt", id="a DPoP proof"),
        pytest.param("logout+jwt", id="a logout token"),
        pytest.param("secevent+jwt", id="a security event"),
        pytest.param("token-introspection+jwt", id="an introspection answer"),
        pytest.param("statuslist+jwt", id="a status list"),
        pytest.param("txntoken+jwt", id="a transaction token"),
        pytest.param("oauth-authz-req+jwt", id="a request object"),
        pytest.param("client-authentication+jwt", id="a client assertion"),
        pytest.param("id+jwt", id="an ID token"),
        pytest.param("JOSE", id="JOSE"),
        pytest.param("at+jwt ", id="trailing space"),
        pytest.param(" at+jwt", id="leading space"),
        pytest.param("at+jwt;v=1", id="a parameter"),
        pytest.param("x/at+jwt", id="another tree"),
        pytest.param("application/application/at+jwt", id="application/ twice"),
        pytest.param("application/", id="application/ and nothing"),
        pytest.param("Application/", id="Application/ and nothing"),
        pytest.param("/", id="a slash"),
        pytest.param("", id="empty"),
        pytest.param(" ", id="space"),
        pytest.param(None, id="null"),
        pytest.param(1, id="number"),
        pytest.param(True, id="boolean"),
        pytest.param(["at+jwt"], id="array"),
        pytest.param({"at+jwt": 1}, id="object"),
    ],
)
def test_other_types_are_refused(value: object, accepted: frozenset[str]) -> None:
    """
    Every other explicit type is refused, also where an absent one would do (R106, HOUSE).
    """
    with pytest.raises(ClaimError) as caught:
        validate_token_type({"typ": value}, accepted=accepted)

    assert (caught.value.claim, caught.value.code) == ("typ", "token_type_mismatch")
    assert (caught.value.expected, caught.value.actual) == (sorted(accepted), value)


@pytest.mark.parametrize("header", [{}, {"typ": "JWT"}, {"typ": "application/jwt"}])
def test_strict_issuer_refuses_plain_types(header: dict[str, Any]) -> None:
    """
    What the lenient default accepts, RFC 9068 to the letter refuses.
    """
    with pytest.raises(ClaimError):
        validate_token_type(header, accepted=STRICT)


@pytest.mark.parametrize("value", [["ID"], {"ID": 1}, 1, None], ids=str)
def test_typ_claim_of_the_wrong_type_is_refused(value: object) -> None:
    """
    A claim *typ* that is no string is refused, never taken for absent (CVE-2026-25537, B2).
    """
    with pytest.raises(ClaimError) as caught:
        refuse_other_kinds({"typ": value})

    assert caught.value.claim == "typ"


@pytest.mark.parametrize(
    ("name", "normalized"),
    [("AT+JWT", "at+jwt"), ("APPLICATION/at+jwt", "at+jwt"), ("x/at+jwt", "x/at+jwt"), ("", "")],
)
def test_types_have_one_normal_form(name: str, normalized: str) -> None:
    """
    Configuration and header are brought to the same form.
    """
    assert normalize_token_type(name) == normalized


def test_refusals_do_not_quote_what_the_token_said() -> None:
    """
    What a token said is in the exception's attributes and not in its message.
    """
    secret = "s3cr3t-value"
    messages = []

    for refuse in (
        lambda: validate_issuer({"iss": secret}, issuer=ISSUER),
        lambda: validate_audience({"aud": secret}, audiences=AUDIENCES),
        lambda: validate_token_type({"typ": secret}, accepted=LENIENT),
        lambda: read_numeric_dates({"exp": secret}),
        lambda: refuse_other_kinds({"token_use": secret}),
    ):
        with pytest.raises(ClaimError) as caught:
            refuse()
        messages.append(str(caught.value))

    assert not [message for message in messages if secret in message]


def test_issuer_is_compared_by_its_characters() -> None:
    """
    Equal characters are the same issuer, whichever object holds them (R61, R110).
    """
    parsed = "".join(list(ISSUER))

    assert parsed is not ISSUER
    validate_issuer({"iss": parsed}, issuer=ISSUER)
