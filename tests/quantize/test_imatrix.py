"""Importance matrices: collected by definition, and read in both formats."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.gguf_files.info import TensorInfo, inspect
from bench.quantize import imatrix
from bench.quantize.imatrix import Entry, ImportanceMatrix


def test_first_layer_equals_its_definition(tiny: Path) -> None:
    """What enters layer 0's attention is the normalized embedding of the tokens: worked out with numpy alone."""
    rng = np.random.default_rng(3)
    tokens = rng.integers(3, 250, 1100).astype(np.int32)
    entries = imatrix.collect(tiny, tokens, threads=1, progress=lambda share: None)
    used = tokens[:1024].copy()
    used[[0, 512]] = 1  # BOS at the start of each chunk
    data = {t.name: t for t in gguf.GGUFReader(tiny).tensors}
    x = np.array(data["token_embd.weight"].data, np.float64)[used]
    x = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5) * np.array(data["blk.0.attn_norm.weight"].data, np.float64)
    entry = entries["blk.0.attn_q.weight"]
    assert entry.counts.tolist() == [1024]
    np.testing.assert_allclose(entry.sums[0], (x**2).sum(0), rtol=1e-5)


def test_every_weight_of_the_layers_is_there(tiny: Path) -> None:
    entries = imatrix.collect(tiny, np.arange(3, 515, dtype=np.int32) % 250 + 3, threads=2, progress=lambda share: None)
    matrices = {t.name: t.shape[0] for t in inspect(tiny).tensors if t.name.startswith("blk.") and len(t.shape) == 2}
    assert {name: e.sums.shape[1] for name, e in entries.items()} == matrices
    # the last layer too, which llama.cpp computes only for tokens whose logits are wanted
    assert entries["blk.3.ffn_down.weight"].counts.tolist() == [512]


def test_less_than_a_chunk_is_refused(tiny: Path) -> None:
    with pytest.raises(BenchError, match="fewer than one chunk of 512"):
        imatrix.collect(tiny, np.arange(511, dtype=np.int32), threads=1, progress=lambda share: None)


def test_gguf_round_trip(tmp_path: Path) -> None:
    experts = Entry(np.array([[2, 4], [0, 0]], np.float32), np.array([2, 0], np.float32))
    matrix = ImportanceMatrix({"blk.0.x.weight": experts}, ("a.txt", "b.txt"), 3, 512)
    imatrix.write(matrix, tmp_path / "m.gguf")
    read = imatrix.read(tmp_path / "m.gguf")
    assert (read.datasets, read.chunks, read.chunk_tokens) == (("a.txt", "b.txt"), 3, 512)
    np.testing.assert_array_equal(read.entries["blk.0.x.weight"].sums, experts.sums)
    # an expert that no token reached gets ones
    assert read.means()["blk.0.x.weight"].tolist() == [1, 2, 1, 1]


def legacy(name: bytes, calls: int, values: list[float]) -> bytes:
    head = struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii", calls, len(values))
    return head + struct.pack(f"<{len(values)}f", *values) + struct.pack("<ii", 7, 5) + b"x.txt"


def test_older_binary_format(tmp_path: Path) -> None:
    path = tmp_path / "old.dat"
    path.write_bytes(legacy(b"blk.0.x.weight", 4, [8, 2]))
    read = imatrix.read(path)
    assert read.means()["blk.0.x.weight"].tolist() == [2, 0.5]
    assert (read.datasets, read.chunks) == (("x.txt",), 7)


def test_a_flat_entry_of_stacked_experts_is_split_as_the_model_has_it(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "moe.dat").write_bytes(legacy(b"blk.0.ffn_up_exps.weight", 2, [2, 4, 6, 8]))
    info = inspect(tiny)
    experts = TensorInfo(name="blk.0.ffn_up_exps.weight", shape=(2, 8, 2), type="F16", n_bytes=64)
    model = info.model_copy(update={"tensors": (*info.tensors, experts)})
    entry = imatrix.read(tmp_path / "moe.dat").fitted(model, tmp_path).entries["blk.0.ffn_up_exps.weight"]
    assert entry.sums.tolist() == [[2, 4], [6, 8]] and entry.means().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("content", [b"\0\0", b"hello, world, this is text", legacy(b"blk.0.x", 4, [8, 2])[:20]])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.dat").write_bytes(content)
    with pytest.raises(BenchError, match=r"bad\.dat"):
        imatrix.read(tmp_path / "bad.dat")


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    (tmp_path / "nan.dat").write_bytes(legacy(b"blk.0.x.weight", 4, [float("nan"), 2]))
    with pytest.raises(BenchError, match="not finite"):
        imatrix.read(tmp_path / "nan.dat")


@pytest.mark.parametrize(
    ("name", "columns", "said"),
    [("blk.9.other.weight", 256, "none of its tensors"), ("blk.0.attn_q.weight", 64, "has 64 columns here and 256")],
)
def test_another_models_matrix_is_refused(tiny: Path, name: str, columns: int, said: str) -> None:
    entry = Entry(np.ones((1, columns), np.float32), np.ones(1, np.float32))
    with pytest.raises(BenchError, match=said):
        ImportanceMatrix({name: entry}, (), 1, 512).fitted(inspect(tiny), Path("m.gguf"))
