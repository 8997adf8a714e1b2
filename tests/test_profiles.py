"""
What each provider really sends, through the whole middleware: the operator it becomes, and what refuses it.

The payloads have the shapes that the providers document. Each refusal differs from an accepted token in one
thing.
"""

import pickle
from typing import Any, Final

import pytest
from road_kit import ask

from guardrail import (
    ClientRegistration,
    GuardrailMiddleware,
    Issuer,
    Operator,
    ServicePackage,
    current_operator,
)
from guardrail._profiles import FIELDS, PROFILES, load_profile
from guardrail.errors import CODES, PolicyError
from guardrail.events import TokenRefused
from guardrail.issuer import SigningKeys

pytestmark = pytest.mark.anyio

ISSUED: Final = 1_768_467_600  # 2026-01-15 09:00:00 UTC
KEYS: Final = SigningKeys("EdDSA")
ABSENT: Final = object()
TENANT: Final = "7d1c2f60-0f3a-4f6e-9c55-3b1d2a9e4c10"
ENTRA_API: Final = "3c8e51d7-92ab-4f60-8e1d-5a7b90c2d4f6"
TIMES: Final = {"iat": ISSUED, "exp": ISSUED + 3600}

RFC9068: Final[dict[str, Any]] = {
    "iss": "https://as.example.com", "sub": "u-48213", "aud": "https://orders.example.com",
    "client_id": "orders-portal", "scope": "orders:read orders:write", "roles": ["approver"],
    "groups": ["emea"], "entitlements": ["export"], "auth_time": ISSUED - 600, "acr": "urn:example:mfa",
    "amr": ["pwd", "otp"], "jti": "at-7c1e5b90d2f84a36", **TIMES,
}  # fmt: skip
ENTRA: Final[dict[str, Any]] = {
    "aud": ENTRA_API, "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0", "nbf": ISSUED,
    "azp": "11f6a3d2-8c4b-4a0e-bb0f-0c8a7f1e5d21", "azpacr": "1", "name": "Robin Example",
    "oid": "9b2d6c1e-4f57-4f0a-8d3c-6a1f0e7b5c44", "preferred_username": "robin@acme.example",
    "rh": "1.opaque", "scp": "Orders.Read Orders.Write", "roles": ["Order.Approve"],
    "groups": ["2f3c1d90-7a61-4a3f-9a0c-5f0c6be1a001"], "sub": "mD2sVq8pairwise", "tid": TENANT,
    "uti": "Tq3ExampleUti9aB", "ver": "2.0", **TIMES,
}  # fmt: skip
ENTRA_V1: Final[dict[str, Any]] = {
    "aud": ENTRA_API, "iss": f"https://sts.windows.net/{TENANT}/", "appid": "11f6a3d2", "oid": "9b2d6c1e",
    "upn": "robin@acme.example", "unique_name": "other", "scp": "Orders.Read", "sub": "mD2sVq8pairwise",
    "tid": TENANT, "uti": "u1", "ver": "1.0", **TIMES,
}  # fmt: skip
ENTRA_APP: Final[dict[str, Any]] = {
    "aud": ENTRA_API, "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0", "nbf": ISSUED,
    "azp": "c0ffee00-1111-4222-8333-444455556666", "azpacr": "2", "idtyp": "app",
    "oid": "aaaa1111-2222-4333-8444-555566667777", "roles": ["Orders.Process.All"],
    "sub": "aaaa1111-2222-4333-8444-555566667777", "tid": TENANT, "uti": "Zk1", "ver": "2.0", **TIMES,
}  # fmt: skip
ENTRA_OVERAGE: Final[dict[str, Any]] = {
    "aud": ENTRA_API, "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0", "nbf": ISSUED,
    "azp": "11f6a3d2", "oid": "0f0f0f0f", "scp": "Orders.Read", "sub": "p41rw1se", "tid": TENANT,
    "_claim_names": {"groups": "src1"}, "uti": "u2", "ver": "2.0",
    "_claim_sources": {"src1": {"endpoint": "https://graph.example.invalid/v1.0/getMemberObjects"}}, **TIMES,
}  # fmt: skip
KEYCLOAK: Final[dict[str, Any]] = {
    "iss": "https://sso.acme.example/realms/acme", "auth_time": ISSUED - 10, "jti": "onrtac:5d92c1a8",
    "aud": ["orders.api", "account"], "sub": "84d0e2b6-3f19-4c57-a1e8-7b60c95d2f13", "typ": "Bearer",
    "azp": "orders-web", "sid": "b71f4e02", "acr": "1",
    "realm_access": {"roles": ["default-roles-acme", "employee"]},
    "resource_access": {"orders.api": {"roles": ["approver"]}, "account": {"roles": ["view-profile"]}},
    "scope": "profile orders:read", "email_verified": True, "preferred_username": "robin",
    "email": "robin@acme.example", **TIMES,
}  # fmt: skip
KEYCLOAK_SERVICE: Final[dict[str, Any]] = {
    "iss": "https://sso.acme.example/realms/acme", "jti": "trrtcc:e0a47b13", "aud": "orders.api",
    "sub": "19c6f8d4-7a02-4e3b-b5d1-60e8f93ac274", "typ": "Bearer", "azp": "billing-batch", "acr": "1",
    "realm_access": {"roles": ["default-roles-acme"]},
    "resource_access": {"orders.api": {"roles": ["reader"]}}, "scope": "orders:read",
    "clientHost": "192.0.2.10", "preferred_username": "service-account-billing-batch",
    "client_id": "billing-batch", **TIMES,
}  # fmt: skip
OKTA: Final[dict[str, Any]] = {
    "ver": 1, "jti": "AT.example-user-0001", "iss": "https://acme.okta.example/oauth2/aus1abcdEFGH2ijkl357",
    "aud": "api://orders", "cid": "0oa1hkqpt5xYzAbCd357", "uid": "00u1qwertYUIOPasdf357",
    "scp": ["openid", "orders:read"], "auth_time": ISSUED - 100, "sub": "robin@acme.example",
    "groups": ["Orders-Approvers"], **TIMES,
}  # fmt: skip
OKTA_SERVICE: Final[dict[str, Any]] = {
    "ver": 1, "jti": "AT.example-service-1", "iss": "https://acme.okta.example/oauth2/aus1abcdEFGH2ijkl357",
    "aud": "api://orders", "cid": "0oa9batchJobXyZ12357", "scp": ["orders:read"],
    "sub": "0oa9batchJobXyZ12357", **TIMES,
}  # fmt: skip
AUTH0: Final[dict[str, Any]] = {
    "iss": "https://acme.eu.auth0.example/", "sub": "auth0|70b1d2c3e4f5061728394a5b",
    "aud": ["https://orders.example.com", "https://acme.eu.auth0.example/userinfo"],
    "azp": "ExampleWebClient0000000000000001", "scope": "openid profile read:orders",
    "org_id": "org_ExampleAcme0001", "permissions": ["read:orders", "approve:orders"],
    "https://acme.example/roles": ["approver"], **TIMES,
}  # fmt: skip
AUTH0_MACHINE: Final[dict[str, Any]] = {
    "iss": "https://acme.eu.auth0.example/", "sub": "ExampleBatchClient00000000000002@clients",
    "aud": "https://orders.example.com", "azp": "ExampleBatchClient00000000000002", "scope": "read:orders",
    "gty": "client-credentials", "permissions": ["read:orders"], **TIMES,
}  # fmt: skip
COGNITO: Final[dict[str, Any]] = {
    "sub": "c5e7a913-2b40-4d68-97f1-8a0d3e6b5c24", "cognito:groups": ["approvers"],
    "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example01", "version": 2,
    "client_id": "1example23456789abcdefghij", "origin_jti": "0d5f4f3c", "event_id": "2b8f6d05",
    "token_use": "access", "scope": "openid orders-api/read", "auth_time": ISSUED - 10,
    "jti": "90d4c7e1-5a3f-4b82-86de-17fc0b92a45e", "username": "robin", **TIMES,
}  # fmt: skip
COGNITO_MACHINE: Final[dict[str, Any]] = {
    "sub": "2machine3456789abcdefghijk", "token_use": "access", "scope": "orders-api/read",
    "auth_time": ISSUED, "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example01",
    "version": 2, "jti": "3ea158d2", "client_id": "2machine3456789abcdefghijk", **TIMES,
}  # fmt: skip
GOOGLE: Final[dict[str, Any]] = {
    "iss": "https://accounts.google.com", "aud": "https://orders.example.com",
    "azp": "112233445566778899001", "sub": "112233445566778899001",
    "email": "billing-batch@acme-prod.iam.gserviceaccount.com", "email_verified": True, **TIMES,
}  # fmt: skip
GOOGLE_USER: Final[dict[str, Any]] = GOOGLE | {
    "sub": "998877", "email": "robin@acme.example", "hd": "acme.example", "nonce": "n", "at_hash": "h",
}  # fmt: skip
PEGA: Final[dict[str, Any]] = {
    "sub": "ApiServiceOperator", "app_version": "01.01.12", "iss": "urn:pega.acme.example",
    "psync_id": "8c1f47d0a2be4935b6e07d51c3f8a924", "operator_access": "Orders:Api",
    "aud": "urn:20260115000000000042", "app_name": "Orders", "nbf": ISSUED - 1100,
    "scope": ["app.alias.Orders", "email"], "exp": ISSUED + 900, "iat": ISSUED, "jti": "0b7e5d19c4a24f83",
}  # fmt: skip
DELEGATED: Final[dict[str, Any]] = {
    "iss": "https://as.example.com", "sub": "u-48213", "aud": "https://orders.example.com",
    "client_id": "agent-gateway", "scope": "orders:read", "jti": "x-1",
    "act": {"iss": "https://as.example.com", "sub": "agent-gateway", "act": {"sub": "helpdesk-bot"}}, **TIMES,
}  # fmt: skip

# Of each profile: a token, the API's audience, and the typ that the provider writes into its headers.
USUAL: Final[dict[str, tuple[dict[str, Any], str, object]]] = {
    "default": (RFC9068, "https://orders.example.com", ABSENT),
    "rfc9068": (RFC9068, "https://orders.example.com", "at+jwt"),
    "entra": (ENTRA, ENTRA_API, "JWT"),
    "keycloak": (KEYCLOAK, "orders.api", "JWT"),
    "okta": (OKTA, "api://orders", ABSENT),
    "auth0": (AUTH0, "https://orders.example.com", "JWT"),
    "cognito": (COGNITO, "orders-api", ABSENT),
    "google_id_token": (GOOGLE_USER, "https://orders.example.com", "JWT"),
    "pega": (PEGA, "orders", "JWT"),
}
# Whose tokens name no API: the clients that may call.
REGISTERED: Final = {
    "cognito": (
        ClientRegistration("1example23456789abcdefghij"),
        ClientRegistration("2machine3456789abcdefghijk"),
    ),
    "pega": (ClientRegistration("20260115000000000042"),),
}


class Api:
    """
    A guarded API for the tokens of one issuer.
    """

    def __init__(
        self,
        profile: str,
        *,
        url: str | None = None,
        audience: object = None,
        needs: object = None,
        **settings: Any,
    ) -> None:
        usual, usual_audience, typ = USUAL[profile]
        self.typ = typ
        self.operators: list[Operator] = []
        self.codes: list[str] = []
        settings.setdefault("clients", REGISTERED.get(profile, ()))
        issuer = Issuer(url or usual["iss"], keys=KEYS.jwks(), profile=profile, **settings)
        package = ServicePackage("orders", issuer=issuer, audience=audience or usual_audience)  # type: ignore[arg-type]
        requirement = package.requires(**(needs if isinstance(needs, dict) else {}))
        self.app = GuardrailMiddleware(
            self._serve,
            prefixes={"/": requirement},
            clock=lambda: ISSUED + 60.0,
            on_event=[self._hear],
            resource_metadata=False,
        )

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        self.operators.append(current_operator())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def _hear(self, event: object) -> None:
        if isinstance(event, TokenRefused):
            self.codes.append(event.code)

    async def ask(self, claims: dict[str, Any], **changes: Any) -> int:
        """
        The status for a token with *claims*, some of them changed or absent.
        """
        present = {name: one for name, one in (claims | changes).items() if one is not ABSENT}
        header = {"typ": None if self.typ is ABSENT else self.typ}
        answer = await ask(self.app, "/", token=KEYS.sign(present, headers=header))
        if answer.status_code == 401:
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        if answer.status_code == 403 and self.codes[-1] != "insufficient_scope":
            assert "error" not in answer.headers["www-authenticate"]
        return answer.status_code

    async def operator(self, claims: dict[str, Any], **changes: Any) -> Operator:
        """
        The operator that a token becomes.
        """
        assert await self.ask(claims, **changes) == 200, self.codes
        return self.operators[-1]

    async def refusal(self, claims: dict[str, Any], **changes: Any) -> tuple[int, str]:
        """
        Status and code of a token that is refused, and reaches nobody.
        """
        status = await self.ask(claims, **changes)
        assert not self.operators
        return status, self.codes[-1]


@pytest.mark.parametrize(
    ("profile", "claims", "expected"),
    [
        pytest.param(
            "rfc9068",
            RFC9068,
            {
                "kind": "user",
                "subject": "u-48213",
                "client_id": "orders-portal",
                "scopes": {"orders:read", "orders:write"},
                "roles": {"approver"},
                "groups": {"emea"},
                "permissions": {"export"},
                "token_id": "at-7c1e5b90d2f84a36",
                "acr": "urn:example:mfa",
                "amr": ("pwd", "otp"),
                "auth_time": ISSUED - 600,
                "issued_at": ISSUED,
                "expires_at": ISSUED + 3600,
            },
            id="RFC 9068",
        ),
        pytest.param(
            "entra",
            ENTRA,
            {
                "kind": "user",
                "subject": ENTRA["oid"],
                "client_id": ENTRA["azp"],
                "tenant": TENANT,
                "scopes": {"Orders.Read", "Orders.Write"},
                "roles": {"Order.Approve"},
                "groups": {"2f3c1d90-7a61-4a3f-9a0c-5f0c6be1a001"},
                "username": "robin@acme.example",
                "token_id": "Tq3ExampleUti9aB",
                "email": None,
                "groups_overage": False,
            },
            id="Entra, user",
        ),
        pytest.param(
            "entra",
            ENTRA_V1,
            {
                "kind": "user",
                "subject": "9b2d6c1e",
                "client_id": "11f6a3d2",
                "tenant": TENANT,
                "username": "robin@acme.example",
                "scopes": {"Orders.Read"},
                "token_id": "u1",
            },
            id="Entra v1, user",
        ),
        pytest.param(
            "entra",
            ENTRA_APP,
            {
                "kind": "service",
                "subject": ENTRA_APP["oid"],
                "client_id": ENTRA_APP["azp"],
                "scopes": set(),
                "roles": {"Orders.Process.All"},
                "token_id": "Zk1",
            },
            id="Entra, application",
        ),
        pytest.param(
            "entra",
            ENTRA_OVERAGE,
            {"kind": "user", "groups": set(), "groups_overage": True, "subject": "0f0f0f0f"},
            id="Entra, overage",
        ),
        pytest.param(
            "keycloak",
            KEYCLOAK,
            {
                "kind": "user",
                "subject": KEYCLOAK["sub"],
                "client_id": "orders-web",
                "roles": {"approver"},
                "scopes": {"profile", "orders:read"},
                "groups": set(),
                "username": "robin",
                "email": "robin@acme.example",
                "token_id": "onrtac:5d92c1a8",
                "tenant": None,
            },
            id="Keycloak, user",
        ),
        pytest.param(
            "keycloak",
            KEYCLOAK_SERVICE,
            {
                "kind": "service",
                "subject": KEYCLOAK_SERVICE["sub"],
                "client_id": "billing-batch",
                "roles": {"reader"},
                "scopes": {"orders:read"},
                "email": None,
            },
            id="Keycloak, service account",
        ),
        pytest.param(
            "okta",
            OKTA,
            {
                "kind": "user",
                "subject": "00u1qwertYUIOPasdf357",
                "client_id": "0oa1hkqpt5xYzAbCd357",
                "scopes": {"openid", "orders:read"},
                "groups": {"Orders-Approvers"},
                "username": "robin@acme.example",
                "token_id": "AT.example-user-0001",
            },
            id="Okta, user",
        ),
        pytest.param(
            "okta",
            OKTA_SERVICE,
            {
                "kind": "service",
                "subject": "0oa9batchJobXyZ12357",
                "client_id": "0oa9batchJobXyZ12357",
                "scopes": {"orders:read"},
                "groups": set(),
            },
            id="Okta, service",
        ),
        pytest.param(
            "auth0",
            AUTH0,
            {
                "kind": "user",
                "subject": "auth0|70b1d2c3e4f5061728394a5b",
                "client_id": "ExampleWebClient0000000000000001",
                "tenant": "org_ExampleAcme0001",
                "scopes": {"openid", "profile", "read:orders"},
                "roles": set(),
                "token_id": None,
                "permissions": {"read:orders", "approve:orders"},
            },
            id="Auth0, user",
        ),
        pytest.param(
            "auth0",
            AUTH0_MACHINE,
            {"kind": "service", "client_id": "ExampleBatchClient00000000000002", "tenant": None},
            id="Auth0, machine",
        ),
        pytest.param(
            "cognito",
            COGNITO,
            {
                "kind": "user",
                "subject": COGNITO["sub"],
                "client_id": "1example23456789abcdefghij",
                "scopes": {"openid", "orders-api/read"},
                "groups": {"approvers"},
                "username": "robin",
            },
            id="Cognito, user",
        ),
        pytest.param(
            "cognito",
            COGNITO_MACHINE,
            {"kind": "service", "subject": "2machine3456789abcdefghijk", "scopes": {"orders-api/read"}},
            id="Cognito, machine",
        ),
        pytest.param(
            "google_id_token",
            GOOGLE,
            {
                "kind": "service",
                "subject": "112233445566778899001",
                "scopes": set(),
                "client_id": "112233445566778899001",
                "email": GOOGLE["email"],
                "tenant": None,
            },
            id="Google, service account",
        ),
        pytest.param(
            "google_id_token",
            GOOGLE_USER,
            {"kind": "user", "subject": "998877", "tenant": "acme.example", "email": "robin@acme.example"},
            id="Google, user",
        ),
        pytest.param(
            "pega",
            PEGA,
            {
                "kind": "user",
                "subject": "ApiServiceOperator",
                "client_id": "20260115000000000042",
                "scopes": {"app.alias.Orders", "email"},
                "access_groups": ("Orders:Api",),
                "access_group": "Orders:Api",
                "token_id": "0b7e5d19c4a24f83",
            },
            id="Pega; its registration alone tells a service",
        ),
        pytest.param(
            "default",
            DELEGATED,
            {"kind": "user", "client_id": "agent-gateway", "is_delegated": True, "subject": "u-48213"},
            id="delegation",
        ),
    ],
)
async def test_a_providers_token_becomes_its_operator(
    profile: str, claims: dict[str, Any], expected: dict[str, object]
) -> None:
    """
    Every sample payload, user and machine, is the operator that the provider's profile says.
    """
    operator = await Api(profile, url=claims["iss"]).operator(claims)

    facts = {"token_id", "issued_at", "expires_at", "acr", "amr", "auth_time"}
    found = {one: getattr(operator.token if one in facts else operator, one) for one in expected}
    assert found == expected
    assert operator.operator_id == f"{claims['iss']}#{operator.subject}"
    assert set(operator.claims) == set(claims)


@pytest.mark.parametrize(("profile", "claims"), [("cognito", COGNITO), ("pega", PEGA)], ids=str)
async def test_a_client_that_pins_must_be_registered(profile: str, claims: dict[str, Any]) -> None:
    """
    Where no audience holds tokens to this API, clients do: each is registered, or is refused in any case.
    """
    others = Api(profile, clients=[ClientRegistration("another")], unregistered_clients="allow")

    with pytest.raises(PolicyError, match=r"clients=\[ClientRegistration"):
        Api(profile, clients=[])
    assert await others.refusal(claims) == (403, "client_not_allowed")
    assert (await Api(profile).operator(claims)).client_id == REGISTERED[profile][0].client_id


@pytest.mark.parametrize(
    ("registered", "kind", "operator_id"),
    [
        pytest.param({"operator_id": "svc-orders"}, "service", "svc-orders", id="as an operator of its own"),
        pytest.param({}, "user", f"{PEGA['iss']}#ApiServiceOperator", id="as nobody in particular"),
    ],
)
async def test_a_registration_alone_tells_a_pega_service(
    registered: dict[str, Any], kind: str, operator_id: str
) -> None:
    """
    Its tokens do not say who is a machine; the operator ID of the client's registration does.
    """
    client = ClientRegistration("20260115000000000042", access_groups=["Orders:Batch"], **registered)

    operator = await Api("pega", clients=[client]).operator(PEGA)

    held = ("Orders:Batch",) if kind == "service" else ("Orders:Api",)
    assert (operator.kind, operator.operator_id, operator.access_groups) == (kind, operator_id, held)


async def test_a_chain_of_actors_is_read() -> None:
    """
    The current actor comes first, and who acted before it follows.
    """
    operator = await Api("default").operator(DELEGATED)

    assert [(one.subject, one.issuer) for one in operator.actors] == [
        ("agent-gateway", "https://as.example.com"),
        ("helpdesk-bot", None),
    ]


@pytest.mark.parametrize(
    ("profile", "claims", "changes", "kind"),
    [
        pytest.param("entra", ENTRA, {"scp": ABSENT}, "service", id="Entra: neither idtyp nor scp"),
        pytest.param("entra", ENTRA, {"scp": ""}, "user", id="Entra: scp is there, and empty"),
        pytest.param("entra", ENTRA, {"scp": ABSENT, "idtyp": "user"}, "user", id="Entra: idtyp user"),
        pytest.param("entra", ENTRA, {"idtyp": "app"}, "service", id="Entra: idtyp app beside scp"),
        pytest.param("entra", ENTRA, {"idtyp": "App"}, "user", id="Entra: another case"),
        pytest.param("entra", ENTRA_APP, {"idtyp": ABSENT}, "service", id="Entra: app without idtyp"),
        pytest.param(
            "keycloak", KEYCLOAK_SERVICE, {"preferred_username": ABSENT}, "user", id="Keycloak: no name"
        ),
        pytest.param(
            "keycloak",
            KEYCLOAK,
            {"preferred_username": "my-service-account-x"},
            "user",
            id="Keycloak: inside",
        ),
        pytest.param(
            "keycloak",
            KEYCLOAK,
            {"preferred_username": "service-accountant"},
            "user",
            id="Keycloak: a person",
        ),
        pytest.param("okta", OKTA, {"uid": ABSENT}, "service", id="Okta: no uid"),
        pytest.param("auth0", AUTH0_MACHINE, {"gty": ABSENT}, "service", id="Auth0: @clients"),
        pytest.param("auth0", AUTH0, {"gty": "client-credentials"}, "service", id="Auth0: gty"),
        pytest.param("auth0", AUTH0, {"gty": "password"}, "user", id="Auth0: another gty"),
        pytest.param("auth0", AUTH0, {"sub": "a@clients.example"}, "user", id="Auth0: @clients inside"),
        pytest.param(
            "cognito", COGNITO, {"sub": COGNITO["client_id"]}, "service", id="Cognito: sub is the client"
        ),
        pytest.param("google_id_token", GOOGLE, {"email": ABSENT}, "user", id="Google: no email"),
        pytest.param(
            "google_id_token", GOOGLE, {"email": "a@gserviceaccount.com"}, "user", id="Google: no dot"
        ),
        pytest.param(
            "rfc9068", RFC9068, {"sub": "orders-portal"}, "service", id="RFC 9068: sub is the client"
        ),
        pytest.param(
            "default", RFC9068, {"client_id": ABSENT, "azp": "u-48213"}, "service", id="default: azp"
        ),
        pytest.param("pega", PEGA, {"sub": "20260115000000000042"}, "user", id="Pega: sub says nothing"),
    ],
)
async def test_kind_is_what_the_provider_says(
    profile: str, claims: dict[str, Any], changes: dict[str, Any], kind: str
) -> None:
    """
    Each provider has its own tell-tale of a machine, and another one's means nothing.
    """
    operator = await Api(profile).operator(claims, **changes)

    assert operator.kind == kind


@pytest.mark.parametrize(
    ("profile", "claims", "changes", "code"),
    [
        *(
            pytest.param(
                profile, USUAL[profile][0], {claim: ABSENT}, "claim_missing", id=f"{profile}: no {claim}"
            )
            for profile, claim in [
                ("default", "sub"),
                ("rfc9068", "sub"),
                ("rfc9068", "client_id"),
                ("entra", "oid"),
                ("entra", "azp"),
                ("entra", "tid"),
                ("keycloak", "sub"),
                ("keycloak", "azp"),
                ("okta", "cid"),
                ("auth0", "sub"),
                ("auth0", "azp"),
                ("cognito", "sub"),
                ("cognito", "client_id"),
                ("cognito", "token_use"),
                ("google_id_token", "sub"),
                ("google_id_token", "aud"),
                ("pega", "sub"),
                ("pega", "aud"),
                ("keycloak", "aud"),
                ("entra", "aud"),
            ]
        ),
        *(
            pytest.param("pega", PEGA, {"aud": aud}, "claims_malformed", id=f"pega: aud {aud!r}")
            for aud in (
                ["urn:1", "urn:2"],
                ["urn:1"],
                [],
                "https://orders.example.com",
                "urn:",
                "20260115",
                "orders",
                "",
                None,
                1,
                {"urn:1": 1},
                " urn:1",
                "URN:1",
            )
        ),
        pytest.param(
            "entra", ENTRA, {"tid": "f" + TENANT[1:]}, "tenant_mismatch", id="Entra: another tenant"
        ),
        pytest.param("entra", ENTRA, {"tid": TENANT.upper()}, "tenant_mismatch", id="Entra: another case"),
        pytest.param("entra", ENTRA, {"tid": ""}, "tenant_mismatch", id="Entra: empty tenant"),
        pytest.param("entra", ENTRA, {"tid": [TENANT]}, "claims_malformed", id="Entra: tenants"),
        pytest.param("entra", ENTRA, {"tid": None}, "claims_malformed", id="Entra: tenant null"),
        pytest.param("entra", ENTRA, {"idtyp": None}, "claims_malformed", id="Entra: idtyp null"),
        pytest.param("entra", ENTRA, {"idtyp": ["app"]}, "claims_malformed", id="Entra: idtyp an array"),
        pytest.param("entra", ENTRA, {"nonce": "n"}, "other_token_kind", id="Entra: ID token"),
        pytest.param("keycloak", KEYCLOAK, {"typ": "ID"}, "other_token_kind", id="Keycloak: ID token"),
        pytest.param(
            "keycloak", KEYCLOAK, {"typ": "Refresh"}, "other_token_kind", id="Keycloak: refresh token"
        ),
        pytest.param(
            "keycloak", KEYCLOAK, {"typ": "Offline"}, "other_token_kind", id="Keycloak: offline token"
        ),
        pytest.param(
            "keycloak", KEYCLOAK, {"aud": "account"}, "audience_mismatch", id="Keycloak: account alone"
        ),
        pytest.param(
            "keycloak",
            KEYCLOAK,
            {"resource_access": {"orders.api": {"roles": {"approver": True}}}},
            "claims_malformed",
            id="Keycloak: roles an object",
        ),
        pytest.param(
            "keycloak",
            KEYCLOAK,
            {"resource_access": {"orders.api": {"roles": None}}},
            "claims_malformed",
            id="Keycloak: roles null",
        ),
        pytest.param("okta", OKTA, {"uid": None}, "claims_malformed", id="Okta: uid null"),
        pytest.param(
            "okta", OKTA, {"scp": ["orders:read", 1]}, "claims_malformed", id="Okta: scopes with a number"
        ),
        pytest.param("okta", OKTA, {"sub": 1}, "claims_malformed", id="Okta: user name a number"),
        pytest.param("auth0", AUTH0, {"gty": 1}, "claims_malformed", id="Auth0: gty a number"),
        pytest.param(
            "auth0", AUTH0, {"permissions": {"read": 1}}, "claims_malformed", id="Auth0: permissions"
        ),
        pytest.param("cognito", COGNITO, {"token_use": "id"}, "other_token_kind", id="Cognito: ID token"),
        pytest.param(
            "cognito", COGNITO, {"aud": "other-api"}, "audience_mismatch", id="Cognito: another aud"
        ),
        pytest.param("cognito", COGNITO, {"aud": None}, "claims_malformed", id="Cognito: aud null"),
        pytest.param("google_id_token", GOOGLE, {"c_hash": "h"}, "other_token_kind", id="Google: c_hash"),
        pytest.param(
            "google_id_token", GOOGLE, {"aud": "other"}, "audience_mismatch", id="Google: another aud"
        ),
        pytest.param(
            "google_id_token", GOOGLE, {"email": 1}, "claims_malformed", id="Google: email a number"
        ),
        pytest.param(
            "pega", PEGA, {"operator_access": 1}, "claims_malformed", id="Pega: access group a number"
        ),
        pytest.param(
            "default", RFC9068, {"nonce": "n"}, "other_token_kind", id="default: an ID token's nonce"
        ),
    ],
)
async def test_one_wrong_thing_refuses_a_providers_token(
    profile: str, claims: dict[str, Any], changes: dict[str, Any], code: str
) -> None:
    """
    A token that differs from an accepted one in one claim is refused with 401, and the code says why.
    """
    refusal = await Api(profile).refusal(claims, **changes)

    assert refusal == (401, code)
    assert code in CODES


@pytest.mark.parametrize("profile", PROFILES)
async def test_unknown_claims_are_ignored(profile: str) -> None:
    """
    What a provider adds tomorrow refuses nothing and grants nothing.
    """
    claims = USUAL[profile][0]
    api = Api(profile)

    plain, more = await api.operator(claims), await api.operator(claims, future={"x": [1, None]}, admin=True)

    assert [getattr(plain, one) for one in FIELDS[:-1]] == [getattr(more, one) for one in FIELDS[:-1]]


@pytest.mark.parametrize(
    ("profile", "typ", "status"),
    [
        *(pytest.param(one, "JWT", 200, id=f"{one}: JWT") for one in PROFILES if one != "rfc9068"),
        *(pytest.param(one, ABSENT, 200, id=f"{one}: absent") for one in PROFILES if one != "rfc9068"),
        *(pytest.param(one, "at+jwt", 200, id=f"{one}: at+jwt") for one in PROFILES),
        *(pytest.param(one, "logout+jwt", 401, id=f"{one}: logout+jwt") for one in PROFILES),
        pytest.param("rfc9068", "JWT", 401, id="rfc9068: JWT"),
        pytest.param("rfc9068", ABSENT, 401, id="rfc9068: absent"),
        pytest.param("okta", "okta-internal-at+jwt", 401, id="okta: of the org authorization server"),
    ],
)
async def test_types_of_access_tokens_are_accepted(profile: str, typ: object, status: int) -> None:
    """
    The types that providers write are accepted, and only *at+jwt* by RFC 9068 to the letter.
    """
    api = Api(profile)
    api.typ = typ

    assert await api.ask(USUAL[profile][0]) == status


async def test_a_cognito_token_may_name_the_package() -> None:
    """
    A Cognito token needs no audience, and one that it has must be the package's.
    """
    api = Api("cognito")

    assert await api.ask(COGNITO, aud="orders-api") == 200
    assert await api.ask(COGNITO, aud=["other", "orders-api"]) == 200
    assert await api.ask(COGNITO, aud=[]) == 401


@pytest.mark.parametrize("profile", sorted({*PROFILES} - {"cognito", "pega"}))
async def test_other_profiles_need_an_audience(profile: str) -> None:
    """
    Only where registered clients stand in for it may a token come without an audience.
    """
    assert await Api(profile).refusal(USUAL[profile][0], aud=ABSENT) == (401, "claim_missing")


@pytest.mark.parametrize(
    ("audience", "aud", "roles"),
    [
        pytest.param("orders.api", ["orders.api", "account"], {"approver"}, id="the package's alone"),
        pytest.param(
            ["orders.api", "billing"], ["billing", "orders.api"], {"approver", "payer"}, id="united"
        ),
        pytest.param(["orders.api", "billing"], "billing", {"payer"}, id="the one that the token names"),
        pytest.param(["orders.api", "empty"], "empty", set(), id="one without roles"),
        pytest.param(
            ["orders.api", "empty"], ["orders.api", "empty"], {"approver"}, id="one of them without"
        ),
        pytest.param("realm.roles", "realm.roles", set(), id="a dotted name is no path"),
    ],
)
async def test_keycloak_roles_are_those_of_the_named_audiences(
    audience: object, aud: object, roles: set[str]
) -> None:
    """
    Roles are read under the package's audiences that the token names, united, and under no other client.
    """
    access = {"orders.api": {"roles": ["approver"]}, "billing": {"roles": ["payer"]}, "empty": {}}

    operator = await Api("keycloak", audience=audience).operator(
        KEYCLOAK, aud=aud, resource_access={**access, "realm": {"roles": {"roles": ["x"]}}}
    )

    assert operator.roles == roles


@pytest.mark.parametrize("value", ["orders.api", ["orders.api"], None, 1, {}, {"orders.api": []}], ids=repr)
async def test_keycloak_token_without_its_roles_has_none(value: object) -> None:
    """
    What is no object has no roles inside.
    """
    operator = await Api("keycloak").operator(KEYCLOAK, resource_access=value)

    assert operator.roles == set()


async def test_an_overridden_field_is_read_elsewhere_through_the_middleware() -> None:
    """
    A mapping of single fields decides like the profile's own.
    """
    roles = {"roles": "https://acme.example/roles"}
    plain = Api("auth0", needs={"roles": ["approver"]})
    mapped = Api("auth0", needs={"roles": ["approver"]}, mapping=roles)

    assert (await mapped.operator(AUTH0)).roles == {"approver"}
    assert await plain.refusal(AUTH0) == (403, "role_missing")


async def test_pega_client_can_be_read_elsewhere() -> None:
    """
    A mapped client ID is read as it is, and *aud* must be the client all the same.
    """
    clients = [ClientRegistration(PEGA["psync_id"])]
    api = Api("pega", mapping={"client_id": "psync_id"}, clients=clients)

    assert (await api.operator(PEGA)).client_id == PEGA["psync_id"]
    assert await api.ask(PEGA, aud="orders") == 401


async def test_entra_tenant_is_compared_though_another_is_mapped() -> None:
    """
    The tenant of the token is its own claim's, wherever the operator's tenant is read.
    """
    api = Api("entra", mapping={"tenant": "org"})

    assert (await api.operator(ENTRA, org="acme")).tenant == "acme"
    assert await api.ask(ENTRA, org=TENANT, tid="other") == 401
    assert await api.ask(ENTRA, org=TENANT, tid=ABSENT) == 401


@pytest.mark.parametrize(
    ("mapping", "needs", "changes", "answer"),
    [
        pytest.param({"access_groups": "groups"}, {}, {}, (200, None), id="nothing required"),
        pytest.param(
            {"access_groups": "groups"},
            {"access_groups": ["G"]},
            {},
            (403, "groups_overage"),
            id="access group",
        ),
        pytest.param({"roles": "groups"}, {"roles": ["r"]}, {}, (403, "groups_overage"), id="role"),
        pytest.param(None, {"roles": ["r"]}, {}, (403, "role_missing"), id="a role from another claim"),
        pytest.param(None, {"roles": ["r"]}, {"roles": ["r"]}, (200, None), id="a role that is there"),
        pytest.param(
            None, {"access_groups": ["G"]}, {}, (403, "access_group_missing"), id="access groups from nowhere"
        ),
        pytest.param(
            {"access_groups": "groups"},
            {"access_groups": ["G"]},
            {"_claim_names": ABSENT, "groups": ["H"]},
            (403, "access_group_missing"),
            id="no overage",
        ),
        pytest.param(
            {"access_groups": "groups"},
            {"access_groups": ["G"]},
            {"_claim_names": ABSENT, "hasgroups": True},
            (403, "groups_overage"),
            id="hasgroups",
        ),
    ],
)
async def test_groups_that_were_left_out_are_unknown(
    mapping: Any, needs: Any, changes: dict[str, Any], answer: tuple[int, str | None]
) -> None:
    """
    A route that requires what was to be read from groups that were left out refuses, with a code of its own.
    """
    api = Api("entra", mapping=mapping, needs=needs)

    status = await api.ask(ENTRA_OVERAGE, **changes)

    assert (status, api.codes[-1] if api.codes else None) == answer


async def test_scopes_from_left_out_groups_are_unknown_too() -> None:
    """
    Even scopes, if somebody reads them from the groups, are not taken for lacking.
    """
    issuer = Issuer(
        ENTRA["iss"], keys=KEYS.jwks(), profile="entra", mapping={"scopes": [["groups"], ["nowhere"]]}
    )
    package = ServicePackage("orders", issuer=issuer, audience=ENTRA_API)
    api = Api("entra")
    api.app = GuardrailMiddleware(
        api._serve,
        prefixes={"/": package.requires("orders:read")},
        clock=lambda: ISSUED + 60.0,
        on_event=[api._hear],
    )

    assert await api.refusal(ENTRA_OVERAGE) == (403, "groups_overage")
    assert await api.refusal(ENTRA_OVERAGE, _claim_names=ABSENT) == (403, "insufficient_scope")


async def test_tokens_of_two_issuers_are_two_operators() -> None:
    """
    The same subject, or the same e-mail address, of two issuers is two operators.
    """
    one = await Api("keycloak").operator(KEYCLOAK)
    url = "https://sso.other.example/realms/acme"
    other = await Api("keycloak", url=url).operator(KEYCLOAK, iss=url)

    assert (one.subject, one.email) == (other.subject, other.email)
    assert one.operator_id != other.operator_id


@pytest.mark.parametrize(
    "url",
    [
        "https://login.microsoftonline.com",
        "https://login.microsoftonline.com/",
        "https://login.microsoftonline.com//v2.0",
        "https://login.microsoftonline.com/common/v2.0",
        "https://login.microsoftonline.com/organizations/v2.0",
        "https://login.microsoftonline.com/consumers/v2.0",
        "urn:entra.example",
    ],
)
async def test_an_entra_issuer_without_a_tenant_is_refused_where_it_is_written(url: str) -> None:
    """
    No token could ever be of the tenant that such a URL names, so that nobody finds out at night.
    """
    with pytest.raises(PolicyError, match=r"one tenant's issuer, such as .*<tenant ID>"):
        Issuer(url, keys=KEYS.jwks(), profile="entra")


async def test_account_is_no_audience_of_a_keycloak_api() -> None:
    """
    Nearly every token of a realm names *account*: a package that took it would take them all.
    """
    keycloak = Issuer(KEYCLOAK["iss"], keys=KEYS.jwks(), profile="keycloak")
    plain = Issuer(KEYCLOAK["iss"], keys=KEYS.jwks())

    with pytest.raises(PolicyError, match="keycloak puts the audience 'account'"):
        ServicePackage("orders", issuer=[plain.url + "2", keycloak], audience=["orders.api", "account"])
    assert ServicePackage("orders", issuer=plain, audience="account").audiences == {"account"}


async def test_unknown_profile_names_the_nine() -> None:
    """
    A misspelt profile is refused, and the message has them all.
    """
    with pytest.raises(PolicyError) as caught:
        Issuer("https://login.example.com", profile="azure")

    assert all(profile in str(caught.value) for profile in PROFILES)
    assert len(PROFILES) == 9


@pytest.mark.parametrize("profile", PROFILES)
async def test_data_files_say_what_is_understood(profile: str) -> None:
    """
    Each profile reads its subject, knows the fields it requires, and says who is a service.
    """
    loaded = load_profile(profile)

    assert loaded.name == profile
    assert "subject" in loaded.required <= set(loaded.fields) <= set(FIELDS)
    assert loaded.service_when
    assert loaded.pins_client == (profile in {"cognito", "pega"})
    assert loaded.is_kind_registered == (profile == "pega")
    assert loaded is load_profile(profile)


async def test_mapped_issuer_is_a_value() -> None:
    """
    Issuers with the same mapping, in whichever form, are equal, as copies are; nobody changes the mapping.
    """
    mapping: dict[str, Any] = {"roles": ["realm_access", "roles"], "groups": "g"}
    issuer = Issuer("https://login.example.com", mapping=mapping)
    same = Issuer(
        "https://login.example.com", mapping={"groups": [["g"]], "roles": [("realm_access", "roles")]}
    )

    mapping["roles"].append("x")
    mapping["tenant"] = "t"

    assert (issuer, hash(issuer)) == (same, hash(same))
    assert issuer.mapping == {"roles": (("realm_access", "roles"),), "groups": (("g",),)}
    assert issuer not in {
        Issuer("https://login.example.com"),
        Issuer("https://login.example.com", mapping={}),
    }
    assert Issuer("https://login.example.com") == Issuer("https://login.example.com", mapping={})
    assert pickle.loads(pickle.dumps(issuer)) == issuer  # noqa: S301 - our own bytes
    assert pickle.loads(pickle.dumps(Issuer("https://a.example"))) == Issuer("https://a.example")  # noqa: S301
    with pytest.raises(TypeError):
        issuer.mapping["roles"] = "x"  # type: ignore[index]  # that is what is tested


THE_FORMS = "a member name .* path of member names .* list of such paths"
NO_PATHS: list[Any] = [
    None, 1, True, "", b"r", [], [[]], [""], ["a", ""], [["a"], []], [["a"], "b"], ["a", ["b"]], [[["a"]]],
    [None], [["a", None]], {"a": "b"}, {"a"}, [["a"], [""]], [1],
]  # fmt: skip


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        pytest.param({"role": "r"}, "did you mean 'roles'", id="misspelt"),
        pytest.param({"kind": "r"}, "the fields are subject, client_id", id="no such field"),
        pytest.param({5: "r"}, "no field 5", id="a number for a field"),
        pytest.param("roles", "must map fields to claims", id="a string"),
        pytest.param([("roles", "r")], "must map fields to claims", id="pairs"),
        *(pytest.param({"roles": value}, THE_FORMS, id=repr(value)) for value in NO_PATHS),
    ],
)
async def test_mappings_of_another_form_are_refused(mapping: Any, message: str) -> None:
    """
    A mapping that nobody could follow is refused where it is written, with the right form.
    """
    with pytest.raises(PolicyError, match=message):
        Issuer("https://login.example.com", mapping=mapping)
