"""
Serving ASGI applications with uvicorn: for good, or in a thread while something else is done.
"""

import errno
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, Final

from ._errors import UsageError

START_TIMEOUT: Final = 15.0  # seconds
_POLL: Final = 0.01  # seconds between looks at a server that starts


def server_for(app: Any, *, lifespan: str) -> Any:
    """
    A uvicorn server for *app*, not running yet.

    Raises:
        UsageError: uvicorn is not installed.
    """
    uvicorn = _uvicorn()
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan=lifespan))


@contextmanager
def serving(app: Any, *, sock: socket.socket, lifespan: str = "on") -> Generator[None, None, None]:
    """
    Serve *app* on a bound socket from a thread, from when it is ready until the context ends.

    Raises:
        UsageError: uvicorn is not installed, or the application does not start.
    """
    server = server_for(app, lifespan=lifespan)
    thread = threading.Thread(target=_run, args=(server, sock), daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(_POLL)
        if not server.started:
            raise UsageError("the application did not start; its messages are above")
        yield
    finally:
        server.should_exit = True
        thread.join(START_TIMEOUT)


def _run(server: Any, sock: socket.socket) -> None:
    with suppress(SystemExit):  # how uvicorn says that the application did not start
        server.run(sockets=[sock])


def listen(host: str, port: int) -> socket.socket:
    """
    A listening socket: who is told its address can connect at once. Port 0 takes a free one.

    Raises:
        UsageError: The address cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address, family=family)
    except (OSError, UnicodeError) as exc:  # a host name that cannot even be looked up is a UnicodeError
        if isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} of {host} is taken: choose another with --port, or --port 0 for a free one"
            ) from exc
        reason = getattr(exc, "strerror", None) or str(exc)
        raise UsageError(f"cannot listen on {host}, port {port}: {reason}") from exc


def free_port() -> socket.socket:
    """
    A socket bound to a free loopback port: bound and not just found, so that nobody else takes it.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def address(sock: socket.socket) -> str:
    """
    The URL a server on *sock* answers at.
    """
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


def _uvicorn() -> ModuleType:
    try:
        import uvicorn  # noqa: PLC0415 - an extra that only two commands need
    except ImportError as exc:
        raise UsageError("uvicorn is needed to serve: pip install 'asgi-guardrail[demo]'") from exc
    return uvicorn
