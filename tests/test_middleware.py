"""
The road of a request, end to end: what is answered, what is told, and what the application gets to do.
"""

import asyncio
import functools
import json
import logging
import selectors
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal, cast

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.authentication import requires as starlette_requires
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from guardrail import (
    Fetching,
    GuardrailMiddleware,
    Issuer,
    Operator,
    Requirement,
    ServicePackage,
    current_operator,
    public,
)
from guardrail._operator import ANONYMOUS
from guardrail.cli._servers import address, free_port, serving
from guardrail.errors import CODES, MiddlewareMissingError, PolicyError, UndeclaredRouteError
from guardrail.events import (
    Event,
    KeysFetched,
    KeysFetchFailed,
    KeysRotated,
    KeysUnavailable,
    PlainHttpUsed,
    StaleKeysUsed,
    TokenAccepted,
    TokenRefused,
)
from guardrail.fastapi import DOCS_PATHS, CurrentOperator
from guardrail.issuer import SigningKeys
from guardrail.testing import FakeIssuer, as_operator

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0
BILLING = "https://api.example.com/billing"


class Clock:
    """
    A clock that goes where a test sends it.
    """

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def new_issuer(
    url: str = "https://login.example.com", *, clock: Callable[[], float] = time.time
) -> FakeIssuer:
    """
    An authorization server with keys that are quickly made.
    """
    return FakeIssuer(url, algorithm="EdDSA", clock=clock)


def package(fake: FakeIssuer, **settings: Any) -> ServicePackage:
    """
    The service package ``orders``, whose tokens *fake* issues.
    """
    standard: dict[str, Any] = {"issuer": fake.issuer, "audience": fake.audience}
    return ServicePackage("orders", **standard | settings)


def pausing(fake: FakeIssuer, seconds: float) -> Issuer:
    """
    The issuer, left alone for exactly so long after each failure: between bounds that are equal is no jitter.
    """
    return replace(fake.issuer, fetching=Fetching(backoff_bounds=(seconds, seconds)))


def endpoint(ran: list[str] | None = None) -> Callable[[Request], Awaitable[Response]]:
    """
    A handler that answers with the operator's key, and notes that it ran.
    """

    async def read_orders(request: Request) -> Response:
        if ran is not None:
            ran.append(request.url.path)
        return JSONResponse({"operator": current_operator().operator_id})

    return read_orders


def guarded(
    requirement: Requirement, ran: list[str] | None = None, *, path: str = "/orders", **settings: Any
) -> ASGIApp:
    """
    An application of one route, with the middleware around it.
    """
    return GuardrailMiddleware(Starlette(routes=[Route(path, requirement(endpoint(ran)))]), **settings)


async def ask(
    app: ASGIApp,
    path: str = "/orders",
    *,
    token: str | None = None,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
) -> httpx.Response:
    """
    Send one request.
    """
    fields = [*headers, *([] if token is None else [("Authorization", f"Bearer {token}")])]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        return await client.request(method, path, headers=fields)


def forged(token: str) -> str:
    """
    The same header and claims under a signature that nobody made.
    """
    signed, _, signature = token.rpartition(".")
    return f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


METADATA = 'resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/orders"'
INVALID = 'error="invalid_token", error_description="The access token is not valid here"'
MALFORMED = (
    'error="invalid_request", '
    'error_description="The request must carry one bearer token, in one Authorization field"'
)


# The answers


async def test_a_good_token_reaches_the_endpoint() -> None:
    """
    The endpoint runs, once, for the token's operator.
    """
    fake, ran = new_issuer(), list[str]()
    app = guarded(package(fake).requires("orders:read"), ran)

    response = await ask(app, token=fake.token(scope="orders:read orders:write"))

    assert (response.status_code, response.json()) == (200, {"operator": f"{fake.url}#alice"})
    assert ran == ["/orders"]


async def test_every_place_names_the_same_operator() -> None:
    """
    State, user, authority and `current_operator` are one and the same value, in Starlette's shape.
    """
    fake = new_issuer()
    seen: list[object] = []

    @package(fake).requires("orders:read")
    @starlette_requires("orders:read")
    async def read_orders(request: Request) -> Response:
        seen.extend((request.state.operator, request.user, request.auth, current_operator()))
        return PlainTextResponse("")

    app = GuardrailMiddleware(Starlette(routes=[Route("/orders", read_orders)]))

    response = await ask(app, token=fake.token(scope="orders:read", client_id="web"))

    operator = seen[0]
    assert response.status_code == 200
    assert isinstance(operator, Operator)
    assert (operator.subject, operator.client_id, set(operator.scopes)) == ("alice", "web", {"orders:read"})
    assert (operator.identity, operator.is_authenticated) == (f"{fake.url}#alice", True)
    assert [one is operator for one in seen] == [True] * 4


Fields = Callable[[FakeIssuer], list[tuple[str, str]]]


def bearer(**claims: Any) -> Fields:
    """
    The field of a token with these claims.
    """
    return lambda fake: [("Authorization", f"Bearer {fake.token(**claims)}")]


def fields(*values: str) -> Fields:
    """
    The Authorization fields themselves.
    """
    return lambda _: [("Authorization", value) for value in values]


REFUSALS = [
    pytest.param(fields(), 401, "", "missing_token", id="no credentials"),
    pytest.param(fields(""), 401, "", "missing_token", id="an empty field"),
    pytest.param(fields("Basic YTpi"), 401, "", "missing_token", id="another scheme"),
    pytest.param(fields("Bearer"), 400, MALFORMED, "authorization_malformed", id="no token"),
    pytest.param(fields("Bearer a b"), 400, MALFORMED, "authorization_malformed", id="two tokens"),
    pytest.param(fields("Bearer\ta"), 400, MALFORMED, "authorization_malformed", id="a tab"),
    pytest.param(fields("Bearer a", "Bearer a"), 400, MALFORMED, "authorization_repeated", id="two fields"),
    pytest.param(fields("Bearer a", "Basic b"), 400, MALFORMED, "authorization_repeated", id="two schemes"),
    pytest.param(fields(f"Bearer {'a' * 17_000}"), 400, MALFORMED, "token_too_large", id="a huge field"),
    pytest.param(fields("Bearer anything"), 401, INVALID, "malformed_token", id="no JWT"),
    pytest.param(fields("Bearer a.b.c"), 401, INVALID, "malformed_token", id="no JSON"),
    pytest.param(
        lambda fake: [("Authorization", f"Bearer {forged(fake.token(scope='orders:read'))}")],
        401, INVALID, "bad_signature", id="a forged signature",
    ),
    pytest.param(
        lambda fake: [("Authorization", f"Bearer {forged(fake.token(expires_in=-3600))}")],
        401, INVALID, "bad_signature", id="forged and expired",
    ),
    pytest.param(bearer(headers={"kid": "x"}), 401, INVALID, "unknown_key", id="an unknown key"),
    pytest.param(bearer(headers={"alg": "none"}), 401, INVALID, "algorithm_not_allowed", id="no algorithm"),
    pytest.param(bearer(headers={"typ": "logout+jwt"}), 401, INVALID, "token_type_mismatch", id="wrong type"),
    pytest.param(bearer(iss="https://evil.example"), 401, INVALID, "unknown_issuer", id="an unknown issuer"),
    pytest.param(bearer(aud=BILLING), 401, INVALID, "audience_mismatch", id="another audience"),
    pytest.param(bearer(sub=None), 401, INVALID, "claim_missing", id="no subject"),
    pytest.param(bearer(exp="soon"), 401, INVALID, "claims_malformed", id="a malformed claim"),
    pytest.param(bearer(cnf={"jkt": "x"}), 401, INVALID, "sender_constrained", id="bound to a key"),
    pytest.param(bearer(nbf=time.time() + 3600), 401, INVALID, "token_not_yet_valid", id="too early"),
    pytest.param(
        bearer(expires_in=-3600),
        401, 'error="invalid_token", error_description="The access token expired"', "token_expired",
        id="expired",
    ),
    pytest.param(
        bearer(scope="orders:reader"),
        403,
        'error="insufficient_scope", '
        'error_description="The access token lacks a scope that this request needs"',
        "insufficient_scope",
        id="another scope",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "status", "told", "code"), REFUSALS)
async def test_a_refusal_is_answered_exactly(fields: Fields, status: int, told: str, code: str) -> None:
    """
    Status, challenge and body are what RFC 6750 §3 asks for and no more; no cache keeps it; nothing ran.
    """
    fake, ran, heard = new_issuer(), list[str](), list[Event]()
    app = guarded(package(fake).requires("orders:read"), ran, on_event=[heard.append])

    response = await ask(app, headers=fields(fake))

    scope = ["" if status == 400 else 'scope="orders:read"']
    metadata = ["" if status == 400 else METADATA]
    challenge = ", ".join(part for part in ('Bearer realm="orders"', told, *scope, *metadata) if part)
    refused = [event for event in heard if isinstance(event, TokenRefused)]
    assert response.status_code == status
    assert response.headers.get_list("www-authenticate") == [challenge]
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["content-length"] == str(len(response.content))
    assert ("error" in response.json()) is bool(told)
    assert [(event.code, event.status, event.package, event.route) for event in refused] == [
        (code, status, "orders", "/orders")
    ]
    assert code in CODES
    assert ran == []


@pytest.mark.parametrize(
    ("query", "has_header", "status"),
    [
        pytest.param("access_token=x", True, 400, id="beside the field"),
        pytest.param("a=1&access%5Ftoken=x", True, 400, id="beside the field, escaped"),
        pytest.param("access_token=", True, 400, id="beside the field, empty"),
        pytest.param("token=x", True, 200, id="another parameter"),
        pytest.param("access_token=x", False, 401, id="alone"),
    ],
)
async def test_a_token_in_the_query_is_never_a_credential(query: str, has_header: bool, status: int) -> None:
    """
    Alone it is not looked at; beside the field it makes two methods (R6, R8).
    """
    fake = new_issuer()
    app = guarded(package(fake).requires())
    token = fake.token()

    response = await ask(app, f"/orders?{query.replace('x', token)}", token=token if has_header else None)

    assert response.status_code == status
    if status == 401:
        assert response.headers["www-authenticate"] == f'Bearer realm="orders", {METADATA}'


@pytest.mark.parametrize(
    ("requirement", "claims", "status", "challenge"),
    [
        pytest.param(
            {"roles": ["approver"]}, {"roles": ["reader"]}, 403, 'Bearer realm="orders"', id="another role"
        ),
        pytest.param({"roles": ["approver"]}, {"roles": ["approver"]}, 200, None, id="the role"),
        pytest.param(
            {"access_groups": ["Orders:Api"]}, {}, 403, 'Bearer realm="orders"', id="no access group"
        ),
        pytest.param(
            {"acr_values": ["urn:mfa", "urn:pin"], "max_age": 300.9},
            {"acr": "urn:password", "auth_time": NOW},
            401,
            'Bearer realm="orders", error="insufficient_user_authentication", '
            'error_description="A stronger or more recent authentication is needed", '
            'acr_values="urn:mfa urn:pin", max_age=300',
            id="too weak an authentication",
        ),
        pytest.param(
            {"max_age": 300},
            {"auth_time": NOW - 3600},
            401,
            'Bearer realm="orders", error="insufficient_user_authentication", '
            'error_description="A stronger or more recent authentication is needed", max_age=300',
            id="too old an authentication",
        ),
        pytest.param({"max_age": 300}, {"auth_time": NOW}, 200, None, id="a recent authentication"),
        pytest.param(
            {"acr_values": ["urn:mfa"]}, {"acr": "urn:mfa"}, 200, None, id="a strong authentication"
        ),
    ],
)
async def test_what_is_needed_beside_scopes_is_told_its_own_way(
    requirement: dict[str, Any], claims: dict[str, Any], status: int, challenge: str | None
) -> None:
    """
    A role is not something to ask a scope for; a step-up is 401 with what would do (RFC 9470 §3).
    """
    clock = Clock()
    fake = new_issuer(clock=clock)
    app = guarded(package(fake).requires(**requirement), clock=clock)

    response = await ask(app, token=fake.token(**claims))

    assert response.status_code == status
    told = None if challenge is None else f"{challenge}, {METADATA}"
    assert response.headers.get("www-authenticate") == told


async def test_the_first_thing_wrong_is_the_one_told() -> None:
    """
    400 goes before 401, a bad token before a step-up, a step-up before 403 (R208, R209).
    """
    fake = new_issuer()
    app = guarded(package(fake).requires("orders:read", roles=["approver"], acr_values=["urn:mfa"]))
    claims: dict[str, Any] = {}
    outcomes: list[tuple[int, str | None]] = []

    async def note(*headers: tuple[str, str]) -> None:
        response = await ask(app, headers=headers)
        error = response.headers["www-authenticate"].partition('error="')[2].partition('"')[0]
        outcomes.append((response.status_code, error or None))

    bad = ("Authorization", f"Bearer {forged(fake.token(expires_in=-3600))}")
    await note(bad, bad)
    await note(bad)
    await note(("Authorization", f"Bearer {fake.token(expires_in=-3600)}"))
    for missing in ({}, {"acr": "urn:mfa"}, {"scope": "orders:read"}):
        claims |= missing
        await note(("Authorization", f"Bearer {fake.token(**claims)}"))
    accepted = await ask(app, token=fake.token(**claims, roles=["approver"]))

    assert outcomes == [
        (400, "invalid_request"),
        (401, "invalid_token"),
        (401, "invalid_token"),
        (401, "insufficient_user_authentication"),
        (403, "insufficient_scope"),
        (403, None),
    ]
    assert accepted.status_code == 200


async def test_without_keys_the_service_is_unavailable() -> None:
    """
    503 with the seconds to wait and no challenge, since the token may be good; nothing ran (C9, R101).
    """
    fake, ran = new_issuer(), list[str]()
    fake.go_down()
    app = guarded(package(fake, issuer=pausing(fake, 3.0)).requires(), ran, monotonic=Clock(0.0))

    response = await ask(app, token=fake.token())

    assert response.status_code == 503
    assert response.headers["retry-after"] == "3"
    assert response.headers["cache-control"] == "no-store"
    assert "www-authenticate" not in response.headers
    assert response.json() == {"type": "about:blank", "title": "Service Unavailable", "status": 503}
    assert ran == []


async def test_an_issuer_that_comes_back_is_used_without_a_restart() -> None:
    """
    After the pause the next request gets through.
    """
    fake, monotonic = new_issuer(), Clock(0.0)
    fake.go_down()
    app = guarded(package(fake, issuer=pausing(fake, 3.0)).requires(), monotonic=monotonic)
    token = fake.token()

    statuses = [(await ask(app, token=token)).status_code for _ in range(3)]
    fake.come_up()
    for elapsed in (2.9, 0.1):
        monotonic.now += elapsed
        asked = fake.request_count
        statuses.append((await ask(app, token=token)).status_code)

    assert statuses == [503, 503, 503, 503, 200]
    assert asked == 1


async def test_an_outage_does_not_reach_those_whose_keys_are_in_hand() -> None:
    """
    With the issuer down, tokens of known keys are accepted, seen before or not; others cannot be judged (D1).
    """
    fake, monotonic = new_issuer(), Clock(0.0)
    app = guarded(package(fake).requires(), monotonic=monotonic)
    seen = fake.token()
    await ask(app, token=seen)
    fake.go_down()
    monotonic.now += 700.0

    responses = [
        await ask(app, token=token) for token in (seen, fake.token(), fake.token(headers={"kid": "x"}))
    ]

    assert [response.status_code for response in responses] == [200, 200, 503]


async def test_a_key_taken_back_refuses_its_tokens_after_the_next_fetch() -> None:
    """
    A token seen before goes with its key (D2, R99).
    """
    fake, monotonic = new_issuer(), Clock(0.0)
    app = guarded(package(fake).requires(), monotonic=monotonic)
    token = fake.token()
    statuses = [(await ask(app, token=token)).status_code]
    fake.rotate(keep_previous=False)

    for elapsed in (599.9, 0.1):
        monotonic.now += elapsed
        statuses.append((await ask(app, token=token)).status_code)

    assert statuses == [200, 200, 401]


async def test_a_closed_client_is_an_outage_and_no_crash() -> None:
    """
    A client its owner closed raises RuntimeError; the answer is 503.
    """
    fake = new_issuer()
    await fake.http_client.aclose()
    app = guarded(package(fake).requires())

    response = await ask(app, token=fake.token())

    assert response.status_code == 503


async def test_a_cold_start_under_load_fetches_once() -> None:
    """
    Two hundred first requests make one discovery and one fetch (D11).
    """
    fake = new_issuer()
    app = guarded(package(fake).requires())
    token = fake.token()

    responses = await asyncio.gather(*(ask(app, token=token) for _ in range(200)))

    assert {response.status_code for response in responses} == {200}
    assert fake.request_count == 2


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        pytest.param("GET", "/nowhere", 404, None, id="unknown path"),
        pytest.param("GET", "/orders/../nowhere", 404, None, id="unknown path with dots"),
        pytest.param("POST", "/orders", 405, "GET, HEAD", id="wrong method"),
        pytest.param("BREW", "/orders", 405, "GET, HEAD", id="unknown method"),
        pytest.param("OPTIONS", "/orders", 405, "GET, HEAD", id="no preflight"),
    ],
)
@pytest.mark.parametrize("has_token", [pytest.param(True, id="token"), pytest.param(False, id="no token")])
async def test_what_no_handler_serves_is_answered_whoever_asks(
    has_token: bool, method: str, path: str, status: int, allow: str | None
) -> None:
    """
    404 and 405 need no token, ask for none and tell nothing more (RFC 9110 §15.5.6).
    """
    fake, ran, heard = new_issuer(), list[str](), list[Event]()
    app = guarded(package(fake).requires(), ran, on_event=[heard.append])

    response = await ask(app, path, method=method, token=fake.token() if has_token else None)

    assert (response.status_code, response.headers.get("allow")) == (status, allow)
    assert "www-authenticate" not in response.headers
    assert response.headers["cache-control"] == "no-store"
    assert (ran, heard, fake.request_count) == ([], [], 0)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        pytest.param("/orders", [("Authorization", "Bearer")], 400, id="400"),
        pytest.param("/orders", [], 401, id="401"),
        pytest.param("/nowhere", [], 404, id="404"),
        pytest.param("/post", [], 405, id="405"),
        pytest.param("/orders", [("Authorization", "Bearer a.b.c")], 401, id="401 invalid token"),
    ],
)
async def test_head_is_answered_as_get_without_a_body(
    path: str, headers: list[tuple[str, str]], status: int
) -> None:
    """
    The same status and fields, and no body (RFC 9110 §9.3.2, R36).
    """
    orders = package(new_issuer())
    app = GuardrailMiddleware(
        Starlette(
            routes=[
                Route("/orders", orders.requires("orders:read")(endpoint())),
                Route("/post", orders.requires()(endpoint()), methods=["POST"]),
            ]
        )
    )

    get = await raw_http(app, path, method="GET", headers=headers)
    head = await raw_http(app, path, method="HEAD", headers=headers)

    assert get[0]["status"] == head[0]["status"] == status
    assert get[0]["headers"] == head[0]["headers"]
    assert get[1]["body"] != b""
    assert head[1:] == [{"type": "http.response.body", "body": b"", "more_body": False}]


async def test_head_of_an_outage_has_no_body_either() -> None:
    """
    503 to HEAD: the fields, and nothing behind them.
    """
    fake = new_issuer()
    fake.go_down()
    app = guarded(package(fake).requires())
    headers = [("Authorization", f"Bearer {fake.token()}")]

    sent = await raw_http(app, "/orders", method="HEAD", headers=headers)

    assert (sent[0]["status"], sent[1]["body"]) == (503, b"")


def raw_scope(path: str, *, headers: Iterable[tuple[str, str]] = (), **extra: Any) -> Scope:
    """
    A scope as a server makes it.
    """
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
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("api.example.com", 443),
    }
    return scope | extra


async def raw_http(app: ASGIApp, path: str, **extra: Any) -> list[Message]:
    """
    The messages that answer one request.
    """
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(raw_scope(path, **extra), receive, send)
    return sent


async def test_a_refusal_reads_no_body() -> None:
    """
    A request without a token is answered before anything of its body is asked for.
    """
    app = guarded(package(new_issuer()).requires())
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    await app(raw_scope("/orders"), receive, send)

    assert sent[0]["status"] == 401


async def test_identity_headers_change_nothing() -> None:
    """
    Who the request is for is in the token alone (F1, F2, R12, R254).
    """
    fake = new_issuer()
    app = guarded(package(fake).requires())
    claims = [
        (name, "mallory")
        for name in ("X-Forwarded-User", "X_Forwarded_User", "X-Operator", "Remote-User", "X-Auth-Subject")
    ]

    refused = await ask(app, headers=[*claims, ("Cookie", f"access_token={fake.token()}")])
    accepted = await ask(app, headers=claims, token=fake.token())

    assert refused.status_code == 401
    assert accepted.json() == {"operator": f"{fake.url}#alice"}


# Public routes


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(fields(), id="no credentials"),
        pytest.param(fields("Bearer"), id="a malformed field"),
        pytest.param(fields("Bearer a", "Bearer b"), id="two fields"),
        pytest.param(bearer(expires_in=-3600), id="an expired token"),
        pytest.param(bearer(), id="a good token"),
    ],
)
@pytest.mark.parametrize("declared_by", ["decorator", "public_paths", "prefixes"])
async def test_a_public_route_looks_at_no_token(declared_by: str, fields: Fields) -> None:
    """
    Whatever comes with the request, it is served for nobody, and nothing is fetched or told.
    """
    fake, heard = new_issuer(), list[Event]()
    fake.go_down()
    plain = endpoint()
    settings: dict[str, dict[str, Any]] = {
        "decorator": {},
        "public_paths": {"public_paths": ["/health"]},
        "prefixes": {"prefixes": {"/health": public}},
    }
    route = Route("/health", public(plain) if declared_by == "decorator" else plain)
    app = GuardrailMiddleware(
        Starlette(routes=[route]),
        on_event=[heard.append],
        http_client=fake.http_client,
        **settings[declared_by],
    )

    response = await ask(app, "/health?access_token=x", headers=fields(fake))

    assert (response.status_code, response.json()) == (200, {"operator": "anonymous"})
    assert (heard, fake.request_count) == ([], 0)


async def test_a_public_route_has_the_anonymous_operator_in_every_place() -> None:
    """
    Whatever an outer component left is overwritten (F5).
    """
    seen: list[object] = []

    @public
    async def health(request: Request) -> Response:
        seen.extend((request.state.operator, request.user, request.auth, current_operator()))
        return PlainTextResponse("")

    app = GuardrailMiddleware(Starlette(routes=[Route("/health", health)]))
    forgery = {"user": "mallory", "auth": "admin", "state": {"operator": "mallory"}}

    await raw_http(app, "/health", **forgery)

    assert [one is ANONYMOUS for one in seen] == [True] * 4


# Events


async def test_an_acceptance_is_told() -> None:
    """
    The event says who called what: names of ours, and the verified client.
    """
    clock, heard = Clock(), list[Event]()
    fake = new_issuer(clock=clock)
    app = guarded(package(fake).requires(), path="/orders/{order_id}", on_event=[heard.append], clock=clock)

    await ask(app, "/orders/7", token=fake.token(client_id="web", expires_in=40.0))

    fetched, accepted = heard
    assert isinstance(fetched, KeysFetched)
    assert accepted == TokenAccepted(
        package="orders",
        route="/orders/{order_id}",
        issuer=fake.url,
        client_id="web",
        operator_kind="user",
        seconds_left=40.0,
    )


@pytest.mark.parametrize("passed", [0.0, 40.0, 41.5, 69.0])
async def test_an_acceptance_says_how_long_the_token_had_left(passed: float) -> None:
    """
    Until its *exp*, whether it is new or remembered; below zero, its leeway let it in.
    """
    clock, heard = Clock(), list[Event]()
    fake = new_issuer(clock=clock)
    app = guarded(package(fake).requires(), on_event=[heard.append], clock=clock)
    token = fake.token(expires_in=40.0)
    await ask(app, token=token)
    clock.now += passed

    response = await ask(app, token=token)

    assert response.status_code == 200
    assert [one.seconds_left for one in heard if isinstance(one, TokenAccepted)] == [40.0, 40.0 - passed]


async def test_an_acceptance_without_a_token_says_no_seconds() -> None:
    """
    Where a test stands in for a token there is none to expire.
    """
    fake, heard = new_issuer(), list[Event]()
    app = guarded(package(fake).requires(), on_event=[heard.append])

    with as_operator():
        await ask(app)

    assert [one.seconds_left for one in heard if isinstance(one, TokenAccepted)] == [None]


async def test_a_hostile_client_id_is_escaped_and_shortened() -> None:
    """
    Where clients name themselves, their names reach a log as short printable ASCII; the operator's stays.
    """
    fake, heard, seen = new_issuer(), list[Event](), list[str | None]()
    hostile = "\x1b[31m\r\nX: y" + "é" * 1_000

    @package(fake).requires()
    async def read_orders(request: Request) -> Response:
        seen.append(current_operator().client_id)
        return PlainTextResponse("")

    app = GuardrailMiddleware(Starlette(routes=[Route("/orders", read_orders)]), on_event=[heard.append])

    await ask(app, token=fake.token(client_id=hostile))

    (told,) = [event.client_id for event in heard if isinstance(event, TokenAccepted)]
    assert told is not None
    assert told.startswith("\\x1b[31m\\x0d\\x0aX: y")
    assert (told.isascii(), told.isprintable(), len(told) <= 128) == (True, True, True)
    assert seen == [hostile]


async def test_a_client_acting_as_itself_is_told_as_a_service() -> None:
    """
    A token whose subject is its client is a service's (R120), and says which; a user's does not say whose.
    """
    fake, heard = new_issuer(), list[Event]()
    app = guarded(package(fake).requires(), on_event=[heard.append])
    hostile = "\x1b[31m\r\n" + "é" * 200

    for subject in ("batch", hostile, "alice@example.com"):
        client = "web" if "@" in subject else subject
        await ask(app, token=fake.token(sub=subject, client_id=client))

    first, second, user = (event for event in heard if isinstance(event, TokenAccepted))
    assert (first.operator_kind, first.operator_id) == ("service", f"{fake.url}#batch")
    assert second.operator_id is not None
    assert second.operator_id.startswith(f"{fake.url}#\\x1b[31m\\x0d\\x0a\\xe9")
    assert (second.operator_id.isascii(), len(second.operator_id)) == (True, 256)
    assert (user.operator_kind, user.operator_id) == ("user", None)
    assert "alice" not in repr(user)


async def test_an_acceptance_is_told_before_the_endpoint_runs() -> None:
    """
    A handler that hangs or fails has been told of.
    """
    fake, order = new_issuer(), list[str]()

    @package(fake).requires()
    async def read_orders(request: Request) -> Response:
        order.append("ran")
        return PlainTextResponse("")

    app = GuardrailMiddleware(
        Starlette(routes=[Route("/orders", read_orders)]), on_event=[lambda event: order.append(event.name)]
    )

    await ask(app, token=fake.token())

    assert order == ["guardrail.keys_fetched", "guardrail.token_accepted", "ran"]


async def test_a_refusal_is_told_with_what_it_was_about() -> None:
    """
    The claim, or the key ID escaped and shortened; never a value of the token.
    """
    fake, heard = new_issuer(), list[Event]()
    app = guarded(package(fake).requires(), on_event=[heard.append])

    await ask(app, token=fake.token(aud="https://hostile.example/\r\n"))
    await ask(app, token=fake.token(headers={"kid": "\x1b[31m\r\n" + "é" * 300}))

    about_claim, about_key = [event for event in heard if isinstance(event, TokenRefused)]
    assert (about_claim.code, about_claim.claim, about_claim.kid) == ("audience_mismatch", "aud", None)
    assert "hostile" not in about_claim.detail
    assert (about_key.code, about_key.claim) == ("unknown_key", None)
    assert about_key.kid is not None
    assert about_key.kid.startswith("\\x1b[31m\\x0d\\x0a\\xe9")
    assert len(about_key.kid) <= 64


async def test_a_refusal_for_scopes_is_told_with_those_that_lack() -> None:
    """
    Names of the declaration, never of the token; nothing of the kind where it is another refusal.
    """
    fake, heard = new_issuer(), list[Event]()
    app = guarded(package(fake).requires("a", "b", "c"), on_event=[heard.append])

    await ask(app, token=fake.token(scope="x b"))
    await ask(app)

    lacking = [event.scopes_lacking for event in heard if isinstance(event, TokenRefused)]
    assert lacking == [("a", "c"), ()]


async def test_an_outage_is_told() -> None:
    """
    First the failed fetch, then the request that could not be decided.
    """
    fake, heard = new_issuer(), list[Event]()
    fake.go_down()
    requirement = package(fake, issuer=pausing(fake, 3.0)).requires()
    app = guarded(requirement, on_event=[heard.append], monotonic=Clock(0.0))

    await ask(app, token=fake.token())

    assert heard == [
        KeysFetchFailed(
            issuer=fake.url,
            detail="ConnectError: the fake issuer is down",
            has_keys=False,
            failures=1,
            retry_after=3.0,
        ),
        KeysUnavailable(code="keys_unavailable", package="orders", route="/orders", retry_after=3.0),
    ]


async def test_the_event_of_an_outage_says_what_the_answer_said() -> None:
    """
    *retry_after* is what was sent, in whole seconds rounded up.
    """
    fake, heard, monotonic = new_issuer(), list[Event](), Clock(0.0)
    fake.go_down()
    requirement = package(fake, issuer=pausing(fake, 2.0)).requires()
    app = guarded(requirement, on_event=[heard.append], monotonic=monotonic)
    await ask(app, token=fake.token())
    monotonic.now += 0.5  # of a pause of 2 s

    response = await ask(app, token=fake.token())

    last = heard[-1]
    assert isinstance(last, KeysUnavailable)
    assert response.headers["retry-after"] == "2"
    assert last.retry_after == 2


async def test_a_listener_that_fails_decides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """
    It is logged; the answers are the same, and the other listeners hear all.
    """
    fake, heard = new_issuer(), list[Event]()

    def broken(event: Event) -> None:
        raise RuntimeError("the metrics backend is down")

    app = guarded(package(fake).requires(), on_event=[broken, heard.append, broken])

    responses = [await ask(app, token=fake.token()), await ask(app), await ask(app, token="a.b.c")]
    fake.go_down()
    down = await ask(guarded(package(fake).requires(), on_event=[broken]), token=fake.token())

    assert [response.status_code for response in responses] == [200, 401, 401]
    assert down.status_code == 503
    assert [type(event) for event in heard] == [KeysFetched, TokenAccepted, TokenRefused, TokenRefused]
    assert {record.levelname for record in caplog.records if record.name == "guardrail"} == {"ERROR"}


# No token in any text


async def test_no_token_gets_into_any_text(caplog: pytest.LogCaptureFixture) -> None:
    """
    Whether a request passes, fails or crashes, nothing said of it has its token or a part of it (F11, R222).
    """
    fake, heard = new_issuer(), list[Event]()
    caplog.set_level(logging.DEBUG)

    def broken(event: Event) -> None:
        raise RuntimeError(repr(event))

    @package(fake).requires()
    async def crash(request: Request) -> Response:
        raise RuntimeError(f"{request.state.operator!r} {request.state.operator.claims} {request.user}")

    app = GuardrailMiddleware(
        Starlette(
            routes=[
                Route("/orders", package(fake).requires("orders:read")(endpoint())),
                Route("/crash", crash),
            ]
        ),
        on_event=[heard.append, broken],
    )
    good = fake.token(scope="orders:read")
    tokens = [
        good,
        forged(good),
        good + "=",
        f"{good}.{good}",
        good.replace(".", "/", 1),
        fake.token(scope="orders:read", expires_in=-3600),
        fake.token(scope="orders:read", headers={"kid": good.split(".")[0][:60]}),
        fake.token(),
        fake.token(iss="https://evil.example"),
        "not-a-token-but-long-enough-to-be-recognised",
    ]
    said: list[str] = []

    for token in tokens:
        response = await ask(app, token=token)
        said += [response.text, str(response.headers)]
    with pytest.raises(RuntimeError) as crashed:
        await ask(app, "/crash", token=good)

    said += [repr(event) for event in heard]
    said += [logging.Formatter().format(record) for record in caplog.records]
    said += traceback.format_exception(crashed.value)
    parts = {part for token in tokens for part in token.split(".") if len(part) > 16}
    allowed = good.split(".")[0][:60]  # what the key ID said is told, escaped and short
    leaked = {part for part in parts for text in said if part in text} - {allowed}
    assert len(heard) >= len(tokens)
    assert caplog.records
    assert leaked == set()


async def test_a_crash_of_the_verification_itself_holds_no_token(caplog: pytest.LogCaptureFixture) -> None:
    """
    The exception a token is refused with, and what it came from, say nothing of the token (F11).
    """
    fake = new_issuer()
    app = guarded(package(fake).requires())
    garbage = fake.token(sub="secret-subject").split(".")
    garbage[1] = "_" + garbage[1][1:]  # no longer UTF-8 JSON
    caplog.set_level(logging.DEBUG)

    response = await ask(app, token=".".join(garbage))

    text = caplog.text + response.text + str(response.headers)
    assert response.status_code == 401
    assert not [part for part in garbage if part in text]
    assert "secret-subject" not in text


# Startup


@asynccontextmanager
async def noting_lifespan(app: Starlette) -> AsyncIterator[Mapping[str, object]]:
    """
    A lifespan of the application's own.
    """
    app.extra_notes.append("started")  # type: ignore[attr-defined]
    yield {"pool": "open"}
    app.extra_notes.append("stopped")  # type: ignore[attr-defined]


async def lifespan(app: ASGIApp, sent: list[Message], state: dict[str, Any]) -> None:
    """
    Start up and shut down, as a server does.
    """
    incoming: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        assert len(incoming) < 2, "an answer before the question"
        sent.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}, receive, send)


def noting_application(route: BaseRoute, *, is_added: bool, **settings: Any) -> tuple[ASGIApp, list[str]]:
    """
    An application with a lifespan, the middleware added or wrapped around, and what the lifespan notes.
    """
    notes: list[str] = []
    app = Starlette(routes=[route], lifespan=noting_lifespan)
    app.extra_notes = notes  # type: ignore[attr-defined]
    if not is_added:
        return GuardrailMiddleware(app, **settings), notes
    app.add_middleware(GuardrailMiddleware, **settings)
    return app, notes


ADDED = pytest.mark.parametrize(
    "is_added", [pytest.param(True, id="added"), pytest.param(False, id="wrapped around")]
)


@ADDED
async def test_a_good_application_starts(is_added: bool) -> None:
    """
    The lifespan passes through to the application, its state included (R246).
    """
    app, notes = noting_application(Route("/health", public(endpoint())), is_added=is_added)
    sent: list[Message] = []
    state: dict[str, Any] = {}

    await lifespan(app, sent, state)

    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert (notes, state) == (["started", "stopped"], {"pool": "open"})


@ADDED
async def test_an_undeclared_route_stops_the_startup(is_added: bool) -> None:
    """
    The server is told "failed", with every such route, before the exception; nothing of the application ran.
    """
    app, notes = noting_application(
        Mount("/v1", routes=[Route("/a", endpoint()), Route("/b", endpoint(), methods=["POST"])]),
        is_added=is_added,
    )
    sent: list[Message] = []

    with pytest.raises(UndeclaredRouteError) as caught:
        await lifespan(app, sent, {})

    message = (
        "undeclared routes:\n"
        "  GET /v1/a -> endpoint.<locals>.read_orders\n"
        "  POST /v1/b -> endpoint.<locals>.read_orders"
    ).replace("endpoint.<locals>.", "")
    assert sent == [{"type": "lifespan.startup.failed", "message": message}]
    assert len(caught.value.routes) == 2
    assert notes == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"public_paths": ["/nowhere"]}, "public_paths names no route's template: /nowhere", id="typo"
        ),
        pytest.param({"public_paths": ["/health"]}, "/health is declared twice", id="declared twice"),
    ],
)
async def test_wrong_settings_stop_the_startup(settings: dict[str, Any], message: str) -> None:
    """
    What can only be seen with the routes in hand is told to the server too.
    """
    app, _ = noting_application(Route("/health", public(endpoint())), is_added=True, **settings)
    sent: list[Message] = []

    with pytest.raises(PolicyError, match=message):
        await lifespan(app, sent, {})

    assert [one["type"] for one in sent] == ["lifespan.startup.failed"]
    assert message in sent[0]["message"]


async def test_unusable_keys_in_hand_stop_the_startup() -> None:
    """
    An issuer that can verify nothing is found at startup, not at the first token.
    """
    keys = {"keys": [SigningKeys("ES256").current.jwk()]}
    issuer = Issuer("https://login.example.com", keys=keys, algorithms=["RS256"])
    orders = ServicePackage("orders", issuer=issuer, audience="orders")
    app, _ = noting_application(Route("/orders", orders.requires()(endpoint())), is_added=True)
    sent: list[Message] = []

    with pytest.raises(PolicyError, match="no usable key"):
        await lifespan(app, sent, {})

    assert [one["type"] for one in sent] == ["lifespan.startup.failed"]


@ADDED
async def test_without_a_lifespan_the_first_request_compiles(is_added: bool) -> None:
    """
    A server with ``lifespan="off"`` is served all the same.
    """
    fake = new_issuer()
    app, _ = noting_application(Route("/orders", package(fake).requires()(endpoint())), is_added=is_added)

    statuses = [(await ask(app)).status_code, (await ask(app, token=fake.token())).status_code]

    assert statuses == [401, 200]


@ADDED
async def test_without_a_lifespan_an_undeclared_route_fails_every_request(is_added: bool) -> None:
    """
    Nothing of an application with an open route is served, not even its declared routes.
    """
    ran: list[str] = []
    inner = Starlette(routes=[Route("/open", endpoint(ran)), Route("/health", public(endpoint(ran)))])
    if is_added:
        inner.add_middleware(GuardrailMiddleware)
    app: ASGIApp = inner if is_added else GuardrailMiddleware(inner)

    for path in ("/open", "/health", "/nowhere", "/open"):
        with pytest.raises(UndeclaredRouteError):
            await ask(app, path)

    assert ran == []


async def test_routes_are_compiled_once() -> None:
    """
    A route added after startup is not served until the next one.
    """
    app = Starlette(routes=[Route("/health", public(endpoint()))])
    app.add_middleware(GuardrailMiddleware)
    await lifespan(app, [], {})
    app.routes.append(Route("/late", public(endpoint())))

    statuses = [(await ask(app, path)).status_code for path in ("/health", "/late")]
    await lifespan(app, [], {})
    statuses.append((await ask(app, "/late")).status_code)

    assert statuses == [200, 404, 200]


@pytest.mark.parametrize("kind", ["", "http2", "mqtt", "HTTP", "lifespan2"])
async def test_an_unknown_kind_of_scope_is_let_through_to_nobody(kind: str) -> None:
    """
    What guardrail does not know it cannot guard (R246).
    """
    ran: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ran.append(scope["type"])

    middleware = GuardrailMiddleware(app, prefixes={"/": public})

    with pytest.raises(PolicyError, match="lets none pass"):
        await raw_http(middleware, "/", type=kind)

    assert ran == []


WRONG_SETTINGS = [
    pytest.param({"public_paths": "/docs"}, id="public_paths: a bare string"),
    pytest.param({"public_paths": b"/docs"}, id="public_paths: bytes"),
    pytest.param({"public_paths": None}, id="public_paths: none"),
    pytest.param({"public_paths": ["/docs", 1]}, id="public_paths: a number"),
    pytest.param({"token_cache_size": -1}, id="token_cache_size: negative"),
    pytest.param({"token_cache_size": "10"}, id="token_cache_size: a string"),
    pytest.param({"token_cache_size": None}, id="token_cache_size: none"),
    pytest.param({"token_cache_size": 1.5}, id="token_cache_size: a fraction"),
    pytest.param({"token_cache_size": float("nan")}, id="token_cache_size: not a number"),
    pytest.param({"token_cache_size": True}, id="token_cache_size: a boolean"),
    pytest.param({"prefixes": {"mcp": public}}, id="prefixes: no slash"),
    pytest.param({"prefixes": {"/mcp/": public}}, id="prefixes: a trailing slash"),
    pytest.param({"prefixes": {"/mcp": "orders:read"}}, id="prefixes: a scope for a requirement"),
    pytest.param({"prefixes": ["/mcp"]}, id="prefixes: no mapping"),
    pytest.param({"on_event": print}, id="on_event: one listener"),
    pytest.param({"on_event": "listener"}, id="on_event: a bare string"),
    pytest.param({"on_event": ["listener"]}, id="on_event: no callable"),
    pytest.param({"http_client": httpx.Client()}, id="http_client: not asynchronous"),
    pytest.param({"http_client": httpx.AsyncClient}, id="http_client: a class"),
    pytest.param({"not_found": "/404"}, id="not_found: a path"),
    pytest.param({"clock": time.time()}, id="clock: a time"),
    pytest.param({"monotonic": 0.0}, id="monotonic: a time"),
]


@pytest.mark.parametrize("settings", WRONG_SETTINGS)
def test_a_wrong_setting_is_refused_at_construction(settings: dict[str, Any]) -> None:
    """
    The message names the setting; nothing waits for the first request to fail.
    """
    with pytest.raises(PolicyError, match=next(iter(settings)).removesuffix("es").removesuffix("s")):
        GuardrailMiddleware(Starlette(), **settings)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"public_paths": []}, id="no public paths"),
        pytest.param({"public_paths": (path for path in ("/health",))}, id="public paths from a generator"),
        pytest.param({"token_cache_size": 0}, id="no cache"),
        pytest.param({"prefixes": None}, id="no prefixes"),
        pytest.param({"prefixes": {"/": public}}, id="everything"),
        pytest.param({"on_event": (one for one in (print,))}, id="listeners from a generator"),
    ],
)
def test_a_right_setting_is_accepted(settings: dict[str, Any]) -> None:
    """
    Any iterable will do, and nothing is a value too.
    """
    middleware = GuardrailMiddleware(Starlette(), **settings)

    assert isinstance(middleware, GuardrailMiddleware)


# Warm-up and shutdown


class SlowIssuer:
    """
    A fake issuer that answers nobody before it is let, and notes who has asked.
    """

    def __init__(self, fake: FakeIssuer) -> None:
        self.fake = fake
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._respond))

    async def _respond(self, request: httpx.Request) -> httpx.Response:
        self.asked.set()
        await self.may_answer.wait()
        return await self.fake.http_client.get(request.url)

    def issuer(self, **settings: Any) -> Issuer:
        """
        The issuer, as a service package takes it.
        """
        return Issuer(self.fake.url, http_client=self.client, **settings)


@asynccontextmanager
async def served(app: ASGIApp, *, is_settled: bool = False) -> AsyncIterator[list[str]]:
    """
    An application between startup and shutdown, as a server has it that takes an exception for "no lifespan
    support", and what it answered so far; *is_settled*: once what startup began has come to its end.
    """
    before = asyncio.all_tasks()
    sent, incoming = list[str](), asyncio.Queue[Message]()
    answered = asyncio.Event()

    async def send(message: Message) -> None:
        sent.append(message["type"])
        answered.set()

    async def run() -> None:
        try:
            scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
            await app(scope, incoming.get, send)
        except Exception as exc:  # noqa: BLE001 - as servers do
            sent.append(type(exc).__name__)
        finally:
            answered.set()

    await incoming.put({"type": "lifespan.startup"})
    running = asyncio.ensure_future(run())
    async with asyncio.timeout(30.0):
        await answered.wait()
        begun = asyncio.all_tasks() - before - {running}
        if begun and is_settled:
            await asyncio.wait(begun)
        yield sent
        await incoming.put({"type": "lifespan.shutdown"})
        await running


@asynccontextmanager
async def no_task_left() -> AsyncIterator[None]:
    """
    At the end there runs no task that did not run at the beginning.
    """
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before == set()


@asynccontextmanager
async def background() -> AsyncIterator[None]:
    """
    At the end, what was begun in the background has come to its own end.
    """
    before = asyncio.all_tasks()
    yield
    begun = asyncio.all_tasks() - before
    if begun:
        _, running = await asyncio.wait(begun, timeout=30.0)
        assert running == set()


STARTED, STOPPED = "lifespan.startup.complete", "lifespan.shutdown.complete"


@ADDED
async def test_startup_does_not_wait_for_the_issuer(is_added: bool) -> None:
    """
    The application starts while the issuer still thinks, and its keys are there without a request for them.
    """
    slow, heard, has_heard = SlowIssuer(new_issuer()), list[Event](), asyncio.Event()
    route = Route("/orders", package(slow.fake, issuer=slow.issuer()).requires()(endpoint()))
    listeners = [heard.append, lambda _: has_heard.set()]
    app, notes = noting_application(route, is_added=is_added, on_event=listeners)

    async with served(app) as answers:
        before = (list(answers), list(notes), slow.fake.request_count)
        slow.may_answer.set()
        await has_heard.wait()
        fetched = slow.fake.request_count
        status = (await ask(app, token=slow.fake.token())).status_code

    assert before == ([STARTED], ["started"], 0)
    assert answers == [STARTED, STOPPED]
    assert [type(event) for event in heard] == [KeysFetched, TokenAccepted]
    assert (status, fetched, slow.fake.request_count) == (200, 2, 2)


@ADDED
async def test_request_during_the_warm_up_shares_its_fetch(is_added: bool) -> None:
    """
    Who comes before the keys do waits for the fetch that startup began.
    """
    slow = SlowIssuer(new_issuer())
    route = Route("/orders", package(slow.fake, issuer=slow.issuer()).requires()(endpoint()))
    app, _ = noting_application(route, is_added=is_added)

    async with served(app):
        await slow.asked.wait()
        asking = [asyncio.ensure_future(ask(app, token=slow.fake.token())) for _ in range(3)]
        slow.may_answer.set()
        responses = await asyncio.gather(*asking)

    assert [response.status_code for response in responses] == [200] * 3
    assert slow.fake.request_count == 2


@ADDED
async def test_startup_waits_where_it_is_told_to(is_added: bool) -> None:
    """
    With ``warm_up="wait"`` nothing of the application starts before the attempt has come to its end.
    """
    slow = SlowIssuer(new_issuer())
    requirement = package(slow.fake, issuer=slow.issuer(warm_up="wait")).requires()
    app, notes = noting_application(Route("/orders", requirement(endpoint())), is_added=is_added)
    noted = list[list[str]]()

    async def answer_later() -> None:
        await slow.asked.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        noted.append(list(notes))
        slow.may_answer.set()

    later = asyncio.ensure_future(answer_later())
    async with served(app):
        fetched = slow.fake.request_count
        noted.append(list(notes))
    await later

    assert noted == [[], ["started"]]
    assert fetched == 2


async def test_startup_that_waits_survives_an_issuer_that_is_down() -> None:
    """
    Without its issuer an API starts, answers 503, and serves when the issuer is back.
    """
    fake, heard, monotonic = new_issuer(), list[Event](), Clock(0.0)
    fake.go_down()
    requirement = package(fake, issuer=replace(pausing(fake, 3.0), warm_up="wait")).requires()
    app, _ = noting_application(
        Route("/orders", requirement(endpoint())),
        is_added=True,
        on_event=[heard.append],
        monotonic=monotonic,
    )

    async with served(app) as answers:
        told = [type(event) for event in heard]
        statuses = [(await ask(app, token=fake.token())).status_code]
        fake.come_up()
        monotonic.now += 3.0
        statuses.append((await ask(app, token=fake.token())).status_code)

    assert told == [KeysFetchFailed]
    assert statuses == [503, 200]
    assert answers == [STARTED, STOPPED]


async def test_without_warm_up_the_first_token_is_the_first_to_ask() -> None:
    """
    With ``warm_up="off"`` the issuer hears nothing of a startup, nor of requests without a token.
    """
    fake = new_issuer()
    requirement = package(fake, issuer=replace(fake.issuer, warm_up="off")).requires()
    app, _ = noting_application(Route("/orders", requirement(endpoint())), is_added=True)

    async with served(app, is_settled=True):
        statuses = [(await ask(app)).status_code, (await ask(app, token="a.b.c")).status_code]
        asked = fake.request_count
        statuses.append((await ask(app, token=fake.token())).status_code)

    assert statuses == [401, 401, 200]
    assert (asked, fake.request_count) == (0, 2)


@ADDED
async def test_shutdown_cancels_a_running_fetch(is_added: bool) -> None:
    """
    An issuer that never answers does not hold the process: no task is left, and nothing is told.
    """
    slow, heard = SlowIssuer(new_issuer()), list[Event]()
    route = Route("/orders", package(slow.fake, issuer=slow.issuer()).requires()(endpoint()))
    app, notes = noting_application(route, is_added=is_added, on_event=[heard.append])

    async with no_task_left(), served(app) as answers:
        await slow.asked.wait()

    assert (answers, notes, heard) == ([STARTED, STOPPED], ["started", "stopped"], [])
    assert slow.fake.request_count == 0


async def test_client_that_the_application_closes_may_be_the_one_that_fetches() -> None:
    """
    What runs is ended before the application's own shutdown: a client it closes there fails no fetch.
    """
    slow, heard = SlowIssuer(new_issuer()), list[Event]()

    @asynccontextmanager
    async def closing(_: Starlette) -> AsyncIterator[None]:
        yield
        slow.may_answer.set()
        await slow.client.aclose()
        for _turn in range(20):
            await asyncio.sleep(0)

    orders = ServicePackage("orders", issuer=Issuer(slow.fake.url), audience=slow.fake.audience)
    app = Starlette(routes=[Route("/orders", orders.requires()(endpoint()))], lifespan=closing)
    app.add_middleware(GuardrailMiddleware, http_client=slow.client, on_event=[heard.append])

    async with no_task_left(), served(app) as answers:
        await slow.asked.wait()

    assert (answers, heard) == ([STARTED, STOPPED], [])


@pytest.mark.parametrize("is_added", [True, False], ids=["added", "wrapped around"])
async def test_shutdown_that_fails_leaves_no_fetch_behind(is_added: bool) -> None:
    """
    What was begun is ended also where the application's own shutdown raises.
    """
    slow = SlowIssuer(new_issuer())

    @asynccontextmanager
    async def failing(_: Starlette) -> AsyncIterator[None]:
        yield
        raise RuntimeError("the pool does not close")

    requirement = package(slow.fake, issuer=slow.issuer()).requires()
    inner = Starlette(routes=[Route("/orders", requirement(endpoint()))], lifespan=failing)
    if is_added:
        inner.add_middleware(GuardrailMiddleware)
    app: ASGIApp = inner if is_added else GuardrailMiddleware(inner)

    async with no_task_left(), served(app) as answers:
        await slow.asked.wait()

    assert answers == [STARTED, "lifespan.shutdown.failed", "RuntimeError"]


@ADDED
async def test_an_application_can_be_started_again(is_added: bool) -> None:
    """
    A shutdown is not final: the same application starts again, with the keys it has, or fetches them anew.
    """
    fake, monotonic = new_issuer(), Clock(0.0)
    app, notes = noting_application(
        Route("/orders", package(fake).requires()(endpoint())), is_added=is_added, monotonic=monotonic
    )
    token, asked, statuses = fake.token(), list[int](), list[int]()

    for elapsed in (0.0, 10.0, 1_000.0):
        monotonic.now += elapsed
        async with no_task_left(), served(app, is_settled=True) as answers:
            asked.append(fake.request_count)
            statuses.append((await ask(app, token=token)).status_code)
        assert answers == [STARTED, STOPPED]

    assert (asked, statuses) == ([2, 2, 4], [200] * 3)
    assert notes == ["started", "stopped"] * 3


async def test_an_application_stopped_in_its_warm_up_can_be_started_again() -> None:
    """
    A fetch that was cancelled is begun anew, and no pause is made for it.
    """
    slow, monotonic = SlowIssuer(new_issuer()), Clock(0.0)
    route = Route("/orders", package(slow.fake, issuer=slow.issuer()).requires()(endpoint()))
    app, _ = noting_application(route, is_added=True, monotonic=monotonic)
    async with no_task_left(), served(app):
        await slow.asked.wait()

    slow.may_answer.set()
    async with no_task_left(), served(app):
        status = (await ask(app, token=slow.fake.token())).status_code

    assert (status, slow.fake.request_count) == (200, 2)


def test_an_application_is_started_on_one_loop_after_another() -> None:
    """
    As tests do it: each startup has a new event loop, and a client of its own for each.
    """
    fake, monotonic = new_issuer(), Clock(0.0)
    requirement = package(fake, issuer=replace(fake.issuer, warm_up="wait")).requires()
    app, _ = noting_application(Route("/orders", requirement(endpoint())), is_added=True, monotonic=monotonic)

    async def once() -> int:
        async with no_task_left(), served(app):
            return (await ask(app, token=fake.token())).status_code

    statuses = []
    for _ in range(3):
        monotonic.now += 1_000.0
        statuses.append(asyncio.run(once()))

    assert statuses == [200] * 3
    assert fake.request_count == 6


def without_lifespan(ran: list[str], *, says: str) -> ASGIApp:
    """
    An application that is not Starlette's, and does not speak lifespan.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            if says == "nothing":
                return
            raise NotImplementedError(scope["type"])
        ran.append(current_operator().operator_id)
        await PlainTextResponse("ran")(scope, receive, send)

    return app


@pytest.mark.parametrize(
    ("says", "answers"),
    [pytest.param("no", ["NotImplementedError"], id="raises"), pytest.param("nothing", [], id="returns")],
)
@pytest.mark.parametrize("warm_up", ["background", "wait", "off"])
async def test_an_application_without_lifespan_is_warmed_up_and_served(
    says: str, answers: list[str], warm_up: Literal["background", "wait", "off"]
) -> None:
    """
    A server that asks in vain goes on to serve; what was begun before is not given up.
    """
    fake, ran = new_issuer(), list[str]()
    requirement = package(fake, issuer=replace(fake.issuer, warm_up=warm_up)).requires()
    app = GuardrailMiddleware(without_lifespan(ran, says=says), prefixes={"/orders": requirement})

    async with served(app, is_settled=True) as told:
        fetched = fake.request_count
        statuses = [(await ask(app)).status_code, (await ask(app, token=fake.token())).status_code]

    assert told == answers
    assert fetched == (0 if warm_up == "off" else 2)
    assert statuses == [401, 200]
    assert (ran, fake.request_count) == ([f"{fake.url}#alice"], 2)


@pytest.mark.parametrize("warm_up", ["background", "wait", "off"])
@ADDED
async def test_a_server_without_lifespan_fetches_with_the_first_token(
    is_added: bool, warm_up: Literal["background", "wait", "off"]
) -> None:
    """
    With ``lifespan="off"`` the first token's request fetches, whatever startup was told to do.
    """
    fake = new_issuer()
    requirement = package(fake, issuer=replace(fake.issuer, warm_up=warm_up)).requires()
    app, notes = noting_application(Route("/orders", requirement(endpoint())), is_added=is_added)

    async with no_task_left():
        statuses = [(await ask(app)).status_code]
        asked = fake.request_count
        statuses += [(await ask(app, token=fake.token())).status_code for _ in range(2)]

    assert (statuses, asked, fake.request_count, notes) == ([401, 200, 200], 0, 2, [])


@pytest.mark.parametrize("mode", ["on", "off"])
def test_a_real_server_serves_with_and_without_lifespan(mode: str) -> None:
    """
    The same over sockets: uvicorn, an issuer of its own process' other thread, and keys that are fetched.
    """
    with free_port() as at_issuer, free_port() as at_api:
        issuing = FakeIssuer(address(at_issuer), algorithm="EdDSA")

        async def issue(request: Request) -> Response:
            found = await issuing.http_client.get(f"{issuing.url}{request.url.path}")
            return Response(found.content, found.status_code, media_type="application/json")

        orders = ServicePackage("orders", issuer=issuing.url, audience=issuing.audience)
        app, notes = noting_application(Route("/orders", orders.requires()(endpoint())), is_added=True)
        issuer_app = Starlette(routes=[Route("/{path:path}", issue)])
        with (
            serving(issuer_app, sock=at_issuer, lifespan="off"),
            serving(app, sock=at_api, lifespan=mode),
        ):
            statuses = [
                httpx.get(f"{address(at_api)}/orders", headers=headers, trust_env=False).status_code
                for headers in ({}, {"Authorization": f"Bearer {issuing.token()}"})
            ]

    assert statuses == [401, 200]
    assert notes == (["started", "stopped"] if mode == "on" else [])
    assert issuing.request_count == 2


# Keys that come, go and grow stale


async def test_a_key_that_is_gone_refuses_what_was_remembered_at_once() -> None:
    """
    A good answer without a key ends the tokens it verified with the next request, and not with its own end.
    """
    fake, heard, monotonic = new_issuer(), list[Event](), Clock(0.0)
    app = guarded(package(fake).requires(), on_event=[heard.append], monotonic=monotonic)
    old, old_kid = fake.token(), fake.keys.current.kid
    statuses = [(await ask(app, token=old)).status_code for _ in range(2)]
    fake.rotate(keep_previous=False)

    statuses.append((await ask(app, token=fake.token())).status_code)  # the new key's first token
    statuses += [(await ask(app, token=old)).status_code for _ in range(2)]

    assert monotonic.now == 0.0
    assert statuses == [200, 200, 200, 401, 401]
    rotated = [event for event in heard if isinstance(event, KeysRotated)]
    assert [(event.added, event.removed) for event in rotated] == [((fake.keys.current.kid,), (old_kid,))]
    refusals = [event.code for event in heard if isinstance(event, TokenRefused)]
    assert refusals == ["unknown_key", "unknown_key"]


async def test_a_key_that_stays_keeps_what_was_remembered() -> None:
    """
    The same rotation with the previous key still published: its tokens are good, and verified anew once.
    """
    fake = new_issuer()
    app = guarded(package(fake).requires())
    old = fake.token()
    statuses = [(await ask(app, token=old)).status_code]
    fake.rotate(keep_previous=True)

    statuses += [(await ask(app, token=token)).status_code for token in (fake.token(), old, old)]

    assert statuses == [200] * 4
    assert fake.request_count == 4


async def test_a_key_gone_with_a_background_refresh_refuses_what_was_remembered() -> None:
    """
    The answer that counts may be nobody's request: the refresh at about 80 % of the lifetime.
    """
    fake, monotonic = new_issuer(), Clock(0.0)
    app = guarded(package(fake).requires(), monotonic=monotonic)
    token = fake.token()
    statuses = [(await ask(app, token=token)).status_code]
    fake.rotate(keep_previous=False)
    monotonic.now += 520.0  # past 85 %

    async with background():
        statuses.append((await ask(app, token=token)).status_code)  # served, and begins the refresh
    statuses.append((await ask(app, token=token)).status_code)

    assert statuses == [200, 200, 401]


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(b'{"keys": []}', id="an empty set"),
        pytest.param(b"<html>", id="a page"),
        pytest.param(b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', id="no usable key"),
    ],
)
async def test_a_bad_answer_takes_nothing_away(keys: bytes) -> None:
    """
    What is no JWK Set removes no key: tokens remembered and new ones stay good.
    """
    fake, monotonic, is_broken = new_issuer(), Clock(0.0), list[bool]()

    async def respond(request: httpx.Request) -> httpx.Response:
        if is_broken and request.url.path.endswith("/jwks"):
            return httpx.Response(200, content=keys)
        return await fake.http_client.get(request.url)

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    orders = package(fake, issuer=Issuer(fake.url, http_client=client))
    app = guarded(orders.requires(), monotonic=monotonic)
    seen = fake.token()
    statuses = [(await ask(app, token=seen)).status_code]
    is_broken.append(True)
    monotonic.now += 700.0

    statuses += [(await ask(app, token=token)).status_code for token in (seen, seen, fake.token())]

    assert statuses == [200] * 4


async def test_remembered_tokens_are_served_by_stale_keys_and_it_is_told_each_time() -> None:
    """
    In an outage every use of stale keys is an event, also where the token was verified long before.
    """
    fake, heard, monotonic = new_issuer(), list[Event](), Clock(0.0)
    issuer = pausing(fake, 3_600.0)
    app = guarded(package(fake, issuer=issuer).requires(), on_event=[heard.append], monotonic=monotonic)
    token = fake.token()
    await ask(app, token=token)
    fake.go_down()
    heard.clear()
    statuses = []

    for elapsed in (700.0, 100.0, 100.0):
        monotonic.now += elapsed
        statuses.append((await ask(app, token=token)).status_code)

    stale = [event for event in heard if isinstance(event, StaleKeysUsed)]
    assert statuses == [200] * 3
    assert stale == [StaleKeysUsed(issuer=fake.url, age=age) for age in (700.0, 800.0, 900.0)]
    assert [type(event) for event in heard] == [
        KeysFetchFailed, StaleKeysUsed, TokenAccepted,
        StaleKeysUsed, TokenAccepted, StaleKeysUsed, TokenAccepted,
    ]  # fmt: skip


async def test_fresh_keys_are_used_without_a_word() -> None:
    """
    The same without the outage: one fetch more, and nothing told of staleness.
    """
    fake, heard, monotonic = new_issuer(), list[Event](), Clock(0.0)
    app = guarded(package(fake).requires(), on_event=[heard.append], monotonic=monotonic)
    token = fake.token()
    await ask(app, token=token)
    heard.clear()
    statuses = []

    for elapsed in (700.0, 100.0, 100.0):
        monotonic.now += elapsed
        statuses.append((await ask(app, token=token)).status_code)

    assert statuses == [200] * 3
    assert [type(event) for event in heard] == [KeysFetched, TokenAccepted, TokenAccepted, TokenAccepted]


async def test_keys_that_are_too_old_serve_nobody() -> None:
    """
    Staleness has an end: past it a token seen before is 503, and good again when the issuer is.
    """
    fake, monotonic = new_issuer(), Clock(0.0)
    issuer = replace(
        fake.issuer, fetching=Fetching(lifetime=600.0, max_stale=300.0, backoff_bounds=(1.0, 1.0))
    )
    app = guarded(package(fake, issuer=issuer).requires(), monotonic=monotonic)
    token = fake.token()
    statuses = [(await ask(app, token=token)).status_code]
    fake.go_down()

    for elapsed in (899.0, 1.0):
        monotonic.now += elapsed
        async with background():
            statuses.append((await ask(app, token=token)).status_code)
    fake.come_up()
    monotonic.now += 1.0
    statuses.append((await ask(app, token=token)).status_code)

    assert statuses == [200, 200, 503, 200]


# Clocks


@pytest.mark.parametrize(
    ("leeway", "elapsed", "status"),
    [
        pytest.param(0.0, 599.9, 200, id="just before the end"),
        pytest.param(0.0, 600.0, 401, id="at the end"),
        pytest.param(30.0, 629.9, 200, id="just within the leeway"),
        pytest.param(30.0, 630.0, 401, id="at the leeway's end"),
    ],
)
@pytest.mark.parametrize("cache", [0, 10])
@pytest.mark.parametrize("is_seen", [pytest.param(True, id="seen"), pytest.param(False, id="new")])
async def test_a_token_ends_by_the_wall_clock(
    is_seen: bool, cache: int, leeway: float, elapsed: float, status: int
) -> None:
    """
    *exp* and leeway hold to the second, cache or not (C16, D15).
    """
    clock = Clock()
    fake = new_issuer(clock=clock)
    issuer = Issuer(fake.url, http_client=fake.http_client, leeway=leeway)
    orders = ServicePackage("orders", issuer=issuer, audience=fake.audience)
    app = guarded(orders.requires(), clock=clock, token_cache_size=cache)
    token = fake.token(expires_in=600.0)
    if is_seen:
        await ask(app, token=token)

    clock.now += elapsed
    response = await ask(app, token=token)

    assert response.status_code == status


@pytest.mark.parametrize(
    ("age", "status"),
    [pytest.param(330.0, 200, id="just recent"), pytest.param(330.1, 401, id="just too old")],
)
async def test_the_age_of_an_authentication_is_judged_on_every_request(age: float, status: int) -> None:
    """
    A cached token's *auth_time* grows old like any other's; the leeway is the issuer's.
    """
    clock = Clock()
    fake = new_issuer(clock=clock)
    app = guarded(package(fake).requires(max_age=300.0), clock=clock)
    token = fake.token(auth_time=NOW)
    fresh = await ask(app, token=token)

    clock.now += age
    response = await ask(app, token=token)

    assert (fresh.status_code, response.status_code) == (200, status)


async def test_a_verdict_is_not_remembered_for_another_route() -> None:
    """
    A token good for one route is judged anew for a stricter one (D14).
    """
    fake = new_issuer()
    orders = package(fake)
    app = GuardrailMiddleware(
        Starlette(
            routes=[
                Route("/read", orders.requires("orders:read")(endpoint())),
                Route("/write", orders.requires("orders:write")(endpoint())),
            ]
        )
    )
    token = fake.token(scope="orders:read")

    statuses = [(await ask(app, path, token=token)).status_code for path in ("/read", "/write", "/read")]

    assert statuses == [200, 403, 200]


# Whose request it is


async def test_an_operator_cannot_be_changed_by_a_handler() -> None:
    """
    Frozen in depth: what one request does to its operator is not seen by the next (R256).
    """
    fake = new_issuer()
    tried: list[str] = []

    @package(fake).requires()
    async def change(request: Request) -> Response:
        operator: Any = request.state.operator
        attempts: dict[str, Callable[[], object]] = {
            "attribute": lambda: setattr(operator, "scopes", frozenset({"admin"})),
            "claim": lambda: operator.claims.__setitem__("sub", "mallory"),
            "nested claim": lambda: operator.claims["realm"]["roles"].append("admin"),
            "new attribute": lambda: object.__setattr__(operator, "admin", True),
            "scope": lambda: operator.scopes.add("admin"),
            "fact": lambda: setattr(operator.token, "acr", "urn:mfa"),
        }
        for name, attempt in attempts.items():
            try:
                attempt()
            except (AttributeError, TypeError):
                tried.append(name)
        request.scope["state"]["operator"] = None
        return JSONResponse(
            {
                "sub": operator.claims["sub"],
                "roles": operator.claims["realm"]["roles"],
                "scopes": [*operator.scopes],
            }
        )

    app = GuardrailMiddleware(Starlette(routes=[Route("/orders", change)]))
    token = fake.token(scope="orders:read", realm={"roles": ["reader"]})

    first, second = [await ask(app, token=token) for _ in range(2)]

    assert first.json() == second.json() == {"sub": "alice", "roles": ["reader"], "scopes": ["orders:read"]}
    assert len(tried) == 12


async def test_concurrent_requests_see_their_own_operators() -> None:
    """
    In the handler, a stream, a thread and a background task, each request's operator is its own (F6).
    """
    fake = new_issuer()
    orders = package(fake)
    background: dict[str, str] = {}

    @orders.requires()
    async def stream(request: Request) -> Response:
        own = request.state.operator.subject

        async def lines() -> AsyncIterator[str]:
            for _ in range(5):
                await asyncio.sleep(0)
                yield current_operator().subject + "\n"

        async def later() -> None:
            await asyncio.sleep(0)
            background[own] = current_operator().subject

        return StreamingResponse(lines(), background=BackgroundTask(later))

    @orders.requires()
    def threaded(request: Request) -> Response:
        return PlainTextResponse(current_operator().subject + "\n")

    app = GuardrailMiddleware(Starlette(routes=[Route("/stream", stream), Route("/thread", threaded)]))
    users = [f"user-{number}" for number in range(20)]
    asked = [(user, path) for _ in range(5) for user in users for path in ("/stream", "/thread")]
    tokens = {user: fake.token(sub=user) for user in users}

    responses = await asyncio.gather(*(ask(app, path, token=tokens[user]) for user, path in asked))

    seen = [set(response.text.split()) for response in responses]
    assert seen == [{user} for user, _ in asked]
    assert background == {user: user for user in users}


async def test_there_is_no_operator_outside_a_request() -> None:
    """
    Before and after a request, and beside it, `current_operator` raises.
    """
    fake = new_issuer()
    app = guarded(package(fake).requires())

    await ask(app, token=fake.token())

    with pytest.raises(MiddlewareMissingError):
        current_operator()


def test_loops_in_threads_share_one_middleware() -> None:
    """
    Several event loops in several threads are served by one instance.
    """
    fake = new_issuer()
    app = guarded(package(fake).requires())
    tokens = {f"user-{number}": fake.token(sub=f"user-{number}") for number in range(8)}
    outcomes: list[bool] = []

    def serve(user: str, token: str) -> None:
        for _ in range(5):
            response = asyncio.run(ask(app, token=token))
            outcomes.append(response.json() == {"operator": f"{fake.url}#{user}"})

    threads = [threading.Thread(target=serve, args=item) for item in tokens.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes == [True] * 40


# Packages and issuers


def two_packages(fake: FakeIssuer, *, issuer: str | Issuer) -> ASGIApp:
    """
    Orders and billing, whose tokens one server issues.
    """
    orders = ServicePackage("orders", issuer=issuer, audience=fake.audience)
    billing = ServicePackage("billing", issuer=issuer, audience=BILLING)
    routes = [
        Route("/orders", orders.requires()(endpoint())),
        Route("/billing", billing.requires()(endpoint())),
    ]
    return GuardrailMiddleware(Starlette(routes=routes), http_client=fake.http_client)


@pytest.mark.parametrize("is_url", [pytest.param(True, id="by URL"), pytest.param(False, id="by value")])
async def test_two_packages_of_one_issuer_share_its_keys(is_url: bool) -> None:
    """
    One discovery and one fetch for both; a token for one is refused by the other (C7).
    """
    fake = new_issuer()
    app = two_packages(fake, issuer=fake.url if is_url else fake.issuer)
    tokens = {"/orders": fake.token(), "/billing": fake.token(aud=BILLING)}

    statuses = {
        (path, other): (await ask(app, path, token=tokens[other])).status_code
        for path in tokens
        for other in tokens
    }

    assert statuses == {
        ("/orders", "/orders"): 200,
        ("/orders", "/billing"): 401,
        ("/billing", "/orders"): 401,
        ("/billing", "/billing"): 200,
    }
    assert fake.request_count == 2


async def test_the_realm_is_the_packages() -> None:
    """
    Each route's challenge is its own package's.
    """
    fake = new_issuer()
    app = two_packages(fake, issuer=fake.url)

    challenges = [(await ask(app, path)).headers["www-authenticate"] for path in ("/orders", "/billing")]

    assert [one.partition(",")[0] for one in challenges] == [
        'Bearer realm="orders"',
        'Bearer realm="billing"',
    ]


async def test_a_token_of_an_issuer_trusted_elsewhere_is_refused() -> None:
    """
    The route chooses the issuers, never the token (C23, R230).
    """
    strong, weak = new_issuer(), new_issuer("https://login.example.org")
    orders = ServicePackage("orders", issuer=strong.issuer, audience="api")
    forum = ServicePackage("forum", issuer=[strong.issuer, weak.issuer], audience="api")
    routes = [
        Route("/orders", orders.requires()(endpoint())),
        Route("/forum", forum.requires()(endpoint())),
    ]
    app = GuardrailMiddleware(Starlette(routes=routes))
    token = weak.token(aud="api")

    statuses = [(await ask(app, path, token=token)).status_code for path in ("/forum", "/orders")]

    assert statuses == [200, 401]
    assert strong.request_count == 0


async def test_a_forgery_during_the_first_fetch_is_refused_too() -> None:
    """
    Two issuers with one key ID, both cold, both asked at once: each token meets its own issuer's keys (D4).
    """
    one, other = new_issuer(), new_issuer("https://login.example.org")
    orders = ServicePackage("orders", issuer=[one.issuer, other.issuer], audience=one.audience)
    app = guarded(orders.requires())
    crossed = one.token(iss=other.url, headers={"kid": other.keys.current.kid})

    responses = await asyncio.gather(
        *(ask(app, token=token) for token in (one.token(), crossed, other.token(), crossed))
    )

    assert [response.status_code for response in responses] == [200, 401, 200, 401]


# Where the middleware stands


def several_routes(fake: FakeIssuer) -> list[BaseRoute]:
    """
    A bit of everything.
    """
    orders = package(fake)
    return [
        Route("/orders", orders.requires("orders:read")(endpoint())),
        Route("/slash/", orders.requires()(endpoint())),
        Mount("/v1", routes=[Route("/orders/{order_id:int}", orders.requires()(endpoint()))]),
        Route("/health", public(endpoint())),
    ]


async def test_wrapping_and_adding_are_the_same() -> None:
    """
    ``GuardrailMiddleware(app)`` and ``app.add_middleware(GuardrailMiddleware)`` answer alike.
    """
    fake = new_issuer()
    added = Starlette(routes=several_routes(fake))
    added.add_middleware(GuardrailMiddleware)
    wrapped = GuardrailMiddleware(Starlette(routes=several_routes(fake)))
    paths = [
        "/orders",
        "/orders/",
        "/slash",
        "/slash/",
        "/v1/orders/1",
        "/v1/orders/x",
        "/v1",
        "/health",
        "/x",
    ]
    tokens = [None, fake.token(), fake.token(scope="orders:read"), "a.b.c"]

    answers = {
        kind: [
            (response.status_code, sorted(response.headers.items()), response.content)
            for method in ("GET", "POST", "HEAD", "OPTIONS")
            for path in paths
            for token in tokens
            for response in [await ask(app, path, method=method, token=token)]
        ]
        for kind, app in (("added", added), ("wrapped", wrapped))
    }

    assert answers["added"] == answers["wrapped"]
    assert {status for status, _, _ in answers["added"]} == {200, 307, 401, 403, 404, 405}


async def test_a_slash_too_many_is_redirected_by_the_router() -> None:
    """
    Where the other form is a route, the router answers 307, for whoever asks.
    """
    app = GuardrailMiddleware(Starlette(routes=several_routes(new_issuer())))

    response = await ask(app, "/slash")

    assert response.status_code == 307
    assert response.headers["location"].endswith("/slash/")


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")  # and still in use
@pytest.mark.parametrize("root_path", ["/api", "/api/v2"])
@ADDED
async def test_an_application_behind_a_root_path_is_guarded_both_ways(is_added: bool, root_path: str) -> None:
    """
    ``FastAPI(root_path=...)``: whether the proxy strips the prefix or not, the policy is the route's (E6).
    """
    fake, heard = new_issuer(), list[Event]()
    inner = FastAPI(root_path=root_path, openapi_url=None)

    @inner.get("/orders")
    @package(fake).requires("orders:read")
    async def read_orders(operator: CurrentOperator) -> str:
        return operator.subject

    settings: dict[str, Any] = {"on_event": [heard.append]}
    if is_added:
        inner.add_middleware(GuardrailMiddleware, **settings)
    app: ASGIApp = inner if is_added else GuardrailMiddleware(inner, **settings)
    good, poor = fake.token(scope="orders:read"), fake.token()

    outcomes = {
        path: [(await ask(app, path, token=token)).status_code for token in (good, poor, None)]
        for path in ("/orders", f"{root_path}/orders", "/other/orders", f"{root_path}{root_path}/orders")
    }

    assert outcomes == {
        "/orders": [200, 403, 401],
        f"{root_path}/orders": [200, 403, 401],
        "/other/orders": [404] * 3,
        f"{root_path}{root_path}/orders": [404] * 3,
    }
    routes = {event.route for event in heard if isinstance(event, TokenAccepted | TokenRefused)}
    assert routes == {"/orders"}


@ADDED
async def test_a_root_path_of_the_server_is_heeded(is_added: bool) -> None:
    """
    A server's ``root_path`` is read as the router reads it.
    """
    fake = new_issuer()
    inner = Starlette(routes=several_routes(fake))
    if is_added:
        inner.add_middleware(GuardrailMiddleware)
    app: ASGIApp = inner if is_added else GuardrailMiddleware(inner)

    statuses = {
        path: (await raw_http(app, path, root_path="/proxy"))[0]["status"]
        for path in ("/proxy/orders", "/orders", "/proxy/health", "/proxyorders")
    }

    assert statuses == {"/proxy/orders": 401, "/orders": 401, "/proxy/health": 200, "/proxyorders": 404}


async def test_a_fastapi_application_is_guarded_with_its_documentation_open() -> None:
    """
    The documentation is public by name, the operator a parameter, and nothing is parsed before the decision.
    """
    fake = new_issuer()
    app = FastAPI()
    app.add_middleware(GuardrailMiddleware, public_paths=DOCS_PATHS)

    @app.post("/orders/{order_id}")
    @package(fake).requires("orders:write")
    async def place(order_id: int, operator: CurrentOperator, body: dict[str, int]) -> str:
        return operator.subject

    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://api.example.com")
    headers = {"authorization": f"Bearer {fake.token(scope='orders:write')}"}
    async with client:
        responses = [
            await client.get("/openapi.json"),
            await client.post("/orders/x", content=b"{"),
            await client.post("/orders/x", content=b"{", headers=headers),
            await client.post("/orders/1", json={"a": 1}, headers=headers),
        ]

    assert [response.status_code for response in responses] == [200, 401, 422, 200]


class Hiding:
    """
    Middleware that keeps what it wraps where nobody looks.
    """

    def __init__(self, wrapped: ASGIApp | None = None, *, app: ASGIApp | None = None) -> None:
        self._wrapped = wrapped or app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._wrapped is not None
        await self._wrapped(scope, receive, send)


async def test_a_router_hidden_behind_other_middleware_is_found_through_the_application() -> None:
    """
    Starlette names itself in the scope, so that what stands between need not say what it wraps.
    """
    fake = new_issuer()
    app = Starlette(
        routes=several_routes(fake), middleware=[Middleware(GuardrailMiddleware), Middleware(Hiding)]
    )

    statuses = [(await ask(app, path)).status_code for path in ("/orders", "/health", "/nowhere")]

    assert statuses == [401, 200, 404]


async def test_a_router_hidden_from_a_middleware_around_it_is_not_served() -> None:
    """
    What cannot be seen into is served by prefix, or not at all.
    """
    app = GuardrailMiddleware(Hiding(Starlette(routes=several_routes(new_issuer()))))

    statuses = [(await ask(app, path)).status_code for path in ("/orders", "/health")]

    assert statuses == [404, 404]


def foreign(ran: list[str]) -> ASGIApp:
    """
    A foreign application that answers whatever it is asked.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ran.append(scope["path"])
        await PlainTextResponse(current_operator().operator_id)(scope, receive, send)

    return app


async def test_a_foreign_application_is_guarded_by_prefix() -> None:
    """
    Around an application that is not Starlette's the prefixes are the whole table.
    """
    fake, ran, heard = new_issuer(), list[str](), list[Event]()
    orders = package(fake)
    app = GuardrailMiddleware(
        foreign(ran),
        prefixes={"/mcp": orders.requires("orders:read"), "/mcp/health": public},
        on_event=[heard.append],
    )

    statuses = {
        path: [
            (await ask(app, path, token=token)).status_code
            for token in (None, fake.token(scope="orders:read"))
        ]
        for path in ("/mcp", "/mcp/tools", "/mcp/health", "/mcpx", "/")
    }

    assert statuses == {
        "/mcp": [401, 200],
        "/mcp/tools": [401, 200],
        "/mcp/health": [200, 200],
        "/mcpx": [404, 404],
        "/": [404, 404],
    }
    assert ran == ["/mcp", "/mcp/tools", "/mcp/health", "/mcp/health"]
    assert {event.route for event in heard if isinstance(event, TokenAccepted)} == {"/mcp"}


async def test_a_guard_behind_a_mount_decides_by_its_own_settings() -> None:
    """
    A foreign application with a guard of its own is guarded by that one's prefixes, wherever it is mounted.
    """
    fake, ran = new_issuer(), list[str]()
    inner = GuardrailMiddleware(foreign(ran), prefixes={"/": package(fake).requires("orders:read")})
    outer = Starlette(routes=[Mount("/mcp", inner), Route("/open", public(endpoint()))])
    outer.add_middleware(GuardrailMiddleware, prefixes={"/mcp": public})

    statuses = {
        path: [
            (await ask(outer, path, token=token)).status_code
            for token in (None, fake.token(scope="orders:read"))
        ]
        for path in ("/mcp/tools", "/mcp/open")
    }

    assert statuses == {"/mcp/tools": [401, 200], "/mcp/open": [401, 200]}


async def test_a_guard_behind_a_mount_of_an_unguarded_application_decides_alone() -> None:
    """
    Starlette's name in the scope does not make it ours: our class is not among its middleware.
    """
    fake, ran = new_issuer(), list[str]()
    inner = GuardrailMiddleware(foreign(ran), prefixes={"/": package(fake).requires()})
    outer = Starlette(routes=[Mount("/mcp", inner), Route("/open", public(endpoint()))])

    statuses = [(await ask(outer, "/mcp/open", token=token)).status_code for token in (None, fake.token())]

    assert statuses == [401, 200]


async def test_a_page_of_ones_own_for_what_is_not_found() -> None:
    """
    ``not_found`` answers 404s of HTTP; it runs for nobody, and no declared endpoint can be run from it.
    """
    ran: list[str] = []

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        ran.append(current_operator().operator_id)
        await PlainTextResponse("nothing here", 404)(scope, receive, send)

    app = GuardrailMiddleware(Starlette(routes=several_routes(new_issuer())), not_found=page)

    responses = [await ask(app, path, method=method) for path, method in (("/x", "GET"), ("/orders", "PUT"))]
    websocket = await connect(app, "/x")

    assert (responses[0].status_code, responses[0].text) == (404, "nothing here")
    assert responses[1].status_code == 405
    assert websocket.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert ran == ["anonymous"]


@pytest.mark.parametrize("serves", ["declared", "public"])
async def test_a_page_for_what_is_not_found_cannot_run_a_declared_endpoint(serves: str) -> None:
    """
    The decision "nothing here" allows no endpoint, however it is reached.
    """
    fake, ran = new_issuer(), list[str]()
    declare = {"declared": package(fake).requires(), "public": public}[serves]
    inner = Route("/", declare(endpoint(ran)))  # type: ignore[operator] # both are decorators
    app = GuardrailMiddleware(Starlette(), not_found=Starlette(routes=[Mount("/", routes=[inner])]))

    with pytest.raises(MiddlewareMissingError):
        await ask(app, "/", token=fake.token())

    assert ran == []


# Preflights

PREFLIGHT = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")]


@pytest.mark.parametrize("place", ["outside", "inside", "nowhere"])
async def test_a_preflight_is_the_cors_layers(place: str) -> None:
    """
    It needs no token, is answered by CORS where there is one, and runs no endpoint (R37).
    """
    fake, ran = new_issuer(), list[str]()
    app: ASGIApp = Starlette(routes=[Route("/orders", package(fake).requires()(endpoint(ran)))])
    cors: dict[str, Any] = {"allow_origins": ["https://app.example"], "allow_methods": ["GET"]}
    if place == "inside":
        app = CORSMiddleware(app, **cors)
    app = GuardrailMiddleware(app)
    if place == "outside":
        app = CORSMiddleware(app, **cors)

    response = await ask(app, method="OPTIONS", headers=PREFLIGHT)

    assert response.status_code == (405 if place == "nowhere" else 200)
    assert ran == []


async def test_a_refusal_inside_cors_has_its_fields() -> None:
    """
    With CORS outside, a browser may read our 401.
    """
    app = CORSMiddleware(guarded(package(new_issuer()).requires()), allow_origins=["https://app.example"])

    response = await ask(app, headers=[("Origin", "https://app.example")])

    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == "https://app.example"


@pytest.mark.parametrize(
    ("headers", "has_token", "status"),
    [
        pytest.param(PREFLIGHT, False, 405, id="a preflight"),
        pytest.param(PREFLIGHT, True, 200, id="a preflight with a token"),
        pytest.param(PREFLIGHT[:1], False, 401, id="no preflight: no method asked for"),
        pytest.param(PREFLIGHT[1:], False, 401, id="no preflight: no origin"),
        pytest.param([], True, 200, id="OPTIONS with a token"),
    ],
)
@pytest.mark.parametrize("kind", ["prefix", "route"])
async def test_a_preflight_never_runs_what_is_declared(
    kind: str, headers: list[tuple[str, str]], has_token: bool, status: int
) -> None:
    """
    What answers OPTIONS itself gets a preflight only with a token; anything else is guarded as ever.
    """
    fake, ran = new_issuer(), list[str]()
    requirement = package(fake).requires()
    app: ASGIApp
    if kind == "prefix":
        app = GuardrailMiddleware(foreign(ran), prefixes={"/orders": requirement})
    else:
        route = Route("/orders", requirement(endpoint(ran)), methods=["OPTIONS"])
        app = GuardrailMiddleware(Starlette(routes=[route]))

    response = await ask(app, method="OPTIONS", headers=headers, token=fake.token() if has_token else None)

    assert response.status_code == status
    assert bool(ran) is (status == 200)


async def test_a_preflight_of_a_public_route_is_its_own() -> None:
    """
    A public endpoint answers whatever it answers.
    """
    ran: list[str] = []
    app = GuardrailMiddleware(
        Starlette(routes=[Route("/health", public(endpoint(ran)), methods=["OPTIONS"])])
    )

    response = await ask(app, "/health", method="OPTIONS", headers=PREFLIGHT)

    assert (response.status_code, ran) == (200, ["/health"])


# The endpoint that answers


async def test_an_opaque_application_that_was_not_decided_on_does_not_answer() -> None:
    """
    Something behind us that turns the path elsewhere gets no byte of another mount out (E7).
    """
    fake, ran = new_issuer(), list[str]()

    class Turning:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                scope["path"] = scope["path"].replace("/open", "/closed")
            await self.app(scope, receive, send)

    inner = Starlette(routes=[Mount("/open", foreign(ran)), Mount("/closed", foreign(ran))])
    app = GuardrailMiddleware(Turning(inner), prefixes={"/open": public, "/closed": package(fake).requires()})

    with pytest.raises(MiddlewareMissingError, match="another endpoint answered"):
        await ask(app, "/open/x")

    assert (await ask(app, "/closed/x", token=fake.token())).status_code == 200


async def test_what_no_endpoint_may_answer_no_mount_answers_either() -> None:
    """
    Something behind us that turns a redirect's path elsewhere gets no byte of what is mounted there out (E7).
    """
    fake, ran = new_issuer(), list[str]()

    class Turning:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app({**scope, "path": "/closed/x"} if self.is_on else scope, receive, send)

        is_on = False

    slash = Route("/slash/", public(endpoint()))
    turning = Turning(Starlette(routes=[slash, Mount("/closed", foreign(ran))]))
    app = GuardrailMiddleware(turning, prefixes={"/closed": package(fake).requires()})
    before = await ask(app, "/slash")
    turning.is_on = True

    with pytest.raises(MiddlewareMissingError):
        await ask(app, "/slash")

    assert before.status_code == 307


# WebSockets


class Connection:
    """
    A WebSocket client that connects, says its lines and waits.
    """

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self.sent: list[Message] = []
        self._says: list[Message] = [{"type": "websocket.connect"}]
        self._says += [{"type": "websocket.receive", "text": line} for line in lines]

    async def receive(self) -> Message:
        """
        What it says next; then nothing, ever.
        """
        if not self._says:
            await asyncio.Event().wait()
        return self._says.pop(0)

    async def send(self, message: Message) -> None:
        """
        Note a message.
        """
        self.sent.append(message)


async def connect(
    app: ASGIApp,
    path: str = "/feed",
    *,
    token: str | None = None,
    lines: Iterable[str] = (),
    extensions: dict[str, Any] | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> Connection:
    """
    Open one WebSocket, and serve it to its end.
    """
    connection = Connection(lines)
    fields = [*headers, *([] if token is None else [("Authorization", f"Bearer {token}")])]
    scope = raw_scope(path, headers=fields, type="websocket", scheme="wss", subprotocols=[])
    del scope["method"]
    if extensions is not None:
        scope["extensions"] = extensions
    await app(scope, connection.receive, connection.send)
    return connection


def echo(ran: list[str]) -> Callable[[WebSocket], Awaitable[None]]:
    """
    An endpoint that accepts, answers every line with the operator, and ends on "bye" or when the client left.
    """

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        ran.append("accepted")
        try:
            while (line := await websocket.receive_text()) != "bye":
                await websocket.send_text(f"{current_operator().subject}: {line}")
        except WebSocketDisconnect as exc:
            ran.append(f"left with {exc.code}")

    return handler


def feed(requirement: Requirement, ran: list[str], **settings: Any) -> ASGIApp:
    """
    An application of one WebSocket.
    """
    return GuardrailMiddleware(
        Starlette(routes=[WebSocketRoute("/feed", requirement(echo(ran)))]), **settings
    )


async def test_a_websocket_with_a_good_token_is_served() -> None:
    """
    The handshake is decided on like a request, and the operator holds for the whole connection.
    """
    fake, ran, heard = new_issuer(), list[str](), list[Event]()
    app = feed(package(fake).requires("orders:read"), ran, on_event=[heard.append])

    connection = await connect(app, token=fake.token(scope="orders:read"), lines=["hello", "bye"])

    assert connection.sent == [
        {"type": "websocket.accept", "subprotocol": None, "headers": []},
        {"type": "websocket.send", "text": "alice: hello"},
    ]
    assert ran == ["accepted"]
    assert [type(event) for event in heard] == [KeysFetched, TokenAccepted]


WEBSOCKET_REFUSALS = [
    pytest.param(fields(), 401, id="no token"),
    pytest.param(fields("Bearer"), 400, id="a malformed field"),
    pytest.param(bearer(expires_in=-3600), 401, id="an expired token"),
    pytest.param(bearer(), 403, id="a scope too few"),
]


@pytest.mark.parametrize(("fields", "status"), WEBSOCKET_REFUSALS)
async def test_a_refused_handshake_gets_a_real_answer_where_the_server_can(
    fields: Fields, status: int
) -> None:
    """
    With the denial extension the answer is the one an HTTP request would get; nothing ran (E8, R247).
    """
    fake, ran, heard = new_issuer(), list[str](), list[Event]()
    requirement = package(fake).requires("orders:read")
    app = feed(requirement, ran, on_event=[heard.append])
    headers = fields(fake)
    http = await ask(guarded(requirement), headers=headers)

    connection = await connect(app, headers=headers, extensions={"websocket.http.response": {}})

    start, body = connection.sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert dict(start["headers"])[b"www-authenticate"].decode() == http.headers["www-authenticate"]
    assert dict(start["headers"])[b"cache-control"] == b"no-store"
    assert body == {"type": "websocket.http.response.body", "body": http.content, "more_body": False}
    assert ran == []
    assert [event.status for event in heard if isinstance(event, TokenRefused)] == [status]


@pytest.mark.parametrize(("fields", "status"), WEBSOCKET_REFUSALS)
@pytest.mark.parametrize("extensions", [None, {}, {"tls": {}}])
async def test_a_refused_handshake_is_closed_before_accept_elsewhere(
    extensions: dict[str, Any] | None, fields: Fields, status: int
) -> None:
    """
    Without the extension: one close, no accept, no frame.
    """
    fake, ran = new_issuer(), list[str]()
    app = feed(package(fake).requires("orders:read"), ran)

    connection = await connect(app, headers=fields(fake), extensions=extensions)

    assert connection.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert ran == []


async def test_a_websocket_without_keys_is_unavailable() -> None:
    """
    503 with the seconds to wait, or a close.
    """
    fake, ran, heard = new_issuer(), list[str](), list[Event]()
    fake.go_down()
    requirement = package(fake, issuer=pausing(fake, 3.0)).requires()
    app = feed(requirement, ran, on_event=[heard.append], monotonic=Clock(0.0))

    told = await connect(app, token=fake.token(), extensions={"websocket.http.response": {}})
    closed = await connect(app, token=fake.token())

    assert told.sent[0]["status"] == 503
    assert dict(told.sent[0]["headers"])[b"retry-after"] == b"3"
    assert closed.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert ran == []
    assert len([event for event in heard if isinstance(event, KeysUnavailable)]) == 2


@pytest.mark.parametrize("path", ["/nowhere", "/feed/", "/orders"])
async def test_a_websocket_to_nowhere_is_refused(path: str) -> None:
    """
    404 whoever asks, also where an HTTP route is.
    """
    fake, ran = new_issuer(), list[str]()
    requirement = package(fake).requires()
    app = GuardrailMiddleware(
        Starlette(
            routes=[
                WebSocketRoute("/feed", requirement(echo(ran))),
                Route("/orders", requirement(endpoint(ran))),
            ]
        )
    )

    connection = await connect(app, path, token=fake.token(), extensions={"websocket.http.response": {}})

    assert connection.sent[0]["status"] == 404
    assert ran == []


class _VirtualSelector(selectors.DefaultSelector):
    """
    A selector that reports at once, and counts the seconds it was asked to wait.
    """

    waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing would ever happen again"
            self.waited += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """
    An event loop whose seconds take no time.
    """

    def __init__(self) -> None:
        self.virtual = _VirtualSelector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.waited


@pytest.mark.parametrize(
    ("asked_at", "seconds"),
    [
        pytest.param(0.0, 600.0, id="a fresh token"),
        pytest.param(599.5, 0.5, id="a token near its end"),
        pytest.param(600.0, 30.0, id="a token let in by the leeway"),
    ],
)
def test_a_websocket_ends_with_its_token(asked_at: float, seconds: float) -> None:
    """
    The client is sent a close at *exp*, or at the end of the leeway that let it in; the endpoint sees it go.
    """
    clock, ran = Clock(), list[str]()
    fake = new_issuer(clock=clock)
    app = feed(package(fake).requires(), ran, clock=clock)
    token = fake.token(expires_in=600.0)

    async def serve() -> float:
        clock.now += asked_at
        connection = await connect(app, token=token, lines=["hello"])
        sent.extend(connection.sent)
        return asyncio.get_running_loop().time()

    sent: list[Message] = []
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        took = runner.run(serve())

    assert took == pytest.approx(seconds)
    assert sent[-1] == {"type": "websocket.close", "code": 1008, "reason": "token expired"}
    assert ran == ["accepted", "left with 1008"]


async def test_a_websocket_ends_with_its_token_by_a_real_clock() -> None:
    """
    The same, in a fraction of a second that passes.
    """
    fake, ran = new_issuer(), list[str]()
    issuer = Issuer(fake.url, http_client=fake.http_client, leeway=0.0)
    app = feed(ServicePackage("orders", issuer=issuer, audience=fake.audience).requires(), ran)

    connection = await connect(app, token=fake.token(expires_in=0.2))

    assert connection.sent[-1]["reason"] == "token expired"
    assert ran == ["accepted", "left with 1008"]


def test_a_public_websocket_has_no_end() -> None:
    """
    Without a token there is nothing to expire.
    """
    ran: list[str] = []

    @public
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await asyncio.sleep(1_000_000.0)
        ran.append(current_operator().operator_id)

    app = GuardrailMiddleware(Starlette(routes=[WebSocketRoute("/feed", handler)]))
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        connection = runner.run(connect(app, token="not.looked.at"))

    assert ran == ["anonymous"]
    assert [message["type"] for message in connection.sent] == ["websocket.accept"]


# An operator assumed in a test


async def test_an_assumed_operator_skips_the_token_and_not_the_policy() -> None:
    """
    `as_operator` stands in for a token; scopes and step-up still decide, and nothing is fetched.
    """
    fake, heard = new_issuer(), list[Event]()
    app = guarded(package(fake).requires("orders:read", acr_values=["urn:mfa"]), on_event=[heard.append])

    statuses = []
    for fields in (
        {"scopes": ["orders:read"], "acr": "urn:mfa"},
        {"scopes": ["orders:read"], "acr": "urn:pin"},
        {"scopes": ["orders:write"], "acr": "urn:mfa"},
    ):
        with as_operator(**cast("dict[str, Any]", fields)):
            statuses.append((await ask(app)).status_code)
    statuses.append((await ask(app)).status_code)

    assert statuses == [200, 401, 403, 401]
    assert fake.request_count == 0
    assert [type(event) for event in heard] == [TokenAccepted, *[TokenRefused] * 3]


def test_an_assumed_operators_websocket_has_no_end() -> None:
    """
    Without a token there is nothing to expire.
    """
    fake, ran = new_issuer(), list[str]()

    @package(fake).requires()
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await asyncio.sleep(1_000_000.0)
        ran.append(current_operator().subject)

    app = GuardrailMiddleware(Starlette(routes=[WebSocketRoute("/feed", handler)]))
    with as_operator(), asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(connect(app))

    assert ran == ["alice"]


async def test_an_assumed_operators_authentication_is_judged_without_leeway() -> None:
    """
    There is no issuer whose leeway could be forgiven.
    """
    clock = Clock(time.time() + 301.0)
    app = guarded(package(new_issuer()).requires(max_age=300.0), clock=clock)

    with as_operator():
        response = await ask(app)

    assert response.status_code == 401


# A handler's own mistakes


async def test_an_error_of_the_application_is_its_own() -> None:
    """
    What a handler raises is not taken for a refusal, not even an error of ours.
    """
    fake = new_issuer()
    errors: list[Exception] = [RuntimeError("a bug"), PolicyError("a bug")]
    raised = iter(errors)

    @package(fake).requires()
    async def crash(request: Request) -> Response:
        raise next(raised)

    app = GuardrailMiddleware(Starlette(routes=[Route("/orders", crash)]))

    for error in errors:
        with pytest.raises(type(error)) as caught:
            await ask(app, token=fake.token())
        assert caught.value is error


async def test_a_handlers_token_error_is_not_answered_by_us() -> None:
    """
    The road ends where the endpoint begins: only a refusal of this very request is turned into an answer.
    """
    fake, heard = new_issuer(), list[Event]()
    other = guarded(package(fake).requires("admin"))

    @package(fake).requires()
    async def nested(request: Request) -> Response:
        return PlainTextResponse(str((await ask(other, token=fake.token())).status_code))

    app = GuardrailMiddleware(Starlette(routes=[Route("/orders", nested)]), on_event=[heard.append])

    response = await ask(app, token=fake.token())

    assert (response.status_code, response.text) == (200, "403")
    assert not [event for event in heard if isinstance(event, TokenRefused)]


@functools.cache
def fuzz_tokens() -> tuple[str, ...]:
    """
    Tokens that are wrong in one place each, or in a way nobody thought of.
    """
    keys = SigningKeys("EdDSA")
    good = keys.sign({"iss": "https://login.example.com", "aud": "x", "exp": NOW})
    values: list[object] = [None, True, -1, 10**400, [], {}, "", "\ud800", [[]], {"a": {"b": []}}]
    claims = ("iss", "aud", "exp", "nbf", "iat", "sub", "scope", "jti", "act", "cnf", "roles", "client_id")
    headers = ("alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "enc")
    base = {
        "iss": "https://login.example.com",
        "aud": "https://api.example.com/orders",
        "exp": NOW + 60,
        "sub": "a",
    }
    return (
        *(good[:length] for length in range(0, len(good), 7)),
        *(keys.sign({**base, claim: value}) for claim in claims for value in values),
        *(
            keys.sign(base, headers={header: value})
            for header in headers
            for value in values
            if value is not None
        ),
        *("." * dots for dots in range(8)),
        json.dumps({"payload": good.split(".")[1]}).replace('"', ""),
    )


async def test_no_token_whatever_makes_an_error_of_ours() -> None:
    """
    Wrong types, prefixes, huge numbers: 400 or 401, never a crash and never a pass (R35, B8, B15).
    """
    fake, ran = new_issuer(), list[str]()
    app = guarded(package(fake).requires(), ran, clock=Clock())

    statuses = {
        (await raw_http(app, "/orders", headers=[("Authorization", f"Bearer {token}")]))[0]["status"]
        for token in fuzz_tokens()
    }

    assert statuses == {400, 401}
    assert ran == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("scheme", "host", "told"),
    [
        pytest.param("http", "api.example.com", 1, id="plain"),
        pytest.param("https", "api.example.com", 0, id="over TLS"),
        pytest.param("http", "127.0.0.1", 0, id="on this machine"),
        pytest.param("http", "localhost", 0, id="on this machine by name"),
    ],
)
async def test_tokens_over_plain_http_are_told_of_once(scheme: str, host: str, told: int) -> None:
    """
    R15, RFC 6750 §5.2: a listener hears once that tokens arrive without TLS; nothing is refused for it.
    """
    fake, heard = new_issuer(), list[Event]()
    app = guarded(package(fake).requires(), on_event=[heard.append])
    transport = httpx.ASGITransport(app)
    headers = {"authorization": f"Bearer {fake.token()}"}

    async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://{host}") as client:
        statuses = [(await client.get("/orders", headers=headers)).status_code for _ in range(2)]

    assert statuses == [200, 200]
    assert sum(isinstance(event, PlainHttpUsed) for event in heard) == told
