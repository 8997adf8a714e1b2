"""
What a registered client of the embedded issuer must look like; each rule refuses with the right form.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from .._issuer import DEFAULT_ALGORITHMS
from .._keys import VerificationKeys, read_jwk_set

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name of RFC 8693
GRANT_TYPES: Final = frozenset({"authorization_code", "client_credentials", "refresh_token", TOKEN_EXCHANGE})
# What a client signs its assertions with; RS256 to EdDSA, never a symmetric one (RFC 8725 §3.1).
ASSERTION_ALGORITHMS: Final = DEFAULT_ALGORITHMS
SECRET_METHODS: Final = ("client_secret_basic", "client_secret_post")
KEY_METHOD: Final = "private_key_jwt"
NO_SECRET_METHODS: Final = (KEY_METHOD, "none")
AUTH_METHODS: Final = (*SECRET_METHODS, *NO_SECRET_METHODS)

_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendices A.1 and A.2
_SCOPE_TOKEN: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 §3.3
# RFC 6749 §3.1.2: absolute, without fragment. RFC 8252 §7.1: a private-use scheme has a dot in it, which
# also keeps `javascript:` and `data:` out of a Location header.
_REDIRECT_URI: Final = re.compile(
    r"(?:https?://[A-Za-z0-9\[]|[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+:/)[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]*"
)


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


def auth_methods_for(*, client_secret: str | None, has_keys: bool, auth_method: str | None) -> frozenset[str]:
    """
    Return the methods a client may authenticate by: the registered one, or those its credential is good for.

    Raises:
        ValueError: Two credentials, or a method that the client has not the credential for.
    """
    if client_secret is not None and has_keys:
        raise ValueError("a client has client_secret or jwks, not both: remove one")
    fitting = SECRET_METHODS if client_secret is not None else (KEY_METHOD,) if has_keys else ("none",)
    if auth_method is not None and auth_method not in fitting:
        raise ValueError(
            f"auth_method must be {' or '.join(fitting)} here: client_secret_basic and client_secret_post "
            "need a client_secret, private_key_jwt needs jwks, none needs neither"
        )
    return frozenset(fitting if auth_method is None else (auth_method,))


def read_keys(jwks: Mapping[str, Any] | None) -> VerificationKeys | None:
    """
    Read the public keys a client signs its assertions with; ``None`` when it has none.

    Raises:
        ValueError: Not a JWK Set, or a key of it cannot verify; the message shows nothing of a key.
    """
    if jwks is None:
        return None
    form = 'jwks must be a JWK Set of public keys such as {"keys": [{"kty": "EC", "kid": "2026-01", ...}]}'
    try:
        keys = read_jwk_set(jwks, algorithms=ASSERTION_ALGORITHMS)
    except ValueError as exc:
        raise ValueError(f"{form}: {exc}") from exc
    # A resource server skips what it cannot use; whoever registers a key means it to be used.
    if keys.skipped:
        raise ValueError(f"{form}: a key is {keys.skipped[0].reason.replace('_', ' ')}")
    return keys


def _is_printable(value: object) -> bool:
    return isinstance(value, str) and _PRINTABLE.fullmatch(value) is not None


def validate_names(
    *,
    client_id: str,
    client_secret: str | None,
    scopes: Iterable[str],
    others: Mapping[str, str | None],
) -> None:
    """
    Refuse identifiers, secrets, scopes and other names that could not travel in a request.
    """
    if not _is_printable(client_id):
        raise ValueError('client_id must be printable ASCII such as "orders-service"')
    if client_secret is not None and not _is_printable(client_secret):
        raise ValueError("client_secret must be printable ASCII, or None for a client without")
    for scope in scopes:
        if not _SCOPE_TOKEN.fullmatch(scope):
            raise ValueError(f'{scope!r} is no scope: use one word such as "orders:read"')
    for name, value in others.items():
        if value is not None and not _is_printable(value):
            raise ValueError(f'{name} must be printable ASCII such as "alice", or None')


def validate_grant_types(
    grant_types: Collection[str], *, is_public: bool, redirect_uris: Sequence[str]
) -> None:
    """
    Refuse unknown grant types, and those the client has not the means for.
    """
    if not grant_types or not GRANT_TYPES.issuperset(grant_types):
        raise ValueError(f"grant_types must be one or more of {', '.join(sorted(GRANT_TYPES))}")
    # RFC 6749 §4.4: the client credentials grant type MUST only be used by confidential clients. A token
    # exchange without authentication would make a stolen token good for more (RFC 8693 §5).
    for name in ("client_credentials", TOKEN_EXCHANGE):
        if is_public and name in grant_types:
            raise ValueError(
                f"a public client cannot use {name}: "
                'give it a client_secret, jwks or grant_types=["authorization_code"]'
            )
    if "authorization_code" in grant_types and not redirect_uris:
        raise ValueError('authorization_code needs redirect_uris such as ["http://127.0.0.1:8000/callback"]')


def validate_redirect_uris(redirect_uris: Iterable[str]) -> None:
    """
    Refuse redirect URIs that are relative, carry a fragment or could run a script (RFC 6749 §3.1.2).
    """
    for uri in redirect_uris:
        if not _REDIRECT_URI.fullmatch(uri):
            raise ValueError(
                f"{uri!r} is no redirect URI: use https://, http:// or a private-use scheme "
                "such as com.example.app:/callback, without a fragment"
            )


def validate_lifetime(value: object, *, name: str) -> None:
    """
    Refuse what is no positive, finite number of seconds (``True`` is none).
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a positive number of seconds such as 600")
