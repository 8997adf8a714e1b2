"""
Strict JSON: one object from bytes, with one meaning, at bounded cost.
"""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail._json import MAX_CONTAINERS, MAX_DEPTH, parse_json_object, parse_lenient_object


def arrays(depth: int) -> bytes:
    """
    An object with arrays in it, *depth* levels with the object itself.
    """
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def objects(depth: int) -> bytes:
    """
    An object with objects in it, *depth* levels with the outermost.
    """
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        pytest.param(b"{}", {}, id="empty"),
        pytest.param(b' \t\r\n{ "a" : 1 } \n', {"a": 1}, id="white space around"),
        pytest.param(b'{"a":1,"A":2,"a ":3}', {"a": 1, "A": 2, "a ": 3}, id="names that differ a little"),
        pytest.param(b'{"a":{"x":1},"b":{"x":2}}', {"a": {"x": 1}, "b": {"x": 2}}, id="same name elsewhere"),
        pytest.param(
            b'{"a":[1,-2.5,1e3,true,false,null,"x"]}',
            {"a": [1, -2.5, 1000.0, True, False, None, "x"]},
            id="each type",
        ),
        pytest.param('{"a":"é😀"}'.encode(), {"a": "é😀"}, id="UTF-8"),
        pytest.param(rb'{"a":"\u00e9\/\b\f\n\r\t\\\""}', {"a": 'é/\b\f\n\r\t\\"'}, id="each escape"),
        pytest.param(rb'{"a":"\ud83d\ude00"}', {"a": "😀"}, id="a surrogate pair in a value"),
        pytest.param(rb'{"\uD83D\uDE00":1}', {"😀": 1}, id="a surrogate pair in a name"),
        pytest.param(rb'{"a":"\\ud800"}', {"a": r"\ud800"}, id="an escaped backslash is no surrogate"),
        pytest.param(b'{"a":1e308}', {"a": 1e308}, id="a large finite number"),
        pytest.param(b'{"a":-1e308}', {"a": -1e308}, id="a large negative number"),
        pytest.param(b'{"a":1e-400}', {"a": 0.0}, id="a number too small to tell from zero"),
        pytest.param(b'{"a":' + b"9" * 4_300 + b"}", {"a": 10**4_300 - 1}, id="an integer of 4,300 digits"),
        pytest.param(b'{"a":"NaN"}', {"a": "NaN"}, id="NaN in a string"),
    ],
)
def test_strict_object_is_parsed(raw: bytes, value: object) -> None:
    """
    A strict JSON object is read as RFC 8259 means it.
    """
    parsed = parse_json_object(raw)

    assert parsed == value


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b" ", id="white space"),
        pytest.param(b"null", id="null"),
        pytest.param(b"true", id="a literal"),
        pytest.param(b"1", id="a number"),
        pytest.param(b'"a"', id="a string"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b'[{"a":1}]', id="an object in an array"),
        pytest.param(b"{", id="an open brace"),
        pytest.param(b'{"a"', id="cut short"),
        pytest.param(b'{"a":1', id="not closed"),
        pytest.param(b'{"a":"', id="string not closed"),
        pytest.param(b'{"a":1,}', id="trailing comma"),
        pytest.param(b"{'a':1}", id="single quotes"),
        pytest.param(b"{a:1}", id="bare name"),
        pytest.param(b'{1:"a"}', id="number for a name"),
        pytest.param(b'{"a":1}x', id="characters after"),
        pytest.param(b'{"a":1}{}', id="two texts"),
        pytest.param(b'{"a":1}\x00', id="NUL after"),
        pytest.param(b'{"a":1}]', id="bracket after"),
        pytest.param(b'{"a":1}//c', id="comment after"),
        pytest.param(b'/**/{"a":1}', id="comment before"),
        pytest.param(b'\x0b{"a":1}', id="vertical tab before"),
        pytest.param(b'\xc2\xa0{"a":1}', id="NBSP before"),
        pytest.param(b'{"a":01}', id="leading zero"),
        pytest.param(b'{"a":+1}', id="plus sign"),
        pytest.param(b'{"a":0x10}', id="hexadecimal"),
        pytest.param(b'{"a":1_000}', id="underscore in a number"),
        pytest.param('{"a":١}'.encode(), id="Arabic digit"),
        pytest.param(b'{"a":"\n"}', id="line feed in a string"),
        pytest.param(b'{"a":"\x00"}', id="NUL in a string"),
        pytest.param(rb'{"a":"\x41"}', id="unknown escape"),
        pytest.param(rb'{"a":"\u12"}', id="short unicode escape"),
        pytest.param(rb'{"a":"\u+041"}', id="sign in a unicode escape"),
        pytest.param(b'{"a":True}', id="Python's literal"),
    ],
)
def test_text_that_is_no_json_object_is_refused(raw: bytes) -> None:
    """
    Anything but exactly one JSON object is refused, also with something after it (R43, R44).
    """
    with pytest.raises(ValueError):
        parse_json_object(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="UTF-8 with a BOM"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16 with a BOM"),
        pytest.param('{"a":1}'.encode("utf-16-le"), id="UTF-16LE"),
        pytest.param('{"a":1}'.encode("utf-16-be"), id="UTF-16BE"),
        pytest.param('{"a":1}'.encode("utf-32"), id="UTF-32 with a BOM"),
        pytest.param('{"a":1}'.encode("utf-32-le"), id="UTF-32LE"),
        pytest.param('{"a":"é"}'.encode("latin-1"), id="latin-1"),
        pytest.param(b'{"a":"\xff"}', id="a byte that UTF-8 has not"),
        pytest.param(b'{"a":"\xc0\xaf"}', id="an overlong form"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', id="an encoded surrogate"),
        pytest.param(b'{"a":"\xf4\x90\x80\x80"}', id="beyond Unicode"),
        pytest.param(b'{"a":"\xe2\x82"}', id="cut inside a character"),
    ],
)
def test_other_encodings_are_refused(raw: bytes) -> None:
    """
    JSON here is UTF-8 without a byte order mark, and is never guessed (RFC 8725 §3.7, B9).
    """
    with pytest.raises(ValueError):
        parse_json_object(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"alg":"RS256","alg":"none"}', id="at the top"),
        pytest.param(b'{"a":1,"a":1}', id="with equal values"),
        pytest.param(rb'{"alg":"RS256","\u0061lg":"none"}', id="one name written with an escape"),
        pytest.param(rb'{"\u0061lg":1,"\u0061\u006cg":2}', id="both names written with escapes"),
        pytest.param(rb'{"a/b":1,"a\/b":2}', id="an escaped solidus"),
        pytest.param(b'{"cnf":{"jkt":"a","jkt":"b"}}', id="in an object"),
        pytest.param(b'{"a":[[{"b":{"c":1,"c":2}}]]}', id="deep inside"),
        pytest.param(b'{"":1,"":2}', id="empty names"),
        pytest.param(rb'{"\ud83d\ude00":1,"' + "😀".encode() + b'":2}', id="a pair and its character"),
        pytest.param(b'{"a":{"x":1,"x":2},"a":3}', id="inside a member that is itself repeated"),
    ],
)
def test_duplicate_members_are_refused(raw: bytes) -> None:
    """
    A member name comes once, at every depth and however it is written (R45, R46, B1).
    """
    with pytest.raises(ValueError, match="duplicate member"):
        parse_json_object(raw)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_not_json_are_refused(literal: str) -> None:
    """
    Python's own additions to JSON are refused, wherever they stand (R47).
    """
    with pytest.raises(ValueError, match="is not JSON"):
        parse_json_object(f'{{"a":[{{"b":{literal}}}]}}'.encode())


@pytest.mark.parametrize(
    "literal",
    [
        pytest.param("1e400", id="1e400"),
        pytest.param("-1e400", id="-1e400"),
        pytest.param("1e309", id="1e309"),
        pytest.param("1.8e308", id="just beyond"),
        pytest.param("1" + "0" * 400 + ".0", id="400 digits and a point"),
        pytest.param("1e999999999999", id="a huge exponent"),
    ],
)
def test_numbers_beyond_a_float_are_refused(literal: str) -> None:
    """
    A number that would become infinite is refused (B3).
    """
    with pytest.raises(ValueError, match="number out of range"):
        parse_json_object(f'{{"exp":{literal}}}'.encode())


@pytest.mark.parametrize("digits", [4_301, 10_000, 200_000])
def test_integers_of_more_than_4300_digits_are_refused(digits: int) -> None:
    """
    An integer that takes quadratic time to read is refused as any other bad number is (B3).
    """
    raw = b'{"exp":' + b"9" * digits + b"}"

    with pytest.raises(ValueError):
        parse_json_object(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(arrays(MAX_DEPTH), id="arrays"),
        pytest.param(objects(MAX_DEPTH), id="objects"),
        pytest.param(
            b'{"a":' + b"[" * 31 + b"]" * 31 + b',"b":' + b"[" * 31 + b"]" * 31 + b"}",
            id="one after the other",
        ),
        pytest.param(b'{"a":[' + b"[],{}," * 255 + b"0]}", id="wide and not deep"),
    ],
)
def test_nesting_just_within_the_bound_is_parsed(raw: bytes) -> None:
    """
    32 levels are read, and siblings do not add up.
    """
    parsed = parse_json_object(raw)

    assert MAX_DEPTH == 32
    assert parsed == json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(arrays(MAX_DEPTH + 1), id="arrays"),
        pytest.param(objects(MAX_DEPTH + 1), id="objects"),
        pytest.param(b'{"a":[[],[],{}],"b":' + b"[" * 32 + b"]" * 32 + b"}", id="after siblings"),
        pytest.param(rb'{"a":"\\","b":' + b"[" * 32 + b"]" * 32 + b"}", id="after a string of one backslash"),
        pytest.param(
            rb'{"a":"]\"]","b":' + b"[" * 32 + b"]" * 32 + b"}", id="after closing brackets in a string"
        ),
        pytest.param(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="100,000 arrays"),
        pytest.param(objects(100_000), id="100,000 objects"),
        pytest.param(b'{"a":' + b"[" * 100_000, id="100,000 arrays that never close"),
        pytest.param(b'{"a":' + b'{"a":[' * 50_000, id="alternating"),
    ],
)
def test_nesting_just_beyond_the_bound_is_refused(raw: bytes) -> None:
    """
    33 levels and more are refused before the recursive parser sees them (R63, B7).
    """
    with pytest.raises(ValueError, match=r"nested too deeply|too many arrays and objects"):
        parse_json_object(raw)


@pytest.mark.parametrize("pair", [b"[]", b"{}", b"[{}]"], ids=["arrays", "objects", "both"])
def test_containers_are_bounded_in_number(pair: bytes) -> None:
    """
    512 arrays and objects are read, with the outermost; one more is refused, however shallow (R63).
    """
    inside = (MAX_CONTAINERS - 2) // (len(pair) // 2)
    within = b'{"a":[' + b",".join([pair] * inside) + b"]}"
    beyond = within[:-2] + b",[]]}"

    parsed = parse_json_object(within)

    assert MAX_CONTAINERS == 512
    assert len(parsed["a"]) == inside
    with pytest.raises(ValueError, match="too many arrays and objects"):
        parse_json_object(beyond)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 100, id="brackets"),
        pytest.param("{" * 100, id="braces"),
        pytest.param('"' + "[" * 100, id="after an escaped quote"),
        pytest.param("\\" + "[" * 100, id="after an escaped backslash"),
        pytest.param('\\"' * 50 + "{" * 100, id="after both, many times"),
        pytest.param("[\n" * 100, id="with line feeds between"),
        pytest.param("[" * 600, id="more than there may be arrays"),
    ],
)
def test_brackets_inside_strings_do_not_count(text: str) -> None:
    """
    What stands in a string, name or value, is not nesting.
    """
    raw = json.dumps({"a": text, text: 1}).encode()

    parsed = parse_json_object(raw)

    assert parsed == {"a": text, text: 1}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"a":' + b"[" * 40 + b'"', id="a string that never closes"),
        pytest.param(b"]" * 40 + b"[" * 40, id="closed before opened"),
        pytest.param(b'{"a":1}' + b"[" * 31, id="brackets after the object"),
        pytest.param(b'{"a":"' + b"[" * 40 + b'\\"}', id="an escaped closing quote"),
    ],
)
def test_broken_text_with_many_brackets_is_refused(raw: bytes) -> None:
    """
    Counting depth on text that is not JSON ends in a refusal, whichever step gives it.
    """
    with pytest.raises(ValueError):
        parse_json_object(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(rb'{"a":"\ud800"}', id="high half"),
        pytest.param(rb'{"a":"\udc00"}', id="low half"),
        pytest.param(rb'{"a":"\uDFFF"}', id="last low half, upper case"),
        pytest.param(rb'{"a":"\uDbFf"}', id="last high half, mixed case"),
        pytest.param(rb'{"a":"\ude00\ud83d"}', id="a pair in the wrong order"),
        pytest.param(rb'{"a":"\ud83d \ude00"}', id="a pair with a space between"),
        pytest.param(rb'{"a":"\ud83d\ude00\ud83d"}', id="a pair and a half"),
        pytest.param(rb'{"\ud800":1}', id="in a name"),
        pytest.param(rb'{"a":[{"b":{"\udfff":1}}]}', id="in a name deep inside"),
        pytest.param(rb'{"a":[["\udabc"]]}', id="in a value deep inside"),
        pytest.param(rb'{"a":"\\\ud800"}', id="after an escaped backslash"),
    ],
)
def test_unpaired_surrogates_are_refused(raw: bytes) -> None:
    """
    Text that no UTF-8 can spell is refused here, before a later step fails on it.
    """
    with pytest.raises(ValueError):
        parse_json_object(raw)


def test_string_that_never_closes_costs_no_more_than_its_length() -> None:
    """
    Twelve kilobytes of escaped quotes in an open string are refused at once: depth is counted in one pass.
    """
    raw = b'{"a":' + b"[]," * 40 + b'"' + b'\\"' * 6_000
    started = time.process_time()

    with pytest.raises(ValueError):
        parse_json_object(raw)

    assert time.process_time() - started < 0.1  # one pass takes about a millisecond


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(database=None, deadline=None)
@given(value=st.dictionaries(st.text(), _JSON, max_size=6), ensure_ascii=st.booleans())
def test_whatever_an_encoder_writes_is_read_back(value: dict[str, Any], ensure_ascii: bool) -> None:
    """
    Strictness refuses no object that a JSON encoder writes, escaped or not.
    """
    raw = json.dumps(value, ensure_ascii=ensure_ascii).encode()

    parsed = parse_json_object(raw)

    assert parsed == value


@settings(database=None, deadline=None)
@given(raw=st.binary(max_size=64) | st.text(alphabet='{}[]":,\\u0dDaeE-1.', max_size=64).map(str.encode))
def test_any_bytes_give_an_object_or_a_value_error(raw: bytes) -> None:
    """
    No input raises anything but ValueError (B15).
    """
    try:
        parsed = parse_json_object(raw)
    except ValueError:
        return

    assert isinstance(parsed, dict)


def test_arrays_and_objects_count_together_towards_the_depth() -> None:
    """
    Nesting by turns is as deep as nesting of one kind (R63).
    """
    nested = b'{"a":[' * MAX_DEPTH + b"]}" * MAX_DEPTH

    with pytest.raises(ValueError, match="deep"):
        parse_json_object(nested)


def test_object_of_many_members_is_not_one_of_duplicates() -> None:
    """
    Members are counted by number; nothing else bounds how many there are.
    """
    members = {f"m{number}": number for number in range(1_000)}

    assert parse_json_object(json.dumps(members).encode()) == members


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        pytest.param(b"{}", {}, id="empty"),
        pytest.param(b'{"keys":[{"a":1},{"b":2}]}', {"keys": [{"a": 1}, {"b": 2}]}, id="nothing broken"),
        pytest.param(b'{"keys":[{"a":1,"a":1},{"b":2}]}', {"keys": [None, {"b": 2}]}, id="a member twice"),
        pytest.param(rb'{"keys":[{"a":1,"\u0061":2},7]}', {"keys": [None, 7]}, id="a member twice, escaped"),
        pytest.param(
            b'{"keys":[{"a":{"b":1,"b":2}}]}', {"keys": [{"a": None}]}, id="a member twice, further in"
        ),
        pytest.param(b'{"a":1e999}', {"a": float("inf")}, id="a number out of range"),
        pytest.param(rb'{"a":"\ud800"}', {"a": "\ud800"}, id="half a surrogate pair"),
    ],
)
def test_broken_part_is_none_of_the_rest(raw: bytes, value: object) -> None:
    """
    What is wrong inside of one object, such as one key of a set, leaves the others as they are.
    """
    parsed = parse_lenient_object(raw, max_containers=10)

    assert parsed == value


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"a":1', id="cut short"),
        pytest.param(b'{"a":1}{}', id="two objects"),
        pytest.param(b'{"a":1,"a":1}', id="a member of its own twice"),
        pytest.param(b'{"a":NaN}', id="no JSON number"),
        pytest.param(b'{"a":"\xff"}', id="not UTF-8"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(arrays(MAX_DEPTH + 1), id="too deep, arrays"),
        pytest.param(objects(MAX_DEPTH + 1), id="too deep, objects"),
    ],
)
def test_text_that_is_no_lenient_object_is_refused(raw: bytes) -> None:
    """
    What is wrong with the whole is an error, as it is for the strict parser.
    """
    with pytest.raises(ValueError, match=r".+"):
        parse_lenient_object(raw, max_containers=1_000_000)


def test_containers_of_a_lenient_object_have_their_own_bound() -> None:
    """
    How many arrays and objects there may be, the caller says.
    """
    raw = b'{"a":[' + b",".join([b"{}"] * 98) + b"]}"

    parsed = parse_lenient_object(raw, max_containers=100)

    assert len(parsed["a"]) == 98
    with pytest.raises(ValueError, match="too many"):
        parse_lenient_object(raw, max_containers=99)
