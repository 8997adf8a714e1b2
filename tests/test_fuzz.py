"""
Whatever a caller sends, the answer is the one the requirements ask for, and nothing of it comes back.

The oracle in this file is written from RFC 6750, 7515, 7519, 9068 and HOUSE.md, with its own base64url and
JSON readers; of guardrail it uses nothing. The number of examples is fixed, and in CI so are the examples.
"""

import base64
import dataclasses
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import unquote_to_bytes

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Scope

from guardrail import GuardrailMiddleware, Issuer, ServicePackage
from guardrail.errors import CODES
from guardrail.events import Event, TokenAccepted, TokenRefused

ISSUER: Final = "https://login.example.com"
AUDIENCE: Final = "https://api.example.com/orders"
SCOPE: Final = "orders:read"
NOW: Final = 1_800_000_000
LEEWAY: Final = 30
FUZZ: Final = settings(
    deadline=None,
    database=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)

Fields = list[tuple[bytes, bytes]]
Members = list[tuple[str, str]]  # names and values of a JSON object, each as JSON text
KeyName = Literal["ed", "ec", "rsa", "stranger"]


# The keys: three published, each with other algorithms, and one that nobody published.

ED: Final = ed25519.Ed25519PrivateKey.generate()
EC: Final = ec.generate_private_key(ec.SECP256R1())
RSA: Final = rsa.generate_private_key(65_537, 2_048)
STRANGER: Final = ed25519.Ed25519PrivateKey.generate()
ALGORITHM_OF: Final[Mapping[KeyName, str]] = {
    "ed": "EdDSA",
    "ec": "ES256",
    "rsa": "RS256",
    "stranger": "EdDSA",
}
# What each published key verifies: "ed" names no algorithm itself, the others name theirs.
VERIFIES: Final[Mapping[str, frozenset[str]]] = {
    "ed": frozenset({"EdDSA", "Ed25519"}),
    "ec": frozenset({"ES256"}),
    "rsa": frozenset({"RS256"}),
}


def b64(raw: bytes) -> bytes:
    """
    Unpadded base64url.
    """
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def number(value: int) -> str:
    """
    An integer member of a JWK (RFC 7518 §2, Base64urlUInt).
    """
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


def jwk_set() -> dict[str, Any]:
    """
    The published keys.
    """
    point, modulus = EC.public_key().public_numbers(), RSA.public_key().public_numbers()
    x, y = (b64(one.to_bytes(32, "big")).decode() for one in (point.x, point.y))
    ed = b64(ED.public_key().public_bytes_raw()).decode()
    return {
        "keys": [
            {"kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": ed, "use": "sig"},
            {"kid": "ec", "kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256"},
            {"kid": "rsa", "kty": "RSA", "n": number(modulus.n), "e": number(modulus.e), "alg": "RS256"},
        ]
    }


def sign(key: KeyName, signing_input: bytes) -> bytes:
    """
    The signature of one of the keys, as a JWS has it (RFC 7518 §3, RFC 8037 §3.1).
    """
    if key == "rsa":
        return RSA.sign(signing_input, padding.PKCS1v15(), SHA256())
    if key == "ec":
        r, s = decode_dss_signature(EC.sign(signing_input, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return (ED if key == "ed" else STRANGER).sign(signing_input)


def signed(header: bytes, claims: bytes, *, key: KeyName = "ed") -> bytes:
    """
    A token with these very octets, and a signature that fits them.
    """
    signing_input = b64(header) + b"." + b64(claims)
    return signing_input + b"." + b64(sign(key, signing_input))


# The oracle.


class WrongTokenError(Exception):
    """
    Raised when the oracle finds a request wrong.
    """

    def __init__(self, status: int = 401) -> None:
        super().__init__(status)
        self.status = status


TCHAR: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
BASE64URL: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
TOKEN68: Final = frozenset(BASE64URL) | frozenset(b".~+/")
MAX_BYTES: Final = 16_384  # R16
MAX_HEADER_BYTES: Final = 4_096  # SECURITY.md
MAX_DEPTH: Final = 32  # SECURITY.md, R63
MAX_CONTAINERS: Final = 512  # R63
MAX_DIGITS: Final = 4_300  # issue 3; CPython's own bound
YEAR_9999: Final = 253_402_300_799


def expected_status(fields: Fields, query: bytes) -> int:
    """
    The status that the requirements ask for: 400, 401, 403, or 200 where the token is right.
    """
    try:
        token = credentials(fields)
        if token and names_token(query):
            return 400  # R6
        claims = right_claims(token)
        return 200 if SCOPE in scopes_of(claims) else 403  # R24
    except WrongTokenError as wrong:
        return wrong.status


def names_token(query: bytes) -> bool:
    """
    Whether a query has a parameter called access_token, however it is written.
    """
    names = (one.partition(b"=")[0] for one in re.split(b"[&;]", query))
    return any(unquote_to_bytes(name) == b"access_token" for name in names)


def credentials(fields: Fields) -> bytes:
    """
    The one token in the one Authorization field, grammatical but not looked at.
    """
    values = [value for name, value in fields if name.lower() == b"authorization"]
    require(len(values) < 2, status=400)  # R7
    require(any(values))
    scheme, _, rest = values[0].partition(b" ")
    require(len(values[0]) <= MAX_BYTES, status=400)  # R16
    require(bool(scheme) and TCHAR.issuperset(scheme), status=400)  # C2
    require(scheme.lower() == b"bearer")  # R20
    token = rest.lstrip(b" ")  # R3: one or more SP, and nothing else
    octets_of_it = token.rstrip(b"=")
    require(bool(octets_of_it) and TOKEN68.issuperset(octets_of_it), status=400)  # R4, R5
    return token


def right_claims(token: bytes) -> Mapping[str, Any]:
    """
    The claims set of a token that is right, or `WrongTokenError`.
    """
    parts = token.split(b".")
    require(len(parts) == 3)  # R39
    require(len(parts[0]) <= MAX_HEADER_BYTES)
    header_text, claims_text, signature = map(octets, parts)
    header, claims = Reader(header_text).object(), Reader(claims_text).object()
    require_header(header)
    require_signature(header, token.rpartition(b".")[0], signature)
    require_claims(claims)
    require_shapes(claims)
    return claims


def require(is_right: bool, *, status: int = 401) -> None:
    """
    Raise `WrongTokenError` unless it is right.
    """
    if not is_right:
        raise WrongTokenError(status)


def octets(part: bytes) -> bytes:
    """
    What a part of canonical base64url says, six bits at a time (R41, R42).
    """
    require(len(part) > 0 and len(part) % 4 != 1 and set(part) <= set(BASE64URL))
    bits = "".join(f"{BASE64URL.index(character):06b}" for character in part)
    whole = len(bits) // 8 * 8
    require("1" not in bits[whole:])
    return int(bits[:whole] or "0", 2).to_bytes(whole // 8, "big")


class Reader:
    """
    RFC 8259, read from left to right: UTF-8, no BOM, no duplicate names, finite numbers, bounded.
    """

    def __init__(self, raw: bytes) -> None:
        try:
            self.text = raw.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise WrongTokenError from exc
        self.at = 0
        self.containers = 0

    def object(self) -> dict[str, Any]:
        """
        The one object that the text is.
        """
        value: dict[str, Any] = self.value(0)
        self.skip()
        require(self.at == len(self.text) and isinstance(value, dict))  # R43, R44
        return value

    def skip(self) -> None:
        """
        Go over white space.
        """
        while self.text[self.at : self.at + 1] in {" ", "\t", "\n", "\r"}:
            self.at += 1

    def take(self, literal: str) -> bool:
        """
        Go over *literal* if it is next.
        """
        self.skip()
        if not self.text.startswith(literal, self.at):
            return False
        self.at += len(literal)
        return True

    def value(self, depth: int) -> Any:
        """
        Any value.
        """
        for literal, value in (("true", True), ("false", False), ("null", None)):
            if self.take(literal):
                return value
        if self.take('"'):
            return self.string()
        is_object = self.take("{")
        if not is_object and not self.take("["):
            return self.number()
        self.containers += 1
        require(depth < MAX_DEPTH and self.containers <= MAX_CONTAINERS)
        return self.members(depth + 1) if is_object else self.elements(depth + 1)

    def members(self, depth: int) -> dict[str, Any]:
        """
        The rest of an object.
        """
        found: dict[str, Any] = {}
        if self.take("}"):
            return found
        while True:
            require(self.take('"'))
            name = self.string()
            require(name not in found and self.take(":"))  # R45, R46
            found[name] = self.value(depth)
            if self.take("}"):
                return found
            require(self.take(","))

    def elements(self, depth: int) -> list[Any]:
        """
        The rest of an array.
        """
        found: list[Any] = []
        if self.take("]"):
            return found
        while True:
            found.append(self.value(depth))
            if self.take("]"):
                return found
            require(self.take(","))

    def number(self) -> int | float:
        """
        A number; a finite one (R47).
        """
        match = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?").match(self.text, self.at)
        require(match is not None)
        assert match is not None
        self.at = match.end()
        if match[2] or match[3]:
            require(math.isfinite(float(match[0])))
            return float(match[0])
        require(len(match[1]) <= MAX_DIGITS)
        return int(match[0])

    def string(self) -> str:
        """
        The rest of a string; no half of a surrogate pair.
        """
        match = re.compile(r'((?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*)"').match(
            self.text, self.at
        )
        require(match is not None)
        assert match is not None
        self.at = match.end()
        plain = dict(zip("bfnrt", "\b\f\n\r\t", strict=True))
        units = re.sub(
            r"\\(?:u(....)|(.))",
            lambda one: chr(int(one[1], 16)) if one[1] else plain.get(one[2], one[2]),
            match[1],
        )
        try:
            return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError as exc:
            raise WrongTokenError from exc


def ascii_lower(text: str) -> str:
    """
    *text* with A to Z in lower case, and nothing else.
    """
    return "".join(chr(ord(one) + 32) if "A" <= one <= "Z" else one for one in text)


def require_header(header: Mapping[str, Any]) -> None:
    """
    R48 to R51, R53, R56, R57, R64, R65, R104, R105; *typ* as HOUSE.md decided.
    """
    require(header.get("alg") in ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"))
    require(not {"crit", "b64", "enc"} & set(header))
    media_types = {}
    for name in ("typ", "cty"):
        value = header.get(name)
        media_types[name] = (
            ascii_lower(value).removeprefix("application/") if isinstance(value, str) else None
        )
    require(media_types["cty"] != "jwt")
    require("typ" not in header or media_types["typ"] in ("at+jwt", "jwt"))
    kid = header.get("kid", "absent")
    require(isinstance(kid, str) and 1 <= len(kid) <= 512)


def require_signature(header: Mapping[str, Any], signing_input: bytes, signature: bytes) -> None:
    """
    R55, R58, R66 to R68, R75 to R78, R88.
    """
    named = [header["kid"]] if "kid" in header else list(VERIFIES)
    fitting = [kid for kid in named if header["alg"] in VERIFIES.get(kid, ())]
    require(len(fitting) == 1)
    try:
        if fitting == ["ed"]:
            ED.public_key().verify(signature, signing_input)
        elif fitting == ["rsa"]:
            RSA.public_key().verify(signature, signing_input, padding.PKCS1v15(), SHA256())
        else:
            require(len(signature) == 64)
            r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
            EC.public_key().verify(encode_dss_signature(r, s), signing_input, ec.ECDSA(SHA256()))
    except InvalidSignature as exc:
        raise WrongTokenError from exc


def require_claims(claims: Mapping[str, Any]) -> None:
    """
    R106, R109 without its client half, R110, R111, R113 to R118, and the marks that HOUSE.md names.
    """
    require(claims.get("iss") == ISSUER)
    audiences = claims.get("aud")
    audiences = audiences if isinstance(audiences, list) else [audiences]
    require(all(isinstance(one, str) and one for one in audiences) and AUDIENCE in audiences)
    require("exp" in claims)
    for name in {"exp", "nbf", "iat"} & set(claims):
        require(type(claims[name]) in (int, float) and 0 <= claims[name] <= YEAR_9999)
    require(claims["exp"] + LEEWAY > NOW)
    require(claims.get("nbf", 0) <= NOW + LEEWAY and claims.get("iat", 0) <= NOW + LEEWAY)
    require(not {"nonce", "at_hash", "c_hash", "s_hash", "events", "cnf"} & set(claims))
    require(claims.get("token_use", "access") == "access")
    kind = claims.get("typ", "")
    require(isinstance(kind, str) and ascii_lower(kind) not in ("id", "refresh", "offline", "logout"))


def require_shapes(claims: Mapping[str, Any]) -> None:
    """
    R121, R122, R123: what the operator is made of has the type its standard gives it.
    """
    require("sub" in claims)
    texts = ["sub", "jti", "preferred_username", "email", "client_id" if "client_id" in claims else "azp"]
    for name in texts:
        require(name not in claims or is_text(claims[name]))
    for name in ("roles", "groups", "entitlements"):
        value = claims.get(name, [])
        elements = [value] if isinstance(value, str) else value
        require(isinstance(elements, list))
        values = [one.get("value") if isinstance(one, dict) else one for one in elements]
        require(all(isinstance(one, str) for one in values))
    actor, depth = claims, 0
    while "act" in actor:
        actor, depth = actor["act"], depth + 1
        require(isinstance(actor, dict) and depth <= 4 and "sub" in actor)
        require(all(is_text(actor[name]) for name in {"sub", "iss", "client_id"} & set(actor)))


def is_text(value: object) -> bool:
    """
    Whether it is a string that says something.
    """
    return isinstance(value, str) and value != ""


def scopes_of(claims: Mapping[str, Any]) -> list[str]:
    """
    R127, R128: the scopes granted.
    """
    value = claims.get("scope" if "scope" in claims else "scp", "")
    scopes = value.split(" ") if isinstance(value, str) else value
    require(isinstance(scopes, list) and all(isinstance(one, str) for one in scopes))
    return list(scopes)


# The driver: one request through the middleware, without an event loop.


@dataclasses.dataclass(slots=True)
class Seen:
    """
    What happened to one request.
    """

    messages: list[Message] = dataclasses.field(default_factory=list)
    events: list[Event] = dataclasses.field(default_factory=list)
    has_run: bool = False


class World:
    """
    A guarded application of one route, and what it did with the request at hand.
    """

    def __init__(self) -> None:
        issuer = Issuer(ISSUER, keys=jwk_set(), leeway=float(LEEWAY))
        package = ServicePackage("orders", issuer=issuer, audience=AUDIENCE)
        route = Route("/orders", package.requires(SCOPE)(self.handle), methods=["GET", "HEAD", "POST"])
        self.app = GuardrailMiddleware(
            Starlette(routes=[route]), on_event=[self.hear], clock=lambda: float(NOW), token_cache_size=64
        )
        self.seen = Seen()

    async def handle(self, request: Request) -> Response:
        """
        The handler: what it answers has a status that guardrail does not use.
        """
        self.seen.has_run = True
        return PlainTextResponse("orders", status_code=202)

    def hear(self, event: Event) -> None:
        """
        The listener.
        """
        self.seen.events.append(event)

    def serve(self, fields: Fields, *, query: bytes = b"", method: str = "GET") -> Seen:
        """
        Serve one request to the end. With keys in hand nothing awaits anything.
        """
        self.seen = seen = Seen()
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": "/orders",
            "raw_path": b"/orders",
            "root_path": "",
            "query_string": query,
            "headers": fields,
            "client": ("192.0.2.1", 1),
            "server": ("api.example.com", 443),
            "state": {},
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            seen.messages.append(message)

        call: Any = self.app(scope, receive, send)
        with pytest.raises(StopIteration):
            call.send(None)
        return seen


WORLD: Final = World()

# Every challenge there is; what is not in this list holds something that was not in the configuration.
METADATA: Final = {"resource_metadata": "https://api.example.com/.well-known/oauth-protected-resource/orders"}
INVALID: Final = {"realm": "orders", "error": "invalid_token", "scope": SCOPE} | METADATA
CHALLENGES: Final[Mapping[int, list[dict[str, str]]]] = {
    400: [
        {
            "realm": "orders",
            "error": "invalid_request",
            "error_description": "The request must carry one bearer token, in one Authorization field",
        }
    ],
    401: [
        {"realm": "orders", "scope": SCOPE} | METADATA,
        INVALID | {"error_description": "The access token is not valid here"},
        INVALID | {"error_description": "The access token expired"},
    ],
    403: [
        {
            "realm": "orders",
            "error": "insufficient_scope",
            "error_description": "The access token lacks a scope that this request needs",
            "scope": SCOPE,
        }
        | METADATA
    ],
}
TITLES: Final = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden"}
PARAMETER: Final = re.compile(rb'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)="([\x20-\x21\x23-\x5b\x5d-\x7e]*)"(, )?')


def parse_challenge(value: bytes) -> dict[str, str]:
    """
    One Bearer challenge (RFC 9110 §11.6.1, RFC 6750 §3), read strictly; each parameter once (R26 to R30).
    """
    assert value.startswith(b"Bearer ")
    found: dict[str, str] = {}
    at, comma = len(b"Bearer "), True
    while at < len(value):
        match = PARAMETER.match(value, at)
        assert match is not None
        assert comma
        name = match[1].decode("ascii").lower()
        assert name not in found
        found[name] = match[2].decode("ascii")
        at, comma = match.end(), match[3] is not None
    assert found
    assert not comma
    return found


def require_refusal(messages: list[Message], *, status: int, method: str) -> dict[str, str]:
    """
    Assert that this is one of the refusals there are, to the last byte; return its challenge.
    """
    start, body = messages
    assert (start["type"], start["status"]) == ("http.response.start", status)
    headers = dict(start["headers"])
    assert len(headers) == len(start["headers"])
    challenge = parse_challenge(headers.pop(b"www-authenticate"))
    assert challenge in CHALLENGES[status]
    problem = {"type": "about:blank", "title": TITLES[status], "status": status}
    problem |= {name: challenge[name] for name in ("error", "error_description") if name in challenge}
    content = json.dumps(problem).encode()
    assert headers == {
        b"content-type": b"application/problem+json",
        b"content-length": str(len(content)).encode(),
        b"cache-control": b"no-store",
    }
    expected = b"" if method == "HEAD" else content
    assert body == {"type": "http.response.body", "body": expected, "more_body": False}
    return challenge


def check(fields: Fields, *, query: bytes = b"", method: str = "GET") -> int:
    """
    Serve a request and hold everything about it to the oracle; the status.
    """
    expected = expected_status(fields, query)

    seen = WORLD.serve(fields, query=query, method=method)

    (event,) = seen.events
    assert seen.has_run == (expected == 200)
    if expected == 200:
        assert seen.messages[0]["status"] == 202
        assert isinstance(event, TokenAccepted)
        return expected
    challenge = require_refusal(seen.messages, status=expected, method=method)
    assert isinstance(event, TokenRefused)
    assert event.code in CODES
    # R20: no error code where no bearer token was sent; R21: one where it was.
    assert ("error" not in challenge) == (event.code == "missing_token")
    return expected


def check_token(token: bytes) -> int:
    """
    `check` for a token in its proper place.
    """
    return check([(b"host", b"api.example.com"), (b"authorization", b"Bearer " + token)])


# What is drawn.

# JSON texts at the edges: of types, of numbers, of strings, of nesting, of JSON itself.
EDGES: Final = (
    "null", "true", "false", "0", "-0", "-0.0", "1", "-1", "1e3", "1E+3", "0.5", "1e308", "1e400", "-1e400",
    "1e-400", "NaN", "Infinity", "-Infinity", "nan", "01", "-01", "1.", ".5", "+1", "-", "1e", "0x10", "1_0",
    "\u0661\u0662", "\uff11", "9" * 309, "9" * 4_300, "9" * 4_301, "-" + "9" * 4_301, '""', '" "',
    '"\\ud800"', '"\\udc00\\ud800"', '"\\uD83D\\uDE00"', '"\\ud83dx"', '"\\u0000"', '"\\x"', '"\\u12"',
    '"\\u+123"', "'a'", '"a', 'a"', '"\t"', '"\x7f"', '"\u2028"', '"\U0001f600"', "[]", "{}", "[[]]",
    "[null]", '[""]', '["a",]', "[,]", '{"a":1,}', "{a:1}", '{"a"}', '{"a":1,"a":2}', '{"a":1,"\\u0061":2}',
    '[{"a":{"b":1,"b":1}}]', '{"value":"a"}', '[{"value":"a"}]', '[{"value":1}]', "[" * 31 + "]" * 31,
    "[" * 32 + "]" * 32, '{"a":' * 31 + "1" + "}" * 31, '{"a":' * 32 + "1" + "}" * 32, "[" * 5_000,
    '{"a":' * 900, '"' + "[" * 40 + '"', "[" + "[]," * 509 + "[]]", "[" + "[]," * 510 + "[]]", "", " ", ",",
    "//", "/**/1", "nul", "True", "undefined", "\ufeff1", "\u00a01", "\x0c1", "1 1", "\x00",
)  # fmt: skip


def quoted(text: str) -> str:
    """
    A JSON string, its characters escaped or, where UTF-8 can say them, not.
    """
    return json.dumps(text)


def spelled(text: str) -> str:
    """
    A JSON string with every character escaped.
    """
    units = text.encode("utf-16-be", "surrogatepass")
    return '"' + "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)) + '"'


def words(*values: str) -> st.SearchStrategy[str]:
    """
    JSON strings that say one of these.
    """
    return st.sampled_from([*map(quoted, values), *map(spelled, values)])


TEXTS: Final = st.text(st.characters(), max_size=12).map(quoted) | st.text(max_size=12).map(spelled)
NUMBERS: Final = (
    st.integers().map(str)
    | st.integers(-(10**400), 10**400).map(str)
    | st.floats(allow_nan=True, allow_infinity=True).map(json.dumps)
)
LEAVES: Final = st.sampled_from(EDGES) | TEXTS | NUMBERS
VALUES: Final = LEAVES | st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda some: f"[{','.join(some)}]")
        | st.lists(st.tuples(TEXTS, inner), max_size=3).map(lambda some: json_object(list(some)))
    ),
    max_leaves=5,
)
# Around the edges, on them, and what is no time although Python would compare it.
TIMES: Final = (
    st.integers(NOW - 32, NOW + 32).map(str)
    | st.floats(NOW - 31.0, NOW + 31.0).map(repr)
    | st.sampled_from([str(NOW + change) for change in (-31, -30, -29, 29, 30, 31)])
    | st.sampled_from(
        ["true", "false", "null", '"1800000600"', "[1800000600]", "-1", "0", "-0.0", "1.8e9", "18E8"]
    )
    | st.sampled_from([str(YEAR_9999), str(YEAR_9999 + 1), str(NOW * 1_000), "9" * 400])
)
ACT: Final = '{"sub":"bob"}'
DEEP_ACTS: Final = ['{"sub":"bob","act":' * depth + ACT + "}" * depth for depth in range(5)]
KEY_NAMES: Final = st.sampled_from(list[KeyName](["ed", "ed", "ed", "ec", "rsa", "stranger"]))

HEADER_VALUES: Final[Mapping[str, st.SearchStrategy[str]]] = {
    "alg": words("EdDSA", "Ed25519", "ES256", "RS256", "PS256", "ES384", "HS256", "none", "eddsa", "EdDSA "),
    "kid": words("ed", "ec", "rsa", "ED", "", "ed ", "../../dev/null", "\r\nX: y", "k" * 512, "k" * 513),
    "typ": words(
        "at+jwt", "JWT", "AT+JWT", "application/at+jwt", "Application/JWT", "dpop+jwt", "at+jwt;x=1", "",
        "application/", "x/at+jwt", "application/application/jwt", "secevent+jwt", "logout+jwt", " JWT",
    ),
    "cty": words("JWT", "application/jwt", "json", ""),
    "crit": st.sampled_from(["[]", '["exp"]', '["b64"]', '["kid"]', '"b64"', "null"]),
    "b64": st.sampled_from(["true", "false", "null"]),
    "enc": words("A128GCM"),
    "zip": words("DEF"),
    "jwk": st.just(json.dumps({"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(32)).decode()})),
    "jku": words("https://attacker.example/keys", "file:///etc/passwd"),
    "x5u": words("https://attacker.example/cert"),
    "x5c": st.sampled_from(['["MII"]', '"MII"']),
    "x5t": words("AAAA"),
    "x5t#S256": words("AAAA"),
}  # fmt: skip
CLAIM_VALUES: Final[Mapping[str, st.SearchStrategy[str]]] = {
    "iss": words(ISSUER, ISSUER + "/", ISSUER.upper(), "https://login.example.org", "")
    | st.just(f'["{ISSUER}"]'),
    "aud": words(AUDIENCE, AUDIENCE + "/x", AUDIENCE[:-1], "")
    | st.sampled_from(
        [f'["{AUDIENCE}"]', f'["a","{AUDIENCE}"]', f'["","{AUDIENCE}"]', f'[1,"{AUDIENCE}"]', "[]"]
    ),
    "exp": TIMES,
    "nbf": TIMES,
    "iat": TIMES,
    "sub": words("alice", "", " ", "\u0000", "\U0001f600"),
    "client_id": words("web", "alice", ""),
    "azp": words("web", ""),
    "jti": words("t1", ""),
    "scope": words(SCOPE, "orders:read orders:write", "orders:reader", "orders:read\torders:write", "", " ")
    | st.sampled_from([f'["{SCOPE}"]', '["a",1]', "[]"]),
    "scp": words(SCOPE, "other") | st.just(f'["{SCOPE}"]'),
    "roles": st.sampled_from(['["a"]', '"a"', '[{"value":"a"}]', '[{"display":"a"}]', '[["a"]]']),
    "groups": st.sampled_from(['["a"]', '"a"', '[{"value":"a"}]', '{"value":"a"}']),
    "entitlements": st.sampled_from(['["a"]', "[1]", '[""]']),
    "preferred_username": words("Alice", ""),
    "email": words("alice@example.com", "") | st.just("[]"),
    "act": st.sampled_from(
        [*DEEP_ACTS, '{"iss":"x"}', '{"sub":"b","iss":1}', '{"sub":"b","client_id":""}', "[]"]
    ),
    "typ": words("Bearer", "ID", "id", "Refresh", "LOGOUT", "Offline", "\u0130d", ""),
    "token_use": words("access", "id", "Access"),
    "nonce": words("n"),
    "at_hash": words("h"),
    "c_hash": words("h"),
    "s_hash": words("h"),
    "events": st.just("{}"),
    "cnf": st.sampled_from(["{}", '{"jkt":"x"}', "null"]),
    "auth_time": TIMES,
    "acr": words("urn:example:mfa"),
    "amr": st.sampled_from(['["pwd"]', '["pwd",1]', '"pwd"']),
}
GOOD_CLAIMS: Final[Mapping[str, str]] = {
    "iss": quoted(ISSUER),
    "aud": quoted(AUDIENCE),
    "sub": '"alice"',
    "client_id": '"web"',
    "iat": str(NOW),
    "exp": str(NOW + 600),
    "jti": '"t1"',
    "scope": quoted(SCOPE),
}


def json_object(members: Members) -> str:
    """
    The text of an object with these members, in this order, repeated ones too.
    """
    return "{" + ",".join(f"{name}:{value}" for name, value in members) + "}"


def changes(values: Mapping[str, st.SearchStrategy[str]]) -> st.SearchStrategy[Members]:
    """
    Up to three members: mostly known names with values made for them, else anything at all.
    """
    made_for_it = st.sampled_from(sorted(values)).flatmap(
        lambda name: st.tuples(st.sampled_from([quoted(name), quoted(name), spelled(name)]), values[name])
    )
    names = st.sampled_from(sorted(values)).map(quoted)
    return st.lists(made_for_it | st.tuples(names, VALUES) | st.tuples(TEXTS, VALUES), min_size=1, max_size=3)


def changed(good: Mapping[str, str], members: Members, left_out: set[str]) -> bytes:
    """
    The text of *good* without some members and with others: replaced where the spelling is the same.
    """
    kept = {quoted(name): value for name, value in good.items() if name not in left_out}
    replaced = {name: value for name, value in members if name in kept}
    added = [(name, value) for name, value in members if name not in kept]
    return json_object([*(kept | replaced).items(), *added]).encode("utf-8", "surrogatepass")


def good_header(key: KeyName) -> dict[str, str]:
    """
    The header of a right token, as JSON texts.
    """
    return {"alg": quoted(ALGORITHM_OF[key]), "kid": quoted(key), "typ": '"at+jwt"'}


def good_token(key: KeyName = "ed", **claims: str) -> bytes:
    """
    A right token, but for what is said otherwise.
    """
    header = json_object([(quoted(name), value) for name, value in good_header(key).items()])
    return signed(header.encode(), changed(dict(GOOD_CLAIMS) | claims, [], set()), key=key)


GOOD_TOKENS: Final = (
    good_token(),
    good_token("ec"),
    good_token("rsa"),
    good_token(sub='"bob"'),
    good_token(scope='"other"'),
    good_token(exp=str(NOW - 60)),
    good_token("stranger"),
)
TOKENS: Final = st.sampled_from(GOOD_TOKENS)
RIGHT_TOKENS: Final = st.sampled_from(GOOD_TOKENS[:4])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """
    A good token with one to three mutations; the signature is not made anew.
    """
    token = draw(TOKENS)
    for _ in range(draw(st.integers(1, 3))):
        token = draw(st.sampled_from(MUTATIONS))(draw, token)
    return token


Mutation = Callable[[st.DrawFn, bytes], bytes]


def position(draw: st.DrawFn, token: bytes) -> int:
    """
    A place in *token*, its last characters being the likelier ones.
    """
    length = max(len(token) - 1, 0)
    return draw(st.integers(0, length) | st.integers(max(length - 3, 0), length))


def flip_bit(draw: st.DrawFn, token: bytes) -> bytes:
    """
    One bit changed.
    """
    at, bit = position(draw, token), draw(st.integers(0, 7))
    return token[:at] + bytes(one ^ (1 << bit) for one in token[at : at + 1]) + token[at + 1 :]


def replace_character(draw: st.DrawFn, token: bytes) -> bytes:
    """
    One character changed for another of the alphabet.
    """
    at = position(draw, token)
    return token[:at] + bytes([draw(st.sampled_from(BASE64URL + b"."))]) + token[at + 1 :]


def insert(draw: st.DrawFn, token: bytes) -> bytes:
    """
    Bytes inserted.
    """
    at = draw(st.integers(0, len(token)))
    some = st.binary(min_size=1, max_size=3) | st.sampled_from(
        [b".", b"=", b"A", b"-", b"+", b"/", b"~", b" ", b"\n"]
    )
    return token[:at] + draw(some) + token[at:]


def truncate(draw: st.DrawFn, token: bytes) -> bytes:
    """
    One end cut off.
    """
    at = position(draw, token)
    return draw(st.sampled_from([token[:at], token[at:]]))


def remove(draw: st.DrawFn, token: bytes) -> bytes:
    """
    A piece taken out.
    """
    at = position(draw, token)
    return token[:at] + token[at + draw(st.integers(1, 8)) :]


def swap_parts(draw: st.DrawFn, token: bytes) -> bytes:
    """
    Parts in another order, repeated, left out, empty, or from another token.
    """
    pool = [*token.split(b"."), *draw(TOKENS).split(b"."), b""]
    return b".".join(draw(st.lists(st.sampled_from(pool), min_size=1, max_size=5)))


def swap_one_part(draw: st.DrawFn, token: bytes) -> bytes:
    """
    One part from another token, in its place.
    """
    parts, others = token.split(b"."), draw(TOKENS).split(b".")
    at = draw(st.integers(0, 2))
    return b".".join([*parts[:at], others[at], *parts[at + 1 :]])


def encode_again(draw: st.DrawFn, token: bytes) -> bytes:
    """
    One part in another encoding of the same octets, or of the same text.
    """
    parts = token.split(b".")
    at = draw(st.integers(0, len(parts) - 1))
    known = re.sub(rb"[^A-Za-z0-9_-]", b"", parts[at])
    raw = base64.urlsafe_b64decode(known[: len(known) // 4 * 4])
    spellings = (
        base64.urlsafe_b64encode(raw), base64.b64encode(raw), base64.b64encode(raw).rstrip(b"="),
        base64.b32encode(raw), raw.hex().encode(), raw, b64(b"\xef\xbb\xbf" + raw), b64(raw + b" "),
        b64(raw.decode("latin-1").encode("utf-16")), b64(b64(raw)), b64(raw) + b"=", parts[at].lower(),
    )  # fmt: skip
    return b".".join([*parts[:at], draw(st.sampled_from(spellings)), *parts[at + 1 :]])


def wrap(draw: st.DrawFn, token: bytes) -> bytes:
    """
    The token inside of something.
    """
    wrappers = (
        b'"%s"',
        b"%s=",
        b"%s==",
        b"%s,",
        b"%s %s",
        b"<%s>",
        b"%s.",
        b".%s",
        b"%s..",
        b"%s\x00",
        b"\t%s",
    )
    return draw(st.sampled_from(wrappers)).replace(b"%s", token)


MUTATIONS: Final[tuple[Mutation, ...]] = (
    flip_bit, replace_character, insert, truncate, remove, swap_parts, swap_one_part, encode_again, wrap,
)  # fmt: skip


@st.composite
def respelled(draw: st.DrawFn) -> bytes:
    """
    A right token whose header and claims set are spelled in another way, and signed as they are.
    """
    key: KeyName = draw(st.sampled_from(list[KeyName](["ed", "ec"])))
    texts = [
        json_object([(quoted(one), text) for one, text in some.items()])
        for some in (good_header(key), GOOD_CLAIMS)
    ]
    respellings = st.sampled_from(SPELLINGS) | st.builds(
        lambda respell, space: lambda text: respell(text, space).encode(), st.sampled_from(SPACED), SPACES
    )
    header, claims = (draw(respellings)(text) for text in texts)
    return signed(header, claims, key=key)


SPACES: Final = st.text(" \t\n\r", max_size=4) | st.sampled_from(
    ["\x0b", "\x0c", "\u00a0", "\ufeff", "\x00", ",", "//"]
)
SPACED: Final[tuple[Callable[[str, str], str], ...]] = (
    lambda text, space: space + text,
    lambda text, space: text + space,
    lambda text, space: text.replace(",", space + "," + space),
    lambda text, space: text.replace(":", ":" + space, 1),
    lambda text, space: text.replace("}", space + "}"),
)
SPELLINGS: Final[tuple[Callable[[str], bytes], ...]] = (
    lambda text: re.sub(r'"[a-z]+"', lambda one: spelled(json.loads(one[0])), text).encode(),
    lambda text: text.replace("/", "\\/").encode(),
    lambda text: text.encode("utf-16"),
    lambda text: text.encode("utf-16-be"),
    lambda text: text.encode("utf-32-le"),
    lambda text: text.encode("utf-8-sig"),
    lambda text: (text + text).encode(),
    lambda text: f"[{text}]".encode(),
    lambda text: quoted(text).encode(),
    lambda text: text[:-1].encode(),
    lambda text: text.replace("alice", "\xe9").encode("latin-1"),
    lambda text: text.replace('"alice"', '"' + "a" * 11_000 + '"').encode(),
    lambda text: text.replace('"alice"', '"' + "a" * 12_000 + '"').encode(),
)

SCHEMES: Final = st.sampled_from(
    [b"Bearer"] * 6
    + [b"bearer", b"BEARER", b"bEaReR", b"Basic", b"DPoP", b"Bearer:", b"Bearer,", b"", b"B\xc3\xa9arer"]
)
SEPARATORS: Final = st.sampled_from(
    [b" "] * 6 + [b"  ", b"   ", b"", b"\t", b" \t", b"\xa0", b"\r\n ", b"\x00", b", "]
)
CREDENTIALS: Final = (
    TOKENS
    | st.binary(max_size=40)
    | st.text(alphabet='aB9-._~+/=, "\\%', max_size=24).map(str.encode)
    | st.integers(16_300, 16_400).map(lambda length: b"a" * length)
    | st.sampled_from([b"..", b"." * 16_000, b"{" * 1_000, b"a.a.a", b"eyJ.eyJ.AA", b"=", b"==", b"a=b", b""])
)
ENDS: Final = st.sampled_from([b""] * 8 + [b" ", b"=", b",", b", Bearer x", b"\x00", b"\n", b"\xff"])
AUTHORIZATIONS: Final = (
    st.tuples(SCHEMES, SEPARATORS, CREDENTIALS, ENDS).map(b"".join) | st.binary(max_size=60) | TOKENS
)
FIELD_NAMES: Final = st.sampled_from(
    [
        b"authorization", b"authorization", b"Authorization", b"AUTHORIZATION", b"authorization ", b"cookie",
        b"x-authorization", b"proxy-authorization", b"x-forwarded-access-token", b"x-user", b"dpop", b"host",
        b"forwarded", b"x-http-method-override", b"x-original-url", b"sec-websocket-protocol", b"origin", b"",
    ]
)  # fmt: skip
FIELD_VALUES: Final = st.one_of(
    RIGHT_TOKENS.map(lambda token: b"Bearer " + token),
    RIGHT_TOKENS.map(lambda token: b"access_token=" + token),
    AUTHORIZATIONS,
    st.binary(max_size=20),
)
PARAMETERS: Final = (
    b"access_token=x", b"access_token", b"access%5Ftoken=x", b"%61ccess_token=", b"a=access_token", b"a=1",
    b"access_token%3dx", b"ACCESS_TOKEN=x", b"xaccess_token=x", b"access_tokens=1", b"b", b"", b"%", b"%zz",
    b"=",
)  # fmt: skip
QUERIES: Final = st.builds(
    lambda separator, some: separator.join(some),
    st.sampled_from([b"&", b";", b"?"]),
    st.lists(st.sampled_from(PARAMETERS) | st.binary(max_size=8), max_size=3),
)


# The suites.

PLANNED: Final[dict[str, int]] = {}
RAN: Final[Counter[str]] = Counter()
STATUSES: Final[Counter[tuple[str, int]]] = Counter()


def fuzz(
    examples: int, expects: set[int], **drawn: st.SearchStrategy[Any]
) -> Callable[[Callable[..., int]], Callable[[], None]]:
    """
    A test that runs at least *examples* examples of a property and sees each status of *expects* among them.
    """

    def decorate(body: Callable[..., int]) -> Callable[[], None]:
        name = body.__name__
        PLANNED[name] = examples

        @settings(FUZZ, max_examples=examples)
        @given(**drawn)
        def run(**values: Any) -> None:
            RAN[name] += 1
            STATUSES[name, body(**values)] += 1

        def test() -> None:
            began = time.perf_counter()
            run()
            found = {status: STATUSES[name, status] for status in (200, 400, 401, 403)}
            print(f"{name}: {RAN[name]} examples in {time.perf_counter() - began:.1f} s, {found}")
            assert RAN[name] >= examples
            assert {status for status, count in found.items() if count} >= expects

        test.__name__, test.__doc__ = name, body.__doc__
        return test

    return decorate


@fuzz(4_000, {200, 400, 401, 403}, value=AUTHORIZATIONS)
def test_any_authorization_value_gets_the_answer_it_must(value: bytes) -> int:
    """
    Whatever stands in the field: a right token, or 400, 401 or 403 (R2 to R5, R16, R35).
    """
    return check([(b"authorization", value)])


@fuzz(
    2_500,
    {400, 401},
    token=st.binary(max_size=64)
    | st.text(alphabet="aAeyJ0_-.=+/ ", max_size=64).map(str.encode)
    | st.lists(st.binary(max_size=20), min_size=1, max_size=5).map(lambda parts: b".".join(map(b64, parts)))
    | st.tuples(VALUES, VALUES).map(
        lambda texts: signed(*(one.encode("utf-8", "surrogatepass") for one in texts))
    ),
)
def test_any_bytes_for_a_token_are_refused(token: bytes) -> int:
    """
    Random bytes, random parts and random JSON, validly signed, are no token (R39 to R48, R63).
    """
    return check_token(token)


@fuzz(5_000, {200, 400, 401, 403}, token=mutated())
def test_good_token_that_was_tampered_with_is_refused(token: bytes) -> int:
    """
    A flipped bit, a swapped part, another encoding: not the token that was signed (R41, R42, R55, R58).
    """
    return check_token(token)


@fuzz(1_500, {200, 401}, token=respelled())
def test_signed_token_in_another_spelling_is_judged_by_its_octets(token: bytes) -> int:
    """
    White space and escapes are the issuer's choice; another character encoding is not JSON (R43, R44, R58).
    """
    return check_token(token)


@fuzz(
    3_500,
    {200, 401},
    key=KEY_NAMES,
    members=changes(HEADER_VALUES),
    left_out=st.sets(st.sampled_from(["alg", "kid", "typ"]), max_size=1),
)
def test_signed_header_of_any_kind_gets_the_answer_it_must(
    key: KeyName, members: Members, left_out: set[str]
) -> int:
    """
    Any header parameter of any type on a validly signed token (R45, R48 to R53, R56, R57, R64 to R68, R104).
    """
    header = changed(good_header(key), members, left_out)
    return check_token(signed(header, changed(GOOD_CLAIMS, [], set()), key=key))


@fuzz(
    5_000,
    {200, 401, 403},
    members=changes(CLAIM_VALUES),
    left_out=st.sets(st.sampled_from(sorted(GOOD_CLAIMS)), max_size=1) | st.just(set[str]()),
)
def test_signed_claims_of_any_kind_get_the_answer_they_must(members: Members, left_out: set[str]) -> int:
    """
    Any claim of any type and value on a validly signed token (R46, R47, R60, R106 to R123, R127, R128).
    """
    header = changed(good_header("ed"), [], set())
    return check_token(signed(header, changed(GOOD_CLAIMS, members, left_out)))


@fuzz(
    2_500,
    {200, 400, 401},
    fields=st.lists(st.tuples(FIELD_NAMES, FIELD_VALUES), max_size=4),
    query=st.just(b"") | QUERIES,
    method=st.sampled_from(["GET", "HEAD", "POST"]),
)
def test_any_set_of_header_fields_gets_the_answer_it_must(fields: Fields, query: bytes, method: str) -> int:
    """
    One Authorization field counts, and nothing else does (R6 to R8, R12, R36, R254).
    """
    return check(fields, query=query, method=method)


def test_suites_are_twenty_thousand_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Every suite above insists on its number of examples; this is their sum.
    """
    with capsys.disabled():
        print(f"\nfuzz: {sum(PLANNED.values())} examples planned, {RAN.total()} ran so far in this process")

    assert len(PLANNED) == 7
    assert sum(PLANNED.values()) >= 20_000


@pytest.mark.parametrize(
    ("fields", "query", "status"),
    [
        pytest.param([(b"authorization", b"Bearer " + GOOD_TOKENS[0])], b"", 200, id="Ed25519"),
        pytest.param([(b"authorization", b"Bearer " + GOOD_TOKENS[1])], b"", 200, id="ES256"),
        pytest.param([(b"authorization", b"Bearer " + GOOD_TOKENS[2])], b"", 200, id="RS256"),
        pytest.param([(b"authorization", b"Bearer " + GOOD_TOKENS[4])], b"", 403, id="another scope"),
        pytest.param([(b"authorization", b"Bearer " + GOOD_TOKENS[5])], b"", 401, id="expired"),
        pytest.param([(b"authorization", b"Bearer " + GOOD_TOKENS[6])], b"", 401, id="another's key"),
        pytest.param([], b"", 401, id="none"),
        pytest.param(
            [(b"authorization", b"Bearer " + GOOD_TOKENS[0])], b"access_token=x", 400, id="two tokens"
        ),
    ],
)
def test_oracle_knows_right_from_wrong(fields: Fields, query: bytes, status: int) -> None:
    """
    The oracle itself: a right token is right, and what differs in one thing is not.
    """
    assert expected_status(fields, query) == status
    assert check(fields, query=query) == status
