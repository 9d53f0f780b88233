"""Meanings of the columns of the tables of caches."""

from __future__ import annotations

from bench.measures.columns import RECIPE, SHARE, Column, Columns

_CACHE = (
    RECIPE,
    Column("k", "type that keys are kept in"),
    Column("v", "type that values are kept in"),
    Column("flash", "whether attention may be computed by the kernel that fuses its steps (flash attention)"),
    Column("rotation", "whether llama.cpp may rotate keys and values before it quantizes them"),
)

CACHES = Columns(
    "caches",
    "`load_run(...).caches`",
    "One row a file and KV cache. Divergences are mean Kullback-Leibler divergences over all scored tokens. Empty for a run without "
    "`--cache-types`.",
    (
        *_CACHE,
        Column("rotated", "what was rotated, as llama.cpp said: KV, K, V or nothing"),
        Column("bytes_per_token", "bytes of the cache for one token", "bytes"),
        Column("cache_bytes", "bytes of the cache for the whole window", "bytes"),
        Column("kl_own", "divergence from the same file with a cache in f16: what the cache alone costs", "nats", True),
        Column("same_top_own", "tokens where both of these find the same one most likely", SHARE, True),
        Column("ppl", "perplexity"),
        Column("ppl_change_own", "perplexity relative to that with a cache in f16, minus 1", "", True),
        Column(
            "kl",
            "divergence from the reference with a cache in f16: what weights and cache cost together",
            "nats",
            True,
        ),
        Column("kl_change", "that minus the same file's with a cache in f16", "nats", True),
        Column("refused", "why llama.cpp does not compute it, empty where it does"),
    ),
    index=("recipe", "k", "v", "flash", "rotation"),
)

POSITIONS = Columns(
    "cache_positions",
    "`load_run(...).cache_positions`",
    "One row a file, KV cache and part of the window: parts are of equal length, and only the scored tokens of a window belong to one.",
    (
        *_CACHE,
        Column("first", "position in the window of the part's first token", "tokens"),
        Column("last", "position of its last token", "tokens"),
        Column("kl_own", "divergence from the same file with a cache in f16", "nats", True),
        Column("kl", "divergence from the reference with a cache in f16", "nats", True),
    ),
    index=("recipe", "k", "v", "flash", "rotation", "first"),
)
