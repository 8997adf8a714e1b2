"""
The contract of outbound tokens: what a profile can be told, and what it refuses to be told.
"""

from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from guardrail.client import AuthenticationProfile
from guardrail.errors import PolicyError

HIDDEN = "hunter2-hunter2"


def jwk(**changes: Any) -> dict[str, Any]:
    """
    A private JWK; a change to None leaves a member out.
    """
    made = dict(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True))
    members = {**made, "kid": "k1", "alg": "ES256", **changes}
    return {name: value for name, value in members.items() if value is not None}


def profile(**changes: Any) -> AuthenticationProfile:
    """
    A right profile but for the changes; a change to None leaves an argument out.
    """
    given = {"token_url": "https://login.example.com/token", "client_id": "orders-batch", **changes}
    return AuthenticationProfile(**{name: value for name, value in given.items() if value is not None})


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("client-id-empty", {"client_id": ""}),
    ("client-id-bytes", {"client_id": b"orders"}),
    ("client-id-line-break", {"client_id": "orders\r\nbatch"}),
    ("no-server", {"token_url": None}),
    ("token-url-http", {"token_url": "http://login.example.com/token"}),
    ("token-url-no-scheme", {"token_url": "login.example.com/token"}),
    ("token-url-no-host", {"token_url": "https:///token"}),
    ("token-url-ftp", {"token_url": "ftp://login.example.com/token"}),
    ("token-url-int", {"token_url": 5}),
    ("token-url-empty", {"token_url": ""}),
    ("token-url-fragment", {"token_url": "https://login.example.com/token#x"}),
    ("token-url-user", {"token_url": f"https://u:{HIDDEN}@login.example.com/token"}),
    ("token-url-name-begins-with-loopback", {"token_url": "http://127.0.0.1.example.com/token"}),
    ("token-url-name-begins-with-localhost", {"token_url": "http://localhost.example.com/token"}),
    ("token-url-name-ends-with-localhost", {"token_url": "http://evil-localhost/token"}),
    ("token-url-private-address", {"token_url": "http://10.0.0.1/token"}),
    ("token-url-any-address", {"token_url": "http://0.0.0.0/token"}),
    ("token-url-line-break", {"token_url": "https://login.example.com/to\nken"}),
    ("issuer-http", {"issuer": "http://login.example.com", "token_url": None}),
    ("issuer-query", {"issuer": "https://login.example.com?x=1", "token_url": None}),
    ("issuer-fragment", {"issuer": "https://login.example.com#x", "token_url": None}),
    ("issuer-user", {"issuer": f"https://u:{HIDDEN}@login.example.com", "token_url": None}),
    ("issuer-http-with-token-url", {"issuer": "http://login.example.com"}),
    ("revocation-url-http", {"revocation_url": "http://login.example.com/revoke"}),
    ("revocation-url-user", {"revocation_url": f"https://u:{HIDDEN}@login.example.com/revoke"}),
    ("secret-empty", {"client_secret": ""}),
    ("secret-bytes", {"client_secret": HIDDEN.encode()}),
    ("secret-list", {"client_secret": [HIDDEN]}),
    ("secret-with-key", {"client_secret": HIDDEN, "client_assertion_key": jwk()}),
    ("method-unknown", {"auth_method": "client_secret_jwt", "client_secret": HIDDEN}),
    ("method-mutual-tls", {"auth_method": "tls_client_auth"}),
    ("method-wrong-case", {"auth_method": "CLIENT_SECRET_POST", "client_secret": HIDDEN}),
    ("basic-without-secret", {"auth_method": "client_secret_basic"}),
    ("post-without-secret", {"auth_method": "client_secret_post"}),
    ("jwt-without-key", {"auth_method": "private_key_jwt"}),
    ("jwt-with-secret", {"auth_method": "private_key_jwt", "client_secret": HIDDEN}),
    ("basic-with-key", {"auth_method": "client_secret_basic", "client_assertion_key": jwk()}),
    ("none-with-secret", {"auth_method": "none", "client_secret": HIDDEN}),
    ("none-with-key", {"auth_method": "none", "client_assertion_key": jwk()}),
    ("key-without-kid", {"client_assertion_key": jwk(kid=None)}),
    ("key-without-alg", {"client_assertion_key": jwk(alg=None)}),
    ("key-public", {"client_assertion_key": jwk(d=None)}),
    ("key-alg-none", {"client_assertion_key": jwk(alg="none")}),
    ("key-alg-of-another-type", {"client_assertion_key": jwk(alg="RS256")}),
    ("key-alg-of-another-curve", {"client_assertion_key": jwk(alg="ES384")}),
    ("key-symmetric", {"client_assertion_key": {"kty": "oct", "k": "aGk", "kid": "k", "alg": "HS256"}}),
    ("key-for-encryption", {"client_assertion_key": jwk(use="enc")}),
    ("key-kid-number", {"client_assertion_key": jwk(kid=1)}),
    ("key-pem", {"client_assertion_key": "-----BEGIN PRIVATE KEY-----"}),
    ("key-of-another-public-half", {"client_assertion_key": {**jwk(), "d": jwk()["d"]}}),
    ("scopes-bare-string", {"scopes": "orders:read"}),
    ("scopes-two-in-one", {"scopes": ["orders:read orders:write"]}),
    ("scopes-quote", {"scopes": ['a"b']}),
    ("scopes-backslash", {"scopes": ["a\\b"]}),
    ("scopes-non-ascii", {"scopes": ["über"]}),
    ("scopes-empty-one", {"scopes": [""]}),
    ("scopes-number", {"scopes": [1]}),
    ("scopes-not-iterable", {"scopes": 5}),
    ("audience-empty", {"audience": ""}),
    ("audience-list", {"audience": ["https://api.example.com"]}),
    ("resource-relative", {"resource": "/orders"}),
    ("resource-fragment", {"resource": "https://api.example.com/#x"}),
    ("resource-bytes", {"resource": b"https://api.example.com"}),
    ("resource-number", {"resource": [1]}),
    ("resource-one-of-two-relative", {"resource": ["https://api.example.com", "orders"]}),
    *(
        (f"extra-{name}", {"extra_params": {name: HIDDEN}})
        for name in [
            "grant_type",
            "scope",
            "audience",
            "resource",
            "client_id",
            "client_secret",
            "client_assertion",
            "client_assertion_type",
            "refresh_token",
            "subject_token",
            "subject_token_type",
        ]
    ),
    ("extra-number", {"extra_params": {"tenant": 1}}),
    ("extra-list", {"extra_params": {"tenant": [HIDDEN]}}),
    ("extra-pairs", {"extra_params": [("tenant", HIDDEN)]}),
    ("extra-empty-name", {"extra_params": {"": HIDDEN}}),
    ("extra-half-a-surrogate-pair", {"extra_params": {"tenant": "\ud800"}}),
    ("extra-name-half-a-surrogate-pair", {"extra_params": {"\ud800": "acme"}}),
    ("refresh-half-a-surrogate-pair", {"refresh_token": "\ud800"}),
    ("refresh-empty", {"refresh_token": ""}),
    ("refresh-callable", {"refresh_token": lambda: HIDDEN}),
    ("refresh-and-subject", {"refresh_token": HIDDEN, "subject_token": HIDDEN}),
    ("on-refresh-not-callable", {"refresh_token": HIDDEN, "on_refresh_token": "store"}),
    ("subject-empty", {"subject_token": ""}),
    ("subject-number", {"subject_token": 5}),
    ("subject-type-empty", {"subject_token": HIDDEN, "subject_token_type": ""}),
    ("subject-type-alone", {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}),
    ("timeout-zero", {"timeout": 0}),
    ("timeout-negative", {"timeout": -1.0}),
    ("timeout-nan", {"timeout": float("nan")}),
    ("timeout-infinite", {"timeout": float("inf")}),
    ("timeout-text", {"timeout": "10"}),
    ("timeout-bool", {"timeout": True}),
    ("http-client-class", {"http_client": httpx.Client}),
    ("clock-number", {"clock": 5.0}),
    ("on-event-one-callable", {"on_event": print}),
    ("on-event-not-callable", {"on_event": ["print"]}),
]


@pytest.mark.parametrize("changes", [pytest.param(changes, id=name) for name, changes in REFUSED])
def test_wrong_arguments_raise_at_construction(changes: dict[str, Any]) -> None:
    """
    A wrong argument is a policy error when the profile is made, and nothing secret is in the message.
    """
    with pytest.raises(PolicyError) as raised:
        profile(**changes)

    key = changes.get("client_assertion_key")
    assert HIDDEN not in str(raised.value)
    assert not isinstance(key, dict) or "d" not in key or key["d"] not in str(raised.value)


@pytest.mark.parametrize("name", ["refresh_token", "subject_token", "client_secret"])
def test_message_offers_a_callable_only_where_one_is_taken(name: str) -> None:
    """
    What a message says to write is what the profile takes.
    """
    with pytest.raises(PolicyError) as raised:
        profile(**{name: 5})

    assert ("callable" in str(raised.value)) == (name != "refresh_token")


@pytest.mark.anyio
async def test_an_asynchronous_client_is_refused() -> None:
    """
    A thread cannot use an `httpx.AsyncClient`.
    """
    async with httpx.AsyncClient() as client:
        with pytest.raises(PolicyError, match=r"httpx\.Client"):
            profile(http_client=client)


@pytest.mark.parametrize("name", ["refresh_token_url", "grant", "grant_type", "verify", "client_key"])
def test_there_is_no_other_argument(name: str) -> None:
    """
    An argument the contract does not have is a type error.
    """
    with pytest.raises(TypeError):
        profile(**{name: "x"})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"token_url": "http://127.0.0.1:9/token"}, id="loopback"),
        pytest.param({"token_url": "http://127.8.8.8:9/token"}, id="loopback-network"),
        pytest.param({"token_url": "http://localhost:9/token"}, id="localhost"),
        pytest.param({"token_url": "http://[::1]:9/token"}, id="loopback-6"),
        pytest.param({"token_url": "https://login.example.com/token?p=1"}, id="query"),
        pytest.param({"token_url": None, "issuer": "https://login.example.com/tenant"}, id="issuer-path"),
        pytest.param({"issuer": "https://login.example.com"}, id="issuer-and-token-url"),
        pytest.param({"client_secret": "a", "auth_method": "client_secret_post"}, id="post"),
        pytest.param({"client_secret": lambda: "a"}, id="secret-callable"),
        pytest.param({"client_assertion_key": jwk(), "auth_method": "private_key_jwt"}, id="jwt"),
        pytest.param({"client_assertion_key": jwk}, id="key-callable"),
        pytest.param({"auth_method": "none"}, id="none"),
        pytest.param({"scopes": ("a", "b")}, id="scopes-tuple"),
        pytest.param({"scopes": iter(["a"])}, id="scopes-iterator"),
        pytest.param({"resource": "urn:example:orders"}, id="resource-urn"),
        pytest.param({"resource": ["https://a.example", "https://b.example"]}, id="resources"),
        pytest.param({"extra_params": {"tenant": ""}}, id="extra-empty-value"),
        pytest.param({"refresh_token": "r", "on_refresh_token": print}, id="refresh"),
        pytest.param({"subject_token": lambda: "s"}, id="subject-callable"),
        pytest.param({"timeout": 1}, id="timeout-whole"),
        pytest.param({"on_event": (print, repr)}, id="listeners"),
    ],
)
def test_right_arguments_are_taken(changes: dict[str, Any]) -> None:
    """
    What the contract allows makes a profile, without I/O, and it is an `httpx.Auth`.
    """
    assert isinstance(profile(**changes), httpx.Auth)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"client_secret": HIDDEN}, id="secret"),
        pytest.param({"client_secret": HIDDEN, "extra_params": {"pin": HIDDEN}}, id="extra"),
        pytest.param({"refresh_token": HIDDEN}, id="refresh"),
        pytest.param({"subject_token": HIDDEN}, id="subject"),
        pytest.param({"client_assertion_key": jwk(kid=HIDDEN)}, id="key"),
    ],
)
def test_secrets_are_shown_as_stars(changes: dict[str, Any]) -> None:
    """
    A representation names what it holds, and shows eight stars for it, whichever way it is formatted.
    """
    made = profile(**changes)

    for shown in (repr(made), str(made), f"{made}", f"{vars(made)}"):
        assert HIDDEN not in shown
    assert repr(made).count("********") == len(changes)
    assert "orders-batch" in repr(made)
