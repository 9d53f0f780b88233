"""The limit of a run's reference: it cannot resolve differences between files with as many bits as it was once stored in.

The weights of a reference that was quantized before lie on the grid of that type. Another type with as many bits may fit
this grid better than it would fit the weights of a model that never was on such a grid. So figures of such files say nothing about
other models, and they are left out of counts, findings and plots.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bench.core.formats import MISSING
from bench.gguf_files.info import UNQUANTIZED
from bench.records.record import FileRecord
from bench.records.run import Run

#: What widening writes into a model's description (gguf_files/widen.py).
_DEQUANTIZED = re.compile(r"[Dd]equantized from (\w+(?:(?:, | and )\w+)*) to ")

#: Stands behind the figures of a file that the reference cannot judge.
MARK = "†"

#: The verdict on a comparison with such a file.
UNTOLD = f"cannot be told {MARK}"


@dataclass(frozen=True)
class Resolution:
    """What the reference can tell. types: quantized types in which its weights once were, none as far as records tell when
    empty; bits: the fewest bits of a weight's code in these; beyond: files of the run that it cannot judge."""

    types: tuple[str, ...]
    bits: int
    beyond: frozenset[str]

    @property
    def sentence(self) -> str:
        """What the run cannot tell; empty when nothing is in the way."""
        if not self.types:
            return ""
        return (
            f"The reference was once stored in {' and '.join(self.types)}, so this run says nothing about files that are mostly "
            f"of {self.bits} bits and more"
        )

    def marked(self, name: str, figure: str) -> str:
        """A figure of a file as a table shows it: with the mark where the reference cannot judge the file."""
        return f"{figure} {MARK}" if name in self.beyond and figure != MISSING else figure

    def key(self, names: Iterable[str]) -> str:
        """A line for the key of a table with these files; empty when none of them is marked."""
        if self.beyond.isdisjoint(names):
            return ""
        return f"- {MARK}: {self.sentence}; their figures are left out of counts, findings and plots"


def resolution(run: Run) -> Resolution:
    """What the run's reference can tell."""
    return run.view(_resolution)


def _resolution(run: Run) -> Resolution:
    reference = run.files.get(run.reference or "")
    types = once_stored_in(reference) if reference else ()
    if not types:
        return Resolution((), 0, frozenset())
    bits = min(code_bits(t) for t in types)
    beyond = (f.recipe for f in run.files.values() if f is not reference and _is_beyond(f, bits))
    return Resolution(types, bits, frozenset(beyond))


def once_stored_in(file: FileRecord) -> tuple[str, ...]:
    """Quantized types in which the weights of a file are, or were before they were widened to F16."""
    told = _DEQUANTIZED.search(file.description)
    before = re.split(", | and ", told[1]) if told else []
    return tuple(dict.fromkeys([*before, *(t for t in file.weights_by_type if t not in UNQUANTIZED)]))


def code_bits(stored: str) -> int:
    """Bits of a weight's code in a type, without its share of the block's scales: 4 for Q4_1, Q4_K and IQ4_XS."""
    found = re.search(r"\d+", stored)
    return int(found[0]) if found else 0


def _is_beyond(file: FileRecord, bits: int) -> bool:
    """Whether less than half of the rounding error to expect lies in types of fewer bits than the reference once had.

    A bit more halves the step of a grid, and the mean square of the error is step^2 / 12 (Bennett 1948, Spectra of quantized
    signals): a quarter of it for each bit.
    """
    error = {t: n * 4.0 ** -code_bits(t) for t, n in file.weights_by_type.items()}
    return sum(e for t, e in error.items() if code_bits(t) < bits) < sum(error.values()) / 2
