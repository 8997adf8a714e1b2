"""
Client authentication with a signed assertion (RFC 7523), at the endpoints that programs call.
"""

from typing import Any

import httpx
import pytest

from guardrail.issuer import SigningKeys
from guardrail.issuer._assertions import CAPACITY, LEEWAY, MAX_LIFETIME, ClientAssertions
from guardrail.issuer._errors import OAuthError

from .assertions import KEYS, a_signing_client, an_assertion, assertion_form
from .builders import (
    NOW,
    SECRET,
    SERVICE,
    URL,
    Clock,
    an_issuer,
    basic,
    connect,
    request_token,
    verified_claims,
)

pytestmark = pytest.mark.anyio

OTHER_KEYS = SigningKeys("ES256")
FAILED = {"error": "invalid_client", "error_description": "client authentication failed"}


async def ask(
    assertion: str, *, headers: dict[str, str] | None = None, **changes: str | None
) -> httpx.Response:
    """
    Make one token request to a fresh issuer that knows a signing client and one with a secret.
    """
    form = assertion_form(assertion, **changes)
    return await request_token(a_signing_client(), SERVICE, form=form, headers=headers)


async def test_client_with_its_key_gets_a_token() -> None:
    """private_key_jwt: an assertion signed with the registered key gets the client's own token."""
    issuer = an_issuer(a_signing_client())

    async with connect(issuer) as http:
        response = await http.post("/token", data=assertion_form(an_assertion()))

    claims = verified_claims(response.json()["access_token"], issuer=issuer)
    assert (claims["sub"], claims["client_id"]) == ("signer", "signer")


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_each_algorithm_of_the_metadata_that_can_be_signed_with_here_is_accepted(
    algorithm: str,
) -> None:
    """Assertions of every advertised kind of key are accepted."""
    keys = SigningKeys(algorithm)

    form = assertion_form(an_assertion(keys=keys))
    response = await request_token(a_signing_client(keys=keys), form=form)

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("changes", "typ", "headers"),
    [
        pytest.param({"aud": f"{URL}/token"}, "JWT", {}, id="token endpoint as audience"),
        pytest.param({}, "JWT", {}, id="typ JWT"),
        pytest.param({}, None, {}, id="no typ"),
        pytest.param({}, "application/Client-Authentication+JWT", {}, id="typ in full"),
        pytest.param({}, "JWT", {"kid": None}, id="no kid, of one key"),
        pytest.param({"iat": None}, "JWT", {}, id="no iat"),
        pytest.param({"exp": NOW + MAX_LIFETIME + LEEWAY}, "JWT", {}, id="just short enough"),
        pytest.param({"exp": NOW - LEEWAY + 1}, "JWT", {}, id="just enough leeway"),
    ],
)
async def test_assertion_within_the_rules_is_accepted(
    changes: dict[str, object], typ: str | None, headers: dict[str, object]
) -> None:
    """What RFC 7523 leaves open is accepted."""
    response = await ask(an_assertion(changes, typ=typ, headers=headers))

    assert response.status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"iss": "orders-service"}, id="other issuer"),
        pytest.param({"iss": None}, id="no issuer"),
        pytest.param({"sub": "nobody"}, id="unknown client"),
        pytest.param({"sub": None}, id="no subject"),
        pytest.param({"sub": 7}, id="subject is a number"),
        pytest.param({"sub": ["signer"]}, id="subject is a list"),
        pytest.param({"iss": "orders-service", "sub": "orders-service"}, id="client without keys"),
        pytest.param({"aud": "https://login.example.com"}, id="other server"),
        pytest.param({"aud": [URL]}, id="audience is a list"),
        pytest.param({"aud": f"{URL}/revoke"}, id="other endpoint"),
        pytest.param({"aud": None}, id="no audience"),
        pytest.param({"exp": None}, id="no expiry"),
        pytest.param({"exp": "soon"}, id="expiry is no number"),
        pytest.param({"exp": NOW - LEEWAY}, id="expired"),
        pytest.param({"exp": NOW + MAX_LIFETIME + LEEWAY + 1}, id="lives too long"),
        pytest.param({"nbf": NOW + LEEWAY + 1}, id="not valid yet"),
        pytest.param({"iat": NOW + LEEWAY + 1}, id="from the future"),
        pytest.param({"jti": None}, id="no jti"),
        pytest.param({"jti": ""}, id="empty jti"),
        pytest.param({"jti": 7}, id="jti is a number"),
        pytest.param({"jti": "x" * 257}, id="long jti"),
    ],
)
async def test_assertion_with_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    """An assertion that differs in one claim gets one and the same answer."""
    response = await ask(an_assertion(changes))

    assert (response.status_code, response.json()) == (401, FAILED)
    assert "www-authenticate" not in response.headers


@pytest.mark.parametrize(
    "assertion",
    [
        pytest.param(lambda: an_assertion(keys=OTHER_KEYS), id="key of another"),
        pytest.param(
            lambda: an_assertion(keys=OTHER_KEYS, headers={"kid": KEYS.current.kid}), id="other signature"
        ),
        pytest.param(lambda: an_assertion(headers={"alg": "none"}), id="alg none"),
        pytest.param(lambda: an_assertion(headers={"alg": "HS256"}), id="symmetric"),
        pytest.param(lambda: an_assertion(headers={"alg": "ES512"}), id="alg outside the list"),
        pytest.param(lambda: an_assertion(headers={"crit": ["exp"]}), id="critical extension"),
        pytest.param(lambda: an_assertion(typ="at+jwt"), id="an access token"),
        pytest.param(lambda: an_assertion(typ="dpop+jwt"), id="another type"),
        pytest.param(lambda: an_assertion()[:-4], id="cut short"),
        pytest.param(lambda: "no.jwt", id="no JWT"),
        pytest.param(lambda: "", id="empty"),
        pytest.param(lambda: "\N{SNOWMAN}", id="not ASCII"),
    ],
)
async def test_assertion_that_does_not_verify_is_refused(assertion: Any) -> None:
    """An assertion that is not the client's own signature gets the same answer as any other."""
    response = await ask(assertion())

    assert (response.status_code, response.json()) == (401, FAILED)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"client_assertion_type": None}, id="no type"),
        pytest.param({"client_assertion_type": "urn:x"}, id="other type"),
        pytest.param({"client_assertion": None}, id="type alone"),
    ],
)
async def test_half_an_assertion_is_refused(changes: dict[str, str | None]) -> None:
    """Assertion and assertion type belong together."""
    form = assertion_form(an_assertion(), **changes)
    response = await request_token(a_signing_client(), form=form)

    assert (response.status_code, response.json()) == (401, FAILED)


@pytest.mark.parametrize(
    ("client_id", "status"),
    [pytest.param("signer", 200, id="same"), pytest.param("orders-service", 400, id="another")],
)
async def test_client_id_beside_the_assertion_is_the_same(client_id: str, status: int) -> None:
    """A client_id beside the assertion must name the client that signed."""
    response = await ask(an_assertion(), client_id=client_id)

    assert response.status_code == status


async def test_assertion_beside_a_secret_is_two_methods() -> None:
    """An assertion and a secret in one request are refused even when both are right."""
    in_body = await ask(an_assertion(), client_secret=SECRET)
    in_header = await ask(an_assertion(), headers=basic("orders-service", SECRET))

    assert (in_body.status_code, in_body.json()["error"]) == (400, "invalid_request")
    assert (in_header.status_code, in_header.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"client_id": "signer"}, id="no secret"),
        pytest.param({"client_id": "signer", "client_secret": ""}, id="empty secret"),
        pytest.param({"client_id": "signer", "client_secret": "x"}, id="a secret"),
    ],
)
async def test_client_with_a_key_is_not_public(form: dict[str, str]) -> None:
    """A client that has a key cannot do without."""
    response = await request_token(a_signing_client(), form={"grant_type": "client_credentials", **form})

    assert (response.status_code, response.json()) == (401, FAILED)


async def test_used_assertion_is_refused_for_as_long_as_it_would_be_good() -> None:
    """An assertion is good once, to the end of its life and leeway."""
    clock = Clock()
    form = assertion_form(an_assertion())

    async with connect(an_issuer(a_signing_client(), clock=clock)) as http:
        first = await http.post("/token", data=form)
        clock.now += 60 + LEEWAY - 1
        again = await http.post("/token", data=form)

    assert first.status_code == 200
    assert (again.status_code, again.json()) == (401, FAILED)


@pytest.mark.parametrize("path", ["/revoke", "/introspect"])
async def test_assertion_used_at_one_endpoint_is_used_at_all(path: str) -> None:
    """The endpoints have one memory of used assertions."""
    form = assertion_form(an_assertion()) | {"token": "x"}

    async with connect(an_issuer(a_signing_client())) as http:
        first = await http.post(path, data=form)
        again = await http.post("/token", data=form)

    assert (first.status_code, again.status_code) == (200, 401)


async def test_refused_assertion_is_not_used_up() -> None:
    """A forged assertion with the jti of a good one does not keep the good one out."""
    good = an_assertion({"jti": "one"})
    forged = an_assertion({"jti": "one"}, keys=OTHER_KEYS, headers={"kid": KEYS.current.kid})

    async with connect(an_issuer(a_signing_client())) as http:
        refused = await http.post("/token", data=assertion_form(forged))
        accepted = await http.post("/token", data=assertion_form(good))

    assert (refused.status_code, accepted.status_code) == (401, 200)


async def test_jti_is_each_clients_own() -> None:
    """Two clients may choose the same jti."""
    other = a_signing_client("other", keys=OTHER_KEYS)
    theirs = an_assertion({"iss": "other", "sub": "other", "jti": "one"}, keys=OTHER_KEYS)

    async with connect(an_issuer(a_signing_client(), other)) as http:
        first = await http.post("/token", data=assertion_form(an_assertion({"jti": "one"})))
        second = await http.post("/token", data=assertion_form(theirs))

    assert (first.status_code, second.status_code) == (200, 200)


async def test_registered_set_may_have_two_keys_while_they_rotate() -> None:
    """Both keys of a registration verify, told apart by their key IDs."""
    keys = SigningKeys("ES256")
    old = an_assertion(keys=keys)
    keys.rotate()
    client = a_signing_client(keys=keys)

    async with connect(an_issuer(client)) as http:
        statuses = [
            (await http.post("/token", data=assertion_form(assertion))).status_code
            for assertion in (old, an_assertion(keys=keys))
        ]

    assert statuses == [200, 200]


@pytest.mark.parametrize(
    ("method", "statuses"),
    [
        pytest.param("client_secret_basic", [200, 401], id="basic"),
        pytest.param("client_secret_post", [401, 200], id="post"),
    ],
)
async def test_client_of_one_method_may_use_no_other(method: str, statuses: list[int]) -> None:
    """A registered method is the only one, and the right secret does not help."""
    client = a_signing_client(jwks=None, client_secret=SECRET, auth_method=method)
    form = {"grant_type": "client_credentials"}

    by_header = await request_token(client, form=form, headers=basic("signer", SECRET))
    by_body = await request_token(client, form={**form, "client_id": "signer", "client_secret": SECRET})

    assert [by_header.status_code, by_body.status_code] == statuses


def test_memory_of_used_assertions_is_bounded_and_forgets_none() -> None:
    """A client with too many live assertions is put off, where forgetting would let one be used again."""
    clock = Clock()
    assertions = ClientAssertions({"signer": a_signing_client()}, audiences=(URL,), clock=clock)
    for number in range(CAPACITY):
        assertions._use(str(number), client_id="signer", until=NOW + 60)

    with pytest.raises(OAuthError, match="temporarily_unavailable") as caught:
        assertions.verify(an_assertion())
    clock.now += 60
    late = an_assertion({"exp": clock.now + 60})

    assert caught.value.status == 503
    assert assertions.verify(late).client_id == "signer"


def test_registered_keys_cannot_be_changed_afterwards() -> None:
    """What becomes of the mapping that was given does not become of the client."""
    document = KEYS.jwks()
    client = a_signing_client(jwks=document)

    document.clear()

    assert client.keys is not None
    assert client.keys.key_ids == {KEYS.current.kid}
