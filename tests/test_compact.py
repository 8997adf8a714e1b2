"""
The compact form: three canonical base64url parts, two of them strict JSON objects, or a refusal.
"""

import base64
import json
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail._compact import MAX_HEADER_PART_BYTES, MAX_TOKEN_BYTES, decode_base64url, parse_compact
from guardrail.errors import MalformedTokenError

HEADER = b'{"alg":"RS256","kid":"a"}'
CLAIMS = b'{"iss":"https://login.example.com","sub":"alice"}'
SIGNATURE = bytes(range(256))


def b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def compact(header: bytes = HEADER, claims: bytes = CLAIMS, signature: bytes = SIGNATURE) -> bytes:
    return b".".join(map(b64, (header, claims, signature)))


def test_token_is_taken_apart() -> None:
    """
    Header, claims set, signing input and signature come out as they were put in.
    """
    token = compact()

    parsed = parse_compact(token)

    assert parsed.unverified_header == {"alg": "RS256", "kid": "a"}
    assert parsed.unverified_claims == {"iss": "https://login.example.com", "sub": "alice"}
    assert parsed.signature == SIGNATURE
    assert parsed.signing_input == token.rpartition(b".")[0]


def test_signing_input_is_the_octets_received() -> None:
    """
    White space and member order are the sender's: nothing is written again (R58, A32).
    """
    token = compact(header=b'{ "kid" : "a",\n "alg" : "RS256" }')

    parsed = parse_compact(token)

    assert parsed.signing_input == token.rpartition(b".")[0]


def test_parsed_token_is_frozen() -> None:
    """
    What was parsed cannot be exchanged before it is verified.
    """
    parsed = parse_compact(compact())

    with pytest.raises(AttributeError):
        parsed.signature = b"other"  # type: ignore[misc]  # what the test is about


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"x", id="one part"),
        pytest.param(b"a.b", id="two parts"),
        pytest.param(compact() + b".AAAA", id="four parts"),
        pytest.param(compact() + b".AAAA.AAAA", id="five parts, as a JWE has"),
        pytest.param(compact() + b".", id="a dot after"),
        pytest.param(b"." + compact(), id="a dot before"),
        pytest.param(b".", id="one dot"),
        pytest.param(b"....", id="four dots"),
        pytest.param(b"." * 1_000_000, id="a million dots"),
        pytest.param(b"." * 16_000, id="as many dots as fit"),
        pytest.param(b"opaque-api-key", id="an API key"),
        pytest.param(
            json.dumps({"payload": "a", "protected": "b", "signature": "c"}).encode(), id="flattened JSON"
        ),
        pytest.param(
            json.dumps({"payload": "a", "signatures": [{"protected": "b"}]}).encode(), id="general JSON"
        ),
    ],
)
def test_anything_but_three_parts_is_refused(token: bytes) -> None:
    """
    Only the compact serialization with three parts is a signed JWT (R39, B6).
    """
    with pytest.raises(MalformedTokenError):
        parse_compact(token)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(b"..", id="three empty parts"),
        pytest.param(b64(HEADER) + b"." + b64(CLAIMS) + b".", id="empty signature"),
        pytest.param(b64(HEADER) + b".." + b64(SIGNATURE), id="empty claims set"),
        pytest.param(b"." + b64(CLAIMS) + b"." + b64(SIGNATURE), id="empty header"),
        pytest.param(json.dumps({"a": "x.y.z"}).encode(), id="JSON that splits into three"),
        pytest.param(b'{"protected":"' + compact() + b'"}', id="a compact token inside JSON"),
        pytest.param(b" " + compact(), id="space before"),
        pytest.param(compact() + b" ", id="space after"),
        pytest.param(compact() + b"\n", id="line feed after"),
        pytest.param(compact() + b"=", id="padding after"),
        pytest.param(compact() + b"%3D", id="encoded padding after"),
        pytest.param(compact() + b"\x00", id="NUL after"),
        pytest.param(compact().replace(b".", b"=.", 1), id="padding inside"),
        pytest.param(compact().replace(b".", b".\n", 1), id="line feed inside"),
        pytest.param(b"Bearer." + b64(CLAIMS) + b"." + b64(SIGNATURE), id="a header that is not base64url"),
    ],
)
def test_parts_that_are_not_base64url_are_refused(token: bytes) -> None:
    """
    Each part is non-empty base64url without padding or white space (R40, R41, A24, A33).
    """
    with pytest.raises(MalformedTokenError) as caught:
        parse_compact(token)

    assert caught.value.code == "malformed_token"


@pytest.mark.parametrize("position", ["header", "claims"])
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'"a"', id="string"),
        pytest.param(b"1", id="number"),
        pytest.param(b'{"a":1}x', id="characters after"),
        pytest.param(b'{"alg":"RS256","alg":"none"}', id="duplicate member"),
        pytest.param(rb'{"alg":"RS256","\u0061lg":"none"}', id="duplicate member, escaped"),
        pytest.param(b'{"cnf":{"jkt":"a","jkt":"b"}}', id="duplicate member inside"),
        pytest.param(b'{"a":NaN}', id="NaN"),
        pytest.param(b'{"exp":1e400}', id="infinite number"),
        pytest.param(b'{"exp":' + b"9" * 3_000 + b"e400}", id="a long infinite number"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="BOM"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"a":"\xff"}', id="not UTF-8"),
        pytest.param(rb'{"a":"\ud800"}', id="unpaired surrogate"),
        pytest.param(b'{"a":' + b"[" * 1_000 + b"]" * 1_000 + b"}", id="deep nesting"),
        pytest.param(b64(b'{"a":1}'), id="encoded twice"),
        pytest.param(compact(), id="a nested JWT"),
    ],
)
def test_parts_that_are_not_strict_json_objects_are_refused(raw: bytes, position: str) -> None:
    """
    Header and claims set are strict JSON objects alike (R43, R45, R46, R47, R57).
    """
    token = compact(**{position: raw})

    with pytest.raises(MalformedTokenError):
        parse_compact(token)


def test_every_prefix_of_a_token_is_refused_or_parsed() -> None:
    """
    No cut of a good token raises anything but a refusal (B8); those with a shorter signature are for later.
    """
    token = compact()
    complete = token.rindex(b".") + 1

    refused = 0
    for length in range(len(token)):
        try:
            parse_compact(token[:length])
        except MalformedTokenError:
            refused += 1

    assert refused >= complete


def test_token_just_within_the_bound_is_parsed() -> None:
    """
    A token of exactly 16 KiB is read.
    """
    token = compact(signature=b"")
    token += b"A" * (MAX_TOKEN_BYTES - len(token))

    parsed = parse_compact(token)

    assert len(token) == MAX_TOKEN_BYTES == 16_384
    assert set(parsed.signature) == {0}


def test_token_just_beyond_the_bound_is_refused() -> None:
    """
    A token of 16 KiB and one byte is refused before it is split or decoded (R16, B5).
    """
    token = compact(signature=b"")
    token += b"A" * (MAX_TOKEN_BYTES - len(token) + 1)

    with pytest.raises(MalformedTokenError) as caught:
        parse_compact(token)

    assert caught.value.code == "token_too_large"


def header_part(length: int) -> bytes:
    """
    A header whose encoded part has *length* bytes, a multiple of four.
    """
    prefix, suffix = b'{"alg":"RS256","x":"', b'"}'
    return prefix + b"x" * (length // 4 * 3 - len(prefix) - len(suffix)) + suffix


def test_header_just_within_its_bound_is_parsed() -> None:
    """
    A header part of exactly 4 KiB is read.
    """
    header = header_part(MAX_HEADER_PART_BYTES)

    parsed = parse_compact(compact(header=header))

    assert len(b64(header)) == MAX_HEADER_PART_BYTES == 4_096
    assert parsed.unverified_header["alg"] == "RS256"


def test_header_just_beyond_its_bound_is_refused() -> None:
    """
    A larger header part is refused before it is decoded, well formed or not (B5).
    """
    header = header_part(MAX_HEADER_PART_BYTES + 4)

    with pytest.raises(MalformedTokenError) as caught:
        parse_compact(compact(header=header))

    assert caught.value.code == "token_too_large"


@pytest.mark.parametrize("length", range(1, 9))
def test_canonical_base64url_is_decoded(length: int) -> None:
    """
    Every length of octets is read back from its one spelling.
    """
    raw = bytes(range(250, 250 - length, -1))

    decoded = decode_base64url(b64(raw))

    assert decoded == raw


def test_whole_alphabet_is_decoded() -> None:
    """
    All 64 characters of base64url count, also the two that base64 has not.
    """
    alphabet = (string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_").encode()

    decoded = decode_base64url(alphabet)

    assert b64(decoded) == alphabet


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"A", id="length 1"),
        pytest.param(b"AAAAA", id="length 5"),
        pytest.param(b"AAAAAAAAA", id="length 9"),
        pytest.param(b"AA==", id="padded twice"),
        pytest.param(b"AAA=", id="padded once"),
        pytest.param(b"AAAA=", id="padded where none is due"),
        pytest.param(b"=", id="padding alone"),
        pytest.param(b"AA=A", id="padding inside"),
        pytest.param(b"-_+/", id="standard alphabet beside ours"),
        pytest.param(b"++++", id="plus"),
        pytest.param(b"////", id="solidus"),
        pytest.param(b"AA AA", id="space inside"),
        pytest.param(b"AAAA\n", id="line feed after"),
        pytest.param(b"\nAAAA", id="line feed before"),
        pytest.param(b"AA\r\nAA", id="line break inside"),
        pytest.param(b"AAA?", id="question mark"),
        pytest.param(b"AA.A", id="dot"),
        pytest.param(b"AA%41", id="percent-encoding"),
        pytest.param(b"AAAA\x00", id="NUL"),
        pytest.param("AAAé".encode(), id="non-ASCII"),
        pytest.param("\uff21\uff21\uff21\uff21".encode(), id="full-width letters"),
        pytest.param(b"AB", id="unused bits, one octet, one set"),
        pytest.param(b"AP", id="unused bits, one octet, all set"),
        pytest.param(b"AAB", id="unused bits, two octets, one set"),
        pytest.param(b"AAD", id="unused bits, two octets, both set"),
        pytest.param(b"AAAAAB", id="unused bits, after whole groups"),
    ],
)
def test_other_spellings_are_refused(part: bytes) -> None:
    """
    Padding, another alphabet, impossible lengths and unused bits are refused (R41, R42, A33).
    """
    with pytest.raises(MalformedTokenError):
        decode_base64url(part)


def test_parsing_a_hostile_claims_set_costs_no_more_than_its_length() -> None:
    """
    A token within the size bound cannot cost more than a few milliseconds before its signature is verified.
    """
    claims = b'{"a":' + b"[]," * 40 + b'"' + b'\\"' * 5_900
    token = compact(claims=claims, signature=b"s")
    started = time.process_time()

    with pytest.raises(MalformedTokenError):
        parse_compact(token)

    assert len(token) <= MAX_TOKEN_BYTES
    assert time.process_time() - started < 0.1  # one pass takes about a millisecond


def test_refusals_do_not_hold_the_token() -> None:
    """
    The exception of a malformed token does not quote it (R222).
    """
    token = compact(claims=b'{"secret":NaN}')

    with pytest.raises(MalformedTokenError) as caught:
        parse_compact(token)

    assert token.split(b".")[1].decode() not in str(caught.value)
    assert "secret" not in str(caught.value)


@settings(database=None, deadline=None)
@given(
    # Within the bound of a header: each character may take twelve octets of JSON.
    header=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=12),
    raw=st.binary(min_size=1, max_size=600),
)
def test_whatever_a_signer_writes_is_taken_apart(header: dict[str, str], raw: bytes) -> None:
    """
    Every header object and every signature is read back from its compact form.
    """
    token = compact(header=json.dumps(header).encode(), signature=raw)

    parsed = parse_compact(token)

    assert (parsed.unverified_header, parsed.signature) == (header, raw)


@settings(database=None, deadline=None)
@given(
    token=st.binary(max_size=80)
    | st.text(alphabet="aAeyJ0_-.=+/ ", max_size=80).map(str.encode)
    | st.tuples(st.binary(), st.binary(), st.binary()).map(lambda parts: b".".join(map(b64, parts)))
)
def test_any_bytes_give_a_token_or_a_refusal(token: bytes) -> None:
    """
    No input raises anything but MalformedTokenError (B8, B15).
    """
    try:
        parsed = parse_compact(token)
    except MalformedTokenError:
        return

    assert token.startswith(parsed.signing_input)


@settings(database=None, deadline=None)
@given(part=st.text(alphabet="AQgw-_9", min_size=1, max_size=12).map(str.encode))
def test_octets_have_one_spelling(part: bytes) -> None:
    """
    What decodes at all is exactly what encoding writes.
    """
    try:
        decoded = decode_base64url(part)
    except MalformedTokenError:
        return

    assert b64(decoded) == part
