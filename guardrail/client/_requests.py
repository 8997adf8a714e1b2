"""
A request to an API: may it carry a token, can it be sent twice, and was its token rejected.
"""

from http import HTTPStatus

import httpx

from .._urls import is_loopback
from ..errors import PolicyError
from ._life import AccessToken
from ._rejections import blames_the_token

__all__ = ["authorize", "copied", "is_rejection", "is_replayable", "origin_of", "require_protected"]


def require_protected(request: httpx.Request) -> None:
    """
    Refuse to send a token in the clear (RFC 6750 §5.3).

    Raises:
        PolicyError: The URL is not https, and its host is not loopback.
    """
    url = request.url
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host)):
        raise PolicyError(
            f"a token is sent over https only, loopback hosts excepted: write https://{url.host}; "
            f"got {url.scheme}://{url.host}"
        )


def authorize(request: httpx.Request, token: AccessToken) -> httpx.Request:
    """
    Put *token* on *request* (RFC 6750 §2.1), in place of any credentials that it has.
    """
    request.headers["Authorization"] = f"Bearer {token.value}"
    return request


def copied(request: httpx.Request) -> httpx.Request:
    """
    A copy of a replayable request: the first one stays in the history as it was sent.
    """
    content = b"".join(request.stream) if isinstance(request.stream, httpx.ByteStream) else b""
    return httpx.Request(
        request.method, request.url, headers=request.headers, content=content, extensions=request.extensions
    )


def origin_of(url: httpx.URL) -> str:
    """
    Scheme, host and port; a default port is not there (RFC 6454 §4).
    """
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def is_replayable(request: httpx.Request) -> bool:
    """
    Whether the body is in memory, so that it can be sent again: bytes, text, a form, JSON, none.
    """
    return isinstance(request.stream, httpx.ByteStream)


def is_rejection(response: httpx.Response, request: httpx.Request, token: AccessToken) -> bool:
    """
    Whether *response* is a 401 to *token*, which another token could help.

    Not one of another origin, or of a way there and back: the token was not sent along.
    """
    if response.status_code != HTTPStatus.UNAUTHORIZED:
        return False
    asked = response.request
    return (
        origin_of(asked.url) == origin_of(request.url)
        and asked.headers.get("authorization") == f"Bearer {token.value}"
        and blames_the_token(response.headers.get_list("www-authenticate"))
    )
