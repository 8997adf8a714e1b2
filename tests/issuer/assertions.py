"""
A client that signs assertions, and the assertions it signs.
"""

import itertools
from collections.abc import Mapping
from typing import Any

from guardrail.issuer import Client, SigningKeys

from .builders import JWT_BEARER, NOW, ORDERS, URL, changed

KEYS = SigningKeys("ES256")
_NUMBERS = itertools.count(1)


def a_signing_client(client_id: str = "signer", *, keys: SigningKeys = KEYS, **changes: Any) -> Client:
    """
    Build a client that authenticates with a key, then change it.
    """
    good: dict[str, Any] = {
        "client_secret": None,
        "jwks": keys.jwks(),
        "scopes": ["orders:read"],
        "audiences": [ORDERS],
    }
    return Client(client_id, **good | changes)


def an_assertion(
    changes: Mapping[str, object] | None = None,
    *,
    keys: SigningKeys = KEYS,
    typ: str | None = "client-authentication+jwt",
    headers: Mapping[str, object] | None = None,
) -> str:
    """
    Sign a good assertion, its claims and headers changed; ``None`` leaves one out.
    """
    good: dict[str, object] = {
        "iss": "signer",
        "sub": "signer",
        "aud": URL,
        "jti": f"jti-{next(_NUMBERS)}",
        "iat": int(NOW),
        "exp": int(NOW) + 60,
    }
    claims = {name: value for name, value in {**good, **(changes or {})}.items() if value is not None}
    return keys.sign(claims, headers={"typ": typ, **(headers or {})})


def assertion_form(assertion: str, **changes: str | None) -> dict[str, str]:
    """
    Build the form of a client credentials request with an assertion, then change it.
    """
    good = {
        "grant_type": "client_credentials",
        "client_assertion_type": JWT_BEARER,
        "client_assertion": assertion,
    }
    return changed(good, **changes)
