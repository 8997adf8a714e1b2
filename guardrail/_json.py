"""
Strict JSON: one object, from bytes, with nothing left to taste.

UTF-8 without a BOM, no duplicate members at any depth, finite numbers, bounded nesting. Python's decoder is
lenient in each of these, and two parsers that differ are an attack (RFC 8725 §2.4).
"""

import itertools
import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn, cast

MAX_DEPTH: Final = 32  # nested arrays and objects; provider tokens have 2 to 4
MAX_CONTAINERS: Final = 512  # arrays and objects in all; each object costs a Python call

MAX_DIGITS: Final = 4_300  # of an integer; what int() takes

JSONObject = dict[str, Any]
_Scan = Callable[[str], tuple[Any, int]]

# A string, closed or not: what never closes costs one pass, not one per quote in it.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKET: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_WHITE_SPACE: Final = " \t\n\r"  # RFC 8259 §2
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json_object(raw: bytes) -> JSONObject:
    """
    Parse one strict JSON object (RFC 8259; RFC 7515 §4, RFC 7517 §4 and RFC 7519 §4 on duplicate names).

    Raises:
        ValueError: Not UTF-8, not JSON, not an object, a duplicate member at any depth, a number that is not
            finite, an unpaired surrogate, nested deeper than `MAX_DEPTH`, or more than `MAX_CONTAINERS`.
    """
    _refuse_deep_nesting(raw, MAX_CONTAINERS)
    # Decoded by us: json.loads would guess UTF-16 and UTF-32 from bytes (RFC 8725 §3.7 wants UTF-8).
    value = _object(_SCAN, raw.decode())
    if b"\\u" in raw and _SURROGATE.search(raw):
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # an unpaired half does not encode
    return value


def parse_lenient_object(raw: bytes, *, max_containers: int) -> JSONObject:
    """
    Parse one JSON object of which a part may be unusable without spoiling the rest, such as one key of a set.

    An object inside of it that has a member twice is None (RFC 7517 §4 refuses such a JWK). Numbers out of
    range are infinite, and unpaired surrogates stay.

    Raises:
        ValueError: Not UTF-8, not JSON, not an object, a duplicate member of the object itself, nested deeper
            than `MAX_DEPTH`, or more than *max_containers* arrays and objects.
    """
    _refuse_deep_nesting(raw, max_containers)
    return _object(_LENIENT_SCAN, raw.decode())


def _object(scan: _Scan, text: str) -> JSONObject:
    # As JSONDecoder.decode does, less the two regular expressions that it skips white space with.
    text = text.strip(_WHITE_SPACE)
    value, end = scan(text)
    if end != len(text) or not isinstance(value, dict):
        raise ValueError("not one JSON object")
    return cast("JSONObject", value)


def _refuse_deep_nesting(raw: bytes, max_containers: int) -> None:
    """
    Bound number and depth before the recursive parser sees them; exactly only where they could be high.
    """
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    brackets = _STRING.sub(b"", raw).translate(None, _NO_BRACKET)
    if brackets.count(b"[") + brackets.count(b"{") > max_containers:
        raise ValueError("too many arrays and objects")
    depths = itertools.accumulate(1 if bracket in b"[{" else -1 for bracket in brackets)
    if max(depths, default=0) > MAX_DEPTH:
        raise ValueError("nested too deeply")


def _refuse_duplicates(members: list[tuple[str, Any]]) -> JSONObject:
    parsed = dict(members)
    if len(parsed) != len(members):
        raise ValueError("duplicate member")
    return parsed


def _none_if_duplicate(members: list[tuple[str, Any]]) -> JSONObject | None:
    parsed = dict(members)
    return parsed if len(parsed) == len(members) else None


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise ValueError("number out of range")
    return number


def _int_or_infinity(literal: str) -> float:
    # Python reads no longer ones, and no key has a number at all.
    return int(literal) if len(literal) <= MAX_DIGITS else math.inf


def _refuse_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")


_SCAN: Final = json.JSONDecoder(
    object_pairs_hook=_refuse_duplicates, parse_float=_finite, parse_constant=_refuse_constant
).raw_decode
_LENIENT_SCAN: Final = json.JSONDecoder(
    object_pairs_hook=_none_if_duplicate, parse_int=_int_or_infinity, parse_constant=_refuse_constant
).raw_decode
