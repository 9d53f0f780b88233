"""The map of a model's sensitivity: kinds of tensor down, layers across, coloured by divergence, embeddings beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.measures.plotting import RC, describe_figure, new_figure, save
from bench.present.sensitivity import SensitivityReport, layer_map, outside_layers


def draw(report: SensitivityReport, directory: Path) -> None:
    """sensitivity.png and .svg in the directory; nothing for a model without layers."""
    frame = report.frame()
    by_type = {s.label: frame[frame["measured_in"] == s.label] for s in report.measured}
    maps = {label: (layer_map(rows).T, outside_layers(rows)) for label, rows in by_type.items()}
    maps = {label: found for label, found in maps.items() if (found[0].to_numpy() > 0).any()}
    if not maps:
        return
    kinds = max(len(inside) + len(outside) for inside, outside in maps.values())
    with plt.rc_context(RC | {"axes.grid": False}):
        figure, panels = new_figure(1.2 + len(maps) * (0.7 + 0.27 * kinds), len(maps))
        said = f"{report.model.name}, {report.tokens:,} tokens of {report.text}"
        describe_figure(figure, "Divergence of the output when one tensor alone is quantized", said)
        for axes, (label, (inside, outside)) in zip(panels, maps.items(), strict=True):
            values = inside.to_numpy()
            # what is not more than noise has the lightest colour
            smallest = np.nanpercentile(values[values > 0], 2)
            most = np.nanmax(values)
            scale = LogNorm(smallest, most)
            image = axes.imshow(np.clip(values, smallest, None), aspect="auto", cmap="cividis_r", norm=scale)
            for y, (kl, stored) in enumerate(outside.values(), len(inside)):
                color = image.cmap(scale(min(kl, most)))
                axes.broken_barh([(-0.5, inside.shape[1])], (y - 0.4, 0.8), facecolors=color, lw=0)
                look: dict[str, Any] = {
                    "ha": "center",
                    "va": "center",
                    "fontsize": 8.5,
                    "color": "white" if scale(kl) > 0.5 else "black",
                }
                axes.text(inside.shape[1] / 2 - 0.5, y, f"{kl:.3g} nats in {stored}", **look)
            axes.set_ylim(len(inside) + len(outside) - 0.5, -0.5)
            names = [c.replace("-", " ") for c in (*inside.index, *outside)]
            axes.set_yticks(range(len(names)), names, fontsize=8.5)
            axes.set_title(f"in {label}", fontsize=9.5, loc="left")
            bar = figure.colorbar(image, ax=axes, pad=0.01)
            bar.set_label("KL (nats)", fontsize=8.5)
            bar.ax.tick_params(labelsize=8)
            bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            bar.ax.yaxis.set_minor_formatter(NullFormatter())
        panels[-1].set_xlabel("Layer")
        save(figure, directory / "sensitivity")
