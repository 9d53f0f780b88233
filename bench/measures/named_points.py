"""Points of plots that a page can name: each carries its name in the SVG, which the page shows under the pointer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from bench.core.formats import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: How the id of such a point begins (present/pages/inline_svg.py).
POINT = "point: "
#: Diameter of what the pointer must hit, in points.
_REACH = 11


def name_points(axes: Axes, frame: pd.DataFrame, x: str, y: str) -> None:
    """Name the points of a plot of files: an unseen marker lies over each. frame: with the columns recipe, bytes, x, y, and the
    interval of y in y_low and y_high where there is one."""
    for row in frame.sort_values(x).to_dict("records"):
        low, high = row.get(f"{y}_low"), row.get(f"{y}_high")
        interval = f" [{low:.4g}, {high:.4g}]" if pd.notna(low) and pd.notna(high) else ""
        name = f"{POINT}{row['recipe']}: {size(row['bytes'])}, {row[y]:.4g}{interval}"
        axes.plot([row[x]], [row[y]], marker="o", ms=_REACH, ls="none", color="#000000", alpha=0, zorder=9, gid=name)
