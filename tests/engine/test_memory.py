from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.engine.jobs import Buffers
from bench.engine.memory import (
    MachineMemory,
    ModelShape,
    machine_memory,
    memory_needed,
    repacked_bytes,
    repacked_types,
    shape_of,
)
from bench.measures.registry import load_run
from bench.measures.windows.runs import windows_of
from bench.records.record import StageRecord
from tests.support.architectures import mixture, refact, starcoder
from tests.support.tiny import write_model

AVX2 = ("AVX2", "F16C", "FMA", "REPACK")
PUBLISHED = sorted(p.parent for p in (Path(__file__).parents[2] / "results").glob("*/records.jsonl"))
#: The default model, widened: 30 layers of 768, 4 heads of 64 for keys and values, a feed-forward width of 1536.
DEFAULT = ModelShape(kv_numbers=30 * 2 * 4 * 64, width=768, feed_forward=1536, vocabulary=49152)


def default_tensor(name: str) -> tuple[int, ...]:
    """The shape of a tensor of the default model."""
    if name == "token_embd.weight":
        return (768, 49152)
    if "norm" in name:
        return (768,)
    rows = {"attn_k": 256, "attn_v": 256, "ffn_gate": 1536, "ffn_up": 1536}
    kind = name.split(".")[2]
    return (1536 if kind == "ffn_down" else 768, rows.get(kind, 768))


def in_worker(code: str) -> dict[str, int]:
    """What a process of its own prints as JSON: native code does not belong into the one that tests."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def reserved(path: Path, window: int, ubatch: int = 512) -> Buffers:
    found = in_worker(
        "from pathlib import Path; from bench.engine.memory import reserved_buffers; "
        f"print(reserved_buffers(Path({str(path)!r}), window={window}, ubatch={ubatch}).model_dump_json())"
    )
    return Buffers.model_validate(found)


@pytest.mark.parametrize("directory", PUBLISHED, ids=lambda p: p.name)
def test_estimates_agree_with_the_peaks_that_published_runs_measured(directory: Path) -> None:
    run = load_run(directory)
    model, settings = run.identity.model, run.identity.settings
    assert (model.n_weights, model.n_layers) == (191149824, 30) or pytest.fail(f"state the shape of {model.name} here")
    # runs that state their stages hold the logits of one step, those before held those of a scored window
    outputs = settings.ubatch if run.of(StageRecord) else settings.window // 2
    if settings.scored == "written":  # what the model wrote is copied out of a step's logits, so they are there twice
        outputs *= 2
    off = {}
    for name, file in run.files.items():
        peaks = [w.result.peak_memory_bytes for w in windows_of(run).by_file[name].values()]
        copied = repacked_bytes({t: default_tensor(t) for t in file.types}, file.types, run.identity.library.features)
        needed = memory_needed(
            DEFAULT,
            file.n_bytes,
            window=settings.window,
            repacked=copied,
            ubatch=settings.ubatch,
            outputs=outputs,
            in_python=True,
        )
        if peaks:
            off[name] = needed.total / max(peaks) - 1
    assert off
    assert {name: share for name, share in off.items() if abs(share) > 0.10} == {}


def test_the_published_runs_hold_a_file_whose_copies_matter() -> None:
    """Without the copies the estimate of Q4_K_M would be 75 MB short: the test above does see them."""
    run = load_run(next(p for p in PUBLISHED if p.name.endswith("-sizes")))
    file = run.files["Q4_K_M"]
    # Q4_K takes 144 bytes for 256 weights; the embeddings are in Q6_K
    assert repacked_bytes({t: default_tensor(t) for t in file.types}, file.types, AVX2) == (
        file.weights_by_type["Q4_K"] // 256 * 144
    )


def test_the_parts_add_up() -> None:
    shape = ModelShape(kv_numbers=1000, width=100, feed_forward=300, vocabulary=5000, state_bytes=7)
    # 300 tokens take 2 steps of 256; 256 tokens at once: 4 x 256 x (2 x 100 + 5000) for the logits of a batch
    needed = memory_needed(shape, 10_000_000, window=300, ubatch=256, repacked=123, outputs=3)
    assert (needed.weights, needed.repacked, needed.kv_cache) == (10_000_000, 123, 1000 * 2 * 512 + 7)
    assert needed.buffers == 4 * 256 * 5200 + 3 * 5000 * 4
    assert needed.process == 50_000_000 + 400 * 5000
    assert needed.total == 10_000_000 + 123 + 1_024_007 + 5_384_800 + 52_000_000
    assert needed.needed == needed.total - 123


def test_what_llama_cpp_says_goes_before_the_rule() -> None:
    shape = ModelShape(kv_numbers=1000, width=100, feed_forward=300, vocabulary=5000)
    told = memory_needed(shape, 0, window=512, buffers=Buffers(kv_cache=11, compute=22, output=33))
    assert (told.kv_cache, told.buffers) == (11, 22 + 5000 * 4)


@pytest.mark.parametrize("write", [write_model, refact, mixture], ids=["llama", "alibi, one kv head", "experts"])
@pytest.mark.parametrize(("window", "ubatch"), [(256, 512), (1000, 512), (1024, 128)])
def test_the_rule_is_what_llama_cpp_reserves(
    write: Callable[[Path], Path], window: int, ubatch: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "m.gguf")
    said, rule = reserved(path, window, ubatch), memory_needed(shape_of(path), 0, window=window, ubatch=ubatch)
    assert rule.kv_cache == said.kv_cache
    assert rule.buffers == pytest.approx(said.compute + said.output, rel=0.02)


def test_the_rule_is_an_upper_limit_where_the_feed_forward_network_has_no_gate(tmp_path: Path) -> None:
    path = starcoder(tmp_path / "m.gguf")
    said, rule = reserved(path, 1000), memory_needed(shape_of(path), 0, window=1000)
    assert rule.kv_cache == said.kv_cache
    assert said.compute <= rule.buffers <= 1.5 * said.compute


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "imatrix.gguf"
    finish(gguf.GGUFWriter(path, "llama"))
    with pytest.raises(BenchError, match=r"imatrix\.gguf: does not state its layers and width .*; name a model's file"):
        shape_of(path)


def header(path: Path, architecture: str, **numbers: int | list[int]) -> Path:
    """A file of metadata and next to no weights: keys with dots written as double underscores."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in numbers.items():
        name = f"{architecture}.{key.replace('__', '.')}"
        if isinstance(value, list):
            writer.add_array(name, value)
        else:
            writer.add_uint32(name, value)
    finish(writer)
    return path


def finish(writer: gguf.GGUFWriter) -> None:
    """One small tensor, so that the file is whole."""
    writer.add_tensor("output_norm.weight", np.zeros(8, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_layers_have_heads_of_their_own_and_recurrent_ones_a_state(tmp_path: Path) -> None:
    path = header(
        tmp_path / "hybrid.gguf",
        "nemotron_h",
        block_count=4,
        embedding_length=1024,
        attention__head_count=[0, 16, 0, 16],
        attention__head_count_kv=[0, 4, 0, 2],
        attention__key_length=128,
        attention__value_length=64,
        ssm__inner_size=2048,
        ssm__state_size=16,
        ssm__conv_kernel=4,
        vocab_size=1000,
    )
    shape = shape_of(path)
    assert shape.kv_numbers == (4 + 2) * (128 + 64)
    assert shape.state_bytes == 2 * 2048 * (16 + 3) * 4
    assert shape.notes == ("recurrent layers keep a state in place of keys and values",)


def test_heads_without_a_stated_width_share_the_models(tmp_path: Path) -> None:
    path = header(tmp_path / "m.gguf", "llama", block_count=2, embedding_length=1024, attention__head_count=8)
    assert shape_of(path).kv_numbers == 2 * 8 * 2 * 128  # as many key heads as heads, where no number is stated


def test_limited_attention_is_told(tmp_path: Path) -> None:
    path = header(
        tmp_path / "m.gguf",
        "gemma2",
        block_count=2,
        embedding_length=1024,
        attention__head_count=8,
        attention__sliding_window=4096,
    )
    assert "look back a limited number of tokens" in shape_of(path).notes[0]


def test_copies_are_of_matrices_of_some_types_whose_rows_come_in_eights() -> None:
    shapes = {
        "token_embd.weight": (256, 800),  # looked up
        "blk.0.attn_norm.weight": (256,),
        "blk.0.attn_q.weight": (256, 16),
        "blk.0.attn_v.weight": (256, 12),  # 12 rows: left alone
        "blk.0.ffn_down.weight": (256, 32),
    }
    types = dict.fromkeys(shapes, "Q4_0") | {"blk.0.ffn_down.weight": "Q8_0"}
    assert repacked_bytes(shapes, types, AVX2) == 16 * 256 // 32 * 18
    arm = ("NEON", "DOTPROD", "REPACK")
    assert repacked_bytes(shapes, types, arm) == 16 * 256 // 32 * 18 + 32 * 256 // 32 * 34
    assert repacked_bytes(shapes, types, ("AVX2",)) == 0  # built without


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "F16"])
def test_the_library_copies_the_types_that_are_said_to_be(kind: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", weight_type=kind)
    found = in_worker(
        "import ctypes, json; from bench.engine import llama as engine; from bench.engine.lowlevel import lib; lines = []\n"
        "p = lib.llama_model_default_params(); d = (ctypes.c_void_p * 1)(); p.devices = ctypes.addressof(d)\n"
        "p.no_alloc, p.load_mode = True, lib.LLAMA_LOAD_MODE_NONE\n"
        f"with engine.listen(lines.append): lib.llama_model_load_from_file({str(path).encode()!r}, p)\n"
        "said = any('CPU_REPACK model buffer' in line for line in lines)\n"
        "print(json.dumps({'said': said, 'features': engine.library().features}))"
    )
    features: list[str] = found["features"]  # type: ignore[assignment]
    assert found["said"] == (kind in repacked_types(features))


def test_a_container_has_what_its_control_group_grants(tmp_path: Path) -> None:
    without = machine_memory(tmp_path)
    assert without.total > without.available > 0
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert machine_memory(tmp_path).total == without.total
    (tmp_path / "memory.max").write_text("50000000\n")
    (tmp_path / "memory.current").write_text("20000000\n")
    assert machine_memory(tmp_path) == MachineMemory(50_000_000, 30_000_000)
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 5000000\nactive_file 7\n")
    assert machine_memory(tmp_path) == MachineMemory(50_000_000, 35_000_000)
