"""
What the held-out operator tests share: a claims set of each provider, and whom the middleware makes of it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from held_out_kit import bearer, request, send_request
from starlette.types import Receive, Scope, Send

from guardrail import GuardrailMiddleware, Issuer, Operator, ServicePackage, current_operator
from guardrail.issuer import SigningKeys

NOW: Final = 1_800_000_000.0
KEYS: Final = SigningKeys("EdDSA")
AUDIENCE: Final = "https://api.example.com/stock"
TENANT: Final = "5f0c2d1e-aaaa-4bbb-8ccc-0123456789ab"
GONE: Final = object()  # a claim that is not there: null is one that is

Claims = Mapping[str, Any]

URLS: Final = {
    "default": "https://id.example.net",
    "rfc9068": "https://id.example.net/strict",
    "entra": f"https://login.microsoftonline.com/{TENANT}/v2.0",
    "keycloak": "https://sso.example.net/realms/warehouse",
    "okta": "https://example.okta.example/oauth2/aus9",
    "auth0": "https://example.auth0.example/",
    "cognito": "https://cognito-idp.eu-north-1.amazonaws.com/eu-north-1_AbC",
    "google_id_token": "https://accounts.google.com",
    "pega": "urn:pega.example.net",
}

CLAIMS: Final[Mapping[str, Claims]] = {
    "default": {
        "sub": "u-77",
        "client_id": "shop",
        "scope": "stock:read stock:count",
        "roles": ["clerk"],
        "groups": ["north"],
        "entitlements": ["export"],
        "preferred_username": "ada",
        "email": "ada@corp.example",
        "jti": "j-1",
        "iat": 1_799_999_990,
        "auth_time": 1_799_999_000,
        "acr": "silver",
        "amr": ["pwd", "otp"],
    },
    "rfc9068": {
        "sub": "u-78",
        "client_id": "shop",
        "scope": "stock:read",
        "roles": [{"value": "clerk", "display": "Clerk"}],
        "groups": ["north"],
        "entitlements": ["export"],
        "preferred_username": "ada",
        "email": "ada@corp.example",
        "jti": "j-2",
        "iat": 1_799_999_990,
    },
    "entra": {
        "oid": "oid-5",
        "sub": "pairwise-9",
        "azp": "app-guid",
        "appid": "other-guid",
        "scp": "Stock.Read",
        "roles": ["Stock.Approve"],
        "groups": ["g-1", "g-2"],
        "tid": TENANT,
        "preferred_username": "ada@corp.example",
        "upn": "not-this",
        "uti": "uti-1",
        "jti": "not-this",
        "email": "not-this@corp.example",
        "ver": "2.0",
    },
    "keycloak": {
        "sub": "kc-4",
        "azp": "stock-web",
        "typ": "Bearer",
        "scope": "openid stock:read",
        "resource_access": {AUDIENCE: {"roles": ["approver"]}, "account": {"roles": ["view-profile"]}},
        "realm_access": {"roles": ["employee"]},
        "groups": ["/north"],
        "preferred_username": "ada",
        "email": "ada@corp.example",
        "jti": "onrtac:1",
    },
    "okta": {
        "uid": "00u9",
        "cid": "0oa9",
        "sub": "ada@corp.example",
        "scp": ["openid", "stock:read"],
        "scope": "not-this",
        "groups": ["Approvers"],
        "jti": "AT.1",
    },
    "auth0": {
        "sub": "auth0|31",
        "azp": "WebClient1",
        "scope": "read:stock",
        "permissions": ["read:stock", "approve:stock"],
        "org_id": "org_9",
        "https://corp.example/roles": ["approver"],
    },
    "cognito": {
        "aud": GONE,
        "sub": "c-31",
        "client_id": "pool-client",
        "token_use": "access",
        "scope": "stock/read",
        "cognito:groups": ["approvers"],
        "username": "ada",
        "jti": "j-9",
        "version": 2,
    },
    "google_id_token": {
        "sub": "11223344",
        "azp": "99887766",
        "email": "ada@corp.example",
        "email_verified": True,
        "hd": "corp.example",
        "nonce": "n-1",
        "at_hash": "abc",
    },
    "pega": {
        "sub": "StockOperator",
        "aud": "urn:2042",
        "scope": ["app.alias.Stock", "email"],
        "operator_access": "Stock:Api",
        "app_name": "Stock",
        "jti": "p-1",
    },
}

# The operator of each, where it differs from NOBODY; the ID is the issuer and the subject.
NOTHING: Final[Mapping[str, Any]] = {
    "kind": "user",
    "client_id": None,
    "tenant": None,
    "username": None,
    "email": None,
    "scopes": frozenset(),
    "roles": frozenset(),
    "groups": frozenset(),
    "permissions": frozenset(),
    "groups_overage": False,
    "access_groups": (),
    "access_group": None,
    "actors": (),
}
OPERATORS: Final[Mapping[str, Mapping[str, Any]]] = {
    "default": {
        "subject": "u-77",
        "client_id": "shop",
        "username": "ada",
        "email": "ada@corp.example",
        "scopes": {"stock:read", "stock:count"},
        "roles": {"clerk"},
        "groups": {"north"},
        "permissions": {"export"},
        "token": ("j-1", 1_799_999_990, NOW + 600, 1_799_999_000, "silver", ("pwd", "otp")),
    },
    "rfc9068": {
        "subject": "u-78",
        "client_id": "shop",
        "scopes": {"stock:read"},
        "roles": {"clerk"},
        "groups": {"north"},
        "permissions": {"export"},
        "token": ("j-2", 1_799_999_990, NOW + 600, None, None, ()),
    },
    "entra": {
        "subject": "oid-5",
        "client_id": "app-guid",
        "tenant": TENANT,
        "username": "ada@corp.example",
        "scopes": {"Stock.Read"},
        "roles": {"Stock.Approve"},
        "groups": {"g-1", "g-2"},
        "token": ("uti-1", None, NOW + 600, None, None, ()),
    },
    "keycloak": {
        "subject": "kc-4",
        "client_id": "stock-web",
        "username": "ada",
        "email": "ada@corp.example",
        "scopes": {"openid", "stock:read"},
        "roles": {"approver"},
        "groups": {"/north"},
        "token": ("onrtac:1", None, NOW + 600, None, None, ()),
    },
    "okta": {
        "subject": "00u9",
        "client_id": "0oa9",
        "username": "ada@corp.example",
        "scopes": {"openid", "stock:read"},
        "groups": {"Approvers"},
        "token": ("AT.1", None, NOW + 600, None, None, ()),
    },
    "auth0": {
        "subject": "auth0|31",
        "client_id": "WebClient1",
        "tenant": "org_9",
        "scopes": {"read:stock"},
        "permissions": {"read:stock", "approve:stock"},
        "token": (None, None, NOW + 600, None, None, ()),
    },
    "cognito": {
        "subject": "c-31",
        "client_id": "pool-client",
        "username": "ada",
        "scopes": {"stock/read"},
        "groups": {"approvers"},
        "token": ("j-9", None, NOW + 600, None, None, ()),
    },
    "google_id_token": {
        "subject": "11223344",
        "client_id": "99887766",
        "email": "ada@corp.example",
        "tenant": "corp.example",
        "token": (None, None, NOW + 600, None, None, ()),
    },
    "pega": {
        "subject": "StockOperator",
        "client_id": "2042",
        "scopes": {"app.alias.Stock", "email"},
        "access_groups": ("Stock:Api",),
        "access_group": "Stock:Api",
        "token": ("p-1", None, NOW + 600, None, None, ()),
    },
}


def expected(profile: str, **changes: Any) -> dict[str, Any]:
    """
    The operator that a profile's own claims set makes, field by field, with *changes*.
    """
    fields = {**NOTHING, **OPERATORS[profile], "issuer": URLS[profile], **changes}
    return {"operator_id": f"{fields['issuer']}#{fields['subject']}", **fields}


def told(operator: Operator) -> dict[str, Any]:
    """
    What an operator says, in the form of `expected`.
    """
    token = operator.token
    assert token is not None
    facts = (
        token.token_id,
        token.issued_at,
        token.expires_at,
        token.auth_time,
        token.acr,
        token.amr,
    )
    names = [*NOTHING, "operator_id", "issuer", "subject"]
    return {**{name: getattr(operator, name) for name in names}, "token": facts}


def written(value: object) -> str:
    """
    How *value* was written, as the name of a test: without its place in memory, which is another each time.
    """
    return repr(value).split(" at 0x", maxsplit=1)[0]


def issuer(profile: str = "default", **settings: Any) -> Issuer:
    """
    An issuer with its keys in hand.
    """
    return Issuer(settings.pop("url", URLS[profile]), keys=KEYS.jwks(), profile=profile, **settings)


def package(profile: str = "default", *, audience: Any = AUDIENCE, **settings: Any) -> ServicePackage:
    """
    A package of one issuer.
    """
    return ServicePackage("stock", issuer=issuer(profile, **settings), audience=audience)


def claims_of(profile: str, changes: Claims | None = None) -> dict[str, Any]:
    """
    A profile's own claims set, with *changes*.
    """
    standard = {"iss": URLS[profile], "aud": AUDIENCE, "exp": NOW + 600}
    merged = {**standard, **CLAIMS[profile], **(changes or {})}
    return {name: value for name, value in merged.items() if value is not GONE}


def token(profile: str = "default", changes: Claims | None = None, **header: Any) -> str:
    """
    Those claims, signed.
    """
    typ = {"typ": "at+jwt"} if profile == "rfc9068" else {"typ": "JWT"}
    return KEYS.sign(claims_of(profile, changes), headers={**typ, **header})


@dataclass
class Served:
    """
    What a caller got: status, code, challenge and body; and for whom the application ran.
    """

    status: int
    code: str | None
    challenges: list[str]
    body: str
    operator: Operator | None


@dataclass
class Stand:
    """
    An application behind the guard, the operators that reached it, and what its listener heard.
    """

    requirement: Any
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    operators: list[Operator] = field(default_factory=list[Operator])
    events: list[Any] = field(default_factory=list[Any])

    def __post_init__(self) -> None:
        """
        Put the guard in front.
        """
        settings = {"prefixes": {"/stock": self.requirement}, "clock": lambda: NOW, **self.settings}
        self.guarded = GuardrailMiddleware(self._app, on_event=[self.events.append], **settings)

    async def ask(self, bearer_token: str, **more: Any) -> Served:
        """
        One request.
        """
        fields = bearer(bearer_token) if bearer_token else ()
        del self.events[:], self.operators[:]
        answer = await send_request(self.guarded, request("/stock", fields=fields, **more))
        codes = [event.code for event in self.events if getattr(event, "code", None)]
        operator = self.operators[-1] if self.operators else None
        code = codes[-1] if codes else None
        return Served(answer.status, code, answer.all("www-authenticate"), answer.body, operator)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.operators.append(current_operator())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def ask(requirement: Any, bearer_token: str, **settings: Any) -> Served:
    """
    One request to an application of its own.
    """
    return asyncio.run(Stand(requirement, settings).ask(bearer_token))
