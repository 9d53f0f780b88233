"""Which tensor of which layer has which type: a map of every recipe, layers across and tensors down, coloured by bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import gguf
import numpy as np

from bench.gguf_files.info import UNQUANTIZED
from bench.recipes.words import Layers, in_words, runs
from bench.records.record import FileRecord
from bench.records.run import Run

#: Colours from few bits to many: steps of viridis, whose lightness rises evenly for any kind of colour vision.
_RAMP = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
#: Bits per weight that are even steps of the ramp: those that types have, so that neighbours differ as much as they can.
_STEPS = (1.5625, 1.75, 2.0625, 2.3125, 2.5625, 2.625, 3.0625, 3.4375, 4.25, 4.5, 5.0, 5.5, 6.0, 6.5625, 8.5)
_UNQUANTIZED_COLOR = "#fffbe6"


@dataclass(frozen=True)
class TypeColor:
    """A type with its bits per weight and colour; css: the class that colours it."""

    name: str
    bits: float
    color: str

    @property
    def css(self) -> str:
        return f"t-{self.name}"


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


def type_bits(name: str) -> float:
    """Bits per weight of a type, scales included."""
    block, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    return 8 * n_bytes / block


def type_color(name: str) -> TypeColor:
    """The more bits, the lighter; the same colour in every report."""
    bits = type_bits(name)
    if name in UNQUANTIZED:
        return TypeColor(name, bits, _UNQUANTIZED_COLOR)
    place = float(np.interp(bits, _STEPS, np.linspace(0, len(_RAMP) - 1, len(_STEPS))))
    low = min(int(place), len(_RAMP) - 2)
    channels = zip(*(bytes.fromhex(c[1:]) for c in _RAMP[low : low + 2]), strict=True)
    return TypeColor(name, bits, "#" + "".join(f"{round(a + (b - a) * (place - low)):02x}" for a, b in channels))


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
