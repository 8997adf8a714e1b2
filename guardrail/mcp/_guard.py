"""
`guard`: everything between the network and an MCP application.
"""

import json
import re
from collections.abc import Iterable
from typing import Final, Unpack
from urllib.parse import urlsplit

from .._asgi import ASGIApp, Receive, Scope, Send, header_values
from .._challenge import Answer
from .._middleware import GuardrailMiddleware
from .._middleware_settings import GuardSettings
from .._policy import Requirement
from .._prefixes import is_under
from .._refusal import RefusalWriter
from .._resource_metadata import WELL_KNOWN
from .._settings import names
from ..errors import PolicyError
from ._access import require_resource_of
from ._sessions import SessionBinding

__all__ = ["guard"]

# RFC 6454 §6.2, as a browser writes it: no default port, no path, in lower case.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._~:\[\]-]+")
_DEFAULT_PORT: Final = re.compile(r"http://.*:80|https://.*:443")


def guard(
    app: ASGIApp,
    requirement: Requirement,
    *,
    allowed_origins: Iterable[str] = (),
    **settings: Unpack[GuardSettings],
) -> ASGIApp:
    """
    Guard an MCP application: each POST, GET and DELETE needs a token that meets *requirement*.

    Sessions are bound to the operators that open them, and metadata of the package's resource is served at
    its well-known path (RFC 9728). A response that is being streamed goes on when its token expires, unless
    ``stream_expiry="cut"`` ends it.

    It does not add CORS headers: for browsers, put a CORS layer around it that exposes ``WWW-Authenticate``
    and ``Mcp-Session-Id``. It does not look at ``Host``: the SDK does, and on loopback the SDK also looks at
    ``Origin``, so that an origin must be allowed there too. It does not limit how many sessions a caller
    opens: the SDK's ``max_sessions`` is for all of them together.

    Args:
        app: The application of the MCP SDK, or of FastMCP, made without an ``auth`` of its own.
        requirement: What every request needs. Its package's resource, or only audience, is the URL that
            clients connect to.
        allowed_origins: Whose pages may call it: requests with another ``Origin`` are answered 403, with
            ``enforce=False`` as well; those without one, as from every client that is no browser, are not
            concerned. None, by default.
        settings: As of `guardrail.GuardrailMiddleware`.

    Raises:
        PolicyError: A setting is wrong; the message names the right form.
    """
    resource = require_resource_of(requirement)
    guarded = GuardrailMiddleware(SessionBinding(app), prefixes={"/": requirement}, **settings)
    refusals = RefusalWriter(settings.get("refusal_body"))
    if (urlsplit(resource).path or "/") in guarded.public_paths:
        raise PolicyError(f"public_paths has the path of the MCP server, which needs a token: {resource}")
    return _OriginCheck(guarded, allowed=_origins(allowed_origins), refusals=refusals)


class _OriginCheck:
    """
    Refuses what a page of another origin sends: a name that was made to point here must not get it in
    (MCP, Transports, "Security Warning").
    """

    def __init__(self, app: ASGIApp, *, allowed: frozenset[bytes], refusals: RefusalWriter) -> None:
        self.app = app
        self._allowed = allowed
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one ASGI connection.
        """
        if self._is_allowed(scope):
            await self.app(scope, receive, send)
        else:
            await self._refusals.send(_FORBIDDEN, scope, send)

    def _is_allowed(self, scope: Scope) -> bool:
        if scope["type"] not in {"http", "websocket"} or is_under(scope["path"], WELL_KNOWN):
            return True  # metadata is for anybody, from any origin; the rest is the middleware's to judge
        return self._allowed.issuperset(header_values(scope, b"origin"))


def _origins(values: object) -> frozenset[bytes]:
    origins = names(values, what="allowed_origins", example='["https://app.example.com"]')
    for origin in origins:
        if not _ORIGIN.fullmatch(origin) or _DEFAULT_PORT.fullmatch(origin):
            raise PolicyError(
                "an origin is scheme, host and port as a browser sends them, such as "
                f'"https://app.example.com"; got {origin!r}'
            )
    return frozenset(origin.encode("ascii") for origin in origins)


def _forbidden() -> Answer:
    problem = {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "Origin not allowed"}
    body = json.dumps(problem).encode("ascii")
    headers = (
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"no-store"),
    )
    return Answer(403, headers, body)


_FORBIDDEN: Final = _forbidden()
