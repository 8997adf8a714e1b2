"""
An API behind the guard that calls a second one: in comes a caller's token, out goes one of our own.

    guardrail issuer --port 9000 …                         # a development authorization server
    uvicorn examples.connect_rest:billing --port 8001      # the API that is called
    BILLING_SECRET=… uvicorn examples.connect_rest:app     # the API that calls it

The caller's token is never passed on: it is for this API, and the other one would refuse it. Both sides are
logged.
"""

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from guardrail import GuardrailMiddleware, ServicePackage
from guardrail.client import AuthenticationProfile
from guardrail.errors import TokenUnavailableError
from guardrail.events import Event

ISSUER = os.environ.get("CONNECT_ISSUER", "http://127.0.0.1:9000")
BILLING_URL = os.environ.get("BILLING_URL", "http://127.0.0.1:8001")

logger = logging.getLogger("examples.connect_rest")


def log(event: Event) -> None:
    """
    What happened, with all its facts: no event has a token or a secret in it.
    """
    logger.info("%s", event, extra={"event": event.name})


orders = ServicePackage(
    "orders",
    issuer=ISSUER,
    audience="https://api.example.com/orders",
    scopes={"orders:read": "Read orders"},
)
invoices = ServicePackage(
    "billing",
    issuer=ISSUER,
    audience="https://api.example.com/billing",
    scopes={"invoices:read": "Read invoices"},
)

# Made once. It does nothing until the first request, and then looks after itself.
to_billing = AuthenticationProfile(
    issuer=ISSUER,
    client_id="orders-api",
    client_secret=lambda: os.environ["BILLING_SECRET"],  # asked at every token request: it may be rotated
    scopes=["invoices:read"],
    audience="https://api.example.com/billing",
    on_event=[log],
)


@invoices.requires("invoices:read")
async def read_invoice(request: Request) -> JSONResponse:
    """
    The second API: who calls it is the first one, not that one's caller.
    """
    return JSONResponse({"invoice": request.path_params["order"], "for": request.user.client_id})


billing = Starlette(routes=[Route("/invoices/{order:int}", read_invoice)])
billing.add_middleware(GuardrailMiddleware, on_event=[log])


@orders.requires("orders:read")
async def read_order(request: Request) -> Response:
    """
    The first API: an order with its invoice, or 503 while there is no token for the other API.
    """
    http: httpx.AsyncClient = request.state.billing
    try:
        answer = await http.get(f"/invoices/{request.path_params['order']}")
    except TokenUnavailableError as exc:
        seconds = 60 if exc.retry_after is None else int(exc.retry_after) + 1
        return JSONResponse({"error": "billing"}, status_code=503, headers={"Retry-After": str(seconds)})
    if answer.status_code != HTTPStatus.OK:
        return JSONResponse({"error": "billing"}, status_code=502)
    return JSONResponse({"order_of": request.user.client_id, **answer.json()})


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncGenerator[dict[str, httpx.AsyncClient]]:
    """
    One client for the whole life of the application; the profile is all it needs.
    """
    async with httpx.AsyncClient(base_url=BILLING_URL, auth=to_billing) as http:
        yield {"billing": http}


app = Starlette(routes=[Route("/orders/{order:int}", read_order)], lifespan=lifespan)
app.add_middleware(GuardrailMiddleware, on_event=[log])
