"""The recipes that options ask for."""

from __future__ import annotations

from bench.recipes.bounds import bound
from bench.recipes.recipe import Recipe, find_recipe, find_recipes
from bench.workbench.options import Options


def asked_recipes(options: Options) -> list[Recipe]:
    """As `find_recipes`, with `--budget` and `--keep-together` where they are given. Raises BenchError."""
    return find_recipes(bound(options.recipes, options.budget, options.keep_together))


def asked_recipe(options: Options) -> Recipe:
    """The same of options that name a single recipe, and no suite."""
    [name] = options.recipes or ()
    bounded = bound((name,), options.budget, options.keep_together) or ()
    return find_recipe(bounded[0] if len(bounded) == 1 else name)
