"""
RFC 8707: how this API is named.
"""

import pytest

from guardrail.errors import PolicyError

from .api import Api, accepted, bearer, package, refused
from .tokens import AUDIENCE, token

pytestmark = pytest.mark.anyio

BILLING = "https://api.example.com/billing"


async def test_r129_a_scope_is_meant_for_the_audience() -> None:
    """
    R129 (RFC 9068 §2.2.3): A scope of one name at two APIs grants only what the token is for.
    """
    orders, billing = Api(), Api(package(audience=BILLING).requires("orders:read"))

    await orders.accepts(token())
    await billing.refuses(token(), code="audience_mismatch")
    await billing.accepts(token(aud=BILLING))
    await orders.refuses(token(aud=BILLING), code="audience_mismatch")


@pytest.mark.parametrize(
    "audience",
    [
        f"{AUDIENCE}#part",
        "https://api.example.com/#",
        "urn:example:orders#part",
        "/orders",
        "//api.example.com/orders",
    ],
)
def test_r136_a_resource_is_an_absolute_uri_without_fragment(audience: str) -> None:
    """
    R136 (RFC 8707 §2): A relative reference or a fragment is refused; a plain name, which is no URI at all,
    is what large issuers use.
    """
    for good in (AUDIENCE, "urn:example:orders", "api://orders", f"{AUDIENCE}?tenant=1", "orders"):
        package(audience=good)
    with pytest.raises(PolicyError, match="audience"):
        package(audience=audience)


async def test_r137_each_of_several_identifiers_will_do() -> None:
    """
    R137 (RFC 9068 §4, RFC 8707 §2, §3): A package may have several names, and a token needs one of them.
    """
    api = Api(package(audience=[AUDIENCE, "urn:example:orders"]).requires())

    for aud in (AUDIENCE, "urn:example:orders", [BILLING, AUDIENCE], [AUDIENCE, "urn:example:orders"]):
        await api.accepts(token(aud=aud))
    for other in (BILLING, "urn:example", [BILLING, "urn:example:billing"]):
        await api.refuses(token(aud=other), code="audience_mismatch")


@pytest.mark.parametrize(
    "name",
    [b"host", b"x-forwarded-host", b"x-forwarded-server", b"x-original-host", b"forwarded", b":authority"],
)
async def test_r138_the_audience_is_the_configurations(name: bytes) -> None:
    """
    R138 (RFC 8707 §2): No header of a request, and no other part of its URL, changes which tokens it takes.
    """
    api, evil = Api(), (name, b"host=evil.example" if name == b"forwarded" else b"evil.example")
    elsewhere = ("evil.example", 443)

    accepted(await api.send(headers=[evil, *bearer(token())], server=elsewhere))
    for aud in ("https://evil.example/orders", "https://evil.example", "evil.example"):
        answer = await api.send(headers=[evil, *bearer(token(aud=aud))], server=elsewhere)
        refused(answer, code="audience_mismatch")
