"""The infill problems and conversations of a run, read from its records."""

from __future__ import annotations

from bench.measures.problems.records import ProblemRecord, ProblemSetIdentity
from bench.records.run import Run


def _sets(run: Run) -> list[ProblemSetIdentity]:
    last = {(r.problem_set.name, r.problem_set.assistant_only): r.problem_set for r in run.of(ProblemRecord)}
    return list({p.key: p for p in last.values()}.values())


def problem_sets(run: Run) -> list[ProblemSetIdentity]:
    """Sets of problems on record, in the order they were first scored; of one asked in several ways the last."""
    return run.view(_sets)


def _by_set(run: Run) -> dict[str, dict[str, dict[int, ProblemRecord]]]:
    found: dict[str, dict[str, dict[int, ProblemRecord]]] = {}
    for r in run.current(ProblemRecord):
        by_file = found.setdefault(r.problem_set.key, {name: {} for name in run.files})
        by_file[r.recipe][r.batch] = r
    return found


def problems_of(run: Run, key: str) -> dict[str, dict[int, ProblemRecord]]:
    """Records of a set of problems by file and batch, of the files as they are recorded now."""
    by_file = run.view(_by_set).get(key) or {name: {} for name in run.files}
    return {name: dict(sorted(batches.items())) for name, batches in by_file.items()}


def judges(run: Run, key: str) -> list[str]:
    """What judged the completions of a set, in the order of the records: another one where grammars were installed anew meanwhile."""
    found = (r.problem_set for r in run.current(ProblemRecord))
    return list(dict.fromkeys(p.judge for p in found if p.key == key and p.judge))
