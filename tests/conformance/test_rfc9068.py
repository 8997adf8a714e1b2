"""
RFC 9068: the JWT profile for access tokens, strict where an issuer is configured for it. With RFC 9701,
whose tokens must not pass for these.
"""

import dataclasses

import pytest

from guardrail import Operator

from .api import Api, issuer, package
from .tokens import ABSENT, AUDIENCE, ISSUER, NOW, Members, token, token_with

pytestmark = pytest.mark.anyio

GOOD = token()


@pytest.mark.parametrize("typ", [ABSENT, "JWT", "jwt", "at", "at-jwt", "at+jwt ", "bt+jwt", "", None, 1])
async def test_r104_the_strict_profile_wants_at_jwt(typ: object) -> None:
    """
    R104 (RFC 9068 §4): With ``profile="rfc9068"``, *typ* is ``at+jwt`` or ``application/at+jwt``.
    """
    api = Api(issuer(profile="rfc9068"))

    await api.accepts(token({"typ": "at+jwt"}))
    await api.accepts(token({"typ": "application/at+jwt"}))
    await api.refuses(token({"typ": typ}), code="token_type_mismatch")


async def test_r104_the_accepted_types_can_be_named() -> None:
    """
    R104 (RFC 9068 §4): For an issuer that sends another type, that one is named, and no other is accepted.
    """
    api = Api(issuer(token_types=["JWT", None]))

    await api.accepts(token({"typ": "JWT"}))
    await api.accepts(token({"typ": ABSENT}))
    await api.refuses(GOOD, code="token_type_mismatch")


@pytest.mark.parametrize("typ", ["token-introspection+jwt", "JWT", ABSENT, "at+jwt"])
async def test_r107_an_introspection_response_is_no_access_token(typ: object) -> None:
    """
    R107 (RFC 9701 §8.1): By its *typ*, and if that were lost, by the access-token claims it lacks.
    """
    api = Api()
    inside = {"active": True, "sub": "alice", "scope": "orders:read", "exp": NOW + 600}
    response: Members = {
        **dict.fromkeys(("sub", "client_id", "exp", "jti", "scope"), ABSENT),
        "token_introspection": inside,
    }

    await api.accepts(token({"typ": "at+jwt"}, token_introspection=inside))
    await api.refuses(token({"typ": typ}, **response))


@pytest.mark.parametrize("claim", ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"])
async def test_r108_the_strict_profile_wants_every_claim(claim: str) -> None:
    """
    R108 (RFC 9068 §2.2): With ``profile="rfc9068"`` each claim that §2.2 requires is required.
    """
    api = Api(issuer(profile="rfc9068"))

    await api.accepts(token(scope="orders:read"))
    await api.refuses(token_with(claim, ABSENT))


@pytest.mark.parametrize("claim", ["iss", "exp", "aud", "sub"])
async def test_r108_some_claims_are_required_of_everybody(claim: str) -> None:
    """
    R108 (RFC 9068 §2.2): Without issuer, expiry, audience and subject no profile accepts a token.
    """
    api = Api()

    await api.accepts(token(jti=ABSENT, iat=ABSENT, client_id=ABSENT))
    await api.refuses(token_with(claim, ABSENT))


@pytest.mark.parametrize(
    "iss",
    [
        ABSENT,
        None,
        "",
        1,
        [ISSUER],
        {ISSUER: 1},
        f"{ISSUER}/",
        ISSUER[:-1],
        f"{ISSUER}.evil.example",
        f"x{ISSUER}",
        ISSUER.upper(),
        "https://other.example",
    ],
    ids=repr,
)
async def test_r110_iss_is_the_configured_issuer(iss: object) -> None:
    """
    R110 (RFC 9068 §4): Exactly the configured string: no prefix, no extension, no list with it.
    """
    api = Api()

    await api.accepts(token(iss=ISSUER))
    await api.refuses(token(iss=iss), code="unknown_issuer")


@pytest.mark.parametrize("profile", ["default", "rfc9068"])
async def test_r120_a_client_and_a_user_are_told_apart(profile: str) -> None:
    """
    R120 (RFC 9068 §5, RFC 9700 §4.15): A client acting as itself is a service, and everybody else a user.
    """
    api = Api(issuer(profile=profile))

    service = await api.accepts(token(sub="shop", client_id="shop"))
    user = await api.accepts(token(sub="shop", client_id="other"))

    assert (service.kind, user.kind) == ("service", "user")


@pytest.mark.parametrize("claim", ["roles", "groups", "entitlements"])
async def test_r123_rights_are_lists_of_texts_or_of_values(claim: str) -> None:
    """
    R123 (RFC 9068 §2.2.3.1, RFC 7643 §4.1.2): Both forms are read, and a lone text is one right, never a
    container of others.
    """
    api, field = Api(), "permissions" if claim == "entitlements" else claim

    for value in (
        ["approver", "x"],
        [{"value": "approver", "display": "A"}, "x"],
        [{"value": "x"}, "approver"],
    ):
        operator = await api.accepts(token_with(claim, value))
        assert getattr(operator, field) == {"approver", "x"}
    lone = await api.accepts(token_with(claim, "approver x"))
    assert getattr(lone, field) == {"approver x"}
    for bad in (None, 1, {"value": "approver"}, [1], [{"display": "approver"}], [["approver"]]):
        await api.refuses(token_with(claim, bad), code="claims_malformed")


async def test_r123_a_part_of_a_role_is_no_role() -> None:
    """
    R123 (RFC 9068 §2.2.3.1): A route's role is one of the token's, whole.
    """
    api = Api(package().requires(roles=["approver"]))

    await api.accepts(token(roles=["approver"]))
    for roles in ("not approver", ["approvers"], ["Approver"], [], ["approve", "r"]):
        await api.refuses(token(roles=roles), status=403, error=None)


async def test_r124_the_rights_of_a_token_are_the_operators() -> None:
    """
    R124 (RFC 9068 §4): A handler finds what the token says of its subject, typed, to use with what else it
    knows.
    """
    operator = await Api().accepts(
        token(
            roles=["approver"], groups=["eu"], entitlements=["refund"], acr="mfa", amr=["otp"], auth_time=NOW
        )
    )

    assert isinstance(operator, Operator)
    rights = (operator.scopes, operator.roles, operator.groups, operator.permissions)
    assert [set(some) for some in rights] == [{"orders:read"}, {"approver"}, {"eu"}, {"refund"}]
    assert (operator.token.acr, operator.token.amr, operator.token.auth_time) == ("mfa", ("otp",), NOW)
    assert (operator.issuer, operator.client_id, operator.claims["aud"]) == (ISSUER, "shop", AUDIENCE)


async def test_r125_the_operator_does_not_have_the_token() -> None:
    """
    R125 (RFC 9068 §6): Neither the token nor its signature is in any field or text of the operator.
    """
    operator = await Api().accepts(GOOD)

    values = [getattr(operator, one.name) for one in dataclasses.fields(operator)]
    text = repr((operator, values, dict(operator.claims)))
    assert not [part for part in GOOD.decode().split(".") if part in text]
