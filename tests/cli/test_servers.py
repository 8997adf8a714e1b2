"""
Serving: a socket that can be connected to at once, and a server in a thread.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from guardrail.cli import _servers
from guardrail.cli._errors import UsageError
from guardrail.cli._servers import address, free_port, listen, serving


def _app() -> Starlette:
    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    return Starlette(routes=[Route("/", hello)])


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """
    A bound loopback socket.
    """
    with free_port() as bound:
        yield bound


def test_the_application_answers_while_the_context_lasts(sock: socket.socket) -> None:
    """
    It is ready when the context begins, and gone when it has ended.
    """
    with serving(_app(), sock=sock):
        inside = httpx.get(address(sock)) if sock.fileno() >= 0 else None
        url = address(sock)

    assert inside is not None
    assert inside.text == "hello"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_it_ends_with_an_exception_too(sock: socket.socket) -> None:
    """
    What fails inside the context does not leave a server behind.
    """
    url = address(sock)

    with pytest.raises(ZeroDivisionError), serving(_app(), sock=sock):
        raise ZeroDivisionError

    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_an_application_that_does_not_start_is_told(sock: socket.socket) -> None:
    """
    A failed lifespan is an error at once, not after the time-out.
    """

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(UsageError, match="did not start; its messages are above"), serving(broken, sock=sock):
        raise AssertionError("it must not get here")


def test_an_application_that_never_starts_is_given_up(
    sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A lifespan that hangs does not hang the command.
    """
    is_over = threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.to_thread(is_over.wait, 10)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    monkeypatch.setattr(_servers, "START_TIMEOUT", 0.2)
    before = threading.active_count()

    with pytest.raises(UsageError, match="did not start"), serving(slow, sock=sock):
        raise AssertionError("it must not get here")

    is_over.set()
    for thread in threading.enumerate()[before:]:
        thread.join(10)


def test_who_is_told_the_address_can_connect_at_once() -> None:
    """
    The socket listens before anything is said of it.
    """
    with listen("127.0.0.1", 0) as listening:
        host, port = listening.getsockname()
        with socket.create_connection((host, port), timeout=5):
            pass

    assert port > 0


def test_a_taken_port_is_refused_with_what_to_do() -> None:
    """
    Somebody else on the port is one readable message.
    """
    with listen("127.0.0.1", 0) as other:
        port = other.getsockname()[1]

        with pytest.raises(UsageError) as refused:
            listen("127.0.0.1", port)

    assert str(refused.value) == (
        f"port {port} of 127.0.0.1 is taken: choose another with --port, or --port 0 for a free one"
    )


@pytest.mark.parametrize(
    "host", [pytest.param("192.0.2.1", id="not ours"), pytest.param("x" * 70, id="no host name at all")]
)
def test_an_address_that_cannot_be_had_is_refused(host: str) -> None:
    """
    The message names the address and the reason.
    """
    with pytest.raises(UsageError, match=rf"cannot listen on {host}, port 0: \w+"):
        listen(host, 0)


def test_a_failed_lookup_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A host name that nobody knows is refused with the resolver's words.
    """

    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(UsageError, match="Name or service not known"):
        listen("nosuch.invalid", 9000)
