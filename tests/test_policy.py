"""
Service packages, the requirements they make, and `public`: what is refused where it is written.
"""

import asyncio
import copy
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from guardrail import Issuer, Requirement, ServicePackage, public
from guardrail._declaration import declaration_of
from guardrail._settings import MAX_SECONDS
from guardrail.errors import MiddlewareMissingError, PolicyError

URL = "https://login.example.com"
AUDIENCE = "https://api.example.com/orders"
VOCABULARY = {"orders:read": "Read orders", "orders:write": "Place orders", "orders:audit": "Audit orders"}


def package(**settings: Any) -> ServicePackage:
    """
    A package of values that a type checker would refuse.
    """
    return ServicePackage("orders", **({"issuer": URL, "audience": AUDIENCE} | settings))


def decorators(one: ServicePackage) -> dict[str, Callable[..., Any]]:
    return {"requires": one.requires, "requires_any": one.requires_any}


def test_package_is_made_of_its_settings() -> None:
    """
    A package knows its issuers, its audiences and its vocabulary.
    """
    made = package(scopes=VOCABULARY, required_scopes=["orders:read"])

    assert made.name == "orders"
    assert made.issuers == (Issuer(URL),)
    assert made.audiences == frozenset({AUDIENCE})
    assert made.vocabulary == VOCABULARY
    assert made.required_scopes == ("orders:read",)


@pytest.mark.parametrize(
    ("settings", "form"),
    [
        pytest.param({"audience": AUDIENCE}, 'issuer="https://login.example.com"', id="no issuer"),
        pytest.param({"issuer": URL}, 'audience="https://api.example.com/orders"', id="no audience"),
        pytest.param({}, 'issuer="https://login.example.com"', id="neither"),
    ],
)
def test_issuer_and_audience_have_no_default(settings: dict[str, str], form: str) -> None:
    """
    A package without an issuer or an audience is refused, and the form is named (A28, C5).
    """
    make: Callable[..., ServicePackage] = ServicePackage

    with pytest.raises(PolicyError) as caught:
        make("orders", **settings)

    assert form in str(caught.value)


def test_settings_after_the_name_are_keywords() -> None:
    """
    Written without their names, issuer and audience are not there.
    """
    make: Callable[..., ServicePackage] = ServicePackage

    with pytest.raises(PolicyError, match="issuer="):
        make("orders", URL, AUDIENCE)


@pytest.mark.parametrize("name", ["orders", "Orders API", "o", "a/b:c-1.2_3,x;y"])
def test_name_may_be_printable_text(name: str) -> None:
    """
    A name that can stand in a challenge without escaping is accepted.
    """
    made = ServicePackage(name, issuer=URL, audience=AUDIENCE)

    assert made.name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        'or"ders',
        "or\\ders",
        "or\nders",
        "or\tders",
        "orders\x00",
        "orders\x7f",
        "commandé",
        None,
        1,
        b"orders",
        ["orders"],
    ],
    ids=repr,
)
def test_name_that_cannot_stand_in_a_challenge_is_refused(name: Any) -> None:
    """
    Quotes, backslashes, control and non-ASCII characters would need escaping in every answer (R27, F8).
    """
    with pytest.raises(PolicyError, match="name must be printable ASCII"):
        ServicePackage(name, issuer=URL, audience=AUDIENCE)


@pytest.mark.parametrize(
    ("audience", "audiences"),
    [
        pytest.param(AUDIENCE, {AUDIENCE}, id="one"),
        pytest.param([AUDIENCE, "orders"], {AUDIENCE, "orders"}, id="a list"),
        pytest.param({AUDIENCE}, {AUDIENCE}, id="a set"),
        pytest.param(iter([AUDIENCE]), {AUDIENCE}, id="an iterator"),
    ],
)
def test_audience_is_one_or_several(audience: object, audiences: set[str]) -> None:
    """
    A bare string is one audience, and never a set of letters (R113, R137).
    """
    made = package(audience=audience)

    assert made.audiences == audiences


@pytest.mark.parametrize(
    "audience",
    [
        "https://api.example.com/orders#x",
        ["a", "https://api.example.com/#"],
        " orders",
        "orders\n",
        "",
        " ",
        [],
        [""],
        [" "],
        [AUDIENCE, ""],
        [AUDIENCE, None],
        [1],
        None,
        1,
        True,
        b"orders",
        [b"orders"],
    ],
    ids=repr,
)
def test_audience_that_names_nothing_is_refused(audience: object) -> None:
    """
    There is no package whose audience is not looked at (R112).
    """
    with pytest.raises(PolicyError, match=r'such as "https://api\.example\.com/orders"'):
        package(audience=audience)


@pytest.mark.parametrize(
    "issuer",
    [
        pytest.param("", id="empty"),
        pytest.param([], id="none at all"),
        pytest.param(None, id="None"),
        pytest.param(1, id="a number"),
        pytest.param("http://login.example.com", id="plain http"),
        pytest.param([URL, "ftp://x"], id="one bad one"),
        pytest.param([URL, URL], id="one twice"),
    ],
)
def test_issuer_that_names_nobody_is_refused(issuer: object) -> None:
    """
    A package trusts at least one issuer, each of them once.
    """
    with pytest.raises(PolicyError, match="issuer"):
        package(issuer=issuer)


@pytest.mark.parametrize(
    ("scopes", "vocabulary"),
    [
        pytest.param((), {}, id="none"),
        pytest.param(["orders:read"], {"orders:read": ""}, id="names"),
        pytest.param({"orders:read"}, {"orders:read": ""}, id="a set of names"),
        pytest.param(
            iter(["orders:read", "orders:read"]), {"orders:read": ""}, id="an iterator with a repetition"
        ),
        pytest.param({"orders:read": "Read"}, {"orders:read": "Read"}, id="names and descriptions"),
    ],
)
def test_vocabulary_is_names_or_descriptions(scopes: object, vocabulary: dict[str, str]) -> None:
    """
    Scopes may be given as names alone, or with what they allow.
    """
    made = package(scopes=scopes)

    assert made.vocabulary == vocabulary


@pytest.mark.parametrize("setting", ["scopes", "required_scopes"])
@pytest.mark.parametrize(
    "scopes",
    ["orders:read", b"orders:read", "", None, 1, True, [""], ["orders:read", None], [1], [["orders:read"]]],
    ids=repr,
)
def test_scopes_that_are_not_several_strings_are_refused(setting: str, scopes: object) -> None:
    """
    A bare string is never taken for a set of its letters, and the right form is named.
    """
    with pytest.raises(PolicyError, match=rf'^{setting} must .*\["orders:read"\]'):
        package(**{setting: scopes})


@pytest.mark.parametrize(
    "scope",
    [
        pytest.param("orders read", id="space"),
        pytest.param(" ", id="a space alone"),
        pytest.param('orders"read', id="quote"),
        pytest.param("orders\\read", id="backslash"),
        pytest.param("orders\tread", id="tab"),
        pytest.param("orders\nread", id="line feed"),
        pytest.param("orders\x00", id="NUL"),
        pytest.param("orders\x7f", id="DEL"),
        pytest.param("commandé", id="non-ASCII"),
    ],
)
def test_scope_that_is_no_scope_token_is_refused_everywhere(scope: str) -> None:
    """
    A scope that could neither be granted nor stand in a challenge is refused wherever it is written (R27).
    """
    plain = package()

    for write in (
        lambda: package(scopes=[scope]),
        lambda: package(scopes={scope: "x"}),
        lambda: package(required_scopes=[scope]),
        lambda: package(implies={scope: ["orders:read"]}),
        lambda: package(implies={"orders:write": [scope]}),
        lambda: plain.requires(scope),
        lambda: plain.requires_any("orders:read", scope),
        lambda: plain.requires(acr_values=[scope]),
    ):
        with pytest.raises(PolicyError, match="is not one scope"):
            write()


@pytest.mark.parametrize(
    "scope",
    ["!", "#$%&'()*+,-./0:;<=>?@A", "[Z]^_`a{|}~", "https://graph.example.com/User.Read"],
)
def test_scope_of_any_scope_token_characters_is_accepted(scope: str) -> None:
    """
    Every character of RFC 6749's scope-token may be in a scope.
    """
    requirement = package(scopes=[scope]).requires(scope)

    assert requirement.all_scopes == (scope,)


@pytest.mark.parametrize("form", ["requires", "requires_any"])
def test_scope_outside_the_vocabulary_is_refused_with_a_suggestion(form: str) -> None:
    """
    A typing error in a decorator is found at import, and the scope that was meant is named.
    """
    made = package(scopes=VOCABULARY)

    with pytest.raises(PolicyError) as caught:
        decorators(made)[form]("orders:raed")

    assert str(caught.value) == (
        "'orders:raed' is not a scope of service package 'orders'; did you mean 'orders:read'?"
    )


@pytest.mark.parametrize("scope", ["orders:Read", "orders:rea", "orders:read:all", "order:read"])
def test_scope_that_only_resembles_one_is_refused(scope: str) -> None:
    """
    Scopes are compared exactly: neither case nor a prefix makes one of the vocabulary (R127).
    """
    made = package(scopes=VOCABULARY)

    with pytest.raises(PolicyError, match="did you mean 'orders:read'"):
        made.requires(scope)


def test_scope_unlike_any_other_is_refused_with_the_list() -> None:
    """
    Where nothing resembles it, the refusal lists what is known.
    """
    made = package(scopes=VOCABULARY)

    with pytest.raises(PolicyError, match="known are orders:read, orders:write, orders:audit"):
        made.requires("zzz")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"required_scopes": ["orders:raed"]}, id="required_scopes"),
        pytest.param({"implies": {"orders:write": ["orders:raed"]}}, id="implied"),
        pytest.param({"implies": {"orders:raed": ["orders:write"]}}, id="implying"),
    ],
)
def test_settings_outside_the_vocabulary_are_refused(settings: dict[str, Any]) -> None:
    """
    The package's own settings are held to its vocabulary, too.
    """
    with pytest.raises(PolicyError, match="did you mean 'orders:read'"):
        package(scopes=VOCABULARY, **settings)


def test_without_a_vocabulary_any_scope_is_accepted() -> None:
    """
    A package that lists no scopes refuses none for being unknown.
    """
    requirement = package().requires("anything:at-all")

    assert requirement.all_scopes == ("anything:at-all",)


@pytest.mark.parametrize(
    ("implies", "granted", "expanded"),
    [
        pytest.param(None, {"a"}, {"a"}, id="nothing implied"),
        pytest.param({}, {"a"}, {"a"}, id="an empty mapping"),
        pytest.param({"a": ["b"]}, {"a"}, {"a", "b"}, id="one step"),
        pytest.param({"a": ["b"]}, {"b"}, {"b"}, id="not backwards"),
        pytest.param({"a": ["b"]}, {"c"}, {"c"}, id="another scope"),
        pytest.param({"a": ["b"]}, set(), set(), id="no scope"),
        pytest.param({"a": ["b"], "b": ["c"]}, {"a"}, {"a", "b", "c"}, id="two steps"),
        pytest.param(
            {"b": ["c"], "a": ["b"]}, {"a"}, {"a", "b", "c"}, id="two steps, written in another order"
        ),
        pytest.param({"a": ["b", "c"], "c": ["d"]}, {"a"}, {"a", "b", "c", "d"}, id="several"),
        pytest.param({"a": ["a"]}, {"a"}, {"a"}, id="itself"),
        pytest.param({"a": ["b"], "b": ["a"]}, {"a"}, {"a", "b"}, id="a circle of two"),
        pytest.param({"a": ["b"], "b": ["c"], "c": ["a"]}, {"b"}, {"a", "b", "c"}, id="a circle of three"),
        pytest.param({"a": ["b"], "b": ["b", "c"]}, {"a"}, {"a", "b", "c"}, id="a circle on the way"),
        pytest.param({"a": []}, {"a"}, {"a"}, id="nothing"),
        pytest.param({"a": iter(["b"])}, {"a"}, {"a", "b"}, id="an iterator"),
        pytest.param({"a": ["b"], "x": ["y"]}, {"a", "x"}, {"a", "b", "x", "y"}, id="two scopes at once"),
    ],
)
def test_implied_scopes_are_granted_with_the_broader_one(
    implies: Any, granted: set[str], expanded: set[str]
) -> None:
    """
    A broader scope grants what it implies over any number of steps, and circles end (R130).
    """
    made = package(implies=implies)

    assert made.expand(frozenset(granted)) == expanded


@pytest.mark.parametrize(
    "implies",
    [
        pytest.param([("a", ["b"])], id="a list of pairs"),
        pytest.param("a", id="a string"),
        pytest.param(1, id="a number"),
        pytest.param([], id="an empty list"),
        pytest.param("", id="an empty string"),
        pytest.param(0, id="zero"),
        pytest.param(False, id="False"),
    ],
)
def test_implies_that_is_no_mapping_is_refused(implies: object) -> None:
    """
    What a scope implies is a mapping or nothing, and something falsy is not nothing.
    """
    with pytest.raises(PolicyError, match="implies must map scopes to scopes"):
        package(implies=implies)


@pytest.mark.parametrize("implied", ["b", None, 1, [None], [1]], ids=repr)
def test_implied_scopes_that_are_not_several_strings_are_refused(implied: object) -> None:
    """
    A bare string of letters is not several implied scopes.
    """
    with pytest.raises(PolicyError, match=r"^implies must "):
        package(implies={"a": implied})


def test_requirement_holds_what_was_named() -> None:
    """
    All of the scopes, any of the roles and access groups, and the authentication wanted.
    """
    made = package(scopes=VOCABULARY)

    requirement = made.requires(
        "orders:read",
        "orders:write",
        roles=["clerk"],
        access_groups={"Orders:Api"},
        acr_values=["mfa", "pwd"],
        max_age=300,
    )

    assert requirement == Requirement(
        package=made,
        all_scopes=("orders:read", "orders:write"),
        any_scopes=(),
        roles=frozenset({"clerk"}),
        access_groups=frozenset({"Orders:Api"}),
        acr_values=("mfa", "pwd"),
        max_age=300.0,
    )


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"all_scopes": "orders:read"}, id="bare string"),
        pytest.param({"all_scopes": ["a b"]}, id="two scopes in one"),
        pytest.param({"any_scopes": ['a"']}, id="a quote"),
        pytest.param({"any_scopes": [1]}, id="a number"),
        pytest.param({"roles": "admin"}, id="roles as a bare string"),
        pytest.param({"access_groups": [""]}, id="an empty access group"),
        pytest.param({"acr_values": ["a b"]}, id="two classes in one"),
        pytest.param({"max_age": -1}, id="a negative age"),
        pytest.param({"max_age": True}, id="an age that is a flag"),
    ],
)
def test_requirement_made_by_hand_is_held_to_the_same(settings: dict[str, Any]) -> None:
    """
    A requirement constructed directly cannot hold what the decorator's form refuses.
    """
    with pytest.raises(PolicyError):
        Requirement(package=package(), **settings)


def test_requirement_made_by_hand_is_normalized() -> None:
    """
    Lists and sets become what a requirement is compared by.
    """
    settings: dict[str, Any] = {"all_scopes": ["a", "a"], "roles": ["r"], "acr_values": ["m"], "max_age": 1}

    made = Requirement(package=package(), **settings)

    assert made == package().requires("a", roles=["r"], acr_values=["m"], max_age=1.0)


def test_any_of_form_names_alternatives() -> None:
    """
    Scopes of the any-of form are alternatives, and none of them is needed by itself (R131).
    """
    requirement = package().requires_any("orders:read", "orders:audit", roles=["clerk"], max_age=0)

    assert (requirement.all_scopes, requirement.any_scopes) == ((), ("orders:read", "orders:audit"))
    assert (requirement.roles, requirement.max_age) == (frozenset({"clerk"}), 0.0)


@pytest.mark.parametrize(
    ("form", "all_scopes", "any_scopes"),
    [
        pytest.param("requires", ("base", "orders:read"), (), id="all of"),
        pytest.param("requires_any", ("base",), ("orders:read", "base"), id="any of"),
    ],
)
def test_required_scopes_are_added_to_every_requirement(
    form: str, all_scopes: tuple[str, ...], any_scopes: tuple[str, ...]
) -> None:
    """
    What the package needs is needed on each of its routes, beside what the route names (E17).
    """
    made = package(required_scopes=["base"])

    requirement = decorators(made)[form]("orders:read", "base")

    assert (requirement.all_scopes, requirement.any_scopes) == (all_scopes, any_scopes)


def test_requirement_without_scopes_is_any_valid_token() -> None:
    """
    No scope named means a valid token of the package, and a declared route all the same (C11).
    """
    requirement = package().requires()

    @requirement
    def endpoint() -> None: ...

    declaration = declaration_of(endpoint)
    assert (requirement.all_scopes, requirement.any_scopes) == ((), ())
    assert declaration is not None
    assert declaration.requirement is requirement
    assert not declaration.is_public


def test_requires_any_without_scopes_is_refused() -> None:
    """
    None of nothing cannot be met, and is not meant.
    """
    with pytest.raises(PolicyError, match=r'requires_any\("orders:read", "orders:audit"\)'):
        package().requires_any()


@pytest.mark.parametrize("form", ["requires", "requires_any"])
@pytest.mark.parametrize(
    "scopes",
    [
        pytest.param((["orders:read"],), id="a list passed as one scope"),
        pytest.param((("orders:read", "orders:write"),), id="a tuple passed as one scope"),
        pytest.param(({"orders:read"},), id="a set passed as one scope"),
        pytest.param(("orders:read", None), id="None"),
        pytest.param((b"orders:read",), id="bytes"),
        pytest.param(("",), id="an empty string"),
        pytest.param((lambda: None,), id="used without parentheses"),
        pytest.param((type,), id="used without parentheses on a class"),
    ],
)
def test_decorator_misused_names_its_right_form(form: str, scopes: tuple[object, ...]) -> None:
    """
    Scopes are arguments of their own: the refusal says how to write them, not to write a list.
    """
    with pytest.raises(PolicyError) as caught:
        decorators(package())[form](*scopes)

    assert re.search(r'requires(_any)?\("orders:read"', str(caught.value))


@pytest.mark.parametrize("form", ["requires", "requires_any"])
def test_decorator_without_parentheses_is_refused(form: str) -> None:
    """
    `@orders.requires` without parentheses fails at import, and never makes an open endpoint.
    """
    decorate = decorators(package())[form]

    def endpoint() -> None: ...

    with pytest.raises(PolicyError):
        decorate(endpoint)


@pytest.mark.parametrize("form", ["requires", "requires_any"])
@pytest.mark.parametrize("setting", ["roles", "access_groups", "acr_values"])
@pytest.mark.parametrize("value", ["admin", b"admin", None, 1, [""], [None], ["a", 1]], ids=repr)
def test_settings_that_are_not_several_strings_are_refused(form: str, setting: str, value: object) -> None:
    """
    A bare string is never several roles, groups or context classes (C19).
    """
    with pytest.raises(PolicyError, match=f"^{setting} must "):
        decorators(package())[form]("orders:read", **{setting: value})


@pytest.mark.parametrize("max_age", [0, 0.5, 1, 86_400, MAX_SECONDS], ids=repr)
def test_max_age_of_zero_and_more_is_accepted(max_age: float) -> None:
    """
    A maximum age is a number of seconds, and may be none at all.
    """
    requirement = package().requires(max_age=max_age)

    assert requirement.max_age == max_age


@pytest.mark.parametrize(
    "max_age",
    [
        -0.001,
        -1,
        1.001e12,
        float("inf"),
        float("nan"),
        pytest.param(10**400, id="huge"),
        True,
        False,
        "300",
        [300],
    ],
    ids=repr,
)
def test_other_max_ages_are_refused(max_age: Any) -> None:
    """
    A maximum age that nobody can meet, or everybody does, is refused.
    """
    with pytest.raises(PolicyError, match="max_age must be a number of seconds"):
        package().requires(max_age=max_age)


@pytest.mark.parametrize("second", ["requires", "requires_any", "public", "another package"])
@pytest.mark.parametrize("first", ["requires", "public"])
def test_two_decorators_on_one_endpoint_are_refused(first: str, second: str) -> None:
    """
    One decorator names everything: a second would weaken or hide the first (R131).
    """
    made = package()
    every: dict[str, Any] = {
        "requires": made.requires("orders:read"),
        "requires_any": made.requires_any("orders:read"),
        "public": public,
        "another package": ServicePackage("other", issuer=URL, audience="other").requires(),
    }

    def endpoint() -> None: ...

    declared = every[first](endpoint)

    with pytest.raises(PolicyError, match="endpoint is declared twice"):
        every[second](declared)


def test_one_requirement_declares_many_endpoints() -> None:
    """
    A requirement can be kept and used on several routes.
    """
    reading = package().requires("orders:read")

    @reading
    def one() -> None: ...

    @reading
    def other() -> None: ...

    marks = [declaration_of(endpoint) for endpoint in (one, other)]
    assert [mark.requirement for mark in marks if mark] == [reading, reading]
    assert marks[0] is not marks[1]


@pytest.mark.parametrize("decorate", [package().requires(), public], ids=["requires", "public"])
def test_declared_endpoint_does_not_run_without_a_decision(decorate: Callable[[Any], Any]) -> None:
    """
    A declared function called past the middleware raises before its first line; a public one, too.
    """
    ran = []

    @decorate
    def endpoint() -> None:
        ran.append("sync")

    @decorate
    async def coroutine() -> None:
        ran.append("async")

    with pytest.raises(MiddlewareMissingError):
        endpoint()
    with pytest.raises(MiddlewareMissingError):
        asyncio.run(coroutine())

    assert ran == []


def test_public_declares_no_requirement() -> None:
    """
    A public endpoint says so, and keeps its name and signature.
    """

    @public
    def healthz(verbose: bool = False) -> str:
        """
        How it is.
        """
        return "ok"

    declaration = declaration_of(healthz)
    assert declaration is not None
    assert declaration.is_public
    assert (healthz.__name__, inspect.getdoc(healthz)) == ("healthz", "How it is.")


@pytest.mark.parametrize(
    "endpoint", [object(), 1, "endpoint", None, ()], ids=["object", "int", "str", "None", "tuple"]
)
def test_what_can_hold_no_mark_is_refused(endpoint: object) -> None:
    """
    A declaration that cannot take effect raises where it is written (R252, E11).
    """
    requirement = package().requires()

    with pytest.raises(PolicyError, match="cannot be declared"):
        requirement(endpoint)
    with pytest.raises(PolicyError, match="cannot be declared"):
        public(endpoint)


@pytest.mark.parametrize(
    ("requirement", "text"),
    [
        pytest.param(package().requires(), "any valid token", id="no scope"),
        pytest.param(package().requires("a", "b"), "a b", id="all of"),
        pytest.param(package().requires_any("a", "b"), "a | b", id="any of"),
        pytest.param(package(required_scopes=["r"]).requires_any("a"), "r, a", id="both"),
        pytest.param(package().requires(roles=["y", "x"]), "roles: x | y", id="roles"),
        pytest.param(package().requires(access_groups=["g"]), "access groups: g", id="access groups"),
        pytest.param(
            package().requires("a", acr_values=["mfa"], max_age=60), "a, acr: mfa, max_age: 60", id="step-up"
        ),
        pytest.param(package().requires(max_age=0), "max_age: 0", id="no age at all"),
    ],
)
def test_requirement_reads_as_a_table_cell(requirement: Requirement, text: str) -> None:
    """
    A requirement is shown as a developer would say it.
    """
    assert str(requirement) == text


def test_package_is_a_frozen_hashable_value() -> None:
    """
    Equal settings make equal packages and requirements; another audience makes another.
    """
    one, same = package(scopes=VOCABULARY), package(scopes=VOCABULARY)
    other = package(scopes=VOCABULARY, audience="other")

    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert (
        len({one.requires("orders:read"), same.requires("orders:read"), other.requires("orders:read")}) == 2
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.name = "x"  # type: ignore[misc]  # what the test is about
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.requires("orders:read").all_scopes = ()  # type: ignore[misc]  # what the test is about


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"issuer": URL}, {"issuer": [Issuer(URL)]}, id="issuer"),
        pytest.param({"audience": ["a", "b"]}, {"audience": {"b", "a"}}, id="audience"),
        pytest.param({"scopes": ["a"]}, {"scopes": {"a": ""}}, id="scopes"),
        pytest.param({"required_scopes": ["a", "a"]}, {"required_scopes": ("a",)}, id="required scopes"),
        pytest.param(
            {"implies": {"a": ["b"], "b": ["c"]}}, {"implies": {"b": {"c"}, "a": ["c", "b"]}}, id="implied"
        ),
        pytest.param({"implies": None}, {"implies": {}}, id="nothing implied"),
    ],
)
def test_ways_of_writing_one_package_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    """
    Packages are compared by what they mean, not by how it was written.
    """
    assert package(**one) == package(**other)
    assert hash(package(**one)) == hash(package(**other))


def test_package_is_shown_as_it_is_written() -> None:
    """
    A package in a log has each of its settings once, and nothing derived from them.
    """
    shown = repr(package(scopes=VOCABULARY, implies={"orders:write": ["orders:read"]}))

    assert re.findall(r"(?<=[(, ])(\w+)=", shown.replace(repr(Issuer(URL)), "-")) == [
        "name",
        "issuer",
        "audience",
        "scopes",
        "required_scopes",
    ]


def test_package_can_be_copied() -> None:
    """
    A copy is equal, and made without asking for the settings again.
    """
    made = package(scopes=VOCABULARY, implies={"orders:write": ["orders:read"]})

    copied = copy.copy(made)

    assert copied == made
    assert copied.requires("orders:read") == made.requires("orders:read")


def test_package_cannot_be_changed_through_its_values() -> None:
    """
    Mappings of a package are read-only, and what the caller keeps is not what we keep.
    """
    scopes, implies = dict(VOCABULARY), {"orders:write": ["orders:read"]}
    made = package(scopes=scopes, implies=implies)
    vocabulary: Any = made.vocabulary

    scopes["x"] = "later"
    implies["orders:write"].append("orders:audit")

    assert made.vocabulary == VOCABULARY
    assert made.expand(frozenset({"orders:write"})) == {"orders:write", "orders:read"}
    with pytest.raises(TypeError):
        vocabulary["x"] = "y"


def test_package_can_be_replaced_in_part() -> None:
    """
    A copy with another name keeps everything else.
    """
    made = package(
        scopes=VOCABULARY, implies={"orders:write": ["orders:read"]}, required_scopes=["orders:audit"]
    )

    changed = dataclasses.replace(made, name="other")

    assert changed.name == "other"
    assert dataclasses.replace(changed, name="orders") == made
    assert changed.expand(frozenset({"orders:write"})) == {"orders:write", "orders:read"}


def test_settings_may_be_iterators() -> None:
    """
    An iterator is read once, and everything made of it agrees.
    """

    def several(*values: str) -> Iterator[str]:
        yield from values

    made = package(
        issuer=several(URL),
        audience=several("a", "b"),
        scopes=several("x", "y"),
        required_scopes=several("x"),
    )
    requirement = made.requires("y", roles=several("r"), acr_values=several("mfa"))

    assert (made.audiences, tuple(made.vocabulary)) == (frozenset({"a", "b"}), ("x", "y"))
    assert requirement.all_scopes == ("x", "y")
    assert (requirement.roles, requirement.acr_values) == (frozenset({"r"}), ("mfa",))
