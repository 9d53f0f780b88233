"""`nox -s peers`: the same work done by llama.cpp's own tools and by this program, in turn, side by side.

The tools are built by the session from the source of the very llama-cpp-python in use, with the same instruction set.
Every round does the tool's run and ours, each in a fresh process with nothing cached; ratios are formed within a round.
Peak memory is the largest resident set of any process of a command.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import pandas as pd
import typer

from bench import prompts
from bench.commands import quantize_to
from bench.errors import BenchError
from bench.gguf_io import complete_or_absent
from bench.machine import this_machine
from bench.models import cache_directory, reference
from bench.options import Options, check_library, check_threads
from bench.progress import Reporter
from bench.tables import markdown

_PPL = re.compile(r"Final estimate: PPL = ([\d.]+) \+/- ([\d.]+)")


@dataclass(frozen=True)
class Ran:
    """A finished command: wall seconds, peak resident memory in bytes, what it printed."""

    seconds: float
    peak_bytes: int
    printed: str


def timed(command: list[str]) -> Ran:
    """Run a command to its end. Raises BenchError when it fails."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read().decode("utf-8", "replace")
    if process.returncode != 0:
        raise BenchError(f"{' '.join(command[:4])} ended with code {process.returncode}: {printed.strip()[-300:]}")
    return Ran(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), printed)


@dataclass(frozen=True)
class Compared:
    """One kind of work, done in turn. tool and ours: by round; values: (name, the tool's, ours)."""

    work: str
    tool: list[Ran]
    ours: list[Ran]
    values: list[tuple[str, str, str]]

    def row(self) -> dict[str, str]:
        return {
            "Work": self.work,
            "Tool": f"{median(r.seconds for r in self.tool):.1f} s",
            "Ours": f"{median(r.seconds for r in self.ours):.1f} s",
            "Wall ratio": self._ratio([o.seconds / t.seconds for t, o in zip(self.tool, self.ours, strict=True)]),
            "Tool memory": f"{median(r.peak_bytes for r in self.tool) / 1e6:.0f} MB",
            "Our memory": f"{median(r.peak_bytes for r in self.ours) / 1e6:.0f} MB",
            "Memory ratio": self._ratio(
                [o.peak_bytes / t.peak_bytes for t, o in zip(self.tool, self.ours, strict=True)]
            ),
        }

    @staticmethod
    def _ratio(ratios: list[float]) -> str:
        return f"{median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"


def perplexity(tools: Path, model: Path, text: Path, windows: int, threads: int, rounds: int) -> Compared:
    tool_runs, our_runs = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            tool_runs.append(timed([
                str(tools / "llama-perplexity"), "-m", str(model), "-f", str(text), "-c", "2048", "--chunks", str(windows), "-t", str(threads),
            ]))  # fmt: skip
            our_runs.append(timed([
                sys.executable, "-m", "bench", "ppl", str(model), "--text", str(text), "--window", "2048", "--windows", str(windows),
                "--threads", str(threads), "--cache", cache, "--json",
            ]))  # fmt: skip
    found = json.loads(our_runs[-1].printed)
    printed = _PPL.search(tool_runs[-1].printed)
    if printed is None:
        raise BenchError(
            "llama-perplexity printed no final estimate; its output is not the one this program was made for"
        )
    values = [("PPL", printed[1], f"{found['ppl']:.4f}"), ("standard error", printed[2], f"{found['se']:.5f}")]
    return Compared(
        f"perplexity of {windows} windows, {model.name.split('-')[-1].removesuffix('.gguf')}",
        tool_runs,
        our_runs,
        values,
    )


def app(
    tools: Annotated[Path, typer.Argument(help="Directory of llama-perplexity and its kin.")],
    out: Annotated[Path, typer.Option("--out", help="Where to write the report.")] = Path("results/peers"),
    rounds: Annotated[int, typer.Option("--rounds", min=1)] = 3,
    windows: Annotated[int, typer.Option("--windows", min=1)] = 2,
) -> None:
    """Do the same work with llama.cpp's tools and with this program, in turn, and write the ratios."""
    cache, reporter, threads = cache_directory(None), Reporter(), check_threads(None)
    library = check_library(None)
    source = reference(None, cache, reporter=reporter)
    with tempfile.TemporaryDirectory() as scratch:
        text, small = Path(scratch) / "evaluation.txt", Path(scratch) / "reference-IQ1_S.gguf"
        text.write_text(prompts.fixed_set(prompts.EVALUATION).text, encoding="utf-8")
        quantize_to(Options(recipes=("IQ1_S",), cache=cache), small, reporter)
        full = Path(scratch) / "reference-F16.gguf"
        full.symlink_to(source.path)
        compared = [perplexity(tools, model, text, windows, threads, rounds) for model in (full, small)]
    help_seconds = median(timed([sys.executable, "-m", "bench", "--help"]).seconds for _ in range(5))
    machine = this_machine()
    lines = [
        "# Side by side with llama.cpp's tools",
        f"{source.info.name}, {machine}, {threads} threads, {library.isa}, llama-cpp-python {library.binding}; {rounds} rounds in turn, "
        "process start and load included, nothing cached; medians, ratios formed within a round with their smallest and largest.",
        markdown(pd.DataFrame([c.row() for c in compared])),
        "## Values",
        markdown(
            pd.DataFrame([{"Work": c.work, "Value": n, "Tool": t, "Ours": o} for c in compared for n, t, o in c.values])
        ),
        f"`python -m bench --help` answers in {help_seconds:.2f} s (median of 5).",
    ]
    with complete_or_absent(out / "peers.md") as partial:
        partial.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    print("\n\n".join(lines))


def main() -> None:
    try:
        typer.run(app)
    except BenchError as e:
        raise SystemExit(f"error: {e}") from e


if __name__ == "__main__":
    main()
