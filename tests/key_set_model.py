"""
What is asked of the keys of one issuer, as a model: it watches a key set from both sides, the issuer's and
the callers', and collects what must not have happened.

Written from the table of issue 4 and the documented limits. Where a key set may choose, by jitter, the model
knows only the bounds: ``must_…`` is certain, ``may_…`` is possible, and what is merely possible is let pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from guardrail import Fetching

__all__ = ["Caller", "Fetch", "Key", "Model", "Wanted", "fitting"]

REFRESH_LEAST, REFRESH_MOST = 0.75, 0.85  # of the lifetime: when a set is refreshed in the background
NEVER = float("-inf")
PIECES = 20  # that a timeout is counted in: the event loop standing still costs a fetch no more than one
EPSILON = 1e-6  # seconds; around the bounds of what jitter moves
MAX_CANDIDATES = 2  # keys of one key ID that are tried


class Key(NamedTuple):
    """
    A usable key: its key ID, its public part, and the algorithm it names or None.
    """

    kid: str
    x: str
    alg: str | None


class Wanted(NamedTuple):
    """
    What a token's header asks for.
    """

    kid: str | None
    alg: str


def fitting(keys: Sequence[Key], wanted: Wanted) -> frozenset[Key]:
    """
    The keys that may verify a token: those of its key ID, or without one the only one; or none.
    """
    usable = [key for key in keys if key.alg in (None, wanted.alg)]
    if wanted.kid is None:
        found, most = [key for key in usable if key.alg] or usable, 1
    else:
        found, most = [key for key in usable if key.kid == wanted.kid], MAX_CANDIDATES
    return frozenset(found) if len(found) <= most else frozenset()


@dataclass(eq=False)
class Fetch:
    """
    One discovery and fetch, as the issuer sees it.
    """

    number: int
    began_at: float
    keys: Sequence[Key] = ()  # none: not a good answer
    lifetime: float = 0.0
    is_ended: bool = False
    is_interrupted: bool = False  # by `aclose`
    stalls: int = 0  # how often the event loop stood still meanwhile,
    stalled: float = 0.0  # and for how many seconds in all


@dataclass(eq=False)
class Caller:
    """
    One request, and what held when it came. *wanted* is None for whoever only looks, and waits for nothing.
    """

    wanted: Wanted | None
    turn: int
    fetches: int  # begun before
    ended: int  # of them
    interruptions: int
    may_wait: bool
    must_wait: bool
    only_for_new: bool  # it may wait for no fetch but one that begins after it came
    must_refuse: bool
    must_fetch: bool
    left: int | None = None  # the turn in which it had its outcome, or was cancelled


@dataclass
class Unknown:
    """
    A key that the issuer said it does not have.
    """

    said_at: float
    others: set[Wanted] = field(default_factory=set)  # asked for since


@dataclass(eq=False)
class Model:
    """
    The issuer's answers, the callers' outcomes, and the rules that tie the ones to the others.
    """

    fetching: Fetching
    clock: Callable[[], float]
    violations: list[str] = field(default_factory=list)
    turn: int = 0
    rested_at: float = NEVER
    turned_at: tuple[float, float] = (NEVER, NEVER)  # in the turn before this one, and in this one
    fetches: list[Fetch] = field(default_factory=list)
    ended: int = 0
    current: Fetch | None = None
    is_late: bool = False  # the answer came when it had to be asked for again
    epoch: int = 0  # of the keys in use: how often they have changed
    generations: dict[int, int] = field(default_factory=dict)  # to the epoch
    successes: int = 0
    all_failures: int = 0
    failures: int = 0  # in a row
    failed_at: float = NEVER
    interruptions: int = 0
    is_interrupted: bool = False  # and no outcome since
    charges: list[tuple[float, bool]] = field(default_factory=list)  # refetches: when, and whether surely
    unknown: dict[Wanted, Unknown] = field(default_factory=dict)
    callers: list[Caller] = field(default_factory=list)  # present, or just gone
    stale_uses: int = 0

    def check(self, holds: bool, violation: str) -> None:
        """
        Keep *violation*, unless it *holds*.
        """
        if not holds:
            self.violations.append(f"turn {self.turn}, {self.clock():.6f} s: {violation}")

    # What time it is for the keys

    def is_empty(self, at: float) -> bool:
        """
        Whether there are no keys, or only keys too old.
        """
        current = self.current
        return current is None or at >= current.began_at + current.lifetime + self.fetching.max_stale

    def is_past(self, at: float) -> bool:
        """
        Whether the keys' lifetime is over.
        """
        return self.current is not None and at >= self.current.began_at + self.current.lifetime

    def refresh_at(self, part: float) -> float:
        """
        When *part* of the keys' lifetime is over.
        """
        return NEVER if self.current is None else self.current.began_at + part * self.current.lifetime

    def may_refresh(self, at: float) -> bool:
        return at >= self.refresh_at(REFRESH_LEAST) - EPSILON

    def must_refresh(self, at: float) -> bool:
        return at >= self.refresh_at(REFRESH_MOST) + EPSILON

    def pause(self) -> tuple[float, float]:
        """
        The bounds of the pause after the last failure.
        """
        least, most = self.fetching.backoff_bounds
        whole = min(most, least * 2.0**self.failures)
        return max(least, whole / 2), max(least, whole)

    def may_pause(self, at: float) -> bool:
        return self.failures > 0 and at < self.failed_at + self.pause()[1] + EPSILON

    def must_pause(self, at: float) -> bool:
        return self.failures > 0 and at < self.failed_at + self.pause()[0] - EPSILON

    def has_failed(self, at: float, *, since: float) -> bool:
        """
        Whether the last attempt since failed, and is not too long ago to tell of now.
        """
        return since <= self.failed_at and at < self.failed_at + self.fetching.lifetime

    def may_be_stale(self, at: float) -> bool:
        has_failed = self.has_failed(at, since=self.refresh_at(REFRESH_LEAST) - EPSILON)
        return self.is_past(at) and (has_failed or self.may_pause(at))

    def must_be_stale(self, at: float) -> bool:
        has_failed = self.has_failed(at, since=self.refresh_at(REFRESH_MOST) + EPSILON)
        return self.is_past(at) and (has_failed or self.must_pause(at))

    def may_be_due(self, at: float) -> bool:
        """
        Whether a request may have to wait for new keys, for the age of those in hand. After an attempt that
        was called off, or one that should have been given up by now, those who would be served may wait too.
        """
        is_overdue = self.running is not None and at >= self.running.began_at + self.fetching.timeout
        is_served = self.must_be_stale(at) and not self.is_interrupted and not is_overdue
        return self.is_past(at) and not is_served

    # Who asked, and how often

    @property
    def running(self) -> Fetch | None:
        """
        The fetch that has begun and not ended.
        """
        return next((fetch for fetch in self.fetches[-1:] if not fetch.is_ended), None)

    def knows(self, wanted: Wanted | None) -> bool:
        """
        Whether the keys in hand fit.
        """
        return wanted is not None and self.current is not None and bool(fitting(self.current.keys, wanted))

    def refetches(self, at: float, *, is_sure: bool) -> int:
        """
        Refetches within the window; those that surely were some, or those that may have been.
        """
        window = self.fetching.refetch_window
        return sum(at < charged + window and (sure or not is_sure) for charged, sure in self.charges)

    def must_be_spent(self, at: float) -> bool:
        return self.refetches(at, is_sure=True) >= self.fetching.max_refetches

    def may_be_spent(self, at: float) -> bool:
        return self.refetches(at, is_sure=False) >= self.fetching.max_refetches

    def may_be_unknown(self, wanted: Wanted, at: float) -> bool:
        """
        Whether the issuer may be known to have no such key.
        """
        told = self.unknown.get(wanted)
        return told is not None and at < told.said_at + self.fetching.unknown_key_age

    def must_be_unknown(self, wanted: Wanted, at: float) -> bool:
        """
        Whether it must be: not so many others were asked for since that it may have been forgotten.
        """
        is_kept = wanted in self.unknown and (
            len(self.unknown[wanted].others) < self.fetching.max_unknown_keys
        )
        return is_kept and self.may_be_unknown(wanted, at)

    def _asked_for(self, wanted: Wanted) -> None:
        for other, told in self.unknown.items():
            if other != wanted:
                told.others.add(wanted)

    # What the issuer sees

    def turns(self) -> None:
        """
        The event loop is about to turn.
        """
        self.turn += 1
        self.turned_at = self.turned_at[1], self.clock()
        self.callers = [one for one in self.callers if one.left is None or one.left >= self.turn - 1]

    def began(self) -> Fetch:
        """
        A fetch begins, which somebody decided on in the turn before.
        """
        at = self.turned_at[0]
        self.check(self.running is None, "two fetches at a time")
        self.check(not self.must_pause(at), "a fetch during a pause")
        self.check(bool(self.callers), "a fetch for nobody")
        is_for_unknown = any(one.wanted and not self.knows(one.wanted) for one in self.callers)
        if not self.is_empty(at) and not self.may_refresh(at):
            self.check(is_for_unknown, "a fetch although the keys are fresh")
            self.check(not self.must_be_spent(at), "a fetch beyond the budget")
            self.charges.append((at, True))
        elif is_for_unknown and (self.is_interrupted or self.is_late or not self.must_refresh(at)):
            self.charges.append((at, False))
        self.fetches.append(Fetch(len(self.fetches) + 1, self.clock()))
        return self.fetches[-1]

    def answered(self, fetch: Fetch, keys: Sequence[Key], lifetime: float) -> None:
        """
        It is answered well.
        """
        fetch.keys, fetch.lifetime = keys, lifetime
        if self.current is not None:
            self.epoch += set(self.current.keys) != set(keys)
        self.current = fetch
        self.is_late = self.may_refresh(self.clock())
        self.failures = 0
        self.successes += 1
        self._ended(fetch)

    def failed(self, fetch: Fetch) -> None:
        """
        It is answered badly, or not within its time.
        """
        self.failures += 1
        self.all_failures += 1
        self.failed_at = self.clock()
        self._ended(fetch)

    def cancelled(self, fetch: Fetch) -> None:
        """
        It ended without an answer: for its time was over, or on `aclose`.
        """
        if fetch.is_interrupted:
            fetch.is_ended = True
            self.ended += 1
            return
        least = self.fetching.timeout * (1 - fetch.stalls / PIECES)
        self.check(self._ran(fetch) >= least - EPSILON, "a fetch was given up before its time")
        self.failed(fetch)

    def _ran(self, fetch: Fetch) -> float:
        return self.clock() - fetch.began_at - fetch.stalled

    def stalled(self, seconds: float) -> None:
        """
        The event loop stood still.
        """
        if self.running is not None:
            self.running.stalls += 1
            self.running.stalled += seconds

    def _ended(self, fetch: Fetch) -> None:
        fetch.is_ended = True
        self.ended += 1
        self.is_interrupted = False

    def interrupted(self) -> None:
        """
        Whatever runs is called off by `aclose`.
        """
        self.interruptions += 1
        self.is_interrupted = True
        self.charges.append((self.clock(), False))  # it may have been a refetch that had not begun
        if self.running is not None:
            self.running.is_interrupted = True

    # What the callers see

    def came(self, wanted: Wanted | None) -> Caller:
        """
        Somebody is about to ask.
        """
        now = self.clock()
        may_be_due, is_idle = self.may_be_due(now), self.running is None and not self.is_interrupted
        if wanted is not None:
            self._asked_for(wanted)
        caller = Caller(
            wanted=wanted,
            turn=self.turn,
            fetches=len(self.fetches),
            ended=self.ended,
            interruptions=self.interruptions,
            may_wait=self._may_wait(wanted, now),
            must_wait=self._must_wait(now),
            only_for_new=not self.is_empty(now) and not may_be_due and self.must_be_spent(now),
            must_refuse=wanted is not None
            and not (self.is_empty(now) or may_be_due or self.knows(wanted))
            and self.must_be_unknown(wanted, now),
            must_fetch=is_idle
            and not self.may_pause(now)
            and (self.is_empty(now) or self.is_past(now) or self.must_refresh(now)),
        )
        self.callers.append(caller)
        return caller

    def _may_wait(self, wanted: Wanted | None, now: float) -> bool:
        if self.is_empty(now):
            return not self.must_pause(now)
        if self.may_be_due(now):
            return True
        if wanted is None or self.knows(wanted):
            return False
        return not self.must_pause(now) and not self.must_be_unknown(wanted, now)

    def _must_wait(self, now: float) -> bool:
        is_due = self.is_past(now) and not self.may_be_stale(now)
        return (self.is_empty(now) or is_due) and not self.may_pause(now)

    def left(self, caller: Caller) -> None:
        """
        A caller has its outcome, or was cancelled.
        """
        caller.left = self.turn

    def served(self, caller: Caller, keys: frozenset[Key], generation: int) -> None:
        """
        A caller was given *keys*.
        """
        now, current = self.clock(), self._outcome(caller)
        wanted = caller.wanted
        assert wanted is not None
        self.check(self._are_usable(caller), "keys past their staleness were used")
        self.check(
            current is not None and keys == fitting(current.keys, wanted), "other keys than the newest"
        )
        self.generation(generation)
        if self.is_past(now):
            self.stale_uses += 1
            # Whoever waited for an attempt is served by what there is then.
            has_waited = self.ended > caller.ended or self._was_interrupted(caller)
            violation = "keys past their lifetime were used, and no attempt to renew them had failed"
            self.check(self.may_be_stale(now) or has_waited, violation)

    def refused(self, caller: Caller) -> None:
        """
        A caller was told that there is no such key.
        """
        now, current = self.clock(), self._outcome(caller)
        wanted = caller.wanted
        assert wanted is not None
        self.check(self._are_usable(caller), "a key was said to be unknown, with no keys to tell by")
        self.check(not self.knows(wanted), "a key in hand was said to be unknown")
        if current is not None and current.number > caller.fetches:
            self._asked_for(wanted)
            self.unknown[wanted] = Unknown(now)
            return
        is_over_budget = self.may_be_spent(now) and not self.failures
        self.check(
            self.may_be_unknown(wanted, now) or is_over_budget,
            "a key was said to be unknown, and the issuer was not asked for it",
        )

    def unavailable(self, caller: Caller, retry_after: float | None) -> None:
        """
        A caller was told that keys could not be had.
        """
        now = self.clock()
        self._outcome(caller)
        self.check(
            self.is_empty(now) or not self.knows(caller.wanted), "a key in hand was said to be missing"
        )
        self.check(not caller.must_refuse, "a key known to be unknown was said to be missing")
        least, most = 1.0, max(1.0, self.pause()[1])
        self.check(
            retry_after is not None and least <= retry_after <= most + 1.0, f"retry after {retry_after}"
        )
        later = self.fetches[caller.fetches :]
        has_tried = any(one.is_ended and not one.keys for one in later) or self._was_interrupted(caller)
        has_waited = self.is_empty(now) and self.ended > caller.ended
        is_failing = self.may_pause(now) or (self.failures > 0 and self.may_be_spent(now))
        self.check(
            has_tried or has_waited or is_failing, "keys were said to be missing, and nobody had tried"
        )

    def held(self, generation: int, caller: Caller, *, holds: bool) -> None:
        """
        A caller was told whether what was verified under *generation* still stands.
        """
        now = self.clock()
        self.left(caller)
        if holds:
            self.generation(generation)
        is_current = self.current is not None and self.generations.get(generation) == self.epoch
        # What must be waited for is for those to begin who wait.
        caller.must_fetch &= is_current and not self.is_empty(now) and not self.may_be_due(now)
        if holds:
            self.check(is_current, "an earlier generation holds, or one of no keys")
            self.check(not self.is_empty(now), "a generation past its staleness holds")
            is_due = self.is_past(now) and not self.may_be_stale(now)
            self.check(not is_due, "a generation holds that is due")
            self.stale_uses += self.is_past(now)
        elif is_current:
            self.check(self.is_empty(now) or self.may_be_due(now), "the generation in use does not hold")

    def generation(self, generation: int) -> None:
        """
        Somebody learned the generation of the keys in use.
        """
        epochs = self.generations
        known = next((one for one, epoch in epochs.items() if epoch == self.epoch), generation)
        self.check(known == generation, "the generation changed and the keys did not")
        same = epochs.setdefault(generation, self.epoch) == self.epoch
        self.check(same, "the keys changed and the generation did not")

    def _outcome(self, caller: Caller) -> Fetch | None:
        has_waited = self.turn > caller.turn
        self.check(has_waited or not caller.must_wait, "somebody did not wait for keys that are due")
        self.left(caller)
        return self.current

    def _are_usable(self, caller: Caller) -> bool:
        return not self.is_empty(self.clock())

    def _was_interrupted(self, caller: Caller) -> bool:
        return self.interruptions > caller.interruptions

    # What is checked after each turn, and when nothing is left to turn

    def turned(self) -> None:
        """
        The event loop has turned.
        """
        for caller in self.callers:
            if caller.turn < self.turn - 1:
                continue
            is_waiting, is_first = caller.left is None, caller.turn == self.turn
            if is_waiting and is_first:
                self.check(caller.may_wait, f"a request for {caller.wanted} waits")
            if is_first or len(self.fetches) > caller.fetches or self._was_interrupted(caller):
                continue
            self.check(not (is_waiting and caller.only_for_new), "a request waits beyond the budget")
            self.check(not caller.must_fetch, "a fetch that was due did not begin")

    def rests(self) -> None:
        """
        Nothing happens any more, unless an answer or time comes.
        """
        self.rested_at = self.clock()
        running = self.running
        waiting = [one for one in self.callers if one.left is None]
        self.check(running is not None or not waiting, f"{len(waiting)} wait for nothing")
        if running is not None:
            is_over = self._ran(running) > self.fetching.timeout + EPSILON
            self.check(not is_over, "a fetch goes on after its time")
        is_served = not self.is_empty(self.rested_at) and not self.may_be_due(self.rested_at)
        has_key = is_served and any(self.knows(one.wanted) for one in waiting)
        self.check(not has_key, "a request waits, and its key is in hand")
        later = (one for caller in waiting for one in self.fetches[caller.fetches :])
        is_done = all(one.is_interrupted or not one.is_ended for one in later)
        self.check(is_done, "somebody waits for more than one fetch that began after it came")
