"""The machine of a measurement, and its load by other work meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from bench.core.energy import Counter
from bench.core.values import Amount, Count, Name


class Machine(BaseModel):
    """The description of a machine in records. It names no host and no user."""

    model_config = ConfigDict(frozen=True)

    cpu: Name
    architecture: Name
    physical_cores: Count
    logical_cpus: Count
    memory_gib: Count
    system: Name

    def __str__(self) -> str:
        return f"{self.cpu} ({self.physical_cores} cores, {self.memory_gib} GiB), {self.system}"


def this_machine() -> Machine:
    return Machine(
        cpu=_cpu_name(),
        architecture=platform.machine(),
        physical_cores=psutil.cpu_count(logical=False) or len(_one_cpu_per_core()),
        logical_cpus=os.cpu_count() or 1,
        # whole GiB: the exact figure changes with the kernel, and a run would not find its directory again
        memory_gib=round(psutil.virtual_memory().total / 2**30),
        system=f"{platform.system()} {platform.machine()}",
    )


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return " ".join(line.partition(":")[2].split())
    except OSError:
        pass
    return platform.processor() or platform.machine()


def allowed_cpus() -> list[int]:
    """CPUs this process may run on; a container often has fewer than the machine."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _one_cpu_per_core() -> list[int]:
    """The first allowed CPU of every physical core: hyperthreads share the units that matrix products use."""
    seen: set[str] = set()
    chosen = []
    for cpu in allowed_cpus():
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = siblings.read_text().strip() if siblings.exists() else str(cpu)
        if core not in seen:
            seen.add(core)
            chosen.append(cpu)
    return chosen


def default_threads() -> int:
    """One for each physical core, and no more than a container's quota of CPU time lets run."""
    return min(len(_one_cpu_per_core()), cpu_quota() or sys.maxsize)


def cpu_quota() -> int | None:
    """Whole CPUs whose time the control group of a container grants, None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))


def cpus_for(threads: int) -> list[int]:
    """The CPUs to pin a number of threads to: one for each physical core, then the remaining ones."""
    cores = _one_cpu_per_core()
    others = [cpu for cpu in allowed_cpus() if cpu not in cores]
    return sorted((cores + others)[:threads])


def pin(cpus: list[int]) -> None:
    """Restrict this process, and every thread it starts from now on, to these CPUs (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, cpus)


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes.

    Linux is asked for VmHWM: ru_maxrss would include what the parent had used when it started this process.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Activity(BaseModel):
    """What the CPUs did during a timed interval, in CPU seconds. others: other processes and the machine's host."""

    model_config = ConfigDict(frozen=True)

    wall: Amount
    own: Amount
    others: Amount

    def disturbed(self, threads: int) -> bool:
        """Whether other work took more than 5 % of the CPU time that the measurement could have used.

        The 0.05 s allow for the kernel's accounting in steps of 0.01 s.
        """
        return self.others > 0.05 * self.wall * threads + 0.05

    def __add__(self, other: Activity) -> Activity:
        """Of two intervals that followed each other."""
        return Activity(wall=self.wall + other.wall, own=self.own + other.own, others=self.others + other.others)


class ActivityMeter:
    """Accounts for what was done between `start` and `stop`, without the times between `pause` and `resume`.

    still: the longest stretch of that in which nothing computed, in seconds: the machine was suspended or the program stopped, where it is a second or more.
    joules: energy meanwhile, where there is a counter of it; NaN where it could not be read.
    """

    def __init__(self, threads: int = 1, counter: Counter | None = None) -> None:
        self._threads, self._counter = threads, counter

    def start(self) -> None:
        self._busy = self._own = self._wall = self.still = self.joules = 0.0
        self.resume()

    def resume(self) -> None:
        self._from = _busy_seconds(), time.process_time(), _clock()
        if self._counter is not None:
            self._counter.take()  # of others' turns

    def pause(self) -> None:
        if self._counter is not None:
            self.joules += self._counter.take()
        wall, own = _clock() - self._from[2], time.process_time() - self._from[1]
        busy = _busy_seconds() - self._from[0]
        self._wall, self._own, self._busy = self._wall + wall, self._own + own, self._busy + busy
        self.still = max(self.still, wall - max(own, busy) / self._threads)

    def stop(self) -> Activity:
        self.pause()
        return Activity(wall=self._wall, own=self._own, others=max(0.0, self._busy - self._own))


def _clock() -> float:
    """Seconds of a clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.perf_counter()


def _busy_seconds() -> float:
    """CPU seconds that the CPUs of this process were not free, time stolen by a host included."""
    times = psutil.cpu_times(percpu=True)
    fields = ("user", "nice", "system", "irq", "softirq", "steal")
    return sum(getattr(times[cpu], field, 0.0) for cpu in allowed_cpus() if cpu < len(times) for field in fields)
