"""The beginning of a file, read without the rest."""

from __future__ import annotations

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
    assert first_keys(b"") == first_keys(b"GGUF") == first_keys(b"<html>" * 100) == {}
