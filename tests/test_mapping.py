"""
User profile mapping: what an operator is made of, and which claims refuse the token instead.
"""

import dataclasses
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail import Actor, TokenFacts
from guardrail._frozen import FrozenClaims
from guardrail._mapping import OperatorMapping
from guardrail._mapping_setting import field_paths
from guardrail._operator import Operator
from guardrail._profiles import FIELDS, PROFILES, load_profile
from guardrail._token_facts import MAX_ACTORS
from guardrail.errors import ClaimError

ISSUER = "https://login.example.com"
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "alice",
    "aud": "orders",
    "exp": 2_000_000_000,
    "iat": 1_900_000_000,
    "client_id": "web",
    "jti": "t-1",
}


PLAIN_PROFILES = ("default", "rfc9068")  # those that read the claims above


def mapping_of(
    profile: str = "default", mapping: object = None, *, audiences: tuple[str, ...] = ()
) -> OperatorMapping:
    return OperatorMapping(
        load_profile(profile), replaced=field_paths(mapping), audiences=frozenset(audiences)
    )


def operator(profile: str = "default", **claims: Any) -> Operator:
    return mapping_of(profile).operator({**CLAIMS, **claims})


def operator_without(claim: str, profile: str = "default") -> Operator:
    return mapping_of(profile).operator({name: CLAIMS[name] for name in CLAIMS if name != claim})


@pytest.mark.parametrize("profile", PLAIN_PROFILES)
def test_operator_is_made_of_the_claims(profile: str) -> None:
    """
    Issuer, subject, client, scopes and facts of the token come from their claims.
    """
    made = operator(
        profile, scope="orders:read orders:write", roles=["clerk"], groups=["staff"], entitlements=["print"]
    )

    assert (made.issuer, made.subject, made.client_id) == (ISSUER, "alice", "web")
    assert made.operator_id == f"{ISSUER}#alice"
    assert made.scopes == frozenset({"orders:read", "orders:write"})
    assert (made.roles, made.groups, made.permissions) == (
        frozenset({"clerk"}),
        frozenset({"staff"}),
        frozenset({"print"}),
    )
    assert made.token.token_id == "t-1"
    assert (made.token.issued_at, made.token.expires_at) == (1_900_000_000, 2_000_000_000)


def test_absent_optional_claims_leave_their_fields_empty() -> None:
    """
    A token with nothing but what is required makes an operator with no authority.
    """
    made = mapping_of("default").operator({"iss": ISSUER, "sub": "alice", "exp": 2_000_000_000})

    assert (made.scopes, made.roles, made.groups, made.permissions) == (frozenset(),) * 4
    assert (made.client_id, made.username, made.email) == (None, None, None)
    assert (made.token.token_id, made.token.issued_at) == (None, None)
    assert made.actors == ()


def test_names_for_showing_come_from_their_claims() -> None:
    """
    User name and e-mail address are taken for showing.
    """
    made = operator(preferred_username="alice.w", email="alice@example.com")

    assert (made.username, made.email, made.display_name) == ("alice.w", "alice@example.com", "alice.w")


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        pytest.param({"client_id": "web", "azp": "other"}, "web", id="client_id goes before azp"),
        pytest.param({"azp": "web"}, "web", id="azp alone"),
        pytest.param({}, None, id="neither"),
    ],
)
def test_first_present_client_claim_is_used(claims: dict[str, str], expected: str | None) -> None:
    """
    Of several spellings of one field the first that is present is used.
    """
    made = mapping_of("default").operator({"iss": ISSUER, "sub": "alice", "exp": 1, **claims})

    assert made.client_id == expected


@pytest.mark.parametrize(
    ("claims", "kind"),
    [
        pytest.param({"sub": "alice", "client_id": "web"}, "user", id="a user of a client"),
        pytest.param({"sub": "web", "client_id": "web"}, "service", id="a client acting as itself"),
        pytest.param({"sub": "alice", "client_id": "alice"}, "service", id="a client named as a user is"),
        pytest.param({"sub": "Web", "client_id": "web"}, "user", id="another case is another"),
    ],
)
def test_client_acting_as_itself_is_told_from_a_user(claims: dict[str, str], kind: str) -> None:
    """
    A subject equal to the client marks a service, whatever it is called (R120, C12).
    """
    made = operator(**claims)

    assert made.kind == kind


def test_same_subject_of_two_issuers_is_two_operators() -> None:
    """
    An operator is the pair of issuer and subject, never the subject alone (R119, C13).
    """
    one, other = operator(), operator(iss="https://other.example.com")

    assert one.operator_id != other.operator_id
    assert one != other


@pytest.mark.parametrize("profile", PLAIN_PROFILES)
def test_missing_subject_is_refused(profile: str) -> None:
    """
    A token of nobody makes no operator (R108).
    """
    with pytest.raises(ClaimError, match='missing required "sub" claim') as caught:
        operator_without("sub", profile)

    assert (caught.value.claim, caught.value.reason, caught.value.code) == ("sub", "missing", "claim_missing")


@pytest.mark.parametrize("claim", ["client_id", "jti"])
def test_claims_of_rfc9068_are_required_by_its_profile_alone(claim: str) -> None:
    """
    *client_id* and *jti* are required by the strict profile, and optional by default (R108).
    """
    lenient = operator_without(claim)

    assert lenient.subject == "alice"
    with pytest.raises(ClaimError) as caught:
        operator_without(claim, "rfc9068")
    assert (caught.value.claim, caught.value.reason) == (claim, "missing")


def test_strict_profile_takes_no_other_spelling() -> None:
    """
    `azp` and `scp` are not RFC 9068's names: the strict profile does not read them.
    """
    made = operator("rfc9068", scp=["orders:read"])

    assert made.scopes == frozenset()
    with pytest.raises(ClaimError):
        mapping_of("rfc9068").operator(
            {name: value for name, value in CLAIMS.items() if name != "client_id"} | {"azp": "web"}
        )


@pytest.mark.parametrize("claim", ["sub", "client_id", "azp", "preferred_username", "email", "jti"])
@pytest.mark.parametrize("value", ["", None, 1, True, ["a"], {"a": 1}], ids=repr)
def test_text_claims_of_the_wrong_type_are_refused(claim: str, value: Any) -> None:
    """
    A text claim that is there and no non-empty string refuses the token (R121, B2).
    """
    claims = {name: CLAIMS[name] for name in CLAIMS if name != "client_id"} | {claim: value}

    with pytest.raises(ClaimError) as caught:
        mapping_of("default").operator(claims)

    assert (caught.value.claim, caught.value.reason, caught.value.code) == (
        claim,
        "invalid",
        "claims_malformed",
    )
    assert caught.value.actual == value


@pytest.mark.parametrize("claim", ["scope", "scp"])
@pytest.mark.parametrize(
    ("value", "scopes"),
    [
        pytest.param("read", {"read"}, id="one"),
        pytest.param("read write", {"read", "write"}, id="two"),
        pytest.param("write read read", {"read", "write"}, id="order and repetition do not matter"),
        pytest.param("  read  write ", {"read", "write"}, id="further spaces"),
        pytest.param("", set(), id="empty string"),
        pytest.param(" ", set(), id="a space"),
        pytest.param("Read", {"Read"}, id="case is kept"),
        pytest.param("read:all", {"read:all"}, id="a longer name is one name"),
        pytest.param("read,write", {"read,write"}, id="a comma separates nothing"),
        pytest.param("read\twrite", {"read\twrite"}, id="a tab separates nothing"),
        pytest.param("read\nwrite", {"read\nwrite"}, id="a line feed separates nothing"),
        pytest.param("read\xa0write", {"read\xa0write"}, id="NBSP separates nothing"),
        pytest.param(["read", "write"], {"read", "write"}, id="array"),
        pytest.param(["read write"], {"read write"}, id="an element is one scope"),
        pytest.param([], set(), id="empty array"),
    ],
)
def test_scopes_are_separated_by_spaces_alone(claim: str, value: Any, scopes: set[str]) -> None:
    """
    Scopes are whole names between spaces, or the elements of an array (R127, R128, C18).
    """
    made = operator(**{claim: value})

    assert made.scopes == scopes


@pytest.mark.parametrize("claim", ["scope", "scp"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="null"),
        pytest.param(1, id="number"),
        pytest.param(True, id="boolean"),
        pytest.param({"read": True}, id="object"),
        pytest.param(["read", 1], id="array with a number"),
        pytest.param(["read", None], id="array with null"),
        pytest.param([["read"]], id="nested array"),
        pytest.param([{"value": "read"}], id="array of objects"),
    ],
)
def test_scopes_of_the_wrong_type_are_refused(claim: str, value: Any) -> None:
    """
    Scopes that are neither a string nor an array of strings grant nothing: the token is refused (C18).
    """
    with pytest.raises(ClaimError) as caught:
        operator(**{claim: value})

    assert (caught.value.claim, caught.value.reason) == (claim, "invalid")


@pytest.mark.parametrize(
    ("claim", "field"), [("roles", "roles"), ("groups", "groups"), ("entitlements", "permissions")]
)
@pytest.mark.parametrize(
    ("value", "elements"),
    [
        pytest.param(["admin", "clerk"], {"admin", "clerk"}, id="strings"),
        pytest.param(
            [{"value": "admin"}, {"value": "clerk", "display": "x"}], {"admin", "clerk"}, id="SCIM objects"
        ),
        pytest.param(["admin", {"value": "clerk"}], {"admin", "clerk"}, id="both"),
        pytest.param("administrator", {"administrator"}, id="a lone string is one element"),
        pytest.param("admin clerk", {"admin clerk"}, id="a space separates nothing"),
        pytest.param([], set(), id="empty array"),
    ],
)
def test_lists_are_of_strings_or_scim_objects(claim: str, field: str, value: Any, elements: set[str]) -> None:
    """
    Roles, groups and entitlements are lists of whole names; a string is never a container (R123, C19).
    """
    made = operator(**{claim: value})

    assert getattr(made, field) == elements


@pytest.mark.parametrize("claim", ["roles", "groups", "entitlements"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="null"),
        pytest.param(1, id="number"),
        pytest.param(True, id="boolean"),
        pytest.param({"value": "admin"}, id="one SCIM object"),
        pytest.param({"admin": {}}, id="object of names"),
        pytest.param(["admin", 1], id="array with a number"),
        pytest.param(["admin", None], id="array with null"),
        pytest.param([["admin"]], id="nested array"),
        pytest.param([{"display": "admin"}], id="SCIM object without value"),
        pytest.param([{"value": 1}], id="SCIM object with a number"),
        pytest.param([{"value": ["admin"]}], id="SCIM object with an array"),
    ],
)
def test_lists_of_the_wrong_type_are_refused(claim: str, value: Any) -> None:
    """
    A list claim of another shape refuses the token.
    """
    with pytest.raises(ClaimError) as caught:
        operator(**{claim: value})

    assert (caught.value.claim, caught.value.reason) == (claim, "invalid")


def test_actors_are_read_from_the_current_one_inwards() -> None:
    """
    The outermost actor is the current one; those inside acted before it (R122, C20).
    """
    act = {"sub": "svc", "client_id": "c", "iss": ISSUER, "exp": 1, "act": {"sub": "admin", "x": "y"}}

    made = operator(act=act)

    assert made.actors == (Actor("svc", ISSUER, "c"), Actor("admin"))
    assert made.subject == "alice"
    assert made.is_delegated


def chain(length: int) -> dict[str, Any]:
    act: dict[str, Any] = {"sub": f"a{length}"}
    for index in range(length - 1, 0, -1):
        act = {"sub": f"a{index}", "act": act}
    return act


def test_four_actors_are_read() -> None:
    """
    A chain just within the bound is read whole.
    """
    made = operator(act=chain(MAX_ACTORS))

    assert MAX_ACTORS == 4
    assert [actor.subject for actor in made.actors] == ["a1", "a2", "a3", "a4"]


def test_five_actors_are_refused() -> None:
    """
    A chain just beyond the bound refuses the token.
    """
    with pytest.raises(ClaimError) as caught:
        operator(act=chain(MAX_ACTORS + 1))

    assert (caught.value.claim, caught.value.reason) == ("act", "invalid")


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(None, id="null"),
        pytest.param("svc", id="a string"),
        pytest.param([], id="an array"),
        pytest.param([{"sub": "svc"}], id="an array of actors"),
        pytest.param({}, id="empty"),
        pytest.param({"client_id": "c"}, id="without sub"),
        pytest.param({"sub": ""}, id="empty sub"),
        pytest.param({"sub": 1}, id="sub a number"),
        pytest.param({"sub": "svc", "iss": 1}, id="iss a number"),
        pytest.param({"sub": "svc", "client_id": ""}, id="empty client_id"),
        pytest.param({"sub": "svc", "act": "x"}, id="a string inside"),
        pytest.param({"sub": "svc", "act": None}, id="null inside"),
        pytest.param({"sub": "svc", "act": {}}, id="empty inside"),
    ],
)
def test_actors_of_the_wrong_shape_are_refused(act: object) -> None:
    """
    An actor is an object with a subject, at every depth (RFC 8693 §4.1).
    """
    with pytest.raises(ClaimError) as caught:
        operator(act=act)

    assert (caught.value.claim, caught.value.reason) == ("act", "invalid")


@pytest.mark.parametrize(
    ("claims", "facts"),
    [
        pytest.param({}, (None, None, ()), id="absent"),
        pytest.param(
            {"auth_time": 1_800_000_000, "acr": "mfa", "amr": ["pwd", "otp"]},
            (1_800_000_000, "mfa", ("pwd", "otp")),
            id="present",
        ),
        pytest.param({"auth_time": 1.5}, (1.5, None, ()), id="a fraction"),
        pytest.param({"auth_time": "1800000000"}, (None, None, ()), id="auth_time a string"),
        pytest.param({"auth_time": True}, (None, None, ()), id="auth_time a boolean"),
        pytest.param({"auth_time": -1}, (None, None, ()), id="auth_time negative"),
        pytest.param({"auth_time": 10**400}, (None, None, ()), id="auth_time huge"),
        pytest.param({"auth_time": None, "acr": None, "amr": None}, (None, None, ()), id="null"),
        pytest.param({"acr": 1}, (None, None, ()), id="acr a number"),
        pytest.param({"acr": ["mfa"]}, (None, None, ()), id="acr an array"),
        pytest.param({"amr": "pwd"}, (None, None, ()), id="amr a string"),
        pytest.param({"amr": ["pwd", 1, None]}, (None, None, ("pwd",)), id="amr with others"),
    ],
)
def test_facts_of_the_wrong_type_count_as_missing(claims: dict[str, Any], facts: tuple[object, ...]) -> None:
    """
    Authentication facts of the wrong type are absent, so that step-up fails closed (R207, C22).
    """
    made = operator(**claims)

    assert (made.token.auth_time, made.token.acr, made.token.amr) == facts


def test_claims_are_read_only_in_depth() -> None:
    """
    The operator's claims cannot be changed, neither by name nor inside of what they hold (R256).
    """
    made = operator(custom={"list": [1, {"a": 2}]})

    assert made.claims["custom"] == {"list": (1, {"a": 2})}
    assert isinstance(made.claims["custom"], MappingProxyType)
    with pytest.raises(TypeError):
        made.claims["custom"]["list"][1]["a"] = 3
    with pytest.raises(TypeError):
        made.claims["sub"] = "mallory"  # type: ignore[index]  # that is what is tested


def test_claims_are_all_there() -> None:
    """
    Every claim of the token is among the operator's, unknown ones too, and no other.
    """
    made = operator(custom=1, roles=["clerk"])

    assert dict(made.claims) == {**CLAIMS, "custom": 1, "roles": ("clerk",)}
    assert len(made.claims) == len(CLAIMS) + 2
    assert "missing" not in made.claims
    assert "alice" not in repr(made.claims)


def test_made_operator_is_like_any_other() -> None:
    """
    What the mapping makes is an `Operator` that cannot be told from one that was constructed.
    """
    made = operator(scope="a", act={"sub": "svc"})

    built = Operator(
        operator_id=f"{ISSUER}#alice",
        kind="user",
        issuer=ISSUER,
        subject="alice",
        client_id="web",
        scopes=frozenset({"a"}),
        actors=(Actor("svc"),),
        token=TokenFacts(token_id="t-1", issued_at=1_900_000_000, expires_at=2_000_000_000),
        claims=made.claims,
    )
    assert type(made) is Operator
    assert type(made.token) is TokenFacts
    assert (made, hash(made), repr(made)) == (built, hash(built), repr(built))
    for one in dataclasses.fields(Operator):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, one.name, "x")
    assert dataclasses.replace(made, roles=frozenset({"r"})).roles == {"r"}


@pytest.mark.parametrize(
    ("name", "token_types", "required", "required_claims"),
    [
        pytest.param("default", {"at+jwt", "jwt", ""}, {"subject"}, (), id="default"),
        pytest.param("rfc9068", {"at+jwt"}, {"subject", "client_id", "token_id"}, ("iat",), id="rfc9068"),
    ],
)
def test_profiles_say_what_they_require(
    name: str, token_types: set[str], required: set[str], required_claims: tuple[str, ...]
) -> None:
    """
    The lenient default accepts absent and plain types; RFC 9068 to the letter does not (HOUSE, R104, R108).
    """
    profile = load_profile(name)

    assert profile.token_types == token_types
    assert profile.required == required
    assert profile.required_claims == required_claims


ROLES_PATHS = [["realm_access", "roles"], ["realm", "roles"], ["roles"]]


@pytest.mark.parametrize(
    ("claims", "roles"),
    [
        pytest.param({"realm_access": {"roles": ["a"]}, "roles": ["b"]}, {"a"}, id="the first path"),
        pytest.param({"realm_access": {}, "roles": ["b"]}, {"b"}, id="a member is missing"),
        pytest.param({"realm_access": "roles", "roles": ["b"]}, {"b"}, id="through a string"),
        pytest.param({"realm_access": None, "roles": ["b"]}, {"b"}, id="through null"),
        pytest.param({"realm_access": 1, "roles": ["b"]}, {"b"}, id="through a number"),
        pytest.param({"realm_access": ["roles"], "roles": ["b"]}, {"b"}, id="through an array"),
        pytest.param({"realm_access": [{"roles": ["a"]}], "realm": True}, set(), id="through all of them"),
        pytest.param({"realm": {"roles": []}, "roles": ["b"]}, set(), id="an empty list is there"),
        pytest.param({"realm_access.roles": ["a"]}, set(), id="a dotted name is another name"),
    ],
)
def test_first_path_that_is_there_is_read(claims: dict[str, Any], roles: set[str]) -> None:
    """
    A path that leads through what is no object leads nowhere, so that the next one is tried.
    """
    made = mapping_of(mapping={"roles": ROLES_PATHS}).operator({**CLAIMS, **claims})

    assert made.roles == roles


@pytest.mark.parametrize("value", [None, 1, {}, [1], [None], [["a"]]], ids=repr)
def test_malformed_value_at_the_first_path_refuses(value: object) -> None:
    """
    The next path is for what is missing, not for what nobody can read; the outermost claim is named.
    """
    claims = {**CLAIMS, "realm_access": {"roles": value}, "roles": ["b"]}

    with pytest.raises(ClaimError) as caught:
        mapping_of(mapping={"roles": ROLES_PATHS}).operator(claims)

    assert (caught.value.claim, caught.value.code) == ("realm_access", "claims_malformed")


@pytest.mark.parametrize("claims", [{}, {"user": {}}, {"user": "alice"}], ids=repr)
def test_required_field_at_a_path_is_required_there(claims: dict[str, Any]) -> None:
    """
    A mapped subject is as required as an unmapped one.
    """
    mapping = mapping_of(mapping={"subject": ["user", "id"]})

    made = mapping.operator({**CLAIMS, "user": {"id": "bob"}})

    assert (made.subject, made.operator_id) == ("bob", f"{ISSUER}#bob")
    with pytest.raises(ClaimError) as caught:
        mapping.operator({**CLAIMS, **claims})
    assert (caught.value.claim, caught.value.code) == ("user", "claim_missing")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "mapping",
    ["https://acme.example/x.y", ["a.b", "c:d", "e"], [["nowhere"], ["a.b", "c:d", "e"]]],
    ids=["name", "path", "paths"],
)
def test_every_field_can_be_read_elsewhere(field: str, mapping: object) -> None:
    """
    Each field takes a member, a path or several paths, of exact names.
    """
    claims = {**CLAIMS, "https://acme.example/x.y": "v", "a.b": {"c:d": {"e": "v"}}}

    made = mapping_of(mapping={field: mapping}).operator(claims)

    value = made.token.token_id if field == "token_id" else getattr(made, field)
    assert value in ("v", ("v",), frozenset({"v"}))


def test_unmapped_fields_stay_as_the_profile_has_them() -> None:
    """
    A mapping replaces the fields it names, and a replaced field is not read where it was.
    """
    claims = {**CLAIMS, "roles": ["a"], "groups": ["g"], "app_roles": ["b"]}

    made = mapping_of(mapping={"roles": "app_roles"}).operator(claims)

    assert made.roles == {"b"}
    assert made.groups == {"g"}


@pytest.mark.parametrize(
    ("aud", "code"),
    [
        pytest.param({}, "claim_missing", id="missing"),
        pytest.param({"aud": "orders"}, "claims_malformed", id="no URN"),
        pytest.param({"aud": "urn:"}, "claims_malformed", id="nothing after it"),
        pytest.param({"aud": ["urn:1"]}, "claims_malformed", id="an array"),
    ],
)
def test_pega_client_is_read_of_one_urn(aud: dict[str, Any], code: str) -> None:
    """
    The mapping takes no other *aud* for a client, whatever was looked at before it.
    """
    claims = {"iss": "urn:pega", "sub": "a", "exp": 1}

    assert mapping_of("pega").operator({**claims, "aud": "urn:1"}).client_id == "1"
    with pytest.raises(ClaimError) as caught:
        mapping_of("pega").operator({**claims, **aud})
    assert (caught.value.claim, caught.value.code) == ("aud", code)


@pytest.mark.parametrize(
    ("value", "held", "active"),
    [
        pytest.param(["b", "a", "b"], ("b", "a"), "b", id="in the order given, without repetition"),
        pytest.param("Orders:Api", ("Orders:Api",), "Orders:Api", id="a lone string"),
        pytest.param([{"value": "b"}, "a", {"value": "a"}], ("b", "a"), "b", id="SCIM objects"),
        pytest.param([], (), None, id="none"),
    ],
)
def test_access_groups_are_held_in_order(value: object, held: tuple[str, ...], active: str | None) -> None:
    """
    The access groups keep their order, and the first one held is the active one.
    """
    made = mapping_of(mapping={"access_groups": "ag"}).operator({**CLAIMS, "ag": value})

    assert (made.access_groups, made.access_group) == (held, active)


@pytest.mark.parametrize("value", [None, 1, True, {}, ["a", 1], [{"display": "a"}]], ids=repr)
def test_malformed_access_groups_are_refused(value: object) -> None:
    """
    Access groups are read like any other list.
    """
    with pytest.raises(ClaimError) as caught:
        mapping_of(mapping={"access_groups": "ag"}).operator({**CLAIMS, "ag": value})

    assert (caught.value.claim, caught.value.code) == ("ag", "claims_malformed")


@pytest.mark.parametrize(
    ("claims", "mapping", "overage", "left_out"),
    [
        pytest.param({}, None, False, set(), id="no groups and none left out"),
        pytest.param({"_claim_names": {"groups": "src1"}}, None, True, {"groups"}, id="in another place"),
        pytest.param({"hasgroups": True}, None, True, {"groups"}, id="hasgroups"),
        pytest.param({"hasgroups": False}, None, False, set(), id="hasgroups false"),
        pytest.param({"_claim_names": {"roles": "src1"}}, None, False, set(), id="another claim left out"),
        pytest.param({"_claim_names": ["groups"]}, None, False, set(), id="no object"),
        pytest.param({"_claim_names": None, "hasgroups": None}, None, False, set(), id="null"),
        pytest.param(
            {"hasgroups": True},
            {"access_groups": "groups", "roles": "groups", "scopes": "groups"},
            True,
            {"groups", "access_groups", "roles", "scopes"},
            id="every list read from the groups",
        ),
        pytest.param(
            {"hasgroups": True}, {"groups": "memberships"}, True, set(), id="groups read from another claim"
        ),
        pytest.param(
            {"hasgroups": True, "other": ["a"]},
            {"access_groups": [["groups"], ["other"]]},
            True,
            {"groups"},
            id="found in another claim",
        ),
        pytest.param({"hasgroups": True}, {"tenant": "groups"}, True, {"groups"}, id="a text is no list"),
    ],
)
def test_lists_that_the_issuer_left_out_are_known(
    claims: dict[str, Any], mapping: object, overage: bool, left_out: set[str]
) -> None:
    """
    Groups that were left out are unknown, not none: the operator says so, and which lists it concerns.
    """
    made = mapping_of(mapping=mapping).operator({**CLAIMS, **claims})

    assert made.groups_overage is overage
    assert made._left_out == left_out


TEXTS = st.text("ab é", max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    sorted(
        {
            name
            for profile in PROFILES
            for paths in load_profile(profile).fields.values()
            for (name, *_) in paths
            if name is not None
        }
        | {"act", "acr", "amr", "auth_time", "idtyp", "gty", "_claim_names", "hasgroups", "aud", "uid"}
    )
)
READABLE = st.sampled_from(["alice", ["a"], {"sub": "x"}, {"orders": {"roles": ["r"]}}, "urn:1", "@clients"])


@given(profile=st.sampled_from(PROFILES), claims=st.dictionaries(NAMES, JSON | READABLE, max_size=12))
def test_any_claims_make_an_operator_or_are_refused(profile: str, claims: dict[str, Any]) -> None:
    """
    Whatever the claims are, they make an operator of the issuer or a `ClaimError`, and nothing else happens.
    """
    before = json.dumps(claims)

    made = outcome(mapping_of(profile, audiences=("orders", "x")), {"iss": ISSUER, "exp": 1, **claims})

    assert json.dumps(claims) == before
    if isinstance(made, ClaimError):
        assert made.code in {"claim_missing", "claims_malformed"}
        return
    assert made.kind in {"user", "service"}
    assert made.operator_id == f"{ISSUER}#{made.subject}"
    assert made.access_group == (made.access_groups[0] if made.access_groups else None)
    assert_frozen(dict(made.claims))


def outcome(mapping: OperatorMapping, claims: dict[str, Any]) -> Operator | ClaimError:
    try:
        return mapping.operator(claims)
    except ClaimError as refused:
        return refused


@given(value=JSON)
def test_nothing_in_claims_can_be_changed(value: Any) -> None:
    """
    What a handler is given of the claims has neither a list nor a dictionary in it, at any depth.
    """
    claims = FrozenClaims({"claim": value})

    assert_frozen({"claim": claims["claim"]})
    assert claims == FrozenClaims({"claim": value})


def assert_frozen(values: Mapping[str, Any]) -> None:
    ahead = list(values.values())
    while ahead:
        one = ahead.pop()
        assert not isinstance(one, list | dict | set)
        ahead += one.values() if isinstance(one, Mapping) else one if isinstance(one, tuple) else ()
