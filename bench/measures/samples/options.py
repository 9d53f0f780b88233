"""Options of samples."""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.options import MEASURING, option


@dataclass(frozen=True)
class Asked:
    """samples: tokens of a completion, 0 for none; prompts: the user's own, the fixed beginnings where there are none."""

    samples: int = option(
        0,
        "--samples",
        "Also complete some beginnings by this many tokens, side by side (see `sample`).",
        min=0,
        panel=MEASURING,
        metavar="N",
    )
    prompts: tuple[str, ...] = ()
