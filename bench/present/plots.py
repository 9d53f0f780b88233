"""The plots of a run as PNG and SVG: all that its measures draw, out of its records."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from bench.measures.plotting import RC, save
from bench.measures.registry import all_measures
from bench.records.run import Run


def plot_titles() -> dict[str, str]:
    """{name of the file: what it shows}, of every plot that a measure may draw, in the order in which they are shown."""
    return {name: title for m in all_measures() for name, title in m.plots.items()}


def write_plots(run: Run, directory: Path) -> None:
    """Write every plot that the run has the figures for, and remove those of records that had the figures for them."""
    mpl.use("Agg")  # files, whatever screen there is
    figures = {name: figure for m in all_measures() for name, figure in m.draw(run).items()}
    for name in plot_titles().keys() - figures.keys():
        for suffix in (".png", ".svg"):
            (directory / f"{name}{suffix}").unlink(missing_ok=True)
    with mpl.rc_context(RC):
        for name, figure in figures.items():
            save(figure, directory / name)
