"""
What a key set tells of itself: keys fetched, rotated and skipped, fetches that failed, stale keys used, and a
budget that is spent.
"""

import httpx
import pytest
from jwks_world import (
    ISSUER,
    LIFETIME,
    MAX_STALE,
    METADATA,
    NEVER,
    OPENID,
    OPENID_INSERTED,
    PAUSES,
    REFRESH_AT,
    RFC8414,
    Reply,
    World,
    jwk_set,
    outcome,
    settle,
    unpublish,
    world_with,
)

from guardrail.events import (
    KeysFetched,
    KeysFetchFailed,
    KeySkipped,
    KeysRotated,
    RefetchBudgetSpent,
    StaleKeysUsed,
)
from guardrail.issuer import SigningKeys

pytestmark = pytest.mark.anyio


# Fetched


async def test_the_first_fetch_tells_of_every_key() -> None:
    """
    The event of a fetch names the issuer, the keys, how long they are used, and the time it took.
    """
    world = World()

    async def take_a_while() -> None:
        world.clock.now += 0.25

    world.server.hold = take_a_while

    await world.select()

    (event,) = world.events
    assert event == KeysFetched(
        issuer=ISSUER, added=(world.server.kid,), removed=(), skipped=0, lifetime=LIFETIME, duration=0.5
    )
    assert event.name == "guardrail.keys_fetched"


async def test_later_fetches_tell_what_changed() -> None:
    """
    Added and removed are key IDs against the set before, sorted; keys that stayed are neither.
    """
    world = World()
    first = world.server.kid
    await world.select()
    second = world.server.keys.rotate()
    world.clock.now += LIFETIME
    await world.select()
    world.server.keys.rotate(keep_previous=False)
    third = world.server.keys.rotate()
    world.clock.now += LIFETIME

    await world.select(third)

    changes = [(event.added, event.removed) for event in world.events if isinstance(event, KeysFetched)]
    fourth = next(kid for kid in changes[2][0] if kid != third)
    assert changes == [
        ((first,), ()),
        ((second,), ()),
        (tuple(sorted((third, fourth))), tuple(sorted((first, second)))),
    ]


async def test_hostile_key_ids_are_escaped_and_shortened() -> None:
    """
    Key IDs of an answer reach a log as short printable ASCII, coming and going (C24).
    """
    world = World()
    good = world.server.keys.current.jwk()
    hostile = {"\x1b[31m\r\nX: y", "é" * 100, "' OR 1=1 --"}
    world.break_down(jwk_set(*({**good, "kid": kid} for kid in hostile)))
    await world.select("' OR 1=1 --")
    world.recover()
    world.clock.now += LIFETIME

    await world.select()

    came, went = world.told(KeysFetched)
    assert came.added == went.removed
    assert len(came.added) == 3
    assert [event.removed for event in world.told(KeysRotated)] == [went.removed]
    assert "\\x1b[31m\\x0d\\x0aX: y" in came.added
    assert all(kid.isascii() and kid.isprintable() and len(kid) <= 64 for kid in came.added)


async def test_keys_without_a_key_id_are_not_listed() -> None:
    """
    They verify, and have no name to tell.
    """
    world = World()
    world.break_down(
        jwk_set({name: value for name, value in world.server.keys.current.jwk().items() if name != "kid"})
    )

    selection = await world.key_set.select(None, "EdDSA")

    assert len(selection.keys) == 1
    assert [event.added for event in world.events if isinstance(event, KeysFetched)] == [()]


# Rotated


async def test_a_rotation_is_told_after_its_fetch() -> None:
    """
    What came and went, and the generation that tokens are verified under from now on.
    """
    world = World()
    await world.select()
    old = world.server.kid
    new = world.server.keys.rotate(keep_previous=False)
    world.clock.now += LIFETIME

    selection = await world.select()

    fetched, event = world.events[-2:]
    assert isinstance(fetched, KeysFetched)
    assert event == KeysRotated(issuer=ISSUER, added=(new,), removed=(old,), generation=selection.generation)
    assert event.name == "guardrail.keys_rotated"


async def test_the_first_keys_are_no_rotation() -> None:
    """
    Where there was nothing, nothing was replaced.
    """
    world = World()

    await world.select()

    assert world.told(KeysRotated) == []


async def test_the_same_keys_are_no_rotation() -> None:
    """
    A fetch that brings what was there, in whatever order and beside whatever unusable keys, rotates nothing.
    """
    world = World()
    world.server.keys.rotate()
    await world.select()
    one, other = SigningKeys("EdDSA").current.jwk(), world.server.keys.current.jwk()
    world.break_down(jwk_set(one, other))
    world.clock.now += LIFETIME
    await world.select()
    before = len(world.told(KeysRotated))
    world.break_down(jwk_set(other, {"kty": "new"}, one))
    world.clock.now += LIFETIME

    await world.select()

    assert before == 1
    assert len(world.told(KeysRotated)) == 1
    assert len(world.told(KeysFetched)) == 3


async def test_another_key_under_the_same_name_is_a_rotation() -> None:
    """
    No key ID came or went, and yet nothing that was verified before stands.
    """
    world = World()
    generation = (await world.select()).generation
    kid = world.server.kid
    world.break_down(jwk_set(SigningKeys("EdDSA").current.jwk() | {"kid": kid}))
    world.clock.now += LIFETIME

    await world.select(kid)

    assert world.told(KeysRotated) == [
        KeysRotated(issuer=ISSUER, added=(), removed=(), generation=generation + 1)
    ]


# Skipped


def unusable(world: World) -> list[tuple[dict[str, object], str]]:
    """
    Keys that verify nothing, each with the reason.
    """
    good = world.server.keys.current.jwk()
    return [
        ({"kty": "new", "kid": "a"}, "no_algorithm"),
        ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "b"}, "malformed"),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "c"}, "private"),
        ({**good, "d": "c2VjcmV0", "kid": "d"}, "private"),
        ({**good, "use": "enc", "kid": "e"}, "not_for_signatures"),
        ({**good, "kid": "f", "x": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, "weak"),
        ({"kty": "new"}, "no_algorithm"),
    ]


async def test_each_key_that_is_skipped_is_told_with_the_reason() -> None:
    """
    The rest of the set serves, and whoever runs the issuer can learn what is wrong with it.
    """
    world = World()
    bad = unusable(world)
    world.break_down(jwk_set(*(jwk for jwk, _ in bad), world.server.keys.current.jwk()))

    await world.select()

    assert world.told(KeySkipped) == [
        KeySkipped(issuer=ISSUER, kid=kid, reason=reason)
        for kid, reason in zip([*"abcdef", None], [reason for _, reason in bad], strict=True)
    ]
    assert world.told(KeySkipped)[0].name == "guardrail.key_skipped"
    assert [event.skipped for event in world.told(KeysFetched)] == [len(bad)]


async def test_a_skipped_key_is_told_when_it_appears() -> None:
    """
    Once, not with each fetch that brings it again; anew when its reason changes, or when it was gone between.
    """
    world = World()
    good = world.server.keys.current.jwk()
    private, other = {"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, {"kty": "new", "kid": "a"}
    told = []

    for bad in ([private], [private], [private, other], [other], [], [other], [other]):
        world.break_down(jwk_set(*bad, good))
        world.clock.now += LIFETIME
        await world.select()
        told.append([event.reason for event in world.told(KeySkipped)])
        world.events.clear()

    assert told == [["private"], [], ["no_algorithm"], [], [], ["no_algorithm"], []]


async def test_a_bad_answer_between_does_not_make_a_skipped_key_new() -> None:
    """
    What counts is the set in use, and that stays when a fetch fails.
    """
    world = World()
    body = jwk_set({"kty": "new", "kid": "a"}, world.server.keys.current.jwk())
    for reply in (body, 503, body):
        world.break_down(reply)
        world.clock.now += LIFETIME
        await world.select()
        world.clock.now += PAUSES[0]

    assert len(world.told(KeySkipped)) == 1


async def test_the_key_id_of_a_skipped_key_is_escaped_and_shortened() -> None:
    """
    Whatever an issuer calls its keys, a log gets short printable ASCII; what is no key ID is none.
    """
    world = World()
    good = world.server.keys.current.jwk()
    world.break_down(
        jwk_set({"kty": "new", "kid": "\x1b[31m\r\n" + "x" * 1_000}, {"kty": "new", "kid": 1}, "no key", good)
    )

    await world.select()

    kids = [event.kid for event in world.told(KeySkipped)]
    assert kids[1:] == [None, None]
    assert kids[0] is not None
    assert kids[0].startswith("\\x1b[31m\\x0d\\x0axxx")
    assert len(kids[0]) <= 64


# Failed


async def test_a_failed_fetch_tells_what_went_wrong_and_what_is_in_hand() -> None:
    """
    The event of a failure says whether anybody is still served, the how-manieth it is, and what comes next.
    """
    world = World()
    world.break_down(httpx.ConnectError("refused"))
    await world.unavailable()
    world.clock.now += PAUSES[0]
    await world.unavailable()
    world.recover()
    world.clock.now += PAUSES[1]
    await world.select()
    world.break_down(503)
    world.clock.now += LIFETIME
    await world.select()
    world.clock.now += MAX_STALE

    await world.unavailable()

    failures: list[tuple[object, ...]] = [
        (event.detail, event.has_keys, event.failures, event.retry_after)
        for event in world.told(KeysFetchFailed)
    ]
    status = "ValueError: the JWK Set was answered with status 503"
    assert failures == [
        ("ConnectError: refused", False, 1, pytest.approx(PAUSES[0])),
        ("ConnectError: refused", False, 2, pytest.approx(PAUSES[1])),
        (status, True, 1, pytest.approx(PAUSES[0])),
        (status, False, 2, pytest.approx(PAUSES[1])),
    ]
    assert {event.issuer for event in world.told(KeysFetchFailed)} == {ISSUER}
    assert world.told(KeysFetchFailed)[0].name == "guardrail.keys_fetch_failed"


@pytest.mark.parametrize("status", [204, 206, 302, 404, 500])
async def test_the_event_says_how_the_key_set_was_answered(status: int) -> None:
    """
    A key set that is not there is told apart from one that cannot be read.
    """
    world = World()
    world.break_down(status)

    await world.unavailable()

    (event,) = world.events
    assert isinstance(event, KeysFetchFailed)
    assert event.detail == f"ValueError: the JWK Set was answered with status {status}"


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        pytest.param(404, "no metadata of this issuer was found; last: status 404", id="nowhere"),
        pytest.param(503, "status 503", id="5xx"),
        pytest.param(
            {**METADATA, "issuer": "https://evil.example"},
            "last: the metadata names another issuer",
            id="another issuer",
        ),
    ],
)
async def test_the_event_says_why_discovery_failed(reply: Reply, detail: str) -> None:
    """
    Whoever reads the log learns what the last place asked had to say.
    """
    world = World()
    world.server.replies = {RFC8414: reply, OPENID: reply, OPENID_INSERTED: reply}

    await world.unavailable()

    (event,) = world.events
    assert isinstance(event, KeysFetchFailed)
    assert event.detail.startswith("ValueError: ")
    assert event.detail.endswith(detail)


async def test_the_detail_of_a_failure_is_escaped_and_shortened() -> None:
    """
    What a server wrote reaches a log as one short line of printable ASCII.
    """
    world = World()
    world.break_down(httpx.RemoteProtocolError("\x1b[31m\r\nFAKE LINE\u202e" + "x" * 10_000))

    await world.unavailable()

    (event,) = world.events
    assert isinstance(event, KeysFetchFailed)
    assert event.detail.startswith("RemoteProtocolError: \\x1b[31m\\x0d\\x0aFAKE LINE\\u202e")
    assert event.detail.isascii()
    assert event.detail.isprintable()
    assert len(event.detail) <= 200


async def test_a_failure_without_words_is_told_by_its_name() -> None:
    """
    Some exceptions say nothing; the event says which one it was, and nothing after it.
    """
    world = World()
    world.break_down(httpx.ReadTimeout(""))

    await world.unavailable()

    assert [event.detail for event in world.told(KeysFetchFailed)] == ["ReadTimeout"]


# Stale


async def test_each_use_of_stale_keys_is_told() -> None:
    """
    By whom it may be: a token that is verified, or one that was before; with the age of the keys.
    """
    world = World()
    generation = (await world.select()).generation
    world.break_down()
    world.clock.now += LIFETIME

    await world.select()
    world.clock.now += 1.0
    await world.select()
    world.key_set.holds(generation)

    assert world.told(StaleKeysUsed) == [
        StaleKeysUsed(issuer=ISSUER, age=LIFETIME),
        StaleKeysUsed(issuer=ISSUER, age=LIFETIME + 1.0),
        StaleKeysUsed(issuer=ISSUER, age=LIFETIME + 1.0),
    ]
    assert world.told(StaleKeysUsed)[0].name == "guardrail.stale_keys_used"


async def test_only_the_use_of_stale_keys_is_told() -> None:
    """
    Not keys within their lifetime, whose refresh fails; and nothing is used for a token that is refused.
    """
    world = World()
    generation = (await world.select()).generation
    world.break_down()
    world.clock.now += REFRESH_AT
    await world.refreshed()
    world.clock.now += LIFETIME - REFRESH_AT - 0.1
    await world.refreshed()
    world.key_set.holds(generation)
    world.clock.now += 0.1

    world.key_set.holds(generation + 1)
    await outcome(world.select(NEVER))
    world.key_set.health()

    assert world.told(StaleKeysUsed) == []


async def test_keys_that_are_asked_for_again_are_not_stale() -> None:
    """
    Who waits at the end of the lifetime, and gets new keys, uses those.
    """
    world = World()
    generation = (await world.select()).generation
    world.clock.now += LIFETIME

    world.key_set.holds(generation)
    await world.select()

    assert world.told(StaleKeysUsed) == []


# Spent


async def test_a_spent_budget_is_told_once() -> None:
    """
    A flood of random key IDs is one event, until there is a fetch for such a key ID again.
    """
    world = World()
    await world.select()
    told = []

    for elapsed in (0.0, 29.9, 0.1, 0.0, 29.9, 0.1):
        world.clock.now += elapsed
        for number in range(10):
            await world.refused(f"{number} at {world.clock.now}")
        told.append(len(world.told(RefetchBudgetSpent)))

    assert told == [1, 1, 2, 2, 2, 3]
    assert world.told(RefetchBudgetSpent)[0] == RefetchBudgetSpent(issuer=ISSUER)
    assert world.told(RefetchBudgetSpent)[0].name == "guardrail.refetch_budget_spent"


async def test_a_budget_of_none_is_told_once() -> None:
    """
    ``max_refetches=0`` refuses each new key ID, and that is told when it happens first.
    """
    world = world_with(max_refetches=0)
    await world.select()
    before = world.told(RefetchBudgetSpent)

    for number in range(10):
        await world.refused(f"random-{number}")

    assert before == []
    assert len(world.told(RefetchBudgetSpent)) == 1


async def test_what_spends_no_budget_does_not_tell_of_it() -> None:
    """
    Refreshes, known key IDs, those that the issuer was asked for, and an issuer that is down.
    """
    world = World()
    await world.select()
    await world.refused()
    await world.refused()
    await world.refused("the last one")
    world.clock.now += LIFETIME
    await world.select()
    unpublish(world.server.keys)
    world.break_down()
    for pause in PAUSES[:4]:
        await world.unavailable(NEVER)
        world.clock.now += pause
    await settle()

    assert world.told(RefetchBudgetSpent) == []
