"""
The compact form of a JWS (RFC 7515 §7.1) → header, claims set, signing input, signature.

Strict where the RFCs leave room, so that one token has one spelling and one meaning: three parts of
canonical base64url, of which two are strict JSON objects. Sizes are bounded before anything is decoded.
Nothing here is verified yet.
"""

import binascii
from dataclasses import dataclass
from typing import Final

from ._json import JSONObject, parse_json_object
from .errors import MalformedTokenError

MAX_TOKEN_BYTES: Final = 16_384
MAX_HEADER_PART_BYTES: Final = 4_096  # a header is algorithm, key ID and type; certificate chains are ignored

# To the standard alphabet, and what is in that one alone to what is in none.
_URL_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/\0\0\0")
# By what is left of the length by fours: the padding that would stand there, and the characters that a part
# may end with, of which the unused bits are not set (RFC 4648 §3.5).
_PADDING: Final = (b"", b"", b"==", b"=")
_LAST: Final = (frozenset(range(256)), frozenset[int](), frozenset(b"AQgw"), frozenset(b"AEIMQUYcgkosw048"))


@dataclass(frozen=True, slots=True)
class CompactToken:
    """
    A token taken apart. Its contents are what the sender wrote, and no more.
    """

    unverified_header: JSONObject
    unverified_claims: JSONObject
    signing_input: bytes
    signature: bytes


def parse_compact(token: bytes) -> CompactToken:
    """
    Take a compact JWS apart (RFC 7515 §5.2 steps 1 to 3, RFC 7519 §7.2).

    Does not verify the signature and does not validate a claim.

    Raises:
        MalformedTokenError: It is not three canonical base64url parts, or its first two are not strict JSON
            objects.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise MalformedTokenError("the token is too large", code="token_too_large")
    # Counting before splitting: a million dots must not become a million parts (CVE-2025-30204).
    if token.count(b".") != 2:
        raise MalformedTokenError("the token does not have three parts")
    header_part, claims_part, signature_part = token.split(b".")
    if len(header_part) > MAX_HEADER_PART_BYTES:
        raise MalformedTokenError("the token's header is too large", code="token_too_large")
    return CompactToken(
        unverified_header=_json_object(header_part),
        unverified_claims=_json_object(claims_part),
        # RFC 7515 §5.2 step 8: over the octets received, not over JSON written again.
        signing_input=token[: len(header_part) + 1 + len(claims_part)],
        signature=decode_base64url(signature_part),
    )


def decode_base64url(part: bytes) -> bytes:
    """
    Decode unpadded, canonical base64url (RFC 7515 §2, RFC 4648 §3.5).

    Raises:
        MalformedTokenError: Empty, padded, another alphabet, an impossible length, or unused bits set.
    """
    rest = len(part) % 4
    # Unused bits give one token many spellings, which defeats deny lists and caches.
    if not part or part[-1] not in _LAST[rest]:
        raise MalformedTokenError("a part of the token is not canonical base64url")
    try:
        return binascii.a2b_base64(part.translate(_URL_TO_STANDARD) + _PADDING[rest], strict_mode=True)
    except binascii.Error as exc:
        raise MalformedTokenError("a part of the token is not base64url") from exc


def _json_object(part: bytes) -> JSONObject:
    try:
        return parse_json_object(decode_base64url(part))
    except ValueError as exc:
        raise MalformedTokenError("a part of the token is not a strict JSON object") from exc
