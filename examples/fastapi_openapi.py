"""
FastAPI and its documentation: padlocks, scopes, *Authorize* in Swagger UI; a router with one declaration.

    guardrail issuer --port 9000 --clients examples/clients.toml     # a development authorization server
    uvicorn examples.fastapi_openapi:app --port 8000                 # this API, in another terminal

Then open http://127.0.0.1:8000/docs, *Authorize*, tick a scope, allow it: ``orders-app`` is registered there.
``ORDERS_ISSUER`` and ``ORDERS_AUDIENCE`` point it elsewhere.
"""

import os

from fastapi import FastAPI

from guardrail import ServicePackage, public
from guardrail.fastapi import CurrentOperator, GuardedRouter, install

ISSUER = os.environ.get("ORDERS_ISSUER", "http://127.0.0.1:9000")
AUDIENCE = os.environ.get("ORDERS_AUDIENCE", "https://api.example.com/orders")

orders = ServicePackage(
    "orders",
    issuer=ISSUER,
    audience=AUDIENCE,
    scopes={"orders:read": "Read orders", "orders:write": "Place and change orders"},
    implies={"orders:write": ["orders:read"]},
)

app = FastAPI(title="Orders", swagger_ui_init_oauth={"clientId": "orders-app"})
install(
    app,  # the guard, and what the document says of it; the documentation itself is public
    oauth_flows={
        ISSUER: {
            "authorizationCode": {"authorizationUrl": f"{ISSUER}/authorize", "tokenUrl": f"{ISSUER}/token"}
        }
    },
)

router = GuardedRouter(orders.requires("orders:read"), prefix="/orders", tags=["orders"])


@router.get("")  # what the router says
async def list_orders(operator: CurrentOperator) -> dict[str, str]:
    """
    List the operator's orders.
    """
    return {"orders_of": operator.operator_id}


@router.get("/{order_id}")  # this one too
async def read_order(order_id: int, operator: CurrentOperator) -> dict[str, str | int]:
    """
    Read one order.
    """
    return {"id": order_id, "read_by": operator.operator_id}


@router.post("", status_code=201)
@orders.requires("orders:write")  # for itself, below the router's decorator
async def place_order(operator: CurrentOperator) -> dict[str, str]:
    """
    Place an order.
    """
    return {"placed_by": operator.operator_id}


app.include_router(router)


@app.get("/healthz")
@public
async def healthz() -> dict[str, str]:
    """
    Say that the process is up; has no padlock.
    """
    return {"status": "ok"}
