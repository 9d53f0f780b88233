"""Limits on how much worse a figure may become before `check` calls it worse: thresholds.toml, overridden by a user's own file."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.core.errors import BenchError, nearest
from bench.core.parsed import toml_table

DEFAULT = Path(__file__).with_name("thresholds.toml")


class Thresholds(BaseModel):
    """How much worse a figure may become: rises in percent, ratios of times."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ppl_percent: float = Field(ge=0)
    kl_percent: float = Field(ge=0)
    size_percent: float = Field(ge=0)
    window_time_ratio: float = Field(ge=1)
    generation_time_ratio: float = Field(ge=1)


def read_thresholds(path: Path | None = None) -> Thresholds:
    """The packaged limits, those of a file of the user's before them. Raises BenchError that names file, key and what is wrong."""
    packaged = tomllib.loads(DEFAULT.read_text(encoding="utf-8"))
    if path is None:
        return Thresholds(**packaged)
    try:
        own = toml_table(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as e:
        raise BenchError(f"{path}: cannot be read as TOML ({e}); {DEFAULT.name} in the package is an example") from e
    for key in own:
        if key not in packaged:
            known = nearest(key, packaged) or f"; known are {', '.join(packaged)}"
            raise BenchError(f"{path}: {key}: unknown key{known}")
    try:
        return Thresholds(**packaged | own)
    except ValidationError as e:
        first = e.errors()[0]
        raise BenchError(f"{path}: {first['loc'][0]}: {first['msg']} (it is {first['input']!r:.80})") from e
