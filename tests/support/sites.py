"""A scheduler and sites of a cluster on this machine, in processes of their own."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scheduler() -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None, silence_logs=40) as cluster:
        yield cluster.scheduler_address


@contextmanager
def site(
    address: str,
    name: str,
    cache: Path,
    *more: str,
    largest_file: int = resource.RLIM_INFINITY,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """A site in a process of its own, as a user starts one. largest_file: bytes that a file may have there; env: its environment, None for this process's."""
    command = [
        sys.executable,
        "-m",
        "bench",
        "worker",
        address,
        "--name",
        name,
        "--cache",
        str(cache),
        "--host",
        "127.0.0.1",
        *more,
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=env,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file)),
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()
