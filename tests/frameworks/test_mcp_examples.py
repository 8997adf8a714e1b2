"""
The examples of MCP servers run, and do what they say.
"""

import os
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from guardrail.issuer import Client, EmbeddedIssuer
from guardrail.testing import assert_guarded

from .mcp_kit import RawClient, served

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def example(name: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, EmbeddedIssuer]]:
    """
    The example *name* on a socket, with an issuer on another.
    """
    issuers: list[EmbeddedIssuer] = []

    def new_issuer(url: str) -> ASGIApp:
        issuers.append(EmbeddedIssuer(url, algorithm="EdDSA"))
        return issuers[0]

    def new_server(url: str) -> ASGIApp:
        monkeypatch.setenv(f"{prefix}_ISSUER", issuers[0].url)
        monkeypatch.setenv(f"{prefix}_URL", f"{url}/mcp")
        app: ASGIApp = runpy.run_path(str(EXAMPLES / name))["app"]
        assert_guarded(app)
        return app

    with served(new_issuer), served(new_server) as url:
        yield url, issuers[0]


def client_of(url: str, issuer: EmbeddedIssuer, subject: str, *scopes: str) -> RawClient:
    """
    An MCP client of *subject*, with a session.
    """
    app = Client("app", client_secret="a-secret", scopes=scopes, audiences=[f"{url}/mcp"])
    client = RawClient(f"{url}/mcp", issuer.mint(app, subject=subject, scope=scopes, audience=f"{url}/mcp"))
    assert client.initialize().status_code == 200
    return client


def test_mcp_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Everybody has their own notes, and only who may write does.
    """
    if not os.environ.get("CI"):
        pytest.importorskip("mcp")
    with example("mcp_server.py", "NOTES", monkeypatch) as (url, issuer):
        with client_of(url, issuer, "alice", "notes:write") as alice:
            written: Any = alice.tool("write_note", text="milk")
            of_alice = alice.tool("my_notes")
        with client_of(url, issuer, "bob", "notes:read") as bob:
            refused = bob.tool("write_note", text="beer")
            of_bob = bob.tool("my_notes")
        anonymous = httpx.post(f"{url}/mcp", json={}).status_code

    assert (written, refused) == ({"result": "Kept for alice"}, {"result": "You may not write notes"})
    assert (of_alice, of_bob) == ({"result": ["milk"]}, {"result": []})
    assert anonymous == 401


def test_fastmcp_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Who may not report does not see how; the probe needs no token.
    """
    if not os.environ.get("CI"):
        pytest.importorskip("fastmcp")
    with example("fastmcp_server.py", "WEATHER", monkeypatch) as (url, issuer):
        with client_of(url, issuer, "alice", "weather:report") as alice:
            reported = alice.tool("report", city="Oslo", weather="snow")
        with client_of(url, issuer, "bob", "weather:read") as bob:
            asked = bob.tool("ask", city="Oslo")
            seen = bob.tools()
        statuses = [httpx.get(f"{url}{path}").status_code for path in ("/healthz", "/mcp")]

    assert reported == asked == {"result": "snow, says alice"}
    assert seen == ["ask"]
    assert statuses == [200, 401]
