"""`bench doctor`: problems of this machine that spoil measurements, and their remedies."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from bench.cli.options import CacheOption, JsonOption, print_json
from bench.core.files import cache_directory

app = typer.Typer()


@app.command(short_help="Find problems of this machine that spoil measurements.")
def doctor(
    cache: CacheOption = None,
    hub: Annotated[bool, typer.Option("--hub/--no-hub", help="Also ask whether the model hub answers.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Find problems of this machine that spoil measurements, with a remedy for each: governor, turbo, frequency, temperature, power, CPU quota, other
    load, the engine's build, a counter of energy, memory and its bandwidth, disk, and the model hub.

    Checks for which the system gives no value are left out. Exit code 0: nothing is in the way; 1: something is.
    """
    from bench.advise.doctor import readings
    from bench.cli.table import beside, room
    from bench.core.progress import Reporter

    found = readings(cache_directory(cache), Reporter(), hub=hub)
    if as_json:
        print_json([asdict(r) for r in found])
    else:
        width, columns = max(len(r.name) for r in found) + 2, room()
        for r in found:
            print(beside(r.name, r.value, width, columns))
            if r.remedy:
                print(beside("", f"! {r.remedy}", width, columns))
    raise typer.Exit(int(any(r.remedy for r in found)))
