"""The declaration of a kind of measurement, so that the rest of the program need not know it by name.

A measure is a folder. Its `measure.py` has `MEASURE`, an instance of a subclass of Measure, which gives its options, its stage of a sweep,
its records and its output: tables, plots, sentences, frames. The sweep, the record store, the tables, the page, the card, the
exports, the library and the page of columns loop over these declarations. Everything but a name may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from bench.measures.sections import Evaluation, FileColumn, Section, Table
from bench.records.record import Record
from bench.records.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.measures.frames import Frame
    from bench.measures.plan import Foreseen, Plan, Stage


class Measure:
    """A kind of measurement. Override what it has.

    name: of its folder, and of its options in `Options.measures`; order: its place among the others, in the sweep and in all
    that is shown, small numbers first; essential: whether a run that cannot have it ends; surprising: heading of its surprises; records: the types of record that it keeps; options: a dataclass of what it is asked
    for (core/options.py), each field with a default; plots: {name of the file: what it shows}, of all that it may draw.
    """

    name: ClassVar[str]
    order: ClassVar[int] = 100
    essential: ClassVar[bool] = False
    records: ClassVar[tuple[type[Record], ...]] = ()
    options: ClassVar[type | None] = None
    plots: ClassVar[Mapping[str, str]] = {}
    surprising: ClassVar[str] = "Surprises"

    # --- measuring ----------------------------------------------------------------------------------------------------

    def stage(self, plan: Plan, asked: Any) -> Stage | None:
        """What is to be done in a sweep; None for nothing. asked: an instance of `options`, None without any.

        Raises BenchError for what cannot be as it is asked for.
        """
        return None

    def foreseen(self, asked: Any, window: int, windows: int) -> Foreseen | None:
        """What its stage takes for each file, as far as that follows from what is asked for; None where nothing is known, or nothing asked.

        asked: as in `stage`. Raises BenchError for what cannot be as it is asked for.
        """
        return None

    def pack(self, run: Run) -> bool:
        """Make what is kept of a published run small, without a loss; returns whether there was something to do."""
        return False

    def is_complete(self, run: Run) -> bool:
        """Whether a run has all of the measure that every run is to have."""
        return True

    def repeat(self, run: Run) -> Sequence[str]:
        """Options of `run` that ask for what this run has of the measure."""
        return ()

    # --- showing ------------------------------------------------------------------------------------------------------

    def headline(self, run: Run) -> Sequence[Section]:
        """Tables that stand first of all. README quotes them."""
        return ()

    def surprises(self, run: Run) -> Sequence[str]:
        """What a reader would not expect of the figures, a sentence each."""
        return ()

    def sections(self, run: Run) -> Sequence[Section]:
        """The other tables, as far as the run has figures for them."""
        return ()

    def summary_tables(self, run: Run) -> Sequence[Table]:
        """What an index of runs shows of one."""
        return ()

    def file_columns(self, run: Run) -> Sequence[FileColumn]:
        """Columns of the tables that list all files."""
        return ()

    def file_key(self, run: Run, *, everywhere: bool) -> Sequence[str]:
        """What those columns mean, a line each; everywhere: of those only that every such table has."""
        return ()

    def verdicts(self, run: Run) -> Sequence[str]:
        """How many comparisons came out how, a sentence each."""
        return ()

    def shortfalls(self, run: Run) -> Sequence[str]:
        """What is missing or has failed, a sentence each; notes have it too."""
        return ()

    def notes(self, run: Run) -> Sequence[str]:
        """What a reader must know beside the figures, a sentence each."""
        return ()

    def draw(self, run: Run) -> Mapping[str, Figure]:
        """The plots that the run has figures for, by the names in `plots`."""
        return {}

    # --- for programs -------------------------------------------------------------------------------------------------

    def frames(self) -> Sequence[Frame]:
        """Tables that programs read: exports and attributes of a loaded run, with what their columns mean."""
        return ()

    def files(self, run: Run) -> Mapping[str, str]:
        """Texts that lie beside the tables of a run, by their names."""
        return {}

    def json(self, run: Run) -> Mapping[str, object]:
        """What `run --json` tells of the measure."""
        return {}

    def abilities(self, run: Run) -> Sequence[str]:
        """What the model was seen to be able to do, for a model card: `infill`."""
        return ()

    def quotes(self, run: Run) -> Mapping[str, str]:
        """Texts for pages that quote a run, by the word that they ask for them with."""
        return {}

    def identities(self, run: Run) -> Mapping[str, object]:
        """What of the measure's inputs identifies the run beside its header: hashes, by what they are of."""
        return {}

    def evaluations(self, run: Run) -> Mapping[str, Evaluation]:
        """The one figure of each file for a model card's metadata, by file; lower is better."""
        return {}
