"""
The ways in which an issuer changes its keys, and what becomes of tokens on the way.
"""

import base64
import json

import pytest

from guardrail import Issuer, events

from .api import ProtectedApi
from .conftest import ServeOrders
from .expect import assert_challenged, fetches
from .fault_proxy import JWKS
from .provider import OidcProvider
from .watch import Heard, LeapingClock, wait_until

pytestmark = pytest.mark.interop

SIGNED = [pytest.param(name, id=name) for name in ("rs256", "ps256", "es256", "es384", "eddsa", "ed25519")]
OF_EACH_KEY_TYPE = [pytest.param(name, id=name) for name in ("rs256", "es256", "ed25519")]
CALLERS = 16
AGEING = 0.9  # of the lifetime: a refresh is due, and in the background
DUE = 1.1  # of the lifetime: it is over


@pytest.fixture
def clock() -> LeapingClock:
    """
    Measure the lifetime of keys with a clock that can leap.
    """
    return LeapingClock()


@pytest.fixture
def warm_api(
    provider: OidcProvider, serve_orders: ServeOrders, clock: LeapingClock, heard: Heard
) -> ProtectedApi:
    """
    Run a protected API that has fetched the keys, whose lifetime is the tests' to pass.
    """
    return serve_orders(Issuer(provider.issuer, warm_up="wait"), monotonic=clock)


def statuses(api: ProtectedApi, *tokens: str) -> list[int]:
    """
    Ask for the orders with each of *tokens*, one after the other.
    """
    return [api.get("/orders", token=token).status_code for token in tokens]


def key_id(token: str) -> str:
    """
    Read the key ID that a token names.
    """
    header = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])


def leap(clock: LeapingClock, heard: Heard, *, lifetimes: float) -> None:
    """
    Let a part of the lifetime of the keys in use pass, or more than that.
    """
    clock.leap(lifetimes * heard.of(events.KeysFetched)[-1].lifetime)


def refresh(api: ProtectedApi, clock: LeapingClock, heard: Heard, *, token: str) -> None:
    """
    Let the scheduled refresh become due, and the next request, with *token*, begin it.
    """
    before = len(heard.of(events.KeysFetched))
    leap(clock, heard, lifetimes=AGEING)
    api.get("/orders", token=token).raise_for_status()
    wait_until(lambda: len(heard.of(events.KeysFetched)) > before)


@pytest.mark.parametrize("resource_name", OF_EACH_KEY_TYPE)
def test_staged_key_is_in_hand_before_it_signs(
    provider: OidcProvider, warm_api: ProtectedApi, clock: LeapingClock, heard: Heard, resource_name: str
) -> None:
    """
    A key published before it signs is fetched with the scheduled refresh: its first token costs no fetch.
    """
    seen, unseen = provider.token(resource_name), provider.token(resource_name)
    provider.stage()
    still = provider.token(resource_name)
    refresh(warm_api, clock, heard, token=seen)
    before = provider.request_counts()

    provider.rotate()
    fresh = provider.token(resource_name)
    answers = statuses(warm_api, fresh, seen, unseen)

    assert key_id(still) == key_id(seen) != key_id(fresh)
    assert answers == [200, 200, 200]
    assert fetches(provider.request_counts() - before) == {}
    (rotated,) = heard.of(events.KeysRotated)
    assert key_id(fresh) in rotated.added
    assert rotated.removed == ()


def test_same_keys_in_another_order_are_no_rotation(
    provider: OidcProvider, warm_api: ProtectedApi, clock: LeapingClock, heard: Heard
) -> None:
    """
    When a staged key begins to sign, the issuer lists the same keys in another order: that changes nothing.
    """
    token = provider.token("es256")
    provider.withdraw()
    provider.stage()
    refresh(warm_api, clock, heard, token=token)
    before, rotations = provider.key_set().json()["keys"], heard.of(events.KeysRotated)

    provider.rotate()
    refresh(warm_api, clock, heard, token=token)

    after = provider.key_set().json()["keys"]
    assert after != before
    assert sorted(after, key=json.dumps) == sorted(before, key=json.dumps)
    assert heard.of(events.KeysRotated) == rotations


@pytest.mark.parametrize("resource_name", SIGNED)
def test_added_key_is_fetched_for_its_first_token(
    provider: OidcProvider, api: ProtectedApi, heard: Heard, resource_name: str
) -> None:
    """
    A new key is learned at its first use, with one fetch; tokens of a key that is still published stay good.
    """
    seen, unseen = provider.token(resource_name), provider.token(resource_name)
    api.get("/orders", token=seen).raise_for_status()
    before = provider.request_counts()

    provider.rotate()
    fresh = provider.token(resource_name)
    answers = statuses(api, fresh, seen, unseen)

    assert answers == [200, 200, 200]
    assert fetches(provider.request_counts() - before)[JWKS] == 1
    (rotated,) = heard.of(events.KeysRotated)
    assert key_id(fresh) in rotated.added
    assert key_id(seen) not in rotated.removed


def test_concurrent_callers_with_an_added_key_share_one_fetch(
    provider: OidcProvider, api: ProtectedApi
) -> None:
    """
    After a rotation, any number of simultaneous callers cost one fetch of the keys.
    """
    api.get("/orders", token=provider.token("rs256")).raise_for_status()
    provider.rotate()
    tokens = [provider.token("rs256") for _ in range(CALLERS)]
    before = provider.request_counts()

    responses = api.get_at_once("/orders", tokens=tokens)

    assert [response.status_code for response in responses] == [200] * CALLERS
    assert fetches(provider.request_counts() - before)[JWKS] == 1


@pytest.mark.parametrize("resource_name", OF_EACH_KEY_TYPE)
def test_replaced_key_is_noticed_at_the_next_refresh(
    provider: OidcProvider, warm_api: ProtectedApi, clock: LeapingClock, heard: Heard, resource_name: str
) -> None:
    """
    Under a key replaced in place, tokens have a bad signature, which never fetches; from the next refresh on
    they are good, and those of its predecessor are refused, accepted before or not.
    """
    seen, unseen = provider.token(resource_name), provider.token(resource_name)
    warm_api.get("/orders", token=seen).raise_for_status()
    before = provider.request_counts()

    provider.replace_in_place()
    fresh = provider.token(resource_name)
    until_refresh = statuses(warm_api, fresh, seen)
    costs = fetches(provider.request_counts() - before)
    refresh(warm_api, clock, heard, token=seen)
    from_then_on = statuses(warm_api, fresh, seen, unseen)

    assert key_id(fresh) == key_id(seen) == key_id(unseen)
    assert until_refresh == [401, 200]
    assert costs == {}
    assert from_then_on == [200, 401, 401]
    assert heard.refusal_codes() == ["bad_signature"] * 3
    (rotated,) = heard.of(events.KeysRotated)
    assert rotated.added == rotated.removed == ()


def test_dropped_key_is_refused_once_a_good_answer_came(
    provider: OidcProvider, warm_api: ProtectedApi, clock: LeapingClock, heard: Heard
) -> None:
    """
    A withdrawn key is in use until the next refresh; from then on its tokens are refused, seen or unseen.
    """
    seen, unseen = provider.token("es256"), provider.token("es256")
    warm_api.get("/orders", token=seen).raise_for_status()
    provider.rotate()
    fresh = provider.token("es256")
    warm_api.get("/orders", token=fresh).raise_for_status()

    provider.withdraw()
    until_refresh = statuses(warm_api, seen, fresh)
    refresh(warm_api, clock, heard, token=seen)
    from_then_on = statuses(warm_api, seen, unseen, fresh)

    assert until_refresh == [200, 200]
    assert from_then_on == [401, 401, 200]
    assert heard.refusal_codes() == ["unknown_key", "unknown_key"]
    assert key_id(seen) in heard.of(events.KeysRotated)[-1].removed


def test_dropped_key_is_refused_by_the_request_that_waited_for_the_answer(
    provider: OidcProvider, warm_api: ProtectedApi, clock: LeapingClock, heard: Heard
) -> None:
    """
    Past the lifetime the first request is judged by the new keys, though its token was verified before.
    """
    seen = provider.token("es256")
    warm_api.get("/orders", token=seen).raise_for_status()
    provider.rotate_and_withdraw()
    fresh = provider.token("es256")
    leap(clock, heard, lifetimes=DUE)
    before = provider.request_counts()

    answers = statuses(warm_api, seen, fresh)

    assert answers == [401, 200]
    assert heard.refusal_codes() == ["unknown_key"]
    assert fetches(provider.request_counts() - before)[JWKS] == 1


@pytest.mark.parametrize("resource_name", SIGNED)
def test_dropped_key_is_refused_when_another_key_was_asked_for(
    provider: OidcProvider, api: ProtectedApi, heard: Heard, resource_name: str
) -> None:
    """
    Any fetch will do: the one for the successor's first token ends the withdrawn key too.
    """
    seen, unseen = provider.token(resource_name), provider.token(resource_name)
    api.get("/orders", token=seen).raise_for_status()

    provider.rotate_and_withdraw()
    fresh = api.get("/orders", token=provider.token(resource_name))
    refused = [api.get("/orders", token=token) for token in (seen, unseen)]

    assert fresh.status_code == 200
    assert heard.refusal_codes() == ["unknown_key", "unknown_key"]
    for response in refused:
        assert_challenged(response, status=401, error="invalid_token")
