"""Records that every run has: its files, stages and failures. Raw values; figures are derived from them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from bench.core.machine import Machine
from bench.core.values import Amount, Count, Name, Number, Some, Time, Words
from bench.engine.memory import ModelShape
from bench.gguf_files.details import ModelDetails
from bench.records.identity import Identity, Kept, utc_now


class Basis(NamedTuple):
    """Tokens that a record holds a value for each of. part: of the text; tokens: their kinds, the same for the same tokens; compared:
    whether their values are held against the reference's, which must then be of the same tokens."""

    part: int
    tokens: Hashable
    compared: bool


class Record(Kept):
    """A line of a run's records. `kind` tells what it is; run: the header's id; time: when it was written, UTC; site: the machine of a
    cluster that measured it, None for the one that the header tells of.

    A new kind of record is a subclass with a `kind` of its own, which its measure declares.
    """

    kind: str
    run: Name
    time: Time = Field(default_factory=utc_now)
    site: Name | None = None

    def misfit(self, identity: Identity) -> str | None:
        """Why the record cannot be of this run, as far as the header tells; None for one that fits."""
        return None

    @property
    def index(self) -> int | None:
        """The window or batch that it is about; None for what is about none."""
        return None

    @property
    def basis(self) -> Basis | None:
        """Which tokens it scores, token by token; None for other records."""
        return None

    @property
    def settles(self) -> tuple[str, int | None] | None:
        """(file, window) of the failure that this record makes good, window None for that of making the file; None for none."""
        return None


class OfFile(Record):
    """A record about a model file of the run. recipe: its name; sha256: its content, which the record holds for."""

    recipe: Name
    sha256: Name


class ChoiceRecord(Kept):
    """How the types of a recipe with a size were chosen (bench/choose). limit: bytes allowed; budgets: the same by class of tensors
    (recipes/classes.py), empty for a size of the whole file, and class_bytes: what the file has of each; together: whether tensors that
    kernels fuse were to get one type; against: the recipe whose size
    that is, or of which this is a random control; text: the name of what it was chosen on; the rest of the assignment that was best on calibration text, None for one
    at random: what its predictions were made with, predicted and measured mean KL divergence in nats, relative distance of
    the prediction from the optimum at most, number of assignments that were tried. trial_tokens: that were decoded for them; probe_tokens: for
    the model's tensors, once for all choices; 0 in records of an early version."""

    limit: Count
    budgets: dict[Name, Count] = Field(default_factory=dict)
    class_bytes: dict[Name, Count] = Field(default_factory=dict)
    together: bool = False
    against: str | None
    text: str = ""
    prediction: str | None = None
    predicted_kl: Number | None = None
    calibration_kl: Number | None = None
    gap: Number | None = None
    tried: Count = 0
    trial_tokens: Count = 0
    probe_tokens: Count = 0


class FileRecord(OfFile):
    """A model file of the run. family: Reference, Standard or that of a recipe file; base: what pairs the families.

    bits_per_weight: 8 x bytes of tensors / weights; types: of every tensor; replaced: {tensor: (type asked, type stored)};
    importance_sha256: of the importance matrix file it was built with, if any; rules: fingerprint of the recipe.
    origin: where a file came from that was not built here; told: what its header says of its making; perplexity_only: why it is not
    compared with the reference token by token; details, shape: of the reference, what its header tells people and what
    memory depends on, None in records of an early version and of other files.
    """

    kind: Literal["file"] = "file"
    family: Name
    base: Name
    description: Words
    n_bytes: Some
    bits_per_weight: Annotated[Amount, Field(gt=0, le=1024)]
    weights_by_type: dict[Name, Count]
    types: dict[Name, Name]
    replaced: dict[Name, tuple[Name, Name]]
    importance_sha256: str | None
    build_seconds: Amount | None
    build_memory_bytes: Count | None
    rules: str | None = None
    choice: ChoiceRecord | None = None
    origin: Words | None = None
    told: dict[str, str] = Field(default_factory=dict)
    perplexity_only: str | None = None
    details: ModelDetails | None = None
    shape: ModelShape | None = None

    @property
    def settles(self) -> tuple[str, int | None]:
        return self.recipe, None


class FailureRecord(Record):
    """A measurement that failed. window: None when the recipe's file could not be built."""

    kind: Literal["failure"] = "failure"
    recipe: Name
    window: Count | None
    reason: Words


class LookRecord(Record):
    """A look at intervals, of a run whose windows are added until they are narrow. windows: that every file had by then; narrow: whether
    all of them are; widest: half the width of the widest, of its value, and whose it is. None where no file has one."""

    kind: Literal["look"] = "look"
    windows: Some
    narrow: bool
    widest: Amount | None
    recipe: Name | None


class ThinData(Kept):
    """A tensor (name) of which an importance matrix has too few data. matrices: its experts, 1 for others; unseen: of them, without any; few: with
    less than 200 rows; rows: that the one with fewest saw."""

    name: Name
    matrices: Some
    unseen: Count
    few: Count
    rows: Count


class ImportanceRecord(Record):
    """How much of the model saw data in an importance matrix (quantize/imatrix_statistics.py). sha256: of its file; rows: share of the rows of
    the layers' weights; experts, seen: matrices of experts, and those that saw any; None where its file does not know."""

    kind: Literal["importance"] = "importance"
    sha256: Name
    tensors: Some
    rows: Annotated[Amount, Field(le=1)]
    experts: Count | None
    seen: Count | None
    thin: tuple[ThinData, ...]


class SiteRecord(Record):
    """A machine of a cluster that measures parts of the run. site: its name, as in the records that it measured; scores_on: the device that it scored on, None for the
    CPU; where a device scores the run, one without it measured times alone."""

    kind: Literal["site"] = "site"
    machine: Machine
    scores_on: str | None = None


class StageRecord(Record):
    """A stage of a run began or ended. sitting: when the program was started that did it; at the beginning of a sitting also names: of
    all files that it measures, in the order of its tables; and machine: what was read of it that decides whether timings repeat."""

    kind: Literal["stage"] = "stage"
    stage: Name
    event: Literal["began", "ended"]
    sitting: Time
    names: tuple[Name, ...] = ()
    machine: dict[Name, Words] = Field(default_factory=dict)
