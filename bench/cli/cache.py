"""`bench cache`: list and delete the data that is kept between runs."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import CacheOption, JsonOption, print_json
from bench.core.errors import BenchError
from bench.core.files import cache_directory
from bench.core.formats import size

if TYPE_CHECKING:
    from bench.workbench.cache import Entry

app = typer.Typer(
    no_args_is_help=False,
    name="cache",
    help="List or delete the data that is kept between runs. Records of runs are never in there.",
    rich_markup_mode=None,
)

_KindArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KIND]...", help="engine, models, quantized, blocks, imatrix and so on, as `cache ls` names them."
    ),
]


@app.command("ls", short_help="List the cache, with sizes and last use.")
def list_command(kind: _KindArgument = None, cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """List the cache by kind, with sizes and last use; for kinds that are named, list every entry."""
    from bench.cli.shown import print_table
    from bench.workbench.cache import KINDS, entries, kinds_named

    directory = cache_directory(cache)
    found = entries(directory, kinds_named(kind) if kind else KINDS)
    if as_json:
        print_json(
            [{"kind": e.kind, "path": str(e.path), "bytes": e.n_bytes, "used": e.used.isoformat()} for e in found]
        )
        return
    import pandas as pd

    if not found:
        print(f"{directory}: nothing {'of this kind ' if kind else ''}is kept there")
        return
    if kind:
        rows = [
            {"Last use": _day(e), "Size": size(e.n_bytes), "Entry": str(e.path.relative_to(directory))} for e in found
        ]
    else:
        rows = []
        for k in KINDS:
            own = [e for e in found if e.kind == k.name]
            if own:
                total, latest = sum(e.n_bytes for e in own), max(own, key=lambda e: e.used)
                row = {"Kind": k.name, "Entries": str(len(own)), "Size": size(total), "Last use": _day(latest)}
                rows.append(row | {"What it is": k.about})
    print_table(pd.DataFrame(rows))
    print(f"\n{directory}: {size(sum(e.n_bytes for e in found))} in {_entries(len(found))}")
    if not kind:
        from bench.models.hub import hub_cache

        print(f"Files fetched from the hub are kept by its own library, in {hub_cache()}")


@app.command("clear", short_help="Delete the contents of the cache.")
def clear_command(
    kind: _KindArgument = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Only entries not used for this long: 12h, 30d or 2w."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    cache: CacheOption = None,
) -> None:
    """Delete the contents of the cache: everything but the engine, or the kinds that are named. They are made again when they are needed.

    Asks first; without a terminal to ask on, --yes must be given. Records of runs are never touched.
    """
    from bench.workbench.cache import KINDS, age_in_seconds, check_unused, entries, kinds_named, remove

    directory = cache_directory(cache)
    chosen = kinds_named(kind) if kind else tuple(k for k in KINDS if not k.kept)
    before = datetime.now(UTC) - timedelta(seconds=age_in_seconds(older_than)) if older_than else None
    check_unused(directory)
    found = [e for e in entries(directory, chosen) if before is None or e.used < before]
    if not found:
        print(f"{directory}: there is nothing to throw out")
        return
    sums = {k.name: sum(e.n_bytes for e in found if e.kind == k.name) for k in chosen}
    parts = ", ".join(f"{name} {size(n_bytes)}" for name, n_bytes in sums.items() if n_bytes)
    what = f"{_entries(len(found))} of {directory}, {size(sum(sums.values()))} ({parts})"
    if not yes:
        if not sys.stdin.isatty():
            raise BenchError(f"this would throw out {what}; add --yes to do it")
        if not typer.confirm(f"Throw out {what}?"):
            print("Nothing was thrown out")
            raise typer.Exit(1)
    check_unused(directory)  # a run may have begun while the question stood
    remove(found)
    print(f"Threw out {what}")


def _entries(n: int) -> str:
    return f"{n} {'entry' if n == 1 else 'entries'}"


def _day(entry: Entry) -> str:
    return entry.used.astimezone().strftime("%Y-%m-%d %H:%M")
