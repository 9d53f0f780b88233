"""Families of files, and which of them belong together."""

from __future__ import annotations

from dataclasses import dataclass

from bench.recipes.recipe import AUTOMATIC
from bench.records.run import Run


@dataclass(frozen=True)
class Pair:
    """A standard file and its mixed counterpart, DynamicGate for one; None for one that the run does not have."""

    base: str
    standard: str | None
    gated: str | None


#: Families that the published form is about: the gate, and for a run without it the full rule.
GATED = ("DynamicGate", "DynamicGate, full")


def pairs(run: Run, family: str | None = None) -> list[Pair]:
    """Every file of the family with the standard of its base (family: that of the published form unless told), in the order of the run."""
    found = {f.family for f in run.files.values()}
    wanted = family or next((f for f in GATED if f in found), GATED[0])
    standard = {f.base: f.recipe for f in run.files.values() if f.family == "Standard"}
    return [Pair(f.base, standard.get(f.base), f.recipe) for f in run.files.values() if f.family == wanted]


def mixed_pairs(run: Run) -> list[Pair]:
    """Every mixed recipe with the standard file of its base: DynamicGate, its variants, ablations and users' own.

    Not automatic recipes, which have a size and no base to compare with (see equal_size.py).
    """
    families = dict.fromkeys(f.family for f in run.files.values())
    mixed = [f for f in families if f not in ("Standard", "Reference") and not f.startswith(AUTOMATIC)]
    return [p for family in mixed for p in pairs(run, family)]
