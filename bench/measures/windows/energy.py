"""Joules per token of a file, from its timed rounds; none where the machine's counters could not be read.

Joules are those of whole packages. They include other work on them and their power at rest, which is reported beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.measures.frames import interval
from bench.measures.windows.jobs import Energy, WindowResult
from bench.measures.windows.joules import Joules, energy_ratio, enough, typical
from bench.measures.windows.runs import windows_of
from bench.records.run import Run
from bench.statistics.estimates import spread


def prompt_joules(windows: Sequence[WindowResult]) -> Joules:
    """Of decoding whole windows."""
    return enough([(w.window, e.window, w.seconds or 0.0) for w, e in _counted(windows)])


def generation_joules(windows: Sequence[WindowResult]) -> Joules:
    """Of all tokens that a pass generates."""
    return enough([(w.window, e.generation or 0.0, w.generate_seconds or 0.0) for w, e in _counted(windows)])


def _counted(windows: Sequence[WindowResult]) -> list[tuple[WindowResult, Energy]]:
    """Passes with their energy; none where some have that of the memory in it and others have not."""
    found = [(w, w.energy) for w in windows if w.energy is not None]
    return found if len({e.memory for _, e in found}) == 1 else []


#: What is told of a file: names of its column and of its ratio's, joules of passes.
_PARTS: tuple[tuple[str, str, Callable[[Sequence[WindowResult]], Joules]], ...] = (
    ("joules_per_prompt_token", "prompt_energy_ratio_vs_reference", prompt_joules),
    ("joules_per_generated_token", "generation_energy_ratio_vs_reference", generation_joules),
)


def energy_figures(run: Run, name: str, windows: Sequence[WindowResult]) -> dict[str, float | None]:
    """Columns of a file in the table of all files: those that there are."""
    settings, reference = run.identity.settings, run.reference
    figures: dict[str, float | None] = {}
    for (column, ratio, joules_of), tokens in zip(_PARTS, (settings.window, settings.generate), strict=True):
        if joules := joules_of(windows):
            figures |= interval(column, typical(joules, tokens))
            if reference is not None and name != reference:
                before, after = windows_of(run).same_sitting(reference, name)
                alike = {e.memory for _, e in (*_counted(before), *_counted(after))}
                if len(alike) == 1:
                    figures |= interval(ratio, energy_ratio(joules_of(before), joules_of(after)))
    if figures:
        figures["idle_watts"] = spread([e.idle_watts for _, e in _counted(windows)]).median
    return figures


def energy_notes(run: Run) -> list[str]:
    """What joules are of, where a file has any."""
    shown = [w for name in run.files if (w := windows_of(run).results(name)) and energy_figures(run, name, w)]
    passes = [e for windows in shown for _, e in _counted(windows)]
    if not passes:
        return []
    sources = " and ".join(sorted({e.source for e in passes}))
    memory = [e.memory for e in passes]
    of = f"{'with' if all(memory) else 'some with' if any(memory) else 'without'} their memory"
    idle = spread([e.idle_watts for e in passes])
    return [
        f"Joules are those of the machine's whole processor packages, {of}, as {sources} counts them, and not of the measuring process alone; "
        f"at rest they took {idle.median:.1f} W (median of {idle.n} readings), which is not taken off"
    ]
