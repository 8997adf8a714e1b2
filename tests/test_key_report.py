"""
What is told of one issuer's keys: events in their order, and health as it is now.
"""

import pytest
from jwks_world import (
    ISSUER,
    JWKS_URI,
    LIFETIME,
    MAX_STALE,
    NEVER,
    PAUSES,
    REFRESH_AT,
    Clock,
    Server,
    World,
    settle,
)

from guardrail import Fetching, Issuer
from guardrail._health import IssuerHealth
from guardrail._jwks import RemoteKeySet
from guardrail._key_report import KeyReport
from guardrail._key_state import KeyState
from guardrail._keys import VerificationKeys, read_jwk_set
from guardrail.events import (
    Event,
    KeysFetched,
    KeysFetchFailed,
    KeySkipped,
    KeysRotated,
    RefetchBudgetSpent,
    StaleKeysUsed,
)
from guardrail.issuer import SigningKeys

pytestmark = pytest.mark.anyio

T0 = 1_000.0  # monotonic seconds
NOW = 1_700_000_000.0  # seconds since the epoch


class Told:
    """
    A report, the state it is about, and what it told.
    """

    def __init__(self, fetching: Fetching | None = None) -> None:
        self.events: list[Event] = []
        self.now = NOW
        self.state = KeyState(fetching or Fetching(), jitter=lambda: 0.5)
        self.report = KeyReport(Issuer(ISSUER), emit=self.events.append, clock=lambda: self.now)

    def fetched(self, keys: VerificationKeys, *, at: float = T0) -> None:
        """
        A fetch brought *keys*.
        """
        before = self.state.snapshot
        self.state.succeeded(keys, number=self.state.begin(), began_at=at, max_age=None)
        assert self.state.snapshot is not None
        self.report.fetched(before, self.state.snapshot, duration=0.25)

    def failed(self, exc: Exception, *, at: float = T0) -> None:
        """
        A fetch failed with *exc*.
        """
        self.state.failed(at, number=self.state.begin())
        self.report.failed(exc, self.state, at)

    def health(self, *, at: float = T0) -> IssuerHealth:
        """
        How it stands.
        """
        return self.report.health(self.state, at)


def keys_of(*jwks: dict[str, object]) -> VerificationKeys:
    return read_jwk_set({"keys": list(jwks)}, algorithms=["EdDSA"])


def a_key(kid: str) -> dict[str, object]:
    return SigningKeys("EdDSA").current.jwk() | {"kid": kid}


UNUSABLE: dict[str, object] = {"kty": "new", "kid": "unusable"}


# Events


def test_a_fetch_is_told_then_the_rotation_then_each_skipped_key() -> None:
    """
    Always in this order, so that a listener knows what a rotation belongs to.
    """
    told = Told()
    told.fetched(keys_of(a_key("a"), a_key("b")))
    told.events.clear()

    told.fetched(keys_of(a_key("b"), UNUSABLE, a_key("c")))

    assert told.events == [
        KeysFetched(issuer=ISSUER, added=("c",), removed=("a",), skipped=1, lifetime=LIFETIME, duration=0.25),
        KeysRotated(issuer=ISSUER, added=("c",), removed=("a",), generation=1),
        KeySkipped(issuer=ISSUER, kid="unusable", reason="no_algorithm"),
    ]


def test_stale_use_is_told_from_the_end_of_the_lifetime_on() -> None:
    """
    Not a moment before, and each time.
    """
    told = Told()
    told.fetched(keys_of(a_key("a")))
    told.events.clear()
    snapshot = told.state.snapshot
    assert snapshot is not None

    for elapsed in (0.0, LIFETIME - 0.1, LIFETIME, LIFETIME):
        told.report.used(snapshot, T0 + elapsed)

    assert told.events == [StaleKeysUsed(issuer=ISSUER, age=LIFETIME)] * 2


def test_a_spent_budget_is_told_once_for_each_number_of_refetches() -> None:
    """
    Even for none at all.
    """
    told = Told()

    for refetches in (0, 0, 1, 2, 2, 3):
        told.report.budget_spent(refetches)

    assert told.events == [RefetchBudgetSpent(issuer=ISSUER)] * 4


@pytest.mark.parametrize(
    ("exc", "detail"),
    [
        pytest.param(ValueError("no keys"), "ValueError: no keys", id="with words"),
        pytest.param(TimeoutError(), "TimeoutError", id="without"),
        pytest.param(ValueError("a\nb\x00\u202e"), "ValueError: a\\x0ab\\x00\\u202e", id="not printable"),
        pytest.param(ValueError("x" * 1_000), "ValueError: " + "x" * 188, id="long"),
    ],
)
def test_a_failure_is_told_in_a_line(exc: Exception, detail: str) -> None:
    """
    Its kind and its words, printable ASCII, at most 200 characters; health says the same.
    """
    told = Told()

    told.failed(exc)

    assert told.events == [
        KeysFetchFailed(issuer=ISSUER, detail=detail, has_keys=False, failures=1, retry_after=PAUSES[0])
    ]
    assert told.health().last_error == detail


def test_the_time_to_wait_is_never_less_than_none() -> None:
    """
    However long it took to come to tell of it.
    """
    told = Told()
    told.state.failed(T0, number=told.state.begin())

    told.report.failed(ValueError(), told.state, T0 + 10.0)

    (event,) = told.events
    assert isinstance(event, KeysFetchFailed)
    assert event.retry_after == 0.0


# Health


def test_before_the_first_fetch_there_is_nothing_to_say() -> None:
    """
    No keys, no times; the budget is whole.
    """
    health = Told().health()

    assert health == IssuerHealth(
        issuer=ISSUER,
        state="unavailable",
        is_required=True,
        keys=0,
        key_ids=(),
        skipped=0,
        generation=None,
        refetches_left=2,
    )


def test_health_has_every_fact() -> None:
    """
    What was fetched, how old it is, when and how it went, and what may be asked for.
    """
    told = Told()
    told.fetched(keys_of(a_key("b"), UNUSABLE, a_key("a\n")))
    told.now += 50.0
    told.state.take_refetch(T0 + 50.0)
    told.failed(ValueError("down"), at=T0 + 50.0)

    health = told.health(at=T0 + 60.0)

    assert health == IssuerHealth(
        issuer=ISSUER,
        state="ready",
        is_required=True,
        keys=2,
        key_ids=("a\\x0a", "b"),
        skipped=1,
        generation=0,
        age=60.0,
        expires_in=LIFETIME - 60.0,
        last_success=NOW,
        last_failure=NOW + 50.0,
        last_error="ValueError: down",
        failures=1,
        refetches_left=1,
    )


@pytest.mark.parametrize(
    ("failed_after", "elapsed", "state"),
    [
        pytest.param(None, 0.0, "ready", id="fresh"),
        pytest.param(None, LIFETIME - 0.1, "ready", id="to be refreshed"),
        pytest.param(REFRESH_AT, LIFETIME - 0.1, "ready", id="to be refreshed, failing"),
        pytest.param(REFRESH_AT, LIFETIME, "stale", id="past the lifetime, failing"),
        pytest.param(None, LIFETIME, "ready", id="past the lifetime, nobody asked"),
        pytest.param(None, LIFETIME + MAX_STALE - 0.1, "ready", id="long past it, nobody asked"),
        pytest.param(LIFETIME, LIFETIME + MAX_STALE - 0.1, "stale", id="long past it, failed then"),
        pytest.param(None, LIFETIME + MAX_STALE, "unavailable", id="too old"),
        pytest.param(LIFETIME, LIFETIME + MAX_STALE, "unavailable", id="too old, failing"),
    ],
)
def test_the_state_is_one_of_three(failed_after: float | None, elapsed: float, state: str) -> None:
    """
    Stale is past the lifetime with an issuer that fails; keys too old to be used are none.
    """
    told = Told()
    told.fetched(keys_of(a_key("a")))
    if failed_after is not None:
        told.failed(ValueError(), at=T0 + failed_after)

    assert told.health(at=T0 + elapsed).state == state


def test_a_recovery_is_healthy_and_keeps_the_last_failure_in_mind() -> None:
    """
    There are no failures in a row any more, and whoever looks can tell when the last one was.
    """
    told = Told()
    told.failed(ValueError("down"))
    told.now += 5.0

    told.fetched(keys_of(a_key("a")), at=T0 + 5.0)

    health = told.health(at=T0 + 5.0)
    assert (health.state, health.failures) == ("ready", 0)
    assert (health.last_failure, health.last_success) == (NOW, NOW + 5.0)
    assert health.last_error == "ValueError: down"


@pytest.mark.parametrize("is_required", [True, False])
def test_health_says_whether_readiness_waits_for_the_issuer(is_required: bool) -> None:
    """
    As the issuer is configured.
    """
    issuer = Issuer(ISSUER, required=is_required)
    report = KeyReport(issuer, emit=lambda _: None)

    assert report.health(KeyState(Fetching(), jitter=lambda: 0.5), T0).is_required is is_required


def test_a_report_needs_no_clock() -> None:
    """
    Without one it is the machine's.
    """
    state = KeyState(Fetching(), jitter=lambda: 0.5)
    report = KeyReport(Issuer(ISSUER), emit=lambda _: None)

    report.failed(ValueError(), state, T0)

    last_failure = report.health(state, T0).last_failure
    assert last_failure is not None
    assert last_failure > NOW


# The health of a key set


async def test_the_health_of_a_key_set_follows_its_life() -> None:
    """
    Unavailable, ready, stale and ready again, with the budget that is left; looking asks nobody.
    """
    world = World(issuer=Issuer(ISSUER, jwks_uri=JWKS_URI))
    seen: list[tuple[str, int, int, int | None]] = []

    def look() -> None:
        health = world.key_set.health()
        seen.append((health.state, health.failures, health.refetches_left, health.generation))

    look()
    await world.select()
    look()
    await world.refused(NEVER)
    look()
    world.break_down()
    world.clock.now += LIFETIME
    look()
    await world.select()
    look()
    world.clock.now += PAUSES[0]
    look()
    world.recover()
    world.server.keys.rotate(keep_previous=False)
    world.key_set.refresh()
    await settle()
    look()

    assert seen == [
        ("unavailable", 0, 2, None),
        ("ready", 0, 2, 0),
        ("ready", 0, 1, 0),
        ("ready", 0, 2, 0),
        ("stale", 1, 0, 0),
        ("stale", 1, 2, 0),
        ("ready", 0, 2, 1),
    ]
    assert world.server.fetches == 4


async def test_a_listener_may_look_at_the_health() -> None:
    """
    Whatever is told is told when it is done: the state can be read by who hears of it.
    """
    server, clock, told = Server(), Clock(), []
    seen: list[IssuerHealth] = []

    def listen(event: Event) -> None:
        told.append(type(event))
        seen.append(key_set.health())

    key_set = RemoteKeySet(
        Issuer(ISSUER, jwks_uri=JWKS_URI), http_client=server.client, emit=listen, monotonic=clock
    )
    await key_set.select(server.kid, "EdDSA")
    server.replies[JWKS_URI] = 503
    clock.now += LIFETIME

    await key_set.select(server.kid, "EdDSA")

    assert told == [KeysFetched, KeysFetchFailed, StaleKeysUsed]
    assert [(health.keys, health.failures) for health in seen] == [(1, 0), (1, 1), (1, 1)]
