"""What `run` and `tables` leave on the screen."""

from __future__ import annotations

from pathlib import Path

from bench.measures.registry import all_measures
from bench.present.notes import notes
from bench.records.run import Run


def run_as_json(run: Run, directory: Path) -> dict[str, object]:
    """A run for programs: what identifies it, and what every measure has to tell."""
    measures = all_measures()
    told = {key: value for m in measures for key, value in m.json(run).items()}
    return {
        "directory": str(directory),
        "complete": all(m.is_complete(run) for m in measures),
        "identity": run.identity.model_dump(mode="json"),
        **told,
        "failures": [f.model_dump(mode="json") for f in run.failures],
        "notes": [*(s for m in measures for s in m.surprises(run)), *notes(run)],
    }


def print_summary(directory: Path, written: list[Path]) -> None:
    print(written[0].read_text(encoding="utf-8"))
    print(f"Records: {directory / 'records.jsonl'}")
    print(f"Tables and plots: {', '.join(str(p) for p in written)}")
