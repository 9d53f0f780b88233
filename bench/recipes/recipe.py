"""Recipes: which type every tensor of a model gets.

A recipe is llama.cpp's own mix for a format (its base), with rules on top that give other types to layers, kinds of tensor
or names. Mixed-precision recipes are TOML files (files.py): those in bench/recipes/ by the prefix they are named
with, as in `DG-IQ2_XXS`, a user's own by their path. Rules name kinds of tensor that every architecture has (kinds.py); tensor names
of one architecture are for users' own recipes.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import gguf

from bench.core.errors import BenchError, MeasurementError, nearest
from bench.gguf_files.info import UNQUANTIZED
from bench.recipes.files import RecipeFile, packaged_recipes, read_recipe_file
from bench.recipes.kinds import LAYER, check_kind, is_one_of
from bench.recipes.needs import format_needs_importance
from bench.recipes.sizes import canonical_size, in_words, parse_size, parse_terms


@dataclass(frozen=True)
class Rule:
    """A type for the tensors that meet every condition given, or types that the gate may give them (see bench/choose).

    type: None where `may` holds instead. layers: (first, end), end not included: both indices (int) or both shares of the depth (float). tensors: kinds
    and llama.cpp's names (kinds.py).
    pattern: a regular expression that is searched for in the tensor's name.
    """

    type: str | None = None
    layers: tuple[int, int] | tuple[float, float] | None = None
    tensors: tuple[str, ...] = ()
    pattern: str | None = None
    may: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """What the rule is for, in words."""
        where = []
        if self.layers is not None:
            shares = isinstance(self.layers[0], float)
            where.append(("layers {:.0%} to {:.0%}" if shares else "layers {} up to {}").format(*self.layers))
        if self.tensors:
            where.append(" and ".join(self.tensors))
        if self.pattern is not None:
            where.append(f"names that match {self.pattern!r}")
        return ", ".join(where)

    def applies(self, tensor: str, n_layers: int) -> bool:
        layer = LAYER.match(tensor)
        if self.layers is not None:
            first, end = (layer_boundary(x, n_layers) if isinstance(x, float) else x for x in self.layers)
            if not (layer and first <= int(layer[1]) < end):
                return False
        if self.tensors and not is_one_of(tensor, self.tensors):
            return False
        return self.pattern is None or re.search(self.pattern, tensor) is not None


@dataclass(frozen=True)
class Recipe:
    """name: as tables show it; family: `Standard` or the family of a recipe file; base: a llama.cpp format.

    size: what a file or its classes of tensors may take, for recipes whose rules leave a choice (see sizes.py); None where nothing is
    to be chosen. size_of: fingerprint of the recipe that the size names, of several with a + between.
    seed: choose at random, as a control; None to choose well. plain: quantize without importance data.
    """

    name: str
    family: str
    base: str
    description: str
    rules: tuple[Rule, ...] = ()
    size: str | None = None
    size_of: str | None = None
    seed: int | None = None
    plain: bool = False

    @property
    def leaves_choice(self) -> bool:
        """Whether it takes a size, by which its types are chosen."""
        return any(rule.may for rule in self.rules)

    @property
    def fingerprint(self) -> str:
        """Equal for recipes that ask for the same types."""
        rules = [{k: v for k, v in asdict(r).items() if k != "may" or v} for r in self.rules]
        chosen = [self.size, self.size_of, self.seed] if self.size else []
        return hashlib.sha256(json.dumps([self.base, rules, *chosen]).encode()).hexdigest()[:16]


def layer_boundary(share: float, n_layers: int) -> int:
    """The layer at a share of the depth, to the nearest, with halves given to the outer layers on both sides.

    Of 30 layers the first 25 % are 8 (0 to 7) and the last 25 % are 8 (22 to 29).
    """
    if share > 0.5:
        return n_layers - layer_boundary(1 - share, n_layers)
    return int(share * n_layers + 0.5)


@cache
def standard_formats() -> tuple[str, ...]:
    """The formats llama.cpp knows, in its order."""
    names = [t.name.removeprefix("MOSTLY_").removeprefix("ALL_") for t in gguf.LlamaFileType]
    return tuple(n for n in names if n not in ("GUESSED", "Q4_1_SOME_F16"))


#: What tables take for llama.cpp's formats, the method under test, the reference and the automatic recipes.
AUTOMATIC = "Automatic"
_OUR_FAMILIES = ("Standard", "DynamicGate", "Reference", AUTOMATIC)

#: Ends the name of a format that is to be built without importance data.
_PLAIN = "-PLAIN"

_BASES = ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S")
_FORMATS = ("F32", "BF16", "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0",
            "IQ4_NL", "IQ4_XS", "Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "Q2_K", "Q2_K_S",
            "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")  # fmt: skip
#: Names that stand for several recipes.
SUITES: dict[str, tuple[str, ...]] = {
    "dynamicgate": tuple(name for base in _BASES for name in (base, f"DG-{base}")),
    "dynamicgate-full": tuple(name for base in _BASES for name in (base, f"DG-FULL-{base}")),
    "formats": _FORMATS,
    "plain": tuple(f"{f}{_PLAIN}" for f in _FORMATS if f not in UNQUANTIZED and not format_needs_importance(f)),
    "guide": ("BF16", "F16", "Q8_0", "Q6_K", "Q4_K_M", "Q4_0", "IQ3_M", "IQ3_S", "IQ3_XS"),
}  # fmt: skip


#: Stands for no recipe, in a run of files that others made.
NO_RECIPES = "none"
DEFAULT_RECIPES = SUITES["dynamicgate"]


def expanded(names: tuple[str, ...] | None) -> tuple[str, ...]:
    """The names of single recipes that names stand for, suites among them; as in `find_recipes`."""
    if names is not None and len(names) == 1 and names[0].casefold() == NO_RECIPES:
        return ()
    wanted = DEFAULT_RECIPES if names is None else names
    return tuple(recipe for name in wanted for recipe in SUITES.get(name.casefold(), (name,)))


def find_recipes(names: tuple[str, ...] | None) -> list[Recipe]:
    """The recipes of names, suites among them, each once, in order; None for the default suite, ("none",) for no recipe at all.

    Raises BenchError with near names.
    """
    found: dict[str, Recipe] = {}
    for recipe in map(find_recipe, expanded(names)):
        if found.setdefault(recipe.name, recipe) != recipe:
            raise BenchError(f"two recipes are called {recipe.name}; give one of them another prefix")
    return list(found.values())


def _no_size_of_a_file(name: str, file: str) -> BenchError:
    return BenchError(
        f"{name}: a size cannot be that of a file's recipe; give it in bytes, MB or bpw, as `recipe show {file}` says"
    )


def parts_of(name: str) -> tuple[str, str, str]:
    """The recipe, the size and the seed in a name such as `auto@IQ2_XXS#1`, each empty where it is not there."""
    # a file's path may hold these characters itself
    path, dot, rest = name.rpartition(".toml")
    of_file, at, file = (path + dot).partition("@")
    if at and not Path(path + dot).is_file() and "/" not in of_file:
        raise _no_size_of_a_file(name, file.rpartition("=")[2])
    named, _, seed = rest.partition("#")
    core, _, size = named.partition("@")
    return path + dot + core, size, seed


def _named(size: str, name: str) -> tuple[str, str | None]:
    """A size with the recipes in it by the names that tables show, and their fingerprints. name: what it was given with."""
    terms, prints = parse_terms(size), []

    def known(one: str) -> str:
        if (other := parse_size(one).recipe) is None:
            return one
        if other.endswith(".toml"):
            raise _no_size_of_a_file(name, other)
        same = find_recipe(other)
        prints.append(same.fingerprint)
        return same.name

    terms = replace(
        terms,
        size=known(terms.size) if terms.size else "",
        budgets={c: known(one) for c, one in terms.budgets.items()},
    )
    return str(terms), "+".join(prints) or None


def find_recipe(name: str) -> Recipe:
    """The recipe of a name such as `IQ2_XXS`, `DG-IQ2_XXS` or `auto@2.5bpw` (case does not matter), or of a .toml file.

    A recipe that leaves a choice takes a size or budgets after an @ (see sizes.py) and, to choose at random, a seed after a #:
    `auto@IQ2_XXS#1`. Raises BenchError with near names, for a size that is none, and for a file that is no recipe.
    """
    core, size, seed = parts_of(name)
    recipe = without_size(core)
    if not recipe.leaves_choice:
        if not (size or seed):
            return recipe
        if "=" in size:
            remedy = f"try auto@{size}"
        elif core.endswith(".toml"):
            remedy = f"try auto@BYTES, with the bytes that `recipe show {core}` says"
        else:
            remedy = f"try auto@{core}"
        raise BenchError(f"{name}: {core} leaves nothing to choose, so it takes no size and no seed; {remedy}")
    wanted, of = _named(canonical_size(size, name, recipe.size), name)
    if wanted == recipe.size:
        size = ""  # its own
    if seed and not seed.isdecimal():
        raise BenchError(f"{name}: what follows the # is the seed of a random choice, a whole number")
    shown = recipe.name + (f"@{wanted}" if size else "") + (f"#{int(seed)}" if seed else "")
    family = recipe.family
    if recipe.size is not None and size:
        family += f", {wanted}"  # beside the recipe with its own size, not in its place
    if seed:
        family += ", random"
    parsed = parse_size(wanted)
    described = recipe.description.replace("{size}", in_words(parsed, recipe.base))
    described += "; up and gate of a layer in one type" if parsed.together else ""
    described += f"; chosen at random with seed {int(seed)}" if seed else ""
    return replace(
        recipe,
        name=shown,
        family=family,
        description=described,
        size=wanted,
        size_of=of,
        seed=int(seed) if seed else None,
    )


def without_size(name: str) -> Recipe:
    """The recipe of a name without @ and #, with the size of its own if it has one; raises as `find_recipe`."""
    if name.endswith(".toml"):
        own = read_recipe_file(Path(name))
        ours = own.family.startswith(_OUR_FAMILIES)
        if ours or own.prefix.upper() in standard_formats():
            what = f"family {own.family!r}" if ours else f"prefix {own.prefix!r}"
            raise BenchError(f"{name}: {what} is the program's own; choose another")
        return _of_file(own, None)
    files = {prefix: read_recipe_file(path) for prefix, path in packaged_recipes().items()}
    complete = {prefix: file for prefix, file in files.items() if file.base}
    mixed = [f"{prefix}-{base}" for prefix in files if prefix not in complete for base in standard_formats()]
    known = [*standard_formats(), *complete, *mixed]
    exact = {k.casefold(): k for k in known}.get(name.casefold())
    if exact is None and (stem := name.upper().removesuffix(_PLAIN)) in standard_formats() and name.upper() != stem:
        if stem in UNQUANTIZED or format_needs_importance(stem):
            why = "is not quantized" if stem in UNQUANTIZED else "cannot be built without an importance matrix"
            raise BenchError(f"{name}: {stem} {why}; use {stem}")
        described = f"llama.cpp's own mix of types for {stem}, without an importance matrix"
        return Recipe(stem + _PLAIN, "Standard, no importance matrix", stem, described, plain=True)
    if exact is None:
        raise BenchError(f"no recipe or type is called {name!r}{nearest(name, [*known, *SUITES])}")
    if exact in standard_formats():
        return Recipe(exact, "Standard", exact, f"llama.cpp's own mix of types for {exact}")
    if exact in complete:
        return _of_file(complete[exact], None)
    base = next(b for b in sorted(standard_formats(), key=len, reverse=True) if exact.endswith(f"-{b}"))
    prefix = exact.removesuffix(f"-{base}")
    if base in UNQUANTIZED:
        raise BenchError(f"{exact}: {prefix} mixes quantized types and {base} is not one; try {prefix}-IQ2_XXS")
    return _of_file(files[prefix], base)


def _of_file(file: RecipeFile, base: str | None) -> Recipe:
    """A file's recipe on a base: its own, or else the one that was asked for with its name."""
    stated = base or file.base
    if stated is None:
        raise BenchError(f'{file.path}: names no base; add for instance base = "IQ2_XXS" to it')
    if stated not in standard_formats():
        raise BenchError(f"{file.path}: base: llama.cpp has no format {stated}{nearest(stated, standard_formats())}")
    for named in file.sizes:
        if named not in standard_formats():
            raise BenchError(f"{file.path}: sizes: llama.cpp has no format {named}{nearest(named, standard_formats())}")
    rules = tuple(Rule(r.type, r.layers, tuple(r.tensors), r.pattern, tuple(r.may)) for r in file.rules)
    for rule in rules:
        for named in rule.tensors:
            check_kind(named, f"{file.path}: tensors")
    name = f"{file.prefix}-{stated}" if base else file.prefix
    size = file.sizes.get(stated, file.size)
    return Recipe(name, file.family, stated, file.description.replace("{base}", stated), rules, size)


def apply_rules(recipe: Recipe, mix: dict[str, str], n_layers: int) -> dict[str, str]:
    """The types that the recipe's rules ask for, by tensor name; the last rule that applies decides.

    mix: llama.cpp's type for every tensor. Only tensors that it quantizes are touched, so norms, biases and routers
    stay as they are in any architecture. Raises MeasurementError, which ends this recipe and not the
    sweep, for a rule that applies to nothing.
    """
    asked: dict[str, str] = {}
    for rule in recipe.rules:
        if rule.type is None:
            continue
        matched = [name for name, chosen in mix.items() if chosen not in UNQUANTIZED and rule.applies(name, n_layers)]
        if not matched:
            raise MeasurementError(
                f"{recipe.name}: its rule for {rule.target} matches no tensor of this model of {n_layers} layers; use a standard type"
            )
        asked.update(dict.fromkeys(matched, rule.type))
    return asked


def choices(recipe: Recipe, mix: dict[str, str], n_layers: int) -> dict[str, tuple[str, ...]]:
    """The types that the recipe lets every tensor take that llama.cpp quantizes, the one that it has without a choice first.

    Rules count in their order: one that gives a type takes away what earlier ones allowed. mix: types without a choice. Raises MeasurementError for a choice that no tensor has.
    """
    allowed = {name: [chosen] for name, chosen in mix.items() if chosen not in UNQUANTIZED}
    for rule in recipe.rules:
        matched = [name for name in allowed if rule.applies(name, n_layers)]
        if rule.type is not None:
            allowed.update({name: [rule.type] for name in matched})
        elif not matched:
            raise MeasurementError(
                f"{recipe.name}: its choice for {rule.target} matches no tensor of this model of {n_layers} layers; use a standard type"
            )
        for name in matched:
            allowed[name] += [t for t in rule.may if t not in allowed[name]]
    return {name: tuple(types) for name, types in allowed.items()}
