"""
Client authentication at the endpoints that programs call (RFC 6749 §2.3).

Four ways in: ``client_secret_basic``, ``client_secret_post``, ``private_key_jwt``, and ``none`` for public
clients. An unknown client and a wrong secret get the same answer, or the endpoint would list its clients to
anyone.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_plus

from ..errors import TokenError
from ._assertions import ClientAssertions
from ._clients import Client
from ._errors import OAuthError
from ._parameters import Parameters

JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_ASSERTION_PARAMETERS: Final = frozenset({"client_assertion", "client_assertion_type"})
_NOBODY: Final = Client("nobody", client_secret=secrets.token_urlsafe(), scopes=(), audiences=("nothing",))


@dataclass(frozen=True, slots=True)
class _Credentials:
    """
    What a request presented; not yet believed.
    """

    unverified_client_id: str
    secret: str | None = field(repr=False)
    is_basic: bool

    @property
    def method(self) -> str:
        """
        The name of the method (RFC 7591 §2).
        """
        if self.is_basic:
            return "client_secret_basic"
        return "none" if self.secret is None else "client_secret_post"


@dataclass(frozen=True, slots=True)
class ClientAuthentication:
    """
    Finds out which of the registered clients made a request.
    """

    clients: Mapping[str, Client]
    assertions: ClientAssertions

    def authenticate(self, parameters: Parameters, *, authorization: Sequence[str]) -> Client:
        """
        Return the client that made a request, after it proved to be that client.

        Does not decide what the client may do. A public client proves nothing: PKCE does that for its codes.

        Args:
            authorization: The values of all ``Authorization`` headers.

        Raises:
            OAuthError: ``invalid_client``: unknown client, wrong or no credentials, or a method that is not
                the client's; ``invalid_request``: more than one method, or two clients.
        """
        has_assertion = not _ASSERTION_PARAMETERS.isdisjoint(parameters)
        # RFC 6749 §2.3: the client MUST NOT use more than one authentication method in each request.
        if len(authorization) + ("client_secret" in parameters) + has_assertion > 1:
            raise OAuthError("invalid_request", "more than one client authentication method")
        if has_assertion:
            return self._by_assertion(parameters)
        return self._by_secret(_credentials(parameters, authorization=authorization))

    def _by_secret(self, credentials: _Credentials) -> Client:
        client = self.clients.get(credentials.unverified_client_id)
        if client is not None and client.is_public and credentials.method == "none":
            return client
        # Compared even when the client is unknown, so that the time taken does not tell.
        is_right = (client or _NOBODY).matches_secret(credentials.secret or "")
        if client is None or not is_right or credentials.method not in client.auth_methods:
            raise _invalid_client(is_basic=credentials.is_basic)
        return client

    def _by_assertion(self, parameters: Parameters) -> Client:
        if parameters.get("client_assertion_type") != JWT_BEARER:
            raise _invalid_client()
        try:
            client = self.assertions.verify(parameters.get("client_assertion", ""))
        except TokenError as exc:
            raise _invalid_client() from exc
        # RFC 7521 §4.2: client_id is not needed, and MUST identify the same client.
        _refuse_another(parameters, client_id=client.client_id)
        return client


def _credentials(parameters: Parameters, *, authorization: Sequence[str]) -> _Credentials:
    """
    Read the credentials from the one place they are in.
    """
    if not authorization:
        client_id = parameters.get("client_id", "")  # RFC 6749 §5.2: none at all is invalid_client too
        return _Credentials(client_id, parameters.get("client_secret"), is_basic=False)
    credentials = _basic_credentials(authorization[0])
    _refuse_another(parameters, client_id=credentials.unverified_client_id)
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


def _refuse_another(parameters: Parameters, *, client_id: str) -> None:
    if parameters.get("client_id", client_id) != client_id:
        raise OAuthError("invalid_request", "client_id is not the authenticated client")


def _invalid_client(*, is_basic: bool = False) -> OAuthError:
    return OAuthError("invalid_client", "client authentication failed", status=401, is_basic=is_basic)
