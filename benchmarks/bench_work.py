"""
How much Python runs for one request: bytecode instructions and calls, which no busy machine changes.

A regression guard where a timing would be noise: the numbers are the same in every run with the same versions
of Python and of the libraries. `tests/test_work.py` holds them to a budget.

    python benchmarks/bench_work.py [--json FILE]
"""

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from bench_middleware import guarded, ignore, receive, scope_with
from signing import rsa_signer
from timing import Figure, options, report, write

REQUESTS = 20


class Work(NamedTuple):
    """
    What ran, by request.
    """

    instructions: float
    calls: float  # of Python functions, and of those in C


def count(run: Callable[[], None]) -> Work:
    """
    What runs in *run*, for one of `REQUESTS` requests.
    """
    instructions = calls = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal instructions
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        instructions += event == "opcode"
        return trace

    def profile(_frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
        sys.settrace(None)
    return Work(instructions / REQUESTS, calls / REQUESTS)


def finish(coroutine: Any) -> None:
    """
    Run a coroutine that waits for nothing.
    """
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")


def measure() -> dict[str, Work]:
    """
    The work of a warm request, of a cold one, and of one that is refused before anything is verified.
    """
    signer = rsa_signer()
    app = guarded(signer, cache=10_000)
    tokens = [signer.token(number).encode() for number in range(REQUESTS + 1)]
    asyncio.run(app(scope_with(tokens[0]), receive, ignore))  # type: ignore[arg-type]  # compiled, and keys in use

    def ask(several: list[bytes]) -> Callable[[], None]:
        scopes = [scope_with(token) for token in several]

        def run() -> None:
            for scope in scopes:
                finish(app(scope, receive, ignore))  # type: ignore[arg-type]

        return run

    return {
        "a token never seen": count(ask(tokens[1:])),
        "the same token again": count(ask([tokens[0]] * REQUESTS)),
        "a malformed token": count(ask([tokens[0][:-1] + b"~"] * REQUESTS)),
    }


def main() -> None:
    """
    Count, print, write.
    """
    given = options(__doc__, rounds=1)
    found = measure()
    rows: dict[str, Figure | str] = {
        name: f"{work.instructions:.0f} instructions, {work.calls:.0f} calls" for name, work in found.items()
    }
    title = f"Work of one request, Python {sys.version_info.major}.{sys.version_info.minor}"
    report(title, rows, unit="")
    write(given.json, "work", {title: rows})


if __name__ == "__main__":
    main()
