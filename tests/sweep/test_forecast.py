"""What a run will take: by hand for a model of known size, and told in words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.recipes.recipe import find_recipes
from bench.sweep.forecast import Forecast, duration, forecast, tell
from bench.workbench.options import Options


def test_a_model_of_eight_billion_weights_by_hand() -> None:
    options = Options(recipes=("IQ2_XXS", "DG-IQ2_XXS"), windows=8)
    found = forecast(options, find_recipes(options.recipes), threads=4, known_bytes=16_000_000_000)
    # 2 x 8e9 multiply-adds a token, 4 x 80e9 a second
    a_token = 2 * 8e9 / (4 * 80e9)
    assert found.parts["scoring and timing"] == pytest.approx(3 * 8 * 2048 * a_token)
    assert found.parts["sensitivities"] == pytest.approx(44 * 7 * 512 * a_token)
    assert found.parts["choices"] == pytest.approx(9 * 3 * 512 * a_token)  # one of the two leaves a choice
    assert found.parts["quantizing"] == pytest.approx(2 * 8e9 / (4 * 7e6))
    # two files and their tensors, 2.0625 bits and a tenth
    assert found.built == pytest.approx(2 * 2 * 8e9 * 1.1 * 2.0625 / 8, rel=0.01)
    assert found.download == found.copies == 0
    assert found.memory == pytest.approx(16e9 + 4 * 1024 * 128_000)


def test_what_a_run_has_built_is_not_asked_for_again(tmp_path: Path) -> None:
    options = Options(recipes=("IQ2_XXS",), windows=8, cache=tmp_path)
    recipes = find_recipes(options.recipes)
    anew = forecast(options, recipes, threads=4, known_bytes=16_000_000).built
    (tmp_path / "quantized").mkdir()
    (tmp_path / "quantized" / "model-IQ2_XXS-0123.gguf").write_bytes(bytes(2_000_000))
    (tmp_path / "quantized" / "other-IQ2_XXS-4567.gguf").write_bytes(bytes(9_000_000))  # of a larger model
    assert forecast(options, recipes, threads=4, known_bytes=16_000_000).built == anew - 2_000_000


def test_no_choice_takes_no_sensitivities() -> None:
    options = Options(recipes=("Q4_K_M",), no_imatrix=True)
    found = forecast(options, find_recipes(options.recipes), threads=1, known_bytes=10**9)
    assert found.parts["sensitivities"] == found.parts["choices"] == found.parts["importance matrix"] == 0


@pytest.mark.parametrize(("seconds", "said"), [(40, "40 s"), (89, "89 s"), (720, "12 min"), (12_600, "3.5 h")])
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_refused_where_it_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=10 * 10**9))
    # one disk for both: 4 GB to download and 7 GB to build do not fit into 10
    with pytest.raises(BenchError, match=r"needs about 11\.0 GB \(4\.0 GB of them to download\) and 10\.0 GB are free"):
        tell(Forecast(4 * 10**9, 0, 7 * 10**9, 1, {}), (tmp_path / "a" / "b", tmp_path), Reporter())
    tell(Forecast(3 * 10**9, 0, 6 * 10**9, 1, {}), (tmp_path / "a" / "b", tmp_path), Reporter())
