"""The relative weighted error, by hand and on real blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.quantize.jobs import WeightErrorJob
from bench.quantize.weight_error import weighted_sums
from tests.support.held import Held


def test_by_hand() -> None:
    weights = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
    quantized = np.array([[1.5, 2.0], [3.0, -3.0]], np.float32)
    assert weighted_sums(weights, quantized, None) == pytest.approx([0.25 + 4, 15])
    weighted = weighted_sums(weights, quantized, np.array([2.0, 0.5], np.float32))
    assert weighted == pytest.approx([2 * 0.25 + 0.5 * 4, 2 * 10 + 0.5 * 5])


def test_more_bits_lose_less(tiny: Path, tmp_path: Path) -> None:
    held = Held(tmp_path)
    types = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "F16")
    job = WeightErrorJob(
        model=held(tiny),
        types={"blk.1.ffn_up.weight": types, "token_embd.weight": ("Q4_K",)},
        importance=None,
        threads=1,
    )
    found = held.do(job).errors
    errors = [found["blk.1.ffn_up.weight"][t] for t in types]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.2 and errors[-1] == 0.0  # the model itself is F16
    assert found["token_embd.weight"].keys() == {"Q4_K"}
