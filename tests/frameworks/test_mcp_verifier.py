"""
`guardrail.mcp.TokenVerifier` inside the official SDK: our verification, the SDK's answers and sessions.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from guardrail import Issuer, ServicePackage
from guardrail.errors import PolicyError, UnavailableError
from guardrail.events import Event, KeysUnavailable, TokenAccepted, TokenRefused
from guardrail.testing import FakeIssuer

from .mcp_kit import RawClient, issuer_of, notes_of, rpc, served

if not os.environ.get("CI"):
    pytest.importorskip("mcp")

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import MCPServer
from starlette.types import ASGIApp

from guardrail.mcp import TokenVerifier

pytestmark = pytest.mark.anyio

BASE = "https://api.example.com"


@contextmanager
def notes_server() -> Iterator[tuple[str, FakeIssuer]]:
    """
    The URL of an MCP server with the SDK's own authorization around our verifier, and its issuer.
    """
    fakes: list[FakeIssuer] = []

    def make(url: str) -> ASGIApp:
        fakes.append(issuer_of(url))
        verifier = TokenVerifier(notes_of(fakes[0]).requires("notes:read"))
        server: MCPServer[Any] = MCPServer(
            "notes", token_verifier=verifier, auth=verifier.auth_settings, log_level="ERROR"
        )

        @server.tool()
        async def who() -> dict[str, Any]:
            token = get_access_token()
            assert token is not None
            return {"subject": token.subject, "client": token.client_id, "scopes": token.scopes}

        return server.streamable_http_app()

    with served(make) as url:
        yield url, fakes[0]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, FakeIssuer]]:
    """
    One server for the tests on sockets.
    """
    with notes_server() as one:
        yield one


def client_of(server: tuple[str, FakeIssuer], **claims: Any) -> RawClient:
    """
    A client with a token of its own.
    """
    url, fake = server
    return RawClient(f"{url}/mcp", fake.token(**{"scope": "notes:read"} | claims))


def verifier_of(fake: FakeIssuer, *scopes: str, **settings: Any) -> TokenVerifier:
    """
    A verifier of tokens that *fake* makes.
    """
    return TokenVerifier(notes_of(fake).requires(*scopes), **settings)


# On sockets


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        pytest.param({}, 200, id="a good one"),
        pytest.param({"expires_in": -31}, 401, id="expired"),
        pytest.param({"aud": f"{BASE}/other"}, 401, id="for another server"),
        pytest.param({"iss": "https://evil.example"}, 401, id="of another issuer"),
        pytest.param({"scope": "notes:write"}, 403, id="of another scope"),
    ],
)
def test_the_sdk_answers_what_the_verifier_says(
    server: tuple[str, FakeIssuer], claims: dict[str, Any], status: int
) -> None:
    """
    401 for a token that is not acceptable, 403 for one that may not.
    """
    with client_of(server, **claims) as client:
        assert client.initialize().status_code == status


def test_the_sdk_publishes_what_the_package_says(server: tuple[str, FakeIssuer]) -> None:
    """
    Its metadata is made of the verifier's settings.
    """
    url, fake = server

    metadata = httpx.get(f"{url}/.well-known/oauth-protected-resource/mcp").json()

    assert metadata["resource"] == f"{url}/mcp"
    assert metadata["authorization_servers"] == [fake.url]
    assert metadata["scopes_supported"] == ["notes:read"]


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
    The SDK binds its sessions to what the verifier tells it.
    """
    with client_of(server) as owner, client_of(server, **claims) as other:
        owner.initialize()
        other.session_id = owner.session_id

        assert other.send(method, rpc("ping")).status_code == status


def test_tools_are_told_the_caller(server: tuple[str, FakeIssuer]) -> None:
    """
    With the SDK's own function, message by message.
    """
    with client_of(server, scope="notes:read notes:write") as client:
        client.initialize()
        client.token = server[1].token(scope="notes:read")
        seen = client.call("who")

    assert seen == {"subject": "alice", "client": "test-client", "scopes": ["notes:read"]}


# By itself


async def test_a_token_is_verified_as_the_middleware_does() -> None:
    """
    What the SDK gets has the caller and what the token says, and listeners hear of it.
    """
    fake, heard = issuer_of(BASE), list[Event]()
    verifier = verifier_of(fake, on_event=[heard.append])

    access = await verifier.verify_token(fake.token(scope="notes:read"))

    assert access is not None
    assert (access.subject, access.client_id, access.resource) == ("alice", "test-client", f"{BASE}/mcp")
    assert (access.claims or {})["iss"] == fake.url
    assert [event for event in heard if isinstance(event, TokenAccepted)] == [
        TokenAccepted(
            package="notes", route="mcp", issuer=fake.url, client_id="test-client", operator_kind="user"
        )
    ]


async def test_a_token_without_a_client_is_accepted() -> None:
    """
    Large issuers leave *client_id* out; then there is none.
    """
    fake, heard = issuer_of(BASE), list[Event]()
    verifier = verifier_of(fake, on_event=[heard.append])

    access = await verifier.verify_token(fake.token(client_id=None))

    assert access is not None
    assert access.client_id == ""
    assert [event.client_id for event in heard if isinstance(event, TokenAccepted)] == [None]


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param("", "malformed_token", id="nothing"),
        pytest.param("not.a", "malformed_token", id="no token"),
        pytest.param("nöt.a.token", "malformed_token", id="no ASCII"),
    ],
)
async def test_what_is_no_token_is_refused(token: str, code: str) -> None:
    """
    The SDK hands over whatever stands behind the scheme.
    """
    heard: list[Event] = []
    verifier = verifier_of(issuer_of(BASE), on_event=[heard.append])

    assert await verifier.verify_token(token) is None
    assert [(e.code, e.status, e.route) for e in heard if isinstance(e, TokenRefused)] == [(code, 401, "mcp")]


async def test_expiry_is_judged_each_time() -> None:
    """
    A token that is remembered is not good for ever.
    """
    now = [1_800_000_000.0]
    fake = FakeIssuer(audience=f"{BASE}/mcp", algorithm="EdDSA", clock=lambda: now[0])
    verifier = verifier_of(fake, clock=lambda: now[0])
    token = fake.token(expires_in=60.0)

    before = await verifier.verify_token(token)
    now[0] += 91.0

    assert before is not None
    assert await verifier.verify_token(token) is None


async def test_unreachable_keys_are_not_a_bad_token() -> None:
    """
    The client's token may be good: it is not told to get another one.
    """
    fake, heard = issuer_of(BASE), list[Event]()
    verifier = verifier_of(fake, on_event=[heard.append])
    fake.go_down()

    with pytest.raises(UnavailableError):
        await verifier.verify_token(fake.token())

    assert [event.code for event in heard if isinstance(event, KeysUnavailable)] == ["keys_unavailable"]


async def test_closing_it_ends_what_runs_in_the_background() -> None:
    """
    No task of a verifier outlives it.
    """
    stalled = Stalled()
    issuer = Issuer("https://login.example.com", http_client=httpx.AsyncClient(transport=stalled))
    notes = ServicePackage("notes", issuer=issuer, audience=f"{BASE}/mcp")
    verifier = TokenVerifier(notes.requires())
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(verifier.verify_token(issuer_of(BASE).token()))
    await stalled.is_asked.wait()

    await verifier.aclose()
    waiting.cancel()
    await asyncio.wait([waiting])

    assert asyncio.all_tasks() == before


class Stalled(httpx.AsyncBaseTransport):
    """
    A server that never answers.
    """

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Wait for ever.
        """
        self.is_asked.set()
        await asyncio.Event().wait()
        raise AssertionError


def test_its_settings_ask_for_what_the_requirement_needs() -> None:
    """
    The SDK checks scopes, and that the token is for this resource.
    """
    notes = ServicePackage(
        "notes", issuer="https://login.example.com", audience=f"{BASE}/mcp", required_scopes=["notes"]
    )

    settings = TokenVerifier(notes.requires("notes:read")).auth_settings

    assert settings.required_scopes == ["notes", "notes:read"]
    assert str(settings.resource_server_url) == f"{BASE}/mcp"
    assert str(settings.issuer_url) == "https://login.example.com"
    assert settings.validate_token_resource is True


NOTES = ServicePackage("notes", issuer="https://login.example.com", audience=f"{BASE}/mcp")


@pytest.mark.parametrize(
    "requirement",
    [
        pytest.param(NOTES.requires_any("notes:read", "notes:write"), id="any of several scopes"),
        pytest.param(NOTES.requires(roles=["editor"]), id="roles"),
        pytest.param(NOTES.requires(access_groups=["Notes"]), id="access groups"),
        pytest.param(NOTES.requires(acr_values=["urn:mfa"]), id="authentication context"),
        pytest.param(NOTES.requires(max_age=60.0), id="age of the authentication"),
        pytest.param(NOTES.requires(max_age=0.0), id="authentication just now"),
    ],
)
def test_what_the_sdk_cannot_ask_for_is_refused(requirement: Any) -> None:
    """
    A condition that nobody would look at is an error where it is written.
    """
    with pytest.raises(PolicyError, match="for nothing else"):
        TokenVerifier(requirement)


@pytest.mark.parametrize(
    ("requirement", "settings"),
    [
        pytest.param(NOTES, {}, id="a package"),
        pytest.param(NOTES.requires(), {"clock": 0.0}, id="a clock that is none"),
        pytest.param(NOTES.requires(), {"monotonic": None}, id="no monotonic clock"),
        pytest.param(NOTES.requires(), {"http_client": httpx.Client}, id="a client that blocks"),
        pytest.param(NOTES.requires(), {"on_event": print}, id="one listener for several"),
        pytest.param(NOTES.requires(), {"token_cache_size": -1}, id="a negative cache"),
        pytest.param(
            ServicePackage("n", issuer="https://i.example", audience="api://n").requires(), {}, id="no URL"
        ),
    ],
)
def test_wrong_settings_are_refused(requirement: Any, settings: dict[str, Any]) -> None:
    """
    Where they are written, as the middleware does.
    """
    with pytest.raises(PolicyError):
        TokenVerifier(requirement, **settings)
