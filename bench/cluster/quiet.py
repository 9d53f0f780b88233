"""What a Dask worker that is a site is told: to do one thing at a time, and nothing beside it.

All computing is in child processes of the worker, which Dask does not see: so its limits of memory are off, and so is its
profiler, which would wake up a hundred times a second beside a timed decode.
"""

from __future__ import annotations

from pathlib import Path

#: The resource that a site has one of; other Dask workers have none.
SITE = "DYNAMICGATE_SITE"
#: Environment variables that say what a site's process is: its name, its cache, where models lie. Empty for the defaults.
NAME, CACHE, MODELS = "DYNAMICGATE_SITE_NAME", "DYNAMICGATE_SITE_CACHE", "DYNAMICGATE_SITE_MODELS"

#: Dask's configuration. The numbers of threads that it would set for its children are left alone.
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.profile.interval": "1s",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.memory.monitor-interval": "10s",
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.limit": "1h",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.nanny.pre-spawn-environ": {},
    "distributed.worker.http.routes": [],
    "distributed.comm.timeouts.connect": "10s",
}


def site_environment(name: str, cache: Path | None, models: Path | None) -> dict[str, str]:
    """The environment variables of a site's process."""
    return {NAME: name, CACHE: str(cache.absolute()) if cache else "", MODELS: str(models.absolute()) if models else ""}
