"""Model files with bytes of their headers changed, cut or repeated."""

from __future__ import annotations

import random
from pathlib import Path

from tests.stress.attack import Attack, Tried
from tests.stress.commands import run
from tests.support.tiny import write_model

ABOUT = "damaged and lying GGUF files"
UNIT = "model files"
GOAL = 2000


def prepare(folder: Path) -> Attack:
    whole = write_model(folder / "tiny.gguf").read_bytes()

    def attack(rng: random.Random, scratch: Path) -> Tried:
        data = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(4, 2000)] = rng.randrange(256)
        path = scratch / "model.gguf"
        path.write_bytes(data)
        return Tried((run(["info", path], scratch),))

    return attack
