"""
Group E: ways round a route's policy by the form of a request, from E1 to E9.
"""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

from guardrail import current_operator

from .kit import (
    SCOPE,
    URL,
    bearer,
    endpoint,
    forged,
    guard,
    new_issuer,
    package,
    scope_of,
    send,
)
from .routes import beside_a_public_route, never_runs, open_to_all

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "host",
    [
        b"example.com/public?x=", b"example.com/public#", b"public@example.com/public?", b"/public",
        b"\\public?", b"example.com /public ", b"https://example.com/public?", b"",
        b"[::1]/public?", b"example.com%2Fpublic%3F",
    ],
)  # fmt: skip
async def test_e01_cve_2026_48710_path_of_the_host_header(host: bytes) -> None:
    """
    The path is the one the server found; nothing in ``Host`` is part of it.
    """
    fake, ran = new_issuer(), list[str]()
    guarded = beside_a_public_route(fake, ran)

    await never_runs(guarded, {401}, headers=[(b"host", host)])
    scope = scope_of(headers=[bearer(guarded.good())])
    scope["headers"][0] = (b"host", host)
    assert (await send(guarded.app, scope)).status == 200
    scope = scope_of()
    scope["headers"][0] = (b"host", host)
    assert (await send(guarded.app, scope)).status == 401
    assert ran == ["/orders"]


async def test_e02_cve_2026_40575_path_of_a_forwarded_header() -> None:
    """
    No header names the path that the policy is taken for (also GHSA-7x63-xv5r-3p2x).
    """
    fake, ran = new_issuer(), list[str]()
    guarded = beside_a_public_route(fake, ran)
    names = (
        b"x-forwarded-uri", b"x-original-url", b"x-original-uri", b"x-rewrite-url", b"forwarded",
        b"x-forwarded-prefix", b"x-forwarded-path", b"x-envoy-original-path", b"x-forwarded-host",
        b"x-script-name", b"x-auth-request-redirect",
    )  # fmt: skip

    for name in names:
        for value in (b"/public", b"https://api.example.com/public", b'for=1;path="/public"'):
            await guarded.refuses(headers=[(name, value)], error=None, code="missing_token")


async def test_e03_ghsa_7rh7_c77v_6434_public_path_in_the_query() -> None:
    """
    The query is no part of what the policy is taken for.
    """
    fake, ran = new_issuer(), list[str]()
    guarded = beside_a_public_route(fake, ran)

    for query in (
        "?/public",
        "?x=/health",
        "?/../public",
        "?",
        "??/public",
        "?x=1&/health",
        "?%2Fpublic",
        "?#/public",
    ):
        await guarded.refuses(target=f"/orders{query}", error=None, code="missing_token")


async def test_e04_ghsa_pxq7_h93f_9jrg_public_path_in_a_fragment() -> None:
    """
    A fragment, escaped or not, never makes a protected path public.
    """
    fake, ran = new_issuer(), list[str]()
    guarded = beside_a_public_route(fake, ran)

    for target in (
        "/admin%23/public",
        "/admin#/public",
        "/admin%23public",
        "/admin%2523/public",
        "/public#/admin",
    ):
        await never_runs(guarded, {401, 404}, target=target)
    await guarded.accepts(target="/admin")


async def test_e05_ghsa_5hvv_m4w4_gf6v_user_agent_of_a_health_check() -> None:
    """
    Nobody is let in for the program they say they are, or the address they say they have.
    """
    fake, ran = new_issuer(), list[str]()
    guarded = beside_a_public_route(fake, ran)
    fields = (
        *(
            (b"user-agent", name)
            for name in (b"kube-probe/1.31", b"GoogleHC/1.0", b"ELB-HealthChecker/2.0", b"")
        ),
        *((name, b"127.0.0.1") for name in (b"x-forwarded-for", b"x-real-ip", b"client-ip")),
    )

    for one in fields:
        await guarded.refuses(headers=[one], error=None, code="missing_token")
    await guarded.refuses(error=None, client=("127.0.0.1", 1))


async def test_e06_cve_2026_22753_application_under_a_prefix() -> None:
    """
    A policy holds under a mount's prefix and behind a root path, asked for with and without it.
    """
    fake, ran = new_issuer(), list[str]()
    protected = package(fake).requires(SCOPE)(endpoint(ran))
    inner = Starlette(routes=[Route("/orders", protected), Route("/public", open_to_all(ran))])
    mounted = guard([Mount("/v1", app=inner), Route("/orders", protected)], fake, ran)

    await mounted.refuses(target="/v1/orders", error=None, code="missing_token")
    await mounted.accepts(target="/v1/orders")
    await never_runs(mounted, {404}, target="/v1/v1/orders")
    await never_runs(mounted, {401, 404}, target="/v1/orders", root_path="/proxy")
    await never_runs(mounted, {401}, target="/proxy/v1/orders", root_path="/proxy")
    await mounted.accepts(target="/proxy/v1/orders", root_path="/proxy")

    behind = beside_a_public_route(fake, ran)
    for target in ("/orders", "/v1/orders"):
        await behind.refuses(target=target, root_path="/v1", error=None, code="missing_token")
        await behind.accepts(target=target, root_path="/v1")
    await never_runs(behind, {401}, target="/public/orders", root_path="/public")


UN_NORMALIZED = (
    "//admin", "/./admin", "/a/../admin", "/public/../admin", "/admin/", "/admin//", "/%61dmin", "/admin%2F",
    "/admin;x", "/admin;/public", "/admin%00", "/admin%0a", "/\\admin", "\\admin", "/admin.", "/admin%20",
    "/ADMIN", "/%2561dmin", "/public%2F..%2Fadmin", "/public/..;/admin", "/admin.json", "/admin/.",
    "//public/../admin", "/%C0%AFadmin", "admin", "http://api.example.com/admin", "", "*",
)  # fmt: skip


async def test_e07_cve_2021_29492_paths_that_are_not_normal() -> None:
    """
    However a path is spelled, what runs is what was decided: without a token no protected handler does.
    """
    fake, ran = new_issuer(), list[str]()
    guarded = beside_a_public_route(fake, ran)

    for target in UN_NORMALIZED:
        await never_runs(guarded, {401, 404, 307}, target=target)
        forgery = forged(guarded.good())
        assert (await guarded.send(forgery, target=target)).status in {401, 404, 307}
    assert ran == []
    for target in ("/admin", "/%61dmin"):
        await guarded.accepts(target=target)


async def handshake(app: Any, *tokens: str, **members: Any) -> list[Message]:
    """
    What a WebSocket handshake is answered with.
    """
    scope = scope_of("/live", headers=map(bearer, tokens), type="websocket", scheme="wss", subprotocols=[])
    del scope["method"]
    sent: list[Message] = []
    waiting: list[Message] = [{"type": "websocket.disconnect", "code": 1000}, {"type": "websocket.connect"}]

    async def receive() -> Message:
        return waiting.pop()

    async def collect(message: Message) -> None:
        sent.append(message)

    await app({**scope, **members}, receive, collect)
    return sent


async def test_e08_websocket_handshake() -> None:
    """
    A handshake without a good token is refused before it is accepted (vLLM #38294, headroom #3281).
    """
    fake, ran = new_issuer(), list[str]()

    @package(fake).requires(SCOPE)
    async def live(websocket: WebSocket) -> None:
        ran.append(current_operator().operator_id)
        await websocket.accept()

    guarded = guard([WebSocketRoute("/live", live)], fake, ran)
    token = guarded.good()
    attempts: tuple[tuple[str, ...], ...] = ((), ("anything",), (forged(token),), (token, token))
    able: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}

    for tokens in attempts:
        assert [one["type"] for one in await handshake(guarded.app, *tokens)] == ["websocket.close"]
        start, _ = await handshake(guarded.app, *tokens, **able)
        assert (start["type"], start["status"]) == (
            "websocket.http.response.start",
            400 if len(tokens) > 1 else 401,
        )
        assert b"www-authenticate" in dict(start["headers"])
    assert ran == []
    assert [one["type"] for one in await handshake(guarded.app, token)] == ["websocket.accept"]
    assert ran == [f"{URL}#alice"]


VERBS = ("GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PUT", "PATCH", "DELETE", "FOO", "post", "", "POST ")


async def test_e09_other_methods() -> None:
    """
    No method runs an unguarded handler: HEAD needs what GET needs, and an override is not looked at.
    """
    fake, ran = new_issuer(), list[str]()
    orders = package(fake)
    routes = [
        Route("/write", orders.requires("orders:write")(endpoint(ran)), methods=["POST"]),
        Route("/orders", orders.requires(SCOPE)(endpoint(ran)), methods=["GET"]),
    ]
    guarded = guard(routes, fake, ran)
    overrides = [(b"x-http-method-override", b"GET"), (b"x-method-override", b"HEAD")]
    preflight = [(b"origin", b"https://evil.example"), (b"access-control-request-method", b"POST")]

    for method in VERBS:
        await never_runs(guarded, {405}, target="/write", method=method)
        answer = await guarded.send(guarded.good(), target="/write", method=method, headers=overrides)
        assert answer.status == 405
    for headers in (overrides, preflight, []):
        await never_runs(guarded, {401}, target="/write", method="POST", headers=headers)
        await never_runs(guarded, {401}, method="HEAD", headers=headers)
        await never_runs(guarded, {405}, target="/write", method="OPTIONS", headers=headers)
    answer = await guarded.send(guarded.good(), target="/write", method="POST", headers=overrides)
    assert (answer.status, ran) == (403, [])
    await guarded.accepts()
