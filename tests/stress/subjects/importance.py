"""Importance matrices changed by structure, in both formats: values, numbers of rows, shapes, names, lengths, or bytes anywhere."""

from __future__ import annotations

import math
import random
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.gguf_files.header import read_header
from bench.quantize.imatrix import Entry, ImportanceMatrix
from bench.quantize.imatrix_file import write
from tests.stress.attack import Attack, Tried
from tests.stress.commands import run
from tests.stress.hostile import NAMES, NUMBERS
from tests.support.tiny import Shape, write_model, write_text

ABOUT = "damaged and lying importance matrices"
UNIT = "importance files"
GOAL = 800

#: What reads one. TYPE stands for one of _TYPES.
_READERS = (
    ("quantize", "TYPE", "out.gguf", "--model", "MODEL", "--imatrix", "MATRIX", "--cache", "CACHE", "--force"),
    ("quantize", "TYPE", "out.gguf", "--model", "MODEL", "--imatrix", "MATRIX", "--cache", "CACHE", "--force", "--json"),
    ("recipe", "show", "TYPE", "--model", "MODEL", "--imatrix", "MATRIX", "--cache", "CACHE"),
    ("run", "--dry-run", "--model", "MODEL", "--imatrix", "MATRIX", "--recipes", "TYPE", "--text", "TEXT", "--window", 64, "--windows", 1,
     "--cache", "CACHE"),
    ("info", "MATRIX"),
    ("imatrix", "show", "MATRIX", "--all"),
    ("imatrix", "show", "MATRIX", "--json"),
    ("imatrix", "show", "MATRIX", "--model", "MODEL", "--plot", "plot.png"),
    ("imatrix", "merge", "merged.gguf", "MATRIX", "SOUND", "--force", "--prior-weight", 5),
)  # fmt: skip
_TYPES = ("Q4_K_M", "Q4_0", "IQ4_XS", "IQ3_S", "Q2_K")
_VALUES = (math.nan, math.inf, -math.inf, -1.0, -0.0, 0.0, 1e-45, 1e-30, 1e14, 1e30, 3e38)


@dataclass(frozen=True)
class _Entry:
    """As it will stand in a file. repeated: what stands before the values in the binary format, which need not be their number."""

    name: str
    sums: NDArray[np.float32]
    counts: NDArray[np.float32]
    repeated: int


def prepare(folder: Path) -> Attack:
    model, text = write_model(folder / "tiny.gguf", Shape(layers=2)), write_text(folder / "words.txt", 300)
    places = {"MODEL": model, "TEXT": text, "CACHE": folder / "cache"}
    numbers = np.random.default_rng(1)
    entries = [
        _Entry(t.name, numbers.chisquare(2, (1, t.shape[0])).astype(np.float32) * 512, np.full(1, 512, np.float32), t.shape[0])
        for t in read_header(model).tensors
        if t.name.startswith("blk.") and len(t.shape) > 1
    ]  # fmt: skip

    sound = folder / "sound.gguf"
    write(ImportanceMatrix({e.name: Entry(e.sums, e.counts) for e in entries}, ("words.txt",), 1, 512), sound)
    places["SOUND"] = sound

    def attack(rng: random.Random, scratch: Path) -> Tried:
        binary, damaged = rng.random() < 0.5, list(entries)
        how = rng.random()
        for _ in range(rng.randint(1, 3) if how < 0.75 else 0):
            _change(rng, damaged)
        path = scratch / rng.choice(("m.dat", "m.gguf", "a b.imatrix"))
        data = bytearray(_binary(rng, damaged) if binary else _gguf(rng, damaged, path))
        if how >= 0.75:
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(min(len(data), rng.choice((200, 2000, len(data)))))] = rng.randrange(256)
            data = data[: rng.choice((len(data), len(data), rng.randrange(len(data))))]
        path.write_bytes(data)
        given = {**places, "MATRIX": path, "TYPE": rng.choice(_TYPES)}
        return Tried(tuple(run([given.get(str(w), w) for w in reader], scratch) for reader in rng.sample(_READERS, 2)))

    return attack


def _change(rng: random.Random, entries: list[_Entry]) -> None:
    """One entry changed, left out or put in twice."""
    if not entries:
        return
    i = rng.randrange(len(entries))
    entry, how = entries[i], rng.randrange(8)
    if how == 0:
        sums = entry.sums.copy()
        sums.flat[rng.sample(range(sums.size), min(rng.choice((1, 16, sums.size)), sums.size))] = rng.choice(_VALUES)
        entries[i] = replace(entry, sums=sums)
    elif how == 1:
        entries[i] = replace(entry, counts=np.full(rng.choice((1, 1, 2, 7)), rng.choice((*_VALUES, 1, 2)), np.float32))
    elif how == 2:
        entries[i] = replace(
            entry, name=rng.choice((*NAMES, entry.name + "\0", entry.name[:-1], "blk.99.attn_q.weight"))
        )
    elif how == 3:
        shape = rng.choice(((1, 1), (1, 64), (4, 64), (2, 256), (1, 512), (512, 1), (3, 100)))
        entries[i] = replace(
            entry, sums=np.ones(shape, np.float32), counts=np.ones(rng.choice((1, shape[0])), np.float32)
        )
    elif how == 4:
        entries[i] = replace(
            entry, repeated=rng.choice((0, -1, 2**31 - 1, -(2**31), entry.repeated + 1, entry.repeated - 1))
        )
    elif how == 5:
        del entries[i]
    elif how == 6:
        entries.append(entry)
    else:
        entries[:] = [replace(e, name=e.name.replace("blk.1.", f"blk.{rng.choice((2, 10**30))}.")) for e in entries]


def _binary(rng: random.Random, entries: list[_Entry]) -> bytes:
    def number(n: int) -> bytes:
        return struct.pack("<i", n if rng.random() < 0.99 else rng.choice((0, -1, 2**31 - 1, n + 1)))

    parts = [number(len(entries))]
    for e in entries:
        name = e.name.encode("utf-8", "surrogatepass")
        calls = e.counts[0] if np.isfinite(e.counts[0]) and abs(e.counts[0]) < 2**31 else 2**31 - 1
        parts += [number(len(name)), name, number(int(calls)), number(e.repeated), e.sums.tobytes()]
    text = rng.choice(NAMES).encode("utf-8", "surrogatepass")
    return b"".join([*parts, number(rng.choice((2, 0, -1))), number(len(text)), text])


def _gguf(rng: random.Random, entries: list[_Entry], path: Path) -> bytes:
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type(rng.choice(("imatrix", "imatrix", "imatrix", "model")))
    for key, usual in (("imatrix.chunk_count", 2), ("imatrix.chunk_size", 512)):
        value = usual if rng.random() < 0.9 else rng.choice((*NUMBERS, *NAMES[1:8]))
        kind = gguf.GGUFValueType.STRING if isinstance(value, str) else gguf.GGUFValueType.FLOAT64
        if isinstance(value, int) and 0 <= value < 2**32:
            kind = gguf.GGUFValueType.UINT32
        writer.add_key_value(key, value if isinstance(value, str | int) and kind != 12 else float(value), kind)
    writer.add_array("imatrix.datasets", [n for n in rng.sample(NAMES, rng.choice((1, 1, 5))) if n.isascii()] or ["a"])
    for e in {e.name: e for e in entries}.values():
        name = e.name.encode("utf-8", "replace").decode()[:1000]
        dtype = np.float32 if rng.random() < 0.98 else rng.choice((np.float16, np.int32, np.float64))
        with np.errstate(all="ignore"):
            if rng.random() < 0.98:
                writer.add_tensor(f"{name}.in_sum2", e.sums.astype(dtype))
            if rng.random() < 0.98:
                writer.add_tensor(f"{name}.counts", e.counts.reshape(-1, 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()
