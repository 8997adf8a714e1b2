"""
One protected API, requests made of raw bytes, and tokens that any key signs over any octets.
"""

import base64
import functools
import hashlib
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Scope

from guardrail import GuardrailMiddleware, Issuer, ServicePackage, current_operator
from guardrail.events import Event, TokenRefused
from guardrail.issuer import SigningKeys
from guardrail.testing import FakeIssuer

NOW: Final = 1_800_000_000.0
URL: Final = "https://login.example.com"
AUDIENCE: Final = "https://api.example.com/orders"
METADATA_URL: Final = "https://api.example.com/.well-known/oauth-protected-resource/orders"
SCOPE: Final = "orders:read"

Fields = Iterable[tuple[bytes, bytes]]
Sign = Callable[[bytes], bytes]
Json = Mapping[str, object] | bytes

# RFC 9110 §11.6.1 and RFC 6750 §3: one Bearer challenge, its parameters once each; the characters of a
# quoted-string that need no escape.
_PARAMETER: Final = r'([a-z_]+)=(?:"([\x20\x21\x23-\x5b\x5d-\x7e]*)"|([0-9]+))'
_CHALLENGE: Final = re.compile(rf"Bearer {_PARAMETER}(?:, {_PARAMETER})*")


def frozen() -> float:
    """
    A clock that stands still.
    """
    return NOW


@dataclass
class Clock:
    """
    A clock that goes where a test sends it.
    """

    now: float = NOW

    def __call__(self) -> float:
        return self.now


# Tokens


def encode(octets: bytes) -> str:
    """
    Unpadded base64url (RFC 7515 §2).
    """
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def decode(part: str) -> bytes:
    """
    What unpadded base64url stands for.
    """
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def octets_of(value: Json) -> bytes:
    """
    JSON text as it will be signed; bytes are taken as they are.
    """
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def compact(header: Json, claims: Json, sign: Sign) -> str:
    """
    A compact JWS over exactly these octets, whatever they are.
    """
    signing_input = f"{encode(octets_of(header))}.{encode(octets_of(claims))}"
    return f"{signing_input}.{encode(sign(signing_input.encode()))}"


def claims_of(url: str = URL, **changes: object) -> dict[str, object]:
    """
    A good claims set, but for *changes*; None leaves a claim out.
    """
    standard: dict[str, object] = {
        "iss": url,
        "aud": AUDIENCE,
        "sub": "alice",
        "client_id": "web",
        "iat": int(NOW),
        "exp": int(NOW) + 600,
        "jti": "t1",
        "scope": SCOPE,
    }
    return {name: value for name, value in (standard | changes).items() if value is not None}


def claims_with(raw: str) -> bytes:
    """
    A good claims set in which the members of *raw*, JSON text, take the place of those of the same name.
    """
    names = re.findall(r'"([a-z_]+)":', raw)
    good = {name: value for name, value in claims_of().items() if name not in names}
    return octets_of(good)[:-1] + f",{raw}}}".encode()


def header_of(keys: SigningKeys, **changes: object) -> dict[str, object]:
    """
    The header its issuer would write, but for *changes*; None leaves a parameter out.
    """
    standard: dict[str, object] = {"alg": keys.algorithm, "kid": keys.current.kid, "typ": "at+jwt"}
    return {name: value for name, value in (standard | changes).items() if value is not None}


def hmac_with(secret: bytes, digest: str = "sha256") -> Sign:
    """
    Sign as HS256 and its like do, with *secret*.
    """
    return lambda octets: hmac.new(secret, octets, getattr(hashlib, digest)).digest()


def unsigned(_: bytes) -> bytes:
    """
    No signature at all.
    """
    return b""


def with_signature(token: str, signature: bytes) -> str:
    """
    The same header and claims set under another signature.
    """
    return f"{token.rpartition('.')[0]}.{encode(signature)}"


def forged(token: str) -> str:
    """
    The same header and claims set under a signature that nobody made.
    """
    signature = bytearray(decode(token.rpartition(".")[2]))
    signature[0] ^= 1
    return with_signature(token, bytes(signature))


# Issuers


def new_issuer(
    url: str = URL, *, algorithm: str = "EdDSA", clock: Callable[[], float] = frozen
) -> FakeIssuer:
    """
    An authorization server with keys of its own, whose clock stands at `NOW`.
    """
    return FakeIssuer(url, algorithm=algorithm, clock=clock)


@functools.cache
def rsa_keys() -> SigningKeys:
    """
    A 2048-bit RSA key for RS256; one is made for the whole run.
    """
    return SigningKeys("RS256")


def rsa_issuer(url: str = URL) -> FakeIssuer:
    """
    An authorization server that signs with RS256.
    """
    fake = new_issuer(url)
    fake.keys = rsa_keys()
    return fake


# Requests


@dataclass(frozen=True)
class Answer:
    """
    What came back for one request.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[str]:
        """
        Every value of one response header.
        """
        return [value.decode("latin-1") for field_name, value in self.headers if field_name.lower() == name]

    @property
    def challenge(self) -> dict[str, str]:
        """
        The parameters of the one challenge, which is well-formed; empty where there is none.
        """
        values = self.values(b"www-authenticate")
        if not values:
            return {}
        (value,) = values
        assert _CHALLENGE.fullmatch(value), value
        found = [(name, quoted or number) for name, quoted, number in re.findall(_PARAMETER, value)]
        assert len(dict(found)) == len(found), value
        return dict(found)


def bearer(token: str | bytes) -> tuple[bytes, bytes]:
    """
    The header field that presents *token*.
    """
    return b"authorization", b"Bearer " + (token.encode() if isinstance(token, str) else token)


def scope_of(
    target: str = "/orders", *, method: str = "GET", headers: Fields = (), **members: object
) -> Scope:
    """
    The ASGI scope that a server makes of a request for *target*.
    """
    raw_path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"),
        "raw_path": raw_path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(b"host", b"api.example.com"), *headers],
        "client": ("203.0.113.7", 4711),
        "server": ("api.example.com", 443),
        "state": {},
        **members,
    }


async def send(app: ASGIApp, scope: Scope, *, body: bytes = b"") -> Answer:
    """
    Send one HTTP request, byte for byte as *scope* says.
    """
    sent: list[Message] = []
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def collect(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, collect)
    return Answer(
        status=sent[0]["status"],
        headers=[(bytes(name), bytes(value)) for name, value in sent[0]["headers"]],
        body=b"".join(message.get("body", b"") for message in sent[1:]),
    )


# The API


def package(*fakes: FakeIssuer, name: str = "orders", **settings: Any) -> ServicePackage:
    """
    The service package whose tokens *fakes* issue.
    """
    return ServicePackage(name, **{"issuer": [one.issuer for one in fakes], "audience": AUDIENCE} | settings)


def endpoint(ran: list[str]) -> Callable[[Request], Awaitable[Response]]:
    """
    A handler that notes that it ran, and answers with its operator's key.
    """

    async def read_orders(request: Request) -> Response:
        ran.append(request.scope["path"])
        return JSONResponse({"operator": current_operator().operator_id})

    return read_orders


@dataclass
class Api:
    """
    One protected application, and all that an attack must leave untouched.

    Attributes:
        app: The guarded application.
        good: Makes a token that it accepts.
        ran: The handlers that ran.
        outgoing: The requests made to anybody.
        heard: The events told.
    """

    app: ASGIApp
    good: Callable[[], str]
    ran: list[str]
    outgoing: list[str]
    heard: list[Event]

    async def send(
        self, *tokens: str | bytes, target: str = "/orders", headers: Fields = (), **members: Any
    ) -> Answer:
        """
        Send one request with these tokens, each in its field.
        """
        scope = scope_of(target, headers=[*headers, *map(bearer, tokens)], **members)
        return await send(self.app, scope)

    async def accepts(self, *tokens: str | bytes, **request: Any) -> Answer:
        """
        The request is answered 200, and one handler ran.
        """
        before = len(self.ran)
        answer = await self.send(*(tokens or (self.good(),)), **request)
        assert (answer.status, len(self.ran) - before) == (200, 1)
        return answer

    async def refuses(
        self,
        *tokens: str | bytes,
        status: int = 401,
        error: str | None = "invalid_token",
        code: str | None = None,
        **request: Any,
    ) -> Answer:
        """
        A good token passes, this request does not, and a good token passes still.

        No handler ran for it, nobody but the issuer was asked anything, the challenge is well-formed, and
        nothing of the request is in the answer.
        """
        await self.accepts()
        known, ran, heard = set(self.outgoing), list(self.ran), len(self.heard)
        answer = await self.send(*tokens, **request)
        assert (answer.status, answer.challenge.get("error")) == (status, error)
        assert answer.challenge["realm"] == "orders"
        assert self.ran == ran
        assert set(self.outgoing) <= known
        (refused,) = self.heard[heard:][-1:]
        assert isinstance(refused, TokenRefused)
        assert code in (None, refused.code)
        _assert_silent(answer, tokens)
        await self.accepts()
        return answer

    async def refuses_all(self, cases: Mapping[str, str | bytes], **expected: Any) -> None:
        """
        Each of *cases* is refused, between good tokens that pass; the first that is not is named.
        """
        assert cases
        for case, token in cases.items():
            with naming(case):
                await self.refuses(token, **expected)


@contextmanager
def naming(case: str) -> Generator[None, None, None]:
    """
    Say which case an assertion failed in.
    """
    try:
        yield
    except AssertionError as exc:
        exc.add_note(f"in the case: {case}")
        raise


def _assert_silent(answer: Answer, tokens: Iterable[str | bytes]) -> None:
    """
    No part of a token is in the answer.
    """
    told = b"\n".join((answer.body, *(name + value for name, value in answer.headers)))
    for token in tokens:
        raw = token.encode() if isinstance(token, str) else token
        assert not any(part in told for part in raw.split(b".") if len(part) > 8)


def api(
    fake: FakeIssuer | None = None,
    *,
    issuers: Sequence[Issuer] | None = None,
    good: Callable[[], str] | None = None,
    clock: Callable[[], float] = frozen,
    package_settings: Mapping[str, Any] | None = None,
    requirement: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Api:
    """
    An API of one route, ``GET /orders``, that needs the scope `SCOPE`.

    Args:
        fake: Its authorization server; a new one if not given.
        issuers: The issuers it trusts instead, such as those with keys in hand.
        good: Makes a token that it accepts.
        clock: Its wall clock.
        package_settings: More for `guardrail.ServicePackage`.
        requirement: More for ``requires``.
        settings: More for `guardrail.GuardrailMiddleware`.
    """
    issuer, ran = fake or new_issuer(), list[str]()
    trusted: dict[str, Any] = {} if issuers is None else {"issuer": issuers}
    orders = package(issuer, **trusted, **package_settings or {})
    guarded = orders.requires(SCOPE, **requirement or {})(endpoint(ran))
    return guard([Route("/orders", guarded)], issuer, ran, good=good, clock=clock, **settings)


def guard(
    routes: Sequence[BaseRoute] | ASGIApp,
    issuer: FakeIssuer,
    ran: list[str],
    *,
    good: Callable[[], str] | None = None,
    **settings: Any,
) -> Api:
    """
    An API of these routes, or of this application, whose handlers note in *ran* that they ran.
    """
    heard: list[Event] = []
    app = Starlette(routes=routes) if isinstance(routes, Sequence) else routes
    # Whatever is fetched without an issuer's own client is recorded too.
    standard: dict[str, Any] = {
        "http_client": issuer.http_client,
        "on_event": [heard.append],
        "clock": frozen,
    }
    return Api(
        app=GuardrailMiddleware(app, **standard | settings),
        good=good or functools.partial(issuer.token, scope=SCOPE),
        ran=ran,
        outgoing=issuer.requests,
        heard=heard,
    )


def jwk_set(*keys: Mapping[str, object]) -> dict[str, object]:
    """
    A JWK Set of these keys.
    """
    return {"keys": [dict(key) for key in keys]}


async def fastest(run: Callable[[], Awaitable[object]], *, times: int = 25) -> float:
    """
    The least that *run* took, in seconds: what else the machine was doing is in the other times.
    """
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        await run()
        best = min(best, time.perf_counter() - started)
    return best


async def cost_of(app: ASGIApp, *tokens: str | bytes) -> float:
    """
    The seconds that a request with these tokens takes at best.
    """
    scope = scope_of(headers=list(map(bearer, tokens)))
    return await fastest(lambda: send(app, scope))


async def cost_of_a_forgery() -> float:
    """
    The seconds that refusing a forged RS256 token takes: one verification with a 2048-bit key, and the rest.
    """
    fake = rsa_issuer()
    guarded = api(fake)
    await guarded.accepts()
    return await cost_of(guarded.app, forged(fake.token(scope=SCOPE)))
