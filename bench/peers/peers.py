"""`nox -s peers`: the same work done by llama.cpp's own tools and by this program, side by side.

The session builds the tools from the source of the very llama-cpp-python in use, with the engine's instruction set.
Every work is done by both in alternating slices of time (see side_by_side.py), process start and load included and
nothing cached on our side but what the work starts from. Ratios are ours / tools, so less than 1 is better.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import pandas as pd
import typer
from pydantic import BaseModel, ConfigDict

from bench.core.errors import BenchError, nearest
from bench.core.files import cache_directory, complete_or_absent
from bench.core.formats import markdown
from bench.core.machine import this_machine
from bench.core.progress import Reporter
from bench.models.reference import Reference
from bench.peers import values
from bench.peers.side_by_side import Command, Ran, side_by_side
from bench.peers.values import Value
from bench.recipes.recipe import SUITES, find_recipe
from bench.texts import prompts
from bench.workbench.kept import Built
from bench.workbench.options import Options
from bench.workbench.work import Work

WINDOW = 2048
#: Files that both sides build: none that leaves a choice, which the tools do not make.
RECIPES = SUITES["dynamicgate-full"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Targets(_Frozen):
    """Largest ratios of ours to the tools' that are aimed for; None where nothing was set."""

    wall: float
    memory: float | None = None
    disk: float | None = None


class Round(_Frozen):
    """One side of one round: wall seconds, bytes of the largest process and of the watched files."""

    seconds: float
    alone: float
    peak_bytes: int
    disk_bytes: int

    @classmethod
    def of(cls, ran: Ran) -> Round:
        return cls(seconds=ran.seconds, alone=ran.alone, peak_bytes=ran.peak_bytes, disk_bytes=ran.disk_bytes)


class Measured(_Frozen):
    """A work done by both, round by round, with what it was measured on."""

    work: str
    targets: Targets
    where: str
    tools: tuple[Round, ...]
    ours: tuple[Round, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Setting:
    """What all works share."""

    tools: Path
    reference: Reference
    importance: Path
    built: dict[str, Built]
    evaluation: Path
    calibration: Path
    cache: Path
    threads: int
    windows: int

    def tool(self, name: str, *arguments: str | Path | int, watched: Path | None = None) -> Command:
        return Command([self.tools / name, *map(str, arguments), "-t", str(self.threads)], watched)

    def quantize(self, recipe: str, importance: Path, scratch: Path) -> Command:
        """llama-quantize with the types of the recipe's file; a standard one is left to the tool's own mix."""
        found, target = find_recipe(recipe), scratch / f"{recipe}.gguf"
        pins: list[str | Path] = []
        if found.rules:
            table = scratch / f"{recipe}.types"
            stored = {t.name: t.type for t in self.reference.info.tensors}
            types = self.built[recipe].result.types
            lines = [f"^{re.escape(n)}$={t.lower()}" for n, t in types.items() if t != stored[n]]
            table.write_text("\n".join(lines) + "\n", encoding="utf-8")
            pins = ["--tensor-type-file", table]
        arguments = ["--imatrix", importance, *pins, self.reference.path, target, found.base, self.threads]
        return Command([self.tools / "llama-quantize", *map(str, arguments)])

    def divergence(self, models: dict[str, Path], base: Path) -> list[Command]:
        """llama-perplexity: the reference's log-probabilities into a file, then every model against it."""
        shared = ("-f", self.evaluation, "-c", WINDOW, "--chunks", self.windows, "--kl-divergence-base", base)
        write = self.tool("llama-perplexity", "-m", self.reference.path, *shared, watched=base)
        compare = [
            self.tool("llama-perplexity", "-m", m, *shared[2:], "--kl-divergence", watched=base)
            for m in models.values()
        ]
        return [write, *compare]

    def ours(self, *arguments: str | Path | int, watched: Path | None = None) -> Command:
        command = [sys.executable, "-m", "bench", *map(str, arguments), "--threads", str(self.threads)]
        return Command(command, watched)


@dataclass(frozen=True)
class Comparison:
    """Something both can do. values: what both found, from what they printed and wrote."""

    name: str
    targets: Targets
    tools: list[Command]
    ours: list[Command]
    values: Callable[[Ran, Ran], list[Value]]


def _perplexity(s: Setting, scratch: Path, model: Path, name: str) -> Comparison:
    common = ("-f", s.evaluation, "-c", WINDOW, "--chunks", s.windows)
    return Comparison(
        f"perplexity of {s.windows} windows, {name}",
        Targets(wall=1.0, memory=1.1),
        [s.tool("llama-perplexity", "-m", model, *common)],
        [s.ours("ppl", model, "--text", s.evaluation, "--windows", s.windows, "--cache", scratch / "cache", "--json")],
        values.perplexity,
    )


def perplexity(s: Setting, scratch: Path) -> Comparison:
    return _perplexity(s, scratch, s.reference.path, "F16")


def perplexity_quantized(s: Setting, scratch: Path) -> Comparison:
    return _perplexity(s, scratch, s.built["IQ2_XXS"].path, "IQ2_XXS")


def divergence(s: Setting, scratch: Path) -> Comparison:
    out, base = scratch / "run", scratch / "base.kld"
    models = {name: b.path for name, b in s.built.items()}
    return Comparison(
        f"reference and KL statistics of {len(models)} recipes, {s.windows} windows",
        Targets(wall=0.95, disk=0.5),
        s.divergence(models, base),
        [
            s.ours("run", "--text", s.evaluation, "--windows", s.windows, "--generate", 0, "--recipes", ",".join(models),
                   "--cache", s.cache, "--out", out, "--json", watched=s.cache / "scratch"),
        ],
        lambda tools, _: (
            values.outside_decode(out) + values.divergence(dict(zip(models, tools.printed[1:], strict=True)), out)
        ),
    )  # fmt: skip


def importance(s: Setting, scratch: Path) -> Comparison:
    theirs, ours = scratch / "tool.gguf", scratch / "ours.gguf"
    return Comparison(
        "importance matrix of the calibration prompts",
        Targets(wall=1.05),
        # -b 512: with larger batches the tool drops short remainders; --no-ppl: no logits, which ours does not compute
        [s.tool("llama-imatrix", "-m", s.reference.path, "-f", s.calibration, "-c", 512, "-b", 512, "--no-ppl",
                "-o", theirs)],
        [s.ours("imatrix", ours, "--model", s.reference.path, "--calibration", s.calibration,
                "--cache", scratch / "cache", "--json")],
        lambda _tools, _ours: values.importance(theirs, ours),
    )  # fmt: skip


def files(s: Setting, scratch: Path) -> Comparison:
    out, cache = scratch / "files", scratch / "cache"
    options = ("--model", s.reference.path, "--imatrix", s.importance, "--cache", cache, "--json")
    # every pair of tensor and type of it is in one of the ten
    further = s.ours("quantize", "DG-BARE-IQ2_XXS", scratch / "further.gguf", *options)

    def found(_tools: Ran, _ours: Ran) -> list[Value]:
        same = values.files({name: (scratch / f"{name}.gguf", out / f"{name}.gguf") for name in s.built})
        name = "a further recipe whose tensors are quantized already"
        return same + values.answers(name, further.arguments, before=lambda: shutil.rmtree(cache / "quantized"))

    return Comparison(
        f"{len(s.built)} quantized files",
        Targets(wall=0.6),
        [s.quantize(name, s.importance, scratch) for name in s.built],
        [s.ours("quantize", ",".join(s.built), out, *options)],
        found,
    )  # fmt: skip


def sweep(s: Setting, scratch: Path) -> Comparison:
    matrix, out = scratch / "imatrix.gguf", scratch / "run"
    models = {name: scratch / f"{name}.gguf" for name in s.built}
    everything = [s.reference.path, *models.values()]
    ours = s.ours("run", "--model", s.reference.path, "--windows", s.windows, "--recipes", ",".join(models),
                  "--cache", scratch / "cache", "--out", out, "--json", watched=scratch / "cache" / "scratch")  # fmt: skip
    return Comparison(
        f"the whole sweep with {s.windows} windows",
        Targets(wall=0.7),
        [
            s.tool("llama-imatrix", "-m", s.reference.path, "-f", s.calibration, "-c", 512, "-b", 512, "-o", matrix),
            *(s.quantize(name, matrix, scratch) for name in models),
            *s.divergence(models, scratch / "base.kld"),
            *(s.tool("llama-bench", "-m", m, "-p", WINDOW, "-n", 32, "-r", s.windows) for m in everything),
        ],
        [ours],
        lambda tools, _: (
            values.answers("the finished sweep again", ours.arguments)
            + values.answers("--help", [*ours.arguments[:3], "--help"])
            + values.outside_decode(out)
            + values.divergence(
                dict(zip(models, tools.printed[2 + len(models) : 2 + 2 * len(models)], strict=True)), out
            )
        ),
    )


WORKS = {
    "perplexity": perplexity,
    "perplexity-quantized": perplexity_quantized,
    "imatrix": importance,
    "files": files,
    "divergence": divergence,
    "sweep": sweep,
}


def prepare(tools: Path, windows: int, scratch: Path, reporter: Reporter) -> tuple[Setting, str]:
    """Reference, importance matrix and the ten files, which the works start from; and what it is measured on."""
    work = Work(Options(cache=cache_directory(None)), reporter)
    threads, library, source, matrix = work.threads, work.library, work.reference, work.importance
    assert matrix is not None
    built = {}
    with reporter.steps("Quantizing", len(RECIPES)) as steps:
        for name in RECIPES:
            steps.name(name)
            built[name] = work.quantized(find_recipe(name), steps.share)
            steps.done()
    texts = {part: scratch / f"{part}.txt" for part in (prompts.EVALUATION, prompts.CALIBRATION)}
    for part, path in texts.items():
        path.write_text(prompts.fixed_set(part).text, encoding="utf-8")
    where = (
        f"{source.info.name}, {this_machine()}, {threads} threads, {library.isa}, llama-cpp-python {library.binding}"
    )
    setting = Setting(tools, source, matrix.path, built, texts[prompts.EVALUATION], texts[prompts.CALIBRATION], work.options.cache, threads, windows)  # fmt: skip
    return setting, where


def one_round(name: str, setting: Setting, where: str, turn: int) -> Measured:
    """Do a work once on both sides; who goes first changes from turn to turn."""
    with tempfile.TemporaryDirectory(dir=setting.cache, prefix=".peers-") as directory:
        work = WORKS[name](setting, Path(directory))
        pair = (work.tools, work.ours) if turn % 2 == 0 else (work.ours, work.tools)
        ran = side_by_side(*pair)
        theirs, mine = ran if turn % 2 == 0 else ran[::-1]
        found = work.values(theirs, mine)
    rounds = {"tools": (Round.of(theirs),), "ours": (Round.of(mine),)}
    return Measured(work=work.name, targets=work.targets, where=where, values=tuple(found), **rounds)


def together(before: Measured | None, new: Measured) -> Measured:
    """The rounds of both, with the newer values.

    Raises: BenchError if they are not of the same work, machine and versions.
    """
    if before is None:
        return new
    for field in ("work", "where"):
        if (old := getattr(before, field)) != (now := getattr(new, field)):
            raise BenchError(f"--add: the rounds before are of another {field}: {old}; now: {now}; measure them anew")
    return new.model_copy(update={"tools": before.tools + new.tools, "ours": before.ours + new.ours})


def _ratios(m: Measured, of: Callable[[Round], float]) -> list[float]:
    return [of(o) / of(t) for t, o in zip(m.tools, m.ours, strict=True) if of(t) and of(o)]


def _row(m: Measured) -> dict[str, str]:
    figures = {
        "wall": (_ratios(m, lambda r: r.seconds), m.targets.wall),
        "memory": (_ratios(m, lambda r: r.peak_bytes), m.targets.memory),
        "disk": (_ratios(m, lambda r: r.disk_bytes), m.targets.disk),
    }
    row = {
        "Work": m.work,
        "Rounds": str(len(m.ours)),
        "Tools": f"{median(r.seconds for r in m.tools):.1f} s, {median(r.peak_bytes for r in m.tools) / 1e6:.0f} MB",
        "Ours": f"{median(r.seconds for r in m.ours):.1f} s, {median(r.peak_bytes for r in m.ours) / 1e6:.0f} MB",
    }
    verdicts = []
    for name, (ratios, target) in figures.items():
        spread = f" [{min(ratios):.2f}, {max(ratios):.2f}]" if len(ratios) > 1 else ""
        aim = "" if target is None else f" (≤ {target:g})"
        row[f"{name.capitalize()} ratio"] = f"{median(ratios):.2f}{spread}{aim}" if ratios else "–"
        if target is not None:
            verdicts.append((name, bool(ratios) and median(ratios) <= target))
    missed = [name for name, met in verdicts if not met]
    row["Target"] = f"missed: {', '.join(missed)}" if missed else "met"
    return row


def overview(measured: list[Measured]) -> str:
    """Where it was measured, and a row for every work."""
    where = (f"- {where}" for where in dict.fromkeys(m.where for m in measured))
    return "\n\n".join([*where, markdown(pd.DataFrame([_row(m) for m in measured]))])


def report(measured: list[Measured]) -> str:
    lines = [
        "# Side by side with llama.cpp's tools",
        "Made by `nox -s peers`. The same work by both in alternating slices of time, of which only a side's own count; process "
        "start and load included, nothing cached on our side. Memory is that of the largest process. Ratios are ours / tools: "
        "median [smallest, largest] over rounds, with the target in parentheses.",
        overview(measured),
    ]
    for m in measured:
        if m.values:
            lines += [f"## {m.work}", markdown(pd.DataFrame([v.row() for v in m.values]))]
    return "\n\n".join(lines) + "\n"


def measured_in(out: Path) -> list[Measured]:
    """The works on record in a directory, in their order."""
    return [Measured.model_validate_json(f.read_bytes()) for n in WORKS if (f := out / f"{n}.json").is_file()]


def write_report(out: Path) -> str:
    """peers.md out of the works that were measured. Returns its text."""
    text = report(measured_in(out))
    with complete_or_absent(out / "peers.md") as partial:
        partial.write_text(text, encoding="utf-8")
    return text


def app(
    tools: Annotated[Path, typer.Argument(help="Directory of llama-perplexity and its kin.")],
    only: Annotated[str, typer.Option("--only", help="Works, separated by commas.")] = ",".join(WORKS),
    out: Annotated[Path, typer.Option("--out", help="Where to write.")] = Path("results/peers"),
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each work is done by both.")] = 3,
    windows: Annotated[int, typer.Option("--windows", min=1, help="Windows of 2048 tokens to score.")] = 8,
    add: Annotated[bool, typer.Option("--add", help="Add rounds to those that were written before.")] = False,
) -> None:
    """Do the same work with llama.cpp's tools and with this program, side by side, and write values and ratios.

    A work that is done again replaces what was written of it, unless --add is given; the others stay.
    """
    reporter, chosen = Reporter(), [name.strip() for name in only.split(",")]
    for name in chosen:
        if name not in WORKS:
            raise BenchError(f"--only {name}: no work is called that{nearest(name, list(WORKS))}")
    for name in chosen:
        file = out / f"{name}.json"
        done = Measured.model_validate_json(file.read_bytes()) if add and file.is_file() else None
        with tempfile.TemporaryDirectory() as scratch:
            setting, where = prepare(tools, windows, Path(scratch), reporter)
            with reporter.steps(name, rounds) as steps:
                for _ in range(rounds):
                    done = together(done, one_round(name, setting, where, len(done.ours) if done else 0))
                    with complete_or_absent(file) as partial:  # after every round: hours of work may end in between
                        partial.write_text(done.model_dump_json(indent=1), encoding="utf-8")
                    steps.done()
        text = write_report(out)
        assert done is not None
        print(f"{name}: {_row(done)}")
    print(f"\n{text}")


def main() -> None:
    try:
        typer.run(app)
    except BenchError as e:
        raise SystemExit(f"error: {e}") from e


if __name__ == "__main__":
    main()
