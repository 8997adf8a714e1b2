"""
Where a profile sends its requests: as configured, or as the issuer's metadata says (RFC 8414), asked for
once.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from .._discovery import ClientEndpoints, metadata_urls, read_client_endpoints
from .._json import parse_json_object
from ._answers import Reply, pause_of
from ._failures import AttemptError, Failure

__all__ = ["Endpoints"]


class Endpoints:
    """
    The endpoints of one authorization server.

    With a token URL nothing is discovered; the issuer is then only who assertions are for.

    Attributes:
        audience: Whom a client assertion is for.
    """

    def __init__(self, *, issuer: str | None, token_url: str | None, revocation_url: str | None) -> None:
        self._revocation_url = revocation_url
        self._known = None if token_url is None else ClientEndpoints(token_url, revocation_url)
        self.audience = issuer or token_url or ""

    @property
    def host(self) -> str:
        """
        The token endpoint's host; before that is known, the issuer's.
        """
        return urlsplit(self.audience if self._known is None else self._known.token).hostname or ""

    def find(self, get: Callable[[str], Reply], *, wall_clock: Callable[[], float]) -> ClientEndpoints:
        """
        The endpoints. Asks each place where the metadata may be; only "not here" moves on to the next.

        Args:
            get: GETs a URL.
            wall_clock: Seconds since the epoch, for ``Retry-After``.

        Raises:
            AttemptError: There is no metadata of this issuer to be had. None of it is permanent.
        """
        if self._known is not None:
            return self._known
        failure = _NONE
        for url in metadata_urls(self.audience):
            found = _read(get(url), self.audience, wall_clock)
            if isinstance(found, ClientEndpoints):
                self._known = ClientEndpoints(found.token, self._revocation_url or found.revocation)
                return self._known
            # That somebody else's document is there says more than that elsewhere there is none.
            failure = failure if failure is _FOREIGN and found.error == "http_4xx" else found
            if found.error == "http_5xx" or found.retry_after:  # it is there, and wants to be left alone
                break
        raise AttemptError(failure)


_NONE: Final = Failure("bad_response", "discovery: no metadata")
_FOREIGN: Final = Failure(
    "bad_response", "discovery: the metadata is not this issuer's, or names no acceptable token endpoint"
)


def _read(reply: Reply, issuer: str, wall_clock: Callable[[], float]) -> ClientEndpoints | Failure:
    if reply.status == HTTPStatus.OK:
        try:
            return read_client_endpoints(parse_json_object(reply.body or b""), issuer=issuer)
        except ValueError:
            return _FOREIGN
    error = {3: "redirect", 4: "http_4xx", 5: "http_5xx"}.get(reply.status // 100, "bad_response")
    pause = pause_of(reply, wall_clock=wall_clock)
    return Failure(error, f"discovery: status {reply.status}", retry_after=pause)
