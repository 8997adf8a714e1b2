"""
The issuer's URL, and the metadata document it publishes about itself (RFC 8414).
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from ._client_rules import ASSERTION_ALGORITHMS, AUTH_METHODS, GRANT_TYPES
from ._clients import Client

# Narrower than RFC 8414 §2 (no query, no fragment): also no user information and nothing to percent-encode,
# so that the URL can be compared, routed and printed as it stands.
_ISSUER_URL: Final = re.compile(
    r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]+)*/?"
)
_DOCUMENTS: Final = ("oauth-authorization-server", "openid-configuration")


def issuer_path(url: str) -> str:
    """
    Return the path of an issuer URL without its last slash; empty when there is none.

    Raises:
        ValueError: It is no issuer URL.
    """
    if not _ISSUER_URL.fullmatch(url):
        raise ValueError(
            f'{url!r} is no issuer URL: use scheme, host, port and path such as "http://127.0.0.1:9000", '
            "without query or fragment"
        )
    return urlsplit(url).path.rstrip("/")


def metadata_paths(path: str) -> tuple[str, ...]:
    """
    Return where the metadata document is looked for.

    With an issuer path there are three forms: RFC 8414 §3.1 inserts, OpenID Connect Discovery §4 appends,
    and the bare form answers where a proxy or a mount took the path away.
    """
    forms = [
        form
        for document in _DOCUMENTS
        for form in (
            f"/.well-known/{document}",
            f"/.well-known/{document}{path}",
            f"{path}/.well-known/{document}",
        )
    ]
    return tuple(dict.fromkeys(forms))


def metadata(issuer: str, *, algorithm: str, clients: Iterable[Client]) -> dict[str, object]:
    """
    Build the metadata document (RFC 8414 §2).
    """
    base = issuer.rstrip("/")
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "revocation_endpoint": f"{base}/revoke",
        "introspection_endpoint": f"{base}/introspect",
        "jwks_uri": f"{base}/jwks",
        "scopes_supported": sorted(frozenset[str]().union(*(client.scopes for client in clients))),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": sorted(GRANT_TYPES),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        # OpenID Connect Discovery §3 requires these two of whoever answers at openid-configuration; no ID
        # token is ever issued.
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [algorithm],
    } | _client_authentication()


def _client_authentication() -> dict[str, object]:
    """
    Say how clients authenticate at each endpoint that programs call (RFC 8414 §2).
    """
    algorithms = list(ASSERTION_ALGORITHMS)
    confidential = [method for method in AUTH_METHODS if method != "none"]
    methods = {"token": list(AUTH_METHODS), "revocation": list(AUTH_METHODS), "introspection": confidential}
    supported: dict[str, object] = {}
    for endpoint, names in methods.items():
        supported[f"{endpoint}_endpoint_auth_methods_supported"] = names
        supported[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] = algorithms
    return supported
