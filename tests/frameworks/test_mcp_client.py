"""
The SDK's own client against a guarded server: it finds the embedded issuer by our challenge and our metadata,
gets a token for us there, and asks for more when we say which scope is missing.
"""

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from guardrail import ServicePackage, current_operator
from guardrail.issuer import Client as RegisteredClient
from guardrail.issuer import EmbeddedIssuer

from .mcp_kit import SCOPES, served

if not os.environ.get("CI"):
    pytest.importorskip("mcp")

import httpx2
from mcp.client import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl
from starlette.types import ASGIApp, Receive, Scope, Send

from guardrail.mcp import guard

pytestmark = pytest.mark.anyio

REDIRECT = "http://127.0.0.1:8765/callback"
SECRET = "a-secret-of-the-batch-client"


@dataclass
class Servers:
    """
    An MCP server, the authorization server its tokens come from, and what was asked of the two.
    """

    mcp_url: str
    issuer: EmbeddedIssuer
    app: RegisteredClient
    asked: list[str]

    def token(self, *scopes: str) -> OAuthToken:
        """
        A token that the app already has.
        """
        minted = self.issuer.mint(self.app, subject="alice", scope=scopes, audience=self.mcp_url)
        return OAuthToken(access_token=minted, expires_in=600, scope=" ".join(scopes))


@contextmanager
def servers() -> Iterator[Servers]:
    """
    Both of them on sockets.
    """
    made: list[EmbeddedIssuer] = []
    asked: list[str] = []
    with served(lambda _: Late(made)) as issuer_url:

        def make(url: str) -> ASGIApp:
            made.append(EmbeddedIssuer(issuer_url, clients=registered(f"{url}/mcp"), algorithm="EdDSA"))
            notes = ServicePackage("notes", issuer=issuer_url, audience=f"{url}/mcp", scopes=SCOPES)
            app = notes_server().streamable_http_app()
            return Noting(guard(app, notes.requires("notes:read", "notes:write")), asked)

        with served(make) as url:
            yield Servers(f"{url}/mcp", made[0], made[0].clients[0], asked)


def registered(audience: str) -> list[RegisteredClient]:
    """
    An app that users allow, and a machine client.
    """
    return [
        RegisteredClient(
            "app",
            client_secret=None,
            scopes=SCOPES,
            audiences=[audience],
            grant_types=["authorization_code", "refresh_token"],
            redirect_uris=[REDIRECT],
        ),
        RegisteredClient("batch", client_secret=SECRET, scopes=SCOPES, audiences=[audience]),
    ]


def notes_server() -> MCPServer[Any]:
    """
    An MCP server that says for whom it runs.
    """
    server = MCPServer("notes", log_level="ERROR")

    @server.tool()
    async def who() -> dict[str, Any]:
        operator = current_operator()
        return {"subject": operator.subject, "client": operator.client_id, "kind": operator.kind}

    return server


class Late:
    """
    An application that is made after its address is known to others.
    """

    def __init__(self, made: list[EmbeddedIssuer]) -> None:
        self._made = made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one connection; the lifespan has nothing to do.
        """
        if scope["type"] == "http":
            await self._made[0](scope, receive, send)
            return
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})


class Noting:
    """
    Notes what is asked of an application, and what it answers.
    """

    def __init__(self, app: ASGIApp, asked: list[str]) -> None:
        self.app = app
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one connection.
        """

        async def noting(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._asked.append(f"{scope['method']} {scope['path']} {message['status']}")
            await send(message)

        await self.app(scope, receive, noting)


@dataclass
class Storage:
    """
    What the SDK's client remembers.
    """

    client: OAuthClientInformationFull | None = None
    tokens: OAuthToken | None = None
    kept: list[OAuthToken] = field(default_factory=list)

    async def get_tokens(self) -> OAuthToken | None:
        """
        The tokens it has.
        """
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """
        Keep new ones.
        """
        self.kept.append(tokens)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """
        Who it is registered as.
        """
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """
        The embedded issuer registers nobody.
        """
        raise AssertionError(client_info)


@dataclass
class Browser:
    """
    A user who allows what is asked.
    """

    asked: list[dict[str, list[str]]] = field(default_factory=list)
    location: str = ""

    async def open(self, url: str) -> None:
        """
        Read the consent page, choose alice, and allow.
        """
        self.asked.append(parse_qs(urlsplit(url).query))
        async with httpx.AsyncClient() as client:
            page = await client.get(url)
            request_id = re.search(r'name="request_id" value="([^"]+)"', page.text)
            assert request_id is not None, page.text
            form = {"request_id": request_id[1], "user": "alice", "decision": "allow"}
            answer = await client.post(url.partition("?")[0], data=form)
        self.location = answer.headers["location"]

    async def come_back(self) -> AuthorizationCodeResult:
        """
        What the redirect brings.
        """
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.location).query).items()}
        return AuthorizationCodeResult(code=query["code"], state=query["state"], iss=query["iss"])


def app_auth(both: Servers, storage: Storage, browser: Browser) -> OAuthClientProvider:
    """
    The SDK's authorization code flow, for the registered app.
    """
    metadata: dict[str, Any] = {
        "redirect_uris": [AnyUrl(REDIRECT)],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
    }
    storage.client = OAuthClientInformationFull(client_id="app", issuer=both.issuer.url, **metadata)
    return OAuthClientProvider(
        both.mcp_url,
        OAuthClientMetadata(**metadata),
        storage,
        redirect_handler=browser.open,
        callback_handler=browser.come_back,
    )


@asynccontextmanager
async def connected(both: Servers, auth: httpx2.Auth, *, mode: str = "auto") -> AsyncIterator[Client]:
    """
    The SDK's client, with *auth*.
    """
    async with (
        httpx2.AsyncClient(auth=auth) as http_client,
        Client(streamable_http_client(both.mcp_url, http_client=http_client), mode=mode) as client,
    ):
        yield client


async def who(client: Client) -> dict[str, Any]:
    """
    For whom the server says that it runs.
    """
    result = await client.call_tool("who", {})
    assert not result.is_error, result
    seen: dict[str, Any] = result.structured_content
    return seen


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_without_a_token_finds_its_way(mode: str) -> None:
    """
    401, metadata of the resource, metadata of the issuer, consent, token, and the call that was wanted.
    """
    with servers() as both:
        storage, browser = Storage(), Browser()
        async with connected(both, app_auth(both, storage, browser), mode=mode) as client:
            seen = await who(client)

    assert seen == {"subject": "alice", "client": "app", "kind": "user"}
    assert both.asked[:2] == ["POST /mcp 401", "GET /.well-known/oauth-protected-resource/mcp 200"]
    assert [one["resource"] for one in browser.asked] == [[both.mcp_url]]
    assert [one["scope"] for one in browser.asked] == [["notes:read notes:write"]]
    assert len(storage.kept) == 1


async def test_a_client_with_too_narrow_a_token_asks_for_more() -> None:
    """
    403 with the scopes that are needed lets the client step up (MCP, "Step-Up Authorization Flow").
    """
    with servers() as both:
        storage, browser = Storage(tokens=both.token("notes:read")), Browser()
        async with connected(both, app_auth(both, storage, browser)) as client:
            seen = await who(client)

    assert seen["subject"] == "alice"
    assert both.asked[:2] == ["POST /mcp 403", "GET /.well-known/oauth-protected-resource/mcp 200"]
    assert [one["scope"] for one in browser.asked] == [["notes:read notes:write"]]


async def test_a_client_with_a_good_token_asks_nobody() -> None:
    """
    Nothing is discovered, and no user is bothered, while the token at hand is good.
    """
    with servers() as both:
        storage, browser = Storage(tokens=both.token("notes:read", "notes:write")), Browser()
        async with connected(both, app_auth(both, storage, browser)) as client:
            seen = await who(client)

    assert seen["subject"] == "alice"
    assert browser.asked == []
    assert storage.kept == []


async def test_a_machine_client_finds_its_way() -> None:
    """
    The same discovery leads a client without users to its token.
    """
    with servers() as both:
        auth = ClientCredentialsOAuthProvider(
            both.mcp_url,
            Storage(),
            client_id="batch",
            client_secret=SECRET,
            issuer=both.issuer.url,
        )
        async with connected(both, auth) as client:
            seen = await who(client)

    assert (seen["client"], seen["kind"]) == ("batch", "service")
