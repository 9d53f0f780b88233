"""`python -m bench.peers`, behind `nox -s peers`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bench.core.errors import BenchError, nearest
from bench.core.files import complete_or_absent
from bench.core.progress import Reporter
from bench.peers.measured import Measured, table_row, together
from bench.peers.works import WORKS, one_round, prepare, write_report


def app(
    tools: Annotated[Path, typer.Argument(help="Directory of llama-perplexity and its kin.")],
    only: Annotated[str, typer.Option("--only", help="Works, separated by commas.")] = ",".join(WORKS),
    out: Annotated[Path, typer.Option("--out", help="Where to write.")] = Path("results/peers"),
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each work is done by both.")] = 3,
    windows: Annotated[int, typer.Option("--windows", min=1, help="Windows of 2048 tokens to score.")] = 8,
    add: Annotated[bool, typer.Option("--add", help="Add rounds to those that were written before.")] = False,
) -> None:
    """Do the same work with llama.cpp's tools and with this program, side by side, and write values and ratios.

    A work that is done again replaces what was written of it, unless --add is given; the others stay.
    """
    reporter, chosen = Reporter(), [name.strip() for name in only.split(",")]
    for name in chosen:
        if name not in WORKS:
            raise BenchError(f"--only {name}: no work is called that{nearest(name, list(WORKS))}")
    for name in chosen:
        file = out / f"{name}.json"
        done = Measured.model_validate_json(file.read_bytes()) if add and file.is_file() else None
        with tempfile.TemporaryDirectory() as scratch:
            setting, where = prepare(tools, windows, Path(scratch), reporter)
            with reporter.steps(name, rounds) as steps:
                for _ in range(rounds):
                    done = together(done, one_round(name, setting, where, len(done.ours) if done else 0))
                    with complete_or_absent(file) as partial:  # after every round: hours of work may end in between
                        partial.write_text(done.model_dump_json(indent=1), encoding="utf-8")
                    steps.done()
        text = write_report(out)
        assert done is not None
        print(f"{name}: {table_row(done)}")
    print(f"\n{text}")


def main() -> None:
    try:
        typer.run(app)
    except BenchError as e:
        raise SystemExit(f"error: {e}") from e


if __name__ == "__main__":
    main()
