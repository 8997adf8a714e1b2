"""
The `Authorization` header field → the token's bytes (RFC 6750 §2.1), or the refusal.
"""

import re
from typing import Final

from ._asgi import Scope, header_values
from .errors import MalformedRequestError, MissingTokenError

MAX_HEADER_BYTES: Final = 16_384  # larger than any access token in use; bounds the work on hostile input

_SCHEME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2: token
# RFC 9110 §11.2: token68, without the padding at its end.
_TOKEN68: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
# A parameter called access_token, each of its letters as it is or escaped: one pass over any query.
_QUERY_TOKEN: Final = re.compile(
    rb"(?:^|[&;])"
    + b"".join(rb"(?:%c|%%(?i:%02x))" % (byte, byte) for byte in b"access_token")
    + rb"(?:[=&;]|$)"
)


def extract_token(scope: Scope) -> bytes:
    """
    Take the bearer token out of a request's one `Authorization` field.

    Does not look anywhere else: not into the query, a cookie, a body or another header.

    Raises:
        MissingTokenError: No credentials, or those of another scheme.
        MalformedRequestError: The field is repeated, too large or malformed, or a second token stands in
            the query (RFC 6750 §2: more than one method).
    """
    token = find_token(scope)
    require_token68(token)
    return token


def find_token(scope: Scope) -> bytes:
    """
    As `extract_token`, but for the characters of the token, which whoever knows it need not look at.

    Raises:
        MissingTokenError: As there.
        MalformedRequestError: As there; not for credentials that are not one token.
    """
    values = header_values(scope, b"authorization")
    # RFC 9110 §5.3, §11.6.2: a single-valued field; choosing one of two would let a proxy check the other.
    if len(values) > 1:
        raise MalformedRequestError("more than one Authorization field", code="authorization_repeated")
    token = _credentials(values[0]) if values else b""
    if not token:
        raise MissingTokenError("no bearer token in the request")
    query: bytes = scope.get("query_string", b"")
    if query and _QUERY_TOKEN.search(query):
        raise MalformedRequestError("a second token in the query", code="token_in_query")
    return token


def _credentials(value: bytes) -> bytes:
    """
    The token of a Bearer field value; empty for an empty value and for another scheme.
    """
    if len(value) > MAX_HEADER_BYTES:
        raise MalformedRequestError("the Authorization field is too large", code="token_too_large")
    scheme, _, rest = value.partition(b" ")
    if scheme.lower() != b"bearer":
        if value and not _SCHEME.fullmatch(scheme):
            raise MalformedRequestError("the Authorization field does not begin with a scheme")
        return b""
    # RFC 6750 §2.1: `"Bearer" 1*SP b64token`. A tab or any other separator is not in the grammar.
    token = rest.lstrip(b" ")
    if not token:
        raise MalformedRequestError("the bearer credentials are not one token")
    return token


def require_token68(token: bytes) -> None:
    """
    Refuse credentials that are not one token68 (RFC 9110 §11.2).

    Raises:
        MalformedRequestError: They are not.
    """
    unpadded = token.rstrip(b"=")
    # Deleting what may be there, and looking at what is left, takes a third of a regular expression's time.
    if not unpadded or unpadded.translate(None, _TOKEN68):
        raise MalformedRequestError("the bearer credentials are not one token")
