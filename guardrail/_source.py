"""
Where an issuer's keys are, and getting them from there: discovery, then the JWK Set.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx

from ._discovery import Endpoints, metadata_urls, read_endpoints, read_metadata
from ._fetch import Answer, client_for_fetching, fetch
from ._freshness import max_age_of
from ._issuer import Issuer
from ._json import parse_json_object, parse_lenient_object
from ._keys import VerificationKeys, read_jwk_set
from ._urls import is_loopback

__all__ = ["Download", "KeySource"]


CONTAINERS: Final = 32  # arrays and objects that a JWK Set may have beside its keys
CONTAINERS_OF_KEY: Final = 16  # and for each key: itself, key_ops, x5c, and what an issuer may add


@dataclass(frozen=True, slots=True)
class Download:
    """
    What an issuer answered.

    Attributes:
        keys: Its keys.
        max_age: Seconds they are fresh for by the answer's own word, or None.
    """

    keys: VerificationKeys
    max_age: float | None


class KeySource:
    """
    The network side of one issuer's keys. Keeps no keys: each `download` is from the start.

    Attributes:
        endpoints: What discovery last said of the issuer's endpoints; None before, and where nothing is
            discovered.
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
        self.endpoints: Endpoints | None = None

    async def download(self) -> Download:
        """
        Discover and fetch the issuer's keys, in a handful of requests.

        Raises:
            ValueError: An answer is not what it should be.
            Exception: Whatever the HTTP client raises.
        """
        is_local = is_loopback(urlsplit(self._issuer.jwks_uri or self._issuer.url).hostname or "")
        async with client_for_fetching(self._http_client, is_local=is_local) as client:
            jwks_uri = self._issuer.jwks_uri or await self._discover(client)
            answer = await self._get(client, jwks_uri)
        if answer.status != HTTPStatus.OK:
            raise ValueError(f"the JWK Set was answered with status {answer.status}")
        max_keys = self._issuer.fetching.max_keys
        # One broken key must not take the others along: what is wrong inside of it is for read_jwk to find.
        document = parse_lenient_object(answer.body, max_containers=CONTAINERS + CONTAINERS_OF_KEY * max_keys)
        keys = read_jwk_set(document, algorithms=tuple(self._issuer.algorithms), max_keys=max_keys)
        return Download(
            keys, max_age_of(answer.headers.get("cache-control", ""), answer.headers.get("age", ""))
        )

    async def _discover(self, client: httpx.AsyncClient) -> str:
        """
        Ask each place the metadata may be at; only "not here" moves on to the next.
        """
        reason = "no metadata"
        for url in metadata_urls(self._issuer.url):
            try:
                answer = await self._get(client, url)
                status = answer.status
                if status == HTTPStatus.OK:
                    return self._read_metadata(answer.body)
                reason = f"status {status}"
            except ValueError as exc:  # somebody's 200, but not this issuer's metadata
                status, reason = HTTPStatus.OK, str(exc)
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise ValueError(f"the metadata was answered with status {status}")
        raise ValueError(f"no metadata of this issuer was found; last: {reason}")

    async def _get(self, client: httpx.AsyncClient, url: str) -> Answer:
        fetching = self._issuer.fetching
        return await fetch(
            client,
            url,
            max_body_bytes=fetching.max_body_bytes,
            insecure_allow_link_local=fetching.insecure_allow_link_local,
        )

    def _read_metadata(self, body: bytes) -> str:
        document, url = parse_json_object(body), self._issuer.url
        insecure = self._issuer.insecure_allow_http
        jwks_uri = read_metadata(document, issuer=url, insecure_allow_http=insecure)
        self.endpoints = read_endpoints(document, issuer=url, insecure_allow_http=insecure)
        return jwks_uri
