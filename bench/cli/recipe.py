"""`python -m bench recipe`: what recipes there are and what one would make of a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Annotated, Any

import typer

from bench.cli.options import MAKING, JsonOption, print_json, with_options
from bench.workbench.options import Options

app = typer.Typer(
    no_args_is_help=False,
    name="recipe",
    help="What recipes there are, and what one would make of a model.",
    rich_markup_mode=None,
)


@app.command("list", short_help="Formats, mixed recipes and suites.")
def list_command(as_json: JsonOption = False) -> None:
    """Formats of llama.cpp, the mixed recipes that come with the program, and suites, which stand for several recipes."""
    from bench.choose.on_request import list_recipes

    found: Any = list_recipes()
    if as_json:
        print_json(found)
        return
    print(f"Formats of llama.cpp, each with its own mix of types:\n  {', '.join(found['formats'])}\n")
    print("Each but those that need it also without an importance matrix: Q4_K_M-PLAIN.\n")
    print("Mixed recipes, on any quantized format (DG on IQ2_XXS is DG-IQ2_XXS):")
    for prefix, description in found["recipes"].items():
        print(f"  {prefix:<10} {description.replace('{base}', 'the format').replace('{size}', 'a size')}")
    print("\nA recipe that leaves a choice takes a size: auto@2.5bpw, auto@80MB, auto@IQ2_XXS (the size of that one),")
    print("DG-IQ2_XXS@+10%; and a seed to choose at random, as a control: auto@IQ2_XXS#1.")
    print("\nSuites, which stand for several recipes:")
    for name, recipes in found["suites"].items():
        print(f"  {name:<17} {', '.join(recipes)}")
    print("\nA recipe of your own is a TOML file, named by its path: see docs/recipes.md.")


@app.command(short_help="The type of every tensor, and the size, before anything is built.")
@with_options(*MAKING)
def show(
    recipe: Annotated[str, typer.Argument(help="For instance IQ2_XXS, DG-IQ2_XXS or my-recipe.toml.")],
    options: Options,
    as_json: JsonOption = False,
) -> None:
    """The type that a recipe gives every tensor of a model, with the size of the file to the byte, before it is built.

    A recipe that leaves a choice (DG-..., auto@SIZE) is chosen first, as a run would, which takes minutes the first time.
    """
    from bench.choose.on_request import show_recipe
    from bench.core.progress import Reporter
    from bench.workbench.work import Work

    found: Any = show_recipe(Work(replace(options, recipes=(recipe,)), Reporter()))
    if as_json:
        print_json(found)
        return
    width = max(len(name) for name in found["types"])
    for name, chosen in found["types"].items():
        replaced = found["replaced"].get(name)
        print(f"{name:<{width}}  {chosen}{f' instead of {replaced[0]}' if replaced else ''}")
    counts = ", ".join(f"{kind} {n}" for kind, n in Counter(found["types"].values()).most_common())
    print(
        f"\n{found['recipe']} of {found['model']}: {found['bytes']:,} bytes, {found['bits_per_weight']:.3f} bits per weight"
    )
    print(f"Tensors by type: {counts}")
