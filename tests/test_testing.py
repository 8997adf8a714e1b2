"""
Testing support, as a newcomer's test suite would use it.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NoReturn

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

import guardrail.testing
from guardrail import GuardrailMiddleware, Operator, ServicePackage, TokenFacts, current_operator, public
from guardrail.errors import MiddlewareMissingError
from guardrail.testing import FakeIssuer, as_operator, assert_guarded

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")


def _app(issuer: Any, **settings: Any) -> Starlette:
    """
    An API with a route of each kind: reading, writing, with conditions beside scopes, public, a WebSocket.
    """
    orders = ServicePackage(
        "orders",
        issuer=issuer,
        audience="https://api.example.com/orders",
        implies={"orders:admin": ["orders:read"]},
    )

    @orders.requires("orders:read")
    async def read(request: Request) -> JSONResponse:
        operator = current_operator()
        assert request.state.operator is operator
        return JSONResponse({"operator": operator.operator_id, "claims": sorted(operator.claims)})

    @orders.requires("orders:read", "orders:write")
    async def write(request: Request) -> JSONResponse:
        return JSONResponse({}, status_code=201)

    @orders.requires(roles=["clerk"], access_groups=["Orders:Batch"], acr_values=["gold"], max_age=60)
    async def close(request: Request) -> JSONResponse:
        return JSONResponse({})

    @public
    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"operator": current_operator().operator_id})

    @orders.requires("orders:read")
    async def feed(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(current_operator().operator_id)
        await websocket.close()

    return Starlette(
        routes=[
            Route("/orders", read),
            Route("/orders", write, methods=["POST"]),
            Route("/close", close),
            Route("/health", health),
            WebSocketRoute("/feed", feed),
        ],
        middleware=[Middleware(GuardrailMiddleware, **settings)],
    )


def _client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.example.com")


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _status(app: Any, token: str | None = None, *, path: str = "/orders", method: str = "GET") -> int:
    async with _client(app) as client:
        response = await client.request(method, path, headers=_bearer(token) if token else {})
    return response.status_code


# FakeIssuer


@pytest.fixture(params=ALGORITHMS)
def signer(request: pytest.FixtureRequest) -> FakeIssuer:
    """
    A fake issuer of each algorithm.
    """
    return FakeIssuer(algorithm=request.param)


@pytest.mark.anyio
async def test_its_tokens_are_accepted_and_those_of_another_are_not(signer: FakeIssuer) -> None:
    """
    The signatures are real: a second issuer of the same name and algorithm has other keys.
    """
    app = _app(signer.issuer)
    stranger = FakeIssuer(algorithm=signer.keys.algorithm)

    accepted = await _status(app, signer.token(scope="orders:read"))
    refused = await _status(app, stranger.token(scope="orders:read"))

    assert (accepted, refused) == (200, 401)


@pytest.mark.anyio
async def test_a_changed_token_is_refused(signer: FakeIssuer) -> None:
    """
    One character of the signature less is no signature.
    """
    app = _app(signer.issuer)
    token = signer.token(scope="orders:read")

    assert await _status(app, token) == 200
    assert await _status(app, token[:-1]) == 401


@pytest.mark.anyio
async def test_a_scope_that_is_missing_is_403(fake_issuer: FakeIssuer) -> None:
    """
    ``scope=`` is what the token grants; without it the token grants nothing, and is still a good one.
    """
    app = _app(fake_issuer.issuer)
    read, both = fake_issuer.token(scope="orders:read"), fake_issuer.token(scope="orders:read orders:write")

    assert await _status(app, both, method="POST") == 201
    assert await _status(app, read, method="POST") == 403
    assert await _status(app, fake_issuer.token()) == 403


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("claims", "status"),
    [
        pytest.param({"aud": ["https://other.example.com", "https://api.example.com/orders"]}, 200, id="aud"),
        pytest.param({"aud": "https://other.example.com"}, 401, id="another aud"),
        pytest.param({"aud": None}, 401, id="no aud"),
        pytest.param({"iss": "https://login.example.org"}, 401, id="another iss"),
        pytest.param({"exp": None}, 401, id="no exp"),
        pytest.param({"jti": None, "client_id": None, "iat": None}, 200, id="no optional claim"),
        pytest.param({"https://example.com/claim": 1}, 200, id="a claim of one's own"),
        pytest.param({"nonce": "1"}, 401, id="the mark of an ID token"),
        pytest.param({"scope": None, "scp": ["orders:read"]}, 200, id="scp"),
    ],
)
async def test_claims_are_added_replaced_and_removed(
    fake_issuer: FakeIssuer, claims: dict[str, Any], status: int
) -> None:
    """
    Any claim may be given; None removes one.
    """
    token = fake_issuer.token(**({"scope": "orders:read"} | claims))

    assert await _status(_app(fake_issuer.issuer), token) == status


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"typ": "JWT"}, 200, id="another typ"),
        pytest.param({"typ": None, "kid": None}, 200, id="none"),
        pytest.param({"typ": "dpop+jwt"}, 401, id="a wrong typ"),
        pytest.param({"kid": "unknown"}, 401, id="unknown kid"),
        pytest.param({"alg": "none"}, 401, id="none for alg"),
        pytest.param({"alg": "PS256"}, 401, id="a lying alg"),
    ],
)
async def test_header_parameters_are_replaced_and_removed(
    fake_issuer: FakeIssuer, headers: dict[str, object], status: int
) -> None:
    """
    The header may lie; the signature stays the current key's.
    """
    token = fake_issuer.token(scope="orders:read", headers=headers)

    assert await _status(_app(fake_issuer.issuer), token) == status


@pytest.mark.anyio
async def test_expired_is_below_the_leeway(fake_issuer: FakeIssuer) -> None:
    """
    A token a few seconds over is forgiven; as the docstring says, -31 is expired.
    """
    app = _app(fake_issuer.issuer)

    assert await _status(app, fake_issuer.token(scope="orders:read", expires_in=-20)) == 200
    assert await _status(app, fake_issuer.token(scope="orders:read", expires_in=-31)) == 401


@pytest.mark.anyio
async def test_the_clock_may_be_ones_own() -> None:
    """
    With the same clock in the issuer and the middleware a test decides what time it is.
    """
    now = [1_000_000.0]
    fake = FakeIssuer(clock=lambda: now[0])
    app = _app(fake.issuer, clock=lambda: now[0])
    token = fake.token(scope="orders:read", expires_in=60)

    fresh = await _status(app, token)
    now[0] += 60 + 29
    forgiven = await _status(app, token)
    now[0] += 2
    expired = await _status(app, token)

    assert (fresh, forgiven, expired) == (200, 200, 401)


@pytest.mark.anyio
async def test_tokens_name_the_url_and_the_audience_given() -> None:
    """
    Another issuer, for another audience, with the client and subject that tokens have when nobody says.
    """
    fake = FakeIssuer("https://idp.example.org/tenant", audience="https://api.example.org")
    package = ServicePackage("shop", issuer=fake.issuer, audience=fake.audience)

    @package.requires()
    async def show(request: Request) -> JSONResponse:
        operator = current_operator()
        return JSONResponse([operator.issuer, operator.subject, operator.client_id])

    app = Starlette(routes=[Route("/", show)], middleware=[Middleware(GuardrailMiddleware)])
    async with _client(app) as client:
        response = await client.get("/", headers=_bearer(fake.token()))

    assert (fake.url, fake.issuer.url) == ("https://idp.example.org/tenant", "https://idp.example.org/tenant")
    assert response.json() == ["https://idp.example.org/tenant", "alice", "test-client"]


@pytest.mark.anyio
async def test_a_package_that_names_the_url_reaches_it_through_the_middleware(
    fake_issuer: FakeIssuer,
) -> None:
    """
    An application under test keeps its issuer as a string; ``http_client=`` points it here, and only here.
    """
    app = _app(fake_issuer.url, http_client=fake_issuer.http_client)
    other = _app("https://another.example.com", http_client=fake_issuer.http_client)

    accepted = await _status(app, fake_issuer.token(scope="orders:read"))
    unknown = await _status(other, fake_issuer.token(scope="orders:read", iss="https://another.example.com"))

    assert (accepted, unknown) == (200, 503)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com/",
        "https://login.example.com/a/b",
        "https://Login.Example.com:443",
        "http://127.0.0.1:9000",
    ],
)
async def test_any_issuer_url_can_be_faked(url: str) -> None:
    """
    However the URL is spelt, discovery and keys are found, and *iss* is exactly that.
    """
    fake = FakeIssuer(url)

    assert await _status(_app(fake.issuer), fake.token(scope="orders:read")) == 200


@pytest.mark.anyio
async def test_requests_are_counted(fake_issuer: FakeIssuer) -> None:
    """
    Discovery and the key set are one request each, for any number of tokens.
    """
    app = _app(fake_issuer.issuer)
    before = fake_issuer.request_count

    await asyncio.gather(*(_status(app, fake_issuer.token(scope="orders:read")) for _ in range(5)))

    assert (before, fake_issuer.request_count) == (0, 2)
    assert fake_issuer.requests == [
        "https://login.example.com/.well-known/oauth-authorization-server",
        "https://login.example.com/jwks",
    ]


@pytest.mark.anyio
async def test_a_kept_key_is_still_good_and_a_dropped_one_is_not(fake_issuer: FakeIssuer) -> None:
    """
    After a rotation the new token is found; the old one only while its key is published.
    """
    kept, dropped = FakeIssuer(), FakeIssuer()
    old_kept, old_dropped = kept.token(scope="orders:read"), dropped.token(scope="orders:read")
    kid_kept, kid_dropped = kept.rotate(), dropped.rotate(keep_previous=False)

    assert kid_kept == kept.keys.current.kid
    assert kid_dropped == dropped.keys.current.kid
    assert await _status(_app(kept.issuer), kept.token(scope="orders:read")) == 200
    assert await _status(_app(kept.issuer), old_kept) == 200
    assert await _status(_app(dropped.issuer), dropped.token(scope="orders:read")) == 200
    assert await _status(_app(dropped.issuer), old_dropped) == 401


@pytest.mark.anyio
async def test_a_rotation_is_noticed_by_a_running_application(fake_issuer: FakeIssuer) -> None:
    """
    An unknown key ID makes the application look again.
    """
    app = _app(fake_issuer.issuer)
    old = fake_issuer.token(scope="orders:read")
    before = await _status(app, old)
    fake_issuer.rotate()

    assert before == 200
    assert await _status(app, fake_issuer.token(scope="orders:read")) == 200
    assert await _status(app, old) == 200
    assert fake_issuer.request_count > 2


@pytest.mark.anyio
async def test_while_it_is_down_there_are_no_keys(fake_issuer: FakeIssuer) -> None:
    """
    Down: 503, and the attempt is counted. Up again: 200, once the pause after a failure is over.
    """
    monotonic = [0.0]
    app = _app(fake_issuer.issuer, monotonic=lambda: monotonic[0])
    fake_issuer.go_down()
    down = await _status(app, fake_issuer.token(scope="orders:read"))
    attempts = fake_issuer.request_count
    fake_issuer.come_up()
    monotonic[0] += 60

    assert (down, attempts) == (503, 1)
    assert await _status(app, fake_issuer.token(scope="orders:read")) == 200


@pytest.mark.anyio
async def test_keys_in_hand_outlive_the_issuer(fake_issuer: FakeIssuer) -> None:
    """
    Going down after the keys were fetched changes nothing for tokens they sign.
    """
    app = _app(fake_issuer.issuer)
    before = await _status(app, fake_issuer.token(scope="orders:read"))
    fake_issuer.go_down()

    assert (before, await _status(app, fake_issuer.token(scope="orders:read"))) == (200, 200)


@pytest.mark.anyio
async def test_what_it_does_not_have_is_404(fake_issuer: FakeIssuer) -> None:
    """
    It is an issuer's metadata and keys, and no other URL.
    """
    for url in ("https://login.example.com/token", "https://elsewhere.example.com/jwks"):
        assert (await fake_issuer.http_client.get(url)).status_code == 404


def test_what_cannot_be_faked_is_refused_with_the_right_form() -> None:
    """
    An unknown algorithm names the known ones; an issuer without TLS is one that guardrail would not trust.
    """
    with pytest.raises(ValueError, match="must be one of RS256, PS256, ES256, EdDSA, not 'HS256'"):
        FakeIssuer(algorithm="HS256")
    with pytest.raises(guardrail.errors.PolicyError, match="must be an https URL"):
        _ = FakeIssuer("http://login.example.com").issuer


def test_the_same_issuer_is_equal_each_time(fake_issuer: FakeIssuer) -> None:
    """
    Two packages that take `FakeIssuer.issuer` share one key set, as equal issuers do.
    """
    assert fake_issuer.issuer == fake_issuer.issuer
    assert fake_issuer.issuer.http_client is fake_issuer.http_client


def test_two_application_loops_may_use_one_fake() -> None:
    """
    One fake serves synchronous tests too, whose clients each run a loop of their own.
    """
    fake = FakeIssuer()
    headers = _bearer(fake.token(scope="orders:read"))
    app = _app(fake.issuer)

    statuses = [TestClient(each).get("/orders", headers=headers).status_code for each in (app, app)]
    with TestClient(_app(fake.issuer)) as client:
        statuses.append(client.get("/orders", headers=headers).status_code)

    assert statuses == [200, 200, 200]


# as_operator


@pytest.fixture
def app() -> Starlette:
    """
    An API whose issuer cannot be reached: only an assumed operator gets in.
    """
    fake = FakeIssuer(algorithm="ES256")
    fake.go_down()
    return _app(fake.issuer)


@pytest.mark.anyio
async def test_an_assumed_operator_needs_no_token_and_no_keys(app: Starlette) -> None:
    """
    Inside the context a request without a token is served as the operator; outside it is refused.
    """
    with as_operator(scopes=["orders:read"]) as operator:
        async with _client(app) as client:
            response = await client.get("/orders")
    after = await _status(app)

    assert (response.status_code, response.json()["operator"]) == (200, operator.operator_id)
    assert after == 401


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        pytest.param(["orders:read", "orders:write"], 201, id="both"),
        pytest.param({"orders:admin", "orders:write"}, 201, id="one implied"),
        pytest.param(["orders:write"], 403, id="one missing"),
        pytest.param([], 403, id="none"),
    ],
)
async def test_the_policy_still_applies(app: Starlette, scopes: list[str], status: int) -> None:
    """
    The token is skipped, the scopes are not.
    """
    with as_operator(scopes=scopes):
        assert await _status(app, method="POST") == status


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("lacking", "status"),
    [
        pytest.param({}, 200, id="nothing"),
        pytest.param({"roles": ["guest"]}, 403, id="role"),
        pytest.param({"access_group": "Orders:Api"}, 403, id="access group"),
        pytest.param({"acr": None}, 401, id="acr"),
        pytest.param({"token": TokenFacts(acr="gold", auth_time=time.time() - 120)}, 401, id="max_age"),
    ],
)
async def test_every_condition_can_be_met_and_missed(
    app: Starlette, lacking: dict[str, Any], status: int
) -> None:
    """
    Roles, access group, authentication context and age are judged as with a token.
    """
    met: dict[str, Any] = {"roles": ["clerk"], "access_group": "Orders:Batch", "acr": "gold"}

    with as_operator(**(met | lacking)):
        assert await _status(app, path="/close") == status


@pytest.mark.anyio
async def test_a_token_beside_it_is_not_looked_at(app: Starlette) -> None:
    """
    Even nonsense for a token: the operator is the assumed one.
    """
    with as_operator(scopes=["orders:read"]):
        assert await _status(app, "nonsense") == 200


@pytest.mark.anyio
async def test_a_public_route_stays_anonymous(app: Starlette) -> None:
    """
    Nobody is authenticated where no token is asked for.
    """
    with as_operator(scopes=["orders:read"]):
        async with _client(app) as client:
            response = await client.get("/health")

    assert response.json() == {"operator": "anonymous"}


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/orders", 405)])
async def test_what_is_not_there_is_still_not_there(
    app: Starlette, method: str, path: str, status: int
) -> None:
    """
    Routes are resolved as ever.
    """
    with as_operator(scopes=["orders:read"]):
        assert await _status(app, path=path, method=method) == status


@pytest.mark.anyio
async def test_contexts_nest(app: Starlette) -> None:
    """
    The innermost operator counts, and the outer one is back afterwards.
    """
    async with _client(app) as client:
        with as_operator(scopes=["orders:read"], operator_id="outer"):
            with as_operator(scopes=["orders:read"], operator_id="inner"):
                inner = (await client.get("/orders")).json()["operator"]
            outer = (await client.get("/orders")).json()["operator"]

    assert (inner, outer) == ("inner", "outer")


@pytest.mark.anyio
async def test_it_ends_with_an_exception_too(app: Starlette) -> None:
    """
    A failing test does not lend its operator to the next one.
    """
    with pytest.raises(ZeroDivisionError), as_operator(scopes=["orders:read"]):
        raise ZeroDivisionError

    assert await _status(app) == 401


def test_the_operator_may_be_anyone() -> None:
    """
    Fields have defaults that say they are a test's, and every one may be given.
    """
    with as_operator() as alice, as_operator(kind="service", client_id="batch", tenant="t1") as batch:
        pass

    assert isinstance(alice, Operator)
    assert (alice.operator_id, alice.kind) == ("https://testing.invalid#alice", "user")
    assert (alice.scopes, alice.roles, alice.access_groups) == (frozenset(), frozenset(), ())
    assert (batch.kind, batch.client_id, batch.tenant) == ("service", "batch", "t1")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"scopes": "orders:read"}, id="bare scopes"),
        pytest.param({"roles": "clerk"}, id="bare roles"),
        pytest.param({"scope": ["orders:read"]}, id="no such field"),
    ],
)
def test_a_wrong_argument_is_refused(arguments: dict[str, Any]) -> None:
    """
    A bare string would be a set of its letters; the message shows the right form.
    """
    with pytest.raises(TypeError, match=r'such as scopes=\["orders:read"\]|scope'), as_operator(**arguments):
        raise AssertionError("it must not get here")


def test_it_takes_keywords_only() -> None:
    """
    ``as_operator(["orders:read"])`` does not say what it gives.
    """
    positional: Callable[..., Any] = as_operator

    with pytest.raises(TypeError, match="positional"):
        positional(["orders:read"])


@pytest.mark.parametrize("runs_lifespan", [False, True])
def test_it_works_with_starlettes_test_client(app: Starlette, runs_lifespan: bool) -> None:
    """
    The client serves from another thread, which may have been there before: the operator reaches it.
    """
    client = TestClient(app)
    if not runs_lifespan:
        with as_operator(scopes=["orders:read"]):
            allowed, refused = client.get("/orders"), client.post("/orders")
        after = client.get("/orders")
    else:
        with client:
            with as_operator(scopes=["orders:read"]):
                allowed, refused = client.get("/orders"), client.post("/orders")
            after = client.get("/orders")

    assert (allowed.status_code, refused.status_code, after.status_code) == (200, 403, 401)


def test_it_works_for_websockets(app: Starlette) -> None:
    """
    A WebSocket is accepted as the operator.
    """
    client = TestClient(app)
    with as_operator(scopes=["orders:read"], operator_id="alice"), client.websocket_connect("/feed") as feed:
        received = feed.receive_text()

    assert received == "alice"


def test_a_websocket_is_denied_without_the_scope_and_outside(app: Starlette) -> None:
    """
    The policy and the end of the context count for WebSockets as well.
    """
    client = TestClient(app)

    def connect() -> None:
        with client.websocket_connect("/feed"):
            raise AssertionError("it must not get here")

    with as_operator(scopes=["other"]), pytest.raises(WebSocketDisconnect):
        connect()
    with pytest.raises(WebSocketDisconnect):
        connect()


@pytest.mark.anyio
async def test_tasks_and_to_thread_started_inside_inherit_it(app: Starlette) -> None:
    """
    What asyncio starts from the test is the test.
    """
    with as_operator(scopes=["orders:read"]):
        task = asyncio.create_task(_status(app))
        in_thread = await asyncio.to_thread(lambda: TestClient(app).get("/orders").status_code)

    assert (await task, in_thread) == (200, 200)


@pytest.mark.anyio
async def test_it_does_not_leak_into_a_task_started_before(app: Starlette) -> None:
    """
    A task that was there already is somebody else.
    """
    may_go = asyncio.Event()

    async def later() -> int:
        await may_go.wait()
        return await _status(app)

    task = asyncio.create_task(later())
    with as_operator(scopes=["orders:read"]):
        may_go.set()
        elsewhere = await task
        here = await _status(app)

    assert (elsewhere, here) == (401, 200)


def test_it_does_not_leak_into_another_thread(app: Starlette) -> None:
    """
    Neither into a thread that was there before, nor into a bare one started inside.
    """
    may_go = threading.Event()
    statuses: list[int] = []

    def request() -> None:
        may_go.wait(10)
        statuses.append(TestClient(app).get("/orders").status_code)

    before = threading.Thread(target=request)
    before.start()
    with as_operator(scopes=["orders:read"]):
        inside = threading.Thread(target=contextvars.Context().run, args=(request,))
        inside.start()
        may_go.set()
        before.join()
        inside.join()

    assert statuses == [401, 401]


# assert_guarded


async def _opaque(scope: Scope, receive: Receive, send: Send) -> NoReturn:
    raise NotImplementedError


async def _endpoint(request: Request) -> PlainTextResponse:
    return PlainTextResponse()


def _fresh(name: str) -> Callable[[Request], Awaitable[PlainTextResponse]]:
    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse()

    endpoint.__name__ = endpoint.__qualname__ = name
    return endpoint


def test_the_example_is_guarded() -> None:
    """
    The application that ``guardrail demo`` serves.
    """
    from examples.orders_api import app as example

    assert_guarded(example)


def test_every_undeclared_route_is_listed() -> None:
    """
    Not the first one only, and not the declared ones.
    """
    app = Starlette(
        routes=[
            Route("/declared", public(_fresh("declared"))),
            Route("/v1/invoices/{id}", _fresh("read_invoice")),
            Mount("/admin", routes=[Route("/users", _fresh("list_users"), methods=["POST"])]),
            Mount("/static", _opaque),
        ],
        middleware=[Middleware(GuardrailMiddleware)],
    )

    with pytest.raises(AssertionError) as failed:
        assert_guarded(app)

    lines = str(failed.value).splitlines()
    assert lines[0] == "undeclared routes:"
    assert lines[1:] == [
        "  GET /v1/invoices/{id} -> read_invoice",
        "  POST /admin/users -> list_users",
        "  MOUNT /static -> _opaque",
    ]


def test_declared_and_undeclared_differ_in_one_decorator() -> None:
    """
    The same application passes once its route is declared.
    """
    middleware = [Middleware(GuardrailMiddleware)]
    assert_guarded(Starlette(routes=[Route("/", public(_fresh("home")))], middleware=middleware))

    with pytest.raises(AssertionError, match="GET / -> home"):
        assert_guarded(Starlette(routes=[Route("/", _fresh("home"))], middleware=middleware))


def test_a_missing_middleware_fails() -> None:
    """
    Declarations alone guard nothing, and the message says what to add.
    """
    app = Starlette(routes=[Route("/", public(_fresh("home")))])

    with pytest.raises(AssertionError, match=r"app\.add_middleware\(GuardrailMiddleware\)"):
        assert_guarded(app)


@pytest.mark.parametrize("is_innermost", [True, False])
def test_the_middleware_must_be_innermost(is_innermost: bool) -> None:
    """
    Innermost is what was added first.
    """
    app = Starlette(routes=[Route("/", public(_fresh("home")))])
    if is_innermost:
        app.add_middleware(GuardrailMiddleware)
        app.add_middleware(CORSMiddleware)
        assert_guarded(app)
        return
    app.add_middleware(CORSMiddleware)
    app.add_middleware(GuardrailMiddleware)
    with pytest.raises(AssertionError, match="add it before any other"):
        assert_guarded(app)


def test_a_middleware_around_an_application_is_looked_through() -> None:
    """
    ``GuardrailMiddleware(app)`` is asked with the settings it was made with.
    """
    app = Starlette(routes=[Route("/metrics", _fresh("metrics"))])

    assert_guarded(GuardrailMiddleware(app, public_paths=["/metrics"]))
    assert_guarded(GuardrailMiddleware(_opaque, prefixes={"/": public}))
    with pytest.raises(AssertionError, match="GET /metrics -> metrics"):
        assert_guarded(GuardrailMiddleware(app))


def test_prefixes_and_public_paths_count(fake_issuer: FakeIssuer) -> None:
    """
    What ``add_middleware`` was given is what the server will use.
    """
    package = ServicePackage("mcp", issuer=fake_issuer.issuer, audience=fake_issuer.audience)
    routes = [Mount("/mcp", _opaque), Route("/metrics", _fresh("metrics"))]
    prefixes = {"/mcp": package.requires("mcp:use")}

    def guarded(**settings: Any) -> Starlette:
        return Starlette(routes=routes, middleware=[Middleware(GuardrailMiddleware, **settings)])

    assert_guarded(guarded(prefixes=prefixes, public_paths=["/metrics"]))
    with pytest.raises(AssertionError, match="MOUNT /mcp -> _opaque"):
        assert_guarded(guarded(public_paths=["/metrics"]))
    with pytest.raises(AssertionError, match="GET /metrics -> metrics"):
        assert_guarded(guarded(prefixes=prefixes))


def test_a_public_path_that_is_no_route_fails() -> None:
    """
    A stale setting would otherwise open a route that comes later.
    """
    app = Starlette(middleware=[Middleware(GuardrailMiddleware, public_paths=["/gone"])])

    with pytest.raises(AssertionError, match="public_paths names no route's template: /gone"):
        assert_guarded(app)


@pytest.mark.parametrize("thing", [None, 3, _endpoint, Starlette])
def test_what_is_no_application_fails(thing: object) -> None:
    """
    A factory or a class in place of an application is not guarded.
    """
    with pytest.raises(AssertionError, match="neither a Starlette or FastAPI application"):
        assert_guarded(thing)


def test_the_failure_has_its_cause() -> None:
    """
    What was found is the cause, for whoever wants the class.
    """
    with pytest.raises(AssertionError) as failed:
        assert_guarded(Starlette())

    assert isinstance(failed.value.__cause__, MiddlewareMissingError)


def test_the_public_names_are_these() -> None:
    """
    What is exported is there.
    """
    assert guardrail.testing.__all__ == ["FakeIssuer", "as_operator", "assert_guarded"]


@pytest.fixture(autouse=True)
def _no_operator_is_left_behind(app: Starlette) -> Iterator[None]:
    """
    After each test nobody is assumed any more.
    """
    yield
    assert TestClient(app).get("/orders").status_code == 401
