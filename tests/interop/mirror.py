"""
A protected API that shows its caller in a mirror: it keeps the operators that it was asked by.
"""

import base64
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from guardrail import GuardrailMiddleware, Issuer, Operator, ServicePackage

from .api import ProtectedApi, serve
from .watch import Heard


@dataclass(frozen=True, slots=True)
class Mirror:
    """
    A running API, the operators it saw and the events it told of.
    """

    api: ProtectedApi
    heard: Heard
    operators: list[Operator] = field(default_factory=list)

    def get(self, token: str) -> httpx.Response:
        """
        Ask with a bearer token.
        """
        return self.api.get("/mirror", token=token)

    def operator(self, token: str) -> Operator:
        """
        Ask with a bearer token that is expected to be good, and tell who that was.
        """
        response = self.get(token)
        assert response.status_code == 204, f"{response.text}, {self.heard.refusal_codes()}"
        return self.operators[-1]


@contextmanager
def serve_mirror(
    *issuers: Issuer,
    audience: Iterable[str],
    http_client: httpx.Client,
    access_groups: Iterable[str] = (),
    clock: Callable[[], float] = time.time,
) -> Iterator[Mirror]:
    """
    Serve an API that trusts *issuers* and needs ``orders:read``, until the block ends.

    Args:
        access_groups: Any of which must be the active one; none by default.
    """
    operators: list[Operator] = []
    heard = Heard()
    orders = ServicePackage(
        "orders", issuer=issuers, audience=audience, scopes=["orders:read", "orders:write"]
    )

    @orders.requires("orders:read", access_groups=access_groups)
    async def show(request: Request) -> Response:
        operators.append(request.state.operator)
        return Response(status_code=204)

    app = Starlette(routes=[Route("/mirror", show)])
    app.add_middleware(GuardrailMiddleware, on_event=[heard], clock=clock)
    with serve(app, http_client=http_client) as api:
        yield Mirror(api, heard, operators)


def unverified_claims(token: str) -> dict[str, Any]:
    """
    Read what a token says.
    """
    claims: dict[str, Any] = json.loads(_decode(token.split(".")[1]))
    return claims


def tamper(token: str, **claims: object) -> str:
    """
    Change what a token says, and nothing else.
    """
    header, _, signature = token.split(".")
    text = json.dumps({**unverified_claims(token), **claims}).encode("utf-8")
    return f"{header}.{base64.urlsafe_b64encode(text).rstrip(b'=').decode('ascii')}.{signature}"


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
