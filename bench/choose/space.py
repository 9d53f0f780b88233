"""What tensors take in a file, to the byte and by class, before it is built."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import gguf

from bench.gguf_files.header import align, read_header
from bench.gguf_files.info import ModelInfo
from bench.quantize.jobs import PlanResult
from bench.recipes.classes import REST, class_of


@dataclass(frozen=True)
class Space:
    """weights: of every tensor of the reference; alignment: of tensors in files, bytes."""

    weights: Mapping[str, int]
    alignment: int

    @classmethod
    def of(cls, model: ModelInfo) -> Self:
        return cls({t.name: t.n_weights for t in model.tensors}, read_header(model.path).alignment)

    def taken(self, tensor: str, kind: str) -> int:
        """Bytes that a tensor takes in the file, with what it is padded by."""
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        return align(self.weights[tensor] // block * size, self.alignment)

    def head(self, plan: PlanResult) -> int:
        """Bytes of the file that are no tensors'."""
        return plan.n_bytes - sum(self.taken(name, t) for name, t in plan.types.items())

    def by_class(self, plan: PlanResult, classes: Collection[str]) -> dict[str, int]:
        """Bytes of the whole file by class; `rest` has the header, and all where it is the only class."""
        found = dict.fromkeys(classes, 0)
        found[REST] = self.head(plan)
        for name, t in plan.types.items():
            found[class_of(name, classes)] += self.taken(name, t)
        return found

    def weights_of(self, name: str, classes: Collection[str]) -> int:
        """Weights of all tensors of a class."""
        return sum(n for tensor, n in self.weights.items() if class_of(tensor, classes) == name)

    def least(self, allowed: Mapping[str, tuple[str, ...]], items: Iterable[tuple[str, ...]]) -> int:
        """Bytes of the smallest choice. allowed: types by tensor; items: tensors that get one type, the same for all of an item."""
        return sum(min(sum(self.taken(n, t) for n in item) for t in allowed[item[0]]) for item in items)
