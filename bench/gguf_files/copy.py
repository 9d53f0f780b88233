"""Writing GGUF files from parts of others: keys and bytes of tensors are copied unchanged."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import BinaryIO

import gguf

from bench.gguf_files.header import Header, align

_UINT32 = 4
_COPY = 2**24


def file_head(
    metadata: bytes,
    header: Header,
    changes: Mapping[str, int | None],
    tensors: Iterable[tuple[str, tuple[int, ...], gguf.GGMLQuantizationType, int]],
) -> bytes:
    """Everything before the tensors' data, padded to where they begin.

    metadata: the source's file up to the end of its keys (`header`). changes: keys to set to an unsigned number, or to
    leave out. tensors: name, shape (columns first), type and bytes of each, in the order of their data.
    """
    tensors = list(tensors)
    kept = [metadata[start:end] for key, (start, end) in header.keys.items() if key not in changes]
    added = [
        struct.pack("<Q", len(key)) + key.encode() + struct.pack("<II", _UINT32, value)
        for key, value in changes.items()
        if value is not None
    ]
    parts = [metadata[:4], struct.pack("<IQQ", header.version, len(tensors), len(kept) + len(added)), *kept, *added]
    offset = 0
    for name, shape, kind, n_bytes in tensors:
        encoded = name.encode()
        parts.append(struct.pack("<Q", len(encoded)) + encoded + struct.pack("<I", len(shape)))
        parts.append(struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset))
        offset = align(offset + n_bytes, header.alignment)
    head = b"".join(parts)
    return head + bytes(align(len(head), header.alignment) - len(head))


def copy_bytes(source: BinaryIO, start: int, n_bytes: int, out: BinaryIO) -> None:
    source.seek(start)
    for done in range(0, n_bytes, _COPY):
        out.write(source.read(min(_COPY, n_bytes - done)))


def pad(out: BinaryIO, alignment: int) -> None:
    out.write(bytes(align(out.tell(), alignment) - out.tell()))
