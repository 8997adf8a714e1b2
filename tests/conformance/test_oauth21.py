"""
OAuth 2.1 (draft-ietf-oauth-v2-1-15): what it asks beyond RFC 6750, and once more what it keeps.
"""

import pytest

from .api import REFUSALS, Api, Refusal, accepted, bearer, forged, package, refused
from .tokens import NOW, token

pytestmark = pytest.mark.anyio

GOOD = token()


@pytest.mark.parametrize("query", [b"access_token=" + GOOD, b"a=b&access_token=" + GOOD, b"token=" + GOOD])
async def test_r8_a_token_in_the_query_is_no_credential(query: bytes) -> None:
    """
    R8 (OAuth 2.1 §5.1): However good it is, the request is one without a token.
    """
    api = Api()

    accepted(await api.send(bearer(GOOD), query_string=b"a=b"))
    refused(await api.send(query_string=query), error=None, code="missing_token")


async def test_r126_a_token_is_for_this_resource_and_this_action() -> None:
    """
    R126 (OAuth 2.1 §5, §5.2): Audience and scope are judged on every request, a remembered token's too.
    """
    reading, writing = Api(), Api(package().requires("orders:write"))

    for _ in range(2):
        await reading.accepts(GOOD)
        await writing.refuses(GOOD, status=403, error="insufficient_scope")
        await reading.refuses(token(aud="https://other.example"), code="audience_mismatch")
    await writing.accepts(token(scope="orders:write"))


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BeArEr"])
async def test_r243_the_header_method_ignores_the_case_of_its_scheme(scheme: bytes) -> None:
    """
    R243 (OAuth 2.1 §5.1.1): The header method is there, in any case; another scheme is no bearer token.
    """
    api = Api()

    accepted(await api.send([(b"authorization", scheme + b" " + GOOD)]))
    refused(await api.send([(b"authorization", scheme + b"s " + GOOD)]), error=None, code="missing_token")


@pytest.mark.parametrize(
    ("made", "status", "error", "code"),
    [
        pytest.param(forged(GOOD), 401, "invalid_token", "bad_signature", id="authentic"),
        pytest.param(token(exp=NOW - 60), 401, "invalid_token", "token_expired", id="not expired"),
        pytest.param(token(aud="other"), 401, "invalid_token", "audience_mismatch", id="for the resource"),
        pytest.param(
            token(scope=""), 403, "insufficient_scope", "insufficient_scope", id="of the right scope"
        ),
        pytest.param(token(roles=["x"]), 403, None, "role_missing", id="in line with other policy"),
    ],
)
async def test_r244_a_token_is_all_that_it_must_be(
    made: bytes, status: int, error: str | None, code: str
) -> None:
    """
    R244 (OAuth 2.1 §5.2): Authentic, not expired, for this resource, of the right scope, and in line with
    the route's policy.
    """
    api = Api(package().requires("orders:read", roles=["approver"]))

    await api.accepts(token(roles=["approver"]))
    await api.refuses(made, status=status, error=error, code=code)


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_r245_a_client_is_told_what_was_wrong(refusal: Refusal) -> None:
    """
    R245 (OAuth 2.1 §5.3): Challenge and body have the error code and a description, where a token was sent.
    """
    answer = refused(await Api().send(refusal.fields), status=refusal.status, error=refusal.error)

    assert (b'"error": "%s"' % str(refusal.error).encode() in answer.body) is (refusal.error is not None)
