"""What a page can name in a plot: each point, bar and line carries its name in the SVG, which the page shows under the pointer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.core.formats import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer

#: How the id of what has a name begins (present/pages/inline_svg.py).
POINT = "point: "
#: Diameter of what the pointer must hit, in points, for a point and for a line.
_REACH, _LINE_REACH = 11, 7


def name_points(axes: Axes, frame: pd.DataFrame, x: str, y: str) -> None:
    """Name the points of a plot of files: an unseen marker lies over each. frame: with the columns recipe, bytes, x, y, and the
    interval of y in y_low and y_high where there is one."""
    for row in frame.sort_values(x).to_dict("records"):
        low, high = row.get(f"{y}_low"), row.get(f"{y}_high")
        interval = f" [{low:.4g}, {high:.4g}]" if pd.notna(low) and pd.notna(high) else ""
        name = f"{POINT}{row['recipe']}: {size(row['bytes'])}, {row[y]:.4g}{interval}"
        axes.plot([row[x]], [row[y]], marker="o", ms=_REACH, ls="none", color="#000000", alpha=0, zorder=9, gid=name)


def name_bars(bars: BarContainer, names: Iterable[str]) -> None:
    """Name every bar, in the order in which they were drawn."""
    for bar, name in zip(bars, names, strict=True):
        bar.set_gid(f"{POINT}{name}")


def draw_line(axes: Axes, name: str, x: Iterable[float], y: np.ndarray, **look: Any) -> None:
    """A line with a name: an unseen one, wide enough for a pointer, lies over it. y: float[points]; look: as of `axes.plot`."""
    places = list(x)
    axes.plot(places, y, **look)
    axes.plot(places, y, lw=_LINE_REACH, color="#000000", alpha=0, zorder=9, gid=f"{POINT}{name}")
