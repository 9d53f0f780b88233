"""A model card for the Hugging Face hub out of a run's records.

Writing a card asks nothing of the network. Every figure in it comes from the records, through the tables of the run.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.core.formats import MISSING, markdown
from bench.gguf_files.header import read_header
from bench.gguf_files.info import ModelInfo
from bench.measures.registry import all_measures
from bench.measures.sections import FileColumn
from bench.present.files import file_columns
from bench.present.hub_names import file_names, sharing
from bench.present.plots import plot_titles
from bench.recipes.labels import plain
from bench.records.run import FILE_NAME, Run

if TYPE_CHECKING:
    import pandas as pd
    from huggingface_hub import EvalResult, ModelCardData

CARD = "README.md"
_TEMPLATE = Path(__file__).parent / "templates" / "card.md.jinja"
_INTERVALS = "In brackets: 95 % intervals from resampling the windows"
_NAME = r"[\w.-]+"


@dataclass(frozen=True)
class Plot:
    """path: beside the card."""

    title: str
    path: str


def write_card(
    run: Run,
    directory: Path,
    out: Path,
    *,
    model: ModelInfo | None,
    base_model: str | None,
    quantized_by: str | None,
    license: str | None,
    repo: str | None,
) -> Path:
    """Write the card and the plots that it shows into `out`; returns the card's path.

    directory: of the run. model: the run's reference, whose header tells license and base model where they are not given.
    repo: owner/name that the card is for, whose owner is the one who quantized unless told. Raises BenchError when no base model is known, names are malformed, or the model is not that of the run.
    """
    from huggingface_hub import ModelCard

    if not file_names(run):
        raise BenchError(f"{directory}: has no quantized file on record, so there is nothing to describe; run it first")
    metadata = _header(run, model)
    base_model = repository(base_model, "--base-model") if base_model else base_model_of(metadata)
    if base_model is None:
        raise BenchError(
            f"{model.path if model else directory}: does not tell which model of the hub it was made from; "
            "name it with --base-model owner/name"
        )
    if repo:
        quantized_by = quantized_by or repository(repo, "--upload").partition("/")[0]
    data = _card_data(run, base_model, quantized_by, _license(metadata, license))
    plots = _copy_plots(run, directory, out)
    body = _render(_variables(run, data, plots, repo, metadata))
    path = out / CARD
    with complete_or_absent(path) as partial:
        partial.write_text(f"---\n{data.to_yaml()}\n---\n\n{body}", encoding="utf-8")
    if ModelCard.load(path).data.to_dict() != data.to_dict():  # type: ignore[no-untyped-call]
        raise BenchError(f"{path}: its metadata read back are not what was written; report this with the run's records")
    return path


def _header(run: Run, model: ModelInfo | None) -> dict[str, object]:
    """Metadata of the model, which must be the run's or what it was widened from."""
    if model is None:
        return {}
    ours = run.identity.model
    if (model.architecture, model.n_layers) != (ours.architecture, ours.n_layers):
        raise BenchError(
            f"{model.path}: is a {model.architecture} of {model.n_layers} layers and the run's model a {ours.architecture} "
            f"of {ours.n_layers}; give the model of the run"
        )
    return read_header(model.path).metadata


def base_model_of(metadata: Mapping[str, object]) -> str | None:
    """owner/name of the model that a GGUF file was converted from, as its header tells it.

    What it was converted from goes before what that was trained from, which general.base_model states. Of several of the
    latter none is taken: which one it is cannot be told.
    """
    for key in (
        "general.source.huggingface.repository",
        "general.source.repo_url",
        "general.source.url",
        "general.repo_url",
    ):
        if found := _on_the_hub(metadata.get(key)):
            return found
    if metadata.get("general.base_model.count", 1) != 1:
        return None
    return _on_the_hub(metadata.get("general.base_model.0.repo_url")) or _on_the_hub(
        metadata.get("general.base_model.0.url")
    )


def _on_the_hub(address: object) -> str | None:
    """owner/name out of an address on the hub, or of itself; None for another address."""
    from huggingface_hub.constants import HF_URL_HOSTS

    parts = urlsplit(str(address or ""))
    if parts.scheme and parts.hostname not in HF_URL_HOSTS:
        return None
    found = re.match(rf"/?({_NAME}/{_NAME})(/|$)", parts.path)
    return found[1] if found else None


def repository(name: str, option: str) -> str:
    if not re.fullmatch(rf"{_NAME}/{_NAME}", name):
        raise BenchError(f"{option} {name}: is no repository of the hub; write it as owner/name")
    return name


def _license(metadata: Mapping[str, object], given: str | None) -> dict[str, str]:
    """The card's keys for the license. The hub's identifiers are in small letters, those of SPDX are not."""
    if given:
        return {"license": given.lower()}
    keys = {
        "license": "general.license",
        "license_name": "general.license.name",
        "license_link": "general.license.link",
    }
    found = {ours: str(metadata[key]) for ours, key in keys.items() if metadata.get(key)}
    if "license" not in found:
        return {}
    found["license"] = found["license"].lower()
    return found if found["license"] == "other" else {"license": found["license"]}


def _card_data(run: Run, base_model: str, quantized_by: str | None, license: dict[str, str]) -> ModelCardData:
    from huggingface_hub import ModelCardData

    families = {run.files[recipe].family for recipe in file_names(run)}
    tags = ["gguf", "llama.cpp", "quantized"]
    tags += ["imatrix"] if run.identity.importance else []
    tags += ["dynamicgate"] if any(f.startswith("DynamicGate") for f in families) else []
    more: dict[str, Any] = {"base_model_relation": "quantized", **license}
    more |= {"quantized_by": quantized_by} if quantized_by else {}
    return ModelCardData(
        base_model=base_model,
        pipeline_tag="text-generation",
        tags=tags,
        model_name=run.identity.model.name,
        eval_results=_evaluations(run) or None,
        **more,
    )


def _evaluations(run: Run) -> list[EvalResult]:
    """What measures tell of every published file, to llama-perplexity's four decimals."""
    from huggingface_hub import EvalResult

    text, found = run.identity.prompts, []
    for measure in all_measures():
        told = measure.evaluations(run)
        for recipe, name in file_names(run).items():
            if recipe in told and math.isfinite(told[recipe].value):
                found.append(
                    EvalResult(
                        task_type="text-generation",
                        dataset_type=plain(text.name).lower(),
                        dataset_name=text.name,
                        dataset_args={
                            "sha256": text.sha256,
                            "windows": run.identity.windows,
                            "window": run.identity.settings.window,
                        },
                        metric_type=told[recipe].metric,
                        metric_name=f"{told[recipe].name} of {name}",
                        metric_value=round(told[recipe].value, 4),
                    )
                )
    return found


def _copy_plots(run: Run, directory: Path, out: Path) -> list[Plot]:
    """The run's plots as PNG, drawn anew where those beside its records are older than these."""
    drawn = directory / "tables" / "tables.md"  # the last that is written of a run's outputs
    shown = []
    with tempfile.TemporaryDirectory() as scratch:
        source = directory / "plots"
        if not (drawn.is_file() and drawn.stat().st_mtime >= (directory / FILE_NAME).stat().st_mtime):
            from bench.present.plots import write_plots

            source = Path(scratch)
            write_plots(run, source)
        for name, title in plot_titles().items():
            if (plot := source / f"{name}.png").is_file():
                with complete_or_absent(out / "plots" / plot.name) as partial:
                    shutil.copyfile(plot, partial)
                shown.append(Plot(title, f"plots/{plot.name}"))
    return shown


def _variables(
    run: Run, data: ModelCardData, plots: list[Plot], repo: str | None, metadata: Mapping[str, object]
) -> dict[str, object]:
    """What the template fills in."""
    from bench.advise.guide import guide_table
    from bench.present.output import summarize

    names, summary = file_names(run), summarize(run)
    scored = {recipe: score for recipe, score in _scores(run).items() if recipe in names}
    columns = [c for c in file_columns(run) if c.card or c.title == "Size"]
    figures = "; ".join(c.card for c in columns if c.card)
    chat = "tokenizer.chat_template" in metadata
    recipes: dict[str, dict[str, str]] = {}
    for recipe in names:
        file = run.files[recipe]
        recipes.setdefault(file.family, {})[recipe] = file.description
    return {
        "model": run.identity.model.name,
        "base_model": data.base_model,
        "quantized_by": data.get("quantized_by"),
        "repo": repo,
        "files": list(names.values()),
        "sharing": sharing(run),
        "files_table": markdown(_files_table(run, columns)),
        "files_key": f"- {figures}\n- {_INTERVALS}",
        "controls": any("random" in f.family for f in run.files.values()),
        "best": names[min(scored or names, key=lambda recipe: scored.get(recipe, 0.0))],
        "plots": plots,
        "window": run.identity.settings.window,
        "chat": chat,
        "prompt": "Why is the sky blue?" if chat else "The sky is blue because",
        "infill": "infill" in {a for m in all_measures() for a in m.abilities(run)},
        "guide": guide_table(),
        "headline": summary.headline.replace("\n## ", "\n### "),
        "details": summary.details,
        "notes": summary.notes,
        "binding": run.identity.library.binding,
        "reference": run.files.get(run.reference or ""),
        "text": run.identity.prompts,
        "recipes": recipes,
        "checksums": {name: run.files[recipe].sha256 for recipe, name in names.items()},
    }


def _scores(run: Run) -> dict[str, float]:
    """What files are put in order by, lower is better: the first figure that a measure tells programs of."""
    told = next((e for m in all_measures() if (e := m.evaluations(run))), {})
    return {recipe: evaluation.value for recipe, evaluation in told.items()}


def _files_table(run: Run, columns: Sequence[FileColumn]) -> pd.DataFrame:
    """The published files with the figures that one chooses by, smallest first."""
    import pandas as pd

    names = file_names(run)
    return pd.DataFrame(
        {"File": list(names.values())} | {c.title: [c.cells.get(n, MISSING) for n in names] for c in columns}
    )


def _render(variables: Mapping[str, object]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(variables)
