"""Probing: the divergence from the reference that an assignment of types to tensors causes. It runs in a worker process.

The model is loaded once; its weights are exchanged in memory (quantize/live_weights.py), windows of the calibration text are
computed, and every assignment's result is added to a log before the next begins.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.choose.jobs import Probed, ProbeJob, ProbeResult, ProbeSetting, assignment_key
from bench.choose.probe_log import log_line, read_log
from bench.core.errors import MeasurementError
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.reference_logits import ReferenceLogits
from bench.engine.scoring import score
from bench.execute.content import Site
from bench.execute.job import Share
from bench.quantize.block_cache import BlockCache
from bench.quantize.build import fitted_importance
from bench.quantize.live_weights import LiveWeights
from bench.texts.stream import TokenStream


class ProbedModel:
    """A loaded model that assignments are tried on. Use as a context manager."""

    def __init__(self, setting: ProbeSetting, site: Site) -> None:
        self._setting, n = setting, setting.window
        self._stream = TokenStream.load(site.path(setting.stream))
        path, log = site.path(setting.model), site.path(setting.log)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log_name = log.name
        self._cache, self._known = BlockCache.of(site, setting.origin), read_log(log)
        with ExitStack() as stack:
            model = stack.enter_context(Model(path, own_memory=True, offload=setting.offload))
            importance = fitted_importance(path, site.optional(setting.importance))
            self._live = LiveWeights(model, importance, self._cache, setting.threads)
            self._context = stack.enter_context(
                Context(model, n_ctx=n, n_batch=n, n_ubatch=min(512, n), threads=setting.threads)
            )
            self._log = stack.enter_context(log.open("a", encoding="utf-8"))
            self._stack = stack.pop_all()
        self._references = {w: ReferenceLogits(site.path(setting.logits_of(w)), model.n_vocab) for w in setting.windows}
        self._damaged: list[str] = []
        for window in self._references:
            self._keep_reference(window)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()
        self._cache.trim()

    @property
    def damaged(self) -> tuple[str, ...]:
        """Tensors whose blocks in the cache were damaged, and logits of the reference that were: they were made anew."""
        return (*self._cache.damaged, *self._damaged)

    def divergence(self, assignment: dict[str, str], windows: tuple[int, ...] | None = None) -> tuple[float, ...]:
        """Mean KL divergence by window, nats; empty where logits are not finite. What is on the log is not measured again. windows: some of the
        setting's, all of them unless told."""
        key, wanted = assignment_key(assignment), self._setting.windows if windows is None else windows
        if wanted != self._setting.windows:
            key += f" on {','.join(map(str, wanted))}"
        if key not in self._known:
            self._live.assign(assignment)
            self._known[key] = Probed(key=key, kl=self._measured(wanted))
            self._log.write(log_line(self._log_name, self._known[key]))
            self._log.flush()
        return self._known[key].kl

    def _keep_reference(self, window: int) -> None:
        """Have the logits of the model as it is, computed unless they lie there as they were kept."""
        reference = self._references[window]
        if reference.path.exists():
            if reference.intact(self._setting.window - 1):
                return
            self._damaged.append(f"the reference's logits of window {window}")
        reference.append(0, self._logits(window))

    def _measured(self, windows: tuple[int, ...]) -> tuple[float, ...]:
        kl = []
        for window in windows:
            reference = self._references[window]
            start, computed = window * self._setting.window, self._logits(window)
            targets = self._stream.tokens[start + 1 : start + self._setting.window]
            try:
                _, divergence = score(computed, targets, threads=self._setting.threads, reference=reference)
            except MeasurementError:  # not finite
                return ()
            assert divergence is not None
            kl.append(float(divergence.kl.mean()))
        return tuple(kl)

    def _logits(self, window: int) -> NDArray[np.float32]:
        self._context.clear()
        self._context.prepare(self._stream.window(window, self._setting.window), 0)
        self._context.decode()
        return self._context.logits()[:-1]


def probe(job: ProbeJob, site: Site, progress: Share) -> ProbeResult:
    """Measure the job's assignments in order."""
    with ProbedModel(job.setting, site) as model:
        for i, assignment in enumerate(job.assignments):
            model.divergence(assignment)
            progress((i + 1) / len(job.assignments))
        return ProbeResult(measured=len(job.assignments), damaged=model.damaged)
