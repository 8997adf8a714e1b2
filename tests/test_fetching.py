"""
`Fetching`: what each setting may be, what it may not, and that it is a value.
"""

import dataclasses
import math
import pickle
from typing import Any

import pytest

from guardrail import Fetching, Issuer
from guardrail._settings import MAX_COUNT, MAX_SECONDS
from guardrail.errors import PolicyError

POSITIVE = ("lifetime", "timeout", "refetch_window")
NOT_NEGATIVE = ("max_stale", "unknown_key_age")
BOUNDS = ("max_age_bounds", "backoff_bounds")
COUNTS_FROM_ZERO = ("max_refetches", "max_unknown_keys")
COUNTS_FROM_ONE = ("max_body_bytes", "max_keys")
FLAGS = ("insecure_allow_link_local",)
ALL = (*POSITIVE, *NOT_NEGATIVE, *BOUNDS, *COUNTS_FROM_ZERO, *COUNTS_FROM_ONE, *FLAGS)


def refused(name: str, value: object) -> str:
    """
    The message that refuses *value* for the setting *name*.
    """
    settings: dict[str, Any] = {name: value}
    with pytest.raises(PolicyError) as caught:
        Fetching(**settings)
    return str(caught.value)


def accepted(name: str, value: object) -> object:
    """
    What becomes of *value* as the setting *name*.
    """
    settings: dict[str, Any] = {name: value}
    return getattr(Fetching(**settings), name)


def test_defaults_are_those_of_the_documentation() -> None:
    """
    Nothing needs to be said.
    """
    assert dataclasses.asdict(Fetching()) == {
        "lifetime": 600.0,
        "max_age_bounds": (60.0, 86_400.0),
        "max_stale": 86_400.0,
        "timeout": 5.0,
        "backoff_bounds": (1.0, 30.0),
        "max_refetches": 2,
        "refetch_window": 30.0,
        "unknown_key_age": 60.0,
        "max_unknown_keys": 1_024,
        "max_body_bytes": 524_288,
        "max_keys": 100,
        "insecure_allow_link_local": False,
    }
    assert Issuer("https://login.example.com").fetching == Fetching()


def test_every_setting_is_tested_here() -> None:
    """
    The tables below leave no setting out.
    """
    assert sorted(ALL) == sorted(field.name for field in dataclasses.fields(Fetching))


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(math.ulp(0.0), id="just more than zero"),
        pytest.param(1, id="a whole number"),
        pytest.param(0.5, id="a fraction"),
        pytest.param(MAX_SECONDS, id="just within"),
    ],
)
def test_seconds_may_be_any_positive_number(name: str, value: float) -> None:
    """
    A time that something takes is more than nothing, up to what a float can still count.
    """
    assert accepted(name, value) == value


@pytest.mark.parametrize("name", NOT_NEGATIVE)
@pytest.mark.parametrize("value", [0, 0.0, 0.5, 86_400, MAX_SECONDS])
def test_seconds_that_may_be_none_may_be_zero(name: str, value: float) -> None:
    """
    Stale keys, and key IDs that nobody has, need not be remembered at all.
    """
    assert accepted(name, value) == value


NO_NUMBERS = [
    pytest.param(-1, id="negative"),
    pytest.param(-math.ulp(0.0), id="just less than zero"),
    pytest.param(math.nextafter(MAX_SECONDS, math.inf), id="just beyond"),
    pytest.param(10**400, id="an integer that fits no float"),
    pytest.param(math.inf, id="infinity"),
    pytest.param(math.nan, id="no number"),
    pytest.param(True, id="a truth value"),
    pytest.param("5", id="a string"),
    pytest.param(None, id="nothing"),
    pytest.param((5,), id="a tuple"),
    pytest.param(5j, id="a complex number"),
]


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize(
    "value", [*NO_NUMBERS, pytest.param(0, id="zero"), pytest.param(-0.0, id="minus zero")]
)
def test_seconds_that_are_none_are_refused(name: str, value: object) -> None:
    """
    The message has the setting, the right form, and what was given.
    """
    assert refused(name, value) == f"{name} must be a number of seconds, more than zero; got {value!r}"


@pytest.mark.parametrize("name", NOT_NEGATIVE)
@pytest.mark.parametrize("value", NO_NUMBERS)
def test_seconds_below_zero_are_refused(name: str, value: object) -> None:
    """
    The same, where zero is a number of seconds.
    """
    assert refused(name, value) == f"{name} must be a number of seconds, zero or more; got {value!r}"


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param((1.0, 2.0), id="a tuple"),
        pytest.param([1.0, 2.0], id="a list"),
        pytest.param({1.0: "least", 2.0: "most"}.keys(), id="a view"),
        pytest.param((1, 2), id="whole numbers"),
    ],
)
def test_bounds_become_a_tuple(name: str, value: object) -> None:
    """
    Two numbers in any order-keeping shape are kept as a tuple: nobody can change them afterwards.
    """
    found = accepted(name, value)

    assert found == (1, 2)
    assert isinstance(found, tuple)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param((5.0, 5.0), id="the same twice"),
        pytest.param((math.ulp(0.0), MAX_SECONDS), id="as far apart as they can be"),
    ],
)
def test_bounds_may_meet(name: str, value: tuple[float, float]) -> None:
    """
    The least may be the most, and both may be at their own bounds.
    """
    assert accepted(name, value) == value


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param((5.1, 5.0), id="the wrong way round"),
        pytest.param((0, 5), id="the least zero"),
        pytest.param((-1, 5), id="the least negative"),
        pytest.param((1, math.inf), id="the most infinite"),
        pytest.param((1, math.nextafter(MAX_SECONDS, math.inf)), id="the most just beyond"),
        pytest.param((math.nan, 5), id="no number"),
        pytest.param((1, math.nan), id="no number at the end"),
        pytest.param((True, 5), id="a truth value"),
        pytest.param((1, "5"), id="a string"),
        pytest.param(("1", "5"), id="strings"),
        pytest.param((1, None), id="nothing at the end"),
        pytest.param((), id="empty"),
        pytest.param((1,), id="one"),
        pytest.param((1, 2, 3), id="three"),
        pytest.param((1, 2, "x"), id="two and a string"),
        pytest.param("15", id="a string of two"),
        pytest.param(b"15", id="bytes of two"),
        pytest.param(5, id="a number"),
        pytest.param(None, id="nothing"),
    ],
)
def test_bounds_that_are_none_are_refused(name: str, value: object) -> None:
    """
    The message says which of the two is which.
    """
    message = f"{name} must be two numbers of seconds, (least, most); got {value!r}"

    assert refused(name, value) == message


@pytest.mark.parametrize(
    ("name", "least"), [*((name, 0) for name in COUNTS_FROM_ZERO), *((name, 1) for name in COUNTS_FROM_ONE)]
)
def test_counts_have_bounds(name: str, least: int) -> None:
    """
    A count is accepted at its least and at its most, and refused one beyond either.
    """
    assert [accepted(name, value) for value in (least, least + 1, MAX_COUNT)] == [least, least + 1, MAX_COUNT]
    for value in (least - 1, MAX_COUNT + 1):
        expected = f"{name} must be a whole number from {least} to 1,000,000; got {value}"
        assert refused(name, value) == expected


@pytest.mark.parametrize("name", [*COUNTS_FROM_ZERO, *COUNTS_FROM_ONE])
@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, (1,), math.nan, -1, 10**100])
def test_counts_are_whole_numbers(name: str, value: object) -> None:
    """
    Half a key is none.
    """
    message = refused(name, value)

    assert message.startswith(f"{name} must be a whole number from ")
    assert message.endswith(f"; got {value!r}")


@pytest.mark.parametrize("name", FLAGS)
def test_flags_are_truth_values(name: str) -> None:
    """
    What is dangerous is switched on by True, and by nothing that is only like it.
    """
    assert [accepted(name, value) for value in (True, False)] == [True, False]
    for value in (1, 0, "yes", None):
        assert refused(name, value) == f"{name} must be True or False; got {value!r}"


def test_settings_are_named() -> None:
    """
    Nobody can mistake one number for another by its place, nor a name that does not exist for one that does.
    """
    make: Any = Fetching

    with pytest.raises(TypeError):
        make(600.0)
    with pytest.raises(TypeError, match="life_time"):
        make(life_time=600.0)


@pytest.mark.parametrize("name", ALL)
def test_settings_cannot_be_changed(name: str) -> None:
    """
    What was checked stays as it was checked.
    """
    fetching: Any = Fetching()

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(fetching, name, getattr(fetching, name))
    assert not hasattr(fetching, "__dict__")


OTHERS: dict[str, Any] = {
    **dict.fromkeys((*POSITIVE, *NOT_NEGATIVE), 7.0),
    **dict.fromkeys(BOUNDS, (7.0, 8.0)),
    **dict.fromkeys((*COUNTS_FROM_ZERO, *COUNTS_FROM_ONE), 7),
    **dict.fromkeys(FLAGS, True),
}


@pytest.mark.parametrize("name", ALL)
def test_settings_that_differ_are_not_equal(name: str) -> None:
    """
    Every setting counts: issuers that differ in one share no keys.
    """
    one, same, other = Fetching(), Fetching(), Fetching(**{name: OTHERS[name]})

    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert len({one, same, other}) == 2
    assert Issuer("https://login.example.com", fetching=one) != Issuer(
        "https://login.example.com", fetching=other
    )


def test_equal_numbers_are_equal_settings() -> None:
    """
    A list or a tuple, a whole number or a float: the same settings, in the same place of a dictionary.
    """
    one: Any = Fetching(lifetime=300, backoff_bounds=[1, 5])  # type: ignore[arg-type]  # lists become tuples
    other = Fetching(lifetime=300.0, backoff_bounds=(1.0, 5.0))

    assert one == other
    assert {one: "found"}[other] == "found"


def test_settings_are_repeated_whole() -> None:
    """
    A copy by `dataclasses.replace`, by pickle and by their own text is equal, and a replacement is checked.
    """
    fetching = Fetching(lifetime=300.0, max_refetches=0, insecure_allow_link_local=True)

    assert dataclasses.replace(fetching) == fetching
    assert pickle.loads(pickle.dumps(fetching)) == fetching  # noqa: S301 - our own bytes
    assert eval(repr(fetching), {"Fetching": Fetching}) == fetching  # noqa: S307 - our own text
    with pytest.raises(PolicyError):
        dataclasses.replace(fetching, lifetime=0)


@pytest.mark.parametrize("value", [None, {}, {"timeout": 2.0}, 2.0, Fetching, "defaults"])
def test_issuer_takes_nothing_else_for_fetching(value: Any) -> None:
    """
    A dictionary of settings is not checked, and not accepted.
    """
    with pytest.raises(PolicyError, match=r"fetching must be a Fetching, such as Fetching\(timeout=2.0\)"):
        Issuer("https://login.example.com", fetching=value)
