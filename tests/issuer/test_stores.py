"""
What the embedded issuer keeps in memory.
"""

from dataclasses import astuple

import pytest

from guardrail.issuer._stores import CAPACITY, Grant, OneTimeStore, RefreshTokens

from .builders import NOW, ORDERS, Clock


def a_grant() -> Grant:
    """
    Build a grant of alice's.
    """
    return Grant("web", subject="alice", scope=frozenset(), audience=(ORDERS,), auth_time=int(NOW))


def test_memory_holds_no_refresh_token() -> None:
    """What is kept of a refresh token is not enough to use it."""
    tokens = RefreshTokens(clock=Clock(), on_revoke=list[str]().append)

    family, _, secret = tokens.issue(a_grant(), lifetime=60).partition(".")

    kept = str([(name, astuple(value)) for name, value in tokens._families.items()])
    assert family in kept
    assert secret not in kept


def test_memory_holds_no_one_time_name() -> None:
    """What is kept of a code or request ID is not enough to use it."""
    store: OneTimeStore[str] = OneTimeStore(lifetime=60, clock=Clock())

    name = store.put("value")

    assert name not in str(dict(store._values))
    assert store.take(name) == "value"


def test_refresh_token_families_are_bounded() -> None:
    """The oldest family gives way to new ones, so that memory stays bounded."""
    tokens = RefreshTokens(clock=Clock(), on_revoke=list[str]().append)

    for _ in range(CAPACITY + 1):
        tokens.issue(a_grant(), lifetime=60)

    assert len(tokens._families) == CAPACITY


@pytest.mark.parametrize(
    ("values", "is_kept"),
    [pytest.param(CAPACITY, True, id="full"), pytest.param(CAPACITY + 1, False, id="over")],
)
def test_one_time_values_are_bounded(values: int, is_kept: bool) -> None:
    """The oldest value gives way when there is one more than the capacity."""
    store: OneTimeStore[int] = OneTimeStore(lifetime=60, clock=Clock())

    names = [store.put(value) for value in range(values)]

    assert is_found(store, names[0]) is is_kept


def is_found(store: OneTimeStore[int], name: str) -> bool:
    """
    Whether a store still has a value of that name.
    """
    try:
        store.take(name)
    except KeyError:
        return False
    return True


def test_representations_of_grants_hide_what_revokes_them() -> None:
    """The family of a grant is not shown: whoever has it can revoke the grant."""
    grant = a_grant()

    assert grant.family not in repr(grant)
