"""
A month of calls through the middleware, on a simulated clock, each answer compared with the right one.

3,000,000 calls of 200 clients: most good, some without the scope, for another API, expired, forged, or of key
IDs made up; across 20 key rotations, 5 of which withdraw the former key at once, 10 outages of the issuer and
3 times of garbage in place of its keys. What is right is decided by the issuer's world alone. It must print
zeros.

    python benchmarks/soak.py [--calls N] [--seed N] [--json FILE]
"""

import argparse
import asyncio
import json
import random
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from soak_world import (
    AUDIENCE,
    EPOCH,
    ISSUER,
    JWKS_URI,
    KEY_LIFETIME,
    TOKEN_LIFETIME,
    Incident,
    IssuerWorld,
    Token,
    TokenOffice,
)

from guardrail import GuardrailMiddleware, Issuer, ServicePackage, current_operator

CALLS = 3_000_000
CLIENTS = 200
PACE = 30 * 86_400 / CALLS  # seconds between calls: a month of them
ROTATIONS = 20
REMOVALS = 5
OUTAGES = 10
GARBAGE = 3
BURST = 8  # calls at a time, sometimes
RENEWED_BEFORE = 60.0  # seconds before its end at which a client gets another token


@dataclass
class Tally:
    """
    What came of the calls.

    Attributes:
        answers: How many there were of each status.
        wrong_accepts: Let in that should not have been.
        wrong_refusals: Not let in that should have been, or refused for another reason than the right one.
        errors: Exceptions, and statuses that nobody may get.
        firsts: The first few wrong ones, for whoever looks for the reason.
    """

    answers: Counter[int] = field(default_factory=Counter[int])
    wrong_accepts: int = 0
    wrong_refusals: int = 0
    errors: int = 0
    firsts: list[str] = field(default_factory=list)

    def note(self, status: int, right: frozenset[int], token: Token, world: IssuerWorld) -> None:
        """
        Count one answer.
        """
        self.answers[status] += 1
        if status in right:
            return
        if status in {200, 403}:
            self.wrong_accepts += 1
        elif status in {401, 503}:
            self.wrong_refusals += 1
        else:
            self.errors += 1
        if len(self.firsts) < 5:
            what = token.flaw or "good"
            self.firsts.append(
                f"{status}, not {sorted(right)}: {what} token of {token.kid}, {world.now - EPOCH:.0f} s in"
            )


def schedule(calls: int) -> IssuerWorld:
    """
    Rotations and bad days, spread over the time that the calls take.
    """
    length = calls * PACE
    rotations = [EPOCH + length * (number + 1) / (ROTATIONS + 1) for number in range(ROTATIONS)]
    removals = frozenset(rotations[:: ROTATIONS // REMOVALS])
    between = length / (ROTATIONS + 1)
    incidents = [
        # In the gaps between rotations, half a gap away from each at most; the longest take hours of a month.
        Incident(at + between * 0.3, at + between * (0.35 + 0.04 * (number % 5)), kind)
        for number, (at, kind) in enumerate(
            zip(rotations, ("down", "garbage", "down", "down") * ROTATIONS, strict=False)
        )
    ]
    chosen = [one for one in incidents if one.kind == "down"][:OUTAGES]
    chosen += [one for one in incidents if one.kind == "garbage"][:GARBAGE]
    return IssuerWorld(rotations, removals, sorted(chosen))


class Soak:
    """
    One run.
    """

    def __init__(self, calls: int, seed: int) -> None:
        self.calls = calls
        self.world = schedule(calls)
        self.rng = random.Random(seed)  # noqa: S311 - a simulation that can be repeated
        self.office = TokenOffice(self.world, self.rng)
        self.tally = Tally()
        self.made_up = 0
        self.started = time.monotonic()
        self.memory: dict[str, int] = {}
        self.held: list[Token | None] = [None] * CLIENTS
        self.old: list[Token] = []
        self.guard = self._guard()

    def _guard(self) -> GuardrailMiddleware:
        def answer(_: httpx.Request) -> httpx.Response:
            status, body = self.world.answer()
            fresh = {"cache-control": f"max-age={KEY_LIFETIME:.0f}"}
            return httpx.Response(status, content=body, headers=fresh)

        issuer = Issuer(
            ISSUER, jwks_uri=JWKS_URI, http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer))
        )
        orders = ServicePackage("orders", issuer=issuer, audience=AUDIENCE)
        return GuardrailMiddleware(
            _application,
            prefixes={"/orders": orders.requires("orders:read")},
            clock=lambda: self.world.now,
            monotonic=lambda: self.world.now - EPOCH,
        )

    async def run(self) -> None:
        """
        Make all calls.
        """
        done, tenth, shown = 0, self.calls // 10, -1
        while done < self.calls:
            size = min(BURST if self.rng.random() < 0.01 else 1, self.calls - done)
            self.world.pass_time(PACE * size)
            await asyncio.gather(*[self._call() for _ in range(size)]) if size > 1 else await self._call()
            done += size
            if done >= tenth:
                self.memory.setdefault("at 10 %", _memory())
            if done * 100 // self.calls > shown:
                shown = done * 100 // self.calls
                _progress(shown, self.tally)
        self.memory["at 100 %"] = _memory()

    async def _call(self) -> None:
        token = self._choose()
        status = await self._ask(token)
        # After the call: what it fetched has been told, and what the time was has not changed.
        self.tally.note(status, self.world.right_answers(token), token, self.world)
        await asyncio.sleep(0)  # a refresh that was begun may go on

    def _choose(self) -> Token:
        dice = self.rng.random()
        client = self.rng.randrange(CLIENTS)
        if dice < 0.002 and self.world.is_quiet() and not self.world.is_shaken():
            self.made_up += 1
            return self.office.from_nowhere()
        if dice < 0.02 and self.old:
            return self.rng.choice(self.old)
        token = self._token_of(client)
        return self.office.forge(token) if dice < 0.05 and not token.flaw else token

    def _token_of(self, client: int) -> Token:
        held = self.held[client]
        is_current = held is not None and self.world.now < held.expires_at - RENEWED_BEFORE
        # An issuer that is down gives nobody a token; the old ones expire.
        if held is not None and (is_current or self.world.incident()):
            return held
        if held is not None:
            self.old = [*self.old[-50:], held]
        audience = "https://other.example.com" if client % 25 == 1 else AUDIENCE
        token = self.office.issue(client, has_scope=client % 10 != 3, audience=audience)
        self.held[client] = token
        return token

    async def _ask(self, token: Token) -> int:
        seen: list[int] = []

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                seen.append(message["status"])

        try:
            await self.guard(_scope(token.encoded), _receive, send)  # type: ignore[arg-type]
        except Exception as exc:  # noqa: BLE001 - it is counted, and the run goes on
            self.tally.firsts.append(repr(exc))
            return 500
        return seen[0] if len(seen) == 1 else 500

    def fetches_allowed(self) -> int:
        """
        The most fetches that the issuer may have seen: scheduled, in bad times, and for unknown key IDs.
        """
        elapsed = self.world.now - EPOCH
        bad = sum(one.ends - one.begins for one in self.world.incidents)
        scheduled = elapsed / (0.75 * KEY_LIFETIME) + 1
        # In bad times every 15 s at most often, after the first few attempts; and each end is noticed once.
        retries = bad / 15 + 8 * len(self.world.incidents)
        # A key that was withdrawn is asked for as long as there are tokens of it, once a minute.
        withdrawn = len(self.world.withdrawn) * (TOKEN_LIFETIME + KEY_LIFETIME) / 60
        return int(scheduled + retries + withdrawn + self.made_up + ROTATIONS)

    def table(self) -> dict[str, object]:
        """
        What to print, and what must be zero in it.
        """
        took = time.monotonic() - self.started
        return {
            "calls": sum(self.tally.answers.values()),
            "wrong accepts": self.tally.wrong_accepts,
            "wrong refusals": self.tally.wrong_refusals,
            "errors": self.tally.errors,
            "answers": dict(sorted(self.tally.answers.items())),
            "rotations": self.world.turn,
            "keys withdrawn": len(self.world.withdrawn),
            "outages": sum(one.kind == "down" for one in self.world.incidents),
            "garbage answers": sum(one.kind == "garbage" for one in self.world.incidents),
            "simulated days": round((self.world.now - EPOCH) / 86_400, 2),
            "fetches": self.world.fetches,
            "fetches allowed": self.fetches_allowed(),
            "memory at 10 %, MiB": self.memory["at 10 %"],
            "memory at 100 %, MiB": self.memory["at 100 %"],
            "seconds": round(took),
        }

    def is_clean(self) -> bool:
        """
        Whether everything that must be zero is, and the fetches are within their budget.
        """
        tally = self.tally
        wrong = tally.wrong_accepts + tally.wrong_refusals + tally.errors
        return wrong == 0 and self.world.fetches <= self.fetches_allowed()


async def _application(scope: Any, _receive: Any, send: Any) -> None:
    # What a handler sees is the operator of its own token, and nobody else's.
    assert scope["state"]["operator"] is current_operator()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _receive() -> dict[str, Any]:
    return {"type": "http.request"}


def _scope(token: bytes) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "scheme": "https",
        "path": "/orders",
        "raw_path": b"/orders",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"api.example.com"), (b"authorization", b"Bearer " + token)],
        "state": {},
    }


def _memory() -> int:
    """
    The memory that the process has now, in MiB; where nobody says, the most that it has had.
    """
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * resource.getpagesize() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_024


def _progress(percent: int, tally: Tally) -> None:
    wrong = tally.wrong_accepts + tally.wrong_refusals + tally.errors
    bar = "#" * (percent // 2)
    end = "\r" if sys.stderr.isatty() else "\n"
    if sys.stderr.isatty() or percent % 10 == 0:
        print(f"  [{bar:<50}] {percent:>3} %, wrong: {wrong}", end=end, file=sys.stderr, flush=True)


def main() -> int:
    """
    Run, print, write; 1 if anything was wrong.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there, too")
    given = parser.parse_args()
    soak = Soak(given.calls, given.seed)
    asyncio.run(soak.run())
    table = soak.table()
    print()
    for name, value in table.items():
        print(f"  {name:<22} {value}")
    for line in soak.tally.firsts:
        print(f"  wrong: {line}")
    if given.json is not None:
        given.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return 0 if soak.is_clean() else 1


if __name__ == "__main__":
    sys.exit(main())
