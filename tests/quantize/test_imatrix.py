"""Importance matrices: collected by definition, and read in both formats."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.gguf_files.info import TensorInfo, inspect
from bench.quantize import imatrix_file
from bench.quantize.collect import collect
from bench.quantize.imatrix import Entry, ImportanceMatrix


def test_first_layer_equals_its_definition(tiny: Path) -> None:
    """What enters layer 0's attention is the normalized embedding of the tokens: worked out with numpy alone."""
    rng = np.random.default_rng(3)
    tokens = rng.integers(3, 250, 1100).astype(np.int32)
    entries = collect(tiny, tokens, threads=1, progress=lambda share: None)
    used = tokens[:1024].copy()
    used[[0, 512]] = 1  # BOS at the start of each chunk
    data = {t.name: t for t in gguf.GGUFReader(tiny).tensors}
    x = np.array(data["token_embd.weight"].data, np.float64)[used]
    x = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5) * np.array(data["blk.0.attn_norm.weight"].data, np.float64)
    entry = entries["blk.0.attn_q.weight"]
    assert entry.counts.tolist() == [1024]
    np.testing.assert_allclose(entry.sums[0], (x**2).sum(0), rtol=1e-5)


def test_every_weight_of_the_layers_is_there(tiny: Path) -> None:
    entries = collect(tiny, np.arange(3, 515, dtype=np.int32) % 250 + 3, threads=2, progress=lambda share: None)
    matrices = {t.name: t.shape[0] for t in inspect(tiny).tensors if t.name.startswith("blk.") and len(t.shape) == 2}
    assert {name: e.sums.shape[1] for name, e in entries.items()} == matrices
    # the last layer too, which llama.cpp computes only for tokens whose logits are wanted
    assert entries["blk.3.ffn_down.weight"].counts.tolist() == [512]


def test_less_than_a_chunk_is_refused(tiny: Path) -> None:
    with pytest.raises(BenchError, match="fewer than one chunk of 512"):
        collect(tiny, np.arange(511, dtype=np.int32), threads=1, progress=lambda share: None)


def test_gguf_round_trip(tmp_path: Path) -> None:
    experts = Entry(np.array([[2, 4], [0, 0]], np.float32), np.array([2, 0], np.float32))
    matrix = ImportanceMatrix({"blk.0.x.weight": experts}, ("a.txt", "b.txt"), 3, 512)
    imatrix_file.write(matrix, tmp_path / "m.gguf")
    read = imatrix_file.read(tmp_path / "m.gguf")
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
    read = imatrix_file.read(path)
    assert read.means()["blk.0.x.weight"].tolist() == [2, 0.5]
    assert (read.datasets, read.chunks) == (("x.txt",), 7)


def test_a_flat_entry_of_stacked_experts_is_split_as_the_model_has_it(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "moe.dat").write_bytes(legacy(b"blk.0.ffn_up_exps.weight", 2, [2, 4, 6, 8]))
    info = inspect(tiny)
    experts = TensorInfo(name="blk.0.ffn_up_exps.weight", shape=(2, 8, 2), type="F16", n_bytes=64)
    model = info.model_copy(update={"tensors": (*info.tensors, experts)})
    entry = imatrix_file.read(tmp_path / "moe.dat").fitted(model, tmp_path).entries["blk.0.ffn_up_exps.weight"]
    assert entry.sums.tolist() == [[2, 4], [6, 8]] and entry.means().tolist() == [1, 2, 3, 4]


def several(*entries: bytes) -> bytes:
    """Entries of the binary format as one file, each written by `legacy`."""
    return struct.pack("<i", len(entries)) + b"".join(e[4:-13] for e in entries)


ONE = legacy(b"blk.0.x.weight", 4, [8, 2])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0\0", "4 bytes should follow where 2 do"), (b"hello, world, this is text", "it would hold 1,819,043,176 tensors"),
        (ONE[:20], "14 bytes should follow where 12 do"), (b"GGUF\0", "header is damaged or cut short"), (several(ONE, ONE), "blk.0.x.weight comes twice"),
        (legacy(b"", 4, [8]), "a tensor is called ''"), (legacy(b"a\x1b[2J", 4, [8]), r"a tensor is called 'a\\x1b\[2J'"),
        (legacy(b"x" * 64, 4, [8]), "a tensor is called"), (legacy(b"x", -1, [8]), "there are -1 of something"), (legacy(b"x", 1, []), "x has the shape"),
        (ONE[:26] + struct.pack("<i", 2**30) + ONE[30:], "4,294,967,296 bytes should follow"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "bad.dat").write_bytes(content)
    with pytest.raises(BenchError, match=rf"bad\.dat: .*{said}") as refused:
        imatrix_file.read(tmp_path / "bad.dat")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("sums", "counts", "said"),
    [
        ([math.nan, 2], [4], "holds values that are not finite"), ([2, math.inf], [4], "holds values that are not finite"),
        ([1, 2], [math.nan], "holds values that are not finite"), ([1, -2], [4], "holds negative means of squares"), ([1, 2], [-4], "is of -4 rows"),
        ([1, 2], [1e-30], "is of 1e-30 rows"), ([1, 2], [1e30], r"is of 1e\+30 rows"), ([1, 2], [0], "holds sums of no rows"),
        ([1, 1e30], [4], r"holds a mean square of 2.5e\+29"), ([1, 2], [1, 1], "has 1 rows of sums and 2 counts"),
    ],
)  # fmt: skip
def test_values_that_no_calibration_gives_are_refused(
    tmp_path: Path, sums: list[float], counts: list[float], said: str
) -> None:
    entry = Entry(np.array([sums], np.float32), np.array(counts, np.float32))
    path = tmp_path / "m.gguf"
    imatrix_file.write(ImportanceMatrix({"blk.0.x.weight": entry}, (), 1, 512), path)
    with pytest.raises(
        BenchError, match=rf"m\.gguf: .*blk\.0\.x\.weight {said}.*; compute the importance matrix again"
    ):
        imatrix_file.read(path)


def test_sums_of_another_type_and_counts_that_are_missing_are_refused(tmp_path: Path) -> None:
    for kind, suffixes, said in ((np.float16, (".in_sum2", ".counts"), "has the type F16"), (np.float32, (".in_sum2",), "0 counts"),
                                 (np.float32, (".counts",), "0 rows of sums and 1 counts")):  # fmt: skip
        writer = gguf.GGUFWriter(tmp_path / "m.gguf", "imatrix")
        for suffix in suffixes:
            writer.add_tensor(f"blk.0.x.weight{suffix}", np.ones((1, 1), kind))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(BenchError, match=said):
            imatrix_file.read(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("blk.9.other.weight", (1, 256), "none of its tensors"),
        ("blk.0.attn_q.weight", (1, 64), "has 64 columns here and 256"),
        ("blk.0.attn_q.weight", (4, 64), "has 64 columns here and 256"),
    ],
)
def test_another_models_matrix_is_refused(tiny: Path, name: str, shape: tuple[int, int], said: str) -> None:
    entry = Entry(np.ones(shape, np.float32), np.ones(shape[0], np.float32))
    with pytest.raises(BenchError, match=said):
        ImportanceMatrix({name: entry}, (), 1, 512).fitted(inspect(tiny), Path("m.gguf"))
