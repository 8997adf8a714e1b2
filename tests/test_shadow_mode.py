"""
Shadow mode: everything is decided and told, and nobody is refused.
"""

import logging
from typing import Any

import pytest
from road_kit import ask, connect, endpoint, handshake, new_issuer, package_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from guardrail import GuardrailMiddleware, ServicePackage, any_of, current_operator, public
from guardrail.errors import PolicyError, UndeclaredRouteError
from guardrail.events import Event, KeysUnavailable, TokenAccepted, TokenRefused
from guardrail.testing import FakeIssuer

pytestmark = pytest.mark.anyio


def shadowed(package: ServicePackage, events: list[Event] | None = None, **settings: Any) -> ASGIApp:
    """
    One route of *package*.
    """
    routes = [Route("/orders", package.requires("orders:read")(endpoint()), methods=["GET", "OPTIONS"])]
    listeners = [] if events is None else [events.append]
    return GuardrailMiddleware(Starlette(routes=routes), on_event=listeners, **settings)


WAYS = [
    pytest.param({"enforce": False}, {}, id="the middleware"),
    pytest.param({}, {"enforce": False}, id="the package"),
]

TOKENS = [
    pytest.param(lambda _: None, "missing_token", id="no token"),
    pytest.param(lambda _: "a b", "authorization_malformed", id="400"),
    pytest.param(lambda fake: fake.token(scope="orders:read", expires_in=-60), "token_expired", id="401"),
    pytest.param(
        lambda fake: fake.token(scope="orders:read")[:-8] + "AAAAAAAA", "bad_signature", id="forged"
    ),
    pytest.param(lambda fake: fake.token(scope="other"), "insufficient_scope", id="403"),
]


@pytest.mark.parametrize(("settings", "of_package"), WAYS)
@pytest.mark.parametrize(("token", "code"), TOKENS)
async def test_who_would_be_refused_is_served_without_an_operator(
    settings: Any, of_package: Any, token: Any, code: str
) -> None:
    """
    The endpoint runs, anonymously, whatever the token claimed; the event says why it would have been refused.
    """
    fake, events = new_issuer(), list[Event]()
    app = shadowed(package_of(fake, **of_package), events, **settings)

    response = await ask(app, token=token(fake))

    refused = [event for event in events if isinstance(event, TokenRefused)]
    assert (response.status_code, response.json()) == (200, {"operator": "anonymous"})
    assert [(event.code, event.is_enforced) for event in refused] == [(code, False)]


@pytest.mark.parametrize(("token", "code"), TOKENS)
async def test_enforced_the_same_is_refused(token: Any, code: str) -> None:
    """
    The one difference is the setting.
    """
    fake, events = new_issuer(), list[Event]()

    response = await ask(shadowed(package_of(fake), events), token=token(fake))

    refused = [event for event in events if isinstance(event, TokenRefused)]
    assert response.status_code in {400, 401, 403}
    assert [(event.code, event.is_enforced) for event in refused] == [(code, True)]


async def test_no_place_has_an_operator_of_a_failed_token() -> None:
    """
    State, user, authority and `current_operator` are anonymous: an audience too many is no identity.
    """
    fake, seen = new_issuer(), list[object]()

    @package_of(fake).requires("orders:read")
    async def read(request: Request) -> Response:
        for one in (request.state.operator, request.user, request.auth, current_operator()):
            seen.append((one.is_authenticated, one.subject))
        return PlainTextResponse("")

    app = GuardrailMiddleware(Starlette(routes=[Route("/orders", read)]), enforce=False)

    await ask(app, token=fake.token(scope="orders:read", aud="another API"))

    assert seen == [(False, "")] * 4


async def test_a_good_token_has_its_operator() -> None:
    """
    What would be accepted is what it will be when it is enforced.
    """
    fake, events = new_issuer(), list[Event]()

    response = await ask(
        shadowed(package_of(fake), events, enforce=False), token=fake.token(scope="orders:read")
    )

    assert response.json() == {"operator": f"{fake.url}#alice"}
    assert [type(event) for event in events if not event.name.startswith("guardrail.keys")] == [TokenAccepted]


async def test_an_outage_refuses_nobody() -> None:
    """
    503 belongs to what is enforced, too; it is told.
    """
    fake, events = new_issuer(), list[Event]()
    fake.go_down()

    response = await ask(shadowed(package_of(fake), events, enforce=False), token=fake.token())

    assert response.status_code == 200
    assert [event.is_enforced for event in events if isinstance(event, KeysUnavailable)] == [False]


async def test_a_package_in_shadow_mode_does_not_open_another() -> None:
    """
    Each package is enforced or not, on the same application.
    """
    fake = new_issuer()
    new, old = package_of(fake, "new", enforce=False), package_of(fake, "old")
    routes = [Route("/new", new.requires()(endpoint())), Route("/old", old.requires()(endpoint()))]
    app = GuardrailMiddleware(Starlette(routes=routes))

    statuses = [(await ask(app, path)).status_code for path in ("/new", "/old")]

    assert statuses == [200, 401]


ALTERNATIVES = [
    pytest.param(lambda theirs: theirs.token(scope="other"), [""], 200, id="theirs, and too little"),
    pytest.param(lambda theirs: theirs.token(scope="feed"), ["alice"], 200, id="theirs, and enough"),
    pytest.param(lambda _: None, [], 401, id="no token"),
    pytest.param(lambda _: "a b", [], 400, id="no one token"),
    pytest.param(lambda _: "a.b.c", [], 401, id="nobody's"),
    pytest.param(
        lambda theirs: theirs.token(scope="feed", expires_in=-60), [], 401, id="theirs, and expired"
    ),
    pytest.param(lambda theirs: new_issuer(theirs.url).token(scope="feed"), [], 401, id="theirs, and forged"),
]


@pytest.mark.parametrize("theirs_first", [False, True], ids=["theirs last", "theirs first"])
@pytest.mark.parametrize(("token", "served", "status"), ALTERNATIVES)
async def test_a_shadowed_alternative_opens_the_route_to_its_own_callers_alone(
    token: Any, served: list[str], status: int, theirs_first: bool
) -> None:
    """
    Whom the shadowed package's issuer knows is let through; everybody else is refused by the enforced one.
    """
    ours, theirs, seen = new_issuer(), new_issuer("https://partner.example.org"), list[str]()
    orders = package_of(ours).requires("orders:read")
    partners = package_of(theirs, "partners", enforce=False).requires("feed")
    route = any_of(partners, orders) if theirs_first else any_of(orders, partners)

    @route
    async def feed(_: Request) -> Response:
        seen.append(current_operator().subject)
        return PlainTextResponse("")

    response = await ask(GuardrailMiddleware(Starlette(routes=[Route("/orders", feed)])), token=token(theirs))

    assert (response.status_code, seen) == (status, served)


async def test_an_outage_of_a_shadowed_alternative_does_not_open_the_enforced_one() -> None:
    """
    While its keys cannot be had, nobody knows its callers: 503. With both in shadow mode all are served.
    """
    answers = list[int]()
    for is_enforced in (True, False):
        ours, theirs = new_issuer(), new_issuer("https://partner.example.org")
        theirs.go_down()
        orders = package_of(ours, enforce=is_enforced).requires("orders:read")
        partners = package_of(theirs, "partners", enforce=False).requires("feed")
        routes = [Route("/orders", any_of(orders, partners)(endpoint()))]

        response = await ask(GuardrailMiddleware(Starlette(routes=routes)), token=theirs.token(scope="feed"))
        answers.append(response.status_code)

    assert answers == [503, 200]


async def test_a_websocket_is_accepted_too() -> None:
    """
    A handshake that would be denied runs its endpoint, anonymously.
    """
    fake, seen = new_issuer(), list[bool]()

    @package_of(fake).requires()
    async def feed(websocket: WebSocket) -> None:
        seen.append(websocket.user.is_authenticated)
        await websocket.accept()

    app = GuardrailMiddleware(Starlette(routes=[WebSocketRoute("/feed", feed)]), enforce=False)

    sent = await connect(app, handshake())

    assert (seen, sent[0]["type"]) == ([False], "websocket.accept")


@pytest.mark.parametrize(
    ("settings", "status"),
    [pytest.param({"enforce": False}, 200, id="shadow"), pytest.param({}, 405, id="enforced")],
)
async def test_a_preflight_reaches_the_endpoint_only_unenforced(settings: Any, status: int) -> None:
    """
    What nobody in front answered is refused where it is enforced, and served where nothing is.
    """
    fields = [("Origin", "https://shop.example"), ("Access-Control-Request-Method", "GET")]

    response = await ask(shadowed(package_of(new_issuer()), **settings), method="OPTIONS", headers=fields)

    assert response.status_code == status


async def test_unknown_paths_and_methods_are_as_ever() -> None:
    """
    No endpoint could have run: 404 and 405 do not depend on tokens.
    """
    app = shadowed(package_of(new_issuer()), enforce=False)

    statuses = [(await ask(app, "/nowhere")).status_code, (await ask(app, method="DELETE")).status_code]

    assert statuses == [404, 405]


def test_undeclared_routes_stop_the_start_all_the_same() -> None:
    """
    Shadow mode is about tokens; a forgotten declaration is found on the first day.
    """
    app = Starlette(routes=[Route("/open", endpoint())])
    app.add_middleware(GuardrailMiddleware, enforce=False)

    with pytest.raises(UndeclaredRouteError), TestClient(app):
        pass


@pytest.mark.parametrize(
    ("settings", "of_package", "told"),
    [
        pytest.param({"enforce": False}, {}, True, id="the middleware"),
        pytest.param({}, {"enforce": False}, True, id="the package"),
        pytest.param({}, {}, False, id="enforced"),
    ],
)
def test_the_log_says_so_at_startup(
    settings: Any, of_package: Any, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A warning names the packages that are not enforced; nothing is said when all are.
    """
    fake: FakeIssuer = new_issuer()
    package = package_of(fake, **of_package)
    app = Starlette(routes=[Route("/a", package.requires()(endpoint())), Route("/b", public(endpoint()))])
    app.add_middleware(GuardrailMiddleware, **settings)

    with caplog.at_level(logging.WARNING, logger="guardrail"), TestClient(app):
        pass

    warnings = [record.getMessage() for record in caplog.records if record.name == "guardrail"]
    assert warnings == (["NOT ENFORCED: requests without a valid token are served: orders"] if told else [])


@pytest.mark.parametrize("value", [None, 0, "no"])
def test_enforce_is_a_truth_value(value: Any) -> None:
    """
    Nothing that merely looks false switches the guard off.
    """
    with pytest.raises(PolicyError, match="enforce must be True or False"):
        shadowed(package_of(new_issuer()), enforce=value)
    with pytest.raises(PolicyError, match="enforce must be True or False"):
        package_of(new_issuer(), enforce=value)
