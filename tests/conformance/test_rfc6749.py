"""
RFC 6749 §3.3: scopes, as they are granted and as they are needed.
"""

from collections.abc import Callable
from typing import Any

import pytest

from guardrail import Requirement
from guardrail.errors import PolicyError

from .api import Api, package
from .tokens import ABSENT, token

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "Orders:Read",
        "orders:reader",
        "orders:read:all",
        "orders",
        "orders:write",
        "orders:read,orders:write",
        "orders:write\torders:read",
        "orders:write\norders:read",
        "orders:write\u00a0orders:read",
        "оrders:read",  # the first letter is Cyrillic
        "orders:read\u200b",
    ],
)
async def test_r127_scopes_are_whole_tokens_that_spaces_separate(scope: str) -> None:
    """
    R127 (RFC 6749 §3.3): Case counts, a part or an extension of a name does not, only the space separates;
    the order means nothing.
    """
    api = Api()

    for granted in ("orders:read", "a orders:read b", "b orders:read"):
        await api.accepts(token(scope=granted))
    await api.refuses(token(scope=scope), status=403, error="insufficient_scope")


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        pytest.param(ABSENT, 403, id="absent: no scope"),
        pytest.param([], 403, id="empty array: no scope"),
        pytest.param(["orders:reader"], 403, id="array without it"),
        pytest.param(["orders:read x"], 403, id="an array's element is one scope"),
        pytest.param(None, 401, id="null"),
        pytest.param(1, 401, id="number"),
        pytest.param(True, 401, id="boolean"),
        pytest.param({"orders:read": True}, 401, id="object"),
        pytest.param(["orders:read", 1], 401, id="array with a number"),
    ],
)
async def test_r128_a_scope_claim_of_another_shape_grants_nothing(scope: object, status: int) -> None:
    """
    R128 (RFC 6749 §3.3, RFC 9068 §2.2.3): A string, or an array of strings; any other shape refuses the
    token.
    """
    api = Api()

    for granted in ("orders:read", ["orders:read", "other"]):
        await api.accepts(token(scope=granted))
    error = "insufficient_scope" if status == 403 else "invalid_token"
    await api.refuses(token(scope=scope), status=status, error=error)


async def test_r130_a_broader_scope_is_enough() -> None:
    """
    R130 (MCP, Step-Up Authorization Flow): What a scope implies, over any number of steps, counts as
    granted; not the other way round.
    """
    implies = {"orders:admin": ["orders:write"], "orders:write": ["orders:read"]}
    reading = Api(package(implies=implies).requires("orders:read"))
    writing = Api(package(implies=implies).requires("orders:write"))

    await reading.accepts(token(scope="orders:admin"))
    await writing.accepts(token(scope="orders:write"))
    await writing.refuses(token(scope="orders:read"), status=403, error="insufficient_scope")
    await Api().refuses(token(scope="orders:admin"), status=403, error="insufficient_scope")


@pytest.mark.parametrize(
    ("requirement", "enough", "too_little"),
    [
        pytest.param(package().requires("a", "b"), "a b", "a", id="all of them"),
        pytest.param(package().requires_any("a", "b"), "b", "c", id="one of them"),
        pytest.param(
            package(required_scopes=["p"]).requires_any("a", "b"), "p b", "b", id="the package's, and one"
        ),
        pytest.param(
            package(required_scopes=["p"]).requires_any("a", "b"), "p a", "p", id="one, and the package's"
        ),
        pytest.param(package(required_scopes=["p"]).requires("a"), "p a", "a", id="the package's, and all"),
        pytest.param(package(required_scopes=["p"]).requires(), "p", "a", id="the package's"),
    ],
)
async def test_r131_all_of_and_any_of_are_distinct(
    requirement: Requirement, enough: str, too_little: str
) -> None:
    """
    R131 (RFC 6749 §3.3): ``requires`` means all, ``requires_any`` one; the package's own scopes are always
    added.
    """
    api = Api(requirement)

    await api.accepts(token(scope=enough))
    await api.refuses(token(scope=too_little), status=403, error="insufficient_scope")


@pytest.mark.parametrize(
    "stack",
    [
        pytest.param(lambda endpoint: package().requires("a")(package().requires("b")(endpoint)), id="twice"),
        pytest.param(lambda endpoint: package().requires()(package().requires("b")(endpoint)), id="weaker"),
    ],
)
def test_r131_stacked_declarations_are_refused(stack: Callable[[Callable[..., Any]], Any]) -> None:
    """
    R131 (RFC 6749 §3.3): A second decorator can weaken nothing, for there is no second decorator.
    """

    async def endpoint() -> None: ...

    with pytest.raises(PolicyError, match="twice"):
        stack(endpoint)


async def test_r131_no_scope_named_is_any_valid_token() -> None:
    """
    R131 (RFC 6749 §3.3): An empty requirement asks for a token, and does not make the route public.
    """
    api = Api(package().requires())

    await api.accepts(token(scope=ABSENT))
    await api.refuses(b"garbage")
