"""Meanings and units of the columns of tables for programs: the source of docs/columns.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column. unit: empty for what has none; interval: whether NAME_low and NAME_high follow, its 95 % interval."""

    name: str
    meaning: str
    unit: str = ""
    interval: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, f"{self.name}_low", f"{self.name}_high") if self.interval else (self.name,)


@dataclass(frozen=True)
class Columns:
    """The columns of a table. where: how to get it; about: what a row is, and what is not said by single columns; index: the
    columns that are the index of the DataFrame which the library gives."""

    name: str
    where: str
    about: str
    columns: tuple[Column, ...]
    index: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, the ends of intervals among them."""
        return tuple(name for column in self.columns for name in column.names)


SHARE = "share of 1"
TOKENS_PER_SECOND = "tokens/s"


RECIPE = Column("recipe", "name of the recipe, or of the reference")
FAMILY = Column("family", "Reference, Standard (llama.cpp's own mix), DynamicGate and so on")


TENSOR = (
    Column("tensor", "name of the tensor"),
    Column("layer", "layer from 0, none for a tensor outside the layers"),
    Column("kind", "kind of tensor, as recipes name it: attention-v, feed-forward-down, embeddings"),
    Column("type", "type it is stored in"),
    Column("bits", "bits per weight of that type, scales included", "bits"),
    Column("asked", "type that was asked for; another than `type` where llama.cpp replaced it"),
)
