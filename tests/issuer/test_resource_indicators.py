"""
Resource indicators (RFC 8707): one token for several protected resources, and for fewer of them later.
"""

import pytest

from guardrail.issuer._parameters import Parameters

from .builders import (
    BILLING,
    ORDERS,
    SECRET,
    SERVICE,
    WEB,
    an_issuer,
    answer_of,
    authorization_parameters,
    changed,
    code_parameters,
    connect,
    refresh_parameters,
    request_id_of,
    verified_claims,
)

pytestmark = pytest.mark.anyio

OTHER = "https://other.example.com"
GOOD = {"grant_type": "client_credentials", "client_id": "orders-service", "client_secret": SECRET}


@pytest.mark.parametrize(
    ("form", "audience"),
    [
        pytest.param({"resource": [ORDERS, BILLING]}, [ORDERS, BILLING], id="resources"),
        pytest.param({"resource": [BILLING, ORDERS]}, [BILLING, ORDERS], id="in the order asked"),
        pytest.param({"resource": [BILLING, BILLING]}, BILLING, id="one twice"),
        pytest.param({"audience": [ORDERS, BILLING]}, [ORDERS, BILLING], id="audiences"),
        pytest.param(
            {"audience": [BILLING, ORDERS], "resource": [ORDERS, BILLING]}, [ORDERS, BILLING], id="alike"
        ),
        pytest.param({"resource": ["", BILLING]}, BILLING, id="an empty one"),
    ],
)
async def test_repeated_resource_is_the_audience(form: dict[str, list[str]], audience: object) -> None:
    """Several resources make an array of audiences, one a string."""
    issuer = an_issuer(SERVICE)

    async with connect(issuer) as http:
        response = await http.post("/token", data={**GOOD, **form})

    assert (
        verified_claims(response.json()["access_token"], issuer=issuer, audience=BILLING)["aud"] == audience
    )


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"resource": [ORDERS, OTHER]}, id="one of them unknown"),
        pytest.param({"resource": [ORDERS, BILLING], "audience": [ORDERS]}, id="the two disagree"),
    ],
)
async def test_resource_that_differs_in_one_thing_is_refused(form: dict[str, list[str]]) -> None:
    """One resource that is not the client's, or not said both times, spoils the request."""
    async with connect(an_issuer(SERVICE)) as http:
        response = await http.post("/token", data={**GOOD, **form})

    assert (response.status_code, response.json()["error"]) == (400, "invalid_target")


async def test_other_parameter_must_not_be_repeated() -> None:
    """What RFC 8707 allows for the resource is allowed for nothing else."""
    async with connect(an_issuer(SERVICE)) as http:
        response = await http.post("/token", data={**GOOD, "scope": ["orders:read", "orders:read"]})

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


async def test_user_grants_several_resources_and_a_token_may_be_for_one() -> None:
    """Code and refresh give the whole grant, or a part of it; the next refresh gives the whole again."""
    issuer = an_issuer(WEB)
    query = {**authorization_parameters(), "resource": [ORDERS, BILLING]}

    async with connect(issuer) as http:
        page = (await http.get("/authorize", params=query)).text
        decision = {"request_id": request_id_of(page), "user": "alice", "decision": "allow"}
        code = answer_of(await http.post("/authorize", data=decision))["code"]
        first = (await http.post("/token", data=code_parameters(code, resource=BILLING))).json()
        second = (await http.post("/token", data=refresh_parameters(first["refresh_token"]))).json()
        third = await http.post("/token", data=refresh_parameters(second["refresh_token"], resource=OTHER))

    assert f"{ORDERS} {BILLING}" in page
    assert verified_claims(first["access_token"], issuer=issuer, audience=BILLING)["aud"] == BILLING
    assert verified_claims(second["access_token"], issuer=issuer)["aud"] == [ORDERS, BILLING]
    assert (third.status_code, third.json()["error"]) == (400, "invalid_target")


def test_representation_of_parameters_shows_their_names_alone() -> None:
    """Among the values are secrets."""
    parameters = Parameters(changed(GOOD).items())

    assert repr(parameters) == "Parameters(['grant_type', 'client_id', 'client_secret'])"
