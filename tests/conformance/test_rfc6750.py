"""
RFC 6750: presenting a bearer token, and the challenges to those who did not.
"""

import re
from typing import Any

import pytest

from guardrail.errors import PolicyError

from .api import REFUSALS, Api, Fields, Refusal, accepted, bearer, forged, package, refused
from .tokens import NOW, signer, token

pytestmark = pytest.mark.anyio

GOOD = token()


async def test_r1_header_method_is_supported() -> None:
    """
    R1 (RFC 6750 §2.1): A token in the Authorization field is enough; without the field there is none.
    """
    api = Api()

    accepted(await api.send([(b"authorization", b"Bearer " + GOOD)]))
    refused(await api.send(), error=None, code="missing_token")


@pytest.mark.parametrize(
    ("separator", "status", "error"),
    [
        pytest.param(b"\t", 400, "invalid_request", id="HTAB"),
        pytest.param(b" \t", 400, "invalid_request", id="SP and HTAB"),
        pytest.param(b"\xa0", 400, "invalid_request", id="NBSP"),
        pytest.param(b"\r", 400, "invalid_request", id="CR"),
        pytest.param(b"\n", 400, "invalid_request", id="LF"),
        pytest.param(b"\r\n ", 400, "invalid_request", id="obsolete line folding"),
        pytest.param(b",", 400, "invalid_request", id="comma"),
        pytest.param(b"", 401, None, id="none: another scheme's name"),
    ],
)
async def test_r3_only_spaces_separate_scheme_and_token(
    separator: bytes, status: int, error: str | None
) -> None:
    """
    R3 (RFC 6750 §2.1): One or more spaces stand between scheme and token, and nothing else.
    """
    api = Api()

    accepted(await api.send([(b"authorization", b"Bearer   " + GOOD)]))
    refused(await api.send([(b"authorization", b"Bearer" + separator + GOOD)]), status=status, error=error)


@pytest.mark.parametrize(
    "octet", [b",", b'"', b" ", b"%", b"\t", b"\0", b"\r", b"\n", b"\x7f", b"\xc3\xa9", b"\xff", b"=", b"{"]
)
async def test_r4_the_token_is_one_token68(octet: bytes) -> None:
    """
    R4 (RFC 6750 §2.1, RFC 9110 §11.2): Any octet that a token68 has not makes the request malformed.
    """
    api = Api()

    await api.accepts(GOOD)
    await api.refuses(GOOD[:9] + octet + GOOD[9:], status=400, error="invalid_request")


@pytest.mark.parametrize("value", [b"Bearer", b"Bearer ", b"Bearer    ", b"bearer"])
async def test_r5_empty_credentials_are_malformed(value: bytes) -> None:
    """
    R5 (RFC 6750 §2.1): The scheme alone is a malformed request, and not a request without credentials.
    """
    api = Api()

    accepted(await api.send([(b"authorization", b"Bearer " + GOOD)]))
    refused(await api.send([(b"authorization", value)]), status=400, error="invalid_request")


@pytest.mark.parametrize("query", [b"access_token=" + GOOD, b"access_token=", b"a=b&access%5Ftoken=x"])
async def test_r6_more_than_one_method_is_malformed(query: bytes) -> None:
    """
    R6 (RFC 6750 §2, §3.1): A token in the field and another in the query are refused, both good or not.
    """
    api = Api()

    accepted(await api.send(bearer(GOOD), query_string=b"token=x"))
    answer = await api.send(bearer(GOOD), query_string=query)

    refused(answer, status=400, error="invalid_request", code="token_in_query")


async def test_r10_r11_a_form_is_the_handlers_own() -> None:
    """
    R10, R11 (RFC 6750 §2.2): A form's token is no credential, and the handler receives the body whole.
    """
    api, body = Api(), b"access_token=" + GOOD
    form: Fields = [(b"content-type", b"application/x-www-form-urlencoded")]

    with_field = await api.send([*form, *bearer(GOOD)], method="POST", body=body)
    without = await api.send(form, method="POST", body=body)

    accepted(with_field)
    assert with_field.received == body
    refused(without, error=None, code="missing_token")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"cookie", b"access_token=" + GOOD),
        (b"cookie", b"Authorization=Bearer " + GOOD),
        (b"x-authorization", b"Bearer " + GOOD),
        (b"x-access-token", GOOD),
        (b"x-forwarded-access-token", GOOD),
        (b"x-forwarded-authorization", b"Bearer " + GOOD),
        (b"proxy-authorization", b"Bearer " + GOOD),
        (b"sec-websocket-protocol", b"bearer, " + GOOD),
    ],
)
async def test_r12_no_other_place_is_looked_at(name: bytes, value: bytes) -> None:
    """
    R12 (RFC 6750 §5.3): A token in a cookie or in another header field is none.
    """
    api = Api()

    accepted(await api.send([*bearer(GOOD), (b"x-request-id", b"1")]))
    refused(await api.send([(name, value)]), error=None, code="missing_token")


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_r18_r19_r21_a_refusal_has_a_challenge_that_says_why(refusal: Refusal) -> None:
    """
    R18, R19, R21 (RFC 6750 §3): Whoever is refused gets one challenge with a parameter, and the error if
    there was a token.
    """
    answer = await Api().send(refusal.fields)

    refused(answer, status=refusal.status, error=refusal.error, code=refusal.code)
    assert len(answer.values(b"www-authenticate")) == 1
    assert answer.challenges[0].parameters.keys() >= {"realm"}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="no field"),
        pytest.param([(b"authorization", b"")], id="an empty field"),
        pytest.param([(b"authorization", b"Basic YWxpY2U6c2VjcmV0")], id="Basic"),
        pytest.param([(b"authorization", b"DPoP " + GOOD)], id="DPoP"),
        pytest.param([(b"authorization", b"Negotiate YII=")], id="Negotiate"),
    ],
)
async def test_r20_without_a_bearer_token_there_is_no_error_code(fields: Fields) -> None:
    """
    R20 (RFC 6750 §3.1): Who sent no credentials, or those of another scheme, is told what is needed alone.
    """
    api = Api()

    none = refused(await api.send(fields), error=None, code="missing_token")
    bad = await api.refuses(forged(GOOD))

    told = {"error", "error_description", "error_uri"}
    assert none.challenges[0].parameters.keys().isdisjoint(told)
    assert not bad.challenges[0].parameters.keys().isdisjoint(told)


@pytest.mark.parametrize(
    ("made", "status", "error"),
    [
        pytest.param(b"two tokens", 400, "invalid_request", id="malformed request"),
        pytest.param(b"garbage", 401, "invalid_token", id="malformed token"),
        pytest.param(forged(GOOD), 401, "invalid_token", id="forged"),
        pytest.param(token(exp=NOW - 60), 401, "invalid_token", id="expired"),
        pytest.param(token(scope="orders:write"), 403, "insufficient_scope", id="lacks the scope"),
    ],
)
async def test_r22_r23_r24_status_and_code_go_together(made: bytes, status: int, error: str) -> None:
    """
    R22, R23, R24 (RFC 6750 §3.1, RFC 9068 §4): invalid_request is 400, invalid_token 401,
    insufficient_scope 403.
    """
    api = Api()

    await api.accepts(GOOD)
    await api.refuses(made, status=status, error=error)


@pytest.mark.parametrize("granted", ["", "orders:read", "orders:write", "other"])
async def test_r25_every_scope_that_is_needed_is_told_at_once(granted: str) -> None:
    """
    R25 (RFC 6750 §3.1): The challenge names all scopes of the route, held or not, in one parameter.
    """
    api = Api(package().requires("orders:read", "orders:write"))

    await api.accepts(token(scope="orders:write orders:read"))
    answer = await api.refuses(token(scope=granted), status=403, error="insufficient_scope")

    assert answer.challenges[0].parameters["scope"] == "orders:read orders:write"


@pytest.mark.parametrize("bad", ['or"ders', "or\\ders", "or ders", "or\nders", "or\x7fders", "örders"])
@pytest.mark.parametrize(
    "configure",
    [
        pytest.param(lambda scope: package(scopes=[scope]), id="scopes"),
        pytest.param(lambda scope: package(required_scopes=[scope]), id="required_scopes"),
        pytest.param(lambda scope: package(implies={scope: ["a"]}), id="implies"),
        pytest.param(lambda scope: package().requires(scope), id="requires"),
        pytest.param(lambda scope: package().requires_any(scope), id="requires_any"),
        pytest.param(lambda scope: package().requires(acr_values=[scope]), id="acr_values"),
    ],
)
def test_r27_a_scope_that_no_challenge_can_hold_is_refused_at_startup(bad: str, configure: Any) -> None:
    """
    R27 (RFC 6750 §3): Only visible ASCII without quote and backslash is a scope that can be configured.
    """
    configure("orders:read")
    with pytest.raises(PolicyError):
        configure(bad)


@pytest.mark.parametrize("name", ['or"ders', "or\\ders", "or\r\nders", "örders"])
def test_r27_a_realm_that_no_challenge_can_hold_is_refused_at_startup(name: str) -> None:
    """
    R27 (RFC 6750 §3): The realm is the package's name, and that is quotable too.
    """
    package(name="the orders")
    with pytest.raises(PolicyError):
        package(name=name)


EVIL = 'evil" \\ \r\nX-Evil: 1, Bearer \x1b[31m é'


@pytest.mark.parametrize(
    ("made", "plain"),
    [
        pytest.param(token({"kid": EVIL}), token({"kid": "other"}), id="kid"),
        pytest.param(token({"alg": EVIL}), token({"alg": "none"}), id="alg"),
        pytest.param(token({"typ": EVIL}), token({"typ": "dpop+jwt"}), id="typ"),
        pytest.param(token({"crit": [EVIL]}), token({"crit": ["x"]}), id="crit"),
        pytest.param(token(iss=EVIL), token(iss="other"), id="iss"),
        pytest.param(token(aud=EVIL), token(aud="other"), id="aud"),
        pytest.param(token(sub=[EVIL]), token(sub=[]), id="sub"),
        pytest.param(token(exp=EVIL), token(exp="x"), id="exp"),
        pytest.param(token(scope=EVIL), token(scope="other"), id="scope"),
        pytest.param(b"evil", b"other", id="the token"),
    ],
)
async def test_r28_nothing_of_a_token_gets_into_the_answer(made: bytes, plain: bytes) -> None:
    """
    R28 (RFC 6750 §3): A hostile text changes not an octet of the answer, whose own texts are in bounds.
    """
    api = Api()

    hostile, other = [await api.send(bearer(one)) for one in (made, plain)]

    assert hostile == other
    assert hostile.operator is None
    assert b"evil" not in b"".join((*(value for _, value in hostile.headers), hostile.body))
    for name in ("error", "error_description"):
        assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]+", hostile.challenges[0].parameters[name])


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_r26_r29_parameters_stand_once_and_none_is_a_link(refusal: Refusal) -> None:
    """
    R26, R29 (RFC 6750 §3, RFC 9110 §11.2): No parameter is repeated, which the parser refuses, and there
    is no error_uri that could be malformed.
    """
    (challenge,) = (await Api().send(refusal.fields)).challenges

    assert challenge.parameters.keys() <= {
        "realm",
        "scope",
        "error",
        "error_description",
        "resource_metadata",
    }


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_r33_a_refusal_is_not_stored(refusal: Refusal) -> None:
    """
    R33 (RFC 9111 §5.2.2.5): What guardrail answers itself no cache may store; the handler's answers are its
    own.
    """
    api = Api()

    answer, good = await api.send(refusal.fields), await api.send(bearer(GOOD))

    assert answer.values(b"cache-control") == [b"no-store"]
    accepted(good)
    assert good.values(b"cache-control") == []


async def test_r34_a_refusal_does_not_help_an_attacker() -> None:
    """
    R34 (RFC 6750 §3): A bad signature, an unknown key, an unknown issuer and a wrong claim look alike.
    """
    api = Api()
    made = {
        "bad_signature": forged(GOOD),
        "unknown_key": token({"kid": "other"}, sign=signer(name="other")),
        "unknown_issuer": token(iss="https://other.example"),
        "audience_mismatch": token(aud="https://other.example"),
        "claims_malformed": token(sub=1),
    }

    answers = [await api.refuses(one, code=code) for code, one in made.items()]

    assert {(answer.status, tuple(answer.headers), answer.body) for answer in answers} == {
        (401, tuple(answers[0].headers), answers[0].body)
    }
