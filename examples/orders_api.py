"""
An orders API: what `guardrail demo` calls, and a first look at declarations.

    guardrail issuer --port 9000 …                          # a development authorization server
    uvicorn examples.orders_api:app                          # this API, in another terminal
    guardrail routes examples.orders_api:app                 # what each route needs

``ORDERS_ISSUER`` and ``ORDERS_AUDIENCE`` point it elsewhere.
"""

import os

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse

from guardrail import GuardrailMiddleware, Issuer, ServicePackage, public
from guardrail.fastapi import DOCS_PATHS, CurrentOperator

ISSUER = os.environ.get("ORDERS_ISSUER", "http://127.0.0.1:9000")
AUDIENCE = os.environ.get("ORDERS_AUDIENCE", "https://api.example.com/orders")
LEEWAY = float(os.environ.get("ORDERS_LEEWAY", "30"))

orders = ServicePackage(
    "orders",
    issuer=Issuer(ISSUER, leeway=LEEWAY),
    audience=AUDIENCE,
    scopes={"orders:read": "Read orders", "orders:write": "Place and change orders"},
    implies={"orders:write": ["orders:read"]},
)

app = FastAPI(title="Orders")
app.add_middleware(GuardrailMiddleware, public_paths=DOCS_PATHS)


@app.get("/orders")
@orders.requires("orders:read")
async def list_orders(operator: CurrentOperator) -> dict[str, str | None]:
    """
    List the operator's orders.
    """
    return {"orders_of": operator.operator_id, "called_by": operator.client_id}


@orders.requires("orders:write")
async def place_order(request: Request) -> JSONResponse:
    """
    Place an order: a plain Starlette route in the same application.
    """
    return JSONResponse({"placed_by": request.state.operator.operator_id}, status_code=201)


app.add_route("/orders", place_order, methods=["POST"])


@app.get("/healthz")
@public
async def healthz() -> dict[str, str]:
    """
    Say that the process is up; needs no token, and says so.
    """
    return {"status": "ok"}
