"""
The `Authorization` field: one bearer token, exactly as RFC 6750 §2.1 spells it, or a refusal.
"""

import string

import pytest

from guardrail._asgi import Scope
from guardrail._bearer import MAX_HEADER_BYTES, extract_token
from guardrail.errors import MalformedRequestError, MissingTokenError

TOKEN = b"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


def http_scope(*authorization: bytes, query: bytes = b"", name: bytes = b"authorization") -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "headers": [(b"host", b"api.example.com"), *((name, value) for value in authorization)],
        "query_string": query,
    }


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"Bearer " + TOKEN, id="as RFC 6750 writes it"),
        pytest.param(b"bearer " + TOKEN, id="lower case scheme"),
        pytest.param(b"BEARER " + TOKEN, id="upper case scheme"),
        pytest.param(b"bEaReR " + TOKEN, id="mixed case scheme"),
        pytest.param(b"Bearer    " + TOKEN, id="several spaces"),
    ],
)
def test_one_bearer_token_is_extracted(value: bytes) -> None:
    """
    The scheme is compared without regard to case, and one or more spaces follow it (R2, R3).
    """
    scope = http_scope(value)

    token = extract_token(scope)

    assert token == TOKEN


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(b"X", id="one character"),
        pytest.param(b"-._~+/XX", id="every special character"),
        pytest.param(string.ascii_uppercase[::-1].encode(), id="every capital"),
        pytest.param((string.ascii_lowercase + string.digits).encode(), id="every small letter and digit"),
        pytest.param(b"abc=", id="one equals sign at the end"),
        pytest.param(b"abc===", id="several equals signs at the end"),
        pytest.param(b"Bearer", id="a token that spells the scheme"),
        pytest.param(b"opaque-token", id="not a JWT"),
    ],
)
def test_token68_is_extracted_whatever_it_says(token: bytes) -> None:
    """
    Any token68 is a token to this step; what it says is for later ones (R4).
    """
    scope = http_scope(b"Bearer " + token)

    extracted = extract_token(scope)

    assert extracted == token


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"Bearer", id="scheme alone"),
        pytest.param(b"Bearer ", id="scheme and a space"),
        pytest.param(b"Bearer      ", id="scheme and spaces"),
        pytest.param(b"Bearer\t" + TOKEN, id="tab for the space"),
        pytest.param(b"Bearer \t" + TOKEN, id="tab after the space"),
        pytest.param(b"Bearer\xa0" + TOKEN, id="NBSP, latin-1"),
        pytest.param(b"Bearer\xc2\xa0" + TOKEN, id="NBSP, UTF-8"),
        pytest.param(b"Bearer \xc2\xa0" + TOKEN, id="NBSP after the space"),
        pytest.param(b"Bearer\r\n " + TOKEN, id="folded line"),
        pytest.param(b"Bearer," + TOKEN, id="comma for the space"),
        pytest.param(b"Bearer=" + TOKEN, id="equals sign for the space"),
        pytest.param(b"Bearer:" + TOKEN, id="colon for the space"),
        pytest.param(b"Bearer: " + TOKEN, id="colon after the scheme"),
        pytest.param(b" Bearer " + TOKEN, id="leading space"),
        pytest.param(b"\tBearer " + TOKEN, id="leading tab"),
        pytest.param(b" ", id="a space alone"),
        pytest.param(b",Bearer " + TOKEN, id="leading comma"),
        pytest.param(b"Bearer " + TOKEN + b" ", id="trailing space"),
        pytest.param(b"Bearer " + TOKEN + b"\n", id="trailing line feed"),
        pytest.param(b"Bearer " + TOKEN + b"\r\nX-Evil: 1", id="injected header line"),
        pytest.param(b"Bearer " + TOKEN + b"\x00", id="trailing NUL"),
        pytest.param(b"Bearer " + TOKEN + b" " + TOKEN, id="two tokens"),
        pytest.param(b"Bearer " + TOKEN + b"," + TOKEN, id="two tokens, comma"),
        pytest.param(b"Bearer " + TOKEN + b", Bearer " + TOKEN, id="two credentials in one field"),
        pytest.param(b"Bearer Bearer " + TOKEN, id="scheme twice"),
        pytest.param(b'Bearer "' + TOKEN + b'"', id="quoted token"),
        pytest.param(b"Bearer token=" + TOKEN, id="auth-param instead of a token68"),
        pytest.param(b"Bearer %41bc", id="percent-encoded"),
        pytest.param(b"Bearer a=b", id="equals sign inside"),
        pytest.param(b"Bearer =", id="equals sign alone"),
        pytest.param(b"Bearer {}", id="braces"),
        pytest.param(b"Bearer a\\b", id="backslash"),
        pytest.param(b"Bearer a;b", id="semicolon"),
        pytest.param("Bearer tökén".encode(), id="non-ASCII token, UTF-8"),
        pytest.param("Bearer tökén".encode("latin-1"), id="non-ASCII token, latin-1"),
        pytest.param("B\u0435arer abc".encode(), id="Cyrillic letter in the scheme"),
    ],
)
def test_malformed_credentials_are_refused(value: bytes) -> None:
    """
    What is not `Bearer`, spaces and one token68 is a malformed request, not a token (R3, R4, R5).
    """
    scope = http_scope(value)

    with pytest.raises(MalformedRequestError) as caught:
        extract_token(scope)

    assert (caught.value.status, caught.value.code) == (400, "authorization_malformed")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty field"),
        pytest.param(b"Basic dXNlcjpwYXNz", id="Basic"),
        pytest.param(b'Digest username="a", realm="b"', id="Digest"),
        pytest.param(b"DPoP " + TOKEN, id="DPoP"),
        pytest.param(b"Negotiate", id="a scheme alone"),
        pytest.param(b"Bearer2 " + TOKEN, id="a longer scheme"),
        pytest.param(b"Beare " + TOKEN, id="a shorter scheme"),
        pytest.param(b"Bearer." + TOKEN, id="scheme and token without a space are one long scheme"),
        pytest.param(TOKEN, id="a token without a scheme is one long scheme"),
    ],
)
def test_other_schemes_are_as_if_nothing_was_sent(value: bytes) -> None:
    """
    Credentials of another scheme are no bearer credentials: 401 without an error code (R20, C2).
    """
    scope = http_scope(value)

    with pytest.raises(MissingTokenError) as caught:
        extract_token(scope)

    assert (caught.value.status, caught.value.oauth_error) == (401, None)


def test_no_field_is_a_missing_token() -> None:
    """
    A request without credentials has no token, and nothing is malformed about it.
    """
    scope = http_scope()

    with pytest.raises(MissingTokenError) as caught:
        extract_token(scope)

    assert caught.value.code == "missing_token"


def test_scope_without_headers_or_query_is_a_missing_token() -> None:
    """
    A scope that lacks its optional members is a request without credentials.
    """
    scope: Scope = {"type": "http"}

    with pytest.raises(MissingTokenError):
        extract_token(scope)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param((b"Bearer " + TOKEN, b"Bearer other"), id="two tokens"),
        pytest.param((b"Bearer " + TOKEN, b"Bearer " + TOKEN), id="the same token twice"),
        pytest.param((b"Basic abc", b"Bearer " + TOKEN), id="another scheme first"),
        pytest.param((b"Bearer " + TOKEN, b"Basic abc"), id="another scheme second"),
        pytest.param((b"", b"Bearer " + TOKEN), id="an empty field first"),
        pytest.param((b"", b""), id="two empty fields"),
    ],
)
def test_repeated_field_is_refused(values: tuple[bytes, ...]) -> None:
    """
    `Authorization` is single-valued: with two of them neither is tried (R7).
    """
    scope = http_scope(*values)

    with pytest.raises(MalformedRequestError) as caught:
        extract_token(scope)

    assert (caught.value.status, caught.value.code) == (400, "authorization_repeated")


@pytest.mark.parametrize("name", [b"Authorization", b"AUTHORIZATION", b"aUTHORIZATION"])
def test_field_name_is_compared_without_regard_to_case(name: bytes) -> None:
    """
    A server that does not lower-case field names hides neither the field nor a second one.
    """
    scope = http_scope(b"Bearer " + TOKEN)
    other = http_scope(b"Bearer " + TOKEN, name=name)
    both = {**scope, "headers": [*scope["headers"], *other["headers"]]}

    token = extract_token(other)

    assert token == TOKEN
    with pytest.raises(MalformedRequestError):
        extract_token(both)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"proxy-authorization", id="Proxy-Authorization"),
        pytest.param(b"x-authorization", id="X-Authorization"),
        pytest.param(b"x-access-token", id="X-Access-Token"),
        pytest.param(b"x-forwarded-authorization", id="X-Forwarded-Authorization"),
        pytest.param(b"sec-websocket-protocol", id="Sec-WebSocket-Protocol"),
        pytest.param(b"cookie", id="Cookie"),
        pytest.param(b"authorization ", id="trailing space"),
        pytest.param(b"author_ization", id="underscore"),
    ],
)
def test_token_in_another_field_is_never_read(name: bytes) -> None:
    """
    Only `Authorization` carries a token (R12).
    """
    scope = http_scope(b"Bearer " + TOKEN, name=name)

    with pytest.raises(MissingTokenError):
        extract_token(scope)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(b"access_token=" + TOKEN, id="alone"),
        pytest.param(b"a=1&access_token=" + TOKEN, id="second"),
        pytest.param(b"access%5Ftoken=" + TOKEN, id="percent-encoded name"),
        pytest.param(b"a=1;access_token=" + TOKEN, id="semicolon"),
        pytest.param(b"access_token=", id="empty value"),
        pytest.param(
            b"".join(b"%%%02x" % letter for letter in b"access_token") + b"=x", id="escaped all through"
        ),
        pytest.param(b"acces%73%5ftoken=x", id="escaped in small letters"),
        pytest.param(b"access_token&a=1", id="name alone, first"),
        pytest.param(b"access_token;a=1", id="name alone, before a semicolon"),
        pytest.param(b"a=1&&access_token=x", id="after an empty parameter"),
        pytest.param(b"access_token", id="name alone"),
        pytest.param(b"%61ccess_token=x&%ff=1", id="beside bytes that are not UTF-8"),
    ],
)
def test_second_token_in_the_query_is_refused(query: bytes) -> None:
    """
    A token in the field and one in the query is more than one method (RFC 6750 §2, R6).
    """
    scope = http_scope(b"Bearer " + TOKEN, query=query)

    with pytest.raises(MalformedRequestError) as caught:
        extract_token(scope)

    assert (caught.value.status, caught.value.code) == (400, "token_in_query")


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"token=abc", id="another name"),
        pytest.param(b"access%255Ftoken=abc", id="escaped twice"),
        pytest.param(b"access_token%3Dabc", id="an escaped equals sign is in the name"),
        pytest.param(b"access.token=abc", id="another character for the underscore"),
        pytest.param(b"a%26access_token=abc", id="an escaped separator is in the name"),
        pytest.param(b"ACCESS_TOKEN=abc", id="another case"),
        pytest.param(b"my_access_token=abc", id="a longer name"),
        pytest.param(b"access_token_hint=abc", id="a longer name, at the end"),
        pytest.param(b"q=access_token", id="in a value"),
        pytest.param(b"q=1%26access_token=abc", id="in a value, encoded"),
        pytest.param(b"\xff\xfe=1", id="not UTF-8"),
        pytest.param(b"&&==&", id="nothing but separators"),
    ],
)
def test_other_query_beside_a_token_is_no_second_token(query: bytes) -> None:
    """
    Only a parameter named exactly `access_token` is a second token.
    """
    scope = http_scope(b"Bearer " + TOKEN, query=query)

    token = extract_token(scope)

    assert token == TOKEN


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param((), id="no field"),
        pytest.param((b"",), id="empty field"),
        pytest.param((b"Basic abc",), id="another scheme"),
    ],
)
def test_token_in_the_query_alone_is_never_read(authorization: tuple[bytes, ...]) -> None:
    """
    A query token is no credential: the request has none, 401 without an error code (R8).
    """
    scope = http_scope(*authorization, query=b"access_token=" + TOKEN)

    with pytest.raises(MissingTokenError):
        extract_token(scope)


def test_field_just_within_the_bound_is_extracted() -> None:
    """
    A field of exactly 16 KiB is read.
    """
    token = b"a" * (MAX_HEADER_BYTES - len(b"Bearer "))

    extracted = extract_token(http_scope(b"Bearer " + token))

    assert MAX_HEADER_BYTES == 16_384
    assert extracted == token


def test_field_just_beyond_the_bound_is_refused() -> None:
    """
    A field of 16 KiB and one byte is refused as too large (R16).
    """
    token = b"a" * (MAX_HEADER_BYTES - len(b"Bearer ") + 1)

    with pytest.raises(MalformedRequestError) as caught:
        extract_token(http_scope(b"Bearer " + token))

    assert (caught.value.status, caught.value.code) == (400, "token_too_large")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b" " * 100_000, id="spaces"),
        pytest.param(b"=" * 100_000, id="equals signs"),
        pytest.param(b"Bearer " * 20_000, id="schemes"),
        pytest.param(b"Bearer " + b"a" * 16_000 + b"=" * 300 + b"!", id="a late wrong character"),
    ],
)
def test_pathological_fields_are_refused(value: bytes) -> None:
    """
    Input made to exhaust a pattern is a malformed request like any other (H1).
    """
    scope = http_scope(value)

    with pytest.raises(MalformedRequestError):
        extract_token(scope)


def test_refusals_do_not_hold_the_token() -> None:
    """
    The exception of a malformed request does not quote what was sent (R222).
    """
    scope = http_scope(b"Bearer " + TOKEN + b" " + TOKEN)

    with pytest.raises(MalformedRequestError) as caught:
        extract_token(scope)

    assert TOKEN.decode() not in str(caught.value)
