"""
A client's side of OAuth, as far as the commands need it: find the token endpoint, ask for a token.
"""

import re
from typing import Any, Final
from urllib.parse import quote_plus

import httpx

from .._discovery import metadata_urls
from .._urls import require_fetchable
from ..errors import PolicyError
from ._errors import UsageError

TIMEOUT: Final = 10.0  # seconds for one request

_ERROR_CODE: Final = re.compile(r"[a-z_]{1,40}")
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
    form = {"grant_type": "client_credentials", "scope": scope, "audience": audience}
    data = {name: value for name, value in form.items() if value is not None}
    # RFC 6749 §2.3.1: identifier and secret are form-encoded before they are joined.
    credentials = httpx.BasicAuth(quote_plus(client_id), quote_plus(client_secret))
    endpoint = token_endpoint(http, issuer, insecure_allow_http=insecure_allow_http)
    return _read_token(_send(http, httpx.Request("POST", endpoint, data=data), auth=credentials))


def _require_safe(url: str, *, name: str, insecure_allow_http: bool) -> None:
    # RFC 6749 §3.2: the endpoint takes a secret, so it MUST be TLS; loopback never leaves the machine.
    try:
        require_fetchable(url, name=name, insecure_allow_http=insecure_allow_http)
    except PolicyError as exc:
        raise UsageError(str(exc).replace("insecure_allow_http=True", "--insecure-allow-http")) from exc


def _send(http: httpx.Client, request: httpx.Request, auth: httpx.Auth | None = None) -> httpx.Response:
    try:
        return http.send(request, auth=auth)
    except httpx.HTTPError as exc:
        reason = str(exc) or type(exc).__name__
        raise UsageError(f"cannot reach {request.url}: {reason}. Is the issuer running?") from exc


def _read_token(response: httpx.Response) -> str:
    """
    The token of a token response (RFC 6749 §5.1), or what the error response says (§5.2).
    """
    document = _answer(response)
    token = document.get("access_token")
    if isinstance(token, str) and token.isascii() and token.isprintable():
        return token
    error = document.get("error")
    if not isinstance(error, str) or not _ERROR_CODE.fullmatch(error):
        raise UsageError(f"the issuer gave no token: it answered with status {response.status_code}")
    raise UsageError(f"the issuer gave no token: {error}" + (f": {_HINTS[error]}" if error in _HINTS else ""))


def _answer(response: httpx.Response) -> dict[str, Any]:
    """
    The JSON object of an answer; an empty one when it is something else.
    """
    try:
        document: dict[str, Any] | list[Any] = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
