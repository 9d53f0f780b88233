"""Sizes as they are written."""

from __future__ import annotations

import pytest

from bench.core.errors import BenchError
from bench.recipes.recipe import find_recipe
from bench.recipes.sizes import Size, canonical_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2.5bpw", Size(bits=2.5)),
        ("3 BPW", Size(bits=3.0)),
        ("80MB", Size(n_bytes=80_000_000)),
        ("1.5g", Size(n_bytes=1_500_000_000)),
        ("2 MiB", Size(n_bytes=2_097_152)),
        ("+4%", Size(over=0.04)),
        ("IQ2_XXS", Size(recipe="IQ2_XXS")),
    ],
)
def test_sizes(text: str, size: Size) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["-3bpw", "0bpw", "2.5", "4%", "80 KB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


def test_a_recipe_with_a_size() -> None:
    recipe = find_recipe("AUTO@iq2_xxs#3")
    assert (recipe.name, recipe.size, recipe.seed) == ("auto@IQ2_XXS#3", "IQ2_XXS", 3)
    assert recipe.family == "Automatic, random" and "the size of IQ2_XXS" in recipe.description
    gate = find_recipe("dg-iq1_s")
    assert (gate.name, gate.family, gate.size) == ("DG-IQ1_S", "DynamicGate", "+14%")
    assert find_recipe("DG-IQ4_XS").size == "+7%" and find_recipe("DG-IQ1_S@+10%").name == "DG-IQ1_S@+10%"
    assert find_recipe("auto@dg-iq2_s").size == "DG-IQ2_S"
    assert find_recipe("auto@2bpw").fingerprint != find_recipe("auto@3bpw").fingerprint


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("auto", "needs a size, for instance auto@2.5bpw"),
        ("auto@IQ2XXS", "did you mean"),
        ("auto@-3bpw", "is no size"),
        ("IQ2_S@3bpw", "leaves nothing to choose, so it takes no size"),
        ("DG-FULL-IQ2_S#1", "leaves nothing to choose"),
        ("auto@2bpw#x", "a whole number"),
    ],
)
def test_what_is_no_recipe_with_a_size(name: str, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        find_recipe(name)


def test_a_size_stands_without_spaces() -> None:
    assert canonical_size(" 2.5 bpw ", "auto") == "2.5bpw"
