"""
The token endpoint without HTTP: parameters in, answer or ``OAuthError`` out (RFC 6749 §3.2).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ._authentication import authenticate_client
from ._clients import GRANT_TYPES, Client
from ._errors import OAuthError
from ._parameters import requested_audience, requested_scope, required_parameter
from ._stores import AuthorizationCodes, Grant, RefreshTokens
from ._tokens import Minter, access_token_claims

_CODE_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}")  # RFC 7636 §4.1


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """
    The three grants, over the registered clients and what the issuer remembers.
    """

    clients: Mapping[str, Client]
    minter: Minter
    codes: AuthorizationCodes
    refresh_tokens: RefreshTokens

    def answer(self, parameters: Mapping[str, str], *, authorization: Sequence[str]) -> dict[str, object]:
        """
        Authenticate the client, then give it what its grant is good for.

        Args:
            authorization: The values of all ``Authorization`` headers.

        Raises:
            OAuthError: As RFC 6749 §5.2 and RFC 8707 §2 name them.
        """
        client = authenticate_client(parameters, authorization=authorization, clients=self.clients)
        grant_type = required_parameter(parameters, name="grant_type")
        if grant_type not in GRANT_TYPES:
            raise OAuthError("unsupported_grant_type", "the grant type is not supported")
        if grant_type not in client.grant_types:
            raise OAuthError("unauthorized_client", "this client may not use the grant type")
        if grant_type == "client_credentials":
            return self._client_credentials(client, parameters)
        if grant_type == "authorization_code":
            return self._authorization_code(client, parameters)
        return self._refresh_token(client, parameters)

    def _client_credentials(self, client: Client, parameters: Mapping[str, str]) -> dict[str, object]:
        """
        Give the client a token for itself, and no refresh token (RFC 6749 §4.4.3).
        """
        claims = access_token_claims(
            client,
            subject=client.operator or client.client_id,
            scope=requested_scope(parameters, allowed=client.scopes),
            audience=requested_audience(parameters, allowed=client.audiences),
        )
        return self.minter.token_response(client, claims=claims)

    def _authorization_code(self, client: Client, parameters: Mapping[str, str]) -> dict[str, object]:
        """
        Give the client what a user allowed, once (RFC 6749 §4.1.3, RFC 7636 §4.6).
        """
        code = required_parameter(parameters, name="code")
        redirect_uri = required_parameter(parameters, name="redirect_uri")
        code_verifier = required_parameter(parameters, name="code_verifier")
        issued = self.codes.redeem(code)
        if issued.grant.client_id != client.client_id:
            raise OAuthError("invalid_grant", "the code was issued to another client")
        if issued.redirect_uri != redirect_uri:
            raise OAuthError("invalid_grant", "redirect_uri is not that of the authorization request")
        _verify_code_verifier(code_verifier, challenge=issued.code_challenge)
        requested_audience(parameters, allowed=(issued.grant.audience,))
        return self._user_response(client, issued.grant, scope=issued.grant.scope)

    def _refresh_token(self, client: Client, parameters: Mapping[str, str]) -> dict[str, object]:
        """
        Give the client a fresh token for the same user, and a fresh refresh token (RFC 6749 §6).
        """
        grant = self.refresh_tokens.find(required_parameter(parameters, name="refresh_token"))
        # RFC 6749 §10.4: the binding of refresh token and client MUST be kept.
        if grant.client_id != client.client_id:
            raise OAuthError("invalid_grant", "the refresh token was issued to another client")
        scope = requested_scope(parameters, allowed=grant.scope)
        requested_audience(parameters, allowed=(grant.audience,))
        return self._user_response(client, grant, scope=scope)

    def _user_response(self, client: Client, grant: Grant, *, scope: frozenset[str]) -> dict[str, object]:
        """
        Answer with a token for the user, and a refresh token of the grant's whole scope (RFC 6749 §6).
        """
        claims = access_token_claims(
            client,
            subject=grant.subject,
            scope=scope,
            audience=grant.audience,
            auth_time=grant.auth_time,
        )
        answer = self.minter.token_response(client, claims=claims)
        if "refresh_token" not in client.grant_types:
            return answer
        lifetime = client.refresh_token_lifetime
        return answer | {"refresh_token": self.refresh_tokens.issue(grant, lifetime=lifetime)}


def _verify_code_verifier(verifier: str, *, challenge: str) -> None:
    """
    Refuse a code verifier that the code challenge was not made of (RFC 7636 §4.6, method S256).
    """
    if not _CODE_VERIFIER.fullmatch(verifier):
        raise OAuthError("invalid_request", "code_verifier is not 43 to 128 unreserved characters")
    digest = hashlib.sha256(verifier.encode()).digest()
    computed = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if not hmac.compare_digest(computed, challenge):
        raise OAuthError("invalid_grant", "code_verifier does not match the code challenge")
