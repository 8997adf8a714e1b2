"""
Key rotation over HTTP: for programs on this machine only.
"""

import pytest
from starlette.types import Message, Scope

from .builders import ORDERS, SERVICE, an_issuer, connect, verified_claims

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "peer",
    [
        pytest.param("127.0.0.1", id="IPv4"),
        pytest.param("127.8.9.10", id="another of 127.0.0.0/8"),
        pytest.param("::1", id="IPv6"),
        pytest.param("::ffff:127.0.0.1", id="IPv4 on an IPv6 socket"),
    ],
)
async def test_loopback_peer_rotates(peer: str) -> None:
    """A loopback peer rotates the key and is told the new key ID; old tokens stay verifiable."""
    issuer = an_issuer(SERVICE)
    token = issuer.mint(SERVICE, scope=(), audience=ORDERS)

    async with connect(issuer, peer=peer) as http:
        response = await http.post("/rotate")

    assert response.json() == {"kid": issuer.keys.current.kid}
    assert verified_claims(token, issuer=issuer)


@pytest.mark.parametrize(
    "peer",
    [
        pytest.param("192.0.2.1", id="IPv4"),
        pytest.param("2001:db8::1", id="IPv6"),
        pytest.param("::ffff:192.0.2.1", id="IPv4 on an IPv6 socket"),
        pytest.param("localhost", id="a name"),
    ],
)
async def test_other_peer_does_not_rotate(peer: str) -> None:
    """A peer that is not a loopback address is refused, and the key stays."""
    issuer = an_issuer()
    kid = issuer.keys.current.kid

    async with connect(issuer, peer=peer) as http:
        response = await http.post("/rotate")

    assert (response.status_code, response.json()["error"]) == (403, "access_denied")
    assert issuer.keys.current.kid == kid


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("Origin", "http://127.0.0.1:9000", id="web page"),
        pytest.param("Origin", "null", id="web page without origin"),
        pytest.param("X-Forwarded-For", "127.0.0.1", id="proxy"),
        pytest.param("Forwarded", "for=127.0.0.1", id="standard proxy"),
    ],
)
async def test_web_page_and_proxy_do_not_rotate(name: str, value: str) -> None:
    """A loopback peer that carries a web page's or somebody else's request is refused."""
    issuer = an_issuer()
    kid = issuer.keys.current.kid

    async with connect(issuer) as http:
        response = await http.post("/rotate", headers={name: value})

    assert response.status_code == 403
    assert issuer.keys.current.kid == kid


async def test_peer_without_address_does_not_rotate() -> None:
    """A connection that has no peer address is refused."""
    issuer = an_issuer()
    sent: list[Message] = []
    scope: Scope = {"type": "http", "method": "POST", "path": "/rotate", "headers": [], "client": None}

    async def receive() -> Message:
        raise AssertionError("refused before the body is read")

    async def send(message: Message) -> None:
        sent.append(message)

    await issuer(scope, receive, send)

    assert sent[0]["status"] == 403


async def test_rotation_without_previous_drops_the_old_key() -> None:
    """keep_previous=false publishes the new key alone."""
    issuer = an_issuer()

    async with connect(issuer) as http:
        response = await http.post("/rotate", data={"keep_previous": "false"})

    assert [key.kid for key in issuer.keys._published] == [response.json()["kid"]]


async def test_rotation_with_previous_keeps_the_old_key() -> None:
    """keep_previous=true publishes both keys."""
    issuer = an_issuer()
    kid = issuer.keys.current.kid

    async with connect(issuer) as http:
        response = await http.post("/rotate", data={"keep_previous": "true"})

    assert [key.kid for key in issuer.keys._published] == [response.json()["kid"], kid]


async def test_unknown_choice_does_not_rotate() -> None:
    """A keep_previous that is neither true nor false is refused, and the key stays."""
    issuer = an_issuer()
    kid = issuer.keys.current.kid

    async with connect(issuer) as http:
        response = await http.post("/rotate", data={"keep_previous": "no"})

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert issuer.keys.current.kid == kid


async def test_reading_request_does_not_rotate() -> None:
    """A GET never rotates."""
    issuer = an_issuer()
    kid = issuer.keys.current.kid

    async with connect(issuer) as http:
        response = await http.get("/rotate")

    assert response.status_code == 405
    assert issuer.keys.current.kid == kid
