"""
The registered client of the embedded issuer: one frozen value.

Does not authenticate anyone: see ``_authentication``.
"""

import hmac
import math
import re
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

GRANT_TYPES: Final = frozenset({"authorization_code", "client_credentials", "refresh_token"})
TOKEN_LIFETIME: Final = 600.0  # seconds; RFC 9700 asks for short lives and names no number
REFRESH_TOKEN_LIFETIME: Final = 86400.0  # seconds; a working day and the night after it
SECRET_BYTES: Final = 32  # of randomness, as RFC 6749 §10.10 wants at least 128 bits

_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendices A.1 and A.2
_SCOPE_TOKEN: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 §3.3
# RFC 6749 §3.1.2: absolute, without fragment. RFC 8252 §7.1: a private-use scheme has a dot in it, which
# also keeps `javascript:` and `data:` out of a Location header.
_REDIRECT_URI: Final = re.compile(
    r"(?:https?://[A-Za-z0-9\[]|[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+:/)[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]*"
)


def new_secret() -> str:
    """
    Generate a client secret: 43 characters that need no encoding anywhere.
    """
    return secrets.token_urlsafe(SECRET_BYTES)


def strings(values: Iterable[object], *, name: str) -> tuple[str, ...]:
    """
    Take a collection of non-empty strings, and never one bare string for it.

    Raises:
        ValueError: *values* is one string, is no collection, or holds something else than strings.
    """
    form = f'{name} must be a collection of non-empty strings such as ["first", "second"], not one string'
    is_bare = isinstance(values, str)
    try:
        items = tuple(values)
    except TypeError as exc:
        raise ValueError(form) from exc
    found = tuple(item for item in items if isinstance(item, str) and item)
    if is_bare or len(found) != len(items):
        raise ValueError(form)
    return found


@dataclass(frozen=True, slots=True, repr=False)
class Client:
    """
    One client the embedded issuer knows, and everything it may ask for (RFC 6749 §2).

    Does not restrict which users may use it.

    Args:
        client_id: Printable ASCII characters.
        client_secret: Printable ASCII characters; ``None`` makes a public client.
        scopes: What it may ask for, and what it gets when it asks for nothing. Kept as a ``frozenset``.
        audiences: The protected resources it may ask for; the first is the default. Kept as a ``tuple``.
        grant_types: Of ``client_credentials``, ``authorization_code`` and ``refresh_token``. Kept as a
            ``frozenset``.
        redirect_uris: Where a browser may be sent back; compared exactly. Kept as a ``tuple``.
        operator: The *sub* of its client-credentials tokens; ``None`` leaves it the client identifier.
        access_group: The *access_group* claim of its tokens; ``None`` leaves the claim out.
        token_lifetime: Life of an access token in seconds. Default 600.
        refresh_token_lifetime: Life of an unused refresh token in seconds. Default 86400.

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "scopes", frozenset(strings(self.scopes, name="scopes")))
        object.__setattr__(self, "audiences", strings(self.audiences, name="audiences"))
        object.__setattr__(self, "grant_types", frozenset(strings(self.grant_types, name="grant_types")))
        object.__setattr__(self, "redirect_uris", strings(self.redirect_uris, name="redirect_uris"))
        _validate_names(self)
        _validate_grant_types(self)
        _validate_redirect_uris(self)
        for name in ("token_lifetime", "refresh_token_lifetime"):
            _validate_lifetime(getattr(self, name), name=name)

    def __repr__(self) -> str:
        secret = None if self.is_public else "********"
        return f"Client({self.client_id!r}, client_secret={secret}, scopes={sorted(self.scopes)})"

    @property
    def is_public(self) -> bool:
        """
        Whether the client has no secret (RFC 6749 §2.1).
        """
        return self.client_secret is None

    def matches_secret(self, secret: str) -> bool:
        """
        Compare a presented secret with the client's in constant time; a public client matches none.
        """
        if self.client_secret is None:
            return False
        return hmac.compare_digest(self.client_secret.encode(), secret.encode())


def _is_printable(value: object) -> bool:
    return isinstance(value, str) and _PRINTABLE.fullmatch(value) is not None


def _validate_names(client: Client) -> None:
    """
    Refuse identifiers, secrets, scopes and audiences that could not travel in a request.
    """
    if not _is_printable(client.client_id):
        raise ValueError('client_id must be printable ASCII such as "orders-service"')
    if client.client_secret is not None and not _is_printable(client.client_secret):
        raise ValueError("client_secret must be printable ASCII, or None for a public client")
    for scope in client.scopes:
        if not _SCOPE_TOKEN.fullmatch(scope):
            raise ValueError(f'{scope!r} is no scope: use one word such as "orders:read"')
    if not client.audiences:
        raise ValueError('audiences must name at least one, such as ["https://api.example.com"]')
    for name in ("operator", "access_group"):
        value = getattr(client, name)
        if value is not None and not _is_printable(value):
            raise ValueError(f'{name} must be printable ASCII such as "alice", or None')


def _validate_grant_types(client: Client) -> None:
    """
    Refuse unknown grant types, and those the client has not the means for.
    """
    if not client.grant_types or not GRANT_TYPES.issuperset(client.grant_types):
        raise ValueError(f"grant_types must be one or more of {', '.join(sorted(GRANT_TYPES))}")
    # RFC 6749 §4.4: the client credentials grant type MUST only be used by confidential clients.
    if client.is_public and "client_credentials" in client.grant_types:
        raise ValueError(
            "a public client cannot use client_credentials: "
            'give it a client_secret or grant_types=["authorization_code"]'
        )
    if "authorization_code" in client.grant_types and not client.redirect_uris:
        raise ValueError('authorization_code needs redirect_uris such as ["http://127.0.0.1:8000/callback"]')


def _validate_redirect_uris(client: Client) -> None:
    """
    Refuse redirect URIs that are relative, carry a fragment or could run a script (RFC 6749 §3.1.2).
    """
    for uri in client.redirect_uris:
        if not _REDIRECT_URI.fullmatch(uri):
            raise ValueError(
                f"{uri!r} is no redirect URI: use https://, http:// or a private-use scheme "
                "such as com.example.app:/callback, without a fragment"
            )


def _validate_lifetime(value: object, *, name: str) -> None:
    """
    Refuse what is no positive, finite number of seconds (``True`` is none).
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a positive number of seconds such as 600")
