"""
Secrets and keys on token requests.
"""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWK, decode, get_unverified_header
from jwt.algorithms import get_default_algorithms

from guardrail.client import AuthenticationProfile
from guardrail.client._assertion import read_private_jwk
from guardrail.errors import PolicyError, TokenUnavailableError

from .kit import ISSUER, SECRET, TOKEN_URL, World, granted, metadata, pairs

ALGORITHMS = get_default_algorithms()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
KEYS: dict[str, Any] = {
    "RS256": RSA,
    "PS256": RSA,
    "PS512": RSA,
    "ES256": P256,
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ED25519,
    "Ed25519": ED25519,
}


def jwk(algorithm: str = "ES256", **members: object) -> dict[str, object]:
    name = "EdDSA" if algorithm == "Ed25519" else algorithm
    made: dict[str, object] = ALGORITHMS[name].to_jwk(KEYS[algorithm], as_dict=True)
    made.pop("key_ops", None)
    found = {**made, "kid": "k1", "alg": algorithm, **members}
    return {name: value for name, value in found.items() if value is not ...}


@pytest.mark.parametrize(
    ("client_id", "secret", "joined"),
    [
        pytest.param("a", "b", "a:b", id="plain"),
        pytest.param("a:b", "c:d", "a%3Ab:c%3Ad", id="colons"),
        pytest.param("a%3A", "%", "a%253A:%25", id="percent signs"),
        pytest.param("a+b", "c d", "a%2Bb:c+d", id="plus and space"),
        pytest.param("ä", "€&=/", "%C3%A4:%E2%82%AC%26%3D%2F", id="not ASCII"),
        pytest.param("-._~", "\n", "-._~:%0A", id="unreserved, and a line end"),
    ],
)
def test_basic_is_encoded_before_it_is_joined(client_id: str, secret: str, joined: str) -> None:
    """
    Identifier and secret are form-encoded, then joined (RFC 6749 §2.3.1), and are not in the body.
    """
    world = World(client_id=client_id, client_secret=secret)

    world.get()

    scheme, _, credentials = world.requests[0].headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials).decode()) == ("Basic", joined)
    assert pairs(world.requests[0]) == [("grant_type", "client_credentials")]


def test_post_is_in_the_body() -> None:
    """
    With client_secret_post identifier and secret are parameters, and there is no header.
    """
    world = World(auth_method="client_secret_post", client_secret="a b&")

    world.get()

    assert pairs(world.requests[0])[1:] == [("client_id", "orders-batch"), ("client_secret", "a b&")]
    assert "authorization" not in world.requests[0].headers


def test_public_client_names_itself() -> None:
    """
    Without secret and key the identifier is in the body.
    """
    world = World(client_secret=None)

    world.get()

    assert pairs(world.requests[0])[1:] == [("client_id", "orders-batch")]
    assert "authorization" not in world.requests[0].headers


def test_secret_is_asked_for_at_every_request() -> None:
    """
    A rotated secret is seen by the next token request.
    """
    secrets = iter(["old", "new"])
    world = World(auth_method="client_secret_post", client_secret=lambda: next(secrets))

    world.get()
    world.profile.invalidate("token-1")
    world.get()

    assert [form["client_secret"] for form in world.forms] == [["old"], ["new"]]


@pytest.mark.parametrize("algorithm", sorted(KEYS))
def test_assertion_is_signed_by_the_key(algorithm: str) -> None:
    """
    The assertion verifies with the public half, under the key's own algorithm and key ID (RFC 7523 §3).
    """
    world = World(client_secret=None, client_assertion_key=jwk(algorithm), issuer=ISSUER)

    world.get()

    form = world.forms[0]
    (assertion,) = form["client_assertion"]
    header = get_unverified_header(assertion)
    assert header == {"alg": algorithm, "kid": "k1", "typ": "client-authentication+jwt"}
    assert form["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    signing_input, _, signature = assertion.rpartition(".")
    name = "EdDSA" if algorithm == "Ed25519" else algorithm
    public = PyJWK({**{k: v for k, v in jwk(algorithm).items() if k != "d"}, "alg": name})
    raw = base64.urlsafe_b64decode(signature + "==")
    assert ALGORITHMS[name].verify(signing_input.encode(), KEYS[algorithm].public_key(), raw)
    assert public.key_id == "k1"


def claims_of(world: World, number: int) -> dict[str, Any]:
    part = world.forms[number]["client_assertion"][0].split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return claims


@pytest.mark.parametrize(
    ("places", "audience"),
    [
        pytest.param({"token_url": TOKEN_URL}, TOKEN_URL, id="token URL"),
        pytest.param({"token_url": TOKEN_URL, "issuer": ISSUER}, ISSUER, id="both"),
    ],
)
def test_claims_of_an_assertion(places: dict[str, str], audience: str) -> None:
    """
    It is ours, for the issuer if that is configured, once, and for a minute at most.
    """
    world = World(client_secret=None, client_assertion_key=jwk(), **places)

    world.get()
    world.profile.invalidate("token-1")
    world.get()

    first, second = claims_of(world, 0), claims_of(world, 1)
    assert (first["iss"], first["sub"], first["aud"]) == ("orders-batch", "orders-batch", audience)
    assert 0 < first["exp"] - first["iat"] <= 60
    assert first["jti"] != second["jti"]
    assert len(first["jti"]) >= 32
    assert world.forms[0]["client_id"] == ["orders-batch"]


def test_audience_of_an_assertion_is_the_discovered_issuer() -> None:
    """
    With discovery it is the issuer, not the endpoint it names.
    """
    world = World(
        metadata(), granted(), token_url=None, issuer=ISSUER, client_secret=None, client_assertion_key=jwk()
    )

    world.get()

    assert claims_of(world, 0)["aud"] == ISSUER


def test_key_may_be_a_callable() -> None:
    """
    A rotated key is seen by the next token request.
    """
    keys = iter([jwk(kid="old"), jwk("PS256", kid="new")])
    world = World(client_secret=None, client_assertion_key=lambda: next(keys))

    world.get()
    world.profile.invalidate("token-1")
    world.get()

    headers = [get_unverified_header(form["client_assertion"][0]) for form in world.forms]
    assert [(header["kid"], header["alg"]) for header in headers] == [("old", "ES256"), ("new", "PS256")]


PUBLIC = {name: value for name, value in jwk().items() if name != "d"}


@pytest.mark.parametrize(
    ("key", "says"),
    [
        pytest.param("a PEM", "a private JWK such as", id="no mapping"),
        pytest.param(PUBLIC, "it has no private part", id="public"),
        pytest.param(jwk(kid=...), "it has no kid", id="no kid"),
        pytest.param(jwk(kid=""), "it has no kid", id="an empty kid"),
        pytest.param(jwk(kid=7), "it has no kid", id="a number for kid"),
        pytest.param(jwk(alg=...), "it has no alg", id="no alg"),
        pytest.param(jwk(alg="RS256"), "no_algorithm", id="another key type's alg"),
        pytest.param(jwk(alg="ES384"), "no_algorithm", id="another curve's alg"),
        pytest.param(jwk(alg="none"), "no_algorithm", id="alg none"),
        pytest.param(
            {"kty": "oct", "k": "AAAA", "d": "A", "kid": "a", "alg": "HS256"}, "private", id="symmetric"
        ),
        pytest.param(jwk(use="enc"), "for signatures", id="for encryption"),
        pytest.param(jwk(key_ops=["verify"]), "for signatures", id="not for signing"),
        pytest.param(jwk(key_ops="sign"), "for signatures", id="key_ops is no list"),
        pytest.param(jwk(d=jwk("EdDSA")["d"]), "do not belong together", id="another key's half"),
        pytest.param(
            {**jwk("EdDSA"), "d": jwk()["d"]}, "do not belong together", id="another key's half, EdDSA"
        ),
        pytest.param(jwk(d=7), "do not belong together", id="d is a number"),
        pytest.param(jwk(d="!"), "do not belong together", id="d is not base64url"),
    ],
)
def test_what_is_no_key_for_signing_is_refused(key: Any, says: str) -> None:
    """
    A key that differs from a good one in one thing is refused when the profile is made, and not quoted.
    """
    with pytest.raises(PolicyError) as refused:
        AuthenticationProfile(token_url=TOKEN_URL, client_id="a", client_assertion_key=key)

    assert says in str(refused.value)
    assert str(jwk()["d"]) not in str(refused.value)
    assert refused.value.__cause__ is None


def test_weak_rsa_key_is_refused() -> None:
    """
    RSA has 2048 bits or more (RFC 7518 §3.3).
    """
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
    made: dict[str, object] = ALGORITHMS["RS256"].to_jwk(weak, as_dict=True)

    with pytest.raises(PolicyError, match="weak"):
        read_private_jwk({**made, "kid": "a", "alg": "RS256"})


@pytest.mark.parametrize(
    "operations", [{"use": "sig"}, {"key_ops": ["sign"]}, {"key_ops": ["sign", "verify"]}]
)
def test_key_says_what_it_is_for(operations: dict[str, Any]) -> None:
    """
    A key that is for signing is used.
    """
    assert read_private_jwk(jwk(**operations)).algorithm == "ES256"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"client_secret": {}.copy}, id="a dict for a secret"),
        pytest.param({"client_secret": SECRET.encode}, id="bytes for a secret"),
        pytest.param({"client_secret": str}, id="an empty secret"),
        pytest.param({"client_secret": lambda: SECRET + "\ud800"}, id="half a character"),
        pytest.param({"client_secret": None, "client_assertion_key": lambda: {"k": SECRET}}, id="no key"),
        pytest.param({"client_secret": None, "client_assertion_key": lambda: None}, id="None for a key"),
        pytest.param({"subject_token": lambda: 7}, id="a number for a token"),
    ],
)
def test_callable_that_returns_rubbish_is_a_policy_error(arguments: dict[str, Any]) -> None:
    """
    Nothing is sent, the error says whose fault it is, for a minute at once, and quotes nothing.
    """
    world = World(**arguments)

    for _ in range(2):
        with pytest.raises(PolicyError) as refused:
            world.get()
        assert SECRET not in str(refused.value)

    assert (world.requests, world.calls) == ([], [])
    (event,) = world.named("token_fetch_failed")
    assert (event.error, event.permanent, event.retry_after) == ("credentials", True, 60.0)


def test_callable_that_raises_is_an_outage() -> None:
    """
    Nothing is sent, and the exception's own words, which may hold the secret, are not repeated.
    """

    def broken() -> str:
        raise OSError(f"cannot decrypt {SECRET}")

    world = World(client_secret=broken)

    with pytest.raises(TokenUnavailableError) as failed:
        world.get()

    error = failed.value
    assert (error.error, error.permanent) == ("credentials", False)
    assert "OSError" in str(error)
    assert SECRET not in str(error)
    assert (error.__cause__, error.__context__) == (None, None)


def test_decoded_assertion_is_what_pyjwt_accepts() -> None:
    """
    Another implementation accepts the assertion, its audience and its times.
    """
    world = World(client_secret=None, client_assertion_key=jwk())

    world.get()

    claims = decode(
        world.forms[0]["client_assertion"][0], P256.public_key(), algorithms=["ES256"], audience=TOKEN_URL
    )
    assert claims["sub"] == "orders-batch"
