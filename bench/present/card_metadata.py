"""The metadata of a model card, which the hub reads: licence, languages, base model, tags, evaluation results."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench.core.errors import BenchError
from bench.gguf_files.details import ModelDetails
from bench.measures.registry import all_measures
from bench.present.hub_names import file_names
from bench.recipes.labels import plain
from bench.records.run import Run

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

_NAME = r"[\w.-]+"
#: What the hub takes for a language: an ISO 639 code, or one of two words.
_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")
#: How the hub's identifiers of licences look.
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


def card_data(
    run: Run, details: ModelDetails, base_model: str | None, quantized_by: str | None, evaluated: Collection[str]
) -> ModelCardData:
    """evaluated: recipes whose figures are stated for programs."""
    from huggingface_hub import ModelCardData

    families = {run.files[recipe].family for recipe in file_names(run)}
    tags = ["gguf", "llama.cpp", "quantized"]
    tags += ["imatrix"] if run.identity.importance else []
    tags += ["dynamicgate"] if any(f.startswith("DynamicGate") for f in families) else []
    tags += ["conversational"] if details.chat_template else []
    more: dict[str, Any] = {"base_model_relation": "quantized"} if base_model else {}
    more |= _license(details)
    more |= {"quantized_by": quantized_by} if quantized_by else {}
    return ModelCardData(
        base_model=base_model,
        language=list(languages(details.languages)) or None,
        library_name="gguf",
        pipeline_tag="text-generation",
        tags=tags,
        model_name=run.identity.model.name,
        eval_results=_evaluations(run, evaluated) or None,
        **more,
    )


def base_model_of(details: ModelDetails, name: str) -> str | None:
    """owner/name of the model that a GGUF file was converted from, as its header tells it. name: of the model.

    A base model in a header is mostly what the model itself was trained from: the converter copies it out of the model's own
    card. A quantized file is not made from that, so it counts only where it has the model's name.
    """
    if found := _on_the_hub(details.converted_from):
        return found
    return next((base for base in trained_from(details) if _letters(base.partition("/")[2]) == _letters(name)), None)


def trained_from(details: ModelDetails) -> list[str]:
    """owner/name of models of the hub that the model was trained or merged from."""
    return [found for address in details.trained_from if (found := _on_the_hub(address))]


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _on_the_hub(address: str | None) -> str | None:
    """owner/name out of an address on the hub, or of itself; None for another address."""
    from huggingface_hub.constants import HF_URL_HOSTS

    try:
        parts = urlsplit(address or "")
    except ValueError:  # brackets that hold no address
        return None
    if parts.scheme and parts.hostname not in HF_URL_HOSTS:
        return None
    found = re.match(rf"/?({_NAME}/{_NAME})(/|$)", parts.path)
    return found[1] if found else None


def repository(name: str, option: str) -> str:
    """The name, if it is one. Raises BenchError that names the option which gave it."""
    if not re.fullmatch(rf"{_NAME}/{_NAME}", name):
        raise BenchError(f"{option} {name}: is no repository of the hub; write it as owner/name")
    return name


def given_languages(text: str) -> tuple[str, ...]:
    """Languages as an option gives them, `en,de`. Raises BenchError for what the hub takes for none."""
    named = tuple(part.strip() for part in text.split(","))
    for name in named:
        if not _LANGUAGE.fullmatch(name.lower()):
            raise BenchError(f"--language {text}: {name!r} is no language of the hub; give ISO 639 codes such as en,de")
    return languages(named)


def languages(stated: Sequence[str]) -> tuple[str, ...]:
    """The hub's codes of languages, without what it takes for none."""
    return tuple(dict.fromkeys(s.lower() for s in stated if _LANGUAGE.fullmatch(s.lower())))


def _license(details: ModelDetails) -> dict[str, str]:
    """The card's keys for the licence. The hub's identifiers are in small letters, those of SPDX are not."""
    if not details.license:
        return {}
    name = details.license.lower()
    if name != "other" and _LICENSE.fullmatch(name):
        return {"license": name}
    found = {"license": "other", "license_name": details.license_name or ("" if name == "other" else details.license)}
    found["license_link"] = details.license_link or ""
    return {key: value for key, value in found.items() if value}


def _evaluations(run: Run, evaluated: Collection[str]) -> list[EvalResult]:
    """What measures tell of files, to llama-perplexity's four decimals."""
    from huggingface_hub import EvalResult

    text, found = run.identity.prompts, []
    for measure in all_measures():
        told = measure.evaluations(run)
        for recipe, name in file_names(run).items():
            if recipe in evaluated and recipe in told and math.isfinite(told[recipe].value):
                found.append(
                    EvalResult(
                        task_type="text-generation",
                        dataset_type=plain(text.name).lower(),
                        dataset_name=text.name,
                        dataset_args={
                            "sha256": text.sha256,
                            "windows": run.windows,
                            "window": run.identity.settings.window,
                        },
                        metric_type=told[recipe].metric,
                        metric_name=f"{told[recipe].name} of {name}",
                        metric_value=round(told[recipe].value, 4),
                    )
                )
    return found
