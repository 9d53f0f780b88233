"""`bench recipe`: the list of recipes, and the types that one gives a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import MAKING, JsonOption, print_json, with_options
from bench.core.formats import MISSING, size
from bench.workbench.options import Options

if TYPE_CHECKING:
    import pandas as pd

    from bench.choose.listing import Listed, Recipes

app = typer.Typer(
    no_args_is_help=False,
    name="recipe",
    help="List, show, compare and check recipes.",
    rich_markup_mode=None,
)


@app.command("list", short_help="Formats, mixed recipes and suites, with their sizes.")
@with_options("model", "widen", "cache")
def list_command(options: Options, as_json: JsonOption = False) -> None:
    """Formats of llama.cpp by bits, the mixed recipes that come with the program, and suites, which stand for several recipes.

    Bits per weight and sizes are those of files of --model; of the default model, if it was fetched before.
    """
    from bench.choose.listing import SHOWN_ON, list_recipes
    from bench.cli.shown import print_table
    from bench.core.progress import Reporter
    from bench.models.reference import default_path
    from bench.workbench.work import Work

    sized = options.model is not None or default_path(options.cache).is_file()
    found = list_recipes(Work(options, Reporter()) if sized else None)
    if as_json:
        print_json(asdict(found))
        return
    print(
        f"Formats of llama.cpp, each with its own mix of types{f', and their files of {found.model}' if sized else ''}:\n"
    )
    print_table(_formats_table(found))
    print("\nEach that works without an importance matrix is also there without one: Q4_K_M-PLAIN.")
    if not sized:
        print("Bits per weight and sizes depend on the model: name one with --model.")
    print("\nMixed recipes, on any quantized format (DG on IQ2_XXS is DG-IQ2_XXS):\n")
    for one in found.mixed:
        bits = f"; {_bits(one)} bits per weight on {SHOWN_ON}" if one.bits_per_weight else ""
        _print_wrapped(one.name, f"{one.description}{bits}", 11)
    print()
    _print_wrapped(
        "",
        "A recipe that leaves a choice takes a size: auto@2.5bpw, auto@80MB, auto@IQ2_XXS (the size of that one), DG-IQ2_XXS@+10%; "
        "or budgets of classes of tensors: auto@experts=12GB+rest=6GB; +together for up and gate of a layer in one type; "
        "and a seed to choose at random, as a control: auto@IQ2_XXS#1.",
        0,
    )
    print("\nSuites, which stand for several recipes:\n")
    for name, recipes in found.suites.items():
        _print_wrapped(name, ", ".join(recipes), 18)
    print("\nA recipe of your own is a TOML file, named by its path: see docs/recipes.md.")


def _formats_table(found: Recipes) -> pd.DataFrame:
    import pandas as pd

    rows, before = [], None
    for one in found.formats:
        row = {"Bits": "" if one.bits == before else str(one.bits), "Format": one.name}
        if found.model is not None:
            row |= {"Bits per weight": _bits(one), "Size": MISSING if one.n_bytes is None else size(one.n_bytes)}
        rows.append(row | {"Importance matrix": "needed" if one.needs_importance else ""})
        before = one.bits
    return pd.DataFrame(rows)


def _bits(one: Listed) -> str:
    if one.bits_per_weight is None:
        return MISSING
    return f"{'at most ' if one.at_most else ''}{one.bits_per_weight:.2f}"


def _print_wrapped(name: str, text: str, width: int) -> None:
    """A name and what is said of it beside it, in lines as wide as the terminal."""
    from bench.cli.table import beside, room

    print(beside(name, text, width, room()))


@app.command(short_help="Which tensors get which types, and the size, before anything is built.")
@with_options("budget", "keep_together", *MAKING)
def show(
    recipe: Annotated[str, typer.Argument(help="For instance IQ2_XXS, DG-IQ2_XXS or my-recipe.toml.")],
    options: Options,
    every: Annotated[bool, typer.Option("--all", help="A line for every tensor.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The types that a recipe gives the tensors of a model, with the size of the file to the byte, before it is built.

    A recipe that leaves a choice (DG-..., auto@SIZE) is chosen first, as a run would, which takes minutes the first time.
    """
    from bench.choose.on_request import show_recipe
    from bench.core.progress import Reporter
    from bench.recipes.words import Layers
    from bench.workbench.work import Work

    found: Any = show_recipe(Work(replace(options, recipes=(recipe,)), Reporter()))
    if as_json:
        print_json(found)
        return
    replaced = {name: f" instead of {asked}" for name, (asked, _) in found["replaced"].items()}
    if every:
        _print_pairs([(name, chosen + replaced.get(name, "")) for name, chosen in found["types"].items()])
    else:
        _print_pairs(Layers.of(found["types"]).words())
        for name, instead in replaced.items():
            print(f"{name}: {found['types'][name]}{instead}, since its width is no multiple of that type's block")
    counts = ", ".join(f"{kind} {n}" for kind, n in Counter(found["types"].values()).most_common())
    print(f"\n{_title(found)}\nTensors by type: {counts}")
    if found["bytes_by_class"]:
        print(f"Bytes by class of tensors: {_by_class(found)}")


@app.command(short_help="Where the types of two recipes differ.")
@with_options(*MAKING)
def diff(
    recipe_a: Annotated[str, typer.Argument(metavar="A", help="A recipe.")],
    recipe_b: Annotated[str, typer.Argument(metavar="B", help="Another recipe.")],
    options: Options,
    as_json: JsonOption = False,
) -> None:
    """Where the types that two recipes give a model differ, with both sizes. Exit code 1 when they do, like diff."""
    from bench.choose.on_request import show_recipe
    from bench.core.progress import Reporter
    from bench.recipes.words import Layers
    from bench.workbench.work import Work

    work = Work(replace(options, recipes=(recipe_a,)), Reporter())
    a: Any = show_recipe(work)
    b: Any = show_recipe(work.with_recipes((recipe_b,)))
    changed = {n: (t, b["types"][n]) for n, t in a["types"].items() if b["types"][n] != t}
    if as_json:
        print_json({"a": _size(a), "b": _size(b), "tensors": changed})
    else:
        pairs = zip(Layers.of(a["types"]).words(), Layers.of(b["types"]).words(), strict=True)
        _print_pairs([(name, f"{of_a}\n→ {of_b}") for (name, of_a), (_, of_b) in pairs if of_a != of_b])
        print(f"\nA: {_title(a)}\nB: {_title(b)}\n{len(changed)} of {len(a['types'])} tensors differ")
    if changed:
        raise typer.Exit(1)


@app.command(short_help="Check a recipe file, without a model.")
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A recipe in TOML.")]) -> None:
    """Check a recipe file: its keys, types, layers and patterns. `recipe show` says whether its rules find tensors."""
    from bench.recipes.files import read_recipe_file
    from bench.recipes.recipe import find_recipe

    found = read_recipe_file(file)
    base = f" on {found.base}" if isinstance(found.base, str) else ""
    if isinstance(found.base, str):
        find_recipe(str(file))
    print(f"{file}: a recipe with the prefix {found.prefix}{base}, {len(found.rules)} rules")


def _print_pairs(pairs: list[tuple[str, str]]) -> None:
    """Names with what is said of them, in two columns; further lines stand under the first."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, said in pairs:
        print(f"{name:<{width}}  " + said.replace("\n", "\n" + " " * (width + 2)))


def _title(found: Any) -> str:
    size = _size(found)
    return (
        f"{found['recipe']} of {found['model']}: {size['bytes']:,} bytes, {size['bits_per_weight']:.3f} bits per weight"
    )


def _by_class(found: Any) -> str:
    """Bytes of each class, and what its budget allows if it has one."""
    return "; ".join(
        f"{name} {n:,}" + (f" of {found['budgets'][name]:,} allowed" if name in found["budgets"] else "")
        for name, n in found["bytes_by_class"].items()
    )


def _size(found: Any) -> dict[str, Any]:
    return {key: found[key] for key in ("recipe", "bytes", "bits_per_weight")}
