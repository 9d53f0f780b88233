"""Statistics, merging and priors of importance matrices: each against its definition."""

from __future__ import annotations

import math
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.gguf_files.info import TensorInfo, inspect
from bench.quantize import imatrix_file
from bench.quantize.collect import collect
from bench.quantize.imatrix import Entry, ImportanceMatrix, merged
from bench.quantize.imatrix_statistics import by_layer, coverage, statistics


def matrix(entries: dict[str, tuple[list[list[float]], list[float]]], chunk_tokens: int = 512) -> ImportanceMatrix:
    made = {n: Entry(np.array(sums, np.float32), np.array(counts, np.float32)) for n, (sums, counts) in entries.items()}
    return ImportanceMatrix(made, ("a.txt",), 1, chunk_tokens)


def test_statistics_are_those_of_their_definitions() -> None:
    found = statistics(
        matrix({
            "blk.1.x.weight": ([[4, 12, 16, 0]], [4]),
            "blk.0.x.weight": ([[2, 6, 8, 0]], [2]),
            "output.weight": ([[1, 1]], [1]),
        })
    )  # fmt: skip
    assert [(t.layer, t.kind) for t in found] == [(0, "x"), (1, "x"), (None, "output")]
    one = found[1]  # means 1, 3, 4, 0
    assert (one.total, one.least, one.most, one.mean, one.columns) == (8, 0, 4, 2, 4)
    assert one.deviation == pytest.approx(math.sqrt(10 / 4))
    assert one.active == 0.75
    assert one.z_density == 0.25  # 4 alone is more than 1.58 above 2
    assert one.entropy == pytest.approx(1 / 8 * 3 + 3 / 8 * math.log2(8 / 3) + 1 / 2)
    assert one.entropy_share == pytest.approx(one.entropy / 2)
    assert one.cosine == pytest.approx(1) and found[0].cosine is None and found[2].cosine is None
    layer = by_layer(found)[1]
    assert (layer.layer, layer.total, layer.z_density, layer.cosine) == (1, 8, 0.25, pytest.approx(1))


def test_experts_that_saw_too_little_are_named() -> None:
    m = matrix({
        "blk.0.ffn_up_exps.weight": ([[400, 400], [0, 0], [3, 5], [300, 1]], [400, 0, 3, 300]),
        "blk.0.attn_q.weight": ([[400, 400]], [400]),
    })  # fmt: skip
    found = coverage(m, None)
    assert (found.experts, found.seen, found.rows, found.tensors) == (4, 3, None, 2)
    (thin,) = found.thin
    assert (thin.name, thin.matrices, thin.unseen, thin.few, thin.rows) == ("blk.0.ffn_up_exps.weight", 4, 1, 1, 0)
    of_experts = next(t for t in statistics(m) if t.matrices == 4)
    assert (of_experts.unseen, of_experts.few, of_experts.rows, of_experts.columns) == (1, 1, 0, 6)


def test_a_prior_does_not_count_as_data(tmp_path: Path) -> None:
    """It is a weighted average with ones, is kept in the file, and rows are those of the text."""
    m = matrix({"blk.0.ffn_up_exps.weight": ([[400, 800], [0, 0]], [400, 0])})
    imatrix_file.write(m.with_prior(100, tmp_path), tmp_path / "m.gguf")
    read = imatrix_file.read(tmp_path / "m.gguf")
    np.testing.assert_allclose(read.means()["blk.0.ffn_up_exps.weight"], [1, 900 / 500, 1, 1])
    assert read.prior == 100
    assert [(t.rows, t.unseen) for t in coverage(read, None).thin] == [(0, 1)]
    with pytest.raises(BenchError, match="has a prior of 100 rows already"):
        read.with_prior(1, tmp_path / "m.gguf")
    with pytest.raises(BenchError, match="would be counted with its data"):
        merged([(tmp_path / "m.gguf", read), (tmp_path / "b.gguf", m)])


def test_rows_of_a_model_that_no_data_belong_to(tiny: Path) -> None:
    info = inspect(tiny)
    experts = TensorInfo(name="blk.0.ffn_up_exps.weight", shape=(2, 30, 2), type="F16", n_bytes=240)
    other = TensorInfo(name="blk.0.attn_q.weight", shape=(2, 40), type="F16", n_bytes=160)
    model = info.model_copy(update={"tensors": (experts, other)})
    found = coverage(matrix({"blk.0.ffn_up_exps.weight": ([[4, 4], [0, 0]], [4, 0])}), model)
    assert found.rows == pytest.approx(30 / 100) and found.lacking == ("blk.0.attn_q.weight",)


def test_merging_is_collecting_from_both_texts(tiny: Path) -> None:
    rng = np.random.default_rng(5)
    texts = [rng.integers(3, 250, 512 * n).astype(np.int32) for n in (1, 3)]
    parts = [
        ImportanceMatrix(collect(tiny, tokens, threads=1, progress=lambda share: None), (f"{i}.txt",), len(tokens) // 512, 512)
        for i, tokens in enumerate(texts)
    ]  # fmt: skip
    found = merged([(Path(f"{i}.gguf"), p) for i, p in enumerate(parts)])
    together = collect(tiny, np.concatenate(texts), threads=1, progress=lambda share: None)
    assert found.entries.keys() == together.keys()
    for name, entry in together.items():
        np.testing.assert_allclose(found.entries[name].sums, entry.sums, rtol=1e-6)
        assert found.entries[name].counts.tolist() == entry.counts.tolist()
    assert (found.datasets, found.chunks, found.chunk_tokens) == (("0.txt", "1.txt"), 4, 512)


def test_calls_of_the_binary_format_count_as_chunks() -> None:
    """As llama-imatrix merges them: 2 calls are 1024 rows."""
    old = matrix({"blk.0.x.weight": ([[2, 6]], [2])}, chunk_tokens=0)
    new = matrix({"blk.0.x.weight": ([[512, 512]], [512])})
    entry = merged([(Path("old.dat"), old), (Path("new.gguf"), new)]).entries["blk.0.x.weight"]
    assert (entry.sums.tolist(), entry.counts.tolist()) == ([[1024 + 512, 3072 + 512]], [1536])
    with pytest.raises(BenchError, match=r"old\.dat: is of llama-imatrix's binary format"):
        old.with_prior(1, Path("old.dat"))


def test_an_expert_layer_that_one_text_never_reached_is_taken_from_the_other() -> None:
    a = matrix({"blk.0.x.weight": ([[1]], [1]), "blk.0.ffn_up_exps.weight": ([[1], [2]], [1, 1])})
    b = matrix({"blk.0.x.weight": ([[1]], [1])})
    assert merged([(Path("a"), a), (Path("b"), b)]).entries["blk.0.ffn_up_exps.weight"].sums.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"blk.0.x.weight": ([[1, 2, 3]], [1])}, r"b\.gguf: blk\.0\.x\.weight has 3 columns here and 2 in a\.gguf; it belongs to another model"),
        ({"blk.0.x.weight": ([[1, 2]], [1]), "blk.1.x.weight": ([[1, 2]], [1])}, r"b\.gguf: is of 2 layers and a\.gguf of 1"),
        ({"blk.0.x.weight": ([[1, 2]], [1]), "blk.0.y.weight": ([[1, 2]], [1])}, r"b\.gguf: has blk\.0\.y\.weight, which a\.gguf has not"),
        ({"blk.0.y.weight": ([[1, 2]], [1])}, "belongs to another model"),
    ],
)  # fmt: skip
def test_matrices_of_another_model_are_not_merged(
    other: dict[str, tuple[list[list[float]], list[float]]], said: str
) -> None:
    a, b = matrix({"blk.0.x.weight": ([[1, 2]], [1])}), matrix(other)
    with pytest.raises(BenchError, match=said):
        merged([(Path("a.gguf"), a), (Path("b.gguf"), b)])


def test_a_prior_that_is_no_number_is_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "imatrix")
    writer.add_type("imatrix")
    writer.add_string("dynamicgate.imatrix.prior_weight", "much")
    writer.add_tensor("blk.0.x.weight.in_sum2", np.ones((1, 2), np.float32))
    writer.add_tensor("blk.0.x.weight.counts", np.ones((1, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BenchError, match=r"dynamicgate\.imatrix\.prior_weight is 'much'"):
        imatrix_file.read(tmp_path / "m.gguf")
