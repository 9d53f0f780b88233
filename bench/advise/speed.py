"""The speed at which a file can generate on a machine: an upper limit from measurements of the machine, and the share of this limit
that files of a run reached.

For every token each weight is read once and multiplied once. So a token takes at least the time to read the weights of a
type, or to multiply them if that takes longer, summed over types (engine/pace.py measures both). Attention, the start of each
step of the graph, and waiting for threads come on top. They are not modelled. They show in the share of the limit that files
of a run reached, and this share is the error that is stated with every estimate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import gguf
from pydantic import BaseModel

from bench.core.checked import read_checked, write_checked
from bench.core.errors import BenchError
from bench.core.files import complete_or_absent, short_hash
from bench.core.machine import Machine, cpus_for, default_threads, this_machine
from bench.core.progress import Reporter
from bench.engine.jobs import Pace, PaceJob
from bench.engine.settings import LibraryInfo
from bench.execute.local import LocalExecutor
from bench.measures.windows import statistics as stats
from bench.measures.windows.runs import windows_of
from bench.records.run import Run

#: What `python -m bench.advise.speed RUN…` writes: what was measured of a machine and of files on it.
ACCURACY = Path(__file__).with_name("accuracy.json")


@dataclass(frozen=True)
class Reach:
    """Shares of the limit that files of a run reached, the least and the most, and what of, in words; machines: on how many."""

    low: float
    high: float
    of: str
    machines: int = 1


@dataclass(frozen=True)
class Limits:
    """What limits generation on a machine. bandwidth: bytes/s; kernels: weights/s of one thread, by type; reach: how near files come
    to the limit; told: options that described another machine."""

    threads: int
    bandwidth: float
    kernels: Mapping[str, float]
    reach: Reach
    told: tuple[str, ...] = ()

    def assumption(self) -> str:
        """What expected speeds rest on, and the options that say otherwise: a sentence."""
        left = [o for o in ("--threads", "--bandwidth") if o not in self.told]
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        bandwidth = f"{self.bandwidth / 1e9:.0f} GB/s of memory bandwidth"
        if len(left) == 2:
            parts = [f"{threads} and {bandwidth} (measured here)"]
        else:
            parts = [
                f"{threads} {'(as here)' if '--threads' in left else '(as told)'}",
                f"{bandwidth} {'(measured here)' if '--bandwidth' in left else '(as told)'}",
                "cores as fast as this machine's",
            ]
        others = (
            f"; {' and '.join(left)} {'describe' if len(left) > 1 else 'describes'} another machine" if left else ""
        )
        return f"Assumed: {', '.join(parts)}{others}."

    def seconds(self, read: Mapping[str, float], n_bytes: float | None = None) -> float | None:
        """Seconds that a token takes at least; None where a type is not known. read: weights by type; n_bytes: that they take,
        where it is known otherwise than by their types."""
        if not read or any(t not in self.kernels for t in read):
            return None
        by_types = {t: _bytes(t, n) for t, n in read.items()}
        scale = 1.0 if n_bytes is None else n_bytes / sum(by_types.values())
        return sum(
            max(scale * by_types[t] / self.bandwidth, n / (self.kernels[t] * self.threads)) for t, n in read.items()
        )


@dataclass(frozen=True)
class Speed:
    """Tokens generated in a second: the range that is expected, from a full context to an empty one; measured: by a run on this very
    machine, whose low and high are its 95 % interval (equal to it with too few windows for one)."""

    low: float
    high: float
    measured: float | None = None

    @property
    def middle(self) -> float:
        return self.measured or (self.low * self.high) ** 0.5

    def __str__(self) -> str:
        if self.measured:
            return _round(self.measured)
        low, high = _round(self.low), _round(self.high)
        return low if low == high else f"{low}–{high}"


def _round(value: float) -> str:
    return f"{value:.0f}" if value >= 9.5 else f"{value:.1f}"


def _bytes(kind: str, weights: float) -> float:
    block, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    return float(weights / block * n_bytes)


def expected(
    limits: Limits | None, read: Mapping[str, float], cache_bytes: float, n_bytes: float | None = None
) -> Speed | None:
    """read, n_bytes: see Limits.seconds; cache_bytes: keys and values of a full context, which every token reads too."""
    seconds = limits.seconds(read, n_bytes) if limits else None
    if limits is None or seconds is None:
        return None
    return Speed(limits.reach.low / (seconds + cache_bytes / limits.bandwidth), limits.reach.high / seconds)


def limits_here(cache: Path, library: LibraryInfo, threads: int | None = None) -> Limits:
    """Of this machine, measured now. What was measured before and kept counts where it is faster: other work only slows."""
    pace = _pace(cache, library, threads or default_threads())
    return Limits(pace.threads, pace.bandwidth, pace.kernels, published_reach())


def _pace(cache: Path, library: LibraryInfo, threads: int) -> Pace:
    pace = LocalExecutor(cache, cpus_for(threads)).do(PaceJob(threads=threads))
    kept = cache / "pace" / f"{short_hash(this_machine().model_dump(), library.model_dump(), threads)}.json"
    before = read_checked(kept, Pace, Reporter().warn)
    if before is not None:
        kernels = {t: max(rate, before.kernels.get(t, 0)) for t, rate in pace.kernels.items()}
        pace = Pace(threads=threads, bandwidth=max(pace.bandwidth, before.bandwidth), kernels=kernels)
    write_checked(kept, pace)
    return pace


def described_limits(here: Limits, bandwidth: float | None, threads: int | None) -> Limits:
    """Of a machine that is only told of. Its kernels are taken to be as fast as those here."""
    told = tuple(option for option, value in (("--threads", threads), ("--bandwidth", bandwidth)) if value is not None)
    return replace(here, threads=threads or here.threads, bandwidth=bandwidth or here.bandwidth, told=told)


def measured_here(run: Run, machine: Machine, threads: int) -> bool:
    """Whether a run measured speeds, and on this machine."""
    return run.identity.speeds and run.identity.machine == machine and run.identity.settings.threads == threads


def read_by(run: Run, name: str) -> dict[str, float]:
    """Weights that a token reads of a run's file, by type; empty where the records do not tell: for a mixture of experts.

    Embeddings beside an output of their own are counted, since records do not hold the shapes of tensors.
    """
    file = run.files[name]
    return {} if any("_exps." in t for t in file.types) else {t: float(n) for t, n in file.weights_by_type.items()}


def reached(run: Run, limits: Limits) -> dict[str, tuple[float, float]]:
    """{file: (tokens/s measured, tokens/s at the limit)} of a run's files that generation was timed of."""
    found = {}
    for name in run.files:
        windows, seconds = windows_of(run).results(name), limits.seconds(read_by(run, name))
        timed = windows if run.identity.speeds else None
        generation = stats.speed(timed, run.identity.settings).generation if timed else None
        if generation and seconds:
            found[name] = generation.value, 1 / seconds
    return found


def reach_of(found: Mapping[str, tuple[float, float]], of: str) -> Reach | None:
    """The least and the most share of the limit; None without a file."""
    shares = [measured / limit for measured, limit in found.values()]
    return Reach(min(shares), max(shares), of) if shares else None


class OnMachine(BaseModel):
    """What was measured on one machine. machine: its description; of: what was timed, in words; files: (tokens/s measured, tokens/s
    at the limit) by run and file."""

    machine: str
    of: str
    pace: Pace
    files: dict[str, dict[str, tuple[float, float]]]


class Kept(BaseModel):
    """What ACCURACY holds, machine by machine."""

    machines: list[OnMachine]

    def but_for(self, machine: str) -> list[OnMachine]:
        return [m for m in self.machines if m.machine != machine]


def kept_accuracy() -> Kept:
    """What ACCURACY holds now."""
    return Kept.model_validate_json(ACCURACY.read_text(encoding="utf-8"))


@cache
def published_reach() -> Reach:
    """What files of published runs reached on the machines that they were measured on."""
    machines = kept_accuracy().machines
    found = {f"{r}/{n}": both for m in machines for r, files in m.files.items() for n, both in files.items()}
    reach = reach_of(found, " and ".join(m.of for m in machines))
    if reach is None:
        raise BenchError(f"{ACCURACY}: tells of no file; install the program again")
    return replace(reach, machines=len(machines))


def accuracy(runs: Mapping[str, Run], pace: Pace) -> OnMachine:
    """Speeds of runs of one machine and model against its limits. runs: by the name of their directory."""
    limits = Limits(pace.threads, pace.bandwidth, pace.kernels, Reach(0, 1, "nothing yet"))
    found = {
        name: {n: (round(m, 2), round(limit, 2)) for n, (m, limit) in reached(run, limits).items()}
        for name, run in runs.items()
    }
    identity = next(iter(runs.values())).identity
    files = sum(map(len, found.values()))
    of = f"{files} files of {identity.model.name} on {identity.machine.cpu}, {pace.threads} threads"
    return OnMachine(machine=str(identity.machine), of=of, pace=pace, files=found)


def main(directories: Sequence[Path]) -> None:
    """Measure this machine, hold speeds of its runs against its limits, and keep what was found of other machines.

    Raises BenchError for a run of another machine.
    """
    from bench.core.files import cache_directory
    from bench.engine.jobs import LibraryJob
    from bench.measures.registry import load_run

    runs, kept = {d.name: load_run(d) for d in directories}, cache_directory(None)
    threads = default_threads()
    for name, run in runs.items():
        if not measured_here(run, this_machine(), threads):
            raise BenchError(f"{name}: was measured on {run.identity.machine}, and this is {this_machine()}")
    here = accuracy(runs, _pace(kept, LocalExecutor(kept).do(LibraryJob()), threads))
    others = kept_accuracy().but_for(here.machine)
    with complete_or_absent(ACCURACY) as partial:
        partial.write_text(Kept(machines=[*others, here]).model_dump_json(indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    import sys

    main([Path(d) for d in sys.argv[1:]])
