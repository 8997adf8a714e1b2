"""
The key sets of an application: which issuers share one, and how they begin, are watched and end together.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Literal

import httpx
import pytest

from guardrail import Fetching, Issuer
from guardrail._jwks import RemoteKeySet
from guardrail._key_sets import KeySets
from guardrail._keys import StaticKeySet
from guardrail.errors import PolicyError, UnknownKeyError
from guardrail.events import Event, KeysFetched, KeysFetchFailed
from guardrail.issuer import SigningKeys
from guardrail.testing import FakeIssuer

pytestmark = pytest.mark.anyio

URL = "https://login.example.com"
OTHER_URL = "https://login.example.org"


class Clock:
    """
    A clock that goes where a test sends it.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Gate:
    """
    A way to a fake issuer that lets nothing through before it is opened, and notes what came.
    """

    def __init__(self, fake: FakeIssuer) -> None:
        self.fake = fake
        self.opened = asyncio.Event()
        self.arrived = asyncio.Event()
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._pass_on))

    async def _pass_on(self, request: httpx.Request) -> httpx.Response:
        self.arrived.set()
        await self.opened.wait()
        return await self.fake.http_client.get(request.url)

    def issuer(self, **settings: Any) -> Issuer:
        """
        The fake issuer, behind this gate.
        """
        return Issuer(self.fake.url, http_client=self.client, **settings)


def new_issuer(url: str = URL) -> FakeIssuer:
    """
    An authorization server with keys that are quickly made.
    """
    return FakeIssuer(url, algorithm="EdDSA")


@contextlib.asynccontextmanager
async def no_task_left() -> AsyncIterator[None]:
    """
    At the end there runs no task that did not run at the beginning.
    """
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before == set()


@contextlib.asynccontextmanager
async def all_tasks_ended() -> AsyncIterator[None]:
    """
    At the end, what was begun in the background has come to its own end.
    """
    before = asyncio.all_tasks()
    yield
    begun = asyncio.all_tasks() - before
    if begun:
        _, running = await asyncio.wait(begun, timeout=30.0)
        assert running == set()


# Which issuers share a key set


async def test_equal_issuers_share_a_key_set() -> None:
    """
    An issuer written twice is fetched once.
    """
    fake, key_sets = new_issuer(), KeySets()
    one, again = key_sets.of(fake.issuer), key_sets.of(replace(fake.issuer))

    await one.select(fake.keys.current.kid, "EdDSA")
    await again.select(fake.keys.current.kid, "EdDSA")

    assert one is again
    assert fake.request_count == 2


OTHER_CLIENT = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(404)))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"url": OTHER_URL}, id="another issuer"),
        pytest.param({"url": URL + "/"}, id="a slash more"),
        pytest.param({"jwks_uri": URL + "/other"}, id="another jwks_uri"),
        pytest.param({"algorithms": ["EdDSA"]}, id="other algorithms"),
        pytest.param({"insecure_allow_http": True}, id="another caution"),
        pytest.param({"http_client": OTHER_CLIENT}, id="another client"),
        pytest.param({"fetching": Fetching(lifetime=1.0)}, id="another lifetime"),
        pytest.param({"fetching": Fetching(insecure_allow_link_local=True)}, id="another danger"),
        pytest.param({"warm_up": "off"}, id="another warm-up"),
        pytest.param({"required": False}, id="not required"),
    ],
)
def test_issuers_that_differ_share_nothing(settings: dict[str, Any]) -> None:
    """
    Whatever is written differently is kept apart.
    """
    key_sets, issuer = KeySets(), Issuer(URL)

    one, other = key_sets.of(issuer), key_sets.of(replace(issuer, **settings))

    assert one is not other
    assert len(key_sets.health()) == 2


async def test_two_issuers_at_one_url_do_not_mix() -> None:
    """
    Issuers that share a JWKS URL, and so all key IDs, are asked and kept one by one.
    """
    fake = new_issuer()
    jwks_uri = f"{URL}/jwks"
    key_sets = KeySets(http_client=fake.http_client)
    one = key_sets.of(Issuer(URL, jwks_uri=jwks_uri))
    other = key_sets.of(Issuer(OTHER_URL, jwks_uri=jwks_uri))
    old = fake.keys.current.kid
    await one.select(old, "EdDSA")

    fake.rotate(keep_previous=False)
    await other.select(fake.keys.current.kid, "EdDSA")

    assert [key.kid for key in (await one.select(old, "EdDSA")).keys] == [old]
    with pytest.raises(UnknownKeyError):
        await other.select(old, "EdDSA")
    assert [one.issuer for one in key_sets.health()] == [URL, OTHER_URL]


async def test_two_issuers_with_one_key_id_do_not_mix() -> None:
    """
    A key ID means a key of its issuer (R87).
    """
    one, other = new_issuer(), new_issuer(OTHER_URL)
    jwks = [{**fake.keys.current.jwk(), "kid": "1"} for fake in (one, other)]
    clients = [
        httpx.AsyncClient(
            transport=httpx.MockTransport(lambda _, key=key: httpx.Response(200, json={"keys": [key]}))
        )
        for key in jwks
    ]
    key_sets = KeySets()
    issuers = [
        Issuer(fake.url, jwks_uri=f"{fake.url}/jwks", http_client=client)
        for fake, client in zip((one, other), clients, strict=True)
    ]

    selected = [(await key_sets.of(issuer).select("1", "EdDSA")).keys[0] for issuer in issuers]

    message = b"header.claims"
    verified = [
        [key.verify(message, fake.keys.current.sign(message), "EdDSA") for fake in (one, other)]
        for key in selected
    ]
    assert verified == [[True, False], [False, True]]


def test_keys_in_hand_are_no_key_set_to_fetch() -> None:
    """
    An issuer that brings its keys is served from them, and equal ones from the same.
    """
    key_sets = KeySets()
    issuer = Issuer(URL, keys=SigningKeys("EdDSA").jwks())

    one, again, fetched = key_sets.of(issuer), key_sets.of(replace(issuer)), key_sets.of(Issuer(URL))

    assert one is again
    assert isinstance(one, StaticKeySet)
    assert isinstance(fetched, RemoteKeySet)


def test_unusable_keys_in_hand_are_a_mistake_each_time() -> None:
    """
    Nothing is kept of an issuer whose keys verify nothing.
    """
    key_sets = KeySets()
    issuer = Issuer(URL, keys=SigningKeys("ES256").jwks(), algorithms=["EdDSA"])

    for _ in range(2):
        with pytest.raises(PolicyError, match="keys: no usable key"):
            key_sets.of(issuer)

    assert key_sets.health() == ()


async def test_what_is_given_reaches_every_key_set() -> None:
    """
    The client, the listener and both clocks are those of all issuers that bring no others.
    """
    heard, clock, monotonic = list[Event](), Clock(1_800_000_000.0), Clock(50.0)
    fake = new_issuer()
    key_sets = KeySets(emit=heard.append, http_client=fake.http_client, clock=clock, monotonic=monotonic)

    await key_sets.of(Issuer(URL)).select(fake.keys.current.kid, "EdDSA")
    monotonic.now += 7.0

    (health,) = key_sets.health()
    assert [type(event) for event in heard] == [KeysFetched]
    assert (health.last_success, health.age, health.expires_in) == (1_800_000_000.0, 7.0, 593.0)


async def test_an_issuers_own_client_goes_first() -> None:
    """
    The application's client is for issuers without one.
    """
    own, general = new_issuer(), new_issuer()
    key_sets = KeySets(http_client=general.http_client)

    await key_sets.of(own.issuer).select(own.keys.current.kid, "EdDSA")

    assert (own.request_count, general.request_count) == (2, 0)


# Warm-up


async def test_making_and_watching_fetches_nothing() -> None:
    """
    An issuer is asked when keys are wanted, and not when its key set is made or looked at.
    """
    fake, key_sets = new_issuer(), KeySets()

    key_sets.of(fake.issuer)
    key_sets.health()
    await asyncio.sleep(0)

    assert fake.request_count == 0


async def test_background_warm_up_is_not_waited_for() -> None:
    """
    Startup goes on while the issuer still thinks, and the keys come by themselves.
    """
    gate = Gate(new_issuer())
    key_sets = KeySets()
    key_sets.of(gate.issuer())

    async with all_tasks_ended():
        await key_sets.warm_up()
        states = [one.state for one in key_sets.health()]
        gate.opened.set()
    states += [one.state for one in key_sets.health()]

    assert states == ["unavailable", "ready"]
    assert gate.fake.request_count == 2


async def test_warm_up_that_waits_has_keys() -> None:
    """
    With ``warm_up="wait"`` startup goes on with the keys in hand.
    """
    fake, key_sets = new_issuer(), KeySets()
    key_sets.of(replace(fake.issuer, warm_up="wait"))

    await key_sets.warm_up()

    assert [one.state for one in key_sets.health()] == ["ready"]


async def test_warm_up_that_waits_waits() -> None:
    """
    The same, with an issuer that takes its time: startup is not over before the keys of all are there.
    """
    gate, quick = Gate(new_issuer()), new_issuer(OTHER_URL)
    key_sets = KeySets()
    for issuer in (replace(quick.issuer, warm_up="wait"), gate.issuer(warm_up="wait")):
        key_sets.of(issuer)
    starting = asyncio.ensure_future(key_sets.warm_up())
    await gate.arrived.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    was_over = starting.done()

    gate.opened.set()
    await starting

    assert not was_over
    assert [one.state for one in key_sets.health()] == ["ready", "ready"]


async def test_warm_up_survives_an_issuer_that_is_down() -> None:
    """
    The attempt is waited for, whatever comes of it: an API starts without its issuer.
    """
    fake, heard = new_issuer(), list[Event]()
    fake.go_down()
    key_sets = KeySets(emit=heard.append)
    key_sets.of(replace(fake.issuer, warm_up="wait"))

    await key_sets.warm_up()

    assert [type(event) for event in heard] == [KeysFetchFailed]
    assert [(one.state, one.failures) for one in key_sets.health()] == [("unavailable", 1)]


async def test_warm_up_that_waits_is_over_when_the_time_is() -> None:
    """
    An issuer that never answers holds startup for its own time-out at most.
    """
    gate = Gate(new_issuer())
    key_sets = KeySets()
    key_sets.of(gate.issuer(warm_up="wait", fetching=Fetching(timeout=0.01)))

    async with asyncio.timeout(30.0):
        await key_sets.warm_up()

    assert [(one.state, one.last_error) for one in key_sets.health()] == [("unavailable", "TimeoutError")]


async def test_without_warm_up_nothing_is_asked() -> None:
    """
    With ``warm_up="off"`` the first request is the first to ask.
    """
    fake, key_sets = new_issuer(), KeySets()
    key_set = key_sets.of(replace(fake.issuer, warm_up="off"))

    async with no_task_left():
        await key_sets.warm_up()
    before = fake.request_count
    await key_set.select(fake.keys.current.kid, "EdDSA")

    assert (before, fake.request_count) == (0, 2)


async def test_issuers_warm_up_side_by_side() -> None:
    """
    Startup waits for those that want that, all at once, and not for the others.
    """
    waited, slow, off = new_issuer(), Gate(new_issuer(OTHER_URL)), new_issuer("https://login.example.net")
    also_waited = new_issuer("https://login.example.edu")
    also_waited.go_down()
    key_sets = KeySets()
    for issuer in (
        replace(waited.issuer, warm_up="wait"),
        slow.issuer(),
        replace(off.issuer, warm_up="off"),
        replace(also_waited.issuer, warm_up="wait"),
        Issuer("https://login.example.in", keys=SigningKeys("EdDSA").jwks()),
    ):
        key_sets.of(issuer)

    await key_sets.warm_up()

    states = ["ready", "unavailable", "unavailable", "unavailable", "ready"]
    assert [one.state for one in key_sets.health()] == states
    assert (waited.request_count, off.request_count, also_waited.request_count) == (2, 0, 1)
    await key_sets.aclose()


async def test_warm_up_of_what_is_warm_asks_nobody() -> None:
    """
    A second startup with fresh keys in hand makes no request.
    """
    fake, key_sets = new_issuer(), KeySets()
    key_sets.of(replace(fake.issuer, warm_up="wait"))
    await key_sets.warm_up()

    async with no_task_left():
        await key_sets.warm_up()

    assert fake.request_count == 2


async def test_warm_up_with_no_issuers_is_nothing() -> None:
    """
    An application of public routes has nobody to ask.
    """
    key_sets = KeySets()

    await key_sets.warm_up()
    key_sets.refresh()
    await key_sets.aclose()

    assert key_sets.health() == ()


# Refresh


@pytest.mark.parametrize(
    ("elapsed", "requests"),
    [
        pytest.param(0.0, 2, id="fresh"),
        pytest.param(449.0, 2, id="just before the earliest refresh"),
        pytest.param(511.0, 4, id="just past the latest refresh"),
        pytest.param(600.0, 4, id="past the lifetime"),
        pytest.param(90_000.0, 4, id="past everything"),
    ],
)
async def test_refresh_asks_where_a_request_would(elapsed: float, requests: int) -> None:
    """
    Keys that are fresh stay; those that a request would refresh, or wait for, are fetched.
    """
    fake, monotonic = new_issuer(), Clock()
    key_sets = KeySets(monotonic=monotonic)
    key_set = key_sets.of(fake.issuer)
    await key_set.select(fake.keys.current.kid, "EdDSA")
    monotonic.now += elapsed

    async with all_tasks_ended():
        for _ in range(3):
            key_sets.refresh()

    assert fake.request_count == requests
    assert [one.state for one in key_sets.health()] == ["ready"]


async def test_refresh_is_for_every_issuer() -> None:
    """
    One after the other is begun, those that wanted no warm-up among them; keys in hand are nobody's to fetch.
    """
    fakes = [new_issuer(url) for url in (URL, OTHER_URL, "https://login.example.net")]
    key_sets = KeySets()
    warm_ups: tuple[Literal["background", "wait", "off"], ...] = ("background", "wait", "off")
    for fake, warm_up in zip(fakes, warm_ups, strict=True):
        key_sets.of(replace(fake.issuer, warm_up=warm_up))
    key_sets.of(Issuer("https://login.example.in", keys=SigningKeys("EdDSA").jwks()))

    async with all_tasks_ended():
        key_sets.refresh()

    assert [fake.request_count for fake in fakes] == [2, 2, 2]
    assert [one.state for one in key_sets.health()] == ["ready"] * 4


async def test_refresh_leaves_a_failing_issuer_alone_during_its_pause() -> None:
    """
    However often a probe asks, there is one attempt for each pause.
    """
    fake, monotonic = new_issuer(), Clock()
    fake.go_down()
    key_sets = KeySets(monotonic=monotonic)
    key_sets.of(replace(fake.issuer, fetching=Fetching(backoff_bounds=(3.0, 3.0))))
    asked = []

    for elapsed in (0.0, 0.0, 2.9, 0.1, 2.9, 0.1):
        monotonic.now += elapsed
        async with all_tasks_ended():
            key_sets.refresh()
        asked.append(fake.request_count)

    assert asked == [1, 1, 1, 2, 2, 3]


# The end


async def test_the_end_cancels_what_runs() -> None:
    """
    A fetch under way is ended, and seen to end; no task is left.
    """
    gate, heard = Gate(new_issuer()), list[Event]()
    key_sets = KeySets(emit=heard.append)
    key_sets.of(gate.issuer())

    async with no_task_left():
        await key_sets.warm_up()
        await gate.arrived.wait()
        await key_sets.aclose()

    assert gate.fake.request_count == 0
    assert heard == []


async def test_the_end_of_what_has_hardly_begun() -> None:
    """
    A fetch whose task has not run yet is ended as well.
    """
    gate = Gate(new_issuer())
    key_sets = KeySets()
    key_sets.of(gate.issuer())

    async with no_task_left():
        await key_sets.warm_up()
        await key_sets.aclose()

    assert not gate.arrived.is_set()


async def test_the_end_is_not_final() -> None:
    """
    The same key sets serve again afterwards: an application may be started twice.
    """
    gate = Gate(new_issuer())
    key_sets = KeySets()
    key_set = key_sets.of(gate.issuer())
    await key_sets.warm_up()
    await gate.arrived.wait()
    await key_sets.aclose()

    await key_sets.aclose()
    gate.opened.set()
    selection = await key_set.select(gate.fake.keys.current.kid, "EdDSA")

    assert [key.kid for key in selection.keys] == [gate.fake.keys.current.kid]


def test_each_event_loop_begins_and_ends_its_own() -> None:
    """
    The same key sets warm up on one loop after another; what one loop left unfinished harms no other.
    """
    fake, monotonic = new_issuer(), Clock()
    key_sets = KeySets(monotonic=monotonic)
    key_sets.of(replace(fake.issuer, warm_up="wait"))
    states = list[str]()

    async def start_and_stop(*, is_closed: bool) -> None:
        await key_sets.warm_up()
        states.extend(one.state for one in key_sets.health())
        monotonic.now += 90_000.0
        key_sets.refresh()
        if is_closed:
            await key_sets.aclose()

    for is_closed in (True, False, True):
        asyncio.run(start_and_stop(is_closed=is_closed))

    assert states == ["ready"] * 3


# Health


async def test_health_has_an_entry_for_each_issuer() -> None:
    """
    Issuers to fetch from come first, in the order they were named; those with keys in hand are ready at once.
    """
    fake, keys = new_issuer(), SigningKeys("EdDSA")
    key_sets = KeySets()
    key_sets.of(Issuer("https://login.example.in", keys=keys.jwks(), required=False))
    key_sets.of(Issuer(OTHER_URL))
    key_sets.of(fake.issuer)
    await key_sets.of(fake.issuer).select(fake.keys.current.kid, "EdDSA")

    empty, fetched, in_hand = key_sets.health()

    assert [one.issuer for one in (empty, fetched, in_hand)] == [OTHER_URL, URL, "https://login.example.in"]
    assert (empty.state, empty.keys, empty.generation, empty.age) == ("unavailable", 0, None, None)
    assert (fetched.state, fetched.key_ids, fetched.generation) == ("ready", (fake.keys.current.kid,), 0)
    assert (in_hand.state, in_hand.key_ids, in_hand.generation) == ("ready", (keys.current.kid,), 0)
    assert [one.is_required for one in (empty, fetched, in_hand)] == [True, True, False]
    assert (in_hand.age, in_hand.expires_in, in_hand.last_success) == (None, None, None)
