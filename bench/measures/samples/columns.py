"""Meanings and units of the columns of this measure's tables."""

from __future__ import annotations

from bench.measures.columns import RECIPE, SHARE, Column, Columns

SAMPLES = Columns(
    "samples",
    "`load_run(...).samples`",
    "One row a recipe and prompt that it went on from; empty for a run without any.",
    (
        RECIPE,
        Column("prompt", "name of the prompt"),
        Column("text", "the prompt"),
        Column("completion", "what the file wrote after it, always its likeliest token"),
        Column("tokens", "tokens that it wrote"),
        Column("ended", "whether it came to an end by itself, before the limit"),
        Column("same_until", "index of the first token that is not the reference's, none where all are", "tokens"),
        Column("agreeing", "the reference's tokens that stand at the same place", SHARE),
    ),
    index=("recipe", "prompt"),
)
