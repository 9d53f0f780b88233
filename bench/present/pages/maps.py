"""Maps of types: one for every recipe, layers across and tensors down, coloured by bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.gguf_files.info import type_bits
from bench.present.type_colors import TypeColor, type_color
from bench.recipes.words import Layers, in_words, runs
from bench.records.record import FileRecord
from bench.records.run import Run


@dataclass(frozen=True)
class TypeMap:
    """A recipe's map. path: {type: SVG path of its cells, one unit each}; text: a line for every row, runs of layers by type;
    others: (tensor, type) of matrices outside the layers."""

    recipe: str
    family: str
    bits_per_weight: float
    rows: tuple[str, ...]
    n_layers: int
    paths: dict[str, str]
    text: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str], ...]


def type_maps(run: Run) -> list[TypeMap]:
    """Maps of all files but the reference that say what types their tensors have."""
    return [_map(f, run.identity.model.n_layers) for f in run.files.values() if f.types and f.family != "Reference"]


def legend(maps: Iterable[TypeMap]) -> list[TypeColor]:
    """Every type that is on a map, from few bits to many."""
    types = {t for m in maps for t in (*m.paths, *(t for _, t in m.others))}
    return sorted((type_color(t) for t in types), key=lambda t: (t.bits, t.name))


def _map(file: FileRecord, n_layers: int) -> TypeMap:
    layers = Layers.of(file.types)
    paths: dict[str, str] = {}
    for y, types in enumerate(layers.rows.values()):
        for stored, first, end in runs(types):
            paths[stored] = paths.get(stored, "") + f"M{first} {y}h{end - first}v1h-{end - first}z"
    return TypeMap(
        recipe=file.recipe,
        family=file.family,
        bits_per_weight=file.bits_per_weight,
        rows=tuple(layers.rows),
        n_layers=n_layers,
        paths=dict(sorted(paths.items(), key=lambda item: type_bits(item[0]))),
        text=tuple((row, in_words(types)) for row, types in layers.rows.items()),
        others=layers.others,
    )
