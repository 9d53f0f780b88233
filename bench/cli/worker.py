"""`bench worker`: this machine as a site of a cluster."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command(short_help="Let this machine measure parts of others' runs.")
def worker(
    scheduler: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Of a Dask scheduler that runs, for instance tcp://head:8786.")
    ],
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            help="Where models and quantized files are kept here [default: a folder of $XDG_CACHE_HOME].",
        ),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(
            "--models",
            metavar="DIR",
            help="Where to look for reference models and third-party files, by the name of the file.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="This site's name in records [default: the machine's].")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="Listen on this address [default: the one that the scheduler is reached from].",
        ),
    ] = None,
) -> None:
    """Join a cluster: measure parts of runs that are started elsewhere with `run --cluster ADDRESS`, until Ctrl-C.

    Whoever reaches the scheduler can execute any code here, as with every Dask cluster. Nothing else should run on this machine
    while speeds are measured.
    """
    from bench.cluster.itself import default_name
    from bench.cluster.worker import work_for
    from bench.core.files import cache_directory
    from bench.core.progress import Reporter

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # its children end with it, as on Ctrl-C
    work_for(scheduler, name or default_name(), cache or cache_directory(None), models, host, Reporter())
