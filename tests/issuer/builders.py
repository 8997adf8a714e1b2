"""
Builders for the tests of the embedded issuer: clients, issuers, connections and requests.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import httpx
import jwt

from guardrail.issuer import Client, EmbeddedIssuer

URL = "http://127.0.0.1:9000"
NOW = 1_800_000_000.0
ORDERS = "https://api.example.com/orders"
BILLING = "https://api.example.com/billing"
CALLBACK = "http://127.0.0.1:8000/callback"
SECRET = "correct horse battery staple"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()

SERVICE = Client(
    "orders-service",
    client_secret=SECRET,
    scopes=["orders:read", "orders:write"],
    audiences=[ORDERS, BILLING],
)
WEB = Client(
    "web",
    client_secret=None,
    scopes=["orders:read", "orders:write"],
    audiences=[ORDERS, BILLING],
    grant_types=["authorization_code", "refresh_token"],
    redirect_uris=[CALLBACK],
    refresh_token_lifetime=3600.0,
)
OTHER_WEB = Client(
    "other-web",
    client_secret=None,
    scopes=["orders:read"],
    audiences=[ORDERS],
    grant_types=["authorization_code", "refresh_token"],
    redirect_uris=[CALLBACK],
)


class Clock:
    """
    A clock that moves when told to.
    """

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def an_issuer(
    *clients: Client, url: str = URL, clock: Clock | None = None, users: Iterable[str] = ("alice", "bob")
) -> EmbeddedIssuer:
    """
    Build an issuer with the quickest keys there are.
    """
    return EmbeddedIssuer(url, clients=clients, algorithm="ES256", clock=clock or Clock(), users=users)


def connect(issuer: EmbeddedIssuer, *, peer: str = "127.0.0.1") -> httpx.AsyncClient:
    """
    Connect to an issuer without a socket; an application error is an error of the test.
    """
    transport = httpx.ASGITransport(app=issuer, client=(peer, 50000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9000")


def basic(client_id: str, secret: str) -> dict[str, str]:
    """
    Build the header of client_secret_basic (RFC 6749 §2.3.1).
    """
    credentials = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


async def request_token(
    *clients: Client, form: dict[str, str], headers: dict[str, str] | None = None
) -> httpx.Response:
    """
    Make one token request to a fresh issuer.
    """
    async with connect(an_issuer(*clients)) as http:
        return await http.post("/token", data=form, headers=headers)


def verified_claims(token: str, *, issuer: EmbeddedIssuer, audience: str = ORDERS) -> dict[str, object]:
    """
    Verify a token with the published keys, and return its claims set; times are the test's to look at.
    """
    published = jwt.PyJWKSet.from_dict(dict(issuer.keys.jwks()))
    key = published[jwt.get_unverified_header(token)["kid"]]
    return dict(
        jwt.decode(
            token,
            key,
            audience=audience,
            issuer=issuer.url,
            options={"verify_exp": False, "verify_iat": False},
        )
    )


def changed(parameters: Mapping[str, str], **changes: str | None) -> dict[str, str]:
    """
    Change parameters; ``None`` leaves one out.
    """
    return {name: value for name, value in {**parameters, **changes}.items() if value is not None}


def authorization_parameters(**changes: str | None) -> dict[str, str]:
    """
    Build the parameters of a good authorization request, then change them.
    """
    good = {
        "response_type": "code",
        "client_id": "web",
        "redirect_uri": CALLBACK,
        "scope": "orders:read",
        "state": "a b&c",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return changed(good, **changes)


def code_parameters(code: str, /, **changes: str | None) -> dict[str, str]:
    """
    Build the parameters of a good token request for a code, then change them.
    """
    good = {
        "grant_type": "authorization_code",
        "client_id": "web",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    return changed(good, **changes)


def refresh_parameters(refresh_token: str, /, **changes: str | None) -> dict[str, str]:
    """
    Build the parameters of a good refresh request, then change them.
    """
    good = {"grant_type": "refresh_token", "client_id": "web", "refresh_token": refresh_token}
    return changed(good, **changes)


def request_id_of(page: str) -> str:
    """
    Find the one-time request ID in a consent page.
    """
    found = re.search(r'name="request_id" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def answer_of(response: httpx.Response) -> dict[str, str]:
    """
    Return the parameters that a redirect to the callback carries, each of which it carries once.
    """
    assert response.status_code == 303
    location = response.headers["location"]
    assert location.startswith(CALLBACK + "?")
    parameters = parse_qs(urlsplit(location).query, strict_parsing=True)
    assert all(len(values) == 1 for values in parameters.values())
    return {name: values[0] for name, values in parameters.items()}


async def obtain_code(http: httpx.AsyncClient, **changes: str | None) -> str:
    """
    Go through the consent page as alice, and return the code.
    """
    page = await http.get("/authorize", params=authorization_parameters(**changes))
    decision = {"request_id": request_id_of(page.text), "user": "alice", "decision": "allow"}
    return answer_of(await http.post("/authorize", data=decision))["code"]


async def obtain_tokens(http: httpx.AsyncClient, **changes: str | None) -> dict[str, str]:
    """
    Obtain the tokens of alice for the web client.
    """
    code = await obtain_code(http, **changes)
    response = await http.post("/token", data=code_parameters(code))
    assert response.status_code == 200
    return dict(response.json())


TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def exchange_parameters(subject_token: str, /, **changes: str | None) -> dict[str, str]:
    """
    Build the parameters of a good token exchange of the gateway's, then change them.
    """
    good = {
        "grant_type": TOKEN_EXCHANGE,
        "client_id": "gateway",
        "client_secret": SECRET,
        "subject_token": subject_token,
        "subject_token_type": ACCESS_TOKEN,
    }
    return changed(good, **changes)


def a_gateway(client_id: str = "gateway", **changes: Any) -> Client:
    """
    Build a client that may exchange tokens.
    """
    good: dict[str, Any] = {
        "client_secret": SECRET,
        "scopes": ["orders:read", "orders:write"],
        "audiences": [BILLING, ORDERS],
        "grant_types": [TOKEN_EXCHANGE, "client_credentials"],
    }
    return Client(client_id, **good | changes)


async def introspect(http: httpx.AsyncClient, token: str) -> dict[str, object]:
    """
    Ask as the orders service what a token is.
    """
    response = await http.post("/introspect", data={"token": token}, headers=basic("orders-service", SECRET))
    assert response.status_code == 200
    return dict(response.json())
