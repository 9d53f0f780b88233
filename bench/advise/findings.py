"""The findings of a run in a few plain sentences: results of its comparisons, files to take, surprises."""

from __future__ import annotations

from bench.advise.measured import by_run, measured_files
from bench.advise.situation import Situation, Wishes
from bench.core.formats import size
from bench.engine.memory import machine_memory
from bench.measures.registry import all_measures
from bench.records.run import Run


def findings(run: Run) -> list[str]:
    """Sentences, the most telling first. What to take is for the memory of this machine."""
    measures = all_measures()
    verdicts = [v for m in measures for v in m.verdicts(run)]
    odd = [s for m in measures for s in m.surprises(run)]
    return [*verdicts[:1], *_best(run), *odd[:1], *verdicts[1:], *odd[1:]]


def _best(run: Run) -> list[str]:
    """The best quantized file that fits, or the smallest of those that are not shown to differ from it."""
    here = Situation((), (), machine_memory(), wishes=Wishes(prefer="quality"))
    quantized = [m for m in measured_files(run, {}, here, same_machine=True) if not m.is_reference]
    found = by_run(run, quantized, here).take if quantized else None
    return (
        [f"Of the quantized files that fit this machine, take {found.name} ({size(found.n_bytes)}). {found.why}"]
        if found
        else []
    )
