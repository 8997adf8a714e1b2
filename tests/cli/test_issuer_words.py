"""
Mapping and client registrations in words of the command line.
"""

from typing import Any

import pytest

from guardrail import ClientRegistration
from guardrail.cli._errors import UsageError
from guardrail.cli._issuer_words import parse_mapping, parse_registration

MAPPINGS = [
    pytest.param([], {}, id="none"),
    pytest.param(["roles=app_roles"], {"roles": "app_roles"}, id="a member"),
    pytest.param(["roles=https://acme.example/r=1"], {"roles": "https://acme.example/r=1"}, id="equals sign"),
    pytest.param(['roles=["a.b", "roles"]'], {"roles": ["a.b", "roles"]}, id="a path"),
    pytest.param(['client_id=[["azp"], ["appid"]]'], {"client_id": [["azp"], ["appid"]]}, id="several paths"),
    pytest.param(["roles=r", "groups=g"], {"roles": "r", "groups": "g"}, id="two fields"),
]


@pytest.mark.parametrize(("pairs", "mapping"), MAPPINGS)
def test_mapping(pairs: list[str], mapping: dict[str, Any]) -> None:
    """
    FIELD=CLAIM names a member; what begins with a bracket is JSON, as `Issuer` takes it.
    """
    assert parse_mapping(pairs) == mapping


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        pytest.param(["roles"], "write --mapping FIELD=CLAIM", id="no claim"),
        pytest.param(["roles=a", "roles=b"], "mapping has roles twice", id="a field twice"),
        pytest.param(["roles=[roles]"], "is not JSON", id="no JSON"),
    ],
)
def test_words_that_are_no_mapping(pairs: list[str], message: str) -> None:
    """
    The message says the right form.
    """
    with pytest.raises(UsageError, match=message):
        parse_mapping(pairs)


REGISTRATIONS = [
    pytest.param(["batch"], ClientRegistration("batch"), id="the ID alone"),
    pytest.param(
        ["batch", "operator_id=svc", "roles=a b", "scopes=orders:read", "enabled=no"],
        ClientRegistration(
            "batch", operator_id="svc", roles=["a", "b"], scopes=["orders:read"], enabled=False
        ),
        id="several keys",
    ),
    pytest.param(["batch", "enabled=yes"], ClientRegistration("batch", enabled=True), id="enabled"),
    pytest.param(["batch", "roles="], ClientRegistration("batch", roles=[]), id="no roles at all"),
    pytest.param(
        ["batch", 'access_groups=["Orders Batch"]'],
        ClientRegistration("batch", access_groups=["Orders Batch"]),
        id="a name with a space",
    ),
]


@pytest.mark.parametrize(("words", "registration"), REGISTRATIONS)
def test_registration(words: list[str], registration: ClientRegistration) -> None:
    """
    ID KEY=VALUE, names separated by spaces or in JSON.
    """
    assert parse_registration(words) == registration


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["roles=a"], "is no client ID", id="no ID"),
        pytest.param(["batch", "role=a"], "keys: operator_id, access_groups, roles", id="no key"),
        pytest.param(["batch", "roles"], "write KEY=VALUE", id="no value"),
        pytest.param(["batch", "roles=a", "roles=b"], "client batch has roles twice", id="a key twice"),
        pytest.param(["batch", "enabled=true"], "yes or no", id="no flag"),
        pytest.param(["batch", "roles=[a]"], "is not JSON", id="no JSON"),
    ],
)
def test_words_that_are_no_registration(words: list[str], message: str) -> None:
    """
    The message says the right form.
    """
    with pytest.raises(UsageError, match=message):
        parse_registration(words)


def test_a_token_behind_a_client_is_not_repeated() -> None:
    """
    What follows a client is taken for its settings; the file may be among them, and the file the token.
    """
    with pytest.raises(UsageError, match="stands before --client") as caught:
        parse_registration(["batch", "eyJhbGciOiJub25lIn0.e30."])

    assert "eyJ" not in str(caught.value)
