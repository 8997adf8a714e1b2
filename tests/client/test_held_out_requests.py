"""
The contract of outbound tokens: what a token request is, byte for byte, on a socket.
"""

import base64
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from .loopback import FORM, Answer, Party, Scene, grant, refusal

BASIC = "Basic "
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture(scope="module")
def signing_keys() -> dict[str, dict[str, Any]]:
    """
    One private JWK for each kind of key.
    """
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "RS256": dict(RSAAlgorithm.to_jwk(rsa_key, as_dict=True)),
        "PS256": dict(RSAAlgorithm.to_jwk(rsa_key, as_dict=True)),
        "ES256": dict(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)),
        "ES384": dict(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()), as_dict=True)),
        "EdDSA": dict(OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate(), as_dict=True)),
    }


@pytest.mark.parametrize("auth", [{"client_secret": "s"}, {}], ids=["secret", "public"])
def test_form_of_a_request(party: Party, auth: dict[str, Any]) -> None:
    """
    A token request is a POST of a form that asks for JSON.
    """
    Scene(party, **auth).get()

    (request,) = party.token_requests
    assert (request.method, request.path) == ("POST", "/token")
    assert request.header("content-type") == FORM
    assert request.header("accept") == "application/json"
    assert request.header("cookie") is None


@pytest.mark.parametrize(
    ("client_id", "secret", "joined"),
    [
        pytest.param("orders", "secret", "orders:secret", id="plain"),
        pytest.param("a:b", "c:d", "a%3Ab:c%3Ad", id="colon"),
        pytest.param("a%3A", "50%", "a%253A:50%25", id="percent"),
        pytest.param("a+b", "c+d", "a%2Bb:c%2Bd", id="plus"),
        pytest.param("a b", "c d", "a+b:c+d", id="space"),
        pytest.param("é", "€𝄞", "%C3%A9:%E2%82%AC%F0%9D%84%9E", id="non-ascii"),
        pytest.param("https://a.example/", "a&b=c", "https%3A%2F%2Fa.example%2F:a%26b%3Dc", id="url"),
        pytest.param("a-._b", "line\nbreak", "a-._b:line%0Abreak", id="unreserved-and-line-break"),
    ],
)
def test_basic_credentials(party: Party, client_id: str, secret: str, joined: str) -> None:
    """
    Identifier and secret are form-encoded before they are joined, and nothing of them is in the body.
    """
    Scene(party, client_id=client_id, client_secret=secret).get()

    (request,) = party.token_requests
    assert request.header("authorization") == BASIC + base64.b64encode(joined.encode()).decode()
    assert request.body == b"grant_type=client_credentials"


@pytest.mark.parametrize(
    ("secret", "sent"),
    [
        pytest.param("s3", b"s3", id="plain"),
        pytest.param("a b&c=d%", b"a+b%26c%3Dd%25", id="reserved"),
        pytest.param("é+", b"%C3%A9%2B", id="non-ascii"),
    ],
)
def test_post_credentials(party: Party, secret: str, sent: bytes) -> None:
    """
    With client_secret_post both are in the body alone.
    """
    Scene(party, client_secret=secret, auth_method="client_secret_post").get()

    (request,) = party.token_requests
    expected = b"grant_type=client_credentials&client_id=orders-batch&client_secret=" + sent
    assert request.body == expected
    assert request.header("authorization") is None


def test_public_client(party: Party) -> None:
    """
    Without secret and key the identifier is in the body, and there are no credentials.
    """
    Scene(party).get()

    (request,) = party.token_requests
    assert request.body == b"grant_type=client_credentials&client_id=orders-batch"
    assert request.header("authorization") is None


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "ES384", "EdDSA"])
def test_assertion(party: Party, signing_keys: dict[str, dict[str, Any]], alg: str) -> None:
    """
    An assertion names its type, key and algorithm, speaks of the client to one audience, and soon expires.
    """
    private = {**signing_keys[alg], "kid": "key-1", "alg": alg}
    before = int(time.time())
    Scene(party, client_assertion_key=private).get()

    (request,) = party.token_requests
    form = dict(request.form)
    public = {name: value for name, value in private.items() if name not in ["d", "p", "q", "dp", "dq", "qi"]}
    claims = jwt.decode(
        form["client_assertion"], jwt.PyJWK(public), algorithms=[alg], audience=f"{party.origin}/token"
    )
    header = jwt.get_unverified_header(form["client_assertion"])
    assert header == {"typ": "client-authentication+jwt", "kid": "key-1", "alg": alg}
    assert form["client_assertion_type"] == ASSERTION
    assert claims["iss"] == claims["sub"] == "orders-batch"
    assert claims["aud"] == f"{party.origin}/token"
    assert before <= claims["iat"] <= time.time()
    assert 0 < claims["exp"] - claims["iat"] <= 60
    assert isinstance(claims["jti"], str)
    assert len(claims["jti"]) >= 22
    assert request.header("authorization") is None
    assert "client_secret" not in form


@pytest.mark.parametrize("has_token_url", [True, False], ids=["issuer-and-token-url", "issuer"])
def test_assertion_is_for_the_issuer(
    party: Party, signing_keys: dict[str, dict[str, Any]], has_token_url: bool
) -> None:
    """
    The audience is the issuer as configured, if it is; and each request has an assertion of its own.
    """
    metadata = Answer(
        200, json.dumps({"issuer": party.origin, "token_endpoint": f"{party.origin}/t"}).encode()
    )
    scene = Scene(
        party,
        *([] if has_token_url else [metadata]),
        issuer=party.origin,
        token_url=f"{party.origin}/t" if has_token_url else None,
        client_assertion_key=lambda: {**signing_keys["ES256"], "kid": "k", "alg": "ES256"},
    )
    scene.get()
    scene.profile.invalidate("token-1")
    scene.profile.invalidate("token-2")
    scene.get()

    posts = [one for one in party.token_requests if one.method == "POST"]
    claims = [
        jwt.decode(dict(one.form)["client_assertion"], options={"verify_signature": False}) for one in posts
    ]
    assert [one["aud"] for one in claims] == [party.origin, party.origin]
    assert claims[0]["jti"] != claims[1]["jti"]


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        pytest.param({"scopes": ["b", "a", "c:d"]}, [("scope", "b a c:d")], id="scopes-in-order"),
        pytest.param({"scopes": ()}, [], id="no-scope"),
        pytest.param({"audience": "https://a/?x=1&y"}, [("audience", "https://a/?x=1&y")], id="audience"),
        pytest.param({"resource": "urn:a:b"}, [("resource", "urn:a:b")], id="resource"),
        pytest.param(
            {"resource": ["urn:b:1", "urn:a:2"]},
            [("resource", "urn:b:1"), ("resource", "urn:a:2")],
            id="resources-in-order",
        ),
        pytest.param({"extra_params": {"tenant": "a b"}}, [("tenant", "a b")], id="extra"),
        pytest.param({"extra_params": {"empty": ""}}, [("empty", "")], id="extra-empty"),
        pytest.param(
            {"scopes": ["s"], "audience": "aud", "resource": "urn:r:1", "extra_params": {"x": "ü"}},
            [("scope", "s"), ("audience", "aud"), ("resource", "urn:r:1"), ("x", "ü")],
            id="all",
        ),
    ],
)
@pytest.mark.parametrize(
    ("given", "begins"),
    [
        pytest.param({}, [("grant_type", "client_credentials")], id="client-credentials"),
        pytest.param(
            {"refresh_token": "r+1"},
            [("grant_type", "refresh_token"), ("refresh_token", "r+1")],
            id="refresh-token",
        ),
        pytest.param(
            {"subject_token": "s.t"},
            [("grant_type", EXCHANGE), ("subject_token", "s.t"), ("subject_token_type", ACCESS_TOKEN)],
            id="token-exchange",
        ),
    ],
)
def test_every_request_has_every_parameter(
    party: Party,
    arguments: dict[str, Any],
    sent: list[tuple[str, str]],
    given: dict[str, Any],
    begins: list[tuple[str, str]],
) -> None:
    """
    The first request, a background renewal and one after expiry say the same, whatever the grant.
    """
    scene = Scene(party, client_secret="s", **arguments, **given)
    scene.get()
    scene.now += 3500.0
    scene.get()
    scene.wait_for("token_fetched", 2)
    scene.now += 3600.0
    scene.get()

    assert [event.trigger for event in scene.named("token_fetched")] == ["missing", "aging", "expired"]
    assert [sorted(one.form) for one in party.token_requests] == [sorted([*begins, *sent])] * 3
    names = [name for name, _ in sent]
    assert [pair for pair in party.token_requests[2].form if pair[0] in names] == sent


def test_subject_token_type(party: Party) -> None:
    """
    The type of a subject token is sent as it is given.
    """
    Scene(party, subject_token="s", subject_token_type="urn:ietf:params:oauth:token-type:jwt").get()

    form = dict(party.token_requests[0].form)
    assert form["subject_token_type"] == "urn:ietf:params:oauth:token-type:jwt"


@pytest.mark.parametrize(
    ("argument", "read"),
    [
        pytest.param("client_secret", lambda form: form["client_secret"], id="secret"),
        pytest.param("subject_token", lambda form: form["subject_token"], id="subject-token"),
    ],
)
def test_callables_are_asked_at_every_request(
    party: Party, argument: str, read: Callable[[dict[str, str]], str]
) -> None:
    """
    What a callable returns now is what is sent now.
    """
    values = iter(["first", "second"])
    arguments: dict[str, Any] = {argument: lambda: next(values)}
    if argument == "client_secret":
        arguments["auth_method"] = "client_secret_post"
    scene = Scene(party, **arguments)
    scene.get()
    scene.profile.invalidate("token-1")
    scene.get()

    assert [read(dict(one.form)) for one in party.token_requests] == ["first", "second"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nothing_of_a_given_client_goes_along(party: Party, status: int) -> None:
    """
    A given client lends its transport: not its headers, cookies, parameters, credentials or redirects.
    """
    there = Answer(status, b"", (("Location", f"{party.origin}/elsewhere"),))
    with httpx.Client(
        follow_redirects=True,
        headers={"x-mine": "1", "accept": "text/html", "authorization": "Basic bWU6bWU="},
        cookies={"session": "1"},
        params={"q": "1"},
        auth=("me", "me"),
        base_url="https://elsewhere.example.com",
        trust_env=False,
    ) as client:
        failure = Scene(party, there, http_client=client).failure()

    (request,) = party.token_requests
    assert failure.error == "redirect"
    assert request.path == "/token"
    assert request.header("x-mine") is None
    assert request.header("cookie") is None
    assert request.header("authorization") is None
    assert request.header("accept") == "application/json"


def metadata(party: Party, issuer: str, /, **members: Any) -> Answer:
    """
    Metadata that names this party's token endpoint.
    """
    document = {"issuer": issuer, "token_endpoint": f"{party.origin}/t", **members}
    return Answer(200, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        pytest.param("", "/.well-known/oauth-authorization-server", id="root"),
        pytest.param("/tenant", "/.well-known/oauth-authorization-server/tenant", id="path"),
    ],
)
def test_discovery_is_done_once(party: Party, path: str, asked: str) -> None:
    """
    The metadata of the issuer is fetched once, by GET, without credentials.
    """
    issuer = party.origin + path
    scene = Scene(party, metadata(party, issuer), issuer=issuer, token_url=None, client_secret="s")
    scene.get()
    scene.now += 4000.0
    scene.get()

    found = [(one.method, one.path) for one in party.token_requests]
    assert found == [("GET", asked), ("POST", "/t"), ("POST", "/t")]
    assert party.token_requests[0].header("authorization") is None


def test_nothing_is_discovered_with_both(party: Party) -> None:
    """
    With a token URL the issuer is not asked.
    """
    Scene(party, issuer=party.origin, client_secret="s").get()

    assert [one.path for one in party.token_requests] == ["/token"]


@pytest.mark.parametrize(
    ("difference", "members"),
    [
        pytest.param("/", {}, id="trailing-slash"),
        pytest.param("x", {}, id="longer"),
        pytest.param("", {"issuer": None}, id="missing"),
        pytest.param("", {"token_endpoint": None}, id="no-token-endpoint"),
        pytest.param("", {"token_endpoint": "http://login.example.com/t"}, id="http"),
        pytest.param("", {"token_endpoint": "/t"}, id="relative"),
        pytest.param("", {"token_endpoint": "file:///etc/passwd"}, id="file"),
        pytest.param("", {"token_endpoint": "https://u:p@login.example.com/t"}, id="user"),
        pytest.param("", {"token_endpoint": 5}, id="number"),
    ],
)
def test_metadata_of_somebody_else_is_refused(party: Party, difference: str, members: dict[str, Any]) -> None:
    """
    Metadata whose issuer is not exactly ours, or whose token endpoint is none, gets no secret; and the
    failure is a transient one.
    """
    found = metadata(party, party.origin + difference, **members)
    scene = Scene(party, *[found] * 3, issuer=party.origin, token_url=None, client_secret="s")

    failure = scene.failure()

    assert {one.method for one in party.token_requests} == {"GET"}
    assert (failure.error, failure.permanent) == ("bad_response", False)


@pytest.mark.parametrize(
    ("status", "error"), [(404, "http_4xx"), (429, "http_4xx"), (503, "http_5xx"), (302, "redirect")]
)
def test_discovery_that_fails_pauses(party: Party, status: int, error: str) -> None:
    """
    An issuer without metadata is asked again after a pause, which ``Retry-After`` makes longer.
    """
    failing = refusal(status, "x", ("Retry-After", "90"), ("Location", "/elsewhere"))
    scene = Scene(party, *[failing] * 3, issuer=party.origin, token_url=None, client_secret="s")

    failure = scene.failure()

    party.answers[:] = [metadata(party, party.origin), grant()]
    assert (failure.error, failure.permanent) == (error, False)
    assert failure.retry_after == pytest.approx(90.0)
    scene.now += 89.0
    scene.failure()
    scene.now += 1.0
    assert scene.get().status_code == 200


def test_a_repeated_form_is_one_string(party: Party) -> None:
    """
    The form is exactly what `urllib` makes of its pairs: no parameter is there twice but resource.
    """
    Scene(party, client_secret="s", scopes=["a", "a"], resource=["urn:a:1", "urn:b:2"]).get()

    (request,) = party.token_requests
    pairs = [
        ("grant_type", "client_credentials"),
        ("scope", "a"),
        ("resource", "urn:a:1"),
        ("resource", "urn:b:2"),
    ]
    assert request.body == urlencode(pairs).encode()
