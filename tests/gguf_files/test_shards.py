"""Models in several files: found from any part, joined into what they would be as one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.gguf_files.shards import first_shard, is_split, joined, shard_names, whole_stem
from tests.conftest import Outcome
from tests.support.tiny import Shape, write_model


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("whole") / "tiny.gguf")


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    write_model(tmp_path / "tiny.gguf", split=16)
    return sorted(tmp_path.glob("tiny-*-of-*.gguf"))


def join(path: Path, cache: Path) -> Path:
    return joined(path, cache, lambda share: None, print)[0]


def test_names() -> None:
    assert shard_names("a/x-00002-of-00003.gguf") == [f"a/x-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert shard_names("x.gguf") == ["x.gguf"]
    assert shard_names("x-00001-of-00000.gguf") == ["x-00001-of-00000.gguf"]  # a part of nothing is a file
    assert first_shard("a/x-00002-of-00003.gguf") == "a/x-00001-of-00003.gguf" and first_shard("x.gguf") == "x.gguf"
    assert whole_stem("x-00002-of-00003.gguf") == whole_stem("x.gguf") == "x"


def test_joined_from_any_part_it_is_the_whole(whole: Path, parts: list[Path], tmp_path: Path) -> None:
    assert len(parts) == 3 and all(map(is_split, parts)) and not is_split(whole)
    found = join(parts[1], tmp_path / "cache")
    assert found == join(parts[2], tmp_path / "cache")
    ours, theirs = gguf.GGUFReader(found), gguf.GGUFReader(whole)
    assert [t.name for t in ours.tensors] == [t.name for t in theirs.tensors]
    for a, b in zip(ours.tensors, theirs.tensors, strict=True):
        assert a.tensor_type == b.tensor_type and np.array_equal(a.data, b.data)
    keys = {k for k in ours.fields if not k.startswith("GGUF.")}
    assert keys == {k for k in theirs.fields if not k.startswith("GGUF.")}
    assert all(ours.fields[k].contents() == theirs.fields[k].contents() for k in keys)


def test_a_run_takes_any_part(
    bench: Callable[..., Outcome], parts: list[Path], whole: Path, text: Path, tmp_path: Path
) -> None:
    arguments = ["--text", text, "--window", 64, "--windows", 1, "--cache", tmp_path / "cache", "--json"]
    split, one = bench("ppl", parts[2], *arguments), bench("ppl", whole, *arguments)
    assert split.code == one.code == 0, split.err
    line = next(i for i, x in enumerate(split.out.splitlines()) if '"ppl"' in x)
    assert split.out.splitlines()[line] == one.out.splitlines()[line]


def test_missing_parts(parts: list[Path], tmp_path: Path) -> None:
    parts[1].unlink()
    with pytest.raises(BenchError, match=r"1 of 3 parts are missing beside it, such as tiny-00002-of-00003\.gguf"):
        join(parts[0], tmp_path / "cache")


def test_a_part_of_another_model(parts: list[Path], tmp_path: Path) -> None:
    write_model(tmp_path / "other" / "x.gguf" if (tmp_path / "other").mkdir() else tmp_path / "other" / "tiny.gguf",
                Shape(layers=5), split=16)  # fmt: skip
    other = sorted((tmp_path / "other").glob("*.gguf"))
    shutil.copy(other[1], parts[1])
    with pytest.raises(BenchError, match="the parts are not of one model"):
        join(parts[0], tmp_path / "cache")


def test_a_part_with_another_name(parts: list[Path], tmp_path: Path) -> None:
    renamed = parts[0].rename(tmp_path / "model.gguf")
    with pytest.raises(BenchError, match="is one part of 3 but not named like one"):
        join(renamed, tmp_path / "cache")


def test_no_room(parts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(BenchError, match=r"joining the 3 parts .* free some space"):
        join(parts[0], tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.gguf"))
