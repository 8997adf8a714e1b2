"""
The world of the soak: an issuer with its keys, its bad days, and the tokens that clients have of it.

Nothing here imports guardrail: what is right is decided from what the issuer did and what a token is.
"""

import base64
import bisect
import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://login.example.com"
JWKS_URI = f"{ISSUER}/keys"
AUDIENCE = "https://api.example.com/orders"
LEEWAY = 30.0  # seconds, as guardrail has it by default
TOKEN_LIFETIME = 3_600.0  # seconds
KEY_LIFETIME = 600.0  # seconds, for which the issuer says that its keys are fresh
QUIET = 120.0  # seconds around a rotation without key IDs made up, so that no budget is spent then
EPOCH = 1_800_000_000.0  # seconds: when the soak begins


@dataclass(frozen=True)
class Key:
    """
    A key of the issuer.
    """

    kid: str
    algorithm: str
    private: Any
    jwk: dict[str, Any]


@dataclass(frozen=True)
class Token:
    """
    A token as a client holds it, and what it is.

    Attributes:
        encoded: What is sent.
        kid: The key it says it is signed with.
        expires_at: Its *exp*.
        flaw: Why it is good for nothing, or empty.
        has_scope: Whether it has the scope that the route needs.
    """

    encoded: bytes
    kid: str
    expires_at: float
    flaw: str = ""
    has_scope: bool = True


@dataclass(frozen=True, order=True)
class Incident:
    """
    A time in which the issuer does not answer as it should: ``down``, or ``garbage``.
    """

    begins: float
    ends: float
    kind: str


def new_key(number: int) -> Key:
    """
    A key; most are of the fast kinds, every fifth is RSA.
    """
    kid = f"key-{number:03d}"
    private: Any
    if number % 5 == 4:
        private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        algorithm, text = "RS256", RSAAlgorithm.to_jwk(private.public_key())
    elif number % 2:
        private = ec.generate_private_key(ec.SECP256R1())
        algorithm, text = "ES256", ECAlgorithm.to_jwk(private.public_key())
    else:
        private = ed25519.Ed25519PrivateKey.generate()
        algorithm, text = "EdDSA", OKPAlgorithm.to_jwk(private.public_key())
    jwk = {name: value for name, value in json.loads(text).items() if name != "key_ops"}
    return Key(kid, algorithm, private, {**jwk, "kid": kid, "alg": algorithm, "use": "sig"})


@dataclass
class IssuerWorld:
    """
    The issuer, and what it has told so far.

    Attributes:
        now: The time, in seconds since the epoch.
        rotations: When it signs with a new key; the former one stays published while its tokens live.
        removals: Those of them at which the former key is withdrawn at once.
        incidents: Its bad days.
        told: The key IDs of its last good answer.
        told_at: When that was.
        fetches: How often it was asked.
    """

    rotations: Sequence[float]
    removals: frozenset[float]
    incidents: Sequence[Incident]
    now: float = EPOCH
    told: frozenset[str] = frozenset()
    told_at: float = -1.0
    fetches: int = 0
    withdrawn: set[str] = field(default_factory=set)
    keys: list[tuple[Key, float]] = field(default_factory=list)  # and until when they are published
    _incident: int = 0

    def __post_init__(self) -> None:
        self.numbers = itertools.count()
        self.turn = 0
        self.keys.append((new_key(next(self.numbers)), float("inf")))

    @property
    def current(self) -> Key:
        """
        The key that signs now.
        """
        return self.keys[-1][0]

    @property
    def published(self) -> frozenset[str]:
        """
        The key IDs in the JWK Set as it should be answered now.
        """
        return frozenset(key.kid for key, until in self.keys if self.now < until)

    def pass_time(self, seconds: float) -> None:
        """
        Go on, and rotate when the time has come.
        """
        self.now += seconds
        while self.turn < len(self.rotations) and self.rotations[self.turn] <= self.now:
            self._rotate(self.rotations[self.turn])
            self.turn += 1

    def _rotate(self, at: float) -> None:
        former, _ = self.keys[-1]
        until = at if at in self.removals else at + TOKEN_LIFETIME + LEEWAY
        if at in self.removals:
            self.withdrawn.add(former.kid)
        self.keys = [(key, end) for key, end in self.keys[:-1] if self.now < end]
        self.keys += [(former, until), (new_key(next(self.numbers)), float("inf"))]

    def incident(self) -> str:
        """
        What is wrong with it now, or nothing.
        """
        position = bisect.bisect_right(self.incidents, Incident(self.now, float("inf"), "")) - 1
        one = self.incidents[position] if position >= 0 else None
        return one.kind if one is not None and self.now < one.ends else ""

    def is_shaken(self) -> bool:
        """
        Whether something is wrong, or was a moment ago: guardrail may still pause.
        """
        return any(one.begins <= self.now < one.ends + QUIET for one in self.incidents)

    def is_quiet(self) -> bool:
        """
        Whether no rotation is near.
        """
        return not any(-QUIET < self.now - at < QUIET for at in self.rotations)

    def answer(self) -> tuple[int, bytes]:
        """
        Status and body of what a fetch gets.
        """
        self.fetches += 1
        kind = self.incident()
        if kind == "down":
            return 503, b""
        if kind == "garbage":
            return 200, b'{"keys": "<html>Service temporarily unavailable</html>"}'
        live = [key for key, until in self.keys if self.now < until]
        self.told, self.told_at = frozenset(key.kid for key in live), self.now
        return 200, json.dumps({"keys": [key.jwk for key in live]}).encode()

    def right_answers(self, token: Token) -> frozenset[int]:
        """
        Every status that is right for *token* now; nearly always one.
        """
        is_known = token.kid in self.told
        # Nobody can say that a key does not exist while the issuer cannot be asked.
        refused = frozenset({401, 503} if not is_known and self.is_shaken() else {401})
        if token.flaw or self.now >= token.expires_at + LEEWAY:
            return refused
        granted = frozenset({200 if token.has_scope else 403})
        if token.kid in self.published:
            return granted
        # Withdrawn. Whoever was told before may use it until told otherwise, or until that answer is old.
        is_old = self.now - self.told_at > KEY_LIFETIME and not self.is_shaken()
        return granted | refused if is_known and not is_old else refused


class TokenOffice:
    """
    Makes the tokens that clients hold, good ones and others.
    """

    def __init__(self, issuer: IssuerWorld, rng: random.Random) -> None:
        self._issuer = issuer
        self._rng = rng
        self._strangers = {key.algorithm: key for key in map(new_key, (990, 991, 994))}
        self._numbers = itertools.count()

    def issue(self, client: int, *, has_scope: bool = True, audience: str = AUDIENCE) -> Token:
        """
        A token as the issuer makes it.
        """
        flaw = "" if audience == AUDIENCE else "wrong audience"
        key = self._issuer.current
        expires_at, encoded = self._sign(key, key.kid, client, has_scope=has_scope, audience=audience)
        return Token(encoded, key.kid, expires_at, flaw, has_scope)

    def forge(self, token: Token) -> Token:
        """
        *token* turned into something that must not get in.
        """
        kind = self._rng.choice(("tampered", "signature", "none", "stranger", "truncated"))
        header, payload, signature = token.encoded.split(b".")
        if kind == "tampered":
            claims = json.loads(base64.urlsafe_b64decode(payload + b"=="))
            payload = _encoded({**claims, "sub": "root"})
        elif kind == "signature":
            signature = signature[:-4] + (b"AAAA" if signature[-4:] != b"AAAA" else b"BBBA")
        elif kind == "none":
            header, signature = _encoded({"alg": "none", "kid": token.kid}), b""
        elif kind == "stranger":
            algorithm = json.loads(base64.urlsafe_b64decode(header + b"=="))["alg"]
            _, encoded = self._sign(self._strangers[algorithm], token.kid, 0)
            return Token(encoded, token.kid, token.expires_at, kind)
        else:
            signature = signature[: len(signature) // 2 & ~3]
        return Token(b".".join((header, payload, signature)), token.kid, token.expires_at, kind)

    def from_nowhere(self) -> Token:
        """
        A token of a key ID that nobody has ever published.
        """
        kid = f"made-up-{next(self._numbers)}"
        expires_at, encoded = self._sign(self._strangers["EdDSA"], kid, 0)
        return Token(encoded, kid, expires_at, "unknown key")

    def _sign(
        self, key: Key, kid: str, client: int, *, has_scope: bool = True, audience: str = AUDIENCE
    ) -> tuple[float, bytes]:
        now = self._issuer.now
        expires_at = float(int(now + TOKEN_LIFETIME))
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": f"client-{client}",
            "client_id": f"client-{client}",
            "iat": int(now),
            "exp": int(expires_at),
            "jti": f"{next(self._numbers)}",
            "scope": "orders:read profile" if has_scope else "profile",
        }
        headers = {"kid": kid, "typ": "at+jwt"}
        return expires_at, jwt.encode(claims, key.private, algorithm=key.algorithm, headers=headers).encode()


def _encoded(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
