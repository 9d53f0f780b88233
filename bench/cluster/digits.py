"""Whether a site computes what the coordinator computes: a short window of the reference, to the last digit."""

from __future__ import annotations

import hashlib

from bench.measures.windows.jobs import MeasureJob
from bench.workbench.kept import Stream
from bench.workbench.work import Work

#: Tokens of the window.
_TOKENS = 256


def digits(work: Work, stream: Stream, *, on_cpu: bool = False) -> str:
    """on_cpu: where a device scores, of the CPU beside it. SHA-256 of the scores of the first tokens of a text under the reference, or of the first conversation: float32, one each. The same where two machines agree."""
    own = work.settings.on_cpu if on_cpu else work.settings
    n = work.settings.window if work.settings.scored == "written" else min(_TOKENS, work.settings.window)
    settings = own.model_copy(update={"window": n, "batch": n, "ubatch": n, "generate": 0})
    job = MeasureJob(model=work.model, stream=stream.content, windows=(0,), settings=settings, timed=False)
    [result] = work.executor.do(job).windows
    assert result.tokens is not None
    return hashlib.sha256(result.tokens.nll.encode()).hexdigest()
