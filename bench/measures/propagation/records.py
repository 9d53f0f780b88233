"""What is kept of hidden states."""

from __future__ import annotations

from typing import Literal

from bench.measures.propagation.jobs import PropagationResult
from bench.records.record import OfFile


class PropagationRecord(OfFile):
    """How far a recipe's hidden states are from the reference's in one window. tokens: of the window's beginning."""

    kind: Literal["propagation"] = "propagation"
    tokens: int
    result: PropagationResult
