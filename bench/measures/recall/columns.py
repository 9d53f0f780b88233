"""Meanings of the columns of the table of recall."""

from __future__ import annotations

from bench.measures.columns import RECIPE, Column, Columns

RECALL = Columns(
    "recall",
    "`load_run(...).recall`",
    "One row a file, KV cache and distance: passages of 64 tokens that come twice, `distance` other tokens between. Empty for a run without `--recall`.",
    (
        RECIPE,
        Column("k", "type that keys are kept in"),
        Column("v", "type that values are kept in"),
        Column("distance", "tokens between a passage and its repetition"),
        Column("passages", "number of passages"),
        Column("nll_first", "mean NLL where a passage stands first", "nats"),
        Column("nll_again", "mean NLL where it comes again", "nats"),
        Column("gain", "the former minus the latter, mean over passages", "nats", interval=True),
        Column(
            "gain_change", "gain minus the reference's with a cache in f16, paired by passage", "nats", interval=True
        ),
    ),
    index=("recipe", "k", "v", "distance"),
)
