"""
The authorization server as those see it who get tokens from it: what `test_outbound` takes for granted.
"""

from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest

from .provider import OidcProvider

pytestmark = pytest.mark.interop

CONFIDENTIAL = ["basic", "post", "key-rs256", "key-ps256", "key-es256", "key-ed25519"]
ALL = [*CONFIDENTIAL, "public"]


def introspect(provider: OidcProvider, token: str) -> bool:
    """
    Whether the provider says that a token is good.
    """
    response = provider.ask("/token/introspection", provider.outbound_client("post"), token=token)
    return bool(response.raise_for_status().json()["active"])


def error_of(response: httpx.Response) -> tuple[int, Any]:
    """
    Status and error code of a refusal.
    """
    return response.status_code, response.json()["error"]


@pytest.mark.parametrize("name", CONFIDENTIAL)
def test_client_gets_a_token_of_its_own(provider: OidcProvider, name: str) -> None:
    """
    Each confidential client gets a token by its own way to authenticate.
    """
    client = provider.outbound_client(name)
    form = {
        "grant_type": "client_credentials",
        "resource": provider.resource("es256"),
        "scope": "orders:read",
    }

    answer = provider.ask("/token", client, **form).raise_for_status().json()

    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 600, "orders:read")
    assert "refresh_token" not in answer


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param("basic", {"secret": "another"}, id="secret in the header"),
        pytest.param("post", {"secret": "another"}, id="secret in the body"),
        pytest.param("post", {"auth_method": "none", "secret": None}, id="no secret"),
        pytest.param("key-es256", {"client_id": "key-rs256"}, id="key of another client"),
    ],
)
def test_client_with_other_credentials_is_refused(
    provider: OidcProvider, name: str, changes: dict[str, Any]
) -> None:
    """
    What differs in the credentials alone is refused.
    """
    client = replace(provider.outbound_client(name), **changes)
    form = {"grant_type": "client_credentials", "resource": provider.resource("es256")}

    response = provider.ask("/token", client, **form)

    assert error_of(response) == (401, "invalid_client")


def test_secret_that_is_not_form_encoded_is_refused(provider: OidcProvider) -> None:
    """
    The awkward secret is accepted for its encoding, not in spite of it (RFC 6749 §2.3.1).
    """
    client = provider.outbound_client("basic")
    form = {"grant_type": "client_credentials", "resource": provider.resource("es256")}
    half_encoded = httpx.BasicAuth(quote_plus(client.client_id), client.secret or "")

    response = provider.http_client.post(f"{provider.url}/token", data=form, auth=half_encoded)

    assert error_of(response) == (400, "invalid_request")


def test_assertion_is_good_once(provider: OidcProvider) -> None:
    """
    An assertion that was used is refused.
    """
    client = provider.outbound_client("key-es256")
    form = {"grant_type": "client_credentials", "resource": provider.resource("es256")}
    form |= client.form(provider.issuer)

    responses = [provider.http_client.post(f"{provider.url}/token", data=form) for _ in range(2)]

    assert responses[0].status_code == 200
    assert error_of(responses[1]) == (401, "invalid_client")


@pytest.mark.parametrize("name", ALL)
def test_refresh_token_of_a_person_rotates(provider: OidcProvider, name: str) -> None:
    """
    Each client gets a refresh token for a person, and another with each refresh.
    """
    client = provider.outbound_client(name)
    tokens = provider.tokens_of_person("maria", "es256", client=client)
    form = {"grant_type": "refresh_token", "scope": "orders:read", "resource": provider.resource("es256")}

    first = provider.ask("/token", client, **form, refresh_token=tokens["refresh_token"]).json()
    second = provider.ask("/token", client, **form, refresh_token=first["refresh_token"]).json()

    assert len({tokens["refresh_token"], first["refresh_token"], second["refresh_token"]}) == 3
    assert second["access_token"] != first["access_token"]


def test_used_refresh_token_ends_its_family(provider: OidcProvider) -> None:
    """
    A refresh token that comes a second time takes its successor with it.
    """
    client = provider.outbound_client("public")
    used = provider.tokens_of_person("maria", "es256", client=client)["refresh_token"]
    form = {"grant_type": "refresh_token", "resource": provider.resource("es256")}
    successor = provider.ask("/token", client, **form, refresh_token=used).json()["refresh_token"]

    responses = [provider.ask("/token", client, **form, refresh_token=one) for one in (used, successor)]

    assert [error_of(response) for response in responses] == [(400, "invalid_grant")] * 2


@pytest.mark.parametrize("name", ALL)
def test_revoked_refresh_token_takes_the_access_token_along(provider: OidcProvider, name: str) -> None:
    """
    Introspection says of a person's tokens that they are good, until the refresh token is revoked.
    """
    client = provider.outbound_client(name)
    tokens = provider.tokens_of_person("maria", "opaque", client=client)
    both = (tokens["access_token"], tokens["refresh_token"])
    before = [introspect(provider, token) for token in both]

    response = provider.ask("/token/revocation", client, token=tokens["refresh_token"])

    assert response.status_code == 200
    assert before == [True, True]
    assert [introspect(provider, token) for token in both] == [False, False]


def test_revoked_access_token_is_inactive(provider: OidcProvider) -> None:
    """
    A machine's access token can be revoked when it is opaque; another stays good.
    """
    client = provider.outbound_client("post")
    form = {"grant_type": "client_credentials", "resource": provider.resource("opaque")}
    token, other = (provider.ask("/token", client, **form).json()["access_token"] for _ in range(2))

    response = provider.ask("/token/revocation", client, token=token)

    assert response.status_code == 200
    assert (introspect(provider, token), introspect(provider, other)) == (False, True)


def test_metadata_says_what_clients_need(provider: OidcProvider) -> None:
    """
    Token and revocation endpoint, and the four ways to authenticate, are in the metadata.
    """
    url = f"{provider.url}/.well-known/oauth-authorization-server"

    metadata = provider.http_client.get(url).raise_for_status().json()

    assert metadata["issuer"] == provider.issuer
    assert metadata["token_endpoint"] == f"{provider.url}/token"
    assert metadata["revocation_endpoint"] == f"{provider.url}/token/revocation"
    assert {"client_secret_basic", "client_secret_post", "private_key_jwt", "none"} <= set(
        metadata["token_endpoint_auth_methods_supported"]
    )
