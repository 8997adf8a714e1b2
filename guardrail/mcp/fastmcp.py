"""
The token verifier of FastMCP, for servers that leave the rest of authorization to it.
"""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

try:
    from fastmcp.server.auth import AccessToken, TokenVerificationError
    from fastmcp.server.auth import TokenVerifier as _TokenVerifier
except ImportError as exc:
    raise ImportError(
        "guardrail.mcp.fastmcp needs FastMCP 4.2.3 or newer: pip install 'asgi-guardrail[fastmcp]'"
    ) from exc

from .._policy import Requirement
from ..errors import UnavailableError
from ..events import Listener
from ._verifier import TokenVerifier as _OfTheSDK

if TYPE_CHECKING:
    import httpx

__all__ = ["TokenVerifier"]


class TokenVerifier(_TokenVerifier):
    """
    As `guardrail.mcp.TokenVerifier`, for FastMCP: it is an ``auth`` by itself, or in a `RemoteAuthProvider`,
    which adds metadata::

        verifier = TokenVerifier(orders.requires("orders:read"))
        server = FastMCP("orders", auth=RemoteAuthProvider(verifier, [AnyHttpUrl(issuer)], base_url=base_url))

    FastMCP asks for the scopes of the requirement, and answers 401 and 403.

    Args:
        requirement: Scopes, all of which are needed. What else a requirement can ask, FastMCP cannot.
        base_url: The URL of the server without the path of its MCP endpoint; as of FastMCP.
        on_event: As of `guardrail.mcp.TokenVerifier`; so are the others.

    Raises:
        PolicyError: A setting is wrong; the message names the right form.
    """

    def __init__(
        self,
        requirement: Requirement,
        *,
        base_url: str | None = None,
        on_event: Iterable[Listener] = (),
        http_client: "httpx.AsyncClient | None" = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        token_cache_size: int = 10_000,
    ) -> None:
        self._verifier = _OfTheSDK(
            requirement,
            on_event=on_event,
            http_client=http_client,
            clock=clock,
            monotonic=monotonic,
            token_cache_size=token_cache_size,
        )
        package = requirement.package
        known = {*package.vocabulary, *requirement.all_scopes} - {"offline_access"}
        self._scopes_supported = sorted(known)
        super().__init__(base_url=base_url, required_scopes=self._verifier.required_scopes)

    @property
    def scopes_supported(self) -> list[str]:
        """
        The scopes of the package, for metadata.
        """
        return self._scopes_supported

    async def verify_token(self, token: str) -> AccessToken | None:
        """
        Authenticate *token* for the package; None if it is not acceptable. Does not authorize.

        Raises:
            TokenVerificationError: The issuer's keys could not be had. FastMCP answers 500.
        """
        try:
            verified = await self._verifier.verify_token(token)
        except UnavailableError as error:
            raise TokenVerificationError(str(error)) from error
        return None if verified is None else AccessToken.model_validate(verified.model_dump())

    async def aclose(self) -> None:
        """
        End what runs in the background of this event loop.
        """
        await self._verifier.aclose()
