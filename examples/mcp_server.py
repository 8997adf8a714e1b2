"""
An MCP server of the official SDK over streamable HTTP, guarded: each user has notes of their own.

    pip install 'asgi-guardrail[mcp]' uvicorn
    guardrail issuer --client notes scopes="notes:read notes:write" audiences=http://127.0.0.1:8000/mcp
    uvicorn examples.mcp_server:app --port 8000
    GUARDRAIL_CLIENT_SECRET=... guardrail token --client-id notes    # for a client that takes a token

A client that speaks OAuth finds the issuer by itself: http://127.0.0.1:8000/mcp answers 401 and says where.
In production, NOTES_URL is the https URL that clients connect to, and NOTES_ISSUER your authorization server.
"""

import os
from typing import Any

from mcp.server.mcpserver import MCPServer

from guardrail import ServicePackage, current_operator
from guardrail.mcp import guard, principal_key

notes = ServicePackage(
    "notes",
    issuer=os.environ.get("NOTES_ISSUER", "http://127.0.0.1:9000"),
    audience=os.environ.get("NOTES_URL", "http://127.0.0.1:8000/mcp"),  # clients ask for tokens for it
    scopes={"notes:read": "Read your notes", "notes:write": "Write notes"},
    implies={"notes:write": ["notes:read"]},
)
server: MCPServer[Any] = MCPServer("notes")
kept: dict[str, list[str]] = {}


@server.tool()
def my_notes() -> list[str]:
    """
    The notes of whoever asks.
    """
    return kept.get(principal_key(current_operator()), [])


@server.tool()
def write_note(text: str) -> str:
    """
    Keep a note. The server asks for ``notes:read``; this asks for more.
    """
    operator = current_operator()
    if "notes:write" not in operator.scopes:
        return "You may not write notes"
    # What outlives the request belongs to a principal, never to a session ID.
    kept.setdefault(principal_key(operator), []).append(text)
    return f"Kept for {operator.display_name}"


# Pages of the origins that are listed here may call it, and no others; clients that are no browsers may.
app = guard(server.streamable_http_app(), notes.requires("notes:read"), allowed_origins=[])
