"""`nox -s peers`: the same work done by llama.cpp's own tools and by this program, side by side.

The session builds the tools from the source of the llama-cpp-python in use, with the engine's instruction set.
Both do every piece of work in alternating slices of time (see side_by_side.py), process start and load included. On our
side nothing is cached but the input of the work. Ratios are ours / tools, so less than 1 is better.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.core.files import cache_directory, complete_or_absent
from bench.core.machine import this_machine
from bench.core.progress import Reporter
from bench.models.reference import Reference
from bench.peers import values
from bench.peers.measured import Measured, Round, Targets, report
from bench.peers.side_by_side import SLICE, Command, Ran, side_by_side
from bench.peers.values import Value
from bench.recipes.recipe import SUITES, find_recipe
from bench.texts import prompts
from bench.workbench.kept import Built
from bench.workbench.options import Options
from bench.workbench.work import Work

WINDOW = 2048
#: Files that both sides build: none that leaves a choice, which the tools do not make.
RECIPES = SUITES["dynamicgate-full"]


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
    #: Whether each turn is a whole command, and not a slice of time: for commands that measure time themselves.
    by_command: bool = False


def _perplexity(s: Setting, scratch: Path, model: Path, name: str) -> Comparison:
    common = ("-f", s.evaluation, "-c", WINDOW, "--chunks", s.windows)
    return Comparison(
        f"perplexity of {s.windows} windows, {name}",
        Targets(wall=1.0, memory=1.0),
        [s.tool("llama-perplexity", "-m", model, *common)],
        [s.ours("ppl", model, "--text", s.evaluation, "--windows", s.windows, "--cache", scratch / "cache", "--json")],
        lambda tools, ours: values.perplexity(tools.printed[-1], ours.printed[-1]),
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
        Targets(wall=1.0, memory=1.0, disk=0.5),
        s.divergence(models, base),
        [
            s.ours("run", "--text", s.evaluation, "--windows", s.windows, "--no-speed", "--recipes", ",".join(models),
                   "--cache", s.cache, "--out", out, "--json", watched=s.cache / "scratch"),
        ],
        lambda tools, _: values.divergence(dict(zip(models, tools.printed[1:], strict=True)), out),
    )  # fmt: skip


def importance(s: Setting, scratch: Path) -> Comparison:
    theirs, ours = scratch / "tool.gguf", scratch / "ours.gguf"
    return Comparison(
        "importance matrix of the calibration prompts",
        Targets(wall=1.05, memory=1.0),
        # -b 512: with larger batches the tool drops short remainders; --no-ppl: no logits, which ours does not compute
        [s.tool("llama-imatrix", "-m", s.reference.path, "-f", s.calibration, "-c", 512, "-b", 512, "--no-ppl",
                "-o", theirs)],
        [s.ours("imatrix", ours, "--force", "--model", s.reference.path, "--calibration", s.calibration,
                "--cache", scratch / "cache", "--json")],
        lambda _tools, _ours: values.importance(theirs, ours),
    )  # fmt: skip


def files(s: Setting, scratch: Path) -> Comparison:
    out, cache = scratch / "files", scratch / "cache"
    options = ("--model", s.reference.path, "--imatrix", s.importance, "--cache", cache, "--json", "--force")
    # every pair of tensor and type of it is in one of the ten
    further = s.ours("quantize", "DG-BARE-IQ2_XXS", scratch / "further.gguf", *options)

    def found(_tools: Ran, _ours: Ran) -> list[Value]:
        same = values.files({name: (scratch / f"{name}.gguf", out / f"{name}.gguf") for name in s.built})
        name = "a further recipe whose tensors are quantized already"
        return same + values.answers(name, further.arguments, before=lambda: shutil.rmtree(cache / "quantized"))

    return Comparison(
        f"{len(s.built)} quantized files",
        Targets(wall=0.4, memory=1.0),
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
        Targets(wall=0.5, memory=1.0),
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


#: How often each side tells a file's speed; and behind so many tokens, which both have to compute each time.
_TURNS, _TURNS_AT_DEPTH, _DEPTH = 8, 4, 2048


def speeds(s: Setting, scratch: Path) -> Comparison:
    """The speeds that llama-bench and `time` tell."""
    return _speeds(s, scratch, "tokens a second, as both tell them", _TURNS, ("-p", 512, "-n", 32))


def speeds_at_depth(s: Setting, scratch: Path) -> Comparison:
    """The same behind tokens that the context holds already."""
    name = f"tokens a second behind {_DEPTH} tokens, as both tell them"
    return _speeds(s, scratch, name, _TURNS_AT_DEPTH, ("-p", 128, "-n", 16, "-d", _DEPTH))


def _speeds(s: Setting, scratch: Path, name: str, turns: int, asked: tuple[str | int, ...]) -> Comparison:
    """No time of the commands is compared: each loads and warms up as it must."""
    models = [scratch / "F16.gguf", scratch / "IQ2_XXS.gguf"]
    for link, file in zip(models, (s.reference.path, s.built["IQ2_XXS"].path), strict=True):
        link.symlink_to(file)
    tests = (*asked, "-r", 1, "-o", "json")
    return Comparison(
        name,
        Targets(),
        [s.tool("llama-bench", "-m", model, *tests) for _ in range(turns) for model in models],
        [s.ours("time", model, *tests, "--cache", scratch / "cache") for _ in range(turns) for model in models],
        values.speeds,
        by_command=True,
    )


#: Tokens of the longer windows; the last is the context of the default model.
_LONGER = (4096, 8192)


def longer_windows(s: Setting, scratch: Path) -> Comparison:
    """Perplexity of one window of each length: the second half of the longest is behind 4096 tokens and more."""
    common = (s.reference.path, "--text", s.evaluation, "--windows", 1, "--cache", scratch / "cache", "--json")
    return Comparison(
        f"perplexity of a window of {' and of '.join(map(str, _LONGER))} tokens, F16",
        Targets(wall=1.0, memory=1.0),
        [
            s.tool("llama-perplexity", "-m", s.reference.path, "-f", s.evaluation, "-c", n, "--chunks", 1)
            for n in _LONGER
        ],
        [s.ours("ppl", *common, "--window", n) for n in _LONGER],
        lambda tools, ours: [
            value.model_copy(update={"name": f"{value.name}, window of {n}"})
            for n, theirs, mine in zip(_LONGER, tools.printed, ours.printed, strict=True)
            for value in values.perplexity(theirs, mine)
        ],
    )


#: Types of keys and values whose perplexities are held against the tool's.
_CACHES = (("q8_0", "q8_0"), ("q8_0", "q4_0"), ("q4_0", "q4_0"))


def caches(s: Setting, scratch: Path) -> Comparison:
    """Perplexities with other KV caches. No times are compared: ours also scores all with a cache in f16, twice."""
    out = scratch / "run"
    common = ("-f", s.evaluation, "-c", WINDOW, "--chunks", s.windows)
    asked = ",".join(f"{k}/{v}" for k, v in _CACHES)
    return Comparison(
        f"perplexity of {s.windows} windows with other KV caches, F16",
        Targets(),
        [s.tool("llama-perplexity", "-m", s.reference.path, *common, "-ctk", k, "-ctv", v) for k, v in _CACHES],
        [
            s.ours("run", "--text", s.evaluation, "--windows", s.windows, "--no-speed", "--recipes", "F16", "--cache-types", asked,
                   "--cache", s.cache, "--out", out, "--json"),
        ],
        lambda tools, _: values.caches(dict(zip(_CACHES, tools.printed, strict=True)), out),
        by_command=True,
    )  # fmt: skip


WORKS = {
    "perplexity": perplexity,
    "perplexity-quantized": perplexity_quantized,
    "imatrix": importance,
    "files": files,
    "divergence": divergence,
    "sweep": sweep,
    "speeds": speeds,
    "caches": caches,
    "longer-windows": longer_windows,
    "speeds-at-depth": speeds_at_depth,
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
        ran = side_by_side(*pair, slice_seconds=None if work.by_command else SLICE)
        theirs, mine = ran if turn % 2 == 0 else ran[::-1]
        found = work.values(theirs, mine)
    rounds = {"tools": (Round.of(theirs),), "ours": (Round.of(mine),)}
    return Measured(work=work.name, targets=work.targets, where=where, values=tuple(found), **rounds)


def measured_in(out: Path) -> list[Measured]:
    """The works on record in a directory, in their order."""
    return [Measured.model_validate_json(f.read_bytes()) for n in WORKS if (f := out / f"{n}.json").is_file()]


def write_report(out: Path) -> str:
    """peers.md out of the works that were measured. Returns its text."""
    text = report(measured_in(out))
    with complete_or_absent(out / "peers.md") as partial:
        partial.write_text(text, encoding="utf-8")
    return text
