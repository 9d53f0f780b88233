"""Which file for this machine: what its CPU and memory offer, the formats of the guide, and what a run measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.advise.cpu import sixteen_bit, this_cpu
from bench.advise.fitting import Fit, Row, Situation, SizeRow, fit, format_rows, guide_says, size_rows, stored_as
from bench.advise.front import Measured, measured_files, recommendations
from bench.core.errors import BenchError
from bench.core.formats import MISSING, divergence_text, percent, seconds, size
from bench.engine.jobs import Buffers
from bench.engine.memory import (
    MachineMemory,
    Memory,
    ModelShape,
    machine_memory,
    memory_needed,
    repacked_bytes,
    shape_of,
)
from bench.engine.settings import LibraryInfo
from bench.gguf_files.info import ModelInfo
from bench.quantize.jobs import PlanResult
from bench.records.run import Run
from bench.statistics.verdicts import with_interval

_ROWS_KEY = """\
- Memory: file, KV cache, buffers of the graph and of the logits of one token, and the program
- Peak: with the pages of the file that were copied into another order for the CPU, which the system can take back
- Tight: only once other programs are closed"""


@dataclass(frozen=True)
class Advice:
    """cpu: instruction sets; engine: what the engine was built for; model: None for sizes of model in general.

    said: what follows from the machine, then from the guide or the run, a sentence each; approximate: why memory is.
    """

    cpu: tuple[str, ...]
    engine: str
    machine: MachineMemory
    window: int
    model: str | None
    run: str | None
    about: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    sizes: tuple[SizeRow, ...] = ()
    measured: tuple[Measured, ...] = ()
    said: tuple[str, ...] = ()
    approximate: tuple[str, ...] = ()

    def json(self) -> dict[str, object]:
        return asdict(self) | {"rows": [asdict(r) | {"needed": r.memory.needed} for r in self.rows]}

    def text(self) -> str:
        """Markdown."""
        parts = ["## This machine", "", *(f"- {line}" for line in self.about)]
        if self.rows:
            parts += ["", f"## Formats for {self.model}, window of {self.window} tokens", "", _rows_table(self.rows)]
            parts += ["", _ROWS_KEY, *(f"- Memory is approximate: {why}" for why in self.approximate)]
        if self.sizes:
            parts += ["", f"## Memory by size of model, window of {self.window} tokens", "", _sizes_table(self.sizes)]
            parts += ["", "In brackets: tight, only once other programs are closed; –: does not fit."]
        if self.measured:
            parts += ["", f"## Measured: {self.run}", "", _measured_table(self.measured)]
            parts += ["", "Front: no file of at most its size is shown to be closer to the reference."]
        if self.said:
            parts += ["", "## Advice", "", *(f"- {line}" for line in self.said)]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip()


def advise(
    model: ModelInfo | None = None,
    run: Run | None = None,
    *,
    library: LibraryInfo,
    window: int = 2048,
    plans: Mapping[str, PlanResult] | None = None,
    buffers: Buffers | None = None,
    cpu: tuple[str, ...] | None = None,
    machine: MachineMemory | None = None,
) -> Advice:
    """Advice for a model, for the files of a run, for both, or for sizes of model in general.

    library: the engine; plans: of the guide's recipes for the model (plan_guide); buffers: see memory_needed; cpu, machine:
    those of this machine unless told. Raises BenchError for a window that is none, and for a run of another model.
    """
    if window < 1:
        raise BenchError(f"--window {window}: a window has at least one token; give for instance 2048")
    cpu = this_cpu() if cpu is None else cpu
    machine = machine or machine_memory()
    shape = shape_of(model.path) if model else None
    if (
        model
        and run
        and (run.identity.model.n_weights, run.identity.model.n_layers) != (model.n_weights, model.n_layers)
    ):
        raise BenchError(
            f"the run is of {run.identity.model.name} and --model is {model.name}; give the model that the run measured, or leave it out"
        )
    here = Situation(cpu, library.features, machine, stored_as(model) if model else None)
    rows = format_rows(model, shape, plans or {}, window, buffers, here) if model and shape else ()
    measured = _with_memory(run, model, shape, library, window, buffers, machine) if run else ()
    return Advice(
        cpu=cpu,
        engine=library.isa,
        machine=machine,
        window=window,
        model=model.name if model else None,
        run=_run_name(run) if run else None,
        about=_about(cpu, library, machine),
        rows=rows,
        sizes=() if model or run else size_rows(window, here),
        measured=measured,
        said=(*(guide_says(model, rows, here) if model else ()), *(recommendations(run, measured) if run else ())),
        approximate=shape.notes if shape and not buffers else (),
    )


def _run_name(run: Run) -> str:
    machine = run.identity.machine
    return f"{run.identity.model.name} on {machine.cpu}, {run.identity.settings.threads} threads, {run.identity.library.isa} kernels"


def _about(cpu: tuple[str, ...], library: LibraryInfo, machine: MachineMemory) -> tuple[str, ...]:
    sets = ", ".join(cpu) if cpu else "not known: the system does not say"
    engine = f"Engine: built for {library.isa}"
    # the label names the widest set of the build; what is wider in the CPU is not used
    if cpu and library.isa.startswith("AVX2") and any(s.startswith(("AVX512", "AMX")) for s in cpu):
        engine += ", less than the CPU has; BENCH_ISA=native builds one for the CPU"
    memory = f"Memory: {size(machine.available)} available of {size(machine.total)}"
    return (f"Instruction sets: {sets}", engine, memory, *sixteen_bit(cpu, library.features))


def _with_memory(
    run: Run,
    model: ModelInfo | None,
    shape: ModelShape | None,
    library: LibraryInfo,
    window: int,
    buffers: Buffers | None,
    machine: MachineMemory,
) -> tuple[Measured, ...]:
    """The run's files, with the memory of their use where the model is known and of their measurement elsewhere."""
    needs: dict[str, Memory] = {}
    if model and shape:
        shapes = {t.name: t.shape for t in model.tensors}
        for name, file in run.files.items():
            known = shapes.keys() <= file.types.keys()
            copied = repacked_bytes(shapes, file.types, library.features) if known else 0
            needs[name] = memory_needed(shape, file.n_bytes, window=window, repacked=copied, buffers=buffers)
    return measured_files(run, needs, lambda needed: fit(needed, machine))


def _rows_table(rows: Sequence[Row]) -> str:
    head = ("Format", "Recipe", "File", "Memory", "of it KV cache", "buffers", "Peak", "Here", "Why")
    return _table(
        head,
        [
            (
                r.format,
                r.recipe,
                size(r.n_bytes),
                size(r.memory.needed),
                size(r.memory.kv_cache),
                size(r.memory.buffers),
                size(r.memory.total),
                r.fit,
                r.reason,
            )
            for r in rows
        ],
    )


def _sizes_table(rows: Sequence[SizeRow]) -> str:
    def cell(needed: int, fits: Fit) -> str:
        return {"fits": size(needed), "tight": f"({size(needed)})", "does not fit": MISSING}[fits]

    head = ("Format", "Recipe", *rows[0].needs)
    return _table(head, [(r.format, r.recipe, *(cell(*n) for n in r.needs.values())) for r in rows])


def _measured_table(rows: Sequence[Measured]) -> str:
    head = ("Recipe", "File", "Memory", "Here", "Δ PPL [95 %]", "KL [95 %]", "Window", "tg", "Front")
    return _table(
        head,
        [
            (
                r.recipe,
                size(r.n_bytes),
                (MISSING if r.memory is None else size(r.memory)) + ("" if r.memory_is_estimate else " measured"),
                r.fit or MISSING,
                with_interval(r.ppl_change, percent) if r.ppl_change else MISSING,
                with_interval(r.kl, divergence_text) if r.kl else MISSING,
                seconds(r.window_seconds) if r.window_seconds else MISSING,
                f"{r.tokens_per_second:.1f}" if r.tokens_per_second else MISSING,
                {True: "yes", False: f"no: {r.beaten_by}", None: MISSING}[r.on_front],
            )
            for r in rows
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, [":--"] * 1 + ["--:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
