"""What a model file says of itself."""

from __future__ import annotations

from pathlib import Path

from bench.core.progress import Reporter
from bench.gguf_files.info import inspect
from bench.models.sources import local_model


def describe_file(named: str, cache: Path, reporter: Reporter) -> dict[str, object]:
    info = inspect(local_model(named, cache, reporter).path)
    described: dict[str, object] = {
        "name": info.name,
        "architecture": info.architecture,
        "layers": info.n_layers,
        "context": info.context_length,
        "vocabulary": info.vocabulary,
        "weights": info.n_weights,
        "bytes": info.n_bytes,
        "bits_per_weight": round(info.bits_per_weight, 4),
        "weights_by_type": info.weights_by_type,
        "license": info.license or "not stated",
    }
    return described | ({"description": info.description} if info.description else {})
