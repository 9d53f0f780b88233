"""Quantize a tensor once: files already built from the same model lend theirs to the next.

llama.cpp's quantizer copies a tensor that already has the type it is asked for. So the file it reads need not be the
reference: it can be the reference with every tensor replaced that another file, built from the same model with the same
importance data, holds in the wanted type. The result is the same, byte for byte; only the work is less. Recipes that
share most of their tensors (a standard mix and its DynamicGate counterpart) are built in a fraction of the time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bench.gguf_header import Header, HeaderTensor, align, read_header

_CHUNK = 2**24


@contextmanager
def with_donors(reference: Path, types: dict[str, str], donors: tuple[Path, ...], scratch: Path) -> Iterator[Path]:
    """A source for the quantizer: the reference with what the donors have, written as `scratch` and removed afterwards.

    types: the wanted type of every tensor. Yields the reference itself when no donor has anything that is wanted.
    """
    header = read_header(reference)
    stored = {t.name: t.type.name for t in header.tensors}
    wanted = {name: t for name, t in types.items() if t != stored.get(name)}
    lent: dict[str, tuple[Path, HeaderTensor]] = {}
    for donor in donors:
        for tensor in read_header(donor).tensors:
            if wanted.get(tensor.name) == tensor.type.name:
                lent.setdefault(tensor.name, (donor, tensor))
    if not lent:
        yield reference
        return
    try:
        _write(reference, header, lent, scratch)
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)


def _write(reference: Path, header: Header, lent: dict[str, tuple[Path, HeaderTensor]], target: Path) -> None:
    """The reference's metadata to the letter, its tensors in their order, with the lent ones in their places."""
    sources = [lent.get(t.name, (reference, t)) for t in header.tensors]
    with reference.open("rb") as model, target.open("wb") as out:
        _copy(model, 0, header.metadata_end, out)
        offset = 0
        for _, tensor in sources:
            name = tensor.name.encode()
            out.write(struct.pack("<Q", len(name)) + name + struct.pack("<I", len(tensor.shape)))
            out.write(struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape))
            out.write(struct.pack("<IQ", tensor.type, offset))
            offset = align(offset + tensor.n_bytes, header.alignment)
        out.write(bytes(align(out.tell(), header.alignment) - out.tell()))
        for path, tensor in sources:
            with path.open("rb") as source:
                _copy(source, tensor.start, tensor.n_bytes, out)
            out.write(bytes(align(out.tell(), header.alignment) - out.tell()))


def _copy(source: BinaryIO, start: int, n_bytes: int, out: BinaryIO) -> None:
    source.seek(start)
    while n_bytes:
        block = source.read(min(_CHUNK, n_bytes))
        if not block:
            raise OSError(f"{source.name} ended while it was read")
        out.write(block)
        n_bytes -= len(block)
