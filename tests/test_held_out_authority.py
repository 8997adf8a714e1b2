"""
Held out: mappings, registrations, groups that were left out, and what routes ask.

Written from the contract before the code was read.
"""

from typing import Any, Final

import pytest
from operator_kit import (
    AUDIENCE,
    GONE,
    URLS,
    ask,
    expected,
    issuer,
    package,
    token,
    told,
    written,
)

from guardrail import (
    ClientRegistration,
    Issuer,
    ServicePackage,
)
from guardrail.errors import PolicyError

NOT_ALLOWED: Final = (403, "client_not_allowed")
MALFORMED: Final = (401, "claims_malformed")
BATCH: Final[dict[str, Any]] = {"sub": "batch", "client_id": "batch"}  # a machine's token


def outcome(served: Any) -> Any:
    """
    Status and code.
    """
    return (served.status, served.code)


# --- profile, URN issuers and mapping


@pytest.mark.parametrize("profile", ["", "Entra", "entra ", "azure", None, 5, ["entra"], b"entra"])
def test_other_profiles_are_refused_by_name(profile: Any) -> None:
    """
    There are nine, and the message names them.
    """
    with pytest.raises(PolicyError) as caught:
        Issuer(URLS["default"], profile=profile)

    assert all(name in str(caught.value) for name in URLS)


@pytest.mark.parametrize("profile", sorted(set(URLS) - {"entra"}))
def test_urn_issuers_have_their_keys_in_hand(profile: str) -> None:
    """
    Nothing can be discovered from a URN; with keys, or the place of keys, it is an issuer like others.
    """
    urn = "urn:example:realm-1"
    clients = [ClientRegistration(name) for name in ("pool-client", "2042")]
    with pytest.raises(PolicyError, match=r"keys|jwks_uri"):
        Issuer(urn, profile=profile, clients=clients)
    Issuer(urn, profile=profile, clients=clients, jwks_uri="https://keys.example/jwks")

    served = ask(package(profile, url=urn, clients=clients).requires(), token(profile, {"iss": urn}))

    assert told(served.operator) == expected(profile, issuer=urn)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "claims", "roles"),
    [
        ("r", {"r": ["a"]}, {"a"}),
        ("https://corp.example/roles", {"https://corp.example/roles": ["a"]}, {"a"}),
        ("app.roles", {"app.roles": ["a"]}, {"a"}),
        ("app.roles", {"app": {"roles": ["a"]}}, ()),
        (["app", "roles"], {"app": {"roles": ["a"]}}, {"a"}),
        (["app", "roles"], {"app.roles": ["a"]}, ()),
        (("app", "roles"), {"app": {"roles": ["a"]}}, {"a"}),
        (["app.x", "y.z", "roles"], {"app.x": {"y.z": {"roles": "a b"}}}, {"a b"}),
        ([["p"], ["q", "r"]], {"q": {"r": ["a"]}}, {"a"}),
        ([["p"], ["q", "r"]], {"p": [], "q": {"r": ["a"]}}, ()),
        ([["p", "x"], ["q"]], {"p": {"y": 1}, "q": ["a"]}, {"a"}),
        ([["p"], ["q"]], {"p": None, "q": ["a"]}, MALFORMED),
        ("roles", {"roles": GONE}, ()),
        (["*", "roles"], {"a": {"roles": ["x"]}}, ()),
        (["r", "0"], {"r": ["a"]}, ()),
        (["r", "x"], {"r": "a"}, ()),
        (["r", "x"], {"r": None}, ()),
    ],
)
def test_mapping_paths_are_of_exact_names(path: Any, claims: dict[str, Any], roles: Any) -> None:
    """
    Names are members, dots never split, and of several paths the first one that is there counts.
    """
    served = ask(package(mapping={"roles": path}).requires(), token("default", claims))

    if roles == MALFORMED:
        assert outcome(served) == MALFORMED
        return
    assert told(served.operator) == expected("default", roles=set(roles))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "mapping",
    [
        *(
            {"roles": value}
            for value in (
                "",
                [],
                (),
                [[]],
                [""],
                ["a", ""],
                [["a"], []],
                [["a"], "b"],
                ["b", ["a"]],
                None,
                5,
                True,
                b"roles",
                ["a", 1],
                [["a", None]],
                {"a": "b"},
                {"a"},
                [[["a"]]],
                object(),
                [[b"a"]],
                (x for x in ["a"]),
                [[], ["a"]],
            )
        ),
        {"role": "x"},
        {"operator_id": "x"},
        {"kind": "x"},
        {"issuer": "x"},
        {"access_group": "x"},
        {"": "x"},
        {"Roles": "x"},
        {5: "x"},
        {None: "x"},
        "roles",
        5,
        ["roles"],
        [("roles", "x")],
        True,
    ],
    ids=written,
)
def test_other_mappings_are_refused_where_they_are_written(mapping: Any) -> None:
    """
    An unknown field or a value that is no path is an error at construction.
    """
    with pytest.raises(PolicyError, match="mapping"):
        Issuer(URLS["default"], mapping=mapping)


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("role", "roles"),
        ("group", "groups"),
        ("scope", "scopes"),
        ("acess_groups", "access_groups"),
        ("client", "client_id"),
        ("permission", "permissions"),
        ("user_name", "username"),
    ],
)
def test_misspelt_fields_are_corrected(misspelt: str, meant: str) -> None:
    """
    The message says which field was meant.
    """
    with pytest.raises(PolicyError, match=f"did you mean '{meant}'"):
        Issuer(URLS["default"], mapping={misspelt: "x"})


def test_a_mapping_that_changes_later_changes_nothing() -> None:
    """
    What was written is read once.
    """
    path = ["app", "roles"]
    mapping = {"roles": path}
    requirement = package(mapping=mapping).requires()
    path[1], mapping["subject"] = "other", ["x"]

    served = ask(requirement, token("default", {"app": {"roles": ["a"], "other": ["b"]}}))

    assert served.operator is not None
    assert (set(served.operator.roles), served.operator.subject) == ({"a"}, "u-77")


def test_mapping_moves_what_decides_on_kind_and_client() -> None:
    """
    A required field stays required where the mapping reads it, and the rest of the profile stays.
    """
    requirement = package(
        "entra", mapping={"client_id": "cid", "roles": [["app", "r"], ["roles"]]}
    ).requires()

    assert outcome(ask(requirement, token("entra"))) == (401, "claim_missing")
    served = ask(requirement, token("entra", {"cid": "x"}))
    assert told(served.operator) == expected("entra", client_id="x")  # type: ignore[arg-type]


# --- client registrations


@pytest.mark.parametrize(
    "arguments",
    [
        {"client_id": ""},
        {"client_id": None},
        {"client_id": 5},
        {"client_id": b"c"},
        {"operator_id": ""},
        {"operator_id": 5},
        {"access_groups": "Stock"},
        {"access_groups": 5},
        {"access_groups": [1]},
        {"access_groups": [None]},
        {"access_groups": b"x"},
        {"roles": "clerk"},
        {"roles": ["clerk", 1]},
        {"scopes": "stock:read"},
        {"scopes": [["stock:read"]]},
        {"scopes": 5},
        {"enabled": None},
        {"enabled": 1},
        {"enabled": "no"},
    ],
    ids=written,
)
def test_registrations_are_checked_where_they_are_written(arguments: dict[str, Any]) -> None:
    """
    A bare string is no list, and a word is no switch.
    """
    with pytest.raises(PolicyError):
        ClientRegistration(**{"client_id": "batch", **arguments})


@pytest.mark.parametrize(
    "clients",
    [
        "batch",
        ["batch"],
        {"batch": None},
        5,
        [None],
        ClientRegistration("batch"),
        [ClientRegistration("batch"), ClientRegistration("batch")],
        [
            ClientRegistration("batch"),
            ClientRegistration("other"),
            ClientRegistration("batch", enabled=False),
        ],
    ],
    ids=["string", "strings", "mapping", "number", "none", "bare", "twice", "twice and apart"],
)
def test_other_clients_are_refused(clients: Any) -> None:
    """
    Registrations only, and each client once.
    """
    with pytest.raises(PolicyError, match=r"clients|ClientRegistration|batch"):
        Issuer(URLS["default"], clients=clients)


@pytest.mark.parametrize("word", ["Refuse", "deny", "", None, True, False, 0, ["refuse"]], ids=written)
def test_unregistered_clients_are_refused_or_allowed(word: Any) -> None:
    """
    There is no third word.
    """
    with pytest.raises(PolicyError, match=r"(?s)refuse.*allow|allow.*refuse"):
        Issuer(URLS["default"], unregistered_clients=word)


@pytest.mark.parametrize("profile", ["cognito", "pega"])
@pytest.mark.parametrize("clients", [GONE, [], ()], ids=["none said", "list", "tuple"])
def test_profiles_that_pin_the_client_want_registrations(profile: str, clients: Any) -> None:
    """
    Where the audience may be missing, the clients are known or nobody is.
    """
    with pytest.raises(PolicyError, match="clients"):
        issuer(profile, **({} if clients is GONE else {"clients": clients}))


REGISTERED: Final = [
    ("unregistered is let in", [], {}, {}, {}),
    ("registered is let in", [ClientRegistration("shop")], {}, {}, {}),
    (
        "ceiling",
        [ClientRegistration("shop", scopes=["stock:read", "stock:admin"])],
        {},
        {},
        {"scopes": {"stock:read"}},
    ),
    ("empty ceiling", [ClientRegistration("shop", scopes=[])], {}, {}, {"scopes": frozenset()}),
    ("no ceiling", [ClientRegistration("shop", scopes=None)], {}, {}, {}),
    (
        "ceiling of scopes not held",
        [ClientRegistration("shop", scopes=["x"])],
        {},
        {},
        {"scopes": frozenset()},
    ),
    (
        "user keeps himself",
        [ClientRegistration("shop", operator_id="svc", access_groups=["G"], roles=["r"])],
        {},
        {},
        {},
    ),
    ("user keeps what is emptied", [ClientRegistration("shop", access_groups=[], roles=[])], {}, {}, {}),
    (
        "user of a service's client",
        [ClientRegistration("batch", operator_id="svc", roles=["r"])],
        {"client_id": "batch"},
        {},
        {"client_id": "batch"},
    ),
    ("disabled", [ClientRegistration("shop", enabled=False)], {}, {}, NOT_ALLOWED),
    ("disabled service", [ClientRegistration("batch", enabled=False)], BATCH, {}, NOT_ALLOWED),
    ("other one disabled", [ClientRegistration("shop2", enabled=False)], {}, {}, {}),
    ("other case", [ClientRegistration("Shop", enabled=False)], {}, {}, {}),
    ("no client", [ClientRegistration("shop", enabled=False)], {"client_id": GONE}, {}, {"client_id": None}),
    ("only registered", [ClientRegistration("x")], {}, {"unregistered_clients": "refuse"}, NOT_ALLOWED),
    (
        "only registered, other case",
        [ClientRegistration("SHOP")],
        {},
        {"unregistered_clients": "refuse"},
        NOT_ALLOWED,
    ),
    (
        "only registered, space",
        [ClientRegistration("shop ")],
        {},
        {"unregistered_clients": "refuse"},
        NOT_ALLOWED,
    ),
    (
        "only registered, no client",
        [ClientRegistration("shop")],
        {"client_id": GONE},
        {"unregistered_clients": "refuse"},
        NOT_ALLOWED,
    ),
    ("only registered, nobody is", [], {}, {"unregistered_clients": "refuse"}, NOT_ALLOWED),
    ("only registered, and is", [ClientRegistration("shop")], {}, {"unregistered_clients": "refuse"}, {}),
    (
        "service as operator",
        [ClientRegistration("batch", operator_id="svc-stock")],
        BATCH,
        {},
        {"subject": "batch", "client_id": "batch", "kind": "service", "operator_id": "svc-stock"},
    ),
    (
        "service without operator",
        [ClientRegistration("batch")],
        BATCH,
        {},
        {"subject": "batch", "client_id": "batch", "kind": "service"},
    ),
    (
        "groups in order",
        [ClientRegistration("batch", access_groups=["Z", "A"])],
        BATCH,
        {},
        {
            "subject": "batch",
            "client_id": "batch",
            "kind": "service",
            "access_groups": ("Z", "A"),
            "access_group": "Z",
        },
    ),
    (
        "groups replace",
        [ClientRegistration("batch", access_groups=[], roles=["r"])],
        {**BATCH, "roles": ["clerk"], "ag": ["X"]},
        {"mapping": {"access_groups": "ag"}},
        {"subject": "batch", "client_id": "batch", "kind": "service", "roles": {"r"}},
    ),
    (
        "none keeps",
        [ClientRegistration("batch")],
        {**BATCH, "ag": ["X"]},
        {"mapping": {"access_groups": "ag"}},
        {
            "subject": "batch",
            "client_id": "batch",
            "kind": "service",
            "access_groups": ("X",),
            "access_group": "X",
        },
    ),
    (
        "empty roles replace",
        [ClientRegistration("batch", roles=[])],
        BATCH,
        {},
        {"subject": "batch", "client_id": "batch", "kind": "service", "roles": frozenset()},
    ),
    ("malformed and disabled", [ClientRegistration("shop", enabled=False)], {"roles": 1}, {}, MALFORMED),
]


@pytest.mark.parametrize(
    ("clients", "claims", "settings", "expectation"),
    [r[1:] for r in REGISTERED],
    ids=[r[0] for r in REGISTERED],
)
def test_registrations_refine_or_refuse(clients: Any, claims: Any, settings: Any, expectation: Any) -> None:
    """
    A registration bounds every token of its client, and makes an operator of the client's own alone.
    """
    served = ask(package(clients=clients, **settings).requires(), token("default", claims))

    if isinstance(expectation, tuple):
        assert outcome(served) == expectation
        return
    assert told(served.operator) == expected("default", **expectation)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("registration", "claims", "expectation"),
    [
        (
            ClientRegistration("2042", operator_id="svc", access_groups=["X"], roles=["r"]),
            {},
            {
                "kind": "service",
                "operator_id": "svc",
                "access_groups": ("X",),
                "access_group": "X",
                "roles": {"r"},
            },
        ),
        (ClientRegistration("2042", access_groups=["X"], roles=["r"]), {}, {}),
        (ClientRegistration("2042", scopes=["email"]), {}, {"scopes": {"email"}}),
        (ClientRegistration("2042", enabled=False), {}, NOT_ALLOWED),
        (
            ClientRegistration("2042", operator_id="svc", access_groups=[]),
            {},
            {"kind": "service", "operator_id": "svc", "access_groups": (), "access_group": None},
        ),
    ],
    ids=["bound", "unbound is a user", "ceiling", "disabled", "emptied"],
)
def test_pega_tells_services_by_their_registration(registration: Any, claims: Any, expectation: Any) -> None:
    """
    Nothing in such a token marks a machine.
    """
    requirement = package("pega", clients=[registration], unregistered_clients="allow").requires()

    served = ask(requirement, token("pega", claims))

    if isinstance(expectation, tuple):
        assert outcome(served) == expectation
        return
    assert told(served.operator) == expected("pega", **expectation)  # type: ignore[arg-type]


def test_the_ceiling_comes_before_implied_scopes() -> None:
    """
    What is cut away implies nothing.
    """
    cut = issuer(clients=[ClientRegistration("shop", scopes=["stock:read"])])
    stock = ServicePackage("stock", issuer=cut, audience=AUDIENCE, implies={"stock:admin": ["stock:count"]})

    served = ask(stock.requires("stock:count"), token("default", {"scope": "stock:admin stock:read"}))

    assert outcome(served) == (403, "insufficient_scope")


# --- groups that were left out

LEFT_OUT: Final[dict[str, Any]] = {"groups": GONE, "_claim_names": {"groups": "src1"}}
OVERAGE: Final = [
    ("nothing asked", {}, {}, {}, {}, 200, None),
    ("roles from elsewhere", {}, {"roles": ["clerk"]}, {}, {}, 200, None),
    ("roles from elsewhere, not held", {}, {"roles": ["boss"]}, {}, {}, 403, "role_missing"),
    ("roles from elsewhere, none there", {}, {"roles": ["boss"]}, {"roles": GONE}, {}, 403, "role_missing"),
    ("roles from groups", {"roles": "groups"}, {"roles": ["boss"]}, {}, {}, 403, "groups_overage"),
    (
        "access groups from groups",
        {"access_groups": "groups"},
        {"access_groups": ["G"]},
        {},
        {},
        403,
        "groups_overage",
    ),
    (
        "the other field is from groups",
        {"access_groups": "groups"},
        {"roles": ["boss"]},
        {},
        {},
        403,
        "role_missing",
    ),
    (
        "groups come second, first there",
        {"roles": [["roles"], ["groups"]]},
        {"roles": ["boss"]},
        {},
        {},
        403,
        "role_missing",
    ),
    (
        "groups come second, first not there",
        {"roles": [["r"], ["groups"]]},
        {"roles": ["boss"]},
        {},
        {},
        403,
        "groups_overage",
    ),
    (
        "flag",
        {"roles": "groups"},
        {"roles": ["boss"]},
        {"_claim_names": GONE, "hasgroups": True},
        {},
        403,
        "groups_overage",
    ),
    ("no overage", {"roles": "groups"}, {"roles": ["boss"]}, {"_claim_names": GONE}, {}, 403, "role_missing"),
    (
        "registration gives roles",
        {"roles": "groups"},
        {"roles": ["boss"]},
        BATCH,
        {"roles": ["boss"]},
        200,
        None,
    ),
    (
        "registration gives other roles",
        {"roles": "groups"},
        {"roles": ["boss"]},
        BATCH,
        {"roles": []},
        403,
        "role_missing",
    ),
    (
        "registration gives access groups",
        {"roles": "groups"},
        {"roles": ["boss"]},
        BATCH,
        {"access_groups": ["G"]},
        403,
        "groups_overage",
    ),
    (
        "a user's registration gives nothing",
        {"roles": "groups"},
        {"roles": ["boss"]},
        {"client_id": "batch"},
        {"roles": ["boss"]},
        403,
        "groups_overage",
    ),
    (
        "registration gives other access groups",
        {"access_groups": "groups"},
        {"access_groups": ["G"]},
        BATCH,
        {"access_groups": []},
        403,
        "access_group_missing",
    ),
    (
        "registration gives the access group",
        {"access_groups": "groups"},
        {"access_groups": ["G"]},
        BATCH,
        {"access_groups": ["G"]},
        200,
        None,
    ),
]


@pytest.mark.parametrize(
    ("mapping", "asked", "claims", "registration", "status", "code"),
    [r[1:] for r in OVERAGE],
    ids=[r[0] for r in OVERAGE],
)
def test_left_out_groups_are_unknown(
    mapping: Any, asked: Any, claims: Any, registration: Any, status: int, code: str | None
) -> None:
    """
    A route that needs what the issuer left out says so, unless a later step gave it.
    """
    stock = package(mapping=mapping, clients=[ClientRegistration("batch", **registration)])

    served = ask(stock.requires(**asked), token("default", {**LEFT_OUT, **claims}))

    assert outcome(served) == (status, code)


# --- what a route asks for


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"roles": ["clerk"]}, None),
        ({"roles": ["x", "clerk"]}, None),
        ({"roles": ["Clerk"]}, "role_missing"),
        ({"roles": ["cler"]}, "role_missing"),
        ({"access_groups": ["A"]}, None),
        ({"access_groups": ["x", "A"]}, None),
        ({"access_groups": ["B"]}, "access_group_missing"),
        ({"access_groups": ["a"]}, "access_group_missing"),
        ({"roles": ["x"], "access_groups": ["A"]}, "role_missing"),
        ({"roles": ["clerk"], "access_groups": ["x"]}, "access_group_missing"),
    ],
)
def test_routes_ask_for_roles_and_the_active_access_group(asked: dict[str, Any], code: str | None) -> None:
    """
    Any of the roles, and the active group among those named; held and not active is not enough.
    """
    stock = package(mapping={"access_groups": "ag"})

    served = ask(stock.requires("stock:read", **asked), token("default", {"ag": ["A", "B"]}))

    assert outcome(served) == (403 if code else 200, code)


REFUSED: Final = [
    ("role", {"roles": ["boss"]}, {}, "role_missing"),
    ("access group", {"access_groups": ["boss"]}, {}, "access_group_missing"),
    ("client", {}, {"client_id": "gone"}, "client_not_allowed"),
    ("overage", {"roles": ["boss"]}, LEFT_OUT, "groups_overage"),
]


@pytest.mark.parametrize(("asked", "claims", "code"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_a_403_blames_no_token_and_asks_for_no_scope(asked: Any, claims: Any, code: str) -> None:
    """
    The challenge has no error, no scope and nothing of the token: a new token would help nobody.
    """
    stock = package(
        mapping={"roles": "groups"} if code == "groups_overage" else None,
        clients=[ClientRegistration("gone", enabled=False)],
    )

    served = ask(stock.requires("stock:read", **asked), token("default", claims))

    assert outcome(served) == (403, code)
    assert len(served.challenges) == 1
    assert "error" not in served.challenges[0]
    assert "scope" not in served.challenges[0]
    assert "invalid_token" not in served.body
    assert not any(word in served.body for word in ("boss", "clerk", "u-77", "gone", "ada"))


def test_scopes_are_judged_before_roles() -> None:
    """
    A missing scope is told as such, with the scopes of the route.
    """
    served = ask(package().requires("stock:admin", roles=["boss"]), token("default"))

    assert outcome(served) == (403, "insufficient_scope")
    assert 'scope="stock:admin"' in served.challenges[0]
