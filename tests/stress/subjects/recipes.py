"""Recipe files changed by structure: values of other types, rules that nobody expects, TOML that is none, and names of recipes."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

from tests.stress.attack import Attack, Tried
from tests.stress.commands import run
from tests.stress.hostile import NAMES, replaced
from tests.support.tiny import Shape, write_model, write_text

ABOUT = "recipe files and names of recipes that are none"
UNIT = "recipes"
GOAL = 800

#: A short text to calibrate on, so that what a recipe leaves open is chosen in seconds.
_MADE = ("--model", "MODEL", "--calibration", "CALIBRATION", "--cache", "CACHE")
_READERS = (
    ("recipe", "check", "RECIPE"), ("recipe", "show", "RECIPE", *_MADE), ("recipe", "show", "RECIPE", *_MADE, "--all"),
    ("recipe", "diff", "RECIPE", "DG-IQ2_XXS", *_MADE), ("quantize", "RECIPE", "out.gguf", "--force", *_MADE),
    ("run", "--dry-run", "--recipes", "RECIPE", "--text", "TEXT", "--window", 64, "--windows", 1, *_MADE),
)  # fmt: skip
_WHOLE: tuple[dict[str, Any], ...] = (
    {"prefix": "MINE", "base": "Q4_K_M", "description": "{base} with better values",
     "rules": [{"type": "Q6_K", "layers": [0.0, 0.5], "tensors": ["attention-v"]}, {"type": "Q8_0", "pattern": "ffn_down"}]},
    {"prefix": "OWN", "base": "Q4_0", "rules": [{"type": "Q5_0", "layers": [0, 1]}, {"type": "F16", "tensors": ["blk.*.attn_v.weight"]}]},
    {"prefix": "CHOICE", "base": "Q4_0", "size": "+4%", "sizes": {"Q4_0": "+14%"},
     "rules": [{"layers": [0.0, 0.25], "may": ["Q5_0", "Q8_0"]}]},
)  # fmt: skip
#: Texts that mean something in a recipe, which take an attack further than others do.
_WORDS = (
    "(", "(a+)+$", "[", ".*", "^", "\\", "(?P<a>.)(?P=a)", "((((((((((a*)*)*)*)*)*)*)*)*)*b", "x{1000}{1000}", "IQ1_S", "Q8_K", "I32", "F64", "COPY", "+0%",
     "-50%", "+1e400%", "NaNbpw", "0.0001bpw", "9999bpw", "1e30MB", "0MB", "-1MB", "Q4_0", "IQ2_S", "{base}", "{0}", "{", "blk.*", "output",
)  # fmt: skip
_ENDS = (
    "@+4%",
    "@",
    "@NaNbpw",
    "@1e400bpw",
    "@-1MB",
    "@Q4_0#1",
    "#-1",
    "@2.5bpw#99999999999999999999",
    "-PLAIN",
    "-PLAIN-PLAIN",
    "-",
    "@@",
    "@+10%@+10%",
    "@attention=1MB+rest=1MB+together",
    "@experts=1MB+rest=1MB",
    "@together",
    "@rest=+rest=+",
    "@attention=NaNbpw+rest=Q4_0@+4%",
)
_STARTS = (
    "DG-Q4_0",
    "Q4_K_M",
    "auto",
    "DG-FULL-IQ2_XXS",
    "Q4_0",
    "IQ2_S",
    "none",
    "all",
    "dynamicgate",
    "DG-DG-Q4_0",
    "DG-",
)


def prepare(folder: Path) -> Attack:
    model, text = write_model(folder / "tiny.gguf", Shape(layers=2)), write_text(folder / "words.txt", 300)
    calibration = write_text(folder / "calibration.txt", 1300, seed=2)
    places = {"MODEL": model, "TEXT": text, "CALIBRATION": calibration, "CACHE": folder / "cache"}

    def attack(rng: random.Random, scratch: Path) -> Tried:
        if rng.random() < 0.2:
            named = rng.choice(_STARTS) + rng.choice((*_ENDS, rng.choice(NAMES)[:2000].replace("\0", "")))
            recipe: object = named if named.strip() and not named.startswith("-") else "-x"
            recipe = str(recipe).encode("utf-8", "replace").decode()
        else:
            name = rng.choice(("own.toml", "own.toml", "a b.toml", "DG-IQ2_XXS.toml"))
            recipe = f"./{name}" + rng.choice(("", "", "", "@+4%", "@2.5bpw"))
            (scratch / name).write_bytes(_damaged(rng))
        readers = rng.sample(_READERS, 2)
        return Tried(
            tuple(run([{**places, "RECIPE": recipe}.get(str(w), w) for w in reader], scratch) for reader in readers)
        )

    return attack


def _damaged(rng: random.Random) -> bytes:
    how, value = rng.random(), copy.deepcopy(rng.choice(_WHOLE))
    if how < 0.35:
        value = replaced(rng, value)
    elif how < 0.75:
        rule = rng.choice(value["rules"])
        key = rng.choice(("type", "tensors", "pattern", "layers", "may", "base", "size", "prefix", "description"))
        holder = value if key in ("base", "size", "prefix", "description") else rule
        word = rng.choice((*_WORDS, *_WORDS, rng.choice(NAMES)))
        holder[key] = {"tensors": [word], "may": [word, "Q8_0"], "layers": [rng.choice((0, 1, 2**70, 0.5)), rng.choice((1, 2**70, 1.0, 1e308))]}.get(key, word)  # fmt: skip
    text = _toml(value) if isinstance(value, dict) else json.dumps(value)
    data = text.encode("utf-8", "surrogatepass")
    if how >= 0.9:
        return rng.choice((b"\xef\xbb\xbf" + data, b"\xff\xfe" + data, b"a = " + b"[" * 5000, b"a=" + b"9" * 5000, b"a" * 10**6, b"", b"\0" * 100,
                           b"rules = " + b"[{" * 400, b"[a." + b"a." * 20_000 + b"a]"))  # fmt: skip
    if how >= 0.75:
        at = rng.randrange(len(data))
        return data[:at] + bytes(rng.randrange(256) for _ in range(rng.randint(1, 5))) + data[at + 1 :]
    return data


def _toml(value: dict[str, Any]) -> str:
    """TOML of what a mutation made, which need not be any: whatever has no form there is left out."""
    return "".join(f"{json.dumps(key)} = {_inline(inner)}\n" for key, inner in value.items() if inner is not None)


def _inline(value: Any, depth: int = 0) -> str:
    if depth < 8 and isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(k)} = {_inline(v, depth + 1)}" for k, v in value.items() if v is not None)
            + "}"
        )
    if depth < 8 and isinstance(value, list):
        return "[" + ", ".join(_inline(v, depth + 1) for v in value if v is not None) + "]"
    if isinstance(value, float):
        return str(value)
    return json.dumps(value)  # beyond, lists are lists of lists, which are written alike
