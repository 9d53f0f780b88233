"""Uploads of a real run whose cache, card or records were tampered with: nothing but the card and the files on record may leave."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from bench.core.checked import note_of, read_checked, write_checked
from bench.workbench.kept import Built
from tests.stress.attack import Attack, Fault, Tried
from tests.stress.commands import Ended, run
from tests.stress.lying_hub import Hub, serving
from tests.support.tiny import Shape, write_model, write_text

ABOUT = "uploads of a run whose cache, card or records were tampered with"
UNIT = "uploads"
GOAL = 200

_SECRET = b"Nobody may ever read this. " * 50
_PICTURE = "![a](../../secret.txt) ![b](/etc/passwd) ![c](plots/secret.png) <img src='../secret.txt'>"


def prepare(folder: Path) -> Attack:
    model = write_model(folder / "tiny.gguf", Shape(layers=1, feed_forward=256))
    whole, cache = folder / "run", folder / "cache"
    made = run(
        ["run", "--model", model, "--text", write_text(folder / "words.txt", 700), "--calibration", write_text(folder / "cal.txt", 1000),
         "--recipes", "Q2_K,Q4_K_M", "--window", 64, "--windows", 2, "--generate", 2, "--threads", 1, "--cache", cache, "--out", whole],
        folder, limit=600,
    )  # fmt: skip
    assert made.code == 0, made.err

    def upload(directory: Path, cache: Path, scratch: Path) -> tuple[Ended, Hub]:
        with serving({}, [], scratch / ".asked") as hub:
            env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(scratch / "home"), "HF_TOKEN": "hf_test", "NO_PROXY": "127.0.0.1",
                   "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
            sent = run(
                ["card", directory, "--upload", "--repo", "tester/tiny-GGUF", "--base-model", "owner/tiny", "--cache", cache],
                scratch, env=env,
            )  # fmt: skip
        return sent, hub

    (first := folder / "first").mkdir()
    shutil.copytree(whole, first / "run")
    sent, honest = upload(first / "run", cache, first)
    assert sent.code == 0 and any(name.endswith(".gguf") for name in honest.received), sent.err

    models = {_end(name): digest for name, digest in honest.received.items() if name.endswith(".gguf")}

    def attack(rng: random.Random, scratch: Path) -> Tried:
        directory, copy = scratch / "run", scratch / "cache"
        shutil.copytree(first / "run" if rng.random() < 0.5 else whole, directory)
        shutil.copytree(cache, copy)
        secret = scratch / "secret.txt"
        secret.write_bytes(_SECRET)
        done = [_tamper(rng, directory, copy, secret) for _ in range(rng.choice((1, 1, 2)))]
        with _meddling(copy, rng.random()) if rng.random() < 0.2 else nullcontext():
            sent, hub = upload(directory, copy, scratch)
        never = {_digest(p) for p in (secret, Path("/etc/hostname"), *copy.rglob("*.gguf")) if p.is_file()}
        never -= set(honest.received.values())
        wrong = [
            name
            for name, digest in hub.received.items()
            if digest in never
            or (name.endswith(".gguf") and digest != models.get(_end(name)))
            or not (
                name.endswith(".gguf") or name in {*honest.received, digest}
            )  # a hash for a name: not part of the commit
        ]
        return Tried((sent,), (Fault("something else was sent", f"{wrong}\n{done}\n{sent.err}"),) if wrong else ())

    return attack


def _end(name: str) -> str:
    """What the name of a model's file ends in: it begins with the model's name, which may have been changed on record."""
    return name.rpartition("-")[2]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tamper(rng: random.Random, directory: Path, cache: Path, secret: Path) -> str:
    """Returns what was done."""
    how, card = (
        rng.choice(("flip", "flip", "note", "link", "matrix", "card", "plots", "part", "record")),
        directory / "card",
    )
    files = sorted(cache.glob("quantized/*.gguf"))
    path = rng.choice(files)
    if how in ("flip", "matrix"):
        path = path if how == "flip" else rng.choice(sorted(cache.glob("imatrix/*.gguf")))
        _flip(path, rng)
    elif how == "note":  # one that holds, of another file
        note = read_checked(note_of(rng.choice(files)), Built, print)
        if note is not None:
            write_checked(note_of(path), note.model_copy(update={"path": secret}))
    elif how == "link":
        path.unlink()
        path.symlink_to(rng.choice([secret, *files]))
    elif how == "card":
        shutil.rmtree(card, ignore_errors=True)
        (elsewhere := secret.parent / "elsewhere").mkdir(exist_ok=True)
        card.symlink_to(elsewhere)
    elif how == "plots":
        shutil.rmtree(directory / "plots", ignore_errors=True)
        (elsewhere := secret.parent / "pictures").mkdir(exist_ok=True)
        for name in ("quality.png", "secret.png"):
            (elsewhere / name).write_bytes(_SECRET)
        (directory / "plots").symlink_to(elsewhere)
    elif how == "part":
        parts = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != "records.jsonl")
        part = rng.choice(parts) if parts else directory / "README.md"
        part.unlink(missing_ok=True)
        part.symlink_to(rng.choice((secret, "/etc/hostname")))
    else:
        records = directory / "records.jsonl"
        header, *rest = records.read_text().splitlines()
        changed = json.loads(header)
        changed["identity"]["model"][rng.choice(("name", "description"))] = _PICTURE
        records.write_text("\n".join([json.dumps(changed), *rest, ""]))
    return f"{how}: {path.name}"


def _flip(path: Path, rng: random.Random) -> None:
    """One bit, with size and time kept."""
    if path.is_symlink() or not path.is_file():
        return
    data, stat = bytearray(path.read_bytes()), path.stat()
    data[rng.randrange(len(data))] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@contextmanager
def _meddling(cache: Path, seed: float) -> Iterator[None]:
    """Another process flips bits of quantized files, again and again, while the block goes on."""
    if not (pid := os.fork()):
        with suppress(BaseException):
            rng = random.Random(seed)
            while True:
                time.sleep(rng.random() / 2)
                _flip(rng.choice(sorted(cache.glob("quantized/*.gguf"))), rng)
        os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
