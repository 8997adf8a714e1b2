"""
Where an issuer's keys are, and getting them from there: discovery, then the JWK Set.
"""

from http import HTTPStatus

import httpx

from ._discovery import metadata_urls, read_metadata
from ._fetch import client_for_fetching, fetch
from ._issuer import Issuer
from ._json import parse_json_object
from ._keys import VerificationKeys, read_jwk_set

__all__ = ["KeySource"]


class KeySource:
    """
    The network side of one issuer's keys. Keeps nothing: each `download` is from the start.
    """

    def __init__(self, issuer: Issuer, *, http_client: httpx.AsyncClient | None = None) -> None:
        """
        Args:
            issuer: Whose keys.
            http_client: What to fetch with, unless the issuer brings its own; None makes one per download
                around one shared TLS context.
        """
        self._issuer = issuer
        self._http_client = issuer.http_client or http_client

    async def download(self) -> VerificationKeys:
        """
        Discover and fetch the issuer's keys, in a handful of requests.

        Raises:
            ValueError: An answer is not what it should be.
            Exception: Whatever the HTTP client raises.
        """
        async with client_for_fetching(self._http_client) as client:
            jwks_uri = self._issuer.jwks_uri or await self._discover(client)
            status, body = await fetch(client, jwks_uri)
        if status != HTTPStatus.OK:
            raise ValueError(f"the JWK Set was answered with status {status}")
        return read_jwk_set(parse_json_object(body), algorithms=tuple(self._issuer.algorithms))

    async def _discover(self, client: httpx.AsyncClient) -> str:
        """
        Ask each place the metadata may be at; only "not here" moves on to the next.
        """
        reason = "no metadata"
        for url in metadata_urls(self._issuer.url):
            try:
                status, body = await fetch(client, url)
                if status == HTTPStatus.OK:
                    return self._read_metadata(body)
                reason = f"status {status}"
            except ValueError as exc:  # somebody's 200, but not this issuer's metadata
                status, reason = HTTPStatus.OK, str(exc)
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise ValueError(f"the metadata was answered with status {status}")
        raise ValueError(f"no metadata of this issuer was found; last: {reason}")

    def _read_metadata(self, body: bytes) -> str:
        insecure = self._issuer.insecure_allow_http
        return read_metadata(parse_json_object(body), issuer=self._issuer.url, insecure_allow_http=insecure)
