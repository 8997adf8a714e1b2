"""
RFC 8693: who acts for the subject.
"""

import pytest

from .api import Api, package
from .tokens import ABSENT, AUDIENCE, NOW, token

pytestmark = pytest.mark.anyio


async def test_r122_only_the_top_level_decides() -> None:
    """
    R122 (RFC 8693 §4.1): What an actor's claims say of scope, roles, audience and time grants and refuses
    nothing.
    """
    api = Api(package().requires("orders:read", roles=["approver"]))
    rights = {"scope": "orders:read", "roles": ["approver"], "aud": AUDIENCE, "exp": NOW + 600}
    past = {"exp": NOW - 600, "nbf": NOW + 600, "aud": "https://other.example", "scope": ""}

    operator = await api.accepts(token(roles=["approver"], act={"sub": "agent", **past}))
    assert (operator.subject, operator.actors[0].subject) == ("alice", "agent")
    await api.refuses(token(roles=[], act={"sub": "agent", **rights}), status=403, error=None)
    await api.refuses(
        token(roles=["approver"], scope=ABSENT, act={"sub": "agent", **rights}),
        status=403,
        error="insufficient_scope",
    )
    await api.refuses(token(exp=NOW - 600, act={"sub": "agent", **rights}), code="token_expired")
    await api.refuses(token(aud=ABSENT, act={"sub": "agent", **rights}), code="claim_missing")


async def test_r122_the_current_actor_comes_first() -> None:
    """
    R122 (RFC 8693 §4.1): The outermost *act* is who acts now, and what is inside of it happened before.
    """
    before = {"sub": "before", "act": {"sub": "long before"}}

    operator = await Api().accepts(token(act={"sub": "now", "client_id": "agent", "act": before}))

    assert [actor.subject for actor in operator.actors] == ["now", "before", "long before"]
    assert operator.actors[0].client_id == "agent"
    assert operator.is_delegated


@pytest.mark.parametrize("act", [None, "agent", [], ["agent"], {}, {"sub": 1}, {"sub": "a", "act": "b"}])
async def test_r122_an_actor_that_nobody_can_read_refuses_the_token(act: object) -> None:
    """
    R122 (RFC 8693 §4.1): A delegation is not lost by being malformed.
    """
    await Api().accepts(token(act={"sub": "agent"}))
    await Api().refuses(token(act=act), code="claims_malformed")
