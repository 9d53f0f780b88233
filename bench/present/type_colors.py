"""Colours of types by their bits per weight, for maps of recipes in pages and plots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.gguf_files.info import UNQUANTIZED, type_bits

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


def type_color(name: str) -> TypeColor:
    """The more bits, the lighter; the same colour in every report."""
    bits = type_bits(name)
    if name in UNQUANTIZED:
        return TypeColor(name, bits, _UNQUANTIZED_COLOR)
    place = float(np.interp(bits, _STEPS, np.linspace(0, len(_RAMP) - 1, len(_STEPS))))
    low = min(int(place), len(_RAMP) - 2)
    channels = zip(*(bytes.fromhex(c[1:]) for c in _RAMP[low : low + 2]), strict=True)
    return TypeColor(name, bits, "#" + "".join(f"{round(a + (b - a) * (place - low)):02x}" for a, b in channels))
