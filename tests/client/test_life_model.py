"""
The machine of a token's life against a model written the other way round: from a log of what happened.
"""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from guardrail.client._failures import Failure
from guardrail.client._life import AccessToken, TokenLife

LEAST = 0.5  # every pause in here is at its least: half


@dataclass
class Happened:
    """
    One thing in the log.
    """

    what: str  # "token", "transient", "permanent", "final", "gone"
    at: float
    until: float = 0.0  # a token's expiry, or the end of a pause
    aging: float = 0.0
    value: str = ""


class Model(RuleBasedStateMachine):
    """
    Reads the log from the end whenever it is asked something, and keeps no state beside it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.life = TokenLife(uniform=lambda low, _high: low)
        self.now = 0.0
        self.log: list[Happened] = []
        self.is_fetching = False
        self.opened = 0
        self.closed = 0
        self.values = 0

    def held(self) -> Happened | None:
        relevant = [one for one in self.log if one.what in {"token", "gone"}]
        return relevant[-1] if relevant and relevant[-1].what == "token" else None

    def pause_ends(self) -> float:
        relevant = [one for one in self.log if one.what != "gone"]
        return relevant[-1].until if relevant and relevant[-1].what != "token" else 0.0

    def row(self) -> int:
        """
        Transient failures since anything else was answered.
        """
        count = 0
        for one in reversed([one for one in self.log if one.what != "gone"]):
            if one.what != "transient":
                break
            count += 1
        return count

    @rule(seconds=st.sampled_from([0.0, 0.25, 1.0, 5.0, 30.0, 61.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def request(self) -> None:
        held, step = self.held(), self.life.next(self.now)
        is_alive = held is not None and self.now < held.until
        is_paused = self.now < self.pause_ends()
        is_wanted = held is None or not is_alive or self.now >= held.aging
        begins = is_wanted and not self.is_fetching and not is_paused

        assert (step.token is not None) == is_alive
        assert step.token is None or held is None or step.token.value == held.value
        assert (step.trigger is not None) == begins
        assert (step.failure is not None) == (not is_alive and not self.is_fetching and is_paused)
        if begins and is_alive:
            assert step.trigger == "aging"
        self.is_fetching = self.is_fetching or begins

    @precondition(lambda self: self.is_fetching)
    @rule(lifetime=st.sampled_from([1.0, 8.0, 60.0, 1_000.0, 10_000.0]))
    def fetch_succeeds(self, lifetime: float) -> None:
        self.values += 1
        value = f"token-{self.values}"
        token = AccessToken.of(value, lifetime, asked_at=self.now, obtained_at=self.now, spread=1.0)
        margin = sorted((5.0, lifetime / 5, 300.0))[1] if lifetime >= 10 else lifetime / 2
        assert token.aging_at == self.now + max(lifetime - margin, lifetime / 2)

        assert self.life.succeeded(token) == (self.opened > self.closed)

        self.closed = self.opened
        self.log.append(Happened("token", self.now, token.expires_at, token.aging_at, value))
        self.is_fetching = False

    @precondition(lambda self: self.is_fetching)
    @rule(retry_after=st.sampled_from([0.0, 0.1, 20.0, 300.0]))
    def fetch_fails(self, retry_after: float) -> None:
        opens = self.life.failed(Failure("timeout", "", retry_after=retry_after), self.now)

        number = self.row() + 1
        steps = [1, 2, 4, 8, 16, 32]
        backoff = (steps[number - 1] if number <= len(steps) else 60) * LEAST
        self.log.append(Happened("transient", self.now, self.now + max(backoff, retry_after)))
        assert opens == (number >= 5 and self.opened == self.closed)
        self.opened += opens
        self.is_fetching = False

    @precondition(lambda self: self.is_fetching)
    @rule()
    def fetch_is_refused(self) -> None:
        assert not self.life.failed(Failure("invalid_client", "", permanent=True), self.now)

        self.log.append(Happened("permanent", self.now, self.now + 60.0))
        self.is_fetching = False

    @precondition(lambda self: self.is_fetching)
    @rule(chance=st.integers(0, 9))
    def fetch_is_refused_for_good(self, chance: int) -> None:
        if chance == 0:
            self.life.failed(Failure("invalid_grant", "", permanent=True, is_final=True), self.now)
            self.log.append(Happened("final", self.now, float("inf")))
            self.is_fetching = False

    @rule(is_held=st.booleans())
    def is_invalidated(self, is_held: bool) -> None:
        held = self.held()
        self.life.drop(held.value if held and is_held else "another", gap="invalidated")
        if held and is_held:
            self.log.append(Happened("gone", self.now))

    @invariant()
    def one_fetch_at_a_time(self) -> None:
        assert (self.life.fetching is not None) == self.is_fetching


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
