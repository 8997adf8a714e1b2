"""
The operator of a guarded request, handed to the MCP SDK: what its sessions are bound to.
"""

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser

from .._alternatives import requirements_of
from .._asgi import ASGIApp, Receive, Scope, Send
from .._decision import current_operator, decision_in_force
from .._declaration import Declaration
from .._policy import ServicePackage
from ._access import access_token

__all__ = ["SessionBinding"]


class SessionBinding:
    """
    Binds the sessions of an MCP application to the operators that open them.

    `guardrail.mcp.guard` has it built in. Use it where `guardrail.GuardrailMiddleware` guards a larger
    application that an MCP server is mounted in; the declaration goes around it::

        mcp_app = orders.requires("orders:read")(SessionBinding(server.streamable_http_app()))
        app = Starlette(routes=[Mount("/", mcp_app), ...], lifespan=...)

    Without it every request is decided on all the same, but whoever is let in can go on with anybody's
    session. It decides nothing: the SDK compares the client, issuer and subject that it is told of. In it,
    ``request.user`` is the SDK's user, ``request.auth`` and ``request.state.operator`` are the `Operator`. An
    anonymous request opens a session that is anybody's who is anonymous.

    It also takes the `Authorization` field away from a request that needed a token: proxies of FastMCP would
    pass it on to their servers (MCP, "Access Token Privilege Restriction").

    Args:
        app: The application of the MCP SDK, or of FastMCP, made without an ``auth`` of its own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = AuthContextMiddleware(app)  # what `get_access_token` reads in tools

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one ASGI connection.

        Raises:
            MiddlewareMissingError: It is not behind `guardrail.GuardrailMiddleware`.
        """
        if scope["type"] != "lifespan":
            operator, packages = current_operator(), _packages()
            if operator.is_authenticated:
                scope["user"] = AuthenticatedUser(access_token(operator, packages))
            if packages:  # in place: the middleware learns from the scope who answers
                scope["headers"] = [one for one in scope["headers"] if one[0].lower() != b"authorization"]
        await self.app(scope, receive, send)


def _packages() -> tuple[ServicePackage, ...]:
    """
    The service packages that the decision in force may have been made by.
    """
    decision = decision_in_force.get()
    declaration = None if decision is None else decision.declaration
    requirement = declaration.requirement if isinstance(declaration, Declaration) else None
    return tuple(one.package for one in requirements_of(requirement))
