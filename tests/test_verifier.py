"""
A token and a service package → a verified token, in the right order; and the cache in front, which forgets.
"""

import asyncio
import hashlib
import json
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import pytest

from guardrail import Issuer, ServicePackage
from guardrail._jwk import VerificationKey
from guardrail._keys import KeySet, Selection, VerificationKeys, read_jwk_set
from guardrail._verifier import (
    MAX_KNOWN_HEADERS,
    PackageVerifier,
    TokenCache,
    VerifiedToken,
    digest_of,
)
from guardrail.errors import ClaimError, InvalidTokenError, UnavailableError, UnknownIssuerError
from guardrail.issuer import SigningKeys

pytestmark = pytest.mark.anyio

ISSUER = "https://login.example.com"
OTHER_ISSUER = "https://login.example.org"
AUDIENCE = "https://api.example.com/orders"
NOW = 1_800_000_000.0
LIFETIME = 600.0


class Clock:
    """
    A wall clock that goes where a test sends it.
    """

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class CountingAlgorithm:
    """
    An algorithm that counts the signatures it verifies, and verifies them.
    """

    def __init__(self, algorithm: Any, key_set: "CountingKeySet") -> None:
        self._algorithm = algorithm
        self._key_set = key_set

    def verify(self, signing_input: bytes, public_key: Any, signature: bytes) -> bool:
        """
        Verify, and count.
        """
        self._key_set.verifications += 1
        is_good: bool = self._algorithm.verify(signing_input, public_key, signature)
        return is_good


class CountingKeySet:
    """
    Keys in hand that count how often they were asked for, and how often they verified.
    """

    def __init__(self, keys: SigningKeys) -> None:
        self.generation = 0
        self.is_due = False
        self.selections = 0
        self.verifications = 0
        self.asked_about: list[int] = []
        self._keys = keys

    @property
    def published(self) -> VerificationKeys:
        """
        The public keys as they are now.
        """
        return read_jwk_set(self._keys.jwks(), algorithms=("EdDSA", "ES256", "RS256"))

    def holds(self, generation: int) -> bool:
        """
        Whether these are still the keys, like any key set.
        """
        self.asked_about.append(generation)
        return generation == self.generation and not self.is_due

    async def select(self, kid: str | None, algorithm: str) -> Selection:
        """
        The keys for a header, like any key set.
        """
        self.selections += 1
        await asyncio.sleep(0)
        keys = self.published.select(kid, algorithm)
        return Selection(tuple(map(self._counting, keys)), self.generation)

    def _counting(self, key: VerificationKey) -> VerificationKey:
        counting: Any = {name: CountingAlgorithm(one, self) for name, one in key.algorithms.items()}
        return replace(key, algorithms=counting)


class OvertakenKeySet(CountingKeySet):
    """
    Keys that change in the moment after each look-up.
    """

    async def select(self, kid: str | None, algorithm: str) -> Selection:
        """
        The keys as they were just now.
        """
        selection = await super().select(kid, algorithm)
        self.generation = selection.generation + 1
        return selection


class DownKeySet:
    """
    Keys that cannot be had.
    """

    def __init__(self) -> None:
        self.selections = 0

    def holds(self, generation: int) -> bool:
        """
        Nothing was verified under them.
        """
        return False

    async def select(self, kid: str | None, algorithm: str) -> Selection:
        """
        Fail, like any key set whose issuer is down.
        """
        self.selections += 1
        raise UnavailableError("down")


class Authority:
    """
    One issuer: its signing keys, and its key set as the verifier sees it.
    """

    def __init__(self, url: str = ISSUER, *, keys: SigningKeys | None = None, **settings: Any) -> None:
        self.keys = keys or SigningKeys("EdDSA")
        self.key_set = CountingKeySet(self.keys)
        self.issuer = Issuer(url, **settings)

    def token(self, *, headers: Mapping[str, object] | None = None, **claims: object) -> bytes:
        """
        A good token, but for what is said otherwise; a claim that is None is left out.
        """
        standard: dict[str, object] = {
            "iss": self.issuer.url,
            "aud": AUDIENCE,
            "sub": "alice",
            "client_id": "web",
            "iat": NOW,
            "exp": NOW + LIFETIME,
            "jti": "t1",
        }
        present = {name: value for name, value in (standard | claims).items() if value is not None}
        return self.keys.sign(present, headers=headers).encode()


def package(*authorities: Authority, audience: str = AUDIENCE, name: str = "orders") -> ServicePackage:
    """
    A service package that trusts these issuers.
    """
    return ServicePackage(name, issuer=[one.issuer for one in authorities], audience=audience)


def verifier(
    *authorities: Authority,
    clock: Clock | None = None,
    cache: TokenCache | None = None,
    audience: str = AUDIENCE,
) -> PackageVerifier:
    """
    A verifier of such a package.
    """
    key_sets: dict[Issuer, KeySet] = {one.issuer: one.key_set for one in authorities}
    return PackageVerifier(
        package(*authorities, audience=audience),
        key_sets=key_sets,
        cache=TokenCache(100) if cache is None else cache,
        clock=clock or Clock(),
    )


async def refused(verifying: PackageVerifier, token: bytes) -> InvalidTokenError:
    """
    The refusal of a token.
    """
    with pytest.raises(InvalidTokenError) as caught:
        await verifying.authenticate(token)
    return caught.value


def forged(token: bytes) -> bytes:
    """
    The same header and claims under a signature that nobody made.
    """
    signed, _, signature = token.rpartition(b".")
    octets = bytearray(urlsafe_b64decode(signature + b"=" * (-len(signature) % 4)))
    octets[0] ^= 1
    return signed + b"." + urlsafe_b64encode(octets).rstrip(b"=")


def resigned(token: bytes, keys: SigningKeys) -> bytes:
    """
    The same header and claims, signed with somebody else's key.
    """
    signed = token.rpartition(b".")[0]
    return signed + b"." + urlsafe_b64encode(keys.current.sign(signed)).rstrip(b"=")


# Order


async def test_a_good_token_is_authenticated() -> None:
    """
    Its operator and its times are what the claims say, under the key set's generation.
    """
    authority = Authority()
    authority.key_set.generation = 7

    verified = await verifier(authority).authenticate(authority.token(scope="orders:read"))

    assert verified.operator.operator_id == f"{ISSUER}#alice"
    assert verified.operator.scopes == {"orders:read"}
    assert (verified.dates.expires_at, verified.leeway) == (NOW + LIFETIME, 30.0)
    assert (verified.key_set, verified.generation) == (authority.key_set, 7)


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        pytest.param({"exp": NOW - 3600}, "token_expired", id="expired"),
        pytest.param({"nbf": NOW + 3600}, "token_not_yet_valid", id="not yet valid"),
        pytest.param({"iat": NOW + 3600}, "token_not_yet_valid", id="from the future"),
        pytest.param({"aud": "https://api.example.com/other"}, "audience_mismatch", id="another audience"),
        pytest.param({"aud": None}, "claim_missing", id="no audience"),
        pytest.param({"exp": None}, "claim_missing", id="no end"),
        pytest.param({"sub": None}, "claim_missing", id="no subject"),
        pytest.param({"exp": "9999999999"}, "claims_malformed", id="a malformed end"),
        pytest.param({"nonce": "n"}, "other_token_kind", id="an ID token"),
        pytest.param({"cnf": {"jkt": "x"}}, "sender_constrained", id="bound to a key"),
        pytest.param({"scope": 1}, "claims_malformed", id="a malformed scope"),
    ],
)
async def test_the_signature_is_verified_before_any_claim_is_looked_at(
    claims: dict[str, Any], code: str
) -> None:
    """
    A claim refuses a token that was signed; in a forged one nothing but the signature is refused (A29, R59).
    """
    authority = Authority()
    token = authority.token(**claims)
    verifying = verifier(authority)

    errors = [await refused(verifying, token), await refused(verifying, forged(token))]

    assert [error.code for error in errors] == [code, "bad_signature"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({"alg": "none"}, "algorithm_not_allowed", id="no algorithm"),
        pytest.param({"alg": "HS256"}, "algorithm_not_allowed", id="a symmetric algorithm"),
        pytest.param({"alg": "ES512"}, "algorithm_not_allowed", id="an algorithm not configured"),
        pytest.param({"crit": ["x"], "x": 1}, "unsupported_header", id="an extension"),
        pytest.param({"typ": "dpop+jwt"}, "token_type_mismatch", id="another type"),
        pytest.param({"kid": 1}, "unsupported_header", id="a key ID that is a number"),
    ],
)
async def test_the_header_is_judged_before_a_key_is_looked_for(headers: dict[str, object], code: str) -> None:
    """
    What the header may not say is refused without asking for a key.
    """
    authority = Authority()

    error = await refused(verifier(authority), authority.token(headers=headers))

    assert (error.code, authority.key_set.selections) == (code, 0)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({"kid": "another"}, "unknown_key", id="a key ID nobody has"),
        pytest.param({"alg": "ES256"}, "unknown_key", id="an algorithm that is not the key's"),
    ],
)
async def test_a_key_that_does_not_fit_the_header_is_not_used(headers: dict[str, object], code: str) -> None:
    """
    Key ID and algorithm must both be the key's (R66 to R68).
    """
    authority = Authority()

    error = await refused(verifier(authority), authority.token(headers=headers))

    assert (error.code, authority.key_set.selections) == (code, 1)


async def test_keys_that_cannot_be_had_are_no_refusal() -> None:
    """
    Without keys nothing can be said of a token, neither good nor bad.
    """
    authority = Authority()
    down = DownKeySet()
    verifying = PackageVerifier(
        package(authority), key_sets={authority.issuer: down}, cache=TokenCache(100), clock=Clock()
    )

    with pytest.raises(UnavailableError):
        await verifying.authenticate(authority.token())

    assert down.selections == 1


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(b"a", id="no dots"),
        pytest.param(b"a.b.c", id="not JSON"),
        pytest.param(b"." * 1_000, id="dots"),
        pytest.param(b"e30.e30.AA", id="empty objects"),
        pytest.param(b"e30..AA", id="no claims"),
    ],
)
async def test_what_is_no_token_asks_for_no_key(token: bytes) -> None:
    """
    A malformed token, or one of no issuer, is refused by itself.
    """
    authority = Authority()

    await refused(verifier(authority), token)

    assert authority.key_set.selections == 0


async def test_the_strict_profile_wants_the_strict_type() -> None:
    """
    ``profile="rfc9068"`` accepts *at+jwt* alone; the default takes *JWT* and absent too (C3).
    """
    strict, lenient = Authority(profile="rfc9068"), Authority()

    types = {}
    for name, authority in (("strict", strict), ("lenient", lenient)):
        verifying = verifier(authority)
        for typ in ("at+jwt", "JWT", None):
            try:
                await verifying.authenticate(authority.token(headers={"typ": typ}))
            except ClaimError as error:
                types[name, typ] = error.code

    assert types == {("strict", "JWT"): "token_type_mismatch", ("strict", None): "token_type_mismatch"}


@pytest.mark.parametrize("claim", ["jti", "iat", "client_id"])
async def test_the_strict_profile_wants_its_claims(claim: str) -> None:
    """
    What RFC 9068 §2.2 requires beyond the rest is required there only (R108).
    """
    strict, lenient = Authority(profile="rfc9068"), Authority()
    missing = cast("dict[str, Any]", {claim: None})

    await verifier(strict).authenticate(strict.token())
    await verifier(lenient).authenticate(lenient.token(**missing))

    error = await refused(verifier(strict), strict.token(**missing))
    assert error.code == "claim_missing"


async def test_an_issuers_own_token_types_replace_its_profiles() -> None:
    """
    What *token_types* names is accepted, and nothing else.
    """
    authority = Authority(token_types=["vendor+jwt"])
    verifying = verifier(authority)

    await verifying.authenticate(authority.token(headers={"typ": "vendor+jwt"}))

    error = await refused(verifying, authority.token(headers={"typ": "at+jwt"}))
    assert error.code == "token_type_mismatch"


# Issuers


async def test_the_issuer_chooses_among_those_configured() -> None:
    """
    Several issuers of one package are told apart by *iss*, and each one's keys verify its own tokens.
    """
    one, other = Authority(), Authority(OTHER_ISSUER)
    verifying = verifier(one, other)

    operators = [
        (await verifying.authenticate(authority.token())).operator.operator_id for authority in (one, other)
    ]

    assert operators == [f"{ISSUER}#alice", f"{OTHER_ISSUER}#alice"]
    assert (one.key_set.selections, other.key_set.selections) == (1, 1)


@pytest.mark.parametrize(
    "issuer",
    [
        pytest.param("https://evil.example", id="another"),
        pytest.param("https://login.example.com/", id="a slash more"),
        pytest.param("https://login.example.co", id="a letter less"),
        pytest.param("https://login.example.com.evil.example", id="a prefix of it"),
        pytest.param("https://LOGIN.example.com", id="another case"),
        pytest.param("HTTPS://login.example.com", id="another case of the scheme"),
        pytest.param("http://login.example.com", id="another scheme"),
        pytest.param("https://login.example.com:443", id="the default port"),
        pytest.param("https://login.example.com ", id="a space more"),
        pytest.param("https://login.example.com\x00", id="a NUL more"),
        pytest.param("https://login.exampl\u0435.com", id="a letter that looks alike"),
        pytest.param("", id="empty"),
        pytest.param(None, id="none"),
        pytest.param([ISSUER], id="in an array"),
        pytest.param({"0": ISSUER}, id="in an object"),
        pytest.param(1, id="a number"),
        pytest.param(True, id="a boolean"),
        pytest.param("http://169.254.169.254/latest", id="a place to be fetched from"),
        pytest.param("file:///etc/passwd", id="a file"),
    ],
)
async def test_an_unknown_issuer_is_refused_and_nothing_asked_for(issuer: object) -> None:
    """
    *iss* is compared exactly, and selects; it never leads anywhere (C1, C2, D6).
    """
    authority = Authority()

    with pytest.raises(UnknownIssuerError) as caught:
        await verifier(authority).authenticate(authority.token(iss=issuer))

    assert caught.value.code == "unknown_issuer"
    assert authority.key_set.selections == 0


async def test_one_key_id_at_two_issuers_does_not_cross_over() -> None:
    """
    A key verifies for its own issuer, whatever it is called elsewhere (A34, D4, R87).
    """
    one, other = Authority(), Authority(OTHER_ISSUER)
    named = {"kid": other.keys.current.kid}
    verifying = verifier(one, other)
    await verifying.authenticate(one.token())
    await verifying.authenticate(other.token())

    errors = [
        await refused(verifying, one.token(iss=OTHER_ISSUER)),
        await refused(verifying, one.token(iss=OTHER_ISSUER, headers=named)),
        await refused(verifying, one.token(iss=OTHER_ISSUER, headers={"kid": None})),
    ]

    assert [error.code for error in errors] == ["unknown_key", "bad_signature", "bad_signature"]


async def test_two_issuers_behind_one_key_are_still_two() -> None:
    """
    Where two issuers share their keys, *iss* alone decides whose a token is (C13, C15).
    """
    keys = SigningKeys("EdDSA")
    one, other = Authority(keys=keys), Authority(OTHER_ISSUER, keys=keys)

    verified = await verifier(one, other).authenticate(other.token())

    error = await refused(verifier(one), other.token())
    assert verified.operator.issuer == OTHER_ISSUER
    assert error.code == "unknown_issuer"


# The cache


async def test_a_token_seen_before_is_not_verified_again() -> None:
    """
    The second time its digest is enough.
    """
    authority = Authority()
    verifying = verifier(authority)
    token = authority.token()

    first, second = [await verifying.authenticate(token) for _ in range(2)]

    assert second is first
    assert authority.key_set.verifications == 1


async def test_without_a_cache_every_token_is_verified() -> None:
    """
    Size 0 remembers nothing.
    """
    authority = Authority()
    verifying = verifier(authority, cache=TokenCache(0))
    token = authority.token()

    for _ in range(3):
        await verifying.authenticate(token)

    assert authority.key_set.verifications == 3


@pytest.mark.parametrize(
    ("leeway", "elapsed", "code"),
    [
        pytest.param(0.0, LIFETIME - 0.1, None, id="just before its end"),
        pytest.param(0.0, LIFETIME, "token_expired", id="at its end"),
        pytest.param(30.0, LIFETIME + 29.9, None, id="just within the leeway"),
        pytest.param(30.0, LIFETIME + 30.0, "token_expired", id="at the leeway's end"),
    ],
)
@pytest.mark.parametrize("is_cached", [pytest.param(True, id="cached"), pytest.param(False, id="fresh")])
async def test_a_token_ends_whether_it_was_seen_before_or_not(
    is_cached: bool, leeway: float, elapsed: float, code: str | None
) -> None:
    """
    *exp* is judged on every use, by the same leeway, which is forgiven once (C16, D15, R114).
    """
    clock = Clock()
    authority = Authority(leeway=leeway)
    verifying = verifier(authority, clock=clock)
    token = authority.token()
    if is_cached:
        await verifying.authenticate(token)
    clock.now += elapsed

    try:
        await verifying.authenticate(token)
        outcome = None
    except ClaimError as error:
        outcome = error.code

    assert outcome == code


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_a_token_seen_before_is_refused_when_the_clock_was_set_back(claim: str) -> None:
    """
    *nbf* and *iat* are judged on every use too (H5).
    """
    clock = Clock()
    authority = Authority(leeway=30.0)
    verifying = verifier(authority, clock=clock)
    token = authority.token(**cast("dict[str, Any]", {"iat": None, claim: NOW}))
    await verifying.authenticate(token)

    clock.now = NOW - 30.0
    await verifying.authenticate(token)
    clock.now -= 0.1
    error = await refused(verifying, token)

    assert error.code == "token_not_yet_valid"


async def test_a_token_refused_as_too_early_is_accepted_in_time() -> None:
    """
    "Not yet" is not remembered (D15).
    """
    clock = Clock()
    authority = Authority(leeway=0.0)
    verifying = verifier(authority, clock=clock)
    token = authority.token(nbf=NOW + 5)

    error = await refused(verifying, token)
    clock.now += 5.0
    verified = await verifying.authenticate(token)

    assert error.code == "token_not_yet_valid"
    assert verified.operator.subject == "alice"


async def test_an_expired_token_leaves_the_cache() -> None:
    """
    An entry ends with its token: what comes after is verified anew.
    """
    clock = Clock()
    authority = Authority()
    verifying = verifier(authority, clock=clock)
    token = authority.token()
    await verifying.authenticate(token)
    clock.now += LIFETIME + 3600
    await refused(verifying, token)
    clock.now = NOW

    await verifying.authenticate(token)

    assert authority.key_set.verifications == 2


async def test_a_forgery_of_a_token_seen_before_is_refused() -> None:
    """
    The digest is of the whole token, signature included (D12, R103).
    """
    authority = Authority()
    verifying = verifier(authority)
    token = authority.token()
    await verifying.authenticate(token)

    errors = [
        await refused(verifying, forgery)
        for forgery in (forged(token), resigned(token, SigningKeys("EdDSA")))
    ]

    assert [error.code for error in errors] == ["bad_signature", "bad_signature"]
    assert (await verifying.authenticate(token)).operator.subject == "alice"


async def test_a_refused_token_never_enters() -> None:
    """
    It is verified, and refused, every time anew.
    """
    authority = Authority()
    verifying = verifier(authority)
    token = forged(authority.token())

    for _ in range(3):
        await refused(verifying, token)

    assert authority.key_set.verifications == 3


async def test_tokens_with_one_audience_keep_their_own_operators() -> None:
    """
    Each token is remembered as itself (D13).
    """
    authority = Authority()
    verifying = verifier(authority)
    tokens = [authority.token(sub=subject) for subject in ("alice", "bob") for _ in range(2)]

    subjects = [(await verifying.authenticate(token)).operator.subject for token in tokens]

    assert subjects == ["alice", "alice", "bob", "bob"]


async def test_another_packages_verdict_is_not_this_ones() -> None:
    """
    Packages share a cache and not its entries: an audience good there is refused here (C7).
    """
    authority = Authority()
    cache = TokenCache(100)
    orders = verifier(authority, cache=cache)
    billing = verifier(authority, cache=cache, audience="https://api.example.com/billing")
    token = authority.token()
    await orders.authenticate(token)

    error = await refused(billing, token)

    assert error.code == "audience_mismatch"
    assert (await orders.authenticate(token)).operator.subject == "alice"


async def test_an_entry_ends_with_the_generation_of_its_keys() -> None:
    """
    When the keys change, what they verified is verified again; a key taken back verifies nothing (D2).
    """
    authority = Authority()
    verifying = verifier(authority)
    token = authority.token()
    await verifying.authenticate(token)
    authority.keys.rotate(keep_previous=False)

    before = await verifying.authenticate(token)
    authority.key_set.generation = 1
    error = await refused(verifying, token)

    assert before.operator.subject == "alice"
    assert error.code == "unknown_key"


async def test_an_entry_is_not_used_while_the_keys_are_due() -> None:
    """
    While it is not known whether the keys still hold, the key set is asked.
    """
    authority = Authority()
    verifying = verifier(authority)
    token = authority.token()
    await verifying.authenticate(token)

    authority.key_set.is_due = True
    await verifying.authenticate(token)
    authority.key_set.is_due = False
    await verifying.authenticate(token)

    assert authority.key_set.verifications == 2


async def test_the_keys_of_an_entry_are_asked_about_on_each_use() -> None:
    """
    A key set hears of every use of what it verified: it may be time to refresh, or to tell of stale keys.
    """
    authority = Authority()
    authority.key_set.generation = 7
    verifying = verifier(authority)
    token = authority.token()

    for _ in range(3):
        await verifying.authenticate(token)

    assert (authority.key_set.selections, authority.key_set.asked_about) == (1, [7, 7])


async def test_an_entry_whose_keys_are_gone_is_forgotten() -> None:
    """
    A token whose keys were taken back, and that is refused, leaves nothing behind.
    """
    authority, cache = Authority(), TokenCache(10)
    verifying = verifier(authority, cache=cache)
    token = authority.token()
    await verifying.authenticate(token)
    authority.keys.rotate(keep_previous=False)
    authority.key_set.generation = 1

    await refused(verifying, token)

    assert cache.get((id(verifying), hashlib.sha256(token).digest())) is None


async def test_renewed_cache_has_forgotten_and_works() -> None:
    """
    After a renewal, as in a forked child, a token is verified again, and then remembered again.
    """
    authority, cache = Authority(), TokenCache(10)
    verifying, token = verifier(authority, cache=cache), authority.token()
    await verifying.authenticate(token)

    cache.renew()
    for _ in range(2):
        await verifying.authenticate(token)

    assert authority.key_set.verifications == 2


async def test_an_entry_of_a_generation_gone_by_while_it_was_made_is_not_used() -> None:
    """
    An entry bears the generation its keys were taken from, not that in force when it was put.
    """
    authority = Authority()
    authority.key_set = OvertakenKeySet(authority.keys)
    verifying = verifier(authority)
    token = authority.token()

    verified = [await verifying.authenticate(token) for _ in range(2)]

    assert [one.generation for one in verified] == [0, 1]
    assert [one.key_set.holds(one.generation) for one in verified] == [False, False]
    assert authority.key_set.selections == 2


async def test_the_cache_is_bounded() -> None:
    """
    The tokens verified first give way (H4).
    """
    authority = Authority()
    verifying = verifier(authority, cache=TokenCache(2))
    first, second, third = [authority.token(jti=name) for name in ("1", "2", "3")]
    for token in (first, second, first, third):
        await verifying.authenticate(token)
    verified = authority.key_set.verifications

    await verifying.authenticate(second)
    await verifying.authenticate(third)
    kept = authority.key_set.verifications
    await verifying.authenticate(first)

    assert (verified, kept, authority.key_set.verifications) == (3, 3, 4)


async def test_a_token_verified_anew_is_a_new_one() -> None:
    """
    Its place is the last again: what was verified before it gives way first.
    """
    authority, cache = Authority(), TokenCache(2)
    verifying = verifier(authority, cache=cache)
    first, second, third = [authority.token(jti=name) for name in ("1", "2", "3")]
    await verifying.authenticate(first)
    await verifying.authenticate(second)
    authority.key_set.is_due = True  # it may be other keys: the entry is not used
    await verifying.verify(first, digest_of(first))
    authority.key_set.is_due = False
    await verifying.authenticate(third)
    verified = authority.key_set.verifications

    await verifying.authenticate(first)

    assert authority.key_set.verifications == verified


async def test_no_token_is_kept() -> None:
    """
    The cache's keys are digests, and neither the entry nor its text has the token in it (F11, F12).
    """
    authority = Authority()
    cache = TokenCache(100)
    verifying = verifier(authority, cache=cache)
    token = authority.token()

    verified = await verifying.authenticate(token)

    assert cache.get((id(verifying), hashlib.sha256(token).digest())) is verified
    parts = token.decode().split(".")
    assert not [part for part in parts if part in repr(verified) + repr(cache.__dict__)]


async def test_what_is_remembered_cannot_be_changed() -> None:
    """
    Nobody who was handed an operator can change what the next request gets (R256).
    """
    authority = Authority()
    verifying = verifier(authority)
    token = authority.token(orders={"limits": [1, 2]})
    claims: Any = (await verifying.authenticate(token)).operator.claims

    with pytest.raises(TypeError):
        claims["sub"] = "mallory"
    with pytest.raises(TypeError):
        claims["orders"]["limits"] = ()

    again = await verifying.authenticate(token)
    assert (again.operator.claims["sub"], again.operator.claims["orders"]["limits"]) == ("alice", (1, 2))


def test_discarding_what_is_not_there_is_no_error() -> None:
    """
    Two requests with one expired token both forget it.
    """
    cache = TokenCache(10)

    cache.discard((1, b"digest"))

    assert cache.get((1, b"digest")) is None


def test_threads_share_a_verifier() -> None:
    """
    Loops in several threads look up, put, evict and discard in one small cache, and each token stays itself.
    """
    clock = Clock()
    authority = Authority()
    verifying = verifier(authority, clock=clock, cache=TokenCache(3))
    tokens = {f"user-{number}": authority.token(sub=f"user-{number}") for number in range(6)}
    expired = authority.token(exp=NOW - 3600)
    start = threading.Barrier(8)

    async def serve() -> list[bool]:
        outcomes = []
        for turn in range(60):
            authority.key_set.generation = turn // 20
            for subject, token in tokens.items():
                verified = await verifying.authenticate(token)
                outcomes.append(verified.operator.subject == subject)
            outcomes.append((await refused(verifying, expired)).code == "token_expired")
        return outcomes

    def run() -> list[bool]:
        start.wait()
        return asyncio.run(serve())

    with ThreadPoolExecutor(8) as pool:
        outcomes = [future.result() for future in [pool.submit(run) for _ in range(8)]]

    assert [len(some) for some in outcomes] == [60 * 7] * 8
    assert all(all(some) for some in outcomes)


# How long what a token let in may go on


@pytest.mark.parametrize(
    ("now", "left"),
    [
        pytest.param(NOW, LIFETIME, id="until its end"),
        pytest.param(NOW + LIFETIME - 0.5, 0.5, id="just before its end"),
        pytest.param(NOW + LIFETIME, 30.0, id="at its end, let in by the leeway"),
        pytest.param(NOW + LIFETIME + 29.5, 0.5, id="until the end of the leeway"),
    ],
)
async def test_a_connection_ends_with_its_token(now: float, left: float) -> None:
    """
    A connection lasts until *exp*; one let in after that, on the leeway, until the leeway is over.
    """
    authority = Authority(leeway=30.0)
    verified = await verifier(authority).authenticate(authority.token())

    assert verified.seconds_left(now) == pytest.approx(left)


async def test_a_verified_token_is_a_value() -> None:
    """
    It is frozen: what was verified stays as it was verified.
    """
    authority = Authority()
    verified: Any = await verifier(authority).authenticate(authority.token())

    with pytest.raises(AttributeError):
        verified.leeway = 3600.0

    assert isinstance(verified, VerifiedToken)


async def test_the_signature_is_verified_over_the_octets_received() -> None:
    """
    A header written oddly is good if it was signed so, and not if it was written again (A32, R58).
    """
    authority = Authority()
    header = json.dumps(
        {"typ": "at+jwt", "kid": authority.keys.current.kid, "alg": "EdDSA"}, indent=2
    ).encode()
    good = authority.token()
    odd = urlsafe_b64encode(header).rstrip(b"=") + b"." + good.split(b".")[1]
    signature = urlsafe_b64encode(authority.keys.current.sign(odd)).rstrip(b"=")

    verified = await verifier(authority).authenticate(odd + b"." + signature)

    error = await refused(verifier(authority), odd + b"." + good.split(b".")[2])
    assert verified.operator.subject == "alice"
    assert error.code == "bad_signature"


@pytest.mark.parametrize(("now", "left"), [(0.5, 299.5), (100.0, 200.0), (299.0, 1.0), (310.0, 20.0)])
async def test_time_left_is_a_difference_at_any_time(now: float, left: float) -> None:
    """
    A token has left what is between now and its end, also near the epoch.
    """
    authority, clock = Authority(), Clock()
    clock.now = now

    verified = await verifier(authority, clock=clock).authenticate(authority.token(exp=300, iat=0))

    assert verified.seconds_left(now) == left


async def test_generation_is_compared_as_a_number() -> None:
    """
    A long-lived key set has large generations; the same number is the same keys.
    """
    authority, cache = Authority(), TokenCache(10)
    verifying, token = verifier(authority, cache=cache), authority.token()
    authority.key_set.generation = int("100000")
    await verifying.authenticate(token)

    authority.key_set.generation = int("100000")
    await verifying.authenticate(token)

    assert authority.key_set.verifications == 1


async def test_cache_of_one_keeps_one() -> None:
    """
    The bound is exact, down to its smallest: the second token takes the first one's place.
    """
    authority = Authority()
    verifying = verifier(authority, cache=TokenCache(1))
    first, second = authority.token(jti="t1"), authority.token(jti="t2")
    for token in (first, second, second, first):
        await verifying.authenticate(token)

    assert authority.key_set.verifications == 3


# A header seen before


async def test_a_header_seen_before_selects_its_keys_at_once() -> None:
    """
    A second token with the same header, byte for byte, has its signature verified with the same keys.
    """
    authority = Authority()
    verifying = verifier(authority)

    for token in (authority.token(jti="1"), authority.token(jti="2")):
        await verifying.authenticate(token)

    assert (authority.key_set.selections, authority.key_set.verifications) == (1, 2)


@pytest.mark.parametrize("change", ["another header", "other keys", "keys due"])
async def test_keys_are_selected_anew(change: str) -> None:
    """
    With another header, once the key set has changed, or while it may have, nothing is taken from before.
    """
    authority = Authority()
    verifying = verifier(authority)
    await verifying.authenticate(authority.token(jti="1"))
    headers = {"cty": "x"} if change == "another header" else None
    authority.key_set.generation += change == "other keys"
    authority.key_set.is_due = change == "keys due"

    await verifying.authenticate(authority.token(jti="2", headers=headers))

    assert authority.key_set.selections == 2


async def test_a_header_of_another_issuer_selects_nothing() -> None:
    """
    Issuers may have key IDs in common; what one's header selected is no other's.
    """
    one, other = Authority(), Authority(OTHER_ISSUER)
    verifying = verifier(one, other)
    await verifying.authenticate(one.token())
    header, claims, _ = other.token().split(b".")
    signature = one.token(iss=OTHER_ISSUER).split(b".")[2]

    errors = [
        await refused(verifying, one.token(iss=OTHER_ISSUER)),
        await refused(verifying, b".".join((one.token().split(b".")[0], claims, signature))),
    ]

    assert {error.code for error in errors} <= {"bad_signature", "unknown_key"}
    good = await verifying.authenticate(b".".join((header, claims, other.token().split(b".")[2])))
    assert good.operator.issuer == OTHER_ISSUER


async def test_a_withdrawn_key_is_not_selected_by_its_header_any_more() -> None:
    """
    What a header selected ends with the generation of the key set, as what was verified does.
    """
    authority = Authority()
    verifying = verifier(authority)
    await verifying.authenticate(authority.token(jti="1"))
    withdrawn = authority.token(jti="2")
    authority.keys.rotate(keep_previous=False)
    authority.key_set.generation += 1

    error = await refused(verifying, withdrawn)

    assert error.code == "unknown_key"


async def test_headers_of_refused_tokens_are_not_remembered() -> None:
    """
    Whoever cannot sign can neither fill the place where headers are remembered nor push others out of it.
    """
    authority = Authority()
    verifying = verifier(authority)
    await verifying.authenticate(authority.token(jti="1"))

    for number in range(200):
        await refused(verifying, forged(authority.token(headers={"x": number})))
    before = authority.key_set.selections
    await verifying.authenticate(authority.token(jti="2"))

    assert authority.key_set.selections == before


async def test_headers_are_remembered_within_bounds() -> None:
    """
    An issuer that writes another header into each token costs a selection each time, and no memory.
    """
    authority = Authority()
    verifying = verifier(authority)

    for number in range(2 * MAX_KNOWN_HEADERS + 1):
        await verifying.authenticate(authority.token(headers={"x": number}))

    assert len(verifying._headers) <= MAX_KNOWN_HEADERS
    assert authority.key_set.selections == 2 * MAX_KNOWN_HEADERS + 1
