"""
One authorization server per session, one protected API per test.
"""

import os
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from guardrail import GuardrailMiddleware, Issuer, ServicePackage, events, public

from .api import ProtectedApi, serve
from .provider import OidcProvider, find_node, run_provider

MISSING = "oidc-provider needs Node 20.12 or newer and `npm ci` in tests/interop"

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
    node = find_node()
    if node is None and os.environ.get("CI"):
        pytest.fail(MISSING)
    if node is None:
        pytest.skip(MISSING)
    log = tmp_path_factory.mktemp("interop") / "oidc-provider.log"
    with run_provider(node, log=log, http_client=http_client) as running:
        yield running


@pytest.fixture
def refusal_codes() -> list[str]:
    """
    Collect why the API refused, in order; the answers themselves do not tell.
    """
    return []


@pytest.fixture
def api(
    provider: OidcProvider, refusal_codes: list[str], http_client: httpx.Client
) -> Iterator[ProtectedApi]:
    """
    Run a protected API that has never fetched a key: each test spends its own refetches.
    """

    def collect(event: events.Event) -> None:
        if isinstance(event, events.TokenRefused):
            refusal_codes.append(event.code)

    with serve(_build_app(provider, on_event=collect), http_client=http_client) as running:
        yield running


def _build_app(provider: OidcProvider, *, on_event: events.Listener) -> Starlette:
    orders = ServicePackage(
        "orders",
        issuer=Issuer(provider.issuer, algorithms=["RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"]),
        audience=[provider.resource(name) for name in AUDIENCE],
        scopes={"orders:read": "Read orders", "orders:write": "Place and change orders"},
    )

    @orders.requires("orders:read")
    async def list_orders(request: Request) -> JSONResponse:
        operator = request.state.operator
        return JSONResponse({"operator_id": operator.operator_id, "client_id": operator.client_id})

    @public
    async def healthz(request: Request) -> JSONResponse:
        return JSONResponse({"healthy": True})

    app = Starlette(routes=[Route("/orders", list_orders), Route("/healthz", healthz)])
    app.add_middleware(GuardrailMiddleware, on_event=[on_event])
    return app
