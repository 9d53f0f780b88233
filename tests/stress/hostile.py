"""Values that nobody expects, and JSON with some of its values replaced by them."""

from __future__ import annotations

import copy
import random
from typing import Any

#: Names that some reader may take for something else.
NAMES = (
    "", " ", "x" * 100_000, "a\0b", "\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>',
    "$x_{$", "$\\frac{", "\\input{/etc/passwd}", "|a|b|", "[x](javascript:alert(1))", "`rm -rf`", "../../etc/passwd", "/etc/passwd",
    "a\nb", "a\r\nb", "-rf", "--out", "%s%n", "{0}", "NaN", "\ud800", "𝒳" * 50, "=cmd()", "CON", "con.gguf", "#", "a,b", "*",
)  # fmt: skip
NUMBERS = (
    0,
    -1,
    1,
    2,
    2**31,
    2**53,
    2**63,
    2**64,
    -(2**63),
    10**30,
    1e308,
    -1e308,
    1e-308,
    0.0,
    -0.0,
    0.5,
    float("nan"),
    float("inf"),
    float("-inf"),
)


def nasty(rng: random.Random) -> Any:
    """A value of any type."""
    deep: Any = []
    for _ in range(rng.choice((3, 500))):
        deep = [deep]
    return rng.choice(
        (
            rng.choice(NAMES),
            rng.choice(NUMBERS),
            rng.choice((None, True, False)),
            rng.choice(
                ([], {}, [[]], {"": None}, [0] * 1000, {"a": 1}, {str(i): i for i in range(1000)}, [None], ["", ""])
            ),
            deep,
        )
    )


def replaced(rng: random.Random, value: Any) -> Any:
    """A copy with one to three values replaced, left out, doubled or renamed, anywhere in it."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(value))
        if not places:
            return nasty(rng)
        holder, key = rng.choice(places)
        how = rng.random()
        if how < 0.7:
            holder[key] = _like(rng, holder[key]) if rng.random() < 0.5 else nasty(rng)
        elif how < 0.85:
            del holder[key]
        elif isinstance(holder, dict):
            holder[rng.choice(NAMES)] = holder.pop(key)
        else:
            holder.insert(key, copy.deepcopy(holder[key]))
    return value


def _like(rng: random.Random, value: Any) -> Any:
    """Another value of the same type, which gets further."""
    if isinstance(value, str):
        cut = rng.randrange(len(value) + 1)
        return rng.choice(
            (rng.choice(NAMES), value[:cut], value + value, value.upper(), value[:cut] + "!" + value[cut:])
        )
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return rng.choice((*NUMBERS, -value, value * 1e12, value * 1e-12, value + 1))
    return nasty(rng)


def _places(value: Any) -> Any:
    """(holder, key) of every value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)
