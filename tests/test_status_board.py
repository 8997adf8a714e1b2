"""
`StatusBoard`: what it counts, and that it stays small whatever it is told.
"""

import json
import sys
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from status_kit import ISSUER, Clock, accepted, fetched, one_of_each, refused, tell

from guardrail._catalogue import CATALOGUE
from guardrail.errors import CODES, PolicyError
from guardrail.events import (
    CircuitClosed,
    CircuitOpened,
    DirectoryFailed,
    Event,
    KeysFetched,
    KeysUnavailable,
    PlainHttpUsed,
    RefetchBudgetSpent,
    StaleKeysUsed,
    TokenFetchFailed,
    TokenRejected,
    TokenRevoked,
)
from guardrail.status import StatusBoard
from guardrail.status._board import MAX_ENTRIES, MAX_REFUSALS

OUTBOUND: dict[str, Any] = {"client_id": "orders-batch", "token_host": "login.example.com"}


def board_at(now: float = 0.0) -> tuple[StatusBoard, Clock]:
    """
    A board, and its monotonic clock.
    """
    clock = Clock(now)
    return StatusBoard(clock=Clock(1_800_000_000.0), monotonic=clock), clock


def test_board_counts_packages_by_outcome() -> None:
    """
    Requests accepted, and refused by reason, the most frequent first; what was not enforced apart.
    """
    board, _ = board_at()

    tell(
        board,
        accepted(),
        accepted(),
        refused("token_expired"),
        refused(),
        refused(route="/other", is_enforced=False),
        KeysUnavailable(code="keys_unavailable", package="billing", route="/b", retry_after=2.0),
    )

    assert board.as_dict()["packages"] == [
        {"package": "billing", "accepted": 0, "not_enforced": 0, "refused": {"keys_unavailable": 1}},
        {
            "package": "orders",
            "accepted": 2,
            "not_enforced": 1,
            "refused": {"missing_token": 2, "token_expired": 1},
        },
    ]
    assert list(board.as_dict()["packages"][1]["refused"]) == ["missing_token", "token_expired"]


def test_refusals_come_with_what_would_fix_them() -> None:
    """
    The last first, with the facts of the event and the words of the catalogue; the same again is counted.
    """
    board, monotonic = board_at()

    tell(board, refused(), refused("unknown_key", kid="k-1"), refused())
    monotonic.now += 5.0
    first, second = board.as_dict()["refusals"]

    assert (first["code"], first["count"], first["seconds_ago"]) == ("missing_token", 2, 5.0)
    assert (second["code"], second["count"], second["kid"]) == ("unknown_key", 1, "k-1")
    assert [(one["cause"], one["fix"]) for one in (first, second)] == [
        (CATALOGUE[code].cause, CATALOGUE[code].fix) for code in ("missing_token", "unknown_key")
    ]
    assert (first["detail"], first["route"], first["status"]) == (
        "the request has no bearer token",
        "/orders",
        401,
    )


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_its_words_on_the_board(code: str) -> None:
    """
    There is no refusal without a cause and a fix, and the status is the one that was sent.
    """
    board, _ = board_at()

    board(refused(code, status=499))

    (row,) = board.as_dict()["refusals"]
    assert (row["code"], row["status"], bool(row["cause"]), bool(row["fix"])) == (code, 499, True, True)


def test_what_is_unavailable_has_the_status_of_its_answer() -> None:
    """
    The event of an outage does not say 503; the catalogue does.
    """
    board, _ = board_at()

    tell(board, *one_of_each())

    statuses = {one["code"]: one["status"] for one in board.as_dict()["refusals"]}
    assert (statuses["keys_unavailable"], statuses["directory_unavailable"]) == (503, 503)


@pytest.mark.parametrize(
    ("seconds_left", "is_nearly_expired"),
    [
        pytest.param(30.0, True, id="just at the limit"),
        pytest.param(30.1, False, id="just above it"),
        pytest.param(0.0, True, id="expiring"),
        pytest.param(-12.0, True, id="on the leeway"),
    ],
)
def test_client_whose_token_is_nearly_expired_is_counted(
    seconds_left: float, is_nearly_expired: bool
) -> None:
    """
    Thirty seconds or less, by default; the least is kept.
    """
    board, _ = board_at()

    tell(
        board, accepted(seconds_left=500.0), accepted(seconds_left=seconds_left), accepted(seconds_left=400.0)
    )

    (client,) = board.as_dict()["clients"]
    assert (client["client_id"], client["issuer"], client["count"]) == ("web", ISSUER, 3)
    assert (client["nearly_expired"], client["least_seconds_left"]) == (int(is_nearly_expired), seconds_left)


def test_limit_of_nearly_expired_can_be_chosen() -> None:
    """
    Zero counts what the leeway let in, and what expires this second.
    """
    board = StatusBoard(nearly_expired=0.0)

    tell(board, accepted(seconds_left=0.0), accepted(seconds_left=1.0))

    assert board.as_dict()["clients"][0]["nearly_expired"] == 1
    assert board.as_dict()["nearly_expired_at"] == 0.0


def test_client_that_is_not_named_is_counted_as_such() -> None:
    """
    Neither a name nor a life is made up for it.
    """
    board, _ = board_at()

    board(accepted(client_id=None, seconds_left=None))

    (client,) = board.as_dict()["clients"]
    assert (client["client_id"], client["nearly_expired"], client["least_seconds_left"]) == (None, 0, None)


def test_operators_are_services_by_name_and_users_by_issuer() -> None:
    """
    Who a person is is in no event, and not on the board.
    """
    board, monotonic = board_at()

    tell(board, accepted(), accepted(operator_kind="service", operator_id="svc-7"))
    monotonic.now += 2.0
    board(accepted(client_id="other"))

    assert board.as_dict()["operators"] == [
        {"issuer": ISSUER, "kind": "user", "operator_id": None, "count": 2, "seconds_ago": 0.0},
        {"issuer": ISSUER, "kind": "service", "operator_id": "svc-7", "count": 1, "seconds_ago": 2.0},
    ]


def test_scopes_that_lack_are_counted_by_package() -> None:
    """
    Each scope of each refusal; the same name in another package is another scope.
    """
    board, _ = board_at()

    tell(
        board,
        refused("insufficient_scope", scopes_lacking=("a", "b")),
        refused("insufficient_scope", scopes_lacking=("a",), package="billing"),
        refused("insufficient_scope", scopes_lacking=("b",)),
    )

    counts = {(one["package"], one["scope"]): one["count"] for one in board.as_dict()["scopes"]}
    assert counts == {("orders", "a"): 1, ("orders", "b"): 2, ("billing", "a"): 1}


# Calls of ours


def failed(**fields: Any) -> TokenFetchFailed:
    standard: dict[str, Any] = {
        "trigger": "aging",
        "error": "timeout",
        "permanent": False,
        "retry_after": 8.0,
        "token_alive": True,
    }
    return TokenFetchFailed(**OUTBOUND, **standard | fields)


def test_outbound_token_has_less_and_less_time_left() -> None:
    """
    From when it was asked for, not from when it came; never below zero.
    """
    board, monotonic = board_at(100.0)
    board(fetched(lifetime=60.0, duration=2.0))

    lefts = []
    for now in (100.0, 130.0, 158.0, 500.0):
        monotonic.now = now
        lefts.append(board.as_dict()["outbound"][0]["seconds_left"])

    assert lefts == [58.0, 28.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [fetched(), failed()],
            {"seconds_left": 299.5, "failed": 1, "error": "timeout", "retry_in": 8.0},
            id="a failure while the token lives",
        ),
        pytest.param(
            [fetched(), failed(token_alive=False)],
            {"seconds_left": None, "failed": 1, "error": "timeout", "retry_in": 8.0},
            id="a failure without a token",
        ),
        pytest.param(
            [failed(retry_after=None, error="invalid_grant", permanent=True, token_alive=False)],
            {"seconds_left": None, "error": "invalid_grant", "retry_in": None},
            id="the last failure",
        ),
        pytest.param(
            [failed(), fetched()],
            {"seconds_left": 299.5, "fetched": 1, "failed": 1, "error": None, "retry_in": None},
            id="success after a failure",
        ),
        pytest.param(
            [TokenRejected(**OUTBOUND, host="api", retried=True, reason="invalid_token")],
            {"rejected": 1, "failed": 0},
            id="refused by an API",
        ),
        pytest.param([CircuitOpened(**OUTBOUND)], {"is_circuit_open": True}, id="circuit open"),
        pytest.param(
            [CircuitOpened(**OUTBOUND), CircuitClosed(**OUTBOUND)],
            {"is_circuit_open": False},
            id="circuit closed again",
        ),
        pytest.param(
            [fetched(), TokenRevoked(**OUTBOUND)], {"seconds_left": None, "fetched": 1}, id="revoked"
        ),
    ],
)
def test_outbound_client_stands_as_its_events_say(events: list[Event], expected: dict[str, Any]) -> None:
    """
    One row for each client and host that tokens come from.
    """
    board, _ = board_at()

    tell(board, *events)

    (row,) = board.as_dict()["outbound"]
    assert {name: row[name] for name in expected} == expected
    assert (row["client_id"], row["token_host"]) == ("orders-batch", "login.example.com")


def test_notices_say_whom_they_are_about() -> None:
    """
    Each kind for each package, issuer or reason: how often, and when last.
    """
    board, monotonic = board_at()

    tell(board, StaleKeysUsed(issuer=ISSUER, age=1.0), PlainHttpUsed(package="orders", route="/orders"))
    monotonic.now += 3.0
    tell(
        board,
        StaleKeysUsed(issuer=ISSUER, age=2.0),
        RefetchBudgetSpent(issuer=ISSUER),
        DirectoryFailed(reason="timed_out", error=None, has_record=True),
    )

    notices = {
        (one["event"], one["about"]): (one["count"], one["seconds_ago"]) for one in board.as_dict()["notices"]
    }
    assert notices == {
        ("guardrail.stale_keys_used", ISSUER): (2, 0.0),
        ("guardrail.plain_http_used", "orders"): (1, 3.0),
        ("guardrail.refetch_budget_spent", ISSUER): (1, 0.0),
        ("guardrail.directory_failed", "timed_out"): (1, 0.0),
    }


def test_other_events_change_nothing() -> None:
    """
    What health tells better, and events of a later version, leave the board as it was.
    """
    board, _ = board_at()
    before = board.as_dict()

    tell(
        board,
        Event(),
        KeysFetched(issuer=ISSUER, added=(), removed=(), skipped=0, lifetime=1.0, duration=1.0),
    )

    assert board.as_dict() == before


# Bounds


def test_board_keeps_the_last_200_different_refusals() -> None:
    """
    A flood of key IDs pushes out what is older, and nothing else; how much went is told.
    """
    board, _ = board_at()

    tell(board, refused(), *[refused("unknown_key", kid=str(number)) for number in range(300)])

    told = board.as_dict()
    assert [one["kid"] for one in told["refusals"]] == [str(number) for number in range(299, 99, -1)]
    assert len(told["refusals"]) == MAX_REFUSALS == 200
    assert told["forgotten"]["refusals"] == 101
    assert told["packages"][0]["refused"] == {"unknown_key": 300, "missing_token": 1}


def test_repeated_refusals_do_not_push_out_others() -> None:
    """
    A probe without a token, every second for an hour, is one line of the two hundred.
    """
    board, _ = board_at()

    tell(board, refused("token_expired"), *[refused()] * 3_600)

    assert [(one["code"], one["count"]) for one in board.as_dict()["refusals"]] == [
        ("missing_token", 3_600),
        ("token_expired", 1),
    ]


@pytest.mark.parametrize(
    "name", ["packages", "clients", "operators", "scopes", "outbound", "notices", "refusals"]
)
def test_nothing_grows_without_bound(name: str) -> None:
    """
    Whatever is told, of each there are 256 at most, and 200 refusals; the latest are there.
    """
    board, _ = board_at()
    limit = MAX_REFUSALS if name == "refusals" else MAX_ENTRIES

    for number in range(limit):
        tell(board, *one_of_each(f"name-{number}"))
    full = board.as_dict()["forgotten"][name]
    for number in range(limit, limit + 10):
        tell(board, *one_of_each(f"name-{number}"))

    told = board.as_dict()
    assert len(told[name]) == limit
    assert told["forgotten"][name] > full
    assert f"name-{limit + 9}" in json.dumps(told[name])
    assert 'name-0"' not in json.dumps(told[name])


names = st.sampled_from([f"client-{number}" for number in range(MAX_ENTRIES + 3)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(names, min_size=200, max_size=200), min_size=1, max_size=4))
def test_clients_are_those_seen_last(seen: list[list[str]]) -> None:
    """
    Against a model: of all that were ever seen, the 256 whose last request is the latest, in that order.
    """
    board, _ = board_at()
    told = [name for some in seen for name in some]

    tell(board, *[accepted(client_id=name) for name in told])

    latest_first = list(dict.fromkeys(reversed(told)))
    rows = board.as_dict()["clients"]
    assert [one["client_id"] for one in rows] == latest_first[:MAX_ENTRIES]
    if len(latest_first) <= MAX_ENTRIES:
        assert {one["client_id"]: one["count"] for one in rows} == Counter(told)
        assert board.as_dict()["forgotten"]["clients"] == 0


def test_board_loses_no_count_to_threads() -> None:
    """
    Profiles tell it from threads of theirs while the event loop does, and somebody looks.
    """
    board, interval = StatusBoard(), sys.getswitchinterval()
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for number in range(500):
            tell(board, accepted(), refused("unknown_key", kid=str(number % 250)), fetched())
            if number % 100 == 0:
                board.as_dict()

    threads = [threading.Thread(target=work) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    (package,), (outbound,) = board.as_dict()["packages"], board.as_dict()["outbound"]
    assert (package["accepted"], package["refused"], outbound["fetched"]) == (
        2_000,
        {"unknown_key": 2_000},
        2_000,
    )


def test_what_was_read_does_not_change() -> None:
    """
    A report is of its moment, whatever happens while it is written.
    """
    board, _ = board_at()
    board(refused())
    before = board.as_dict()

    tell(board, refused(), refused("token_expired"))

    assert before["packages"][0]["refused"] == {"missing_token": 1}
    assert before["refusals"][0]["count"] == 1


async def asynchronous() -> float:
    return 0.0


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param({"nearly_expired": -1.0}, id="a negative limit"),
        pytest.param({"nearly_expired": float("nan")}, id="no number"),
        pytest.param({"nearly_expired": "30"}, id="a text"),
        pytest.param({"clock": 0.0}, id="a clock that is none"),
        pytest.param({"monotonic": None}, id="no monotonic clock"),
        pytest.param({"clock": asynchronous}, id="a clock to be awaited"),
    ],
)
def test_wrong_settings_are_refused(setting: dict[str, Any]) -> None:
    """
    When it is made, and by name.
    """
    with pytest.raises(PolicyError, match=next(iter(setting))):
        StatusBoard(**setting)
