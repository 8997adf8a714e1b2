"""
The tree of errors: classes, codes and statuses that others rely on.
"""

import ast
import re
from pathlib import Path

import pytest

import guardrail
from guardrail import errors
from guardrail._challenge import Challenges
from guardrail.errors import (
    CODES,
    AlgorithmNotAllowedError,
    ClaimError,
    GuardrailError,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidTokenError,
    MalformedRequestError,
    MalformedTokenError,
    MiddlewareMissingError,
    MissingTokenError,
    OperatorRefusedError,
    PolicyError,
    Reason,
    SignatureError,
    TokenError,
    UnavailableError,
    UndeclaredRouteError,
    UnknownIssuerError,
    UnknownKeyError,
)

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, GuardrailError)
}
REASONS: tuple[Reason, ...] = ("missing", "invalid", "mismatch", "expired", "too_early")
REFUSALS: list[TokenError] = [
    MissingTokenError("m"),
    MalformedRequestError("m"),
    InvalidTokenError("m"),
    MalformedTokenError("m"),
    AlgorithmNotAllowedError("m", algorithm="none"),
    SignatureError("m"),
    UnknownKeyError("m", kid="a"),
    UnknownIssuerError("m"),
    *(ClaimError("m", claim="c", reason=reason) for reason in REASONS),
    InsufficientScopeError("m", required=("a",), granted=()),
    OperatorRefusedError("m"),
    InsufficientAuthenticationError("m"),
]


def codes_written_in_the_source() -> set[str]:
    """
    Every string that a module passes as ``code=`` to one of our errors.
    """
    found: set[str] = set()
    for path in Path(guardrail.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in CLASSES:
                values = (keyword.value for keyword in node.keywords if keyword.arg == "code")
                found |= {str(value.value) for value in values if isinstance(value, ast.Constant)}
    return found


def test_docstring_is_the_tree_of_the_classes() -> None:
    """
    The module's docstring names every class, and no other.
    """
    named = set(re.findall(r"\w+Error", errors.__doc__ or ""))

    assert named == set(CLASSES)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_docstring_draws_each_class_under_its_base(name: str) -> None:
    """
    In the tree of the docstring a class stands deeper than its base, and after it.
    """
    lines = (errors.__doc__ or "").splitlines()
    line_of = {
        one: next(i for i, line in enumerate(lines) if re.search(rf"\b{one}\b", line)) for one in CLASSES
    }
    column_of = {one: re.search(r"\w", lines[line_of[one]]) for one in CLASSES}
    base = CLASSES[name].__base__
    if name == "GuardrailError" or base is None:
        return

    own, its = column_of[name], column_of[base.__name__]

    assert own is not None
    assert its is not None
    assert own.start() == its.start() + 4
    assert line_of[name] > line_of[base.__name__]


def test_every_class_is_exported() -> None:
    """
    What can be raised can be caught by name; the list is sorted as ruff sorts it.
    """
    assert set(errors.__all__) == {"CODES", *CLASSES}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_class_says_when_it_is_raised(name: str) -> None:
    """
    The docstring of a class begins with "Raised when"; the base has nothing to say.
    """
    doc = (CLASSES[name].__doc__ or "").strip()

    assert doc.startswith("Raised when" if name != "GuardrailError" else "The base")


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: f"{type(error).__name__} {error.code}")
def test_code_of_every_refusal_is_in_the_closed_list(error: TokenError) -> None:
    """
    A refusal's code is from `CODES`, so that metrics cannot explode.
    """
    assert error.code in CODES
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)


def test_every_refusal_class_is_covered_here() -> None:
    """
    A new class of refusal joins the tables of this file.
    """
    tested = {type(error) for error in REFUSALS}

    assert tested == {one for one in CLASSES.values() if issubclass(one, TokenError)} - {TokenError}


def test_every_code_of_the_closed_list_is_used() -> None:
    """
    The codes that classes have by default and those the source passes are together exactly `CODES`.
    """
    by_default = {error.code for error in REFUSALS} | {UnavailableError("m").code}

    used = by_default | codes_written_in_the_source()

    assert used == CODES


@pytest.mark.parametrize(
    ("error", "status", "oauth_error"),
    [
        pytest.param(MissingTokenError("m"), 401, None, id="missing"),
        pytest.param(MalformedRequestError("m"), 400, "invalid_request", id="malformed request"),
        pytest.param(InvalidTokenError("m"), 401, "invalid_token", id="invalid"),
        pytest.param(MalformedTokenError("m"), 401, "invalid_token", id="malformed token"),
        pytest.param(AlgorithmNotAllowedError("m", algorithm=1), 401, "invalid_token", id="algorithm"),
        pytest.param(SignatureError("m"), 401, "invalid_token", id="signature"),
        pytest.param(UnknownKeyError("m", kid=None), 401, "invalid_token", id="key"),
        pytest.param(UnknownIssuerError("m"), 401, "invalid_token", id="issuer"),
        pytest.param(ClaimError("m", claim="exp", reason="expired"), 401, "invalid_token", id="claim"),
        pytest.param(
            InsufficientScopeError("m", required=(), granted=()), 403, "insufficient_scope", id="scope"
        ),
        pytest.param(OperatorRefusedError("m"), 403, None, id="operator"),
        pytest.param(
            InsufficientAuthenticationError("m"), 401, "insufficient_user_authentication", id="authentication"
        ),
    ],
)
def test_refusals_have_the_status_and_error_of_the_standards(
    error: TokenError, status: int, oauth_error: str | None
) -> None:
    """
    Status and OAuth error are those of RFC 6750 §3.1 and RFC 9470 §3 (R20 to R24, C8, R202).
    """
    assert (error.status, error.oauth_error) == (status, oauth_error)


def test_catching_the_obvious_class_is_right() -> None:
    """
    Whoever catches a token error gets every refusal, and neither mistakes of ours nor of the setup.
    """
    ours: list[GuardrailError] = [
        PolicyError("m"),
        UndeclaredRouteError([]),
        MiddlewareMissingError("m"),
        UnavailableError("m"),
    ]

    assert not [error for error in ours if isinstance(error, TokenError)]
    assert [error for error in ours if isinstance(error, PolicyError)] == ours[:3]
    assert not issubclass(UnavailableError, PolicyError)
    assert not issubclass(GuardrailError, ValueError)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("missing", "claim_missing"),
        ("invalid", "claims_malformed"),
        ("mismatch", "token_type_mismatch"),
        ("expired", "token_expired"),
        ("too_early", "token_not_yet_valid"),
    ],
)
def test_claim_error_has_a_code_for_each_reason(reason: Reason, code: str) -> None:
    """
    Each reason has a code of its own, and a code that is given goes before it.
    """
    plain = ClaimError("m", claim="c", reason=reason)
    given = ClaimError("m", claim="c", reason=reason, code="issuer_mismatch")

    assert (plain.code, given.code) == (code, "issuer_mismatch")
    assert (plain.claim, plain.reason, plain.expected, plain.actual) == ("c", reason, None, None)


def test_facts_are_attributes_and_not_in_the_message() -> None:
    """
    What a token said is an attribute; the message is a fixed sentence.
    """
    refusals = [
        ClaimError("wrong", claim="iss", reason="mismatch", expected="e-fact", actual="a-fact"),
        AlgorithmNotAllowedError("wrong", algorithm="a-fact"),
        UnknownKeyError("wrong", kid="a-fact"),
        InsufficientScopeError("wrong", required=["e-fact"], granted=["a-fact"]),
    ]

    texts = [f"{error} {error!r} {error.args}" for error in refusals]

    assert not [text for text in texts if "fact" in text]


def test_insufficient_scope_says_what_was_required_and_granted() -> None:
    """
    Scopes are kept as values that cannot change, in the order they were required.
    """
    required, granted = ["b", "a"], {"c"}
    error = InsufficientScopeError("m", required=required, granted=granted)

    required.append("x")
    granted.add("x")

    assert (error.required, error.granted) == (("b", "a"), frozenset({"c"}))


def test_insufficient_scope_says_what_is_lacking() -> None:
    """
    By default what is required and not granted; whoever knows of implied scopes says it.
    """
    by_default = InsufficientScopeError("m", required=["b", "a", "c"], granted=["a"])
    said = InsufficientScopeError("m", required=["b", "a", "c"], granted=["a"], lacking=iter(["c"]))

    assert (by_default.lacking, said.lacking) == (("b", "c"), ("c",))


def test_undeclared_routes_are_all_listed() -> None:
    """
    Every undeclared route is named at once, one line each.
    """
    error = UndeclaredRouteError(iter(["GET /a -> a", "POST /b -> b"]))

    assert error.routes == ("GET /a -> a", "POST /b -> b")
    assert str(error) == "undeclared routes:\n  GET /a -> a\n  POST /b -> b"


def test_unavailable_is_no_refusal() -> None:
    """
    Keys that could not be had say when to try again, and nothing about the token (C9).
    """
    plain = UnavailableError("m")
    later = UnavailableError("m", retry_after=30.0)

    assert (plain.code, plain.retry_after, later.retry_after) == ("keys_unavailable", 1.0, 30.0)
    assert not hasattr(plain, "status")


def test_each_answer_depends_on_class_and_code_alone() -> None:
    """
    Two classes that share a code still have a status each: a challenge must not confuse them.
    """
    package = guardrail.ServicePackage("orders", issuer="https://login.example.com", audience="orders")
    challenges = Challenges(package.requires())
    refusals: list[TokenError] = [
        MalformedRequestError("m", code="token_too_large"),
        MalformedTokenError("m", code="token_too_large"),
    ]

    statuses = [challenges.answer(error).status for error in refusals]

    assert statuses == [error.status for error in refusals] == [400, 401]
