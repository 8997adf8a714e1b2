"""
guardrail beside joserfc, a verifier that shares no code with it, on thousands of randomized tokens.

What joserfc refuses guardrail never accepts; where guardrail is the stricter one, it is so on purpose, and
the purpose is in the list `STRICTER`. Two things joserfc refuses that the standards let pass: `LAXER`. The
tokens are drawn from one seed, so that every run sees the same ones.
"""

import base64
import copy
import functools
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey, import_key
from joserfc.jws import JWSRegistry
from starlette.types import Message, Receive, Scope, Send

from guardrail import GuardrailMiddleware, Issuer, ServicePackage
from guardrail.errors import CODES
from guardrail.events import Event, TokenAccepted, TokenRefused

# joserfc warns that EdDSA is spelled Ed25519 now (RFC 9864); issuers still spell it the old way.
pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated:joserfc.errors.SecurityWarning")

ISSUER: Final = "https://login.example.com"
AUDIENCE: Final = "https://api.example.com/orders"
NOW: Final = 1_800_000_000
LEEWAY: Final = 30
SEED: Final = 9068
TOKENS: Final = 8_000
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")

JSONObject = dict[str, Any]


# The keys, made by joserfc: with and without an algorithm of their own.

KEYS: Final[Mapping[str, Key]] = {
    "ed": OKPKey.generate_key("Ed25519", {"kid": "ed", "use": "sig"}),
    "ec": ECKey.generate_key("P-256", {"kid": "ec", "alg": "ES256"}),
    "ec384": ECKey.generate_key("P-384", {"kid": "ec384"}),
    "rsa": RSAKey.generate_key(2_048, {"kid": "rsa", "alg": "RS256", "use": "sig"}),
    "rsa-any": RSAKey.generate_key(2_048, {"kid": "rsa-any"}),
}
STRANGER: Final = OKPKey.generate_key("Ed25519", {"kid": "ed"})
SIGNERS: Final = (
    ("ed", "EdDSA"), ("ed", "Ed25519"), ("ed", "EdDSA"), ("ed", "EdDSA"), ("ec", "ES256"), ("ec", "ES256"),
    ("ec384", "ES384"), ("rsa", "RS256"), ("rsa-any", "PS256"), ("rsa-any", "RS256"),
)  # fmt: skip
PUBLIC: Final[JSONObject] = {"keys": [key.as_dict(private=False) for key in KEYS.values()]}


def b64(raw: bytes) -> bytes:
    """
    Unpadded base64url.
    """
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


# Tokens in the making.


@dataclass(slots=True)
class Draft:
    """
    A token before it is signed: what it says, and what is done to its texts and to itself.
    """

    kid: str
    algorithm: str
    header: JSONObject
    claims: JSONObject
    key: Key
    header_edits: list[Callable[[bytes], bytes]] = field(default_factory=list)
    claims_edits: list[Callable[[bytes], bytes]] = field(default_factory=list)
    token_edits: list[Callable[[bytes], bytes]] = field(default_factory=list)

    def token(self) -> bytes:
        """
        The token, signed over the texts as they are after the edits.
        """
        header = functools.reduce(_edit, self.header_edits, json.dumps(self.header).encode())
        claims = functools.reduce(_edit, self.claims_edits, json.dumps(self.claims).encode())
        signing_input = b64(header) + b"." + b64(claims)
        signature = JWSRegistry.algorithms[self.algorithm].sign(signing_input, self.key)
        return functools.reduce(_edit, self.token_edits, signing_input + b"." + b64(signature))


def _edit(octets: bytes, edit: Callable[[bytes], bytes]) -> bytes:
    return edit(octets)


def right_draft(rng: random.Random) -> Draft:
    """
    A token that both accept, in one of its many forms.
    """
    kid, algorithm = rng.choice(SIGNERS)
    typ = rng.choice(["at+jwt", "AT+JWT", "application/at+jwt", "JWT"])
    header = {"alg": algorithm, "kid": kid, "typ": typ}
    claims = {
        "iss": ISSUER,
        "aud": rng.choice([AUDIENCE, [AUDIENCE], ["other", AUDIENCE]]),
        "sub": rng.choice(["alice", "\u00e9\U0001f600", "0"]),
        "exp": rng.choice([NOW + 600, NOW - 29, NOW + 0.5, NOW + 10**6]),
        "iat": rng.choice([NOW, NOW - 600, NOW + 30]),
        "client_id": "web",
        "jti": f"t{rng.randrange(10**9)}",
        "scope": "orders:read",
        "roles": ["approver", {"value": "auditor"}],
    }
    if rng.random() < 0.2:
        del header["typ"]
    for name in ("iat", "client_id", "jti", "scope", "roles"):
        if rng.random() < 0.1:
            del claims[name]
    if rng.random() < 0.2:
        claims["nbf"] = rng.choice([NOW, NOW + 30, 0, 1.5])
    return Draft(kid, algorithm, header, claims, KEYS[kid])


# Values of every type, for members that should have another.
ANYTHING: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 1.5, 10**30, 10**400, "", "x", "1800000600", "\u0000", [], ["x"], [1], [""],
    [[]], {}, {"value": "x"}, {"sub": "x"},
)  # fmt: skip
Fault = Callable[[random.Random, Draft], None]


def header_is(name: str, *values: object) -> Fault:
    """
    A header parameter has one of these values.
    """

    def fault(rng: random.Random, draft: Draft) -> None:
        draft.header[name] = rng.choice(values)

    return fault


def claim_is(name: str, *values: object) -> Fault:
    """
    A claim has one of these values.
    """

    def fault(rng: random.Random, draft: Draft) -> None:
        draft.claims[name] = copy.deepcopy(rng.choice(values))

    return fault


def text_is(edit: Callable[[bytes], bytes]) -> Fault:
    """
    The text of the header or of the claims set is edited before it is signed.
    """

    def fault(rng: random.Random, draft: Draft) -> None:
        rng.choice([draft.header_edits, draft.claims_edits, draft.claims_edits]).append(edit)

    return fault


def has_member(*members: bytes) -> Fault:
    """
    The text of the header or of the claims set begins with one of these members.
    """

    def fault(rng: random.Random, draft: Draft) -> None:
        member = rng.choice(members)
        edits = rng.choice([draft.header_edits, draft.claims_edits])
        edits.append(lambda text: text.replace(b"{", b"{" + member + b",", 1))

    return fault


def token_is(edit: Callable[[random.Random, bytes], bytes]) -> Fault:
    """
    The signed token is edited.
    """

    def fault(rng: random.Random, draft: Draft) -> None:
        draft.token_edits.append(functools.partial(edit, rng))

    return fault


def flip_bit(rng: random.Random, token: bytes) -> bytes:
    """
    One bit changed, the last characters being the likelier ones.
    """
    at = rng.choice([rng.randrange(len(token)), len(token) - 1])
    return token[:at] + bytes([token[at] ^ (1 << rng.randrange(8))]) + token[at + 1 :]


def insert(rng: random.Random, token: bytes) -> bytes:
    """
    Something inserted.
    """
    at = rng.choice([0, len(token), rng.randrange(len(token)), token.find(b".")])
    return (
        token[:at]
        + rng.choice([b"=", b".", b"A", b" ", b"\n", b"+", b"/", b"\xff", b"==", b"\x00"])
        + token[at:]
    )


def swap_parts(rng: random.Random, token: bytes) -> bytes:
    """
    Parts in another order, or one of them empty.
    """
    parts = token.split(b".")
    if rng.random() < 0.5:
        parts[rng.randrange(len(parts))] = b""
    else:
        rng.shuffle(parts)
    return b".".join(parts)


def negate_s(rng: random.Random, token: bytes) -> bytes:
    """
    The other half of an ECDSA signature's two spellings, where it has one; else nothing.
    """
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head, _, tail = token.rpartition(b".")
    if b"\xff" in tail or len(tail) != 86:
        return token
    signature = base64.urlsafe_b64decode(re_pad(tail))
    s = (order - int.from_bytes(signature[32:], "big")) % order
    return head + b"." + b64(signature[:32] + s.to_bytes(32, "big"))


def re_pad(part: bytes) -> bytes:
    """
    Base64url with its padding.
    """
    return part + b"=" * (-len(part) % 4)


def nested(depth: int) -> bytes:
    """
    So many arrays, one in the other.
    """
    return b"[" * depth + b"]" * depth


def forget_kid(_rng: random.Random, draft: Draft) -> None:
    """
    No key ID.
    """
    draft.header.pop("kid", None)


def forget_claim(rng: random.Random, draft: Draft) -> None:
    """
    A claim is not there.
    """
    draft.claims.pop(rng.choice(["iss", "aud", "exp", "sub"]), None)


def forget_algorithm(_rng: random.Random, draft: Draft) -> None:
    """
    No algorithm.
    """
    draft.header.pop("alg", None)


def stranger_signs(_rng: random.Random, draft: Draft) -> None:
    """
    The signature is that of a key nobody published.
    """
    draft.key, draft.algorithm = STRANGER, "EdDSA"


def another_key_signs(rng: random.Random, draft: Draft) -> None:
    """
    The signature is that of another published key than the header says.
    """
    kid, draft.algorithm = rng.choice(SIGNERS)
    draft.key = KEYS[kid]


def any_claim_is_anything(rng: random.Random, draft: Draft) -> None:
    """
    A claim of any type.
    """
    name = rng.choice([*CLAIM_NAMES, "x"])
    draft.claims[name] = copy.deepcopy(rng.choice(ANYTHING))


def any_parameter_is_anything(rng: random.Random, draft: Draft) -> None:
    """
    A header parameter of any type.
    """
    name = rng.choice(["alg", "kid", "typ", "cty", "crit", "b64", "x", *UNUSED])
    draft.header[name] = rng.choice(ANYTHING)


def critical_b64(rng: random.Random, draft: Draft) -> None:
    """
    RFC 7797, done properly.
    """
    draft.header |= {"b64": rng.choice([True, True, False]), "crit": ["b64"]}


CLAIM_NAMES: Final = (
    "iss", "aud", "exp", "nbf", "iat", "sub", "client_id", "azp", "jti", "scope", "scp", "roles", "groups",
    "entitlements", "preferred_username", "email", "act", "typ", "token_use", "acr", "amr", "auth_time",
)  # fmt: skip
UNUSED: Final = ("jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256")  # RFC 7515 §4.1: optional, and not for us
NUMBERS: Final = (
    NOW - 31, NOW - 30, NOW - 30.5, NOW - 29.5, NOW + 29.5, NOW + 30.5, NOW + 31, 253_402_300_799, -1, -0.5,
    253_402_300_800, NOW * 1_000, 1e308, 10**400, 10**30, True, False, None, "1800000600", [NOW], float(NOW),
)  # fmt: skip
FAULTS: Final[tuple[Fault, ...]] = (
    forget_kid, forget_kid, forget_claim, forget_claim, forget_algorithm, stranger_signs, another_key_signs,
    any_claim_is_anything, any_claim_is_anything, any_claim_is_anything, any_parameter_is_anything,
    any_parameter_is_anything, critical_b64,
    header_is("alg", *ALGORITHMS, "none", "HS256", "rs256", "RS512", "ES512", "ES256K", "Ed448", " EdDSA"),
    header_is("kid", *KEYS, "ED", "nobody", "", "../../dev/null", "k" * 600),
    header_is("typ", "dpop+jwt", "at+jwt;x=1", "", "application/", "secevent+jwt", "x/at+jwt", "logout+jwt"),
    header_is("cty", "JWT", "application/jwt", "jwt", "json", "", 5, None),
    header_is("crit", ["kid"], ["alg", "typ"], ["exp"], [], "kid", None, [1], ["kid", "kid"]),
    header_is("b64", True, False, "false", None),
    header_is("enc", "A128GCM", None, 1),
    header_is("zip", "DEF"),
    header_is("jku", "https://attacker.example/keys", "file:///etc/passwd", 5, None),
    header_is("jwk", {}, STRANGER.as_dict(private=False), "x", []),
    header_is("x5c", ["MII"], "MII", [1]),
    header_is("x5t#S256", "AAAA", 5),
    header_is("x", *ANYTHING),
    claim_is("iss", ISSUER + "/", ISSUER.upper(), [ISSUER], "", "https://login.example.org", None),
    claim_is("aud", AUDIENCE + "/x", AUDIENCE[:-1], [], [AUDIENCE, 1], {AUDIENCE: 1}, None, ["x"]),
    claim_is("aud", ["", AUDIENCE]),
    claim_is("exp", *NUMBERS), claim_is("exp", *NUMBERS), claim_is("nbf", *NUMBERS),
    claim_is("iat", *NUMBERS),
    claim_is("sub", "", 5, None, []),
    claim_is("jti", "", 5),
    claim_is("client_id", "", 5, []),
    claim_is("scope", 5, None, {}, ["orders:read"], [1]),
    claim_is("roles", "approver", [1], {"value": "x"}, None),
    claim_is("act", {"sub": "bob"}, {"iss": "x"}, "bob", {"sub": "a", "act": {"sub": ""}}),
    claim_is("typ", "ID", "Bearer", "Refresh", "logout", 5, "offline"),
    claim_is("token_use", "id", "access", None),
    claim_is("nonce", "n"), claim_is("at_hash", "h"), claim_is("events", {}), claim_is("c_hash", None),
    claim_is("cnf", {"jkt": "x"}, {}, None),
    has_member(b'"sub":"mallory"', b'"\\u0073ub":"mallory"', b'"x":{"a":1,"a":1}', b'"x":1,"x":1'),
    has_member(b'"kid":"nobody"', b'"alg":"none"', b'"exp":1'),
    has_member(b'"x":NaN', b'"x":[-Infinity]', b'"x":Infinity', b'"exp":NaN'),
    has_member(b'"x":1e400', b'"x":{"y":-1E999}', b'"nbf":1e400'),
    has_member(b'"x":"\\ud800"', b'"\\udfff":1', b'"x":["\\udc00\\ud800"]', b'"x":"\xed\xa0\x80"'),
    has_member(b'"x":%b' % nested(31), b'"x":%b' % nested(32), b'"x":{"y":%b}' % nested(60)),
    has_member(b'"x":[' + b"[]," * 600 + b"[]]", b'"x":[' + b"{}," * 400 + b"{}]"),
    has_member(b'"x":' + b"9" * 4_301, b'"x":' + b"9" * 2_000, b'"x":01', b'"x":.5', b"x:1", b'"x":"\t"'),
    has_member(*(b'"x":"%b"' % (b"a" * length) for length in (2_900, 3_100, 12_000))),
    text_is(lambda text: b"\xef\xbb\xbf" + text),
    text_is(lambda text: text.decode("latin-1").encode("utf-16")),
    text_is(lambda text: text.decode("latin-1").encode("utf-16-be")),
    text_is(lambda text: text.decode("latin-1").encode("utf-32-le")),
    text_is(lambda text: b" \t\r\n" + text.replace(b", ", b" ,\n") + b"\n"),
    text_is(lambda text: text + b"\x00"),
    text_is(lambda text: text + b"}"),
    text_is(lambda text: b"[" + text + b"]"),
    text_is(lambda text: text.replace(b"al", b"\xe9")),
    token_is(flip_bit), token_is(flip_bit), token_is(insert), token_is(swap_parts), token_is(negate_s),
    token_is(lambda rng, token: token[: rng.randrange(len(token))]),
    token_is(lambda _rng, token: token.rpartition(b".")[0] + b"."),
    token_is(lambda _rng, token: b".".join(map(re_pad, token.split(b".")))),
    token_is(lambda _rng, token: token + b".e30"),
)  # fmt: skip


def drafts() -> Iterator[Draft]:
    """
    `TOKENS` drafts: every fault alone several times, then up to three at once.
    """
    rng = random.Random(SEED)  # noqa: S311 - not for secrets
    for number in range(TOKENS):
        draft = right_draft(rng)
        alone = [FAULTS[number % len(FAULTS)]] if number < TOKENS // 2 else []
        for fault in alone or rng.choices(FAULTS, k=rng.choice([0, 1, 2, 2, 3])):
            fault(rng, draft)
        yield draft


# The two verifiers.


class Registry(JWSRegistry):
    """
    joserfc's rules for headers, with guardrail's bounds and a little over.

    Its strict mode refuses parameters it does not know, which RFC 7515 §4 says to ignore.
    """

    max_header_length = 32_768


REGISTRY: Final = Registry(algorithms=ALGORITHMS, strict_check_header=False)
KEY_SET: Final = KeySet([import_key(one) for one in PUBLIC["keys"]])
CLAIMS: Final = jwt.JWTClaimsRegistry(
    now=NOW,
    leeway=LEEWAY,
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": AUDIENCE},
    exp={"essential": True},
)


def joserfc_accepts(token: bytes) -> bool:
    """
    Whether joserfc verifies the signature and validates the registered claims.

    It raises Python's own errors on some malformed headers; they are refusals as well.
    """
    try:
        CLAIMS.validate(jwt.decode(token, KEY_SET, registry=REGISTRY).claims)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    return True


class Guarded:
    """
    guardrail in front of an application that answers everybody.
    """

    def __init__(self) -> None:
        issuer = Issuer(ISSUER, keys=PUBLIC, algorithms=ALGORITHMS, leeway=float(LEEWAY))
        package = ServicePackage("orders", issuer=issuer, audience=AUDIENCE)
        self.events: list[Event] = []
        self.app = GuardrailMiddleware(
            self.serve,
            prefixes={"/": package.requires()},
            on_event=[self.events.append],
            clock=lambda: float(NOW),
        )

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        The application.
        """
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def refusal(self, token: bytes) -> str | None:
        """
        The code guardrail refuses *token* with; None if it accepts it. With keys in hand nothing awaits.
        """
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request"}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"authorization", b"Bearer " + token)]
        scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
        call: Any = self.app(scope, receive, send)
        with pytest.raises(StopIteration):
            call.send(None)
        event = self.events.pop()
        if isinstance(event, TokenAccepted):
            assert sent[0]["status"] == 200
            return None
        assert isinstance(event, TokenRefused)
        assert sent[0]["status"] in (400, 401)
        return event.code


# Where guardrail is stricter.


@dataclass(frozen=True, slots=True)
class Loose:
    """
    A token that joserfc accepts, read as loosely as joserfc reads it.
    """

    token: bytes

    @property
    def raw(self) -> tuple[bytes, bytes]:
        """
        The octets of header and claims set.
        """
        header, claims, _ = self.token.split(b".")
        return base64.urlsafe_b64decode(re_pad(header)), base64.urlsafe_b64decode(re_pad(claims))

    @property
    def header(self) -> JSONObject:
        """
        The header.
        """
        found: JSONObject = json.loads(self.raw[0])
        return found

    @property
    def claims(self) -> JSONObject:
        """
        The claims set.
        """
        found: JSONObject = json.loads(self.raw[1])
        return found

    @property
    def values(self) -> list[object]:
        """
        Every value in header and claims set, at every depth, and every name.
        """
        ahead: list[object] = [self.header, self.claims]
        found: list[object] = []
        while ahead:
            value = ahead.pop()
            found.append(value)
            if isinstance(value, dict):
                ahead += [*value, *value.values()]
            elif isinstance(value, list):
                ahead += value
        return found


@dataclass(frozen=True, slots=True)
class Strictness:
    """
    A class of tokens that guardrail refuses and joserfc does not.

    Attributes:
        is_one: Whether a token belongs to it; decided without guardrail.
        codes: The codes guardrail refuses its tokens with.
        reason: Why guardrail is right to.
    """

    is_one: Callable[[Loose], bool]
    codes: frozenset[str]
    reason: str


def has_duplicates(loose: Loose) -> bool:
    """
    Whether an object has a name twice.
    """
    found: list[bool] = []

    def look(members: list[tuple[str, Any]]) -> JSONObject:
        found.append(len(dict(members)) < len(members))
        return dict(members)

    for raw in loose.raw:
        json.loads(raw, object_pairs_hook=look)
    return any(found)


def is_not_utf8(loose: Loose) -> bool:
    """
    Whether header or claims set is in another encoding than UTF-8 without a BOM.
    """
    for raw in loose.raw:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            return True
        if text.startswith("\ufeff") or "\x00" in text:
            return True
    return False


def has_constants(loose: Loose) -> bool:
    """
    Whether there is a NaN or an Infinity, spelled as such.
    """
    found: list[str] = []
    for raw in loose.raw:
        json.loads(raw, parse_constant=found.append)
    return bool(found)


def has_infinite_literals(loose: Loose) -> bool:
    """
    Whether there is a number too large for a float.
    """
    found: list[float] = []
    for raw in loose.raw:
        json.loads(raw, parse_float=lambda literal: found.append(float(literal)))
    return any(map(math.isinf, found))


def depth_of(value: object) -> int:
    """
    How deep arrays and objects are nested.
    """
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def has_surrogates(loose: Loose) -> bool:
    """
    Whether a string has half of a surrogate pair.
    """
    return any(isinstance(one, str) and any("\ud800" <= c <= "\udfff" for c in one) for one in loose.values)


def has_too_many_containers(loose: Loose) -> bool:
    """
    Whether header or claims set has more than 512 arrays and objects.
    """
    return any(raw.count(b"[") + raw.count(b"{") > 512 for raw in loose.raw)


def has_other_type(loose: Loose) -> bool:
    """
    Whether *typ* is there and names something else than an access token or a JWT.
    """
    named = str(loose.header.get("typ", "jwt")).lower().removeprefix("application/")
    return named not in ("at+jwt", "jwt")


def is_nested(loose: Loose) -> bool:
    """
    Whether *cty* says that the claims set is a token.
    """
    return str(loose.header.get("cty", "")).lower() in ("jwt", "application/jwt")


def is_other_kind(loose: Loose) -> bool:
    """
    Whether a claim marks another kind of token.
    """
    claims = loose.claims
    kind = claims.get("typ", "")
    return (
        bool({"nonce", "at_hash", "c_hash", "s_hash", "events"} & set(claims))
        or claims.get("token_use", "access") != "access"
        or not isinstance(kind, str)
        or kind.lower() in ("id", "refresh", "offline", "logout")
    )


def has_far_dates(loose: Loose) -> bool:
    """
    Whether a time lies before 1970 or after 9999.
    """
    dates = [loose.claims[name] for name in ("exp", "nbf", "iat") if name in loose.claims]
    return not all(0 <= date <= 253_402_300_799 for date in dates)


def has_empty_audience(loose: Loose) -> bool:
    """
    Whether one of several audiences is the empty string.
    """
    return isinstance(loose.claims["aud"], list) and "" in loose.claims["aud"]


def is_misshapen(loose: Loose) -> bool:
    """
    Whether a claim that says who the operator is, or what it may, has another type than its standard says.
    """
    claims = loose.claims
    texts = ["jti", "preferred_username", "email", "client_id" if "client_id" in claims else "azp"]
    scope = claims.get("scope" if "scope" in claims else "scp", "")
    return (
        any(name in claims and not is_text(claims[name]) for name in texts)
        or not all(is_list(claims.get(name, [])) for name in ("roles", "groups", "entitlements"))
        or not (
            isinstance(scope, str) or (isinstance(scope, list) and all(isinstance(one, str) for one in scope))
        )
        or ("act" in claims and not is_actor(claims["act"], left=4))
    )


def is_text(value: object) -> bool:
    """
    Whether it is a string that is not empty.
    """
    return isinstance(value, str) and value != ""


def is_list(value: object) -> bool:
    """
    Whether it is a list as SCIM has them (RFC 7643 §2.4), or one string.
    """
    if not isinstance(value, list):
        return isinstance(value, str)
    return all(isinstance(one.get("value") if isinstance(one, dict) else one, str) for one in value)


def is_actor(value: object, *, left: int) -> bool:
    """
    Whether it is an actor (RFC 8693 §4.1), with at most *left* - 1 behind it.
    """
    if not isinstance(value, dict) or not left or not is_text(value.get("sub")):
        return False
    texts = [value[name] for name in ("iss", "client_id") if name in value]
    return all(map(is_text, texts)) and ("act" not in value or is_actor(value["act"], left=left - 1))


MALFORMED: Final = frozenset({"malformed_token"})
UNSUPPORTED: Final = frozenset({"unsupported_header"})
SHAPE: Final = frozenset({"claims_malformed"})
STRICTER: Final[Mapping[str, Strictness]] = {
    "duplicate member": Strictness(
        has_duplicates, MALFORMED, "R45, R46, C4: two parsers read two tokens; RFC 7515 §4 allows to reject"
    ),
    "not UTF-8": Strictness(
        is_not_utf8, MALFORMED, "R43: RFC 8725 §3.7 wants UTF-8, and json.loads guesses UTF-16 and UTF-32"
    ),
    "NaN or Infinity": Strictness(has_constants, MALFORMED, "R47: not JSON (RFC 8259 §6)"),
    "number out of range": Strictness(
        has_infinite_literals, MALFORMED, "R47: it would be read as Infinity, which is not JSON"
    ),
    "half a surrogate pair": Strictness(
        has_surrogates,
        MALFORMED,
        "RFC 8259 §8.2: unpredictable; it can be neither logged nor stored as UTF-8",
    ),
    "nested deeply": Strictness(
        lambda loose: max(depth_of(loose.header), depth_of(loose.claims)) > 32, MALFORMED, "R63: bounded"
    ),
    "many arrays and objects": Strictness(has_too_many_containers, MALFORMED, "R63: bounded"),
    "large": Strictness(
        lambda loose: len(loose.token) + len("Bearer ") > 16_384 or loose.token.find(b".") > 4_096,
        frozenset({"token_too_large"}),
        "R16: work before the signature is bounded",
    ),
    "crit": Strictness(
        lambda loose: "crit" in loose.header,
        UNSUPPORTED,
        "R49, R50: guardrail processes no extension; joserfc takes registered names for extensions",
    ),
    "b64": Strictness(lambda loose: "b64" in loose.header, UNSUPPORTED, "R51: RFC 7797 §7, not in a JWT"),
    "enc": Strictness(lambda loose: "enc" in loose.header, UNSUPPORTED, "R56: it says it is a JWE"),
    "nested token": Strictness(is_nested, UNSUPPORTED, "R57: the inner token would not be verified"),
    "other type": Strictness(
        has_other_type, frozenset({"token_type_mismatch"}), "R104, R106: explicitly something else"
    ),
    "other kind of token": Strictness(
        is_other_kind, frozenset({"other_token_kind"}), "R106, R109: the marks of ID and logout tokens"
    ),
    "bound to a key": Strictness(
        lambda loose: "cnf" in loose.claims,
        frozenset({"sender_constrained"}),
        "R167, C6: presented as a bearer token it has lost its protection",
    ),
    "far dates": Strictness(has_far_dates, SHAPE, "R117: milliseconds and negative numbers are mistakes"),
    "empty audience": Strictness(has_empty_audience, SHAPE, "R111: every element names somebody"),
    "no subject": Strictness(
        lambda loose: not loose.claims.get("sub"),
        frozenset({"claim_missing", "claims_malformed"}),
        "R108, R119: an operator has an identity",
    ),
    "claim of another shape": Strictness(
        is_misshapen, SHAPE, "R121 to R123, R128: a claim that decides is not guessed at"
    ),
}


# Where joserfc refuses what the standards let pass: how to say the same so that joserfc takes it.


def has_unused_of_another_type(draft: Draft) -> bool:
    """
    Whether a header parameter that guardrail never reads has another type than its standard says.

    joserfc checks types and URL schemes of all of them; RFC 7515 §4.1 makes them optional, and guardrail
    takes no key from any (R52). The same for a *cty* that is no string: it does not say JWT.
    """
    header = draft.header
    urls = [header[name] for name in ("jku", "x5u") if name in header]
    texts = [header[name] for name in ("x5t", "x5t#S256", "cty") if name in header]
    chain = header.get("x5c", [])
    return not (
        all(isinstance(one, str) and one.startswith(("http://", "https://")) for one in urls)
        and all(isinstance(one, str) for one in texts)
        and isinstance(header.get("jwk", {}), dict)
        and isinstance(chain, list)
        and all(isinstance(one, str) for one in chain)
    )


def without_unused(draft: Draft) -> None:
    """
    Leave those parameters out.
    """
    for name in (*UNUSED, "cty"):
        draft.header.pop(name, None)


def with_kid(draft: Draft) -> None:
    """
    Name the key that signs.
    """
    draft.header["kid"] = draft.kid


LAXER: Final[Mapping[str, tuple[Callable[[Draft], bool], Callable[[Draft], None], str]]] = {
    "unused header parameter": (
        has_unused_of_another_type, without_unused, "R52: what is never read need not be checked",
    ),
    "no key ID": (
        lambda draft: "kid" not in draft.header, with_kid,
        "R88, RFC 7515 §4.1.4: optional; guardrail takes the one key that fits, joserfc only an only key",
    ),
}  # fmt: skip


# The comparison.


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What the two made of one token.
    """

    draft: Draft
    token: bytes
    is_accepted_by_joserfc: bool
    refusal: str | None

    @property
    def classes(self) -> list[str]:
        """
        The classes of `STRICTER` it belongs to.
        """
        loose = Loose(self.token)
        return [name for name, strictness in STRICTER.items() if strictness.is_one(loose)]


@functools.cache
def outcomes() -> tuple[Outcome, ...]:
    """
    All tokens, each given to both.
    """
    guarded = Guarded()
    found: list[Outcome] = []
    for draft in drafts():
        token = draft.token().lstrip(b" ")  # in front of it they are the separator's (RFC 6750 §2.1)
        found.append(Outcome(draft, token, joserfc_accepts(token), guarded.refusal(token)))
    return tuple(found)


def stricter() -> list[Outcome]:
    """
    The tokens that guardrail alone refuses.
    """
    return [one for one in outcomes() if one.is_accepted_by_joserfc and one.refusal is not None]


def laxer() -> list[Outcome]:
    """
    The tokens that joserfc alone refuses.
    """
    return [one for one in outcomes() if not one.is_accepted_by_joserfc and one.refusal is None]


def test_both_verifiers_accept_and_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The tokens are a fair sample: thousands, of which either verifier accepts many and refuses many.
    """
    cells = Counter((one.is_accepted_by_joserfc, one.refusal is None) for one in outcomes())

    with capsys.disabled():
        print(f"\ndifferential: {cells.total()} tokens; both accept {cells[True, True]}, both refuse "
              f"{cells[False, False]}, guardrail alone refuses {cells[True, False]}, joserfc alone "
              f"{cells[False, True]}")  # fmt: skip
    assert cells.total() == TOKENS
    assert cells[True, True] > 1_000
    assert cells[False, False] > 1_000


def test_guardrail_accepts_nothing_that_joserfc_refuses() -> None:
    """
    But for a header parameter nobody reads and a key ID nobody needs; without those joserfc accepts it too.
    """
    counts: Counter[str] = Counter()

    for outcome in laxer():
        draft, names = copy.deepcopy(outcome.draft), []
        for name, (is_one, repair, _) in LAXER.items():
            if is_one(draft):
                names.append(name)
                repair(draft)
        counts.update(names)
        assert names, outcome.token
        assert joserfc_accepts(draft.token()), outcome.token

    print(f"joserfc alone refuses: {dict(counts)}")
    assert set(counts) == set(LAXER)


def test_guardrail_is_stricter_only_in_named_ways() -> None:
    """
    Each token that joserfc accepts and guardrail does not is in a class, and refused for that reason.
    """
    for outcome in stricter():
        codes = [STRICTER[name].codes for name in outcome.classes]
        assert outcome.refusal in frozenset().union(*codes), (outcome.refusal, outcome.classes, outcome.token)


def test_every_class_occurs_by_itself() -> None:
    """
    No class is there in vain: each is once the only reason.
    """
    counts: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for outcome in stricter():
        classes = outcome.classes
        counts.update(classes)
        alone.update(classes if len(classes) == 1 else ())

    print("guardrail alone refuses:", {name: (counts[name], alone[name]) for name in STRICTER})
    assert set(alone) == set(STRICTER)


def test_tokens_of_every_class_are_refused() -> None:
    """
    The other way round: what belongs to a class guardrail never accepts.
    """
    accepted = [one for one in outcomes() if one.is_accepted_by_joserfc and one.refusal is None]

    assert not [(one.token, one.classes) for one in accepted if one.classes]


def test_codes_and_reasons_of_classes_are_real() -> None:
    """
    The list names codes that exist, and says why.
    """
    assert all(one.codes <= CODES and one.reason for one in STRICTER.values())
    assert all(reason for _, _, reason in LAXER.values())
