"""Files appear complete or not at all, and headers say what is in them."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent, file_sha256, told_apart
from bench.gguf_files.info import inspect
from tests.support.tiny import Shape, write_model


def test_a_file_appears_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    with complete_or_absent(target) as partial:
        partial.write_bytes(b"half")
        assert not target.exists()
    assert target.read_bytes() == b"half"
    with pytest.raises(RuntimeError), complete_or_absent(target) as partial:
        partial.write_bytes(b"other")
        raise RuntimeError
    assert target.read_bytes() == b"half"
    assert list(target.parent.iterdir()) == [target]


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"
    dead, living, other = (
        tmp_path / f".{n}.partial" for n in ("model.gguf.99999999", f"model.gguf.{os.getppid()}", "else.gguf.99999999")
    )
    for path in (dead, living, other):
        path.write_bytes(b"x")
    with complete_or_absent(target) as partial:
        partial.write_bytes(b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([target, living, other])


def test_header_agrees_with_gguf_reader(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", Shape(tied=False, layers=2), weight_type="BF16", values_of="BF16")
    info, reader = inspect(path), gguf.GGUFReader(path)
    assert [(t.name, t.shape, t.type, t.n_bytes) for t in info.tensors] == [
        (t.name, tuple(int(n) for n in t.shape), t.tensor_type.name, int(t.n_bytes)) for t in reader.tensors
    ]
    assert (info.architecture, info.n_layers, info.context_length, info.vocabulary) == ("llama", 2, 512, 274)
    assert info.quantized_tensors == ()
    assert info.bits_per_weight == pytest.approx(16, abs=0.1)


def test_a_name_of_several_lines_is_one_line(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", Shape(layers=1), extra={"general.name": "Tiny\nrm -rf ~"})
    assert inspect(path).name == "Tiny rm -rf ~"


def test_two_files_of_one_name_are_told_apart_by_their_paths() -> None:
    assert told_apart([Path("old/m.gguf"), Path("new/m.gguf"), Path("n.gguf")]) == [
        "old/m.gguf",
        "new/m.gguf",
        "n.gguf",
    ]


def test_one_part_of_a_split_model_is_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "part.gguf", "llama")
    writer.add_uint16("split.count", 3)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BenchError, match="one part of 3; --model and --compare join them"):
        inspect(tmp_path / "part.gguf")


def test_hash_reports_progress(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    shares: list[float] = []
    assert file_sha256(path, shares.append) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert shares == [1.0]
