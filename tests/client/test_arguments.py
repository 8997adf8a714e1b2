"""
Arguments of a profile: what is refused when it is made, and what is shown of it.
"""

import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from guardrail.client import AuthenticationProfile
from guardrail.errors import PolicyError

from .kit import ISSUER, SECRET, TOKEN_URL, World, pairs


async def coroutine(*_arguments: object) -> str:
    return SECRET


def profile(**arguments: Any) -> AuthenticationProfile:
    return AuthenticationProfile(**{"token_url": TOKEN_URL, "client_id": "orders-batch", **arguments})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param({"token_url": None}, "give issuer", id="nowhere"),
        pytest.param({"token_url": "http://login.example.com/t"}, "must be an https URL", id="http"),
        pytest.param({"issuer": "http://login.example.com"}, "must be an https URL", id="http issuer"),
        pytest.param({"token_url": "https://a:s3cret@b/t"}, "no user information", id="user information"),
        pytest.param({"issuer": "https://s3cret@b"}, "no user information", id="user information in issuer"),
        pytest.param({"revocation_url": "https://s3cret@b"}, "no user information", id="in revocation_url"),
        pytest.param({"token_url": f"{TOKEN_URL}#a"}, "no fragment", id="fragment"),
        pytest.param({"issuer": f"{ISSUER}?a=b"}, "no query", id="query of an issuer"),
        pytest.param({"token_url": 7}, "must be an https URL", id="a number"),
        pytest.param({"revocation_url": "/revoke"}, "must be an https URL", id="relative"),
        pytest.param({"client_id": ""}, "client_id must be", id="empty client_id"),
        pytest.param({"client_id": None}, "client_id must be", id="no client_id"),
        pytest.param({"client_id": "a\n"}, "client_id must be", id="control character"),
        pytest.param({"client_secret": ""}, "client_secret must be", id="empty secret"),
        pytest.param({"client_secret": b"s3cret"}, "got bytes", id="secret in bytes"),
        pytest.param({"client_secret": coroutine}, "not an async one", id="async secret"),
        pytest.param({"client_assertion_key": coroutine}, "not an async one", id="async key"),
        pytest.param({"subject_token": coroutine}, "not an async one", id="async subject token"),
        pytest.param(
            {"client_secret": "s3cret", "client_assertion_key": {}}, "not both", id="secret and key"
        ),
        pytest.param({"auth_method": "client_secret_basic"}, "neither secret nor key", id="basic without"),
        pytest.param(
            {"auth_method": "private_key_jwt", "client_secret": "s3cret"}, "go with", id="wrong method"
        ),
        pytest.param(
            {"auth_method": "none", "client_secret": "s3cret"}, "does not go with", id="none, secret"
        ),
        pytest.param(
            {"auth_method": "client_secret_post", "client_assertion_key": coroutine},
            "go with",
            id="post, key",
        ),
        pytest.param({"auth_method": "client_secret_jwt"}, "must be one of", id="unknown method"),
        pytest.param({"scopes": "orders:read"}, "several strings", id="bare string of scopes"),
        pytest.param({"scopes": ["a b"]}, "is not one scope", id="two scopes in one"),
        pytest.param({"scopes": [7]}, "non-empty strings", id="number for a scope"),
        pytest.param({"scopes": None}, "several strings", id="None for scopes"),
        pytest.param({"audience": ""}, "audience must be", id="empty audience"),
        pytest.param({"audience": ["a"]}, "audience must be", id="several audiences"),
        pytest.param({"resource": "orders"}, "absolute URI", id="relative resource"),
        pytest.param({"resource": ["https://a/#b"]}, "absolute URI", id="resource with fragment"),
        pytest.param({"resource": 7}, "resource must be", id="number for a resource"),
        pytest.param({"resource": [7]}, "resource must hold", id="numbers for resources"),
        pytest.param({"extra_params": {"scope": "a"}}, "scope", id="one of ours"),
        pytest.param({"extra_params": {"client_secret": "s3cret"}}, "client_secret", id="secret as extra"),
        pytest.param({"extra_params": {"a": 7}}, "map names to strings", id="number for a value"),
        pytest.param({"extra_params": {"": "a"}}, "map names to strings", id="empty name"),
        pytest.param({"extra_params": [("a", "s3cret")]}, "map names to strings", id="pairs"),
        pytest.param({"extra_params": {"a": "s3cret\ud800"}}, "extra_params['a']", id="half a character"),
        pytest.param({"refresh_token": "s3cret", "subject_token": "s3cret"}, "not both", id="two grants"),
        pytest.param({"refresh_token": ""}, "refresh_token must be", id="empty refresh token"),
        pytest.param({"on_refresh_token": print}, "goes with refresh_token", id="store for nothing"),
        pytest.param(
            {"refresh_token": "a", "on_refresh_token": 7}, "must be callable", id="store no callable"
        ),
        pytest.param(
            {"refresh_token": "a", "on_refresh_token": coroutine}, "not an async one", id="async store"
        ),
        pytest.param({"subject_token_type": "urn:a"}, "goes with subject_token", id="type of nothing"),
        pytest.param(
            {"subject_token": "a", "subject_token_type": 7}, "must be a non-empty", id="type no string"
        ),
        pytest.param({"subject_token": ""}, "subject_token must be", id="empty subject token"),
        pytest.param({"timeout": 0}, "timeout must be", id="no time"),
        pytest.param({"timeout": math.nan}, "timeout must be", id="NaN"),
        pytest.param({"timeout": math.inf}, "timeout must be", id="for ever"),
        pytest.param({"timeout": True}, "timeout must be", id="True"),
        pytest.param({"timeout": None}, "timeout must be", id="None"),
        pytest.param(
            {"http_client": httpx.AsyncClient()}, "must be an httpx.Client", id="asynchronous client"
        ),
        pytest.param({"clock": 7}, "clock must be callable", id="clock"),
        pytest.param({"on_event": print}, "on_event must be several", id="one listener"),
        pytest.param({"on_event": [7]}, "on_event must be callable", id="listener no callable"),
    ],
)
def test_wrong_arguments_are_refused_at_construction(arguments: dict[str, Any], says: str) -> None:
    """
    Each differs from a good profile in one argument; the message names the right form, and no secret.
    """
    with pytest.raises(PolicyError) as refused:
        profile(**arguments)

    assert says in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"token_url": "http://127.0.0.1:9000/token"}, id="http on loopback"),
        pytest.param({"token_url": "http://[::1]:9000/token"}, id="http on loopback, IPv6"),
        pytest.param({"issuer": "http://localhost:9000"}, id="http issuer on loopback"),
        pytest.param({"token_url": f"{TOKEN_URL}?tenant=a"}, id="query"),
        pytest.param({"scopes": iter(["a"])}, id="an iterator of scopes"),
        pytest.param({"resource": iter(["https://a"])}, id="an iterator of resources"),
        pytest.param({"resource": "urn:example:orders"}, id="a URN"),
        pytest.param({"timeout": 1}, id="a whole number"),
        pytest.param({"client_secret": "a", "auth_method": "client_secret_post"}, id="post"),
        pytest.param({"auth_method": "none"}, id="none by name"),
    ],
)
def test_right_arguments_are_accepted(arguments: dict[str, Any]) -> None:
    """
    The neighbours of what is refused.
    """
    assert isinstance(profile(**arguments), httpx.Auth)


def test_arguments_go_by_keyword() -> None:
    """
    None of them has a position.
    """
    make: Callable[..., AuthenticationProfile] = AuthenticationProfile
    with pytest.raises(TypeError):
        make("https://login.example.com", client_id="a")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"client_secret": SECRET}, id="secret"),
        pytest.param({"client_secret": lambda: SECRET}, id="callable"),
        pytest.param({"refresh_token": SECRET}, id="refresh token"),
        pytest.param({"subject_token": SECRET}, id="subject token"),
        pytest.param({"extra_params": {"api_key": SECRET}}, id="extra"),
    ],
)
def test_representation_shows_no_secret(arguments: dict[str, Any]) -> None:
    """
    In place of every secret there are asterisks; the rest says which profile it is.
    """
    shown = repr(profile(**arguments))

    assert shown.startswith("AuthenticationProfile(client_id='orders-batch', token_url=")
    assert shown.count("'********'") == 1
    assert SECRET not in shown


def test_every_request_has_every_parameter() -> None:
    """
    Scope, audience, resources and further parameters are in the first request and in renewals.
    """
    world = World(
        scopes=["b", "a", "b"],
        audience="https://api.example.com",
        resource=["https://one.example.com", "https://two.example.com"],
        extra_params={"tenant": "a&b", "hint": ""},
    )

    world.get()
    world.now += 3_590.0
    world.get()
    world.wait_for("token_fetched", 2)

    for request in world.requests:
        assert pairs(request) == [
            ("grant_type", "client_credentials"),
            ("scope", "b a"),
            ("audience", "https://api.example.com"),
            ("resource", "https://one.example.com"),
            ("resource", "https://two.example.com"),
            ("tenant", "a&b"),
            ("hint", ""),
        ]
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert request.headers["accept"] == "application/json"
    assert len(world.requests) == 2


def test_one_resource_is_one_parameter() -> None:
    """
    A bare string is one resource.
    """
    world = World(resource="https://one.example.com")

    world.get()

    assert world.forms[0]["resource"] == ["https://one.example.com"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({}, "urn:ietf:params:oauth:token-type:access_token", id="an access token"),
        pytest.param({"subject_token_type": "urn:x"}, "urn:x", id="by name"),
    ],
)
def test_token_exchange(arguments: dict[str, str], expected: str) -> None:
    """
    A subject token makes it token exchange (RFC 8693 §2.1); the callable is asked each time.
    """
    tokens = iter(["first", "second"])
    world = World(subject_token=lambda: next(tokens), scopes=["a"], **arguments)

    world.get()
    world.profile.invalidate("token-1")
    world.get()

    assert [form["subject_token"] for form in world.forms] == [["first"], ["second"]]
    assert pairs(world.requests[0]) == [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "first"),
        ("subject_token_type", expected),
        ("scope", "a"),
    ]
