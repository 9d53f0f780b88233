"""The beginning of a file, read without the rest."""

from __future__ import annotations

import struct
from pathlib import Path

from bench.gguf_files.header import ArrayLength, first_keys, read_header


def test_the_first_bytes_tell_the_keys_that_they_hold(tiny: Path) -> None:
    whole = read_header(tiny)
    assert first_keys(tiny.read_bytes()[: whole.metadata_end]) == whole.metadata
    start, end = whole.keys["tokenizer.ggml.tokens"]
    cut = first_keys(tiny.read_bytes()[: (start + end) // 2])
    assert cut["tokenizer.ggml.tokens"] == whole.metadata["tokenizer.ggml.tokens"]  # counted, though cut off
    assert isinstance(cut["tokenizer.ggml.tokens"], ArrayLength)
    assert cut["llama.block_count"] == 4 and "tokenizer.ggml.scores" not in cut


def test_nothing_is_read_of_what_is_no_gguf_file() -> None:
    lying = struct.pack("<4sIQQ", b"GGUF", 3, 1, 1) + struct.pack("<Q", 2**63 + 1) + b"general"
    assert first_keys(lying) == {}
    assert first_keys(b"") == first_keys(b"GGUF") == first_keys(b"<html>" * 100) == {}
