"""The declaration of windows as a measure: perplexity, divergence from the reference, speed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from bench.core.formats import markdown
from bench.measures.frames import Frame
from bench.measures.measure import Measure
from bench.measures.plan import Plan, Stage
from bench.measures.sections import Evaluation, FileColumn, Section, Table
from bench.measures.windows import equal_size, notes, positions, sections, statistics, tables
from bench.measures.windows.agreement import kl_statistics
from bench.measures.windows.apart import pack_tokens
from bench.measures.windows.frames import FRAMES
from bench.measures.windows.passes import Passes
from bench.measures.windows.records import ExcerptRecord, FloorRecord, SpansRecord, TimesRecord, WindowRecord
from bench.measures.windows.runs import windows_of
from bench.records.record import Record
from bench.records.resolution import UNTOLD
from bench.records.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: Digits of figures in files: the last ones of a sum depend on the CPU that adds up.
_DIGITS = "%.9g"


class Windows(Measure):
    """Windows of the scored text: what every run measures."""

    name = "windows"
    order = 10
    essential = True
    records: ClassVar[tuple[type[Record], ...]] = (WindowRecord, TimesRecord, FloorRecord, ExcerptRecord, SpansRecord)
    plots: ClassVar[Mapping[str, str]] = {
        "ppl-size": "Perplexity relative to the reference against file size",
        "kl-size": "Divergence from the reference against file size",
        "tails-size": "The worst tokens and changed answers against file size",
        "kl-speed": "Divergence from the reference against generation speed",
        "kl-position": "Divergence from the reference along the window",
        "ppl-change": "Change of perplexity against Standard of the same type",
    }
    surprising = "Files that score worse than smaller ones"

    def stage(self, plan: Plan, asked: Any) -> Stage:
        return Passes(plan, "Scoring" if plan.work.options.no_speed else "Scoring and timing")

    def pack(self, run: Run) -> bool:
        return pack_tokens(run)

    def is_complete(self, run: Run) -> bool:
        return windows_of(run).is_complete

    def headline(self, run: Run) -> Sequence[Section]:
        return sections.headline(run)

    def surprises(self, run: Run) -> Sequence[str]:
        return notes.surprises(run)

    def sections(self, run: Run) -> Sequence[Section]:
        return sections.sections(run)

    def summary_tables(self, run: Run) -> Sequence[Table]:
        return sections.summary_tables(run)

    def file_columns(self, run: Run) -> Sequence[FileColumn]:
        return sections.file_columns(run)

    def file_key(self, run: Run, *, everywhere: bool) -> Sequence[str]:
        return sections.file_key(run, everywhere=everywhere)

    def verdicts(self, run: Run) -> Sequence[str]:
        lines = []
        paired = tables.paired_table(run)
        if len(paired):
            for what, column in (("perplexity", "Verdict"), ("time for one window", "Time")):
                told = [re.sub(r" \(.*\)", "", verdict) for verdict in paired.get(column, ()) if verdict != UNTOLD]
                listed = ", ".join(f"{verdict} in {n}" for verdict, n in Counter(told).most_common())
                if told:
                    lines.append(
                        f"Mixed recipes against Standard of the same type, {what}: {listed} of {len(told)} comparisons"
                    )
        return lines + equal_size.equal_size_summary(run)

    def shortfalls(self, run: Run) -> Sequence[str]:
        return notes.failures(run)

    def notes(self, run: Run) -> Sequence[str]:
        return notes.notes(run)

    def draw(self, run: Run) -> Mapping[str, Figure]:
        from bench.measures.windows.plots import draw  # matplotlib takes a second to import

        return draw(run)

    def frames(self) -> Sequence[Frame]:
        return FRAMES

    def files(self, run: Run) -> Mapping[str, str]:
        return {
            "comparison.csv": tables.published_table(run).to_csv(index=False),
            "kl-divergence.txt": kl_statistics(run),
            "full.csv": tables.full_frame(run).to_csv(index=False, float_format=_DIGITS),
        }

    def json(self, run: Run) -> Mapping[str, object]:
        return {
            "comparison": tables.published_table(run).to_dict("records"),
            "files": json.loads(tables.full_frame(run).to_json(orient="records", double_precision=15)),
        }

    def quotes(self, run: Run) -> Mapping[str, str]:
        told = {"equal-size": equal_size.equal_size_text(run, against="Standard")}
        if len(found := positions.positions_table(run)):
            told["positions"] = f"{markdown(found)}\n\n{positions.KEY}"
        return told

    def evaluations(self, run: Run) -> Mapping[str, Evaluation]:
        measured = {name: windows for name in run.files if (windows := windows_of(run).results(name))}
        ppl = {name: statistics.perplexity(windows).ppl.value for name, windows in measured.items()}
        return {name: Evaluation("perplexity", "Perplexity", value) for name, value in ppl.items()}


MEASURE = Windows()
