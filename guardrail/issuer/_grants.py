"""
The token endpoint without HTTP: parameters in, answer or ``OAuthError`` out (RFC 6749 §3.2).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ._authentication import ClientAuthentication
from ._client_rules import GRANT_TYPES, TOKEN_EXCHANGE
from ._clients import Client
from ._errors import OAuthError
from ._exchange import exchange
from ._faults import Fault
from ._parameters import Parameters, requested_audience, requested_scope, required_parameter
from ._stores import AuthorizationCodes, Grant, RefreshTokens
from ._tokens import Issuance, Minter, access_token_claims

_CODE_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}")  # RFC 7636 §4.1


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """
    The grants, over the registered clients and what the issuer remembers.
    """

    authentication: ClientAuthentication
    minter: Minter
    codes: AuthorizationCodes
    refresh_tokens: RefreshTokens

    def answer(
        self, parameters: Parameters, *, authorization: Sequence[str], fault: Fault | None = None
    ) -> dict[str, object]:
        """
        Authenticate the client, then give it what its grant is good for.

        Args:
            authorization: The values of all ``Authorization`` headers.
            fault: What is to be wrong with the token.

        Raises:
            OAuthError: As RFC 6749 §5.2, RFC 8693 §2.2.2 and RFC 8707 §2 name them.
        """
        client = self.authentication.authenticate(parameters, authorization=authorization)
        grant_type = required_parameter(parameters, name="grant_type")
        if grant_type not in GRANT_TYPES:
            raise OAuthError("unsupported_grant_type", "the grant type is not supported")
        if grant_type not in client.grant_types:
            raise OAuthError("unauthorized_client", "this client may not use the grant type")
        issuance = self._grant(grant_type)(client, parameters)
        return self.minter.answer(issuance if fault is None else fault.apply(issuance))

    def _grant(self, grant_type: str) -> Callable[[Client, Parameters], Issuance]:
        grants: Mapping[str, Callable[[Client, Parameters], Issuance]] = {
            "client_credentials": self._client_credentials,
            "authorization_code": self._authorization_code,
            "refresh_token": self._refresh_token,
            TOKEN_EXCHANGE: self._token_exchange,
        }
        return grants[grant_type]

    def _client_credentials(self, client: Client, parameters: Parameters) -> Issuance:
        """
        Give the client a token for itself, and no refresh token (RFC 6749 §4.4.3).
        """
        claims = access_token_claims(
            client,
            subject=client.operator or client.client_id,
            scope=requested_scope(parameters, allowed=client.scopes),
            audience=requested_audience(parameters, allowed=client.audiences, default=client.audiences[:1]),
        )
        return Issuance(claims, client.token_lifetime)

    def _authorization_code(self, client: Client, parameters: Parameters) -> Issuance:
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
        return self._for_user(client, issued.grant, parameters, scope=issued.grant.scope)

    def _refresh_token(self, client: Client, parameters: Parameters) -> Issuance:
        """
        Give the client a fresh token for the same user, and a fresh refresh token (RFC 6749 §6).
        """
        grant = self.refresh_tokens.find(required_parameter(parameters, name="refresh_token"))
        # RFC 6749 §10.4: the binding of refresh token and client MUST be kept.
        if grant.client_id != client.client_id:
            raise OAuthError("invalid_grant", "the refresh token was issued to another client")
        scope = requested_scope(parameters, allowed=grant.scope)
        return self._for_user(client, grant, parameters, scope=scope)

    def _token_exchange(self, client: Client, parameters: Parameters) -> Issuance:
        return exchange(client, parameters, minter=self.minter)

    def _for_user(
        self, client: Client, grant: Grant, parameters: Parameters, *, scope: frozenset[str]
    ) -> Issuance:
        """
        Give a token for the user, and a refresh token of the whole grant (RFC 6749 §6, RFC 8707 §2.2).
        """
        claims = access_token_claims(
            client,
            subject=grant.subject,
            scope=scope,
            audience=requested_audience(parameters, allowed=grant.audience, default=grant.audience),
            auth_time=grant.auth_time,
        )
        further: dict[str, object] = {}
        if "refresh_token" in client.grant_types:
            lifetime = client.refresh_token_lifetime
            further["refresh_token"] = self.refresh_tokens.issue(grant, lifetime=lifetime)
        return Issuance(claims, client.token_lifetime, family=grant.family, further=further)


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
