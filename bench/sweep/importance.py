"""The importance matrix of a sweep, and the record of how much of the model saw data in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from bench.quantize.imatrix_file import read
from bench.quantize.imatrix_statistics import coverage
from bench.recipes.recipe import Recipe
from bench.records.record import ImportanceRecord, ThinData
from bench.records.store import RunStore
from bench.workbench.work import Work


def record_importance(work: Work, recipes: Sequence[Recipe], store: RunStore) -> None:
    """Have the matrix that files are made with, and put on record what it saw, once. recipes: that are to be built."""
    matrix = work.importance
    if matrix is None or not any(not r.plain for r in recipes):
        return
    if any(r.sha256 == matrix.sha256 for r in store.run.of(ImportanceRecord)):
        return
    info = work.reference.info
    found = coverage(read(matrix.path).fitted(info, matrix.path), info)
    store.append(
        ImportanceRecord(
            run=store.run.header.id,
            sha256=matrix.sha256,
            tensors=found.tensors,
            rows=found.rows or 0.0,
            experts=found.experts,
            seen=found.seen,
            thin=tuple(ThinData(**asdict(t)) for t in found.thin),
        )
    )
