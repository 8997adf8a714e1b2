"""
What becomes of callers while the issuer cannot be had, in each of the ways in which that goes wrong.
"""

import base64
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import anyio
import httpx
import pytest

from guardrail import Fetching, Issuer, events

from .api import ProtectedApi
from .conftest import ServeOrders
from .expect import assert_challenged
from .fault_proxy import JWKS, WELL_KNOWN, FaultProxy
from .faults import Fault
from .hangups import Hangups
from .provider import OidcProvider
from .watch import Heard, LeapingClock, wait_until

pytestmark = pytest.mark.interop

TIMEOUT: Final = 0.8  # seconds, where something hangs; and more than a busy machine needs
SLACK: Final = 2.0  # seconds; a machine may be busy
CALLERS: Final = 16
DEFAULTS: Final = Fetching()

# Keys that are soon due, and an issuer that is soon asked again: what takes minutes takes no second.
HASTY: Final = Fetching(lifetime=0.1, backoff_bounds=(0.05, 0.1))
# One attempt, and none for a good while after it failed.
PATIENT: Final = Fetching(timeout=TIMEOUT, backoff_bounds=(30.0, 30.0))
HANGING: Final = frozenset({Fault.DELAY, Fault.DRIP})

# What goes wrong, with the metadata or with the keys, and what the event says of it. With both where the
# answer is read, and that is not the same; with one where it does not get that far.
FAULTS = [
    pytest.param(Fault.DELAY, WELL_KNOWN, "TimeoutError", id="delay"),
    pytest.param(Fault.REFUSE, "", "ConnectError", id="refused connection"),
    pytest.param(Fault.RESET, WELL_KNOWN, "ReadError", id="reset"),
    pytest.param(Fault.SERVER_ERROR, WELL_KNOWN, "status 503", id="5xx"),
    pytest.param(Fault.SERVER_ERROR, JWKS, "status 503", id="5xx for the keys"),
    pytest.param(Fault.REDIRECT, WELL_KNOWN, "status 302", id="redirect"),
    pytest.param(Fault.REDIRECT, JWKS, "status 302", id="redirect of the keys"),
    pytest.param(Fault.TRUNCATE, JWKS, "without sending complete message body", id="truncated keys"),
    pytest.param(Fault.DRIP, JWKS, "TimeoutError", id="dripping keys"),
    pytest.param(Fault.OVERSIZE, JWKS, "larger than", id="oversize keys"),
    pytest.param(Fault.HTML, WELL_KNOWN, "no metadata of this issuer", id="html"),
    pytest.param(Fault.HTML, JWKS, "JSONDecodeError", id="html for the keys"),
    pytest.param(Fault.EMPTY, WELL_KNOWN, "no metadata of this issuer", id="another object"),
    pytest.param(Fault.EMPTY, JWKS, "no usable key", id="no keys"),
    pytest.param(Fault.GARBAGE, WELL_KNOWN, "RemoteProtocolError", id="garbage"),
]
# Those that end an attempt with its first request: by an error, by an answer, and by the timeout.
AT_ONCE = [
    pytest.param(fault, id=fault.name.lower()) for fault in (Fault.RESET, Fault.SERVER_ERROR, Fault.DELAY)
]
HUNG_UP = [pytest.param(True, id="request cancelled"), pytest.param(False, id="request goes on")]


def with_random_key_id(token: str) -> str:
    """
    Let *token* name a key that nobody has. Its signature does not hold then, which nobody gets to see.
    """
    header, rest = token.split(".", 1)
    members = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    renamed = json.dumps({**members, "kid": str(uuid.uuid4())}).encode("ascii")
    return base64.urlsafe_b64encode(renamed).rstrip(b"=").decode("ascii") + "." + rest


def hasty_with(fault: Fault) -> Fetching:
    """
    Time out soon where nothing else ends an attempt.
    """
    return replace(HASTY, timeout=TIMEOUT) if fault in HANGING else HASTY


def get_status(api: ProtectedApi, token: str) -> int:
    """
    Ask for the orders.
    """
    return api.get("/orders", token=token).status_code


@pytest.fixture
def clock() -> LeapingClock:
    """
    Measure the lifetime of keys with a clock that can leap.
    """
    return LeapingClock()


@pytest.fixture
def own_client(proxy: FaultProxy) -> Iterator[httpx.AsyncClient]:
    """
    Bring a client that reaches everything through the proxy.
    """
    client = httpx.AsyncClient(proxy=proxy.url, trust_env=False)
    yield client
    anyio.run(client.aclose)


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """
    Let callers wait while the test goes on.
    """
    with ThreadPoolExecutor() as executor:
        yield executor


@pytest.mark.parametrize(("fault", "only", "detail"), FAULTS)
def test_good_tokens_are_accepted_throughout(
    proxied: OidcProvider,
    proxy: FaultProxy,
    serve_orders: ServeOrders,
    heard: Heard,
    fault: Fault,
    only: str,
    detail: str,
) -> None:
    """
    With keys in hand no fault refuses a good token, seen or unseen; an event tells, and it ends by itself.
    """
    api = serve_orders(Issuer(proxied.issuer, fetching=hasty_with(fault), warm_up="wait"))
    seen = proxied.token("es256")
    wait_until(lambda: get_status(api, seen) == 200)
    answers: list[int] = []

    def is_stale() -> bool:
        answers.extend((get_status(api, seen), get_status(api, proxied.token("es256"))))
        return bool(heard.of(events.StaleKeysUsed))

    def is_fetched_again() -> bool:
        answers.extend((get_status(api, seen), get_status(api, proxied.token("es256"))))
        return len(heard.of(events.KeysFetched)) > fetched

    proxy.fail(fault, only=only)
    wait_until(is_stale)
    readiness = api.get("/readyz")
    failed = heard.of(events.KeysFetchFailed)
    fetched = len(heard.of(events.KeysFetched))
    proxy.lift()
    wait_until(is_fetched_again)

    assert set(answers) == {200}
    assert readiness.status_code == 200
    assert detail in failed[-1].detail
    assert failed[-1].has_keys
    assert heard.refusal_codes() == []
    wait_until(lambda: proxy.open_connections == 0)


def test_each_failure_is_told_and_each_use_of_stale_keys(
    proxied: OidcProvider, proxy: FaultProxy, serve_orders: ServeOrders, clock: LeapingClock, heard: Heard
) -> None:
    """
    An outage is told failure by failure, counted in a row, and so is each token judged by stale keys.
    """
    issuer = Issuer(proxied.issuer, fetching=Fetching(backoff_bounds=(30.0, 30.0)), warm_up="wait")
    api = serve_orders(issuer, monotonic=clock)
    token = proxied.token("es256")
    proxy.fail(Fault.SERVER_ERROR)
    before = proxy.attempts

    def ask_after(seconds: float, *, failures: int) -> int:
        clock.leap(seconds)
        status = get_status(api, token)
        wait_until(lambda: len(heard.of(events.KeysFetchFailed)) == failures)
        return status

    answers = [
        ask_after(DEFAULTS.lifetime, failures=1),
        ask_after(30.0, failures=2),
        ask_after(30.0, failures=3),
    ]

    failed = heard.of(events.KeysFetchFailed)
    assert answers == [200, 200, 200]
    assert [event.failures for event in failed] == [1, 2, 3]
    assert all(29.0 < event.retry_after <= 30.0 for event in failed)
    assert len(heard.of(events.StaleKeysUsed)) == 3
    assert proxy.attempts == before + 3


@pytest.mark.parametrize(("fault", "only", "detail"), FAULTS)
def test_cold_start_is_unavailable_in_time_and_ends_by_itself(
    proxied: OidcProvider,
    proxy: FaultProxy,
    serve_orders: ServeOrders,
    heard: Heard,
    fault: Fault,
    only: str,
    detail: str,
) -> None:
    """
    Without keys each fault is answered 503 with Retry-After, within the timeout; once it is over, so is that.
    """
    proxy.fail(fault, only=only)
    fetching = hasty_with(fault)
    api = serve_orders(Issuer(proxied.issuer, fetching=fetching, warm_up="off"))
    token = proxied.token("es256")

    refused = api.get("/orders", token=token)
    (failed,) = heard.of(events.KeysFetchFailed)
    readiness = api.get("/readyz")
    proxy.lift()
    wait_until(lambda: get_status(api, token) == 200)

    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.elapsed.total_seconds() < fetching.timeout + SLACK
    assert readiness.status_code == 503
    assert detail in failed.detail
    assert not failed.has_keys
    assert api.get("/readyz").status_code == 200
    assert heard.refusal_codes() == []
    wait_until(lambda: proxy.open_connections == 0)


@pytest.mark.parametrize("fault", AT_ONCE)
def test_concurrent_callers_without_keys_share_one_attempt(
    proxied: OidcProvider, proxy: FaultProxy, serve_orders: ServeOrders, heard: Heard, fault: Fault
) -> None:
    """
    Any number of callers, at once or later, cost a failing issuer one connection until the pause is over.
    """
    proxy.fail(fault)
    api = serve_orders(Issuer(proxied.issuer, fetching=PATIENT, warm_up="off"))

    responses = api.get_at_once("/orders", tokens=[proxied.token("es256") for _ in range(CALLERS)])
    responses.append(api.get("/orders", token=proxied.token("es256")))

    assert [response.status_code for response in responses] == [503] * (CALLERS + 1)
    assert all(1 <= int(response.headers["Retry-After"]) <= 30 for response in responses)
    assert proxy.connections == 1
    assert len(heard.of(events.KeysFetchFailed)) == 1


@pytest.mark.parametrize("fault", AT_ONCE)
def test_concurrent_callers_with_overdue_keys_share_one_attempt(
    proxied: OidcProvider,
    proxy: FaultProxy,
    serve_orders: ServeOrders,
    clock: LeapingClock,
    heard: Heard,
    fault: Fault,
) -> None:
    """
    Past the lifetime all callers wait for one attempt; when it fails they are served, and later ones at once.
    """
    api = serve_orders(Issuer(proxied.issuer, fetching=PATIENT, warm_up="wait"), monotonic=clock)
    proxy.fail(fault)
    before = proxy.connections
    clock.leap(PATIENT.lifetime)

    responses = api.get_at_once("/orders", tokens=[proxied.token("es256") for _ in range(CALLERS)])
    responses.append(api.get("/orders", token=proxied.token("es256")))

    assert [response.status_code for response in responses] == [200] * (CALLERS + 1)
    assert max(response.elapsed.total_seconds() for response in responses) < TIMEOUT + SLACK
    assert proxy.connections == before + 1
    assert len(heard.of(events.KeysFetchFailed)) == 1
    assert len(heard.of(events.StaleKeysUsed)) == CALLERS + 1


def test_callers_of_a_delayed_issuer_are_served_when_it_answers(
    proxied: OidcProvider,
    proxy: FaultProxy,
    serve_orders: ServeOrders,
    background: ThreadPoolExecutor,
    heard: Heard,
) -> None:
    """
    An issuer that is slow within the timeout costs its callers a wait, and nothing else.
    """
    proxy.fail(Fault.DELAY)
    api = serve_orders(Issuer(proxied.issuer, warm_up="off"))
    tokens = [proxied.token("es256") for _ in range(CALLERS)]

    waiting = background.submit(api.get_at_once, "/orders", tokens=tokens)
    wait_until(lambda: proxy.attempts == 1)
    proxy.lift()
    responses = waiting.result()

    assert [response.status_code for response in responses] == [200] * CALLERS
    assert proxy.attempts == 1
    assert heard.of(events.KeysFetchFailed) == []


def test_random_key_ids_cost_a_slow_issuer_two_fetches_and_good_callers_nothing(
    proxied: OidcProvider,
    proxy: FaultProxy,
    serve_orders: ServeOrders,
    background: ThreadPoolExecutor,
    heard: Heard,
) -> None:
    """
    However many key IDs are made up, the issuer is asked twice, and good tokens do not wait for that.
    """
    api = serve_orders(Issuer(proxied.issuer, warm_up="wait"))
    token = proxied.token("es256")
    before = proxy.attempts
    proxy.fail(Fault.DELAY)

    flood = [with_random_key_id(token) for _ in range(CALLERS)]
    refused = background.submit(api.get_at_once, "/orders", tokens=flood)
    wait_until(lambda: proxy.attempts == before + 1)
    served = [get_status(api, good) for good in (token, token, proxied.token("es256"))]
    are_refused_yet = refused.done()
    proxy.lift()
    late = [api.get("/orders", token=with_random_key_id(token)) for _ in range(3)]

    assert served == [200, 200, 200]
    assert not are_refused_yet
    for response in (*refused.result(), *late):
        assert_challenged(response, status=401, error="invalid_token")
    assert set(heard.refusal_codes()) == {"unknown_key"}
    assert proxy.attempts == before + 2
    assert len(heard.of(events.RefetchBudgetSpent)) == 1


def test_random_key_ids_cost_a_hanging_issuer_two_fetches_and_good_callers_nothing(
    proxied: OidcProvider, proxy: FaultProxy, serve_orders: ServeOrders, clock: LeapingClock, heard: Heard
) -> None:
    """
    Fetches that fail count too: beyond two the issuer is left alone, and nobody is told 401 meanwhile.
    """
    api = serve_orders(
        Issuer(proxied.issuer, fetching=Fetching(timeout=TIMEOUT), warm_up="wait"), monotonic=clock
    )
    token = proxied.token("es256")
    before = proxy.attempts
    proxy.fail(Fault.DELAY)
    answers: list[int] = []
    served: list[int] = []

    for _ in range(5):
        answers.append(get_status(api, with_random_key_id(token)))
        served.extend((get_status(api, token), get_status(api, proxied.token("es256"))))
        clock.leap(5.0)  # longer than the pauses after two failures, and all in one window of the budget

    assert answers == [503] * 5
    assert served == [200] * 10
    assert proxy.attempts == before + 2
    assert [event.failures for event in heard.of(events.KeysFetchFailed)] == [1, 2]


def test_token_of_a_new_key_is_unavailable_during_an_outage(
    proxied: OidcProvider, proxy: FaultProxy, serve_orders: ServeOrders, heard: Heard
) -> None:
    """
    A rotation while the issuer cannot be had makes new tokens wait: 503, never 401, and then they are good.
    """
    fetching = Fetching(backoff_bounds=(0.05, 0.1), refetch_window=0.2)
    api = serve_orders(Issuer(proxied.issuer, fetching=fetching, warm_up="wait"))
    former = proxied.token("es256")
    proxied.rotate()
    fresh = proxied.token("es256")

    proxy.fail(Fault.RESET)
    answers = [get_status(api, token) for token in (fresh, former, fresh, former)]
    proxy.lift()
    wait_until(lambda: get_status(api, fresh) == 200)

    assert answers == [503, 200, 503, 200]
    assert heard.refusal_codes() == []
    assert get_status(api, former) == 200


def test_dropped_key_is_accepted_during_an_outage_and_not_after_it(
    proxied: OidcProvider, proxy: FaultProxy, serve_orders: ServeOrders, clock: LeapingClock, heard: Heard
) -> None:
    """
    No fault removes a key, and none keeps it: the first good answer ends tokens accepted all the while.
    """
    api = serve_orders(Issuer(proxied.issuer, warm_up="wait"), monotonic=clock)
    seen, unseen, never_seen = (proxied.token("es256") for _ in range(3))
    api.get("/orders", token=seen).raise_for_status()
    proxied.rotate_and_withdraw()
    fresh = proxied.token("es256")

    proxy.fail(Fault.SERVER_ERROR)
    clock.leap(DEFAULTS.lifetime)
    in_the_outage = [get_status(api, token) for token in (seen, unseen, fresh)]
    proxy.lift()
    clock.leap(DEFAULTS.lifetime)
    after_it = [get_status(api, token) for token in (fresh, seen, unseen, never_seen)]

    assert in_the_outage == [200, 200, 503]
    assert after_it == [200, 401, 401, 401]
    assert heard.refusal_codes() == ["unknown_key"] * 3


@pytest.mark.parametrize("is_cancelled", HUNG_UP)
def test_first_caller_that_hangs_up_leaves_the_fetch_to_the_others(
    proxied: OidcProvider,
    proxy: FaultProxy,
    serve_orders: ServeOrders,
    background: ThreadPoolExecutor,
    heard: Heard,
    is_cancelled: bool,
) -> None:
    """
    Who hangs up during the fetch it began ends neither that nor anybody's wait for it.
    """
    proxy.fail(Fault.DELAY)
    hangups = Hangups(cancel=is_cancelled)
    api = serve_orders(Issuer(proxied.issuer, warm_up="off"), outermost=hangups.around)
    token = proxied.token("es256")

    with api.hanging_up("/orders", token=token):
        wait_until(lambda: proxy.attempts == 1)
        waiting = background.submit(get_status, api, proxied.token("es256"))
        wait_until(lambda: hangups.requests == 2)
    wait_until(lambda: hangups.count == 1)
    proxy.lift()

    assert waiting.result() == 200
    assert get_status(api, token) == 200
    assert proxy.attempts == 1
    assert heard.of(events.KeysFetchFailed) == []


@pytest.mark.parametrize("is_cancelled", HUNG_UP)
def test_only_caller_that_hangs_up_leaves_the_keys_to_the_next(
    proxied: OidcProvider, proxy: FaultProxy, serve_orders: ServeOrders, heard: Heard, is_cancelled: bool
) -> None:
    """
    A refetch whose request is gone brings the new key all the same, at the price of one.
    """
    hangups = Hangups(cancel=is_cancelled)
    api = serve_orders(Issuer(proxied.issuer, warm_up="wait"), outermost=hangups.around)
    proxied.rotate()
    token = proxied.token("es256")
    before = proxy.attempts
    proxy.fail(Fault.DELAY)

    with api.hanging_up("/orders", token=token):
        wait_until(lambda: proxy.attempts == before + 1)
    wait_until(lambda: hangups.count == 1)
    proxy.lift()
    wait_until(lambda: len(heard.of(events.KeysFetched)) == 2)

    assert get_status(api, token) == 200
    assert proxy.attempts == before + 1
    assert heard.of(events.KeysFetchFailed) == []


def test_client_of_the_applications_own_outlives_each_fault(
    provider: OidcProvider,
    proxy: FaultProxy,
    serve_orders: ServeOrders,
    clock: LeapingClock,
    heard: Heard,
    own_client: httpx.AsyncClient,
) -> None:
    """
    One client, told of a proxy (RFC 9112 §3.2.2), fetches again after each fault as if there had been none.
    """
    fetching = Fetching(timeout=TIMEOUT)
    issuer = Issuer(provider.issuer, http_client=own_client, fetching=fetching, warm_up="wait")
    api = serve_orders(issuer, monotonic=clock)
    faults = [fault for fault in Fault if fault is not Fault.NONE]
    answers: list[int] = []

    for fault in faults:
        proxy.fail(fault)
        clock.leap(fetching.lifetime)
        answers.append(get_status(api, provider.token("es256")))
        proxy.lift()
        clock.leap(fetching.lifetime)
        answers.append(get_status(api, provider.token("es256")))

    assert answers == [200] * 2 * len(faults)
    assert [event.failures for event in heard.of(events.KeysFetchFailed)] == [1] * len(faults)
    assert len(heard.of(events.KeysFetched)) == 1 + len(faults)
    assert len(heard.of(events.StaleKeysUsed)) == len(faults)
    wait_until(lambda: proxy.open_connections == 0)
