"""
Issuer metadata, the pure half: which URLs to ask, and what to believe of an answer (RFC 8414, OpenID
Connect Discovery 1.0). The caller fetches.
"""

from urllib.parse import urlsplit

from ._shapes import is_object
from ._urls import require_fetchable
from .errors import PolicyError


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """
    Where the metadata of *issuer* may be, in the order to ask.

    RFC 8414 §3.1 inserts the well-known path between host and path; OpenID Connect Discovery §4 appends its
    own; RFC 8414 §5 lets an issuer publish OpenID's name in RFC 8414's place.
    """
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return tuple(
        dict.fromkeys(
            (
                f"{origin}/.well-known/oauth-authorization-server{path}",
                f"{origin}{path}/.well-known/openid-configuration",
                f"{origin}/.well-known/openid-configuration{path}",
            )
        )
    )


def read_metadata(document: object, *, issuer: str, insecure_allow_http: bool) -> str:
    """
    The *jwks_uri* of a metadata document that is this issuer's own (RFC 8414 §3.3).

    Does not follow it. It may be on another host: the issuer vouches for it.

    Raises:
        ValueError: Not a JSON object, another *issuer* (compared exactly), or no acceptable *jwks_uri*.
    """
    if not is_object(document):
        raise ValueError("the metadata is not a JSON object")
    # RFC 8414 §3.3: not identical means it must not be used.
    if document.get("issuer") != issuer:
        raise ValueError("the metadata names another issuer")
    try:
        jwks_uri = str(document.get("jwks_uri"))
        require_fetchable(jwks_uri, name="jwks_uri", insecure_allow_http=insecure_allow_http)
    except PolicyError as exc:
        raise ValueError("the metadata has no acceptable jwks_uri") from exc
    # Plain http on loopback is for an issuer that is there itself; another's metadata must not point at us.
    are_https = urlsplit(issuer).scheme == "https", urlsplit(jwks_uri).scheme == "https"
    if are_https == (True, False) and not insecure_allow_http:
        raise ValueError("the metadata of an https issuer names a jwks_uri that is not https")
    return jwks_uri
