"""
An operator as the MCP SDK knows callers.
"""

import json
import os
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from guardrail import Operator, ServicePackage, TokenFacts, any_of
from guardrail._frozen import freeze
from guardrail._operator import ANONYMOUS

from . import decision, request_scope, serve

if not os.environ.get("CI"):
    pytest.importorskip("mcp")

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from starlette.types import Receive, Scope, Send

from guardrail._declaration import Declaration
from guardrail.mcp import SessionBinding, principal_key

pytestmark = pytest.mark.anyio

ISSUER = "https://login.example.com"
NOTES = ServicePackage(
    "notes",
    issuer=ISSUER,
    audience=["https://api.example.com/mcp", "api://notes"],
    implies={"notes:write": ["notes:read"]},
)
OTHER_URL = "https://api.example.com/other"
OTHER = ServicePackage("other", issuer=ISSUER, audience=OTHER_URL)
PLAIN = ServicePackage("plain", issuer=ISSUER, audience=["api://plain", "api://notes"])
CLAIMS = {"iss": ISSUER, "sub": "alice", "aud": ["api://notes"], "nested": {"list": [1, {"deep": True}]}}
ALICE = Operator(
    operator_id=f"{ISSUER}#alice",
    kind="user",
    issuer=ISSUER,
    subject="alice",
    client_id="app",
    scopes=frozenset({"notes:write"}),
    token=TokenFacts(expires_at=1_900_000_000.7),
    claims=freeze(CLAIMS),
)


async def told(operator: Operator, requirement: object) -> AccessToken | None:
    """
    What tools are told of *operator* where *requirement* was declared.
    """
    found: list[AccessToken | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(get_access_token())

    with decision(Declaration(requirement, "mcp"), operator):
        await serve(SessionBinding(app), request_scope("/mcp"))
    return found[0]


async def test_the_sdk_is_told_who_calls_and_what_they_may() -> None:
    """
    Implied scopes are added, times are whole seconds, and claims are plain JSON again.
    """
    token = await told(ALICE, NOTES.requires())

    assert token is not None
    assert token.model_dump(exclude={"token"}) == {
        "client_id": "app",
        "subject": "alice",
        "scopes": ["notes:read", "notes:write"],
        "resource": "https://api.example.com/mcp",
        "expires_at": 1_900_000_000,
        "claims": CLAIMS,
    }
    assert json.loads(token.model_dump_json())["claims"] == CLAIMS


async def test_the_anonymous_operator_is_no_user_of_the_sdk() -> None:
    """
    Nobody's access token is nothing.
    """
    assert await told(ANONYMOUS, None) is None


@pytest.mark.parametrize(
    ("requirement", "audience", "resource"),
    [
        pytest.param(NOTES.requires(), "api://notes", "https://api.example.com/mcp", id="the package's URL"),
        pytest.param(PLAIN.requires(), "api://plain", "api://plain", id="no URL"),
        pytest.param(PLAIN.requires(), ("x", "api://plain"), "api://plain", id="no URL, several audiences"),
        pytest.param(PLAIN.requires(), None, None, id="no audience"),
        pytest.param(any_of(NOTES.requires(), OTHER.requires()), "api://notes", "api://notes", id="either"),
        pytest.param(any_of(NOTES.requires(), OTHER.requires()), OTHER_URL, OTHER_URL, id="or"),
        pytest.param("something else", "api://notes", None, id="something else"),
    ],
)
async def test_the_resource_is_that_of_the_package(requirement: object, audience: Any, resource: str) -> None:
    """
    Where packages have none in common, it is the audience by which the token was accepted.
    """
    operator = replace(ALICE, claims=MappingProxyType({"aud": audience}))

    token = await told(operator, requirement)

    assert token is not None
    assert token.resource == resource


async def test_scopes_of_either_of_two_packages_are_not_expanded() -> None:
    """
    What one package implies, the other does not: only what was granted is told.
    """
    token = await told(ALICE, any_of(NOTES.requires(), OTHER.requires()))

    assert token is not None
    assert token.scopes == ["notes:write"]


async def test_what_a_token_does_not_say_is_not_made_up() -> None:
    """
    No client is an empty one, and no expiry is none; the issuer is there, since sessions are bound to it.
    """
    bare = Operator(operator_id=f"{ISSUER}#bob", kind="user", issuer=ISSUER, subject="bob")

    token = await told(bare, NOTES.requires())

    assert token is not None
    assert (token.client_id, token.expires_at, token.claims) == ("", None, {"iss": ISSUER})


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        pytest.param({}, True, id="nothing"),
        pytest.param({"subject": "bob"}, False, id="the subject"),
        pytest.param({"client_id": "cli"}, False, id="the client"),
        pytest.param({"issuer": "https://other.example"}, False, id="the issuer"),
        pytest.param({"scopes": frozenset({"notes:read"})}, False, id="the scopes"),
        pytest.param({"claims": MappingProxyType({"jti": "2"})}, False, id="a claim"),
    ],
)
async def test_what_stands_for_the_token_differs_where_it_does(change: dict[str, Any], is_same: bool) -> None:
    """
    Whatever is cached under it is not shared by two authorities.
    """
    one, other = await told(ALICE, NOTES.requires()), await told(replace(ALICE, **change), NOTES.requires())

    assert one is not None
    assert other is not None
    assert (one.token == other.token) is is_same


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        pytest.param({}, True, id="nothing"),
        pytest.param({"scopes": frozenset(), "claims": MappingProxyType({"jti": "2"})}, True, id="the token"),
        pytest.param({"subject": "bob"}, False, id="the subject"),
        pytest.param({"client_id": "cli"}, False, id="the client"),
        pytest.param({"client_id": None}, False, id="no client"),
        pytest.param({"issuer": "https://other.example"}, False, id="the issuer"),
    ],
)
def test_the_principal_key_is_that_of_one_user_in_one_client(change: dict[str, Any], is_same: bool) -> None:
    """
    It is the same for all tokens of them, and for nobody else.
    """
    assert (principal_key(ALICE) == principal_key(replace(ALICE, **change))) is is_same


def test_parts_of_a_principal_do_not_run_into_each_other() -> None:
    """
    Whatever characters names have, two principals never have one key.
    """
    one = replace(ALICE, client_id='a","b', subject="c")
    other = replace(ALICE, client_id="a", subject='b","c')

    assert principal_key(one) != principal_key(other)


def test_nobody_has_no_principal_key() -> None:
    """
    State that is bound to the anonymous operator would be everybody's.
    """
    with pytest.raises(ValueError, match="anonymous"):
        principal_key(ANONYMOUS)
