"""The map of a model's sensitivity: layers x kinds of tensor, coloured by divergence."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

from bench.measures.plotting import GREY, RC, save
from bench.present.sensitivity import SensitivityReport, layer_map


def draw(report: SensitivityReport, directory: Path) -> None:
    """sensitivity.png and .svg in the directory; nothing for a model without layers."""
    frame = report.frame()
    groups = {f"in {s.label}": layer_map(frame[frame["measured_in"] == s.label]) for s in report.measured}
    groups = {key: table for key, table in groups.items() if (table.to_numpy() > 0).any()}
    if not groups:
        return
    n_layers = max(len(t) for t in groups.values())
    with plt.rc_context(RC | {"axes.grid": False}):
        figure, all_axes = plt.subplots(
            1, len(groups), figsize=(max(8.0, 4.6 * len(groups)), 2.2 + 0.17 * n_layers), squeeze=False, layout="constrained"
        )  # fmt: skip
        for axes, (key, table) in zip(all_axes[0], groups.items(), strict=True):
            # what is not more than noise has the lightest colour
            values = table.to_numpy()
            smallest = np.nanpercentile(values[values > 0], 2)
            image = axes.imshow(
                np.clip(values, smallest, None), aspect="auto", cmap="cividis_r", norm=LogNorm(smallest, np.nanmax(values)), interpolation="nearest"
            )  # fmt: skip
            axes.set_xticks(
                range(len(table.columns)), [c.replace("-", " ") for c in table.columns], rotation=40, ha="right"
            )
            axes.set_ylabel("Layer")
            axes.set_title(key, fontsize=10)
            figure.colorbar(image, ax=axes, label="Mean KL divergence (nats)", shrink=0.9)
        figure.suptitle(
            "Sensitivity of the output: one tensor quantized at a time", x=0.01, ha="left", fontweight="bold"
        )
        figure.supxlabel(
            f"{report.model.name}, {report.tokens:,} tokens of {report.text}", fontsize=8, color=GREY, x=0.01, ha="left"
        )
        save(figure, directory / "sensitivity")
