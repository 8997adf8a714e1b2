"""
A key set does, whatever happens in whatever order, what a simple model of it says it must.

Hypothesis chooses what happens: time, the issuer's answers and how long they take, requests and their
cancellation, and how far the event loop comes in between. The model is in `key_set_model`; no real time
passes.
"""

import asyncio
import base64
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import httpx
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from key_set_model import Fetch, Key, Model, Wanted

from guardrail import Fetching, Issuer
from guardrail._jwk import VerificationKey
from guardrail._jwks import RemoteKeySet
from guardrail.errors import UnavailableError, UnknownKeyError
from guardrail.events import Event, KeysFetched, KeysFetchFailed, KeysRotated, StaleKeysUsed

ISSUER: Final = "https://login.example.com"
METADATA: Final = f"{ISSUER}/.well-known/oauth-authorization-server"
JWKS_URI: Final = "https://keys.example.net/jwks"
ELSEWHERE: Final = "https://evil.example/keys"
Freshness = tuple[dict[str, str], float | None]
EXAMPLES: Final = settings(
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    derandomize="CI" in os.environ,
    max_examples=300,
    stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
)


# The issuer: keys it may publish, how it may say for how long, and how it may fail


def b64(raw: bytes) -> str:
    """
    Unpadded base64url.
    """
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public_part(number: int) -> str:
    """
    That of a key pair which is the same each time, as the examples are.
    """
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    return b64(private.public_key().public_bytes_raw())


X: Final = [public_part(number) for number in range(5)]
KEYS: Final = (
    Key("a", X[0], None),
    Key("a", X[1], None),
    Key("a", X[2], "EdDSA"),
    Key("b", X[2], "EdDSA"),
    Key("b", X[2], None),
    Key("c", X[3], None),
    Key("d", X[4], "Ed25519"),
)
UNUSABLE: Final[tuple[dict[str, Any], ...]] = (
    {"kid": "a", "kty": "oct", "k": "c2VjcmV0"},
    {"kid": "b", "kty": "OKP", "crv": "Ed25519", "x": X[3], "use": "enc"},
    {"kid": "c", "kty": "OKP", "crv": "Ed25519", "x": "short"},
)
# An answer's fields, and the seconds its keys are used, of 600; a max-age is believed from 60 s to a day.
FRESHNESS: Final[tuple[Freshness, ...]] = (
    ({}, None),
    ({"cache-control": "max-age=120"}, 120.0),
    ({"cache-control": "public, max-age=300", "age": "100"}, 200.0),
    ({"cache-control": "max-age=0"}, 60.0),
    ({"cache-control": "no-store"}, 60.0),
    ({"cache-control": "max-age=31536000"}, 86_400.0),
)


def jwk(key: Key) -> dict[str, str]:
    members = {"kid": key.kid, "kty": "OKP", "crv": "Ed25519", "x": key.x}
    return members if key.alg is None else {**members, "alg": key.alg}


def raising(exc: Exception) -> Callable[[], httpx.Response]:
    def reply() -> httpx.Response:
        raise exc

    return reply


def replying(status: int = 200, body: bytes = b"", **headers: str) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(status, content=body, headers=headers)


BAD: Final[Mapping[str, Callable[[], httpx.Response]]] = {
    "503": replying(503, body=json.dumps({"keys": [jwk(KEYS[0])]}).encode()),
    "connection refused": raising(httpx.ConnectError("refused")),
    "timeout": raising(httpx.ReadTimeout("reading")),
    "a bug of the client": raising(RuntimeError("closed")),
    "HTML": replying(body=b"<!doctype html>"),
    "no keys": replying(body=b'{"keys": []}'),
    "unusable keys": replying(body=json.dumps({"keys": UNUSABLE}).encode()),
    "wrong JSON": replying(body=b'{"keys": {"a": 1}}'),
    "a redirect": replying(302, location=ELSEWHERE),
    "too large": replying(body=bytes(524_289)),
    "too many keys": replying(body=json.dumps({"keys": [jwk(KEYS[0])] * 101}).encode()),
}


class Server:
    """
    An authorization server that answers as it was told when a fetch began, now or later.
    """

    def __init__(self, model: Model, *, is_discovered: bool) -> None:
        self.model = model
        self.first = METADATA if is_discovered else JWKS_URI
        self.keys: tuple[Key, ...] = (KEYS[0],)
        self.freshness = FRESHNESS[0]
        self.has_unusable = False
        self.fault: str | None = None
        self.is_slow = False
        self.gate: asyncio.Future[None] | None = None
        self.answer: Callable[[str], httpx.Response] = lambda _: httpx.Response(404)
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._respond), trust_env=False)

    async def _respond(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        self.model.check(url != ELSEWHERE, "a redirect was followed")
        if url == self.first:
            await self._begin()
        return self.answer(url)

    async def _begin(self) -> None:
        fetch = self.model.began()
        self.answer = self._good(fetch) if self.fault is None else self._bad(fetch, BAD[self.fault])
        if self.is_slow:
            self.gate = asyncio.get_running_loop().create_future()
            try:
                await self.gate
            except asyncio.CancelledError:
                self.model.cancelled(fetch)
                raise

    def _good(self, fetch: Fetch) -> Callable[[str], httpx.Response]:
        keys, (headers, lifetime) = self.keys, self.freshness
        ordered = keys[:: 1 if fetch.number % 2 else -1]  # some issuers publish in another order each time
        document = {"keys": [*map(jwk, ordered), *(UNUSABLE if self.has_unusable else ())]}

        def answer(url: str) -> httpx.Response:
            if url == METADATA:
                return httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": JWKS_URI})
            self.model.answered(fetch, keys, lifetime or self.model.fetching.lifetime)
            return httpx.Response(200, json=document, headers=headers)

        return answer

    def _bad(self, fetch: Fetch, reply: Callable[[], httpx.Response]) -> Callable[[str], httpx.Response]:
        def answer(_url: str) -> httpx.Response:
            if not fetch.is_ended:
                self.model.failed(fetch)
            return reply()

        return answer


# The event loop: turned one turn at a time, by a clock that stands still meanwhile


class Clock:
    """
    A monotonic clock that goes where a test sends it.
    """

    def __init__(self) -> None:
        self.now = 5_000.0

    def __call__(self) -> float:
        return self.now


class Loop(asyncio.SelectorEventLoop):
    """
    An event loop on that clock, which knows whether there is anything left to do.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.scheduled = 0
        self.timers: list[asyncio.TimerHandle] = []

    def time(self) -> float:
        return self.clock()

    # The base class has type variables that say how the arguments go with the callback.
    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self.timers.append(super().call_at(when, callback, *args, context=context))
        return self.timers[-1]

    def next_timer(self) -> float:
        """
        When the next timer is due, which may be over.
        """
        pending = [timer for timer in self.timers if not timer.cancelled()]
        return min((timer.when() for timer in pending), default=math.inf)

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        self.scheduled += 1
        return super().call_soon(callback, *args, context=context)

    def turn(self) -> bool:
        """
        Turn once. Whether there is something to do in the next turn.
        """
        self.call_soon(self.stop)
        before = self.scheduled
        self.timers = [timer for timer in self.timers if timer.when() > self.clock.now]
        self.run_forever()
        return self.scheduled > before


# What may happen

REST: Final = 10_000  # turns: until there is nothing left to do
TURNS: Final = st.sampled_from((REST, REST, REST, 0, 1, 2, 3))
SUBSETS: Final = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True).map(tuple)
KEY_SETS: Final = st.one_of(SUBSETS, SUBSETS, SUBSETS, st.just(KEYS[:3]))  # the last are of one key ID
HOSTILE: Final = ("", "A", "a ", "a\r\nHost: evil.example", "\u202ea", "x" * 1_000, "../b")
WANTED: Final = st.one_of(
    st.builds(Wanted, st.sampled_from("abcd"), st.sampled_from(("EdDSA", "EdDSA", "Ed25519"))),
    st.builds(Wanted, st.sampled_from((None, *HOSTILE)), st.just("EdDSA")),
    st.builds(Wanted, st.integers(0, 30).map("random-{}".format), st.sampled_from(("EdDSA", "Ed25519"))),
)
AROUND: Final = (-0.01, 0.0, 0.01)  # seconds around a moment
STALLS: Final = st.sampled_from((False, False, True))
FETCHINGS: Final = (
    Fetching(),
    Fetching(),
    Fetching(max_refetches=0),
    Fetching(max_refetches=3, refetch_window=10.0, max_unknown_keys=2),
    Fetching(unknown_key_age=0.0),
    Fetching(max_unknown_keys=0),
    Fetching(lifetime=60.0, max_stale=0.0, timeout=2.0, backoff_bounds=(2.0, 8.0)),
    Fetching(max_age_bounds=(90.0, 90.0), lifetime=90.0, max_stale=100.0),
)


class KeySetMachine(RuleBasedStateMachine):
    """
    A real key set, and the model beside it.
    """

    @initialize(
        fetching=st.sampled_from(FETCHINGS),
        jitter=st.sampled_from((0.0, 0.5, 0.999_999)),
        is_discovered=st.booleans(),
        is_warm=st.booleans(),
        freshness=st.sampled_from(FRESHNESS),
    )
    def begin(
        self, fetching: Fetching, jitter: float, is_discovered: bool, is_warm: bool, freshness: Freshness
    ) -> None:
        self.clock = Clock()
        self.model = Model(fetching, self.clock)
        self.server = Server(self.model, is_discovered=is_discovered)
        self.events: list[Event] = []
        self.key_set = RemoteKeySet(
            Issuer(
                ISSUER,
                jwks_uri=None if is_discovered else JWKS_URI,
                algorithms=("EdDSA", "Ed25519"),
                fetching=fetching,
            ),
            http_client=self.server.client,
            emit=self.events.append,
            monotonic=self.clock,
            jitter=lambda: jitter,
        )
        self.loop = Loop(self.clock)
        self.loop.set_exception_handler(lambda _, context: self.model.check(False, str(context)))
        self.runner = asyncio.Runner(loop_factory=lambda: self.loop)
        self.runner.get_loop()
        self.requests: list[asyncio.Task[None]] = []  # not ended
        self.cancelled: set[asyncio.Task[None]] = set()
        self.is_resting = True
        self.publish((KEYS[0],), freshness, has_unusable=False)
        if is_warm:
            self.refresh(REST)

    # Time, and the event loop

    def turn(self, turns: int) -> None:
        """
        Turn the event loop so often, or until nothing is left to do.
        """
        goes_on = True
        for _ in range(turns):
            self.model.turns()
            goes_on = self.loop.turn()
            self.model.turned()
            if not goes_on:
                self.model.rests()
                break
        self.is_resting = not goes_on
        assert turns < REST or not goes_on, "the event loop never rests"

    def pass_time(self, until: float, turns: int, *, is_stalled: bool = False) -> None:
        """
        Let time pass, while the event loop runs or stands still.
        """
        if not is_stalled:
            self.turn(REST)
        while not is_stalled and (timer := self.loop.next_timer()) <= until:
            self.clock.now = max(self.clock.now, timer)
            self.turn(REST)
        seconds, self.clock.now = until - self.clock.now, max(self.clock.now, until)
        if is_stalled and seconds > 0:
            self.model.stalled(seconds)
        self.turn(turns)

    @rule(
        seconds=st.sampled_from((0.1, 0.5, 1.0, 1.5, 4.9, 5.0, 10.0, 29.9, 30.0, 60.0)),
        turns=TURNS,
        is_stalled=STALLS,
    )
    def wait(self, seconds: float, turns: int, is_stalled: bool) -> None:
        self.pass_time(self.clock.now + seconds, turns, is_stalled=is_stalled)

    @rule(
        part=st.sampled_from((0.7, 0.75, 0.8, 0.85, 0.9, 1.0, 1.0)),
        seconds=st.sampled_from(AROUND),
        turns=TURNS,
        is_stalled=STALLS,
    )
    def wait_for_a_part_of_the_lifetime(
        self, part: float, seconds: float, turns: int, is_stalled: bool
    ) -> None:
        self.pass_time(self.model.refresh_at(part) + seconds, turns, is_stalled=is_stalled)

    @rule(part=st.sampled_from((0.1, 0.5, 1.0)), seconds=st.sampled_from(AROUND), turns=TURNS)
    def wait_for_a_part_of_staleness(self, part: float, seconds: float, turns: int) -> None:
        self.pass_time(self.model.refresh_at(1.0) + part * self.model.fetching.max_stale + seconds, turns)

    @rule(bound=st.sampled_from((0, 1)), seconds=st.sampled_from(AROUND), turns=TURNS)
    def wait_for_the_end_of_the_pause(self, bound: int, seconds: float, turns: int) -> None:
        self.pass_time(self.model.failed_at + self.model.pause()[bound] + seconds, turns)

    @precondition(lambda self: self.model.charges)
    @rule(which=st.integers(-3, -1), seconds=st.sampled_from(AROUND), turns=TURNS)
    def wait_for_the_end_of_the_window(self, which: int, seconds: float, turns: int) -> None:
        at, _ = self.model.charges[max(which, -len(self.model.charges))]
        self.pass_time(at + self.model.fetching.refetch_window + seconds, turns)

    @precondition(lambda self: self.model.unknown)
    @rule(which=st.integers(0, 9), seconds=st.sampled_from(AROUND), turns=TURNS)
    def wait_until_it_is_asked_for_again(self, which: int, seconds: float, turns: int) -> None:
        """
        To just before or after a key ID may be asked for again, and ask for it.
        """
        wanted = list(self.model.unknown)[which % len(self.model.unknown)]
        end = self.model.unknown[wanted].said_at + self.model.fetching.unknown_key_age
        self.pass_time(end + seconds, REST)
        self.ask([wanted], 1, turns)

    # The issuer

    @rule(keys=KEY_SETS, freshness=st.sampled_from(FRESHNESS), has_unusable=st.booleans())
    def publish(self, keys: tuple[Key, ...], freshness: Freshness, has_unusable: bool) -> None:
        least, most = self.model.fetching.max_age_bounds
        headers, lifetime = freshness
        self.server.keys = keys
        self.server.freshness = headers, None if lifetime is None else min(max(lifetime, least), most)
        self.server.has_unusable = has_unusable
        self.server.fault = None

    @rule(keys=KEY_SETS, freshness=st.sampled_from(FRESHNESS), which=st.integers(0, 3), turns=TURNS)
    def rotate_slowly(self, keys: tuple[Key, ...], freshness: Freshness, which: int, turns: int) -> None:
        """
        Take long to answer with other keys, one of which is asked for meanwhile.
        """
        self.publish(keys, freshness, has_unusable=False)
        self.slow_down(is_slow=True)
        self.ask([Wanted("somebody's", "EdDSA")], 1, REST)
        self.ask_for_a_published_key(which, 1, turns)

    @rule(fault=st.sampled_from(sorted(BAD)))
    def break_down(self, fault: str) -> None:
        self.server.fault = fault

    @rule(fault=st.sampled_from(sorted(BAD)), attempts=st.integers(1, 8), is_over=st.booleans())
    def fail_for_long(self, fault: str, attempts: int, is_over: bool) -> None:
        """
        Fail several attempts, each made as soon as it may be.
        """
        self.server.fault = fault
        for _ in range(attempts):
            self.pass_time(self.model.failed_at + self.model.pause()[1] + 0.01, REST)
            self.ask([Wanted("nobody's", "EdDSA")], 1, REST)
        self.server.fault = None if is_over else fault

    @precondition(lambda self: self.server.fault is not None)
    @rule()
    def recover(self) -> None:
        self.server.fault = None

    @rule(is_slow=st.booleans())
    def slow_down(self, is_slow: bool) -> None:
        self.server.is_slow = is_slow

    @precondition(lambda self: self.server.gate is not None and not self.server.gate.done())
    @rule(turns=TURNS)
    def release(self, turns: int) -> None:
        self._release()
        self.turn(turns)

    def _release(self) -> None:
        if self.server.gate is not None and not self.server.gate.done():
            self.server.gate.set_result(None)

    # The callers

    @rule(wanted=st.lists(WANTED, min_size=1, max_size=4), times=st.sampled_from((1, 1, 1, 6)), turns=TURNS)
    def ask(self, wanted: list[Wanted], times: int, turns: int) -> None:
        self.requests += [self.loop.create_task(self._ask(one)) for one in wanted * times]
        self.turn(turns)

    @precondition(lambda self: self.model.unknown)
    @rule(which=st.integers(0, 9), alg=st.sampled_from((None, "EdDSA", "Ed25519")), turns=TURNS)
    def ask_again(self, which: int, alg: str | None, turns: int) -> None:
        """
        Ask once more for what is known to be unknown, or for the same with another algorithm.
        """
        wanted = list(self.model.unknown)[which % len(self.model.unknown)]
        self.ask([wanted if alg is None else Wanted(wanted.kid, alg)], 1, turns)

    @precondition(lambda self: self.model.current is not None)
    @rule(which=st.integers(0, 3), times=st.sampled_from((1, 10)), turns=TURNS)
    def ask_for_a_key_in_hand(self, which: int, times: int, turns: int) -> None:
        assert self.model.current is not None
        self._ask_for(self.model.current.keys, which, times, turns)

    @rule(which=st.integers(0, 3), times=st.sampled_from((1, 10)), turns=TURNS)
    def ask_for_a_published_key(self, which: int, times: int, turns: int) -> None:
        self._ask_for(self.server.keys, which, times, turns)

    def _ask_for(self, keys: Sequence[Key], which: int, times: int, turns: int) -> None:
        key = keys[which % len(keys)]
        self.ask([Wanted(key.kid, key.alg or "EdDSA")], times, turns)

    async def _ask(self, wanted: Wanted) -> None:
        caller = self.model.came(wanted)
        try:
            keys, generation = await self.key_set.select(*wanted)
        except UnknownKeyError as exc:
            self.model.refused(caller)
            self.model.check(exc.kid == wanted.kid, f"the refusal of {wanted.kid!r} names {exc.kid!r}")
        except UnavailableError as exc:
            self.model.unavailable(caller, exc.retry_after)
        except asyncio.CancelledError:
            self.model.left(caller)
            raise
        else:
            self.model.served(caller, as_keys(keys), generation)

    @rule(generation=st.integers(-1, 8), times=st.integers(1, 3), turns=TURNS)
    def look(self, generation: int, times: int, turns: int) -> None:
        for _ in range(times):
            self.loop.call_soon(self._look, generation)
        self.turn(turns)

    @precondition(lambda self: self.model.generations)
    @rule(turns=TURNS)
    def look_at_the_newest(self, turns: int) -> None:
        self.loop.call_soon(self._look, max(self.model.generations))
        self.turn(turns)

    def _look(self, generation: int) -> None:
        caller = self.model.came(None)
        self.model.held(generation, caller, holds=self.key_set.holds(generation))

    @rule(turns=TURNS)
    def refresh(self, turns: int) -> None:
        self.loop.call_soon(self._refresh)
        self.turn(turns)

    def _refresh(self) -> None:
        caller = self.model.came(None)
        begun = self.key_set.refresh()
        now = self.clock.now
        may_begin = self.model.may_refresh(now) and not self.model.must_pause(now)
        self.model.check(begun is None or may_begin, "a refresh began that was not due")
        self.model.left(caller)

    @precondition(lambda self: any(not task.done() for task in self.requests))
    @rule(which=st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True), turns=TURNS)
    def cancel(self, which: list[int], turns: int) -> None:
        waiting = [task for task in self.requests if not task.done()]
        for task in {waiting[index % len(waiting)] for index in which}:
            task.cancel()
            self.cancelled.add(task)
        self.turn(turns)

    @precondition(lambda self: self.requests)
    @rule(turns=TURNS)
    def close(self, turns: int) -> None:
        self.requests.append(self.loop.create_task(self._close()))
        self.turn(turns)

    async def _close(self) -> None:
        self.model.interrupted()
        await self.key_set.aclose()

    # What always holds

    @invariant()
    def nothing_happened_that_must_not(self) -> None:
        if not hasattr(self, "model"):
            return
        ended = [task for task in self.requests if task.done()]
        self.requests = [task for task in self.requests if not task.done()]
        for task in ended:
            if task.cancelled():
                self.model.check(task in self.cancelled, "somebody else's request was cancelled")
            else:
                task.result()
        self._check_health()
        self._check_events()
        assert not self.model.violations, self.model.violations

    def _check_health(self) -> None:
        health, model, now = self.key_set.health(), self.model, self.clock.now
        keys = () if model.current is None else model.current.keys
        assert (health.keys, set(health.key_ids)) == (len(keys), {key.kid for key in keys})
        assert health.failures == model.failures
        if model.current is not None:
            assert health.age == now - model.current.began_at
            assert health.expires_in == model.current.began_at + model.current.lifetime - now
            assert health.generation is not None
            model.generation(health.generation)
        if model.is_empty(now):
            states = {"unavailable"}
        else:
            is_past = model.is_past(now)
            may_be = {"stale": is_past and model.failures > 0, "ready": not model.must_be_stale(now)}
            states = {state for state, is_possible in may_be.items() if is_possible}
        assert health.state in states
        if self.is_resting:  # a refetch may have been taken that has not begun
            self._check_budget(health.refetches_left)

    def _check_budget(self, refetches_left: int) -> None:
        model, now, most = self.model, self.clock.now, self.model.fetching.max_refetches
        fewest = 0 if model.may_pause(now) else max(0, most - model.refetches(now, is_sure=False))
        greatest = 0 if model.must_pause(now) else max(0, most - model.refetches(now, is_sure=True))
        assert fewest <= refetches_left <= greatest

    def _check_events(self) -> None:
        told = Counter(type(event) for event in self.events)
        assert told[KeysFetched] == self.model.successes
        assert told[KeysFetchFailed] == self.model.all_failures
        assert told[KeysRotated] == self.model.epoch
        assert told[StaleKeysUsed] == self.model.stale_uses

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        try:
            if not self.model.violations:
                self._end()
        finally:
            self.runner.close()

    def _end(self) -> None:
        """
        Whatever is held back is answered: everybody has an outcome, and nothing is left behind.
        """
        self.server.is_slow = False
        self._release()
        self.turn(REST)
        self.nothing_happened_that_must_not()
        assert asyncio.all_tasks(self.loop) == set()


def as_keys(keys: tuple[VerificationKey, ...]) -> frozenset[Key]:
    """
    The keys of a selection, as the model names them.
    """
    return frozenset(
        Key(key.kid or "", b64(key.public_key.public_bytes_raw()), key.declared_algorithm) for key in keys
    )


def test_no_sequence_of_events_makes_a_key_set_differ_from_the_model() -> None:
    """
    No sequence of time, answers, requests, cancellations and shutdowns has an outcome that it must not.
    """
    run_state_machine_as_test(KeySetMachine, settings=EXAMPLES)
