"""Sites that are started over SSH, with Dask's own SSHCluster: the scheduler on the first host, a site on each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.cluster.quiet import QUIET, SITE, site_environment
from bench.core.errors import BenchError

#: Seconds in which a host must be reached, and again in which it must let us in.
_PATIENCE = 20


@contextmanager
def ssh_cluster(hosts: Sequence[str]) -> Iterator[str]:
    """Sites on hosts, as the user's SSH configuration reaches them, with the Python at the place of this one; the scheduler's
    address. All of it ends with the block. Raises BenchError for a host that is not reached, or that lacks what is needed."""
    from bench.cluster import dask as _needed  # noqa: F401  which says what to install

    try:
        import asyncssh as _needed_too  # noqa: F401
    except ImportError as e:
        raise BenchError(
            "--cluster ssh: needs asyncssh, which is not installed; install it with: python -m pip install 'dynamicgate-bench[cluster]'"
        ) from e
    from distributed import SSHCluster

    try:
        cluster = SSHCluster(
            [hosts[0], *hosts],
            connect_options={"connect_timeout": _PATIENCE, "login_timeout": _PATIENCE},
            worker_options={
                "nthreads": 2,
                "resources": {SITE: 1},
                "memory_limit": 0,
                "env": site_environment("", None, None),
                "config": QUIET,
                "dashboard": False,  # its log is not silenced: Dask waits for a line of it
            },
            scheduler_options={"dashboard": False, "port": 0},
        )
    except Exception as e:  # Dask raises bare ones
        raise BenchError(
            f"--cluster ssh:{','.join(hosts)}: could not be started ({str(e).strip() or type(e).__name__}); each host must be reached by `ssh HOST` without a "
            "password, and have this program in the same Python"
        ) from e
    with cluster:
        yield cluster.scheduler_address
