"""
Everything guardrail raises, as one tree.

```text
GuardrailError
├── PolicyError                    you, at startup: wrong or missing declaration
│   ├── UndeclaredRouteError       .routes: every one of them, not the first
│   └── MiddlewareMissingError     a declared endpoint ran without a decision
├── TokenError                     the caller's token was refused          .code  .status  .oauth_error
│   ├── MissingTokenError          401, challenge without error (RFC 6750 §3.1)
│   ├── MalformedRequestError      400 invalid_request
│   ├── InvalidTokenError          401 invalid_token
│   │   ├── MalformedTokenError · AlgorithmNotAllowedError · SignatureError
│   │   ├── UnknownKeyError · UnknownIssuerError
│   │   └── ClaimError             .claim  .reason: missing | invalid | mismatch | expired | too_early
│   ├── InsufficientScopeError     403 insufficient_scope        .required  .granted  .lacking
│   ├── OperatorRefusedError       403 operator unknown, disabled, client not allowed, role or group missing
│   └── InsufficientAuthenticationError   401 insufficient_user_authentication (RFC 9470)
└── UnavailableError               ours, 503: keys or directory            .code  .retry_after
    └── TokenUnavailableError      no token for a call of ours  .error  .error_description  .permanent
```

``code`` is a stable snake-case string from the closed list `CODES`, for logs, metrics and tests. The HTTP
answer carries fixed text only; facts (``claim``, ``expected``, ``actual`` …) stay in the exception. No
exception of this module holds a token or a secret. `CODES` has what is said of callers; the one code of
`TokenUnavailableError`, which is about the calls we make, is not in it.
"""

from collections.abc import Iterable
from typing import ClassVar, Final, Literal

__all__ = [
    "CODES",
    "AlgorithmNotAllowedError",
    "ClaimError",
    "GuardrailError",
    "InsufficientAuthenticationError",
    "InsufficientScopeError",
    "InvalidTokenError",
    "MalformedRequestError",
    "MalformedTokenError",
    "MiddlewareMissingError",
    "MissingTokenError",
    "OperatorRefusedError",
    "PolicyError",
    "SignatureError",
    "TokenError",
    "TokenUnavailableError",
    "UnavailableError",
    "UndeclaredRouteError",
    "UnknownIssuerError",
    "UnknownKeyError",
]

CODES: Final = frozenset(
    {
        "access_group_missing",
        "algorithm_not_allowed",
        "audience_mismatch",
        "authorization_malformed",
        "authorization_repeated",
        "bad_signature",
        "claim_missing",
        "claims_malformed",
        "client_not_allowed",
        "directory_unavailable",
        "groups_overage",
        "insufficient_authentication",
        "insufficient_scope",
        "issuer_mismatch",
        "keys_unavailable",
        "malformed_token",
        "missing_token",
        "operator_disabled",
        "operator_unknown",
        "other_token_kind",
        "role_missing",
        "sender_constrained",
        "tenant_mismatch",
        "token_expired",
        "token_in_query",
        "token_not_yet_valid",
        "token_too_large",
        "token_type_mismatch",
        "unknown_issuer",
        "unknown_key",
        "unsupported_header",
    }
)

Reason = Literal["missing", "invalid", "mismatch", "expired", "too_early"]

_CODE_OF_REASON: Final[dict[Reason, str]] = {
    "missing": "claim_missing",
    "invalid": "claims_malformed",
    "mismatch": "token_type_mismatch",
    "expired": "token_expired",
    "too_early": "token_not_yet_valid",
}


class GuardrailError(Exception):
    """
    The base of everything guardrail raises.
    """


class PolicyError(GuardrailError):
    """
    Raised when a declaration or a setting is wrong: at construction or at startup, never for a request.
    """


class UndeclaredRouteError(PolicyError):
    """
    Raised when routes declare neither a requirement nor `guardrail.public`; startup ends with it.

    Attributes:
        routes: Every undeclared route, one readable line each.
    """

    def __init__(self, routes: Iterable[str]) -> None:
        self.routes = tuple(routes)
        super().__init__("undeclared routes:\n" + "\n".join(f"  {route}" for route in self.routes))


class MiddlewareMissingError(PolicyError):
    """
    Raised when a declared endpoint is about to run, or to answer, without a decision made for it.

    Either `guardrail.GuardrailMiddleware` is not in front of the application, or something behind it
    changed the path after the decision. The endpoint did not run.
    """


class TokenError(GuardrailError):
    """
    Raised when the caller's token, or the request that should carry it, is refused.

    Attributes:
        code: Why, from `CODES`.
        status: The HTTP status the refusal is answered with.
        oauth_error: The error code of the challenge (RFC 6750 §3.1), or None where there must be none.
    """

    status: ClassVar[int] = 401
    oauth_error: ClassVar[str | None] = None
    default_code: ClassVar[str]

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code


class MissingTokenError(TokenError):
    """
    Raised when the request has no bearer token: no credentials, or those of another scheme.
    """

    default_code = "missing_token"


class MalformedRequestError(TokenError):
    """
    Raised when the request presents its token in a way RFC 6750 §2 does not allow.
    """

    status = 400
    oauth_error = "invalid_request"
    default_code = "authorization_malformed"


class InvalidTokenError(TokenError):
    """
    Raised when a token was presented and is not acceptable, whatever the route.
    """

    oauth_error = "invalid_token"
    default_code = "malformed_token"


class MalformedTokenError(InvalidTokenError):
    """
    Raised when the token is not a signed JWT in the compact form (RFC 7519 §7.2).
    """


class AlgorithmNotAllowedError(InvalidTokenError):
    """
    Raised when the header names an algorithm that the issuer is not configured for (RFC 8725 §3.1).

    Attributes:
        algorithm: What the header said, as received.
    """

    default_code = "algorithm_not_allowed"

    def __init__(self, message: str, *, algorithm: object) -> None:
        super().__init__(message)
        self.algorithm = algorithm


class SignatureError(InvalidTokenError):
    """
    Raised when no key that may verify the token does (RFC 7515 §5.2).
    """

    default_code = "bad_signature"


class UnknownKeyError(InvalidTokenError):
    """
    Raised when the issuer has no key, or no single key, for this header (RFC 7515 §4.1.4).

    Attributes:
        kid: The key ID the header named, as received, or None.
    """

    default_code = "unknown_key"

    def __init__(self, message: str, *, kid: str | None) -> None:
        super().__init__(message)
        self.kid = kid


class UnknownIssuerError(InvalidTokenError):
    """
    Raised when the token names an issuer the service package does not trust.
    """

    default_code = "unknown_issuer"


class ClaimError(InvalidTokenError):
    """
    Raised when a claim (RFC 7519 §4.1) is missing, of the wrong shape, or not what is accepted here.

    Attributes:
        claim: The claim's, or header parameter's, name.
        reason: ``missing``, ``invalid``, ``mismatch``, ``expired`` or ``too_early``.
        expected: What would have been accepted, when that is configuration.
        actual: What the token had. Never sent to the caller.
    """

    def __init__(
        self,
        message: str,
        *,
        claim: str,
        reason: Reason,
        code: str | None = None,
        expected: object = None,
        actual: object = None,
    ) -> None:
        super().__init__(message, code=code or _CODE_OF_REASON[reason])
        self.claim = claim
        self.reason: Reason = reason
        self.expected = expected
        self.actual = actual


class InsufficientScopeError(TokenError):
    """
    Raised when a valid token lacks a scope that the route needs (RFC 6750 §3.1).

    Attributes:
        required: The scopes the route asks for.
        granted: The scopes the token has.
        lacking: Those of *required* that keep the token out; by default, all that are not granted outright.
    """

    status = 403
    oauth_error = "insufficient_scope"
    default_code = "insufficient_scope"

    def __init__(
        self,
        message: str,
        *,
        required: Iterable[str],
        granted: Iterable[str],
        lacking: Iterable[str] | None = None,
    ) -> None:
        super().__init__(message)
        self.required = tuple(required)
        self.granted = frozenset(granted)
        missing = (scope for scope in self.required if scope not in self.granted)
        self.lacking = tuple(missing if lacking is None else lacking)


class OperatorRefusedError(TokenError):
    """
    Raised when a valid token's operator may not do this, for another reason than scope.
    """

    status = 403
    default_code = "role_missing"


class InsufficientAuthenticationError(TokenError):
    """
    Raised when the user's authentication is too weak or too old for the route (RFC 9470 §3).
    """

    oauth_error = "insufficient_user_authentication"
    default_code = "insufficient_authentication"


class UnavailableError(GuardrailError):
    """
    Raised when something needed for the decision could not be had; answered with 503, never 401 or 200.

    Attributes:
        code: Which one, from `CODES`.
        retry_after: Seconds after which trying again makes sense.
    """

    def __init__(self, message: str, *, code: str = "keys_unavailable", retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class TokenUnavailableError(UnavailableError):
    """
    Raised when `guardrail.client` has no access token for a request, which is then not sent.

    Holds no secret, assertion or token, and has no cause that could: what the HTTP library raised is told by
    its name alone.

    Attributes:
        code: ``token_unavailable``. Not in `CODES`, which is about callers' tokens.
        error: Why. The authorization server's *error* if it is a code of RFC 6749 §5.2 or RFC 8693 §2.2.2, or
            ``http_4xx``, ``http_5xx``, ``timeout``, ``connect``, ``redirect``, ``bad_response``; or, ours,
            ``credentials`` (a callable of the profile raised) and ``not_stored`` (*on_refresh_token* did).
        error_description: What the server said about it: printable ASCII, at most 200 characters; or None, as
            when it said back a secret that it was sent.
        retry_after: Seconds until a token will be asked for again; None: never by this profile.
        permanent: Whether asking again as it is cannot help.
    """

    retry_after: float | None  # type: ignore[assignment] # its base, for a 503, always has a time

    def __init__(
        self,
        message: str,
        *,
        error: str,
        error_description: str | None = None,
        retry_after: float | None = None,
        permanent: bool = False,
    ) -> None:
        super().__init__(message, code="token_unavailable")
        self.error = error
        self.error_description = error_description
        self.retry_after = retry_after
        self.permanent = permanent
