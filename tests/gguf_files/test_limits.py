"""Headers that state what no model can have are refused where they are read, in one line."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.gguf_files.header import read_header
from bench.gguf_files.info import inspect

_NAN, _INF = struct.pack("<f", math.nan), struct.pack("<f", math.inf)
_NESTED = struct.pack("<IQ", 9, 1) * 1100 + struct.pack("<IQ", 4, 0)


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def written(path: Path, keys: list[bytes], tensors: list[bytes]) -> Path:
    start = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys) + 1)
    architecture = string("general.architecture") + struct.pack("<I", 8) + string("llama")
    header = b"".join([start, architecture, *keys, *tensors])
    path.write_bytes(header + bytes(-len(header) % 32) + bytes(4096))
    return path


def tensor(name: str = "a", shape: tuple[int, ...] = (32, 2), kind: int = 0) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, 0)


def key(name: str, kind: int, value: bytes) -> bytes:
    return string(name) + struct.pack("<I", kind) + value


def test_a_small_file_is_read(tmp_path: Path) -> None:
    whole = written(tmp_path / "m.gguf", [key("llama.block_count", 4, struct.pack("<I", 3))], [tensor()])
    assert inspect(whole).n_layers == 3 and read_header(whole).tensors[0].shape == (32, 2)


@pytest.mark.parametrize(
    "found",
    [
        key("llama.block_count", 6, _NAN), key("llama.context_length", 6, _INF), key("llama.rope.freq_base", 6, _NAN),
        key("split.count", 9, struct.pack("<IQ", 6, 1) + _NAN), key("llama.block_count", 8, string("3")),
        key("llama.block_count", 5, struct.pack("<i", -1)), key("llama.block_count", 4, struct.pack("<I", 2**31)),
        key("llama.context_length", 10, struct.pack("<Q", 2**63)), key("x", 9, _NESTED), key("general.alignment", 4, struct.pack("<I", 3)),
        key("llama.block_count", 4, struct.pack("<I", 0)), key("llama.block_count", 4, struct.pack("<I", 513)),
        key("llama.expert_count", 4, struct.pack("<I", 8)), key("llama.expert_used_count", 4, struct.pack("<I", 1)),
        key("tokenizer.ggml.tokens", 4, struct.pack("<I", 3)), key("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 0)),
        key("tokenizer.ggml.tokens", 9, struct.pack("<IQI", 4, 1, 7)), key("general.architecture", 8, string("\x1b[2J")), key("x", 9, struct.pack("<IQ", 8, 2**62)), key("x", 13, b""),
    ],
)  # fmt: skip
def test_values_that_are_none_are_refused(tmp_path: Path, found: bytes) -> None:
    path = written(tmp_path / "m.gguf", [found], [tensor()])
    with pytest.raises(BenchError, match=r"m\.gguf: its header is damaged.*download or convert it again") as refused:
        inspect(path)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "found",
    [
        tensor("a\0b"), tensor(""), tensor("t" * 64), tensor("\x1b]0;x\x07"), tensor(shape=()), tensor(shape=(0, 2)), tensor(shape=(32, 2**60)),
        tensor(shape=(1,) * 5), tensor(shape=(33, 1), kind=8), tensor(kind=99),
    ],
)  # fmt: skip
def test_tensors_that_llama_cpp_would_not_take_are_refused(tmp_path: Path, found: bytes) -> None:
    with pytest.raises(BenchError, match="its header is damaged") as refused:
        inspect(written(tmp_path / "m.gguf", [], [tensor("b"), found]))
    assert str(refused.value).isprintable()


def test_what_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="two tensors have the same name"):
        inspect(written(tmp_path / "m.gguf", [], [tensor(), tensor()]))
    again = key("x", 4, struct.pack("<I", 1))
    with pytest.raises(BenchError, match="the key 'x' comes twice"):
        inspect(written(tmp_path / "m.gguf", [again, again], [tensor()]))


@pytest.mark.parametrize("name", ["scores", "token_type"])
def test_a_vocabulary_has_a_number_for_each_token(tmp_path: Path, name: str) -> None:
    tokens = key("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + string("a") + string("b"))
    for n in (1, 2):
        numbers = key(f"tokenizer.ggml.{name}", 9, struct.pack(f"<IQ{n}i", 5, n, *range(n)))
        path = written(tmp_path / f"{n}.gguf", [tokens, numbers], [tensor()])
        if n == 2:
            assert inspect(path).vocabulary == 2
            continue
        with pytest.raises(BenchError, match=rf"{name} is no list of 2 numbers, one for each token"):
            inspect(path)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"expert_count": 8, "expert_used_count": 9}, "9 of 8 experts"),
        ({"expert_count": 8, "expert_used_count": 2, "expert_group_count": 3}, "expert_group_count is 3 of 8 experts"),
        ({"block_count": 3, "nextn_predict_layers": 3}, "nextn_predict_layers is 3 of 3 layers"),
    ],
)
def test_layers_and_experts_that_do_not_go_together_are_refused(
    tmp_path: Path, counts: dict[str, int], said: str
) -> None:
    keys = [key(f"llama.{name}", 4, struct.pack("<I", n)) for name, n in counts.items()]
    with pytest.raises(BenchError, match=said):
        inspect(written(tmp_path / "m.gguf", keys, [tensor()]))
