"""
Token requests over real sockets, to servers that behave badly.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from guardrail.client import AuthenticationProfile
from guardrail.client._exchange import Connection, send
from guardrail.errors import TokenUnavailableError

BODY = b'{"access_token":"a","token_type":"Bearer","expires_in":300}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
TIMEOUT = 0.4  # seconds
TLS_HANDSHAKE = 0x16  # RFC 8446 §5.1
PATIENCE = 10.0  # seconds: far more, and far less than what the servers would take

Behaviour = Callable[[socket.socket, threading.Event], None]


def request_on(connection: socket.socket) -> bytes:
    """
    A whole request, whose body may come in a piece of its own; or what begins a TLS handshake.
    """
    request = b""
    while not request.endswith(b"client_id=a"):
        piece = connection.recv(65_536)
        request += piece
        if not piece or request[0] == TLS_HANDSHAKE:
            break
    return request


@contextmanager
def serving(behave: Behaviour) -> Iterator[tuple[str, list[bytes], threading.Event]]:
    """
    A server that reads a request and does as told, with each connection; its requests; whether one was cut.
    """
    stop, cut, requests, threads = (
        threading.Event(),
        threading.Event(),
        list[bytes](),
        list[threading.Thread](),
    )
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                requests.append(request_on(connection))
                behave(connection, stop)
            except OSError:
                cut.set()

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            if stop.is_set():
                connection.close()
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    port = listener.getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/token", requests, cut
    finally:
        stop.set()
        socket.create_connection(("127.0.0.1", port)).close()
        acceptor.join()
        listener.close()
        for thread in threads:
            thread.join()


def dripping(before: bytes, drop: bytes) -> Behaviour:
    """
    Sends something, and then a little now and then, without end.
    """

    def behave(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(before)
        while not stop.wait(0.02):
            connection.sendall(drop)

    return behave


def answering(connection: socket.socket, _stop: threading.Event) -> None:
    connection.sendall(HEAD % len(BODY) + BODY)


def silent(_connection: socket.socket, stop: threading.Event) -> None:
    stop.wait(PATIENCE)


def hanging_up(connection: socket.socket, _stop: threading.Event) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def flooding(connection: socket.socket, stop: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not stop.is_set():
        connection.sendall(b"8000\r\n" + b" " * 0x8000 + b"\r\n")


def profile(url: str, **arguments: Any) -> AuthenticationProfile:
    return AuthenticationProfile(**{"token_url": url, "client_id": "a", "timeout": TIMEOUT, **arguments})


def call(one: AuthenticationProfile) -> httpx.Response:
    transport = httpx.MockTransport(lambda _request: httpx.Response(200))
    with httpx.Client(transport=transport, auth=one) as client:
        return client.get("https://api.example.com/")


def test_a_token_over_a_socket() -> None:
    """
    A client of our own makes one request, and sends no more than it should.
    """
    with serving(answering) as (url, requests, _):
        response = call(profile(url, timeout=PATIENCE))

    assert response.request.headers["authorization"] == "Bearer a"
    head, _, body = requests[0].partition(b"\r\n\r\n")
    names = sorted(line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:])
    assert head.startswith(b"POST /token HTTP/1.1\r\n")
    assert names == [
        b"accept",
        b"accept-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"user-agent",
    ]
    assert body == b"grant_type=client_credentials&client_id=a"


@pytest.mark.parametrize("is_given", [False, True], ids=["our own client", "a given client"])
@pytest.mark.parametrize(
    "behave",
    [
        pytest.param(silent, id="silence"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"), id="a header without end"),
        pytest.param(dripping(HEAD % 60_000, b" "), id="a body without end"),
        pytest.param(
            dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a"), id="a chunk's size"
        ),
    ],
)
def test_the_whole_request_has_one_timeout(behave: Behaviour, is_given: bool) -> None:
    """
    However a server spreads its bytes, it is over when time is up, and the connection is cut.
    """
    with serving(behave) as (url, requests, _), httpx.Client() as given:
        began = time.monotonic()
        with pytest.raises(TokenUnavailableError) as failed:
            call(profile(url, http_client=given if is_given else None))
        took = time.monotonic() - began
        for thread in threading.enumerate():
            if thread.name == "guardrail-token-request":
                thread.join(PATIENCE)
                assert not thread.is_alive()

    assert failed.value.error == "timeout"
    assert TIMEOUT * 0.9 <= took < PATIENCE / 2
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("behave", "error"),
    [pytest.param(hanging_up, "connect", id="hangs up"), pytest.param(flooding, "bad_response", id="floods")],
)
def test_bad_manners(behave: Behaviour, error: str) -> None:
    """
    A connection that ends is told as such; a body is read up to 64 KiB and no further.
    """
    with serving(behave) as (url, _, _), pytest.raises(TokenUnavailableError) as failed:
        call(profile(url, timeout=PATIENCE))

    assert failed.value.error == error


def test_nobody_there() -> None:
    """
    A refused connection names the system's error, and nothing that was sent.
    """
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    with pytest.raises(TokenUnavailableError, match=r"connect \(ConnectError: ECONNREFUSED\)"):
        call(profile(f"http://127.0.0.1:{port}/"))


def test_no_tls_there() -> None:
    """
    A server that speaks no TLS is told by OpenSSL's name for it.
    """
    with (
        serving(answering) as (url, _, _),
        pytest.raises(TokenUnavailableError, match=r"ConnectError: [A-Z_]+"),
    ):
        call(profile(url.replace("http:", "https:"), timeout=PATIENCE))


def test_a_body_is_not_read_past_its_time() -> None:
    """
    Between two pieces of a body the time is looked at.
    """
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=BODY))

    with httpx.Client(transport=transport) as client, pytest.raises(httpx.ReadTimeout):
        send(client, "https://login.example.com/token", form=[], until=0.0, connection=Connection())


def test_a_connection_made_too_late_is_not_used() -> None:
    """
    When time was up before there was a connection, nothing is sent on it.
    """
    connection = Connection()
    connection.cut()

    with pytest.raises(TimeoutError):
        connection.trace("connection.connect_tcp.complete", {"return_value": None})


def test_a_connection_that_ended_by_itself_is_cut_in_vain() -> None:
    """
    Cutting what is closed already is no error; other events of a connection are not looked at.
    """
    ours, theirs = socket.socketpair()

    class Stream:
        def get_extra_info(self, name: str) -> socket.socket:
            assert name == "socket"
            return ours

    connection = Connection()
    connection.trace("http11.send_request_headers.started", {})
    connection.trace("connection.connect_tcp.complete", {"return_value": Stream()})
    ours.close()
    theirs.close()

    connection.cut()

    assert ours.fileno() == -1
