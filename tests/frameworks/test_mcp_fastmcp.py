"""
FastMCP: guarded from outside, or with our verifier inside; and its client.
"""

import importlib
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardrail import ServicePackage, current_operator
from guardrail.errors import PolicyError
from guardrail.testing import FakeIssuer

from .mcp_kit import SCOPES, RawClient, issuer_of, notes_of, rpc, served

if not os.environ.get("CI"):
    pytest.importorskip("fastmcp")

from fastmcp import Client, FastMCP
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.server.auth import RemoteAuthProvider, TokenVerificationError, require_scopes
from fastmcp.server.dependencies import get_access_token, get_http_headers, get_http_request
from pydantic import AnyHttpUrl
from starlette.types import ASGIApp

from guardrail.mcp import guard
from guardrail.mcp.fastmcp import TokenVerifier

pytestmark = pytest.mark.anyio

BASE = "https://api.example.com"
WAYS = [pytest.param("guard", id="guarded"), pytest.param("verifier", id="with the verifier")]
TRANSPORTS = [
    pytest.param({}, id="sessions"),
    pytest.param({"json_response": True}, id="sessions, JSON"),
    pytest.param({"stateless_http": True}, id="stateless"),
]


def notes_server(**settings: Any) -> FastMCP[Any]:
    """
    A FastMCP server whose tools say for whom they run.
    """
    server: FastMCP[Any] = FastMCP("notes", **settings)

    @server.tool
    async def who() -> dict[str, Any]:
        operator = current_operator()
        on_request = get_http_request().state.operator.operator_id
        return {
            "operator": operator.operator_id,
            "scopes": sorted(operator.scopes),
            "on_request": on_request,
        }

    @server.tool
    def who_in_a_thread() -> dict[str, Any]:
        return {"scopes": sorted(current_operator().scopes)}

    @server.tool
    async def access() -> dict[str, Any]:
        token = get_access_token()
        assert token is not None
        return token.model_dump(include={"subject", "client_id", "scopes", "resource"})

    @server.tool
    async def for_a_proxy() -> list[str]:
        return sorted(get_http_headers(include={"authorization"}))

    @server.tool(auth=require_scopes("notes:write"))
    async def write() -> dict[str, Any]:
        return {"written": True}

    return server


@contextmanager
def served_notes(
    way: str = "guard", transport: dict[str, Any] | None = None
) -> Iterator[tuple[str, FakeIssuer]]:
    """
    The server's URL, and the issuer of its tokens.
    """
    fakes: list[FakeIssuer] = []

    def make(url: str) -> ASGIApp:
        fakes.append(issuer_of(url))
        requirement = notes_of(fakes[0]).requires("notes:read")
        if way == "guard":
            return guard(notes_server().http_app(**(transport or {})), requirement)
        auth = RemoteAuthProvider(TokenVerifier(requirement), [AnyHttpUrl(fakes[0].url)], base_url=url)
        return notes_server(auth=auth).http_app(**(transport or {}))

    with served(make) as url:
        yield url, fakes[0]


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, FakeIssuer]]:
    """
    One server of each way.
    """
    with served_notes(request.param) as one:
        yield one


def client_of(server: tuple[str, FakeIssuer], **claims: Any) -> RawClient:
    """
    A client with a token of its own.
    """
    url, fake = server
    return RawClient(f"{url}/mcp", fake.token(**{"scope": "notes:read"} | claims))


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        pytest.param({}, 200, id="a good one"),
        pytest.param({"expires_in": -31}, 401, id="expired"),
        pytest.param({"aud": f"{BASE}/other"}, 401, id="for another server"),
        pytest.param({"scope": "notes:write"}, 403, id="of another scope"),
    ],
)
def test_each_message_needs_a_good_token(
    server: tuple[str, FakeIssuer], claims: dict[str, Any], status: int
) -> None:
    """
    In a session that was opened with one as well; a refusal says where to get one.
    """
    with client_of(server) as client:
        client.initialize()
        client.token = client_of(server, **claims).token
        answer = client.post(rpc("ping"))

    assert answer.status_code == status
    assert ("resource_metadata=" in answer.headers.get("www-authenticate", "")) == (status != 200)


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize(
    ("claims", "status"),
    [
        pytest.param({"scope": "notes:read notes:write"}, 200, id="another token of the same principal"),
        pytest.param({"sub": "bob"}, 404, id="another user"),
        pytest.param({"client_id": "another-client"}, 404, id="another client"),
    ],
)
def test_nobody_continues_another_ones_session(
    server: tuple[str, FakeIssuer], method: str, claims: dict[str, Any], status: int
) -> None:
    """
    A session ID is no credential.
    """
    with client_of(server) as owner, client_of(server, **claims) as other:
        owner.initialize()
        other.session_id = owner.session_id

        assert other.send(method, rpc("ping")).status_code == status


def test_the_metadata_names_the_issuer(server: tuple[str, FakeIssuer]) -> None:
    """
    Whoever serves it, at the path-inserted well-known URL.
    """
    url, fake = server

    metadata = httpx.get(f"{url}/.well-known/oauth-protected-resource/mcp").json()

    assert metadata["resource"] == f"{url}/mcp"
    assert [one.rstrip("/") for one in metadata["authorization_servers"]] == [fake.url]
    assert metadata["scopes_supported"] == sorted(SCOPES)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_tool_sees_the_operator_of_its_own_message(transport: dict[str, Any]) -> None:
    """
    Not that of the message that opened the session.
    """
    with served_notes(transport=transport) as server, client_of(server) as client:
        client.token = server[1].token(scope="notes:read notes:write")
        client.initialize()
        before = client.call("who")
        client.token = server[1].token(scope="notes:read")
        after, in_a_thread = client.call("who"), client.call("who_in_a_thread")

    assert before["scopes"] == ["notes:read", "notes:write"]
    assert after["scopes"] == in_a_thread["scopes"] == ["notes:read"]
    assert after["operator"] == after["on_request"] == "https://login.example.com#alice"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_sessions_side_by_side_see_their_own_operators(transport: dict[str, Any]) -> None:
    """
    No session's tools see the operator of another.
    """
    users = ["alice", "bob"]
    with (
        served_notes(transport=transport) as server,
        client_of(server, sub="alice") as alice,
        client_of(server, sub="bob") as bob,
    ):
        alice.initialize()
        bob.initialize()
        seen = [client.call("who")["operator"] for client in [alice, bob] * 5]

    assert seen == [f"https://login.example.com#{user}" for user in users * 5]


def test_its_proxies_have_no_token_to_pass_on() -> None:
    """
    They send a server behind them the `Authorization` field of the caller (R223, R234): it ends at the guard.
    """
    with served_notes() as server, client_of(server) as client:
        client.initialize()
        fields = client.tool("for_a_proxy")["result"]

    assert "user-agent" in fields
    assert "authorization" not in fields


async def test_its_own_client_is_served(server: tuple[str, FakeIssuer]) -> None:
    """
    With a token as its ``auth``; tools are told the caller, and component scopes are held.
    """
    url, fake = server
    transport = StreamableHttpTransport(f"{url}/mcp", auth=fake.token(scope="notes:read"))
    async with Client(transport) as client:
        access = (await client.call_tool("access")).data
        tools = {tool.name for tool in await client.list_tools()}

    assert access == {
        "subject": "alice",
        "client_id": "test-client",
        "scopes": ["notes:read"],
        "resource": f"{url}/mcp",
    }
    assert "who" in tools
    assert "write" not in tools


async def test_its_own_client_with_a_broader_token_sees_more(server: tuple[str, FakeIssuer]) -> None:
    """
    What one scope more allows.
    """
    url, fake = server
    transport = StreamableHttpTransport(f"{url}/mcp", auth=fake.token(scope="notes:read notes:write"))
    async with Client(transport) as client:
        written = (await client.call_tool("write")).data

    assert written == {"written": True}


def test_it_leaves_no_hook_in_front_of_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What later tests import, and how it fails, has nothing of FastMCP's.
    """
    (tmp_path / "broken.py").write_text("def (")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(SyntaxError) as caught:
        importlib.import_module("broken")

    assert "beartype" not in "".join(traceback.format_tb(caught.tb))


async def test_unreachable_keys_are_not_a_bad_token() -> None:
    """
    FastMCP has an error of its own for what could not be determined.
    """
    fake = issuer_of(BASE)
    verifier = TokenVerifier(notes_of(fake).requires())
    fake.go_down()

    with pytest.raises(TokenVerificationError):
        await verifier.verify_token(fake.token())

    await verifier.aclose()


async def test_what_is_no_token_is_refused() -> None:
    """
    None, as FastMCP expects it.
    """
    verifier = TokenVerifier(notes_of(issuer_of(BASE)).requires())

    assert await verifier.verify_token("not.a.token") is None


def test_the_verifier_tells_fastmcp_what_to_ask_for() -> None:
    """
    The requirement's scopes; in metadata, those of the package, and none that is no scope of a resource.
    """
    notes = ServicePackage(
        "notes",
        issuer="https://login.example.com",
        audience=f"{BASE}/mcp",
        scopes=["notes:read", "notes:write", "offline_access"],
    )

    verifier = TokenVerifier(notes.requires("notes:read"), base_url=BASE)

    assert verifier.required_scopes == ["notes:read"]
    assert verifier.scopes_supported == ["notes:read", "notes:write"]
    assert str(verifier.base_url).rstrip("/") == BASE


def test_what_fastmcp_cannot_ask_for_is_refused() -> None:
    """
    As with the verifier of the official SDK.
    """
    notes = ServicePackage("notes", issuer="https://login.example.com", audience=f"{BASE}/mcp")

    with pytest.raises(PolicyError, match="for nothing else"):
        TokenVerifier(notes.requires(roles=["editor"]))
