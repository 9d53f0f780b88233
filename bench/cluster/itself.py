"""What a machine says of itself before it is a site."""

from __future__ import annotations

import platform
import shutil
import uuid
from pathlib import Path

from bench.cluster.protocol import SiteReport
from bench.core.errors import BenchError
from bench.core.files import short_hash
from bench.core.machine import allowed_cpus, this_machine
from bench.core.version import this_version
from bench.engine.jobs import Device, DevicesJob, LibraryJob
from bench.engine.memory import machine_memory
from bench.execute.local import LocalExecutor

#: Seconds that its drivers get: fewer than the coordinator waits for a site.
_TO_TELL = 20.0


def report(name: str, cache: Path, devices: tuple[Device, ...]) -> SiteReport:
    """What this machine says of itself. Raises BenchError where the engine cannot be loaded."""
    cache.mkdir(parents=True, exist_ok=True)
    return SiteReport(
        name=name,
        version=this_version().version,
        library=LocalExecutor(cache).do(LibraryJob()),
        machine=this_machine(),
        cpus=len(allowed_cpus()),
        free_bytes=shutil.disk_usage(cache).free,
        available_bytes=machine_memory().available,
        devices=devices,
    )


def devices_here(cache: Path) -> tuple[Device, ...]:
    """What scores may be computed on here beside the CPU; nothing where a driver fails, since the CPU does without."""
    try:
        return LocalExecutor(cache).do(DevicesJob(limit_s=_TO_TELL)).devices
    except BenchError:
        return ()


def default_name() -> str:
    """A site's name unless told: the same for a machine each time, and no host's, since records may be published."""
    return f"site-{short_hash(platform.node(), uuid.getnode())[:4]}"
