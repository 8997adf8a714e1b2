"""
Refresh tokens: rotated, stored, dropped, revoked.
"""

import asyncio
import threading
from typing import Any

import httpx
import pytest

from guardrail.client._life import Next
from guardrail.client._refresh import RefreshTokens
from guardrail.errors import PolicyError, TokenUnavailableError

from .kit import ISSUER, REVOCATION_URL, World, granted, metadata, names, pairs, refused

pytestmark = pytest.mark.anyio


def with_refresh(*answers: Any, **arguments: Any) -> World:
    return World(*answers, refresh_token="refresh-0", **arguments)


def sent(world: World) -> list[str]:
    return [form["refresh_token"][0] for form in world.forms]


def test_the_grant_is_that_of_refresh_tokens() -> None:
    """
    Every request has the refresh token and every other parameter (RFC 6749 §6).
    """
    world = with_refresh(scopes=["a"], audience="b")

    world.get()

    assert pairs(world.requests[0]) == [
        ("grant_type", "refresh_token"),
        ("refresh_token", "refresh-0"),
        ("scope", "a"),
        ("audience", "b"),
    ]


@pytest.mark.parametrize(
    ("answered", "second", "stored"),
    [
        pytest.param("refresh-1", "refresh-1", ["refresh-1"], id="rotated"),
        pytest.param(None, "refresh-0", [], id="none: the old one is kept"),
        pytest.param("refresh-0", "refresh-0", [], id="the same one is not new"),
    ],
)
def test_the_current_refresh_token_is_used(answered: str | None, second: str, stored: list[str]) -> None:
    """
    A new one replaces the old, is given to be stored once, and is told of.
    """
    kept: list[str] = []
    world = with_refresh(granted("a", refresh_token=answered), on_refresh_token=kept.append)

    world.get()
    world.profile.invalidate("a")
    world.get()

    assert sent(world) == ["refresh-0", second]
    assert kept == stored
    assert len(world.named("refresh_token_rotated")) == len(stored)


def test_it_is_stored_before_the_token_is_used() -> None:
    """
    While the application stores the refresh token, the access token is nowhere yet.
    """
    seen: list[int] = []
    world = with_refresh(granted("a", refresh_token="r"))
    world.arguments["on_refresh_token"] = lambda _token: seen.append(len(world.calls))
    world.profile._source._refresh_tokens._store = world.arguments["on_refresh_token"]

    world.get()

    assert (seen, len(world.calls)) == ([0], 1)
    assert names(world.events) == ["token_fetched", "refresh_token_rotated"]


def test_what_could_not_be_stored_is_not_lost() -> None:
    """
    The access token is not used; the new refresh token is, and is offered again: the old one may be void.
    """
    stored: list[str] = []
    failures = [OSError("disk full, while writing refresh-1")]

    def store(token: str) -> None:
        if failures:
            raise failures.pop()
        stored.append(token)

    world = with_refresh(granted("a", refresh_token="refresh-1"), granted("b"), on_refresh_token=store)

    with pytest.raises(TokenUnavailableError) as failed:
        world.get()
    world.now += 1.0
    world.get()

    assert (failed.value.error, failed.value.permanent) == ("not_stored", False)
    assert "refresh-1" not in str(failed.value)
    assert failed.value.__context__ is None
    assert sent(world) == ["refresh-0", "refresh-1"]
    assert stored == ["refresh-1"]
    assert world.tokens_sent == ["b"]


@pytest.mark.parametrize("is_async", [False, True], ids=["a thread", "an event loop"])
def test_storing_must_not_need_the_token(is_async: bool) -> None:
    """
    Whoever stores the refresh token through the same profile is told so, and does not wait for ever.
    """
    raised: list[BaseException] = []

    def store(_token: str) -> None:
        try:
            asyncio.run(world.profile.token()) if is_async else world.get()
        except PolicyError as exc:
            raised.append(exc)
            raise

    world: World = with_refresh(granted("a", refresh_token="refresh-1"), on_refresh_token=store)

    with pytest.raises(TokenUnavailableError, match="not_stored"):
        world.get()

    assert [str(one).startswith("on_refresh_token must not") for one in raised] == [True]


def test_listener_may_use_the_profile() -> None:
    """
    When something is told of a token, the token is there, the rotation of a refresh token included.
    """
    statuses: list[int] = []
    world: World = with_refresh(
        granted("a", refresh_token="refresh-1"),
        on_event=[lambda _event: statuses.append(world.get().status_code)],
    )

    world.get()

    assert statuses == [200, 200]


def test_invalid_grant_ends_it() -> None:
    """
    The refresh token is dropped, and later calls fail at once without a request, for ever.
    """
    world = with_refresh(refused(400, "invalid_grant"))

    for _ in range(3):
        with pytest.raises(TokenUnavailableError) as failed:
            world.get()
        world.now += 1e6

    assert (failed.value.error, failed.value.permanent, failed.value.retry_after) == (
        "invalid_grant",
        True,
        None,
    )
    assert "will not be asked for again" in str(failed.value)
    assert len(world.requests) == 1
    assert world.named("token_fetch_failed")[0].retry_after is None


def test_invalid_grant_keeps_a_living_token() -> None:
    """
    A renewal that is refused for good costs nothing until the access token expires.
    """
    world = with_refresh(granted("a", expires_in=1_000), refused(400, "invalid_grant"))
    world.get()

    world.now += 900.0
    world.get()
    world.wait_for("token_fetch_failed")
    world.now += 99.0
    world.get()
    world.now += 1.5
    with pytest.raises(TokenUnavailableError):
        world.get()

    assert world.tokens_sent == ["a", "a", "a"]
    assert len(world.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refused(400, "invalid_client"), id="another error"),
        pytest.param(refused(503, "invalid_grant"), id="not a refusal"),
    ],
)
def test_other_failures_keep_the_refresh_token(answer: httpx.Response) -> None:
    """
    Only a refusal of the grant drops it.
    """
    world = with_refresh(answer)
    with pytest.raises(TokenUnavailableError):
        world.get()
    world.now += 60.0

    world.get()

    assert sent(world) == ["refresh-0", "refresh-0"]


@pytest.mark.parametrize("arguments", [{}, {"subject_token": "s"}], ids=["client credentials", "exchange"])
def test_other_grants_take_no_refresh_token(arguments: dict[str, Any]) -> None:
    """
    One that comes unasked (RFC 6749 §4.4.3) is not used, and invalid_grant is for a minute.
    """
    world = World(granted("a", refresh_token="r"), refused(400, "invalid_grant"), **arguments)
    world.get()
    world.profile.invalidate("a")
    with pytest.raises(TokenUnavailableError):
        world.get()
    world.now += 60.0

    world.get()

    assert all("refresh_token" not in form for form in world.forms)
    assert world.named("refresh_token_rotated") == []


def test_representation_has_no_token() -> None:
    """
    Nor has that of the part that keeps it.
    """
    tokens = RefreshTokens("refresh-0", None)

    assert "refresh-0" not in repr(tokens)
    assert "current='********'" not in repr(RefreshTokens(None, None))


async def test_revocation_of_both_tokens() -> None:
    """
    Each is revoked with its hint and the client's authentication; then nothing more is sent (RFC 7009).
    """
    ok = httpx.Response(200)
    world = with_refresh(
        granted("a", refresh_token="refresh-1"),
        ok,
        ok,
        revocation_url=REVOCATION_URL,
        auth_method="client_secret_post",
    )
    await world.profile.token()

    is_confirmed = await world.profile.revoke()

    assert is_confirmed
    assert [str(request.url) for request in world.requests[1:]] == [REVOCATION_URL] * 2
    assert [(form["token"], form["token_type_hint"]) for form in world.forms[1:]] == [
        (["refresh-1"], ["refresh_token"]),
        (["a"], ["access_token"]),
    ]
    assert all(form["client_id"] == ["orders-batch"] for form in world.forms)
    assert len(world.named("token_revoked")) == 1
    with pytest.raises(TokenUnavailableError) as failed:
        await world.profile.token()
    assert (failed.value.error, failed.value.retry_after) == ("invalid_grant", None)


async def test_client_credentials_go_on_after_a_revocation() -> None:
    """
    The next request gets a new token.
    """
    world = World(granted("a"), httpx.Response(200), granted("b"), revocation_url=REVOCATION_URL)
    await world.profile.token()

    await world.profile.revoke()

    assert await world.profile.token() == "b"
    assert [event.trigger for event in world.named("token_fetched")] == ["missing", "missing"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(httpx.Response(503), id="503"),
        pytest.param(refused(400, "unsupported_token_type"), id="refused"),
        pytest.param(httpx.ConnectError(""), id="nobody there"),
    ],
)
async def test_tokens_are_forgotten_whatever_the_answer(answer: Any) -> None:
    """
    A revocation that is not confirmed says so, without an event, and the token is not used again.
    """
    world = World(granted("a"), answer, granted("b"), revocation_url=REVOCATION_URL)
    await world.profile.token()

    assert not await world.profile.revoke()

    assert await world.profile.token() == "b"
    assert world.named("token_revoked") == []


async def test_nothing_in_hand_is_nothing_to_revoke() -> None:
    """
    No request, no event.
    """
    world = World(revocation_url=REVOCATION_URL)

    assert await world.profile.revoke()

    assert (world.requests, world.events) == ([], [])


@pytest.mark.parametrize(
    ("answers", "arguments"),
    [
        pytest.param([granted("a")], {}, id="a token URL alone"),
        pytest.param(
            [metadata(revocation_endpoint=None), granted("a")],
            {"token_url": None, "issuer": ISSUER},
            id="metadata without one",
        ),
        pytest.param(
            [metadata(revocation_endpoint="http://a.example/"), granted("a")],
            {"token_url": None, "issuer": ISSUER},
            id="metadata with one that is not https",
        ),
    ],
)
async def test_without_an_endpoint_nothing_is_forgotten(
    answers: list[Any], arguments: dict[str, Any]
) -> None:
    """
    The error says which argument is missing, and the token is still in hand.
    """
    world = World(*answers, **arguments)
    await world.profile.token()

    with pytest.raises(PolicyError, match="give revocation_url"):
        await world.profile.revoke()

    assert await world.profile.token() == "a"


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        pytest.param({}, REVOCATION_URL, id="from the metadata"),
        pytest.param({"revocation_url": f"{ISSUER}/mine"}, f"{ISSUER}/mine", id="as configured"),
    ],
)
async def test_revocation_endpoint(arguments: dict[str, str], url: str) -> None:
    """
    What is configured goes before what the metadata says.
    """
    world = World(metadata(), granted("a"), httpx.Response(200), token_url=None, issuer=ISSUER, **arguments)
    await world.profile.token()

    await world.profile.revoke()

    assert str(world.requests[-1].url) == url


async def test_metadata_that_cannot_be_had_forgets_all_the_same() -> None:
    """
    The refresh token from the start is held, too; it is not used after that.
    """
    world = with_refresh(httpx.Response(503), token_url=None, issuer=ISSUER)

    assert not await world.profile.revoke()

    with pytest.raises(TokenUnavailableError, match="invalid_grant"):
        await world.profile.token()


async def test_revocation_waits_for_a_fetch() -> None:
    """
    The token of a fetch under way is revoked too: it would be in hand afterwards.
    """
    began, may_answer = threading.Event(), threading.Event()

    def hanging(_request: httpx.Request) -> httpx.Response:
        began.set()
        assert may_answer.wait(10)
        return granted("late")

    world = World(hanging, httpx.Response(200), revocation_url=REVOCATION_URL)
    fetching = asyncio.create_task(world.profile.token())
    await asyncio.to_thread(began.wait, 10)
    landing = world.profile._source._landing
    assert landing is not None
    wait = landing.wait

    def answered_when_waited_for() -> Next:
        may_answer.set()
        return wait()

    landing.wait = answered_when_waited_for  # type: ignore[method-assign] # to see that it is waited for

    assert await world.profile.revoke()
    assert await fetching == "late"
    assert world.forms[1]["token"] == ["late"]
