"""
The header of a token → the two things we use of it: algorithm and key ID (RFC 7515 §4.1).

Key material and key locations in a header (``jwk``, ``jku``, ``x5c``, ``x5u`` …) are never looked at:
keys come from the configured issuer alone.
"""

from collections.abc import Collection
from typing import Final, NamedTuple

from ._claims import normalize_token_type, validate_token_type
from ._json import JSONObject
from .errors import AlgorithmNotAllowedError, MalformedTokenError

MAX_KEY_ID_LENGTH: Final = 512  # characters; thumbprints have 43


class KeyReference(NamedTuple):
    """
    Which key, and which algorithm, the sender says to verify with.
    """

    unverified_algorithm: str
    unverified_kid: str | None


def validate_header(
    unverified_header: JSONObject, *, algorithms: Collection[str], token_types: frozenset[str]
) -> KeyReference:
    """
    Refuse a header we must not act on, before any key is looked up.

    Raises:
        AlgorithmNotAllowedError: *alg* is missing, not a string, or not configured for the issuer.
        MalformedTokenError: *crit*, *b64* or *enc* is there, *cty* names a JWT, or *kid* is not a reasonable
            string.
        ClaimError: *typ* is not accepted.
    """
    algorithm = unverified_header.get("alg")
    # Case-sensitive, no trimming (RFC 7515 §4.1.1); the very value that selects the verification.
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise AlgorithmNotAllowedError("the header's algorithm is not configured", algorithm=algorithm)
    # RFC 7515 §4.1.11: an extension we do not process must be refused, and we process none. RFC 7797 §7:
    # a JWT must not use b64. RFC 8725 §2.13: what has enc is a JWE and was never signed.
    for name in ("crit", "b64", "enc"):
        if name in unverified_header:
            raise MalformedTokenError(f'the header has "{name}"', code="unsupported_header")
    # RFC 7519 §5.2: a nested JWT says so here. We would verify the outer one and read the inner one.
    content_type = unverified_header.get("cty")
    if isinstance(content_type, str) and normalize_token_type(content_type) == "jwt":
        raise MalformedTokenError("the header says that a token is nested inside", code="unsupported_header")
    validate_token_type(unverified_header, accepted=token_types)
    return KeyReference(algorithm, _key_id(unverified_header))


def _key_id(unverified_header: JSONObject) -> str | None:
    if "kid" not in unverified_header:
        return None
    kid = unverified_header["kid"]
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KEY_ID_LENGTH:
        raise MalformedTokenError('the header\'s "kid" is not a reasonable string', code="unsupported_header")
    return kid
