"""Writing a quantized file: the reference's metadata, and for every tensor its blocks out of the cache or newly made."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.block_cache import BlockCache, Pair
from bench.blocks import obtain
from bench.gguf_header import Header, align

_UINT32 = 4
_COPY = 2**24


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
                model.seek(pair.tensor.start)
                for start in range(0, pair.n_bytes, _COPY):
                    out.write(model.read(min(_COPY, pair.n_bytes - start)))
            else:
                _, data = next(blocks)
                out.write(data.data)
            out.write(bytes(align(out.tell(), header.alignment) - out.tell()))
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
    """Everything before the tensors' data. metadata: the source's file up to the end of its keys."""
    parts, offset = [_metadata(metadata, header, file_type, len(pairs))], 0
    for pair in pairs:
        name, shape = pair.tensor.name.encode(), pair.tensor.shape
        parts.append(struct.pack("<Q", len(name)) + name + struct.pack("<I", len(shape)))
        parts.append(struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", pair.kind, offset))
        offset = align(offset + pair.n_bytes, header.alignment)
    head = b"".join(parts)
    return head + bytes(align(len(head), header.alignment) - len(head))


def _metadata(raw: bytes, header: Header, file_type: int, n_tensors: int) -> bytes:
    """The source's keys to the letter, but for the two that say how the file is quantized."""
    changes = {"general.quantization_version": gguf.GGML_QUANT_VERSION, "general.file_type": file_type}
    kept = [raw[start:end] for key, (start, end) in header.keys.items() if key not in changes]
    added = [
        struct.pack("<Q", len(key)) + key.encode() + struct.pack("<II", _UINT32, value)
        for key, value in changes.items()
    ]
    start = raw[:4] + struct.pack("<IQQ", header.version, n_tensors, len(kept) + len(added))
    return b"".join([start, *kept, *added])
