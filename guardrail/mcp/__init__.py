"""
MCP servers over streamable HTTP: `guard` in front of one, or a `TokenVerifier` inside the official SDK.

`guard` is the whole of it: every HTTP request is decided on, and refusals have what MCP clients find their
authorization server by. Sessions belong to who opened them: the SDK holds issuer, subject and client of each
request against those of the session's first, and answers 404 to anybody else. A session ID is never a
credential, and an event ID is not one either: put `BoundEventStore` around an event store of yours.

Tools find the operator with `guardrail.current_operator`: the SDK runs each message in the context of the
request that brought it. What a session runs beside its messages, such as the clean-up at its end, sees the
operator of the request that opened it: the same principal, with the authority of an older token. The operator
of a message is also on its request: ``ctx.request_context.request.state.operator`` in the SDK,
``get_http_request().state.operator`` in FastMCP.

`guardrail.mcp.fastmcp` has the token verifier of FastMCP.
"""

from .._middleware_settings import GuardSettings

try:
    from ._access import principal_key
    from ._events import BoundEventStore
    from ._guard import guard
    from ._sessions import SessionBinding
    from ._verifier import TokenVerifier
except ImportError as exc:  # no SDK, or one of before 2.0, which runs tools in another request's context
    raise ImportError(
        "guardrail.mcp needs the MCP SDK 2.3 or newer: pip install 'asgi-guardrail[mcp]'"
    ) from exc

__all__ = ["BoundEventStore", "GuardSettings", "SessionBinding", "TokenVerifier", "guard", "principal_key"]
