"""
Plain Starlette: a class-based endpoint, a mounted router, static files, a WebSocket, a background task.

    uvicorn examples.starlette_api:app
"""

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from guardrail import GuardrailMiddleware, ServicePackage, current_operator, public

invoices = ServicePackage(
    "invoices",
    issuer=os.environ.get("INVOICES_ISSUER", "http://127.0.0.1:9000"),
    audience="https://api.example.com/invoices",
    scopes={"invoices:read": "Read invoices", "invoices:write": "Write invoices"},
    implies={"invoices:write": ["invoices:read"]},
)


@invoices.requires("invoices:read")  # the class: what holds for every method …
class Invoices(HTTPEndpoint):
    """
    All invoices.
    """

    async def get(self, request: Request) -> JSONResponse:
        """
        List them.
        """
        return JSONResponse({"invoices_of": request.state.operator.operator_id})

    @invoices.requires("invoices:write", roles=["bookkeeper"])  # … unless the method says otherwise
    async def post(self, _: Request) -> JSONResponse:
        """
        Write one, and note who did once the answer is out.
        """
        return JSONResponse({"ok": True}, status_code=201, background=BackgroundTask(note))


def note() -> None:
    """
    Whose request it was is known here too, without passing it along.
    """
    written_by.append(current_operator().operator_id)


written_by: list[str] = []


@invoices.requires("invoices:read")
def read_invoice(request: Request) -> JSONResponse:
    """
    One invoice, in a worker thread.
    """
    return JSONResponse({"id": request.path_params["id"], "read_by": current_operator().subject})


@invoices.requires("invoices:read")
async def watch(websocket: WebSocket) -> None:
    """
    Changes as they happen; the handshake is refused without a token, and the connection ends with it.
    """
    await websocket.accept()
    await websocket.send_json({"watched_by": websocket.state.operator.operator_id})
    await websocket.close()


@public
async def healthz(_: Request) -> PlainTextResponse:
    """
    Open, and it says so.
    """
    return PlainTextResponse("ok")


app = Starlette(
    routes=[
        Route("/invoices", Invoices),
        Mount("/invoices", routes=[Route("/{id:int}", read_invoice)]),
        WebSocketRoute("/watch", watch),
        Mount("/static", public(StaticFiles(directory=Path(__file__).parent))),
        Route("/healthz", healthz),
    ]
)
app.add_middleware(GuardrailMiddleware)
