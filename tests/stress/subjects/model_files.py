"""Model files changed by structure: keys, values, tensors, offsets and lengths of a header, or bytes anywhere."""

from __future__ import annotations

import random
import struct
from pathlib import Path

from bench.gguf_files.header import read_header
from tests.stress.attack import Attack, Tried
from tests.stress.commands import run
from tests.stress.hostile import NAMES
from tests.support.tiny import write_model, write_text

ABOUT = "damaged and lying GGUF files"
UNIT = "model files"
GOAL = 2000

_READERS = (
    ("info", "MODEL"), ("info", "MODEL", "--json"), ("info", "MODEL", "--context", 2048), ("recipe", "show", "DG-FULL-IQ2_XXS", "--model", "MODEL"),
    ("quantize", "Q4_K_M", "out.gguf", "--model", "MODEL", "--no-imatrix", "--cache", "CACHE"),
    ("ppl", "MODEL", "--text", "TEXT", "--window", 64, "--windows", 1, "--cache", "CACHE"),
    ("run", "--dry-run", "--model", "MODEL", "--recipes", "Q4_K_M", "--text", "TEXT", "--window", 64, "--windows", 1, "--cache", "CACHE"),
    ("run", "--model", "WHOLE", "--compare", "MODEL", "--recipes", "none", "--text", "TEXT", "--window", 64, "--windows", 1, "--no-imatrix",
     "--out", "run", "--cache", "CACHE"),
    ("advise", "MODEL", "--memory", "8GB"),
)  # fmt: skip
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
_KNOWN = (
    "general.architecture", "general.name", "general.alignment", "general.description", "general.type", "general.license", "split.count",
    "split.no", "split.tensors.count", "llama.block_count", "llama.context_length", "llama.embedding_length", "llama.attention.head_count",
    "llama.attention.head_count_kv", "llama.feed_forward_length", "llama.rope.freq_base", "llama.attention.layer_norm_rms_epsilon",
    "tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.chat_template",
)  # fmt: skip


def prepare(folder: Path) -> Attack:
    model, text = write_model(folder / "tiny.gguf"), write_text(folder / "words.txt", 300)
    whole = model.read_bytes()
    header = read_header(model)
    keys = {key: whole[start:end] for key, (start, end) in header.keys.items()}
    places = {"WHOLE": model, "TEXT": text, "CACHE": folder / "cache"}
    data_start = min(t.start for t in header.tensors)
    infos, weights = whole[header.metadata_end : data_start].rstrip(b"\0"), whole[data_start:]
    infos += bytes(
        _list_length(whole[header.metadata_end :], len(header.tensors)) - len(infos)
    )  # zeros of its last number
    n_tensors = len(header.tensors)

    def attack(rng: random.Random, scratch: Path) -> Tried:
        path = scratch / f"{rng.choice(('model', 'm-00001-of-00002', 'a b', 'Q4_K_M'))}.gguf"
        how = rng.random()
        if how < 0.2:
            data = bytearray(whole)
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(4, 2000)] = rng.randrange(256)
            path.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        else:
            changed, version, data = dict(keys), 3, weights
            if how < 0.6:  # a header that llama.cpp reads too, as a rule: its values are believed
                _change_value(rng, changed)
                data = _noisy(rng, weights) if rng.random() < 0.3 else weights
            else:
                for _ in range(rng.randint(1, 3)):
                    _change(rng, changed)
                version = 3 if rng.random() < 0.9 else rng.choice((0, 1, 2, 4, 2**32 - 1))
            tail = _tensors_changed(rng, infos) if rng.random() < 0.3 else infos
            start = struct.pack("<4sIQQ", b"GGUF", version, _near(rng, n_tensors), _near(rng, len(changed)))
            begin = start + b"".join(changed.values()) + tail
            path.write_bytes(begin + bytes(-len(begin) % 32) + data)
        readers = rng.sample(_READERS, 2)
        return Tried(
            tuple(run([{**places, "MODEL": path}.get(str(w), w) for w in reader], scratch) for reader in readers)
        )

    return attack


def _list_length(data: bytes, n_tensors: int) -> int:
    at = 0
    for _ in range(n_tensors):
        (length,) = struct.unpack_from("<Q", data, at)
        (n,) = struct.unpack_from("<I", data, at + 8 + length)
        at += 8 + length + 4 + 8 * n + 4 + 8
    return at


def _near(rng: random.Random, number: int) -> int:
    return number if rng.random() < 0.95 else rng.choice((0, number - 1, number + 1, 2**31, 2**63))


def _change_value(rng: random.Random, keys: dict[str, bytes]) -> None:
    """A number or a text of a key that is there, replaced by another of its type."""
    key = rng.choice(tuple(keys))
    name = _string(key)
    (kind,) = struct.unpack_from("<I", keys[key], len(name))
    if kind in _SCALARS:
        keys[key] = name + struct.pack("<I", kind) + _scalar(rng, kind)
    elif kind == 8:
        keys[key] = (
            name
            + struct.pack("<I", kind)
            + _string(rng.choice((*NAMES, "llama", "gpt2", "mamba", "bert", "gemma3"))[:70_000])
        )


def _noisy(rng: random.Random, weights: bytes) -> bytes:
    """Weights with a stretch of them replaced: by noise, by ones that are not finite, or by zeros."""
    start, n = rng.randrange(len(weights)) // 2 * 2, rng.choice((2, 200, 100_000))
    what = rng.choice((rng.randbytes(n), b"\x00\x7c" * (n // 2), b"\xff\xff" * (n // 2), bytes(n)))
    return (weights[:start] + what + weights[start + n :])[: len(weights)]


def _change(rng: random.Random, keys: dict[str, bytes]) -> None:
    """One key changed, left out, or put in twice."""
    key = rng.choice((*_KNOWN, *keys, rng.choice(NAMES)[:70_000]))
    how = rng.random()
    if how < 0.15:
        keys.pop(key, None)
    elif how < 0.25 and key in keys:
        keys[f"{key} again"] = keys[key]
    else:
        keys[key] = _string(key) + _value(rng)


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(raw)) + raw


def _value(rng: random.Random) -> bytes:
    """A type with a value of it, or of another."""
    how = rng.random()
    if how < 0.5:
        kind = rng.choice(tuple(_SCALARS))
        return struct.pack("<I", kind) + _scalar(rng, kind)
    if how < 0.75:
        return struct.pack("<I", 8) + _string(rng.choice(NAMES))
    if how < 0.9:
        kind, n = rng.choice(tuple(_SCALARS)), rng.choice((0, 1, 4, 300, 5000))
        return struct.pack("<IIQ", 9, kind, rng.choice((n, n, n, 2**40, 2**63))) + b"".join(
            _scalar(rng, kind) for _ in range(n)
        )
    if how < 0.97:
        depth = rng.choice((1, 3, 1100, 5000))
        return struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * depth + struct.pack("<IQ", 4, 0)
    return struct.pack("<I", rng.choice((13, 100, 2**31)))


def _scalar(rng: random.Random, kind: int) -> bytes:
    form = _SCALARS[kind]
    if kind in (6, 12):
        return struct.pack(form, rng.choice((0.0, -1.0, 0.5, 1e30, float("nan"), float("inf"), float("-inf"))))
    return (
        rng.choice((b"\0", b"\x01", b"\x7f", b"\x80", b"\xff")) * struct.calcsize(form)
        if rng.random() < 0.6
        else struct.pack(form, 1)
    )


def _tensors_changed(rng: random.Random, infos: bytes) -> bytes:
    """The list of tensors with a name, a number of dimensions, a shape, a type or an offset changed."""
    data = bytearray(infos)
    (length,) = struct.unpack_from("<Q", data, 0)
    at = 8 + length
    how = rng.randrange(5)
    if how == 0:
        name = _string(rng.choice((*NAMES, "output.weight\0", "t" * 63, "t" * 64))[:100_000])
        return bytes(name + data[at:])
    if how == 1:
        struct.pack_into("<I", data, at, rng.choice((0, 1, 3, 4, 5, 300_000, 2**32 - 1)))
    elif how == 2:
        struct.pack_into("<Q", data, at + 4, rng.choice((0, 1, 255, 2**31, 2**62, 2**63)))
    elif how == 3:
        (n,) = struct.unpack_from("<I", data, at)
        struct.pack_into("<I", data, at + 4 + 8 * n, rng.choice((0, 1, 2, 8, 30, 39, 40, 99, 2**31)))
    else:
        (n,) = struct.unpack_from("<I", data, at)
        struct.pack_into("<Q", data, at + 8 + 8 * n, rng.choice((1, 7, 31, 32, 2**31, 2**62, 2**64 - 32)))
    return bytes(data)
