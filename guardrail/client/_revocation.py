"""
Taking a profile's tokens back (RFC 7009).
"""

from ..events import Listener, TokenRevoked
from ._server import AuthorizationServer
from ._source import TokenSource

__all__ = ["revoke"]


def revoke(
    source: TokenSource, server: AuthorizationServer, *, client_id: str, emit: Listener
) -> bool | None:
    """
    Revoke the tokens in hand and forget them whatever the answer. Blocks.

    Returns:
        Whether the server confirmed it; None if there is nowhere to ask, and nothing is forgotten then.
    """
    url = server.find_revocation()
    if url is None:
        return None
    tokens = source.take()
    is_confirmed = isinstance(url, str) and server.revoke(url, tokens)
    if is_confirmed and tokens:
        emit(TokenRevoked(client_id=client_id, token_host=source.token_host))
    return is_confirmed
