"""
The operator directory on the road of a request: who is let in, as whom, and what the others are told.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from directory_world import CHANGED, DISABLED, MAX_AGE, NEGATIVE_MAX_AGE, SECRET, Staff
from jwks_world import Clock, settle, without_waiting
from road_kit import ask, connect, endpoint, handshake, new_issuer, package_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from guardrail import (
    ClientRegistration,
    GuardrailMiddleware,
    Operator,
    ServicePackage,
    any_of,
    current_operator,
    public,
)
from guardrail.directory import CachedDirectory, OperatorKey, OperatorRecord
from guardrail.directory._step import key_of, refine
from guardrail.errors import OperatorRefusedError, PolicyError
from guardrail.events import DirectoryFailed, DirectoryUnavailable, Event, TokenAccepted, TokenRefused
from guardrail.testing import FakeIssuer, as_operator

pytestmark = pytest.mark.anyio

URL = "https://login.example.com"
NOW = 1_800_000_000.0
RECORD = OperatorRecord("emp-7", access_groups=["Orders:Clerks", "Orders:Managers"], roles=["clerk"])


class World:
    """
    An issuer, a directory, and an API with a route for those who may read, in front of both.
    """

    def __init__(self, answer: object = RECORD, **settings: Any) -> None:
        self.clock = Clock(NOW)
        self.fake: FakeIssuer = new_issuer(URL, clock=self.clock)
        self.staff = Staff(answer)
        self.events: list[Event] = []
        self.orders = package_of(self.fake)
        self.settings = {"directory": self.staff, **settings}
        self.app = self.guard(self.orders.requires("orders:read"))

    def guard(self, requirement: Any) -> ASGIApp:
        """
        The same, for another requirement.
        """

        async def show(_: Request) -> JSONResponse:
            return JSONResponse(shown(current_operator()))

        async def feed(websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_json(shown(current_operator()))

        routes: list[Any] = [
            Route("/orders", requirement(show)),
            Route("/healthz", public(endpoint())),
            WebSocketRoute("/feed", requirement(feed)),
        ]
        return GuardrailMiddleware(
            Starlette(routes=routes), clock=self.clock, on_event=[self.events.append], **self.settings
        )

    def token(self, **claims: Any) -> str:
        """
        A token that the route accepts, unless the claims say otherwise.
        """
        return self.fake.token(**{"scope": "orders:read", "roles": ["guest"], **claims})

    @property
    def codes(self) -> list[str]:
        """
        The codes of refusals.
        """
        return [one.code for one in self.events if isinstance(one, TokenRefused | DirectoryUnavailable)]


def shown(operator: Operator) -> dict[str, Any]:
    """
    What the handler answers with.
    """
    return {
        "operator_id": operator.operator_id,
        "subject": operator.subject,
        "scopes": sorted(operator.scopes),
        "roles": sorted(operator.roles),
        "access_groups": list(operator.access_groups),
        "access_group": operator.access_group,
    }


# Who is let in, and as whom


async def test_the_handler_sees_the_operator_as_the_directory_has_it() -> None:
    """
    Its key, its roles, its access groups, the first of them active; the scopes are the token's.
    """
    world = World()

    answer = await ask(world.app, token=world.token())

    assert answer.json() == {
        "operator_id": "emp-7",
        "subject": "alice",
        "scopes": ["orders:read"],
        "roles": ["clerk"],
        "access_groups": ["Orders:Clerks", "Orders:Managers"],
        "access_group": "Orders:Clerks",
    }
    assert [type(event) for event in world.events if not event.name.startswith("guardrail.key")] == [
        TokenAccepted
    ]


async def test_the_directory_is_asked_about_the_verified_operator() -> None:
    """
    As token and registration made it: the registration's operator among that.
    """
    world = World()
    batch = ClientRegistration("nightly", operator_id="svc-nightly")
    issuer = replace(world.fake.issuer, clients=[batch])
    package = ServicePackage("orders", issuer=issuer, audience=world.fake.audience)
    app = world.guard(package.requires("orders:read"))

    await ask(app, token=world.token(client_id="web"))
    await ask(app, token=world.token(sub="nightly", client_id="nightly"))

    assert world.staff.asked == [
        OperatorKey(f"{URL}#alice", URL, None, "alice", "web", "user"),
        OperatorKey("svc-nightly", URL, None, "nightly", "nightly", "service"),
    ]


@pytest.mark.parametrize(
    ("record", "requirement", "status"),
    [
        pytest.param(RECORD, {"roles": ["clerk"]}, 200, id="a role of the directory"),
        pytest.param(RECORD, {"roles": ["guest"]}, 403, id="a role of the token, which was replaced"),
        pytest.param(
            OperatorRecord("e"), {"roles": ["guest"]}, 200, id="a role of the token, which was kept"
        ),
        pytest.param(RECORD, {"access_groups": ["Orders:Clerks"]}, 200, id="the active access group"),
        pytest.param(RECORD, {"access_groups": ["Orders:Managers"]}, 403, id="one held, and not active"),
        pytest.param(
            replace(RECORD, default_access_group="Orders:Managers"),
            {"access_groups": ["Orders:Managers"]},
            200,
            id="the default",
        ),
        pytest.param(OperatorRecord("e", roles=[]), {"roles": ["guest"]}, 403, id="roles taken away"),
    ],
)
async def test_a_route_is_judged_by_what_the_directory_says(
    record: OperatorRecord, requirement: Any, status: int
) -> None:
    """
    Roles and access groups of a route are held against the operator after the look-up.
    """
    world = World(record)
    app = world.guard(world.orders.requires("orders:read", **requirement))

    assert (await ask(app, token=world.token())).status_code == status


async def test_the_directory_gives_no_scopes() -> None:
    """
    A token without the scope is refused whatever the directory has; it is asked first.
    """
    world = World()

    answer = await ask(world.app, token=world.token(scope="other"))

    assert (answer.status_code, world.codes, len(world.staff.asked)) == (403, ["insufficient_scope"], 1)


OPERATOR = Operator(
    operator_id=f"{URL}#alice",
    kind="user",
    issuer=URL,
    subject="alice",
    client_id="web",
    tenant="acme",
    scopes=frozenset({"orders:read"}),
    roles=frozenset({"guest"}),
    access_groups=("A", "B"),
    access_group="A",
    _left_out=frozenset({"roles", "access_groups", "groups"}),
)


@pytest.mark.parametrize(
    ("settings", "changes", "left"),
    [
        pytest.param({}, {}, {"roles", "access_groups", "groups"}, id="nothing"),
        pytest.param({"roles": ["x"]}, {"roles": frozenset({"x"})}, {"access_groups", "groups"}, id="roles"),
        pytest.param({"roles": []}, {"roles": frozenset()}, {"access_groups", "groups"}, id="no roles"),
        pytest.param(
            {"access_groups": ["C", "A"]},
            {"access_groups": ("C", "A"), "access_group": "C"},
            {"roles", "groups"},
            id="access groups",
        ),
        pytest.param(
            {"access_groups": []},
            {"access_groups": (), "access_group": None},
            {"roles", "groups"},
            id="no access groups",
        ),
        pytest.param(
            {"access_groups": ["C", "D"], "default_access_group": "D"},
            {"access_groups": ("C", "D"), "access_group": "D"},
            {"roles", "groups"},
            id="access groups and a default",
        ),
        pytest.param(
            {"default_access_group": "B"},
            {"access_group": "B"},
            {"roles", "access_groups", "groups"},
            id="a default of those held",
        ),
        pytest.param(
            {"default_access_group": "C"},
            {"access_group": None},
            {"roles", "access_groups", "groups"},
            id="a default that is not held",
        ),
    ],
)
def test_a_record_replaces_what_it_has(settings: Any, changes: Any, left: set[str]) -> None:
    """
    None keeps, anything else replaces; what is given is not left out any more; only what is held is active.
    """
    refined = refine(OPERATOR, OperatorRecord("emp-7", **settings))

    assert refined == replace(OPERATOR, operator_id="emp-7", **changes)
    assert refined._left_out == left


def test_a_key_has_every_part_that_identifies() -> None:
    """
    The tenant among them.
    """
    assert key_of(OPERATOR) == OperatorKey(f"{URL}#alice", URL, "acme", "alice", "web", "user")


@pytest.mark.parametrize(
    ("record", "code"),
    [
        pytest.param(None, "operator_unknown", id="unknown"),
        pytest.param(DISABLED, "operator_disabled", id="disabled"),
    ],
)
def test_who_is_unknown_or_disabled_is_no_operator(record: OperatorRecord | None, code: str) -> None:
    """
    The refusal says nothing of whom it is about.
    """
    with pytest.raises(OperatorRefusedError) as caught:
        refine(OPERATOR, record)

    assert (caught.value.code, caught.value.status) == (code, 403)
    assert "alice" not in str(caught.value)


# Who is not


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(None, "operator_unknown", id="unknown"),
        pytest.param(DISABLED, "operator_disabled", id="disabled"),
    ],
)
async def test_who_is_unknown_or_disabled_is_refused(answer: object, code: str) -> None:
    """
    403 that does not call the token invalid, and names no scope to ask for.
    """
    world = World(answer)

    response = await ask(world.app, token=world.token(scope="other"))

    assert response.status_code == 403
    assert response.headers["www-authenticate"].split(", resource_metadata")[0] == 'Bearer realm="orders"'
    assert "error" not in response.json()
    assert world.codes == [code]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OSError(SECRET), id="raises"),
        pytest.param({"operator_id": "emp-7"}, id="returns something else"),
        pytest.param(asyncio.CancelledError(), id="is cancelled inside"),
    ],
)
async def test_a_directory_that_cannot_be_had_is_503(answer: object) -> None:
    """
    With Retry-After, and no challenge; why it failed is told, and that it was. No secret is in it.
    """
    world = World(answer)

    response = await ask(world.app, token=world.token())

    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "www-authenticate" not in response.headers
    failed, refused = world.events[-2:]
    assert isinstance(failed, DirectoryFailed)
    assert refused == DirectoryUnavailable(
        code="directory_unavailable", package="orders", route="/orders", retry_after=1.0
    )
    assert "hunter2" not in f"{world.events} {response.text} {response.headers}"
    world.staff.answer = RECORD
    assert (await ask(world.app, token=world.token())).status_code == 200


async def test_a_slow_directory_is_503() -> None:
    """
    After its time-out.
    """
    world = World()
    world.staff.hold = asyncio.Event().wait
    world.settings["directory"] = CachedDirectory(world.staff, timeout=0.01, clock=world.clock)
    app = world.guard(world.orders.requires("orders:read"))

    response = await ask(app, token=world.token())

    assert (response.status_code, world.codes) == (503, ["directory_unavailable"])


async def test_a_last_record_bridges_an_outage_as_long_as_it_may() -> None:
    """
    And not longer; who is disabled in it stays so.
    """
    world = World()
    world.settings["directory"] = CachedDirectory(world.staff, max_stale=300.0, clock=world.clock)
    app, token = world.guard(world.orders.requires("orders:read")), world.token(exp=NOW + 3_600)
    await ask(app, token=token)
    world.staff.answer = OSError(SECRET)

    world.clock.now += MAX_AGE + 300.0 - 1.0
    within = await ask(app, token=token)
    world.clock.now += 2.0
    beyond = await ask(app, token=token)

    assert (within.status_code, beyond.status_code) == (200, 503)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda _: None, id="no token"),
        pytest.param(lambda world: world.token(exp=NOW - 60), id="expired"),
        pytest.param(lambda world: world.token()[:-8] + "AAAAAAAA", id="forged"),
        pytest.param(lambda world: world.token(aud="elsewhere"), id="for another API"),
    ],
)
async def test_only_verified_callers_are_looked_up(token: Callable[[World], str | None]) -> None:
    """
    Whoever has no good token cannot make the directory work.
    """
    world = World()

    response = await ask(world.app, token=token(world))

    assert (response.status_code, world.staff.asked) == (401, [])


async def test_a_client_that_may_not_call_is_not_looked_up() -> None:
    """
    Registration comes first.
    """
    world = World()
    issuer = replace(world.fake.issuer, unregistered_clients="refuse")
    package = ServicePackage("orders", issuer=issuer, audience=world.fake.audience)

    response = await ask(world.guard(package.requires()), token=world.token())

    assert (response.status_code, world.codes, world.staff.asked) == (403, ["client_not_allowed"], [])


async def test_public_routes_need_no_directory() -> None:
    """
    Nor does a path that is not there; with a token or without.
    """
    world = World(OSError(SECRET))

    statuses = [
        (await ask(world.app, path, token=token)).status_code
        for path in ("/healthz", "/else")
        for token in (None, world.token())
    ]

    assert (statuses, world.staff.asked) == ([200, 200, 404, 404], [])


# Each time


async def test_a_token_in_the_cache_is_judged_by_the_record_of_now() -> None:
    """
    A change in the directory is seen with the first request after the record's age, the token being known.
    """
    world = World()
    token = world.token()
    first = await ask(world.app, token=token)

    world.staff.answer = CHANGED
    world.clock.now += MAX_AGE - 1.0
    second = await ask(world.app, token=token)
    world.clock.now += 1.0
    third = await ask(world.app, token=token)
    world.staff.answer = DISABLED
    world.clock.now += MAX_AGE
    fourth = await ask(world.app, token=token)
    world.staff.answer = None
    world.clock.now += MAX_AGE
    fifth = await ask(world.app, token=token)

    assert [first.json()["access_group"], second.json()["access_group"]] == ["Orders:Clerks"] * 2
    assert third.json()["access_group"] == "Orders:Managers"
    assert (fourth.status_code, fifth.status_code) == (403, 403)
    assert world.codes == ["operator_disabled", "operator_unknown"]


async def test_who_was_unknown_is_asked_for_again_sooner() -> None:
    """
    After the negative age; by the middleware's clock.
    """
    world = World(None)
    token = world.token()
    await ask(world.app, token=token)
    world.staff.answer = RECORD

    world.clock.now += NEGATIVE_MAX_AGE - 1.0
    before = await ask(world.app, token=token)
    world.clock.now += 1.0

    assert (before.status_code, (await ask(world.app, token=token)).status_code) == (403, 200)
    assert len(world.staff.asked) == 2


async def test_what_is_invalidated_counts_from_the_next_request() -> None:
    """
    With the middleware in front of a directory that the application holds on to.
    """
    world = World()
    cached = CachedDirectory(world.staff, clock=world.clock)
    world.settings["directory"] = cached
    app, token = world.guard(world.orders.requires("orders:read")), world.token()
    await ask(app, token=token)
    world.staff.answer = DISABLED

    before = await ask(app, token=token)
    cached.invalidate(world.staff.asked[0])

    assert (before.status_code, (await ask(app, token=token)).status_code) == (200, 403)


async def test_a_token_that_expires_while_its_operator_is_looked_up_is_refused() -> None:
    """
    What is good is good at the end of the look-up, not at its beginning.
    """
    world = World()
    world.staff.hold = asyncio.Event().wait
    gate = asyncio.Event()
    world.staff.hold = gate.wait
    asking = asyncio.create_task(ask(world.app, token=world.token(exp=NOW + 1)))
    await settle()

    world.clock.now += 32.0  # the leeway, and more
    gate.set()

    assert ((await asking).status_code, world.codes) == (401, ["token_expired"])


async def test_a_known_caller_waits_for_nobody() -> None:
    """
    With token and record in hand a request is decided without giving way to anybody.
    """
    world = World()
    token = world.token()
    await ask(world.app, token=token)
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = handshake("/orders", headers=[(b"authorization", f"Bearer {token}".encode())])
    scope = {**scope, "type": "http", "method": "GET", "scheme": "https", "http_version": "1.1"}
    without_waiting(world.app(scope, receive, send))  # type: ignore[arg-type]

    assert sent[0]["status"] == 200


async def test_several_requests_of_a_new_caller_ask_once() -> None:
    """
    And all are served when the first of them is cancelled.
    """
    world, gate = World(), asyncio.Event()
    await ask(world.app, token=world.token(sub="somebody else"))  # the keys are there
    world.staff.hold = gate.wait
    token = world.token()
    asking = [asyncio.create_task(ask(world.app, token=token)) for _ in range(5)]
    await settle()

    asking[0].cancel()
    await settle()
    gate.set()

    assert [(await one).status_code for one in asking[1:]] == [200] * 4
    assert [key.subject for key in world.staff.asked] == ["somebody else", "alice"]


# Other ways in


async def test_a_websocket_is_looked_up_before_it_is_accepted() -> None:
    """
    Let in as the directory has it; else denied with the answer that a request would get.
    """
    world = World()
    header = (b"authorization", f"Bearer {world.token()}".encode())

    accepted = await connect(world.app, handshake(headers=[header]))
    world.clock.now += MAX_AGE + 0.1
    world.staff.answer = DISABLED
    denied = await connect(world.app, handshake(headers=[header]))
    world.clock.now += MAX_AGE + 0.1
    world.staff.answer = OSError(SECRET)
    unavailable = await connect(world.app, handshake(headers=[header]))

    assert [message["type"] for message in accepted][:2] == ["websocket.accept", "websocket.send"]
    assert "emp-7" in accepted[1]["text"]
    assert [one[0]["status"] for one in (denied, unavailable)] == [403, 503]


async def test_each_alternative_is_judged_with_the_directory() -> None:
    """
    A token of either package is looked up; who is refused there gets that answer and not "no token of mine".
    """
    world = World()
    theirs = new_issuer(
        "https://partner.example.org", audience="https://api.example.com/partners", clock=world.clock
    )
    partners = package_of(theirs, "partners")
    app = world.guard(
        any_of(world.orders.requires("orders:read"), partners.requires("feed", roles=["clerk"]))
    )

    ours, other = (
        await ask(app, token=world.token()),
        await ask(app, token=theirs.token(scope="feed", sub="bob")),
    )
    world.clock.now += MAX_AGE
    world.staff.answer = None
    refused = await ask(app, token=theirs.token(scope="feed", sub="bob"))

    assert (ours.status_code, other.status_code, refused.status_code) == (200, 200, 403)
    assert refused.headers["www-authenticate"].startswith('Bearer realm="partners"')
    assert [key.issuer for key in world.staff.asked] == [URL, theirs.url, theirs.url]


async def test_shadow_mode_serves_whom_the_directory_refuses_without_an_operator() -> None:
    """
    And says so.
    """
    world = World(DISABLED, enforce=False)
    token = world.token()

    disabled = await ask(world.app, token=token)
    world.clock.now += MAX_AGE + 0.1
    world.staff.answer = OSError(SECRET)
    unavailable = await ask(world.app, token=token)

    assert [one.json()["operator_id"] for one in (disabled, unavailable)] == ["anonymous"] * 2
    told = [one for one in world.events if isinstance(one, TokenRefused | DirectoryUnavailable)]
    assert [(one.code, one.is_enforced) for one in told] == [
        ("operator_disabled", False),
        ("directory_unavailable", False),
    ]


async def test_an_assumed_operator_is_not_looked_up() -> None:
    """
    A test that says who it is says it once.
    """
    world = World(None)

    with as_operator(scopes=["orders:read"], roles=["tester"]):
        answer = await ask(world.app)

    assert (answer.json()["roles"], world.staff.asked) == (["tester"], [])


async def test_one_directory_may_serve_two_middlewares() -> None:
    """
    They share its answers; each hears of the look-ups that it began.
    """
    world = World()
    world.settings["directory"] = CachedDirectory(world.staff, clock=world.clock)
    one = world.guard(world.orders.requires("orders:read"))
    elsewhere = World()
    elsewhere.settings["directory"] = world.settings["directory"]
    other = elsewhere.guard(world.orders.requires("orders:read"))

    await ask(one, token=world.token())
    await ask(other, token=world.token())
    world.staff.answer = OSError(SECRET)
    await ask(other, token=world.token(sub="bob"))

    assert len(world.staff.asked) == 2
    assert (world.codes, elsewhere.codes) == ([], ["directory_unavailable"])
    assert not any(isinstance(event, DirectoryFailed) for event in world.events)


@pytest.mark.parametrize("directory", [object(), Staff, "staff", {}], ids=repr)
def test_what_is_no_directory_stops_the_start(directory: Any) -> None:
    """
    The message has the right form.
    """
    with pytest.raises(PolicyError, match=r"`async def resolve\(self, key\)`"):
        GuardrailMiddleware(Starlette(), directory=directory)
