"""
A refusal → the answer: status, `WWW-Authenticate`, body (RFC 6750 §3, RFC 9110 §11.6.1).

Every text is fixed or comes from the configuration; nothing of a token, a header or an exception's message
is in an answer. What depends only on the requirement is built once.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from ._asgi import Headers, Scope, Send, send_response
from ._policy import Requirement, ServicePackage
from .errors import (
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidTokenError,
    MalformedRequestError,
    MissingTokenError,
    OperatorRefusedError,
    TokenError,
    UnavailableError,
)

__all__ = ["Answer", "Challenges", "not_allowed", "not_found", "send_answer", "unavailable"]

# RFC 6750 §3: %x20-21 / %x23-5B / %x5D-7E only. One text for a bad signature, an unknown key and an unknown
# issuer, so that an attacker learns nothing from the difference.
_DESCRIPTIONS: Final[dict[type[TokenError], str]] = {
    MalformedRequestError: "The request must carry one bearer token, in one Authorization field",
    InvalidTokenError: "The access token is not valid here",
    InsufficientScopeError: "The access token lacks a scope that this request needs",
    InsufficientAuthenticationError: "A stronger or more recent authentication is needed",
}
_EXPIRED: Final = "The access token expired"


@dataclass(frozen=True, slots=True)
class Answer:
    """
    A whole small response.
    """

    status: int
    headers: Headers
    body: bytes


class Challenges:
    """
    The answers to every refusal that one requirement decides on.
    """

    def __init__(
        self,
        requirement: Requirement,
        *,
        alternatives: tuple[Requirement, ...] = (),
        metadata_url: Callable[[ServicePackage], str | None] = lambda _: None,
    ) -> None:
        """
        Args:
            requirement: The one that decides.
            alternatives: All that the route is open to, this one among them; none for this one alone.
            metadata_url: Where a package's metadata is (RFC 9728 §5.1), or None.
        """
        self._requirement = requirement
        self._alternatives = alternatives or (requirement,)
        self._metadata_url = metadata_url
        self._answers: dict[tuple[type[TokenError], str], Answer] = {}

    def answer(self, error: TokenError) -> Answer:
        """
        The answer to *error*; the same object each time for the same class and code.
        """
        # Both are closed lists, so this holds a bounded number of answers.
        key = (type(error), error.code)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self._build(error)
        return answer

    def _build(self, error: TokenError) -> Answer:
        description = self._description(error)
        # A token that is valid nowhere could be one of any package's; of a valid one it is clear.
        is_anyones = isinstance(error, MissingTokenError | MalformedRequestError | InvalidTokenError)
        asking = self._alternatives if is_anyones else (self._requirement,)
        # RFC 9110 §11.6.1: several challenges, several field lines.
        challenges = dict.fromkeys(self._challenge(one, error, description) for one in asking)
        headers = tuple((b"www-authenticate", one.encode("ascii")) for one in challenges)
        return _answer(error.status, headers, error=error.oauth_error, description=description)

    def _challenge(self, requirement: Requirement, error: TokenError, description: str | None) -> str:
        # RFC 6750 §3: at least one auth-param after the scheme; the realm is always there.
        parameters = [f'realm="{requirement.package.name}"']
        if (
            error.oauth_error
        ):  # RFC 6750 §3.1: no credentials, no error code. What is needed may still be said.
            parameters += [f'error="{error.oauth_error}"', f'error_description="{description}"']
        parameters += _needed(requirement, error)
        metadata_url = self._metadata_url(requirement.package)
        if metadata_url is not None and not isinstance(error, MalformedRequestError):
            parameters.append(f'resource_metadata="{metadata_url}"')
        return f"Bearer {', '.join(parameters)}"

    @staticmethod
    def _description(error: TokenError) -> str | None:
        if error.code == "token_expired":
            return _EXPIRED
        return next((text for kind, text in _DESCRIPTIONS.items() if isinstance(error, kind)), None)


def _needed(requirement: Requirement, error: TokenError) -> list[str]:
    """
    What a client would have to ask for: scopes, or a better authentication (RFC 9470 §3).
    """
    if isinstance(error, InsufficientAuthenticationError):
        acr = [f'acr_values="{" ".join(requirement.acr_values)}"'] if requirement.acr_values else []
        is_timed = requirement.max_age is not None
        return [*acr, f"max_age={math.floor(requirement.max_age or 0)}"] if is_timed else acr
    # A role or an operator is not something a client can ask a scope for.
    scopes = requirement.all_scopes + requirement.any_scopes
    is_asked = bool(scopes) and not isinstance(error, OperatorRefusedError | MalformedRequestError)
    return [f'scope="{" ".join(scopes)}"'] if is_asked else []


def not_found() -> Answer:
    """
    404: no route, whoever asks.
    """
    return _answer(HTTPStatus.NOT_FOUND, ())


def not_allowed(allow: tuple[str, ...]) -> Answer:
    """
    405 with the methods the path has (RFC 9110 §15.5.6).
    """
    return _answer(HTTPStatus.METHOD_NOT_ALLOWED, ((b"allow", ", ".join(allow).encode("ascii")),))


def unavailable(error: UnavailableError) -> Answer:
    """
    503 with ``Retry-After`` in whole seconds, and no challenge: the token may be good.
    """
    retry_after = str(math.ceil(error.retry_after)).encode("ascii")
    return _answer(HTTPStatus.SERVICE_UNAVAILABLE, ((b"retry-after", retry_after),))


async def send_answer(answer: Answer, scope: Scope, send: Send) -> None:
    """
    Answer an HTTP request, or refuse a WebSocket handshake, with *answer*.
    """
    await send_response(scope, send, status=answer.status, headers=answer.headers, body=answer.body)


def _answer(
    status: int, headers: Headers, *, error: str | None = None, description: str | None = None
) -> Answer:
    """
    A problem document (RFC 9457) that also has RFC 6750's two members.
    """
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status)}
    told = {"error": error, "error_description": description}
    body = json.dumps(problem | {name: text for name, text in told.items() if error and text}).encode("ascii")
    fixed = (
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"no-store"),
    )
    return Answer(int(status), (*fixed, *headers), body)
