"""A text of the run token by token, with the distance of each file's prediction of each token from the reference's."""

from __future__ import annotations

import base64
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bench.measures.windows.jobs import unpack
from bench.measures.windows.records import ExcerptRecord
from bench.measures.windows.runs import windows_of
from bench.records.run import Run

#: KL divergences in nats at which a token's mark changes.
LIMITS = (0.01, 0.1, 0.5, 2.0)
#: What the marks mean, from the least divergence on.
LEVELS = (
    f"below {LIMITS[0]:g} nats",
    *(f"{low:g} to {high:g}" for low, high in pairwise(LIMITS)),
    f"{LIMITS[-1]:g} and more",
)
#: Nats: of the first code above 0, and the factor from one to the next. So a value is off by 3 % at most.
_LEAST, _STEP = 1e-4, 1.06


def of_tokens(run: Run) -> dict[str, object] | None:
    """What the script that colours a text reads; None for a run without the text, or without values of its tokens.

    pieces: what every token spells; kinds: (kind of prompt, number of tokens); files: of every file the KL divergence of every
    token, a byte each in base64 (see coded); first: the file that is shown first, that in the middle by divergence.
    """
    text = _text(run)
    if text is None:
        return None
    found = {n: kl for n in run.files if (kl := _divergences(run, n, text.window)) is not None}
    if not found:
        return None
    return {
        "window": text.window,
        "pieces": text.pieces,
        "kinds": text.kinds,
        "limits": LIMITS,
        "first": sorted(found, key=lambda n: float(found[n].mean()))[len(found) // 2],
        "least": _LEAST,
        "step": _STEP,
        "files": {n: base64.b64encode(coded(kl).tobytes()).decode("ascii") for n, kl in found.items()},
    }


def coded(kl: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Divergences as steps of 6 % above the least that is told: 0 for less, the last for all above 200 nats."""
    steps = np.round(np.log(np.maximum(kl, _LEAST / 2) / _LEAST) / np.log(_STEP)) + 1
    codes: NDArray[np.uint8] = np.clip(steps, 0, 255).astype(np.uint8)
    return codes


def why_no_text(run: Run) -> str:
    """Why a run has no text to colour, in a sentence."""
    if not run.identity.prompts.name.startswith("fixed "):
        return f"The text of this run ({run.identity.prompts.name}) is not ours to show, so no text is coloured here."
    if _text(run) is None:
        return "The records of this run do not hold the tokens' text, so no text is coloured here; a new run has them."
    return "No file of this run was compared with the reference token by token, so no text is coloured here."


def _text(run: Run) -> ExcerptRecord | None:
    return next(reversed(run.of(ExcerptRecord)), None)


def _divergences(run: Run, name: str, window: int) -> NDArray[np.float32] | None:
    record = windows_of(run).by_file[name].get(window)
    data = record.result.tokens if record else None
    return None if data is None or data.kl is None else np.maximum(unpack(data.kl, np.float32), 0)
