"""Speed of any files, outside a run: the figures of `time`.

In each round every file is timed once, in a process of its own, and files that fit into memory together give way to each other every few
hundredths of a second. So a disturbance of the machine affects all of them alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.errors import BenchError
from bench.core.files import told_apart
from bench.core.formats import MISSING, joules_text, size
from bench.core.machine import Machine, this_machine
from bench.core.progress import Steps
from bench.engine.memory import machine_memory
from bench.engine.settings import PLAIN, Cache, Offload, Settings
from bench.gguf_files.info import ModelInfo, inspect
from bench.measures.windows.groups import groups, memory_beside
from bench.measures.windows.joules import Joules, enough, typical
from bench.measures.windows.throughput_jobs import RoundJob, RoundResult, RoundsResult, Sample, Test, Timed
from bench.models.sources import local_model
from bench.statistics.estimates import Estimate, spread, trimmed_mean_of
from bench.statistics.undisturbed import Times, fastest_quarter, undisturbed_ratio
from bench.statistics.verdicts import time_verdicts, with_interval
from bench.workbench.devices import timed_on
from bench.workbench.work import Work

if TYPE_CHECKING:
    import pandas as pd

#: Tokens of a batch and of what llama.cpp computes at once, as llama-bench has them.
BATCH, UBATCH = 2048, 512


@dataclass(frozen=True)
class Timings:
    """All rounds of one file, in their order. offload: the device that was timed, None for the CPU."""

    model: Path
    threads: int
    machine: Machine
    rounds: tuple[RoundResult, ...] = field(repr=False)
    offload: Offload | None = None

    def samples(self, test: Test) -> list[Sample]:
        return [s for r in self.rounds for s in r.samples if s.test == test]

    def seconds(self, test: Test) -> list[float]:
        return [s.seconds for s in self.samples(test)]

    def tokens_per_second(self, test: Test) -> list[float]:
        return [test.n_tokens / s for s in self.seconds(test)]

    def pieces(self, test: Test) -> Times | None:
        """Seconds of the pieces of a test, (rounds, pieces); None where a round is one piece."""
        found = [s.pieces for s in self.samples(test)]
        return np.array(found) if {len(p) for p in found} == {len(found[0])} and len(found[0]) > 1 else None

    def joules(self, test: Test) -> Joules:
        """Of each round; none where a counter was not read in all of them alike, or that is too little to say."""
        gauges = {r.gauge and (r.gauge.source, r.gauge.memory) for r in self.rounds}
        found = [(i, s.joules, s.seconds) for i, s in enumerate(self.samples(test)) if s.joules is not None]
        return enough(found) if len(gauges) == 1 and len(found) == len(self.rounds) else {}

    @property
    def idle_watts(self) -> float | None:
        """Power at rest, median over rounds."""
        found = [r.gauge.idle_watts for r in self.rounds if r.gauge is not None]
        return spread(found).median if found else None

    def disturbed(self, test: Test) -> int:
        """Rounds during which other work took CPU time away."""
        return sum(s.activity.disturbed(self.threads) for s in self.samples(test))

    @property
    def load_seconds(self) -> float:
        return spread([r.load_seconds for r in self.rounds]).median

    @property
    def peak_memory_bytes(self) -> int:
        return max(r.peak_memory_bytes for r in self.rounds)


def tests_of(prompts: str, generated: str, depths: str = "0", cache_types: str = "") -> tuple[Test, ...]:
    """What lists of lengths, depths and cache types ask for, each once: depth by depth, cache by cache, prompts first; a length of 0 asks for
    none. With cache types f16 comes first, which others are compared with.

    Raises BenchError for what is no length or type, and when nothing is left.
    """
    found = [
        *(Test(n_prompt=n) for n in _lengths(prompts, "--prompt") if n),
        *(Test(n_gen=n) for n in _lengths(generated, "--generate") if n),
    ]
    if not found:
        raise BenchError("nothing is to be timed: give --prompt or --generate a length above 0")
    caches = [PLAIN, *(Cache.parse(named, "--cache-types") for named in cache_types.split(",") if named.strip())]
    return tuple(
        dict.fromkeys(
            test.model_copy(update={"depth": depth, "cache": cache})
            for depth in sorted(_lengths(depths, "--depths"))
            for cache in caches
            for test in found
        )
    )


def _lengths(listed: str, option: str) -> list[int]:
    parts = [part.strip() for part in listed.split(",")]
    if wrong := [part for part in parts if not (part.isascii() and part.isdecimal())]:
        raise BenchError(f"{option} {listed}: {wrong[0]!r} is no number of tokens; give for instance 512 or 512,2048")
    return [int(part) for part in parts]


def time_together(
    work: Work, names: Sequence[str], tests: tuple[Test, ...], rounds: int, on: str = "cpu"
) -> list[Timings]:
    """Time files side by side, round by round; on a device one after the other, whose memory is asked for one of them. on: cpu, gpu or a device's name.

    Raises BenchError for what is no model, lengths that are too long for one, and a device that there is not or that does not hold it.
    """
    if work.options.isa is not None:
        _ = work.library
    opened = [_opened(work, name, tests) for name in names]
    results: list[list[RoundResult]] = [[] for _ in opened]
    longest = max(test.depth + test.n_tokens for test in tests)
    settings = Settings(window=longest, batch=BATCH, ubatch=UBATCH, threads=work.threads)
    needed = {str(i): memory_beside(path, settings) for i, (path, _) in enumerate(opened)}
    together = [[int(i) for i in group] for group in groups(list(needed), [], needed, machine_memory().available)]
    options = replace(work.options, window=longest)
    offloads = timed_on(on, options, work.executor, [inspect(path) for path, _ in opened])
    if offloads is not None:
        together = [[i] for i in range(len(opened))]
    with work.reporter.steps("Timing", rounds * len(opened)) as steps:
        for number in range(rounds):
            for group in together[::-1] if number % 2 else together:
                files = [opened[i] for i in group]
                steps.name(f"round {number + 1} of {rounds}" + (f", {files[0][0].name}" if len(files) == 1 else ""))
                offload = offloads[group[0]] if offloads else None
                done = _round(work, [timed for _, timed in files], tests, steps, offload, backwards=bool(number % 2))
                for i, result in zip(group, done.rounds, strict=True):
                    results[i].append(result)
                steps.done(len(group))
    machine = this_machine()
    where: list[Offload | None] = [*offloads] if offloads else [None] * len(opened)
    return [
        Timings(path, work.threads, machine, tuple(r), offload)
        for (path, _), r, offload in zip(opened, results, where, strict=True)
    ]


def _round(
    work: Work,
    files: Sequence[Timed],
    tests: tuple[Test, ...],
    steps: Steps,
    offload: Offload | None,
    *,
    backwards: bool,
) -> RoundsResult:
    """A round of files that are timed side by side."""
    job = RoundJob(
        files=tuple(files),
        backwards=backwards,
        tests=tests,
        threads=work.threads,
        batch=BATCH,
        ubatch=UBATCH,
        offload=offload,
    )
    return work.executor.do(job, lambda share: steps.share(share * len(files)))


def _opened(work: Work, named: str, tests: tuple[Test, ...]) -> tuple[Path, Timed]:
    path = local_model(named, work.options.cache, work.reporter).path
    info = inspect(path)
    _check_lengths(info, tests)
    model = work.executor.hold(info.path)
    stream = work.stream(work.text(None).source, info, model).content
    return path, Timed(model=model, stream=stream)


def _check_lengths(info: ModelInfo, tests: tuple[Test, ...]) -> None:
    for test in tests:
        if info.context_length and test.depth + test.n_tokens > info.context_length:
            option = "--prompt" if test.n_prompt else "--generate"
            behind = f" behind --depths {test.depth}" if test.depth else ""
            raise BenchError(
                f"{option} {test.n_tokens}{behind}: {info.name} was trained for a context of {info.context_length} tokens; give at most that"
            )


def time_ratio(base: Timings, other: Timings, test: Test, base_test: Test | None = None) -> Estimate:
    """other's seconds / base's, of the same test unless base_test names another. Of prompts that were timed in pieces it is that of undisturbed times; of generated tokens the fastest quarter
    of each round counts, and the ratio is that of a typical round."""
    before = base_test or test
    a, b = base.pieces(before), other.pieces(test)
    if a is not None and b is not None:
        if test.n_gen:
            return trimmed_mean_of(fastest_quarter(b.T) / fastest_quarter(a.T))
        if a.shape == b.shape:  # another cache makes other operations
            return undisturbed_ratio(a, b)
    return trimmed_mean_of(np.array(other.seconds(test)) / np.array(base.seconds(before)))


def timed_table(timed: Sequence[Timings], tests: Sequence[Test]) -> pd.DataFrame:
    """Every test of every file as text; of several files or caches, with how it compares with the first file with a cache in f16."""
    import pandas as pd

    base, names, energy = timed[0], told_apart([t.model for t in timed]), _has_energy(timed, tests)
    rows = []
    caches = len({test.cache for test in tests})
    others = [(test, t) for test in tests for t in timed if _is_compared(base, t, test)]
    ratios = {(test, t): time_ratio(base, t, test, test.plain) for test, t in others}
    words = dict(zip(others, time_verdicts(list(ratios.values())), strict=True))
    for test in tests:
        for name, t in zip(names, timed, strict=True):
            rates = t.tokens_per_second(test)
            row = {"File": name, "Size": size(t.model.stat().st_size), "Test": test.label}
            if caches > 1:
                row["Cache"] = test.cache.name
            row[_rate(timed)] = f"{np.mean(rates):.2f} ± {_deviation(rates):.2f}"
            if others:
                ratio = ratios.get((test, t))
                row["Time ratio [95 %]"] = MISSING if ratio is None else with_interval(ratio, "{:.3f}".format)
                row["Verdict"] = words.get((test, t), MISSING)
            if energy:
                row["J/token [95 %]"] = with_interval(typical(t.joules(test), test.n_tokens), joules_text)
            row |= {"Memory": size(t.peak_memory_bytes), "Load": f"{t.load_seconds:.2f} s"}
            rows.append(row)
    return pd.DataFrame(rows)


def _rate(timed: Sequence[Timings]) -> str:
    """What the column of speeds is called: a device's speed is not the CPU's."""
    offload = timed[0].offload
    return "Tokens/s" if offload is None else f"Tokens/s on {offload.device}"


def _is_compared(base: Timings, timings: Timings, test: Test) -> bool:
    """Whether it is not what others are compared with."""
    return timings is not base or not test.cache.is_plain


def _has_energy(timed: Sequence[Timings], tests: Sequence[Test]) -> bool:
    """Whether the processors' energy was counted; it says little of what a device computes."""
    return any(t.offload is None and t.joules(test) for t in timed for test in tests)


def _deviation(values: Sequence[float]) -> float:
    """Standard deviation with n - 1 in the denominator; 0 for a single value, as llama-bench has it."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def timed_key(timed: Sequence[Timings], tests: Sequence[Test]) -> str:
    """What the columns of that table mean, and what disturbed the rounds."""
    base = timed[0]
    n = len(base.rounds)
    said = [
        "Test: pp, a prompt of so many tokens; tg, so many tokens generated one by one; each from an empty context"
        + (", or behind so many tokens (@ d)" if any(t.depth for t in tests) else ""),
        f"{_rate(timed)}: mean ± standard deviation of {n} {'rounds' if n > 1 else 'round'}; {base.threads} threads, "
        f"{base.rounds[0].library.isa}, {base.machine.cpu}",
    ]
    if base.offload is not None:
        said.append(
            f"{base.offload.device}: {base.offload.description}; it holds {', '.join(dict.fromkeys(str(t.offload.layers) for t in timed if t.offload))} "
            "layers, the output counted as one, and the CPU computes the rest. These are no speeds of the CPU"
        )
    several_caches = any(not test.cache.is_plain for test in tests)
    how = "of times that nothing disturbed, by rounds side by side" if base.offload is None else "round by round"
    if len(timed) > 1 or several_caches:
        said.append(
            f"Time ratio: time relative to {told_apart([t.model for t in timed])[0]}{' with a cache in f16' if several_caches else ''}, at the same depth, {how}; above 1 is slower"
        )
    gauge = base.rounds[0].gauge
    if gauge is not None and _has_energy(timed, tests):
        said.append(
            f"J/token: joules of the machine's whole processor packages{', with their memory,' if gauge.memory else ''} for each token, as {gauge.source} "
            f"counts them; at rest they took {base.idle_watts:.1f} W, which is not taken off"
        )
    memory = "the most that the process held" + (", without the device's memory" if base.offload else "")
    said.append(f"Memory: {memory}; Load: seconds to load the model, median")
    disturbed = sum(t.disturbed(test) for t in timed for test in tests)
    if disturbed:
        said.append(f"Disturbed by other load: {disturbed} of {n * len(timed) * len(tests)} measurements")
    return "\n".join(said)


def timed_rows(timed: Sequence[Timings], tests: Sequence[Test]) -> list[dict[str, object]]:
    """Every test of every file under the names of llama-bench's columns, with its meanings and units; ours follow them.

    avg_ns, stddev_ns: whole nanoseconds; avg_ts, stddev_ts: tokens per second, mean and deviation of the rounds' own. What
    llama-bench tells and llama-cpp-python does not (the commit, the CPU mask, polling) is left out.
    """
    base, energy = timed[0], _has_energy(timed, tests)
    rows = []
    for t in timed:
        for test in tests:
            seconds, rates, first = t.seconds(test), t.tokens_per_second(test), t.rounds[0]
            nanoseconds = [round(1e9 * s) for s in seconds]
            ratio = time_ratio(base, t, test, test.plain) if _is_compared(base, t, test) else Estimate(math.nan)
            joules = typical(t.joules(test), test.n_tokens)
            counted: dict[str, object] = {
                "joules_per_token": None if math.isnan(joules.value) else joules.value,
                "joules_per_token_low": joules.low,
                "joules_per_token_high": joules.high,
                "idle_watts": t.idle_watts,
            }
            rows.append(
                {
                    "cpu_info": t.machine.cpu,
                    "gpu_info": t.offload.description if t.offload else "",
                    "backends": t.offload.device.rstrip("0123456789") if t.offload else "CPU",
                    "model_filename": str(t.model),
                    "model_type": first.description,
                    "model_size": first.n_bytes,
                    "model_n_params": first.n_weights,
                    "n_batch": BATCH,
                    "n_ubatch": UBATCH,
                    "n_threads": t.threads,
                    "type_k": test.cache.k,
                    "type_v": test.cache.v,
                    "n_gpu_layers": t.offload.layers if t.offload else 0,
                    "n_prompt": test.n_prompt,
                    "n_gen": test.n_gen,
                    "n_depth": test.depth,
                    "test_time": t.samples(test)[0].started,
                    "avg_ns": int(np.mean(nanoseconds)),
                    "stddev_ns": int(_deviation(nanoseconds)),
                    "avg_ts": float(np.mean(rates)),
                    "stddev_ts": _deviation(rates),
                    "samples_ns": nanoseconds,
                    "samples_ts": rates,
                    "llama_cpp": first.library.llama_cpp,
                    "isa": first.library.isa,
                    "load_seconds": t.load_seconds,
                    "peak_memory_bytes": t.peak_memory_bytes,
                    "disturbed_rounds": t.disturbed(test),
                    "time_ratio": None if math.isnan(ratio.value) else ratio.value,
                    "time_ratio_low": ratio.low,
                    "time_ratio_high": ratio.high,
                    **(counted if energy else {}),
                }
            )
    return rows
