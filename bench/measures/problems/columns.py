"""Meanings and units of the columns of this measure's tables."""

from __future__ import annotations

from bench.measures.columns import RECIPE, SHARE, Column, Columns

PROBLEMS = Columns(
    "problems",
    "`load_run(...).problems`",
    "One row a recipe and infill problem or conversation; empty for a run without any.",
    (
        Column("set", "name of the set of problems"),
        Column("scored", "what is scored: gap (infill), all or assistant (conversations)"),
        RECIPE,
        Column("problem", "name of the problem"),
        Column("group", "language or topic"),
        Column("tokens", "scored tokens"),
        Column("ppl", "perplexity over them"),
        Column("kl", "mean KL divergence from the reference over them", "nats"),
        Column("same_top", "tokens where the likeliest token is the reference's", SHARE),
        Column("exact", "1 for a gap that is filled to the letter, else 0"),
        Column("similarity", "1 - edit distance / length of the longer, of completion and what belongs there", SHARE),
        Column(
            "parses",
            "1 where the file with the completion in its gap parses, else 0; missing where that was not judged",
        ),
        Column(
            "passes", "1 where that file's doctests pass, else 0; missing where there are none or they were not run"
        ),
        Column("completion", "what the file wrote"),
        Column("expected", "what belongs into the gap"),
    ),
    index=("recipe", "set", "problem"),
)
