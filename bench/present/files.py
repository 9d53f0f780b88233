"""Tables of a run's files that belong to no measure: all files, third-party files, the types of tensors."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bench.core.formats import MISSING, share, size
from bench.gguf_files.info import type_bits
from bench.measures.columns import FAMILY, RECIPE, TENSOR, Columns
from bench.measures.frames import Frame, frame
from bench.measures.registry import all_measures
from bench.measures.sections import FileColumn, Section, Table
from bench.recipes.kinds import LAYER, kind_of
from bench.records.run import Run

_BPW_KEY = "BPW: bits per weight, 8 x bytes of tensors / number of weights"


def file_columns(run: Run) -> list[FileColumn]:
    """Size, bits per weight and what measures add to them."""
    files = run.files.items()
    own = [
        FileColumn("Size", {n: size(f.n_bytes) for n, f in files}, {n: float(f.n_bytes) for n, f in files}),
        FileColumn(
            "BPW",
            {n: f"{f.bits_per_weight:.3f}" for n, f in files},
            {n: f.bits_per_weight for n, f in files},
            card="BPW: bits per weight",
        ),
    ]
    return [*own, *(c for m in all_measures() for c in m.file_columns(run))]


def all_files(run: Run, *, everywhere: bool) -> Table:
    """Every file, the reference first. everywhere: with the columns only that every such table has; else also its family."""
    columns = [c for c in file_columns(run) if c.everywhere or not everywhere]
    cells = {c.title: [c.cells.get(n, MISSING) for n in run.files] for c in columns}
    family = {} if everywhere else {"Family": [f.family for f in run.files.values()]}
    lines = [_BPW_KEY, *(line for m in all_measures() for line in m.file_key(run, everywhere=everywhere))]
    return Table(
        "all",
        "Size, quality and speed of every file" if run.identity.speeds else "Size and quality of every file",
        pd.DataFrame({"Recipe": list(run.files)} | family | cells),
        key="\n".join(["Key", *(f"- {line}" for line in lines)]),
        values={c.title: [c.values.get(n, float("nan")) for n in run.files] for c in columns if c.values is not None},
    )


def others_table(run: Run) -> pd.DataFrame:
    """Files that were not built here: where they come from and what their headers say of their making; empty without any."""
    rows = []
    for name, file in run.files.items():
        if file.origin and file.family != "Reference":
            types = ", ".join(
                f"{t} {share(n / sum(file.weights_by_type.values()))}"
                for t, n in list(file.weights_by_type.items())[:3]
            )
            told = "; ".join(f"{what}: {value}" for what, value in file.told.items())
            rows.append(
                {
                    "Recipe": name,
                    "From": file.origin,
                    "Weights by type": types,
                    "Its header says": told or "nothing of its making",
                }
            )
    return pd.DataFrame(rows)


def others(run: Run) -> list[Section]:
    """The files that were not built here; empty without any."""
    frame = others_table(run)
    table = Table("others-table", "Files that were not built here", frame)
    return [Section("Third-party files", "others", (table,))] if len(frame) else []


def tensor_rows(types: Mapping[str, str], replaced: Mapping[str, tuple[str, str]]) -> list[dict[str, object]]:
    """A row for every tensor: its layer, kind and type."""
    rows: list[dict[str, object]] = []
    for tensor, stored in types.items():
        layer = LAYER.match(tensor)
        rows.append(
            {
                "tensor": tensor,
                "layer": int(layer[1]) if layer else None,
                "kind": kind_of(tensor),
                "type": stored,
                "bits": type_bits(stored),
                "asked": replaced[tensor][0] if tensor in replaced else stored,
            }
        )
    return rows


def _types(run: Run) -> pd.DataFrame:
    rows = [
        {"recipe": name, "family": file.family} | row
        for name, file in run.files.items()
        for row in tensor_rows(file.types, file.replaced)
    ]
    return frame(TYPES, rows).astype({"layer": "Int64"})


TYPES = Columns(
    "types",
    "`load_run(...).types`",
    "One row a recipe and tensor.",
    (RECIPE, FAMILY, *TENSOR),
    index=("recipe", "tensor"),
)
FRAMES = (
    Frame("types", _types, columns=TYPES, attribute="types"),
    Frame("others", others_table, others_table, "third-party files: run with --compare"),
)
