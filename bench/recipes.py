"""Recipes: which type every tensor of a model gets.

A recipe is llama.cpp's own mix for a format (its base), with rules on top that give other types to layers or kinds of
tensor. Mixed-precision recipes are TOML files in bench/recipes/; `DG-IQ2_XXS` is the recipe DG on the base IQ2_XXS.
Rules speak of what every architecture has (layers, embeddings, output), never of tensor names of one architecture.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import gguf

from bench.errors import BenchError, MeasurementError, nearest
from bench.gguf_io import UNQUANTIZED

_LAYER = re.compile(r"^blk\.(\d+)\.")


@dataclass(frozen=True)
class Rule:
    """A type for a range of layers, given as shares of the depth, or for kinds of tensor outside the layers."""

    type: str
    layers: tuple[float, float] | None = None
    tensors: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        return " and ".join(self.tensors) if self.layers is None else "layers {:.0%} to {:.0%}".format(*self.layers)

    def applies(self, tensor: str, n_layers: int) -> bool:
        layer = _LAYER.match(tensor)
        if layer and self.layers:
            first, end = (layer_boundary(share, n_layers) for share in self.layers)
            return first <= int(layer[1]) < end
        return not layer and kind_of(tensor) in self.tensors


@dataclass(frozen=True)
class Recipe:
    """name: as the user says it; family: `Standard` or the family of a recipe file; base: a llama.cpp format."""

    name: str
    family: str
    base: str
    description: str
    rules: tuple[Rule, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Equal for recipes that ask for the same types."""
        return hashlib.sha256(json.dumps([self.base, [asdict(r) for r in self.rules]]).encode()).hexdigest()[:16]


def layer_boundary(share: float, n_layers: int) -> int:
    """The layer at a share of the depth, to the nearest, with halves given to the outer layers on both sides.

    Of 30 layers the first 25 % are 8 (0 to 7) and the last 25 % are 8 (22 to 29).
    """
    if share > 0.5:
        return n_layers - layer_boundary(1 - share, n_layers)
    return int(share * n_layers + 0.5)


def kind_of(tensor: str) -> str:
    """What a tensor outside the layers is: `embeddings`, `output`, or `other`."""
    if tensor.endswith("token_embd.weight"):
        return "embeddings"
    return "output" if tensor == "output.weight" else "other"


@cache
def standard_formats() -> tuple[str, ...]:
    """The formats llama.cpp knows, in its order."""
    names = [t.name.removeprefix("MOSTLY_").removeprefix("ALL_") for t in gguf.LlamaFileType]
    return tuple(n for n in names if n not in ("GUESSED", "Q4_1_SOME_F16"))


@cache
def recipe_files() -> dict[str, Path]:
    """Recipe files by the prefix that names them."""
    return {
        tomllib.loads(p.read_text(encoding="utf-8"))["prefix"]: p
        for p in sorted((Path(__file__).parent / "recipes").glob("*.toml"))
    }


def find_recipe(name: str) -> Recipe:
    """The recipe of a name such as `IQ2_XXS` or `DG-IQ2_XXS` (case does not matter). Raises BenchError with near names."""
    known = [f"{prefix}-{base}" for prefix in ("", *recipe_files()) for base in standard_formats()]
    known = [k.removeprefix("-") for k in known]
    exact = {k.casefold(): k for k in known}.get(name.casefold())
    if exact is None:
        raise BenchError(f"no recipe or type is called {name!r}{nearest(name, known)}")
    prefix, _, base = exact.rpartition("-")
    if not prefix:
        return Recipe(base, "Standard", base, f"llama.cpp's own mix of types for {base}")
    data = tomllib.loads(recipe_files()[prefix].read_text(encoding="utf-8"))
    if base in UNQUANTIZED:
        raise BenchError(f"{exact}: {prefix} mixes quantized types and {base} is not one; try {prefix}-IQ2_XXS")
    rules = tuple(
        Rule(r["type"], tuple(r["layers"]) if "layers" in r else None, tuple(r.get("tensors", ())))
        for r in data["rules"]
    )
    return Recipe(exact, data["family"], base, data["description"].format(base=base), rules)


def apply_rules(recipe: Recipe, mix: dict[str, str], n_layers: int) -> dict[str, str]:
    """The types that the recipe's rules ask for, by tensor name; the last rule that applies decides.

    mix: llama.cpp's type for every tensor. Only tensors that it quantizes are touched, so norms, biases and routers
    stay as they are in any architecture. Raises MeasurementError, which ends this recipe and not the
    sweep, for a rule that applies to nothing.
    """
    asked: dict[str, str] = {}
    for rule in recipe.rules:
        matched = [name for name, chosen in mix.items() if chosen not in UNQUANTIZED and rule.applies(name, n_layers)]
        if not matched:
            raise MeasurementError(
                f"{recipe.name}: its rule for {rule.target} matches no tensor of this model of {n_layers} layers; use a standard type"
            )
        asked.update(dict.fromkeys(matched, rule.type))
    return asked
