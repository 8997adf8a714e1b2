"""
How a client proves who it is at the token endpoint (RFC 6749 §2.3, RFC 7521 §4.2).

The seam for mutual TLS and DPoP: whatever a method needs beside its credentials becomes a field of
`Credentials`.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from urllib.parse import quote_plus

from ..errors import PolicyError
from ._assertion import SigningKey, client_assertion, read_private_jwk

__all__ = [
    "AUTH_METHODS",
    "AuthMethod",
    "ClientAuthentication",
    "Credentials",
    "chosen_method",
    "is_encodable",
]

AuthMethod = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
AUTH_METHODS: Final[tuple[str, ...]] = get_args(AuthMethod)
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 §2.2


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    What one request carries for its authentication.

    Attributes:
        form: Parameters of the body.
        headers: Header fields.
        secrets: What of it must not be told.
    """

    form: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class ClientAuthentication:
    """
    A client's identifier, its method, and where its secret or key comes from at each request.

    Args:
        secret: A secret, or a callable that returns one.
        key: A private JWK, checked when it was given, or a callable that returns one.
        wall_clock: Seconds since the epoch, for assertions.
    """

    client_id: str
    method: AuthMethod
    secret: str | Callable[[], object] | None = field(default=None, repr=False)
    key: SigningKey | Callable[[], object] | None = field(default=None, repr=False)
    wall_clock: Callable[[], float] = field(kw_only=True)

    def credentials(self, audience: str) -> Credentials:
        """
        Those for one request.

        Args:
            audience: Whom an assertion is for.

        Raises:
            PolicyError: A callable returned what is no secret or no key.
            Exception: Whatever a callable raises.
        """
        client_id = self.client_id
        if self.method == "client_secret_basic":
            secret = self._current_secret()
            encoded = _basic(client_id, secret)
            return Credentials(headers={"authorization": f"Basic {encoded}"}, secrets=(secret, encoded))
        if self.method == "client_secret_post":
            secret = self._current_secret()
            form = (("client_id", client_id), ("client_secret", secret))
            return Credentials(form, secrets=(secret,))
        if self.method == "private_key_jwt":
            assertion = client_assertion(
                self._current_key(), client_id=client_id, audience=audience, wall_clock=self.wall_clock
            )
            # RFC 7521 §4.2: client_id is optional, and some servers look for the client by it.
            form = (("client_id", client_id), ("client_assertion_type", ASSERTION_TYPE))
            return Credentials((*form, ("client_assertion", assertion)), secrets=(assertion,))
        return Credentials((("client_id", client_id),))

    def _current_secret(self) -> str:
        return require_secret("client_secret", self.secret() if callable(self.secret) else self.secret)

    def _current_key(self) -> SigningKey:
        return self.key if isinstance(self.key, SigningKey) else read_private_jwk(self.key and self.key())


def require_secret(name: str, value: object) -> str:
    """
    *value*, given or returned by what was given, if it is text that can be sent.

    Raises:
        PolicyError: It is not. The message has its type and nothing more.
    """
    if not isinstance(value, str) or not value or not is_encodable(value):
        raise PolicyError(
            f"{name} must be a non-empty string, or a callable that returns one; got {type(value).__name__}"
        )
    return value


def is_encodable(value: str) -> bool:
    """
    Whether there is UTF-8 for it: there is none for half of a surrogate pair.
    """
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _basic(client_id: str, secret: str) -> str:
    # RFC 6749 §2.3.1: both are form-encoded before they are joined, or a ":" in them would move the border.
    joined = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return base64.b64encode(joined.encode("ascii")).decode("ascii")


def chosen_method(method: str | None, *, has_secret: bool, has_key: bool) -> AuthMethod:
    """
    The method that goes with what is given.

    Raises:
        PolicyError: They do not go together.
    """
    if has_secret and has_key:
        raise PolicyError(
            "give client_secret or client_assertion_key, not both: one of them would never be used"
        )
    fitting: tuple[AuthMethod, ...] = ("none",)
    if has_secret:
        fitting = ("client_secret_basic", "client_secret_post")
    elif has_key:
        fitting = ("private_key_jwt",)
    for one in fitting:
        if method in (None, one):
            return one
    if method not in AUTH_METHODS:
        raise PolicyError(f"auth_method must be one of {', '.join(AUTH_METHODS)}; got {method!r}")
    given = "client_secret" if has_secret else "client_assertion_key" if has_key else "neither secret nor key"
    raise PolicyError(f"auth_method={method!r} does not go with {given}; that is {' or '.join(fitting)}")
