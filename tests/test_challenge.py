"""
Answers to refusals: strict challenges, fixed texts, and nothing of the token.
"""

import json
import re
import string
from typing import Any

import pytest

from guardrail import Requirement, ServicePackage
from guardrail._asgi import Message, Scope
from guardrail._challenge import Answer, Challenges, not_allowed, not_found, send_answer, unavailable
from guardrail._settings import MAX_SECONDS
from guardrail.errors import (
    AlgorithmNotAllowedError,
    ClaimError,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidTokenError,
    MalformedRequestError,
    MalformedTokenError,
    MissingTokenError,
    OperatorRefusedError,
    SignatureError,
    TokenError,
    UnavailableError,
    UnknownIssuerError,
    UnknownKeyError,
)

# RFC 9110 §5.6.2 and §5.6.4, §11.2, to the letter.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUOTED_STRING = re.compile(r'"((?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*)"')
_BETWEEN = re.compile(r"[ \t]*,[ \t]*")

# RFC 6750 §3: what error and error_description, and what scope, may be made of.
_DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")

ORDERS = ServicePackage(
    "orders", issuer="https://login.example.com", audience="https://api.example.com/orders"
)
HOSTILE = 'x"y\\z\r\nX-Evil: 1\x1b[31m é 😀 \ud800 , error="ok"'


def parse_challenge(value: bytes) -> tuple[str, dict[str, str]]:
    """
    Read one challenge with auth-params, and refuse what RFC 9110 §11.2 does not allow.
    """
    text = value.decode("ascii")
    scheme = _TOKEN.match(text)
    if scheme is None or not text[scheme.end() :].startswith(" "):
        raise ValueError("no scheme")
    position, parameters = scheme.end() + 1, dict[str, str]()
    while True:
        name = _TOKEN.match(text, position)
        if name is None or text[name.end() : name.end() + 1] != "=":
            raise ValueError("no parameter")
        content = _QUOTED_STRING.match(text, name.end() + 1) or _TOKEN.match(text, name.end() + 1)
        if content is None:
            raise ValueError("no value")
        if name[0].lower() in parameters:
            raise ValueError("a parameter twice")
        unquoted = content[1] if content.re is _QUOTED_STRING else content[0]
        parameters[name[0].lower()] = re.sub(r"\\(.)", r"\1", unquoted)
        position = content.end()
        if position == len(text):
            return scheme[0], parameters
        comma = _BETWEEN.match(text, position)
        if comma is None:
            raise ValueError("no comma")
        position = comma.end()


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer",
        b"Bearer ",
        b'Bearer realm="a',
        b'Bearer realm="a" error="b"',
        b'Bearer realm="a",',
        b'Bearer realm="a", realm="b"',
        b'Bearer realm="a", REALM="b"',
        b'Bearer realm="a\x00b"',
        b'Bearer realm="a\nb"',
        b"Bearer realm=a b",
        b'Bearer "a"',
    ],
    ids=repr,
)
def test_parser_of_this_file_is_strict(value: bytes) -> None:
    """
    The parser that judges our challenges refuses what it should.
    """
    with pytest.raises(ValueError):
        parse_challenge(value)


def refusals(text: str) -> list[TokenError]:
    """
    One refusal of each class, with *text* wherever a caller's text can be.
    """
    return [
        MissingTokenError(text),
        MalformedRequestError(text),
        MalformedRequestError(text, code="authorization_repeated"),
        MalformedRequestError(text, code="token_in_query"),
        MalformedRequestError(text, code="token_too_large"),
        InvalidTokenError(text),
        MalformedTokenError(text),
        MalformedTokenError(text, code="token_too_large"),
        AlgorithmNotAllowedError(text, algorithm=text),
        SignatureError(text),
        UnknownKeyError(text, kid=text),
        UnknownIssuerError(text),
        ClaimError(text, claim=text, reason="missing", actual=text),
        ClaimError(text, claim=text, reason="invalid", actual=text),
        ClaimError(text, claim=text, reason="mismatch", expected=text, actual=text),
        ClaimError(text, claim=text, reason="expired", actual=text),
        ClaimError(text, claim=text, reason="too_early", actual=text),
        ClaimError(text, claim=text, reason="mismatch", code="issuer_mismatch", actual=text),
        ClaimError(text, claim=text, reason="mismatch", code="audience_mismatch", actual=text),
        ClaimError(text, claim=text, reason="invalid", code="sender_constrained", actual=text),
        InsufficientScopeError(text, required=[text], granted=[text]),
        OperatorRefusedError(text),
        OperatorRefusedError(text, code="access_group_missing"),
        InsufficientAuthenticationError(text),
    ]


def name_of(error: object) -> str:
    return f"{type(error).__name__} {getattr(error, 'code', '')}"


def header(answer: Answer, name: bytes) -> bytes:
    """
    The one value of a field; it is there once.
    """
    (value,) = [value for field, value in answer.headers if field == name]
    return value


def challenge(error: TokenError, requirement: Requirement | None = None) -> dict[str, str]:
    answer = Challenges(requirement or ORDERS.requires("orders:read")).answer(error)
    scheme, parameters = parse_challenge(header(answer, b"www-authenticate"))
    assert scheme == "Bearer"
    return parameters


REQUIREMENTS = [
    pytest.param(ORDERS.requires(), id="no scope"),
    pytest.param(ORDERS.requires("orders:read"), id="a scope"),
    pytest.param(
        ORDERS.requires("a", "b", roles=["r"], acr_values=["mfa", "pwd"], max_age=90.7), id="everything"
    ),
    pytest.param(ORDERS.requires_any("#$%&'()*+,-./:;<=>?@", "[]^_`{|}~!"), id="every character of a scope"),
    pytest.param(
        ServicePackage("Orders, v2; (new)", issuer="https://a.example", audience="a").requires("x"),
        id="a name with commas",
    ),
]


@pytest.mark.parametrize("requirement", REQUIREMENTS)
@pytest.mark.parametrize("error", refusals(HOSTILE), ids=name_of)
def test_every_challenge_parses_strictly(error: TokenError, requirement: Requirement) -> None:
    """
    One challenge, each parameter once, only RFC 6750's characters, a realm always (R17 to R19, R26 to R30).
    """
    answer = Challenges(requirement).answer(error)

    scheme, parameters = parse_challenge(header(answer, b"www-authenticate"))

    assert scheme == "Bearer"
    assert parameters["realm"] == requirement.package.name
    assert set(parameters) <= {"realm", "error", "error_description", "scope", "acr_values", "max_age"}
    assert all(_DESCRIPTION.fullmatch(value) for value in parameters.values())
    assert _SCOPE.fullmatch(parameters.get("scope", "none"))
    assert answer.status == error.status


@pytest.mark.parametrize(
    ("error", "quiet"), list(zip(refusals(HOSTILE), refusals("quiet"), strict=True)), ids=name_of
)
def test_nothing_of_the_exception_is_in_the_answer(error: TokenError, quiet: TokenError) -> None:
    """
    Whatever the token or the exception says, the answer is the same octets (R28, R34, F8, F11).
    """
    hostile, plain = (Challenges(ORDERS.requires("orders:read")).answer(one) for one in (error, quiet))

    assert hostile == plain
    assert b"Evil" not in repr(hostile).encode()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(MissingTokenError("m"), {"scope": "a b"}, id="missing token: no error"),
        pytest.param(
            MalformedRequestError("m"),
            {
                "error": "invalid_request",
                "error_description": "The request must carry one bearer token, in one Authorization field",
            },
            id="malformed request",
        ),
        pytest.param(
            SignatureError("m"),
            {
                "error": "invalid_token",
                "error_description": "The access token is not valid here",
                "scope": "a b",
            },
            id="invalid token",
        ),
        pytest.param(
            ClaimError("m", claim="exp", reason="expired"),
            {"error": "invalid_token", "error_description": "The access token expired", "scope": "a b"},
            id="expired token",
        ),
        pytest.param(
            InsufficientScopeError("m", required=("x",), granted=()),
            {
                "error": "insufficient_scope",
                "error_description": "The access token lacks a scope that this request needs",
                "scope": "a b",
            },
            id="insufficient scope: all that the route needs",
        ),
        pytest.param(OperatorRefusedError("m"), {}, id="operator refused: no error and no scope"),
        pytest.param(
            InsufficientAuthenticationError("m"),
            {
                "error": "insufficient_user_authentication",
                "error_description": "A stronger or more recent authentication is needed",
                "acr_values": "mfa pwd",
                "max_age": "300",
            },
            id="insufficient authentication",
        ),
    ],
)
def test_challenge_says_what_the_standards_ask(error: TokenError, expected: dict[str, str]) -> None:
    """
    No error without credentials, all scopes where scope lacks, step-up with its values (R20, R25, R203).
    """
    requirement = ORDERS.requires("a", "b", acr_values=["mfa", "pwd"], max_age=300)

    parameters = challenge(error, requirement)

    assert parameters == {"realm": "orders", **expected}


@pytest.mark.parametrize(
    "requirement",
    [
        pytest.param(ORDERS.requires(acr_values=["mfa"]), id="class alone"),
        pytest.param(ORDERS.requires(max_age=0.9), id="age alone"),
    ],
)
def test_step_up_says_only_what_is_wanted(requirement: Requirement) -> None:
    """
    A step-up challenge has the class, the age, or both; an age is a whole non-negative number (R203, R204).
    """
    parameters = challenge(InsufficientAuthenticationError("m"), requirement)

    wanted = {name: value for name, value in parameters.items() if name in ("acr_values", "max_age")}
    assert wanted == ({"acr_values": "mfa"} if requirement.acr_values else {"max_age": "0"})


def test_max_age_is_written_without_an_exponent() -> None:
    """
    A long age is still digits.
    """
    parameters = challenge(InsufficientAuthenticationError("m"), ORDERS.requires(max_age=MAX_SECONDS))

    assert parameters["max_age"] == "1000000000000"


@pytest.mark.parametrize("error", [SignatureError("m"), MissingTokenError("m")], ids=name_of)
def test_alternatives_are_named_after_what_is_required(error: TokenError) -> None:
    """
    The scope parameter has required scopes and alternatives, in the order written.
    """
    package = ServicePackage("orders", issuer="https://a.example", audience="a", required_scopes=["base"])

    parameters = challenge(error, package.requires_any("b", "a"))

    assert parameters["scope"] == "base b a"


def test_requirement_without_scopes_has_no_scope_parameter() -> None:
    """
    An empty scope parameter would be malformed, and is left out.
    """
    assert challenge(MissingTokenError("m"), ORDERS.requires()) == {"realm": "orders"}


def test_reasons_of_an_invalid_token_look_alike() -> None:
    """
    A bad signature, an unknown key, an unknown issuer and a wrong audience get one answer (R34, B14).
    """
    alike = [
        SignatureError("m"),
        UnknownKeyError("m", kid="a"),
        UnknownIssuerError("m"),
        MalformedTokenError("m"),
        AlgorithmNotAllowedError("m", algorithm="none"),
        ClaimError("m", claim="iss", reason="mismatch", code="issuer_mismatch"),
        ClaimError("m", claim="aud", reason="mismatch", code="audience_mismatch"),
        ClaimError("m", claim="nbf", reason="too_early"),
        ClaimError("m", claim="cnf", reason="invalid", code="sender_constrained"),
    ]
    challenges = Challenges(ORDERS.requires("orders:read"))

    answers = [challenges.answer(error) for error in alike]

    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("error", refusals("m"), ids=name_of)
def test_answers_are_whole_and_not_stored(error: TokenError) -> None:
    """
    A problem document with its length, never cached, with no header that would allow it (R32, R33).
    """
    answer = Challenges(ORDERS.requires("orders:read")).answer(error)
    problem = json.loads(answer.body)

    assert header(answer, b"content-type") == b"application/problem+json"
    assert header(answer, b"content-length") == str(len(answer.body)).encode()
    assert header(answer, b"cache-control") == b"no-store"
    assert len(answer.headers) == 4
    assert (problem["type"], problem["status"]) == ("about:blank", error.status)
    assert problem.get("error") == error.oauth_error
    assert ("error_description" in problem) is (error.oauth_error is not None)


def test_description_in_the_body_is_the_one_of_the_challenge() -> None:
    """
    Body and challenge say the same.
    """
    answer = Challenges(ORDERS.requires()).answer(SignatureError("m"))
    _, parameters = parse_challenge(header(answer, b"www-authenticate"))

    problem = json.loads(answer.body)

    assert problem == {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "error": parameters["error"],
        "error_description": parameters["error_description"],
    }


def test_answer_of_one_kind_is_built_once() -> None:
    """
    The second refusal of a kind costs nothing, and gets the same object.
    """
    challenges = Challenges(ORDERS.requires("orders:read"))

    first, second = challenges.answer(SignatureError("m")), challenges.answer(SignatureError("other"))

    assert first is second


@pytest.mark.parametrize("reverse", [False, True], ids=["as listed", "in reverse"])
def test_order_of_refusals_does_not_change_their_answers(reverse: bool) -> None:
    """
    What was refused before has no influence: a shared code does not lend its answer to another class.
    """
    challenges = Challenges(ORDERS.requires("orders:read", acr_values=["mfa"]))
    errors = refusals("m")[::-1] if reverse else refusals("m")

    mixed = [challenges.answer(error) for error in errors]

    assert [answer.status for answer in mixed] == [error.status for error in errors]
    assert mixed == [
        Challenges(ORDERS.requires("orders:read", acr_values=["mfa"])).answer(error) for error in errors
    ]


def test_answers_of_two_requirements_are_kept_apart() -> None:
    """
    Each requirement has challenges of its own.
    """
    one, other = Challenges(ORDERS.requires("a")), Challenges(ORDERS.requires("b"))

    answers = [one.answer(MissingTokenError("m")), other.answer(MissingTokenError("m"))]

    assert [parse_challenge(header(answer, b"www-authenticate"))[1]["scope"] for answer in answers] == [
        "a",
        "b",
    ]


def test_unknown_path_is_404_without_a_challenge() -> None:
    """
    Nothing of a token is in question where no route is.
    """
    answer = not_found()

    assert answer.status == 404
    assert json.loads(answer.body) == {"type": "about:blank", "title": "Not Found", "status": 404}
    assert [name for name, _ in answer.headers] == [b"content-type", b"content-length", b"cache-control"]


def test_wrong_method_is_405_with_those_that_are_allowed() -> None:
    """
    405 names the methods of the path (RFC 9110 §15.5.6).
    """
    answer = not_allowed(("GET", "HEAD"))

    assert answer.status == 405
    assert header(answer, b"allow") == b"GET, HEAD"
    assert json.loads(answer.body)["title"] == "Method Not Allowed"


@pytest.mark.parametrize(
    ("retry_after", "value"), [(1.0, b"1"), (0.2, b"1"), (29.001, b"30"), (30, b"30"), (0.0, b"0")], ids=str
)
def test_unavailable_is_503_with_whole_seconds_and_no_challenge(retry_after: float, value: bytes) -> None:
    """
    When keys could not be had the token may be good: no 401, no challenge, and when to try again (C9).
    """
    answer = unavailable(UnavailableError(HOSTILE, retry_after=retry_after))

    assert answer.status == 503
    assert header(answer, b"retry-after") == value
    assert not [name for name, _ in answer.headers if name == b"www-authenticate"]
    assert set(json.loads(answer.body)) == {"type", "title", "status"}


async def sent(scope: Scope, answer: Answer) -> list[Message]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await send_answer(answer, scope, send)
    return messages


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        pytest.param(
            {"type": "http", "method": "GET"}, ["http.response.start", "http.response.body"], id="GET"
        ),
        pytest.param(
            {"type": "http", "method": "HEAD"}, ["http.response.start", "http.response.body"], id="HEAD"
        ),
        pytest.param(
            {"type": "websocket", "extensions": {"websocket.http.response": {}}},
            ["websocket.http.response.start", "websocket.http.response.body"],
            id="WebSocket with denial",
        ),
        pytest.param({"type": "websocket", "extensions": {}}, ["websocket.close"], id="WebSocket without"),
    ],
)
async def test_answer_is_sent_in_the_way_of_the_scope(scope: dict[str, Any], expected: list[str]) -> None:
    """
    HTTP requests and handshakes get the same answer as far as the server can send it (R36, R247).
    """
    answer = Challenges(ORDERS.requires("orders:read")).answer(MissingTokenError("m"))

    messages = await sent(scope, answer)

    assert [message["type"] for message in messages] == expected
    if len(messages) == 2:
        assert (messages[0]["status"], messages[0]["headers"]) == (401, list(answer.headers))
        assert messages[1]["body"] == (b"" if scope.get("method") == "HEAD" else answer.body)


def test_bodies_are_printable_ascii() -> None:
    """
    No answer needs another encoding to be read.
    """
    bodies = [Challenges(ORDERS.requires()).answer(error).body for error in refusals(HOSTILE)]

    assert all(set(body.decode("ascii")) <= set(string.printable) for body in bodies)


def test_answer_is_frozen() -> None:
    """
    One answer serves many requests, so that nobody may change it.
    """
    from dataclasses import FrozenInstanceError

    answer = not_found()

    with pytest.raises(FrozenInstanceError):
        answer.status = 200  # type: ignore[misc]


def test_body_tells_an_error_only_with_its_description() -> None:
    """
    Where there is no error code, there is nothing to describe, and the other way round (RFC 6750 §3.1).
    """
    from guardrail._challenge import _answer

    bodies = [
        _answer(401, (), error=error, description=description).body
        for error, description in ((None, None), (None, "why"), ("invalid_token", "why"))
    ]

    told = [{"error", "error_description"} & set(json.loads(body)) for body in bodies]
    assert told == [set(), set(), {"error", "error_description"}]
