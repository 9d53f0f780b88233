"""Files that `bench sensitivity` writes: tables and a map."""

from __future__ import annotations

from pathlib import Path

from bench.core.files import complete_or_absent
from bench.present.sensitivity import SensitivityReport
from bench.present.sensitivity_plot import draw


def write_report(report: SensitivityReport, directory: Path) -> list[Path]:
    """Tables and plot; returns the files a reader starts with."""
    texts = {
        "sensitivity.csv": report.frame().to_csv(index=False),
        "additivity.csv": report.additivity_frame().to_csv(index=False),
        "sensitivity.md": report.markdown(),
    }
    for name, text in texts.items():
        with complete_or_absent(directory / name) as partial:
            partial.write_text(text, encoding="utf-8")
    draw(report, directory)
    return [directory / "sensitivity.md", directory / "sensitivity.png"]
