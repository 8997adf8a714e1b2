"""
A client's side of OAuth, as far as the commands need it: find the token endpoint, ask for a token.
"""

import time
from typing import Any, Final

import httpx

from .._discovery import metadata_urls
from .._urls import require_fetchable
from ..client._answers import Reply, read_answer
from ..client._authentication import ClientAuthentication, Credentials
from ..client._exchange import Connection, send
from ..client._failures import OAUTH_ERRORS, Failure
from ..client._grants import TokenRequest
from ..errors import PolicyError
from ._errors import UsageError

TIMEOUT: Final = 10.0  # seconds for one request

_HINTS: Final = {
    "invalid_client": "the client ID or the client secret is wrong",
    "invalid_scope": "the client may not have this scope",
    "invalid_target": "the client may not have a token for this audience",
    "unauthorized_client": "the client may not use the client credentials grant",
}


def http_client() -> httpx.Client:
    """
    An HTTP client that follows no redirect, and asks no proxy for what is on this machine.
    """
    direct = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}
    return httpx.Client(timeout=TIMEOUT, follow_redirects=False, mounts=direct)


def token_endpoint(http: httpx.Client, issuer: str, *, insecure_allow_http: bool = False) -> str:
    """
    Discover the token endpoint of *issuer* (RFC 8414 §3; the issuer compared exactly, §3.3).

    Raises:
        UsageError: It is no URL to send a secret to, or no metadata of this issuer is there.
    """
    _require_safe(issuer, name="the issuer", insecure_allow_http=insecure_allow_http)
    names: list[object] = []
    for url in metadata_urls(issuer):
        document = _answer(_send(http, httpx.Request("GET", url)))
        endpoint = document.get("token_endpoint")
        if document.get("issuer") == issuer and isinstance(endpoint, str):
            _require_safe(endpoint, name="its token endpoint", insecure_allow_http=insecure_allow_http)
            return endpoint
        names += [document["issuer"]] if "issuer" in document else []
    if names and names[0] != issuer:
        raise UsageError(f"{issuer} calls itself {str(names[0])[:200]!r}: spell it exactly like that")
    raise UsageError(f"{issuer} publishes no metadata that names a token endpoint: is it an issuer?")


def request_token(
    http: httpx.Client,
    issuer: str,
    *,
    client_id: str,
    client_secret: str,
    scope: str | None = None,
    audience: str | None = None,
    insecure_allow_http: bool = False,
) -> str:
    """
    Get an access token on the client credentials grant (RFC 6749 §4.4).

    Raises:
        UsageError: The issuer cannot be reached or refuses; the message has its error code, never the secret.
    """
    endpoint = token_endpoint(http, issuer, insecure_allow_http=insecure_allow_http)
    client = ClientAuthentication(client_id, "client_secret_basic", client_secret, wall_clock=time.time)
    request = TokenRequest(scopes=tuple((scope or "").split()), audience=audience)
    reply = _ask(http, endpoint, client.credentials(endpoint), request)
    answer = read_answer(reply, wall_clock=time.time)
    if isinstance(answer, Failure):
        raise UsageError(f"the issuer gave no token: {_words_for(answer, reply)}")
    return answer.access_token


def _ask(http: httpx.Client, endpoint: str, credentials: Credentials, request: TokenRequest) -> Reply:
    connection, until = Connection(), time.monotonic() + TIMEOUT
    form, headers = request.form(), credentials.headers
    try:
        return send(http, endpoint, form=form, headers=headers, until=until, connection=connection)
    except httpx.HTTPError as exc:
        raise UsageError(_unreachable(endpoint, exc)) from exc


def _require_safe(url: str, *, name: str, insecure_allow_http: bool) -> None:
    # RFC 6749 §3.2: the endpoint takes a secret, so it MUST be TLS; loopback never leaves the machine.
    try:
        require_fetchable(url, name=name, insecure_allow_http=insecure_allow_http)
    except PolicyError as exc:
        raise UsageError(str(exc).replace("insecure_allow_http=True", "--insecure-allow-http")) from exc


def _send(http: httpx.Client, request: httpx.Request) -> httpx.Response:
    try:
        return http.send(request)
    except httpx.HTTPError as exc:
        raise UsageError(_unreachable(str(request.url), exc)) from exc


def _unreachable(url: str, exc: httpx.HTTPError) -> str:
    return f"cannot reach {url}: {str(exc) or type(exc).__name__}. Is the issuer running?"


def _words_for(failure: Failure, reply: Reply) -> str:
    """
    What an error response says (RFC 6749 §5.2), or why the answer is none.
    """
    if failure.error in _HINTS:
        return f"{failure.error}: {_HINTS[failure.error]}"
    if failure.error in OAUTH_ERRORS:
        return failure.error
    return failure.detail if failure.error == "bad_response" else f"it answered with status {reply.status}"


def _answer(response: httpx.Response) -> dict[str, Any]:
    """
    The JSON object of an answer; an empty one when it is something else.
    """
    try:
        document: dict[str, Any] | list[Any] = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
