"""The option of the comparison of hidden states."""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.options import MEASURING, option


@dataclass(frozen=True)
class Asked:
    """propagation: whether to compare hidden states."""

    propagation: bool = option(
        False,
        "--propagation",
        "Also measure how far the hidden states of every layer are from the reference's.",
        panel=MEASURING,
    )
