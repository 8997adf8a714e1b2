"""
uvicorn, hypercorn and granian, as they are run: handshakes that are denied, WebSockets and streams that end
with their token, and tokens that browsers send.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from .foreign import wait_until
from .servers import DEADLINE, SERVERS, Running, running

pytestmark = pytest.mark.anyio

SHORT = 0.5  # seconds that a token is good for that expires in a test
BEARER = "bearer."


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """
    Each of the servers, once.
    """
    with running(request.param, tmp_path_factory.mktemp("server")) as one:
        yield one


def socket_to(
    server: Running, path: str, *, token: str | None = None, offers: tuple[str, ...] = ()
) -> connect:
    """
    A WebSocket, with a token in a header field and subprotocols, if there are any.
    """
    return connect(
        f"ws://127.0.0.1:{server.port}{path}",
        additional_headers={} if token is None else {"Authorization": f"Bearer {token}"},
        subprotocols=[Subprotocol(one) for one in offers] or None,
        open_timeout=DEADLINE,
        proxy=None,
    )


async def first_of(socket: ClientConnection) -> dict[str, Any]:
    """
    What the application says first: what it sees.
    """
    async with asyncio.timeout(DEADLINE):
        seen: dict[str, Any] = json.loads(await socket.recv())
    return seen


async def until_closed(socket: ClientConnection) -> tuple[int, str, float]:
    """
    With which code and reason the server closes a connection, and when, in seconds since the epoch.
    """
    with pytest.raises(ConnectionClosed) as caught:
        await listen(socket)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason, time.time()


async def listen(socket: ClientConnection) -> None:
    """
    Receive whatever comes.
    """
    async with asyncio.timeout(DEADLINE):
        while True:
            await socket.recv()


async def refusal(
    server: Running, path: str, *, token: str | None = None, offers: tuple[str, ...] = ()
) -> InvalidStatus:
    """
    How a handshake is denied.
    """
    with pytest.raises(InvalidStatus) as caught:
        await socket_to(server, path, token=token, offers=offers)
    return caught.value


@pytest.mark.parametrize(
    ("folder", "scope", "expires_in", "status", "error"),
    [
        pytest.param("/strict", None, 60.0, 401, None, id="no token"),
        pytest.param("/strict", "orders:read", -1.0, 401, "invalid_token", id="an expired token"),
        pytest.param("/strict", "orders:write", 60.0, 403, "insufficient_scope", id="another scope"),
        pytest.param("/strict/admin", "orders:read", 60.0, 403, "insufficient_scope", id="too little"),
        pytest.param("/strict//admin", "orders:admin", 60.0, 404, None, id="nowhere"),
    ],
)
async def test_a_handshake_is_denied_by_http(
    server: Running, folder: str, scope: str | None, expires_in: float, status: int, error: str | None
) -> None:
    """
    The client sees the status, the challenge and the body; the application does not run.
    """
    path = f"{folder}/{uuid4()}"
    token = None if scope is None else server.token(scope, expires_in=expires_in)

    response = (await refusal(server, path, token=token)).response

    challenge = response.headers.get("www-authenticate", "")
    assert response.status_code == status
    assert challenge.startswith("Bearer ") == (status in {401, 403})
    assert (f'error="{error}"' in challenge) == (error is not None)
    assert json.loads(response.body or b"")["status"] == status
    assert path not in await server.ran()


async def test_a_good_token_opens_a_websocket(server: Running) -> None:
    """
    It is accepted on behalf of who sent the token, and speaks.
    """
    async with socket_to(server, "/strict/feed", token=server.token()) as socket:
        seen = await first_of(socket)
        await socket.send("hello")
        echoed = await socket.recv()

    assert (seen["subject"], echoed) == ("alice", "hello")


@pytest.mark.parametrize("what", ["feed", "ticks"])
async def test_a_websocket_is_closed_when_its_token_expires(server: Running, what: str) -> None:
    """
    Whether the application waits for the client or talks to it; with a code and a reason, and not before.
    """
    token, expiry = server.token(expires_in=SHORT), time.time() + SHORT

    async with socket_to(server, f"/strict/{what}", token=token) as socket:
        await first_of(socket)
        code, reason, closed_at = await until_closed(socket)

    assert (code, reason) == (1008, "token expired")
    assert closed_at >= expiry - 0.1


async def test_the_application_hears_of_the_end(server: Running) -> None:
    """
    It sees the disconnect that a client causes that leaves, with the code of the close.
    """
    path = f"/strict/{uuid4()}/feed"

    async with socket_to(server, path, token=server.token(expires_in=SHORT)) as socket:
        await until_closed(socket)

    async with asyncio.timeout(DEADLINE):
        while f"{path} left with 1008" not in await server.ran():
            pass


async def test_a_websocket_may_outlast_its_token(server: Running) -> None:
    """
    Where a team allows it, it goes on; a new one is refused all the same.
    """
    token, expiry = server.token(expires_in=SHORT), time.time() + SHORT

    async with asyncio.timeout(DEADLINE), socket_to(server, "/lenient/feed", token=token) as socket:
        await first_of(socket)
        while time.time() < expiry + 0.2:
            await socket.send("still there?")
            await socket.recv()

    assert (await refusal(server, "/lenient/feed", token=token)).response.status_code == 401


async def test_a_browser_sends_its_token_as_a_subprotocol(server: Running) -> None:
    """
    The other subprotocol is the one agreed on, and the application sees the token nowhere.
    """
    token = server.token()

    async with socket_to(server, "/strict/feed", offers=("chat.v1", BEARER + token)) as socket:
        seen, agreed = await first_of(socket), socket.subprotocol

    assert (agreed, seen["subject"], seen["subprotocols"]) == ("chat.v1", "alice", ["chat.v1"])
    assert token not in json.dumps(seen)
    assert BEARER not in json.dumps(seen)


async def test_a_browsers_websocket_ends_with_its_token_too(server: Running) -> None:
    """
    However the token came.
    """
    offers = ("chat.v1", BEARER + server.token(expires_in=SHORT))

    async with socket_to(server, "/strict/feed", offers=offers) as socket:
        code, reason, _ = await until_closed(socket)

    assert (code, reason) == (1008, "token expired")


@pytest.mark.parametrize(
    ("path", "in_field", "tokens", "status"),
    [
        pytest.param("/strict/{}", True, 1, 400, id="in both places"),
        pytest.param("/strict/{}", False, 2, 400, id="two in one place"),
        pytest.param("/lenient/{}", False, 1, 401, id="where it is off"),
        pytest.param("/strict/admin/{}", False, 1, 403, id="too little"),
    ],
)
async def test_a_subprotocol_is_no_way_around(
    server: Running, path: str, in_field: bool, tokens: int, status: int
) -> None:
    """
    One token, in one place, where a team takes it from there (RFC 6750 §2); else nothing runs.
    """
    path = path.format(uuid4())
    offers = ["chat.v1", *(BEARER + server.token(expires_in=60.0 + number) for number in range(tokens))]

    exc = await refusal(server, path, token=server.token() if in_field else None, offers=tuple(offers))

    assert exc.response.status_code == status
    assert path not in await server.ran()


async def test_a_stream_is_cut_when_its_token_expires(server: Running) -> None:
    """
    What the client gets is a complete response, and the connection is good for another request.
    """
    token, expiry = server.token(expires_in=SHORT), time.time() + SHORT
    field, lines = {"Authorization": f"Bearer {token}"}, list[str]()

    async with server.client() as client:
        async with client.stream("GET", "/strict/stream", headers=field) as response:
            async for line in response.aiter_lines():
                lines.append(line)
        ended_at = time.time()
        after = [await client.get("/strict/stream", headers=field), await client.get("/open/ran")]

    assert response.status_code == 200
    assert sum(line.startswith("data: ") for line in lines) > 3
    assert expiry - 0.1 <= ended_at < expiry + DEADLINE
    assert [one.status_code for one in after] == [401, 200]


async def test_a_stream_goes_on_where_it_may(server: Running) -> None:
    """
    By default a response that has begun is finished, whatever its token does meanwhile.
    """
    token, expiry = server.token(expires_in=SHORT), time.time() + SHORT
    sent_at = 0.0

    async with (
        asyncio.timeout(DEADLINE),
        server.client() as client,
        client.stream("GET", "/lenient/stream", headers={"Authorization": f"Bearer {token}"}) as response,
    ):
        async for line in response.aiter_lines():
            sent_at = float(line.removeprefix("data: ") or sent_at)
            if sent_at > expiry + 0.2:
                break

    assert response.status_code == 200
    assert sent_at > expiry + 0.2


async def test_no_server_logs_a_token_or_an_error(server: Running) -> None:
    """
    Whatever was accepted, refused or ended: the access log is there, and neither tokens nor tracebacks are.
    """
    path = f"/strict/{uuid4()}"
    token = server.token(expires_in=SHORT)
    await refusal(server, f"{path}/admin", token=server.token("orders:write"))
    async with socket_to(server, f"{path}/feed", offers=("chat.v1", BEARER + token)) as socket:
        await until_closed(socket)
    async with socket_to(server, f"{path}/ticks", token=server.token(expires_in=SHORT)) as socket:
        await until_closed(socket)
    async with server.client() as client:
        field = {"Authorization": f"Bearer {server.token(expires_in=SHORT)}"}
        await client.get(f"{path}/stream", headers=field)

    wait_until(lambda: f"{path}/stream" in server.log())

    assert [token for token in server.tokens if any(part in server.log() for part in token.split("."))] == []
    assert "Traceback" not in server.log()
