"""The guide to formats, its data file, and what files of its formats hold."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest

from bench.advise.bits import BITS, n_weights, plan_model, read_for_a_token, stored, tensors
from bench.advise.guide import GUIDE, guide, guide_table, read_guide
from bench.core.errors import BenchError
from bench.engine.jobs import LibraryJob
from bench.execute.local import LocalExecutor
from bench.recipes.recipe import find_recipe


def test_the_guide_names_formats_that_exist_best_first() -> None:
    rows = guide().formats
    for recipe in (r for row in rows for r in row.recipes):
        assert find_recipe(recipe).name == recipe
    recipes = {r for row in rows for r in row.recipes}
    published = {"BF16", "F16", "Q8_0", "Q6_K", "Q4_K_M", "Q4_0", "IQ3_M", "IQ3_S", "IQ3_XS"}
    assert published | {"IQ4_XS", "Q5_K_M", "Q3_K_M", "Q2_K", "MXFP4_MOE", "IQ4_NL", "IQ3_XXS"} <= recipes
    bits = [stored(row.recipes[0], "8B").bits for row in rows if not (row.superseded or row.only_experts)]
    assert bits == pytest.approx(sorted(bits, reverse=True), abs=0.02)


def test_the_table_has_a_row_for_each_format_of_the_data_file() -> None:
    lines = guide_table().splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == [f.name for f in guide().formats]
    assert {line.count(" | ") for line in lines} == {5}


def test_a_recipe_is_found_in_its_row() -> None:
    assert [r.name if (r := guide().of(n)) else None for n in ("q4_k_s", "DG-IQ1_M", "TQ1_0")] == [
        "Q4_K",
        "DynamicGate 1-2 bit",
        None,
    ]


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('memory = "high"', 'memory = "big"', "BF16.memory: Input should be"),
        ("wants =", "want =", "BF16.want: unknown key; did you mean wants?"),
        ("layers = 28", "layers = 0", "1.5B.layers: Input should be greater than 0"),
        ('recipes = ["F16"]', 'recipes = ["BF16"]', "F16: BF16 is in the guide twice"),
        ("[[formats]]", "[[format]]", "formats: Field required"),
        ("models = [", "models = ", "is no TOML file"),
    ],
)
def test_an_error_in_the_data_file_is_named(was: str, becomes: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "guide.toml"
    text = GUIDE.read_text()
    assert was in text
    path.write_text(text.replace(was, becomes))
    with pytest.raises(BenchError) as e:
        read_guide(path)
    assert said in str(e.value)
    assert "\n" not in str(e.value)


def test_what_files_hold_is_what_this_llama_cpp_plans(tmp_path: Path) -> None:
    kept, executor = json.loads(BITS.read_text()), LocalExecutor(tmp_path)
    assert kept["llama_cpp"] == executor.do(LibraryJob()).llama_cpp
    for model in (m for m in guide().models if m.name in ("1.5B", "30B-A3B")):
        recipes = ["Q4_K_M", "IQ2_XXS", "MXFP4_MOE"]
        planned = plan_model(model, executor, recipes)
        assert planned == {r: kept["models"][model.name][r] for r in recipes}


def test_bits_are_those_of_the_types() -> None:
    assert stored("Q8_0", "8B").bits == pytest.approx(8.5, abs=0.01)  # 34 bytes for 32 weights
    assert stored("F16", "70B").bits == pytest.approx(16, abs=0.01)
    assert stored("DG-IQ2_XXS", "8B").bits == pytest.approx(stored("IQ2_XXS", "8B").bits * 1.04)  # what its size allows
    with pytest.raises(BenchError, match="has no TQ1_0 of 8B"):
        stored("TQ1_0", "8B")


def test_weights_of_a_model_are_those_of_its_shapes() -> None:
    # as published: Llama 3.1 8B has 8.03e9, Qwen3 30B-A3B 30.5e9 of which 3.3e9 work on a token, embeddings included
    eight, mixture = (next(m for m in guide().models if m.name == n) for n in ("8B", "30B-A3B"))
    assert n_weights(eight) == pytest.approx(8.03e9, rel=0.001)
    assert n_weights(mixture) == pytest.approx(30.5e9, rel=0.005)
    read = sum(stored("F16", "30B-A3B").read.values())
    embeddings = prod(tensors(mixture)["token_embd.weight"])
    assert read + embeddings == pytest.approx(3.35e9, rel=0.01)


def test_embeddings_are_read_only_where_they_are_the_output_too() -> None:
    tied = {"token_embd.weight": (4, 10), "blk.0.ffn_up.weight": (4, 8)}
    types = dict.fromkeys([*tied, "output.weight"], "F16")
    assert read_for_a_token(tied, types, 1) == {"F16": 72}
    assert read_for_a_token(tied | {"output.weight": (4, 10)}, types, 1) == {"F16": 72}
