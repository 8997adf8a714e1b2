"""
Answers of a token endpoint, read strictly.
"""

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from guardrail.client._answers import Grant, Reply, read_answer
from guardrail.client._failures import Failure, description_of, retry_after_of

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
GOOD = {"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 300}


def read(
    status: int = 200, body: bytes | None = b"", headers: dict[str, str] | None = None
) -> Grant | Failure:
    reply = Reply(status, httpx.Headers(headers), body)
    return read_answer(reply, wall_clock=NOW.timestamp)


def read_document(document: object, status: int = 200) -> Grant | Failure:
    return read(status, json.dumps(document).encode())


def with_member(**members: object) -> dict[str, object]:
    return {name: value for name, value in {**GOOD, **members}.items() if value is not ...}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param({}, Grant("a.b.c", 300.0, None), id="plain"),
        pytest.param({"token_type": "bEARER"}, Grant("a.b.c", 300.0, None), id="any case"),
        pytest.param({"refresh_token": "r"}, Grant("a.b.c", 300.0, "r"), id="refresh token"),
        pytest.param({"refresh_token": ""}, Grant("a.b.c", 300.0, None), id="an empty refresh token is none"),
        pytest.param({"access_token": "!~"}, Grant("!~", 300.0, None), id="the ends of visible ASCII"),
        pytest.param({"scope": 7, "more": [1]}, Grant("a.b.c", 300.0, None), id="what we do not read"),
        pytest.param({"error": "invalid_grant"}, Grant("a.b.c", 300.0, None), id="a token beside an error"),
    ],
)
def test_a_grant_is_read(members: dict[str, object], expected: Grant) -> None:
    """
    A token response of RFC 6749 §5.1 is a grant.
    """
    assert read_document(with_member(**members)) == expected


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        pytest.param(1, 1.0, id="a number"),
        pytest.param(0.5, 0.5, id="half a second"),
        pytest.param("3600", 3_600.0, id="digits"),
        pytest.param(10**300, 1e12, id="huge"),
        pytest.param("9" * 3_000, 1e12, id="huge digits"),
        pytest.param(..., None, id="missing"),
        pytest.param(None, None, id="null"),
        pytest.param(0, None, id="zero"),
        pytest.param(-1, None, id="negative"),
        pytest.param("0", None, id="zero digits"),
        pytest.param(True, None, id="true is no number"),
        pytest.param("-5", None, id="negative digits"),
        pytest.param("3600.5", None, id="no digits alone"),
        pytest.param(" 3600", None, id="a space"),
        pytest.param("٣٦٠", None, id="other digits"),
        pytest.param([60], None, id="a list"),
        pytest.param("soon", None, id="a word"),
    ],
)
def test_lifetime(expires_in: object, lifetime: float | None) -> None:
    """
    A positive number, or digits, is a lifetime; anything else says nothing, and does not cost the token.
    """
    answer = read_document(with_member(expires_in=expires_in))

    assert answer == Grant("a.b.c", lifetime, None)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"access_token": ...}, id="no access_token"),
        pytest.param({"access_token": 7}, id="a number"),
        pytest.param({"access_token": None}, id="null"),
        pytest.param({"access_token": ""}, id="empty"),
        pytest.param({"access_token": "a b"}, id="a space"),
        pytest.param({"access_token": "a\nX-Injected: 1"}, id="a line end"),
        pytest.param({"access_token": "a\x00"}, id="a control character"),
        pytest.param({"access_token": "a\x7f"}, id="DEL"),
        pytest.param({"access_token": "tökén"}, id="not ASCII"),
        pytest.param({"token_type": ...}, id="no token_type"),
        pytest.param({"token_type": "mac"}, id="another token_type"),
        pytest.param({"token_type": "N_A"}, id="not a token to send"),
        pytest.param({"token_type": ["Bearer"]}, id="a list of types"),
        pytest.param({"refresh_token": 7}, id="a number for a refresh token"),
    ],
)
def test_what_is_no_grant_is_a_bad_response(members: dict[str, object]) -> None:
    """
    What differs from a token response in one member is a transient failure that quotes nothing.
    """
    answer = read_document(with_member(**members))

    assert isinstance(answer, Failure)
    assert (answer.error, answer.permanent) == ("bad_response", False)
    assert "Injected" not in repr(answer)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>", id="HTML"),
        pytest.param(b'["a"]', id="a list"),
        pytest.param(json.dumps(GOOD).encode()[:-1], id="cut off"),
        pytest.param(json.dumps(GOOD).encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"access_token":"a","token_type":"Bearer","access_token":"b"}', id="a member twice"),
        pytest.param(b'{"access_token":"a","token_type":"Bearer","expires_in":NaN}', id="NaN"),
        pytest.param(b'{"a":' * 100_000, id="nested deeply"),
        pytest.param(
            b'{"access_token":"a","token_type":"Bearer","expires_in":' + b"9" * 5_000 + b"}", id="long"
        ),
        pytest.param(None, id="too large"),
    ],
)
def test_a_body_that_is_no_object_is_a_bad_response(body: bytes | None) -> None:
    """
    A body that is not one strict JSON object is a transient failure.
    """
    answer = read(200, body)

    assert isinstance(answer, Failure)
    assert (answer.error, answer.permanent) == ("bad_response", False)


@pytest.mark.parametrize("status", [200, 201])
def test_status_of_success(status: int) -> None:
    """
    Any 2xx may carry a token.
    """
    assert read_document(GOOD, status) == Grant("a.b.c", 300.0, None)


@pytest.mark.parametrize(
    ("status", "error", "permanent"),
    [
        pytest.param(400, "http_4xx", True, id="400"),
        pytest.param(401, "http_4xx", True, id="401"),
        pytest.param(404, "http_4xx", True, id="404"),
        pytest.param(499, "http_4xx", True, id="499"),
        pytest.param(408, "http_4xx", False, id="408"),
        pytest.param(429, "http_4xx", False, id="429"),
        pytest.param(500, "http_5xx", False, id="500"),
        pytest.param(599, "http_5xx", False, id="599"),
        pytest.param(301, "redirect", False, id="301"),
        pytest.param(307, "redirect", False, id="307"),
    ],
)
def test_class_of_a_status(status: int, error: str, permanent: bool) -> None:
    """
    Every 4xx but 408 and 429 is permanent, everything else transient.
    """
    answer = read(status, b"<html>")

    assert isinstance(answer, Failure)
    assert (answer.error, answer.permanent, answer.description) == (error, permanent, None)


@pytest.mark.parametrize(
    ("named", "error"),
    [
        *(
            pytest.param(one, one, id=one)
            for one in (
                "invalid_request",
                "invalid_client",
                "invalid_grant",
                "unauthorized_client",
                "unsupported_grant_type",
                "invalid_scope",
                "invalid_target",
            )
        ),
        pytest.param("access_denied", "http_4xx", id="not of the token endpoint"),
        pytest.param("Invalid_Client", "http_4xx", id="another case"),
        pytest.param(["invalid_client"], "http_4xx", id="a list"),
        pytest.param({"code": 1}, "http_4xx", id="an object"),
    ],
)
def test_errors_of_the_rfcs_are_named(named: object, error: str) -> None:
    """
    An error code of RFC 6749 §5.2 or RFC 8693 §2.2.2 is the error; any other word is told by its status.
    """
    answer = read_document({"error": named}, 400)

    assert isinstance(answer, Failure)
    assert answer.error == error


def test_too_large_an_error_is_told_by_its_status() -> None:
    """
    A 4xx stays permanent whatever its body.
    """
    answer = read(400, None)

    assert isinstance(answer, Failure)
    assert (answer.error, answer.permanent) == ("http_4xx", True)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param("wrong secret", "wrong secret", id="plain"),
        pytest.param("a\r\nb\x1b[2Jc", "ab[2Jc", id="control characters"),
        pytest.param("müde", "mde", id="not ASCII"),
        pytest.param("x" * 500, "x" * 200, id="long"),
        pytest.param("\n", None, id="nothing left"),
        pytest.param(7, None, id="a number"),
    ],
)
def test_description_is_printable_and_short(text: Any, kept: str | None) -> None:
    """
    The server's words cannot write to a terminal, or fill a log.
    """
    assert description_of(text) == kept


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(None, 0.0, id="missing"),
        pytest.param("120", 120.0, id="digits"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param("300", 300.0, id="the most"),
        pytest.param("301", 300.0, id="more"),
        pytest.param("9" * 6_000, 300.0, id="much more"),
        pytest.param("00000000020", 300.0, id="long"),
        pytest.param("-5", 0.0, id="negative"),
        pytest.param("1.5", 0.0, id="a fraction"),
        pytest.param("٣", 0.0, id="other digits"),
        pytest.param("soon", 0.0, id="a word"),
        pytest.param("", 0.0, id="empty"),
        pytest.param("10, 20", 0.0, id="two"),
        pytest.param(format_datetime(NOW.replace(minute=10), usegmt=True), 120.0 - 9.0 + 9.0, id="a date"),
        pytest.param(format_datetime(NOW.replace(hour=9), usegmt=True), 300.0, id="a date far off"),
        pytest.param(format_datetime(NOW.replace(minute=7), usegmt=True), 0.0, id="a date in the past"),
        pytest.param("Tue, 06 May 2031 07:08:39 -0000", 30.0, id="a date without a zone"),
        pytest.param("Tue, 99 May 2031 07:08:39 GMT", 0.0, id="no such day"),
        pytest.param("Tue, 06 May 99999999 07:08:39 GMT", 0.0, id="no such year"),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    """
    Digits or a date count, five minutes at most; anything else is ignored (RFC 9110 §10.2.3).
    """
    assert retry_after_of(value, wall_clock=NOW.timestamp) == pytest.approx(seconds)


@pytest.mark.parametrize("status", [429, 503, 307])
def test_retry_after_of_an_answer(status: int) -> None:
    """
    The pause that an answer asks for is with its failure.
    """
    answer = read(status, b"", {"Retry-After": "17"})

    assert isinstance(answer, Failure)
    assert answer.retry_after == 17.0


def test_a_grant_is_not_shown() -> None:
    """
    Neither token is in a representation, nor is a body.
    """
    grant, reply = Grant("s3cret", 1.0, "s3cret"), Reply(200, {"x": "s3cret"}, b"s3cret")

    assert "s3cret" not in repr(grant) + repr(reply)
