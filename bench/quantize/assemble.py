"""Writing a quantized file: the reference's metadata, and for every tensor its blocks from the cache or newly made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.gguf_files.copy import copy_bytes, file_head, pad
from bench.gguf_files.header import Header, align
from bench.quantize.block_cache import BlockCache, Pair
from bench.quantize.blocks import obtain


def assemble(
    source: Path,
    header: Header,
    types: dict[str, str],
    file_type: int,
    importance: dict[str, NDArray[np.float32]],
    cache: BlockCache,
    target: Path,
    *,
    threads: int,
    progress: Callable[[float], None],
) -> None:
    """Write `target`: every tensor of the source in the type that `types` names, in the source's order.

    file_type: llama.cpp's number of the format, which a file states of itself. progress: share of bytes written.
    """
    pairs = [Pair(t, gguf.GGMLQuantizationType[types[t.name]]) for t in header.tensors]
    changed = [p for p in pairs if p.kind != p.tensor.type]
    blocks = obtain(source, changed, importance, cache, threads)
    total, done = sum(p.n_bytes for p in pairs), 0
    with source.open("rb") as model, target.open("wb") as out:
        if hasattr(os, "posix_fallocate"):  # the file's room first: what is kept of it comes second
            os.posix_fallocate(out.fileno(), 0, assembled_bytes(source, header, types))
        out.write(_head(model.read(header.metadata_end), header, file_type, pairs))
        for pair in pairs:
            if pair.kind == pair.tensor.type:
                copy_bytes(model, pair.tensor.start, pair.n_bytes, out)
            else:
                _, data = next(blocks)
                out.write(data.data)
            pad(out, header.alignment)
            done += pair.n_bytes
            progress(done / total)
    cache.trim()


def assembled_bytes(source: Path, header: Header, types: dict[str, str]) -> int:
    """The size of the file that `assemble` would write, exactly."""
    pairs = [Pair(t, gguf.GGMLQuantizationType[types[t.name]]) for t in header.tensors]
    with source.open("rb") as model:
        head = _head(model.read(header.metadata_end), header, 0, pairs)
    return len(head) + sum(align(p.n_bytes, header.alignment) for p in pairs)


def _head(metadata: bytes, header: Header, file_type: int, pairs: list[Pair]) -> bytes:
    """Everything before the tensors' data: the source's keys, but for the two that say how the file is quantized."""
    changes = {"general.quantization_version": gguf.GGML_QUANT_VERSION, "general.file_type": file_type}
    return file_head(metadata, header, changes, ((p.tensor.name, p.tensor.shape, p.kind, p.n_bytes) for p in pairs))
