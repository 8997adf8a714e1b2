"""
The state of one issuer's keys: its phases, what each means for a request, and how often the issuer is asked.
"""

import dataclasses
from collections.abc import Callable

import pytest

from guardrail import Fetching
from guardrail._key_state import KeyState, Phase, Step
from guardrail._keys import VerificationKeys, read_jwk_set
from guardrail.issuer import SigningKeys

LIFETIME = 600.0  # seconds; the defaults
MAX_STALE = 86_400.0
TIMEOUT = 5.0
REFRESH_AT = 480.0  # seconds of the lifetime; the jitter in the middle
FIRST_PAUSE = 1.5

T0 = 1_000.0  # when the keys were asked for


def some_keys(*names: str) -> VerificationKeys:
    """
    As many keys, each its own.
    """
    jwks = [SigningKeys("EdDSA").current.jwk() | {"kid": name} for name in names]
    return read_jwk_set({"keys": jwks}, algorithms=["EdDSA"])


KEYS = some_keys("a", "b", "c")


def a_state(fetching: Fetching | None = None, *, jitter: float = 0.5) -> KeyState:
    """
    A state before the first fetch.
    """
    return KeyState(fetching or Fetching(), jitter=lambda: jitter)


def fetched(
    state: KeyState, keys: VerificationKeys = KEYS, *, at: float = T0, max_age: float | None = None
) -> KeyState:
    """
    The state after another fetch, begun and answered at once.
    """
    state.attempt(at)
    assert state.succeeded(keys, number=state.begin(), began_at=at, max_age=max_age)
    return state


def failed(state: KeyState, *, at: float) -> KeyState:
    """
    The state after another fetch, begun and failed at once.
    """
    state.attempt(at)
    assert state.failed(at, number=state.begin())
    return state


# Phases


@pytest.mark.parametrize(
    ("elapsed", "phase", "step"),
    [
        pytest.param(0.0, Phase.FRESH, Step.USE, id="new"),
        pytest.param(REFRESH_AT - 0.01, Phase.FRESH, Step.USE, id="just fresh"),
        pytest.param(REFRESH_AT, Phase.AGEING, Step.USE_AND_REFRESH, id="80 %"),
        pytest.param(LIFETIME - 0.01, Phase.AGEING, Step.USE_AND_REFRESH, id="just within the lifetime"),
        pytest.param(LIFETIME, Phase.DUE, Step.WAIT, id="the end of the lifetime"),
        pytest.param(LIFETIME + MAX_STALE - 0.01, Phase.DUE, Step.WAIT, id="just not too old"),
        pytest.param(LIFETIME + MAX_STALE, Phase.EMPTY, Step.WAIT, id="too old"),
        pytest.param(-1.0, Phase.FRESH, Step.USE, id="a clock that goes back"),
    ],
)
def test_age_decides_on_the_phase(elapsed: float, phase: Phase, step: Step) -> None:
    """
    Keys are fresh, then ageing, then due, and at last none at all.
    """
    state = fetched(a_state())

    assert (state.phase(T0 + elapsed), state.step(T0 + elapsed)) == (phase, step)


def test_before_the_first_fetch_there_are_no_keys() -> None:
    """
    Whoever comes first waits.
    """
    state = a_state()

    assert (state.phase(T0), state.step(T0), state.snapshot) == (Phase.EMPTY, Step.WAIT, None)


@pytest.mark.parametrize(
    ("failed_after", "elapsed", "phase", "step"),
    [
        pytest.param(0.0, 0.0, Phase.FRESH, Step.USE, id="fresh, in the pause"),
        pytest.param(REFRESH_AT, REFRESH_AT, Phase.AGEING, Step.USE, id="ageing, in the pause"),
        pytest.param(
            REFRESH_AT, REFRESH_AT + FIRST_PAUSE, Phase.AGEING, Step.USE_AND_REFRESH, id="ageing, after it"
        ),
        pytest.param(
            REFRESH_AT, LIFETIME, Phase.STALE, Step.USE_AND_REFRESH, id="failed before the lifetime ended"
        ),
        pytest.param(
            REFRESH_AT - 0.01, LIFETIME, Phase.DUE, Step.WAIT, id="failed just before it was to be refreshed"
        ),
        pytest.param(LIFETIME - 0.5, LIFETIME, Phase.STALE, Step.USE, id="the end in the pause"),
        pytest.param(LIFETIME, LIFETIME, Phase.STALE, Step.USE, id="stale, in the pause"),
        pytest.param(
            LIFETIME, LIFETIME + FIRST_PAUSE - 0.01, Phase.STALE, Step.USE, id="stale, just in the pause"
        ),
        pytest.param(
            LIFETIME, LIFETIME + FIRST_PAUSE, Phase.STALE, Step.USE_AND_REFRESH, id="stale, after the pause"
        ),
        pytest.param(
            LIFETIME,
            LIFETIME + LIFETIME - 0.01,
            Phase.STALE,
            Step.USE_AND_REFRESH,
            id="failed just within a lifetime",
        ),
        pytest.param(LIFETIME, 2 * LIFETIME + 30.0, Phase.DUE, Step.WAIT, id="failed a lifetime ago"),
        pytest.param(
            LIFETIME + MAX_STALE, LIFETIME + MAX_STALE, Phase.EMPTY, Step.REFUSE, id="too old, in the pause"
        ),
        pytest.param(
            LIFETIME + MAX_STALE,
            LIFETIME + MAX_STALE + FIRST_PAUSE,
            Phase.EMPTY,
            Step.WAIT,
            id="too old, after the pause",
        ),
    ],
)
def test_a_failure_decides_with_the_age(
    failed_after: float, elapsed: float, phase: Phase, step: Step
) -> None:
    """
    It makes keys stale whose refresh failed, and has the issuer left alone for a while.
    """
    state = failed(fetched(a_state()), at=T0 + failed_after)

    assert (state.phase(T0 + elapsed), state.step(T0 + elapsed)) == (phase, step)


def test_a_pause_that_outlasts_the_lifetime_is_kept() -> None:
    """
    Keys whose issuer failed before they were to be refreshed are stale for the pause, and then due.
    """
    state = fetched(a_state(Fetching(lifetime=20.0)))
    for _ in range(6):
        failed(state, at=T0 + 15.0)  # and a pause of 22.5 s

    phases = [state.phase(T0 + elapsed) for elapsed in (20.0, 37.4, 37.5)]

    assert phases == [Phase.STALE, Phase.STALE, Phase.DUE]


def test_without_keys_a_failure_is_a_pause() -> None:
    """
    Whoever comes in the pause is refused, and whoever comes after it waits for the next attempt.
    """
    state = failed(a_state(), at=T0)

    steps = [state.step(T0 + elapsed) for elapsed in (0.0, FIRST_PAUSE - 0.01, FIRST_PAUSE)]

    assert steps == [Step.REFUSE, Step.REFUSE, Step.WAIT]


@pytest.mark.parametrize(
    "elapsed",
    [
        pytest.param(REFRESH_AT, id="ageing"),
        pytest.param(LIFETIME, id="due"),
        pytest.param(LIFETIME + FIRST_PAUSE, id="stale"),
        pytest.param(LIFETIME + MAX_STALE, id="too old"),
    ],
)
def test_a_fetch_makes_keys_fresh_from_whichever_phase(elapsed: float) -> None:
    """
    Nothing of what was before it is left: no age, no failure, no pause.
    """
    state = fetched(a_state())
    failed(state, at=T0 + LIFETIME)

    fetched(state, at=T0 + elapsed)

    assert (state.phase(T0 + elapsed), state.step(T0 + elapsed)) == (Phase.FRESH, Step.USE)
    assert state.failures == 0
    assert state.refetches_left(T0 + elapsed) == 2


# Attempts under way


@pytest.mark.parametrize(
    ("is_stale", "elapsed", "under_way", "overdue"),
    [
        pytest.param(False, REFRESH_AT, Step.USE, Step.USE_AND_REFRESH, id="ageing"),
        pytest.param(True, LIFETIME, Step.USE, Step.WAIT, id="stale"),
        pytest.param(False, LIFETIME, Step.WAIT, Step.WAIT, id="due"),
        pytest.param(False, LIFETIME + MAX_STALE, Step.WAIT, Step.WAIT, id="too old"),
    ],
)
def test_one_attempt_at_a_time_runs_in_the_background(
    is_stale: bool, elapsed: float, under_way: Step, overdue: Step
) -> None:
    """
    Until it must have ended nobody begins another; then its loop is gone, and stale keys are waited for.
    """
    state = fetched(a_state())
    if is_stale:
        failed(state, at=T0 + REFRESH_AT)
    now = T0 + elapsed

    state.attempt(now)

    assert state.step(now) is under_way
    assert state.step(now + 2 * TIMEOUT - 0.01) is under_way
    assert state.step(now + 2 * TIMEOUT) is overdue


@pytest.mark.parametrize(
    ("is_stale", "elapsed", "after"),
    [
        pytest.param(False, REFRESH_AT, Step.USE_AND_REFRESH, id="ageing"),
        pytest.param(True, LIFETIME, Step.WAIT, id="stale"),
    ],
)
def test_after_an_attempt_that_was_cancelled_the_next_is_not_begun_at_once(
    is_stale: bool, elapsed: float, after: Step
) -> None:
    """
    With a loop for each request the next would be cancelled too: one a second, stale keys being waited for.
    """
    state = fetched(a_state())
    if is_stale:
        failed(state, at=T0 + REFRESH_AT)
    now = T0 + elapsed
    state.attempt(now)

    state.lost(now + 0.5)

    assert state.step(now + 0.5 + 0.99) is Step.USE
    assert state.step(now + 0.5 + 1.0) is after


@pytest.mark.parametrize("ends", [fetched, failed])
def test_an_attempt_that_ended_is_no_longer_under_way(ends: Callable[..., KeyState]) -> None:
    """
    Well or badly: the next one is begun when its time has come, in the background.
    """
    state = fetched(a_state(Fetching(lifetime=20.0, timeout=60.0)))
    now = T0 + 16.0

    ends(state, at=now)

    assert state.step(now + 16.0 + 1.0) is Step.USE_AND_REFRESH


# What a fetch brings


@pytest.mark.parametrize(
    ("max_age", "lifetime"),
    [
        pytest.param(None, 600.0, id="nothing said"),
        pytest.param(0.0, 60.0, id="none"),
        pytest.param(59.9, 60.0, id="less than the least"),
        pytest.param(60.1, 60.1, id="more than the least"),
        pytest.param(86_399.0, 86_399.0, id="less than the most"),
        pytest.param(86_401.0, 86_400.0, id="more than the most"),
        pytest.param(float("inf"), 86_400.0, id="for ever"),
    ],
)
@pytest.mark.parametrize(("jitter", "part"), [(0.0, 0.75), (0.5, 0.8), (1.0, 0.85)])
def test_a_snapshot_has_its_times(max_age: float | None, lifetime: float, jitter: float, part: float) -> None:
    """
    All counted from when the fetch began; the refresh at 75 to 85 % of the lifetime.
    """
    state = fetched(a_state(jitter=jitter), max_age=max_age)

    snapshot = state.snapshot
    assert snapshot is not None
    assert snapshot.keys is KEYS
    assert snapshot.fetched_at == T0
    assert snapshot.refresh_at == pytest.approx(T0 + part * lifetime)
    assert snapshot.expires_at == pytest.approx(T0 + lifetime)
    assert snapshot.unusable_at == pytest.approx(T0 + lifetime + MAX_STALE)


@pytest.mark.parametrize(
    ("names", "is_another"),
    [
        pytest.param("abc", False, id="the same"),
        pytest.param("cab", False, id="in another order"),
        pytest.param("ab", True, id="one less"),
        pytest.param("abcd", True, id="one more"),
        pytest.param("abd", True, id="another"),
    ],
)
def test_the_generation_is_the_set_of_keys(names: str, is_another: bool) -> None:
    """
    It changes with the keys, and with nothing else.
    """
    keys = {key.kid: key for key in some_keys(*"abcd").keys}
    state = fetched(a_state(), VerificationKeys(tuple(keys[name] for name in "abc")))
    before = state.snapshot

    fetched(state, VerificationKeys(tuple(keys[name] for name in names)))

    assert before is not None
    assert state.snapshot is not None
    assert state.snapshot.generation == before.generation + is_another


def test_a_snapshot_cannot_be_changed() -> None:
    """
    Whoever reads it needs no lock.
    """
    snapshot = fetched(a_state()).snapshot

    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.generation = 5  # type: ignore[misc, union-attr]


def test_fetches_are_numbered_as_they_begin() -> None:
    """
    From one on, so that no request came after a fetch that never was.
    """
    state = a_state()
    before = state.fetches

    numbers = [state.begin() for _ in range(3)]

    assert (before, numbers, state.fetches) == (0, [1, 2, 3], 3)


def test_an_older_answer_does_not_replace_a_newer_one() -> None:
    """
    Of two fetches the one begun later counts, whichever ends first.
    """
    state = a_state()
    older, newer = state.begin(), state.begin()
    state.succeeded(KEYS, number=newer, began_at=T0 + 1.0, max_age=None)
    failed(state, at=T0 + 2.0)

    is_taken = state.succeeded(some_keys("old"), number=older, began_at=T0, max_age=None)

    assert not is_taken
    assert state.snapshot is not None
    assert (state.snapshot.keys, state.snapshot.number) == (KEYS, newer)
    assert state.failures == 1


# Failures


@pytest.mark.parametrize(
    ("jitter", "pauses"),
    [
        pytest.param(0.0, [1.0, 2.0, 4.0, 8.0, 15.0, 15.0], id="half"),
        pytest.param(0.5, [1.5, 3.0, 6.0, 12.0, 22.5, 22.5], id="the middle"),
        pytest.param(1.0, [2.0, 4.0, 8.0, 16.0, 30.0, 30.0], id="all"),
    ],
)
def test_pauses_are_doubled_up_to_a_bound(jitter: float, pauses: list[float]) -> None:
    """
    Half to all of 2, 4, 8, 16 and then always 30 seconds.
    """
    state = a_state(jitter=jitter)

    seen = []
    for _ in pauses:
        failed(state, at=T0)
        seen.append(state.retry_at - T0)

    assert seen == pytest.approx(pauses)
    assert state.failures == len(pauses)


def test_a_pause_is_never_shorter_than_the_least() -> None:
    """
    Jitter shortens a pause down to the lower bound, and not below.
    """
    state = failed(a_state(Fetching(backoff_bounds=(10.0, 12.0)), jitter=0.0), at=T0)

    assert state.retry_at == T0 + 10.0


def test_no_number_of_failures_is_too_large() -> None:
    """
    An issuer that was switched off years ago is still asked every half a minute.
    """
    state = a_state(jitter=1.0)

    for _ in range(5_000):
        failed(state, at=T0)

    assert state.retry_at == T0 + 30.0


def test_an_older_failure_does_not_count_against_a_newer_answer() -> None:
    """
    The issuer answered a later fetch.
    """
    state = a_state()
    older, newer = state.begin(), state.begin()
    state.succeeded(KEYS, number=newer, began_at=T0, max_age=None)

    counts = state.failed(T0 + 1.0, number=older)

    assert not counts
    assert (state.failures, state.step(T0 + LIFETIME)) == (0, Step.WAIT)


def test_fetches_begun_before_a_failure_was_seen_count_with_it() -> None:
    """
    Several event loops saw one outage: one failure, and one pause.
    """
    state = a_state()
    numbers = [state.begin() for _ in range(3)]

    counted = [state.failed(T0 + late, number=number) for late, number in enumerate(numbers)]

    assert counted == [True, False, False]
    assert (state.failures, state.retry_at) == (1, T0 + FIRST_PAUSE)
    assert state.failed(T0 + 10.0, number=state.begin())
    assert state.failures == 2


# Refetches


def test_refetches_are_counted_in_a_window() -> None:
    """
    Two in any thirty seconds: each that was taken counts until it is thirty seconds ago.
    """
    state = fetched(a_state())

    taken = [state.take_refetch(T0 + at) for at in (0.0, 10.0, 20.0, 29.9, 30.0, 30.0, 39.9, 40.0)]

    assert taken == [True, True, False, False, True, False, False, True]
    assert state.refetches == 4
    left = [state.refetches_left(T0 + at) for at in (40.0, 59.9, 60.0, 69.9, 70.0)]
    assert left == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("most", [0, 1, 2, 100])
def test_the_number_of_refetches_is_configured(most: int) -> None:
    """
    None is none.
    """
    state = fetched(a_state(Fetching(max_refetches=most)))

    taken = [state.take_refetch(T0) for _ in range(200)]

    assert sum(taken) == state.refetches == most


def test_there_are_no_refetches_in_a_pause() -> None:
    """
    An issuer that just failed is left alone, and nothing is taken off the budget.
    """
    state = failed(fetched(a_state()), at=T0)

    left = [state.refetches_left(T0 + elapsed) for elapsed in (0.0, FIRST_PAUSE - 0.01, FIRST_PAUSE)]

    assert left == [0, 0, 2]
    assert not state.take_refetch(T0)
    assert state.refetches == 0


# Keys the issuer does not have


def test_an_unknown_key_is_remembered_for_its_time() -> None:
    """
    For a minute, with its algorithm.
    """
    state = a_state()

    state.remember_unknown("a", "EdDSA", T0)

    assert state.is_known_unknown("a", "EdDSA", T0)
    assert state.is_known_unknown("a", "EdDSA", T0 + 59.9)
    assert not state.is_known_unknown("a", "EdDSA", T0 + 60.0)
    assert not state.is_known_unknown("a", "ES256", T0)
    assert not state.is_known_unknown("b", "EdDSA", T0)
    assert not state.is_known_unknown(None, "EdDSA", T0)


def test_a_key_without_key_id_is_remembered_too() -> None:
    """
    That no single key fits a token without a key ID is something the issuer was asked for as well.
    """
    state = a_state()

    state.remember_unknown(None, "EdDSA", T0)

    assert state.is_known_unknown(None, "EdDSA", T0)
    assert not state.is_known_unknown("None", "EdDSA", T0)


def test_asking_again_remembers_anew() -> None:
    """
    The minute is counted from the last time the issuer was asked.
    """
    state = a_state()
    state.remember_unknown("a", "EdDSA", T0)

    state.remember_unknown("a", "EdDSA", T0 + 60.0)

    assert state.is_known_unknown("a", "EdDSA", T0 + 119.9)


@pytest.mark.parametrize("most", [1, 2, 1_024])
def test_so_many_unknown_keys_are_remembered(most: int) -> None:
    """
    The last ones; the one that nobody asked for longest goes first.
    """
    state = a_state(Fetching(max_unknown_keys=most))

    for number in range(most + 10):
        state.remember_unknown(str(number), "EdDSA", T0)

    known = [number for number in range(most + 10) if state.is_known_unknown(str(number), "EdDSA", T0)]
    assert known == list(range(10, most + 10))


@pytest.mark.parametrize("settings", [Fetching(max_unknown_keys=0), Fetching(unknown_key_age=0)])
def test_the_memory_of_unknown_keys_can_be_off(settings: Fetching) -> None:
    """
    Zero keys, or zero seconds.
    """
    state = a_state(settings)

    state.remember_unknown("a", "EdDSA", T0)

    assert not state.is_known_unknown("a", "EdDSA", T0)


def test_no_failure_takes_a_key_away() -> None:
    """
    However many there are, the snapshot stays the one it was.
    """
    state = fetched(a_state())
    before = state.snapshot

    for number in range(100):
        failed(state, at=T0 + number * 30.0)

    assert state.snapshot is before
