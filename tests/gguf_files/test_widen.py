"""A widened model computes what the narrow one does."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.gguf_files.info import inspect
from bench.gguf_files.widen import Widths, needs_widening, widen
from tests.support.tiny import Shape, write_model


def logits(path: Path) -> np.ndarray:
    tokens = np.array([1, 5, 80, 44, 260, 101, 7, 7, 250, 33], np.int32)
    with Model(path) as model, Context(model, n_ctx=64, n_batch=64, n_ubatch=64, threads=1) as context:
        context.prepare(tokens, 0)
        context.decode()
        return context.logits().copy()


@pytest.mark.parametrize(
    ("shape", "weight_type"),
    [
        (Shape(width=96, feed_forward=160, heads=3, kv_heads=1, head=32, tied=True), "F16"),
        (Shape(width=96, feed_forward=256, heads=6, kv_heads=3, head=32, tied=False), "F16"),
        (Shape(width=192, feed_forward=512, heads=3, kv_heads=3, head=64, tied=True), "Q8_0"),
        (Shape(width=256, feed_forward=320, heads=4, kv_heads=2, head=64, tied=False), "Q4_0"),
    ],
    ids=["width 96, grouped heads", "untied", "from Q8_0", "only the feed-forward width, from Q4_0"],
)
def test_logits_agree(tmp_path: Path, shape: Shape, weight_type: str) -> None:
    narrow = write_model(tmp_path / "narrow.gguf", shape, weight_type=weight_type, values_of=weight_type)
    assert needs_widening(narrow)
    wide = tmp_path / "wide.gguf"
    widen(narrow, wide, description="A test model.", name="wide")
    assert not needs_widening(wide)
    assert all(t.shape[0] % 256 == 0 for t in inspect(wide).tensors)
    # The same values in F16: for quantized weights llama.cpp would round activations too, which is not the widening's doing.
    same = write_model(tmp_path / "same.gguf", shape, weight_type="F16", values_of=weight_type)
    expected, found = logits(same), logits(wide)
    # what is left is the rounding of sums taken in another order, and of products to F16
    assert np.sqrt(np.mean((found - expected) ** 2)) < 1e-3 * expected.std()
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_widening_is_stated_in_the_file(tmp_path: Path) -> None:
    narrow = write_model(tmp_path / "narrow.gguf", Shape(width=96, feed_forward=160, heads=3, kv_heads=1, head=32))
    wide = tmp_path / "wide.gguf"
    widen(narrow, wide, description="A test model.")
    info = inspect(wide)
    assert info.description is not None
    assert info.description.startswith(
        "A test model. Widened exactly with zeros: width 96 to 256, feed-forward 160 to 256, heads 3/1 to 24/8 of 32"
    )
    assert info.name == "narrow"
    tokens = gguf.GGUFReader(wide).get_field("tokenizer.ggml.tokens")
    assert (
        tokens is not None
        and tokens.contents() == gguf.GGUFReader(narrow).get_field("tokenizer.ggml.tokens").contents()
    )  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # SmolLM2-135M; two heads for each key/value head; already wide enough
        (Widths(576, 1536, 9, 3, 64, 64), Widths(768, 1536, 12, 4, 64, 64)),
        (Widths(960, 2560, 10, 5, 96, 96), Widths(1024, 2560, 16, 8, 96, 96)),
        (Widths(4096, 14336, 32, 8, 128, 128), Widths(4096, 14336, 32, 8, 128, 128)),
    ],
)
def test_smallest_widths(old: Widths, new: Widths) -> None:
    assert old.widened() == new


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "g.gguf", "gpt2")
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BenchError, match="cannot widen architecture gpt2; only llama is supported"):
        widen(tmp_path / "g.gguf", tmp_path / "w.gguf", description="")
    assert not (tmp_path / "w.gguf").exists()
