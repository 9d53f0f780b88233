"""Conditions of a machine that spoil timings, as far as they can be read, with a remedy for each."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.core.energy import energy_counter, how_to_read
from bench.core.formats import size
from bench.core.machine import cpu_quota

#: Seconds for which other load is watched.
_WATCHED = 0.5
#: Share of the CPU time that others may take before it is told, and of time that a virtual machine's host may.
_OTHERS, _STOLEN = 0.05, 0.01
#: Share of its highest frequency below which a CPU is told to be slow.
_SLOW = 0.9
#: Share of the temperature at which a CPU protects itself.
_HOT = 0.9


@dataclass(frozen=True)
class Reading:
    """Something that was read of the machine. name, value: in words; remedy: what to do, None where it is well; of_timing: whether
    it spoils timings."""

    name: str
    value: str
    remedy: str | None = None
    of_timing: bool = True


def timing_readings(root: Path = Path("/"), watched: float = _WATCHED) -> list[Reading]:
    """What decides whether timings repeat. root: of the file system that is read; watched: seconds to watch other load for. What
    cannot be read is left out."""
    return list(_timing(root / "sys/devices/system/cpu", watched))


def _timing(cpus: Path, watched: float) -> Iterator[Reading]:
    if governors := {p.read_text().strip() for p in cpus.glob("cpu*/cpufreq/scaling_governor")}:
        well = governors == {"performance"}
        yield Reading(
            "governor",
            ", ".join(sorted(governors)),
            None if well else "sudo cpupower frequency-set --governor performance keeps the frequency up",
        )
    turbo = _turbo(cpus)
    if turbo is not None:
        command, is_on = turbo
        yield Reading(
            "turbo",
            "on" if is_on else "off",
            f"speeds follow the temperature; {command} turns it off" if is_on else None,
        )
    yield from _frequency()
    yield from _temperature()
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is not None:
        plugged = battery.power_plugged is not False
        yield Reading("power", "mains" if plugged else "battery", None if plugged else "plug the charger in")
    quota, n_cpus = cpu_quota(), len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else 0
    if quota is not None:
        few = n_cpus > quota
        yield Reading(
            "CPU quota",
            f"the time of {quota} of {n_cpus} CPUs" if n_cpus else f"the time of {quota} CPUs",
            f"give --threads {quota} at most, or the container more" if few else None,
        )
    elif n_cpus and n_cpus < (os.cpu_count() or 1):
        yield Reading("CPUs", f"{n_cpus} of {os.cpu_count()} may be used")
    if watched:
        yield from _load(watched)


def _turbo(cpus: Path) -> tuple[str, bool] | None:
    """The command that turns it off, and whether it is on; None where the system does not say."""
    for name, off in (("intel_pstate/no_turbo", "1"), ("cpufreq/boost", "0")):
        path = cpus / name
        with suppress(OSError):
            return f"echo {off} | sudo tee {path}", path.read_text().strip() != off
    return None


def _frequency() -> Iterator[Reading]:
    with suppress(OSError, NotImplementedError, AttributeError):
        found = psutil.cpu_freq()
        if found and found.max and found.current:
            slow = found.current < _SLOW * found.max
            yield Reading(
                "frequency",
                f"{found.current:,.0f} of {found.max:,.0f} MHz",
                "look at the governor and the temperature; an idle CPU is slow too" if slow else None,
            )


def _temperature() -> Iterator[Reading]:
    with suppress(OSError, AttributeError):
        hottest = max(
            (s for of in psutil.sensors_temperatures().values() for s in of), key=lambda s: s.current, default=None
        )
        if hottest is not None:
            limit = hottest.high or hottest.critical
            hot = limit is not None and limit > 0 and hottest.current > _HOT * limit
            yield Reading("temperature", f"{hottest.current:.0f} °C", "let it cool, or clean its fan" if hot else None)


def _load(seconds: float) -> Iterator[Reading]:
    """What other processes and the machine's host take, without what this program and its workers do meanwhile."""
    before, own = psutil.cpu_times(), _own_seconds()
    time.sleep(seconds)
    after = psutil.cpu_times()
    own = _own_seconds() - own
    spent = {name: getattr(after, name) - getattr(before, name) for name in before._fields if name not in _INCLUDED}
    whole = sum(spent.values()) or 1.0
    stolen = spent.get("steal", 0.0)
    others = max(0.0, whole - spent.get("idle", 0.0) - spent.get("iowait", 0.0) - stolen - own)
    busy = others > _OTHERS * whole + _TICKS
    yield Reading(
        "other load",
        f"{100 * others / whole:.0f} % of the CPU time",
        "end other programs; what is timed side by side is slowed alike, and still varies more" if busy else None,
    )
    if "steal" in spent:
        much = stolen > _STOLEN * whole + _TICKS
        yield Reading(
            "stolen time",
            f"{100 * stolen / whole:.0f} %",
            "the host of this virtual machine serves others; measure more windows, or on a machine of one's own"
            if much
            else None,
        )


def _own_seconds() -> float:
    """CPU seconds of this process and of those that it began."""
    this = psutil.Process()
    total = 0.0
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


#: Kinds of CPU time that are part of another one.
_INCLUDED = ("guest", "guest_nice")
#: Seconds that the kernel's accounting, in steps of a hundredth, may be off.
_TICKS = 0.04


def energy_reading(root: Path = Path("/")) -> Reading:
    """Whether runs on this machine can tell joules. Nothing is in the way of measurements where they cannot, so there is no remedy. root: of
    the file system that is read."""
    with energy_counter(root) as counter:
        if counter is not None:
            watts = counter.idle_watts()
            of = "the processors' packages" + (" with their memory" if counter.memory else "")
            said = (
                f"{watts:.1f} W now, of {of}"
                if watts > 0
                else "a counter that stands still, so that runs tell no joules"
            )
            return Reading("energy", f"{counter.source}: {said}", of_timing=False)
    command = how_to_read(root)
    if command is None:
        return Reading("energy", "no counter that this system tells of", of_timing=False)
    said = f"not for you to read; {command} lets everybody read the counters until the machine starts again, and runs then tell joules"
    return Reading("energy", said, of_timing=False)


def room_readings(cache: Path) -> list[Reading]:
    """Memory that is available, and disk for the cache."""
    memory, there = (
        psutil.virtual_memory(),
        next(p for p in (cache.absolute(), *cache.absolute().parents) if p.exists()),
    )
    disk = shutil.disk_usage(there)
    low = memory.available < memory.total / 4
    return [
        Reading(
            "memory",
            f"{size(memory.available)} of {size(memory.total)} available",
            "end other programs, or files are read from the disk while they are timed" if low else None,
            of_timing=low,
        ),
        Reading(
            "disk",
            f"{size(disk.free)} free at {cache}",
            "`cache clear` throws out what is kept, or --cache names another disk" if disk.free < _LEAST_DISK else None,
            of_timing=False,
        ),
    ]


#: Bytes that a sweep of a small model takes.
_LEAST_DISK = 3 * 10**9
