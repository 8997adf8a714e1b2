"""
`guardrail.client` gets its tokens from a certified provider: each grant and client authentication both know.

What the provider itself does is in `test_outbound_provider`.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from guardrail.client import AuthenticationProfile
from guardrail.errors import TokenUnavailableError

from .api import ProtectedApi
from .fault_proxy import FaultProxy
from .faults import Fault
from .provider import OidcProvider

pytestmark = pytest.mark.interop

CONFIDENTIAL = ["basic", "post", "key-rs256", "key-ps256", "key-es256", "key-ed25519"]
ALL = [*CONFIDENTIAL, "public"]
CALLERS = 16


@pytest.fixture
def profile_of(provider: OidcProvider) -> Callable[..., AuthenticationProfile]:
    """
    Make profiles of the provider's clients, by their names in ``outbound.mjs``.
    """

    def make(name: str, *, resource_name: str = "es256", **changes: Any) -> AuthenticationProfile:
        arguments: dict[str, Any] = {
            "issuer": provider.issuer,
            "scopes": ["orders:read"],
            "resource": provider.resource(resource_name),
            **provider.outbound_client(name).profile_arguments(),
        }
        return AuthenticationProfile(**arguments | changes)

    return make


def introspect(provider: OidcProvider, token: str) -> bool:
    """
    Whether the provider says that a token is good.
    """
    response = provider.ask("/token/introspection", provider.outbound_client("post"), token=token)
    return bool(response.raise_for_status().json()["active"])


@pytest.mark.parametrize("name", CONFIDENTIAL)
def test_machine_calls_the_api(
    provider: OidcProvider, api: ProtectedApi, profile_of: Callable[..., AuthenticationProfile], name: str
) -> None:
    """
    Each way to authenticate gets a token that the guarded API accepts, and the operator is the client.
    """
    client_id = provider.outbound_client(name).client_id

    with httpx.Client(auth=profile_of(name), trust_env=False) as http:
        response = http.get(f"{api.url}/orders")

    assert response.status_code == 200
    assert response.json() == {"operator_id": f"{provider.issuer}#{client_id}", "client_id": client_id}


@pytest.mark.parametrize("name", ["basic", "key-es256"])
def test_token_url_does_without_discovery(
    provider: OidcProvider, profile_of: Callable[..., AuthenticationProfile], name: str
) -> None:
    """
    With the token endpoint in hand nothing is discovered, and an assertion names that endpoint.
    """
    before = provider.request_counts()

    token = asyncio.run(profile_of(name, issuer=None, token_url=f"{provider.url}/token").token())

    assert token.count(".") == 2
    assert dict(provider.request_counts() - before) == {"/token": 1}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param("basic", {"client_secret": "another"}, id="basic"),
        pytest.param("post", {"client_secret": "another"}, id="post"),
        pytest.param("key-es256", {"client_id": "key-rs256"}, id="key of another client"),
    ],
)
def test_client_with_other_credentials_gets_no_token(
    profile_of: Callable[..., AuthenticationProfile], name: str, changes: dict[str, Any]
) -> None:
    """
    What differs in the credentials alone is refused for good, by the provider's own error code.
    """
    with pytest.raises(TokenUnavailableError) as caught:
        asyncio.run(profile_of(name, **changes).token())

    assert (caught.value.error, caught.value.permanent) == ("invalid_client", True)


def test_resource_that_is_not_there_is_refused_by_name(
    provider: OidcProvider, profile_of: Callable[..., AuthenticationProfile]
) -> None:
    """
    The provider's error code of RFC 8707 comes out, and no token.
    """
    with pytest.raises(TokenUnavailableError) as caught:
        asyncio.run(profile_of("post", resource=provider.resource("nowhere")).token())

    assert (caught.value.error, caught.value.permanent) == ("invalid_target", True)


def test_secret_is_read_at_every_request(
    provider: OidcProvider, profile_of: Callable[..., AuthenticationProfile]
) -> None:
    """
    A secret that was rotated is used at the next token request.
    """
    asked: list[str] = []

    def secret() -> str:
        asked.append("asked")
        return provider.outbound_client("basic").secret or ""

    profile = profile_of("basic", client_secret=secret)

    first = asyncio.run(profile.token())
    profile.invalidate(first)
    second = asyncio.run(profile.token())

    assert first != second
    assert len(asked) == 2


@pytest.mark.parametrize("name", ALL)
def test_refresh_tokens_are_handed_on_as_they_rotate(
    provider: OidcProvider, profile_of: Callable[..., AuthenticationProfile], name: str
) -> None:
    """
    A person's refresh token brings tokens again and again, each new one told of; a used one never comes.
    """
    client = provider.outbound_client(name)
    first = provider.tokens_of_person("maria", "es256", client=client)["refresh_token"]
    told: list[str] = []
    profile = profile_of(name, refresh_token=first, on_refresh_token=told.append)

    tokens = []
    for _ in range(3):
        tokens.append(asyncio.run(profile.token()))
        profile.invalidate(tokens[-1])

    assert len({first, *told}) == 4
    assert len(set(tokens)) == 3


def test_person_calls_the_api(
    provider: OidcProvider, api: ProtectedApi, profile_of: Callable[..., AuthenticationProfile]
) -> None:
    """
    With a person's refresh token the operator of the call is the person, through the client.
    """
    client = provider.outbound_client("public")
    tokens = provider.tokens_of_person("maria", "es256", client=client)

    profile = profile_of("public", refresh_token=tokens["refresh_token"])
    with httpx.Client(auth=profile, trust_env=False) as http:
        response = http.get(f"{api.url}/orders")

    assert response.json() == {"operator_id": f"{provider.issuer}#maria", "client_id": "public"}


def test_used_refresh_token_is_not_sent_again(
    provider: OidcProvider, profile_of: Callable[..., AuthenticationProfile]
) -> None:
    """
    After invalid_grant the refresh token is dropped: the next call fails without a request.
    """
    client = provider.outbound_client("post")
    used = provider.tokens_of_person("maria", "es256", client=client)["refresh_token"]
    form = {"grant_type": "refresh_token", "resource": provider.resource("es256"), "refresh_token": used}
    provider.ask("/token", client, **form).raise_for_status()
    profile = profile_of("post", refresh_token=used)

    errors = []
    for _ in range(2):
        before = provider.request_counts()
        with pytest.raises(TokenUnavailableError) as caught:
            asyncio.run(profile.token())
        errors.append((caught.value.error, (provider.request_counts() - before)["/token"]))

    assert errors == [("invalid_grant", 1), ("invalid_grant", 0)]


@pytest.mark.parametrize("name", ALL)
def test_revoked_profile_leaves_no_good_token(
    provider: OidcProvider, profile_of: Callable[..., AuthenticationProfile], name: str
) -> None:
    """
    Both tokens of a person are good, and after revoke neither is.
    """
    client = provider.outbound_client(name)
    first = provider.tokens_of_person("maria", "opaque", client=client)["refresh_token"]
    told: list[str] = []
    profile = profile_of(name, resource_name="opaque", refresh_token=first, on_refresh_token=told.append)

    async def use_and_revoke() -> tuple[str, list[bool]]:
        token = await profile.token()
        before = [introspect(provider, one) for one in (token, told[-1])]
        await profile.revoke()
        return token, before

    token, before = asyncio.run(use_and_revoke())

    assert before == [True, True]
    assert [introspect(provider, one) for one in (token, told[-1])] == [False, False]


def test_callers_at_once_cost_one_token_request(
    provider: OidcProvider, profile_of: Callable[..., AuthenticationProfile]
) -> None:
    """
    Callers that arrive before the token share one request.
    """
    profile = profile_of("key-es256")
    before = provider.request_counts()

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*(profile.token() for _ in range(CALLERS)))

    tokens = asyncio.run(all_at_once())

    assert len(set(tokens)) == 1
    assert (provider.request_counts() - before)["/token"] == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(Fault.REDIRECT, "redirect", id="redirect"),
        pytest.param(Fault.HTML, "bad_response", id="a page"),
        pytest.param(Fault.EMPTY, "bad_response", id="JSON without a token"),
        pytest.param(Fault.GARBAGE, "connect", id="no HTTP"),
        pytest.param(Fault.RESET, "connect", id="reset"),
    ],
)
def test_provider_that_fails_is_asked_again_later(
    provider: OidcProvider,
    proxy: FaultProxy,
    profile_of: Callable[..., AuthenticationProfile],
    fault: Fault,
    error: str,
) -> None:
    """
    What a network and a server do on a bad day is transient, and no secret is in what is raised.
    """
    client = provider.outbound_client("basic")
    profile = profile_of("basic", issuer=None, token_url=f"{proxy.url}/token")
    proxy.fail(fault)

    with pytest.raises(TokenUnavailableError) as caught:
        asyncio.run(profile.token())

    assert (caught.value.error, caught.value.permanent) == (error, False)
    assert (client.secret or "") not in str(caught.value) + repr(caught.value.__cause__)
    assert caught.value.retry_after is not None
