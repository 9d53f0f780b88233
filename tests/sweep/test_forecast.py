"""What a run will take: by hand for a model of known size, against what a published run took, and told as a plan."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.measures.registry import load_run
from bench.recipes.recipe import find_recipes
from bench.records.record import StageRecord
from bench.sweep.forecast import (
    BUILDING,
    CHOICES,
    IMPORTANCE,
    ONLY_SCORING,
    SCORING,
    SENSITIVITIES,
    Forecast,
    Shape,
    forecast,
)
from bench.sweep.outline import DEVICE_PACE, outline, refuse
from bench.workbench.devices import keep_pace, known_pace
from bench.workbench.options import Options
from tests.conftest import Outcome
from tests.support.hub_server import HubServer, hub  # noqa: F401

DEFAULT_RUN = Path(__file__).parents[2] / "results" / "smollm2-135m-instruct-default"


def seconds(found: Forecast, stage: str) -> float:
    return (found.stages[stage].seconds if stage in found.stages else None) or 0.0


def test_a_model_of_eight_billion_weights_by_hand() -> None:
    options = Options(recipes=("IQ2_XXS", "DG-IQ2_XXS"), windows=8)
    shape = Shape.of_size(16_000_000_000)
    found = forecast(options, find_recipes(options.recipes), 4, shape)
    # 2 x 8e9 multiply-adds a token, 4 x 35e9 a second; the importance matrix 4 x 56e9
    a_token = 2 * 8e9 / (4 * 35e9)
    assert seconds(found, IMPORTANCE) == pytest.approx(24_000 * 2 * 8e9 / (4 * 56e9))
    assert seconds(found, SCORING) == pytest.approx(3 * 8 * (2048 + 4 * 32) * a_token)
    assert seconds(found, SENSITIVITIES) == pytest.approx((44 * 7 + 1) * 256 * a_token)
    assert seconds(found, CHOICES) == pytest.approx((17 + 4) * 3 * 128 * a_token)  # one of the two leaves a choice
    assert seconds(found, BUILDING) == pytest.approx(2 * 8e9 / (4 * 5.5e6) / 7)  # the choice quantized most
    # two files and their tensors, 2.0625 bits and a tenth
    assert found.built == pytest.approx(2 * 2 * 8e9 * 1.1 * 2.0625 / 8, rel=0.01)
    assert found.memory == pytest.approx(16e9 + 4 * 512 * 128_000)
    files = 2 * 8e9 * 1.1 * 2.0625 / 8
    assert found.side_by_side == pytest.approx(16e9 + files + 3 * 4 * 512 * 128_000)


def test_what_a_run_has_built_is_not_asked_for_again(tmp_path: Path) -> None:
    options = Options(recipes=("IQ2_XXS",), windows=8, cache=tmp_path)
    recipes, shape = find_recipes(options.recipes), Shape.of_size(16_000_000)
    anew = forecast(options, recipes, 4, shape).built
    (tmp_path / "quantized").mkdir()
    (tmp_path / "quantized" / "model-IQ2_XXS-0123.gguf").write_bytes(bytes(2_000_000))
    (tmp_path / "quantized" / "other-IQ2_XXS-4567.gguf").write_bytes(bytes(9_000_000))  # of a larger model
    assert forecast(options, recipes, 4, shape).built == anew - 2_000_000


def test_no_choice_takes_no_sensitivities_and_no_matrix_that_is_there() -> None:
    options = Options(recipes=("Q4_K_M",), no_imatrix=True)
    assert {*forecast(options, find_recipes(options.recipes), 1, Shape.of_size(10**9)).stages} == {BUILDING, SCORING}


def test_a_run_that_goes_on_is_forecast_by_what_is_left() -> None:
    options = Options(recipes=("Q4_K_M", "Q8_0"), windows=8)
    recipes, shape = find_recipes(options.recipes), Shape.of_size(10**9)
    whole = forecast(options, recipes, 1, shape)
    rest = forecast(options, recipes, 1, shape, to_build=recipes[1:], share=0.25)
    assert seconds(rest, SCORING) == pytest.approx(seconds(whole, SCORING) / 4)
    assert seconds(rest, BUILDING) == pytest.approx(seconds(whole, BUILDING) / 2)


def test_the_forecast_is_within_a_factor_of_two_of_what_the_published_run_took() -> None:
    """Stage by stage, from the records: those of its first sitting that ended in it."""
    run = load_run(DEFAULT_RUN)
    info = json.loads((DEFAULT_RUN / "records.jsonl").read_text("utf-8").splitlines()[0])["identity"]["model"]
    shape = Shape(384_179_520, info["n_weights"], info["n_layers"], info["n_layers"] * 7 + 1, 49_152)
    found = forecast(Options(), find_recipes(None), run.identity.settings.threads, shape)
    records = run.of(StageRecord)
    took = {
        begin.stage: (datetime.fromisoformat(end.time) - datetime.fromisoformat(begin.time)).total_seconds()
        for begin, end in pairwise(records)
        if begin.sitting == records[0].sitting and (begin.event, end.event) == ("began", "ended")
    }
    assert {IMPORTANCE, CHOICES, BUILDING} <= took.keys()
    foreseen = {s: seconds(found, s) for s in (IMPORTANCE, CHOICES, BUILDING)}
    foreseen[CHOICES] += seconds(found, SENSITIVITIES)  # which are measured meanwhile
    for stage, of_stage in foreseen.items():
        assert took[stage] / 2 < of_stage < took[stage] * 2, stage


def test_a_glob_counts_with_every_file_that_it_matches(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.gguf").write_bytes(b"GGUF")
    one, shape = Options(windows=8, compare=(str(tmp_path / "a.gguf"),)), Shape.of_size(10**9)
    for compare, files in (((str(tmp_path / "*.gguf"),), 4), ((str(tmp_path / "*.gguf"), str(tmp_path / "a.gguf")), 4)):
        every = forecast(replace(one, compare=compare), [], 1, shape)
        assert every.stages[SCORING].steps == files * 8
    alone = replace(one, compare=(str(tmp_path / "*.gguf"),), model=str(tmp_path / "b.gguf"))
    assert forecast(alone, [], 1, shape).stages[SCORING].steps == 3 * 8, "the reference is no file to compare"


def test_of_a_hub_everything_is_asked_before_it_is_fetched_and_nothing_afterwards(
    hub: HubServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    hub.add_model("a/b", {"one.gguf": bytes(1000), "two.gguf": bytes(3000)})
    options = Options(model="hf:a/b:two.gguf", compare=("hf:a/b:*.gguf",), windows=1, cache=tmp_path)
    before = forecast(options, [], 1, Shape.of_size(10**9))
    assert before.download == 4000, "the reference is fetched once, though a glob matches it too"
    asked = len(hub.requests)
    after = forecast(options, [], 1, Shape.of_size(10**9), compared=1)
    assert len(hub.requests) == asked and after.download == 0 and after.stages == before.stages


def test_a_finished_run_needs_no_room(
    bench: Callable[..., Outcome], tiny: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arguments(out: str, *more: object) -> list[object]:
        return ["run", "--model", tiny, "--text", text, "--window", 64, "--windows", 1, "--no-imatrix", "--generate", 0,
                "--recipes", "Q4_0", "--cache", tmp_path / "cache", "--out", tmp_path / out, *more]  # fmt: skip

    assert bench(*arguments("run")).code == 0
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    for more in ([], ["--dry-run"]):
        again = bench(*arguments("run", *more))
        assert again.code == 0, again.err
        other = bench(*arguments("other", "--recipes", "Q8_0", *more))
        assert other.code == 2 and "this run needs about" in other.err and not (tmp_path / "other").exists()


def test_refused_where_it_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=10 * 10**9))
    # one disk for both: 4 GB to download and 7 GB to build do not fit into 10
    with pytest.raises(BenchError, match=r"needs about 11\.0 GB \(4\.0 GB of them to download\) and 10\.0 GB are free"):
        refuse(Forecast(4 * 10**9, 0, 7 * 10**9, 1, 1, {}), (tmp_path / "a" / "b", tmp_path))
    refuse(Forecast(3 * 10**9, 0, 6 * 10**9, 1, 1, {}), (tmp_path / "a" / "b", tmp_path))


def test_the_plan_says_all_that_there_is_to_know_in_the_width_of_the_terminal(tiny: Path, tmp_path: Path) -> None:
    options = Options(
        model=str(tiny), recipes=("Q4_0", "Q8_0"), windows=3, window=64, cache=tmp_path, out=tmp_path / "run"
    )
    found = outline(options, find_recipes(options.recipes), "some text", 2)
    folded = found.lines(60)
    assert max(map(len, folded)) <= 60
    told = "\n".join(found.lines(None))
    for said in (
        "Recipes  2: Q4_0, Q8_0",
        "some text, 3 windows of 64 tokens",
        "with 2 threads",
        "Disk",
        "are free in",
        "Memory",
        f"Goes to  {tmp_path / 'run'}",
    ):
        assert said in told
    assert "".join(told.split()) == "".join("".join(folded).split()), "nothing is cut"
    assert "some text, 1 window of 64 tokens" in "\n".join(replace(found, windows=1).lines(None))


def test_a_plan_before_the_model_is_here_says_what_is_to_be_fetched(tmp_path: Path) -> None:
    found = outline(Options(cache=tmp_path), find_recipes(None), "t", 1)
    told = "\n".join(found.lines(None))
    assert "to be fetched" in told and "93 MB of it to download" in told and "its last part is known" in told


def test_a_dry_run_tells_the_plan_and_leaves_nothing_in_results(
    bench: Callable[..., Outcome], tiny: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "--dry-run", "--model", tiny, "--text", text, "--window", 64, "--windows", 2]
    arguments += ["--recipes", "Q4_0", "--no-imatrix", "--cache", tmp_path / "cache", "--samples", 4]
    done = bench(*arguments)
    assert done.code == 0, done.err
    assert "Goes to  results/local/" in done.out and "Not in this forecast: samples" in done.out
    plan = json.loads(bench(*arguments, "--json").out)
    assert plan["recipes"] == ["Q4_0"] and plan["seconds_by_stage"].keys() == {BUILDING, SCORING}
    assert plan["directory"].startswith("results/local/") and plan["on_record"] == {"done": 0, "of": 0}
    assert not (tmp_path / "results").exists() and not (tmp_path / "cache" / "quantized").exists()


def test_a_plan_counts_the_decodes_of_cache_types_and_recall(
    bench: Callable[..., Outcome], tiny: Path, text: Path, tmp_path: Path
) -> None:
    """Each cache is a decode of each file and window; what is on record costs nothing."""
    arguments = [
        "run",
        "--model",
        tiny,
        "--text",
        text,
        "--window",
        256,
        "--windows",
        2,
        "--recipes",
        "Q4_0",
        "--no-speed",
    ]
    arguments += ["--no-imatrix", "--cache", tmp_path / "cache", "--out", tmp_path / "run"]
    plain = json.loads(bench(*arguments, "--dry-run", "--json").out)["seconds_by_stage"]
    more = ["--cache-types", "f16,q8_0", "--recall", 64]
    plan = json.loads(bench(*arguments, *more, "--dry-run", "--json").out)
    # f16, f16 without flash attention, and q8_0, which counts 1.7 decodes
    assert plan["seconds_by_stage"]["Cache types"] == pytest.approx(3.7 * plain[ONLY_SCORING])
    assert plan["seconds_by_stage"]["Recall"] == pytest.approx((64 + 128) / 256 * plain[ONLY_SCORING])
    assert not plan["not_forecast"]
    done = bench(*arguments, *more)
    assert done.code == 0, done.err
    assert json.loads(bench(*arguments, *more, "--dry-run", "--json").out)["seconds"] == 0


def test_a_dry_run_counts_what_is_on_record(
    bench: Callable[..., Outcome], tiny: Path, text: Path, tmp_path: Path
) -> None:
    arguments = ["run", "--model", tiny, "--text", text, "--window", 64, "--windows", 2, "--recipes", "Q4_0"]
    arguments += ["--no-imatrix", "--cache", tmp_path / "cache", "--out", tmp_path / "run"]
    assert bench(*arguments).code == 0
    plan = json.loads(bench(*arguments, "--dry-run", "--json").out)
    assert plan["on_record"] == {"done": 4, "of": 4} and plan["seconds"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nothere.gguf"], "no such file"),
        (["--recipes", "Q4_X"], "Q4_X"),
        (["--threads", "5000"], "--threads 5000"),
    ],
)
def test_a_dry_run_refuses_what_a_run_would(bench: Callable[..., Outcome], arguments: list[str], said: str) -> None:
    done = bench("run", "--dry-run", *arguments)
    assert done.code == 2 and done.out == "" and said in done.err


def test_a_device_scores_and_the_cpu_is_timed_beside_it() -> None:
    """By hand: the device computes 1e13 multiply-adds a second where nothing but the model is computed, 35/56 of it while it scores."""
    options = Options(recipes=("IQ2_XXS", "DG-IQ2_XXS"), windows=8, score_on="gpu")
    recipes, shape = find_recipes(options.recipes), Shape.of_size(16_000_000_000)
    found = forecast(options, recipes, 4, shape, device=5e12)
    a_token, there = 2 * 8e9 / (4 * 35e9), 8e9 / (5e12 * 35 / 56)
    assert seconds(found, IMPORTANCE) == pytest.approx(24_000 * 8e9 / 5e12)
    assert seconds(found, SENSITIVITIES) == pytest.approx((44 * 7 + 1) * 256 * there)
    assert seconds(found, SCORING) == pytest.approx(3 * 8 * ((2048 + 4 * 32) * a_token + 2048 * there))
    alone = forecast(replace(options, no_speed=True), recipes, 4, shape, device=5e12)
    assert seconds(alone, ONLY_SCORING) == pytest.approx(3 * 8 * 2048 * there)


def test_the_pace_of_a_device_is_known_once_it_was_used(tmp_path: Path) -> None:
    options = Options(cache=tmp_path, score_on="GPU")
    assert known_pace(options, print) is None and known_pace(Options(cache=tmp_path), print) is None
    told = outline(options, find_recipes(("IQ2_XXS",)), "a text", 2)
    assert DEVICE_PACE in told.unforeseen
    keep_pace(tmp_path, ("gpu", "cuda0"), 5e12)
    assert known_pace(options, print) == known_pace(replace(options, score_on="CUDA0"), print) == 5e12
    assert DEVICE_PACE not in outline(options, find_recipes(("IQ2_XXS",)), "a text", 2).unforeseen
