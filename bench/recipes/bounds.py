"""`--budget` and `--keep-together` for all recipes of a command that leave a choice, written into the names of these recipes.

    auto, with --budget experts=12GB,rest=6GB    ->  auto@experts=12GB+rest=6GB
    auto@80MB#1, with --keep-together            ->  auto@80MB+together#1

So names alone tell what a recipe is, in records and files too, and recipes with other bounds may stand beside these in one run.
"""

from __future__ import annotations

from dataclasses import replace

from bench.core.errors import BenchError
from bench.recipes.recipe import expanded, find_recipe, parts_of, without_size
from bench.recipes.sizes import Terms, canonical_size, parse_terms


def bound(names: tuple[str, ...] | None, budget: str | None, together: bool) -> tuple[str, ...] | None:
    """The names of recipes, those that leave a choice with these bounds. What leaves none stands as it is beside them.

    budget: as `--budget` is typed. Raises BenchError where no recipe leaves a choice, for one that has a size already, and for
    budgets that are none.
    """
    if budget is None and not together:
        return names
    asked = Terms("", {}, together) if budget is None else _budgets(budget)
    together, bounded, some = together or asked.together, [], False
    for name in expanded(names):
        core, size, seed = parts_of(name)
        if not without_size(core).leaves_choice:
            bounded.append(name)
            continue
        some = True
        if size and asked.budgets:
            raise BenchError(f"{name} has a size and --budget gives it another; leave one of them out")
        terms = parse_terms(canonical_size(size, name)) if size else asked
        terms = replace(terms, together=together or terms.together)
        bounded.append(f"{core}@{terms}" + (f"#{seed}" if seed else ""))
    if not some:
        given = "--keep-together" if budget is None else "--budget"
        which = ", ".join(find_recipe(name).name for name in expanded(names)) or "none"
        raise BenchError(
            f"{given}: none of the recipes ({which}) leaves a choice that it could bind; name one that does, for instance auto"
        )
    return tuple(bounded)


def _budgets(text: str) -> Terms:
    """Raises BenchError for what is no list of budgets."""
    where = f"--budget {text}"
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or any("=" not in part for part in parts):
        raise BenchError(
            f"{where}: is no list of classes of tensors with their sizes; write for instance --budget experts=12GB,rest=6GB"
        )
    return parse_terms(canonical_size("+".join(parts), where))
