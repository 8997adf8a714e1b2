"""
The road behind the decision where to: steps 2 to 7, for a request whose endpoint is known.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from ._asgi import ASGIApp, Receive, Scope, Send, is_plain_http, is_preflight
from ._challenge import not_allowed, not_found, unavailable
from ._decision import Decision
from ._expiry import run_socket_until_expiry, run_stream_until_expiry
from ._judge import Judge, Verdict
from ._operator import ANONYMOUS
from ._policies import CompiledPolicy
from ._prefixes import Resolved
from ._refusal import RefusalWriter
from ._route_table import Known, Unresolved
from ._serving import checked_forward, checked_send, run_decided
from ._settings import require_callables, require_flag, require_one_of
from ._subprotocol import take_token
from .errors import PolicyError, UnavailableError
from .events import (
    DirectoryUnavailable,
    Event,
    KeysUnavailable,
    Listener,
    PlainHttpUsed,
    TokenAccepted,
    TokenRefused,
)
from .events._event import printable

__all__ = ["Road", "RoadRules"]

_PROTOCOL: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 6455 §4.1: a token of RFC 9110 §5.6.2
_NO_ENDPOINT: Final = Decision(declaration=None, operator=ANONYMOUS)
_NOT_FOUND: Final = not_found()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadRules:
    """
    What a team may choose; as of `guardrail.GuardrailMiddleware`.
    """

    enforce: bool = True
    not_found: ASGIApp | None = None
    stream_expiry: Literal["allow", "cut"] = "allow"
    websocket_expiry: Literal["close", "allow"] = "close"
    websocket_token_protocol: str | None = None

    def __post_init__(self) -> None:
        require_flag("enforce", self.enforce)
        if self.not_found is not None:
            require_callables(not_found=self.not_found)
        require_one_of("stream_expiry", self.stream_expiry, ("allow", "cut"))
        require_one_of("websocket_expiry", self.websocket_expiry, ("close", "allow"))
        protocol = self.websocket_token_protocol
        if protocol is not None and (not isinstance(protocol, str) or not _PROTOCOL.fullmatch(protocol)):
            raise PolicyError(
                f'websocket_token_protocol must begin a subprotocol name, such as "bearer."; got {protocol!r}'
            )


class Road:
    """
    Serves what was resolved in front of *app*.
    """

    def __init__(
        self, app: ASGIApp, *, judge: Judge, emit: Listener | None, refusals: RefusalWriter, rules: RoadRules
    ) -> None:
        """
        Args:
            app: The application.
            judge: Decides.
            emit: Hears of what became of requests; None where nobody listens.
            refusals: Writes the answers.
            rules: What the team chose.
        """
        self._app = app
        self._judge = judge
        self._emit = emit
        self._refusals = refusals
        self._rules = rules
        self._token_protocol = rules.websocket_token_protocol
        self._ends_sockets = rules.websocket_expiry == "close"
        self._ends_streams = rules.stream_expiry == "cut"
        self._has_told_of_plain_http = False

    async def unresolved(
        self, found: Unresolved, known: Known, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """
        No endpoint will run: the router's redirect, a CORS layer behind us, or an answer of ours.
        """
        is_http = scope["type"] == "http"
        if found.status == 307 or (found.is_routers and is_preflight(scope)):
            least = 300 if found.status == 307 else 200
            send = checked_forward(send, scope, known, least=least)
            await run_decided(self._app, _NO_ENDPOINT, scope, receive, send)
        elif found.status == 405:
            await self._refusals.send(not_allowed(found.allow), scope, send)
        elif self._rules.not_found is not None and is_http:
            await run_decided(self._rules.not_found, _NO_ENDPOINT, scope, receive, send)
        else:
            await self._refusals.send(_NOT_FOUND, scope, send)

    async def public(self, found: Resolved, known: Known, scope: Scope, receive: Receive, send: Send) -> None:
        """
        An endpoint that needs no token.
        """
        decision = Decision(found.declaration, ANONYMOUS)
        await run_decided(self._app, decision, scope, receive, _held(send, scope, found, decision, known))

    async def guarded(
        self,
        found: Resolved,
        policies: tuple[CompiledPolicy, ...],
        known: Known,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """
        An endpoint that needs a token: decide, tell, and answer or serve.
        """
        judged = scope
        if self._token_protocol is not None:
            judged, scope = take_token(scope, self._token_protocol)
        verdict = await self._judge.decide(policies, judged)
        error = verdict.error
        if error is not None and not (self._rules.enforce and verdict.is_enforced(policies)):
            error = None  # in shadow mode it is only told
        if self._emit is not None:
            self._tell(self._emit, scope, verdict, found, is_refused=error is not None)
        if error is None:
            await self._serve(found, verdict, known, scope, receive, send)
        elif isinstance(error, UnavailableError):
            await self._refusals.send(unavailable(error), scope, send)
        else:
            await self._refusals.send(verdict.policy.challenges.answer(error), scope, send)

    async def _serve(
        self, found: Resolved, verdict: Verdict, known: Known, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """
        Steps 5 to 7: the endpoint that answers is the one decided on; what it began ends with the token.
        """
        decision = Decision(found.declaration, verdict.operator)
        if found.endpoints:
            send = checked_send(send, scope, found, decision, known)
        is_socket = scope["type"] == "websocket"
        seconds = verdict.seconds_left if (self._ends_sockets if is_socket else self._ends_streams) else None
        if seconds is None:
            await run_decided(self._app, decision, scope, receive, send)
        elif is_socket:
            await run_socket_until_expiry(self._app, decision, scope, receive, send, seconds=seconds)
        else:
            await run_stream_until_expiry(self._app, decision, scope, receive, send, seconds=seconds)

    def _tell(
        self, emit: Listener, scope: Scope, verdict: Verdict, found: Resolved, *, is_refused: bool
    ) -> None:
        """
        Step 6: tell what was decided, and once that tokens travel in the open.
        """
        # RFC 6750 §5.2: tokens travel over TLS. A proxy may see to that, so it is said and not refused.
        if not self._has_told_of_plain_http and is_plain_http(scope):
            self._has_told_of_plain_http = True
            emit(PlainHttpUsed(package=verdict.policy.requirement.package.name, route=found.route))
        emit(_event(verdict, found, is_enforced=is_refused))


def _held(send: Send, scope: Scope, found: Resolved, decision: Decision, known: Known) -> Send:
    return checked_send(send, scope, found, decision, known) if found.endpoints else send


def _event(verdict: Verdict, found: Resolved, *, is_enforced: bool) -> Event:
    """
    What is told of a verdict.
    """
    package, error, operator = verdict.policy.requirement.package.name, verdict.error, verdict.operator
    if isinstance(error, UnavailableError):
        kind = DirectoryUnavailable if error.code == "directory_unavailable" else KeysUnavailable
        return kind(
            code=error.code,
            retry_after=error.retry_after,
            package=package,
            route=found.route,
            is_enforced=is_enforced,
        )
    if error is not None:
        return TokenRefused.of(error, package=package, route=found.route, is_enforced=is_enforced)
    verified = verdict.verified
    return TokenAccepted(
        issuer=operator.issuer,
        client_id=None if operator.client_id is None else printable(operator.client_id, limit=128),
        operator_kind=operator.kind,
        operator_id=printable(operator.operator_id, limit=256) if operator.kind == "service" else None,
        seconds_left=None if verified is None else verified.dates.expires_at - verdict.now,
        package=package,
        route=found.route,
    )
