"""Notations for the size that a recipe's choice has to keep: `2.5bpw`, `80MB`, `69877056`, `+4%`, `IQ2_XXS`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.core.errors import BenchError

_NUMBER = r"(\d+(?:\.\d+)?)"
_BITS = re.compile(rf"^{_NUMBER} *bpw$", re.IGNORECASE)
_BYTES = re.compile(rf"^{_NUMBER} *([MG])(B|iB)?$", re.IGNORECASE)
_PLAIN_BYTES = re.compile(r"^(\d{4,}) *B?$", re.IGNORECASE)
_OVER = re.compile(rf"^\+{_NUMBER} *%$")
_UNITS = {"M": 10**6, "G": 10**9, "MI": 2**20, "GI": 2**30}


@dataclass(frozen=True)
class Size:
    """One of: bits per weight of all tensors; bytes of the file; share over the file of the recipe's base; the file of the
    recipe that is named."""

    bits: float | None = None
    n_bytes: int | None = None
    over: float | None = None
    recipe: str | None = None


def parse_size(text: str) -> Size:
    """Raises ValueError for nothing and for zero; a text that is no figure is taken for a recipe's name."""
    text = text.strip()
    if m := _BITS.match(text):
        size = Size(bits=float(m[1]))
    elif m := _BYTES.match(text):
        size = Size(n_bytes=int(float(m[1]) * _UNITS[m[2].upper() + ("I" if m[3] in ("iB", "ib", "IB") else "")]))
    elif m := _PLAIN_BYTES.match(text):
        size = Size(n_bytes=int(m[1]))
    elif m := _OVER.match(text):
        return Size(over=float(m[1]) / 100)
    elif re.match(r"^[A-Za-z]", text):
        return Size(recipe=text)
    else:
        raise ValueError(
            f"{text!r} is no size; write for instance 2.5bpw, 80MB, +4% or IQ2_XXS (the size of that recipe)"
        )
    if not (size.bits or size.n_bytes):
        raise ValueError(f"{text!r}: a size must be more than nothing")
    return size


def canonical_size(text: str, where: str) -> str:
    """The size without spaces. Raises BenchError for one that is none, or for none. where: what it was given with."""
    if not text.strip():
        raise BenchError(f"{where}: needs a size, for instance {where}@2.5bpw, {where}@80MB or {where}@IQ2_XXS")
    try:
        parse_size(text)
    except ValueError as e:
        raise BenchError(f"{where}: {e}") from e
    return "".join(text.split())


def in_words(size: Size, base: str) -> str:
    """`at most 4 % over IQ2_XXS`, `2.5 bits per weight`."""
    if size.bits:
        return f"{size.bits:g} bits per weight"
    if size.n_bytes:
        return f"{size.n_bytes / 1e6:g} MB"
    if size.over is not None:
        return f"{100 * size.over:g} % over {base}"
    return f"the size of {size.recipe}"
