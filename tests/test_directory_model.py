"""
A directory's cache against a model that is a few lines long: what is asked for, and what comes of it.
"""

import asyncio
import os
from dataclasses import dataclass, field, replace
from typing import Any

from directory_world import ALICE, CHANGED, DISABLED, RECORD, Staff, World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from jwks_world import run_a_while

from guardrail.directory import OperatorKey, OperatorRecord
from guardrail.errors import UnavailableError

KEYS = [replace(ALICE, subject=subject) for subject in ("alice", "bob", "carol")]
FAILED = "failed"  # what a look-up comes to, beside a record or None
ANSWERS = st.sampled_from([RECORD, CHANGED, DISABLED, None, FAILED])
MAX_AGE, NEGATIVE_MAX_AGE, MAX_STALE = 60.0, 10.0, 30.0

SETTINGS = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclass
class Known:
    """
    What the model says is known of a key.
    """

    answer: Any
    asked_at: float


@dataclass(eq=False)
class Question:
    """
    What the model says of a look-up under way.
    """

    asked_at: float
    gate: asyncio.Event
    answer: Any
    may_be_kept: bool = True
    waiting: list["asyncio.Task[Any]"] = field(default_factory=list)


class GatedStaff(Staff):
    """
    A directory each of whose answers comes when the machine says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[asyncio.Event] = []
        self.answers: list[Any] = []

    async def resolve(self, key: OperatorKey) -> Any:
        """
        The answer that was chosen for this call.
        """
        number = len(self.asked)
        self.asked.append(key)
        await self.gates[number].wait()
        if self.answers[number] == FAILED:
            raise OSError
        return self.answers[number]


class CacheMachine(RuleBasedStateMachine):
    """
    Requests come, directories answer late or never well, clocks go both ways, somebody takes things back.
    """

    @initialize(max_stale=st.sampled_from([0.0, MAX_STALE]))
    def begin(self, max_stale: float) -> None:
        """
        An empty cache.
        """
        self.max_stale = max_stale
        self.loop = asyncio.new_event_loop()
        self.world = World(
            max_age=MAX_AGE, negative_max_age=NEGATIVE_MAX_AGE, max_stale=max_stale, timeout=1e6
        )
        self.staff = GatedStaff()
        self.world.cached._cache._directory = self.staff
        self.known: dict[OperatorKey, Known] = {}
        self.joinable: dict[OperatorKey, Question] = {}
        self.under_way: list[tuple[OperatorKey, Question]] = []
        self.questions = 0

    def teardown(self) -> None:
        """
        End what is left.
        """
        if not hasattr(self, "loop"):
            return
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        run_a_while(self.loop)
        self.loop.close()

    @rule(key=st.sampled_from(KEYS), answer=ANSWERS)
    def request(self, key: OperatorKey, answer: Any) -> None:
        """
        Somebody asks; if that begins a look-up, *answer* is what it will come to.
        """
        gate = asyncio.Event()
        self.staff.gates.append(gate)
        self.staff.answers.append(answer)
        task = self.loop.create_task(self.world.ask(key))
        run_a_while(self.loop)

        known = self.known.get(key)
        if known is not None and self._is_fresh(known):
            self._unused()
            assert task.done(), "an answer was there"
            assert task.result() == known.answer
            return
        if key in self.joinable:
            self._unused()
        else:
            self.questions += 1
            question = Question(self.world.clock.now, gate, answer)
            self.joinable[key] = question
            self.under_way.append((key, question))
        assert not task.done(), "there was nothing to answer with"
        self.joinable[key].waiting.append(task)

    def _unused(self) -> None:
        self.staff.gates.pop()
        self.staff.answers.pop()

    def _age(self, known: Known) -> float:
        age = self.world.clock.now - known.asked_at
        return float("inf") if age < 0 else age

    def _is_fresh(self, known: Known) -> bool:
        return self._age(known) < (NEGATIVE_MAX_AGE if known.answer is None else MAX_AGE)

    @rule(which=st.integers(0, 5))
    def answer(self, which: int) -> None:
        """
        A look-up under way ends; all who wait for it are answered, by the last record if it failed.
        """
        if not self.under_way:
            return
        key, question = self.under_way.pop(which % len(self.under_way))
        question.gate.set()
        run_a_while(self.loop)

        if self.joinable.get(key) is question:
            del self.joinable[key]
        if question.answer != FAILED:
            if question.may_be_kept:
                self.known[key] = Known(question.answer, question.asked_at)
            assert all(task.result() == question.answer for task in question.waiting if not task.cancelled())
            return
        expected = self._last(key)
        for task in question.waiting:
            if task.cancelled():
                continue
            if expected is None:
                assert isinstance(task.result(), UnavailableError)
            else:
                assert task.result() == expected

    def _last(self, key: OperatorKey) -> OperatorRecord | None:
        known = self.known.get(key)
        if known is None or known.answer is None:
            return None
        age = self._age(known)
        is_usable = age <= MAX_AGE + self.max_stale
        return known.answer if is_usable else None

    @rule(which=st.integers(0, 5), whom=st.integers(0, 5))
    def cancel_a_request(self, which: int, whom: int) -> None:
        """
        Somebody who waits leaves.
        """
        waiting = [task for _, question in self.under_way for task in question.waiting if not task.done()]
        if waiting:
            waiting[(which + whom) % len(waiting)].cancel()
            run_a_while(self.loop)

    @rule(key=st.sampled_from(KEYS))
    def invalidate(self, key: OperatorKey) -> None:
        """
        What is known is taken back, and what is being asked counts for those alone who wait for it.
        """
        self.world.cached.invalidate(key)
        self.known.pop(key, None)
        question = self.joinable.pop(key, None)
        if question is not None:
            question.may_be_kept = False

    @rule(seconds=st.sampled_from([0.5, 9.5, 10.0, 30.0, 59.5, 60.0, 90.0, -0.5, -30.0, -100.0]))
    def let_time_pass(self, seconds: float) -> None:
        """
        The wall clock goes on, or is set back.
        """
        self.world.clock.now += seconds

    @invariant()
    def nobody_is_asked_twice(self) -> None:
        """
        The directory was asked as often as the model says.
        """
        if hasattr(self, "loop"):
            assert len(self.staff.asked) == self.questions


TestCache = CacheMachine.TestCase
TestCache.settings = SETTINGS
