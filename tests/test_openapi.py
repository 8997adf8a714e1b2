"""
What a document says of declarations: schemes, requirements, refusals. A document in, a document out.
"""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from openapi_spec_validator import validate

from guardrail import Issuer, ServicePackage, any_of
from guardrail._alternatives import requirements_of
from guardrail._discovery import Endpoints
from guardrail._openapi import Document, describe
from guardrail.errors import PolicyError
from guardrail.fastapi._flows import checked_flows, flows_of, require_known

ISSUER = "https://login.example.com"
PARTNER = "https://partner.example.org/tenant/a"
AUDIENCE = "https://api.example.com/orders"
DISCOVERY = "/.well-known/openid-configuration"
FLOWS = {
    "authorizationCode": {"authorizationUrl": f"{ISSUER}/authorize", "tokenUrl": f"{ISSUER}/token"},
    "clientCredentials": {"tokenUrl": f"{ISSUER}/token"},
}

ORDERS = ServicePackage(
    "orders",
    issuer=ISSUER,
    audience=AUDIENCE,
    scopes={"orders:read": "Read orders", "orders:write": "Change orders", "orders:audit": ""},
)
FEED = ServicePackage("feed", issuer=ISSUER, audience=AUDIENCE)


def document(
    *, version: str = "3.1.0", operation: Mapping[str, Any] | None = None, **members: Any
) -> Document:
    """
    A document with one operation, ``GET /orders``.
    """
    plain = {"operationId": "list_orders", "responses": {"200": {"description": "Orders"}}}
    return {
        "openapi": version,
        "info": {"title": "Orders", "version": "1"},
        "paths": {"/orders": {"get": plain | dict(operation or {})}},
        **members,
    }


def described(requirement: object, plain: Document | None = None, **settings: Any) -> Document:
    """
    That document, for an operation that requires this; valid, or the test fails.
    """
    operations = {("/orders", "get"): requirements_of(requirement)}
    found = describe(plain or document(), operations, **({"flows": {}} | settings))
    validate(found)
    return found


def security(found: Document) -> Any:
    """
    What the operation requires.
    """
    return found["paths"]["/orders"]["get"]["security"]


def schemes(found: Document) -> Any:
    """
    The security schemes.
    """
    return found["components"]["securitySchemes"]


# What an operation requires


def package(name: str = "orders", issuer: Any = ISSUER, **settings: Any) -> ServicePackage:
    """
    A package without a vocabulary.
    """
    return ServicePackage(name, issuer=issuer, audience=AUDIENCE, **settings)


BASED = package(required_scopes=["base"])
REQUIRED = [
    pytest.param(ORDERS.requires(), [{"orders": []}], id="any token"),
    pytest.param(ORDERS.requires("orders:read"), [{"orders": ["orders:read"]}], id="one scope"),
    pytest.param(
        ORDERS.requires("orders:write", "orders:read"),
        [{"orders": ["orders:write", "orders:read"]}],
        id="all scopes, in one object, in order",
    ),
    pytest.param(
        ORDERS.requires_any("orders:read", "orders:audit"),
        [{"orders": ["orders:read"]}, {"orders": ["orders:audit"]}],
        id="any scope, an object for each",
    ),
    pytest.param(BASED.requires("more"), [{"orders": ["base", "more"]}], id="the package's scopes too"),
    pytest.param(
        BASED.requires_any("a", "base"),
        [{"orders": ["base", "a"]}, {"orders": ["base"]}],
        id="the package's scopes in each alternative, once",
    ),
    pytest.param(
        any_of(ORDERS.requires("orders:read"), FEED.requires_any("x", "y")),
        [{"orders": ["orders:read"]}, {"feed": ["x"]}, {"feed": ["y"]}],
        id="either of two packages",
    ),
    pytest.param(
        any_of(ORDERS.requires("orders:read"), ORDERS.requires("orders:read", roles=["clerk"])),
        [{"orders": ["orders:read"]}],
        id="alternatives that differ outside of scopes, once",
    ),
    pytest.param(
        ORDERS.requires(roles=["clerk"], access_groups=["A"], acr_values=["mfa"], max_age=60.0),
        [{"orders": []}],
        id="nothing of roles, groups and step-up",
    ),
    pytest.param(
        package(issuer=[ISSUER, PARTNER]).requires_any("a", "b"),
        [
            {"orders-login.example.com": ["a"]},
            {"orders-partner.example.org-tenant-a": ["a"]},
            {"orders-login.example.com": ["b"]},
            {"orders-partner.example.org-tenant-a": ["b"]},
        ],
        id="either of two issuers",
    ),
]


@pytest.mark.parametrize(("requirement", "expected"), REQUIRED)
def test_an_operation_requires_what_it_declares(requirement: object, expected: object) -> None:
    """
    All scopes of an alternative are in one object; alternatives are objects of their own.
    """
    found = described(requirement)

    assert security(found) == expected
    assert sorted(schemes(found)) == sorted({name for one in security(found) for name in one})


def test_an_operation_that_declares_nothing_stays_as_it_is() -> None:
    """
    A public operation, and a document of public operations alone, are not touched.
    """
    plain = document()

    assert describe(plain, {("/orders", "get"): ()}, flows={}) == plain
    assert describe({"openapi": "3.1.0"}, {}, flows={}) == {"openapi": "3.1.0"}


def test_a_public_operation_beside_a_guarded_one_stays_as_it_is() -> None:
    """
    What one operation requires is not required of another on the same path.
    """
    plain = document()
    plain["paths"]["/orders"]["head"] = {"responses": {"200": {"description": "None"}}}

    found = described(ORDERS.requires(), plain)

    assert found["paths"]["/orders"]["head"] == plain["paths"]["/orders"]["head"]
    assert "security" not in found


@pytest.mark.parametrize(
    "operation", [pytest.param(("/orders", "post"), id="method"), pytest.param(("/order", "get"), id="path")]
)
def test_an_operation_that_the_document_lacks_is_passed_over(operation: tuple[str, str]) -> None:
    """
    What is left out of the document brings neither an operation into it nor a scheme.
    """
    plain = document()

    assert describe(plain, {operation: (ORDERS.requires(),)}, flows={}) == plain


def test_the_document_that_is_described_stays_as_it_is() -> None:
    """
    The original can be described again, and comes out alike.
    """
    plain = document(components={"responses": {"Gone": {"description": "Gone"}}})
    before = copy.deepcopy(plain)

    first, second = described(ORDERS.requires(), plain), described(ORDERS.requires(), plain)

    assert plain == before
    assert first == second


def test_a_described_document_is_the_callers_to_change() -> None:
    """
    What is done to one document does not show in the next.
    """
    first = described(ORDERS.requires())
    before = copy.deepcopy(first)

    first["components"]["responses"]["Forbidden"]["headers"]["WWW-Authenticate"]["description"] = "Ours"
    first["components"]["schemas"]["Problem"]["properties"]["error"]["enum"].append("ours")

    assert described(ORDERS.requires()) == before


# Its own security

KEY = {"type": "apiKey", "in": "header", "name": "X-Key"}
OWN = [
    pytest.param({"security": [{"key": []}]}, {}, [{"key": [], "orders": ["a"]}], id="operation's"),
    pytest.param({}, {"security": [{"key": []}]}, [{"key": [], "orders": ["a"]}], id="document's"),
    pytest.param({"security": []}, {"security": [{"key": []}]}, [{"orders": ["a"]}], id="operation's none"),
    pytest.param(
        {"security": [{"key": []}, {}]}, {}, [{"key": [], "orders": ["a"]}, {"orders": ["a"]}], id="optional"
    ),
]


@pytest.mark.parametrize(("operation", "members", "expected"), OWN)
def test_its_own_security_is_required_beside_ours(operation: Any, members: Any, expected: object) -> None:
    """
    An API key that a dependency asks for is needed as well as the token, not instead of it.
    """
    plain = document(operation=operation, components={"securitySchemes": {"key": KEY}}, **members)

    found = described(package().requires("a"), plain)

    assert security(found) == expected
    assert schemes(found)["key"] == KEY


# Security schemes


def test_an_issuer_is_described_by_its_discovery_document() -> None:
    """
    Without flows a scheme says where OpenID Connect discovery is, the issuer's path before it.
    """
    found = schemes(described(package(issuer=f"{PARTNER}/").requires()))

    assert found["orders"]["type"] == "openIdConnect"
    assert found["orders"]["openIdConnectUrl"] == PARTNER + DISCOVERY
    assert found["orders"]["description"] == f"An access token of {PARTNER}/."


def test_flows_are_used_with_the_scopes_of_the_package() -> None:
    """
    Each flow gets the vocabulary with its descriptions.
    """
    found = schemes(described(ORDERS.requires("orders:read"), flows={ISSUER: FLOWS}))["orders"]

    scopes = {"orders:read": "Read orders", "orders:write": "Change orders", "orders:audit": ""}
    assert found["type"] == "oauth2"
    assert found["flows"] == {name: {**urls, "scopes": scopes} for name, urls in FLOWS.items()}


def test_flows_of_a_package_without_vocabulary_have_the_scopes_that_are_required() -> None:
    """
    Where nobody lists scopes, those of all operations are offered; another package's are not.
    """
    plain = document()
    plain["paths"]["/orders"]["post"] = {"responses": {"200": {"description": "Placed"}}}
    operations = {
        ("/orders", "get"): (FEED.requires("a"), ORDERS.requires("orders:read")),
        ("/orders", "post"): (FEED.requires_any("b", "a"),),
    }

    found = describe(plain, operations, flows={ISSUER: FLOWS})

    validate(found)
    assert schemes(found)["feed"]["flows"]["clientCredentials"]["scopes"] == {"a": "", "b": ""}


def test_flows_are_one_issuers() -> None:
    """
    Of two issuers of a package the one with flows is described by them, the other by discovery.
    """
    found = schemes(described(package(issuer=[ISSUER, PARTNER]).requires(), flows={ISSUER: FLOWS}))

    assert {name: one["type"] for name, one in found.items()} == {
        "orders-login.example.com": "oauth2",
        "orders-partner.example.org-tenant-a": "openIdConnect",
    }


@pytest.mark.parametrize(
    ("version", "scopes"), [pytest.param("3.1.0", ["a"], id="3.1"), pytest.param("3.0.3", [], id="3.0")]
)
def test_an_issuer_that_is_no_url_is_a_bearer_token(version: str, scopes: list[str]) -> None:
    """
    A URN has no discovery document; its scheme can name scopes from OpenAPI 3.1 on.
    """
    nameless = Issuer("urn:example:issuer", jwks_uri="https://keys.example.com/")

    found = described(package(issuer=nameless).requires("a"), document(version=version))

    assert schemes(found)["orders"]["type"] == "http"
    assert security(found) == [{"orders": scopes}]


def test_two_issuers_that_are_no_urls_have_names_of_their_own() -> None:
    """
    A URN is in the name of its scheme, made fit for one.
    """
    issuers = [Issuer(f"urn:example:{one}", jwks_uri="https://keys.example.com/") for one in "ab"]

    found = schemes(described(package(issuer=issuers).requires()))

    assert list(found) == ["orders-urn-example-a", "orders-urn-example-b"]


NAMES = [
    pytest.param("orders", "orders", id="fit"),
    pytest.param("Orders_v1.2-beta", "Orders_v1.2-beta", id="all that is fit"),
    pytest.param("orders & returns", "orders-returns", id="spaces and signs"),
    pytest.param(" orders/", "orders", id="signs at the ends"),
    pytest.param("***", "bearer", id="nothing fit"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_a_scheme_is_named_after_its_package(name: str, expected: str) -> None:
    """
    The name is the package's, made fit for the key of a component.
    """
    assert list(schemes(described(package(name).requires()))) == [expected]


def test_names_are_never_shared() -> None:
    """
    Packages whose names come out alike, and a scheme that is there already, have schemes of their own.
    """
    plain = document(components={"securitySchemes": {"orders-v1": KEY}})
    first, second = package("orders v1"), package("orders/v1")

    found = described(any_of(first.requires("a"), second.requires("b")), plain)

    assert security(found) == [{"orders-v1-2": ["a"]}, {"orders-v1-3": ["b"]}]
    assert schemes(found)["orders-v1"] == KEY


def test_equal_packages_share_a_scheme() -> None:
    """
    Two values that say the same are one package.
    """
    found = described(any_of(package().requires("a"), package().requires("b")))

    assert list(schemes(found)) == ["orders"]


# Refusals


def test_a_guarded_operation_can_be_refused() -> None:
    """
    401, 403 and 503 are described as problem documents, with the fields that come with them.
    """
    found = described(ORDERS.requires())

    responses = found["paths"]["/orders"]["get"]["responses"]
    assert {status: one.get("$ref") for status, one in responses.items()} == {
        "200": None,
        "401": "#/components/responses/Unauthorized",
        "403": "#/components/responses/Forbidden",
        "503": "#/components/responses/ServiceUnavailable",
    }
    components = found["components"]["responses"]
    reference = {"schema": {"$ref": "#/components/schemas/Problem"}}
    assert all(one["content"] == {"application/problem+json": reference} for one in components.values())
    assert {name: list(one["headers"]) for name, one in components.items()} == {
        "Unauthorized": ["WWW-Authenticate"],
        "Forbidden": ["WWW-Authenticate"],
        "ServiceUnavailable": ["Retry-After"],
    }


OWN_RESPONSES = [
    pytest.param(["401"], ["403", "503"], id="401"),
    pytest.param(["403", "503"], ["401"], id="403 and 503"),
    pytest.param(["4XX"], ["503"], id="a range"),
    pytest.param(["default"], [], id="default"),
    pytest.param(["404"], ["401", "403", "503"], id="another status"),
]


@pytest.mark.parametrize(("own", "ours"), OWN_RESPONSES)
def test_its_own_responses_stay(own: list[str], ours: list[str]) -> None:
    """
    A status that the operation describes, by itself or in a range, is described by the operation alone.
    """
    responses = {status: {"description": "Its own"} for status in own}

    found = described(ORDERS.requires(), document(operation={"responses": responses}))

    after = found["paths"]["/orders"]["get"]["responses"]
    assert {status: after[status] for status in own} == responses
    assert sorted(after.keys() - {*own}) == ours


def test_an_operation_without_responses_gets_some() -> None:
    """
    What a document may leave out is put there.
    """
    plain = document()
    del plain["paths"]["/orders"]["get"]["responses"]

    found = described(ORDERS.requires(), plain)

    assert sorted(found["paths"]["/orders"]["get"]["responses"]) == ["401", "403", "503"]


def test_its_own_components_stay() -> None:
    """
    A schema or response of the same name is left alone, and ours are named otherwise.
    """
    own = {
        "schemas": {"Problem": {"type": "string"}},
        "responses": {"Forbidden": {"description": "Its own"}},
    }

    found = described(ORDERS.requires(), document(components=copy.deepcopy(own)))

    components = found["components"]
    assert components["schemas"]["Problem"] == own["schemas"]["Problem"]
    assert components["responses"]["Forbidden"] == own["responses"]["Forbidden"]
    responses = found["paths"]["/orders"]["get"]["responses"]
    assert responses["403"] == {"$ref": "#/components/responses/Forbidden-2"}
    content = components["responses"]["Forbidden-2"]["content"]["application/problem+json"]
    assert content == {"schema": {"$ref": "#/components/schemas/Problem-2"}}


def test_bodies_that_we_do_not_know_are_not_described() -> None:
    """
    With a hook that renders refusals, only status and fields are known.
    """
    found = described(ORDERS.requires(), has_own_bodies=True)

    assert "schemas" not in found["components"]
    assert not any("content" in one for one in found["components"]["responses"].values())


# The setting


def test_flows_are_taken_as_they_are_given() -> None:
    """
    Both flows, with and without a URL for refreshing; nothing for None.
    """
    refreshing = {"clientCredentials": {"tokenUrl": f"{ISSUER}/t", "refreshUrl": f"{ISSUER}/r"}}

    assert checked_flows({ISSUER: FLOWS, PARTNER: refreshing}) == {ISSUER: FLOWS, PARTNER: refreshing}
    assert checked_flows(None) == {}


def code_flow(**urls: object) -> dict[str, object]:
    """
    A setting with one flow whose URLs are these.
    """
    return {ISSUER: {"authorizationCode": urls}}


GOOD = f"{ISSUER}/token"
WRONG = [
    pytest.param([], "oauth_flows maps issuers to flows", id="no mapping"),
    pytest.param({ISSUER: {}}, "oauth_flows maps issuers to flows", id="no flow"),
    pytest.param({ISSUER: GOOD}, "oauth_flows maps issuers to flows", id="a URL for the flows"),
    pytest.param({ISSUER: {"password": {"tokenUrl": GOOD}}}, r"RFC 9700 §2\); .* 'password'", id="password"),
    pytest.param(
        {ISSUER: {"implicit": {"authorizationUrl": GOOD}}}, r"RFC 9700 §2\); .* 'implicit'", id="implicit"
    ),
    pytest.param({ISSUER: {"clientCredentials": GOOD}}, "clientCredentials has tokenUrl", id="no URLs"),
    pytest.param(code_flow(tokenUrl=GOOD), "authorizationCode has authorizationUrl", id="URL missing"),
    pytest.param(
        code_flow(tokenUrl=GOOD, authorizationUrl=GOOD, token_url=GOOD),
        "perhaps refreshUrl",
        id="URL unknown",
    ),
    pytest.param(
        code_flow(tokenUrl="token", authorizationUrl=GOOD), "tokenUrl must be an https URL", id="relative URL"
    ),
    pytest.param(
        code_flow(tokenUrl=GOOD, authorizationUrl="javascript:alert(1)"), "must be an https URL", id="script"
    ),
    pytest.param(
        code_flow(tokenUrl="http://login.example.com/token", authorizationUrl=GOOD), "plain http", id="http"
    ),
]


@pytest.mark.parametrize(("value", "message"), WRONG)
def test_wrong_flows_are_refused(value: object, message: str) -> None:
    """
    The message names the right form; what is given up by RFC 9700 is not advertised.
    """
    with pytest.raises(PolicyError, match=message):
        checked_flows(value)


def test_an_http_issuer_may_have_http_endpoints() -> None:
    """
    Who trusts an issuer over plain ``http`` may send clients there.
    """
    issuer = "http://login.internal"

    assert checked_flows({issuer: {"clientCredentials": {"tokenUrl": f"{issuer}/token"}}})


def test_flows_of_an_unknown_issuer_are_refused() -> None:
    """
    A misspelt issuer is named, with those that there are.
    """
    with pytest.raises(PolicyError, match=f"names {ISSUER}/, which no route trusts; known are {ISSUER}$"):
        require_known({f"{ISSUER}/": FLOWS}, [ORDERS, FEED])


def test_flows_are_known_where_a_package_trusts_the_issuer() -> None:
    """
    One package with the issuer is enough; where there is no package yet, nothing can be compared.
    """
    require_known({ISSUER: FLOWS}, [package(issuer=PARTNER), ORDERS])
    require_known({ISSUER: FLOWS}, [])


# Flows that an issuer's metadata makes possible

AUTHORIZE, TOKEN = f"{ISSUER}/authorize", f"{ISSUER}/token"
CODE_FLOW = {"authorizationUrl": AUTHORIZE, "tokenUrl": TOKEN}
LEARNED = [
    pytest.param(AUTHORIZE, TOKEN, {"authorization_code"}, {"authorizationCode": CODE_FLOW}, id="code"),
    pytest.param(
        AUTHORIZE,
        TOKEN,
        {"authorization_code", "refresh_token", "password", "implicit"},
        {"authorizationCode": CODE_FLOW | {"refreshUrl": TOKEN}},
        id="code and refreshing, never password or implicit",
    ),
    pytest.param(
        None, TOKEN, {"client_credentials"}, {"clientCredentials": {"tokenUrl": TOKEN}}, id="machine clients"
    ),
    pytest.param(
        AUTHORIZE,
        TOKEN,
        {"authorization_code", "client_credentials"},
        {"authorizationCode": CODE_FLOW, "clientCredentials": {"tokenUrl": TOKEN}},
        id="both",
    ),
    pytest.param(None, TOKEN, {"authorization_code"}, {}, id="code without an authorization endpoint"),
    pytest.param(AUTHORIZE, None, {"authorization_code"}, {}, id="no token endpoint"),
    pytest.param(AUTHORIZE, TOKEN, {"urn:other"}, {}, id="other grant types"),
]


@pytest.mark.parametrize(("authorization", "token", "grant_types", "expected"), LEARNED)
def test_flows_are_made_of_an_issuers_endpoints(
    authorization: str | None, token: str | None, grant_types: set[str], expected: object
) -> None:
    """
    A flow is there when the issuer has the endpoints and the grant type for it.
    """
    found = flows_of(Endpoints(authorization, token, frozenset(grant_types)))

    assert found == expected
    assert not found or checked_flows({ISSUER: found}) == {ISSUER: expected}
