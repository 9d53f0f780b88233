"""Tables for programs: the functions that make them, in numbers and in text, and the meanings of their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from bench.core.formats import MISSING
from bench.measures.columns import Columns
from bench.records.run import Run
from bench.statistics.estimates import Estimate


@dataclass(frozen=True)
class Frame:
    """A table. raw: in numbers; text: for people, with intervals, None for the numbers with their units.

    needs: what a run must have for it; columns: what they mean, None for one that says so in their names; attribute: of a run
    that is loaded as a library, `load_run(...).windows`; of_recipe: makes the rows of one recipe, for a table that is too long
    to be made as a whole by that attribute, which then is a function.
    """

    name: str
    raw: Callable[[Run], pd.DataFrame]
    text: Callable[[Run], pd.DataFrame] | None = None
    needs: str = "a recipe with all its windows"
    columns: Columns | None = None
    attribute: str | None = None
    of_recipe: Callable[[Run, str], pd.DataFrame] | None = None

    def as_text(self, run: Run) -> pd.DataFrame:
        """The table for people."""
        return self.text(run) if self.text is not None else self._with_units(run)

    def _with_units(self, run: Run) -> pd.DataFrame:
        """The raw frame as text: units beside the names of its columns, numbers of four digits."""

        def cell(value: object) -> str:
            if pd.isna(value):  # type: ignore[call-overload]
                return MISSING
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            return " ".join(text.split())

        raw = self.raw(run)
        described = self.columns.columns if self.columns else ()
        units = {c.name: f"{c.name} ({c.unit})" if c.unit else c.name for c in described}
        return pd.DataFrame({units.get(name, name): [cell(v) for v in raw[name]] for name in raw.columns})


def interval(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """An estimate as three columns: NAME, NAME_low and NAME_high; NaN for none."""
    e = estimate or Estimate(float("nan"))
    return {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high}


def frame(columns: Columns, rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """The rows as they are; without any, no rows of the columns that there are."""
    found = list(rows)
    return pd.DataFrame(found) if found else pd.DataFrame(columns=pd.Index(columns.names))
