"""
Timing several things fairly: in turns, on one machine, each ratio within its own round.

A machine that slows down slows everything in the round; medians and quartiles over rounds are what is left.
"""

import argparse
import gc
import json
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 25

Samples = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Case:
    """
    One thing to time.

    Attributes:
        name: What it is called in the table.
        run: Does it *calls* times.
        calls: How often that is.
        prepare: Makes what *run* needs, outside of the time; its result is what *run* is called with.
    """

    name: str
    run: Callable[[object], Awaitable[None]]
    calls: int
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Figure:
    """
    A median over rounds, and the quartiles around it.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """
        The figure of some values.
        """
        low, median, high = statistics.quantiles(values, n=4)
        return cls(median, low, high)

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


async def time_in_turns(cases: Sequence[Case], rounds: int) -> dict[str, list[float]]:
    """
    Seconds per call of each case in each round, after one round that does not count.
    """
    samples: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(rounds + 1):
        for case in cases:
            prepared = case.prepare()
            gc.collect()
            began = time.perf_counter()
            await case.run(prepared)
            took = (time.perf_counter() - began) / case.calls
            if number:
                samples[case.name].append(took)
    return samples


def ratio(samples: Samples, name: str, to: str, *, less: str | None = None) -> Figure:
    """
    How often *to* goes into *name*, less what *less* costs, round by round.
    """
    own = samples[name]
    base = [0.0] * len(own) if less is None else samples[less]
    return Figure.of([(one - off) / other for one, off, other in zip(own, base, samples[to], strict=True)])


def options(description: str | None, *, rounds: int = ROUNDS) -> argparse.Namespace:
    """
    What every benchmark can be told.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args()


def report(title: str, rows: Mapping[str, Figure | str], *, unit: str) -> None:
    """
    Print a table: what, the median, the quartiles.
    """
    print(f"\n{title}\n")
    width = max(map(len, rows))
    for name, figure in rows.items():
        print(f"  {name:<{width}}  {figure if isinstance(figure, str) else f'{figure} {unit}'}")


def write(path: Path | None, name: str, tables: Mapping[str, Mapping[str, Figure | str]]) -> None:
    """
    Write the figures as JSON, if there is a place for them.
    """
    if path is None:
        return
    document = {
        "benchmark": name,
        "python": platform.python_version(),
        "tables": {
            title: {
                row: figure if isinstance(figure, str) else [figure.low, figure.median, figure.high]
                for row, figure in rows.items()
            }
            for title, rows in tables.items()
        },
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
