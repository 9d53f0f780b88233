"""The plot of types: a recipe with chosen types beside the standard one of its size, tensors down and layers across."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.core.formats import size
from bench.gguf_files.info import type_bits
from bench.measures.plotting import RC, caption, describe_figure, new_figure
from bench.present.type_colors import type_color
from bench.recipes.recipe import AUTOMATIC
from bench.recipes.words import Layers, runs
from bench.records.families import mixed_pairs, pairs
from bench.records.record import FileRecord
from bench.records.run import Run


def draw(run: Run) -> dict[str, Figure]:
    """`types`: the two files that `compared` names; nothing for a run without such."""
    found = compared(run)
    if found is None:
        return {}
    layers = [Layers.of(file.types) for file in found]
    if not all(of.rows for of in layers):
        return {}
    rows = max(len(of.rows) for of in layers)
    with plt.rc_context(RC | {"axes.grid": False}):
        figure, panels = new_figure(2.2 + 2 * 0.25 * rows, 2)
        describe_figure(figure, "The type of every tensor", caption(run, *map(_outside, found, layers)))
        for axes, file, of in zip(panels, found, layers, strict=True):
            _map(axes, file, of)
        panels[-1].set_xlabel("Layer")
        types = sorted({t for of in layers for row in of.rows.values() for t in row.values()}, key=type_bits)
        patches = [Patch(facecolor=type_color(t).color, edgecolor="#888888", lw=0.5, label=t) for t in types]
        panels[0].legend(
            handles=patches, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8, title="from few bits to many",
            title_fontsize=8, alignment="left",
        )  # fmt: skip
    return {"types": figure}


def compared(run: Run) -> tuple[FileRecord, FileRecord] | None:
    """A standard file and one with other types to show beside it: an automatic choice of a standard file's size, if there is one
    of the type that the published form begins with; in a run without any the first mixed recipe."""
    chosen = []
    for file in run.files.values():
        against = run.files.get((file.choice.against if file.choice else None) or "")
        if file.family == AUTOMATIC and against is not None and against.family == "Standard":
            chosen.append((against, file))
    if chosen:
        first = next((p.base for p in pairs(run)), "")
        return next((found for found in chosen if found[0].base == first), chosen[0])
    for pair in mixed_pairs(run):
        if pair.standard and pair.gated:
            return run.files[pair.standard], run.files[pair.gated]
    return None


def _outside(file: FileRecord, layers: Layers) -> str:
    """Which types the matrices outside the layers have."""
    return f"{file.recipe}: " + ", ".join(f"{name} {stored}" for name, stored in layers.others)


def _map(axes: Axes, file: FileRecord, layers: Layers) -> None:
    for y, types in enumerate(layers.rows.values()):
        for stored, first, end in runs(types):
            axes.broken_barh([(first - 0.5, end - first)], (y - 0.5, 1), facecolors=type_color(stored).color, lw=0)
    n_layers = 1 + max((layer for types in layers.rows.values() for layer in types), default=0)
    for x in range(1, n_layers):
        axes.axvline(x - 0.5, color="white", lw=0.4)
    for y in range(1, len(layers.rows)):
        axes.axhline(y - 0.5, color="white", lw=1)
    axes.set_xlim(-0.5, n_layers - 0.5)
    axes.set_ylim(len(layers.rows) - 0.5, -0.5)
    axes.set_yticks(range(len(layers.rows)), list(layers.rows), fontsize=8.5)
    axes.tick_params(left=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    title = f"{file.recipe}: {size(file.n_bytes)}, {file.bits_per_weight:.2f} bits per weight"
    axes.set_title(title, fontsize=9.5, loc="left")
