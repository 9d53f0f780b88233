"""What a run comes to, in a few plain sentences: what its comparisons say, what to take, what a reader would not expect."""

from __future__ import annotations

from bench.advise.fitting import fit
from bench.advise.front import measured_files, recommendations
from bench.engine.memory import machine_memory
from bench.measures.registry import all_measures
from bench.records.run import Run


def findings(run: Run) -> list[str]:
    """Sentences, the most telling first. What to take is for the memory of this machine."""
    measures = all_measures()
    verdicts = [v for m in measures for v in m.verdicts(run)]
    machine = machine_memory()
    take = recommendations(run, measured_files(run, {}, lambda needed: fit(needed, machine)))
    best = [s for s in take if s.startswith("By the run, best")]
    odd = [s for m in measures for s in m.surprises(run)]
    return [*verdicts[:1], *best, *odd[:1], *verdicts[1:], *odd[1:]]
