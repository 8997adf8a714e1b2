"""
Quart: coroutines, functions that it runs in threads, a stream and a WebSocket, guarded by path prefix.

    uvicorn examples.quart_api:app
"""

import os
from collections.abc import AsyncIterator

from quart import Quart, Response, websocket

from guardrail import GuardrailMiddleware, ServicePackage, current_operator, public

tickets = ServicePackage(
    "tickets",
    issuer=os.environ.get("TICKETS_ISSUER", "http://127.0.0.1:9000"),
    audience="https://api.example.com/tickets",
    scopes={"tickets:read": "See tickets", "tickets:sell": "Sell tickets"},
    implies={"tickets:sell": ["tickets:read"]},
)
quart = Quart("tickets")


@quart.get("/tickets")
async def list_tickets() -> dict[str, str | None]:
    """
    The caller's tickets.
    """
    return {"tickets_of": current_operator().operator_id}


@quart.get("/tickets/report")
def report() -> dict[str, str | None]:
    """
    A function, which Quart runs in a thread: whose request it is is known there too.
    """
    return {"reported_to": current_operator().operator_id}


@quart.get("/tickets/queue")
async def queue() -> Response:
    """
    Places in the queue, one by one.
    """

    async def places() -> AsyncIterator[bytes]:
        for place in (3, 2, 1):
            yield f"{current_operator().subject} is number {place}\n".encode()

    return Response(places(), content_type="text/plain")


@quart.post("/box-office")
async def sell() -> dict[str, str | None]:
    """
    Sell a ticket.
    """
    return {"sold_by": current_operator().operator_id}


@quart.websocket("/tickets/watch")
async def watch() -> None:
    """
    Changes as they happen; the handshake is refused without a token, and the connection ends with it.
    """
    await websocket.send_json({"watched_by": current_operator().operator_id})


@quart.get("/healthz")
async def healthz() -> str:
    """
    Open, and the table says so.
    """
    return "ok"


app = GuardrailMiddleware(
    quart,
    prefixes={
        "/tickets": tickets.requires("tickets:read"),
        "/box-office": tickets.requires("tickets:sell"),
        "/healthz": public,
    },
)
