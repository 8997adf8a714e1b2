"""
The contract of outbound tokens: what answers are worth, and what failures mean for the next request.
"""

import gzip
import json
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from guardrail.errors import GuardrailError, UnavailableError

from .loopback import Answer, Party, Scene, grant, refusal


def document(**members: Any) -> bytes:
    """
    The body of a grant; a member that is None is left out.
    """
    return grant(**members).body


def sized(size: int) -> bytes:
    """
    A grant of exactly so many bytes.
    """
    body = document(padding="")
    return body.replace(b'"padding": ""', b'"padding": "' + b"x" * (size - len(body)) + b'"')


WRONG_MEMBERS: dict[str, dict[str, Any]] = {
    "no-token": {"token": None},
    "token-number": {"token": 5},
    "token-empty": {"token": ""},
    "token-list": {"token": ["a"]},
    "token-space": {"token": "a b"},
    "token-line-break": {"token": "a\r\nX-Injected: 1"},
    "token-trailing-line-break": {"token": "a\n"},
    "token-tab": {"token": "a\tb"},
    "token-delete": {"token": "a\x7f"},
    "token-non-ascii": {"token": "tökén"},
    "no-type": {"token_type": None},
    "type-dpop": {"token_type": "DPoP"},
    "type-mac": {"token_type": "mac"},
    "type-empty": {"token_type": ""},
    "type-number": {"token_type": 1},
    "type-space": {"token_type": "Bearer "},
    "type-kelvin-like": {"token_type": "Bea\u017fer"},
}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(sized(65_536), id="64-KiB"),
        pytest.param(document(token_type="bearer"), id="type-lower-case"),
        pytest.param(document(token_type="BEARER"), id="type-upper-case"),
        pytest.param(document(scope="other", id_token="x.y.z", extra={"a": [1]}), id="further-members"),
        pytest.param(document(refresh_token=None), id="no-refresh-token"),
        pytest.param(b" \r\n" + document() + b"\n", id="white-space"),
        pytest.param(document(token="!~" + "a" * 4000), id="all-visible-ascii"),
    ],
)
def test_a_grant(party: Party, body: bytes) -> None:
    """
    A right answer's token is put on the request.
    """
    Scene(party, Answer(200, body)).get()

    assert [one.token for one in party.calls] == [json.loads(body)["access_token"]]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(200, sized(65_537)), id="over-64-KiB"),
        pytest.param(
            Answer(200, gzip.compress(sized(1_000_000)), (("Content-Encoding", "gzip"),)), id="bomb"
        ),
        pytest.param(Answer(200, document(), (("Content-Encoding", "br"),)), id="unknown-packing"),
        pytest.param(Answer(200, b""), id="empty"),
        pytest.param(Answer(204), id="no-content"),
        pytest.param(Answer(200, b"<html>"), id="page"),
        pytest.param(Answer(200, b"[]"), id="array"),
        pytest.param(Answer(200, b'"token"'), id="string"),
        pytest.param(Answer(200, b"null"), id="null"),
        pytest.param(Answer(200, document()[:-1]), id="cut"),
        pytest.param(Answer(200, document() + document()), id="twice"),
        pytest.param(Answer(200, b"\xef\xbb\xbf" + document()), id="byte-order-mark"),
        pytest.param(Answer(200, document().decode().encode("utf-16")), id="utf-16"),
        pytest.param(Answer(200, b"\xff\xfe{"), id="no-text"),
        pytest.param(Answer(200, b"[" * 60_000), id="deep"),
        pytest.param(
            Answer(200, b'{"access_token":"a","access_token":"b","token_type":"Bearer"}'), id="double"
        ),
        pytest.param(Answer(200, b"access_token=a&token_type=bearer"), id="form"),
        pytest.param(Answer(200, b'{"error":"invalid_client"}'), id="error-with-200"),
        *(pytest.param(Answer(200, document(**members)), id=name) for name, members in WRONG_MEMBERS.items()),
    ],
)
def test_no_grant(party: Party, answer: Answer) -> None:
    """
    What is no grant is a bad response: transient, and no request is sent.
    """
    scene = Scene(party, answer)

    failure = scene.failure()

    assert (failure.error, failure.permanent, failure.error_description) == ("bad_response", False, None)
    assert failure.retry_after is not None
    assert 0.5 <= failure.retry_after <= 1.0


@pytest.mark.parametrize(
    ("raw", "lifetime"),
    [
        pytest.param("3600", 3600.0, id="whole"),
        pytest.param("10.5", 10.5, id="fraction"),
        pytest.param("1e2", 100.0, id="exponent"),
        pytest.param('"3600"', 3600.0, id="digits"),
        pytest.param('"0060"', 60.0, id="digits-with-zeros"),
        pytest.param("1", 1.0, id="one"),
        pytest.param("31536000", 31_536_000.0, id="a-year"),
        *(
            pytest.param(raw, None, id=name)
            for name, raw in {
                "null": "null",
                "zero": "0",
                "negative": "-5",
                "true": "true",
                "text": '"soon"',
                "text-empty": '""',
                "text-negative": '"-5"',
                "text-fraction": '"10.5"',
                "text-zero": '"0"',
                "text-space": '" 60"',
                "text-line-break": '"60\\n"',
                "text-other-digits": '"\u0663\u0660"',
                "list": "[60]",
                "object": "{}",
            }.items()
        ),
    ],
)
def test_lifetime(party: Party, raw: str, lifetime: float | None) -> None:
    """
    A number or digits are a lifetime; without a usable one it is a minute, and told.
    """
    body = document(expires_in="@").replace(b'"@"', raw.encode())
    scene = Scene(party, Answer(200, body))

    scene.get()

    expected = 60.0 if lifetime is None else lifetime
    assert scene.named("token_fetched")[0].lifetime == expected
    assert len(scene.named("lifetime_unknown")) == (lifetime is None)
    scene.now += expected - 0.01
    assert scene.get().request.headers["authorization"] == "Bearer token-1"
    scene.wait_for("token_fetched", 2)


@pytest.mark.parametrize(
    "raw", ["9" * 400, '"' + "9" * 400 + '"', "1e300"], ids=["number", "digits", "float"]
)
def test_a_huge_lifetime_is_long(party: Party, raw: str) -> None:
    """
    A lifetime beyond reason does no harm: the token is used.
    """
    body = document(expires_in="@").replace(b'"@"', raw.encode())
    scene = Scene(party, Answer(200, body))
    scene.get()
    scene.now += 10_000_000.0

    assert scene.get().status_code == 200
    assert len(party.token_requests) == 1


def test_missing_lifetime(party: Party) -> None:
    """
    Without expires_in a token lives for a minute.
    """
    scene = Scene(party, grant(expires_in=None))
    scene.get()
    scene.now += 60.0
    scene.get()

    assert [one.token for one in party.calls] == ["token-1", "token-2"]
    assert len(scene.named("lifetime_unknown")) == 1


PERMANENT = [400, 401, 402, 403, 404, 405, 406, 409, 410, 413, 415, 418, 422, 451, 499]
TRANSIENT = [408, 429, 500, 501, 502, 503, 504, 507, 599]


@pytest.mark.parametrize("status", PERMANENT)
def test_permanent(party: Party, status: int) -> None:
    """
    A 4xx that says "not like this" is repeated for a minute without a request, and then asked once more.
    """
    scene = Scene(party, refusal(status, "x", ("Retry-After", "200")))

    first = scene.failure()
    scene.now += 59.99
    second = scene.failure()

    assert (first.error, first.permanent, first.retry_after) == ("http_4xx", True, 60.0)
    assert second.error == "http_4xx"
    assert second.retry_after == pytest.approx(0.01)
    assert len(party.token_requests) == 1
    scene.now += 0.01
    assert scene.get().status_code == 200
    assert len(party.token_requests) == 2


@pytest.mark.parametrize("status", TRANSIENT)
def test_transient(party: Party, status: int) -> None:
    """
    What may be over in a moment is asked again after a second at most.
    """
    scene = Scene(party, refusal(status, "x"))

    failure = scene.failure()

    assert failure.error == ("http_4xx" if status < 500 else "http_5xx")
    assert failure.permanent is False
    assert failure.retry_after is not None
    assert 0.5 <= failure.retry_after <= 1.0
    scene.now += failure.retry_after - 0.01
    scene.failure()
    assert len(party.token_requests) == 1
    scene.now += 0.02
    assert scene.get().status_code == 200


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308, 399])
def test_redirect(party: Party, status: int) -> None:
    """
    A redirect is refused, and nothing is sent to where it points.
    """
    scene = Scene(party, Answer(status, b"", (("Location", f"{party.origin}/other"),)))

    failure = scene.failure()

    assert (failure.error, failure.permanent) == ("redirect", False)
    assert [one.path for one in party.token_requests] == ["/token"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        *(
            (code, code)
            for code in [
                "invalid_request",
                "invalid_client",
                "invalid_grant",
                "unauthorized_client",
                "unsupported_grant_type",
                "invalid_scope",
                "invalid_target",
            ]
        ),
        ("access_denied", "http_4xx"),
        ("INVALID_CLIENT", "http_4xx"),
        ("invalid_client ", "http_4xx"),
        ("s3cret\r\nX: 1", "http_4xx"),
        (5, "http_4xx"),
        (["invalid_client"], "http_4xx"),
        ({"code": "invalid_client"}, "http_4xx"),
        (None, "http_4xx"),
        ("", "http_4xx"),
    ],
    ids=str,
)
def test_error_is_of_a_closed_set(party: Party, error: object, told: str) -> None:
    """
    The server's code is told if it is one of the RFCs, else the class of the status.
    """
    assert Scene(party, refusal(400, error)).failure().error == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("no such client", "no such client", id="plain"),
        pytest.param("a" * 200, "a" * 200, id="200"),
        pytest.param("a" * 201, "a" * 200, id="201"),
        pytest.param("a\r\nb\x1b[31m\x00c\x7f", "ab[31mc", id="control"),
        pytest.param("é€𝄞well\u202e", "well", id="non-ascii"),
        pytest.param("é", None, id="nothing-left"),
        pytest.param("", None, id="empty"),
        pytest.param(5, None, id="number"),
        pytest.param(["a"], None, id="list"),
        pytest.param(None, None, id="null"),
    ],
)
def test_description(party: Party, text: object, told: str | None) -> None:
    """
    The server's words are printable ASCII, 200 characters at most, and never in the message.
    """
    failure = Scene(party, refusal(401, "invalid_client", error_description=text)).failure()

    assert failure.error_description == told
    assert told is None or told not in str(failure)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(401, b"<html>no"), id="page"),
        pytest.param(Answer(401, b'{"error":"invalid_client","p":"' + b"x" * 70_000 + b'"}'), id="large"),
        pytest.param(Answer(401, b"[" * 5_000), id="deep"),
        pytest.param(Answer(401, b"\xff"), id="no-text"),
    ],
)
def test_an_error_without_a_readable_body(party: Party, answer: Answer) -> None:
    """
    The status says enough.
    """
    failure = Scene(party, answer).failure()

    assert (failure.error, failure.permanent) == ("http_4xx", True)


@pytest.mark.parametrize("status", [429, 503, 408, 500, 307])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("120", 120.0, id="digits"),
        pytest.param("300", 300.0, id="300"),
        pytest.param("301", 300.0, id="301"),
        pytest.param("9" * 5_000, 300.0, id="endless"),
        *(
            pytest.param(value, None, id=name)
            for name, value in {
                "zero": "0",
                "negative": "-120",
                "fraction": "120.5",
                "exponent": "1e3",
                "signed": "+120",
                "hexadecimal": "0x78",
                "words": "120 seconds",
                "list": "120, 120",
                "empty": "",
                "text": "soon",
                "day-alone": "2099-01-01",
                "past": "Wed, 21 Oct 2015 07:28:00 GMT",
                "far-year": "Thu, 01 Jan 99999 00:00:00 GMT",
            }.items()
        ),
    ],
)
def test_retry_after(party: Party, status: int, value: str, seconds: float | None) -> None:
    """
    ``Retry-After`` makes a pause longer, 300 seconds at most; what it does not say well does nothing.
    """
    failure = Scene(party, refusal(status, "x", ("Retry-After", value))).failure()

    assert failure.retry_after is not None
    if seconds is None:
        assert 0.5 <= failure.retry_after <= 1.0
    else:
        assert failure.retry_after == seconds


@pytest.mark.parametrize(
    ("ahead", "least", "most"),
    [pytest.param(100.0, 97.0, 101.0, id="soon"), pytest.param(86_400.0, 300.0, 300.0, id="tomorrow")],
)
def test_retry_after_a_date(party: Party, ahead: float, least: float, most: float) -> None:
    """
    A date in ``Retry-After`` is by the wall clock.
    """

    def answer(_request: object) -> Answer:
        import time

        return refusal(503, "x", ("Retry-After", formatdate(time.time() + ahead, usegmt=True)))

    failure = Scene(party, answer).failure()

    assert failure.retry_after is not None
    assert least <= failure.retry_after <= most


def test_pauses_double_up_to_a_minute(party: Party) -> None:
    """
    The n-th failure in a row pauses for half to all of 2 to the n-1 seconds, a minute at most; the fifth
    opens the circuit, once; a success closes it, once, and ends the row.
    """
    scene = Scene(party, *[refusal(503, "x")] * 9)
    for most in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        pause = scene.failure().retry_after
        assert pause is not None
        assert most / 2 <= pause <= most
        scene.now += pause
        opened = len(scene.named("circuit_opened"))
        assert opened == (most >= 16)
    scene.get()
    party.answers[:] = [refusal(503, "x")] * 5
    scene.now += 4_000.0
    first = scene.failure().retry_after

    assert len(scene.named("circuit_closed")) == 1
    assert first is not None
    assert first <= 1.0
    assert len(scene.named("circuit_opened")) == 1


def test_permanent_failures_open_no_circuit(party: Party) -> None:
    """
    Only transient failures in a row count; a permanent one between them ends the row.
    """
    scene = Scene(party, *[refusal(503, "x")] * 4, refusal(400, "x"), *[refusal(503, "x")] * 4)
    for _ in range(9):
        scene.now += scene.failure().retry_after or 0.0
    scene.get()

    assert scene.named("circuit_opened") == scene.named("circuit_closed") == []


def test_the_error_is_catchable_as_what_it_is(party: Party) -> None:
    """
    It is an `UnavailableError` with its four attributes, and has no cause.
    """
    failure = Scene(party, refusal(401, "invalid_client", error_description="who?")).failure()

    assert isinstance(failure, UnavailableError)
    assert isinstance(failure, GuardrailError)
    assert not isinstance(failure, httpx.HTTPError)
    assert failure.__cause__ is None
    found = failure.error, failure.error_description, failure.retry_after, failure.permanent
    assert found == ("invalid_client", "who?", 60.0, True)


def test_nobody_there(party: Party) -> None:
    """
    A refused connection is transient.
    """
    scene = Scene(party, token_url="http://127.0.0.1:1/token", timeout=5.0)

    failure = scene.failure()

    assert (failure.error, failure.permanent) == ("connect", False)


def test_a_slow_server_is_a_timeout(party: Party) -> None:
    """
    *timeout* is for all of a request.
    """
    import threading

    go_on = threading.Event()

    def answer(_request: object) -> Answer:
        go_on.wait(20.0)
        return grant()

    scene = Scene(party, answer, timeout=0.1)
    failure = scene.failure()
    go_on.set()

    assert (failure.error, failure.permanent) == ("timeout", False)
