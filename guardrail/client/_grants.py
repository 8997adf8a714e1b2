"""
What a token request says: grant, scope, audience, resource, and what the grant itself needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ._authentication import require_secret

__all__ = ["OUR_PARAMETERS", "SECRET_PARAMETERS", "TokenRequest"]

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693 §2.1
ACCESS_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - RFC 8693 §3

# What a profile, or an authentication method, puts into a request itself.
OUR_PARAMETERS: Final = frozenset(
    {
        "audience",
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "client_secret",
        "grant_type",
        "refresh_token",
        "resource",
        "scope",
        "subject_token",
        "subject_token_type",
    }
)
# Those of a grant that must not be told.
SECRET_PARAMETERS: Final = frozenset({"refresh_token", "subject_token"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """
    What every token request of a profile says, the renewals too.

    Args:
        scopes: In the order given.
        audience: An audience, or None.
        resources: Resources (RFC 8707 §2); the parameter is repeated.
        extra: Further parameters.
        subject_token: A token to exchange (RFC 8693 §2.1), or a callable that returns one.
        subject_token_type: What kind of token that is.
    """

    scopes: tuple[str, ...] = ()
    audience: str | None = None
    resources: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    subject_token: str | Callable[[], object] | None = field(default=None, repr=False)
    subject_token_type: str = ACCESS_TOKEN_TYPE

    def form(self, refresh_token: str | None = None) -> tuple[tuple[str, str], ...]:
        """
        The parameters of a request, those of the client's authentication excepted.

        Args:
            refresh_token: The refresh token to use; with it, it is that grant.

        Raises:
            PolicyError: The callable of the subject token returned what is none.
            Exception: Whatever that callable raises.
        """
        return (
            *self._grant(refresh_token),
            *((("scope", " ".join(self.scopes)),) if self.scopes else ()),
            *((("audience", self.audience),) if self.audience is not None else ()),
            *(("resource", one) for one in self.resources),
            *self.extra.items(),
        )

    def _grant(self, refresh_token: str | None) -> tuple[tuple[str, str], ...]:
        if refresh_token is not None:
            return ("grant_type", "refresh_token"), ("refresh_token", refresh_token)
        given = self.subject_token
        if given is None:
            return (("grant_type", "client_credentials"),)
        subject_token = require_secret("subject_token", given() if callable(given) else given)
        return (
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", subject_token),
            ("subject_token_type", self.subject_token_type),
        )
