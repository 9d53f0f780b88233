"""What identifies a run: model, text, importance data, settings, engine and machine, by hashes where there are any."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.core.machine import Machine
from bench.engine.settings import LibraryInfo, Settings


class Kept(BaseModel):
    """Something that is kept in a record. A field that a later version of this program adds is passed over."""

    model_config = ConfigDict(frozen=True)


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class ModelIdentity(Kept):
    name: str
    sha256: str
    architecture: str
    n_layers: int
    n_weights: int
    description: str | None


class TextIdentity(Kept):
    name: str
    sha256: str


class ImportanceIdentity(Kept):
    """Where importance data comes from: collected from a calibration text, or a file of the user's, both by hash."""

    source: Literal["collected", "file"]
    name: str
    sha256: str
    chunks: int | None


class Identity(Kept):
    """What must be equal for two runs' figures to compare."""

    model: ModelIdentity
    prompts: TextIdentity
    importance: ImportanceIdentity | None
    windows: int
    settings: Settings
    library: LibraryInfo
    machine: Machine

    @property
    def id(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def differences(self, other: Identity) -> list[str]:
        """`field is A here and B there` for every field that differs."""
        mine, theirs = _flat(self.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
        return [
            f"{k} is {mine.get(k)} in one and {theirs.get(k)} in the other"
            for k in mine | theirs
            if mine.get(k) != theirs.get(k)
        ]


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}" if prefix else key).items()}


#: Version of the record format. 1: first. 2: stages of a run; values of tokens may stand apart, in tokens.parquet.
FORMAT = 2


class Header(Kept):
    kind: Literal["run"] = "run"
    format: int = FORMAT
    id: str
    identity: Identity
    versions: dict[str, str]
    started: str = Field(default_factory=utc_now)
