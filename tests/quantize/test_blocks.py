"""Quantized tensors: equal to llama.cpp's byte for byte, kept, bounded, and made anew when damaged."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.engine.kernels import dequantize
from bench.engine.quantizer import QuantizeRequest, run_quantizer
from bench.gguf_files.header import read_header
from bench.gguf_files.info import inspect
from bench.quantize import imatrix_file
from bench.quantize.block_cache import BlockCache, Pair, cache_limit
from bench.quantize.blocks import quantize_pairs
from bench.quantize.build import build
from bench.quantize.imatrix import Entry, ImportanceMatrix
from bench.quantize.jobs import QuantizeJob, QuantizeResult
from bench.recipes.recipe import find_recipe
from tests.support.held import Held, quiet
from tests.support.tiny import write_model

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_0", "Q5_1", "Q4_K", "Q4_0", "Q4_1", "IQ4_XS", "IQ4_NL",
         "Q3_K", "IQ3_S", "IQ3_XXS", "Q2_K", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")  # fmt: skip
NEED_IMPORTANCE = ("IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")


@pytest.fixture(scope="module")
def matrix(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    entries = {
        t.name: Entry(rng.uniform(0.01, 9, (1, t.shape[0])).astype(np.float32), np.ones(1, np.float32))
        for t in inspect(tiny).tensors
        if t.name.startswith("blk.") and len(t.shape) > 1
    }
    path = tmp_path_factory.mktemp("imatrix") / "m.gguf"
    imatrix_file.write(ImportanceMatrix(entries, (), 1, 512), path)
    return path


def stored(path: Path) -> dict[str, tuple[str, bytes]]:
    raw = path.read_bytes()
    return {t.name: (t.type.name, raw[t.start : t.start + t.n_bytes]) for t in read_header(path).tensors}


def built(model: Path, recipe: str, matrix: Path | None, out: Path, cache: Path) -> QuantizeResult:
    """The file of a recipe, with the blocks of a cache."""
    held = Held(cache)
    job = QuantizeJob(
        model=held(model),
        recipe=find_recipe(recipe),
        importance=matrix and held(matrix),
        threads=2,
        out=held(out),
        origin="o",
    )
    return build(job, held.site, quiet)


@pytest.mark.parametrize("source", ["F16", "BF16", "F32", "Q8_0"])
@pytest.mark.parametrize("with_importance", [True, False])
def test_every_type_is_byte_for_byte_what_llama_cpp_writes(
    tiny: Path, matrix: Path, tmp_path: Path, source: str, with_importance: bool
) -> None:
    model = write_model(tmp_path / "source.gguf", weight_type=source)
    means = imatrix_file.read(matrix).means() if with_importance else {}
    header = read_header(model)
    tensor = next(t for t in header.tensors if t.name == "blk.1.ffn_up.weight")
    for name in TYPES:
        if name == source or (name in NEED_IMPORTANCE and not with_importance):
            continue
        target = tmp_path / f"{name}.gguf"
        run_quantizer(QuantizeRequest(model, "Q4_0", {tensor.name: name}, means), target, 1, lambda line: None)
        theirs = stored(target)[tensor.name]
        assert theirs[0] == name
        [(_, ours)] = quantize_pairs(model, [Pair(tensor, gguf.GGMLQuantizationType[name])], means, 2)
        assert ours.tobytes() == theirs[1], name


def test_stacked_matrices_and_chunks_of_rows_use_their_own_importance(tmp_path: Path) -> None:
    """Three experts of 9000 rows: more than a chunk, and each with its own row of importance data."""
    rng = np.random.default_rng(5)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    weights = rng.standard_normal((3, 9000, 256)).astype(np.float32)
    writer.add_tensor("blk.0.ffn_up_exps.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    [tensor] = read_header(tmp_path / "m.gguf").tensors
    means = rng.uniform(0.01, 9, (3, 256)).astype(np.float32)
    pair = Pair(tensor, gguf.GGMLQuantizationType.IQ2_XXS)
    [(_, whole)] = quantize_pairs(tmp_path / "m.gguf", [pair], {tensor.name: means.ravel()}, 2)
    assert whole.size == pair.n_bytes
    from bench.engine.kernels import quantize_rows

    rows = [(0, 0), (1, 8999), (2, 8300)]
    by_row = whole.reshape(3, 9000, -1)
    for expert, row in rows:
        alone = quantize_rows(weights[expert, row : row + 1].copy(), pair.kind, means[expert])
        assert np.array_equal(by_row[expert, row], alone), (expert, row)


def test_dequantizing_is_llama_cpps_reading(tiny: Path) -> None:
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((4, 256)).astype(np.float32)
    for kind in (gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.BF16, gguf.GGMLQuantizationType.Q8_0):
        data = gguf.quants.quantize(weights, kind)
        assert np.array_equal(
            dequantize(data.view(np.uint8).ravel(), kind), gguf.quants.dequantize(data, kind).ravel()
        ), kind


def test_what_is_kept_is_used_and_changes_nothing(tiny: Path, matrix: Path, tmp_path: Path) -> None:
    blocks = tmp_path / "blocks"
    built(tiny, "DG-FULL-IQ2_XXS", matrix, tmp_path / "alone.gguf", tmp_path / "other")
    built(tiny, "IQ2_XXS", matrix, tmp_path / "standard.gguf", tmp_path)
    built(tiny, "DG-FULL-IQ2_XXS", matrix, tmp_path / "helped.gguf", tmp_path)
    assert (tmp_path / "helped.gguf").read_bytes() == (tmp_path / "alone.gguf").read_bytes()
    # and they really are used: blocks that differ (with the right checksum) show in the file
    cache = BlockCache(blocks, "o", 10**9)
    tensor = next(t for t in read_header(tiny).tensors if t.name == "blk.1.ffn_up.weight")
    pair = Pair(tensor, gguf.GGMLQuantizationType.IQ2_XXS)
    data = cache.load(pair)
    assert data is not None
    changed = data.copy()
    changed[8] ^= 1
    cache.store(pair, changed)
    built(tiny, "DG-FULL-IQ2_XXS", matrix, tmp_path / "differs.gguf", tmp_path)
    assert stored(tmp_path / "differs.gguf")["blk.1.ffn_up.weight"][1] == changed.tobytes()


def test_damaged_blocks_are_made_anew_and_told(tiny: Path, matrix: Path, tmp_path: Path) -> None:
    blocks = tmp_path / "blocks"
    built(tiny, "IQ2_XXS", matrix, tmp_path / "first.gguf", tmp_path)
    [victim] = blocks.glob("*/blk.2.attn_k.weight.*")
    raw = bytearray(victim.read_bytes())
    raw[-1] ^= 255
    victim.write_bytes(raw)
    damaged = built(tiny, "IQ2_XXS", matrix, tmp_path / "second.gguf", tmp_path).damaged
    assert damaged == ("blk.2.attn_k.weight",)
    assert (tmp_path / "second.gguf").read_bytes() == (tmp_path / "first.gguf").read_bytes()
    damaged = built(tiny, "IQ2_XXS", matrix, tmp_path / "third.gguf", tmp_path).damaged
    assert damaged == ()


def test_the_cache_is_bounded_and_the_least_recently_used_goes(tiny: Path, tmp_path: Path) -> None:
    tensors = [t for t in read_header(tiny).tensors if t.name.endswith("attn_q.weight")]
    pairs = [Pair(t, gguf.GGMLQuantizationType.Q8_0) for t in tensors]
    cache = BlockCache(tmp_path, "o", 2 * (pairs[0].n_bytes + 32))
    for age, (pair, data) in enumerate(quantize_pairs(tiny, pairs, {}, 2)):
        cache.store(pair, data)
        path = tmp_path / "o-2" / f"{pair.tensor.name}.Q8_0"
        os.utime(path, (age, age))
    assert cache.load(pairs[0]) is not None  # used now
    cache.trim()
    assert [cache.has(p) for p in pairs] == [True, False, False, True]


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", weight_type="F32")
    tensor = next(t for t in gguf.GGUFReader(model, "r+").tensors if t.name == "blk.1.ffn_up.weight")
    tensor.data[3, 5] = np.inf  # NaN would pass unseen: quantizers compare, and comparisons with it are false
    tensor.data.flush()
    with pytest.raises(BenchError, match="not finite; the model is broken"):
        built(model, "Q4_0", None, tmp_path / "q.gguf", tmp_path)
    assert not (tmp_path / "q.gguf").exists()
    assert not list((tmp_path / "blocks").glob("*/blk.1.ffn_up.weight.*"))


def test_the_limit_of_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_BLOCK_CACHE_GB", "1.5")
    assert cache_limit() == 1_500_000_000
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv("BENCH_BLOCK_CACHE_GB", wrong)
        with pytest.raises(BenchError, match=f"BENCH_BLOCK_CACHE_GB={wrong}: is no number of gigabytes"):
            cache_limit()
    monkeypatch.delenv("BENCH_BLOCK_CACHE_GB")
    assert cache_limit() == 32_000_000_000
