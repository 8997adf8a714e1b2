"""
Each authorization server once per session, one protected API per test.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Protocol

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from guardrail import GuardrailMiddleware, Issuer, ServicePackage, events, health_app, public

from .api import ProtectedApi, serve
from .fault_proxy import FaultProxy, run_fault_proxy
from .glewlwyd import Glewlwyd, find_glewlwyd, run_glewlwyd
from .mirror import Mirror, serve_mirror
from .provider import OidcProvider, find_node, run_provider
from .watch import Heard

MISSING = "oidc-provider needs Node 20.12 or newer and `npm ci` in tests/interop"
MISSING_GLEWLWYD = "glewlwyd is not installed; CONTRIBUTING.md names its Debian packages"

# All resources of server.mjs but "elsewhere": no other token is refused for its audience.
AUDIENCE = [
    "rs256",
    "ps256",
    "es256",
    "es384",
    "es512",
    "eddsa",
    "ed25519",
    "opaque",
    "hs256",
    "hs256-public-key",
    "jwe",
    "jwe-direct",
]


class ServeOrders(Protocol):
    """
    Starts the protected API; it stops when the test ends.
    """

    def __call__(
        self,
        issuer: Issuer,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        outermost: Callable[[ASGIApp], ASGIApp] = ...,
    ) -> ProtectedApi:
        """
        Serve an application that trusts *issuer*, with *outermost* around it.
        """
        ...


class ServeMirror(Protocol):
    """
    Starts an API that keeps the operators it was asked by; it stops when the test ends.
    """

    def __call__(
        self,
        *issuers: Issuer,
        audience: Iterable[str],
        access_groups: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> Mirror:
        """
        Serve a mirror that trusts *issuers*.
        """
        ...


@pytest.fixture(scope="session")
def http_client() -> Iterator[httpx.Client]:
    """
    Share one client: making its TLS context takes longer than most requests.
    """
    with httpx.Client(trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory, http_client: httpx.Client) -> Iterator[OidcProvider]:
    """
    Run the authorization server. Skips where it cannot run, but never on CI.

    Shared by the tests of a session: compare its request counts, and expect any number of former keys.
    """
    node = _require(find_node(), MISSING)
    log = tmp_path_factory.mktemp("interop") / "oidc-provider.log"
    with run_provider(node, log=log, http_client=http_client) as running:
        yield running


@pytest.fixture(scope="session")
def glewlwyd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glewlwyd]:
    """
    Run the other authorization server. Skips where it is not installed, but never on CI.
    """
    executable = _require(find_glewlwyd(), MISSING_GLEWLWYD)
    with run_glewlwyd(executable, directory=tmp_path_factory.mktemp("glewlwyd")) as running:
        yield running


@pytest.fixture
def mirror_of(http_client: httpx.Client) -> Iterator[ServeMirror]:
    """
    Run mirrors as each test needs them.
    """
    with ExitStack() as stack:

        def start(
            *issuers: Issuer,
            audience: Iterable[str],
            access_groups: Iterable[str] = (),
            clock: Callable[[], float] = time.time,
        ) -> Mirror:
            mirror = serve_mirror(
                *issuers, audience=audience, http_client=http_client, access_groups=access_groups, clock=clock
            )
            return stack.enter_context(mirror)

        yield start


@pytest.fixture
def proxy(provider: OidcProvider) -> Iterator[FaultProxy]:
    """
    Run a proxy in front of the authorization server, which fails when told to.
    """
    with run_fault_proxy(provider.url) as running:
        yield running


@pytest.fixture
def proxied(provider: OidcProvider, proxy: FaultProxy) -> OidcProvider:
    """
    Know the authorization server as those do who reach it through the proxy.
    """
    return provider.known_as(proxy.url)


@pytest.fixture
def heard() -> Heard:
    """
    Collect what the API tells of.
    """
    return Heard()


@pytest.fixture
def serve_orders(provider: OidcProvider, heard: Heard, http_client: httpx.Client) -> Iterator[ServeOrders]:
    """
    Run protected APIs as each test needs them.
    """
    with ExitStack() as stack:

        def start(
            issuer: Issuer,
            *,
            monotonic: Callable[[], float] = time.monotonic,
            outermost: Callable[[ASGIApp], ASGIApp] = lambda app: app,
        ) -> ProtectedApi:
            audience = [provider.resource(name) for name in AUDIENCE]
            app = _build_app(issuer, audience=audience, on_event=[heard], monotonic=monotonic)
            return stack.enter_context(serve(outermost(app), http_client=http_client))

        yield start


@pytest.fixture
def api(provider: OidcProvider, serve_orders: ServeOrders) -> ProtectedApi:
    """
    Run a protected API that has never fetched a key: each test spends its own refetches.
    """
    algorithms = ["RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"]
    return serve_orders(Issuer(provider.issuer, algorithms=algorithms, warm_up="off"))


def _require(found: str | None, missing: str) -> str:
    if found is None and os.environ.get("CI"):
        pytest.fail(missing)
    if found is None:
        pytest.skip(missing)
    return found


def _build_app(
    issuer: Issuer, *, audience: list[str], on_event: list[events.Listener], monotonic: Callable[[], float]
) -> Starlette:
    orders = ServicePackage(
        "orders",
        issuer=issuer,
        audience=audience,
        scopes={"orders:read": "Read orders", "orders:write": "Place and change orders"},
    )

    @orders.requires("orders:read")
    async def list_orders(request: Request) -> JSONResponse:
        operator = request.state.operator
        return JSONResponse({"operator_id": operator.operator_id, "client_id": operator.client_id})

    @public
    async def healthz(request: Request) -> JSONResponse:
        return JSONResponse({"healthy": True})

    routes = [
        Route("/orders", list_orders),
        Route("/healthz", healthz),
        Route("/readyz", public(health_app(details=False))),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(GuardrailMiddleware, on_event=on_event, monotonic=monotonic)
    return app
