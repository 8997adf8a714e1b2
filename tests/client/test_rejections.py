"""
Whether a 401 is the token's fault.
"""

import pytest

from guardrail.client._rejections import MAX_ORIGINS, Rejections, blames_the_token


@pytest.mark.parametrize(
    ("fields", "blames"),
    [
        pytest.param([], True, id="no challenge"),
        pytest.param(["Bearer"], True, id="bare"),
        pytest.param(["bearer"], True, id="any case"),
        pytest.param(['Bearer realm="a"'], True, id="without error"),
        pytest.param(['Bearer error="invalid_token"'], True, id="invalid_token"),
        pytest.param(['Bearer realm="a", Error = invalid_token'], True, id="a token for a string, spaces"),
        pytest.param(['Bearer error="insufficient_scope"'], False, id="insufficient_scope"),
        pytest.param(['Bearer error="invalid_request"'], False, id="invalid_request"),
        pytest.param(['Bearer error=""'], False, id="an empty error"),
        pytest.param(
            ['Bearer error="insufficient_user_authentication", acr_values="x"'], False, id="step-up"
        ),
        pytest.param(['Bearer error="INVALID_TOKEN"'], False, id="the code's case counts"),
        pytest.param(['Basic realm="a"'], False, id="another scheme"),
        pytest.param(['DPoP error="invalid_token"'], False, id="DPoP"),
        pytest.param(['Basic realm="x, Bearer", Digest nonce="1"'], False, id="a scheme inside a string"),
        pytest.param(['Basic realm="a \\" , Bearer "'], False, id="an escaped quote"),
        pytest.param(['Basic realm="a", Bearer'], True, id="after another"),
        pytest.param(['Basic realm="a"', "Bearer"], True, id="in a second field"),
        pytest.param(['Basic error="x", Bearer realm="b"'], True, id="another challenge's error"),
        pytest.param(["Negotiate dG9rZW4=, Bearer"], True, id="after token68"),
        pytest.param(["Negotiate dG9rZW4="], False, id="token68 alone"),
        pytest.param(['Bearer error="insufficient_scope", Bearer'], True, id="any of two"),
        pytest.param([',, Bearer ,error="invalid_request"'], False, id="empty elements"),
        pytest.param(
            ['Bearer error="invalid_request", error="invalid_token"'], False, id="the first error counts"
        ),
        pytest.param(['@@@, Bearer error="invalid_token"'], True, id="rubbish before"),
        pytest.param(['Bearer realm="never closed'], True, id="rubbish inside"),
        pytest.param(["@@@"], False, id="rubbish alone"),
        pytest.param([""], False, id="empty"),
        pytest.param([" " * 9_000 + "Bearer"], False, id="beyond what is read"),
        pytest.param(['"' * 8_000], False, id="quotes alone"),
        pytest.param(["a=" * 4_000], False, id="parameters without end"),
    ],
)
def test_which_challenges_blame_the_token(fields: list[str], blames: bool) -> None:
    """
    None at all, or a Bearer challenge without *error* or with ``invalid_token``.
    """
    assert blames_the_token(fields) is blames


def test_new_token_is_not_blamed() -> None:
    """
    For 5 s a token is new.
    """
    rejections = Rejections()

    reasons = [rejections.reason_against("a", age=age, now=100.0) for age in (0.0, 4.9, 5.0)]

    assert reasons == ["fresh_token", "fresh_token", None]


def test_an_origin_renews_once_a_minute() -> None:
    """
    For 60 s after a renewal on its account, an origin causes no other one; other origins may.
    """
    rejections = Rejections()
    rejections.renewing("a")
    rejections.settled(100.0, is_renewed=True)

    reasons = [
        rejections.reason_against(origin, age=10.0, now=now)
        for origin, now in (("a", 110.0), ("a", 159.9), ("a", 160.0), ("b", 110.0))
    ]

    assert reasons == ["too_soon", "too_soon", None, None]


def test_a_renewal_that_failed_does_not_count() -> None:
    """
    Only a renewal that brought a token is a renewal.
    """
    rejections = Rejections()
    rejections.renewing("a")
    rejections.settled(100.0, is_renewed=False)
    rejections.settled(101.0, is_renewed=True)

    assert rejections.reason_against("a", age=10.0, now=110.0) is None


def test_origins_remembered_are_bounded() -> None:
    """
    However many origins there are, the latest are remembered and the memory is bounded.
    """
    rejections = Rejections()
    for number in range(3 * MAX_ORIGINS):
        rejections.renewing(f"pending-{number}")
        if number % 2:
            rejections.renewing(str(number))
            rejections.settled(100.0, is_renewed=True)

    assert len(rejections._renewed) == MAX_ORIGINS
    assert rejections.reason_against(str(3 * MAX_ORIGINS - 1), age=10.0, now=110.0) == "too_soon"
    for number in range(2 * MAX_ORIGINS):
        rejections.renewing(f"more-{number}")
    assert len(rejections._pending) == MAX_ORIGINS
