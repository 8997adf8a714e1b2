"""
What the tests of the status page share: events of every kind, hostile ones too, and clocks.
"""

from collections.abc import Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from guardrail import GuardrailMiddleware, ServicePackage, public
from guardrail.events import (
    CircuitOpened,
    DirectoryFailed,
    DirectoryUnavailable,
    Event,
    KeysUnavailable,
    PlainHttpUsed,
    RefetchBudgetSpent,
    StaleKeysUsed,
    TokenAccepted,
    TokenFetched,
    TokenFetchFailed,
    TokenRefused,
    TokenRejected,
)
from guardrail.status import StatusBoard, status_app
from guardrail.testing import FakeIssuer

ISSUER = "https://login.example.com"
# What a listener may be told by an event of somebody else's making; ours are printable ASCII.
HOSTILE = (
    """"'><script>document.title='owned'</script><img src=x onerror="document.title='owned'">&amp;{}{0}"""
)


class Clock:
    """
    A clock that goes where a test sends it.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def accepted(**fields: Any) -> TokenAccepted:
    """
    A token of a user's, accepted with ten minutes left.
    """
    standard: dict[str, Any] = {
        "package": "orders",
        "route": "/orders",
        "issuer": ISSUER,
        "client_id": "web",
        "operator_kind": "user",
        "seconds_left": 600.0,
    }
    return TokenAccepted(**standard | fields)


def refused(code: str = "missing_token", **fields: Any) -> TokenRefused:
    """
    A request without a token.
    """
    standard: dict[str, Any] = {
        "status": 401,
        "package": "orders",
        "route": "/orders",
        "detail": "the request has no bearer token",
    }
    return TokenRefused(code=code, **standard | fields)


def fetched(**fields: Any) -> TokenFetched:
    """
    A token for calls of ours.
    """
    standard: dict[str, Any] = {
        "client_id": "orders-batch",
        "token_host": "login.example.com",
        "trigger": "missing",
        "lifetime": 300.0,
        "duration": 0.5,
    }
    return TokenFetched(**standard | fields)


def one_of_each(text: str = "x") -> list[Event]:
    """
    Every event that the page says something about, with *text* wherever there is any.
    """
    outbound: dict[str, Any] = {"client_id": text, "token_host": text}
    place: dict[str, Any] = {"package": text, "route": text}
    return [
        accepted(**place, issuer=text, client_id=text, operator_kind="service", operator_id=text),
        refused("unknown_key", **place, detail=text, kid=text, claim=text),
        refused("insufficient_scope", status=403, **place, detail=text, scopes_lacking=(text,)),
        KeysUnavailable(code="keys_unavailable", retry_after=1.0, **place),
        DirectoryUnavailable(code="directory_unavailable", retry_after=1.0, **place),
        PlainHttpUsed(**place),
        StaleKeysUsed(issuer=text, age=1.0),
        RefetchBudgetSpent(issuer=text),
        DirectoryFailed(reason="raised", error=None, has_record=False),
        fetched(**outbound),
        TokenFetchFailed(
            **outbound, trigger="aging", error=text, permanent=False, retry_after=9.0, token_alive=True
        ),
        TokenRejected(**outbound, host=text, retried=True, reason="invalid_token"),
        CircuitOpened(**outbound),
    ]


def tell(board: StatusBoard, *events: Event) -> None:
    """
    Tell *board* of several events, in order.
    """
    for event in events:
        board(event)


def new_issuer(url: str = ISSUER) -> FakeIssuer:
    """
    An authorization server with keys that are quickly made.
    """
    return FakeIssuer(url, algorithm="EdDSA")


def package_of(fake: FakeIssuer, **settings: Any) -> ServicePackage:
    """
    The service package ``orders``, whose tokens *fake* issues.
    """
    return ServicePackage("orders", issuer=fake.issuer, audience=fake.audience, **settings)


def guarded_app(
    orders: ServicePackage,
    board: StatusBoard,
    *more: Route,
    scopes: Iterable[str] = ("orders:read",),
    **settings: Any,
) -> Starlette:
    """
    An application with one route that is guarded, and its public status page.
    """

    @orders.requires(*scopes)
    async def read_orders(request: Request) -> Response:
        return PlainTextResponse("orders")

    routes = [Route("/orders", read_orders), Route("/status", public(status_app(board=board))), *more]
    app = Starlette(routes=routes)
    app.add_middleware(GuardrailMiddleware, on_event=[board], **settings)
    return app
