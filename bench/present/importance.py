"""What an importance matrix holds, in words, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from bench.core.formats import MISSING
from bench.measures.plotting import RC, describe_figure, new_figure, save
from bench.quantize.imatrix import ImportanceMatrix
from bench.quantize.imatrix_statistics import (
    FEW_ROWS,
    Coverage,
    LayerStatistics,
    TensorStatistics,
    Thin,
)
from bench.records.record import ThinData

LAYER_KEY = """\
Key
- Means over the tensors of a layer, by their columns
- Sum: of the mean squared activations that enter a tensor; ZD: columns more than a standard deviation above the mean; Cosine: likeness with the same tensor one layer before"""
TENSOR_KEY = f"""\
Key
- Sum, Min, Max, Mean, SD: of the mean squared activations that enter a tensor, over its N input columns (of all experts that saw data)
- Active: columns whose mean square is above 1e-5; Entropy: of the mean squares as shares of their sum, in percent of what N equal ones have: low means that few columns matter
- ZD: columns more than a standard deviation above the mean; Cosine: likeness with the same tensor one layer before
- Fewest rows: tokens that the expert with the fewest saw; Unseen: experts without any; Few: experts with less than {FEW_ROWS} rows, whose means are off by 10 % and more"""


def tensor_table(tensors: Sequence[TensorStatistics]) -> pd.DataFrame:
    """A row for each tensor; columns of experts only where there are any."""
    experts = any(t.matrices > 1 and t.rows is not None for t in tensors)
    rows = []
    for t in tensors:
        row = {
            "Layer": MISSING if t.layer is None else str(t.layer),
            "Tensor": t.kind,
            "Sum": _number(t.total),
            "Min": _number(t.least),
            "Max": _number(t.most),
            "Mean": _number(t.mean),
            "SD": _number(t.deviation),
            "Active": f"{100 * t.active:.2f} %",
            "N": f"{t.columns:,}",
            "Entropy": f"{100 * t.entropy_share:.1f} %",
            "ZD": f"{100 * t.z_density:.2f} %",
            "Cosine": MISSING if t.cosine is None else f"{t.cosine:.4f}",
        }
        if experts:
            one = t.matrices > 1 and t.rows is not None
            row |= {
                "Fewest rows": f"{t.rows:,}" if one else MISSING,
                "Unseen": f"{t.unseen} of {t.matrices}" if one else MISSING,
                "Few": str(t.few) if one else MISSING,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def layer_table(layers: Sequence[LayerStatistics]) -> pd.DataFrame:
    """A row for each layer: means over its tensors, by their columns."""
    return pd.DataFrame(
        [
            {
                "Layer": str(s.layer),
                "Sum": _number(s.total),
                "ZD": f"{100 * s.z_density:.2f} %",
                "Cosine": MISSING if s.cosine is None else f"{s.cosine:.4f}",
            }
            for s in layers
        ]
    )


def _number(value: float) -> str:
    return f"{value:,.4g}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{value:.3g}"


def origin_words(matrix: ImportanceMatrix) -> list[str]:
    """Where a matrix came from: its texts, chunks and prior."""
    texts = ", ".join(matrix.datasets) or "a text that the file does not name"
    if matrix.knows_rows:
        said = [f"{matrix.chunks:,} chunks of {matrix.chunk_tokens:,} tokens of {texts}"]
    else:
        said = [f"{matrix.chunks:,} chunks of {texts}; the binary format does not tell how many rows each expert saw"]
    if matrix.prior:
        said.append(f"A prior of {matrix.prior:g} rows of ones was added to the data of every matrix")
    return said


def coverage_words(found: Coverage) -> list[str]:
    """How much saw data: a sentence each; nothing is said of tensors that all have enough, but for their number."""
    said = [f"{found.tensors:,} tensors"]
    if found.rows is not None:
        said[0] += f"; {100 * found.rows:.4g} % of the rows of the layers' weights saw data"
    if found.experts:
        said.append(
            f"{found.seen:,} of {found.experts:,} matrices of experts saw data ({100 * (found.seen or 0) / found.experts:.4g} %)"
        )
    if thin := thin_words(found.thin):
        said.append(thin)
    if found.lacking:
        listed = ", ".join(found.lacking[:_NAMED]) + (
            f" and {len(found.lacking) - _NAMED} more" if len(found.lacking) > _NAMED else ""
        )
        said.append(f"Weights of the model that it has no data for: {listed}")
    return said


#: Tensors that are named at most.
_NAMED = 3


def thin_words(thin: Sequence[Thin | ThinData], named: int = _NAMED) -> str | None:
    """Which tensors have too few data, in one sentence; None where all have enough. named: how many are named."""
    if not thin:
        return None
    worst = sorted(thin, key=lambda t: (-t.unseen / t.matrices, -t.few / t.matrices, t.rows))
    listed = "; ".join(map(_thin, worst[:named]))
    more = f"; and {len(worst) - named} more" if len(worst) > named else ""
    return f"{len(worst)} tensor{'s have' if len(worst) > 1 else ' has'} too few data: {listed}{more}"


def _thin(t: Thin | ThinData) -> str:
    if t.matrices == 1:
        return f"{t.name} ({t.rows} rows)"
    parts = [f"{t.unseen} of {t.matrices} experts saw no token"] if t.unseen else []
    if t.few:
        parts.append(f"{t.few} of {t.matrices} experts saw less than {FEW_ROWS} rows")
    return f"{t.name} ({', '.join(parts)})"


def draw(tensors: Sequence[TensorStatistics], name: str) -> Figure | None:
    """Maps of kinds of tensor by layer: mean of the mean squares, their entropy, and of experts the fewest rows; None without layers.

    name: of the matrix, for the caption.
    """
    inside = [t for t in tensors if t.layer is not None]
    if not inside:
        return None
    kinds = list(dict.fromkeys(t.kind for t in inside))
    layers = 1 + max(t.layer or 0 for t in inside)
    panels = [
        ("Mean squared activation", {(t.kind, t.layer): t.mean for t in inside if t.mean > 0}, True),
        ("Entropy, % of what equal columns have", {(t.kind, t.layer): 100 * t.entropy_share for t in inside}, False),
    ]
    rows = {(t.kind, t.layer): float(t.rows + 1) for t in inside if t.matrices > 1 and t.rows is not None}
    if rows:
        panels.append(("Rows + 1 of the expert with the fewest", rows, True))
    with plt.rc_context(RC | {"axes.grid": False}):
        figure, axes = new_figure(1.0 + len(panels) * (0.75 + 0.25 * len(kinds)), len(panels))
        describe_figure(figure, "Importance matrix: what enters the tensors of each layer", name)
        for ax, (title, values, logarithmic) in zip(axes, panels, strict=True):
            shown = [k for k in kinds if any(kind == k for kind, _ in values)]
            grid = np.array([[values.get((k, layer), np.nan) for layer in range(layers)] for k in shown])
            low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
            scale = LogNorm(low, max(high, low * 1.001)) if logarithmic else Normalize(low, high)
            image = ax.imshow(grid, aspect="auto", cmap="cividis", norm=scale)
            ax.set_yticks(range(len(shown)), [k.replace("_", " ") for k in shown], fontsize=8.5)
            ax.set_title(title, fontsize=9.5, loc="left")
            figure.colorbar(image, ax=ax, pad=0.01).ax.tick_params(labelsize=8)
        axes[-1].set_xlabel("Layer")
    return figure


def write_plot(tensors: Sequence[TensorStatistics], name: str, path: Path) -> bool:
    """Write `path` with the endings .png and .svg; False where there is nothing to draw."""
    figure = draw(tensors, name)
    if figure is None:
        return False
    save(figure, path.with_suffix(""))
    return True
