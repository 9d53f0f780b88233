"""Record files of a real run, changed by structure: values of other types, out of range, deep, huge, lines cut and repeated."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from tests.stress.attack import Attack, Fault, Tried
from tests.stress.commands import run
from tests.stress.hostile import replaced
from tests.support.tiny import write_model, write_text

ABOUT = "record files with damaged and lying records"
UNIT = "record files"
GOAL = 1500

_RECORDS = "records.jsonl"
#: What reads a run. RUN stands for its directory, OTHER for the undamaged one.
_READERS = (
    ("tables", "RUN"), ("report", "RUN"), ("compare", "RUN", "OTHER"), ("compare", "OTHER", "RUN"),
    ("check", "RUN", "--against", "OTHER"), ("check", "OTHER", "--against", "RUN"), ("export", "RUN"), ("history", "RUN", "OTHER"),
    ("card", "RUN"), ("advise", "--run", "RUN", "--memory", "8GB"),
)  # fmt: skip


def prepare(folder: Path) -> Attack:
    model, text = write_model(folder / "tiny.gguf"), write_text(folder / "words.txt", 700)
    whole = folder / "run"
    made = run(
        ["run", "--model", model, "--text", text, "--recipes", "Q2_K,Q4_K_M", "--window", 64, "--windows", 6, "--no-imatrix",
         "--generate", 2, "--propagation", "--cache", folder / "cache", "--out", whole],
        folder, limit=600,
    )  # fmt: skip
    assert made.code == 0, made.err
    lines = (whole / _RECORDS).read_bytes().splitlines()

    def attack(rng: random.Random, scratch: Path) -> Tried:
        damaged = scratch / "run"
        damaged.mkdir()
        data = _damaged(rng, list(lines))
        (damaged / _RECORDS).write_bytes(data)
        ended, faults = [], []
        for reader in rng.sample(_READERS, 2):
            places = {"RUN": damaged, "OTHER": scratch / "other"}
            if "OTHER" in reader and not places["OTHER"].exists():
                shutil.copytree(whole, places["OTHER"])
            ended.append(run([places.get(word, word) for word in reader], scratch))
            if (damaged / _RECORDS).read_bytes() != data:
                faults.append(Fault("record changed by a reader", " ".join(reader)))
        return Tried(tuple(ended), tuple(faults))

    return attack


def _damaged(rng: random.Random, lines: list[bytes]) -> bytes:
    how = rng.randrange(10)
    for _ in range(rng.randint(1, 3)):
        i = rng.randrange(len(lines)) if rng.random() < 0.9 else 0
        line = lines[i]
        if how < 7:
            try:
                lines[i] = _changed(rng, json.loads(line))
            except ValueError:  # broken before
                lines[i] = b"[" * 10_000
        elif how == 7:
            lines[i] = line[: rng.randrange(len(line))]
        elif how == 8:
            at = rng.randrange(len(line))
            lines[i] = line[:at] + bytes(rng.randrange(256) for _ in range(rng.randint(1, 20))) + line[at + 1 :]
        else:
            lines.insert(rng.randrange(len(lines) + 1), line)
    return b"\n".join(lines) + (b"\n" if rng.random() < 0.9 else b"")


def _changed(rng: random.Random, record: dict[str, Any]) -> bytes:
    return json.dumps(replaced(rng, record), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
