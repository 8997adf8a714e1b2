"""
RFC 9396: rich authorization requests, which decide nothing here.
"""

import pytest

from .api import Api, package
from .tokens import ABSENT, AUDIENCE, Members, token

pytestmark = pytest.mark.anyio

GRANT = {
    "type": "orders",
    "actions": ["orders:read", "read"],
    "locations": [AUDIENCE],
    "scope": "orders:read",
    "roles": ["approver"],
    "privileges": ["approver"],
}


@pytest.mark.parametrize(
    "details",
    [
        pytest.param([GRANT], id="well-formed"),
        pytest.param([GRANT | {"locations": ["https://other.example"]}], id="for another API"),
        pytest.param([GRANT | {"type": "unknown"}], id="of an unknown type"),
        pytest.param([{"type": "orders"}, {"actions": ["orders:read"]}], id="in two elements"),
        pytest.param(GRANT, id="an object"),
        pytest.param("orders:read", id="a text"),
        pytest.param([{"actions": ["orders:read"]}], id="without a type"),
        pytest.param([{"type": 1}], id="a type of another type"),
        pytest.param(None, id="null"),
        pytest.param([], id="empty"),
    ],
)
async def test_r132_r133_r134_authorization_details_grant_nothing(details: object) -> None:
    """
    R132, R133, R134 (RFC 9396 §2, §9): Whatever *authorization_details* holds, it stands in for no scope,
    role or audience; and it takes nothing away.
    """
    api = Api(package().requires("orders:read", roles=["approver"]))
    with_details: Members = {"authorization_details": details}

    await api.accepts(token(roles=["approver"], **with_details))
    await api.refuses(
        token(roles=["approver"], scope=ABSENT, **with_details), status=403, error="insufficient_scope"
    )
    await api.refuses(token(roles=ABSENT, **with_details), status=403, error=None)
    await api.refuses(token(aud="https://other.example", **with_details), code="audience_mismatch")
