"""
The machine of a token's life, by itself: told the time, it says what to do.
"""

import pytest

from guardrail.client._failures import Failure
from guardrail.client._life import AccessToken, Next, TokenLife, Trigger

PERMANENT = Failure("invalid_client", "status 401", permanent=True)
TRANSIENT = Failure("http_5xx", "status 503")


def token(
    lifetime: float = 1_000.0, *, at: float = 0.0, spread: float = 1.0, value: str = "a"
) -> AccessToken:
    return AccessToken.of(value, lifetime, asked_at=at, obtained_at=at, spread=spread)


def life(draw: float = 1.0) -> TokenLife:
    """
    A machine whose every draw is *draw* of the way from the least to the most.
    """
    return TokenLife(uniform=lambda low, high: low + draw * (high - low))


def with_token(lifetime: float = 1_000.0) -> TokenLife:
    one = life()
    one.next(0.0)
    one.succeeded(token(lifetime))
    return one


@pytest.mark.parametrize(
    ("lifetime", "spread", "aging_at"),
    [
        pytest.param(1_000.0, 1.0, 800.0, id="a fifth before"),
        pytest.param(1_000.0, 1.5, 700.0, id="spread"),
        pytest.param(3_600.0, 1.0, 3_300.0, id="300 s at most"),
        pytest.param(3_600.0, 1.5, 3_150.0, id="the spread goes over that"),
        pytest.param(20.0, 1.0, 15.0, id="5 s at least"),
        pytest.param(8.0, 1.0, 4.0, id="half at most"),
        pytest.param(8.0, 1.5, 4.0, id="not before half"),
        pytest.param(12.0, 1.5, 6.0, id="not before half by the spread"),
    ],
)
def test_aging_begins_a_margin_before_expiry(lifetime: float, spread: float, aging_at: float) -> None:
    """
    The margin is a fifth of the lifetime within bounds, times the spread, and never before half the lifetime.
    """
    one = token(lifetime, at=100.0, spread=spread)

    assert (one.aging_at, one.expires_at) == (100.0 + aging_at, 100.0 + lifetime)


def test_lifetime_counts_from_before_the_request() -> None:
    """
    The time that the answer took is not added to the token's life.
    """
    one = AccessToken.of("a", 60.0, asked_at=10.0, obtained_at=19.0, spread=1.0)

    assert (one.expires_at, one.obtained_at) == (70.0, 19.0)


def test_first_request_fetches() -> None:
    """
    Without a token the first request starts a fetch, and the next ones wait for it.
    """
    one = life()

    assert [one.next(0.0), one.next(0.0)] == [Next(trigger="missing"), Next()]


@pytest.mark.parametrize(
    ("now", "trigger"),
    [
        pytest.param(799.9, None, id="fresh"),
        pytest.param(800.0, "aging", id="aging"),
        pytest.param(999.9, "aging", id="at its last"),
    ],
)
def test_living_token_is_used(now: float, trigger: Trigger | None) -> None:
    """
    A fresh token is used; an aging one too, and renewed.
    """
    one = with_token()

    assert one.next(now) == Next(token(), trigger)


def test_aging_starts_one_renewal() -> None:
    """
    While a renewal runs, the token is used and no other one is started.
    """
    one = with_token()
    one.next(800.0)

    assert one.next(801.0) == Next(token())


def test_expired_token_is_not_used() -> None:
    """
    At its expiry the token is not used, to the moment.
    """
    assert with_token().next(1_000.0) == Next(trigger="expired")


def test_expired_while_a_renewal_runs_waits_for_it() -> None:
    """
    Expiry does not start a second fetch.
    """
    one = with_token()
    one.next(800.0)

    assert one.next(1_000.0) == Next()


@pytest.mark.parametrize(
    ("draw", "failures", "pause"),
    [
        pytest.param(1.0, 1, 1.0, id="first"),
        pytest.param(0.0, 1, 0.5, id="first, least"),
        pytest.param(1.0, 2, 2.0, id="second"),
        pytest.param(1.0, 6, 32.0, id="sixth"),
        pytest.param(1.0, 7, 60.0, id="seventh: the most"),
        pytest.param(0.0, 7, 30.0, id="seventh, least"),
        pytest.param(1.0, 5_000, 60.0, id="very many"),
    ],
)
def test_pause_doubles(draw: float, failures: int, pause: float) -> None:
    """
    After the n-th transient failure in a row there is a pause of 2ⁿ⁻¹ seconds, a minute at most, with jitter.
    """
    one = life(draw)
    for _ in range(failures):
        one.failed(TRANSIENT, 50.0)

    assert one.retry_after(50.0) == pause
    assert one.next(50.0 + pause - 0.01).failure == TRANSIENT
    assert one.next(50.0 + pause) == Next(trigger="missing")


@pytest.mark.parametrize(
    ("asked_for", "pause"), [pytest.param(30.0, 30.0, id="longer"), pytest.param(0.2, 1.0, id="shorter")]
)
def test_retry_after_counts_if_it_is_longer(asked_for: float, pause: float) -> None:
    """
    The server can lengthen a pause, and not shorten it.
    """
    one = life()

    one.failed(Failure("http_5xx", "", retry_after=asked_for), 0.0)

    assert one.retry_after(0.0) == pause


def test_permanent_failure_is_repeated_for_a_minute() -> None:
    """
    For 60 s requests fail with the same error at once; then one asks again.
    """
    one = life()
    one.failed(PERMANENT, 0.0)

    held = one.next(59.5)
    assert (held.failure, held.retry_after) == (PERMANENT, 0.5)
    assert [one.next(60.0), one.next(60.0)] == [Next(trigger="missing"), Next()]


def test_permanent_failure_ends_the_row() -> None:
    """
    A refusal is an answer: the pauses after it begin anew.
    """
    one = life()
    for failure in (TRANSIENT, TRANSIENT, TRANSIENT, PERMANENT, TRANSIENT):
        one.failed(failure, 0.0)

    assert one.retry_after(0.0) == 1.0


def test_final_failure_has_no_end() -> None:
    """
    After a final failure nothing is ever asked again.
    """
    one, final = life(), Failure("invalid_grant", "", permanent=True, is_final=True)
    one.failed(final, 0.0)

    assert one.next(1e9) == Next(failure=final, retry_after=None)


def test_pause_holds_back_only_renewals_while_a_token_lives() -> None:
    """
    A failed renewal keeps the token until it expires; then the failure comes out.
    """
    one = with_token(lifetime=10.0)
    one.next(5.0)
    for _ in range(5):
        one.failed(TRANSIENT, 5.0)

    assert one.next(9.9) == Next(token(10.0))
    assert one.next(10.0).failure == TRANSIENT


def test_circuit_opens_once_and_closes_once() -> None:
    """
    The fifth failure in a row opens it, later ones do not again, and the next success closes it.
    """
    one = life()

    opened = [one.failed(TRANSIENT, 0.0) for _ in range(12)]
    between = one.failed(PERMANENT, 0.0)
    again = [one.failed(TRANSIENT, 0.0) for _ in range(6)]
    closed = [one.succeeded(token()), one.succeeded(token())]

    assert (opened.index(True), opened.count(True), between, any(again)) == (4, 1, False, False)
    assert closed == [True, False]


def test_four_failures_open_nothing() -> None:
    """
    A success in between begins a new row.
    """
    one = life()

    told = [one.failed(TRANSIENT, 0.0) for _ in range(4)]
    told.append(one.succeeded(token()))
    told += [one.failed(TRANSIENT, 0.0) for _ in range(4)]

    assert not any(told)


@pytest.mark.parametrize("gap", ["rejected", "invalidated"])
def test_dropped_token_is_fetched_for_that_reason(gap: Trigger) -> None:
    """
    The next fetch says why there was no token.
    """
    one = with_token()

    one.drop("a", gap=gap)

    assert one.next(1.0) == Next(trigger=gap)


def test_another_token_is_not_dropped() -> None:
    """
    Only the token that is held can be dropped.
    """
    one = with_token()

    one.drop("b", gap="rejected")

    assert one.next(1.0) == Next(token())


def test_forgotten_token_is_missing() -> None:
    """
    What is forgotten is fetched as if there had never been one; or never, if that is said.
    """
    one, final = with_token(), Failure("invalid_grant", "", is_final=True)

    one.forget()
    other = with_token()
    other.forget(final)

    assert one.next(1.0) == Next(trigger="missing")
    assert other.next(1.0) == Next(failure=final)


def test_token_is_not_shown() -> None:
    """
    The representation has the times and not the token.
    """
    assert "s3cret" not in repr(token(value="s3cret"))
