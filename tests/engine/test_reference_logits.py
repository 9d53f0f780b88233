"""Logits that files are compared with are read as they were written, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.engine.reference_logits import DamagedLogitsError, ReferenceLogits


@pytest.fixture
def kept(tmp_path: Path) -> ReferenceLogits:
    kept = ReferenceLogits(tmp_path / "sub" / "r.logits", 7)
    rows = np.arange(70, dtype=np.float32).reshape(10, 7)
    kept.append(0, rows[:4])
    kept.append(4, rows[4:])
    return kept


def test_rows_are_read_as_they_were_written(kept: ReferenceLogits) -> None:
    assert kept.read(slice(3, 5)).tolist() == [[*range(21, 28)], [*range(28, 35)]]
    assert kept.path.stat().st_size == kept.n_bytes(10, 7)
    assert kept.intact() and kept.intact(10) and not kept.intact(9)


@pytest.mark.parametrize("at", [0, 32 * 5 + 3, 32 * 9 + 27, 32 * 5 + 28], ids=["first", "middle", "last", "checksum"])
def test_a_flipped_bit_is_found(kept: ReferenceLogits, at: int) -> None:
    data = bytearray(kept.path.read_bytes())
    data[at] ^= 1
    kept.path.write_bytes(data)
    assert not kept.intact()
    row = at // 32
    with pytest.raises(DamagedLogitsError, match=r"r\.logits: the logits of the reference are not as they were kept"):
        kept.read(slice(row, row + 1))
    other = (row + 1) % 10
    assert kept.read(slice(other, other + 1)).tolist() == [[*range(7 * other, 7 * other + 7)]]


@pytest.mark.parametrize("size", [0, 3, 32, 280, 319])
def test_a_file_of_another_size_is_damaged(kept: ReferenceLogits, size: int) -> None:
    with kept.path.open("r+b") as f:
        f.truncate(size)
    assert not kept.intact(10)
    with pytest.raises(DamagedLogitsError):
        [kept.read(slice(i, i + 1)) for i in range(10)]


def test_rows_can_be_read_before_the_last_one_is_written_and_a_new_window_begins_the_file_again(
    kept: ReferenceLogits,
) -> None:
    kept.append(0, np.ones((2, 7), np.float32))
    assert kept.read(slice(1, 2)).tolist() == [[1] * 7] and kept.intact(2)


def test_what_is_missing_or_cannot_be_written_is_told(kept: ReferenceLogits, tmp_path: Path) -> None:
    kept.path.unlink()
    assert not kept.intact()
    with pytest.raises(DamagedLogitsError, match="cannot be read"):
        kept.read(slice(0, 1))
    kept.path.mkdir()
    with pytest.raises(BenchError, match=r"cannot be written.*--cache"):
        kept.append(0, np.zeros((1, 7), np.float32))
    assert list(kept.path.parent.iterdir()) == [kept.path], "no half of a file stays"
