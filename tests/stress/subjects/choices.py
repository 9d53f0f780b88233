"""The cache of a run that chose types: what was measured for the choice is damaged too. Preparing takes a minute or two."""

from __future__ import annotations

from pathlib import Path

from tests.stress.attack import Attack
from tests.stress.subjects.cache import caches

ABOUT = "the same with what choices of types were made of"
UNIT = "caches"
GOAL = 100


def prepare(folder: Path) -> Attack:
    return caches(folder, "IQ2_XXS,auto@IQ2_XXS")
