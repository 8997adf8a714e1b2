"""
An authorization server and an API on loopback sockets, which answer as they are told and record all they get.
"""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from guardrail.client import AuthenticationProfile
from guardrail.errors import TokenUnavailableError
from guardrail.events import Event

PATIENCE = 20.0  # seconds after which a test that waits has failed
FORM = "application/x-www-form-urlencoded"
TLS = ssl.create_default_context()  # made once: it is what is slow about making a client


@dataclass(frozen=True, slots=True)
class Request:
    """
    A request as it came over the socket.
    """

    method: str
    path: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """
        The value of one field, or None; more than one is a failure of the test.
        """
        values = [value for key, value in self.fields if key.lower() == name]
        assert len(values) < 2, values
        return values[0] if values else None

    @property
    def form(self) -> list[tuple[str, str]]:
        """
        The parameters of the body, in order.
        """
        return parse_qsl(self.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)

    @property
    def token(self) -> str:
        """
        The bearer token of a request to the API.
        """
        return (self.header("authorization") or "").removeprefix("Bearer ")


@dataclass(frozen=True, slots=True)
class Answer:
    """
    An answer, byte for byte.
    """

    status: int = 200
    body: bytes = b""
    fields: tuple[tuple[str, str], ...] = ()


Script = Callable[[Request], Answer]


def grant(token: str = "token-1", **members: Any) -> Answer:
    """
    A token response (RFC 6749 §5.1); a member that is None is left out.
    """
    document = {"access_token": token, "token_type": "Bearer", "expires_in": 3600, **members}
    kept = {name: value for name, value in document.items() if value is not None}
    return Answer(200, json.dumps(kept).encode(), (("Content-Type", "application/json"),))


def refusal(status: int = 400, error: object = "invalid_client", *fields: Any, **members: Any) -> Answer:
    """
    An error response (RFC 6749 §5.2).
    """
    return Answer(status, json.dumps({"error": error, **members}).encode(), fields)


def _ok(_request: Request) -> Answer:
    return Answer()


@dataclass
class Party:
    """
    One server: what it got, and what it answers. ``/api`` is the API; all else is the authorization server.
    """

    origin: str = ""
    got: list[Request] = field(default_factory=list[Request])
    answers: list[Answer | Script] = field(default_factory=list[Answer | Script])
    api: Script = _ok
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def token_requests(self) -> list[Request]:
        """
        What the authorization server got.
        """
        return [one for one in self.got if not one.path.startswith("/api")]

    @property
    def calls(self) -> list[Request]:
        """
        What the API got.
        """
        return [one for one in self.got if one.path.startswith("/api")]

    def reset(self) -> None:
        """
        Forget all.
        """
        self.got, self.answers, self.api = [], [], _ok

    def answer(self, request: Request) -> Answer:
        """
        The next answer; numbered tokens when none is left.
        """
        with self.lock:
            self.got.append(request)
            if request.path.startswith("/api"):
                script: Answer | Script = self.api
            else:
                fallback = grant(f"token-{len(self.token_requests)}")
                script = self.answers.pop(0) if self.answers else fallback
        return script if isinstance(script, Answer) else script(request)


@contextmanager
def serving() -> Iterator[Party]:
    """
    A party on a port of its own.
    """
    party = Party()

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            body = self._chunks() if self.headers.get("transfer-encoding") else self.rfile.read(length)
            request = Request(self.command, self.path, tuple(self.headers.items()), body)
            answer = party.answer(request)
            self.send_response_only(answer.status)
            for name, value in answer.fields:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            with suppress(ConnectionError):  # who asked has read enough
                self.wfile.write(answer.body)

        do_GET = do_POST = handle_one  # noqa: N815 - names of http.server

        def _chunks(self) -> bytes:
            body = b""
            while (size := int(self.rfile.readline(), 16)) > 0:
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    party.origin = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield party
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Scene:
    """
    A profile of *party*, its clock and the events it emitted.
    """

    def __init__(self, party: Party, *answers: Answer | Script, **arguments: Any) -> None:
        self.party = party
        self.now = 1_000.0
        self.events: list[Event] = []
        self._heard = threading.Condition()
        party.answers.extend(answers)
        given = {
            "token_url": f"{party.origin}/token",
            "client_id": "orders-batch",
            "clock": lambda: self.now,
            "on_event": [self._hear],
            **arguments,
        }
        self.profile = AuthenticationProfile(
            **{name: value for name, value in given.items() if value is not None}
        )

    def get(self, url: str = "/api", **settings: Any) -> httpx.Response:
        """
        Call the API once.
        """
        return self.send("GET", url, **settings)

    def send(self, method: str, url: str = "/api", **settings: Any) -> httpx.Response:
        """
        Call the API once, with a body or without.
        """
        with httpx.Client(auth=self.profile, base_url=self.party.origin, verify=TLS) as client:
            return client.request(method, url, **settings)

    def failure(self) -> TokenUnavailableError:
        """
        What a call fails with when there is no token; the API does not hear of it.
        """
        before = len(self.party.calls)
        with pytest.raises(TokenUnavailableError) as raised:
            self.get()
        assert len(self.party.calls) == before
        return raised.value

    def named(self, name: str) -> list[Any]:
        """
        The events of one name.
        """
        return [event for event in self.events if event.name == f"guardrail.client.{name}"]

    def wait_for(self, name: str, count: int = 1) -> None:
        """
        Wait for what a thread of the profile tells.
        """
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.named(name)) >= count, PATIENCE), self.events

    def _hear(self, event: Event) -> None:
        with self._heard:
            self.events.append(event)
            self._heard.notify_all()
