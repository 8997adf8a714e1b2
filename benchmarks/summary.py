"""
Everything the benchmarks say of requests, in one page with a plot.

Runs the middleware's, the verifier's and the HTTP benchmark, and writes ``summary.md`` and ``summary.png``
into a folder. What the figures are of is in each benchmark.

    python benchmarks/summary.py [--rounds N] [FOLDER]
"""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCHMARKS = ("bench_middleware.py", "bench_verify.py", "bench_http.py", "bench_work.py")
PLOTTED = "RS256, of one raw verification by cryptography"

Table = dict[str, str | list[float]]


def run(script: str, folder: Path, rounds: int) -> dict[str, Table]:
    """
    The tables of one benchmark.
    """
    result = folder / f"{script.removesuffix('.py')}.json"
    ours = Path(__file__).with_name(script)
    command = [sys.executable, str(ours), "--json", str(result), "--rounds", str(rounds)]
    subprocess.run(command, check=True)  # noqa: S603 - our own scripts
    tables: dict[str, Table] = json.loads(result.read_text(encoding="utf-8"))["tables"]
    return tables


def markdown(tables: dict[str, Table], rounds: int) -> str:
    """
    The page.
    """
    lines = ["# Benchmarks", "", f"Medians of {rounds} rounds, with the quartiles around them. Each ratio is"]
    lines += ["within its own round, so that a machine that slows down slows both sides.", ""]
    for title, table in tables.items():
        lines += [f"## {title}", "", "| | Median | Quartiles |", "| --- | --- | --- |"]
        for name, figure in table.items():
            if isinstance(figure, str):
                lines.append(f"| {name} | {figure} | |")
            else:
                low, median, high = figure
                lines.append(f"| {name} | {median:.3f} | {low:.3f} to {high:.3f} |")
        lines.append("")
    return "\n".join([*lines, "![Verifying one RS256 token](summary.png)", ""])


def plot(table: Table, path: Path) -> None:
    """
    The verifiers beside each other, shortest bar first.
    """
    matplotlib: Any = importlib.import_module("matplotlib")  # in the bench group alone
    matplotlib.use("Agg")
    plt: Any = importlib.import_module("matplotlib.pyplot")

    bars = sorted(
        ((figure[1], name) for name, figure in table.items() if not isinstance(figure, str)), reverse=True
    )
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    colours = ["#2a6f97" if name.startswith("guardrail") else "#b0b8bf" for _, name in bars]
    axes.barh([name for _, name in bars], [ratio for ratio, _ in bars], color=colours)
    axes.axvline(1.0, color="#555555", linewidth=1, linestyle=":")
    axes.set_xlabel("time for one RS256 token, as a ratio to the signature alone")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """
    Run, write, say where.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/benchmarks"))
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, Table] = {}
    for script in BENCHMARKS:
        tables |= run(script, given.folder, given.rounds)
    (given.folder / "summary.md").write_text(markdown(tables, given.rounds), encoding="utf-8")
    plot(tables[PLOTTED], given.folder / "summary.png")
    print(f"\nwritten: {given.folder / 'summary.md'}, {given.folder / 'summary.png'}")


if __name__ == "__main__":
    main()
