"""`bench sample`: the same beginnings completed by every file."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from bench.cli.options import JsonOption, print_json, with_options
from bench.measures.samples.options import Asked
from bench.workbench.options import Options

app = typer.Typer()


@app.command(short_help="The same beginnings completed by every file, side by side.")
@with_options(
    "model", "recipes", "compare", "text", "dataset", "languages", "traces", "windows", "window", "threads", "imatrix", "no_imatrix",
    "calibration", "calibration_chunks", "prior_weight", "allow_quantized", "widen", "out", "cache",
    recipes="Recipes, separated by commas [default: as for `run`].",
    out="Directory of the run that the samples go to [default: that of `run` with the same options].",
)  # fmt: skip
def sample(
    options: Options,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            help="Complete this text; may be given several times [default: the beginning of a fixed text of every kind].",
        ),
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens of a completion.")] = 48,
    as_json: JsonOption = False,
) -> None:
    """Complete the same beginnings with the reference and every recipe, always by the likeliest token, side by side.

    For each completion it reports the first token that differs from the reference's and the share of tokens that agree. So a person
    can see the effect of few bits. The samples go into the records and the tables of the run.
    """
    from bench.core.progress import Reporter
    from bench.measures.samples.runs import samples_of
    from bench.measures.samples.tables import section
    from bench.present.markdown import section_text
    from bench.present.output import write_outputs
    from bench.sweep.sweep import Sweep

    asked = replace(options, measures={"samples": Asked(samples=tokens, prompts=tuple(prompt or ()))})
    sweep = Sweep(asked, Reporter(), only=["samples"])
    done = sweep.execute()
    written = write_outputs(done, sweep.directory, only_if_older=True)
    if as_json:
        print_json([r.model_dump(mode="json", exclude={"run", "kind"}) for r in samples_of(done).values()])
    else:
        print("\n\n".join(section_text(s) for s in section(done)))
        print(f"\nRecords: {sweep.directory / 'records.jsonl'}\nTables: {written[0]}")
    if sweep.pending(done):
        raise typer.Exit(1)
