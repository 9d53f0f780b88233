"""Advice for people and programs: the file to take, and the candidates that it was chosen from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd

from bench.advise.candidates import Candidate, of_model, of_repository
from bench.advise.choice import Pick, Recommendation, by_guide
from bench.advise.cpu import sixteen_bit
from bench.advise.gpu import OnGpu, of_candidates, of_run
from bench.advise.measured import by_run, measured_files
from bench.advise.next_step import PROGRAM, to_fetch, to_make, to_make_again
from bench.advise.rows import of_candidate, of_measured
from bench.advise.situation import IN_USE, Situation
from bench.advise.speed import Limits, Reach, reach_of, reached
from bench.core.errors import BenchError
from bench.core.formats import MISSING, divergence_text, percent, size
from bench.engine.jobs import Buffers
from bench.engine.memory import Memory, ModelShape, memory_needed, repacked_bytes
from bench.gguf_files.info import ModelInfo
from bench.measures.windows.tables import NO_SPEEDS
from bench.models.listed import Listed
from bench.quantize.jobs import PlanResult
from bench.records.resolution import resolution
from bench.records.run import Run
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import with_interval


@dataclass(frozen=True)
class Shown:
    """A table with its title and the lines of its key; without a frame, lines alone."""

    title: str
    frame: pd.DataFrame | None
    key: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """subject: what was chosen among; notes: how it was worked out and what was assumed, a sentence each; rows: what was chosen
    among, for programs (rows.py); next_step: a sentence in which next_step.PROGRAM stands for this program, or nothing; on_gpu: None without a GPU."""

    subject: str
    recommendation: Recommendation
    context: int
    tables: tuple[Shown, ...]
    notes: tuple[str, ...]
    here: Situation
    rows: tuple[Mapping[str, object], ...] = ()
    next_step: str = ""
    on_gpu: OnGpu | None = None

    def lead(self, program: str = "dynamicgate-bench") -> list[str]:
        """What to take and why, before any table: Markdown, the first line a heading. program: as people type it in commands."""
        found = self.recommendation
        if found.take is None:
            return ["## Nothing to recommend", *(f"- {line}" for line in found.because)]
        lines = [f"## Take {_named(found.take)}", f"- {found.take.why}"]
        if found.take.memory is not None:
            available = size(self.here.machine.available)
            lines.append(
                f"- It needs {size(found.take.memory)} of memory for a context of {self.context} tokens; {available} are available."
            )
        if found.take.speed:
            lines.append(f"- It generates {found.take.speed}.")
        if self.on_gpu is not None:
            lines.append(f"- {capitalized(self.on_gpu.lead(found.take.name))}")
        lines += [f"- {line}" for line in found.because]
        for what, pick in ((found.smaller_is, found.smaller), ("Better", found.better)):
            if pick:
                lines.append(f"- {what}: {_named(pick)}{', ' + pick.speed if pick.speed else ''}. {pick.why}")
        if self.here.limits and found.take.speed and not found.take.measured:
            lines.append(f"- {self.here.limits.assumption()}")
        return [*lines, f"- {self.next_step.replace(PROGRAM, program)}"] if self.next_step else lines

    def json(self) -> dict[str, object]:
        limits = self.here.limits
        return {
            "subject": self.subject,
            "recommendation": asdict(self.recommendation),
            "context": self.context,
            "machine": asdict(self.here.machine) | {"instruction_sets": self.here.cpu},
            "limits": asdict(limits) if limits else None,
            "gpu": self.on_gpu.json() if self.on_gpu else self.here.gpu and asdict(self.here.gpu),
            "candidates": [self._row(r) for r in self.rows],
            "notes": list(self.notes),
        }

    def _row(self, row: Mapping[str, object]) -> dict[str, object]:
        share = {"on_gpu": self.on_gpu.shares.get(str(row["name"]))} if self.on_gpu else {}
        return dict(row) | share


def capitalized(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _named(pick: Pick) -> str:
    file = f", {pick.file}" if pick.file and pick.file != pick.name else ""
    return f"{pick.name} ({size(pick.n_bytes)}{file})"


def on_model(
    model: ModelInfo, shape: ModelShape, plans: Mapping[str, PlanResult], buffers: Buffers | None, here: Situation
) -> Advice:
    """Which format to make of a model. Raises BenchError for one that is quantized already."""
    if model.quantized_tensors:
        raise BenchError(
            f"{model.path.name}: is already quantized ({model.bits_per_weight:.2f} bits per weight), and more bits bring nothing "
            "back; give the model in F16 or BF16 to choose among formats"
        )
    rows = of_model(model, shape, plans, buffers, here)
    exact = () if buffers or not shape.notes else tuple(f"Memory is approximate: {why}." for why in shape.notes)
    title = f"Formats for {model.name}"
    advice = _on_candidates(title, rows, here, (*exact, *sixteen(here)), "Format")
    return replace(advice, next_step=to_make(advice.recommendation.take, str(model.path)))


def on_repository(listed: Listed, here: Situation) -> Advice:
    """Which file of a repository to download. Raises BenchError as of_repository does."""
    rows, assumed = of_repository(listed, here)
    unmeasured = (
        "Nothing has measured the quality of these files: more bits per weight are taken to be better, and formats that the guide "
        "calls superseded are passed over."
    )
    advice = _on_candidates(f"Files of {listed.named}", rows, here, (unmeasured, *assumed), "File")
    return replace(advice, next_step=to_fetch(advice.recommendation.take, listed.named, here.wishes.context))


def _on_candidates(
    title: str, rows: Sequence[Candidate], here: Situation, notes: tuple[str, ...], first: str
) -> Advice:
    frame = pd.DataFrame(
        {
            first: [c.name for c in rows],
            "Size": [size(c.n_bytes) for c in rows],
            "Memory": [size(c.memory.needed) for c in rows],
            "Here": [c.fit for c in rows],
            "Tokens/s": [str(c.speed or MISSING) for c in rows],
            "Bits": [f"{c.bits:.2f}" for c in rows],
            "Guide": [c.format.name if c.format else MISSING for c in rows],
        }
    )
    on_gpu = of_candidates(rows, here)
    if on_gpu is not None:
        frame.insert(4, "GPU", on_gpu.column())
    key = (
        f"Memory: file, KV cache of {here.wishes.context} tokens, buffers and the program",
        "Here: tight means only once other programs are closed",
        "Tokens/s: generated on the CPU, expected; Bits: per weight",
        *([on_gpu.key()] if on_gpu else []),
    )
    data = tuple(of_candidate(c) for c in rows)
    found = by_guide(rows, here)
    told = (*notes, *about(here))
    return Advice(title, found, here.wishes.context, (Shown(title, frame, key),), told, here, data, on_gpu=on_gpu)


def on_run(run: Run, needs: Mapping[str, Memory], here: Situation, *, same_machine: bool) -> Advice:
    """Which file of a run to take. needs: memory of files in use, where it is known; same_machine: see measured_files."""
    files, told = measured_files(run, needs, here, same_machine=same_machine), resolution(run)
    title = f"Files of {run.identity.model.name}, as measured"
    frame = pd.DataFrame(
        {
            "File": [m.recipe for m in files],
            "Size": [size(m.n_bytes) for m in files],
            "Memory": [size(m.memory) for m in files],
            "Here": [m.fit for m in files],
            "Tokens/s": [str(m.speed or MISSING) for m in files],
            "Worth its size": [f"no: {m.beaten_by}" if m.beaten_by else "yes" for m in files],
            "Δ PPL [95 %]": [told.marked(m.recipe, _figure(m.ppl_change, percent)) for m in files],
            "KL [95 %]": [told.marked(m.recipe, _figure(m.kl, divergence_text)) for m in files],
        }
    )
    window = run.identity.settings.window
    memory = (
        f"Memory: file, KV cache of {here.wishes.context} tokens, buffers and the program"
        if needs
        else f"Memory: peak of measuring it, with a window of {window} tokens; --model FILE computes it for --context"
    )
    key = [
        memory,
        "Here: tight means only once other programs are closed",
        f"Tokens/s: generated, {'measured by this run' if same_machine else 'expected'}",
        "KL, Δ PPL: against the reference; Worth its size: no means that the file that is named is no larger and shown to be better",
    ]
    if (on_gpu := of_run(run, files, here)) is not None:
        frame.insert(4, "GPU", on_gpu.column())
        key.append(on_gpu.key())
    if mark := told.key(m.recipe for m in files):
        key.append(mark.removeprefix("- "))
    notes = [_rule_held(run, here) if same_machine else _no_speeds(run)]
    data = tuple(of_measured(m, needs.get(m.recipe)) for m in files)
    context = here.wishes.context if needs else window
    found = by_run(run, files, here)
    shown = Shown(title, frame, tuple(key))
    told_of = (*filter(None, notes), *about(here, same_machine))
    return Advice(title, found, context, (shown,), told_of, here, data, to_make_again(run, found.take), on_gpu)


def _figure(found: Estimate | None, form: Callable[[float], str]) -> str:
    return with_interval(found, form) if found else MISSING


def _no_speeds(run: Run) -> str:
    """Why the run's own speeds are not told."""
    if not run.identity.speeds:
        return f"{NO_SPEEDS}."
    threads = run.identity.settings.threads
    return f"The run was measured on {run.identity.machine.cpu} with {threads} threads: its speeds are not taken over."


def _rule_held(run: Run, here: Situation) -> str:
    """How near measured speeds came to what follows from the machine."""
    if here.limits is None or (reach := reach_of(reached(run, here.limits), "")) is None:
        return ""
    return (
        f"Reading weights with {here.limits.bandwidth / 1e9:.0f} GB/s and multiplying them with {here.limits.threads} threads, as measured now, "
        f"takes {100 * reach.low:.0f} % to {100 * reach.high:.0f} % of the time that these files were measured to need for a token. "
        f"{_rest(reach)}"
    )


def needs_of(
    run: Run, model: ModelInfo, shape: ModelShape, buffers: Buffers | None, here: Situation
) -> dict[str, Memory]:
    """Memory of a run's files in use. Raises BenchError for a run of another model."""
    if (run.identity.model.n_weights, run.identity.model.n_layers) != (model.n_weights, model.n_layers):
        raise BenchError(
            f"the run is of {run.identity.model.name} and --model is {model.name}; give the model that the run measured, or leave it out"
        )
    shapes = {t.name: t.shape for t in model.tensors}
    needs: dict[str, Memory] = {}
    for name, file in run.files.items():
        copied = repacked_bytes(shapes, file.types, here.features) if shapes.keys() <= file.types.keys() else 0
        needs[name] = memory_needed(shape, file.n_bytes, window=here.wishes.context, repacked=copied, buffers=buffers)
    return needs


def sixteen(here: Situation) -> tuple[str, ...]:
    """What 16 bits mean on this machine; nothing for a machine that is only told of."""
    return () if here.described else tuple(f"{line}." for line in sixteen_bit(here.cpu, here.features))


def about(here: Situation, same_machine: bool = False) -> tuple[str, ...]:
    """The machine, and where expected speeds come from, a sentence each."""
    total, available = size(here.machine.total), size(here.machine.available)
    if here.memory_described:
        said = [
            f"The machine has {total} of memory; {100 * IN_USE:.0f} % of it are taken to be in use, so {available} are available."
        ]
    elif here.described:
        said = [f"The memory is this machine's: {available} available of {total}; --memory tells another."]
    else:
        sets = ", ".join(here.cpu) if here.cpu else "not known"
        said = [f"This machine has {available} of memory available of {total}. Instruction sets: {sets}."]
    if here.limits and not same_machine:
        said += _of_speed(here.limits)
    return tuple(said)


def _rest(reach: Reach) -> str:
    rest = "The rest is attention and the overhead of each step, which weigh most in small models."
    return f"{rest} Beyond 100 % memory was faster in that run than when it was measured." if reach.high > 1 else rest


def _of_speed(limits: Limits) -> list[str]:
    low, high = limits.reach.low, limits.reach.high
    where = "that one machine" if limits.reach.machines == 1 else f"these {limits.reach.machines} machines"
    return [
        f"Tokens/s are expected, not measured: a token takes as long as reading its weights with {limits.bandwidth / 1e9:.0f} GB/s, "
        f"or multiplying them with {limits.threads} threads, whichever is longer. {limits.assumption()}",
        f"Files of published runs reached {100 * low:.0f} % to {100 * high:.0f} % of that ({limits.reach.of}), which is the range that is given; "
        f"its lower end also reads a full context. {_rest(limits.reach)} It was measured on {where} only: another processor "
        "or many threads may differ more.",
    ]
