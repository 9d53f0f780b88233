"""Converting checkpoints. The converter itself brings torch, so what runs it is tested with what a shell can do."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.models.convert import _extract, convert, is_checkpoint
from tests.conftest import Outcome


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "My-Model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    return folder


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A converter's environment as `convert` leaves it, whose Python is this one."""
    home = tmp_path / "cache" / "converter" / version("llama-cpp-python")
    (home / "env" / "bin").mkdir(parents=True)
    (home / "source").mkdir()
    (home / "env" / "bin" / "python").symlink_to(sys.executable)
    (home / "complete").touch()
    return home / "source" / "convert_hf_to_gguf.py"


def test_what_a_checkpoint_is(checkpoint: Path, tmp_path: Path) -> None:
    assert is_checkpoint(checkpoint) and not is_checkpoint(tmp_path)


def test_only_the_converter_is_taken_out_of_the_source(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        for name in ("convert_hf_to_gguf.py", "conversion/llama.py", "ggml/x.c"):
            member = tarfile.TarInfo(f"llama_cpp_python-1/vendor/llama.cpp/{name}")
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    _extract(tmp_path / "x.tar.gz", tmp_path / "out")
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert found == ["conversion/llama.py", "convert_hf_to_gguf.py"]


def test_its_file_is_kept_and_named_after_the_model(checkpoint: Path, installed: Path, tmp_path: Path) -> None:
    installed.write_text(
        "import sys, pathlib; pathlib.Path(sys.argv[sys.argv.index('--outfile') + 1]).write_bytes(b'GGUF of ' + sys.argv[1].encode())"
    )
    first, _ = convert(checkpoint, "My-Model", tmp_path / "cache", Reporter())
    assert first.name.startswith("My-Model-") and first.read_bytes() == b"GGUF of " + str(checkpoint).encode()
    installed.write_text("raise SystemExit(1)")  # it is not asked again
    assert convert(checkpoint, "My-Model", tmp_path / "cache", Reporter())[0] == first
    (checkpoint / "model.safetensors").write_bytes(b"y" * 1001)
    with pytest.raises(BenchError):
        convert(checkpoint, "My-Model", tmp_path / "cache", Reporter())


def test_its_last_words_are_told(
    bench: Callable[..., Outcome], checkpoint: Path, installed: Path, tmp_path: Path
) -> None:
    installed.write_text(
        "import sys; print('ERROR: Model FooForCausalLM is not supported', file=sys.stderr); sys.exit(1)"
    )
    done = bench("ppl", checkpoint, "--cache", tmp_path / "cache", "--quiet")
    assert done.code == 2
    [line] = done.err.strip().splitlines()
    assert "My-Model: llama.cpp's converter failed (ERROR: Model FooForCausalLM is not supported); check" in line
    assert not list((tmp_path / "cache" / "models").glob("*"))


def test_a_converter_that_writes_nothing(checkpoint: Path, installed: Path, tmp_path: Path) -> None:
    installed.write_text("")
    with pytest.raises(BenchError, match="wrote no file"):
        convert(checkpoint, "My-Model", tmp_path / "cache", Reporter())
