"""
Client authentication at the token endpoint (RFC 6749 §2.3).

Three ways in: ``client_secret_basic``, ``client_secret_post``, and ``none`` for public clients. An unknown
client and a wrong secret get the same answer, or the endpoint would list its clients to anyone.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_plus

from ._clients import Client
from ._errors import OAuthError

_NOBODY: Final = Client("nobody", client_secret=secrets.token_urlsafe(), scopes=(), audiences=("nothing",))


@dataclass(frozen=True, slots=True)
class _Credentials:
    """
    What a request presented; not yet believed.
    """

    unverified_client_id: str
    secret: str | None = field(repr=False)
    is_basic: bool


def authenticate_client(
    parameters: Mapping[str, str], *, authorization: Sequence[str], clients: Mapping[str, Client]
) -> Client:
    """
    Return the client that made a request, after it proved to be that client.

    Does not decide what the client may do. A public client proves nothing: PKCE does that for its codes.

    Args:
        authorization: The values of all ``Authorization`` headers.

    Raises:
        OAuthError: ``invalid_client``: unknown client, or wrong or no secret; ``invalid_request``: more than
            one method, or two clients.
    """
    credentials = _credentials(parameters, authorization=authorization)
    client = clients.get(credentials.unverified_client_id)
    if client is not None and client.is_public and credentials.secret is None:
        return client
    # Compared even when the client is unknown, so that the time taken does not tell.
    is_right = (client or _NOBODY).matches_secret(credentials.secret or "")
    if client is None or not is_right:
        raise _invalid_client(is_basic=credentials.is_basic)
    return client


def _credentials(parameters: Mapping[str, str], *, authorization: Sequence[str]) -> _Credentials:
    """
    Read the credentials from the one place they are in.
    """
    # RFC 6749 §2.3: the client MUST NOT use more than one authentication method in each request.
    if len(authorization) + ("client_secret" in parameters) > 1:
        raise OAuthError("invalid_request", "more than one client authentication method")
    if not authorization:
        client_id = parameters.get("client_id", "")  # RFC 6749 §5.2: none at all is invalid_client too
        return _Credentials(client_id, parameters.get("client_secret"), is_basic=False)
    credentials = _basic_credentials(authorization[0])
    named = parameters.get("client_id", credentials.unverified_client_id)
    if named != credentials.unverified_client_id:
        raise OAuthError("invalid_request", "client_id is not the authenticated client")
    return credentials


def _basic_credentials(authorization: str) -> _Credentials:
    """
    Read ``Basic``: identifier and secret are form-encoded, then base64-encoded (RFC 6749 §2.3.1).
    """
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise _invalid_client(is_basic=True)
    try:
        text = base64.b64decode(encoded.strip(" "), validate=True).decode()
        client_id, _, secret = text.partition(":")
        names = unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError as exc:
        raise _invalid_client(is_basic=True) from exc
    return _Credentials(*names, is_basic=True)


def _invalid_client(*, is_basic: bool) -> OAuthError:
    return OAuthError("invalid_client", "client authentication failed", status=401, is_basic=is_basic)
