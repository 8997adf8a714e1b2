"""
A client in words of the command line.
"""

import pytest

from guardrail.cli._client_words import KEYS, parse_client
from guardrail.cli._errors import UsageError

NEEDED = ("scopes=orders:read orders:write", "audiences=https://a.example.com https://b.example.com")


def test_words_become_a_client() -> None:
    """
    Every key of a client with a secret has its place, and the secret is generated.
    """
    words = (
        "batch",
        *NEEDED,
        "grant_types=client_credentials authorization_code",
        "redirect_uris=http://127.0.0.1:8000/callback",
        "operator=svc-batch",
        "access_group=Orders:Api",
        "token_lifetime=60",
        "refresh_token_lifetime=3600.5",
    )

    client = parse_client(words)

    keys = {word.partition("=")[0] for word in words[1:]}
    assert keys == set(KEYS) - {"public", "jwks", "auth_method"}  # which say that it has no secret
    assert client.client_id == "batch"
    assert client.scopes == {"orders:read", "orders:write"}
    assert client.audiences == ("https://a.example.com", "https://b.example.com")
    assert client.grant_types == {"client_credentials", "authorization_code"}
    assert client.redirect_uris == ("http://127.0.0.1:8000/callback",)
    assert (client.operator, client.access_group) == ("svc-batch", "Orders:Api")
    assert (client.token_lifetime, client.refresh_token_lifetime) == (60, 3600.5)
    assert len(client.client_secret or "") == 43


def test_each_client_has_a_secret_of_its_own() -> None:
    """
    The same words twice are two secrets.
    """
    assert parse_client(("a", *NEEDED)).client_secret != parse_client(("a", *NEEDED)).client_secret


def test_a_value_may_hold_an_equals_sign() -> None:
    """
    Only the first one separates.
    """
    assert parse_client(("a", *NEEDED, "access_group=ou=Orders")).access_group == "ou=Orders"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["batch"], 'needs scopes="orders:read orders:write" and audiences=https', id="nothing"),
        pytest.param(["batch", NEEDED[0]], "needs audiences=https://", id="no audience"),
        pytest.param(["batch", NEEDED[1]], 'needs scopes="orders:read', id="no scope"),
        pytest.param([*NEEDED], "the ID first", id="no ID"),
        pytest.param(["batch", *NEEDED, "scope=x"], "'scope=x': write KEY=VALUE", id="misspelt key"),
        pytest.param(["batch", *NEEDED, "client_secret=x"], "write KEY=VALUE", id="a secret"),
        pytest.param(["batch", "scopes"], "'scopes': write KEY=VALUE", id="no value"),
        pytest.param(["batch", "scopes=a", "b"], 'several values as KEY="first second"', id="unquoted"),
        pytest.param(["batch", "scopes=a", "scopes=b"], "has scopes twice", id="twice"),
        pytest.param(["batch", *NEEDED, "token_lifetime=soon"], "such as token_lifetime=600", id="no number"),
    ],
)
def test_wrong_words_are_refused_with_the_right_form(words: list[str], says: str) -> None:
    """
    The message says what to write.
    """
    with pytest.raises(UsageError) as refused:
        parse_client(words)

    assert says in str(refused.value)


@pytest.mark.parametrize(
    "word",
    ["token_lifetime=-1", "token_lifetime=inf", "token_lifetime=nan", "scopes=", "grant_types=password"],
)
def test_wrong_values_are_the_clients_to_refuse(word: str) -> None:
    """
    What a client is checks `guardrail.issuer.Client`, an empty list of scopes excepted: it may have none.
    """
    words = [
        "batch",
        "audiences=https://a.example.com",
        *({"scopes=a", word} if "scopes" not in word else {word}),
    ]

    if word == "scopes=":
        assert parse_client(words).scopes == frozenset()
        return
    with pytest.raises(ValueError, match="must be"):
        parse_client(words)
