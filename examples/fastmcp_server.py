"""
A FastMCP server over streamable HTTP, guarded, with a probe that needs no token.

    pip install 'asgi-guardrail[fastmcp]' uvicorn
    guardrail issuer --client weather scopes=weather:read audiences=http://127.0.0.1:8000/mcp
    uvicorn examples.fastmcp_server:app --port 8000

FastMCP's own ``require_scopes`` works: it is told the caller of each message.
"""

import os
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.auth import require_scopes
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from guardrail import ServicePackage, current_operator
from guardrail.mcp import guard

weather = ServicePackage(
    "weather",
    issuer=os.environ.get("WEATHER_ISSUER", "http://127.0.0.1:9000"),
    audience=os.environ.get("WEATHER_URL", "http://127.0.0.1:8000/mcp"),
    scopes={"weather:read": "Ask for the weather", "weather:report": "Report the weather"},
    implies={"weather:report": ["weather:read"]},
)
server: FastMCP[Any] = FastMCP("weather")
reports: dict[str, str] = {}


@server.tool
def ask(city: str) -> str:
    """
    What the weather is like somewhere.
    """
    return reports.get(city, "unknown")


@server.tool(auth=require_scopes("weather:report"))
def report(city: str, weather: str) -> str:
    """
    Say what it is like; only callers with this scope see the tool.
    """
    reports[city] = f"{weather}, says {current_operator().display_name}"
    return reports[city]


@server.custom_route("/healthz", methods=["GET"])
async def healthz(_: Request) -> PlainTextResponse:
    """
    For a probe.
    """
    return PlainTextResponse("ok")


app = guard(server.http_app(), weather.requires("weather:read"), public_paths=["/healthz"])
