"""
RFC 9470: OAuth 2.0 step-up authentication challenge.
"""

from typing import Any

import pytest

from guardrail.errors import PolicyError

from .api import Api, bearer, forged, package, refused
from .tokens import ABSENT, NOW, token

pytestmark = pytest.mark.anyio

STEP_UP = "insufficient_user_authentication"
MFA = "urn:example:mfa"
KEY = "urn:example:key"


def api(*scopes: str, **needs: Any) -> Api:
    """
    An API whose route needs an authentication event.
    """
    return Api(package().requires(*scopes, **needs))


@pytest.mark.parametrize(
    ("needs", "weak", "strong"),
    [
        pytest.param({"acr_values": [MFA]}, {"acr": "urn:example:password"}, {"acr": MFA}, id="too weak"),
        pytest.param({"max_age": 300}, {"auth_time": NOW - 3_600}, {"auth_time": NOW - 60}, id="too old"),
    ],
)
async def test_r202_a_weak_or_old_authentication_is_asked_for_again(
    needs: dict[str, Any], weak: dict[str, Any], strong: dict[str, Any]
) -> None:
    """
    R202 (RFC 9470 §3): The token is valid and its user must come back: 401 with the error of that name, in a
    Bearer challenge.
    """
    guarded = api(**needs)

    await guarded.refuses(token(**weak), error=STEP_UP)
    await guarded.accepts(token(**strong))


async def test_r203_the_challenge_says_which_authentication() -> None:
    """
    R203 (RFC 9470 §3): Classes stand in the order of preference that was declared; an age is whole seconds,
    rounded so that nobody is asked for less.
    """
    answer = await api(acr_values=[MFA, KEY], max_age=300.9).refuses(token(), error=STEP_UP)

    (challenge,) = answer.challenges
    assert challenge.parameters["acr_values"] == f"{MFA} {KEY}"
    assert challenge.parameters["max_age"] == "300"


@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), float("inf"), True, "300"])
def test_r203_an_age_that_is_none_cannot_be_asked_for(value: Any) -> None:
    """
    R203 (RFC 9470 §3): What is no non-negative number is refused where it is declared.
    """
    with pytest.raises(PolicyError, match="max_age"):
        package().requires(max_age=value)


@pytest.mark.parametrize(
    ("needs", "names"),
    [
        pytest.param({"acr_values": [MFA]}, {"acr_values"}, id="class alone"),
        pytest.param({"max_age": 0}, {"max_age"}, id="age alone"),
        pytest.param({"acr_values": [MFA], "max_age": 0}, {"acr_values", "max_age"}, id="both"),
    ],
)
async def test_r204_class_and_age_stand_alone_or_together(needs: dict[str, Any], names: set[str]) -> None:
    """
    R204 (RFC 9470 §3): Each is in the challenge where the route needs it, and neither where it does not.
    """
    answer = await api(**needs).refuses(token(), error=STEP_UP)

    (challenge,) = answer.challenges
    assert {"acr_values", "max_age"} & challenge.parameters.keys() == names


@pytest.mark.parametrize(
    ("claims", "is_enough"),
    [
        pytest.param({"acr": MFA}, True, id="the first class"),
        pytest.param({"acr": KEY}, True, id="the second class"),
        pytest.param({"acr": MFA.upper()}, False, id="another case"),
        pytest.param({"acr": f"{MFA}2"}, False, id="a longer name"),
        pytest.param({"acr": f"{MFA} {KEY}"}, False, id="both names in one"),
    ],
)
async def test_r205_the_class_is_matched_exactly(claims: dict[str, Any], is_enough: bool) -> None:
    """
    R205 (RFC 9470 §6.1; RFC 9068 §2.2.1): *acr* is one of the accepted values, or it is not.
    """
    guarded = api(acr_values=[MFA, KEY])

    if is_enough:
        await guarded.accepts(token(**claims))
    else:
        await guarded.refuses(token(**claims), error=STEP_UP)


@pytest.mark.parametrize(
    ("age", "is_enough"),
    [
        pytest.param(0, True, id="just now"),
        pytest.param(330, True, id="as old as age and leeway allow"),
        pytest.param(331, False, id="a second older"),
    ],
)
async def test_r205_the_age_of_the_authentication_is_bounded(age: int, is_enough: bool) -> None:
    """
    R205 (RFC 9470 §6.1; RFC 9068 §2.2.1): *auth_time* is at most *max_age* ago, give or take the issuer's
    leeway of 30 seconds.
    """
    guarded = api(max_age=300)

    if is_enough:
        await guarded.accepts(token(auth_time=NOW - age))
    else:
        await guarded.refuses(token(auth_time=NOW - age), error=STEP_UP)


async def test_r205_an_authentication_grows_old_while_its_token_is_remembered() -> None:
    """
    R205 (RFC 9470 §6.1; RFC 9068 §2.2.1): It is judged at each request, also of a token that was accepted.
    """
    guarded, made = api(max_age=300), token(auth_time=NOW)

    await guarded.accepts(made)
    guarded.clock.now += 331

    await guarded.refuses(made, error=STEP_UP)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"acr": ABSENT}, id="no class"),
        pytest.param({"acr": [MFA]}, id="a class in an array"),
        pytest.param({"acr": None}, id="a class that is null"),
        pytest.param({"auth_time": ABSENT}, id="no time, and iat is fresh"),
        pytest.param({"auth_time": str(NOW)}, id="a time in a string"),
        pytest.param({"auth_time": True}, id="a time that is a boolean"),
        pytest.param({"auth_time": NOW + 31}, id="a time in the future"),
        pytest.param({"auth_time": 10**400}, id="a huge time"),
    ],
)
async def test_r207_what_is_not_said_is_not_enough(claims: dict[str, Any]) -> None:
    """
    R207 (RFC 9470 §6.1): A claim that is missing, of another type or in the future never passes; *iat* says
    when the token was made, and not when its user authenticated.
    """
    good: dict[str, Any] = {"iat": NOW, "acr": MFA, "auth_time": NOW}
    guarded = api(acr_values=[MFA], max_age=300)

    await guarded.accepts(token(**good))
    await guarded.refuses(token(**(good | claims)), error=STEP_UP)


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(forged(token()), id="forged"),
        pytest.param(token(exp=NOW - 600), id="expired"),
        pytest.param(token(aud="https://api.example.com/billing"), id="for another API"),
    ],
)
async def test_r208_a_bad_token_learns_nothing_of_the_policy(made: bytes) -> None:
    """
    R208 (RFC 9470 §9): invalid_token, and no word of classes and ages.
    """
    answer = await api(acr_values=[MFA], max_age=300).refuses(made)

    (challenge,) = answer.challenges
    assert not {"acr_values", "max_age"} & challenge.parameters.keys()


async def test_r209_refusals_come_in_order() -> None:
    """
    R209 (RFC 9470 §3; RFC 6750 §3.1): A malformed request before a bad token, that before step-up, and that
    before a scope that lacks.
    """
    guarded = api("orders:write", acr_values=[MFA])
    expired, weak, strong = token(exp=NOW - 600), token(), token(acr=MFA)

    refused(await guarded.send([*bearer(expired)] * 2), status=400, error="invalid_request")
    await guarded.refuses(expired)
    await guarded.refuses(weak, error=STEP_UP)
    await guarded.refuses(strong, status=403, error="insufficient_scope")
    await guarded.accepts(token(acr=MFA, scope="orders:write"))
