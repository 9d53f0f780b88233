"""How often intervals of time ratios hold on this machine: `nox -s stress -- timing`, which measures and simulates nothing.

A file is timed against copies of itself, whose true ratio is 1, and against the same with one layer more; on the machine as it is, beside
a process that computes in bursts, and beside one that takes slowly more and less of a CPU, as a drifting frequency would. Then passes
are drawn at random, as many as a run has, and given to the program's own function.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import gguf
import numpy as np

from bench.core.files import cache_directory
from bench.core.progress import Reporter
from bench.engine.settings import Settings
from bench.gguf_files.info import copy_metadata, open_gguf
from bench.measures.windows import statistics as stats
from bench.measures.windows.jobs import MeasureJob, PassJob, WindowResult
from bench.recipes.recipe import find_recipes
from bench.statistics.estimates import Estimate
from bench.workbench.options import DEFAULT_WINDOWS, Options
from bench.workbench.work import Work

#: Files of one content.
COPIES = 3
#: Draws of passes from those that were measured.
_DRAWS = 200
_SETTINGS = {"window": 512, "batch": 512, "ubatch": 128, "generate": 16}

#: Programs that compute beside the measurement.
_BESIDE = {
    "bursts": """
        import random, time
        rng = random.Random(1)
        def compute(seconds):
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                sum(range(1000))
        while True:
            compute(rng.uniform(0.2, 2))
            time.sleep(rng.uniform(0.5, 4))
    """,
    "drift": """
        import time
        began = time.time()
        while True:
            share = 0.4 * (1 - abs(2 * ((time.time() - began) / 120 % 1) - 1))
            end = time.perf_counter() + 0.006 * share
            while time.perf_counter() < end:
                sum(range(100))
            time.sleep(0.006 * (1 - share))
    """,
}


@dataclass(frozen=True)
class Condition:
    """What the machine does meanwhile, and how files take turns. beside: a program of _BESIDE, or none; alone: each file has its window to
    itself, one after the other, as without turns."""

    about: str
    beside: str | None = None
    alone: bool = False


CONDITIONS = (
    Condition("the machine as it was"),
    Condition("beside a process that computes in bursts", "bursts"),
    Condition("beside one that takes up to 40 % of a CPU, slowly more and less", "drift"),
    Condition("the machine as it was, files one after the other", alone=True),
)

Passes = list[tuple[WindowResult, ...]]
Ratio = Callable[[Sequence[WindowResult], Sequence[WindowResult]], Estimate]


@dataclass(frozen=True)
class Held:
    """How intervals of `drawn` passes came out, of those that were measured. seconds: of a window, median; what: window or token; held: how
    often the copies' interval held 1; width: of that interval, median; layer: ratio of the file with one layer more, over all passes;
    found: how often that was shown to be slower."""

    condition: str
    what: str
    passes: int
    drawn: int
    seconds: float
    held: float
    width: float
    layer: float
    found: float


def measure(passes: int, seed: int) -> dict[str, object]:
    found: list[Held] = []
    with tempfile.TemporaryDirectory(prefix="stress-timing-") as folder:
        work = Work(Options(no_imatrix=True, cache=cache_directory(None)), Reporter())
        files = _files(work, Path(folder))
        for condition in CONDITIONS:
            measured = list(_passes(work, files, condition, passes))
            for what, ratio in (("window", stats.time_ratio), ("token", stats.generation_ratio)):
                found.append(_held(condition, what, ratio, measured, seed))
                print(found[-1], file=sys.stderr, flush=True)
    return {"timing": [asdict(h) for h in found]}


def _files(work: Work, folder: Path) -> list[Path]:
    """The default model in Q4_0 several times, and with one layer more."""
    [recipe] = find_recipes(("Q4_0",))
    built = work.quantized(recipe, lambda share: None).path
    copies = [Path(shutil.copyfile(built, folder / f"copy-{i}.gguf")) for i in range(COPIES)]
    longer = folder / "layer.gguf"
    _with_one_layer_more(built, longer)
    return [*copies, longer]


def _with_one_layer_more(source: Path, target: Path) -> None:
    """The same model with its middle layer once more after the last."""
    reader = open_gguf(source)
    architecture = str(reader.fields["general.architecture"].contents())
    layers = int(reader.fields[f"{architecture}.block_count"].contents())
    writer = gguf.GGUFWriter(target, architecture)
    copy_metadata(reader, writer, replace={f"{architecture}.block_count": layers + 1})
    middle = f"blk.{layers // 2}."
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for tensor in reader.tensors:
        if tensor.name.startswith(middle):
            name = tensor.name.replace(middle, f"blk.{layers}.")
            writer.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _passes(work: Work, files: Sequence[Path], condition: Condition, n: int) -> Iterator[tuple[WindowResult, ...]]:
    stream = work.stream(work.text(DEFAULT_WINDOWS).source)
    settings = Settings(**_SETTINGS, threads=work.threads)
    models = [work.executor.hold(f) for f in files]
    windows = stream.tokens // settings.window
    with _beside(condition.beside), work.reporter.steps(condition.about, n) as steps:
        for i in range(n):
            jobs = [
                MeasureJob(model=m, stream=stream.content, windows=(i % windows,), settings=settings) for m in models
            ]
            together = [[job] for job in jobs] if condition.alone else [jobs]
            done = [
                result
                for files_of in together
                for side in work.executor.do(PassJob(files=tuple(files_of), backwards=bool(i % 2))).files
                for result in side.windows
            ]
            # numbered by pass: texts come again
            yield tuple(r.model_copy(update={"window": i}) for r in done)
            steps.done()


@contextmanager
def _beside(name: str | None) -> Iterator[None]:
    if name is None:
        yield
        return
    from textwrap import dedent

    with subprocess.Popen([sys.executable, "-c", dedent(_BESIDE[name])]) as process:
        try:
            yield
        finally:
            process.kill()


def _held(condition: Condition, what: str, ratio: Ratio, measured: Passes, seed: int) -> Held:
    rng, drawn = np.random.default_rng(seed), min(DEFAULT_WINDOWS, len(measured))
    copies, layer = range(COPIES), COPIES
    held, widths, slower = [], [], []
    for _ in range(_DRAWS):
        some = [measured[i] for i in sorted(rng.permutation(len(measured))[:drawn])]
        of = list(zip(*some, strict=True))
        for a, b in combinations(copies, 2):
            e = ratio(of[a], of[b])
            held.append(e.excludes(1.0) is False)
            widths.append((e.high or np.nan) - (e.low or np.nan))
        for a in copies:
            e = ratio(of[a], of[layer])
            slower.append(e.excludes(1.0) is True and e.value > 1)
    every = list(zip(*measured, strict=True))
    return Held(
        condition.about,
        what,
        len(measured),
        drawn,
        float(np.median([r.seconds for r in every[0]])),
        float(np.mean(held)),
        float(np.median(widths)),
        float(np.mean([ratio(every[a], every[layer]).value for a in copies])),
        float(np.mean(slower)),
    )
