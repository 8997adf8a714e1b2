"""
What a token endpoint answered (RFC 6749 §5) → a grant or a failure. Strict, and bounded before it comes here.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from .._json import parse_json_object
from .._settings import MAX_SECONDS
from ._failures import OAUTH_ERRORS, Failure, description_of, retry_after_of

__all__ = ["Grant", "Reply", "pause_of", "read_answer"]

_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)
_MAX_DIGITS: Final = 12  # more are more than `MAX_SECONDS`


@dataclass(frozen=True, slots=True)
class Reply:
    """
    An HTTP answer.

    Attributes:
        status: The status code.
        headers: Its fields.
        body: The body; None if it was larger than we read, or packed in a way we cannot read.
        secrets: What was sent, and is not told if it comes back.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """
    A successful answer (RFC 6749 §5.1).

    Attributes:
        access_token: Visible ASCII.
        lifetime: Seconds, or None if the answer says nothing usable.
        refresh_token: A refresh token, or None.
    """

    access_token: str = field(repr=False)
    lifetime: float | None
    refresh_token: str | None = field(repr=False)


def read_answer(reply: Reply, *, wall_clock: Callable[[], float]) -> Grant | Failure:
    """
    Read the answer to a token request.
    """
    if HTTPStatus(200) <= reply.status < HTTPStatus(300):
        try:
            return _grant(_object(reply))
        except ValueError as exc:
            return Failure("bad_response", str(exc))
    if HTTPStatus(300) <= reply.status < HTTPStatus(400):
        # Where it points is nobody we were told to trust with a secret.
        return Failure(
            "redirect",
            f"the answer is a redirect, status {reply.status}",
            retry_after=pause_of(reply, wall_clock=wall_clock),
        )
    return _refusal(reply, wall_clock)


def _refusal(reply: Reply, wall_clock: Callable[[], float]) -> Failure:
    """
    An error response (RFC 6749 §5.2), or whatever stands in its place.
    """
    document: Mapping[str, object] = {}
    with suppress(ValueError):  # the status alone says enough
        document = _object(reply)
    named = document.get("error")
    is_client_error = HTTPStatus(400) <= reply.status < HTTPStatus(500)
    by_status = "http_4xx" if is_client_error else "http_5xx"
    return Failure(
        error=named if isinstance(named, str) and named in OAUTH_ERRORS else by_status,
        detail=f"status {reply.status}",
        description=description_of(document.get("error_description"), secrets=reply.secrets),
        permanent=is_client_error
        and reply.status not in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS),
        retry_after=pause_of(reply, wall_clock=wall_clock),
    )


def pause_of(reply: Reply, *, wall_clock: Callable[[], float]) -> float:
    """
    The seconds that an answer asks to be left alone; zero if it does not.
    """
    return retry_after_of(reply.headers.get("retry-after"), wall_clock=wall_clock)


def _object(reply: Reply) -> Mapping[str, object]:
    if reply.body is None:
        raise ValueError("the answer's body is too large, or packed in an unknown way")
    try:
        return parse_json_object(reply.body)
    except (ValueError, RecursionError) as exc:
        raise ValueError("the answer is not a JSON object") from exc


def _grant(document: Mapping[str, object]) -> Grant:
    """
    Messages name members, never what is in them.
    """
    access_token, refresh_token = document.get("access_token"), document.get("refresh_token")
    if not isinstance(access_token, str) or not _VISIBLE.fullmatch(access_token):
        raise ValueError("the answer has no access_token of visible ASCII")
    token_type = document.get("token_type")
    # RFC 6749 §7.1: a client MUST NOT use a token of a type it does not understand. §5.1: it is REQUIRED.
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        raise ValueError("the answer's token_type is not Bearer")
    if refresh_token is not None and not isinstance(refresh_token, str):
        raise ValueError("the answer's refresh_token is not a string")
    return Grant(access_token, _lifetime(document.get("expires_in")), refresh_token or None)


def _lifetime(expires_in: object) -> float | None:
    if isinstance(expires_in, str) and _DIGITS.fullmatch(expires_in):
        expires_in = float(expires_in) if len(expires_in) <= _MAX_DIGITS else MAX_SECONDS
    # bool is an int in Python, and no number here.
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or expires_in <= 0:
        return None
    return float(min(expires_in, MAX_SECONDS))
