"""
A status page, for people and for programs: who was refused and why, and how keys and tokens stand.

    guardrail issuer --port 9000 …                          # a development authorization server
    uvicorn examples.status_page:app                         # http://127.0.0.1:8000/status

The data needs a token with ``status:read``. The page itself has nothing on it, so it is public: it asks for
such a token, and keeps it to itself. On loopback, or behind a network of your own, one route is enough:
``Route("/status", public(status_app(board=board)))``.
"""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from guardrail import GuardrailMiddleware, ServicePackage, public
from guardrail.status import StatusBoard, status_app, status_page

orders = ServicePackage(
    "orders",
    issuer=os.environ.get("ORDERS_ISSUER", "http://127.0.0.1:9000"),
    audience="https://api.example.com/orders",
    scopes={"orders:read": "Read orders", "status:read": "See how the API is doing"},
)
board = StatusBoard()


@orders.requires("orders:read")
async def list_orders(request: Request) -> JSONResponse:
    """
    List the operator's orders.
    """
    return JSONResponse({"orders_of": request.user.operator_id})


app = Starlette(
    routes=[
        Route("/orders", list_orders),
        Route("/status", public(status_page("/status/data"))),
        Route("/status/data", orders.requires("status:read")(status_app(board=board))),
    ]
)
app.add_middleware(GuardrailMiddleware, on_event=[board])
