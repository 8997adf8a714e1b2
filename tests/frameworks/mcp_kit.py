"""
What the tests of MCP servers share: a server on a loopback socket, and a client that says exactly what a test
wants it to say.
"""

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from starlette.types import ASGIApp

from guardrail import ServicePackage
from guardrail.cli._servers import address, listen, serving
from guardrail.testing import FakeIssuer

SCOPES = {"notes:read": "Read notes", "notes:write": "Write notes"}
_ids = itertools.count(1)  # requests of one session must not share one
HANDSHAKE = "2025-06-18"  # the last-but-one protocol version that has sessions


def issuer_of(base_url: str, *, url: str = "https://login.example.com") -> FakeIssuer:
    """
    An issuer whose tokens are for the MCP server at *base_url*.
    """
    return FakeIssuer(url, audience=f"{base_url}/mcp", algorithm="EdDSA")


def notes_of(*fakes: FakeIssuer, **settings: Any) -> ServicePackage:
    """
    The service package of an MCP server whose tokens *fakes* issue.
    """
    issuers = [fake.issuer for fake in fakes]
    return ServicePackage("notes", issuer=issuers, audience=fakes[0].audience, scopes=SCOPES, **settings)


@contextmanager
def served(make: Callable[[str], ASGIApp]) -> Iterator[str]:
    """
    The URL of what *make* makes for that URL, served on a free loopback port.
    """
    _forget_earlier_servers()
    with listen("127.0.0.1", 0) as sock:
        url = address(sock)
        with serving(make(url), sock=sock):
            yield url


def _forget_earlier_servers() -> None:
    """
    A uvicorn server that was told to end by a signal, in whatever test, ends the event streams of every later
    one in this process: sse-starlette notes it for good, and nothing takes the note back.
    """
    streams = sys.modules.get("sse_starlette.sse")
    if streams is not None:
        streams.AppStatus.should_exit = False


@dataclass
class RawClient:
    """
    A client that sends what it is told, one request at a time.
    """

    url: str
    token: str | None
    session_id: str | None = None
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10.0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def initialize(self) -> httpx.Response:
        """
        Open a session, and remember its ID if there is one.
        """
        answer = self.post(opening())
        self.session_id = answer.headers.get("mcp-session-id")
        if answer.status_code == 200:
            assert self.post(rpc("notifications/initialized", notify=True)).status_code == 202
        return answer

    def call(self, tool: str, **arguments: object) -> Any:
        """
        Call a tool that returns an object, and return that.
        """
        return json.loads(self._result("tools/call", tool, arguments)["content"][0]["text"])

    def tool(self, tool: str, **arguments: object) -> Any:
        """
        Call a tool, and return its structured result.
        """
        return self._result("tools/call", tool, arguments)["structuredContent"]

    def tools(self) -> list[str]:
        """
        The names of the tools that the server shows.
        """
        return [tool["name"] for tool in self._result("tools/list")["tools"]]

    def _result(self, method: str, name: str = "", arguments: Mapping[str, object] | None = None) -> Any:
        answer = self.post(rpc(method, {"name": name, "arguments": arguments} if name else {}))
        assert answer.status_code == 200, answer.text
        result = _payload(answer)["result"]
        assert not result.get("isError"), result
        return result

    def post(self, message: Mapping[str, object], **headers: str) -> httpx.Response:
        """
        Send one message.
        """
        return self.send("POST", message, **headers)

    def send(self, method: str, message: Mapping[str, object], **headers: str) -> httpx.Response:
        """
        Send one request; of a stream, its beginning.
        """
        fields = {"accept": "application/json, text/event-stream"} | headers
        if self.token is not None:
            fields["authorization"] = f"Bearer {self.token}"
        if self.session_id is not None:
            fields["mcp-session-id"] = self.session_id
        return self.request(method, [*fields.items()], message)

    def request(
        self, method: str, fields: list[tuple[str, str]], message: Mapping[str, object]
    ) -> httpx.Response:
        """
        Send one request with these header fields alone; of a stream, its beginning.
        """
        if method == "GET":  # the stream of a session does not end by itself
            with self._client.stream(method, self.url, headers=fields) as answer:
                if answer.status_code != 200:
                    answer.read()
                return answer
        return self._client.request(method, self.url, headers=fields, json=message)


def opening() -> dict[str, object]:
    """
    The message that opens a session.
    """
    info = {"name": "raw", "version": "1"}
    params = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": info}
    return rpc("initialize", params)


def rpc(
    method: str, params: Mapping[str, object] | None = None, *, notify: bool = False
) -> dict[str, object]:
    """
    A JSON-RPC request, or notification.
    """
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": dict(params or {})}
    return message if notify else message | {"id": next(_ids)}


def _payload(answer: httpx.Response) -> Any:
    """
    The one message of an answer, from JSON or from an event stream.
    """
    if answer.headers["content-type"].startswith("application/json"):
        return answer.json()
    data = [line.removeprefix("data:") for line in answer.text.splitlines() if line.startswith("data:")]
    return json.loads(data[-1])
