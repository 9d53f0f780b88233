"""Probing weights in memory, and choosing types within a size, on a tiny model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.choose.chooser import Chooser
from bench.choose.probe_log import mended_log
from bench.choose.prober import PROBE_WINDOW, TRIAL_WINDOW, Prober
from bench.choose.sensitivity import measure, rank_correlation, usable
from bench.core.errors import BenchError, MeasurementError
from bench.core.progress import Reporter
from bench.engine.reference_logits import ReferenceLogits
from bench.engine.settings import Settings
from bench.gguf_files.info import inspect
from bench.measures.windows.jobs import MeasureJob
from bench.quantize.build import build
from bench.quantize.jobs import PlanJob, PlanResult, QuantizeJob
from bench.recipes.recipe import choices, find_recipe
from bench.workbench.options import Options
from bench.workbench.work import Work
from tests.support.held import Held, quiet
from tests.support.tiny import write_model, write_text

REPORTER = Reporter()


@pytest.fixture(scope="module")
def work(tiny: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    text = write_text(tmp_path_factory.mktemp("text") / "long.txt", 4200, seed=11)
    asked = Options(model=str(tiny), cache=cache, calibration=text, calibration_chunks=2, threads=1)
    return Work(asked, REPORTER)


@pytest.fixture(scope="module")
def chooser(work: Work) -> Chooser:
    return Chooser(work, refinements=2)


@pytest.fixture(scope="module")
def prober(chooser: Chooser) -> Prober:
    return chooser.prober


def planned(prober: Prober, chooser: Chooser, name: str) -> PlanResult:
    resolved = chooser.resolve(find_recipe(name)).recipe
    return prober.work.executor.do(PlanJob(model=prober.work.model, recipe=resolved, with_importance=True))


def test_nothing_changed_is_no_divergence_and_what_was_changed_is_put_back(prober: Prober) -> None:
    first = {"blk.0.attn_v.weight": "IQ2_XXS", "token_embd.weight": "Q2_K"}
    changed, unchanged, again = prober.divergences(
        [first, {}, {"blk.0.attn_v.weight": "IQ3_S"}], prober.probe_windows, "test"
    )
    assert (changed > 1e-4).all() and (again > 1e-6).all()
    assert np.abs(unchanged).max() < 1e-9


def test_weights_in_memory_lose_what_the_file_loses(prober: Prober, tmp_path: Path) -> None:
    """The same divergence as scoring the quantized file finds, but for the activations that its kernels round."""
    recipe, window = find_recipe("IQ3_XXS"), prober.probe_windows[0]
    work, model, out = prober.work, prober.work.reference.path, tmp_path / "iq3_xxs.gguf"
    held = Held(tmp_path)
    matrix, stream = work.importance, work.executor.site.path(work.calibration.content)
    assert matrix is not None
    job = QuantizeJob(
        model=held(model), recipe=recipe, importance=held(matrix.path), threads=1, out=held(out), origin="o"
    )
    types = build(job, held.site, quiet).types
    stored = {t.name: t.type for t in inspect(model).tensors}
    [[in_memory]] = prober.divergences([{n: t for n, t in types.items() if t != stored[n]}], (window,), "test")

    settings = Settings(window=TRIAL_WINDOW, batch=TRIAL_WINDOW, ubatch=TRIAL_WINDOW, threads=1, generate=0)
    logits = tmp_path / "logits"
    common = {"stream": held(stream), "windows": (window,), "settings": settings, "timed": False}
    held.do(MeasureJob(model=held(model), write_logits=held(logits), **common))
    [scored] = held.do(MeasureJob(model=held(out), reference_logits=held(logits), **common)).windows
    assert ReferenceLogits(logits, inspect(model).vocabulary).path.exists()
    from bench.measures.windows.agreement import mean_kl

    found = mean_kl([scored])
    assert found is not None
    # the file's window scores the second half only, the probe all of it
    assert in_memory == pytest.approx(found[0], rel=0.15)


def test_what_was_probed_is_not_probed_again(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    several = [{"blk.1.attn_k.weight": t} for t in ("Q3_K", "IQ3_S")]
    windows = prober.probe_windows
    first = prober.divergences(several, windows, "test")
    monkeypatch.setattr("bench.execute.local.LocalExecutor.do", None)
    assert np.array_equal(first, prober.divergences(several, windows, "test"))
    log = max(prober.work.options.cache.glob("sensitivity/*.probes.jsonl"), key=lambda p: p.stat().st_mtime)
    with log.open("a") as f:
        f.write('{"key": "cut o')  # as a power cut leaves it
    assert np.array_equal(first, prober.divergences(several, windows, "test"))
    whole = log.read_bytes()
    assert whole.endswith(b"}]\n")
    log.write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])  # a flipped bit of a figure
    told: list[str] = []
    assert len(mended_log(log, told.append)) == whole.count(b"\n") - 1
    assert len(told) == 1 and "1 of its measurements is not as kept" in told[0]
    assert whole.startswith(log.read_bytes())


def test_a_quantized_model_has_no_weights_to_exchange(prober: Prober, tmp_path: Path) -> None:
    quantized = write_model(tmp_path / "q8.gguf", weight_type="Q8_0")
    asked = replace(prober.work.options, model=str(quantized), allow_quantized=True, no_imatrix=True, cache=tmp_path)
    other = Prober(Work(asked, REPORTER))
    with pytest.raises(BenchError, match="is quantized already"):
        other.divergences([{"blk.0.attn_v.weight": "Q4_K"}], (0,), "test")


def test_a_calibration_text_too_short_to_choose_on(prober: Prober) -> None:
    short = Work(prober.work.options, REPORTER)
    short.calibration = replace(prober.work.calibration, name="short.txt", tokens=2 * PROBE_WINDOW - 1)
    with pytest.raises(BenchError, match=r"short.txt: has 511 tokens; choosing types takes two windows"):
        Prober(short)


def test_probes_and_trials_are_on_different_windows(prober: Prober) -> None:
    probed = {t for w in prober.probe_windows for t in range(w * PROBE_WINDOW, (w + 1) * PROBE_WINDOW)}
    tried = {t for w in prober.trial_windows for t in range(w * TRIAL_WINDOW, (w + 1) * TRIAL_WINDOW)}
    assert probed and tried and not probed & tried
    assert max(probed | tried) < prober.work.calibration.tokens


def test_every_tensor_is_probed_in_what_it_can_be_stored_in(chooser: Chooser, prober: Prober) -> None:
    found = chooser.sensitivity()
    assert found.kl.keys() == {t.name for t in chooser.quantized()}
    assert found.probes["token_embd.weight"] == "Q2_K"  # no importance data
    assert set(found.probes.values()) == {"IQ2_XXS", "Q2_K"} and found.label == "IQ2_XXS"
    assert all((kl > 0).all() for kl in found.kl.values())
    errors = prober.errors({n: (t,) for n, t in found.probes.items()})
    assert -1 <= rank_correlation(found, errors) <= 1


def test_more_bits_for_one_tensor_lose_less(prober: Prober) -> None:
    found = [
        measure(prober, {"blk.0.ffn_down.weight": t}, prober.probe_windows).means["blk.0.ffn_down.weight"]
        for t in ("IQ2_XXS", "Q4_K")
    ]
    assert found[0] > found[1] > 0


def test_chosen_types_keep_the_size_and_beat_the_format_of_that_size(
    chooser: Chooser, prober: Prober, free_choice: Path
) -> None:
    name = f"{free_choice}@Q3_K_S"
    standard, free = planned(prober, chooser, "Q3_K_S"), planned(prober, chooser, name)
    assert 0.97 * standard.n_bytes < free.n_bytes <= standard.n_bytes
    stored = {t.name: t.type for t in prober.work.reference.info.tensors}
    changed = [{n: t for n, t in p.types.items() if t != stored[n]} for p in (standard, free)]
    theirs, ours = prober.divergences(changed, prober.trial_windows, "test")
    assert ours.mean() < theirs.mean()
    chosen = chooser.choose(find_recipe(name))
    assert chosen.best.kl == pytest.approx(ours.mean()) and chosen.best.gap <= 1e-4
    assert len(chosen.trials) >= 2


def test_an_automatic_recipe_may_take_any_type(chooser: Chooser, prober: Prober) -> None:
    recipe = find_recipe("auto@2.5bpw")
    mix = {"blk.0.attn_v.weight": "Q8_0", "token_embd.weight": "Q8_0", "blk.0.attn_norm.weight": "F32"}
    allowed = choices(recipe, mix, 4)
    assert allowed.keys() == {"blk.0.attn_v.weight", "token_embd.weight"}
    assert {"IQ1_S", "IQ2_XXS", "Q4_K", "F16"} <= set(allowed["blk.0.attn_v.weight"])
    tensors = {t.name: t for t in prober.work.reference.info.tensors}
    without = usable(tensors["token_embd.weight"], allowed["token_embd.weight"], False)
    assert "IQ1_S" not in without and "Q2_K" in without, "no importance data"


def test_later_rules_go_before_earlier_ones(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'prefix = "OWN"\nbase = "Q4_0"\nsize = "4bpw"\n[[rules]]\npattern = "."\nmay = ["Q2_K", "Q6_K"]\n'
        '[[rules]]\ntensors = ["output"]\ntype = "Q8_0"\n'
    )
    allowed = choices(find_recipe(str(own)), {"output.weight": "Q8_0", "blk.0.ffn_up.weight": "Q4_0"}, 1)
    assert allowed == {"output.weight": ("Q8_0",), "blk.0.ffn_up.weight": ("Q4_0", "Q2_K", "Q6_K")}


def test_the_gate_promotes_what_its_rules_let_it(chooser: Chooser, prober: Prober) -> None:
    standard, gated = planned(prober, chooser, "IQ3_XXS"), planned(prober, chooser, "DG-IQ3_XXS@+10%")
    assert standard.n_bytes < gated.n_bytes <= 1.1 * standard.n_bytes
    promoted = {n: t for n, t in gated.types.items() if t != standard.types[n]}
    assert promoted
    for name, kind in promoted.items():
        outer = name.startswith(("blk.0.", "blk.3."))
        assert kind in (("Q5_K",) if name == "token_embd.weight" else ("IQ4_XS",) if outer else ("IQ2_XXS", "IQ3_S"))


def test_random_controls_differ_by_seed_and_keep_the_size(chooser: Chooser, prober: Prober, free_choice: Path) -> None:
    limit = planned(prober, chooser, "Q3_K_S").n_bytes
    dealt = [planned(prober, chooser, f"{free_choice}@Q3_K_S#{seed}") for seed in (1, 2)]
    assert all(0.95 * limit < d.n_bytes <= limit for d in dealt)
    assert dealt[0].types != dealt[1].types
    resolved = chooser.resolve(find_recipe(f"{free_choice}@Q3_K_S#1"))
    assert resolved.choice is not None and resolved.choice.against == "FREE@Q3_K_S"
    assert resolved.choice.tried >= 1


def test_a_size_that_no_choice_keeps(chooser: Chooser, free_choice: Path) -> None:
    with pytest.raises(
        MeasurementError,
        match=r"FREE@1bpw: .* MB are allowed and the smallest choice of types takes .* give it a larger",
    ):
        chooser.resolve(find_recipe(f"{free_choice}@1bpw"))


def test_sizes_in_bits_and_bytes(chooser: Chooser, prober: Prober, free_choice: Path) -> None:
    bits = planned(prober, chooser, f"{free_choice}")
    assert 3.9 < bits.bits_per_weight <= 4.0
    n_bytes = planned(prober, chooser, f"{free_choice}@1MB").n_bytes
    assert 0.97e6 < n_bytes <= 1e6


def test_a_choice_is_made_once(chooser: Chooser, free_choice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = chooser.choose(find_recipe(str(free_choice)))
    monkeypatch.setattr("bench.execute.local.LocalExecutor.do", None)
    assert chooser.choose(find_recipe(str(free_choice))) == first
    [file] = chooser.prober.work.options.cache.glob("sensitivity/*-FREE-*.choice.json")
    assert json.loads(file.read_text())["data"]["limit"] == first.limit
