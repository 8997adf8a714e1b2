"""
Authorization: an operator meets all of a requirement, or is refused with the right answer.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from guardrail import Operator, Requirement, ServicePackage, TokenFacts
from guardrail._authorization import authorize
from guardrail.errors import (
    InsufficientAuthenticationError,
    InsufficientScopeError,
    OperatorRefusedError,
    TokenError,
)

NOW = 1_800_000_000.0
LEEWAY = 30.0
ORDERS = ServicePackage("orders", issuer="https://login.example.com", audience="orders")
IMPLYING = ServicePackage(
    "orders",
    issuer="https://login.example.com",
    audience="orders",
    implies={"orders:admin": ["orders:write"], "orders:write": ["orders:read"]},
)


def operator(*scopes: str, **settings: Any) -> Operator:
    return Operator(
        operator_id="i#alice", kind="user", issuer="i", subject="alice", scopes=frozenset(scopes), **settings
    )


def judge(one: Operator, requirement: Requirement, *, leeway: float = LEEWAY) -> None:
    authorize(one, requirement, now=NOW, leeway=leeway)


@pytest.mark.parametrize(
    ("one", "requirement"),
    [
        pytest.param(operator(), ORDERS.requires(), id="any valid token"),
        pytest.param(operator("a"), ORDERS.requires("a"), id="the scope"),
        pytest.param(operator("a", "b", "c"), ORDERS.requires("a", "b"), id="all scopes and more"),
        pytest.param(operator("b"), ORDERS.requires_any("a", "b"), id="one of the scopes"),
        pytest.param(operator("orders:write"), IMPLYING.requires("orders:read"), id="an implied scope"),
        pytest.param(
            operator("orders:admin"), IMPLYING.requires("orders:read", "orders:write"), id="implied twice"
        ),
        pytest.param(
            operator("orders:admin"), IMPLYING.requires_any("x", "orders:read"), id="one of, implied"
        ),
        pytest.param(
            operator(roles=frozenset({"clerk"})),
            ORDERS.requires(roles=["admin", "clerk"]),
            id="one of the roles",
        ),
        pytest.param(
            operator(access_group="G"),
            ORDERS.requires(access_groups=["F", "G"]),
            id="one of the access groups",
        ),
        pytest.param(
            operator(
                "a", roles=frozenset({"r"}), access_group="G", token=TokenFacts(acr="mfa", auth_time=NOW)
            ),
            ORDERS.requires("a", roles=["r"], access_groups=["G"], acr_values=["mfa"], max_age=0),
            id="everything at once",
        ),
    ],
)
def test_operator_that_meets_the_requirement_passes(one: Operator, requirement: Requirement) -> None:
    """
    All of the scopes or one of the alternatives, one of the roles, the active access group.
    """
    judge(one, requirement)


@pytest.mark.parametrize(
    ("one", "requirement"),
    [
        pytest.param(operator(), ORDERS.requires("a"), id="no scope"),
        pytest.param(operator("a"), ORDERS.requires("a", "b"), id="one of two"),
        pytest.param(operator("c"), ORDERS.requires_any("a", "b"), id="none of the alternatives"),
        pytest.param(operator("reader"), ORDERS.requires("read"), id="a longer name"),
        pytest.param(operator("read:all"), ORDERS.requires("read"), id="a prefix of it"),
        pytest.param(operator("READ"), ORDERS.requires("read"), id="another case"),
        pytest.param(operator("no-read"), ORDERS.requires("read"), id="a suffix of it"),
        pytest.param(operator("read,write"), ORDERS.requires("read"), id="with a comma"),
        pytest.param(operator("read\twrite"), ORDERS.requires("read"), id="with a tab"),
        pytest.param(operator("read write"), ORDERS.requires("read"), id="two in one"),
        pytest.param(operator("orders:read"), IMPLYING.requires("orders:write"), id="implied backwards"),
        pytest.param(
            operator("orders:write"), ORDERS.requires("orders:read"), id="implied in another package"
        ),
        pytest.param(operator("a", roles=frozenset({"b"})), ORDERS.requires("b"), id="a role is no scope"),
    ],
)
def test_operator_without_the_scope_is_refused(one: Operator, requirement: Requirement) -> None:
    """
    Scopes are whole, case-sensitive names (R127, C18).
    """
    with pytest.raises(InsufficientScopeError) as caught:
        judge(one, requirement)

    assert (caught.value.status, caught.value.code) == (403, "insufficient_scope")
    assert caught.value.granted == one.scopes


@pytest.mark.parametrize(
    ("granted", "requirement", "lacking"),
    [
        pytest.param({"b"}, ORDERS.requires("a", "b", "c"), ("a", "c"), id="all but one"),
        pytest.param({"x"}, ORDERS.requires_any("b", "a"), ("b", "a"), id="any of several"),
        pytest.param({"orders:read"}, IMPLYING.requires("orders:read", "x"), ("x",), id="beside one granted"),
        pytest.param(
            {"orders:write"}, IMPLYING.requires("orders:read", "x"), ("x",), id="beside one implied"
        ),
        pytest.param(
            {"x"},
            replace(ORDERS.requires_any("x", "y"), all_scopes=("a",)),
            ("a",),
            id="one of several is there",
        ),
        pytest.param(
            {"a"},
            replace(ORDERS.requires_any("x", "y"), all_scopes=("a",)),
            ("x", "y"),
            id="none of several is there",
        ),
    ],
)
def test_refusal_says_which_scopes_are_lacking(
    granted: set[str], requirement: Requirement, lacking: tuple[str, ...]
) -> None:
    """
    Those that keep the token out: not what is granted, nor what that implies.
    """
    with pytest.raises(InsufficientScopeError) as caught:
        judge(operator(*granted), requirement)

    assert caught.value.lacking == lacking


@pytest.mark.parametrize(
    ("scopes", "passes"),
    [({"base", "a"}, True), ({"base", "b"}, True), ({"base"}, False), ({"a", "b"}, False), (set(), False)],
    ids=str,
)
def test_alternatives_do_not_replace_what_the_package_requires(scopes: set[str], passes: bool) -> None:
    """
    The package's required scopes and one of the alternatives are needed together (E17).
    """
    package = ServicePackage(
        "orders", issuer="https://login.example.com", audience="orders", required_scopes=["base"]
    )
    requirement = package.requires_any("a", "b")

    if passes:
        judge(operator(*scopes), requirement)
        return

    with pytest.raises(InsufficientScopeError) as caught:
        judge(operator(*scopes), requirement)
    assert caught.value.required == ("base", "a", "b")


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(operator("admin"), id="no role; a scope is none"),
        pytest.param(operator(roles=frozenset({"administrator"})), id="a longer name"),
        pytest.param(operator(roles=frozenset({"Admin"})), id="another case"),
        pytest.param(
            operator(groups=frozenset({"admin"}), permissions=frozenset({"admin"})), id="groups are no roles"
        ),
    ],
)
def test_operator_without_the_role_is_refused(one: Operator) -> None:
    """
    Roles are whole names, and a 403 without an OAuth error: no scope would help (C8, C19).
    """
    with pytest.raises(OperatorRefusedError) as caught:
        judge(one, ORDERS.requires(roles=["admin"]))

    assert (caught.value.status, caught.value.oauth_error, caught.value.code) == (403, None, "role_missing")


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(operator(), id="no access group"),
        pytest.param(operator(access_group="H"), id="another"),
        pytest.param(operator(access_group="g"), id="another case"),
        pytest.param(operator(access_group=""), id="an empty one"),
        pytest.param(operator(access_groups=("G",), access_group="H"), id="held, but not active"),
        pytest.param(operator(access_groups=("G",)), id="held, and none active"),
    ],
)
def test_operator_of_another_access_group_is_refused(one: Operator) -> None:
    """
    Only the active access group counts, not those that are held.
    """
    with pytest.raises(OperatorRefusedError) as caught:
        judge(one, ORDERS.requires(access_groups=["G"]))

    assert (caught.value.status, caught.value.code) == (403, "access_group_missing")


@pytest.mark.parametrize(
    ("acr", "accepted", "passes"),
    [
        pytest.param("mfa", ["mfa"], True, id="the one"),
        pytest.param("pwd", ["mfa", "pwd"], True, id="the second of two"),
        pytest.param("pwd", ["mfa"], False, id="another"),
        pytest.param("MFA", ["mfa"], False, id="another case"),
        pytest.param("mfa2", ["mfa"], False, id="a longer name"),
        pytest.param("", ["mfa"], False, id="empty"),
        pytest.param(None, ["mfa"], False, id="missing"),
    ],
)
def test_authentication_context_class_is_matched_exactly(
    acr: str | None, accepted: list[str], passes: bool
) -> None:
    """
    A missing class never passes (R205, R207, C22).
    """
    one = operator(token=TokenFacts(acr=acr))
    requirement = ORDERS.requires(acr_values=accepted)

    assert_passes(lambda: judge(one, requirement), passes, InsufficientAuthenticationError)


@pytest.mark.parametrize(
    ("auth_time", "max_age", "leeway", "passes"),
    [
        pytest.param(NOW, 0, 0.0, True, id="this second, none allowed"),
        pytest.param(NOW - 0.5, 0, 0.0, False, id="half a second ago, none allowed"),
        pytest.param(NOW - 300, 300, 0.0, True, id="just within"),
        pytest.param(NOW - 300.5, 300, 0.0, False, id="just beyond"),
        pytest.param(NOW - 330, 300, 30.0, True, id="just within the leeway"),
        pytest.param(NOW - 330.5, 300, 30.0, False, id="just beyond the leeway"),
        pytest.param(NOW + 30, 300, 30.0, True, id="in the future, just within the leeway"),
        pytest.param(NOW + 30.5, 300, 30.0, False, id="in the future, just beyond the leeway"),
        pytest.param(NOW + 0.5, 300, 0.0, False, id="in the future, no leeway"),
        pytest.param(NOW + 1e9, 300, 30.0, False, id="far in the future"),
        pytest.param(0.0, 300, 30.0, False, id="1970"),
        pytest.param(0.0, NOW, 0.0, True, id="1970, and that is allowed"),
        pytest.param(None, 300, 30.0, False, id="missing"),
        pytest.param(None, 1e12, 30.0, False, id="missing, whatever is allowed"),
    ],
)
def test_age_of_the_authentication_is_bounded(
    auth_time: float | None, max_age: float, leeway: float, passes: bool
) -> None:
    """
    A missing or future *auth_time* never passes, and *iat* is no substitute (R205, R207, C22).
    """
    one = operator(token=TokenFacts(auth_time=auth_time, issued_at=NOW))
    requirement = ORDERS.requires(max_age=max_age)

    assert_passes(lambda: judge(one, requirement, leeway=leeway), passes, InsufficientAuthenticationError)


@pytest.mark.parametrize(
    ("token", "passes"),
    [
        pytest.param(TokenFacts(acr="mfa", auth_time=NOW - 10), True, id="both"),
        pytest.param(TokenFacts(acr="mfa", auth_time=NOW - 1_000), False, id="class without age"),
        pytest.param(TokenFacts(acr="pwd", auth_time=NOW - 10), False, id="age without class"),
        pytest.param(TokenFacts(acr="mfa"), False, id="class alone"),
        pytest.param(TokenFacts(auth_time=NOW), False, id="age alone"),
    ],
)
def test_class_and_age_are_needed_together(token: TokenFacts, passes: bool) -> None:
    """
    One does not stand in for the other (R204).
    """
    requirement = ORDERS.requires(acr_values=["mfa"], max_age=60)

    assert_passes(lambda: judge(operator(token=token), requirement), passes, InsufficientAuthenticationError)


@pytest.mark.parametrize(
    ("one", "refusal"),
    [
        pytest.param(operator(), InsufficientAuthenticationError, id="everything lacks"),
        pytest.param(operator(token=TokenFacts(acr="mfa")), InsufficientScopeError, id="authenticated"),
        pytest.param(operator("a", token=TokenFacts(acr="mfa")), OperatorRefusedError, id="and in scope"),
    ],
)
def test_refusals_come_in_order(one: Operator, refusal: type[TokenError]) -> None:
    """
    Authentication is judged before scopes, and scopes before roles and access groups (R209).
    """
    requirement = ORDERS.requires("a", roles=["r"], access_groups=["G"], acr_values=["mfa"])

    with pytest.raises(refusal):
        judge(one, requirement)


def test_role_is_judged_before_the_access_group() -> None:
    """
    An operator that lacks both is told of the role in the log.
    """
    requirement = ORDERS.requires(roles=["r"], access_groups=["G"])

    with pytest.raises(OperatorRefusedError) as no_role:
        judge(operator(), requirement)
    with pytest.raises(OperatorRefusedError) as no_group:
        judge(operator(roles=frozenset({"r"})), requirement)

    assert (no_role.value.code, no_group.value.code) == ("role_missing", "access_group_missing")


def assert_passes(judging: Callable[[], None], passes: bool, refusal: type[TokenError]) -> None:
    if passes:
        judging()
        return
    with pytest.raises(refusal) as caught:
        judging()
    assert caught.value.status == 401
