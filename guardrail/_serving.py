"""
Serving behind a decision: the operator on the request, the decision in force, the answer held to it.
"""

from collections.abc import MutableMapping
from typing import Final

from ._asgi import ASGIApp, Message, Receive, Scope, Send
from ._decision import Decision, decision_in_force
from ._operator import Operator
from ._prefixes import Resolved, is_under
from ._route_table import Known
from .errors import MiddlewareMissingError

__all__ = ["checked_forward", "checked_send", "run_decided"]

_RESPONSE_STARTS: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)


async def run_decided(app: ASGIApp, decision: Decision, scope: Scope, receive: Receive, send: Send) -> None:
    """
    Run *app* with *decision* in force and its operator on the request, over whatever stood there before.
    """
    operator = scope["user"] = scope["auth"] = decision.operator
    state = scope.get("state")
    if type(state) is dict and "operator" not in state:  # as nearly always
        state["operator"] = operator
    else:
        _set_state(scope, operator)
    token = decision_in_force.set(decision)
    try:
        await app(scope, receive, send)
    finally:
        decision_in_force.reset(token)


def _set_state(scope: Scope, operator: Operator) -> None:
    """
    Put the operator on ``request.state``; in place, so that middleware in front sees what handlers add there.

    ASGI has servers give each request a copy of their own. A state that has an operator already is one that
    somebody else wrote, or that a server shares between requests after all: then this request gets its own.
    """
    state: object = scope.get("state")
    # A dict is what servers put there. To ask an abstract class costs more than all the rest of this.
    if not isinstance(state, dict) and not isinstance(state, MutableMapping):
        scope["state"] = {"operator": operator}
    elif "operator" in state:
        scope["state"] = {**state, "operator": operator}
    else:
        state["operator"] = operator


def checked_send(send: Send, scope: Scope, found: Resolved, decision: Decision, known: Known) -> Send:
    """
    A *send* that lets no response begin but that of the endpoint decided on.

    There are four cases: its tripwire let the request in; the router says it dispatched to it, or to a mount
    it is under; it is a mounted application that dispatched further inside of itself; or nothing was
    dispatched yet, and what stands between answers an error.
    """

    async def checked(message: Message) -> None:
        is_start = message["type"] in _RESPONSE_STARTS
        if (
            is_start
            and not decision.is_entered
            and not _is_right(scope, message.get("status", 0), found, known)
        ):
            raise MiddlewareMissingError(
                f"{found.declaration.where} was decided on, and another endpoint answered: "
                "is GuardrailMiddleware innermost?"
            )
        await send(message)

    return checked


def _is_right(scope: Scope, status: int, found: Resolved, known: Known) -> bool:
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return status >= 400
    if any(endpoint is one for one in found.endpoints):
        return True
    root_path: str = scope.get("root_path", "")
    if not found.is_mount or id(endpoint) in known.endpoints or not is_under(root_path, found.root_path):
        return False
    # Behind a host, or a mount at the root, the root path may still be that of a mount beside it.
    return not any(is_under(root_path.removeprefix(found.root_path), mount) for mount in known.mounts)


def checked_forward(send: Send, scope: Scope, known: Known, *, least: int) -> Send:
    """
    A *send* for what no endpoint may answer: a redirect, a CORS layer's answer or a 405 begins, else nothing.

    Args:
        least: The least status that may be.
    """

    async def checked(message: Message) -> None:
        status = message.get("status", least)
        is_an_endpoints = id(scope.get("endpoint")) in known.endpoints and status != 405
        if message["type"] in _RESPONSE_STARTS and (is_an_endpoints or status < least):
            raise MiddlewareMissingError(
                "an endpoint answered what none may: is GuardrailMiddleware innermost?"
            )
        await send(message)

    return checked
