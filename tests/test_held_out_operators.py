"""
Held out: what each provider's tokens make of the operator.

Written from the contract before the code was read.

Each row changes one thing in a provider's claims set and says the whole operator, or status and code.
"""

from typing import Any, Final

import pytest
from operator_kit import AUDIENCE, CLAIMS, GONE, TENANT, URLS, ask, expected, package, token, told

from guardrail import ClientRegistration

NONE: Final = frozenset[str]()
MALFORMED: Final = (401, "claims_malformed")
MISSING: Final = (401, "claim_missing")
OTHER_KIND: Final = (401, "other_token_kind")
NOT_ALLOWED: Final = (403, "client_not_allowed")

KNOWN: Final = {
    "cognito": ["pool-client", "c-31", "0"],
    "pega": ["2042", "urn:2042", " "],
}


def stock(profile: str, **settings: Any) -> Any:
    """
    Any valid token of the profile; the clients are registered where they have to be.
    """
    if profile in KNOWN and "clients" not in settings:
        settings["clients"] = [ClientRegistration(client) for client in KNOWN[profile]]
    return package(profile, **settings).requires()


def check(served: Any, expectation: Any, profile: str) -> None:
    """
    Compare with whole operators, or with status and code.
    """
    if isinstance(expectation, tuple):
        assert (served.status, served.code) == expectation
        assert served.operator is None
        return
    assert (served.status, served.code) == (200, None)
    assert told(served.operator) == expected(profile, **expectation)


def row(id_: str, profile: str, changes: dict[str, Any], expectation: Any) -> Any:
    return pytest.param(profile, changes, expectation, id=f"{profile}-{id_}")


@pytest.mark.parametrize(
    ("profile", "changes", "expectation"),
    [
        row("as sent", "default", {}, {}),
        row("other names", "default", {"client_id": GONE, "azp": "web"}, {"client_id": "web"}),
        row("first name wins", "default", {"azp": "web"}, {}),
        row("null is present", "default", {"client_id": None, "azp": "web"}, MALFORMED),
        row("no client", "default", {"client_id": GONE}, {"client_id": None}),
        row("empty client", "default", {"client_id": "", "azp": "web"}, MALFORMED),
        row("number as client", "default", {"client_id": 7}, MALFORMED),
        row("unread name malformed", "default", {"azp": 7}, {}),
        row("itself", "default", {"sub": "shop"}, {"subject": "shop", "kind": "service"}),
        row("almost itself", "default", {"sub": "Shop"}, {"subject": "Shop"}),
        row("no subject", "default", {"sub": GONE}, MISSING),
        row("empty subject", "default", {"sub": ""}, MALFORMED),
        row("number as subject", "default", {"sub": 77}, MALFORMED),
        row("null subject", "default", {"sub": None}, MALFORMED),
        row("unicode", "default", {"sub": "ådå→1"}, {"subject": "ådå→1"}),
        row("hash in subject", "default", {"sub": "a#b"}, {"subject": "a#b"}),
        row("no token id", "default", {"jti": GONE}, {"token": (None, *expected("default")["token"][1:])}),
        row("number as token id", "default", {"jti": 1}, MALFORMED),
        row("no tenant here", "default", {"tid": "t", "hd": "h", "org_id": "o"}, {}),
        row("extra claims", "default", {"access_groups": ["x"], "operator_id": "root", "kind": "user"}, {}),
        row("null roles", "default", {"roles": None}, MALFORMED),
        row("null name", "default", {"preferred_username": None}, MALFORMED),
        row("array as e-mail", "default", {"email": ["ada@corp.example"]}, MALFORMED),
        row(
            "overage by names",
            "default",
            {"groups": GONE, "_claim_names": {"groups": "s"}},
            {"groups": NONE, "groups_overage": True},
        ),
        row(
            "overage by flag",
            "default",
            {"groups": GONE, "hasgroups": True},
            {"groups": NONE, "groups_overage": True},
        ),
        row("other claims left out", "default", {"_claim_names": {"roles": "s"}}, {}),
        row("as sent", "rfc9068", {}, {}),
        row("azp is no client", "rfc9068", {"client_id": GONE, "azp": "web"}, MISSING),
        row("scp is no scope", "rfc9068", {"scope": GONE, "scp": ["stock:read"]}, {"scopes": NONE}),
        row("itself", "rfc9068", {"sub": "shop"}, {"subject": "shop", "kind": "service"}),
        row("no subject", "rfc9068", {"sub": GONE}, MISSING),
        row("as sent", "entra", {}, {}),
        row(
            "version 1",
            "entra",
            {"azp": GONE, "preferred_username": GONE},
            {"client_id": "other-guid", "username": "not-this"},
        ),
        row(
            "third name",
            "entra",
            {"preferred_username": GONE, "upn": GONE, "unique_name": "un"},
            {"username": "un"},
        ),
        row("no oid", "entra", {"oid": GONE}, MISSING),
        row("no client", "entra", {"azp": GONE, "appid": GONE, "client_id": "c"}, MISSING),
        row("no tenant", "entra", {"tid": GONE}, MISSING),
        row(
            "other tenant", "entra", {"tid": "11111111-2222-4333-8444-555555555555"}, (401, "tenant_mismatch")
        ),
        row("part of the tenant", "entra", {"tid": TENANT[:-1]}, (401, "tenant_mismatch")),
        row("number as tenant", "entra", {"tid": 5}, MALFORMED),
        row("empty tenant", "entra", {"tid": ""}, (401, "tenant_mismatch")),
        row("application", "entra", {"idtyp": "app", "scp": GONE}, {"kind": "service", "scopes": NONE}),
        row("application with scp", "entra", {"idtyp": "app"}, {"kind": "service"}),
        row("neither idtyp nor scp", "entra", {"scp": GONE}, {"kind": "service", "scopes": NONE}),
        row("null idtyp", "entra", {"idtyp": None}, MALFORMED),
        row("user without scp", "entra", {"idtyp": "user", "scp": GONE}, {"scopes": NONE}),
        row("empty scp is there", "entra", {"scp": ""}, {"scopes": NONE}),
        row(
            "scope is no scp",
            "entra",
            {"scp": GONE, "scope": "Stock.Read", "idtyp": "user"},
            {"scopes": NONE},
        ),
        row("no token id", "entra", {"uti": GONE}, {"token": (None, *expected("entra")["token"][1:])}),
        row("number as token id", "entra", {"uti": 5}, MALFORMED),
        row("entitlements unread", "entra", {"entitlements": ["export"]}, {}),
        row(
            "overage",
            "entra",
            {
                "groups": GONE,
                "_claim_names": {"groups": "src1"},
                "_claim_sources": {"src1": {"endpoint": "https://graph.example.invalid/"}},
            },
            {"groups": NONE, "groups_overage": True},
        ),
        row("as sent", "keycloak", {}, {}),
        row(
            "service account",
            "keycloak",
            {"preferred_username": "service-account-batch", "client_id": "batch"},
            {"kind": "service", "username": "service-account-batch"},
        ),
        row(
            "like a service account",
            "keycloak",
            {"preferred_username": "my-service-account-x"},
            {"username": "my-service-account-x"},
        ),
        row("client_id", "keycloak", {"azp": GONE, "client_id": "batch"}, {"client_id": "batch"}),
        row("no client", "keycloak", {"azp": GONE, "clientId": "batch"}, MISSING),
        row(
            "lightweight",
            "keycloak",
            {
                "resource_access": GONE,
                "realm_access": GONE,
                "preferred_username": GONE,
                "email": GONE,
                "groups": GONE,
            },
            {"roles": NONE, "username": None, "email": None, "groups": NONE},
        ),
        row("no sub", "keycloak", {"sub": GONE}, MISSING),
        row(
            "other resources",
            "keycloak",
            {"resource_access": {"account": {"roles": ["admin"]}}},
            {"roles": NONE},
        ),
        row("no roles", "keycloak", {"resource_access": {AUDIENCE: {}}}, {"roles": NONE}),
        row("empty roles", "keycloak", {"resource_access": {AUDIENCE: {"roles": []}}}, {"roles": NONE}),
        row("null roles", "keycloak", {"resource_access": {AUDIENCE: {"roles": None}}}, MALFORMED),
        row("number in roles", "keycloak", {"resource_access": {AUDIENCE: {"roles": ["a", 1]}}}, MALFORMED),
        row("ID token", "keycloak", {"typ": "ID"}, OTHER_KIND),
        row("refresh token", "keycloak", {"typ": "Refresh"}, OTHER_KIND),
        row("offline token", "keycloak", {"typ": "Offline"}, OTHER_KIND),
        row("no typ", "keycloak", {"typ": GONE}, {}),
        row("entitlements unread", "keycloak", {"entitlements": ["export"]}, {}),
        row("as sent", "okta", {}, {}),
        row(
            "service",
            "okta",
            {"uid": GONE, "sub": "0oa9", "groups": GONE},
            {"subject": "0oa9", "kind": "service", "username": "0oa9", "groups": NONE},
        ),
        row("null uid", "okta", {"uid": None}, MALFORMED),
        row("empty uid", "okta", {"uid": ""}, MALFORMED),
        row("no cid", "okta", {"cid": GONE, "client_id": "c"}, MISSING),
        row("no user, no cid", "okta", {"cid": GONE, "uid": GONE}, MISSING),
        row("scope is no scp", "okta", {"scp": GONE}, {"scopes": NONE}),
        row("as sent", "auth0", {}, {}),
        row("machine by gty", "auth0", {"gty": "client-credentials"}, {"kind": "service"}),
        row(
            "machine by subject",
            "auth0",
            {"sub": "Batch2@clients"},
            {"subject": "Batch2@clients", "kind": "service"},
        ),
        row("array as gty", "auth0", {"gty": ["client-credentials"]}, MALFORMED),
        row("other gty", "auth0", {"gty": "password"}, {}),
        row(
            "clients inside",
            "auth0",
            {"sub": "auth0|x@clients.example"},
            {"subject": "auth0|x@clients.example"},
        ),
        row(
            "rfc9068 dialect",
            "auth0",
            {"azp": GONE, "client_id": "WebClient1", "jti": "j"},
            {"token": ("j", *expected("auth0")["token"][1:])},
        ),
        row("no client", "auth0", {"azp": GONE}, MISSING),
        row("several audiences", "auth0", {"aud": [AUDIENCE, "https://example.auth0.example/userinfo"]}, {}),
        row(
            "only userinfo",
            "auth0",
            {"aud": "https://example.auth0.example/userinfo"},
            (401, "audience_mismatch"),
        ),
        row("number as organization", "auth0", {"org_id": 9}, MALFORMED),
        row("roles unread", "auth0", {"roles": ["approver"], "groups": ["g"]}, {}),
        row("as sent", "cognito", {}, {}),
        row(
            "machine",
            "cognito",
            {"sub": "pool-client", "username": GONE, "cognito:groups": GONE},
            {"subject": "pool-client", "kind": "service", "username": None, "groups": NONE},
        ),
        row("audience too", "cognito", {"aud": AUDIENCE}, {}),
        row("audience among several", "cognito", {"aud": ["x", AUDIENCE]}, {}),
        row("other audience", "cognito", {"aud": "https://other.example"}, (401, "audience_mismatch")),
        row("client as audience", "cognito", {"aud": "pool-client"}, (401, "audience_mismatch")),
        row("ID token", "cognito", {"token_use": "id"}, OTHER_KIND),
        row("unknown client", "cognito", {"client_id": "pool-client2"}, NOT_ALLOWED),
        row("no client", "cognito", {"client_id": GONE, "azp": "pool-client"}, MISSING),
        row("groups unread", "cognito", {"groups": ["admins"], "roles": ["r"]}, {}),
        row("lone group", "cognito", {"cognito:groups": "approvers"}, {}),
        row("groups object", "cognito", {"cognito:groups": {"value": "approvers"}}, MALFORMED),
        row("as sent", "google_id_token", {}, {}),
        row("no marks", "google_id_token", {"nonce": GONE, "at_hash": GONE}, {}),
        row(
            "service account",
            "google_id_token",
            {"email": "b@acme.iam.gserviceaccount.com", "hd": GONE, "azp": GONE},
            {"kind": "service", "email": "b@acme.iam.gserviceaccount.com", "tenant": None, "client_id": None},
        ),
        row(
            "like a service account",
            "google_id_token",
            {"email": "b@evilgserviceaccount.com"},
            {"email": "b@evilgserviceaccount.com"},
        ),
        row(
            "inside a name",
            "google_id_token",
            {"email": "b@x.gserviceaccount.com.evil.example"},
            {"email": "b@x.gserviceaccount.com.evil.example"},
        ),
        row("scopes unread", "google_id_token", {"scope": "stock:read", "scp": ["x"]}, {}),
        row(
            "other audience", "google_id_token", {"aud": "https://other.example"}, (401, "audience_mismatch")
        ),
        row("no audience", "google_id_token", {"aud": GONE}, MISSING),
        row("number as domain", "google_id_token", {"hd": 1}, MALFORMED),
        row("as sent", "pega", {}, {}),
        row(
            "groups in order",
            "pega",
            {"operator_access": ["Z:1", "A:2"]},
            {"access_groups": ("Z:1", "A:2"), "access_group": "Z:1"},
        ),
        row("no group", "pega", {"operator_access": GONE}, {"access_groups": (), "access_group": None}),
        row("number as group", "pega", {"operator_access": 1}, MALFORMED),
        row("lone scope", "pega", {"scope": "email"}, {"scopes": {"email"}}),
        row("unknown client", "pega", {"aud": "urn:2043"}, NOT_ALLOWED),
        row("the package's audience", "pega", {"aud": AUDIENCE}, MALFORMED),
        row("several audiences", "pega", {"aud": ["urn:2042", AUDIENCE]}, MALFORMED),
        row("two clients", "pega", {"aud": ["urn:2042", "urn:2043"]}, MALFORMED),
        row("no client", "pega", {"aud": "urn:"}, MALFORMED),
        row("client in capitals", "pega", {"aud": "URN:2042"}, MALFORMED),
        row("nothing but the client", "pega", {"aud": "2042"}, MALFORMED),
        row("number as audience", "pega", {"aud": 2042}, MALFORMED),
        row("object as audience", "pega", {"aud": {"value": "urn:2042"}}, MALFORMED),
        row("null audience", "pega", {"aud": None}, MALFORMED),
        row("no subject", "pega", {"sub": GONE}, MISSING),
    ],
)
def test_each_provider_makes_its_operator(profile: str, changes: dict[str, Any], expectation: Any) -> None:
    """
    A provider's claims are read where it puts them, and nowhere else.
    """
    check(ask(stock(profile), token(profile, changes)), expectation, profile)


@pytest.mark.parametrize("profile", sorted(set(URLS) - {"google_id_token"}))
@pytest.mark.parametrize("mark", ["nonce", "at_hash", "c_hash"])
def test_id_tokens_are_no_access_tokens(profile: str, mark: str) -> None:
    """
    What bears the marks of an ID token is refused, unless an ID token is what is wanted.
    """
    assert ask(stock(profile), token(profile)).status == 200

    served = ask(stock(profile), token(profile, {mark: "x"}))

    assert (served.status, served.code) == OTHER_KIND


@pytest.mark.parametrize(
    ("header", "expectation"),
    [
        ({"typ": "at+jwt"}, 200),
        ({"typ": "application/at+jwt"}, 200),
        ({"typ": "JWT"}, 401),
        ({"typ": None}, 401),
    ],
    ids=["at+jwt", "media type", "JWT", "none"],
)
def test_rfc9068_is_strict_about_the_type(header: dict[str, Any], expectation: int) -> None:
    """
    The strict profile wants the header to say that this is an access token.
    """
    served = ask(stock("rfc9068"), token("rfc9068", **header))

    assert served.status == expectation
    assert served.code == (None if expectation == 200 else "token_type_mismatch")


SCOPES: Final = [
    ("two", "a b", {"a", "b"}),
    ("spaces", "  a   b ", {"a", "b"}),
    ("empty", "", NONE),
    ("only spaces", "   ", NONE),
    ("missing", GONE, NONE),
    ("array", ["a", "b"], {"a", "b"}),
    ("array of one", ["a"], {"a"}),
    ("twice", ["a", "a"], {"a"}),
    ("empty array", [], NONE),
    ("tab is no space", "a\tb", {"a\tb"}),
    ("nor are other spaces", "a\u00a0b", {"a\u00a0b"}),
    ("long", [f"s{number}" for number in range(900)], {f"s{number}" for number in range(900)}),
    ("unicode", "läsa", {"läsa"}),
    ("number", 1, MALFORMED),
    ("fraction", 1.5, MALFORMED),
    ("true", True, MALFORMED),
    ("false", False, MALFORMED),
    ("null", None, MALFORMED),
    ("object", {"value": "a"}, MALFORMED),
    ("array with number", ["a", 1], MALFORMED),
    ("array with null", ["a", None], MALFORMED),
    ("array in array", [["a"]], MALFORMED),
    ("array with object", [{"value": "a"}], MALFORMED),
]


@pytest.mark.parametrize(("profile", "claim"), [("default", "scope"), ("okta", "scp"), ("pega", "scope")])
@pytest.mark.parametrize(("value", "scopes"), [r[1:] for r in SCOPES], ids=[r[0] for r in SCOPES])
def test_scopes_are_names(profile: str, claim: str, value: Any, scopes: Any) -> None:
    """
    A string of names or an array of them; whatever else refuses the token.
    """
    served = ask(stock(profile), token(profile, {claim: value}))

    check(served, scopes if isinstance(scopes, tuple) else {"scopes": scopes}, profile)


LISTS: Final = [
    ("array", ["x", "y"], ("x", "y")),
    ("lone string", "x y", ("x y",)),
    ("empty array", [], ()),
    ("missing", GONE, ()),
    ("objects", [{"value": "x", "display": "X", "$ref": 3}, {"value": "y"}], ("x", "y")),
    ("unicode", ["Größe", "管理"], ("Größe", "管理")),
    ("null", None, MALFORMED),
    ("number", 0, MALFORMED),
    ("true", True, MALFORMED),
    ("object", {"value": "x"}, MALFORMED),
    ("empty object", {}, MALFORMED),
    ("number inside", ["x", 1], MALFORMED),
    ("null inside", [None], MALFORMED),
    ("array inside", [["x"]], MALFORMED),
    ("object without value", [{"display": "x"}], MALFORMED),
    ("object with number", [{"value": 1}], MALFORMED),
    ("object with null", [{"value": None}], MALFORMED),
    ("object with object", [{"value": {"value": "x"}}], MALFORMED),
    ("object with array", [{"value": ["x"]}], MALFORMED),
    ("wrong case", [{"Value": "x"}], MALFORMED),
]


@pytest.mark.parametrize("name", ["roles", "groups", "permissions", "access_groups"])
@pytest.mark.parametrize(("value", "members"), [r[1:] for r in LISTS], ids=[r[0] for r in LISTS])
def test_lists_are_read_alike(name: str, value: Any, members: Any) -> None:
    """
    An array, of SCIM's objects too, or a lone string as one element; whatever else refuses the token.
    """
    requirement = stock("default", mapping={name: "their.list"})

    served = ask(requirement, token("default", {"their.list": value}))

    if members == MALFORMED:
        assert (served.status, served.code) == MALFORMED
    elif name == "access_groups":
        first = members[0] if members else None
        check(served, {"access_groups": members, "access_group": first}, "default")
    else:
        check(served, {name: set(members)}, "default")


TEXTS: Final = [
    ("empty", ""),
    ("null", None),
    ("number", 1),
    ("true", True),
    ("array", ["x"]),
    ("object", {"value": "x"}),
    ("empty array", []),
]


@pytest.mark.parametrize("name", ["subject", "client_id", "tenant", "username", "email", "token_id"])
def test_texts_are_strings(name: str) -> None:
    """
    A text field takes a string that is not empty, of any characters.
    """
    served = ask(stock("default", mapping={name: "x"}), token("default", {"x": " Ω "}))

    changes: dict[str, Any] = {name: " Ω "}
    if name == "token_id":
        changes = {"token": (" Ω ", *expected("default")["token"][1:])}
    check(served, changes, "default")


@pytest.mark.parametrize("name", ["subject", "client_id", "tenant", "username", "email", "token_id"])
@pytest.mark.parametrize("value", [r[1] for r in TEXTS], ids=[r[0] for r in TEXTS])
def test_texts_that_are_not_strings(name: str, value: Any) -> None:
    """
    Anything else than a string with something in it refuses the token, even in a field for show.
    """
    served = ask(stock("default", mapping={name: "x"}), token("default", {"x": value}))

    assert (served.status, served.code) == MALFORMED


def act(depth: int, innermost: Any = None) -> dict[str, Any]:
    """
    A chain of actors, the current one first: ``a1``, ``a2``, and so on.
    """
    chain: dict[str, Any] = {"sub": f"a{depth}"} if innermost is None else innermost
    for number in range(depth - 1, 0, -1):
        chain = {"sub": f"a{number}", "act": chain}
    return chain


@pytest.mark.parametrize(
    ("claim", "actors"),
    [
        (GONE, ()),
        (act(1), (("a1", None, None),)),
        (act(4), tuple((f"a{number}", None, None) for number in (1, 2, 3, 4))),
        ({"sub": "gw", "iss": "https://o.example", "client_id": "g"}, (("gw", "https://o.example", "g"),)),
        ({"sub": "gw", "exp": 3, "note": None}, (("gw", None, None),)),
        (act(5), MALFORMED),
        (act(40), (401, None)),
        (None, MALFORMED),
        ("gw", MALFORMED),
        (["gw"], MALFORMED),
        ([{"sub": "gw"}], MALFORMED),
        ({}, MALFORMED),
        ({"sub": None}, MALFORMED),
        ({"sub": 1}, MALFORMED),
        ({"sub": ""}, MALFORMED),
        ({"sub": "gw", "act": None}, MALFORMED),
        ({"sub": "gw", "act": "x"}, MALFORMED),
        ({"sub": "gw", "act": {}}, MALFORMED),
        (act(3, {"client_id": "x"}), MALFORMED),
        (act(4, {"sub": 4}), MALFORMED),
        (act(4, {"sub": "a4", "act": {}}), MALFORMED),
        (act(4, {"sub": "a4", "act": None}), MALFORMED),
        ({"sub": "gw", "iss": 1}, MALFORMED),
        ({"sub": "gw", "client_id": None}, MALFORMED),
    ],
)
def test_actors_are_a_chain_of_four_at_most(claim: Any, actors: Any) -> None:
    """
    Each actor has a subject, the current one is first, and a fifth refuses the token.
    """
    served = ask(stock("default"), token("default", {"act": claim}))

    if actors and isinstance(actors[0], int):
        assert (served.status, served.code) == (actors[0], actors[1] or served.code)
        return
    assert served.operator is not None
    assert tuple((a.subject, a.issuer, a.client_id) for a in served.operator.actors) == actors
    assert served.operator.is_delegated is bool(actors)
    assert served.operator.kind == "user"


def test_keycloak_unites_the_roles_of_the_audiences_that_the_token_names() -> None:
    """
    Roles at an audience that the token does not name, or the package does not have, are not taken.
    """
    access = {name: {"roles": [f"at {name}"]} for name in ("one", "two", "three", "account", "four.x")}
    requirement = stock("keycloak", audience=["one", "two", "four.x"])

    roles = {
        str(aud): ask(requirement, token("keycloak", {"aud": aud, "resource_access": access})).operator.roles  # type: ignore[union-attr]
        for aud in ("one", ["two", "one", "account"], ["four.x", "three"])
    }

    assert list(roles.values()) == [{"at one"}, {"at one", "at two"}, {"at four.x"}]


def test_every_profile_has_a_row() -> None:
    """
    The kit knows a claims set of all nine.
    """
    assert len(CLAIMS) == 9
