"""
Requirements compiled: what is made once at startup, and what several policies share.
"""

import time

import httpx
import pytest

from guardrail import Issuer, ServicePackage
from guardrail._challenge import Challenges
from guardrail._key_sets import KeySets
from guardrail._policies import PolicyCompiler
from guardrail._verifier import PackageVerifier
from guardrail.errors import ClaimError, MissingTokenError, PolicyError, UnavailableError, UnknownKeyError
from guardrail.events import Event, KeysFetched, KeysFetchFailed
from guardrail.issuer import SigningKeys
from guardrail.testing import FakeIssuer

pytestmark = pytest.mark.anyio

BILLING = "https://api.example.com/billing"


class Clock:
    """
    A clock that goes where a test sends it.
    """

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def authenticate(verifier: PackageVerifier, token: str) -> str:
    """
    The subject of a token.
    """
    return (await verifier.authenticate(token.encode())).operator.subject


async def test_a_policy_is_a_requirement_with_its_verifier_and_its_challenges() -> None:
    """
    What the compiler returns is ready to be used.
    """
    fake = FakeIssuer(algorithm="EdDSA")
    orders = ServicePackage("orders", issuer=fake.issuer, audience=fake.audience)
    requirement = orders.requires("orders:read")

    policy = PolicyCompiler(key_sets=KeySets()).compile(requirement)

    assert policy.requirement is requirement
    assert isinstance(policy.challenges, Challenges)
    assert await authenticate(policy.verifier, fake.token()) == "alice"


async def test_compiling_fetches_nothing() -> None:
    """
    An issuer that is down at startup does not stop it.
    """
    fake = FakeIssuer(algorithm="EdDSA")
    fake.go_down()
    orders = ServicePackage("orders", issuer=fake.issuer, audience=fake.audience)

    PolicyCompiler(key_sets=KeySets()).compile(orders.requires("orders:read"))

    assert fake.request_count == 0


async def test_the_routes_of_a_package_share_a_verifier_and_not_their_challenges() -> None:
    """
    A token is verified once for the package; what a refusal asks for is each route's own.
    """
    fake = FakeIssuer(algorithm="EdDSA")
    orders = ServicePackage("orders", issuer=fake.issuer, audience=fake.audience)
    again = ServicePackage("orders", issuer=fake.issuer, audience=fake.audience)
    compiler = PolicyCompiler(key_sets=KeySets())

    read, write, twin = [
        compiler.compile(requirement)
        for requirement in (
            orders.requires("orders:read"),
            orders.requires("orders:write"),
            again.requires("orders:read"),
        )
    ]

    assert read.verifier is write.verifier is twin.verifier
    headers = [dict(one.challenges.answer(MissingTokenError("")).headers) for one in (read, write)]
    assert [one[b"www-authenticate"] for one in headers] == [
        b'Bearer realm="orders", scope="orders:read"',
        b'Bearer realm="orders", scope="orders:write"',
    ]


async def test_packages_of_one_issuer_share_its_keys() -> None:
    """
    Two packages naming one issuer fetch its keys once, and keep their own audiences.
    """
    fake = FakeIssuer(algorithm="EdDSA")
    compiler = PolicyCompiler(key_sets=KeySets(http_client=fake.http_client))
    orders = compiler.compile(ServicePackage("orders", issuer=fake.url, audience=fake.audience).requires())
    billing = compiler.compile(ServicePackage("billing", issuer=fake.url, audience=BILLING).requires())

    await authenticate(orders.verifier, fake.token())
    await authenticate(billing.verifier, fake.token(aud=BILLING))

    assert orders.verifier is not billing.verifier
    assert fake.request_count == 2  # metadata and key set
    with pytest.raises(ClaimError):
        await authenticate(billing.verifier, fake.token())


async def test_packages_that_differ_are_verified_apart() -> None:
    """
    One name with another audience is another package.
    """
    fake = FakeIssuer(algorithm="EdDSA")
    compiler = PolicyCompiler(key_sets=KeySets())
    one = compiler.compile(ServicePackage("orders", issuer=fake.issuer, audience=fake.audience).requires())
    other = compiler.compile(ServicePackage("orders", issuer=fake.issuer, audience=BILLING).requires())

    await authenticate(one.verifier, fake.token())

    with pytest.raises(ClaimError):
        await authenticate(other.verifier, fake.token())


async def test_issuers_that_differ_do_not_share_keys() -> None:
    """
    The same URL with other settings, or reached by another client, is another issuer to fetch from.
    """
    one, other = FakeIssuer(algorithm="EdDSA"), FakeIssuer(algorithm="EdDSA")
    compiler = PolicyCompiler(key_sets=KeySets())
    policies = [
        compiler.compile(ServicePackage(name, issuer=fake.issuer, audience=fake.audience).requires())
        for name, fake in (("one", one), ("other", other))
    ]

    await authenticate(policies[0].verifier, one.token())
    await authenticate(policies[1].verifier, other.token())

    assert (one.request_count, other.request_count) == (2, 2)
    with pytest.raises(UnknownKeyError):
        await authenticate(policies[0].verifier, other.token())


async def test_an_issuers_own_client_goes_before_the_middlewares() -> None:
    """
    The middleware's client is for issuers that brought none.
    """
    own, general = FakeIssuer(algorithm="EdDSA"), FakeIssuer(algorithm="EdDSA")
    compiler = PolicyCompiler(key_sets=KeySets(http_client=general.http_client))
    policy = compiler.compile(ServicePackage("own", issuer=own.issuer, audience=own.audience).requires())

    await authenticate(policy.verifier, own.token())

    assert (own.request_count, general.request_count) == (2, 0)


async def test_keys_in_hand_are_not_fetched() -> None:
    """
    An issuer that comes with its keys is asked for nothing, and no other key verifies.
    """
    requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(404)

    fake = FakeIssuer(algorithm="EdDSA")
    issuer = Issuer(fake.url, keys=fake.keys.jwks())
    client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    compiler = PolicyCompiler(key_sets=KeySets(http_client=client))
    policy = compiler.compile(ServicePackage("orders", issuer=issuer, audience=fake.audience).requires())

    subject = await authenticate(policy.verifier, fake.token())

    fake.rotate()
    with pytest.raises(UnknownKeyError):
        await authenticate(policy.verifier, fake.token())
    assert (subject, requests) == ("alice", [])


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([{**SigningKeys("EdDSA").current.jwk(), "use": "enc"}], id="for encryption"),
        pytest.param([{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}], id="off its curve"),
        pytest.param([SigningKeys("ES256").current.jwk()], id="of another algorithm"),
    ],
)
def test_unusable_keys_in_hand_stop_the_startup(keys: list[object]) -> None:
    """
    Keys that can verify nothing are a mistake that is told at once (A19).
    """
    issuer = Issuer("https://login.example.com", keys={"keys": keys}, algorithms=["EdDSA"])
    orders = ServicePackage("orders", issuer=issuer, audience="orders")

    with pytest.raises(PolicyError, match="keys: no usable key"):
        PolicyCompiler(key_sets=KeySets()).compile(orders.requires())


async def test_token_times_go_by_the_wall_clock() -> None:
    """
    *clock* judges tokens, and *monotonic* does not.
    """
    clock = Clock(1_800_000_000.0)
    fake = FakeIssuer(algorithm="EdDSA", clock=clock)
    orders = ServicePackage("orders", issuer=fake.issuer, audience=fake.audience)
    key_sets = KeySets(clock=Clock(0.0), monotonic=Clock(0.0))
    policy = PolicyCompiler(key_sets=key_sets, clock=clock).compile(orders.requires())
    token = fake.token(expires_in=10.0)
    await authenticate(policy.verifier, token)

    clock.now += 40.0

    with pytest.raises(ClaimError) as caught:
        await authenticate(policy.verifier, token)
    assert caught.value.code == "token_expired"


async def test_key_lifetimes_go_by_the_monotonic_clock() -> None:
    """
    A wall clock set forward by a day makes no key due; ten minutes of the monotonic one do (H5).
    """
    clock, monotonic = Clock(time.time()), Clock(0.0)
    fake = FakeIssuer(algorithm="EdDSA", clock=clock)
    orders = ServicePackage("orders", issuer=fake.issuer, audience=fake.audience)
    key_sets = KeySets(clock=clock, monotonic=monotonic)
    policy = PolicyCompiler(key_sets=key_sets, clock=clock).compile(orders.requires())
    await authenticate(policy.verifier, fake.token())
    clock.now += 86_400.0
    await authenticate(policy.verifier, fake.token())
    by_the_wall = fake.request_count

    monotonic.now += 600.0
    await authenticate(policy.verifier, fake.token())

    assert (by_the_wall, fake.request_count) == (2, 4)


async def test_listeners_hear_of_fetches() -> None:
    """
    *emit* is told when keys come, and when they do not.
    """
    heard: list[Event] = []
    fake = FakeIssuer(algorithm="EdDSA")
    orders = ServicePackage("orders", issuer=fake.issuer, audience=fake.audience)
    monotonic = Clock(0.0)
    key_sets = KeySets(emit=heard.append, monotonic=monotonic)
    policy = PolicyCompiler(key_sets=key_sets).compile(orders.requires())

    fake.go_down()
    with pytest.raises(UnavailableError):
        await authenticate(policy.verifier, fake.token())
    fake.come_up()
    monotonic.now += 2.0  # the longest that the first pause can be
    await authenticate(policy.verifier, fake.token())

    assert [type(event) for event in heard] == [KeysFetchFailed, KeysFetched]


async def test_the_size_of_the_cache_is_what_was_said() -> None:
    """
    With a cache a token's second use gets what the first did; without one it is verified again.
    """
    fake = FakeIssuer(algorithm="EdDSA")
    orders = ServicePackage("orders", issuer=fake.issuer, audience=fake.audience)
    token = fake.token().encode()
    same = {}

    for size in (0, 1, 10_000):
        policy = PolicyCompiler(key_sets=KeySets(), token_cache_size=size).compile(orders.requires())
        first, second = [await policy.verifier.authenticate(token) for _ in range(2)]
        same[size] = first is second

    assert same == {0: False, 1: True, 10_000: True}


async def test_all_packages_share_one_cache() -> None:
    """
    The bound is the middleware's, not each package's.
    """
    fake = FakeIssuer(algorithm="EdDSA")
    compiler = PolicyCompiler(key_sets=KeySets(), token_cache_size=1)
    orders = compiler.compile(ServicePackage("orders", issuer=fake.issuer, audience=fake.audience).requires())
    billing = compiler.compile(ServicePackage("billing", issuer=fake.issuer, audience=BILLING).requires())
    token = fake.token().encode()
    first = await orders.verifier.authenticate(token)
    await billing.verifier.authenticate(fake.token(aud=BILLING).encode())

    second = await orders.verifier.authenticate(token)

    assert second is not first


async def test_a_package_may_mix_issuers_with_keys_and_without() -> None:
    """
    Each of a package's issuers brings its own kind of key set.
    """
    fetched = FakeIssuer(algorithm="EdDSA")
    in_hand = FakeIssuer("https://login.example.org", algorithm="EdDSA")
    orders = ServicePackage(
        "orders",
        issuer=[fetched.issuer, Issuer(in_hand.url, keys=in_hand.keys.jwks())],
        audience=fetched.audience,
    )
    policy = PolicyCompiler(key_sets=KeySets()).compile(orders.requires())

    operators = [
        (await policy.verifier.authenticate(fake.token().encode())).operator.issuer
        for fake in (fetched, in_hand)
    ]

    assert operators == [fetched.url, in_hand.url]
    assert (fetched.request_count, in_hand.request_count) == (2, 0)
