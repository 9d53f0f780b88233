"""The declaration of recall as a measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from bench.core.errors import BenchError
from bench.core.formats import markdown
from bench.measures.frames import Frame
from bench.measures.measure import Measure
from bench.measures.plan import Foreseen, Plan, Stage
from bench.measures.recall.columns import RECALL
from bench.measures.recall.options import PASSAGE, Asked, caches_of, distances_of
from bench.measures.recall.records import RecallRecord
from bench.measures.recall.runs import recall_of
from bench.measures.recall.stage import Recall
from bench.measures.recall.tables import KEY, recall_frame, recall_table
from bench.measures.sections import Section, Table
from bench.records.record import Record
from bench.records.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RecallMeasure(Measure):
    """Recall: how well a passage is predicted that stood in the context some tokens before."""

    name = "recall"
    order = 25
    records: ClassVar[tuple[type[Record], ...]] = (RecallRecord,)
    options = Asked
    plots: ClassVar[Mapping[str, str]] = {"recall": "Recall of a passage at a distance"}

    def stage(self, plan: Plan, asked: Asked) -> Stage | None:
        distances, caches = distances_of(asked, plan.work.settings.window), caches_of(asked)
        if distances and plan.work.options.traces is not None:
            raise BenchError("--recall takes passages of a text, which --traces is not; leave one of them out")
        return Recall(plan, tuple(distances), tuple(caches)) if distances else None

    def foreseen(self, asked: Asked, window: int, windows: int) -> Foreseen | None:
        distances, caches = distances_of(asked, window), caches_of(asked)
        tokens = windows * len(caches) * sum(d + 2 * PASSAGE for d in distances)
        return Foreseen(Recall.title, tokens, len(caches)) if distances else None

    def repeat(self, run: Run) -> Sequence[str]:
        found = recall_of(run)
        distances = sorted({d for caches in found.values() for by_distance in caches.values() for d in by_distance})
        if not distances:
            return []
        caches = dict.fromkeys(c.name for of in found.values() for c in of if not c.is_plain)
        asked = ["--recall", ",".join(map(str, distances))]
        return asked + (["--recall-cache-types", ",".join(caches)] if caches else [])

    def sections(self, run: Run) -> Sequence[Section]:
        found = recall_table(run)
        if not len(found):
            return []
        table = Table("recall-table", "What a passage gains by having stood in the context before", found, key=KEY)
        return [Section("Recall at a distance", "recall", (table,))]

    def draw(self, run: Run) -> Mapping[str, Figure]:
        from bench.measures.recall.plots import draw  # matplotlib takes a second to import

        return draw(run)

    def frames(self) -> Sequence[Frame]:
        return [Frame("recall", recall_frame, recall_table, "recall: run with --recall", RECALL, "recall")]

    def quotes(self, run: Run) -> Mapping[str, str]:
        found = recall_table(run)
        return {"recall": f"{markdown(found)}\n\n{KEY}"} if len(found) else {}

    def json(self, run: Run) -> Mapping[str, object]:
        return {"recall": recall_table(run).to_dict("records")}


MEASURE = RecallMeasure()
