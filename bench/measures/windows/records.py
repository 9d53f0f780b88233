"""Records of windows."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from bench.core.values import Amount, Count, Name, Packed, Some, Time
from bench.measures.windows.jobs import WindowResult, unpack
from bench.records.identity import Identity, Kept
from bench.records.record import Basis, OfFile, Record


class Rows(Kept):
    """Where the values of a window's tokens stand apart (apart.py): rows of a table, and what indices of kinds stand for."""

    first: Count
    count: Some
    kind_names: tuple[str, ...]


class WindowRecord(OfFile):
    """One window of one recipe.

    isa: what the library of the measuring process reported; cpus: the CPUs it was pinned to; load: the machine's load
    average over the minute before, None where there is none; sitting: when the program was started that measured it.
    Timings of one window compare within a sitting only. apart: of a published run, where the values of its tokens are.

    Where a device scores, a window that a site of a cluster scored may have its times in a record of their own, of another site.
    """

    kind: Literal["window"] = "window"
    result: WindowResult
    isa: Name
    cpu: Name
    threads: Some
    cpus: tuple[int, ...]
    load: Amount | None
    sitting: Time | Literal[""] = ""
    apart: Rows | None = None

    def misfit(self, identity: Identity) -> str | None:
        if identity.speeds and not self.result.is_timed and identity.settings.offload is None:
            return "its times are missing"
        return identity.lacks(self.result.window)

    @property
    def index(self) -> int:
        return self.result.window

    @property
    def basis(self) -> Basis | None:
        tokens = self.result.tokens
        if tokens is None:
            return None
        return Basis(self.result.window, (tokens.kind_names, tokens.kinds), compared=tokens.kl is not None)

    @property
    def settles(self) -> tuple[str, int | None]:
        return self.recipe, self.result.window


class TimesRecord(OfFile):
    """The times of a window that a device scored, measured by the CPU of another machine. Fields: as in WindowRecord; result: without values of tokens, and its sums
    are the CPU's, which are not shown."""

    kind: Literal["times"] = "times"
    result: WindowResult
    isa: Name
    cpu: Name
    threads: Some
    cpus: tuple[int, ...]
    load: Amount | None
    sitting: Time | Literal[""] = ""

    def misfit(self, identity: Identity) -> str | None:
        if not self.result.is_timed:
            return "it has no times"
        return identity.lacks(self.result.window)

    @property
    def index(self) -> int:
        return self.result.window


#: How a window is computed for the floor: in smaller batches with fewer threads, with the other kernel for attention, or on the CPU where a device scores.
Way = Literal["batches", "attention", "cpu"]


class FloorRecord(Record):
    """One window of a file computed in another way: what rounding alone does to its figures. Compared with the reference's logits, as the
    window itself was.

    recipe, sha256: of the file, None for the reference; threads, ubatch: as the window was computed here; flash: whether flash attention
    was allowed, as it is in a run; on_cpu: whether the CPU computed it, in a run whose scores are a device's.
    """

    kind: Literal["floor"] = "floor"
    recipe: Name | None = None
    sha256: Name | None = None
    threads: Some
    ubatch: Some
    flash: bool = True
    on_cpu: bool = False
    result: WindowResult
    apart: Rows | None = None

    @property
    def way(self) -> Way:
        return "cpu" if self.on_cpu else "batches" if self.flash else "attention"


class ExcerptRecord(Record):
    """The text of the scored tokens of one window, for pages that show where files differ: of the fixed prompts only.

    pieces: what each token spells, in the text's order; kinds: (kind of prompt, number of tokens) one after the other.
    """

    kind: Literal["excerpt"] = "excerpt"
    window: Count
    pieces: tuple[str, ...]
    kinds: tuple[tuple[Name, Some], ...]


class Span(Kept):
    """Where the scored tokens of a window are in the text. first: bytes of the text before the first of them; lengths: uint8, bytes of the
    text that each stands for, packed, in the text's order. Together they are a stretch without gaps."""

    window: Count
    first: Count
    lengths: Packed

    def edges(self) -> NDArray[np.int64]:
        """(tokens + 1,) byte offsets in the text at which tokens begin, and at which the last ends."""
        return self.first + np.concatenate([[0], np.cumsum(unpack(self.lengths, np.uint8), dtype=np.int64)])


class SpansRecord(Record):
    """Where the scored tokens of all windows are in the text, so that models of other vocabularies can be compared on what both scored.

    The same for all files of a run. windows: empty where the vocabulary does not give the text back byte for byte.
    """

    kind: Literal["spans"] = "spans"
    windows: tuple[Span, ...]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        ends = [(0, -1), *((int(s.edges()[-1]), s.window) for s in self.windows)]
        for (end, before), span in zip(ends, self.windows, strict=False):
            if span.first < end or span.window <= before:
                raise ValueError("its windows are not in the text's order")
        return self
