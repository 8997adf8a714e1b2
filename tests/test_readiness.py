"""
Readiness: `health` as data, for whatever an application is wrapped in; `health_app` over HTTP.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import guardrail
from guardrail import Fetching, GuardrailMiddleware, Health, Issuer, ServicePackage, health_app, public
from guardrail.errors import MiddlewareMissingError, UndeclaredRouteError
from guardrail.issuer import SigningKeys
from guardrail.testing import FakeIssuer

pytestmark = pytest.mark.anyio


class Clock:
    """
    A clock that goes where a test sends it.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def new_issuer(url: str = "https://login.example.com") -> FakeIssuer:
    """
    An authorization server with keys that are quickly made.
    """
    return FakeIssuer(url, algorithm="EdDSA")


def package(*fakes: FakeIssuer, issuers: Iterable[Issuer] | None = None) -> ServicePackage:
    """
    The service package ``orders``, whose tokens *fakes* issue.
    """
    named = [fake.issuer for fake in fakes] if issuers is None else list(issuers)
    return ServicePackage("orders", issuer=named, audience=fakes[0].audience)


async def endpoint(request: Request) -> Response:
    """
    A handler.
    """
    return PlainTextResponse("ran")


def guarded_route(orders: ServicePackage) -> Route:
    """
    A route that needs a token, which is what makes its issuers known.
    """

    async def read_orders(request: Request) -> Response:
        return await endpoint(request)

    return Route("/orders", orders.requires()(read_orders))


def starlette(*routes: BaseRoute, **settings: Any) -> Starlette:
    """
    A Starlette application, guarded.
    """
    app = Starlette(routes=list(routes))
    app.add_middleware(GuardrailMiddleware, **settings)
    return app


async def ask(
    app: ASGIApp, path: str = "/readyz", *, method: str = "GET", token: str | None = None
) -> httpx.Response:
    """
    Send one request, and see what it began in the background to its end.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app)
    async with (
        all_tasks_ended(),
        httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client,
    ):
        return await client.request(method, path, headers=headers)


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


async def start(app: ASGIApp) -> None:
    """
    Start up and shut down, as a server does; the background gets to its end in between.
    """
    sent: list[str] = []
    before = asyncio.all_tasks()

    async def receive() -> Message:
        if not sent:
            return {"type": "lifespan.startup"}
        await asyncio.gather(*(asyncio.all_tasks() - before))
        return {"type": "lifespan.shutdown"}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def states(health: Health) -> list[str]:
    """
    The state of each issuer.
    """
    return [one.state for one in health.issuers]


# As data


def added_to_starlette(route: Route) -> tuple[object, ASGIApp]:
    app = starlette(route)
    return app, app


def added_to_fastapi(route: Route) -> tuple[object, ASGIApp]:
    app = FastAPI(openapi_url=None, routes=[route])
    app.add_middleware(GuardrailMiddleware)
    return app, app


def the_middleware_itself(route: Route) -> tuple[object, ASGIApp]:
    app = GuardrailMiddleware(Starlette(routes=[route]))
    return app, app


def around_a_router(route: Route) -> tuple[object, ASGIApp]:
    app = GuardrailMiddleware(Router(routes=[route]))
    return app, app


def another_middleware_around_it(route: Route) -> tuple[object, ASGIApp]:
    app = CORSMiddleware(GZipMiddleware(GuardrailMiddleware(Starlette(routes=[route]))))
    return app, app


def beside_other_middleware(route: Route) -> tuple[object, ASGIApp]:
    app = starlette(route)
    app.add_middleware(GZipMiddleware)
    app.add_middleware(CORSMiddleware)
    return app, app


def another_middleware_around_the_application(route: Route) -> tuple[object, ASGIApp]:
    app = CORSMiddleware(GZipMiddleware(starlette(route)))
    return app, app


def the_application_inside_of_another_middleware(route: Route) -> tuple[object, ASGIApp]:
    app = starlette(route)
    return app, CORSMiddleware(app)


SHAPES = pytest.mark.parametrize(
    "shape",
    [
        added_to_starlette,
        added_to_fastapi,
        the_middleware_itself,
        around_a_router,
        another_middleware_around_it,
        beside_other_middleware,
        another_middleware_around_the_application,
        the_application_inside_of_another_middleware,
    ],
    ids=lambda shape: shape.__name__.replace("_", " "),
)
Shape = Callable[[Route], tuple[object, ASGIApp]]


@SHAPES
async def test_health_is_found_in_whatever_is_served(shape: Shape) -> None:
    """
    Before the start it says so; then it has the issuers, and then their keys.
    """
    fake = new_issuer()
    asked_about, served = shape(guarded_route(package(fake)))

    before = guardrail.health(asked_about)
    unauthorized = await ask(served, "/orders")
    without_keys = guardrail.health(asked_about)
    served_well = await ask(served, "/orders", token=fake.token())
    with_keys = guardrail.health(asked_about)

    assert (before, before.is_ready) == (Health(is_started=False), False)
    assert (unauthorized.status_code, served_well.status_code) == (401, 200)
    assert (without_keys.is_started, without_keys.is_ready, states(without_keys)) == (
        True,
        False,
        ["unavailable"],
    )
    assert (with_keys.is_started, with_keys.is_ready, states(with_keys)) == (True, True, ["ready"])
    assert with_keys.issuers[0].key_ids == (fake.keys.current.kid,)


@SHAPES
async def test_health_is_there_after_startup(shape: Shape) -> None:
    """
    With a lifespan no request is needed for it.
    """
    fake = new_issuer()
    asked_about, served = shape(guarded_route(package(fake)))

    await start(served)

    assert guardrail.health(asked_about).is_ready


async def test_middleware_has_its_health_as_an_attribute() -> None:
    """
    Whoever holds the middleware needs no function.
    """
    fake = new_issuer()
    guard = GuardrailMiddleware(Starlette(routes=[guarded_route(package(fake))]))
    before = guard.health

    await start(guard)

    assert before == Health(is_started=False)
    assert guard.health.is_ready
    assert guardrail.health(guard).issuers[0].key_ids == guard.health.issuers[0].key_ids


async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
    """
    An ASGI application that is not Starlette's.
    """


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(None, id="nothing"),
        pytest.param("app", id="a name"),
        pytest.param(GuardrailMiddleware, id="the class"),
        pytest.param(foreign, id="a function"),
        pytest.param(CORSMiddleware(foreign), id="another middleware"),
        pytest.param(Router(), id="a router"),
        pytest.param(CORSMiddleware(Router()), id="another middleware around a router"),
        pytest.param(Starlette(), id="Starlette, not started"),
        pytest.param(FastAPI(), id="FastAPI, not started"),
        pytest.param(CORSMiddleware(Starlette()), id="another middleware around Starlette"),
    ],
)
def test_without_the_middleware_there_is_no_health(app: object) -> None:
    """
    What guardrail does not guard, it knows nothing of; and it says what to do, before the start too.
    """
    with pytest.raises(MiddlewareMissingError, match="no GuardrailMiddleware"):
        guardrail.health(app)


async def test_without_the_middleware_there_is_none_after_the_start_either() -> None:
    """
    The same of an application that has been served.
    """
    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(CORSMiddleware)
    await ask(app, "/")

    with pytest.raises(MiddlewareMissingError):
        guardrail.health(app)


async def test_middleware_that_cannot_be_seen_is_missing_and_not_late() -> None:
    """
    Behind a middleware that hides what it wraps it is not found: once the application is served, "not
    started" would be wrong for ever, so it is an error.
    """

    class Hiding:
        def __init__(self, app: ASGIApp) -> None:
            self._hidden = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self._hidden(scope, receive, send)

    app = starlette(guarded_route(package(new_issuer())))
    app.add_middleware(Hiding)
    before = guardrail.health(app)

    await start(app)

    assert before == Health(is_started=False)
    with pytest.raises(MiddlewareMissingError):
        guardrail.health(app)


async def test_subclass_of_the_middleware_is_one() -> None:
    """
    A team's own subclass is found, added or wrapped around.
    """

    class Ours(GuardrailMiddleware):
        pass

    fake = new_issuer()
    app = Starlette(routes=[guarded_route(package(fake))])
    app.add_middleware(Ours)
    before = guardrail.health(app)

    await start(app)

    assert before == Health(is_started=False)
    assert guardrail.health(app).is_ready


async def test_asking_for_health_fetches_nothing() -> None:
    """
    Looking is not touching: health as data begins no fetch, however often.
    """
    fake = new_issuer()
    app = starlette(guarded_route(package(fake)))
    await ask(app, "/orders")

    async with all_tasks_ended():
        found = [guardrail.health(app) for _ in range(3)]

    assert fake.request_count == 0
    assert [one.is_ready for one in found] == [False] * 3


async def test_health_has_each_issuer_of_every_route_once() -> None:
    """
    Packages that share an issuer share its entry; keys in hand are there too, and are ready.
    """
    one, other, keys = new_issuer(), new_issuer("https://login.example.org"), SigningKeys("EdDSA")
    in_hand = Issuer("https://login.example.in", keys=keys.jwks())
    packages = [
        package(one),
        package(one, other),
        package(one, issuers=[in_hand]),
    ]

    async def read(request: Request) -> Response:
        return await endpoint(request)

    routes = [
        Route(f"/{number}", orders.requires()(read if number == 0 else _copy(read)))
        for number, orders in enumerate(packages)
    ]
    app = starlette(*routes)

    await start(app)

    found = guardrail.health(app)
    assert sorted(one.issuer for one in found.issuers) == sorted([one.url, other.url, in_hand.url])
    assert states(found) == ["ready"] * 3
    assert (one.request_count, other.request_count) == (2, 2)


def _copy(function: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def copy(request: Request) -> Response:
        found: Response = await function(request)
        return found

    return copy


async def test_issuer_that_is_not_required_leaves_the_application_ready() -> None:
    """
    An issuer that is down and not required is told of, and does not count.
    """
    up, down = new_issuer(), new_issuer("https://login.example.org")
    down.go_down()

    async def ready(*, required: bool) -> tuple[bool, list[str]]:
        issuers = [up.issuer, replace(down.issuer, required=required)]
        app = starlette(guarded_route(package(up, issuers=issuers)))
        await start(app)
        found = guardrail.health(app)
        return found.is_ready, states(found)

    assert await ready(required=False) == (True, ["ready", "unavailable"])
    assert await ready(required=True) == (False, ["ready", "unavailable"])


# Over HTTP


def readyz(**settings: Any) -> Route:
    """
    The route of a probe that anybody may ask.
    """
    return Route("/readyz", public(health_app(**settings)))


async def test_ready_is_200() -> None:
    """
    The body is the health, as JSON that nobody keeps.
    """
    fake = new_issuer()
    app = starlette(guarded_route(package(fake)), readyz(), monotonic=Clock())
    await start(app)

    response = await ask(app)

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-length"] == str(len(response.content))
    assert response.json() == json.loads(json.dumps(guardrail.health(app).as_dict()))
    assert response.json()["is_ready"] is True
    assert [one["issuer"] for one in response.json()["issuers"]] == [fake.url]


async def test_not_ready_is_503() -> None:
    """
    The same with another status, and with what went wrong; for the probe it is an answer and no error.
    """
    fake = new_issuer()
    fake.go_down()
    app = starlette(guarded_route(package(fake)), readyz())
    await start(app)

    response = await ask(app)

    (issuer,) = response.json()["issuers"]
    assert response.status_code == 503
    assert response.headers["cache-control"] == "no-store"
    assert (response.json()["is_ready"], response.json()["is_started"]) == (False, True)
    assert (issuer["state"], issuer["last_error"]) == (
        "unavailable",
        "ConnectError: the fake issuer is down",
    )


async def test_without_details_there_is_one_word() -> None:
    """
    A probe that anybody may ask learns nothing of issuers, keys and errors.
    """
    fake = new_issuer()
    app = starlette(guarded_route(package(fake)), readyz(details=False))

    down = await ask(app)
    up = await ask(app)

    assert (down.status_code, down.text) == (503, '{"is_ready": false}')
    assert (up.status_code, up.text) == (200, '{"is_ready": true}')
    assert up.headers["cache-control"] == "no-store"


async def test_head_is_get_without_a_body() -> None:
    """
    The same status and fields, whether ready or not (RFC 9110 §9.3.2).
    """
    fake, monotonic = new_issuer(), Clock()
    fake.go_down()
    app = starlette(guarded_route(package(fake)), readyz(), monotonic=monotonic, clock=Clock(1_800_000_000.0))
    await ask(app)
    answers = [(await ask(app), await ask(app, method="HEAD"))]
    fake.come_up()
    monotonic.now += 2.0
    await ask(app)
    answers.append((await ask(app), await ask(app, method="HEAD")))

    assert [get.status_code for get, _ in answers] == [503, 200]
    for get, head in answers:
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers == get.headers
        assert get.content != b""


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "BREW"])
async def test_other_methods_are_405(method: str) -> None:
    """
    There is nothing to do but read (RFC 9110 §15.5.6).
    """
    fake = new_issuer()
    app = starlette(guarded_route(package(fake)), readyz())

    response = await ask_raw(app, method=method)

    assert (response[0]["status"], dict(response[0]["headers"])[b"allow"]) == (405, b"GET, HEAD")
    assert response[1]["body"] == b""
    assert fake.request_count == 0


async def ask_raw(app: ASGIApp, path: str = "/readyz", **extra: Any) -> list[Message]:
    """
    The messages that answer one connection, with a scope as a server makes it.
    """
    sent: list[Message] = []
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 50_000),
        "server": ("api.example.com", 443),
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    if extra.get("type") == "websocket":
        del scope["method"]
    async with all_tasks_ended():
        await app(scope | extra, receive, send)
    return sent


async def test_guarded_by_a_requirement_it_asks_for_a_token() -> None:
    """
    What people read may be for operators alone; without a token it tells nothing, not even the status.
    """
    fake = new_issuer()
    orders = package(fake)
    app = starlette(Route("/readyz", orders.requires("ops:read")(health_app())))

    answers = [
        await ask(app),
        await ask(app, token=fake.token(scope="orders:read")),
        await ask(app, token=fake.token(scope="ops:read")),
    ]

    assert [answer.status_code for answer in answers] == [401, 403, 200]
    assert [fake.keys.current.kid in answer.text for answer in answers] == [False, False, True]


async def test_undeclared_it_stops_the_startup() -> None:
    """
    It declares nothing by itself.
    """
    app = starlette(Route("/readyz", health_app()))

    with pytest.raises(UndeclaredRouteError, match="/readyz"):
        await start(app)


async def test_it_may_be_declared_by_its_path() -> None:
    """
    `public_paths` and *prefixes* declare it like any other route.
    """
    fake = new_issuer()
    apps = [
        starlette(guarded_route(package(fake)), Route("/readyz", health_app()), public_paths=["/readyz"]),
        starlette(guarded_route(package(fake)), Route("/readyz", health_app()), prefixes={"/readyz": public}),
        starlette(guarded_route(package(fake)), Mount("/readyz", health_app()), prefixes={"/readyz": public}),
    ]

    for app in apps:
        await start(app)

    assert [(await ask(app, "/readyz")).status_code for app in apps[:2]] == [200, 200]
    assert (await ask(apps[2], "/readyz/")).status_code == 200


async def test_fastapi_serves_it() -> None:
    """
    As a route, or mounted.
    """
    fake = new_issuer()
    app = FastAPI(openapi_url=None)
    app.add_middleware(GuardrailMiddleware, prefixes={"/mounted": public})
    app.router.routes.extend([guarded_route(package(fake)), readyz(details=False)])
    app.mount("/mounted", health_app(details=False))
    await start(app)

    answers = [await ask(app, path) for path in ("/readyz", "/mounted/")]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"is_ready": True})] * 2


async def test_mounted_application_shows_its_own_guard() -> None:
    """
    None means the application that serves the request: in a mounted one, that one.
    """
    outer, inner = new_issuer(), new_issuer("https://login.example.org")
    outer.go_down()
    mounted = starlette(guarded_route(package(inner)), readyz())
    app = starlette(guarded_route(package(outer)), Mount("/v1", mounted), readyz(), prefixes={"/v1": public})
    for _ in range(2):
        answers = [await ask(app, "/v1/readyz"), await ask(app)]

    assert [answer.status_code for answer in answers] == [200, 503]
    named = [{one["issuer"] for one in answer.json()["issuers"]} for answer in answers]
    assert named == [{inner.url}, {inner.url, outer.url}]  # who guards the outer one guards what is in it


async def test_explicit_application_is_the_one_shown() -> None:
    """
    In a mounted application without a guard of its own, the outer one is named.
    """
    fake = new_issuer()
    app = starlette()
    mounted = Starlette(routes=[readyz(app=app)])
    app.router.routes.extend([guarded_route(package(fake)), Mount("/v1", mounted)])
    await start(app)

    response = await ask(app, "/v1/readyz")

    assert (response.status_code, states(guardrail.health(app))) == (200, ["ready"])
    assert [one["issuer"] for one in response.json()["issuers"]] == [fake.url]


async def test_mounted_application_without_a_guard_is_a_mistake_that_is_told() -> None:
    """
    Nobody is told "ready" of an application that guardrail does not know; the message has the remedy.
    """
    mounted = Starlette(routes=[readyz()])
    app = starlette(Mount("/v1", mounted))

    with pytest.raises(MiddlewareMissingError, match=r"health_app\(app\)"):
        await ask(app, "/v1/readyz")


async def test_middleware_around_the_application_is_named() -> None:
    """
    The middleware that was not added, but wrapped around, is given to it.
    """
    fake = new_issuer()
    inner = Starlette(routes=[guarded_route(package(fake))])
    guard = GuardrailMiddleware(inner)
    inner.router.routes.append(readyz(app=guard))

    first, second = await ask(guard), await ask(guard)

    assert (first.status_code, second.status_code) == (503, 200)


async def test_application_that_was_not_started_is_not_ready() -> None:
    """
    Another application may be shown before it was ever called: it is not ready, and that is all.
    """
    other = starlette(guarded_route(package(new_issuer())))
    app = starlette(readyz(app=other))

    response = await ask(app)

    assert response.status_code == 503
    assert response.json() == {"is_ready": False, "is_started": False, "issuers": []}


async def test_application_of_public_routes_is_ready() -> None:
    """
    Where there is nobody to ask, nobody is missing.
    """
    app = starlette(readyz())

    response = await ask(app)

    assert (response.status_code, response.json()["issuers"]) == (200, [])


async def test_outside_of_an_application_it_must_be_told_which() -> None:
    """
    Served by itself it has nothing to go by, unless it was given the application.
    """
    app = starlette(readyz())
    await start(app)

    response = await ask(health_app(app, details=False))

    assert response.json() == {"is_ready": True}
    with pytest.raises(MiddlewareMissingError):
        await ask(health_app())


# What a probe does


async def test_probe_begins_the_missing_fetch() -> None:
    """
    Without lifespan and without traffic, the first probe is answered at once, and the next one well.
    """
    fake = new_issuer()
    app = starlette(guarded_route(package(fake)), readyz())

    statuses = [(await ask(app)).status_code for _ in range(3)]

    assert statuses == [503, 200, 200]
    assert fake.request_count == 2


async def test_probe_does_not_wait_for_the_issuer() -> None:
    """
    However slow the issuer is, the answer is there; and the fetch is not begun twice.
    """
    fake, arrived, opened, asked = new_issuer(), asyncio.Event(), asyncio.Event(), list[str]()

    async def pass_on(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        arrived.set()
        await opened.wait()
        return await fake.http_client.get(request.url)

    issuer = Issuer(fake.url, http_client=httpx.AsyncClient(transport=httpx.MockTransport(pass_on)))
    app = starlette(guarded_route(package(fake, issuers=[issuer])), readyz())
    transport = httpx.ASGITransport(app)

    async with (
        all_tasks_ended(),
        httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as probe,
    ):
        waiting = [(await probe.get("/readyz")).status_code for _ in range(3)]
        await arrived.wait()
        waiting += [(await probe.get("/readyz")).status_code for _ in range(3)]
        begun = len(asked)
        opened.set()

    assert (waiting, begun) == ([503] * 6, 1)
    assert (await ask(app)).status_code == 200


async def test_idle_application_stays_ready() -> None:
    """
    With nothing but probes, the keys of a whole day are always there, and always fresh.
    """
    fake, monotonic = new_issuer(), Clock()
    app = starlette(guarded_route(package(fake)), readyz(), monotonic=monotonic)
    await start(app)
    answers = []

    for _ in range(24 * 12):
        monotonic.now += 300.0
        answers.append(await ask(app))

    ages = [answer.json()["issuers"][0]["age"] for answer in answers]
    assert {answer.status_code for answer in answers} == {200}
    assert max(ages) <= 600.0
    assert fake.request_count > 2 * 24 * 5


async def test_idle_application_is_asked_about_at_its_own_pace() -> None:
    """
    A probe a second makes no request a second: fresh keys are left alone.
    """
    fake, monotonic = new_issuer(), Clock()
    app = starlette(guarded_route(package(fake)), readyz(), monotonic=monotonic)
    await start(app)

    for _ in range(400):
        monotonic.now += 1.0
        await ask(app)

    assert fake.request_count == 2


async def test_stale_keys_are_ready() -> None:
    """
    An outage of the issuer must not take the API out of the load balancer; only running out of keys does.
    """
    fake, monotonic = new_issuer(), Clock()
    issuer = replace(fake.issuer, fetching=Fetching(max_stale=3_000.0))
    app = starlette(guarded_route(package(fake, issuers=[issuer])), readyz(), monotonic=monotonic)
    await start(app)
    fake.go_down()
    seen = []

    for _ in range(10):
        monotonic.now += 400.0
        await ask(app)
        answer = await ask(app)
        seen.append((answer.status_code, answer.json()["issuers"][0]["state"]))

    assert seen == [(200, "ready")] + [(200, "stale")] * 7 + [(503, "unavailable")] * 2


async def test_probe_never_raises_while_the_issuer_is_down() -> None:
    """
    It goes on answering through pauses and failures, and says so when the issuer is back.
    """
    fake, monotonic = new_issuer(), Clock()
    fake.go_down()
    app = starlette(guarded_route(package(fake)), readyz(), monotonic=monotonic)
    statuses = []
    for _ in range(200):
        monotonic.now += 1.0
        statuses.append((await ask(app)).status_code)
    failures = guardrail.health(app).issuers[0].failures

    fake.come_up()
    monotonic.now += 30.0
    await ask(app)

    assert set(statuses) == {503}
    assert 200 / 30 < failures < 30
    assert (await ask(app)).status_code == 200


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("closed"), id="a closed client"),
        pytest.param(OSError("no route"), id="no network"),
        pytest.param(ValueError("\x1b[31m\r\n" + "é" * 1_000), id="a hostile message"),
        pytest.param(httpx.ReadTimeout("slow"), id="a time-out"),
        pytest.param(RecursionError(), id="one without a message"),
    ],
)
async def test_whatever_fails_is_told_in_short_ascii(error: Exception) -> None:
    """
    What an issuer or a client raised reaches the body escaped, bounded and on one line.
    """

    def respond(request: httpx.Request) -> httpx.Response:
        raise error

    fake = new_issuer()
    issuer = Issuer(fake.url, http_client=httpx.AsyncClient(transport=httpx.MockTransport(respond)))
    app = starlette(guarded_route(package(fake, issuers=[issuer])), readyz())
    await ask(app)

    response = await ask(app)

    told = response.json()["issuers"][0]["last_error"]
    assert response.status_code == 503
    assert told.startswith(type(error).__name__)
    assert (told.isascii(), told.isprintable(), len(told) <= 200) == (True, True, True)


# What is no request


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}], ids=["close", "denial"])
async def test_websocket_to_it_does_no_harm(extensions: dict[str, Any]) -> None:
    """
    A handshake is refused, with the same answer where the server can send one, and never accepted.
    """
    fake = new_issuer()
    app = starlette(
        guarded_route(package(fake)),
        Mount("/mounted", health_app(details=False)),
        readyz(),
        prefixes={"/mounted": public},
    )
    handshake: dict[str, Any] = {"type": "websocket", "scheme": "wss", "extensions": extensions}

    to_a_route = await ask_raw(app, **handshake)
    to_a_mount = await ask_raw(app, "/mounted/", **handshake)

    for sent in (to_a_route, to_a_mount):
        assert [message["type"] for message in sent] == (
            ["websocket.http.response.start", "websocket.http.response.body"]
            if extensions
            else ["websocket.close"]
        )
    assert (await ask(app)).status_code in {200, 503}
