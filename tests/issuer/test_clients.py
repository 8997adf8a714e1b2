"""
The registered client: what it accepts, what it refuses, and what it keeps to itself.
"""

from typing import Any, cast

import pytest

from guardrail.issuer import Client, SigningKeys
from guardrail.issuer._clients import new_secret

from .builders import CALLBACK, ORDERS, SECRET


def keys_of(keys: SigningKeys) -> list[dict[str, Any]]:
    """
    Return the public keys as a list of JWKs.
    """
    return list(cast("list[dict[str, Any]]", keys.jwks()["keys"]))


KEYS = SigningKeys("ES256")
PRIVATE = {**keys_of(KEYS)[0], "kid": "private", "d": "hunter2"}


def a_client(**changes: Any) -> Client:
    """
    Build a good confidential client, then change it.
    """
    good: dict[str, Any] = {
        "client_id": "orders-service",
        "client_secret": SECRET,
        "scopes": {"orders:read"},
        "audiences": [ORDERS],
    }
    return Client(**good | changes)


def test_collections_are_kept_frozen() -> None:
    """Any collection of strings is accepted and kept as a frozenset or tuple."""
    client = a_client(scopes=iter(["orders:read", "orders:read"]), audiences=[ORDERS])

    assert client.scopes == frozenset({"orders:read"})
    assert client.audiences == (ORDERS,)
    assert client.grant_types == frozenset({"client_credentials"})
    assert client.redirect_uris == ()
    assert hash(client) == hash(a_client())


def test_client_without_secret_is_public() -> None:
    """A client whose secret is None is public, one with a secret is not."""
    public = a_client(client_secret=None, grant_types=["authorization_code"], redirect_uris=[CALLBACK])

    assert public.is_public
    assert not a_client().is_public


@pytest.mark.parametrize(
    ("changes", "methods"),
    [
        pytest.param({}, {"client_secret_basic", "client_secret_post"}, id="secret"),
        pytest.param({"auth_method": "client_secret_post"}, {"client_secret_post"}, id="post alone"),
        pytest.param({"client_secret": None, "jwks": KEYS.jwks()}, {"private_key_jwt"}, id="keys"),
        pytest.param(
            {"client_secret": None, "jwks": KEYS.jwks(), "auth_method": "private_key_jwt"},
            {"private_key_jwt"},
            id="keys, said so",
        ),
        pytest.param(
            {"client_secret": None, "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK]},
            {"none"},
            id="nothing",
        ),
    ],
)
def test_methods_follow_from_what_the_client_has(changes: dict[str, Any], methods: set[str]) -> None:
    """A client may authenticate by what it has the means for, or by the one method that is registered."""
    client = a_client(**changes)

    assert client.auth_methods == methods
    assert client.is_public is (methods == {"none"})
    assert hash(client) == hash(a_client(**changes))


def test_representation_hides_the_secret() -> None:
    """The representation shows stars for the secret, and None where there is none."""
    public = a_client(client_secret=None, grant_types=["authorization_code"], redirect_uris=[CALLBACK])

    assert SECRET not in repr(a_client())
    assert "client_secret=********" in repr(a_client())
    assert "client_secret=None" in repr(public)


def test_right_secret_matches() -> None:
    """Only the client's own secret matches."""
    assert a_client().matches_secret(SECRET)


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param("", id="empty"),
        pytest.param(SECRET + " ", id="longer"),
        pytest.param(SECRET[:-1], id="shorter"),
        pytest.param("\N{SNOWMAN}", id="not ASCII"),
    ],
)
def test_wrong_secret_does_not_match(secret: str) -> None:
    """A secret that differs in anything does not match."""
    assert not a_client().matches_secret(secret)


def test_public_client_matches_no_secret() -> None:
    """A public client has no secret that could match."""
    public = a_client(client_secret=None, grant_types=["authorization_code"], redirect_uris=[CALLBACK])

    assert not public.matches_secret("")


def test_generated_secrets_are_long_and_differ() -> None:
    """Two generated secrets differ and have 256 bits each."""
    assert new_secret() != new_secret()
    assert len(new_secret()) == 43


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"client_id": ""}, "client_id must be", id="empty client_id"),
        pytest.param({"client_id": 7}, "client_id must be", id="client_id is a number"),
        pytest.param({"client_id": "caf\xe9"}, "client_id must be", id="client_id is not ASCII"),
        pytest.param({"client_secret": ""}, "client_secret must be", id="empty secret"),
        pytest.param({"client_secret": "hunter2\n"}, "client_secret must be", id="secret with a line feed"),
        pytest.param({"scopes": "orders:read"}, "scopes must be", id="scopes is one string"),
        pytest.param({"scopes": 7}, "scopes must be", id="scopes is a number"),
        pytest.param({"scopes": ["orders:read", 7]}, "scopes must be", id="a scope is a number"),
        pytest.param({"scopes": [""]}, "scopes must be", id="a scope is empty"),
        pytest.param({"scopes": ["orders read"]}, "is no scope", id="a scope has a space"),
        pytest.param({"scopes": ['orders"read']}, "is no scope", id="a scope has a quotation mark"),
        pytest.param({"audiences": ORDERS}, "audiences must be", id="audiences is one string"),
        pytest.param({"audiences": []}, "audiences must name", id="no audience"),
        pytest.param({"grant_types": []}, "grant_types must be", id="no grant type"),
        pytest.param({"grant_types": ["password"]}, "grant_types must be", id="unknown grant type"),
        pytest.param({"client_secret": None}, "a public client cannot", id="public client credentials"),
        pytest.param({"jwks": KEYS.jwks()}, "client_secret or jwks, not both", id="secret and keys"),
        pytest.param({"auth_method": "none"}, "auth_method must be client_secret_basic or", id="secret"),
        pytest.param({"auth_method": "tls_client_auth"}, "auth_method must be", id="unknown method"),
        pytest.param({"auth_method": ["none"]}, "auth_method must be", id="method is a list"),
        pytest.param(
            {"client_secret": None, "jwks": KEYS.jwks(), "auth_method": "client_secret_post"},
            "auth_method must be private_key_jwt here",
            id="keys, post",
        ),
        pytest.param({"client_secret": None, "jwks": []}, "jwks must be a JWK Set", id="keys are a list"),
        pytest.param({"client_secret": None, "jwks": {"keys": []}}, "jwks must be", id="no key"),
        pytest.param(
            {"client_secret": None, "jwks": {"keys": [*keys_of(KEYS), PRIVATE]}},
            "jwks must be .*: a key is private$",
            id="private key",
        ),
        pytest.param(
            {"client_secret": None, "jwks": {"keys": [*keys_of(KEYS), {"kty": "oct", "k": "aHVudGVyMg"}]}},
            "jwks must be .*: a key is private$",
            id="symmetric key",
        ),
        pytest.param({"grant_types": ["authorization_code"]}, "needs redirect_uris", id="no redirect URI"),
        pytest.param({"operator": ""}, "operator must be", id="empty operator"),
        pytest.param({"operator": 7}, "operator must be", id="operator is a number"),
        pytest.param({"access_group": ""}, "access_group must be", id="empty access group"),
        pytest.param({"token_lifetime": 0}, "token_lifetime must be", id="no lifetime"),
        pytest.param({"token_lifetime": True}, "token_lifetime must be", id="lifetime is true"),
        pytest.param({"token_lifetime": "600"}, "token_lifetime must be", id="lifetime is a string"),
        pytest.param({"token_lifetime": float("inf")}, "token_lifetime must be", id="endless lifetime"),
        pytest.param({"token_lifetime": float("nan")}, "token_lifetime must be", id="lifetime is no number"),
        pytest.param(
            {"refresh_token_lifetime": -1}, "refresh_token_lifetime must be", id="refresh lifetime below zero"
        ),
    ],
)
def test_wrong_value_is_refused(changes: dict[str, object], message: str) -> None:
    """A client that could not work is refused, with the right form in the message and never the secret."""
    with pytest.raises(ValueError, match=message) as caught:
        a_client(**changes)

    assert SECRET not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("https://app.example.com/cb", id="https"),
        pytest.param("http://127.0.0.1:8000/cb?a=b", id="loopback with query"),
        pytest.param("http://[::1]:8000/cb", id="IPv6"),
        pytest.param("com.example.app:/cb", id="private-use scheme"),
    ],
)
def test_good_redirect_uri_is_kept(uri: str) -> None:
    """A redirect URI with a known scheme is kept as it is."""
    client = a_client(grant_types=["authorization_code"], redirect_uris=[uri])

    assert client.redirect_uris == (uri,)


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("/cb", id="relative"),
        pytest.param("https:///cb", id="no host"),
        pytest.param("https://app.example.com/cb#top", id="fragment"),
        pytest.param("https://app.example.com/c b", id="space"),
        pytest.param("https://app.example.com/cb\r\nX: y", id="header injection"),
        pytest.param('https://app.example.com/"cb', id="quotation mark"),
        pytest.param("javascript:alert(1)", id="script"),
        pytest.param("data:text/html,hello", id="document"),
        pytest.param("myapp:/cb", id="private-use scheme without a dot"),
    ],
)
def test_bad_redirect_uri_is_refused(uri: str) -> None:
    """A redirect URI that is relative, has a fragment or could run a script is refused."""
    with pytest.raises(ValueError, match="is no redirect URI"):
        a_client(grant_types=["authorization_code"], redirect_uris=[uri])
