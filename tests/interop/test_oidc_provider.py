"""
What a certified provider really issues, and what the middleware makes of it.
"""

import pytest

from .api import ProtectedApi
from .expect import assert_challenged, fetches
from .provider import OidcProvider
from .watch import Heard

pytestmark = pytest.mark.interop

SIGNED = [pytest.param(name, id=name) for name in ("rs256", "ps256", "es256", "es384", "eddsa", "ed25519")]
REFUSED = [
    pytest.param("opaque", "malformed_token", id="opaque"),
    pytest.param("hs256", "algorithm_not_allowed", id="hs256"),
    pytest.param("hs256-public-key", "algorithm_not_allowed", id="hs256 keyed with the published RSA key"),
    pytest.param("jwe", "malformed_token", id="jwe around a jws"),
    pytest.param("jwe-direct", "malformed_token", id="jwe without a signature"),
    pytest.param("es512", "algorithm_not_allowed", id="algorithm outside the allow-list"),
    pytest.param("elsewhere", "audience_mismatch", id="audience of another resource"),
]
CALLERS = 16


@pytest.mark.parametrize("client_id", ["warehouse", "nightly-export"])
@pytest.mark.parametrize("resource_name", SIGNED)
def test_client_credentials_token_is_accepted(
    provider: OidcProvider, api: ProtectedApi, resource_name: str, client_id: str
) -> None:
    """
    A signed access token is accepted and the operator is the client that it was issued to.
    """
    token = provider.token(resource_name, client_id=client_id)

    response = api.get("/orders", token=token)

    assert response.status_code == 200
    assert response.json() == {
        "operator_id": f"{provider.issuer}#{client_id}",
        "client_id": client_id,
    }


@pytest.mark.parametrize(("resource_name", "code"), REFUSED)
def test_token_of_another_kind_is_refused_and_breaks_nothing(
    provider: OidcProvider, api: ProtectedApi, heard: Heard, resource_name: str, code: str
) -> None:
    """
    A token that the API cannot take is refused for what it is, and the next good one is accepted.
    """
    refused = api.get("/orders", token=provider.token(resource_name))
    accepted = api.get("/orders", token=provider.token("rs256"))

    assert_challenged(refused, status=401, error="invalid_token")
    assert heard.refusal_codes() == [code]
    assert accepted.status_code == 200


def test_request_without_token_is_challenged_without_error(api: ProtectedApi) -> None:
    """
    Who sends no credentials learns the scheme and no error code (RFC 6750 §3.1).
    """
    response = api.get("/orders")

    assert_challenged(response, status=401, error=None)


def test_public_route_needs_no_token(api: ProtectedApi) -> None:
    """
    A public route answers without credentials.
    """
    response = api.get("/healthz")

    assert response.status_code == 200


@pytest.mark.parametrize(
    "scope", [pytest.param("orders:write", id="another scope"), pytest.param("", id="no scope claim")]
)
def test_token_without_the_scope_is_forbidden(provider: OidcProvider, api: ProtectedApi, scope: str) -> None:
    """
    A good token without the required scope is refused with 403.
    """
    token = provider.token("rs256", scope=scope)

    response = api.get("/orders", token=token)

    assert_challenged(response, status=403, error="insufficient_scope")


def test_keys_that_are_not_for_verifying_are_skipped(provider: OidcProvider, api: ProtectedApi) -> None:
    """
    Encryption keys and unknown key types beside the signing keys do not spoil the set.
    """
    published = provider.key_set()
    keys = published.json()["keys"]

    response = api.get("/orders", token=provider.token("es256"))

    assert published.headers["Content-Type"].startswith("application/jwk-set+json")
    assert {key["kty"] for key in keys} == {"RSA", "EC", "OKP", "AKP"}
    assert {key["kty"] for key in keys if key["use"] == "enc"} == {"RSA", "OKP"}
    assert response.status_code == 200


def test_concurrent_first_callers_share_one_fetch(provider: OidcProvider, api: ProtectedApi) -> None:
    """
    Callers that arrive before the keys do cost one request for metadata and one for keys, together.
    """
    tokens = [provider.token("rs256") for _ in range(CALLERS)]
    before = provider.request_counts()

    responses = api.get_at_once("/orders", tokens=tokens)

    assert [response.status_code for response in responses] == [200] * CALLERS
    assert fetches(provider.request_counts() - before) == {
        "/.well-known/oauth-authorization-server": 1,
        "/jwks": 1,
    }


def test_refused_tokens_cost_the_issuer_nothing(provider: OidcProvider, api: ProtectedApi) -> None:
    """
    Tokens that could never hold are refused without another request to the issuer.
    """
    api.get("/orders", token=provider.token("rs256")).raise_for_status()
    tokens = [provider.token(str(row.values[0])) for row in REFUSED]
    before = provider.request_counts()

    responses = api.get_at_once("/orders", tokens=tokens)

    assert [response.status_code for response in responses] == [401] * len(tokens)
    assert fetches(provider.request_counts() - before) == {}
