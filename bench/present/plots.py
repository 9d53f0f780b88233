"""The plots of a run as PNG and SVG, from its records: all plots of its measures, and a map of types."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.measures.plotting import RC, save
from bench.measures.registry import all_measures
from bench.present import type_plot
from bench.records.run import Run


def plot_titles() -> dict[str, str]:
    """{name of the file: what it shows}, of every plot that a measure may draw, in the order in which they are shown."""
    return {name: title for m in all_measures() for name, title in m.plots.items()} | {
        "types": "The type of every tensor, of a chosen recipe and the standard one beside it"
    }


def figures(run: Run) -> dict[str, Figure]:
    """Every plot that the run has the figures for, by name."""
    return {name: figure for m in all_measures() for name, figure in m.draw(run).items()} | type_plot.draw(run)


def write_plots(run: Run, directory: Path) -> None:
    """Write every plot that the run has the figures for into a directory of plots alone, and remove others: those of records that
    had the figures for them, or of another version of this program."""
    mpl.use("Agg")  # files, whatever screen there is
    drawn = figures(run)
    for old in (*directory.glob("*.png"), *directory.glob("*.svg")):
        if old.stem not in drawn:
            old.unlink()
    with mpl.rc_context(RC):
        for name, figure in drawn.items():
            save(figure, directory / name)
