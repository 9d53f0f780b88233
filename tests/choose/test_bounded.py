"""Choices with budgets by class and with tensors kept together, on a tiny mixture of experts: what the built file has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from bench import resolve_recipe
from bench.choose.chooser import Chooser
from bench.core.errors import MeasurementError
from bench.core.progress import Reporter
from bench.measures.registry import load_run
from bench.quantize.jobs import PlanJob, PlanResult
from bench.recipes.classes import fused
from bench.recipes.recipe import find_recipe
from bench.workbench.options import Options
from bench.workbench.work import Work
from tests.conftest import Outcome
from tests.support import architectures
from tests.support.tiny import write_text

REPORTER = Reporter()
EXPERTS, REST = 3_000_000, 700_000
BUDGETS = f"experts={EXPERTS}+rest={REST}"


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return architectures.mixture(tmp_path_factory.mktemp("model") / "mixture.gguf")


@pytest.fixture(scope="module")
def calibration_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "long.txt", 4200, seed=11)


@pytest.fixture(scope="module")
def arguments(mixture: Path, calibration_text: Path, cache: Path) -> list[object]:
    return [
        "--model",
        mixture,
        "--calibration",
        calibration_text,
        "--calibration-chunks",
        2,
        "--cache",
        cache,
        "--threads",
        1,
    ]


@pytest.fixture(scope="module")
def work(mixture: Path, calibration_text: Path, cache: Path) -> Work:
    asked = Options(model=str(mixture), cache=cache, calibration=calibration_text, calibration_chunks=2, threads=1)
    return Work(asked, REPORTER)


@pytest.fixture(scope="module")
def chooser(work: Work) -> Chooser:
    return Chooser(work, refinements=2)


def planned(chooser: Chooser, name: str) -> PlanResult:
    resolved = chooser.resolve(find_recipe(name)).recipe
    return chooser.work.executor.do(PlanJob(model=chooser.work.model, recipe=resolved, with_importance=True))


def bytes_of(file: Path, *parts: str) -> int:
    """Bytes of a file's tensors with one of these parts in the name, with what each is padded by."""
    return sum(-(-t.n_bytes // 32) * 32 for t in gguf.GGUFReader(file).tensors if any(p in t.name for p in parts))


def split_pairs(types: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of up and gate of two types."""
    return [pair for pair in fused(types) if len({types[n] for n in pair}) > 1]


def test_budgets_are_kept_by_class_in_the_bytes_of_the_built_file(
    bench: Callable[..., Outcome],
    arguments: list[object],
    free_choice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.choose.chooser._REFINEMENTS", 2)
    options = "--budget", f"experts={EXPERTS},rest={REST}", "--keep-together"
    shown = bench("recipe", "show", free_choice, *options, *arguments)
    assert shown.code == 0, shown.err
    built = bench("quantize", free_choice, tmp_path / "a.gguf", *options, *arguments)
    assert built.code == 0, built.err
    file = tmp_path / "a.gguf"
    experts = bytes_of(file, "_exps.")
    rest = file.stat().st_size - experts
    assert 0.97 * EXPERTS < experts <= EXPERTS and 0.97 * REST < rest <= REST
    assert (
        f"Bytes by class of tensors: experts {experts:,} of {EXPERTS:,} allowed; rest {rest:,} of {REST:,} allowed"
        in shown.out
    )
    types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(file).tensors}
    assert len(fused(types)) == 4 and not split_pairs(types)
    several = bench("quantize", f"{free_choice}@{BUDGETS},Q4_0", tmp_path / "several", *arguments)
    assert several.code == 0, several.err
    assert {p.name for p in (tmp_path / "several").iterdir()} == {
        f"FREE-experts-{EXPERTS}+rest-{REST}.gguf",
        "Q4_0.gguf",
    }


def test_a_file_that_is_bound_by_less_is_another(chooser: Chooser, free_choice: Path) -> None:
    """Pairs do get two types where nothing keeps them together, and a size of the whole file is spent in other classes."""
    free = chooser.resolve(find_recipe(f"{free_choice}@{BUDGETS}"))
    assert free.choice is not None and split_pairs(planned(chooser, f"{free_choice}@{BUDGETS}").types)
    bound = chooser.resolve(find_recipe(f"{free_choice}@{BUDGETS}+together"))
    assert bound.choice is not None and not split_pairs(planned(chooser, f"{free_choice}@{BUDGETS}+together").types)
    assert (free.choice.together, bound.choice.together) == (False, True)
    whole = planned(chooser, f"{free_choice}@{EXPERTS + REST}")
    classes = chooser.space.by_class(whole, ("experts", "rest"))
    assert sum(classes.values()) == whole.n_bytes <= EXPERTS + REST
    assert classes["experts"] > EXPERTS or classes["rest"] > REST


def test_sizes_of_classes_in_bits_over_the_base_and_as_another_recipe(chooser: Chooser, free_choice: Path) -> None:
    classes = ("experts", "attention", "rest")
    standard = chooser.space.by_class(planned(chooser, "Q4_K_S"), classes)
    base = chooser.space.by_class(planned(chooser, "Q8_0"), classes)
    limits = chooser.limits(find_recipe(f"{free_choice}@experts=3bpw+attention=Q4_K_S+rest=+1%"))
    weights = {t.name: t.n_weights for t in chooser.work.reference.info.tensors}
    assert limits == {
        "experts": sum(n for name, n in weights.items() if "_exps" in name) * 3 // 8,
        "attention": standard["attention"],
        "rest": int(base["rest"] * 1.01),
    }
    assert standard["attention"] > sum(n for name, n in weights.items() if ".attn_" in name) * 4 / 8
    chosen = chooser.space.by_class(planned(chooser, f"{free_choice}@experts=3bpw+attention=Q4_K_S+rest=+1%"), classes)
    assert all(chosen[c] <= limits[c] for c in classes) and chosen["attention"] > 0.9 * limits["attention"]


def test_a_choice_with_the_budgets_of_another_recipe_is_held_against_it(chooser: Chooser, free_choice: Path) -> None:
    resolved = chooser.resolve(find_recipe(f"{free_choice}@experts=Q3_K_S+rest=Q3_K_S+together"))
    assert resolved.choice is not None and resolved.choice.against == "Q3_K_S"
    standard = planned(chooser, "Q3_K_S")
    assert resolved.choice.limit == standard.n_bytes
    assert sum(resolved.choice.class_bytes.values()) <= standard.n_bytes


def test_random_controls_are_bound_alike(chooser: Chooser, free_choice: Path) -> None:
    names = [f"{free_choice}@{BUDGETS}+together#{seed}" for seed in (1, 2)]
    dealt = [planned(chooser, name) for name in names]
    for plan in dealt:
        classes = chooser.space.by_class(plan, ("experts", "rest"))
        assert 0.95 * EXPERTS < classes["experts"] <= EXPERTS and 0.95 * REST < classes["rest"] <= REST
        assert not split_pairs(plan.types)
    assert dealt[0].types != dealt[1].types
    control = chooser.resolve(find_recipe(names[0])).choice
    assert control is not None and control.against == f"FREE@{BUDGETS}+together"


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("shared-experts=1MB+rest=4MB", r"mixture has no tensors of the class shared-experts; leave its budget out \(it has experts, attention,"),
        ("experts=1000000+rest=1MB", r"1,000,000 bytes are allowed for experts and the smallest choice of types takes 2,064,384; give experts at least that, experts=2064384"),
        ("experts=3MB+rest=100000", r"100,000 bytes are allowed for the rest and the smallest choice of types takes \d\d\d,\d\d\d; give the rest at least"),
    ],
)  # fmt: skip
def test_budgets_that_the_model_cannot_keep(chooser: Chooser, free_choice: Path, size: str, said: str) -> None:
    with pytest.raises(MeasurementError, match=said) as refused:
        chooser.resolve(find_recipe(f"{free_choice}@{size}"))
    assert str(refused.value).startswith(f"FREE@{size}: ") and "\n" not in str(refused.value)


def test_the_least_that_is_told_is_enough(chooser: Chooser, free_choice: Path) -> None:
    with pytest.raises(MeasurementError) as refused:
        chooser.resolve(find_recipe(f"{free_choice}@experts=1000000+rest=1MB+together"))
    least = str(refused.value).rpartition("experts=")[2]
    plan = planned(chooser, f"{free_choice}@experts={least}+rest=1MB+together")
    assert chooser.space.by_class(plan, ("experts", "rest"))["experts"] == int(least)
    with pytest.raises(MeasurementError, match="give experts at least that"):
        chooser.resolve(find_recipe(f"{free_choice}@experts={int(least) - 1}+rest=1MB+together"))


def test_tensors_that_may_take_no_type_in_common(chooser: Chooser, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'prefix = "OWN"\nbase = "Q8_0"\nsize = "5bpw+together"\n[[rules]]\npattern = "."\nmay = ["Q4_K"]\n'
        '[[rules]]\ntensors = ["ffn_up_exps"]\ntype = "Q6_K"\n'
    )
    with pytest.raises(
        MeasurementError,
        match=r"OWN: no type is allowed for blk.0.ffn_up_exps.weight and blk.0.ffn_gate_exps.weight alike",
    ):
        chooser.resolve(find_recipe(str(own)))


def test_a_model_without_experts_or_gates(
    bench: Callable[..., Outcome], tiny: Path, calibration: Path, cache: Path, tmp_path: Path
) -> None:
    without = ["--calibration", calibration, "--cache", cache]
    refused = bench("recipe", "show", f"auto@{BUDGETS}", "--model", tiny, *without)
    assert refused.code == 2 and "tiny has no tensors of the class experts; leave its budget out" in refused.err
    no_gate = architectures.starcoder(tmp_path / "starcoder.gguf")
    refused = bench("recipe", "show", "auto@4bpw", "--keep-together", "--model", no_gate, *without)
    assert refused.code == 2 and "has no up and gate in a layer that kernels could fuse" in refused.err


def test_records_and_notes_tell_the_budgets(
    bench: Callable[..., Outcome],
    arguments: list[object],
    text: Path,
    free_choice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One run with several bounds of one recipe, and what leaves no choice beside them."""
    monkeypatch.setattr("bench.choose.chooser._REFINEMENTS", 2)
    asked = f"Q3_K_S,{free_choice},{free_choice}@#1"
    done = bench("run", *arguments, "--text", text, "--window", 64, "--windows", 2, "--no-speed", "--out", tmp_path / "run",
                 "--recipes", asked, "--budget", f"experts={EXPERTS},rest={REST}", "--json")  # fmt: skip
    assert done.code == 0, done.err
    run, name = load_run(tmp_path / "run"), f"FREE@{BUDGETS}"
    assert list(run.files) == ["F16", "Q3_K_S", name, f"{name}#1"]
    choice = run.files[name].choice
    assert choice is not None and choice.budgets == {"experts": EXPERTS, "rest": REST}
    assert sum(choice.class_bytes.values()) == run.files[name].n_bytes <= choice.limit == EXPERTS + REST
    assert all(n <= choice.budgets[c] for c, n in choice.class_bytes.items())
    assert run.files[f"{name}#1"].choice.against == name  # type: ignore[union-attr]
    said = [n for n in json.loads(done.out)["notes"] if n.startswith(f"{name}: ")]
    assert said == [
        f"{name}: of its budgets it takes experts {choice.class_bytes['experts']:,} of {EXPERTS:,} bytes and "
        f"rest {choice.class_bytes['rest']:,} of {REST:,} bytes"
    ]
    again = bench("recipe", "show", f"{free_choice}@{BUDGETS}", *arguments, "--json")
    assert json.loads(again.out)["bytes_by_class"] == choice.class_bytes


def test_the_library_takes_them_too(mixture: Path, calibration_text: Path, cache: Path, free_choice: Path) -> None:
    budget = {"experts": EXPERTS, "rest": "700000"}
    common = {"model": mixture, "calibration": calibration_text, "calibration_chunks": 2, "cache": cache, "threads": 1}
    found = resolve_recipe(free_choice, budget=budget, keep_together=True, quiet=True, **common)  # type: ignore[arg-type]
    assert found.attrs["recipe"] == f"FREE@{BUDGETS}+together"
    assert found.attrs["budgets"] == {"experts": EXPERTS, "rest": REST}
    assert sum(found.attrs["bytes_by_class"].values()) == found.attrs["bytes"]
    assert not split_pairs(found["type"].to_dict())
    plain = resolve_recipe("Q4_0", quiet=True, **common)  # type: ignore[arg-type]
    assert plain.attrs["bytes_by_class"].keys() == {"experts", "rest"} and not plain.attrs["budgets"]
