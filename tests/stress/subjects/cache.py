"""The cache of a real run, damaged before the next run uses it: bits flipped with size and time kept, files cut, exchanged, deleted."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from bench.core.errors import BenchError
from bench.measures.registry import load_run
from bench.measures.windows.records import WindowRecord
from tests.stress.attack import Attack, Fault, Tried
from tests.stress.commands import Ended, run
from tests.support.tiny import Shape, write_model, write_text

ABOUT = "caches whose files were damaged, exchanged or deleted between two runs"
UNIT = "caches"
GOAL = 300

#: What depends on the day: everything else of a file's record is the same in every run.
_OF_THE_DAY = {"run", "time", "build_seconds", "build_memory_bytes", "damaged"}


def prepare(folder: Path) -> Attack:
    return caches(folder, "Q2_K,Q4_K_M")


def caches(folder: Path, recipes: str) -> Attack:
    """Attack the cache of a run with these recipes."""
    model = write_model(folder / "tiny.gguf", Shape(layers=1, feed_forward=256))
    text, calibration = write_text(folder / "words.txt", 700), write_text(folder / "calibration.txt", 1500)
    cache, whole = folder / "cache", folder / "whole"

    def bench(cache: Path, out: Path, scratch: Path, limit: float) -> Ended:
        return run(
            ["run", "--model", model, "--text", text, "--calibration", calibration, "--recipes", recipes,
             "--window", 64, "--windows", 2, "--generate", 2, "--threads", 1, "--cache", cache, "--out", out],
            scratch, limit=limit,
        )  # fmt: skip

    made = bench(cache, whole, folder, 600)
    assert made.code == 0, made.err
    measured = _measured(whole)

    def attack(rng: random.Random, scratch: Path) -> Tried:
        damaged = scratch / "cache"
        shutil.copytree(cache, damaged)
        if rng.random() < 0.5:  # so that what they are made of is used
            shutil.rmtree(damaged / "quantized")
        if rng.random() < 0.3:
            for choice in damaged.glob("sensitivity/*.choice.json"):
                choice.unlink()
        done = [_damage(rng, damaged) for _ in range(rng.choice((1, 1, 2, 8)))]
        ended = bench(damaged, scratch / "run", scratch, 60)
        said = "\n".join([*done, ended.err[-2000:]])
        if ended.code == 2 and any(d.endswith((": folder", ": link")) for d in done):
            return Tried((ended,))  # nothing of this program's: refused with a remedy
        if ended.code != 0:
            return Tried((ended,), (Fault("run not done", said),))
        return Tried((ended,), () if _measured(scratch / "run") == measured else (Fault("other figures", said),))

    return attack


def _damage(rng: random.Random, cache: Path) -> str:
    """Damage one file of a folder that is chosen first, so that many blocks do not hide a single matrix. Returns what was done."""
    folder = rng.choice(sorted(p for p in cache.iterdir() if p.is_dir() and any(_files(p))))
    path = rng.choice(_files(folder))
    data, stat = bytearray(path.read_bytes()), path.stat()
    how = rng.choice(("flip", "flip", "flip", "cut", "lengthen", "empty", "exchange", "delete", "folder", "link"))
    if how == "exchange":
        other = rng.choice(_files(folder))
        data = bytearray(other.read_bytes())
    elif how == "cut":
        del data[rng.randrange(len(data) + 1) :]
    elif how == "lengthen":
        data += bytes(rng.randint(1, 100))
    elif how == "empty":
        data.clear()
    elif how == "flip" and data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    if how in ("delete", "folder", "link"):
        path.unlink()
        if how == "folder":
            path.mkdir()
        elif how == "link":
            path.symlink_to(rng.choice(("nowhere", path.name, str(rng.choice(_files(cache))))))
    else:
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return f"{path.relative_to(cache)}: {how}"


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _measured(directory: Path) -> object:
    """What a run found, without what depends on the day."""
    try:
        run = load_run(directory)
    except BenchError as e:
        return str(e)
    files = [f.model_dump(exclude=_OF_THE_DAY) for f in run.files.values()]
    return (
        files,
        sorted((r.recipe, r.result.window, str(r.result.tokens)) for r in run.of(WindowRecord)),
        len(run.damaged),
    )
