"""
What `AuthenticationProfile` adds to a request with a fresh token, beside httpx without auth and beside peers.

All send the same request to a transport that answers at once, in one process; rounds are interleaved, so that
a machine that slows down slows all of them. The ratio to the same library's client without auth is what to
quote: Authlib uses httpx2 where that is installed. What is not installed says so.

    python benchmarks/bench_client.py [ROUNDS]
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import httpx

from guardrail.client import AuthenticationProfile

ROUNDS = 40
BATCH = 200  # requests timed together
API = "https://api.example.com/invoices"
TOKEN_URL = "https://login.example.com/token"  # noqa: S105 - an address
ANSWER = {"access_token": "a" * 900, "token_type": "Bearer", "expires_in": 3600}

Send = Callable[[], Any]


@dataclass(frozen=True)
class Candidate:
    """
    Something that sends the request, and what it is compared with.
    """

    kind: str
    name: str
    baseline: str
    send: Send


def transport(library: Any) -> Any:
    """
    A token to whoever asks for one, and nothing much to all others, by httpx or one that is made like it.
    """

    def respond(request: Any) -> Any:
        return library.Response(200, json=ANSWER) if request.url.path == "/token" else library.Response(200)

    return library.MockTransport(respond)


def plain(library: Any) -> list[Candidate]:
    """
    A library's own clients, without auth.
    """
    name = f"{library.__name__} without auth"
    return with_auth(name, library, None)


def with_auth(name: str, library: Any, auth: Any) -> list[Candidate]:
    """
    A library's own clients.
    """
    kinds = ("Client", "AsyncClient")
    clients = [getattr(library, kind)(transport=transport(library), auth=auth) for kind in kinds]
    baseline = f"{library.__name__} without auth"
    return [
        Candidate(kind, name, baseline, partial(client.get, API))
        for kind, client in zip(kinds, clients, strict=True)
    ]


def guardrail() -> list[Candidate]:
    """
    Ours.
    """
    profile = AuthenticationProfile(
        token_url=TOKEN_URL,
        client_id="orders",
        client_secret="s3cret",  # noqa: S106 - for nobody
        http_client=httpx.Client(transport=transport(httpx)),
    )
    return with_auth("guardrail", httpx, profile)


def httpx_auth() -> list[Candidate]:
    """
    httpx-auth's client credentials.
    """
    auth = import_module("httpx_auth").OAuth2ClientCredentials(
        TOKEN_URL, "orders", "s3cret", client=httpx.Client(transport=transport(httpx))
    )
    return with_auth("httpx-auth", httpx, auth)


def authlib() -> list[Candidate]:
    """
    Authlib's clients, which are clients of a library themselves, with their token in hand.
    """
    module = import_module("authlib.integrations.httpx_client")
    found: list[Candidate] = []
    for kind, made in (("Client", module.OAuth2Client), ("AsyncClient", module.AsyncOAuth2Client)):
        base = next(one for one in made.__mro__ if one.__name__ == kind)
        library = import_module(base.__module__.split(".")[0])
        token = {**ANSWER, "expires_at": time.time() + 3_600}
        client = made("orders", "s3cret", token_endpoint=TOKEN_URL, token=token, transport=transport(library))
        baseline = f"{library.__name__} without auth"
        if library is not httpx:
            found += [one for one in plain(library) if one.kind == kind]
        found.append(Candidate(kind, "Authlib", baseline, partial(client.get, API)))
    return found


def candidates() -> list[Candidate]:
    """
    All that can be measured here.
    """
    found = [*plain(httpx), *guardrail()]
    for name, make in {"authlib": authlib, "httpx-auth": httpx_auth}.items():
        try:
            found += make()
        except ImportError:
            print(f"not installed: pip install {name}")
    return found


async def timed(one: Candidate) -> float:
    """
    Seconds for a batch, one after another.
    """
    started = time.perf_counter()
    if one.kind == "Client":
        for _ in range(BATCH):
            one.send()
    else:
        for _ in range(BATCH):
            await one.send()
    return time.perf_counter() - started


async def run(rounds: int) -> dict[Candidate, float]:
    """
    The median of microseconds a request; the first round warms up, and fetches the tokens.
    """
    samples: dict[Candidate, list[float]] = {one: [] for one in candidates()}
    for number in range(rounds + 1):
        for one, seconds in samples.items():
            took = await timed(one)
            if number:
                seconds.append(took)
    return {one: statistics.median(seconds) / BATCH * 1e6 for one, seconds in samples.items()}


def main() -> None:
    """
    Print one table.
    """
    medians = asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
    print(f"{'client':<14}{'auth':<22}{'µs a request':>14}{'added':>9}{'ratio':>8}")
    bases = {(one.kind, one.name): median for one, median in medians.items()}
    for one, median in sorted(medians.items(), key=lambda row: row[0].kind, reverse=True):
        base = bases[one.kind, one.baseline]
        print(f"{one.kind:<14}{one.name:<22}{median:>14.1f}{median - base:>9.1f}{median / base:>8.2f}")


if __name__ == "__main__":
    main()
