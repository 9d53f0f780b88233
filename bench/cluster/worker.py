"""A site's process: one Dask worker, kept by a nanny that starts it again where it dies, and that joins again where its scheduler ends."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

from bench.cluster.quiet import QUIET, SITE, site_environment
from bench.core.errors import BenchError
from bench.core.progress import Reporter

#: Seconds between attempts to join a scheduler that is gone.
_AGAIN = 5.0


def work_for(scheduler: str, name: str, cache: Path, models: Path | None, host: str | None, reporter: Reporter) -> None:
    """Be a site of a scheduler until interrupted; a scheduler that ends is waited for."""
    asyncio.run(_work(scheduler, name, cache, models, host, reporter))


async def _work(
    scheduler: str, name: str, cache: Path, models: Path | None, host: str | None, reporter: Reporter
) -> None:
    import dask
    from distributed import Nanny

    from bench.cluster import dask as _needed  # noqa: F401  which says what to install

    dask.config.set(QUIET)
    env = site_environment(name, cache, models)
    joined = False
    while True:
        try:
            async with (
                Nanny(
                    scheduler,
                    nthreads=2,  # one to say what it is while the other works
                    name=f"{name}-{uuid.uuid4().hex[:8]}",  # Dask knows no two of one name; records have the name alone
                    resources={SITE: 1},
                    memory_limit=0,
                    host=host,
                    env=env,
                    config=QUIET,
                    dashboard=False,
                    local_directory=str(cache.absolute() / "cluster"),
                    death_timeout=10,
                    reconnect=False,  # when its scheduler ends it ends, and looks for it below
                    silence_logs=40,
                ) as nanny
            ):
                reporter.say(f"{name} waits for work of {scheduler}; Ctrl-C ends it")
                joined = True
                await nanny.finished()
        except (OSError, ValueError, TypeError, RuntimeError) as e:  # of Dask: no such scheduler, or it ended meanwhile
            if not joined:
                raise BenchError(
                    f"{scheduler}: no Dask scheduler answers there ({e}); start one with `dask scheduler`, and look at address and firewall"
                ) from e
        reporter.say(f"{scheduler} has ended; looking for it again")
        await asyncio.sleep(_AGAIN)
