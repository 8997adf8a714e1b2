"""
What type checkers must accept. Never executed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from guardrail import (
    ClientRegistration,
    Fetching,
    GuardrailMiddleware,
    Health,
    Issuer,
    IssuerHealth,
    Operator,
    Requirement,
    ServicePackage,
    current_operator,
    health,
    health_app,
    public,
)
from guardrail.directory import CachedDirectory, OperatorDirectory, OperatorKey, OperatorRecord
from guardrail.events import DirectoryFailed, Event, KeySkipped, KeysRotated, StaleKeysUsed
from guardrail.client import AuthenticationProfile

orders = ServicePackage(
    "orders",
    issuer=["https://login.example.com", Issuer("https://other.example.com", algorithms=["ES256"])],
    audience={"https://api.example.com/orders"},
    scopes={"orders:read": "Read orders"},
    implies={"orders:write": ["orders:read"]},
)
assert_type(orders.requires("orders:read", roles=["approver"], max_age=300), Requirement)


@orders.requires("orders:read")
async def read(request: Request, order_id: int) -> JSONResponse:
    operator: Operator = request.state.operator
    assert_type(operator.scopes, frozenset[str])
    assert_type(operator.claims, Mapping[str, Any])
    return JSONResponse({})


@public
def healthz() -> str:
    return "ok"


@orders.requires()
class Endpoint:
    pass


# Decorators keep the type of what they decorate.
assert_type(healthz(), str)
assert_type(Endpoint(), Endpoint)
assert_type(current_operator().client_id, str | None)


def listener(event: Event) -> None:
    match event:
        case KeysRotated():
            assert_type(event.added, tuple[str, ...])
        case KeySkipped():
            assert_type(event.kid, str | None)
        case StaleKeysUsed():
            assert_type(event.age, float)
        case DirectoryFailed():
            assert_type(event.has_record, bool)
        case _:
            print(event.name)


mapped = Issuer(
    "https://login.microsoftonline.com/acme/v2.0",
    profile="entra",
    mapping={"access_groups": "groups", "roles": ["app", "roles"], "client_id": [["azp"], ["appid"]]},
)
careful = Issuer(
    "https://login.example.com",
    fetching=Fetching(lifetime=300, max_age_bounds=(60, 3_600), backoff_bounds=(1.0, 30.0), max_refetches=0),
    warm_up="wait",
    required=False,
)
assert_type(careful.fetching, Fetching)
registered = Issuer(
    "https://login.example.com",
    clients=[ClientRegistration("batch", operator_id="svc", access_groups=("A",), roles={"r"}, scopes=["s"])],
    unregistered_clients="refuse",
)


class Staff:
    async def resolve(self, key: OperatorKey) -> OperatorRecord | None:
        assert_type(key.tenant, str | None)
        return OperatorRecord("emp-7", access_groups=["A"], default_access_group="A", roles=["clerk"])


directory: OperatorDirectory = CachedDirectory(Staff(), max_age=30, max_stale=300.0)
GuardrailMiddleware(Starlette(), directory=directory)
GuardrailMiddleware(Starlette(), directory=Staff())
app = Starlette(
    routes=[
        Route("/readyz", public(health_app(details=False))),
        Route("/health", orders.requires("orders:read")(health_app())),
        Mount("/v1", Starlette(routes=[Route("/readyz", public(health_app(careful)))])),
    ]
)
app.add_middleware(GuardrailMiddleware, on_event=[listener], prefixes={"/mcp": orders.requires()}, public_paths=["/"])
assert_type(health(app), Health)
assert_type(health(GuardrailMiddleware(app)).issuers, tuple[IssuerHealth, ...])
assert_type(health(app).is_ready, bool)
assert_type(health(app).issuers[0].age, float | None)
assert_type(health(app).as_dict(), dict[str, Any])

billing = AuthenticationProfile(
    issuer="https://login.example.com",
    client_id="orders-batch",
    client_secret=lambda: Path("/run/secrets/billing").read_text().strip(),
    auth_method="client_secret_post",
    scopes=["invoices:read"],
    resource="https://billing.example.com",
    on_event=[listener],
    http_client=httpx.Client(),
)
httpx.Client(auth=billing)
httpx.AsyncClient(auth=billing)


async def by_hand() -> None:
    assert_type(await billing.token(), str)
    assert_type(await billing.revoke(), bool)
    billing.invalidate(await billing.token())
