"""
Between HTTP and the pure parts: bodies in, responses and refusals out.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from ._errors import OAuthError
from ._pages import content_security_policy, refusal_page
from ._parameters import Parameters, parse_parameters

BODY_LIMIT: Final = 64 * 1024  # bytes; a token request has a few hundred
QUERY_LIMIT: Final = 8 * 1024  # bytes; pending requests keep their state, so it must be bounded

Endpoint = Callable[[Request], Awaitable[Response]]

NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 §5.1
# For browser clients such as Swagger UI. Without credentials: no cookie is ever looked at.
CORS: Final = {"Access-Control-Allow-Origin": "*"}
_PREFLIGHT: Final = CORS | {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Requested-With",
    "Access-Control-Max-Age": "600",  # seconds
}
# A proxy makes the whole world a loopback peer, and a web page runs on the developer's own machine.
_FORWARDED: Final = frozenset({"origin", "forwarded", "x-forwarded-for"})


async def read_parameters(request: Request) -> Parameters:
    """
    Read the form of a request; a request without body has no parameters.

    Raises:
        OAuthError: ``invalid_request``: too large (413), no form (415), or one that cannot be parsed.
    """
    body = await _read_body(request)
    if not body:
        return Parameters()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "send application/x-www-form-urlencoded", status=415)
    return parse_parameters(body)


def query_parameters(request: Request) -> Parameters:
    """
    Read the parameters in the query of a request.

    Raises:
        OAuthError: ``invalid_request``: too long (414), or it cannot be parsed.
    """
    query: bytes = request.scope["query_string"]
    if len(query) > QUERY_LIMIT:
        raise OAuthError("invalid_request", "the query is longer than 8 KiB", status=414)
    return parse_parameters(query)


async def _read_body(request: Request) -> bytes:
    """
    Read a body of at most ``BODY_LIMIT`` bytes; *Content-Length* is not believed, the bytes are counted.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_LIMIT:
                raise OAuthError("invalid_request", "the body is larger than 64 KiB", status=413)
    except ClientDisconnect as exc:
        raise OAuthError("invalid_request", "the body ended early") from exc
    return bytes(body)


def require_local(request: Request) -> None:
    """
    Refuse what does not come from a program on this machine.

    Raises:
        OAuthError: ``access_denied``.
    """
    if not is_local(request):
        raise OAuthError("access_denied", "only a program on this machine may do this", status=403)


def is_local(request: Request) -> bool:
    """
    Whether a request comes from a program on this machine, and neither from a web page nor by a proxy.
    """
    if request.client is None or not _FORWARDED.isdisjoint(request.headers):
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    # A dual-stack socket shows 127.0.0.1 as ::ffff:127.0.0.1, which Python 3.11 does not call loopback.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def refuse_as_json(error: OAuthError) -> Response:
    """
    Answer a program (RFC 6749 §5.2).
    """
    # RFC 6749 §5.2: a client that used the Authorization header MUST get a challenge of its scheme.
    challenge = {"WWW-Authenticate": 'Basic realm="token"'} if error.is_basic else {}
    content = {"error": error.code, "error_description": error.description}
    return JSONResponse(content, status_code=error.status, headers=NO_STORE | challenge)


def refuse_as_page(error: OAuthError) -> Response:
    """
    Answer a user, whose browser must not be redirected (RFC 6749 §4.1.2.1).
    """
    return page(refusal_page(error), status=error.status)


def page(content: str, *, status: int = 200, redirect_uri: str | None = None) -> Response:
    """
    Answer with a page that no cache keeps, no frame shows and no script runs in.
    """
    policy = content_security_policy(redirect_uri=redirect_uri)
    headers = NO_STORE | {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(content, status_code=status, headers=headers)


def answering(
    endpoint: Endpoint,
    *,
    refuse: Callable[[OAuthError], Response] = refuse_as_json,
    headers: Mapping[str, str] | None = None,
) -> Endpoint:
    """
    Wrap an endpoint so that its refusals become responses, and all its responses carry the headers.
    """

    async def answer(request: Request) -> Response:
        try:
            response = await endpoint(request)
        except OAuthError as error:
            response = refuse(error)
        response.headers.update(headers or {})
        return response

    return answer


async def preflight(_request: Request) -> Response:
    """
    Answer a CORS preflight request: anyone may ask, without credentials.
    """
    return Response(status_code=204, headers=_PREFLIGHT)
