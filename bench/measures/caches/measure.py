"""The declaration of KV cache types as a measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from bench.core.formats import markdown
from bench.engine.settings import PLAIN
from bench.measures.caches import tables
from bench.measures.caches.frames import FRAMES
from bench.measures.caches.options import Asked, caches_of
from bench.measures.caches.records import CacheRecord
from bench.measures.caches.runs import caches_in
from bench.measures.caches.stage import CacheTypes
from bench.measures.caches.statistics import CONTROL
from bench.measures.frames import Frame
from bench.measures.measure import Measure
from bench.measures.plan import Foreseen, Plan, Stage
from bench.measures.sections import Section, Table
from bench.records.record import Record
from bench.records.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: A decode with a quantized cache, in decodes with one in f16: of a window of 2048 tokens of the default model, on an Intel Xeon with 2 cores.
_QUANTIZED = 1.7


class Caches(Measure):
    """KV cache types: what it costs to keep keys and values in fewer bits."""

    name = "caches"
    order = 20
    records: ClassVar[tuple[type[Record], ...]] = (CacheRecord,)
    options = Asked
    plots: ClassVar[Mapping[str, str]] = {
        "cache-grid": "What the types of keys and values in the KV cache cost",
        "cache-positions": "Divergence of KV caches along the window",
    }

    def stage(self, plan: Plan, asked: Asked) -> Stage | None:
        caches = caches_of(asked)
        return CacheTypes(plan, tuple(caches)) if caches else None

    def foreseen(self, asked: Asked, window: int, windows: int) -> Foreseen | None:
        caches = caches_of(asked)
        tokens = window * windows * sum(_QUANTIZED if c.is_quantized else 1.0 for c in caches)
        return Foreseen(CacheTypes.title, tokens, windows * len(caches)) if caches else None

    def repeat(self, run: Run) -> Sequence[str]:
        caches = dict.fromkeys(c for of in caches_in(run).values() for c in of if c not in (PLAIN, CONTROL))
        if not caches:
            return []
        named = dict.fromkeys(c.k if c.k == c.v else f"{c.k}/{c.v}" for c in caches)
        return ["--cache-types", ",".join(named), *(["--no-rotation"] if any(not c.rotation for c in caches) else [])]

    def sections(self, run: Run) -> Sequence[Section]:
        found = tables.caches_table(run)
        if not len(found):
            return []
        key = tables.KEY.format(window=run.identity.settings.window)
        made = [Table("caches-table", "What the KV cache's type costs", found, key=key)]
        if len(positions := tables.positions_table(run)):
            caption = "Divergence of KV caches along the window"
            made.append(
                Table("cache-positions-table", caption, positions, key=tables.POSITIONS_KEY, label="Along the window:")
            )
        return [Section("KV cache types", "caches", tuple(made))]

    def notes(self, run: Run) -> Sequence[str]:
        return tables.notes(run)

    def draw(self, run: Run) -> Mapping[str, Figure]:
        from bench.measures.caches.plots import draw  # matplotlib takes a second to import

        return draw(run)

    def frames(self) -> Sequence[Frame]:
        return FRAMES

    def quotes(self, run: Run) -> Mapping[str, str]:
        if not len(found := tables.caches_table(run)):
            return {}
        return {"caches": f"{markdown(found)}\n\n{tables.KEY.format(window=run.identity.settings.window)}"}

    def json(self, run: Run) -> Mapping[str, object]:
        return {"caches": tables.caches_table(run).to_dict("records")}


MEASURE = Caches()
