"""
RFC 9110, RFC 9111: HTTP authentication, fields, methods and caches.
"""

import pytest

from .api import REFUSALS, Api, Fields, Refusal, accepted, bearer, forged, package, refused
from .challenges import Challenge, parse_challenges
from .tokens import token

pytestmark = pytest.mark.anyio

GOOD = token()


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
async def test_r2_the_scheme_is_compared_without_regard_to_case(scheme: bytes) -> None:
    """
    R2 (RFC 9110 §11.1): However it is spelled, it is Bearer; a bad token after it is an invalid token.
    """
    api = Api()

    accepted(await api.send([(b"authorization", scheme + b" " + GOOD)]))
    refused(await api.send([(b"authorization", scheme + b" " + forged(GOOD))]), code="bad_signature")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([*bearer(GOOD), *bearer(GOOD)], id="the same twice"),
        pytest.param([*bearer(GOOD), *bearer(forged(GOOD))], id="a good and a bad one"),
        pytest.param([*bearer(forged(GOOD)), *bearer(GOOD)], id="a bad and a good one"),
        pytest.param([(b"authorization", b"Basic YTpi"), *bearer(GOOD)], id="another scheme first"),
        pytest.param([*bearer(GOOD), (b"authorization", b"DPoP x")], id="another scheme last"),
        pytest.param([*bearer(GOOD), (b"Authorization", b"Bearer x")], id="names in two cases"),
        pytest.param([*bearer(GOOD), (b"authorization", b"")], id="an empty one"),
        pytest.param(bearer(GOOD + b", Bearer " + GOOD), id="two in one line"),
        pytest.param(bearer(GOOD + b",Basic YTpi"), id="two schemes in one line"),
    ],
)
async def test_r7_two_authorization_fields_are_malformed(fields: Fields) -> None:
    """
    R7 (RFC 9110 §5.3, §11.6.2): Authorization has one value; of two, neither is tried.
    """
    api = Api()

    accepted(await api.send(bearer(GOOD)))
    refused(await api.send(fields), status=400, error="invalid_request")


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_r17_every_401_has_a_challenge(refusal: Refusal) -> None:
    """
    R17 (RFC 9110 §11.6.1, §15.5.2): A 401 always tells of the scheme and realm that apply here.
    """
    api = Api()

    answer = await api.send(refusal.fields)
    good = await api.send(bearer(GOOD))

    refused(answer, status=refusal.status, error=refusal.error)
    accepted(good)
    assert good.challenges == []


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_r30_r31_a_challenge_is_in_the_grammar(refusal: Refusal) -> None:
    """
    R30, R31 (RFC 9110 §11.2, §11.6.1): What guardrail sends is one field line with one challenge, and it
    reads the same when a proxy joins it with another line.
    """
    (line,) = (await Api().send(refusal.fields)).values(b"www-authenticate")

    (challenge,) = parse_challenges([line])
    other = Challenge("Basic", {"realm": "other"})

    assert parse_challenges([line, b'Basic realm="other"']) == [challenge, other]
    assert parse_challenges([b'Basic realm="other", ' + line]) == [other, challenge]


@pytest.mark.parametrize(
    "line",
    [
        b'Bearer realm="a", realm="b"',
        b'Bearer realm="a", Realm="b"',
        b'Bearer realm="a"b"',
        b'Bearer realm="a\\"',
        b"Bearer realm=",
        b"Bearer realm=a b",
        b'Bearer, realm="a" x',
        b'"Bearer" realm="a"',
        b'Bearer realm="a\r\n"',
    ],
)
def test_r26_r30_the_parser_of_this_suite_is_strict(line: bytes) -> None:
    """
    R26, R30 (RFC 9110 §11.2): A repeated parameter and a broken value are refused by what judges
    guardrail's challenges here.
    """
    assert parse_challenges([b'Bearer realm="a", error="b"']) == [
        Challenge("Bearer", {"realm": "a", "error": "b"})
    ]
    with pytest.raises(ValueError, match=r"challenge|list|twice"):
        parse_challenges([line])


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_r32_nothing_becomes_reusable_by_shared_caches(refusal: Refusal) -> None:
    """
    R32 (RFC 9111 §3.5): guardrail adds no directive that would let a shared cache keep an answer to a
    request with credentials.
    """
    api = Api()

    answers = [await api.send(refusal.fields), await api.send(bearer(GOOD))]

    told = b",".join(value for answer in answers for value in answer.values(b"cache-control"))
    assert told == b"no-store"
    assert not [answer for answer in answers if answer.values(b"expires") or answer.values(b"age")]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_r36_head_is_get_without_a_body(refusal: Refusal) -> None:
    """
    R36 (RFC 9110 §9.3.2): HEAD is refused as GET is, with the same fields and no content.
    """
    api = Api()

    get, head = [await api.send(refusal.fields, method=method) for method in ("GET", "HEAD")]
    served = await api.send(bearer(GOOD), method="HEAD")

    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")
    assert head.operator is None
    assert get.body
    assert (served.status, served.operator is None) == (200, False)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="no token"),
        pytest.param([(b"authorization", b"Basic YTpi")], id="another scheme"),
        pytest.param(bearer(forged(GOOD)), id="a bad token"),
        pytest.param(bearer(forged(token(scope="", roles=[]))), id="a bad token without scope or role"),
    ],
)
async def test_r38_nobody_is_forbidden_before_being_known(fields: Fields) -> None:
    """
    R38 (RFC 9110 §15.5.4): Without a good token it is 401, whatever else is missing; 403 is for a known
    operator.
    """
    api = Api(package().requires("orders:read", roles=["approver"]))

    await api.accepts(token(roles=["approver"]))
    assert (await api.send(bearer(token(roles=["reader"])))).status == 403
    assert (await api.send(fields)).status == 401
