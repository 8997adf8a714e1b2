"""
Held out: the operator directory, asked through the middleware.

Written from the contract before the code was read.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from held_out_kit import bearer, request, send_request
from operator_kit import GONE, NOW, URLS, Served, Stand, ask, expected, package, token, told, written

from guardrail import ClientRegistration, GuardrailMiddleware, any_of, current_operator, public
from guardrail._operator import ANONYMOUS
from guardrail.directory import CachedDirectory, OperatorKey, OperatorRecord
from guardrail.errors import PolicyError

pytestmark = pytest.mark.anyio

CLERK: Final = OperatorRecord("emp-7")
UNAVAILABLE: Final = (503, "directory_unavailable")


@dataclass
class Staff:
    """
    A directory that answers as it is told, counts, and can be made to fail or to wait.
    """

    answer: Any = CLERK
    asked: list[OperatorKey] = field(default_factory=list[OperatorKey])
    gate: asyncio.Event | None = None

    async def resolve(self, key: OperatorKey) -> OperatorRecord | None:
        """
        The answer; an exception is raised, a function is asked.
        """
        self.asked.append(key)
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answer(key) if callable(self.answer) else self.answer
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[no-any-return]


@dataclass
class Clock:
    """
    A clock that is moved.
    """

    now: float = NOW

    def __call__(self) -> float:
        return self.now


def behind(directory: Any, requirement: Any = None, **settings: Any) -> Stand:
    """
    An application whose operators *directory* knows.
    """
    asked = package(mapping={"access_groups": "ag"}).requires() if requirement is None else requirement
    return Stand(asked, {"directory": directory, **settings})


def outcome(served: Served) -> tuple[int, str | None]:
    """
    Status and code.
    """
    return (served.status, served.code)


HELD: Final = ("A", "B")  # what the token says
MERGED: Final = [
    ("id alone", OperatorRecord("emp-7"), HELD, "A", {"clerk"}),
    ("groups", OperatorRecord("emp-7", access_groups=["Z", "Y"]), ("Z", "Y"), "Z", {"clerk"}),
    ("no groups", OperatorRecord("emp-7", access_groups=[]), (), None, {"clerk"}),
    ("groups twice", OperatorRecord("emp-7", access_groups=["Z", "Y", "Z"]), ("Z", "Y"), "Z", {"clerk"}),
    (
        "default",
        OperatorRecord("emp-7", access_groups=["Z", "Y"], default_access_group="Y"),
        ("Z", "Y"),
        "Y",
        {"clerk"},
    ),
    ("default among the token's", OperatorRecord("emp-7", default_access_group="B"), HELD, "B", {"clerk"}),
    ("default held by nobody", OperatorRecord("emp-7", default_access_group="C"), HELD, None, {"clerk"}),
    ("roles", OperatorRecord("emp-7", roles=["boss", "boss"]), HELD, "A", {"boss"}),
    ("no roles", OperatorRecord("emp-7", roles=[]), HELD, "A", frozenset()),
    (
        "from generators",
        OperatorRecord("emp-7", access_groups=iter(["Z"]), roles=iter(["x"])),
        ("Z",),
        "Z",
        {"x"},
    ),
]


@pytest.mark.parametrize(
    ("record", "groups", "active", "roles"), [r[1:] for r in MERGED], ids=[r[0] for r in MERGED]
)
async def test_a_record_replaces_what_it_has(record: Any, groups: Any, active: Any, roles: Any) -> None:
    """
    None keeps what the operator had, anything else replaces it; all other fields are the token's.
    """
    stand = behind(Staff(record))
    signed = token("default", {"ag": list(HELD)})

    for _ in range(3):  # the second comes from both caches
        served = await stand.ask(signed)

        assert served.operator is not None
        assert told(served.operator) == expected(
            "default", operator_id="emp-7", access_groups=groups, access_group=active, roles=roles
        )


@pytest.mark.parametrize(
    "arguments",
    [
        {"operator_id": ""},
        {"operator_id": None},
        {"operator_id": 7},
        {"enabled": None},
        {"enabled": 1},
        {"access_groups": "Stock"},
        {"access_groups": [1]},
        {"access_groups": 5},
        {"roles": "clerk"},
        {"roles": [None]},
        {"default_access_group": ""},
        {"default_access_group": ["A"]},
        {"access_groups": ["A"], "default_access_group": "B"},
        {"access_groups": [], "default_access_group": "B"},
    ],
    ids=written,
)
async def test_a_record_that_cannot_be_made_is_a_failed_look_up(arguments: dict[str, Any]) -> None:
    """
    What is no record is refused where it is made, and in a directory the caller is not let in for it.
    """
    with pytest.raises(PolicyError):
        OperatorRecord(**{"operator_id": "emp-7", **arguments})
    stand = behind(Staff(lambda _: OperatorRecord(**{"operator_id": "emp-7", **arguments})))

    assert outcome(await stand.ask(token())) == UNAVAILABLE


ANSWERS: Final = [
    ("unknown", None, 403, "operator_unknown"),
    ("disabled", OperatorRecord("emp-7", enabled=False), 403, "operator_disabled"),
    (
        "disabled with groups",
        OperatorRecord("emp-7", enabled=False, access_groups=["A"]),
        403,
        "operator_disabled",
    ),
    ("raises", RuntimeError("dsn=postgres://root:hunter2@db"), 503, "directory_unavailable"),
    ("raises a lookup error", KeyError("hunter2"), 503, "directory_unavailable"),
    ("raises a timeout", TimeoutError("hunter2"), 503, "directory_unavailable"),
    ("cancels itself", asyncio.CancelledError("hunter2"), 503, "directory_unavailable"),
    ("raises a refusal", PolicyError("hunter2"), 503, "directory_unavailable"),
    ("false", False, 503, "directory_unavailable"),
    ("true", True, 503, "directory_unavailable"),
    ("a dictionary", {"operator_id": "hunter2"}, 503, "directory_unavailable"),
    ("a string", "hunter2", 503, "directory_unavailable"),
    ("the class", lambda _: OperatorRecord, 503, "directory_unavailable"),
    ("several", [CLERK], 503, "directory_unavailable"),
]


@pytest.mark.parametrize(("answer", "status", "code"), [r[1:] for r in ANSWERS], ids=[r[0] for r in ANSWERS])
async def test_answers_that_let_nobody_in(
    answer: Any, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Unknown and disabled are 403, whatever is no answer is 503. None blames the token, or says what
    was raised.
    """
    caplog.set_level(logging.DEBUG)
    stand = behind(Staff(answer), package().requires("stock:admin"))  # a scope that the token lacks

    served = await stand.ask(token())

    assert (served.status, served.code, served.operator) == (status, code, None)
    assert "invalid_token" not in served.body + "".join(served.challenges)
    assert not any("scope" in challenge or "error" in challenge for challenge in served.challenges)
    heard = " ".join([served.body, caplog.text, *map(repr, stand.events)])
    assert not any(word in heard for word in ("hunter2", "ada@", "u-77", "emp-7"))


async def test_a_503_says_when_to_come_back() -> None:
    """
    An outage has no challenge, and a Retry-After.
    """
    stand = behind(Staff(OSError()))

    answer = await send_request(stand.guarded, request("/stock", fields=bearer(token())))

    assert (answer.status, answer.all("www-authenticate")) == (503, [])
    assert int(answer.all("retry-after")[0]) > 0


NOT_ASKED: Final = [
    ("no token", "", 401, "missing_token"),
    ("expired", token("default", {"exp": NOW - 31}), 401, "token_expired"),
    ("malformed roles", token("default", {"roles": 5}), 401, "claims_malformed"),
    ("disabled client", token("default", {"client_id": "gone"}), 403, "client_not_allowed"),
    ("other audience", token("default", {"aud": "https://other.example"}), 401, "audience_mismatch"),
]


@pytest.mark.parametrize(
    ("signed", "status", "code"), [r[1:] for r in NOT_ASKED], ids=[r[0] for r in NOT_ASKED]
)
async def test_nobody_is_asked_about_a_caller_who_is_refused_before(
    signed: str, status: int, code: str
) -> None:
    """
    The directory comes after token and client.
    """
    staff = Staff()
    stand = behind(staff, package(clients=[ClientRegistration("gone", enabled=False)]).requires())

    assert outcome(await stand.ask(signed)) == (status, code)
    assert staff.asked == []


async def test_nobody_is_asked_about_a_public_route() -> None:
    """
    A token on a public route is nobody's business.
    """
    staff = Staff(OSError())

    served = await behind(staff, public).ask(token())

    assert (served.status, served.operator, staff.asked) == (200, ANONYMOUS, [])


KEYS_ASKED: Final = [
    ("user", {}, (f"{URLS['default']}#u-77", None, "u-77", "shop", "user")),
    ("tenant", {"t": "t-1"}, (f"{URLS['default']}#u-77", "t-1", "u-77", "shop", "user")),
    ("no client", {"client_id": GONE}, (f"{URLS['default']}#u-77", None, "u-77", None, "user")),
    ("bound service", {"sub": "batch", "client_id": "batch"}, ("svc", None, "batch", "batch", "service")),
    (
        "user of its client",
        {"client_id": "batch"},
        (f"{URLS['default']}#u-77", None, "u-77", "batch", "user"),
    ),
]


@pytest.mark.parametrize(("claims", "key"), [r[1:] for r in KEYS_ASKED], ids=[r[0] for r in KEYS_ASKED])
async def test_the_key_is_the_operator_of_the_first_two_steps(claims: Any, key: tuple[Any, ...]) -> None:
    """
    With the registration's operator, the issuer, and the tenant.
    """
    staff = Staff()
    stand = behind(
        staff,
        package(mapping={"tenant": "t"}, clients=[ClientRegistration("batch", operator_id="svc")]).requires(),
    )

    await stand.ask(token("default", claims))

    operator_id, *rest = key
    assert staff.asked == [OperatorKey(operator_id, URLS["default"], *rest)]
    assert hash(staff.asked[0]) == hash(OperatorKey(operator_id, URLS["default"], *rest))
    with pytest.raises((AttributeError, TypeError)):
        staff.asked[0].kind = "service"  # type: ignore[misc]


AGES: Final = [
    ("at once", 0, CLERK, {}, 1),
    ("just within", 59.9, CLERK, {}, 1),
    ("just over", 60.1, CLERK, {}, 2),
    ("own age, within", 4.9, CLERK, {"max_age": 5.0}, 1),
    ("own age, over", 5.1, CLERK, {"max_age": 5.0}, 2),
    ("unknown, within", 9.9, None, {}, 1),
    ("unknown, over", 10.1, None, {}, 2),
    ("unknown, own age", 20, None, {"negative_max_age": 30.0}, 1),
    ("nothing is kept", 0, CLERK, {"max_age": 0.0}, 2),
    ("nothing unknown is kept", 0, None, {"negative_max_age": 0.0}, 2),
    ("clock set back", -1, CLERK, {}, 2),
]


@pytest.mark.parametrize(
    ("later", "answer", "settings", "look_ups"), [r[1:] for r in AGES], ids=[r[0] for r in AGES]
)
async def test_answers_are_kept_for_their_age(
    later: float, answer: Any, settings: Any, look_ups: int
) -> None:
    """
    Within its age an answer saves a look-up; after it, or when no age can be told, the directory is asked.
    """
    clock, staff = Clock(), Staff(answer)
    stand = behind(CachedDirectory(staff, clock=clock, **settings), clock=clock)
    await stand.ask(token())

    clock.now += later
    await stand.ask(token("default", {"jti": "another"}))

    assert len(staff.asked) == look_ups


async def test_a_bare_directory_has_the_clock_of_the_middleware() -> None:
    """
    Its record is asked for again when that clock says so.
    """
    clock, staff = Clock(), Staff()
    stand = behind(staff, clock=clock)

    counts = []
    for later in (0, 59, 2):
        clock.now += later
        await stand.ask(token())
        counts.append(len(staff.asked))

    assert counts == [1, 1, 2]


STALE: Final = [
    ("no staleness, at the age", 60, {}, (200, None)),
    ("no staleness", 60.1, {}, UNAVAILABLE),
    ("at the limit", 90, {"max_stale": 30.0}, (200, None)),
    ("over the limit", 90.001, {"max_stale": 30.0}, UNAVAILABLE),
    ("within", 60.1, {"max_stale": 30.0}, (200, None)),
    ("nothing is kept, and staleness", 30, {"max_age": 0.0, "max_stale": 30.0}, (200, None)),
    ("nothing is kept", 0, {"max_age": 0.0}, UNAVAILABLE),
]


@pytest.mark.parametrize(("later", "settings", "then"), [r[1:] for r in STALE], ids=[r[0] for r in STALE])
async def test_the_last_record_bridges_an_outage(later: float, settings: Any, then: Any) -> None:
    """
    Up to its age and the staleness allowed, and each request asks again.
    """
    clock, staff = Clock(), Staff()
    stand = behind(CachedDirectory(staff, clock=clock, **settings), clock=clock)
    assert outcome(await stand.ask(token())) == (200, None)

    clock.now += later
    staff.answer = OSError()
    answers = [outcome(await stand.ask(token())) for _ in range(2)]

    assert answers == [then, then]
    assert len(staff.asked) == 3
    staff.answer = CLERK
    assert outcome(await stand.ask(token())) == (200, None)


async def test_that_nobody_was_known_is_no_record_for_an_outage() -> None:
    """
    Neither is what was known before: the last answer counts.
    """
    clock, staff = Clock(), Staff()
    stand = behind(CachedDirectory(staff, clock=clock, max_stale=1_000.0), clock=clock)
    codes = []
    for answer in (CLERK, None, OSError()):
        staff.answer = answer
        codes.append((await stand.ask(token())).code)
        clock.now += 61

    assert codes == [None, "operator_unknown", "directory_unavailable"]


async def test_who_is_disabled_is_refused_with_a_token_that_was_cached() -> None:
    """
    The token cache holds no record: after the age, or an invalidation, a remembered token is no help.
    """
    staff = Staff()
    directory = CachedDirectory(staff, clock=Clock())
    stand, signed = behind(directory), token()
    assert [outcome(await stand.ask(signed)) for _ in range(2)] == [(200, None)] * 2

    staff.answer = OperatorRecord("emp-7", enabled=False)
    directory.invalidate(staff.asked[0])

    assert outcome(await stand.ask(signed)) == (403, "operator_disabled")


async def test_invalidating_one_key_leaves_the_others() -> None:
    """
    Another subject, or the same one with another client, has a key of its own.
    """
    staff = Staff()
    directory = CachedDirectory(staff, clock=Clock())
    stand = behind(directory)
    tokens = [token("default", change) for change in ({}, {"sub": "u-78"}, {"client_id": "web"})]
    for one in tokens:
        await stand.ask(one)

    directory.invalidate(staff.asked[0])
    for one in tokens:
        await stand.ask(one)

    assert [(key.subject, key.client_id) for key in staff.asked[3:]] == [("u-77", "shop")]


async def until(condition: Callable[[], object]) -> None:
    """
    Let others run until *condition* holds, for some turns of the loop.
    """
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never held")


async def test_what_was_asked_before_an_invalidation_is_not_kept() -> None:
    """
    A look-up under way may have read the old record: the next request asks again.
    """
    gate = asyncio.Event()
    staff = Staff(gate=gate)
    directory = CachedDirectory(staff, clock=Clock())
    stand = behind(directory)
    early = asyncio.create_task(stand.ask(token()))
    await until(lambda: staff.asked)

    directory.invalidate(staff.asked[0])
    staff.answer = None
    gate.set()
    await early

    assert outcome(await stand.ask(token())) == (403, "operator_unknown")
    assert len(staff.asked) == 2


async def test_one_look_up_outlives_the_request_that_began_it() -> None:
    """
    The first of several callers is cancelled, and the others get the answer of its look-up.
    """
    gate = asyncio.Event()
    staff = Staff(gate=gate)
    stand = behind(staff)
    fields = bearer(token())
    callers = [
        asyncio.create_task(send_request(stand.guarded, request("/stock", fields=fields))) for _ in range(30)
    ]
    await until(lambda: staff.asked)

    callers[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*callers, return_exceptions=True)

    assert isinstance(answers[0], asyncio.CancelledError)
    assert [getattr(answer, "status", answer) for answer in answers[1:]] == [200] * 29
    assert len(staff.asked) == 1


async def test_a_failure_is_shared_by_those_who_wait_and_kept_for_nobody() -> None:
    """
    One look-up fails for all who waited for it; the next request asks again.
    """
    gate = asyncio.Event()
    staff = Staff(OSError(), gate=gate)
    stand = behind(staff)
    fields = bearer(token())
    callers = [
        asyncio.create_task(send_request(stand.guarded, request("/stock", fields=fields))) for _ in range(5)
    ]
    await until(lambda: staff.asked)
    gate.set()
    answers = await asyncio.gather(*callers)

    staff.answer = CLERK
    after = await stand.ask(token())

    assert [answer.status for answer in answers] == [503] * 5
    assert (after.status, len(staff.asked)) == (200, 2)


async def test_a_look_up_that_takes_too_long_has_failed() -> None:
    """
    Nobody waits longer than the timeout.
    """
    staff = Staff(gate=asyncio.Event())  # which is never set

    stand = behind(CachedDirectory(staff, timeout=0.02))

    assert outcome(await stand.ask(token())) == UNAVAILABLE


async def test_operators_of_requests_at_once_are_never_mixed() -> None:
    """
    Sixty callers, of whom each has a record of its own, in one guard at once.
    """
    gate = asyncio.Event()
    staff = Staff(lambda key: OperatorRecord(f"emp-{key.subject}", roles=[key.subject]), gate=gate)
    seen: list[tuple[str, str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        operator = current_operator()
        seen.append((scope["query_string"].decode(), operator.operator_id, *operator.roles))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    guarded = GuardrailMiddleware(
        app, prefixes={"/x": package().requires()}, directory=staff, clock=lambda: NOW, token_cache_size=7
    )
    names = [f"u{number % 20}" for number in range(60)]
    callers = [
        asyncio.create_task(
            send_request(guarded, request("/x", query=name, fields=bearer(token("default", {"sub": name}))))
        )
        for name in names
    ]
    await until(lambda: len(staff.asked) == 20)
    gate.set()
    await asyncio.gather(*callers)

    assert sorted(seen) == sorted((name, f"emp-{name}", name) for name in names)
    assert len(staff.asked) == 20


OVERAGE: Final = [
    ("roles given", OperatorRecord("e", roles=["boss"]), {"roles": ["boss"]}, 200, None),
    ("other roles given", OperatorRecord("e", roles=[]), {"roles": ["boss"]}, 403, "role_missing"),
    (
        "only groups given",
        OperatorRecord("e", access_groups=["G"]),
        {"roles": ["boss"]},
        403,
        "groups_overage",
    ),
    ("nothing given", OperatorRecord("e"), {"roles": ["boss"]}, 403, "groups_overage"),
    ("group given", OperatorRecord("e", access_groups=["G"]), {"access_groups": ["G"]}, 200, None),
    (
        "no group given",
        OperatorRecord("e", access_groups=[]),
        {"access_groups": ["G"]},
        403,
        "access_group_missing",
    ),
    (
        "default without groups",
        OperatorRecord("e", default_access_group="G"),
        {"access_groups": ["G"]},
        403,
        "groups_overage",
    ),
    ("nothing asked", OperatorRecord("e"), {}, 200, None),
]


@pytest.mark.parametrize(
    ("record", "asked", "status", "code"), [r[1:] for r in OVERAGE], ids=[r[0] for r in OVERAGE]
)
async def test_a_directory_gives_what_the_issuer_left_out(
    record: Any, asked: Any, status: int, code: Any
) -> None:
    """
    What it gives is judged; what it does not is still unknown.
    """
    stock = package(mapping={"roles": "groups", "access_groups": "groups"})
    left_out = token("default", {"groups": GONE, "_claim_names": {"groups": "src1"}})

    served = await behind(Staff(record), stock.requires(**asked)).ask(left_out)

    assert outcome(served) == (status, code)
    assert served.operator is None or served.operator.groups_overage


async def test_either_issuers_operators_are_looked_up_as_their_own() -> None:
    """
    One subject of two issuers is two operators, also where a route is open to both.
    """
    staff = Staff(lambda key: OperatorRecord(key.issuer) if "strict" in key.issuer else None)
    both = any_of(package().requires(), package("rfc9068").requires())
    stand = behind(staff, both)

    here = await stand.ask(token("default", {"sub": "one"}))
    there = await stand.ask(token("rfc9068", {"sub": "one"}))

    assert outcome(here) == (403, "operator_unknown")
    assert there.operator is not None
    assert there.operator.operator_id == URLS["rfc9068"]
    assert [key.issuer for key in staff.asked] == [URLS["default"], URLS["rfc9068"]]


@pytest.mark.parametrize(
    ("answer", "status"),
    [(CLERK, 101), (None, 403), (OperatorRecord("e", enabled=False), 403), (OSError(), 503)],
    ids=["known", "unknown", "disabled", "outage"],
)
async def test_a_websocket_is_decided_before_it_is_accepted(answer: Any, status: int) -> None:
    """
    The handshake gets the directory's answer as a request does.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    requirement = package().requires()
    guarded = GuardrailMiddleware(
        app, prefixes={"/x": requirement}, directory=Staff(answer), clock=lambda: NOW
    )

    answered = await send_request(guarded, request("/x", kind="websocket", fields=bearer(token())))

    assert answered.status == status


@pytest.mark.parametrize(
    "answer",
    [None, OperatorRecord("e", enabled=False, roles=["boss"]), OSError()],
    ids=["unknown", "disabled", "outage"],
)
async def test_shadow_mode_serves_whom_the_directory_refuses_as_nobody(answer: Any) -> None:
    """
    Who would be refused is served without an operator, and the listener hears the code.
    """
    stand = behind(Staff(answer), package().requires(), enforce=False)

    served = await stand.ask(token())

    assert (served.status, served.operator) == (200, ANONYMOUS)
    assert served.code in {"operator_unknown", "operator_disabled", "directory_unavailable"}


class Blocking:
    """
    Not a directory: nobody would await it.
    """

    def resolve(self, key: OperatorKey) -> OperatorRecord:
        """
        Answer at once.
        """
        return CLERK


@pytest.mark.parametrize("wrong", [Blocking(), Staff, "staff", 5, {}, lambda _: None], ids=written)
def test_what_is_no_directory_is_refused_where_it_is_written(wrong: Any) -> None:
    """
    At construction, bare or wrapped.
    """
    with pytest.raises(PolicyError):
        GuardrailMiddleware(Stand(public)._app, prefixes={"/x": public}, directory=wrong)
    with pytest.raises(PolicyError):
        CachedDirectory(wrong)


@pytest.mark.parametrize(
    "settings",
    [
        {name: value}
        for name in ("max_age", "negative_max_age", "max_stale", "timeout", "max_entries")
        for value in (-1, None, "5", True, float("nan"), float("inf"))
    ]
    + [{"timeout": 0}, {"max_entries": 0}, {"max_entries": 1.5}, {"clock": 5}],
    ids=written,
)
def test_wrong_numbers_are_refused_where_they_are_written(settings: dict[str, Any]) -> None:
    """
    No age, staleness, timeout or size that means nothing.
    """
    with pytest.raises(PolicyError):
        CachedDirectory(Staff(), **settings)


def test_registration_and_directory_refine_in_that_order() -> None:
    """
    The ceiling stands whatever the record says, and the record goes before the registration's groups.
    """
    batch = ClientRegistration(
        "batch", operator_id="svc", access_groups=["R"], roles=["r"], scopes=["stock:read"]
    )
    stock = package(clients=[batch])
    record = OperatorRecord("emp-svc", access_groups=["D"])

    served = ask(
        stock.requires(), token("default", {"sub": "batch", "client_id": "batch"}), directory=Staff(record)
    )

    assert served.operator is not None
    assert told(served.operator) == expected(
        "default",
        subject="batch",
        client_id="batch",
        kind="service",
        operator_id="emp-svc",
        scopes={"stock:read"},
        roles={"r"},
        access_groups=("D",),
        access_group="D",
    )
