"""Results of llama.cpp's tools and of this program for the same work, read from their output and their files."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from pydantic import BaseModel, ConfigDict

from bench.core.errors import BenchError
from bench.engine.settings import Cache
from bench.gguf_files.header import read_header
from bench.measures.caches.statistics import measured
from bench.measures.registry import load_run
from bench.measures.windows.runs import windows_of
from bench.peers.side_by_side import Ran
from bench.quantize import imatrix_file

_ESTIMATE = re.compile(r"Final estimate: PPL = ([\d.]+) \+/- ([\d.]+)")
#: A line may begin with the log's time and level.
_STATISTIC = re.compile(r"^(?:[\d.]+ \w )?\s*(\S.*?)\s*:\s+(-?[\d.]+)", re.MULTILINE)
#: The statistics whose values are put side by side; the others only have to be there.
_SHOWN = ("Mean PPL(Q)", "Mean    KLD", "RMS Δp", "Same top p")


class Value(BaseModel):
    """A figure that both found."""

    model_config = ConfigDict(frozen=True)

    name: str
    tools: str
    ours: str

    def row(self) -> dict[str, str]:
        return {"Value": self.name, "Tools": self.tools, "Ours": self.ours}


def perplexity(tools: str, ours: str) -> list[Value]:
    """tools, ours: what each printed."""
    printed = _ESTIMATE.search(tools)
    if printed is None:
        raise BenchError("llama-perplexity printed no final estimate; its output is not the one this program knows")
    answer = re.search(r"^\{.*", ours, re.MULTILINE | re.DOTALL)  # behind progress, which a slow machine tells
    if answer is None:
        raise BenchError(f"this program printed no perplexity: {ours.strip()[-200:]}")
    found = json.loads(answer[0])
    return [
        Value(name="PPL", tools=printed[1], ours=f"{found['ppl']:.4f}"),
        Value(name="token-level standard error", tools=printed[2], ours=f"{found['se']:.5f}"),
    ]


def caches(printed: dict[tuple[str, str], str], run: Path) -> list[Value]:
    """printed: what llama-perplexity printed with each pair of cache types; run: the directory of ours."""
    ours = load_run(run)
    found = []
    for (k, v), text in printed.items():
        theirs, cache = _ESTIMATE.search(text), Cache(k=k, v=v)
        mine = measured(ours, ours.reference or "", cache)
        if theirs is None or mine is None:
            raise BenchError(f"no perplexity with a cache of {cache.name} from both sides")
        found.append(Value(name=f"PPL, cache {cache.name}", tools=theirs[1], ours=f"{mine.ppl():.4f}"))
    return found


def divergence(printed: dict[str, str], run: Path) -> list[Value]:
    """printed: what llama-perplexity printed for each recipe; run: the directory of ours."""
    text = (run / "tables" / "kl-divergence.txt").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^# (\S+)\n(.*?)(?=^# |\Z)", text, re.MULTILINE | re.DOTALL))
    found = []
    for recipe, theirs in printed.items():
        a, b = (dict(_STATISTIC.findall(t)) for t in (theirs, sections[recipe]))
        missing = [name for name in b if name not in a]
        if missing:
            raise BenchError(f"llama-perplexity printed no {missing[0]!r} for {recipe}; its output is not the one this program knows")  # fmt: skip
        found += [Value(name=f"{recipe}: {' '.join(n.split())}", tools=a[n], ours=b[n]) for n in _SHOWN]
    return found


def outside_decode(directory: Path) -> list[Value]:
    """Time from logits to scores as a share of llama_decode's, over the windows of a run: our side only.

    The decode's by its CPU time, since the run stood still in between.
    """
    run = load_run(directory)
    threads = run.identity.settings.threads
    results = [w.result for by_window in windows_of(run).by_file.values() for w in by_window.values()]
    shares = [r.scoring_seconds / (r.activity.own / threads) for r in results if r.scoring_seconds and r.activity]
    name = "scoring, share of the time in llama_decode (median)"
    return [Value(name=name, tools="–", ours=f"{100 * median(shares):.1f} %")]


def answers(name: str, command: Sequence[str | Path], before: Callable[[], None] = lambda: None) -> list[Value]:
    """How soon a command of ours answers: the median of five times. before: what to do before each, not timed."""
    taken = []
    for _ in range(5):
        before()
        started = time.perf_counter()
        subprocess.run([str(a) for a in command], check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return [Value(name=f"{name}: seconds to answer (median of 5)", tools="–", ours=f"{median(taken):.2f}")]


def speeds(tools: Ran, ours: Ran) -> list[Value]:
    """Tokens a second that both told of the same files and tests, from commands that took turns.

    Each side's best is shown, since other work on the machine only ever slows; the ratio is the median over pairs of turns,
    with the smallest and the largest.
    """
    theirs, mine = (_told_speeds(ran.printed) for ran in (tools, ours))
    if theirs.keys() != mine.keys():
        raise BenchError("llama-bench told of other tests than this program; its output is not the one that is known")
    found = []
    for (model, test), speeds_of_tool in theirs.items():
        pairs = [o / t for o, t in zip(mine[model, test], speeds_of_tool, strict=True)]
        ratio = f"{median(pairs):.3f} [{min(pairs):.3f}, {max(pairs):.3f}]"
        best = (f"{max(told):.1f}" for told in (speeds_of_tool, mine[model, test]))
        name = f"{model}: {test}, best tokens a second of {len(pairs)}"
        found += [Value(name=name, tools=next(best), ours=next(best))]
        found += [Value(name=f"{model}: {test}, ours / tools of {len(pairs)} turns", tools="–", ours=ratio)]
    return found


def _told_speeds(printed: Sequence[str]) -> dict[tuple[str, str], list[float]]:
    """Tokens a second by file and test, a value for each command; llama-bench's JSON, which may stand between lines of its log."""
    found: dict[tuple[str, str], list[float]] = {}
    for text in printed:
        rows = re.search(r"^\[$.*^\]$", text, re.MULTILINE | re.DOTALL)
        if rows is None:
            raise BenchError(f"no list of speeds in what was printed: {text.strip()[-200:]}")
        for row in json.loads(rows[0]):
            test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
            test += f" @ d{row['n_depth']}" if row["n_depth"] else ""
            found.setdefault((Path(row["model_filename"]).stem, test), []).append(row["avg_ts"])
    return found


def importance(tools: Path, ours: Path) -> list[Value]:
    """Entries by name, counts of rows, and the largest relative difference of a mean square."""
    a, b = (imatrix_file.read(path).entries for path in (tools, ours))
    shared = a.keys() & b.keys()
    means = {name: (a[name].means().astype(np.float64), b[name].means().astype(np.float64)) for name in shared}
    scale = {name: np.maximum(np.abs(x), 1e-12) for name, (x, _) in means.items()}
    largest = max(float((np.abs(y - x) / scale[n]).max()) for n, (x, y) in means.items())
    same_counts = sum(bool(np.array_equal(a[n].counts, b[n].counts)) for n in shared)
    return [
        Value(name="entries", tools=str(len(a)), ours=str(len(b))),
        Value(name="entries with the same counts of rows", tools=str(len(shared)), ours=str(same_counts)),
        Value(name="largest relative difference of a column's mean square", tools="0", ours=f"{largest:.1e}"),
    ]


def files(paths: dict[str, tuple[Path, Path]]) -> list[Value]:
    """SHA-256 over the tensors of each file, by name with type and data: metadata such as file names left out."""
    return [
        Value(name=f"{n}: tensors", tools=_tensors_sha256(a), ours=_tensors_sha256(b)) for n, (a, b) in paths.items()
    ]


def _tensors_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as f:
        for tensor in sorted(read_header(path).tensors, key=lambda t: t.name):
            digest.update(f"{tensor.name} {tensor.type.name} {tensor.shape}\n".encode())
            f.seek(tensor.start)
            digest.update(f.read(tensor.n_bytes))
    return digest.hexdigest()[:16]
