"""Importance matrices as DataFrames."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measures.frames import frame
from bench.present import columns

if TYPE_CHECKING:
    import pandas as pd

Named = str | Path


def imatrix_statistics(file: Named) -> pd.DataFrame:
    """What an importance matrix holds, in either format of llama-imatrix: `imatrix show` as a DataFrame.

    Index: tensor; columns: layer, kind, total, mean, entropy, rows and others (docs/columns.md). The frame's `attrs` tell of the
    whole file: datasets, chunks, chunk_tokens and prior_weight. Raises BenchError for what is no importance matrix.
    """
    from bench.quantize.imatrix_file import read
    from bench.quantize.imatrix_statistics import statistics

    matrix = read(Path(file))
    rows = [{"tensor": (told := asdict(t)).pop("name"), **told} for t in statistics(matrix)]
    numbers = dict.fromkeys(("layer", "unseen", "few", "rows"), "Int64")
    made = frame(columns.IMPORTANCE, rows).astype(numbers).set_index(list(columns.IMPORTANCE.index))
    made.attrs = {
        "datasets": matrix.datasets,
        "chunks": matrix.chunks,
        "chunk_tokens": matrix.chunk_tokens,
        "prior_weight": matrix.prior,
    }
    return made
