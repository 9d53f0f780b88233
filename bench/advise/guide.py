"""The guide to formats and their uses, read from one data file (guide.toml) and rendered as Markdown."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bench.core.errors import BenchError, nearest
from bench.engine.memory import ModelShape

#: The one data file.
GUIDE = Path(__file__).with_suffix(".toml")

#: What a machine can have that a format is best with (see advice.py): arithmetic on BF16 or F16 numbers, and integer dot
#: products of an Arm CPU.
Want = Literal["bf16", "f16", "arm-dot"]
#: Classes of memory need, most first.
MemoryClass = Literal["high", "moderate to high", "moderate", "low", "very low", "ultra low"]
#: One line that can stand in a cell of a Markdown table.
_Cell = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^|\n]+$")]


_Count = Annotated[int, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GuideFormat(_Strict):
    """A row of the guide.

    name: as the guide shows it; recipes: that it speaks of, the one that stands for it first; memory: class of need; device:
    what it asks of one; wants: what a machine must have (one of them) for the format to be at its best, empty for none;
    superseded: whether another format of its size is better, so that it is not recommended; only_experts: whether it is for
    mixtures of experts; use, avoid: when to take it and when not, a clause each.
    """

    name: _Cell
    recipes: tuple[_Cell, ...] = Field(min_length=1)
    precision: _Cell
    memory: MemoryClass
    device: _Cell
    wants: tuple[Want, ...] = ()
    superseded: bool = False
    only_experts: bool = False
    use: tuple[_Cell, ...] = Field(min_length=1)
    avoid: tuple[_Cell, ...] = Field(min_length=1)


class GuideModel(_Strict):
    """A size of model in the shape of one that is like it. heads, kv_heads: of each layer; head: width of one; feed_forward:
    of an expert, where there are experts; experts: of a layer, 0 for none; experts_used: for one token; tied: whether its
    embeddings serve as its output too."""

    name: _Cell
    like: _Cell
    layers: _Count
    heads: _Count
    kv_heads: _Count
    head: _Count
    width: _Count
    feed_forward: _Count
    vocabulary: _Count
    experts: Annotated[int, Field(ge=0)] = 0
    experts_used: Annotated[int, Field(ge=0)] = 0
    tied: bool = False


class Guide(_Strict):
    """models: that sizes are estimated for, smallest first; formats: the rows in the guide's order, best quality first."""

    models: tuple[GuideModel, ...] = Field(min_length=1)
    formats: tuple[GuideFormat, ...] = Field(min_length=1)

    def of(self, recipe: str) -> GuideFormat | None:
        """The row that speaks of a recipe, or None: the guide does not name them all."""
        return next((f for f in self.formats if recipe.upper() in f.recipes), None)


def read_guide(path: Path) -> Guide:
    """Read and check a guide's data file. Raises BenchError that names file, key and what is wrong."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise BenchError(f"{path}: no such guide; install the program again") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as e:
        raise BenchError(f"{path}: is no TOML file ({e}); mend that line") from e
    try:
        found = Guide.model_validate(data)
    except ValidationError as e:
        raise BenchError(f"{path}: {_first(e, data)}") from e
    seen: set[str] = set()
    for row in found.formats:
        for name in (row.name, *(r for r in row.recipes if r != row.name)):
            if name in seen:
                raise BenchError(f"{path}: {row.name}: {name} is in the guide twice; keep one of them")
            seen.add(name)
    return found


def _first(error: ValidationError, data: dict[str, object]) -> str:
    """The first thing that is wrong, with the name of its row: `Q4_0.memory: ...`."""
    first = error.errors()[0]
    where = list(first["loc"])
    rows = data.get(str(where[0]))
    if len(where) > 1 and isinstance(rows, list) and isinstance(where[1], int) and isinstance(rows[where[1]], dict):
        where[:2] = [str(rows[where[1]].get("name", f"row {where[1] + 1}"))]
    key = ".".join(str(part + 1) if isinstance(part, int) else part for part in where)
    if first["type"] == "extra_forbidden":
        known: dict[int, type[BaseModel]] = {1: Guide, 3: GuideModel if first["loc"][0] == "models" else GuideFormat}
        return f"{key}: unknown key{nearest(str(first['loc'][-1]), known[len(first['loc'])].model_fields)}"
    return f"{key}: {first['msg']}; write it as the other rows do"


@cache
def guide() -> Guide:
    """The guide of this program."""
    return read_guide(GUIDE)


#: Heading and content of each column of the table.
_COLUMNS = ("Format", "Precision", "Memory", "Device", "Best for", "Avoid when")


def guide_table(of: Guide | None = None) -> str:
    """The guide as one Markdown table, a row for each format."""
    rows = [
        (f.name, f.precision, f.memory, f.device, "; ".join(f.use), "; ".join(f.avoid)) for f in (of or guide()).formats
    ]
    lines = [_COLUMNS, tuple(":--" for _ in _COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shape_like(model: GuideModel) -> ModelShape:
    """The shape of a size of model that the guide knows."""
    kv_numbers = model.layers * model.kv_heads * 2 * model.head
    used, of = max(model.experts_used, 1), max(model.experts, 1)
    return ModelShape(kv_numbers, model.width, model.feed_forward, model.vocabulary, used, all_experts=of)
