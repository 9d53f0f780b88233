"""A model card for the Hugging Face hub from a run's records, with the files beside it: report, plot, recipes, matrix.

Writing a card needs no network. Every figure in it comes from the records, through the columns of the run.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.advise.by_memory import ForMemory, best_by_memory, files_with_memory, worth_their_size
from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.core.formats import MISSING, divergence_text, no_markup, percent, perplexity_text, size
from bench.gguf_files.details import ModelDetails
from bench.gguf_files.info import ModelInfo
from bench.measures.registry import all_measures
from bench.measures.sections import FileColumn
from bench.measures.windows import statistics as stats
from bench.measures.windows.runs import windows_of
from bench.models.compared import FAMILY as COMPARED
from bench.present.card_metadata import base_model_of, card_data, languages, repository, trained_from
from bench.present.card_prompt import prompt_format
from bench.present.card_recipes import SCRIPT, commands, recipe_files, reference_name
from bench.present.files import file_columns
from bench.present.hub_names import file_names, model_label, sharing
from bench.present.pages.repeat import command
from bench.present.plots import plot_titles
from bench.recipes.words import Layers
from bench.records.describe import about, reference_caveat
from bench.records.resolution import resolution
from bench.records.run import FILE_NAME, Run
from bench.statistics.verdicts import with_interval
from bench.texts.chat import template_for

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

CARD, REPORT = "README.md", "report.html"
#: Bytes that a card may have. What does not fit is in the report beside it.
MOST = 12_000
_TEMPLATE = Path(__file__).parent / "templates" / "card.md.jinja"
#: Tokens of the context that memory is told for and commands ask for, where the model's own is not shorter.
_CONTEXT = 4096
#: Characters that a figure without an interval has at most.
_SHORT = 12


@dataclass(frozen=True)
class Given:
    """What is told of a card beside the run's records, and goes before them.

    model: the run's reference; base_model, repo: owner/name; repo: that the card is for, whose owner is the one who quantized
    unless told; matrix: file of the run's importance matrix.
    """

    model: ModelInfo | None = None
    base_model: str | None = None
    license: str | None = None
    languages: tuple[str, ...] = ()
    quantized_by: str | None = None
    repo: str | None = None
    matrix: Path | None = None


@dataclass(frozen=True)
class Written:
    """beside: paths of what belongs to the card, relative to its directory; base_model: owner/name, None where nothing told
    it; lacks: what nothing told, with its remedy."""

    path: Path
    beside: tuple[str, ...]
    base_model: str | None
    lacks: tuple[str, ...]

    @property
    def parts(self) -> list[str]:
        """What lies beside the card, a folder for all that is in it."""
        return list(dict.fromkeys(f"{name.partition('/')[0]}/" if "/" in name else name for name in self.beside))


def write_card(run: Run, directory: Path, out: Path, given: Given) -> Written:
    """Write the card and what belongs to it into `out`. directory: of the run.

    Raises BenchError when names are malformed, the model is not that of the run, or there is nothing to describe.
    """
    from huggingface_hub import ModelCard

    if not file_names(run):
        raise BenchError(f"{directory}: has no quantized file on record, so there is nothing to describe; run it first")
    measured = [name for name in file_names(run) if windows_of(run).results(name)]
    if not measured:
        raise BenchError(
            f"{directory}: none of its files has all its windows measured, so a card would say nothing; finish the run with the same command"
        )
    details = _details(run, given)
    base_model = (
        repository(given.base_model, "--base-model")
        if given.base_model
        else base_model_of(details, run.identity.model.name)
    )
    owner = repository(given.repo, "--repo").partition("/")[0] if given.repo else None
    chosen = _chosen(run, details)
    data = card_data(run, details, base_model, given.quantized_by or owner, {c.file.recipe for c in chosen})
    matrix = f"{model_label(run)}-imatrix{given.matrix.suffix}" if given.matrix else None
    plots = _copy_outputs(run, directory, out)
    recipes = recipe_files(run, matrix)
    for name, text in recipes.items():
        with complete_or_absent(out / name) as partial:
            partial.write_text(text, encoding="utf-8")
    if given.matrix and matrix:
        with complete_or_absent(out / matrix) as partial:
            shutil.copyfile(given.matrix, partial)
    variables = _variables(run, data, details, chosen, given, matrix) | {"plots": plots}
    text = _fitting(run, data, chosen, variables)
    path = out / CARD
    with complete_or_absent(path) as partial:
        partial.write_text(text, encoding="utf-8")
    if ModelCard.load(path).data.to_dict() != data.to_dict():  # type: ignore[no-untyped-call]
        raise BenchError(f"{path}: its metadata read back are not what was written; report this with the run's records")
    beside = (REPORT, *(p for _, p in plots), *recipes, *([matrix] if matrix else []))
    return Written(path, beside, base_model, tuple(_lacking(run, given, details, base_model, matrix)))


def _details(run: Run, given: Given) -> ModelDetails:
    """What the record tells of the model, below that what is given. The model that is given must be the run's."""
    reference = run.files.get(run.reference or "")
    found = (reference.details if reference else None) or ModelDetails()
    if given.model is not None:
        model, ours = given.model, run.identity.model
        if (model.architecture, model.n_layers) != (ours.architecture, ours.n_layers):
            raise BenchError(
                f"{model.path}: is a {model.architecture} of {model.n_layers} layers and the run's model a "
                f"{ours.architecture} of {ours.n_layers}; give the model of the run"
            )
        told = {key: value for key, value in model.details if value}
        found = found.model_copy(update=told)
    if given.license:
        found = found.model_copy(update={"license": given.license, "license_name": None, "license_link": None})
    return found.model_copy(update={"languages": given.languages}) if given.languages else found


def _is_untold(run: Run, given: Given) -> bool:
    """Whether no header was read: nobody knows then whether the model has a chat template."""
    reference = run.files.get(run.reference or "")
    return given.model is None and (reference is None or reference.details is None)


def _lacking(run: Run, given: Given, details: ModelDetails, base_model: str | None, matrix: str | None) -> list[str]:
    """What the card does not say since nothing told it, and how to give it."""
    unfinished = [name for name in file_names(run) if not windows_of(run).results(name)]
    lacks = [f"figures of {', '.join(unfinished)}: finish the run with the same command"] if unfinished else []
    if base_model is None:
        parents = f" (it was trained from {', '.join(found)})" if (found := trained_from(details)) else ""
        lacks.append(f"the model of the hub that the files were made from{parents}: give --base-model OWNER/NAME")
    if not details.license:
        lacks.append("the licence: give --license, for instance --license apache-2.0")
    if not languages(details.languages):
        lacks.append("the languages: give --language, for instance --language en,de")
    if _is_untold(run, given):
        lacks.append("the prompt format, which this run did not record: give --model with the run's reference")
    if run.identity.importance and matrix is None:
        lacks.append("the importance matrix as a file, which is not in the cache: give --imatrix FILE")
    return lacks


def _chosen(run: Run, details: ModelDetails) -> tuple[ForMemory, ...]:
    """The published files to take, by memory."""
    names = file_names(run)
    return best_by_memory(run, [f for f in files_with_memory(run, _context(run, details)) if f.recipe in names])


def _context(run: Run, details: ModelDetails) -> int:
    return min(_CONTEXT, details.context) if details.context else run.identity.settings.window


def _copy_outputs(run: Run, directory: Path, out: Path) -> list[tuple[str, str]]:
    """The run's report and first plot, made anew where those in its directory are older than its records; returns the title
    and path of the plot, if the run has one."""
    from bench.present.pages.report import write_report

    made = (directory / REPORT, directory / "tables" / "tables.md")  # each the last that is written of its kind
    with tempfile.TemporaryDirectory() as scratch:
        source = directory
        recorded = (directory / FILE_NAME).stat().st_mtime if (directory / FILE_NAME).is_file() else float("inf")
        if not all(m.is_file() and m.stat().st_mtime >= recorded for m in made):
            source = Path(scratch)
            write_report(run, source)
        write_report(run, source, out=out / REPORT)  # which links no files of the run: they do not lie beside the card
        for name, title in plot_titles().items():
            plot = source / "plots" / f"{name}.png"
            if plot.is_symlink() or plot.parent.is_symlink():
                raise BenchError(
                    f"{plot}: is reached by a link, and a card copies none; remove it, and write the card again"
                )
            if plot.is_file():
                with complete_or_absent(out / "plots" / plot.name) as partial:
                    shutil.copyfile(plot, partial)
                return [(title, f"plots/{plot.name}")]
    return []


def _variables(
    run: Run,
    data: ModelCardData,
    details: ModelDetails,
    chosen: Sequence[ForMemory],
    given: Given,
    matrix: str | None,
) -> dict[str, object]:
    """What the template fills in, but for the files that are listed."""
    i, names = run.identity, file_names(run)
    best = chosen[-1].file.recipe if chosen else next(iter(names))
    # the commands for a chat also do for a model without a template
    chat = details.chat_template is not None or _is_untold(run, given)
    form = template_for(details.chat_template, i.model.architecture)
    made = commands(run, matrix)
    families: dict[str, tuple[str, str]] = {}
    for recipe in (best, *names):  # the one whose types are listed speaks for its family
        if not run.files[recipe].family.startswith("Standard"):
            families.setdefault(
                no_markup(run.files[recipe].family),
                (_label_of(run, names[recipe]), no_markup(run.files[recipe].description)),
            )
    return {
        "model": no_markup(i.model.name),
        "tag": model_label(run).lower(),
        "base_model": data.base_model,
        "quantized_by": data.get("quantized_by"),
        "caveat": reference_caveat(run),
        "chosen": [
            (f"{c.memory / 1e9:g} GB", _link(run, names[c.file.recipe]), size(c.needs), _quality(c)) for c in chosen
        ],
        "memory_is_measured": any(not c.file.memory_is_estimate for c in chosen),
        "context": _context(run, details),
        "window": i.settings.window,
        "n_files": len(names),
        "intervals": any((e := c.file.kl or c.file.ppl_change) and e.has_interval for c in chosen),
        "damaged": _damage(chosen),
        "reference_ppl": perplexity_text(stats.perplexity(own).ppl.value)
        if (own := windows_of(run).results(run.reference))
        else "",
        "renamed": next(((label, r) for r in names if (label := _label_of(run, names[r])) != r), None),
        "unjudged": bool(resolution(run).beyond.intersection(names)),
        "sharing": sharing(run),
        "repo": given.repo,
        "best": names[best],
        "chat": chat,
        "template": form,
        "template_is_inside": details.chat_template is not None,
        "format": prompt_format(details.model_copy(update={"chat_template": form})),
        "prompt": "Why is the sky blue?" if chat else "The sky is blue because",
        "infill": "infill" in {a for m in all_measures() for a in m.abilities(run)},
        "matrix": matrix,
        "importance": i.importance,
        "reference": (reference_name(run), i.model.sha256),
        "commands": [made[r] for r in dict.fromkeys([*(c.file.recipe for c in chosen), best])],
        "words": Layers.of(run.files[best].types).words(),
        "families": families,
        "script": SCRIPT,
        "repeat": command(run),
        "report": REPORT,
        "facts": [no_markup(line) for line in about(run) if not line.startswith("Model:")],
        "verdicts": [v for m in all_measures() for v in m.verdicts(run)][:3],
        "compared": any(f.family == COMPARED for f in run.files.values()),
    }


def _quality(chosen: ForMemory) -> str:
    """Distance from the reference, with its interval."""
    if chosen.file.kl:
        return f"KL {with_interval(chosen.file.kl, divergence_text)}"
    assert chosen.file.ppl_change is not None  # files that were not compared are not chosen
    return f"perplexity {with_interval(chosen.file.ppl_change, percent)}"


#: A file with this much more perplexity than the reference often answers otherwise.
_DAMAGED = 0.10


def _damage(chosen: Sequence[ForMemory]) -> str:
    """How much more perplexity the best of the chosen files has, where it is much; else nothing."""
    change = chosen[-1].file.ppl_change if chosen else None
    return percent(change.value) if change and change.value > _DAMAGED else ""


def _label_of(run: Run, name: str) -> str:
    """What tells a file from the others of the repository."""
    return name.removeprefix(f"{model_label(run)}-").removesuffix(".gguf")


def _link(run: Run, name: str) -> str:
    return f"[{_label_of(run, name)}]({name})"


def _fitting(run: Run, data: ModelCardData, chosen: Sequence[ForMemory], variables: Mapping[str, object]) -> str:
    """The card with all files listed, or with those that are worth their size, or with as many of these as fit in MOST: the
    smallest go first, and those that are recommended stay."""
    names = file_names(run)
    context = variables["context"]
    assert isinstance(context, int)
    worth = set(worth_their_size(run, [f for f in files_with_memory(run, context) if f.recipe in names]))
    best = [n for n in names if n in worth]
    going = [n for n in best if n not in {c.file.recipe for c in chosen}]
    text = ""
    for dropped in range(-1, len(going) + 1):
        shown = list(names) if dropped < 0 else [n for n in best if n not in going[:dropped]]
        table, key = _files_table(run, shown)
        filled = {
            **variables,
            "files_table": table,
            "files_key": key,
            "unlisted": len(names) - len(shown),
            "all_worth": dropped == 0,
        }
        text = f"---\n{data.to_yaml()}\n---\n\n{_render(filled)}"
        if len(text.encode()) <= MOST:
            break
    return text


def _files_table(run: Run, shown: Collection[str]) -> tuple[str, list[str]]:
    """Files with the figures that one chooses by, smallest first, and what these are. Not padded: cards are short of room."""
    names = file_names(run)
    columns = [c for c in file_columns(run) if (c.card or c.title == "Size") and _has_figures(c, shown)]
    columns.sort(key=lambda c: _width(c, shown))  # a phone shows the first ones only
    rows = [
        ["File", *(c.title for c in columns)],
        [":--", *("--:" for _ in columns)],
        *([_link(run, names[n]), *(c.cells.get(n, MISSING) for c in columns)] for n in shown),
    ]
    told = resolution(run).key(shown).removeprefix("- ")
    key = ["; ".join(c.card for c in columns if c.card), *([told] if told else [])]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows), key


def _has_figures(column: FileColumn, shown: Collection[str]) -> bool:
    return any(not column.cells.get(n, MISSING).startswith(MISSING) for n in shown)  # a mark may follow


def _width(column: FileColumn, shown: Collection[str]) -> int:
    """Characters of a column with intervals; 0 for one without, since these need no order."""
    longest = max((len(column.cells.get(n, MISSING)) for n in shown), default=0)
    return longest if longest > _SHORT else 0


def _render(variables: Mapping[str, object]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(variables)
