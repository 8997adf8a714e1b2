"""
Issuer metadata, the pure half: which URLs to ask, and what to believe of an answer (RFC 8414, OpenID
Connect Discovery 1.0). The caller fetches.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ._shapes import is_array, is_object
from ._urls import require_fetchable
from .errors import PolicyError

_DEFAULT_GRANT_TYPES = ("authorization_code", "implicit")  # RFC 8414 §2


@dataclass(frozen=True, slots=True)
class Endpoints:
    """
    Where an issuer's clients get tokens, and how (RFC 8414 §2).

    Attributes:
        authorization: Where to send a user; None if it is not said, or not acceptable.
        token: Where to send a token request; None likewise.
        grant_types: The grant types the issuer supports.
        revocation: Where to revoke a token (RFC 7009); None likewise.
    """

    authorization: str | None
    token: str | None
    grant_types: frozenset[str]
    revocation: str | None = None


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
        return _acceptable(document.get("jwks_uri"), issuer=issuer, insecure_allow_http=insecure_allow_http)
    except PolicyError as exc:
        raise ValueError("the metadata has no acceptable jwks_uri") from exc


def read_endpoints(document: object, *, issuer: str, insecure_allow_http: bool) -> Endpoints:
    """
    The endpoints in a metadata document that `read_metadata` has accepted.

    Nothing is sent there: they are for documentation. One that is not acceptable is left out, so that no
    issuer's mistake there costs it its keys, and no documentation has a link that runs a script.
    """
    known: Mapping[str, object] = document if is_object(document) else {}

    def endpoint(name: str) -> str | None:
        try:
            return _acceptable(known.get(name), issuer=issuer, insecure_allow_http=insecure_allow_http)
        except PolicyError:
            return None

    supported = known.get("grant_types_supported", [*_DEFAULT_GRANT_TYPES])
    grant_types: list[object] = supported if is_array(supported) else []
    return Endpoints(
        authorization=endpoint("authorization_endpoint"),
        token=endpoint("token_endpoint"),
        grant_types=frozenset(one for one in grant_types if isinstance(one, str)),
        revocation=endpoint("revocation_endpoint"),
    )


@dataclass(frozen=True, slots=True)
class ClientEndpoints:
    """
    Where a client of an issuer sends what holds secrets (RFC 8414 §2).

    Attributes:
        token: The token endpoint.
        revocation: The revocation endpoint (RFC 7009); None if it has none, or none acceptable.
    """

    token: str
    revocation: str | None = None


def read_client_endpoints(document: object, *, issuer: str) -> ClientEndpoints:
    """
    The endpoints for a client in a metadata document that is this issuer's own (RFC 8414 §3.3).

    Needs no *jwks_uri*: a client verifies nothing.

    Raises:
        ValueError: Not a JSON object, another *issuer* (compared exactly), or no acceptable token endpoint.
    """
    if not is_object(document) or document.get("issuer") != issuer:
        raise ValueError("the metadata is not this issuer's")
    found = read_endpoints(document, issuer=issuer, insecure_allow_http=False)
    # RFC 6749 §3.2: the endpoint URI MUST NOT include a fragment component.
    if found.token is None or "#" in found.token:
        raise ValueError("the metadata has no acceptable token_endpoint")
    return ClientEndpoints(found.token, found.revocation)


def _acceptable(url: object, *, issuer: str, insecure_allow_http: bool) -> str:
    require_fetchable(url, name="what metadata names", insecure_allow_http=insecure_allow_http)
    found = str(url)
    # Plain http on loopback is for an issuer that is there itself; another's metadata must not point at us.
    are_https = urlsplit(issuer).scheme == "https", urlsplit(found).scheme == "https"
    if are_https == (True, False) and not insecure_allow_http:
        raise PolicyError("the metadata of an https issuer names a URL that is not https")
    return found
