"""The identity of a run: model, text, importance data, settings, engine and machine, by hashes where there are any."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from bench.core.errors import BenchError
from bench.core.machine import Machine
from bench.core.values import Amount, Count, Name, Some, Time, Words
from bench.engine.settings import LibraryInfo, Settings
from bench.statistics.sequential import looks


class Kept(BaseModel):
    """A part of a record. A field that a later version of this program adds is ignored."""

    model_config = ConfigDict(frozen=True)


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class ModelIdentity(Kept):
    name: Name
    sha256: Name
    architecture: Name
    n_layers: Count
    n_weights: Some
    description: Words | None


class TextIdentity(Kept):
    name: Name
    sha256: Name


class ImportanceIdentity(Kept):
    """The source of importance data: a calibration text or a user's file, both by hash. prior_weight: rows of ones that were added to it."""

    source: Literal["collected", "file"]
    name: Name
    sha256: Name
    chunks: Count | None
    prior_weight: Amount = 0.0


_FORM = re.compile(r"\s*(kl|ppl)\s*(?:±|\+/?-)?\s*(\d{1,3}(?:\.\d{1,6})?)\s*%\s*", re.IGNORECASE)
_NAMES = {"kl": "the mean KL divergence", "ppl": "the perplexity against the reference's"}


class Until(Kept):
    """The width of interval at which a run ends: `--until 'kl ±5 %'`.

    quantity: `kl`, the mean KL divergence from the reference, or `ppl`, the ratio of perplexity to the reference's; percent: the
    largest half width of its interval, in percent of the value."""

    quantity: Literal["kl", "ppl"]
    percent: float = Field(gt=0, lt=100)

    @classmethod
    def parse(cls, asked: str) -> Self:
        """Raises BenchError when the text is not of this form."""
        found = _FORM.fullmatch(asked)
        if found is None or not 0 < float(found[2]) < 100:
            raise BenchError(
                f"--until {asked!r}: is not understood; give a quantity (kl or ppl) and half the width of its interval, for instance "
                "--until 'kl ±5 %' or --until 'ppl 1%'"
            )
        return cls(quantity="ppl" if found[1].lower() == "ppl" else "kl", percent=float(found[2]))

    def __str__(self) -> str:
        """As it is given on the command line, in letters that every terminal has."""
        return f"{self.quantity} {self.percent:g}%"

    @property
    def in_words(self) -> str:
        """`the mean KL divergence is known to ±5 %`."""
        return f"{_NAMES[self.quantity]} is known to ±{self.percent:g} %"


class Identity(Kept):
    """The properties that must be equal for two runs to be comparable. windows: number of windows of the text, with until the largest
    number. speeds: whether they are measured; scores are the same either way."""

    model: ModelIdentity
    prompts: TextIdentity
    importance: ImportanceIdentity | None
    windows: Annotated[int, Field(ge=0, le=10**6)]
    settings: Settings
    library: LibraryInfo
    machine: Machine
    until: Until | None = None
    speeds: bool = True

    @property
    def id(self) -> str:
        # a run that is asked for nothing new keeps the id that it had before there was such a thing
        usual = {"until": self.until is None, "speeds": self.speeds}
        aside: dict[str, Any] = dict.fromkeys((name for name, is_usual in usual.items() if is_usual), True)
        if self.settings.scored == "half":  # and without an offload nothing is told of one
            aside["settings"] = {"scored"}
        if self.importance is not None and not self.importance.prior_weight:
            aside["importance"] = {"prior_weight"}
        told = self.model_dump_json(exclude=aside)
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    def lacks(self, window: int) -> str | None:
        """Says that there is no such window; None where there is."""
        return f"there is no window {window}, only {self.windows} from 0" if window >= self.windows else None

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of windows after which intervals are looked at; without until, only the last."""
        return (self.windows,) if self.until is None else looks(self.windows)

    def differences(self, other: Identity) -> list[str]:
        """`field is A here and B there` for every field that differs."""
        # without speeds nothing is generated, whatever was asked for
        aside: dict[str, Any] | None = (
            None if self.speeds == other.speeds else {"speeds": True, "settings": {"generate"}}
        )
        mine, theirs = (_flat(i.model_dump(mode="json", exclude=aside)) for i in (self, other))
        said = [
            f"{k} is {mine.get(k)} in one and {theirs.get(k)} in the other"
            for k in mine | theirs
            if mine.get(k) != theirs.get(k)
        ]
        return said if aside is None else [f"{SPEEDS} in one and not in the other (--no-speed)", *said]


#: How a difference begins where one of two runs measures no speeds.
SPEEDS = "speeds are measured"


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}" if prefix else key).items()}


#: Version of the record format. 1: first. 2: stages of a run; values of tokens may stand apart, in tokens.parquet. 3: windows may be
#: without times.
FORMAT = 3


class Header(Kept):
    kind: Literal["run"] = "run"
    format: int = FORMAT
    id: Name
    identity: Identity
    versions: dict[str, str]
    started: Time = Field(default_factory=utc_now)
