"""
The registered client of the embedded issuer: one frozen value.

Does not authenticate anyone: see ``_authentication``. What it must look like is in ``_client_rules``.
"""

import hmac
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from .._keys import VerificationKeys
from ._client_rules import (
    auth_methods_for,
    read_keys,
    strings,
    validate_grant_types,
    validate_lifetime,
    validate_names,
    validate_redirect_uris,
)

TOKEN_LIFETIME: Final = 600.0  # seconds; RFC 9700 asks for short lives and names no number
REFRESH_TOKEN_LIFETIME: Final = 86400.0  # seconds; a working day and the night after it
SECRET_BYTES: Final = 32  # of randomness, as RFC 6749 §10.10 wants at least 128 bits


def new_secret() -> str:
    """
    Generate a client secret: 43 characters that need no encoding anywhere.
    """
    return secrets.token_urlsafe(SECRET_BYTES)


@dataclass(frozen=True, slots=True, repr=False)
class Client:
    """
    One client the embedded issuer knows, and everything it may ask for (RFC 6749 §2).

    Does not restrict which users may use it.

    Args:
        client_id: Printable ASCII characters.
        client_secret: Printable ASCII characters; ``None`` makes a public client, or one with keys.
        scopes: What it may ask for, and what it gets when it asks for nothing. Kept as a ``frozenset``.
        audiences: The protected resources it may ask for; the first is the default. Kept as a ``tuple``.
        grant_types: Of ``client_credentials``, ``authorization_code``, ``refresh_token`` and
            ``urn:ietf:params:oauth:grant-type:token-exchange``. Kept as a ``frozenset``.
        redirect_uris: Where a browser may be sent back; compared exactly. Kept as a ``tuple``.
        operator: The *sub* of its client-credentials tokens; ``None`` leaves it the client identifier.
        access_group: The *access_group* claim of its tokens; ``None`` leaves the claim out.
        token_lifetime: Life of an access token in seconds. Default 600.
        refresh_token_lifetime: Life of an unused refresh token in seconds. Default 86400.
        jwks: The public keys of its assertions as a JWK Set (RFC 7523 §2.2), instead of a secret.
        auth_method: The one way it may authenticate: ``client_secret_basic``, ``client_secret_post``,
            ``private_key_jwt`` or ``none``. ``None`` allows each that it has the means for.

    Raises:
        ValueError: A value does not have the form above. The message never shows the secret.
    """

    client_id: str
    _: KW_ONLY
    client_secret: str | None = field(repr=False)
    scopes: Collection[str]
    audiences: Sequence[str]
    grant_types: Collection[str] = frozenset({"client_credentials"})
    redirect_uris: Sequence[str] = ()
    operator: str | None = None
    access_group: str | None = None
    token_lifetime: float = TOKEN_LIFETIME
    refresh_token_lifetime: float = REFRESH_TOKEN_LIFETIME
    jwks: Mapping[str, Any] | None = field(default=None, hash=False)
    auth_method: str | None = None
    keys: VerificationKeys | None = field(init=False, compare=False)
    auth_methods: frozenset[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scopes", frozenset(strings(self.scopes, name="scopes")))
        object.__setattr__(self, "audiences", strings(self.audiences, name="audiences"))
        object.__setattr__(self, "grant_types", frozenset(strings(self.grant_types, name="grant_types")))
        object.__setattr__(self, "redirect_uris", strings(self.redirect_uris, name="redirect_uris"))
        object.__setattr__(self, "keys", read_keys(self.jwks))
        self._validate()

    def __repr__(self) -> str:
        secret = None if self.client_secret is None else "********"
        return f"Client({self.client_id!r}, client_secret={secret}, scopes={sorted(self.scopes)})"

    @property
    def is_public(self) -> bool:
        """
        Whether the client has nothing to authenticate with (RFC 6749 §2.1).
        """
        return self.client_secret is None and self.keys is None

    def matches_secret(self, secret: str) -> bool:
        """
        Compare a presented secret with the client's in constant time; a client without matches none.
        """
        if self.client_secret is None:
            return False
        return hmac.compare_digest(self.client_secret.encode(), secret.encode())

    def _validate(self) -> None:
        others = {"operator": self.operator, "access_group": self.access_group}
        validate_names(
            client_id=self.client_id, client_secret=self.client_secret, scopes=self.scopes, others=others
        )
        if not self.audiences:
            raise ValueError('audiences must name at least one, such as ["https://api.example.com"]')
        methods = auth_methods_for(
            client_secret=self.client_secret, has_keys=self.keys is not None, auth_method=self.auth_method
        )
        object.__setattr__(self, "auth_methods", methods)
        validate_grant_types(self.grant_types, is_public=self.is_public, redirect_uris=self.redirect_uris)
        validate_redirect_uris(self.redirect_uris)
        for name in ("token_lifetime", "refresh_token_lifetime"):
            validate_lifetime(getattr(self, name), name=name)
