"""
How long an answer is fresh, by its own word: what is read of two fields, and what neither can do to us.
"""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail._freshness import max_age_of


@pytest.mark.parametrize(
    ("cache_control", "expected"),
    [
        pytest.param("max-age=600", 600.0, id="alone"),
        pytest.param("max-age=0", 0.0, id="zero"),
        pytest.param("max-age=00600", 600.0, id="leading zeros"),
        pytest.param("public, max-age=600", 600.0, id="last"),
        pytest.param("max-age=600, must-revalidate", 600.0, id="first"),
        pytest.param("public,max-age=600,immutable", 600.0, id="without spaces"),
        pytest.param("public\t,\tmax-age=600 , immutable", 600.0, id="with tabs and spaces"),
        pytest.param(", ,max-age=600, ,", 600.0, id="among empty members"),
        pytest.param("  max-age=600  ", 600.0, id="spaces around"),
        pytest.param("MAX-AGE=600", 600.0, id="upper case"),
        pytest.param("Max-Age=600", 600.0, id="mixed case"),
        pytest.param('max-age="600"', 600.0, id="quoted"),
        pytest.param('private="a, b", max-age=600', 600.0, id="after a quoted comma"),
        pytest.param("max-age=600, s-maxage=5", 600.0, id="another for shared caches"),
        pytest.param(
            "max-age=600, stale-while-revalidate=30, stale-if-error=60", 600.0, id="with extensions"
        ),
        pytest.param("max-age=600, x=y=z", 600.0, id="an extension with two signs"),
    ],
)
def test_max_age_is_read(cache_control: str, expected: float) -> None:
    """
    *max-age* counts wherever it stands, and names have no case (RFC 9111 §5.2, §5.2.2.1).
    """
    assert max_age_of(cache_control, "") == expected


@pytest.mark.parametrize(
    "cache_control",
    [
        pytest.param("", id="no field"),
        pytest.param("public", id="another directive"),
        pytest.param("public, must-revalidate, immutable", id="other directives"),
        pytest.param("s-maxage=600", id="for shared caches alone"),
        pytest.param("x-max-age=600", id="a longer name"),
        pytest.param("max-ages=600", id="a name one letter longer"),
        pytest.param("max_age=600", id="a name one letter other"),
        pytest.param("max-stale=600", id="a request's directive"),
        pytest.param("stale-if-error=600", id="an extension"),
        pytest.param("private", id="private: so are we"),
        pytest.param('private="max-age=600"', id="in a quoted value"),
        pytest.param('ext="a, max-age=600"', id="in a quoted list"),
        pytest.param(r'ext="a\", max-age=600, b="', id="behind an escaped quote"),
        pytest.param(r'ext="\\\", no-store, b"', id="behind an escaped backslash and quote"),
        pytest.param('ext="no-store, no-cache"', id="other words in a quoted list"),
        pytest.param("=600", id="no name"),
        pytest.param(",,,,", id="empty members"),
        pytest.param("é", id="no token"),
        pytest.param("max-age é", id="a name and something else"),
    ],
)
def test_what_says_nothing_of_an_age_leaves_it_open(cache_control: str) -> None:
    """
    Without *max-age*, and with nothing against keeping it, an answer does not say.
    """
    assert max_age_of(cache_control, "") is None


@pytest.mark.parametrize(
    "cache_control",
    [
        pytest.param("no-store", id="no-store"),
        pytest.param("no-cache", id="no-cache"),
        pytest.param("NO-STORE", id="upper case"),
        pytest.param("No-Cache", id="mixed case"),
        pytest.param("no-store, max-age=600", id="before a max-age"),
        pytest.param("max-age=600, no-store", id="behind a max-age"),
        pytest.param("max-age=600, no-cache", id="no-cache behind a max-age"),
        pytest.param('no-cache="set-cookie", max-age=600', id="no-cache for one field"),
        pytest.param("no-store=1, max-age=600", id="with a value nobody asked for"),
        pytest.param("private, no-cache, no-store, must-revalidate, max-age=0", id="all of it"),
    ],
)
def test_what_must_not_be_kept_is_fresh_for_no_time(cache_control: str) -> None:
    """
    *no-store* and *no-cache* go before any age (RFC 9111 §5.2.2.4, §5.2.2.5).
    """
    assert max_age_of(cache_control, "") == 0.0


@pytest.mark.parametrize(
    "cache_control",
    [
        pytest.param("no-stores, max-age=600", id="a letter more"),
        pytest.param("xno-store, max-age=600", id="a letter in front"),
        pytest.param('x="no-store", max-age=600', id="a value"),
    ],
)
def test_what_only_looks_like_it_does_not_count(cache_control: str) -> None:
    """
    A directive is its whole name.
    """
    assert max_age_of(cache_control, "") == 600.0


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param('""', id="an empty quoted one"),
        pytest.param("-1", id="negative"),
        pytest.param("+600", id="a sign"),
        pytest.param("600.0", id="a fraction"),
        pytest.param("6e2", id="an exponent"),
        pytest.param("0x258", id="hexadecimal"),
        pytest.param("6_00", id="an underscore"),
        pytest.param("600s", id="a unit"),
        pytest.param("600;", id="a semicolon"),
        pytest.param("inf", id="infinity"),
        pytest.param("nan", id="no number"),
        pytest.param("٦٠٠", id="other digits"),
        pytest.param("６００", id="full-width digits"),
        pytest.param('"6 00"', id="a space inside quotes"),
        pytest.param(r'"\600"', id="an escape inside quotes"),
    ],
)
def test_age_that_is_no_number_is_none(value: str) -> None:
    """
    A value we cannot read is the end of freshness, and never its beginning (RFC 9111 §4.2.1).
    """
    assert max_age_of(f"max-age={value}", "") == 0.0


def test_age_without_a_value_is_none() -> None:
    """
    A bare name is a value we cannot read.
    """
    assert max_age_of("max-age", "") == 0.0


@pytest.mark.parametrize(
    ("cache_control", "expected"),
    [
        pytest.param("max-age=600, max-age=5", 600.0, id="the longer first"),
        pytest.param("max-age=5, max-age=600", 5.0, id="the shorter first"),
        pytest.param("max-age=600, MAX-AGE=5", 600.0, id="in another case"),
        pytest.param("max-age=600, max-age", 600.0, id="a broken one second"),
        pytest.param("max-age=x, max-age=600", 0.0, id="a broken one first"),
    ],
)
def test_of_two_the_first_counts(cache_control: str, expected: float) -> None:
    """
    A directive that is there twice means what it means first (RFC 9111 §4.2.1).
    """
    assert max_age_of(cache_control, "") == expected


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        pytest.param("", 600.0, id="none"),
        pytest.param("0", 600.0, id="zero"),
        pytest.param("1", 599.0, id="a second"),
        pytest.param("599", 1.0, id="just within"),
        pytest.param("600", 0.0, id="all of it"),
        pytest.param("601", 0.0, id="more than all of it"),
        pytest.param("9" * 400, 0.0, id="more than a number holds"),
        pytest.param("100, 5", 500.0, id="two: the first counts"),
        pytest.param("100 ,5", 500.0, id="two, with a space"),
        pytest.param("-100", 600.0, id="negative"),
        pytest.param("1.5", 600.0, id="a fraction"),
        pytest.param("inf", 600.0, id="infinity"),
        pytest.param("x, 100", 600.0, id="the first no number"),
        pytest.param("１００", 600.0, id="full-width digits"),
        pytest.param("yesterday", 600.0, id="a word"),
    ],
)
def test_age_in_a_cache_is_used_up(age: str, expected: float) -> None:
    """
    What a cache on the way kept it for is gone; an *Age* that is no number is ignored (RFC 9111 §5.1).
    """
    assert max_age_of("max-age=600", age) == expected


@pytest.mark.parametrize("age", ["100", "9" * 400, "x"])
def test_age_alone_says_nothing(age: str) -> None:
    """
    Without *max-age* there is nothing that an *Age* could use up.
    """
    assert max_age_of("public", age) is None
    assert max_age_of("no-store", age) == 0.0


@pytest.mark.parametrize(
    ("cache_control", "age", "expected"),
    [
        pytest.param(f"max-age={'9' * 400}", "", math.inf, id="an endless age"),
        pytest.param(f"max-age={'9' * 400}", "9" * 400, 0.0, id="endless and used up endlessly"),
        pytest.param(f"max-age={'9' * 1_000_000}", "", math.inf, id="a megabyte of digits"),
        pytest.param("max-age=600", "9" * 1_000_000, 0.0, id="a megabyte of Age"),
        pytest.param("x, " * 400_000 + "max-age=600", "", None, id="behind a megabyte of others"),
        pytest.param("max-age=600, " + "x, " * 400_000, "", 600.0, id="before a megabyte of others"),
        pytest.param('x="' + "y" * 1_000_000, "", None, id="a quote without an end"),
    ],
)
def test_huge_fields_are_numbers_or_nothing(cache_control: str, age: str, expected: float | None) -> None:
    """
    However large the fields, the answer is a number of seconds or None, and takes no time.
    """
    started = time.process_time()

    found = max_age_of(cache_control, age)

    assert found == expected
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("length", [500, 1_000, 100_000])
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param("a ", id="a long name, spaces, no end"),
        pytest.param("a= ", id="a sign behind the name"),
        pytest.param("a = ", id="spaces around the sign"),
        pytest.param(" ", id="spaces"),
        pytest.param("a", id="a name"),
        pytest.param("=", id="signs"),
        pytest.param('a="b', id="a quote that stays open"),
        pytest.param('a="\\', id="escapes"),
        pytest.param('a="\\"', id="escapes and an end"),
        pytest.param("a,a ", id="of each something"),
        pytest.param("\t,", id="tabs and commas"),
    ],
)
@pytest.mark.parametrize("is_repeated", [True, False], ids=["repeated", "each part long"])
def test_hostile_field_takes_no_time(parts: str, length: int, is_repeated: bool) -> None:
    """
    No field holds the event loop: reading what is read of it takes a millisecond, whatever its shape.
    """
    size = (length - 1) // len(parts)
    cache_control = (parts * size if is_repeated else "".join(part * size for part in parts)) + "é"
    started = time.process_time()

    for _ in range(10):
        max_age_of(cache_control, "")

    assert time.process_time() - started < 0.1


_PIECES = st.sampled_from(
    ["max-age", "no-store", "a", "=", '"', "\\", ",", " ", "\t", "1", "9", "é", "\x00", "\n"]
)


@settings(database=None, deadline=None, max_examples=300)
@given(
    cache_control=st.lists(_PIECES).map("".join) | st.text(), age=st.lists(_PIECES).map("".join) | st.text()
)
def test_any_fields_give_seconds_or_none(cache_control: str, age: str) -> None:
    """
    Whatever the fields hold, the outcome is None or a number of seconds that is not negative.
    """
    found = max_age_of(cache_control, age)

    assert found is None or found >= 0.0


@settings(database=None, deadline=None)
@given(
    seconds=st.integers(0, 10**9),
    spent=st.integers(0, 10**9),
    others=st.lists(st.sampled_from(["public", "x=1"])),
)
def test_freshness_is_what_is_left(seconds: int, spent: int, others: list[str]) -> None:
    """
    *max-age* less *Age*, and never less than nothing (RFC 9111 §4.2).
    """
    field = ", ".join([*others, f"max-age={seconds}", *others])

    assert max_age_of(field, str(spent)) == max(0, seconds - spent)
