"""
A guarded API for the conformance suite, and what came of each request to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message

from guardrail import GuardrailMiddleware, Issuer, Operator, Requirement, ServicePackage, current_operator
from guardrail.events import Event, TokenRefused

from .challenges import Challenge, parse_challenges
from .tokens import ABSENT, AUDIENCE, ISSUER, JWK, NOW, jwk, signer, token

Fields = Sequence[tuple[bytes, bytes]]

REALM: Final = "orders"


class Clock:
    """
    A clock that goes where a test sends it.
    """

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What came of one request.

    Attributes:
        operator: Whom the handler ran for; None says that it did not run.
        received: The body that the handler received.
        code: The code of the refusal that listeners were told of, if any.
    """

    status: int
    headers: Fields
    body: bytes
    operator: Operator | None = None
    received: bytes = b""
    code: str | None = None

    def values(self, name: bytes) -> list[bytes]:
        """
        The values of a header field.
        """
        return [value for field, value in self.headers if field.lower() == name]

    @property
    def challenges(self) -> list[Challenge]:
        """
        The challenges, parsed strictly.
        """
        return parse_challenges(self.values(b"www-authenticate"))


@dataclass(slots=True)
class Exchange:
    """
    The two ends of one request.
    """

    body: bytes = b""
    sent: list[Message] = field(default_factory=list)

    async def receive(self) -> Message:
        """
        The whole body.
        """
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        """
        Note a message.
        """
        self.sent.append(message)


def http_scope(fields: Fields = (), **changes: Any) -> dict[str, Any]:
    """
    The ASGI scope of a GET of ``/orders``, with *changes*.
    """
    path: str = changes.get("path", "/orders")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"api.example.com"), *fields],
        "client": ("192.0.2.1", 50_000),
        "server": ("api.example.com", 443),
        "state": {},
    } | changes


def bearer(credentials: bytes) -> Fields:
    """
    One `Authorization` field with *credentials* as a bearer token.
    """
    return [(b"authorization", b"Bearer " + credentials)]


def issuer(*keys: JWK, url: str = ISSUER, **settings: Any) -> Issuer:
    """
    An issuer with these keys in hand; with ``key-1`` for ES256 where none are given.
    """
    return Issuer(url, keys={"keys": list(keys) or [jwk()]}, **settings)


def package(
    *issuers: Issuer, name: str = REALM, audience: str | Sequence[str] = AUDIENCE, **settings: Any
) -> ServicePackage:
    """
    The service package of these issuers.
    """
    return ServicePackage(name, issuer=issuers or [issuer()], audience=audience, **settings)


class Api:
    """
    An application of one route, ``/orders``, that needs the scope ``orders:read`` unless told otherwise.
    """

    def __init__(self, requirement: Requirement | Issuer | None = None, **settings: Any) -> None:
        if isinstance(requirement, Issuer):
            requirement = package(requirement).requires("orders:read")
        requirement = requirement or package().requires("orders:read")
        self.clock = Clock()
        self.events: list[Event] = []
        self._runs: list[tuple[Operator, bytes]] = []

        async def orders(request: Request) -> Response:
            self._runs.append((current_operator(), await request.body()))
            return PlainTextResponse("orders")

        route = Route("/orders", requirement(orders), methods=["GET", "POST"])
        standard: dict[str, Any] = {"clock": self.clock, "on_event": [self.events.append]}
        self.app = GuardrailMiddleware(Starlette(routes=[route]), **(standard | settings))

    async def send(self, fields: Fields = (), *, body: bytes = b"", **scope: Any) -> Answer:
        """
        Send one request.
        """
        exchange, runs, events = Exchange(body), len(self._runs), len(self.events)
        await self.app(http_scope(fields, **scope), exchange.receive, exchange.send)
        start, *rest = exchange.sent
        operator, received = self._runs[-1] if len(self._runs) > runs else (None, b"")
        refusals = [event for event in self.events[events:] if isinstance(event, TokenRefused)]
        return Answer(
            status=start["status"],
            headers=start["headers"],
            body=b"".join(message.get("body", b"") for message in rest),
            operator=operator,
            received=received,
            code=refusals[0].code if refusals else None,
        )

    async def accepts(self, credentials: bytes) -> Operator:
        """
        The handler runs for this token; its operator.
        """
        return accepted(await self.send(bearer(credentials)))

    async def refuses(
        self,
        credentials: bytes,
        *,
        status: int = 401,
        error: str | None = "invalid_token",
        code: str | None = None,
    ) -> Answer:
        """
        The handler does not run for this token, and the client is told *error*.
        """
        answer = await self.send(bearer(credentials))
        return refused(answer, status=status, error=error, code=code)


def accepted(answer: Answer) -> Operator:
    """
    Check that the handler ran and answered.
    """
    assert (answer.status, answer.body, answer.code) == (200, b"orders", None)
    assert answer.operator is not None
    return answer.operator


def refused(
    answer: Answer, *, status: int = 401, error: str | None = "invalid_token", code: str | None = None
) -> Answer:
    """
    Check that the handler did not run, and that one well-formed challenge says *error*.
    """
    assert answer.operator is None
    assert answer.status == status
    (challenge,) = answer.challenges
    assert (challenge.scheme, challenge.parameters["realm"]) == ("Bearer", REALM)
    assert challenge.parameters.get("error") == error
    assert ("error_description" in challenge.parameters) is (error is not None)
    assert code in (None, answer.code), f"refused for another reason: {answer.code}"
    return answer


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    A request that is refused by the application of `Api`, and how.
    """

    fields: Fields
    status: int
    error: str | None
    code: str


def forged(good: bytes) -> bytes:
    """
    The same token under a signature that nobody made.
    """
    signed, _, signature = good.rpartition(b".")
    return signed + b"." + (b"B" if signature[:1] == b"A" else b"A") + signature[1:]


def _refusals() -> dict[str, Refusal]:
    tokens = {
        "not a token": (b"garbage", "malformed_token"),
        "an algorithm that is not configured": (token({"alg": "none"}), "algorithm_not_allowed"),
        "a forged signature": (forged(token()), "bad_signature"),
        "an unknown key": (token({"kid": "other"}, sign=signer(name="other")), "unknown_key"),
        "an unknown issuer": (token(iss="https://other.example"), "unknown_issuer"),
        "another audience": (token(aud="https://api.example.com/billing"), "audience_mismatch"),
        "an expired token": (token(exp=NOW - 600), "token_expired"),
        "a token that is not valid yet": (token(nbf=NOW + 600), "token_not_yet_valid"),
        "a missing claim": (token(sub=ABSENT), "claim_missing"),
        "a claim of the wrong type": (token(sub=1), "claims_malformed"),
        "another kind of token": (token({"typ": "dpop+jwt"}), "token_type_mismatch"),
        "a bound token": (token(cnf={"jkt": "x" * 43}), "sender_constrained"),
    }
    return {
        "no token": Refusal([], 401, None, "missing_token"),
        "another scheme": Refusal([(b"authorization", b"Basic YTpi")], 401, None, "missing_token"),
        "two fields": Refusal([*bearer(token())] * 2, 400, "invalid_request", "authorization_repeated"),
        "no credentials": Refusal(bearer(b""), 400, "invalid_request", "authorization_malformed"),
        **{name: Refusal(bearer(made), 401, "invalid_token", code) for name, (made, code) in tokens.items()},
        "a scope too few": Refusal(
            bearer(token(scope="orders:write")), 403, "insufficient_scope", "insufficient_scope"
        ),
    }


REFUSALS: Final = [pytest.param(one, id=name) for name, one in _refusals().items()]
