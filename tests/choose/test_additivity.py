"""Whether damages add up: tensors that are quantized together against the sum of what each does alone, on a tiny model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.choose.additivity import ALL, Together, groups_of, measure_together
from bench.choose.chooser import Chooser
from bench.choose.on_request import measure_sensitivity
from bench.choose.prober import PROBE_WINDOW, Prober
from bench.choose.sensitivities import Sensitivities
from bench.choose.sensitivity import measure
from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.present.sensitivity import SensitivityReport
from bench.texts.stream import TokenStream
from bench.workbench.options import Options
from bench.workbench.work import Work
from tests.support.tiny import Shape, write_model, write_text

WINDOWS = 6
SHAPE = Shape(layers=2)
TENSORS = 2 * 7 + 1


@pytest.fixture(scope="module")
def work(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("text")
    text, model = write_text(folder / "long.txt", 4200, seed=11), write_model(folder / "two.gguf", SHAPE)
    return Work(Options(model=str(model), cache=cache, calibration=text, calibration_chunks=2, threads=1), Reporter())


@pytest.fixture(scope="module")
def found(work: Work) -> Sensitivities:
    """In Q8_0, which no importance matrix changes."""
    chooser = Chooser(work)
    windows, probes = (
        chooser.prober.shown_windows(WINDOWS),
        dict.fromkeys((t.name for t in chooser.quantized()), "Q8_0"),
    )
    alone = measure(chooser.prober, probes, windows)
    return Sensitivities(
        model=work.reference.info,
        text=work.calibration.name,
        tokens=WINDOWS * PROBE_WINDOW,
        measured=(alone,),
        errors=chooser.prober.errors(dict.fromkeys(probes, ("Q8_0",))),
        together=measure_together(chooser.prober, alone, windows),
    )


def log_probabilities(model: Path, windows: list[np.ndarray]) -> list[np.ndarray]:
    n = PROBE_WINDOW
    with Model(model) as loaded, Context(loaded, n_ctx=n, n_batch=n, n_ubatch=n, threads=1) as context:
        computed = []
        for tokens in windows:
            context.clear()
            context.prepare(tokens, 0)
            context.decode()
            logits = context.logits()[:-1].astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            computed.append(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
    return computed


def test_together_is_the_divergence_of_a_model_with_all_weights_rounded(
    work: Work, found: Sensitivities, tmp_path: Path
) -> None:
    """A file of the same model whose weights have the values of Q8_0, by another program's arithmetic."""
    rounded = write_model(tmp_path / "rounded.gguf", SHAPE, values_of="Q8_0")
    stream = TokenStream.load(work.executor.site.path(work.calibration.content))
    windows = [stream.window(w, PROBE_WINDOW) for w in Prober(work).shown_windows(WINDOWS)]
    own = [
        float((np.exp(p) * (p - q)).sum(axis=1).mean())
        for p, q in zip(
            log_probabilities(work.reference.path, windows), log_probabilities(rounded, windows), strict=True
        )
    ]
    [joint] = [t for t in found.together if t.group == ALL]
    assert joint.tensors == TENSORS
    np.testing.assert_allclose(joint.joint, own, rtol=0.05)
    singles = found.measured[0].kl
    np.testing.assert_allclose(joint.alone, sum(singles.values()))
    ratio = joint.ratio
    assert ratio.value == pytest.approx(np.mean(own) / sum(kl.mean() for kl in singles.values()), rel=0.05)
    assert ratio.low is not None and ratio.high is not None and ratio.low < ratio.value < ratio.high


def test_tables_tell_all_tensors_and_kinds(found: Sensitivities) -> None:
    report = SensitivityReport(found)
    frame = report.additivity_frame()
    assert set(frame["measured_in"]) == {"Q8_0"}
    rows = frame.set_index("group")
    assert rows.loc[ALL, "tensors"] == TENSORS and rows.loc["attention-v", "tensors"] == 2 and len(rows) == 8
    assert (frame["windows"] == WINDOWS).all() and frame["ratio_low"].notna().all()
    # kinds share out what all tensors do alone, but for the one tensor that is the only one of its kind
    assert rows["sum_kl"].drop(ALL).sum() < rows.loc[ALL, "sum_kl"]
    text = report.markdown()
    assert "## Do damages add up?" in text and "| Q8_0" in text and "--windows" not in text


def test_fewer_windows_than_an_interval_takes_are_said(work: Work) -> None:
    report = SensitivityReport(measure_sensitivity(work, ()))
    assert report.additivity_frame()["ratio_low"].isna().all() and report.additivity_frame()["ratio"].notna().all()
    assert "An interval takes 6 windows, and 2 were measured: --windows 6" in report.markdown()


def test_more_windows_than_the_text_has_are_refused(work: Work) -> None:
    with pytest.raises(BenchError, match=r"--windows 99: long.txt has 16 windows of 256 tokens; give fewer"):
        measure_sensitivity(work, (), 99)


def test_ratio_by_hand() -> None:
    alone, joint = np.array([1.0, 2, 3, 1, 2, 3]), np.array([2.0, 5, 5, 2, 5, 5])
    together = Together("Q4_0", ALL, 3, alone, joint)
    assert together.ratio.value == pytest.approx(24 / 12)
    assert together.ratio.low is not None and together.ratio.low > 1.5
    exact = replace(together, joint=3 * alone).ratio
    assert (exact.low, exact.high) == (pytest.approx(3), pytest.approx(3))
    assert replace(together, alone=alone[:2], joint=joint[:2]).ratio.low is None
    for broken in (
        replace(together, joint=np.empty(0)),
        replace(together, alone=np.empty(0)),
        replace(together, alone=0 * alone),
    ):
        assert math.isnan(broken.ratio.value)


def test_groups_are_all_and_every_kind_of_several() -> None:
    probes = dict.fromkeys(
        ["token_embd.weight", "blk.0.attn_v.weight", "blk.1.attn_v.weight", "blk.0.ffn_up.weight"], "Q4_0"
    )
    assert groups_of(probes) == {ALL: list(probes), "attention-v": ["blk.0.attn_v.weight", "blk.1.attn_v.weight"]}
