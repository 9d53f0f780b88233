"""Energy use of this machine's processors, where it can be read. Nothing is estimated where it cannot.

Processors of Intel, and of AMD since Zen, count the joules of each package, and some those of its memory. Linux reports them in two
ways that read the same counters: the files of powercap, which only root may read unless the machine is configured otherwise, and events
of perf. The joules of a package include those of `core` and `uncore`; `psys` and `intel-rapl-mmio` count the packages once more. These
four are left out, or joules would count twice. GPUs (by NVML) are not read, since all computing is on the CPU.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

Source = Literal["powercap", "perf"]

#: Of a root: where the two ways are.
_POWERCAP, _PERF = "sys/class/powercap", "sys/bus/event_source/devices/power"
#: Seconds for which a machine at rest is watched, and before which threads that have just computed may still spin.
_WATCHED, _CALM = 0.5, 0.01
#: perf_event_open(2) on x86-64, the only machines with that PMU; its flag to close the event where another program begins.
_PERF_EVENT_OPEN, _CLOEXEC = 298, 8


class _Domain:
    """One counter. read: its count now; unit: joules of one; span: counts after which it begins at zero again."""

    def __init__(self, read: Callable[[], int], unit: float, span: int) -> None:
        self._read, self._unit, self._span = read, unit, span
        self._last = read()

    def take(self) -> float:
        now = self._read()
        counts, self._last = now - self._last, now
        return (counts if counts >= 0 else counts + self._span) * self._unit


class Counter:
    """The energy of all packages together. memory: whether that of their memory is in it. It is updated about once in a thousandth of a
    second, so short stretches tell something only in great number."""

    def __init__(self, source: Source, domains: Sequence[_Domain], *, memory: bool) -> None:
        self.source, self.memory, self._domains = source, memory, domains

    def take(self) -> float:
        """Joules since they were last taken; NaN where the counter cannot be read any more, which costs no measurement."""
        try:
            return sum([d.take() for d in self._domains])
        except (OSError, ValueError):
            return math.nan

    def idle_watts(self, seconds: float = _WATCHED) -> float:
        """Watts while the caller does nothing for a moment. A package takes some whatever it does: 0 is a counter that stands still, as in some
        virtual machines."""
        time.sleep(_CALM)
        self.take()
        began = time.perf_counter()
        time.sleep(seconds)
        return self.take() / (time.perf_counter() - began)


@contextmanager
def energy_counter(root: Path = Path("/")) -> Iterator[Counter | None]:
    """The counter of this machine for the block, or None. root: of the file system that tells of it."""
    with ExitStack() as stack:
        yield _first(root, stack)


def _first(root: Path, stack: ExitStack) -> Counter | None:
    """What can be read. A part of a machine's counters is none: it would pass for the whole."""
    for find, place in ((_of_powercap, root / _POWERCAP), (_of_perf, root / _PERF)):
        with suppress(OSError, ValueError), ExitStack() as opened:
            found = find(place, opened)
            if found is not None:
                stack.enter_context(opened.pop_all())
                return found
    return None


def _zones(place: Path) -> dict[Path, str]:
    """Names of the packages of powercap and of their memory."""
    names = {zone: (zone / "name").read_text().strip() for zone in sorted(place.glob("intel-rapl:*"))}
    return {zone: name for zone, name in names.items() if name.startswith("package") or name == "dram"}


def _of_powercap(place: Path, opened: ExitStack) -> Counter | None:
    def read(file: int) -> Callable[[], int]:
        return lambda: int(os.pread(file, 32, 0))

    domains = []
    zones = _zones(place)
    for zone in zones:
        file = os.open(zone / "energy_uj", os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, file)
        domains.append(_Domain(read(file), 1e-6, int((zone / "max_energy_range_uj").read_text())))
    names = set(zones.values())
    return Counter("powercap", domains, memory="dram" in names) if names - {"dram"} else None


def _of_perf(place: Path, opened: ExitStack) -> Counter | None:
    def read(event: int) -> Callable[[], int]:
        return lambda: _counted(event)

    events = [e for e in ("energy-pkg", "energy-ram") if (place / "events" / e).exists()]
    if "energy-pkg" not in events or platform.machine() != "x86_64" or sys.maxsize < 2**32:
        return None
    kind = int((place / "type").read_text())
    domains = []
    for name in events:
        config = int((place / "events" / name).read_text().partition("=")[2], 16)
        unit = float((place / "events" / f"{name}.scale").read_text())
        for cpu in _cpus((place / "cpumask").read_text()):  # one of each package
            event = _open_event(kind, config, cpu)
            opened.callback(os.close, event)
            domains.append(_Domain(read(event), unit, 2**64))
    return Counter("perf", domains, memory="energy-ram" in events) if domains else None


def _counted(event: int) -> int:
    found = os.read(event, 8)
    if len(found) < 8:  # its CPU was taken away
        raise ValueError("the event is not counted any more")
    return int.from_bytes(found, sys.byteorder)


def _cpus(told: str) -> list[int]:
    """CPUs of a list as the kernel writes it: `0,28-29`."""
    ends = [part.split("-") for part in told.split(",")]
    return [cpu for end in ends for cpu in range(int(end[0]), int(end[-1]) + 1)]


def _open_event(kind: int, config: int, cpu: int) -> int:
    """A descriptor that counts an event of a PMU on one CPU, whoever computes there. Raises OSError where the kernel does not allow that."""
    attributes = struct.pack("=IIQ48x", kind, 64, config)  # perf_event_attr in its first, shortest form
    call = ctypes.CDLL(None, use_errno=True).syscall
    event = int(call(_PERF_EVENT_OPEN, attributes, -1, cpu, -1, _CLOEXEC))
    if event < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return event


def how_to_read(root: Path = Path("/")) -> str | None:
    """The command that lets everybody read the counter until the machine starts again, where one is there; None for none."""
    with suppress(OSError):
        if any(name != "dram" for name in _zones(root / _POWERCAP).values()):
            return f"sudo chmod o+r /{_POWERCAP}/intel-rapl:*/energy_uj"
    if (root / _PERF / "events" / "energy-pkg").exists():
        return "sudo sysctl kernel.perf_event_paranoid=0"
    return None
