"""Notations for the size that a recipe's choice has to keep.

2.5bpw, 80MB, 69877056, +4%, IQ2_XXS   what the whole file may take (IQ2_XXS: as much as that recipe's file)
experts=12GB+rest=6GB                  budgets of classes of tensors (classes.py), each written in the same way
80MB+together                          after either: tensors that kernels fuse get one type
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bench.core.errors import BenchError, nearest
from bench.recipes.classes import CLASSES, REST

_NUMBER = r"(\d+(?:\.\d+)?)"
_BITS = re.compile(rf"^{_NUMBER} *bpw$", re.IGNORECASE)
_BYTES = re.compile(rf"^{_NUMBER} *([MG])(B|iB)?$", re.IGNORECASE)
_PLAIN_BYTES = re.compile(r"^(\d{4,}) *B?$", re.IGNORECASE)
_OVER = re.compile(rf"^\+{_NUMBER} *%$")
_UNITS = {"M": 10**6, "G": 10**9, "MI": 2**20, "GI": 2**30}
#: A + that begins another term; that of +4% begins a size.
_NEXT_TERM = re.compile(r"\s*\+\s*(?=[A-Za-z])")
_BUDGET = re.compile(r"^([A-Za-z][A-Za-z-]*)\s*=\s*(.*)$", re.DOTALL)
#: The term for tensors that are kept together.
TOGETHER = "together"


@dataclass(frozen=True)
class Size:
    """One of: bits per weight of all tensors; bytes of the file; share over the file of the recipe's base; the file of the
    recipe that is named; budgets, {class of tensors: one of these}, for its tensors alone.

    together: whether tensors that kernels fuse get one type, beside any of them.
    """

    bits: float | None = None
    n_bytes: int | None = None
    over: float | None = None
    recipe: str | None = None
    budgets: dict[str, Size] = field(default_factory=dict)
    together: bool = False

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes whose sizes it names."""
        return tuple(s.recipe for s in (self, *self.budgets.values()) if s.recipe is not None)

    @property
    def against(self) -> str | None:
        """The recipe whose size a file of this size has: the one that it names, in every budget if there are budgets."""
        named = set(self.recipes)
        return named.pop() if len(named) == 1 and len(self.recipes) == max(len(self.budgets), 1) else None


@dataclass(frozen=True)
class Terms:
    """A size as it is written: size, of the whole file, or budgets, {class: size} in the order of classes. Both are
    empty where nothing is said but `together`."""

    size: str
    budgets: dict[str, str]
    together: bool

    def __str__(self) -> str:
        sizes = [f"{c}={s}" for c, s in self.budgets.items()] or [self.size]
        return "+".join(filter(None, [*sizes, TOGETHER if self.together else ""]))


def parse_terms(text: str) -> Terms:
    """The parts of a size, none of them looked into. Raises ValueError for parts that do not belong together."""
    sizes: list[str] = []
    budgets: dict[str, str] = {}
    together = False
    for term in filter(None, _NEXT_TERM.split(text.strip())):
        if term.casefold() == TOGETHER:
            together = True
        elif found := _BUDGET.match(term):
            name = found[1].casefold()
            if name not in CLASSES:
                raise ValueError(
                    f"there is no class of tensors {found[1]!r}{nearest(name, CLASSES)} (classes are {', '.join(CLASSES)})"
                )
            if name in budgets:
                raise ValueError(f"{name} has two budgets; give it one")
            budgets[name] = found[2]
        else:
            sizes.append(term)
    if sizes and budgets:
        raise ValueError(
            f"a size of the whole file ({sizes[0]}) and budgets of classes exclude each other; leave one of them out"
        )
    if len(sizes) > 1:
        raise ValueError(f"{sizes[0]} and {sizes[1]} are two sizes; give one")
    if budgets and REST not in budgets:
        raise ValueError(f"the rest of the file has no budget; add one, for instance {REST}=6GB")
    if len(budgets) == 1:
        raise ValueError(
            f"{REST} alone is the whole file; write {budgets[REST]}, or name another class, for instance experts"
        )
    return Terms("".join(sizes), {c: budgets[c] for c in CLASSES if c in budgets}, together)


def parse_size(text: str) -> Size:
    """Raises ValueError for nothing and for zero; a text that is no figure is taken for a recipe's name."""
    terms = parse_terms(text)
    if not terms.budgets:
        return _one_size(terms.size, together=terms.together)
    budgets = {}
    for name, size in terms.budgets.items():
        try:
            budgets[name] = _one_size(size)
        except ValueError as e:
            raise ValueError(f"the budget of {name}: {e}") from e
    return Size(budgets=budgets, together=terms.together)


def _one_size(text: str, *, together: bool = False) -> Size:
    if m := _BITS.match(text):
        size = Size(bits=float(m[1]), together=together)
    elif m := _BYTES.match(text):
        n_bytes = int(float(m[1]) * _UNITS[m[2].upper() + ("I" if m[3] in ("iB", "ib", "IB") else "")])
        size = Size(n_bytes=n_bytes, together=together)
    elif m := _PLAIN_BYTES.match(text):
        size = Size(n_bytes=int(m[1]), together=together)
    elif m := _OVER.match(text):
        return Size(over=float(m[1]) / 100, together=together)
    elif re.match(r"^[A-Za-z]", text):
        return Size(recipe=text, together=together)
    else:
        raise ValueError(
            f"{text!r} is no size; write for instance 2.5bpw, 80MB, +4% or IQ2_XXS (the size of that recipe)"
        )
    if not (size.bits or size.n_bytes):
        raise ValueError(f"{text!r}: a size must be more than nothing")
    return size


def canonical_size(text: str, where: str, own: str | None = None) -> str:
    """The size without spaces, and with budgets in the order of classes. Raises BenchError for one that is none, or for none.

    where: what it was given with; own: the size of the recipe itself, which holds where only `together` is said.
    """
    try:
        terms = parse_terms(text)
        if not (terms.size or terms.budgets):
            of_recipe = parse_terms(own or "")
            terms = Terms(of_recipe.size, of_recipe.budgets, terms.together or of_recipe.together)
        if not (terms.size or terms.budgets):
            more = f"+{TOGETHER}" if terms.together else ""
            raise BenchError(
                f"{where}: needs a size, for instance "
                + ", ".join(f"{where.partition('@')[0]}@{size}{more}" for size in ("2.5bpw", "80MB"))
                + f" or {where.partition('@')[0]}@IQ2_XXS{more}"
            )
        parse_size(str(terms))
    except ValueError as e:
        raise BenchError(f"{where}: {e}") from e
    return "".join(str(terms).split())


def in_words(size: Size, base: str) -> str:
    """`at most 4 % over IQ2_XXS`, `2.5 bits per weight`, `12000 MB for experts and 6000 MB for the rest`."""
    if size.budgets:
        *first, last = (
            f"{in_words(s, base)} for {'the rest' if c == REST else c.replace('-', ' ')}"
            for c, s in size.budgets.items()
        )
        return f"{', '.join(first)} and {last}"
    if size.bits:
        return f"{size.bits:g} bits per weight"
    if size.n_bytes:
        return f"{size.n_bytes / 1e6:g} MB"
    if size.over is not None:
        return f"{100 * size.over:g} % over {base}"
    return f"the size of {size.recipe}"
