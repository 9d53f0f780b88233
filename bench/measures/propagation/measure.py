"""The declaration of the comparison of hidden states as a measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from bench.measures.frames import Frame
from bench.measures.measure import Measure
from bench.measures.plan import Plan, Stage
from bench.measures.propagation import tables
from bench.measures.propagation.frames import FRAME
from bench.measures.propagation.options import Asked
from bench.measures.propagation.records import PropagationRecord
from bench.measures.propagation.runs import propagation_of
from bench.measures.propagation.stage import HiddenStates
from bench.measures.sections import Section, Table
from bench.records.record import Record
from bench.records.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Propagation(Measure):
    """Error propagation: how far hidden states are from the reference's, layer by layer."""

    name = "propagation"
    order = 40
    records: ClassVar[tuple[type[Record], ...]] = (PropagationRecord,)
    options = Asked
    plots: ClassVar[Mapping[str, str]] = {"error-propagation": "Error of the hidden states by layer"}

    def stage(self, plan: Plan, asked: Asked) -> Stage | None:
        return HiddenStates(plan) if asked.propagation else None

    def repeat(self, run: Run) -> Sequence[str]:
        return ["--propagation"] if any(propagation_of(run).values()) else []

    def sections(self, run: Run) -> Sequence[Section]:
        found = []
        if len(errors := tables.propagation_table(run)):
            caption = "Error of the hidden states along the depth"
            found.append(Table("propagation-table", caption, errors, key=tables.KEY))
            if len(paired := tables.paired_propagation_table(run)):
                caption, label = (
                    "Error of the hidden states, paired with Standard",
                    "Against Standard of the same type, paired:",
                )
                found.append(Table("propagation-paired", caption, paired, label=label))
        said = tuple(filter(None, [tables.claim(run)]))
        return [Section("Error propagation", "propagation", tuple(found), said=said)] if found else []

    def draw(self, run: Run) -> Mapping[str, Figure]:
        from bench.measures.propagation.plots import draw  # matplotlib takes a second to import

        return draw(run)

    def frames(self) -> Sequence[Frame]:
        return [FRAME]

    def quotes(self, run: Run) -> Mapping[str, str]:
        return {"claim": tables.claim(run)}

    def json(self, run: Run) -> Mapping[str, object]:
        return {"propagation": tables.propagation_table(run).to_dict("records")}


MEASURE = Propagation()
