"""The types of a model's tensors in words: which layers have which, tensor by tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from bench.gguf_files.info import UNQUANTIZED
from bench.recipes.kinds import KINDS, kind_of

_LAYER_TENSOR = re.compile(r"^blk\.(\d+)\.(.+?)(?:\.weight)?$")


@dataclass(frozen=True)
class Layers:
    """Types by tensor and layer. rows: {tensor: {layer: type}}, in the order of a layer; others: (tensor, type) of matrices
    outside the layers."""

    rows: dict[str, dict[int, str]]
    others: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, types: Mapping[str, str]) -> Layers:
        """Of all matrices; norms and biases, which stay as they are, are left out. types: {full name of a tensor: type}."""
        rows: dict[str, dict[int, str]] = {}
        others = []
        for tensor, stored in types.items():
            if not tensor.endswith("weight") or (stored in UNQUANTIZED and "norm" in tensor):
                continue
            if (found := _LAYER_TENSOR.match(tensor)) is not None:
                rows.setdefault(found[2], {})[int(found[1])] = stored
            else:
                others.append((tensor.removesuffix(".weight"), stored))
        ordered = sorted(rows, key=lambda row: (KINDS.index(kind_of(f"blk.0.{row}.weight")), row))
        return cls({row: rows[row] for row in ordered}, tuple(sorted(others)))

    def words(self) -> list[tuple[str, str]]:
        """(tensor, `IQ4_XS in 0–7, 22–29; IQ2_XS in 8–21`), or the type alone where all layers have it."""
        return [*self.others, *((row, in_words(types)) for row, types in self.rows.items())]


def in_words(types: Mapping[int, str]) -> str:
    """Which layers have which type."""
    said: dict[str, list[str]] = {}
    for stored, first, end in runs(types):
        said.setdefault(stored, []).append(str(first) if end - first == 1 else f"{first}–{end - 1}")
    return "; ".join(f"{t} in {', '.join(layers)}" for t, layers in said.items())


def runs(types: Mapping[int, str]) -> list[tuple[str, int, int]]:
    """(type, first layer, layer after the last) of neighbouring layers of one type."""
    found = []
    # a layer without the tensor ends a run as well: there the layer's distance from its place in the list changes
    for (stored, _), layers in groupby(enumerate(sorted(types)), key=lambda item: (types[item[1]], item[1] - item[0])):
        own = [layer for _, layer in layers]
        found.append((stored, own[0], own[-1] + 1))
    return found
