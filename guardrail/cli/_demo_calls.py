"""
The calls of the demo: each a request, the token it carries, and the answer that is right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from ..issuer import Client
from . import _forgeries as forgeries
from ._oauth import request_token

OTHER_AUDIENCE = "https://api.example.com/billing"


@dataclass(frozen=True, slots=True)
class Call:
    """
    One call and what should come of it.
    """

    method: str
    path: str
    label: str
    token: str | None
    expected: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    One call and what came of it.
    """

    call: Call
    got: int
    challenge: str

    @property
    def is_right(self) -> bool:
        """
        Whether the answer was the right one: its status, and for 401 a challenge.
        """
        return self.got == self.call.expected and (self.got != 401 or self.challenge.startswith("Bearer "))


@dataclass(frozen=True, slots=True)
class Scene:
    """
    A running issuer, its registered clients, and a running API.
    """

    http: httpx.Client
    issuer: str
    api: str
    portal: Client
    reader: Client
    batch: Client

    def token(self, client: Client, audience: str | None = None) -> str:
        """
        A token over HTTP, as the client itself would get one.
        """
        secret = client.client_secret or ""
        return request_token(
            self.http, self.issuer, client_id=client.client_id, client_secret=secret, audience=audience
        )

    def call(self, call: Call) -> Outcome:
        """
        Make one call over HTTP.
        """
        headers = {} if call.token is None else {"Authorization": f"Bearer {call.token}"}
        response = self.http.request(call.method, self.api + call.path, headers=headers)
        return Outcome(call, response.status_code, response.headers.get("www-authenticate", ""))

    def public_key(self) -> dict[str, Any]:
        """
        The issuer's current public key, as anybody can fetch it.
        """
        jwk: dict[str, Any] = self.http.get(f"{self.issuer}/jwks").json()["keys"][0]
        return jwk

    def rotate(self) -> None:
        """
        Let the issuer sign with a new key from now on.
        """
        self.http.post(f"{self.issuer}/rotate", data={}).raise_for_status()


def calls(scene: Scene, *, wait_for_expiry: Any) -> Iterator[Call]:
    """
    Every call of the demo, made ready one by one: what comes before a rotation happens before it.
    """
    good, read_only, short_lived = (scene.token(one) for one in (scene.portal, scene.reader, scene.batch))
    yield Call("GET", "/orders", "none", None, 401)
    yield Call("GET", "/orders", "good", good, 200)
    yield Call("POST", "/orders", "good", good, 201)
    yield Call("POST", "/orders", "scope missing", read_only, 403)
    yield Call("GET", "/orders", "for another audience", scene.token(scene.portal, OTHER_AUDIENCE), 401)
    yield Call("GET", "/orders", "tampered payload", forgeries.tampered(good), 401)
    yield Call("GET", "/orders", "alg: none", forgeries.unsigned(good), 401)
    confused = forgeries.signed_with_public_key(good, scene.public_key())
    yield Call("GET", "/orders", "HS256 with the public key", confused, 401)
    yield Call("GET", "/orders", "signed with an unknown key", forgeries.signed_with_own_key(good), 401)
    wait_for_expiry()
    yield Call("GET", "/orders", "expired", short_lived, 401)
    scene.rotate()
    yield Call("GET", "/orders", "new, after key rotation", scene.token(scene.portal), 200)
    yield Call("GET", "/orders", "old, after key rotation", good, 200)
    yield Call("GET", "/healthz", "none, public route", None, 200)
