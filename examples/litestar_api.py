"""
Litestar: handlers on the event loop and in worker threads, and a WebSocket, guarded by path prefix.

    uvicorn examples.litestar_api:app

A prefix says nothing of methods: what only some may do has a path of its own.
"""

import os
from typing import Any

from litestar import Litestar, WebSocket, get, post, websocket

from guardrail import GuardrailMiddleware, ServicePackage, current_operator, public

shipments = ServicePackage(
    "shipments",
    issuer=os.environ.get("SHIPMENTS_ISSUER", "http://127.0.0.1:9000"),
    audience="https://api.example.com/shipments",
    scopes={"shipments:read": "Follow shipments", "shipments:send": "Send something"},
    implies={"shipments:send": ["shipments:read"]},
)


@get("/shipments")
async def list_shipments() -> dict[str, str | None]:
    """
    The caller's shipments.
    """
    return {"shipments_of": current_operator().operator_id}


@get("/shipments/report", sync_to_thread=True)
def report() -> dict[str, str | None]:
    """
    Work that would hold the loop: whose request it is is known in its thread too.
    """
    return {"reported_to": current_operator().operator_id}


@post("/dispatch", sync_to_thread=False)
def dispatch() -> dict[str, str | None]:
    """
    Send something.
    """
    return {"sent_by": current_operator().operator_id}


@websocket("/shipments/watch")
async def watch(socket: WebSocket[Any, Any, Any]) -> None:
    """
    Changes as they happen; Litestar's own ``socket.user`` is the operator.
    """
    await socket.accept()
    await socket.send_json({"watched_by": socket.user.operator_id})
    await socket.close()


@get("/healthz", sync_to_thread=False)
def healthz() -> str:
    """
    Open, and the table says so.
    """
    return "ok"


app = GuardrailMiddleware(
    Litestar([list_shipments, report, dispatch, watch, healthz], logging_config=None),
    prefixes={
        "/shipments": shipments.requires("shipments:read"),
        "/dispatch": shipments.requires("shipments:send"),
        "/healthz": public,
    },
)
