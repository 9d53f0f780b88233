"""Checks of everything on this machine that a run depends on, with a remedy for each problem."""

from __future__ import annotations

from pathlib import Path

from bench.advise.speed import limits_here
from bench.core.errors import BenchError
from bench.core.health import Reading, energy_reading, room_readings, timing_readings
from bench.core.machine import this_machine
from bench.core.progress import Reporter
from bench.engine.jobs import DevicesJob, LibraryJob
from bench.execute.local import LocalExecutor
from bench.models.hub import hub_trouble


def readings(cache: Path, reporter: Reporter, *, hub: bool) -> list[Reading]:
    """hub: whether to ask the model hub."""
    found = [Reading("machine", str(this_machine()), of_timing=False), *timing_readings()]
    with reporter.steps("Measuring memory and kernels", 1):
        found += _engine(cache)
    found += [energy_reading(), *room_readings(cache)]
    if hub:
        wrong = hub_trouble()
        found.append(Reading("model hub", "answers" if wrong is None else "cannot be reached", wrong, of_timing=False))
    return found


def _engine(cache: Path) -> list[Reading]:
    """The engine's build, and the bandwidth of memory, which is measured once and kept."""
    try:
        library = LocalExecutor(cache).do(LibraryJob())
        limits = limits_here(cache, library)
    except BenchError as e:
        return [Reading("engine", "cannot be used", f"{e}; `nox -s bench` builds it", of_timing=False)]
    build = f"llama-cpp-python {library.binding} (llama.cpp {library.llama_cpp}), built for {library.isa}"
    return [
        Reading("engine", build, of_timing=False),
        *_devices(cache),
        Reading("bandwidth", f"{limits.bandwidth / 1e9:.1f} GB/s with {limits.threads} threads", of_timing=False),
    ]


def _devices(cache: Path) -> list[Reading]:
    """What scores may be computed on beside the CPU, of an engine that has a backend for it."""
    try:
        found = LocalExecutor(cache).do(DevicesJob()).devices
    except BenchError as e:
        return [Reading("GPU", "cannot be used", f"{e}; update its driver", of_timing=False)]
    told = (
        (d.name, f"{d.description}, {d.free / 1e9:.1f}G of {d.total / 1e9:.1f}G free, for --score-on") for d in found
    )
    return [Reading(name, value, of_timing=False) for name, value in told]
