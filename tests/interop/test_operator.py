"""
Which operators a certified provider's tokens become, when they say more than the standard asks for.

The same provider, persons and machines; `claims.mjs` holds what tokens say of them, by resource.
"""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from guardrail import Actor, Issuer, Operator, TokenFacts
from guardrail._frozen import freeze

from .conftest import ServeMirror
from .expect import assert_challenged
from .mirror import Mirror, unverified_claims
from .provider import OidcProvider

pytestmark = pytest.mark.interop

OWN_NAMES: dict[str, Any] = {
    "access_groups": "https://acme.example/access_group",
    "email": ["person", "mail"],
    "groups": "memberships",
    "roles": ["resource_access", "https://api.example.com/own-names", "roles"],
    "scopes": [["scp"], ["scope"]],
    "tenant": ["person", "company"],
    "username": [["person", "display"], ["person", "login"]],
}
PROFILES = [pytest.param(name, id=name) for name in ("default", "rfc9068")]
HELPDESK = Actor("helpdesk", issuer="https://login.example.com", client_id="desk-app")


def person_token(
    provider: OidcProvider, login: str, resource_name: str, *, scope: str = "orders:read"
) -> str:
    """
    Obtain the access token of a person who signed in.
    """
    return provider.user_tokens(login, resource_name, scope=f"openid {scope}")["access_token"]


def expected_operator(token: str, **fields: Any) -> Operator:
    """
    Expect *fields*, what the token says of itself, and nothing else.
    """
    claims = unverified_claims(token)
    facts = TokenFacts(
        token_id=claims["jti"],
        issued_at=claims["iat"],
        expires_at=claims["exp"],
        auth_time=claims.get("auth_time"),
        acr=claims.get("acr"),
        amr=tuple(claims.get("amr", ())),
    )
    fields = {"scopes": frozenset({"orders:read"}), **fields}
    return Operator(token=facts, claims=freeze(claims), issuer=claims["iss"], **fields)


def mirror_for(
    provider: OidcProvider,
    mirror_of: ServeMirror,
    resource_name: str,
    *,
    profile: str = "default",
    mapping: Mapping[str, Any] | None = None,
) -> Mirror:
    """
    Serve a mirror for one resource.
    """
    issuer = Issuer(provider.issuer, profile=profile, mapping=mapping)
    return mirror_of(issuer, audience=[provider.resource(resource_name)])


@pytest.mark.parametrize("profile", PROFILES)
def test_person_of_standard_claims(provider: OidcProvider, mirror_of: ServeMirror, profile: str) -> None:
    """
    Claims of RFC 9068 need no mapping: roles, groups, entitlements, and how and when the person signed in.
    """
    mirror = mirror_of(Issuer(provider.issuer, profile=profile), audience=[provider.resource("standard")])
    before = int(time.time())
    token = person_token(provider, "maria", "standard")

    operator = mirror.operator(token)

    assert operator == expected_operator(
        token,
        operator_id=f"{provider.issuer}#maria",
        kind="user",
        subject="maria",
        client_id="storefront",
        roles=frozenset({"planner"}),
        groups=frozenset({"orders-emea"}),
        permissions=frozenset({"orders.approve"}),
    )
    assert operator.token.auth_time is not None
    assert before <= operator.token.auth_time <= time.time()
    assert (operator.token.acr, operator.token.amr) == ("urn:acme:two-factors", ("pwd", "otp"))


@pytest.mark.parametrize("profile", PROFILES)
def test_machine_of_standard_claims(provider: OidcProvider, mirror_of: ServeMirror, profile: str) -> None:
    """
    A machine may have roles and entitlements too, one of them alone in a string, and never signed in.
    """
    mirror = mirror_of(Issuer(provider.issuer, profile=profile), audience=[provider.resource("standard")])
    token = provider.token("standard")

    operator = mirror.operator(token)

    assert operator == expected_operator(
        token,
        operator_id=f"{provider.issuer}#warehouse",
        kind="service",
        subject="warehouse",
        client_id="warehouse",
        roles=frozenset({"exporter"}),
        permissions=frozenset({"orders.export"}),
    )
    assert operator.token.auth_time is None


@pytest.mark.parametrize(
    ("profile", "code"),
    [
        pytest.param("default", "other_token_kind", id="default: by its claims"),
        pytest.param("rfc9068", "token_type_mismatch", id="rfc9068: by its type"),
    ],
)
def test_id_token_is_no_access_token(
    provider: OidcProvider, mirror_of: ServeMirror, profile: str, code: str
) -> None:
    """
    The ID token of the same sign-in is refused, also where its audience would do.
    """
    audience = ["storefront", provider.resource("standard")]
    mirror = mirror_of(Issuer(provider.issuer, profile=profile), audience=audience)
    tokens = provider.user_tokens("maria", "standard")

    refused = mirror.get(tokens["id_token"])
    accepted = mirror.get(tokens["access_token"])

    assert_challenged(refused, status=401, error="invalid_token")
    assert mirror.heard.refusal_codes() == [code]
    assert accepted.status_code == 204


@pytest.mark.parametrize("profile", PROFILES)
def test_person_of_mapped_claims(provider: OidcProvider, mirror_of: ServeMirror, profile: str) -> None:
    """
    A mapping finds nested claims, names with dots and slashes in them, and SCIM's objects with a value.
    """
    mirror = mirror_for(provider, mirror_of, "own-names", profile=profile, mapping=OWN_NAMES)
    token = person_token(provider, "maria", "own-names")

    operator = mirror.operator(token)

    assert operator == expected_operator(
        token,
        operator_id=f"{provider.issuer}#maria",
        kind="user",
        subject="maria",
        client_id="storefront",
        tenant="acme",
        username="maria",
        email="maria@acme.example",
        roles=frozenset({"planner", "buyer"}),
        groups=frozenset({"orders-emea", "everyone"}),
        access_groups=("Orders:Agent", "Orders:Viewer"),
        access_group="Orders:Agent",
    )


def test_person_of_whom_less_is_said(provider: OidcProvider, mirror_of: ServeMirror) -> None:
    """
    Roles at another resource are none here; missing lists are empty, and a lone string is a list of one.
    """
    mirror = mirror_for(provider, mirror_of, "own-names", mapping=OWN_NAMES)
    token = person_token(provider, "paul", "own-names")

    operator = mirror.operator(token)

    assert operator == expected_operator(
        token,
        operator_id=f"{provider.issuer}#paul",
        kind="user",
        subject="paul",
        client_id="storefront",
        username="paul",
        access_groups=("Orders:Viewer",),
        access_group="Orders:Viewer",
    )


def test_machine_of_mapped_claims(provider: OidcProvider, mirror_of: ServeMirror) -> None:
    """
    The same mapping reads a machine's token, which is still a machine's.
    """
    mirror = mirror_for(provider, mirror_of, "own-names", mapping=OWN_NAMES)
    token = provider.token("own-names")

    operator = mirror.operator(token)

    assert operator == expected_operator(
        token,
        operator_id=f"{provider.issuer}#warehouse",
        kind="service",
        subject="warehouse",
        client_id="warehouse",
        access_groups=("Orders:Service",),
        access_group="Orders:Service",
    )


def test_mapped_scopes_replace_the_profiles(provider: OidcProvider, mirror_of: ServeMirror) -> None:
    """
    Scopes are read where the mapping says and only there: what another claim grants opens nothing.
    """
    mapped = mirror_for(provider, mirror_of, "own-names", mapping={"scopes": "scp"})
    unmapped = mirror_for(provider, mirror_of, "own-names")
    token = person_token(provider, "maria", "own-names", scope="orders:write")
    elsewhere = mirror_for(provider, mirror_of, "standard", mapping={"scopes": "scp"})

    operator = mapped.operator(token)
    refused = [unmapped.get(token), elsewhere.get(provider.token("standard"))]

    assert operator.scopes == {"orders:read"}
    for response in refused:
        assert_challenged(response, status=403, error="insufficient_scope")


@pytest.mark.parametrize("profile", PROFILES)
def test_who_acts_for_a_person(provider: OidcProvider, mirror_of: ServeMirror, profile: str) -> None:
    """
    A delegated token is the person's, and tells who acts for them, the current one first (RFC 8693 §4.1).
    """
    mirror = mirror_of(Issuer(provider.issuer, profile=profile), audience=[provider.resource("delegated")])
    token = person_token(provider, "maria", "delegated")

    operator = mirror.operator(token)

    assert operator == expected_operator(
        token,
        operator_id=f"{provider.issuer}#maria",
        kind="user",
        subject="maria",
        client_id="storefront",
        actors=(HELPDESK, Actor("gateway")),
    )
    assert operator.is_delegated


def test_longest_chain_of_actors(provider: OidcProvider, mirror_of: ServeMirror) -> None:
    """
    Four who act one for the other are as many as are taken.
    """
    mirror = mirror_of(Issuer(provider.issuer), audience=[provider.resource("delegated")])

    operator = mirror.operator(person_token(provider, "four-actors", "delegated"))

    assert operator.actors == (HELPDESK, Actor("b"), Actor("c"), Actor("d"))


@pytest.mark.parametrize(
    "login",
    [
        pytest.param("five-actors", id="one too many"),
        pytest.param("actor-without-sub", id="nobody"),
        pytest.param("actor-by-name", id="a name"),
    ],
)
def test_actors_that_cannot_be_read_refuse_the_token(
    provider: OidcProvider, mirror_of: ServeMirror, login: str
) -> None:
    """
    A token is refused when it cannot be told who acts.
    """
    mirror = mirror_of(Issuer(provider.issuer), audience=[provider.resource("delegated")])

    response = mirror.get(person_token(provider, login, "delegated"))

    assert_challenged(response, status=401, error="invalid_token")
    assert mirror.heard.refusal_codes() == ["claims_malformed"]


@pytest.mark.parametrize(
    "login",
    [
        "roles-in-an-object",
        "access-group-null",
        "group-without-value",
        "scope-among-numbers",
        "empty-login",
    ],
)
def test_mapped_claim_of_another_shape_refuses_the_token(
    provider: OidcProvider, mirror_of: ServeMirror, login: str
) -> None:
    """
    A mapped claim that cannot be read refuses the token; unmapped it is anybody's.
    """
    mapped = mirror_for(provider, mirror_of, "own-names", mapping=OWN_NAMES)
    unmapped = mirror_for(provider, mirror_of, "own-names", mapping={"scopes": "scope"})
    token = person_token(provider, login, "own-names")

    refused = mapped.get(token)
    accepted = unmapped.get(token)

    assert_challenged(refused, status=401, error="invalid_token")
    assert mapped.heard.refusal_codes() == ["claims_malformed"]
    assert accepted.status_code == 204


def test_required_mapped_claim_must_be_there(provider: OidcProvider, mirror_of: ServeMirror) -> None:
    """
    Whoever the mapping cannot find a subject for is nobody, and is refused.
    """
    mirror = mirror_for(provider, mirror_of, "own-names", mapping={"subject": ["person", "mail"]})

    maria = mirror.operator(person_token(provider, "maria", "own-names"))
    paul = mirror.get(person_token(provider, "paul", "own-names"))

    assert maria.operator_id == f"{provider.issuer}#maria@acme.example"
    assert_challenged(paul, status=401, error="invalid_token")
    assert mirror.heard.refusal_codes() == ["claim_missing"]


PERSONS = [
    pytest.param(
        "keycloak",
        {
            "username": "maria.k",
            "email": "maria@acme.example",
            "roles": frozenset({"planner", "buyer"}),
            "groups": frozenset({"/emea"}),
        },
        id="keycloak",
    ),
    pytest.param(
        "auth0",
        {"tenant": "org_acme", "permissions": frozenset({"approve:orders", "read:orders"})},
        id="auth0",
    ),
    pytest.param(
        "okta",
        {
            "subject": "00u1maria",
            "username": "maria",
            "groups": frozenset({"Buyers"}),
            "scopes": frozenset({"openid", "orders:read"}),
        },
        id="okta",
    ),
]
MACHINES = [
    pytest.param(
        "keycloak",
        {"username": "service-account-warehouse", "roles": frozenset({"planner", "buyer"})},
        id="keycloak",
    ),
    pytest.param("auth0", {"permissions": frozenset({"read:orders"})}, id="auth0"),
    pytest.param("okta", {"username": "warehouse"}, id="okta"),
]


@pytest.mark.parametrize(("profile", "fields"), PERSONS)
def test_person_of_another_providers_claims(
    provider: OidcProvider, mirror_of: ServeMirror, profile: str, fields: dict[str, Any]
) -> None:
    """
    A token in the shape of another provider's is read by the profile of that name.
    """
    mirror = mirror_for(provider, mirror_of, f"{profile}-shaped", profile=profile)
    token = person_token(provider, "maria", f"{profile}-shaped")

    operator = mirror.operator(token)

    expected = {"subject": "maria", "client_id": "storefront", "kind": "user", **fields}
    operator_id = f"{provider.issuer}#{expected['subject']}"
    assert operator == expected_operator(token, operator_id=operator_id, **expected)


@pytest.mark.parametrize(("profile", "fields"), MACHINES)
def test_machine_of_another_providers_claims(
    provider: OidcProvider, mirror_of: ServeMirror, profile: str, fields: dict[str, Any]
) -> None:
    """
    A machine's has the mark of a machine that its provider gives it.
    """
    mirror = mirror_for(provider, mirror_of, f"{profile}-shaped", profile=profile)
    token = provider.token(f"{profile}-shaped")

    operator = mirror.operator(token)

    expected = {"subject": "warehouse", "client_id": "warehouse", "kind": "service", **fields}
    operator_id = f"{provider.issuer}#warehouse"
    assert operator == expected_operator(token, operator_id=operator_id, **expected)


@pytest.mark.parametrize(
    ("profile", "login", "code"),
    [
        pytest.param("keycloak", "an-id-token", "other_token_kind", id="keycloak"),
        pytest.param("auth0", "permissions-in-an-object", "claims_malformed", id="auth0"),
        pytest.param("okta", "no-client", "claim_missing", id="okta"),
    ],
)
def test_token_that_its_profile_refuses(
    provider: OidcProvider, mirror_of: ServeMirror, profile: str, login: str, code: str
) -> None:
    """
    One claim of another value, and that provider's profile refuses the token.
    """
    mirror = mirror_for(provider, mirror_of, f"{profile}-shaped", profile=profile)

    response = mirror.get(person_token(provider, login, f"{profile}-shaped"))

    assert_challenged(response, status=401, error="invalid_token")
    assert mirror.heard.refusal_codes() == [code]
