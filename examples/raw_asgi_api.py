"""
No framework: a plain ASGI application, server-sent events that end with their token, and a WebSocket for
browsers, which send their token as a subprotocol.

    uvicorn examples.raw_asgi_api:app
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from guardrail import GuardrailMiddleware, ServicePackage, current_operator, public

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

sensors = ServicePackage(
    "sensors",
    issuer=os.environ.get("SENSORS_ISSUER", "http://127.0.0.1:9000"),
    audience="https://api.example.com/sensors",
    scopes={"sensors:read": "Read sensors", "sensors:calibrate": "Calibrate sensors"},
    implies={"sensors:calibrate": ["sensors:read"]},
)


async def api(scope: Message, receive: Receive, send: Send) -> None:
    """
    Route by the path that the server has decoded, which is what prefixes are compared with.
    """
    path = scope["path"]
    if scope["type"] == "websocket":
        await watch(scope, send)
    elif scope["type"] != "http":
        raise NotImplementedError("no lifespan")
    elif path == "/sensors":
        await answer(send, {"sensors_of": current_operator().operator_id})
    elif path == "/sensors/report":
        await answer(send, await asyncio.to_thread(report))
    elif path == "/sensors/events":
        await stream(receive, send)
    elif path == "/calibration":
        await answer(send, {"calibrated_by": current_operator().operator_id})
    else:
        await answer(send, {"status": "ok"} if path == "/healthz" else {}, 200 if path == "/healthz" else 404)


def report() -> dict[str, str | None]:
    """
    Work in a thread: whose request it is is known there too.
    """
    return {"reported_to": current_operator().operator_id}


async def stream(receive: Receive, send: Send) -> None:
    """
    Readings for as long as the client stays, or its token is good.
    """
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    readings = asyncio.create_task(send_readings(send))
    while (await receive())["type"] != "http.disconnect":
        pass
    readings.cancel()


async def send_readings(send: Send) -> None:
    """
    A reading now and then.
    """
    for reading in range(1_000_000):
        event = f"data: {reading}\n\n".encode()
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(0.1)


async def watch(scope: Message, send: Send) -> None:
    """
    The latest reading; of the subprotocols offered, the token is not among those seen here.
    """
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    text = json.dumps({"watched_by": current_operator().operator_id})
    await send({"type": "websocket.send", "text": text})
    await send({"type": "websocket.close", "code": 1000})


async def answer(send: Send, content: object, status: int = 200) -> None:
    """
    A JSON response.
    """
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


app = GuardrailMiddleware(
    api,
    prefixes={
        "/sensors": sensors.requires("sensors:read"),
        "/calibration": sensors.requires("sensors:calibrate"),
        "/healthz": public,
    },
    stream_expiry="cut",
    websocket_token_protocol="bearer.",
)
