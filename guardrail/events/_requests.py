"""
What became of requests.
"""

from dataclasses import dataclass
from typing import ClassVar

from ..errors import ClaimError, InsufficientScopeError, TokenError, UnknownKeyError
from ._event import Event, printable

__all__ = ["DirectoryUnavailable", "KeysUnavailable", "PlainHttpUsed", "TokenAccepted", "TokenRefused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAccepted(Event):
    """
    A token was authenticated and authorized for a route.

    Attributes:
        package: The service package's name.
        route: The route's path template.
        issuer: The issuer that was verified.
        client_id: The calling client, as the verified token names it.
        operator_kind: ``user`` or ``service``.
        operator_id: A service's operator, escaped and shortened. None for a user: no event says who a person
            is. `guardrail.mcp.TokenVerifier` says neither this nor the next.
        seconds_left: Seconds until the token's *exp*, negative for one that its leeway let in; None where
            there is no token.
    """

    name: ClassVar[str] = "guardrail.token_accepted"

    package: str
    route: str
    issuer: str
    client_id: str | None
    operator_kind: str
    operator_id: str | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRefused(Event):
    """
    A request was refused with 400, 401 or 403.

    Attributes:
        code: Why, from `guardrail.errors.CODES`.
        status: The HTTP status sent.
        package: The service package's name.
        route: The route's path template.
        detail: A sentence for a log; it quotes nothing of the token.
        claim: The claim concerned, or None.
        kid: The key ID concerned, escaped and shortened, or None.
        scopes_lacking: Scopes that the route needs and the token has not, in the declaration's order; where
            one of several is needed, all of them.
        is_enforced: False where the request was served all the same, without an operator: ``enforce=False``.
    """

    name: ClassVar[str] = "guardrail.token_refused"

    code: str
    status: int
    package: str
    route: str
    detail: str
    claim: str | None = None
    kid: str | None = None
    scopes_lacking: tuple[str, ...] = ()
    is_enforced: bool = True

    @classmethod
    def of(cls, error: TokenError, *, package: str, route: str, is_enforced: bool = True) -> "TokenRefused":
        """
        The event of *error* on a route.
        """
        kid = error.kid if isinstance(error, UnknownKeyError) else None
        return cls(
            code=error.code,
            status=error.status,
            package=package,
            route=route,
            detail=str(error),
            claim=error.claim if isinstance(error, ClaimError) else None,
            kid=None if kid is None else printable(kid),
            scopes_lacking=error.lacking if isinstance(error, InsufficientScopeError) else (),
            is_enforced=is_enforced,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysUnavailable(Event):
    """
    A request was answered 503, because the issuer's keys could not be had.

    Attributes:
        code: From `guardrail.errors.CODES`.
        package: The service package's name.
        route: The route's path template.
        retry_after: Seconds, as sent in ``Retry-After``.
        is_enforced: False where the request was served all the same, without an operator: ``enforce=False``.
    """

    name: ClassVar[str] = "guardrail.keys_unavailable"

    code: str
    package: str
    route: str
    retry_after: float
    is_enforced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryUnavailable(Event):
    """
    A request was answered 503, because the operator directory could not be had.

    Attributes:
        code: From `guardrail.errors.CODES`.
        package: The service package's name.
        route: The route's path template.
        retry_after: Seconds, as sent in ``Retry-After``.
        is_enforced: False where the request was served all the same, without an operator: ``enforce=False``.
    """

    name: ClassVar[str] = "guardrail.directory_unavailable"

    code: str
    package: str
    route: str
    retry_after: float
    is_enforced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainHttpUsed(Event):
    """
    A token arrived over plain ``http``, as far as the server says (RFC 6750 §5.3). Told once per middleware.

    Behind a proxy that ends TLS it means that the server does not take the scheme from that proxy.

    Attributes:
        package: The service package's name.
        route: The route's path template.
    """

    name: ClassVar[str] = "guardrail.plain_http_used"

    package: str
    route: str
