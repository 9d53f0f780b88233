"""The declaration of what text says of tasks, for all that shows a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from bench.core.formats import markdown
from bench.measures.frames import Frame
from bench.measures.measure import Measure
from bench.measures.prediction.tables import PREDICTION, key, prediction_frame, prediction_table
from bench.measures.sections import Section, Table
from bench.records.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Prediction(Measure):
    """Text against tasks: rank correlations over the files of a run."""

    name = "prediction"
    order = 23
    plots: ClassVar[Mapping[str, str]] = {"text-and-tasks": "What is lost in tasks over the divergence on text"}

    def sections(self, run: Run) -> Sequence[Section]:
        found = prediction_table(run)
        if not len(found):
            return []
        caption = "Rank correlation of what is measured on text with what is lost in tasks"
        return [
            Section(
                "Does text predict tasks?", "prediction", (Table("prediction-table", caption, found, key=key(run)),)
            )
        ]

    def draw(self, run: Run) -> Mapping[str, Figure]:
        from bench.measures.prediction.plots import draw  # matplotlib takes a second to import

        return draw(run)

    def frames(self) -> Sequence[Frame]:
        needs = "prediction: run with --tasks, and five files at least"
        return [Frame("prediction", prediction_frame, prediction_table, needs, PREDICTION, "prediction")]

    def quotes(self, run: Run) -> Mapping[str, str]:
        found = prediction_table(run)
        return {"prediction": f"{markdown(found)}\n\n{key(run)}"} if len(found) else {}


MEASURE = Prediction()
