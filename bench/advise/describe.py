"""The description of a model file: its own metadata, its hash, and the memory that it needs."""

from __future__ import annotations

from pathlib import Path

from bench.core.progress import Reporter
from bench.engine.memory import memory_needed, shape_of
from bench.gguf_files.header import read_header
from bench.models.compared import told
from bench.models.reference import describe
from bench.models.sources import local_model

#: Tokens of the context that memory is told for, where the model's own is not shorter.
_CONTEXT = 4096


def describe_file(named: str, cache: Path, reporter: Reporter, context: int | None = None) -> dict[str, object]:
    """Facts by their names; sizes in bytes. context: tokens that memory is told for. Raises BenchError for what is no model."""
    local = local_model(named, cache, reporter)
    path, found = local.path, describe(local.path, cache, reporter, local.sha256)
    info, header = found.info, read_header(path)
    context = context or min(info.context_length or _CONTEXT, _CONTEXT)
    heads = {
        what: header.metadata.get(f"{info.architecture}.attention.{key}")
        for what, key in (("heads", "head_count"), ("heads_of_keys_and_values", "head_count_kv"))
    }
    described: dict[str, object] = {
        "name": info.name,
        "architecture": info.architecture,
        "layers": info.n_layers,
        **{what: n for what, n in heads.items() if isinstance(n, int)},
        "context": info.context_length,
        "vocabulary": info.vocabulary,
        "weights": info.n_weights,
        "bytes": info.n_bytes,
        "bits_per_weight": round(info.bits_per_weight, 4),
        "weights_by_type": info.weights_by_type,
        "sha256": found.sha256,
        "license": info.license or "not stated",
        "chat_template": "yes" if "tokenizer.chat_template" in header.metadata else "none",
        f"memory_at_{context}_tokens": memory_needed(shape_of(path), info.n_bytes, window=context).needed,
        **{what.replace(" ", "_"): value for what, value in told(header).items()},
    }
    return described | ({"description": info.description} if info.description else {})
