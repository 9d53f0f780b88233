"""Probing: the divergence from the reference that an assignment of types to tensors causes. In a worker process.

The model is loaded once; its weights are exchanged in memory (live_weights.py), windows of the calibration text are
computed, and every assignment's result is added to a log before the next begins.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.block_cache import BlockCache
from bench.build import fitted_importance
from bench.engine import Context, Model
from bench.errors import MeasurementError
from bench.jobs import Probed, ProbeJob, ProbeResult, assignment_key
from bench.live_weights import LiveWeights
from bench.measure import TokenStream
from bench.quality import ReferenceLogits, score


def probe(job: ProbeJob, progress: Callable[[float], None]) -> ProbeResult:
    """Measure the job's assignments in order. One whose logits are not finite is on the log without figures."""
    stream = TokenStream.load(job.stream)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    cache = BlockCache(job.blocks, job.origin)
    with Model(job.model, own_memory=True) as model:
        live = LiveWeights(model, fitted_importance(job.model, job.importance), cache, job.threads)
        n = job.window
        with (
            Context(model, n_ctx=n, n_batch=n, n_ubatch=min(512, n), threads=job.threads) as context,
            job.log.open("a", encoding="utf-8") as log,
        ):

            def logits(window: int) -> NDArray[np.float32]:
                context.clear()
                context.prepare(stream.window(window, job.window), 0)
                context.decode()
                return context.logits()[:-1]

            def targets(window: int) -> NDArray[np.int32]:
                return stream.tokens[window * job.window + 1 : (window + 1) * job.window]

            references = {w: ReferenceLogits(job.logits / f"{w}.logits", model.n_vocab) for w in job.windows}
            for window, reference in references.items():
                if not reference.path.exists():
                    reference.write(logits(window))
            for i, assignment in enumerate(job.assignments):
                live.assign(assignment)
                kl: list[float] = []
                for window, reference in references.items():
                    computed = logits(window)
                    try:
                        _, divergence = score(computed, targets(window), threads=job.threads, reference=reference)
                    except MeasurementError:  # not finite
                        kl = []
                        break
                    assert divergence is not None
                    kl.append(float(divergence.kl.mean()))
                line = Probed(key=assignment_key(assignment), kl=tuple(kl))
                log.write(line.model_dump_json() + "\n")
                log.flush()
                progress((i + 1) / len(job.assignments))
    cache.trim()
    return ProbeResult(measured=len(job.assignments))
