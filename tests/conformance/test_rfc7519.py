"""
RFC 7519: a JWT, its claims and its times. With RFC 7797, which forbids it one header parameter.
"""

import math
import unicodedata

import pytest

from guardrail.errors import PolicyError

from .api import Api, issuer, package
from .tokens import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    NOW,
    Members,
    claims_json,
    encode,
    header_json,
    join,
    raw_token,
    token,
    token_with,
)

pytestmark = pytest.mark.anyio

GOOD = token()
HEADER, CLAIMS, SIGNATURE = GOOD.decode().split(".")


@pytest.mark.parametrize(
    ("made", "status"),
    [
        pytest.param(f"{HEADER}", 401, id="one part"),
        pytest.param(f"{HEADER}.{CLAIMS}", 401, id="two parts"),
        pytest.param(f"{GOOD.decode()}.", 401, id="four parts, one empty"),
        pytest.param(f"{GOOD.decode()}.{SIGNATURE}", 401, id="four parts"),
        pytest.param(f"{HEADER}.{CLAIMS}.{SIGNATURE}.{CLAIMS}.{SIGNATURE}", 401, id="five parts"),
        pytest.param(f".{GOOD.decode()}", 401, id="an empty part before"),
        pytest.param(f"{HEADER}..{SIGNATURE}", 401, id="detached"),
        pytest.param(f'{{"payload":"{CLAIMS}"}}', 400, id="JSON"),
        pytest.param(
            f'{{"payload":"{CLAIMS}","protected":"{HEADER}","signature":"{SIGNATURE}"}}', 400, id="flattened"
        ),
        pytest.param(
            f'{{"payload":"{CLAIMS}","signatures":[{{"protected":"{HEADER}","signature":"{SIGNATURE}"}}]}}',
            400,
            id="general",
        ),
        pytest.param(encode(f'{{"payload":"{CLAIMS}"}}'.encode()), 401, id="encoded JSON"),
    ],
)
async def test_r39_only_the_compact_form_is_a_jwt(made: str, status: int) -> None:
    """
    R39 (RFC 7519 §1, §7.2, RFC 8725bis §3.14): Three parts and two dots; the JSON serializations are not
    even a bearer token.
    """
    api = Api()

    await api.accepts(GOOD)
    error = "invalid_token" if status == 401 else "invalid_request"
    await api.refuses(made.encode(), status=status, error=error)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param(b'"sub":"mallory",', id="a registered claim"),
        pytest.param(b'"\\u0073ub":"mallory",', id="an escaped name"),
        pytest.param(b'"sub":"alice",', id="the same value"),
        pytest.param(b'"x":{"jkt":"a","jkt":"b"},', id="inside an object"),
        pytest.param(b'"act":{"sub":"a","\\u0073ub":"b"},', id="inside act, escaped"),
        pytest.param(b'"x":[{"y":[{"z":1,"z":2}]}],', id="deep inside"),
    ],
)
async def test_r46_claims_stand_once(members: bytes) -> None:
    """
    R46 (RFC 7519 §4): A repeated claim name is refused, at every depth.
    """
    api, good = Api(), claims_json()

    await api.accepts(raw_token(header_json(), b'{"x":{"jkt":"a"},"y":{"jkt":"b"},' + good[1:]))
    await api.refuses(raw_token(header_json(), b"{" + members + good[1:]), code="malformed_token")


@pytest.mark.parametrize(
    "parameters",
    [
        {"b64": False, "crit": ["b64"]},
        {"b64": True, "crit": ["b64"]},
        {"b64": False},
        {"b64": True},
        {"b64": None},
    ],
    ids=repr,
)
async def test_r51_a_jwt_does_not_use_b64(parameters: Members) -> None:
    """
    R51 (RFC 7797 §6, §7): *b64* in a JWT is refused, critical or not, true or false.
    """
    api = Api()

    await api.accepts(token({"b65": False}))
    await api.refuses(token(parameters), code="unsupported_header")


async def test_r51_an_unencoded_claims_set_is_refused() -> None:
    """
    R51 (RFC 7797 §7): A claims part that was signed without base64url does not get as far as its header.
    """
    header = encode(header_json(b64=False, crit=["b64"]))

    await Api().refuses(join(header, "eyJ9"), code="malformed_token")


@pytest.mark.parametrize("content_type", ["JWT", "jwt", "application/jwt", "Application/JWT"])
async def test_r57_nested_tokens_are_refused(content_type: str) -> None:
    """
    R57 (RFC 7519 §5.2, §7.2, RFC 8725 §3.3): A token that says it holds another is not half read.
    """
    api = Api()

    await api.accepts(token({"cty": "json"}))
    await api.refuses(token({"cty": content_type}), code="unsupported_header")


async def test_r57_a_token_as_the_claims_of_another_is_refused() -> None:
    """
    R57 (RFC 7519 §7.2): The claims set is a JSON object, and not a token however good.
    """
    api = Api()

    await api.accepts(GOOD)
    await api.refuses(raw_token(header_json(cty="JWT"), GOOD), code="malformed_token")
    await api.refuses(raw_token(header_json(), GOOD), code="malformed_token")


async def test_r60_claims_that_nobody_understands_are_ignored() -> None:
    """
    R60 (RFC 7519 §4): Unknown claims change nothing, whatever they hold; those that are understood count.
    """
    api = Api()
    unknown: Members = {
        "": "",
        "x": None,
        "NBF": NOW + 600,
        "https://example.com/nbf": [{}],
        "Exp": 0,
        "AUD": "other",
    }

    await api.accepts(token(**unknown))
    await api.refuses(token(nbf=NOW + 600), code="token_not_yet_valid")


@pytest.mark.parametrize(
    "iss",
    [
        "https://Login.example.com",
        "HTTPS://login.example.com",
        "https://login.example.com/",
        "https://login.example.com:443",
        "https://login.example.com.",
        "https://login.example.com?",
        "https://login.example.com#",
        "https://user@login.example.com",
        "https://login.example.co",
        "https://login.example.com.evil.example",
        "https://lоgin.example.com",  # the first o is Cyrillic
        "https://login。example.com",
        "https://login.example.com\0",
        " https://login.example.com",
    ],
)
async def test_r61_the_issuer_is_compared_code_point_by_code_point(iss: str) -> None:
    """
    R61 (RFC 7515 §5.3, RFC 7519 §7.3): What a URL library, a person or Unicode holds for the same issuer is
    another one.
    """
    api = Api()

    await api.accepts(token(iss=ISSUER))
    await api.refuses(token(iss=iss), code="unknown_issuer")


async def test_r61_audiences_and_roles_are_not_normalized() -> None:
    """
    R61 (RFC 7519 §7.3): One text in two Unicode forms is two audiences, and two roles.
    """
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    api = Api(package(audience=composed).requires(roles=[composed]))

    await api.accepts(token(aud=composed, roles=[composed]))
    await api.refuses(token(aud=decomposed, roles=[composed]), code="audience_mismatch")
    await api.refuses(token(aud=composed, roles=[decomposed]), status=403, error=None)


@pytest.mark.parametrize(
    "aud",
    [
        ABSENT,
        None,
        "",
        [],
        [""],
        1,
        True,
        {AUDIENCE: True},
        [AUDIENCE, 1],
        [AUDIENCE, None],
        [[AUDIENCE]],
        "https://api.example.com/billing",
        ["https://api.example.com/billing"],
        AUDIENCE.upper(),
        f"{AUDIENCE}/",
        f"{AUDIENCE} https://other.example",
    ],
    ids=repr,
)
async def test_r111_aud_names_this_resource(aud: object) -> None:
    """
    R111 (RFC 7519 §4.1.3, RFC 9068 §4): A string, or an array of strings, with an identifier of this API.
    """
    api = Api()

    for named in (AUDIENCE, [AUDIENCE], ["https://other.example", AUDIENCE]):
        await api.accepts(token(aud=named))
    await api.refuses(token(aud=aud))


@pytest.mark.parametrize("aud", ["api", "orders", "https://api.example.com", AUDIENCE[:-1], f"x{AUDIENCE}x"])
async def test_r113_a_part_of_an_audience_is_another(aud: str) -> None:
    """
    R113 (RFC 7519 §4.1.3): Whole elements are equal or not; neither side contains the other.
    """
    mine, other = Api(), Api(package(audience=aud).requires())

    await mine.accepts(GOOD)
    await other.accepts(token(aud=aud))
    await mine.refuses(token(aud=aud), code="audience_mismatch")
    await other.refuses(GOOD, code="audience_mismatch")


@pytest.mark.parametrize("leeway", [0.0, 30.0])
@pytest.mark.parametrize("cache", [0, 10], ids=["verified anew", "remembered"])
async def test_r114_a_token_ends_in_the_second_of_its_expiry(leeway: float, cache: int) -> None:
    """
    R114 (RFC 7519 §4.1.4): On or after *exp*, plus the leeway once, it is expired; a remembered token too.
    """
    api, made = Api(issuer(leeway=leeway), token_cache_size=cache), token(exp=NOW + 100)

    for now in (NOW, NOW + 100 + leeway - 0.5):
        api.clock.now = now
        await api.accepts(made)
    for now in (NOW + 100 + leeway, NOW + 10_000):
        api.clock.now = now
        await api.refuses(made, code="token_expired")


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize("leeway", [0.0, 30.0])
async def test_r115_r116_a_token_does_not_begin_before_its_time(claim: str, leeway: float) -> None:
    """
    R115, R116 (RFC 7519 §4.1.5, §4.1.6): Before *nbf*, less the leeway, it is not accepted, nor before it
    was issued.
    """
    api, made = Api(issuer(leeway=leeway)), token_with(claim, NOW + 100)

    api.clock.now = NOW + 100 - leeway - 0.5
    await api.refuses(made, code="token_not_yet_valid")
    api.clock.now = NOW + 100 - leeway
    await api.accepts(made)


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "literal",
    [
        '"1800000000"',
        '""',
        "true",
        "false",
        "null",
        "[1800000000]",
        "{}",
        "-1",
        "-0.5",
        "1e309",
        "-1e309",
        "NaN",
        "1800000000000",
        "1" + "0" * 400,
        "1" + "0" * 5_000,
        "-1" + "0" * 400,
    ],
    ids=lambda literal: literal if len(literal) < 20 else f"{len(literal)} digits",
)
async def test_r117_times_are_reasonable_numbers(claim: str, literal: str) -> None:
    """
    R117 (RFC 7519 §2, §4.1.4 to §4.1.6): An integer or a fraction; another type, no number at all, or one
    beyond the year 9999 is refused, and nothing crashes.
    """
    api = Api()
    rest = claims_json(**{claim: ABSENT})[:-1].decode()
    good = NOW + (600 if claim == "exp" else -600)

    for number in (str(good), f"{good}.25", f"{good / 1e9:.9f}e9"):
        await api.accepts(raw_token(b"", f'{rest}, "{claim}": {number}}}'.encode()))
    await api.refuses(raw_token(b"", f'{rest}, "{claim}": {literal}}}'.encode()))


@pytest.mark.parametrize("leeway", [-1, 300.5, math.nan, math.inf, True, "30", None])
def test_r118_leeway_is_small(leeway: object) -> None:
    """
    R118 (RFC 7519 §4.1.4): At most a few minutes can be configured, and never less than nothing.
    """
    for accepted in (0, 30.0, 300):
        issuer(leeway=accepted)
    with pytest.raises(PolicyError, match="leeway"):
        issuer(leeway=leeway)


@pytest.mark.parametrize("claim", ["iss", "sub", "jti", "client_id"])
@pytest.mark.parametrize("value", [1, True, None, "", ["alice"], {"value": "alice"}], ids=repr)
async def test_r121_identifiers_are_strings(claim: str, value: object) -> None:
    """
    R121 (RFC 7519 §4.1.1, §4.1.2, §4.1.7): An identifier of another type is refused, not turned into text.
    """
    api = Api()

    await api.accepts(GOOD)
    await api.refuses(token_with(claim, value))
