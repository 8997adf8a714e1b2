"""
A profile and the embedded issuer: every grant, client authentication, revocation and fault, with no network.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from issuer.builders import BILLING, ORDERS, URL, basic, connect, obtain_tokens, verified_claims
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from guardrail.client import AuthenticationProfile
from guardrail.errors import TokenUnavailableError
from guardrail.events import Event
from guardrail.issuer import Client, EmbeddedIssuer, Fault, Faults

SECRET = "correct horse: battery + staple 100%"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
PRIVATE = {"key_ops", "d", "p", "q", "dp", "dq", "qi"}
KEYS: dict[str, Callable[[], dict[str, Any]]] = {
    "RS256": lambda: RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048), as_dict=True),
    "PS256": lambda: RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048), as_dict=True),
    "ES256": lambda: ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True),
    "EdDSA": lambda: OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate(), as_dict=True),
}


def confidential(client_id: str = "machine", **changes: Any) -> Client:
    """
    A client with a secret, which may exchange tokens, too.
    """
    members: dict[str, Any] = {
        "client_secret": SECRET,
        "scopes": ["orders:read", "orders:write"],
        "audiences": [ORDERS, BILLING],
        "grant_types": ["client_credentials", TOKEN_EXCHANGE],
        **changes,
    }
    return Client(client_id, **members)


WEB = Client(
    "web",
    client_secret=None,
    scopes=["orders:read"],
    audiences=[ORDERS],
    grant_types=["authorization_code", "refresh_token"],
    redirect_uris=["http://127.0.0.1:8000/callback"],
)


class Office:
    """
    An issuer, and profiles of it.
    """

    def __init__(self, *clients: Client) -> None:
        self._go_on = threading.Event()
        self.delays: list[float] = []
        self.faults = Faults(sleep=self._sleep)
        self.issuer = EmbeddedIssuer(URL, clients=clients, algorithm="ES256", faults=self.faults)
        self.events: list[Event] = []
        self.paths: list[str] = []
        self.now = 1_000.0

    def profile(self, **arguments: Any) -> AuthenticationProfile:
        """
        A profile of the machine, found by the issuer's metadata.
        """
        given = {
            "issuer": URL,
            "client_id": "machine",
            "http_client": httpx.Client(transport=httpx.MockTransport(self._serve)),
            "clock": lambda: self.now,
            "on_event": [self.events.append],
            **arguments,
        }
        return AuthenticationProfile(**given)

    def tokens_of_alice(self) -> dict[str, str]:
        """
        What the web application got for its user.
        """

        async def obtain() -> dict[str, str]:
            async with connect(self.issuer) as http:
                return await obtain_tokens(http)

        return asyncio.run(obtain())

    def is_active(self, token: str) -> bool:
        """
        Whether the issuer says that a token is good (RFC 7662).
        """

        async def ask() -> bool:
            async with connect(self.issuer) as http:
                response = await http.post(
                    "/introspect", data={"token": token}, headers=basic("machine", SECRET)
                )
                return bool(response.json()["active"])

        return asyncio.run(ask())

    def wake(self) -> None:
        """
        Let an answer go that was held back.
        """
        self._go_on.set()

    def named(self, name: str) -> list[Any]:
        """
        The events of one name.
        """
        return [event for event in self.events if event.name == f"guardrail.client.{name}"]

    async def _sleep(self, seconds: float) -> None:
        if seconds == 0.0:
            return
        self.delays.append(seconds)
        await asyncio.to_thread(self._go_on.wait, 20.0)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        return asyncio.run(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        async with connect(self.issuer) as http:
            response = await http.send(
                http.build_request(
                    request.method, request.url, headers=request.headers, content=request.content
                )
            )
            return httpx.Response(response.status_code, headers=response.headers, content=response.content)


def fetched(profile: AuthenticationProfile) -> str:
    return asyncio.run(profile.token())


def failure(profile: AuthenticationProfile) -> TokenUnavailableError:
    with pytest.raises(TokenUnavailableError) as raised:
        fetched(profile)
    return raised.value


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_secret(method: str) -> None:
    """
    A client with a secret of awkward characters gets its own token, for scope and resource as asked.
    """
    office = Office(confidential(auth_method=method))

    token = fetched(
        office.profile(client_secret=SECRET, auth_method=method, scopes=["orders:read"], resource=BILLING)
    )

    claims = verified_claims(token, issuer=office.issuer, audience=BILLING)
    assert (claims["client_id"], claims["sub"], claims["scope"]) == ("machine", "machine", "orders:read")
    assert office.paths == ["/.well-known/oauth-authorization-server", "/token"]


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_wrong_secret(method: str) -> None:
    """
    Any other secret gets none.
    """
    office = Office(confidential())

    refused = failure(office.profile(client_secret=SECRET + "!", auth_method=method))

    assert (refused.error, refused.permanent) == ("invalid_client", True)


@pytest.mark.parametrize("given", ["client_secret_basic", "client_secret_post"])
def test_another_method_than_the_registered_one(given: str) -> None:
    """
    The right secret in the wrong place gets none.
    """
    other = {"client_secret_basic": "client_secret_post", "client_secret_post": "client_secret_basic"}[given]
    office = Office(confidential(auth_method=other))

    assert failure(office.profile(client_secret=SECRET, auth_method=given)).error == "invalid_client"


@pytest.mark.parametrize("alg", KEYS)
@pytest.mark.parametrize("is_registered", [True, False], ids=["registered", "another-key"])
def test_a_key(alg: str, is_registered: bool) -> None:
    """
    A client that signs with its registered key gets a token, at every request again; with another key none.
    """
    jwk = {**KEYS[alg](), "kid": "k1", "alg": alg}
    known = jwk if is_registered else {**KEYS[alg](), "kid": "k1", "alg": alg}
    public = {name: value for name, value in known.items() if name not in PRIVATE}
    client = confidential(client_secret=None, jwks={"keys": [public]}, grant_types=["client_credentials"])
    office = Office(client)
    profile = office.profile(client_assertion_key=jwk)

    if not is_registered:
        assert failure(profile).error == "invalid_client"
        return
    tokens = [fetched(profile)]
    profile.invalidate(tokens[0])
    tokens.append(fetched(profile))

    assert len(set(tokens)) == 2
    assert verified_claims(tokens[1], issuer=office.issuer)["client_id"] == "machine"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param({"scopes": ["orders:delete"]}, "invalid_scope", id="scope"),
        pytest.param({"resource": "https://other.example.com"}, "invalid_target", id="resource"),
        pytest.param({"client_id": "nobody"}, "invalid_client", id="client"),
        pytest.param({"subject_token": "no-token"}, "invalid_request", id="subject-token"),
        pytest.param({"refresh_token": "r"}, "unauthorized_client", id="grant"),
    ],
)
def test_what_the_issuer_refuses(arguments: dict[str, Any], error: str) -> None:
    """
    Its error code is told.
    """
    refused = failure(Office(confidential()).profile(client_secret=SECRET, **arguments))

    assert (refused.error, refused.permanent, refused.retry_after) == (error, True, 60.0)


def test_token_exchange() -> None:
    """
    The token is for the subject of the other one, and says who acts; the subject token is asked for anew.
    """
    office = Office(confidential(), WEB)
    subject_tokens = [office.tokens_of_alice()["access_token"] for _ in range(2)]
    profile = office.profile(
        client_secret=SECRET, subject_token=subject_tokens.pop, scopes=["orders:read"], resource=ORDERS
    )

    first = fetched(profile)
    profile.invalidate(first)
    second = fetched(profile)

    assert subject_tokens == []
    for token in (first, second):
        claims = verified_claims(token, issuer=office.issuer)
        assert (claims["sub"], claims["client_id"]) == ("alice", "machine")
        assert claims["act"] == {"sub": "machine", "client_id": "machine"}


def test_refresh_tokens_rotate() -> None:
    """
    Each refresh token is used once, the next one stored; the issuer, which revokes all of a family when one
    comes twice, sees none twice.
    """
    office, stored = Office(WEB), list[str]()
    given = office.tokens_of_alice()["refresh_token"]
    profile = office.profile(client_id="web", refresh_token=given, on_refresh_token=stored.append)

    for _ in range(4):
        claims = verified_claims(fetched(profile), issuer=office.issuer)
        assert (claims["sub"], claims["client_id"]) == ("alice", "web")
        office.now += 600.0

    assert len({given, *stored}) == 5
    assert len(office.named("refresh_token_rotated")) == 4


def test_a_refresh_token_that_was_used_is_the_end() -> None:
    """
    Two profiles with one refresh token: the issuer takes it for stolen, and none of them asks again.
    """
    office = Office(WEB)
    given = office.tokens_of_alice()["refresh_token"]
    first, second = (office.profile(client_id="web", refresh_token=given) for _ in range(2))
    fetched(first)

    assert (failure(second).error, failure(second).retry_after) == ("invalid_grant", None)
    office.now += 600.0
    assert failure(first).error == "invalid_grant"
    asked = len(office.paths)
    office.now += 100_000.0
    failure(first)
    failure(second)
    assert len(office.paths) == asked


def test_revocation() -> None:
    """
    The issuer, which the endpoint is known from, no longer calls the token good.
    """
    office = Office(confidential())
    profile = office.profile(client_secret=SECRET)
    token = fetched(profile)
    assert office.is_active(token)

    assert asyncio.run(profile.revoke()) is True

    assert not office.is_active(token)
    assert len(office.named("token_revoked")) == 1
    assert office.is_active(fetched(profile))


def test_revocation_of_a_refresh_token() -> None:
    """
    It is the refresh token that a later one replaced the given one with; and nothing is left to ask with.
    """
    office = Office(WEB, confidential())
    stored: list[str] = []
    given = office.tokens_of_alice()["refresh_token"]
    profile = office.profile(client_id="web", refresh_token=given, on_refresh_token=stored.append)
    token = fetched(profile)

    assert asyncio.run(profile.revoke()) is True

    assert not office.is_active(token)
    assert failure(profile).error == "invalid_grant"
    another = office.profile(client_id="web", refresh_token=stored[-1])
    assert failure(another).error == "invalid_grant"


FAILING: dict[str, tuple[Fault, str, float, float]] = {
    "rate_limited": (Fault("rate_limited", 7.0), "http_4xx", 7.0, 7.0),
    "rate_limited-default": (Fault("rate_limited"), "http_4xx", 5.0, 5.0),
    "unavailable": (Fault("unavailable"), "http_5xx", 0.5, 1.0),
    "unavailable-seconds": (Fault("unavailable", 40.0), "http_5xx", 40.0, 40.0),
    "not_json": (Fault("not_json"), "bad_response", 0.5, 1.0),
    "redirect": (Fault("redirect"), "redirect", 0.5, 1.0),
}


@pytest.mark.parametrize(("fault", "error", "least", "most"), FAILING.values(), ids=FAILING)
def test_a_fault_that_gives_no_token(fault: Fault, error: str, least: float, most: float) -> None:
    """
    A transient failure, a pause, and then one request that is served.
    """
    office = Office(confidential())
    office.faults.inject(fault, times=1)
    profile = office.profile(client_secret=SECRET)

    first, second = failure(profile), failure(profile)
    pause = first.retry_after or 0.0

    assert (first.error, second.error, first.permanent) == (error, error, False)
    assert least <= pause <= most
    assert office.paths.count("/token") == 1
    office.now += pause
    assert verified_claims(fetched(profile), issuer=office.issuer)["client_id"] == "machine"


@pytest.mark.parametrize(("fault", "error", "least", "most"), FAILING.values(), ids=FAILING)
def test_a_fault_while_the_token_lives(fault: Fault, error: str, least: float, most: float) -> None:
    """
    The token in hand is used meanwhile.
    """
    office = Office(confidential(token_lifetime=600.0))
    profile = office.profile(client_secret=SECRET)
    token = fetched(profile)
    office.faults.inject(fault)
    office.now += 599.0

    assert fetched(profile) == token
    office.now += 0.5
    assert fetched(profile) == token
    office.now += 0.5
    assert failure(profile).error == error
    assert office.named("token_fetch_failed")[0].trigger == "aging"


def test_a_slow_issuer() -> None:
    """
    It is a timeout, and what it answers in the end is nobody's.
    """
    office = Office(confidential())
    profile = office.profile(client_secret=SECRET, timeout=0.2)
    fetched(profile)
    profile.invalidate(fetched(profile))
    office.faults.inject(Fault("slow", 3.0), times=1)

    refused = failure(profile)
    office.wake()

    assert (refused.error, refused.permanent, office.delays) == ("timeout", False, [3.0])
    office.now += 1.0
    assert verified_claims(fetched(profile), issuer=office.issuer)["client_id"] == "machine"


def test_a_short_life() -> None:
    """
    A token that soon expires is replaced then.
    """
    office = Office(confidential())
    office.faults.inject(Fault("short_lived", 4.0), times=1)
    profile = office.profile(client_secret=SECRET)
    first = fetched(profile)
    office.now += 4.0

    assert fetched(profile) != first
    assert [event.lifetime for event in office.named("token_fetched")] == [4.0, 600.0]


def test_an_opaque_token() -> None:
    """
    It is never parsed; without expires_in it is good for a minute.
    """
    office = Office(confidential())
    office.faults.inject(Fault("opaque"), times=1)
    profile = office.profile(client_secret=SECRET)
    first = fetched(profile)

    assert "." not in first
    assert len(office.named("lifetime_unknown")) == 1
    office.now += 60.0
    assert fetched(profile).count(".") == 2


def test_every_kind_of_fault_is_met() -> None:
    """
    The tests above are of all kinds that the issuer knows.
    """
    met = {fault.kind for fault, *_ in FAILING.values()} | {"slow", "short_lived", "opaque"}

    assert met == set(Fault.KINDS)
