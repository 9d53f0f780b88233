"""Records of windows."""

from __future__ import annotations

from typing import Literal

from bench.core.values import Amount, Count, Name, Some, Time
from bench.measures.windows.jobs import WindowResult
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
        if identity.speeds and not self.result.is_timed:
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


class FloorRecord(Record):
    """One window of a file computed in another way: what rounding alone does to its figures. Compared with the reference's logits, as the
    window itself was.

    recipe, sha256: of the file, None for the reference; threads, ubatch: as the window was computed here; flash: whether flash attention
    was allowed, as it is in a run.
    """

    kind: Literal["floor"] = "floor"
    recipe: Name | None = None
    sha256: Name | None = None
    threads: Some
    ubatch: Some
    flash: bool = True
    result: WindowResult
    apart: Rows | None = None


class ExcerptRecord(Record):
    """The text of the scored tokens of one window, for pages that show where files differ: of the fixed prompts only.

    pieces: what each token spells, in the text's order; kinds: (kind of prompt, number of tokens) one after the other.
    """

    kind: Literal["excerpt"] = "excerpt"
    window: Count
    pieces: tuple[str, ...]
    kinds: tuple[tuple[Name, Some], ...]
