"""Meaning and unit of every column of the tables for programs: the source of docs/columns.md.

Columns are declared beside the code that makes them: in the measures, in present/files.py, and here for tables of no run. A test
compares them with the frames themselves: no column without a meaning, no meaning without its column.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.measures.columns import TENSOR, Column, Columns
from bench.measures.registry import all_measures
from bench.present.compare import COLUMNS as COMPARED
from bench.present.compare_models import COLUMNS as COMPARED_MODELS
from bench.present.files import FRAMES

RECIPE_TABLE = Columns(
    "recipe", "`resolve_recipe(...)`", "One row a tensor, in the order of the model.", TENSOR, index=("tensor",)
)
SENSITIVITY = Columns(
    "sensitivity",
    "`sensitivity.csv`",
    "One row a tensor and type that it was quantized to alone.",
    (
        *TENSOR[:3],
        Column("weights", "number of weights"),
        Column("measured_in", "type that most tensors of this measurement were quantized to"),
        Column("type", "type that this tensor was quantized to, alone"),
        Column("saved_bytes", "bytes that this saves", "bytes"),
        Column("weighted_error", "relative error of the weights, weighted by the importance matrix", "ratio"),
        Column("kl", "mean KL divergence of the output from the reference that it causes", "nats"),
    ),
)
ADDITIVITY = Columns(
    "additivity",
    "`additivity.csv`",
    "One row for all tensors, and one for those of each kind, in every type that `sensitivity` measured: whether the damages that tensors do alone add up.",
    (
        Column("measured_in", "type that most tensors of this measurement were quantized to"),
        Column("group", "all, or the kind of tensor that was quantized"),
        Column("tensors", "number of tensors that were quantized together"),
        Column("windows", "windows of the calibration text that both were measured on"),
        Column("sum_kl", "sum of the mean KL divergences that each of them causes alone", "nats"),
        Column("joint_kl", "mean KL divergence that all of them cause together", "nats"),
        Column("ratio", "joint_kl / sum_kl: 1 where damages add up", "ratio", interval=True),
    ),
)
IMPORTANCE = Columns(
    "importance",
    "`imatrix_statistics(...)`",
    "One row a tensor of an importance matrix, by layer: statistics of the mean squared activations that enter its columns.",
    (
        Column("tensor", "name of the weight"),
        Column("layer", "number of its layer, none outside"),
        Column("kind", "its name without layer"),
        Column("total", "sum over the columns"),
        Column("least", "smallest"),
        Column("most", "largest"),
        Column("mean", "mean over the columns"),
        Column("deviation", "standard deviation over the columns"),
        Column("active", "share of columns above 1e-5", "ratio"),
        Column("columns", "number of columns, of all experts that saw data"),
        Column("entropy", "of the columns as shares of their sum", "bits"),
        Column("z_density", "share of columns more than a standard deviation above the mean", "ratio"),
        Column("cosine", "cosine with the same tensor of the layer before"),
        Column("matrices", "number of experts, 1 for other tensors"),
        Column("unseen", "experts without any data"),
        Column("few", "experts with 1 to 199 rows"),
        Column("rows", "rows of the expert with the fewest"),
    ),
    index=("tensor",),
)


def tables() -> tuple[Columns, ...]:
    """Every table that is described."""
    frames = [f for m in all_measures() for f in m.frames()] + list(FRAMES)
    described = (RECIPE_TABLE, COMPARED, COMPARED_MODELS, SENSITIVITY, ADDITIVITY, IMPORTANCE)
    return (*(f.columns for f in frames if f.columns), *described)


def table(name: str) -> Columns:
    """The table of that name; KeyError for none."""
    return {t.name: t for t in tables()}[name]


def markdown() -> Iterator[str]:
    """docs/columns.md, line by line."""
    yield "# Columns"
    yield ""
    yield "Made by `nox -s docs` from what stands beside the tables. Figures that do not exist are empty (NaN, None), never 0."
    yield "A column with an interval has two more, NAME_low and NAME_high: its 95 % interval, empty for fewer than 6 windows."
    yield "`files` leaves out the columns that a run has no figures for at all, such as `kl` in a run without a reference."
    for t in tables():
        index = f" Index of the DataFrame: {', '.join(f'`{name}`' for name in t.index)}." if t.index else ""
        yield from (
            "",
            f"## {t.name}",
            "",
            f"{t.where}. {t.about}{index}",
            "",
            "| column | unit | meaning |",
            "|---|---|---|",
        )
        for c in t.columns:
            yield f"| {f'`{c.name}`, with interval' if c.interval else f'`{c.name}`'} | {c.unit} | {c.meaning} |"
