"""
What ``import guardrail`` costs beside ``import starlette`` and what an application imports anyway.

    python benchmarks/bench_import.py [--json]

Each row is a fresh interpreter, the bare one's start subtracted; rounds are interleaved, so that a machine
that slows down slows all of them. Ratios are what to quote, not milliseconds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Final

ROUNDS: Final = 15
BASE: Final = "pass"
STATEMENTS: Final = {
    "import starlette.applications": "import starlette.applications",
    "import guardrail": "import guardrail",
    "from guardrail import GuardrailMiddleware": "from guardrail import GuardrailMiddleware",
    "import fastapi": "import fastapi",
}
REFERENCE: Final = "import starlette.applications"


def measure(statement: str) -> float:
    """
    Seconds that an interpreter takes to start, run *statement* and end.
    """
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603 - our own statements
    return time.perf_counter() - started


def run() -> dict[str, dict[str, float]]:
    """
    Median, least and most seconds per statement above the bare interpreter, and the ratio to the reference.
    """
    samples: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(ROUNDS):
        base = measure(BASE)
        for name, statement in STATEMENTS.items():
            samples[name].append(measure(statement) - base)
    reference = statistics.median(samples[REFERENCE])
    return {
        name: {
            "median": statistics.median(seconds),
            "min": min(seconds),
            "max": max(seconds),
            "ratio": statistics.median(seconds) / reference,
        }
        for name, seconds in samples.items()
    }


def main() -> None:
    """
    Print the table, or the same as JSON.
    """
    parser = argparse.ArgumentParser(description="import times as ratios")
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    results = run()
    if as_json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'statement':<44}{'ratio':>7}{'median ms':>11}{'min':>7}{'max':>7}")
    for name, row in results.items():
        times = "".join(
            f"{row[key] * 1000:>{width}.0f}" for key, width in (("median", 11), ("min", 7), ("max", 7))
        )
        print(f"{name:<44}{row['ratio']:>7.2f}{times}")


if __name__ == "__main__":
    main()
