"""
What type checkers must accept. Never executed.
"""

from collections.abc import Mapping
from typing import Any, assert_type

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from guardrail import GuardrailMiddleware, Issuer, Operator, Requirement, ServicePackage, current_operator, public
from guardrail.events import Event

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
    print(event.name)


app = Starlette()
app.add_middleware(GuardrailMiddleware, on_event=[listener], prefixes={"/mcp": orders.requires()}, public_paths=["/"])
