"""
The protected API: a Starlette application under uvicorn, in a thread, on a free loopback port.

Knows how to serve and how to ask; what it serves is the caller's.
"""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
import httpx
import uvicorn
from starlette.types import ASGIApp

START_TIMEOUT = 10.0  # seconds
STOP_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class ProtectedApi:
    """
    A running API, as its callers see it.
    """

    url: str
    http_client: httpx.Client = field(repr=False)

    def get(self, path: str, *, token: str | None = None) -> httpx.Response:
        """
        Ask for *path*, with a bearer token or without any credentials.
        """
        return self.http_client.get(self.url + path, headers=_authorization(token))

    def get_at_once(self, path: str, *, tokens: Sequence[str]) -> list[httpx.Response]:
        """
        Ask for *path* once for each of *tokens*, all at the same time. Answers come in their order.
        """
        return anyio.run(self._get_at_once, path, tokens)

    @contextmanager
    def hanging_up(self, path: str, *, token: str) -> Iterator[None]:
        """
        Ask for *path*, and hang up when the block ends, without having read an answer.
        """
        url = httpx.URL(self.url)
        fields = {"Host": url.netloc.decode("ascii"), **_authorization(token)}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        with socket.create_connection((url.host, url.port or 80)) as connection:
            connection.sendall("\r\n".join(lines).encode("ascii"))
            yield

    async def _get_at_once(self, path: str, tokens: Sequence[str]) -> list[httpx.Response]:
        responses: dict[int, httpx.Response] = {}

        async def get(index: int) -> None:
            responses[index] = await client.get(path, headers=_authorization(tokens[index]))

        async with (
            httpx.AsyncClient(base_url=self.url, trust_env=False) as client,
            anyio.create_task_group() as group,
        ):
            for index in range(len(tokens)):
                group.start_soon(get, index)
        return [responses[index] for index in range(len(tokens))]


class _Server(uvicorn.Server):
    """
    uvicorn, saying when its start-up is over, however it went.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.start_up_over = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.start_up_over.set()


@contextmanager
def serve(app: ASGIApp, *, http_client: httpx.Client) -> Iterator[ProtectedApi]:
    """
    Serve *app* until the block ends. Asks it with *http_client*, and leaves that open.

    Raises:
        RuntimeError: Its start-up failed, or took longer than `START_TIMEOUT`.
    """
    # With "auto", uvicorn takes a failed start-up for an unsupported one, and serves all the same.
    server = _Server(uvicorn.Config(app, lifespan="on", ws="none", log_level="warning"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        if not server.start_up_over.wait(START_TIMEOUT) or not server.started:
            raise RuntimeError("the protected API did not start")
        yield ProtectedApi(f"http://127.0.0.1:{listener.getsockname()[1]}", http_client)
    finally:
        server.should_exit = True
        thread.join(STOP_TIMEOUT)
        listener.close()


def _authorization(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}
