"""
The embedded issuer as a value: its configuration, and minting without a request.
"""

from dataclasses import replace

import jwt
import pytest

from guardrail.issuer import EmbeddedIssuer

from .builders import NOW, ORDERS, SECRET, SERVICE, URL, WEB, an_issuer, verified_claims


def test_issuer_shows_its_configuration() -> None:
    """URL, clients and keys can be read back."""
    issuer = an_issuer(SERVICE, WEB)

    assert issuer.url == URL
    assert issuer.clients == (SERVICE, WEB)
    assert issuer.keys.algorithm == "ES256"


def test_issuer_signs_rs256_by_default() -> None:
    """Without an algorithm the issuer uses the one every library knows."""
    assert EmbeddedIssuer(URL).keys.algorithm == "RS256"


def test_representation_shows_no_secret() -> None:
    """The representation names clients and key IDs, and no secret."""
    issuer = an_issuer(SERVICE)

    assert repr(issuer) == f"EmbeddedIssuer('{URL}', clients=['orders-service'], keys={issuer.keys!r})"
    assert SECRET not in repr(issuer)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:9000", id="loopback"),
        pytest.param("http://[::1]:9000", id="IPv6"),
        pytest.param("https://login.example.com/", id="trailing slash"),
        pytest.param("https://login.example.com/tenants/a", id="path"),
    ],
)
def test_good_issuer_url_is_kept_as_given(url: str) -> None:
    """An issuer URL is kept to the letter, for it is compared to the letter."""
    assert an_issuer(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("127.0.0.1:9000", id="no scheme"),
        pytest.param("ftp://login.example.com", id="other scheme"),
        pytest.param("http://", id="no host"),
        pytest.param("http://login.example.com?a=b", id="query"),
        pytest.param("http://login.example.com#a", id="fragment"),
        pytest.param("http://user@login.example.com", id="user information"),
        pytest.param("http://login.example.com/{tenant}", id="template"),
        pytest.param("http://login.example.com\n", id="line feed"),
    ],
)
def test_bad_issuer_url_is_refused(url: str) -> None:
    """A URL that cannot name an issuer is refused, with the right form in the message."""
    with pytest.raises(ValueError, match=r"is no issuer URL: use .* such as"):
        an_issuer(url=url)


def test_two_clients_of_one_name_are_refused() -> None:
    """A second client of one name would silently replace the first, and is refused."""
    with pytest.raises(ValueError, match="two clients have one client_id"):
        an_issuer(SERVICE, replace(SERVICE, scopes=[]))


def test_issuer_without_users_is_refused() -> None:
    """A consent page without users could not be used."""
    with pytest.raises(ValueError, match="users must name at least one"):
        an_issuer(users=())


def test_users_as_one_string_are_refused() -> None:
    """One string is not a collection of users."""
    with pytest.raises(ValueError, match="users must be a collection"):
        an_issuer(users="alice")


def test_minted_token_has_the_claims_of_rfc_9068() -> None:
    """A minted token carries every claim RFC 9068 requires, and its type."""
    issuer = an_issuer(SERVICE)

    token = issuer.mint(SERVICE, scope=["orders:write", "orders:read"], audience=ORDERS)

    claims = verified_claims(token, issuer=issuer)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert claims.pop("jti")
    assert claims == {
        "iss": URL,
        "sub": "orders-service",
        "aud": ORDERS,
        "client_id": "orders-service",
        "scope": "orders:read orders:write",
        "iat": int(NOW),
        "exp": int(NOW) + 600,
    }


def test_minted_tokens_have_identifiers_of_their_own() -> None:
    """Two tokens of one client never share a *jti*."""
    issuer = an_issuer(SERVICE)

    first, second = (issuer.mint(SERVICE, scope=(), audience=ORDERS) for _ in range(2))

    assert verified_claims(first, issuer=issuer)["jti"] != verified_claims(second, issuer=issuer)["jti"]


def test_minted_token_runs_as_operator_and_access_group() -> None:
    """A client that runs as an operator has that subject, and its access group."""
    client = replace(SERVICE, operator="alice", access_group="berlin")
    issuer = an_issuer(client)

    claims = verified_claims(issuer.mint(client, scope=(), audience=ORDERS), issuer=issuer)

    assert (claims["sub"], claims["access_group"]) == ("alice", "berlin")
    assert "scope" not in claims


def test_minted_token_has_the_subject_and_lifetime_asked_for() -> None:
    """A subject and a lifetime of the caller's replace the client's; below zero is expired."""
    issuer = an_issuer(SERVICE)

    token = issuer.mint(SERVICE, subject="bob", scope=["x"], audience=ORDERS, lifetime=-60)

    claims = verified_claims(token, issuer=issuer)
    assert (claims["sub"], claims["exp"]) == ("bob", int(NOW) - 60)


def test_minting_a_scope_of_one_string_is_refused() -> None:
    """One string would become a scope of single letters, and is refused."""
    with pytest.raises(ValueError, match="scope must be a collection"):
        an_issuer(SERVICE).mint(SERVICE, scope="orders:read", audience=ORDERS)
