"""
The authorization endpoint without HTTP: a request is validated, shown, and decided (RFC 6749 §4.1).

Nobody is authenticated: whoever sees the page picks the user to be. That is what makes it a development
server.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from ._clients import Client
from ._errors import AuthorizationError, OAuthError
from ._parameters import Parameters, requested_audience, requested_scope, required_parameter
from ._stores import AuthorizationCodes, Grant, IssuedCode, OneTimeStore

PENDING_LIFETIME: Final = 600.0  # seconds a consent page waits for its decision

_CODE_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # RFC 7636 §4.2: a SHA-256, base64url


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """
    What a client asks a user for, validated.
    """

    client_id: str
    redirect_uri: str
    state: str | None
    code_challenge: str
    scope: frozenset[str]
    audience: tuple[str, ...]


def validate_authorization_request(
    parameters: Parameters, *, clients: Mapping[str, Client]
) -> AuthorizationRequest:
    """
    Validate an authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3).

    There are two cases. While client and redirect URI are not known to belong together the user is told and
    nobody is redirected; from then on it is the client that is told, through the browser.

    Raises:
        OAuthError: Unknown client, or a redirect URI that is not this client's.
        AuthorizationError: Anything else.
    """
    client, redirect_uri = _client_and_redirect_uri(parameters, clients=clients)
    state = parameters.get("state")
    try:
        code_challenge = _code_challenge(parameters, client=client)
        scope = requested_scope(parameters, allowed=client.scopes)
        audience = requested_audience(parameters, allowed=client.audiences, default=client.audiences[:1])
    except OAuthError as exc:
        told = (exc.code, exc.description)
        raise AuthorizationError(*told, redirect_uri=redirect_uri, state=state) from exc
    return AuthorizationRequest(client.client_id, redirect_uri, state, code_challenge, scope, audience)


def _client_and_redirect_uri(parameters: Parameters, *, clients: Mapping[str, Client]) -> tuple[Client, str]:
    """
    Find the client and a redirect URI of its own, compared exactly (RFC 9700 §2.1).
    """
    client = clients.get(required_parameter(parameters, name="client_id"))
    redirect_uri = required_parameter(parameters, name="redirect_uri")
    if client is None:
        raise OAuthError("invalid_request", "the client is not registered")
    if redirect_uri not in client.redirect_uris:
        raise OAuthError("invalid_request", "redirect_uri is not registered for this client")
    return client, redirect_uri


def _code_challenge(parameters: Parameters, *, client: Client) -> str:
    """
    Return the code challenge of a request for a code, the only response type there is.
    """
    if required_parameter(parameters, name="response_type") != "code":
        raise OAuthError("unsupported_response_type", "the only response type is code")
    if "authorization_code" not in client.grant_types:
        raise OAuthError("unauthorized_client", "this client may not use authorization_code")
    challenge = required_parameter(parameters, name="code_challenge")
    # RFC 7636 §4.3: a missing method means "plain", which shows the verifier to whoever sees the request.
    if parameters.get("code_challenge_method") != "S256":
        raise OAuthError("invalid_request", "code_challenge_method must be S256")
    if not _CODE_CHALLENGE.fullmatch(challenge):
        raise OAuthError("invalid_request", "code_challenge is not a base64url SHA-256")
    return challenge


def authorization_response(
    redirect_uri: str, *, issuer: str, state: str | None, answer: Mapping[str, str]
) -> str:
    """
    Return the URL that brings an answer to the client (RFC 6749 §4.1.2), with the issuer's name on it.

    RFC 9207 §2: *iss* lets the client notice that an answer is not from the server it asked.
    """
    parameters = dict(answer) | ({} if state is None else {"state": state}) | {"iss": issuer}
    separator = "&" if "?" in redirect_uri else "?"
    return f"{redirect_uri}{separator}{urlencode(parameters)}"


@dataclass(frozen=True, slots=True)
class AuthorizationEndpoint:
    """
    Requests in, consent pages between, redirects out.
    """

    issuer: str
    clients: Mapping[str, Client]
    users: Sequence[str]
    codes: AuthorizationCodes
    pending: OneTimeStore[AuthorizationRequest]
    clock: Callable[[], float]

    def ask(self, parameters: Parameters) -> tuple[str, AuthorizationRequest]:
        """
        Return a validated request and the one-time request ID that its decision must name.

        Raises:
            OAuthError: Not to be redirected.
            AuthorizationError: To be redirected.
        """
        request = validate_authorization_request(parameters, clients=self.clients)
        return self.pending.put(request), request

    def decide(self, parameters: Parameters) -> str:
        """
        Return where the browser goes after the user decided.

        Raises:
            OAuthError: The request ID is unknown, expired or used, or the form is not the page's.
            AuthorizationError: ``access_denied``.
        """
        request = self._take(required_parameter(parameters, name="request_id"))
        decision = required_parameter(parameters, name="decision")
        if decision == "deny":
            raise AuthorizationError(
                "access_denied", "the user denied it", redirect_uri=request.redirect_uri, state=request.state
            )
        user = required_parameter(parameters, name="user")
        if decision != "allow" or user not in self.users:
            raise OAuthError("invalid_request", "the decision is not one of the page")
        code = self.codes.issue(self._issued_code(request, user=user))
        return authorization_response(
            request.redirect_uri, issuer=self.issuer, state=request.state, answer={"code": code}
        )

    def _take(self, request_id: str) -> AuthorizationRequest:
        try:
            return self.pending.take(request_id)
        except KeyError:
            raise OAuthError("invalid_request", "the page is too old or was used: start again") from None

    def _issued_code(self, request: AuthorizationRequest, *, user: str) -> IssuedCode:
        grant = Grant(
            client_id=request.client_id,
            subject=user,
            scope=request.scope,
            audience=request.audience,
            auth_time=int(self.clock()),
        )
        return IssuedCode(grant, redirect_uri=request.redirect_uri, code_challenge=request.code_challenge)
