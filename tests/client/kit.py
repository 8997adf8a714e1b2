"""
An authorization server and an API that do as they are told, and a profile between them; no network.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import httpx

from guardrail.client import AuthenticationProfile
from guardrail.events import Event

ISSUER = "https://login.example.com"
TOKEN_URL = "https://login.example.com/token"
REVOCATION_URL = "https://login.example.com/revoke"
API = "https://api.example.com"
SECRET = "s3cret-that-nobody-may-see"
DEADLINE = 20.0  # seconds after which a test that waits has failed

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def granted(token: str = "token-1", **members: Any) -> httpx.Response:
    """
    A token response (RFC 6749 §5.1); a member that is None is left out.
    """
    document = {"access_token": token, "token_type": "Bearer", "expires_in": 3600, **members}
    return httpx.Response(200, json={name: value for name, value in document.items() if value is not None})


def refused(status: int = 400, error: object = "invalid_client", **members: Any) -> httpx.Response:
    """
    An error response (RFC 6749 §5.2).
    """
    return httpx.Response(status, json={"error": error, **members})


class World:
    """
    A profile whose token requests get *answers*, one after another, and then numbered tokens for ever.
    """

    def __init__(self, *answers: Answer, **arguments: Any) -> None:
        self.requests: list[httpx.Request] = []
        self.calls: list[httpx.Request] = []
        self.events: list[Event] = []
        self.now = 1_000.0
        self.api: Callable[[httpx.Request], httpx.Response] = lambda _request: httpx.Response(200)
        self._answers = list(answers)
        self._heard = threading.Condition()
        self.arguments = {
            "token_url": TOKEN_URL,
            "client_id": "orders-batch",
            "client_secret": SECRET,
            "http_client": httpx.Client(transport=httpx.MockTransport(self._answer)),
            "clock": lambda: self.now,
            "on_event": [self._hear],
            **arguments,
        }
        self.profile = AuthenticationProfile(**self.arguments)

    def client(self, **settings: Any) -> httpx.Client:
        """
        A client of the API, with the profile.
        """
        return httpx.Client(
            transport=httpx.MockTransport(self._call), auth=self.profile, base_url=API, **settings
        )

    def async_client(self, **settings: Any) -> httpx.AsyncClient:
        """
        The same for an event loop.
        """
        return httpx.AsyncClient(
            transport=httpx.MockTransport(self._call), auth=self.profile, base_url=API, **settings
        )

    def get(self, url: str = "/invoices") -> httpx.Response:
        """
        Call the API once.
        """
        with self.client() as client:
            return client.get(url)

    def named(self, name: str) -> list[Any]:
        """
        The events of one name.
        """
        return [event for event in self.events if event.name == f"guardrail.client.{name}"]

    def wait_for(self, name: str, count: int = 1) -> None:
        """
        Wait until there have been *count* events of one name: what a thread does cannot be seen earlier.
        """
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.named(name)) >= count, DEADLINE), self.events

    @property
    def forms(self) -> list[dict[str, list[str]]]:
        """
        The forms of the token requests.
        """
        return [parse_qs(request.content.decode()) for request in self.requests if request.method == "POST"]

    @property
    def tokens_sent(self) -> list[str]:
        """
        The tokens that the API saw.
        """
        return [request.headers.get("authorization", "").removeprefix("Bearer ") for request in self.calls]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if self._answers else granted(f"token-{len(self.requests)}")
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def _call(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request)
        return self.api(request)

    def _hear(self, event: Event) -> None:
        with self._heard:
            self.events.append(event)
            self._heard.notify_all()


def rejecting(*tokens: str, challenge: str | None = None) -> Callable[[httpx.Request], httpx.Response]:
    """
    An API that answers 401 to these tokens.
    """
    headers = {} if challenge is None else {"www-authenticate": challenge}

    def answer(request: httpx.Request) -> httpx.Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return httpx.Response(401, headers=headers) if token in tokens else httpx.Response(200)

    return answer


def pairs(request: httpx.Request) -> list[tuple[str, str]]:
    """
    The parameters of a form, in order.
    """
    return parse_qsl(request.content.decode(), keep_blank_values=True)


def metadata(**members: Any) -> httpx.Response:
    """
    The metadata of `ISSUER`.
    """
    document = {
        "issuer": ISSUER,
        "token_endpoint": TOKEN_URL,
        "revocation_endpoint": REVOCATION_URL,
        **members,
    }
    return httpx.Response(200, json={name: value for name, value in document.items() if value is not None})


def names(events: Iterable[Event]) -> list[str]:
    """
    The names of events, without what they have in common.
    """
    return [event.name.removeprefix("guardrail.client.") for event in events]
