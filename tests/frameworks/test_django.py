"""
Django's ASGI handler behind ``prefixes=``: what runs, for whom, and that it is guarded though it knows no
lifespan and no WebSockets.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import override_settings
from django.urls import URLPattern, path, re_path

from guardrail import current_operator, public
from guardrail.testing import assert_guarded

from . import lifespan
from .foreign import (
    Foreign,
    Meeting,
    authorized,
    call,
    call_with,
    endless,
    expiry_of,
    fetching,
    guard,
    let_go,
    seen_by_everyone,
    served,
    twice,
    unguarded_runs,
    wait_until,
)
from .targets import ADMIN, ANSWERS, MOUNTED_TARGETS, PATHS, TARGETS

pytestmark = pytest.mark.anyio

Make = Callable[..., Foreign]


@pytest.fixture
def application() -> Iterator[Make]:
    """
    Makes Django of some routes. Its settings are the process's, so there is one at a time.
    """
    if not settings.configured:
        settings.configure(SECRET_KEY="of a test", LOGGING_CONFIG=None)
    django.setup()
    with override_settings(ALLOWED_HOSTS=["*"], MIDDLEWARE=[], FORCE_SCRIPT_NAME=None, DEBUG=False):

        def make(*routes: URLPattern) -> Foreign:
            settings.ROOT_URLCONF = routes  # anything that holds routes does; a tuple can be cached
            return get_asgi_application()

        yield make


def plain(ran: list[str]) -> list[URLPattern]:
    """
    A view at each of the usual paths, asynchronous ones and others.
    """
    routes = [path(route[1:], a_view(ran, name)) for route, name in PATHS.items()]
    return [
        *routes,
        path("open", an_async_view(ran, "open")),
        path("open/<path:rest>", a_view(ran, "open-rest")),
    ]


def a_view(ran: list[str], name: str) -> Callable[..., HttpResponse]:
    """
    A view that notes its name when it runs.
    """

    def view(request: HttpRequest, rest: str = "") -> HttpResponse:
        ran.append(name)
        return HttpResponse(name)

    return view


def an_async_view(ran: list[str], name: str) -> Callable[..., Any]:
    """
    The same, for the event loop.
    """

    async def view(request: HttpRequest) -> HttpResponse:
        return a_view(ran, name)(request)

    return view


@pytest.mark.parametrize(("route", "scopes", "status", "names"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_a_request_is_judged_by_its_prefix(
    application: Make, route: str, scopes: list[str] | None, status: int, names: list[str]
) -> None:
    """
    401, 403 and 404 are answered before Django hears of the request; what is allowed runs.
    """
    ran: list[str] = []
    app = guard(application(*plain(ran)))

    answer = await (call(app, route) if scopes is None else call_with(app, route, *scopes))

    assert (answer.status, ran) == (status, names)
    assert ("www-authenticate" in answer.headers) == (status in {401, 403})
    assert_guarded(app)


async def test_the_operator_is_known_in_views_of_every_kind(application: Make) -> None:
    """
    On the event loop, in Django's thread, and across asgiref's bridges in both directions.
    """

    async def in_a_coroutine(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        assert request.scope["user"] is current_operator()  # type: ignore[attr-defined]  # ASGIRequest has it
        return HttpResponse(current_operator().subject)

    def in_a_thread(request: HttpRequest) -> HttpResponse:
        return HttpResponse(current_operator().subject)

    async def in_a_thread_of_its_own(request: HttpRequest) -> HttpResponse:
        return await sync_to_async(in_a_thread, thread_sensitive=False)(request)

    def on_the_loop_again(request: HttpRequest) -> HttpResponse:
        return async_to_sync(in_a_coroutine)(request)

    app = guard(
        application(
            path("orders/async", in_a_coroutine),
            path("orders/sync", in_a_thread),
            path("orders/to-sync", in_a_thread_of_its_own),
            path("orders/to-async", on_the_loop_again),
        )
    )

    answers = [
        (await call_with(app, f"/orders/{kind}", "orders:read")).text
        for kind in ("async", "sync", "to-sync", "to-async")
    ]

    assert answers == ["alice"] * 4


async def test_the_operator_is_known_in_djangos_middleware(application: Make) -> None:
    """
    In front of the view and behind it, on the request and in context.
    """
    seen.clear()

    with override_settings(MIDDLEWARE=[f"{__name__}.noting"]):
        app = application(path("orders", a_view([], "orders")))
        await call_with(guard(app), "/orders", "orders:read")

    assert seen == ["alice", "alice"]


seen: list[str] = []


def noting(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """
    Middleware that notes the operator on the way in and on the way out.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        seen.append(str(current_operator().subject))
        response = get_response(request)
        seen.append(str(current_operator().subject))
        return response

    return middleware


async def test_on_a_public_prefix_there_is_nobody(application: Make) -> None:
    """
    The operator is the anonymous one, and a token that is sent all the same changes nothing.
    """

    def who(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(current_operator().is_authenticated))

    app = guard(application(path("open", who)))

    answers = [(await call(app, "/open")).text, (await call_with(app, "/open", "orders:read")).text]

    assert answers == ["False"] * 2


async def test_concurrent_requests_see_their_own_operator(application: Make) -> None:
    """
    Views that are all in the middle of a request know whose it is, before and after they waited.
    """
    meeting = Meeting(coroutines=50, threads=4)

    async def in_a_coroutine(request: HttpRequest) -> HttpResponse:
        before = current_operator().subject
        await meeting.join()
        return HttpResponse(f"{before} {current_operator().subject}")

    def in_a_thread(request: HttpRequest) -> HttpResponse:
        before = current_operator().subject
        meeting.wait()
        return HttpResponse(f"{before} {current_operator().subject}")

    app = guard(application(path("orders/async", in_a_coroutine), path("orders/thread", in_a_thread)))

    everyone = await seen_by_everyone(app, in_coroutines="/orders/async", in_threads="/orders/thread")

    assert everyone == twice(everyone)


async def test_a_stream_knows_its_operator_to_the_end(application: Make) -> None:
    """
    Each piece is made on behalf of who asked.
    """

    async def pieces() -> AsyncIterator[str]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield f"{current_operator().subject} "

    async def stream(request: HttpRequest) -> HttpResponseBase:
        return StreamingHttpResponse(pieces())

    app = guard(application(path("orders", stream)))

    allowed, refused = await call_with(app, "/orders", "orders:read"), await call(app, "/orders")

    assert allowed.text == "alice alice alice "
    assert refused.status == 401


@pytest.mark.parametrize("pause", [0.0, None], ids=["busy", "idle"])
async def test_a_stream_is_cut_when_its_token_expires(application: Make, pause: float | None) -> None:
    """
    It ends properly, and Django stops the view, as if the client had left.
    """
    stopped: list[str] = []
    expiry = expiry_of("orders:read")

    async def stream(request: HttpRequest) -> HttpResponseBase:
        return StreamingHttpResponse(endless(stopped, pause))

    app = guard(application(path("orders", stream)), stream_expiry="cut", clock=lambda: expiry - 0.05)

    answer = await call_with(app, "/orders", "orders:read")

    assert (answer.status, answer.text.startswith("tick")) == (200, True)
    assert answer.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert await let_go(stopped) == ["stopped"]


@pytest.mark.parametrize("route", TARGETS.values(), ids=TARGETS.keys())
async def test_no_spelling_of_a_path_reaches_what_it_may_not(application: Make, route: str) -> None:
    """
    Whatever Django makes of a target, the view that runs is one that the caller may reach.
    """
    ran: list[str] = []

    assert await unguarded_runs(application(*plain(ran)), ran, route) == []


@pytest.mark.parametrize(("root_path", "route"), MOUNTED_TARGETS.values(), ids=MOUNTED_TARGETS.keys())
async def test_no_root_path_leads_past_the_decision(application: Make, root_path: str, route: str) -> None:
    """
    Django takes the root path off wherever a path begins with it.
    """
    ran: list[str] = []

    assert await unguarded_runs(application(*plain(ran)), ran, route, root_path=root_path) == []


@pytest.mark.parametrize("route", ["/ADMIN", "/Admin/users", "/adm%c4%b1n"])
async def test_a_pattern_that_does_not_care_for_case_takes_nothing_from_the_public(
    application: Make, route: str
) -> None:
    """
    A regular expression may not care for case; what is public is then not what is guarded in another case.
    """
    ran: list[str] = []
    app = guard(
        application(re_path(r"(?i)^admin(/|$)", a_view(ran, "admin"))), {"/": public, "/admin": ADMIN}
    )

    answer = await call(app, route)

    assert (answer.status, ran) == (404, [])


async def test_a_slash_that_django_would_append_is_asked_for_with_a_token(application: Make) -> None:
    """
    Its redirect is an answer like others: one that says what is there.
    """
    ran: list[str] = []
    with override_settings(MIDDLEWARE=["django.middleware.common.CommonMiddleware"]):
        app = guard(application(path("orders/", a_view(ran, "orders"))))

        refused, redirected = await call(app, "/orders"), await call_with(app, "/orders", "orders:read")
        followed = await call_with(app, redirected.headers["Location"], "orders:read")

    assert (refused.status, redirected.status, followed.status) == (401, 301, 200)
    assert ran == ["orders"]


async def test_a_websocket_is_refused_as_a_request_is(application: Make) -> None:
    """
    Django knows no WebSockets, and never hears of one that needs a token it does not have.
    """
    ran: list[str] = []
    app = guard(application(*plain(ran)))

    refused = await call(app, "/orders", kind="websocket")
    with pytest.raises(ValueError, match="not websocket"):
        await call_with(app, "/orders", "orders:read", kind="websocket")

    assert (refused.status, ran) == (401, [])


async def test_django_says_itself_that_it_has_no_lifespan(application: Make) -> None:
    """
    Its exception reaches the server, which goes on without; a failure to start is never reported.
    """
    fake, table = fetching()
    app, sent = guard(application(path("orders", a_view([], "orders"))), table), list[Any]()

    with pytest.raises(ValueError, match="lifespan"):
        await lifespan(app, sent)
    answer = await call(app, "/orders", headers=authorized(fake).items())
    refused = await call(app, "/orders")

    assert sent == []
    assert (answer.status, refused.status) == (200, 401)


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_django_is_guarded_without_lifespan(application: Make, mode: str) -> None:
    """
    A real server starts it either way, and asked whether there is a lifespan, guardrail has fetched the keys.
    """
    fake, table = fetching()

    def orders(request: HttpRequest) -> HttpResponse:
        return HttpResponse(current_operator().subject)

    app = guard(application(path("orders", orders)), table)

    with served(app, lifespan=mode) as client:
        if mode != "off":
            wait_until(lambda: fake.request_count == 2)  # the metadata and the keys, before anybody asked
        allowed = client.get("/orders", headers=authorized(fake))
        refused = client.get("/orders")

    assert (allowed.status_code, allowed.text, refused.status_code) == (200, "alice", 401)
    assert fake.request_count == 2


def test_keys_that_cannot_be_had_do_not_stop_django(application: Make) -> None:
    """
    It starts, serves what is public, refuses what has no token, and is unavailable to the rest.
    """
    fake, table = fetching()
    fake.go_down()
    app = guard(application(*plain([])), table)

    with served(app, lifespan="auto") as client:
        statuses = [
            client.get(route, headers=headers).status_code
            for route, headers in [("/open", {}), ("/orders", {}), ("/orders", authorized(fake))]
        ]

    assert statuses == [200, 401, 503]


async def test_a_table_that_declares_nothing_serves_nothing(application: Make) -> None:
    """
    An empty table is no open door.
    """
    ran: list[str] = []
    app = guard(application(*plain(ran)), {})

    answers = [(await call_with(app, route, "orders:read")).status for route in ("/orders", "/open", "/")]

    assert (answers, ran) == ([404] * 3, [])
