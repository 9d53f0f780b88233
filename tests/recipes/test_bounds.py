"""Budgets by class and tensors that are kept together, as they are written, and what classes and fused tensors are."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.measures.registry import load_run
from bench.recipes.bounds import bound
from bench.recipes.classes import CLASSES, class_of, fused
from bench.recipes.labels import is_bound
from bench.recipes.recipe import find_recipe
from bench.recipes.sizes import Size, canonical_size, parse_size

ROOT = Path(__file__).parents[2]
SMALL = "auto@experts=3MB+rest=1MB"


def test_budgets_as_they_are_written() -> None:
    assert parse_size("experts=12GB+rest=6 GB") == Size(
        budgets={"experts": Size(n_bytes=12 * 10**9), "rest": Size(n_bytes=6 * 10**9)}
    )
    assert parse_size("attention=+10%+rest=2.5bpw+together") == Size(
        budgets={"attention": Size(over=0.1), "rest": Size(bits=2.5)}, together=True
    )
    assert parse_size("80MB+together") == Size(n_bytes=80_000_000, together=True)
    assert parse_size("+4%+together") == Size(over=0.04, together=True)


def test_one_way_to_write_them_is_the_name() -> None:
    recipe = find_recipe("AUTO@ rest = 1GiB + Together + experts = iq2_s#02")
    assert recipe.name == "auto@experts=IQ2_S+rest=1GiB+together#2"
    assert recipe.size == "experts=IQ2_S+rest=1GiB+together" and recipe.seed == 2
    assert find_recipe(recipe.name) == recipe
    assert "the size of IQ2_S for experts and 1073.74 MB for the rest; up and gate of a layer in one type" in (
        recipe.description
    )
    assert canonical_size("rest=1MB + embeddings=2 MB", "auto") == "embeddings=2MB+rest=1MB"


def test_together_goes_with_the_size_that_a_recipe_has() -> None:
    gate = find_recipe("DG-IQ2_XXS@together")
    assert (gate.name, gate.family) == ("DG-IQ2_XXS@+4%+together", "DynamicGate, +4%+together")
    assert find_recipe(gate.name) == gate
    assert parse_size(find_recipe("auto@DG-IQ2_XXS@+10%+together").size or "") == Size(
        recipe="DG-IQ2_XXS@+10%", together=True
    )


def test_what_binds_more_is_another_recipe() -> None:
    names = ("auto@4MB", "auto@4MB+together", SMALL, f"{SMALL}+together", "auto@experts=3MB+rest=2MB", f"{SMALL}#1")
    assert len({find_recipe(name).fingerprint for name in names}) == len(names)
    assert [is_bound(name) for name in names] == [False, True, True, True, True, True]
    assert not is_bound("DG-IQ2_XXS@+4%") and not is_bound("IQ2_XXS")


def test_fingerprints_are_those_on_record() -> None:
    """A recipe that has neither is what it was: its files in caches and its records still are its own."""
    published = [load_run(ROOT / "results" / name) for name in ("smollm2-135m-instruct", "smollm2-135m-instruct-sizes")]
    on_record = {name: f.rules for run in published for name, f in run.files.items() if f.rules and "/" not in name}
    assert len(on_record) > 50
    assert {name: find_recipe(name).fingerprint for name in on_record} == on_record


def test_whose_size_it_has() -> None:
    assert parse_size("IQ2_S+together").against == "IQ2_S"
    assert parse_size("experts=IQ2_S+rest=IQ2_S").against == "IQ2_S"
    assert parse_size("experts=IQ2_S+rest=Q8_0").against is None
    assert parse_size("experts=IQ2_S+rest=1MB").against is None
    assert parse_size("experts=IQ2_S+rest=Q8_0").recipes == ("IQ2_S", "Q8_0")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("auto@expert=3MB+rest=1MB", "there is no class of tensors 'expert'; did you mean experts.*classes are experts,"),
        ("auto@experts=3MB", r"the rest of the file has no budget; add one, for instance rest=6GB"),
        ("auto@rest=3MB", "rest alone is the whole file; write 3MB"),
        ("auto@experts=3MB+rest=1MB+experts=4MB", "experts has two budgets"),
        ("auto@experts=+rest=1MB", "the budget of experts: '' is no size"),
        ("auto@experts=3KB+rest=1MB", "the budget of experts: '3KB' is no size; write for instance"),
        ("auto@experts=0MB+rest=1MB", "the budget of experts: '0MB': a size must be more than nothing"),
        ("auto@experts=IQ2S+rest=1MB", "no recipe or type is called 'IQ2S'; did you mean"),
        ("auto@experts=own.toml+rest=1MB", "a size cannot be that of a file's recipe"),
        ("auto@80MB+experts=3MB+rest=1MB", r"a size of the whole file \(80MB\) and budgets of classes exclude each other"),
        ("auto@80MB+IQ2_S", "80MB and IQ2_S are two sizes"),
        ("auto@together", r"needs a size, for instance auto@2.5bpw\+together"),
        (f"Q4_K_M@{SMALL[5:]}", r"Q4_K_M leaves nothing to choose.*; try auto@experts=3MB\+rest=1MB"),
        ("DG-FULL-IQ2_S@together", "DG-FULL-IQ2_S leaves nothing to choose"),
    ],
)  # fmt: skip
def test_what_is_no_budget(name: str, said: str) -> None:
    with pytest.raises(BenchError, match=said) as refused:
        find_recipe(name)
    assert str(refused.value).startswith(name) or "no recipe or type" in said
    assert "\n" not in str(refused.value)


def test_budgets_in_a_recipe_file(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    text = 'prefix = "OWN"\nbase = "Q4_0"\nsize = "{}"\n[[rules]]\npattern = "."\nmay = ["Q2_K"]\n'
    own.write_text(text.format("rest=1MB+experts=3MB+together"))
    assert find_recipe(str(own)).size == "experts=3MB+rest=1MB+together"
    own.write_text(text.format("experts=3MB"))
    with pytest.raises(BenchError, match=r"own.toml: size: the rest of the file has no budget"):
        find_recipe(str(own))


# --- the options of commands ------------------------------------------------------------------------------------------


def test_options_are_written_into_names() -> None:
    given = ("Q4_K_M", "auto", "auto@#2", "DG-IQ2_S")
    budget = "rest=1MB, experts=3MB"
    names = bound(given, budget, together=False)
    assert names == ("Q4_K_M", SMALL, f"{SMALL}#2", f"DG-IQ2_S@{SMALL[5:]}")
    assert [find_recipe(n).name for n in names] == list(names)
    assert bound(("auto@IQ2_S#1", "DG-IQ2_S", SMALL), None, together=True) == (
        "auto@IQ2_S+together#1", "DG-IQ2_S@together", f"{SMALL}+together",
    )  # fmt: skip
    assert bound(("auto",), budget, together=True) == (f"{SMALL}+together",)
    assert bound(given, None, together=False) == given and bound(None, None, together=False) is None
    suite = bound(None, None, together=True) or ()
    assert suite[:2] == ("IQ2_XXS", "DG-IQ2_XXS@together") and len(suite) == 10


@pytest.mark.parametrize(
    ("names", "budget", "said"),
    [
        (("auto@3MB",), "experts=3MB,rest=1MB", "auto@3MB has a size and --budget gives it another"),
        (("auto",), "80MB", "--budget 80MB: is no list of classes of tensors with their sizes; write for instance"),
        (("auto",), "", "--budget : is no list"),
        (("auto",), "experts=3MB,1MB", "is no list of classes"),
        (("auto",), "expert=3MB,rest=1MB", "--budget expert=3MB,rest=1MB: there is no class of tensors 'expert'; did you mean experts"),
        (("auto",), "experts=3MB", "--budget experts=3MB: the rest of the file has no budget"),
        (("auto",), "experts=3,rest=1MB", "the budget of experts: '3' is no size"),
        (("Q4_K_M", "IQ2_S"), "experts=3MB,rest=1MB", r"--budget: none of the recipes \(Q4_K_M, IQ2_S\) leaves a choice"),
        (("none",), "experts=3MB,rest=1MB", r"--budget: none of the recipes \(none\) leaves a choice"),
        (("Q4_K_M",), None, r"--keep-together: none of the recipes \(Q4_K_M\) leaves a choice"),
    ],
)  # fmt: skip
def test_options_that_bind_nothing(names: tuple[str, ...], budget: str | None, said: str) -> None:
    with pytest.raises(BenchError, match=said) as refused:
        bound(names, budget, together=budget is None)
    assert "\n" not in str(refused.value)


# --- classes and fused tensors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensor", "named", "expected"),
    [
        ("blk.3.ffn_up_exps.weight", ("experts", "rest"), "experts"),
        ("blk.3.ffn_up_exps.bias", ("experts", "rest"), "experts"),
        ("blk.3.ffn_gate_up_exps.weight", ("experts", "rest"), "experts"),
        ("blk.3.ffn_gate_inp.weight", ("experts", "rest"), "rest"),
        ("blk.3.ffn_down_shexp.weight", ("experts", "rest"), "rest"),
        ("blk.3.ffn_down_shexp.weight", CLASSES, "shared-experts"),
        ("blk.3.ffn_up_exps.weight", CLASSES, "experts"),
        ("blk.3.ffn_up_exps.weight", ("feed-forward", "rest"), "feed-forward"),
        ("blk.3.ffn_up.weight", CLASSES, "feed-forward"),
        ("blk.3.attn_qkv.weight", CLASSES, "attention"),
        ("token_embd.weight", CLASSES, "embeddings"),
        ("output.weight", CLASSES, "output"),
        ("output_norm.weight", CLASSES, "rest"),
        ("token_embd.weight", ("experts", "rest"), "rest"),
    ],
)
def test_the_class_of_a_tensor(tensor: str, named: tuple[str, ...], expected: str) -> None:
    assert class_of(tensor, named) == expected


def test_what_kernels_fuse() -> None:
    layer = (
        "ffn_up_exps",
        "ffn_gate_exps",
        "ffn_down_exps",
        "ffn_up_shexp",
        "ffn_gate_shexp",
        "ffn_gate_inp",
        "attn_q",
        "attn_k",
    )
    names = [f"blk.{i}.{t}.weight" for i in (1, 2) for t in layer] + ["blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"]
    assert set(fused(names)) == {
        ("blk.0.ffn_up.weight", "blk.0.ffn_gate.weight"),
        *((f"blk.{i}.ffn_up_{s}.weight", f"blk.{i}.ffn_gate_{s}.weight") for i in (1, 2) for s in ("exps", "shexp")),
    }  # fmt: skip
    assert fused(["blk.0.ffn_up.weight", "blk.0.ffn_gate_up_exps.weight", "blk.0.ffn_down.weight"]) == ()
