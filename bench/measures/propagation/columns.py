"""Meanings of the columns of the table of errors of hidden states."""

from __future__ import annotations

from bench.measures.columns import RECIPE, Column, Columns

PROPAGATION = Columns(
    "propagation",
    "`load_run(...).propagation`",
    "One row a recipe, window and layer: mean over tokens of |h - h_ref| / |h_ref|, with h of the recipe and h_ref of the "
    "reference for the same token. Empty for a run without `--propagation`.",
    (
        RECIPE,
        Column("window", "index of the window in the text, of which the first tokens count"),
        Column("layer", "layer from 0"),
        Column("residual", "relative error of the residual stream after the layer", "ratio"),
        Column(
            "attention",
            "the same of what the layer's attention adds; none where the stream has no place between attention and network, and in the first layer of some models",
            "ratio",
        ),
        Column(
            "feed_forward",
            "the same of what the layer's feed-forward network adds; none where the stream has no such place",
            "ratio",
        ),
    ),
    index=("recipe", "window", "layer"),
)
