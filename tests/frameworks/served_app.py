"""
What the real servers of the tests serve: a plain ASGI application that says what it sees, behind two guards.

Not a test. A server process loads it, as ``served_app:app``; ``SERVED_KEYS`` is the JWK Set of the issuer.

    /strict/…  ends what is open when its token expires, and takes tokens from subprotocols
    /lenient/… ends nothing, and takes no tokens from there
    /open/ran  lists what ran, without a token
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guardrail import GuardrailMiddleware, Issuer, ServicePackage, current_operator, public

ISSUER: Final = "https://login.example.com"
AUDIENCE: Final = "https://api.example.com/orders"
_PAUSE: Final = 0.02  # seconds between two pieces of a stream

orders = ServicePackage(
    "orders",
    issuer=Issuer(ISSUER, keys=json.loads(os.environ["SERVED_KEYS"]), leeway=0.0),
    audience=AUDIENCE,
)
ran: list[str] = []


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    """
    Answer whatever the last segment of the path names.
    """
    ran.append(scope["path"])
    if scope["type"] == "websocket":
        await _socket(scope, receive, send)
    elif scope["path"].endswith("/stream"):
        await _stream(receive, send)
    else:
        body = json.dumps(ran if scope["path"].endswith("/ran") else _seen(scope)).encode()
        await send(_start("application/json"))
        await send({"type": "http.response.body", "body": body})


async def _socket(scope: Scope, receive: Receive, send: Send) -> None:
    """
    Accept, say what is seen, and then send ticks, or send back what comes.
    """
    await receive()
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    await send({"type": "websocket.send", "text": json.dumps(_seen(scope))})
    while scope["path"].endswith("/ticks"):
        await send({"type": "websocket.send", "text": str(time.time())})
        await asyncio.sleep(_PAUSE)
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
    ran.append(f"{scope['path']} left with {message.get('code')}")


async def _stream(receive: Receive, send: Send) -> None:
    """
    Server-sent events without an end, each with the time, for as long as the client stays.
    """
    events = asyncio.create_task(_events(send))
    while (await receive())["type"] != "http.disconnect":
        pass
    events.cancel()


async def _events(send: Send) -> None:
    await send(_start("text/event-stream"))
    while True:
        event = f"data: {time.time()}\n\n".encode()
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(_PAUSE)


def _start(media_type: str) -> Message:
    headers = [(b"content-type", media_type.encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _seen(scope: Scope) -> dict[str, Any]:
    """
    All that an application can see of a request.
    """
    return {
        "subject": current_operator().subject,
        "subprotocols": list(scope.get("subprotocols", ())),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
    }


def _guarded(prefixes: Mapping[str, object], **settings: Any) -> ASGIApp:
    return GuardrailMiddleware(api, prefixes=prefixes, **settings)


GUARDS: Final[dict[str, ASGIApp]] = {
    "strict": _guarded(
        {"/strict": orders.requires("orders:read"), "/strict/admin": orders.requires("orders:admin")},
        stream_expiry="cut",
        websocket_token_protocol="bearer.",
    ),
    "lenient": _guarded({"/lenient": orders.requires("orders:read")}, websocket_expiry="allow"),
    "open": _guarded({"/open": public}),
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """
    Send each connection to its guard. There is no lifespan, as in many applications.
    """
    if scope["type"] == "lifespan":
        raise NotImplementedError("no lifespan")
    await GUARDS[scope["path"].split("/")[1]](scope, receive, send)
