"""
The operator: a frozen value in the shape of a Starlette user.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from starlette.authentication import has_required_scope
from starlette.requests import HTTPConnection

from guardrail import Actor, Operator, TokenFacts
from guardrail._frozen import freeze
from guardrail._operator import ANONYMOUS


def operator(**settings: Any) -> Operator:
    return Operator(
        **({"operator_id": "i#alice", "kind": "user", "issuer": "i", "subject": "alice"} | settings)
    )


def test_operator_without_more_has_no_authority() -> None:
    """
    What is not said is empty: no scopes, roles, groups or facts.
    """
    made = operator()

    assert (made.scopes, made.roles, made.groups, made.permissions) == (frozenset(),) * 4
    assert (made.access_groups, made.access_group, made.actors) == ((), None, ())
    assert made.token == TokenFacts()
    assert made.claims == {}


@pytest.mark.parametrize(
    ("settings", "display_name"),
    [
        pytest.param({"username": "alice.w"}, "alice.w", id="user name"),
        pytest.param({}, "alice", id="subject"),
        pytest.param({"email": "a@example.com"}, "alice", id="never the e-mail address"),
    ],
)
def test_operator_has_the_shape_of_a_starlette_user(settings: dict[str, str], display_name: str) -> None:
    """
    `request.user` works with what Starlette expects of a user.
    """
    made = operator(**settings)

    assert made.is_authenticated
    assert made.display_name == display_name
    assert made.identity == "i#alice"


def test_operator_has_the_shape_of_starlette_credentials() -> None:
    """
    Starlette's own scope test reads the operator's scopes.
    """
    connection = HTTPConnection(
        {"type": "http", "headers": [], "auth": operator(scopes=frozenset({"a", "b"}))}
    )

    assert has_required_scope(connection, ["a", "b"])
    assert not has_required_scope(connection, ["a", "c"])


@pytest.mark.parametrize(("kind", "expected"), [("user", True), ("service", True), ("anonymous", False)])
def test_only_the_anonymous_are_not_authenticated(kind: str, expected: bool) -> None:
    """
    Users and services had a token verified.
    """
    assert operator(kind=kind).is_authenticated is expected


def test_anonymous_has_no_authority() -> None:
    """
    The operator of a public route is nobody.
    """
    assert ANONYMOUS.kind == "anonymous"
    assert not ANONYMOUS.is_authenticated
    assert not ANONYMOUS.is_delegated
    assert (ANONYMOUS.scopes, ANONYMOUS.roles, ANONYMOUS.access_group) == (frozenset(), frozenset(), None)


def test_operator_with_an_actor_is_delegated() -> None:
    """
    Somebody acts on the subject's behalf exactly if there is an actor.
    """
    assert operator(actors=(Actor("svc"),)).is_delegated
    assert not operator().is_delegated


def test_operator_is_shown_without_personal_values() -> None:
    """
    A log line has enough to recognise the operator, and neither e-mail address nor claims (R125, F12).
    """
    made = operator(
        client_id="web",
        scopes=frozenset({"b", "a"}),
        email="alice@example.com",
        username="Alice W",
        claims=freeze({"secret": "s3cr3t"}),
    )

    assert repr(made) == "Operator(operator_id='i#alice', kind='user', client_id='web', scopes=['a', 'b'])"
    assert str(made) == repr(made)


@pytest.mark.parametrize("name", ["operator_id", "kind", "scopes", "roles", "claims", "token"])
def test_operator_cannot_be_changed(name: str) -> None:
    """
    No handler can give itself authority (R256).
    """
    made = operator()

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, name, "x")
    with pytest.raises((AttributeError, TypeError)):
        setattr(made, "is_admin", True)  # noqa: B010 - a type checker refuses the plain assignment


@pytest.mark.parametrize("value", [Actor("svc"), TokenFacts()], ids=["actor", "facts"])
def test_parts_of_an_operator_cannot_be_changed(value: Any) -> None:
    """
    Actors and facts are frozen like the operator.
    """
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, "x")


def test_operator_is_hashable_and_compared_by_value() -> None:
    """
    Operators can be counted; another issuer, or another claim, makes another operator.
    """
    one, same = operator(claims=freeze({"a": [1]})), operator(claims=freeze({"a": [1]}))
    other = operator(claims=freeze({"a": [2]}))

    assert one == same
    assert hash(one) == hash(same) == hash(other)
    assert one != other
    assert len({one, same, other}) == 2
    assert one != operator(operator_id="j#alice", issuer="j")


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "text", ""], ids=repr)
def test_plain_values_are_frozen_already(value: object) -> None:
    """
    What cannot be changed stays what it is.
    """
    assert freeze(value) is value


def test_objects_and_arrays_are_frozen_in_depth() -> None:
    """
    Objects become read-only mappings and arrays tuples, at every depth, apart from the original.
    """
    original: dict[str, Any] = {"a": [1, {"b": [2]}, []], "c": {}}
    frozen = freeze(original)

    original["a"].append(3)
    original["a"][1]["b"].append(4)
    original["c"]["x"] = 5
    original["d"] = 6

    assert frozen == {"a": (1, {"b": (2,)}, ()), "c": {}}
    for mapping in mappings(frozen):
        with pytest.raises(TypeError):
            mapping["x"] = 1


def mappings(value: object) -> Iterator[Any]:
    """
    Every mapping in *value*, itself first.
    """
    if isinstance(value, Mapping):
        yield value
        value = tuple(value.values())
    if isinstance(value, tuple):
        for one in value:
            yield from mappings(one)
