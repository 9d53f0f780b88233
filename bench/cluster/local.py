"""Sites on this machine, each on CPUs of its own: to try a cluster without one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.machine import allowed_cpus

#: Seconds that a site gets to end.
_TO_END = 10


@contextmanager
def local_cluster(sites: int, threads: int, cache: Path) -> Iterator[str]:
    """A scheduler that listens on this machine alone, with sites that share a cache; its address. All of it ends with the block.

    threads: CPUs of each. Raises BenchError where there are too few.
    """
    cpus = allowed_cpus()
    if sites * threads > len(cpus):
        raise BenchError(
            f"--cluster local:{sites}: takes {sites * threads} CPUs with --threads {threads}, and there are {len(cpus)}; give fewer sites or "
            f"--threads {max(len(cpus) // sites, 1)}"
        )
    with ExitStack() as stack:
        address = stack.enter_context(_scheduler())
        for i in range(sites):
            own = cpus[i * threads : (i + 1) * threads]
            command = ["worker", address, "--name", f"local-{i + 1}", "--cache", str(cache), "--host", "127.0.0.1"]
            process = subprocess.Popen(
                [sys.executable, "-m", "bench", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the coordinator, which ends them
                preexec_fn=_pinned(own),
            )
            stack.callback(_end, process)
        yield address


def _pinned(cpus: list[int]) -> Callable[[], None] | None:
    return (lambda: os.sched_setaffinity(0, cpus)) if sys.platform == "linux" else None


@contextmanager
def _scheduler() -> Iterator[str]:
    from distributed import LocalCluster

    from bench.cluster import dask as _needed  # noqa: F401  which says what to install

    with LocalCluster(
        n_workers=0, host="127.0.0.1", dashboard_address=None, silence_logs=40, processes=True
    ) as cluster:
        yield cluster.scheduler_address


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
