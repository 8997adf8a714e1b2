"""
`Health` and `IssuerHealth`: how an application stands with its issuers, as data.
"""

import dataclasses
import json
from typing import Any

import pytest

from guardrail import Health, IssuerHealth
from guardrail._health import IssuerState

STATES: tuple[IssuerState, ...] = ("ready", "stale", "unavailable")


def issuer(state: IssuerState = "ready", *, is_required: bool = True, **facts: Any) -> IssuerHealth:
    """
    How one issuer stands.
    """
    standard: dict[str, Any] = {
        "issuer": "https://login.example.com",
        "keys": 2,
        "key_ids": ("a", "b"),
        "skipped": 1,
    }
    return IssuerHealth(state=state, is_required=is_required, **standard | facts)


FULL = issuer(
    "stale",
    generation=3,
    age=700.5,
    expires_in=-100.5,
    last_success=1_800_000_000.0,
    last_failure=1_800_000_700.0,
    last_error="ConnectError: down",
    failures=4,
    refetches_left=2,
)


def test_issuer_is_ready_without_times() -> None:
    """
    Keys in hand have no age, no errors and no budget.
    """
    assert issuer().as_dict() == {
        "issuer": "https://login.example.com",
        "state": "ready",
        "is_required": True,
        "keys": 2,
        "key_ids": ("a", "b"),
        "skipped": 1,
        "generation": None,
        "age": None,
        "expires_in": None,
        "last_success": None,
        "last_failure": None,
        "last_error": None,
        "failures": 0,
        "refetches_left": 0,
    }


def test_issuer_as_dictionary_has_every_fact() -> None:
    """
    Nothing of an issuer's health is left out, and nothing added.
    """
    fields = [field.name for field in dataclasses.fields(IssuerHealth)]

    found = FULL.as_dict()

    assert list(found) == fields
    assert found == {name: getattr(FULL, name) for name in fields}


@pytest.mark.parametrize(
    "health",
    [
        pytest.param(Health(), id="no issuers"),
        pytest.param(Health(is_started=False), id="not started"),
        pytest.param(Health((issuer(),)), id="one issuer"),
        pytest.param(Health((FULL, issuer("unavailable", is_required=False))), id="several"),
    ],
)
def test_health_as_dictionary_is_json(health: Health) -> None:
    """
    It goes through JSON and comes back as it was, strictly: no infinities, no objects of ours.
    """
    found = health.as_dict()

    read = json.loads(json.dumps(found, allow_nan=False))

    assert list(found) == ["is_ready", "is_started", "issuers"]
    assert (read["is_ready"], read["is_started"]) == (health.is_ready, health.is_started)
    assert [IssuerHealth(**one | {"key_ids": tuple(one["key_ids"])}) for one in read["issuers"]] == list(
        health.issuers
    )


@pytest.mark.parametrize(
    ("states", "is_ready"),
    [
        pytest.param((), True, id="nobody to ask"),
        pytest.param(("ready",), True, id="ready"),
        pytest.param(("stale",), True, id="stale keys are usable"),
        pytest.param(("unavailable",), False, id="unavailable"),
        pytest.param(("ready", "ready"), True, id="two ready"),
        pytest.param(("ready", "stale"), True, id="one stale"),
        pytest.param(("stale", "stale"), True, id="both stale"),
        pytest.param(("ready", "unavailable"), False, id="the last unavailable"),
        pytest.param(("unavailable", "ready"), False, id="the first unavailable"),
    ],
)
def test_ready_is_a_usable_set_of_every_required_issuer(
    states: tuple[IssuerState, ...], is_ready: bool
) -> None:
    """
    One required issuer without keys is enough to be not ready; staleness is not.
    """
    health = Health(tuple(issuer(state) for state in states))

    assert health.is_ready is is_ready


@pytest.mark.parametrize("state", STATES)
def test_issuer_that_is_not_required_does_not_count(state: IssuerState) -> None:
    """
    Whatever has become of it, those that are required decide.
    """
    optional = issuer(state, is_required=False)

    assert Health((optional,)).is_ready
    assert Health((optional, issuer())).is_ready
    assert not Health((optional, issuer("unavailable"))).is_ready


@pytest.mark.parametrize("state", STATES)
def test_before_the_start_nothing_is_ready(state: IssuerState) -> None:
    """
    While the routes are not compiled their issuers are not known, and nobody is ready for requests.
    """
    assert not Health((issuer(state),), is_started=False).is_ready
    assert not Health(is_started=False).is_ready


def test_health_is_a_value() -> None:
    """
    Two that say the same are equal, and neither can be changed.
    """
    one, same = Health((FULL,)), Health((dataclasses.replace(FULL),))
    changed: Any = one
    changed_issuer: Any = FULL

    assert one == same
    assert hash(one) == hash(same)
    assert one != Health((dataclasses.replace(FULL, failures=5),))
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.is_started = False
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed_issuer.state = "ready"


def test_dictionary_is_the_callers_own() -> None:
    """
    What is done with a dictionary changes nothing of the health it came from.
    """
    health = Health((FULL,))

    found = health.as_dict()
    found["issuers"][0]["state"] = "unavailable"
    found["issuers"].clear()

    assert health.as_dict()["issuers"] == [FULL.as_dict()]
    assert FULL.state == "stale"
