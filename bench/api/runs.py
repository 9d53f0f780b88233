"""A run as DataFrames of numbers and as figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.core.errors import BenchError, nearest
from bench.measures import registry
from bench.measures.columns import Columns
from bench.measures.windows import columns as windows_columns
from bench.measures.windows.frames import changes, standards
from bench.measures.windows.frames import tokens as tokens_of
from bench.present.compare import COLUMNS as COMPARED
from bench.present.compare import comparison_frame
from bench.present.compare_models import COLUMNS as COMPARED_MODELS
from bench.present.compare_models import ModelComparison, are_of_two_models
from bench.present.export import exported
from bench.present.files import all_files
from bench.records.describe import about, windows_text
from bench.records.identity import Identity
from bench.records.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: A table of more files than this is folded in a notebook.
_MANY = 20
#: Columns that such a table has no room for.
_LEFT_OUT = ("SE", "Memory", "Load")


def _indexed(table: pd.DataFrame, columns: Columns | None) -> pd.DataFrame:
    return table.set_index(list(columns.index)) if columns and columns.index else table


class RunFrames:
    """A run as DataFrames of numbers, with recipes as their index. Every column, with its unit, is in docs/columns.md.

    A frame is made when it is first asked for and then kept: change a copy, not the frame. Sizes are bytes, times seconds,
    divergences nats, changes ratios (0.1 is 10 % more). A column with an interval has two more, NAME_low and NAME_high, the ends of
    its 95 % interval. A missing value is NaN: figures of a file that lacks a window, intervals of fewer than 6 windows.
    The frame of a measurement that the run did not make is empty.

    run: the typed records, from which all frames are computed.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._kept: dict[str, pd.DataFrame] = {}

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """The identity of the run: `model`, `prompts` (the text), `windows`, `settings`, `library` (the engine), `machine`."""
        return self.run.identity

    @property
    def reference(self) -> str | None:
        """Name of the reference's file, `F16`; None for a run of files without one."""
        return self.run.reference

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the packages that made the run, by name: `dynamicgate-bench`, and `commit` where it was known."""
        return self.run.header.versions

    @property
    def directory(self) -> Path | None:
        """Where its records are."""
        return self.run.directory

    @property
    def is_complete(self) -> bool:
        """Whether the run has every measurement that all runs need, and none failed."""
        return all(m.is_complete(self.run) for m in registry.all_measures())

    @property
    def failures(self) -> pd.DataFrame:
        """Failures that no later measurement settled. Index: recipe; columns: window (none when the file could not be built), reason."""
        rows = [{"recipe": f.recipe, "window": f.window, "reason": f.reason} for f in self.run.failures]
        made = pd.DataFrame(rows, columns=pd.Index(["recipe", "window", "reason"])).astype({"window": "Int64"})
        return made.set_index("recipe")

    # --- figures ------------------------------------------------------------------------------------------------------

    @property
    def files(self) -> pd.DataFrame:
        """One row per file, the reference first. Index: recipe; columns: family, bytes, bits_per_weight, ppl, kl (nats), same_top (share),
        window_seconds, prompt_tokens_per_second and others."""
        return self._frame("files")

    @property
    def windows(self) -> pd.DataFrame:
        """One row per file and window. Index: recipe, window; columns: tokens, nll (nats, their sum), ppl, kl (nats), seconds and others."""
        return self._frame("windows")

    @property
    def kinds(self) -> pd.DataFrame:
        """One row per file and kind of prompt. Index: recipe, kind; columns: family, tokens, ppl, kl (nats)."""
        return self._frame("kinds")

    @property
    def types(self) -> pd.DataFrame:
        """One row per file and tensor. Index: recipe, tensor; columns: family, layer, kind, type, bits (a weight), asked."""
        return self._frame("types")

    @property
    def propagation(self) -> pd.DataFrame:
        """Error propagation. Index: recipe, window, layer; columns: residual, attention, feed_forward, relative errors of the hidden
        states. Empty for a run without `--propagation`."""
        return self._frame("propagation")

    @property
    def problems(self) -> pd.DataFrame:
        """Infill problems and conversations. Index: recipe, set, problem; columns: tokens, ppl, kl (nats), exact, similarity, parses, passes and others.
        Empty for a run without `--kinds`."""
        return self._frame("problems")

    @property
    def samples(self) -> pd.DataFrame:
        """The completions of every file. Index: recipe, prompt; columns: text, completion, tokens, same_until, agreeing and others.
        Empty for a run without `--samples`."""
        return self._frame("samples")

    def tokens(self, recipe: str) -> pd.DataFrame:
        """Every scored token of a file, in the text's order. Index: window, position, the same for every file of the run, so that
        columns of two files can be joined; columns: kind, nll (nats), kl (nats), p_change, top_correct, same_top and others.

        Raises BenchError for a recipe that the run does not have, or whose records hold no values of single tokens.
        """
        return _indexed(tokens_of(self.run, recipe), windows_columns.TOKENS)

    def paired(self, recipes: str | Iterable[str] | None = None, against: str | None = None) -> pd.DataFrame:
        """Recipes compared with others, paired window by window: a hard passage is hard for both and cancels out.

        Without arguments every mixed recipe is compared with the standard file of the same base. recipes: only these; against:
        compare them, or all others, with this one. Index: recipe; columns: against, bytes, bytes_change, ppl_change, kl_change
        (nats), time_ratio, each with its 95 % interval, and can_be_told. An interval that covers 0 (of a ratio: 1) shows no
        difference. Files that lack windows are left out. Raises BenchError for a recipe that the run does not have.
        """
        chosen = None if recipes is None else [recipes] if isinstance(recipes, str) else list(recipes)
        for name in [*(chosen or ()), *([against] if against else ())]:
            if name not in self.run.files:
                known = self.run.files
                raise BenchError(f"{name}: is not in this run{nearest(name, known)}; it has {', '.join(known)}")
        if against is not None:
            names = [n for n in self.run.files if n != self.reference] if chosen is None else chosen
            held = {name: against for name in names if name != against}
        else:
            of_base = standards(self.run)
            for name in chosen or ():
                if name not in of_base:
                    raise BenchError(
                        f"{name}: has no standard file of its base in this run; say what to hold it against"
                    )
            held = of_base if chosen is None else {name: of_base[name] for name in chosen}
        return _indexed(changes(self.run, held), windows_columns.PAIRED)

    def equal_size(self, *, controls: bool = True) -> pd.DataFrame:
        """Recipes whose types were chosen within the size of another, compared with that one, paired window by window.

        controls: include the random controls of these choices. Index: recipe; columns: those of `paired`, and is_control.
        """
        found = self._frame("equal-size")
        return found if controls or found.empty else found[~found["is_control"]]

    # --- pictures -----------------------------------------------------------------------------------------------------

    @property
    def plots(self) -> dict[str, str]:
        """{name of a plot: its title}, for the plots that this run has the figures for."""
        from bench.present.plots import plot_titles

        return {name: title for name, title in plot_titles().items() if name in self._figures}

    def plot(self, name: str) -> Figure:
        """A plot as in the run's plots/, to show or to save: `run.plot("kl-size").savefig("kl.pdf")`.

        name: one of `plots`. Raises BenchError for another name, and when the run lacks the figures for the plot.
        """
        from bench.present.plots import plot_titles

        titles = plot_titles()
        if name not in titles:
            raise BenchError(f"{name}: is no plot{nearest(name, titles)}; plots are {', '.join(titles)}")
        if name not in self._figures:
            raise BenchError(
                f"{name}: this run lacks the figures for it; it has {', '.join(self._figures) or 'no plots'}"
            )
        return self._figures[name]

    @cached_property
    def _figures(self) -> dict[str, Figure]:
        from matplotlib import pyplot

        from bench.present.plots import figures

        drawn = figures(self.run)
        for figure in drawn.values():
            pyplot.close(figure)  # the caller's now; a notebook would show every one of them
        return drawn

    # --- how it shows itself ------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        """A line: the records themselves would fill a screen and more."""
        return f"RunFrames({self.identity.model.name}, {len(self.run.files)} files, {windows_text(self.run)})"

    def _repr_html_(self) -> str:
        """HTML for a notebook: a description of the run, and the table of all files, folded when it is long."""
        lines = "<br>".join(map(escape, about(self.run)))
        files = all_files(self.run, everywhere=False).frame.drop(columns=list(_LEFT_OUT), errors="ignore")
        folded = "" if len(files) > _MANY else " open"
        table = files.to_html(index=False, border=0, justify="left")
        scrolled = f'<div style="overflow-x: auto; white-space: nowrap">{table}</div>'
        return f"<p>{lines}</p><details{folded}><summary>{len(files)} files</summary>{scrolled}</details>"

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_attributes()})

    def _frame(self, name: str) -> pd.DataFrame:
        if name not in self._kept:
            found = exported()[name]
            self._kept[name] = _indexed(found.raw(self.run), found.columns)
        return self._kept[name]

    if not TYPE_CHECKING:  # a checker would take any name

        def __getattr__(self, name: str) -> pd.DataFrame:
            """The frame of a measure that has no property here."""
            known = {} if name.startswith("_") else _attributes()
            if name not in known:
                public = [n for n in dir(self) if not n.startswith("_")]
                raise AttributeError(f"a run has no {name!r}{nearest(name, public)}; it has {', '.join(public)}")
            return self._frame(known[name])


def _attributes() -> dict[str, str]:
    """{attribute of a run: name of the frame}."""
    return {f.attribute: name for name, f in exported().items() if f.attribute}


def load_run(path: str | Path) -> RunFrames:
    """Load a run. path: its directory, or its records.jsonl. Raises BenchError when it is not a run."""
    return RunFrames(registry.load_run(Path(path)))


def compare_runs(a: str | Path | RunFrames, b: str | Path | RunFrames) -> pd.DataFrame:
    """How the recipes of run B differ from those of run A, paired window by window: `bench compare` in numbers.

    Index: recipe; columns: ppl_change, kl_change (nats), same_scores, bytes_change, time_ratio, the first two and the last with
    their 95 % intervals. Scores are the same on every machine, so runs of different machines are comparable too,
    without time_ratio.

    Runs of different models on the same text are compared by bits per byte of what both scored, every file of A with every file of B. Index:
    recipe_a, recipe_b; columns: bytes_a, bytes_b, bits_per_byte_a, bits_per_byte_b, bits_per_byte_change, these three with their 95 %
    intervals, better, similar_size, text_bytes. Raises BenchError, with the differences, when the two are not comparable.
    """
    first, second = (x if isinstance(x, RunFrames) else load_run(x) for x in (a, b))
    if are_of_two_models(first.run, second.run):
        return _indexed(ModelComparison(first.run, second.run).frame(), COMPARED_MODELS)
    return _indexed(comparison_frame(first.run, second.run), COMPARED)
