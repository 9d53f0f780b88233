"""A run in words: the model and files, the conditions, and the duration."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from bench.records.options import is_widened
from bench.records.record import SiteRecord, StageRecord
from bench.records.resolution import resolution
from bench.records.run import Run


def windows_text(run: Run) -> str:
    """`8 windows of 2048 tokens`, and that all are scored, where they are."""
    n, settings = run.windows, run.identity.settings
    return f"{n} window{'s' if n > 1 else ''} of {settings.window} tokens{settings.scored_text}"


def about(run: Run) -> list[str]:
    """What was measured on what, a line each."""
    i, reference = run.identity, run.files.get(run.reference or "")
    weights = f"{i.model.architecture}, {i.model.n_layers} layers, {i.model.n_weights / 1e6:,.0f}M weights"
    about = [
        f"Model: {i.model.name} ({weights}). {i.model.description or ''}".strip(),
        *([f"Fetched from: {reference.origin}"] if reference and reference.origin else []),
        f"Text: {i.prompts.name}, {windows_text(run)}. Importance matrix: {_importance(run)}.",
        f"Machine: {i.machine}; {_threads(run)}, {i.library.isa} kernels, llama-cpp-python {i.library.binding}.",
    ]
    if (offload := i.settings.offload) is not None:
        speeds = "speeds are the CPU's" if i.speeds else "no speeds were measured"
        about.append(
            f"Scores were computed on {offload.in_words}, {offload.layers} of {i.model.n_layers + 1} layers; {speeds}."
        )
    if sites := {r.site: r for r in run.of(SiteRecord)}:
        of_each = Counter(f"{r.machine}{f', scoring on {r.scores_on}' if r.scores_on else ''}" for r in sites.values())
        about.append(
            f"Measured at {len(sites)} site{'s' if len(sites) > 1 else ''}: {'; '.join(f'{n} x {m}' for m, n in of_each.items())}."
        )
    if run.records:
        started = datetime.fromisoformat(run.header.started)
        minutes = worked_minutes(run)
        about.append(f"Run: {started:%Y-%m-%d}{'' if minutes is None else f', {_minutes(minutes)} of work'}.")
    return about


def what_it_took(run: Run) -> str | None:
    """The minutes of a run by stage, and the tokens that were decoded to choose types and to score files; None where records do not tell."""
    total, stages = worked_minutes(run), stage_minutes(run)
    if not total:
        return None
    parts = [f"{name[0].lower() + name[1:]} {100 * minutes / total:.0f} %" for name, minutes in stages.items()]
    choices = [f.choice for f in run.files.values() if f.choice is not None and f.choice.trial_tokens]
    scored = len(run.files) * run.windows * run.identity.settings.window
    decoded = [f"{scored / 1e3:,.0f} thousand tokens of windows"]
    if choices:
        decoded += [
            f"{sum(c.trial_tokens for c in choices) / 1e3:,.0f} thousand to try choices of types",
            f"{max(c.probe_tokens for c in choices) / 1e3:,.0f} thousand to probe tensors",
        ]
    return f"What it took: {_minutes(total)} of work{', ' + ', '.join(parts) if parts else ''}. Decoded: {', '.join(decoded)}."


def reference_caveat(run: Run) -> str:
    """A sentence on a reference that is not the model as it was published; empty for one that is."""
    told = resolution(run)
    widened = is_widened(run)
    if not (told.types or widened):
        return ""
    zeros = (
        "widened with zeros to fit the blocks of all formats, which keeps what it computes and makes its files larger"
    )
    if not told.types:
        return f"The reference of this run was {zeros}."
    already = f"had already been quantized, to {' and '.join(told.types)}"
    return (
        f"The reference of this run {already}{', and was ' + zeros if widened else ''}. So the files are not made from the "
        f"original weights, and this run says nothing about files that are mostly of {told.bits} bits and more."
    )


def worked_minutes(run: Run) -> float | None:
    """Minutes of work: of every sitting, from when the program was started to its last record.

    None for a run of an early version, whose records do not tell when stages began: between two of its records somebody may
    have worked, or waited.
    """
    starts = sorted({datetime.fromisoformat(r.sitting) for r in run.of(StageRecord)})
    times = sorted(datetime.fromisoformat(r.time) for r in run.records)
    if not starts or times[0] < starts[0]:  # begun by an early version
        return None
    seconds = 0.0
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        own = [t for t in times if t >= start and (following is None or t < following)]
        seconds += (own[-1] - start).total_seconds() if own else 0.0
    return seconds / 60


def stage_minutes(run: Run) -> dict[str, float]:
    """Minutes of every stage, over all sittings, in the order in which they first began. One that was cut off counts to the
    last record of its sitting."""
    found: dict[str, float] = {}
    began: StageRecord | None = None
    last = ""
    for r in run.records:
        if isinstance(r, StageRecord) and r.event == "began":
            if began is not None:  # the program was killed in it
                _add(found, began, last)
            began = r
        elif isinstance(r, StageRecord) and began is not None:
            _add(found, began, r.time)
            began = None
        last = r.time
    if began is not None:
        _add(found, began, last)
    return found


def _add(found: dict[str, float], began: StageRecord, end: str) -> None:
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(began.time)).total_seconds()
    found[began.stage] = found.get(began.stage, 0.0) + seconds / 60


def _threads(run: Run) -> str:
    n = run.identity.settings.threads
    return f"{n} thread{'s' if n > 1 else ''}"


def _importance(run: Run) -> str:
    importance = run.identity.importance
    if importance is None:
        return "none"
    return f"{'computed from ' if importance.source == 'collected' else ''}{importance.name}"


def minutes_text(run: Run) -> str:
    """How long the run took, on which machine, and its longest stages: a sentence each."""
    total, stages, i = worked_minutes(run), stage_minutes(run), run.identity
    if total is None:
        return "The records of this run do not tell when its stages began."
    longest = sorted(stages.items(), key=lambda item: -item[1])
    parts = [f"{stage[0].lower() + stage[1:]} {_minutes(minutes)}" for stage, minutes in longest if minutes >= _SHORT]
    took = f"With the engine in place it took {_minutes(total)} on {i.machine} with {_threads(run)}."
    return f"{took} Of these: {', '.join(parts)}." if parts else took


#: Minutes below which a stage is not worth naming.
_SHORT = 0.5


def _minutes(value: float) -> str:
    if value >= 1.5:
        return f"{value:.0f} minutes"
    return "1 minute" if value >= 0.75 else "half a minute" if value >= 0.25 else "less than half a minute"
