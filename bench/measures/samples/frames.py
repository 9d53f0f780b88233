"""The table of samples for programs."""

from __future__ import annotations

import pandas as pd

from bench.measures.frames import Frame, frame
from bench.measures.samples import columns, tables
from bench.measures.samples.runs import samples_of
from bench.records.run import Run


def _samples(run: Run) -> pd.DataFrame:
    """One row a recipe and prompt that it went on from; empty for a run without any."""
    rows = []
    reference = samples_of(run).get(run.reference or "")
    for name, record in samples_of(run).items():
        for i, ((prompt, text), found) in enumerate(zip(record.prompts, record.completions, strict=True)):
            base = reference.completions[i].tokens if reference and name != run.reference else None
            rows.append(
                {
                    "recipe": name,
                    "prompt": prompt,
                    "text": text,
                    "completion": found.text,
                    "tokens": len(found.tokens),
                    "ended": found.ended,
                    "same_until": None if base is None else tables.first_difference(base, found.tokens),
                    "agreeing": None if base is None else tables.agreeing(base, found.tokens),
                }
            )
    return frame(columns.SAMPLES, rows).astype({"same_until": "Int64", "agreeing": "float64"})


FRAME = Frame("samples", _samples, needs="samples: run with --samples", columns=columns.SAMPLES, attribute="samples")
