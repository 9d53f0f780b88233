"""Recipe files: TOML, validated, so that a typing error is an error and not a recipe that does less than it says.

prefix = "MINE"                  # its name; with another base given in the name, MINE-IQ2_XXS
base = "IQ2_XXS"                 # llama.cpp format whose mix holds where no rule applies; may come with the name
description = "{base} with better values"

[[rules]]                        # later rules override earlier ones
type = "IQ4_XS"
layers = [0.0, 0.25]             # shares of the depth; whole numbers are indices, the second not included
tensors = ["attention-v"]        # kinds of tensor, or llama.cpp's names: "attn_v", "blk.*.attn_v.weight" (kinds.py)
pattern = "attn_v"               # a regular expression on the tensor's name

A recipe with a size leaves a choice, which is made by the effect of types on the model's output (bench/choose):

size = "+4%"                     # over the base's file; or "2.5bpw", "80MB", "IQ2_S" for the size of another recipe,
                                 # "experts=12GB+rest=6GB" for budgets by class; +together after it (sizes.py)
sizes = { IQ1_S = "+14%" }       # for single bases

[[rules]]
layers = [0.0, 0.25]
may = ["IQ4_XS", "IQ3_S"]        # instead of type: types to choose from, beside the type without this rule
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Self

import gguf
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bench.core.errors import BenchError, nearest
from bench.core.parsed import toml_table
from bench.recipes.sizes import parse_size

#: Types a tensor can be stored in: without integers, and without those that only exist while llama.cpp computes.
_TYPES = tuple(
    t.name
    for t in gguf.GGMLQuantizationType
    if t.name not in ("Q8_1", "Q8_K", "F64") and (not t.name.startswith("I") or t.name.startswith("IQ"))
)


def check_types(names: list[str]) -> list[str]:
    """The names, if llama.cpp has these types. Raises BenchError with the nearest."""
    for name in names:
        if name not in _TYPES:
            raise BenchError(f"llama.cpp has no type {name}{nearest(name, _TYPES)}")
    return names


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RuleFile(_Strict):
    """A rule as it stands in the file; see recipes.Rule."""

    type: str | None = None
    layers: tuple[int, int] | tuple[float, float] | None = None
    tensors: list[str] = []
    pattern: str | None = None
    may: list[str] = []

    @field_validator("layers", mode="before")
    @classmethod
    def _layers(cls, value: object) -> object:
        if value is None:
            return None
        if not (isinstance(value, list) and len(value) == 2 and type(value[0]) is type(value[1])) or not isinstance(
            value[0], int | float
        ):
            raise ValueError("give two whole numbers (indices), or two numbers with a point (shares of the depth)")
        if not value[0] < value[1] or value[0] < 0 or (isinstance(value[1], float) and value[1] > 1):
            raise ValueError("the second must be greater than the first, and shares lie between 0.0 and 1.0")
        return tuple(value)

    @field_validator("type", "may")
    @classmethod
    def _types(cls, value: str | list[str] | None) -> str | list[str] | None:
        try:
            check_types([value] if isinstance(value, str) else value or [])
        except BenchError as e:
            raise ValueError(str(e)) from e
        return value

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as e:
            raise ValueError(f"{value!r} is no regular expression ({e})") from e
        return value

    @model_validator(mode="after")
    def _some_condition(self) -> Self:
        if self.layers is None and not self.tensors and self.pattern is None:
            raise ValueError("give at least one of layers, tensors and pattern")
        if (self.type is None) == (not self.may):
            raise ValueError("give either type, or may with the types to choose from")
        return self


class RecipeFile(_Strict):
    """A recipe as it stands in a file."""

    path: Path
    prefix: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    family: str = "Own"
    description: str = ""
    base: str | None = None
    size: str | None = None
    sizes: dict[str, str] = {}
    rules: list[RuleFile] = []

    @field_validator("size", "sizes")
    @classmethod
    def _sizes(cls, value: str | dict[str, str] | None) -> str | dict[str, str] | None:
        for size in [value] if isinstance(value, str) else (value or {}).values():
            parse_size(size)
        return value

    @model_validator(mode="after")
    def _size_goes_with_a_choice(self) -> Self:
        if (self.size or self.sizes) and not any(r.may for r in self.rules):
            raise ValueError("a size leaves a choice, and no rule says with `may` what to choose from")
        return self


def read_recipe_file(path: Path) -> RecipeFile:
    """Read and check a recipe file. Raises BenchError that names file, key and what would do."""
    try:
        data = toml_table(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise BenchError(f"{path}: no such recipe file; check the path") from e
    except (ValueError, OSError) as e:
        raise BenchError(f"{path}: is no TOML file ({e}); correct it") from e
    if "path" in data:  # a field of ours that no file may set
        raise BenchError(f"{path}: path: unknown key")
    try:
        return RecipeFile.model_validate({"path": path} | data)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part + 1) if isinstance(part, int) else part[:80] for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = [k for k in (RuleFile if "rules" in first["loc"] else RecipeFile).model_fields if k != "path"]
            raise BenchError(f"{path}: {where}: unknown key{nearest(str(first['loc'][-1]), known)}") from e
        said = first["msg"].removeprefix("Value error, ")[:500]
        raise BenchError(f"{path}: {where}: {said}") from e


@cache
def packaged_recipes() -> dict[str, Path]:
    """Recipe files of the package by the prefix that names them."""
    found = sorted(Path(__file__).parent.glob("*.toml"))
    return {read_recipe_file(p).prefix: p for p in found}
