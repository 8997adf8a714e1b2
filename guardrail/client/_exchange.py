"""
One HTTP request to an authorization server, and its whole answer within bounds.

Nothing of a client given by the application goes along but its TLS, its proxies and its event hooks: no
header, no cookie, no credentials, no base URL. Redirects are not followed whatever it is set to.
"""

import socket
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from .._fetch import LOOPBACK, tls_context, unpacked
from .._version import __version__
from ._answers import Reply

__all__ = ["MAX_BODY_BYTES", "Connection", "http_client", "send"]

MAX_BODY_BYTES: Final = 65_536  # compressed and uncompressed

_HEADERS: Final = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": f"asgi-guardrail/{__version__}",
}


class Connection:
    """
    The connections of one exchange, so that another thread can cut them.

    A socket that is shut down wakes whoever waits for it; one that is only closed does not.
    """

    def __init__(self) -> None:
        self._stream: Any = None
        self._is_cut = False

    def cut(self) -> None:
        """
        End what is under way, and let nothing more begin.
        """
        self._is_cut = True
        sock: socket.socket | None = self._stream and self._stream.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):  # it ended by itself
                sock.shutdown(socket.SHUT_RDWR)

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """
        Hear of connections from httpcore, by its *trace* extension.

        Raises:
            TimeoutError: The exchange is over.
        """
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._stream = info["return_value"]
        if self._is_cut:
            raise TimeoutError


@contextmanager
def http_client(given: httpx.Client | None) -> Generator[httpx.Client]:
    """
    The client to send with: the one given, or a new one that lives for this exchange.

    Exchanges are minutes apart, so connections are not kept; the TLS context is, which is what is slow to
    build.
    """
    if given is not None:
        yield given
        return
    # A proxy from the environment is for the network, not for a server on this machine.
    direct: dict[str, httpx.BaseTransport | None] = dict.fromkeys(LOOPBACK)
    with httpx.Client(verify=tls_context(), follow_redirects=False, mounts=direct) as client:
        yield client


def send(
    client: httpx.Client,
    url: str,
    *,
    form: Iterable[tuple[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
    until: float,
    connection: Connection,
) -> Reply:
    """
    POST *form* to *url*, or GET it without one.

    Args:
        headers: Fields beside our own, such as credentials.
        until: When it must be over, by `time.monotonic`; looked at between the pieces of a body.
        connection: Hears of the connections it uses.

    Raises:
        httpx.TimeoutException: Time is up.
        Exception: Whatever the HTTP client raises.
    """
    request = _request(url, form=form, headers=headers or {})
    left = max(until - time.monotonic(), 0.001)
    request.extensions = {
        "timeout": httpx.Timeout(left).as_dict(),
        "trace": connection.trace,
    }
    try:
        response = client.send(request, stream=True, auth=None, follow_redirects=False)
    except httpx.HTTPStatusError as exc:  # an event hook's raise_for_status; the status is all there is
        return Reply(exc.response.status_code, exc.response.headers, None)
    try:
        return Reply(response.status_code, response.headers, _read(response, until))
    finally:
        response.close()


def _request(
    url: str, *, form: Iterable[tuple[str, str]] | None, headers: Mapping[str, str]
) -> httpx.Request:
    """
    A request made by hand: a client would add its own headers, cookies and parameters.
    """
    if form is None:
        return httpx.Request("GET", url, headers=_HEADERS)
    content_type = {"content-type": "application/x-www-form-urlencoded"}
    content = urlencode([*form]).encode("ascii")
    return httpx.Request("POST", url, headers={**_HEADERS, **content_type, **headers}, content=content)


def _read(response: httpx.Response, until: float) -> bytes | None:
    """
    The body, or None if it is larger than `MAX_BODY_BYTES` or packed in another way than gzip.
    """
    is_packed = response.headers.get("content-encoding", "identity").lower() != "identity"
    if response.is_stream_consumed:  # an event hook has read it, and httpx unpacked it
        is_packed = False
    body = bytearray()
    for piece in response.iter_raw() if is_packed else response.iter_bytes():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            return None
        if time.monotonic() >= until:
            raise httpx.ReadTimeout("the answer took too long")
    if not is_packed:
        return bytes(body)
    try:
        return unpacked(bytes(body), MAX_BODY_BYTES)
    except ValueError:
        return None
