"""
A good caller beside a flood of random key IDs, with an issuer that is just not too slow to be waited for.

Every token of the flood has a key ID of its own and would be worth a fetch. The good caller comes every few
milliseconds with a token of the known key, each a new one. Rounds with and without the flood take turns; the
figures are of the good caller alone: the time from when its request is due to its answer, whoever has the
event loop then, and the median over the rounds of the worst one. The flood comes evenly, 2,000 a second.

    python benchmarks/bench_flood.py [ROUNDS]
"""

import asyncio
import gc
import statistics
import sys
import time
from typing import Any

import httpx

from guardrail import GuardrailMiddleware, Issuer, ServicePackage
from guardrail.testing import FakeIssuer

ROUNDS = 5
SECONDS = 6.0  # per round
GOOD_EVERY = 0.005  # seconds
FLOOD_EVERY = 0.0005  # seconds between two requests of the flood: 2,000 a second
ISSUER_TAKES = 2.4  # seconds for discovery, and again for the keys; at 5 in all it counts as failed


class Api:
    """
    A guarded application, and its issuer, which is slow once it was asked for the first time.
    """

    def __init__(self) -> None:
        self.fake = FakeIssuer()
        self.fetches = 0
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer_slowly))
        package = ServicePackage(
            "orders", issuer=Issuer(self.fake.url, http_client=client), audience=self.fake.audience
        )
        self.app = GuardrailMiddleware(_hello, prefixes={"/": package.requires()})

    async def _answer_slowly(self, request: httpx.Request) -> httpx.Response:
        if self.fetches:
            await asyncio.sleep(ISSUER_TAKES)
        self.fetches += request.url.path.endswith("jwks")
        return await self.fake.http_client.get(request.url)

    async def call(self, token: str) -> int:
        """
        The status of one request.
        """
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        headers = [(b"authorization", b"Bearer " + token.encode())]
        scope = {"type": "http", "method": "GET", "path": "/", "scheme": "https", "headers": headers}
        await self.app(scope, _receive, send)
        return statuses[0]


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _hello(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def good_caller(api: Api, tokens: list[str]) -> list[float]:
    """
    The seconds from when each request of the good caller was due to its answer.
    """
    took = []
    due = time.perf_counter()
    for token in tokens:
        due += GOOD_EVERY
        await asyncio.sleep(due - time.perf_counter())
        assert await api.call(token) == 200
        took.append(time.perf_counter() - due)
    return took


async def flood(api: Api, tokens: list[str], statuses: list[int]) -> None:
    """
    Requests that come whether or not the ones before were answered.
    """

    async def one(token: str) -> None:
        statuses.append(await api.call(token))

    due = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for token in tokens:
            group.create_task(one(token))
            due += FLOOD_EVERY
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def run(*, is_flooded: bool) -> tuple[list[float], int, list[int]]:
    """
    One round: the good caller's times, the fetches, and how the flood was answered.
    """
    api = Api()
    good = [api.fake.token(scope="orders:read") for _ in range(int(SECONDS / GOOD_EVERY))]
    bad = [api.fake.token(headers={"kid": f"random-{n}"}) for n in range(int(SECONDS / FLOOD_EVERY))]
    await api.call(good[0])
    statuses: list[int] = []
    gc.collect()
    gc.freeze()
    attack = asyncio.create_task(flood(api, bad if is_flooded else [], statuses))
    took = await good_caller(api, good)
    await attack
    return took, api.fetches, statuses


def main() -> None:
    """
    Print the table.
    """
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    for _ in range(rounds):
        for is_flooded in (False, True):
            took, fetches, statuses = asyncio.run(run(is_flooded=is_flooded))
            found[is_flooded].append(sorted(took))
            assert fetches <= 1 + 2, fetches
            assert set(statuses) <= {401}, set(statuses)
    print(f"{'':20}{'median':>10}{'99 %':>10}{'worst':>10}   milliseconds, median of {rounds} rounds")
    figures = {}
    for is_flooded, name in ((False, "alone"), (True, "beside the flood")):
        times = found[is_flooded]
        figures[is_flooded] = [
            statistics.median(one[min(len(one) - 1, int(len(one) * share))] for one in times)
            for share in (0.5, 0.99, 1.0)
        ]
        print(f"{name:20}" + "".join(f"{1000 * value:10.3f}" for value in figures[is_flooded]))
    ratios = [flooded / alone for alone, flooded in zip(figures[False], figures[True], strict=True)]
    print(f"{'ratio':20}" + "".join(f"{value:10.2f}" for value in ratios))


if __name__ == "__main__":
    main()
