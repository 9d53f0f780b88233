"""Records of hidden states."""

from __future__ import annotations

from typing import Literal

from bench.core.values import Some
from bench.measures.propagation.jobs import PropagationResult
from bench.records.identity import Identity
from bench.records.record import OfFile


class PropagationRecord(OfFile):
    """How far a recipe's hidden states are from the reference's in one window. tokens: of the window's beginning."""

    kind: Literal["propagation"] = "propagation"
    tokens: Some
    result: PropagationResult

    @property
    def index(self) -> int:
        return self.result.window

    def misfit(self, identity: Identity) -> str | None:
        parts, layers = (self.result.residual, self.result.attention, self.result.feed_forward), identity.model.n_layers
        if any(len(part) != layers for part in parts):
            return f"does not have a value for each of the model's {layers} layers"
        return identity.lacks(self.result.window)
