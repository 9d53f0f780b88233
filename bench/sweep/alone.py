"""A run without recipes: third-party files alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.gguf_files.shards import whole_bytes
from bench.models.sources import model_names, remote_models
from bench.workbench.asked import asked_recipes
from bench.workbench.options import Options


def without_recipes(options: Options, reporter: Reporter) -> Options:
    """What a run is asked for that builds nothing, as any run is: there is no importance matrix to compute, and without a model
    the largest of the files is what the others are held against, quantized or not.

    Options of a run with recipes come back as they are. Raises BenchError where nothing is left to measure.
    """
    if asked_recipes(options):
        return options
    if not options.compare:
        raise BenchError(
            "--recipes none leaves nothing to measure; name files with --compare, or recipes (F16 for the reference alone)"
        )
    if not (options.imatrix or options.calibration or options.calibration_chunks):
        options = replace(options, no_imatrix=True)
    if options.model is not None:
        return options
    singles = {named: model_names(named) for named in options.compare}
    files = {single: _bytes(single) for several in singles.values() for single in several}
    largest = max(files, key=lambda name: files[name])
    reporter.say(f"No --model is named, so the files are compared with the largest of them, {largest}")
    # a glob stays one, so that those of its files that do not compare are left out
    others = tuple(named for named, several in singles.items() if several != [largest])
    return replace(options, model=largest, allow_quantized=True, compare=others)


def _bytes(named: str) -> int:
    """Bytes of the files of one model."""
    remote = remote_models(named)
    return sum(r.n_bytes for r in remote.values()) if remote else whole_bytes(Path(named))
