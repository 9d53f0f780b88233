"""Recipes beside a card: commands and lists that llama.cpp's own tool takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bench.engine.quantizer import QuantizeRequest, plan
from bench.gguf_files.info import inspect
from bench.measures.registry import load_run
from bench.present.card_recipes import SCRIPT, commands, recipe_files, types_path
from bench.present.hub_names import file_names
from bench.recipes.recipe import apply_rules, find_recipe
from bench.records.run import Run
from tests.support.records import file_record, run_of

PUBLISHED = Path(__file__).parents[2] / "results" / "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def run() -> Run:
    return load_run(PUBLISHED)


def test_a_standard_file_is_left_to_the_mix_of_the_tool(run: Run) -> None:
    assert commands(run, "m.gguf")["IQ2_XXS"] == (
        "llama-quantize --imatrix m.gguf SmolLM2-135M-Instruct-F16.gguf SmolLM2-135M-Instruct-IQ2_XXS.gguf IQ2_XXS"
    )


def test_the_list_of_a_mixed_file_gives_every_quantized_tensor_its_type(run: Run) -> None:
    """As llama-quantize reads it: the first pattern that is found in a tensor's name decides."""
    name, file = file_names(run)["DG-IQ2_XXS"], run.files["DG-IQ2_XXS"]
    words = shlex.split(commands(run, None)["DG-IQ2_XXS"])
    assert words[:5] == ["llama-quantize", "--imatrix", "IMATRIX", "--tensor-type-file", types_path(name)]
    assert words[-1] == "IQ2_XXS"
    listed = [line.rpartition("=") for line in recipe_files(run, None)[types_path(name)].split()]
    for tensor, stored in file.types.items():
        found = next((kind for pattern, _, kind in listed if re.search(pattern, tensor)), None)
        assert found == (None if stored == "F32" else stored.lower())
    assert all(pattern == pattern.lower() for pattern, _, _ in listed)  # the tool takes them so


def test_the_script_has_a_command_for_every_published_file(run: Run) -> None:
    files = recipe_files(run, "m.gguf")
    lines = [line for line in files[SCRIPT].splitlines() if line.startswith("llama-quantize")]
    assert lines == list(commands(run, "m.gguf").values()) and len(lines) == len(file_names(run))
    named = {part for line in lines for part in shlex.split(line) if part.startswith("recipes/")}
    assert named == files.keys() - {SCRIPT}


def test_the_quantizer_gives_the_types_of_the_file_by_its_list(tiny: Path) -> None:
    """What llama-quantize does with the list: each pattern and type goes before the mix of the format."""
    recipe, header = find_recipe("DG-FULL-Q3_K_M"), inspect(tiny)
    mix = plan(QuantizeRequest(tiny, recipe.base, {}, {})).types
    wanted = mix | apply_rules(recipe, mix, header.n_layers)
    assert wanted != mix
    reference, mixed = file_record("F16", "Reference", 9), file_record("DG-FULL-Q3_K_M", "DynamicGate, full", 5)
    stored = {t.name: t.type for t in header.tensors}
    records = [
        reference.model_copy(update={"types": stored}),
        mixed.model_copy(update={"types": wanted, "base": recipe.base}),
    ]
    run = run_of([*records])
    listed = recipe_files(run, None)[types_path(file_names(run)["DG-FULL-Q3_K_M"])].split()
    found = {re.sub(r"[\\^$]", "", pattern): kind.upper() for pattern, _, kind in (x.rpartition("=") for x in listed)}
    assert plan(QuantizeRequest(tiny, recipe.base, found, {})).types == wanted
