"""
User profile mapping: what an operator is made of, and which claims refuse the token instead.
"""

from types import MappingProxyType
from typing import Any

import pytest

from guardrail import Actor
from guardrail._issuer import PROFILES
from guardrail._mapping import MAX_ACTORS, Profile, load_profile
from guardrail._operator import Operator
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


def operator(profile: str = "default", **claims: Any) -> Operator:
    return load_profile(profile).operator({**CLAIMS, **claims})


def operator_without(claim: str, profile: str = "default") -> Operator:
    return load_profile(profile).operator({name: CLAIMS[name] for name in CLAIMS if name != claim})


@pytest.mark.parametrize("profile", PROFILES)
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
    made = load_profile("default").operator({"iss": ISSUER, "sub": "alice", "exp": 2_000_000_000})

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
    made = load_profile("default").operator({"iss": ISSUER, "sub": "alice", "exp": 1, **claims})

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


@pytest.mark.parametrize("profile", PROFILES)
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
        load_profile("rfc9068").operator(
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
        load_profile("default").operator(claims)

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
    The operator's claims cannot be changed, and change with nobody else's (R256).
    """
    claims = {**CLAIMS, "custom": {"list": [1, {"a": 2}]}}
    made = load_profile("default").operator(claims)

    claims["custom"]["list"].append(3)

    assert made.claims["custom"] == {"list": (1, {"a": 2})}
    assert isinstance(made.claims["custom"], MappingProxyType)
    with pytest.raises(TypeError):
        made.claims["custom"]["list"][1]["a"] = 3


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


def test_nested_claims_are_found_by_their_path() -> None:
    """
    A path of names leads into objects; where it breaks off, the next spelling is tried.
    """
    profile = Profile(
        token_types=frozenset(),
        required=frozenset({"subject"}),
        required_claims=(),
        fields={
            "subject": (("user", "id"), ("sub",)),
            "client_id": (("client_id",),),
            "token_id": (("jti",),),
            "roles": (("realm_access", "roles"), ("realm", "roles"), ("roles",)),
        },
        service_equal=("subject", "client_id"),
    )

    nested = profile.operator({**CLAIMS, "realm_access": {"roles": ["a"]}, "roles": ["b"]})
    broken = profile.operator({**CLAIMS, "realm_access": {}, "realm": "roles", "roles": ["b"]})

    assert nested.roles == {"a"}
    assert broken.roles == {"b"}
    with pytest.raises(ClaimError) as caught:
        profile.operator({**CLAIMS, "realm_access": {"roles": 1}})
    assert caught.value.claim == "realm_access"
    with pytest.raises(ClaimError) as missing:
        profile.operator({"iss": ISSUER, "exp": 1})
    assert (missing.value.claim, missing.value.reason) == ("user", "missing")
    with pytest.raises(AttributeError):
        profile.required = frozenset()  # type: ignore[misc]  # profiles are read once and shared
