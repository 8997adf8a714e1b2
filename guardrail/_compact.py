"""
The compact form of a JWS (RFC 7515 §7.1) → header, claims set, signing input, signature.

Strict where the RFCs leave room, so that one token has one spelling and one meaning: three parts of
canonical base64url, of which two are strict JSON objects. Sizes are bounded before anything is decoded.
Nothing here is verified yet.
"""

import binascii
from collections.abc import Container
from typing import Final, NamedTuple

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


class CompactToken(NamedTuple):
    """
    A token taken apart. Its contents are what the sender wrote, and no more.

    Attributes:
        header_part: The header as it was sent.
        read_header: The header; None where it was not read again.
        unverified_claims: The claims set.
        signing_input: What the signature is of.
        signature: The signature.
    """

    header_part: bytes
    read_header: JSONObject | None
    unverified_claims: JSONObject
    signing_input: bytes
    signature: bytes

    @property
    def unverified_header(self) -> JSONObject:
        """
        The header, read now if it was not before.

        Raises:
            MalformedTokenError: It is not canonical base64url of a strict JSON object.
        """
        if self.read_header is not None:
            return self.read_header
        return _json_object(decode_base64url(self.header_part))


def parse_compact(token: bytes, *, known_headers: Container[bytes] = ()) -> CompactToken:
    """
    Take a compact JWS apart (RFC 7515 §5.2 steps 1 to 3, RFC 7519 §7.2).

    Does not verify the signature and does not validate a claim.

    Args:
        token: The token.
        known_headers: Header parts that need not be read, since they were for another token.

    Raises:
        MalformedTokenError: It is not three canonical base64url parts, or its first two are not strict JSON
            objects.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise MalformedTokenError("the token is too large", code="token_too_large")
    # RFC 7515 §5.2 step 8: over the octets received, not over JSON written again.
    signing_input, _, signature_part = token.rpartition(b".")
    header_part, dot, claims_part = signing_input.partition(b".")
    # Looked for, and never split at: a million dots must not become a million parts (CVE-2025-30204).
    if not dot or b"." in claims_part:
        raise MalformedTokenError("the token does not have three parts")
    if len(header_part) > MAX_HEADER_PART_BYTES:
        raise MalformedTokenError("the token's header is too large", code="token_too_large")
    # First what costs least: a broken token need not have its claims read.
    signature, claims = decode_base64url(signature_part), decode_base64url(claims_part)
    header = None if header_part in known_headers else _json_object(decode_base64url(header_part))
    return CompactToken(header_part, header, _json_object(claims), signing_input, signature)


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


def _json_object(decoded: bytes) -> JSONObject:
    try:
        return parse_json_object(decoded)
    except ValueError as exc:
        raise MalformedTokenError("a part of the token is not a strict JSON object") from exc
