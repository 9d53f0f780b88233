"""Details in a model's header for people: its licence, languages, origin and prompt format.

A header comes with a download. A value of the wrong type, a value that is too long and one that is not a plain line count as not stated.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

from pydantic import BaseModel, ConfigDict

from bench.gguf_files.header import ArrayLength, read_strings

#: Characters that a line of a header may have, and a chat template. The longest known templates have some 30,000.
_LINE, _TEMPLATE = 300, 100_000
#: Languages and base models that are kept.
_SEVERAL = 40

#: Keys for what a file was converted from, the most telling first.
_CONVERTED_FROM = (
    "general.source.huggingface.repository",
    "general.source.repo_url",
    "general.source.url",
    "general.repo_url",
)
_BASE_MODEL = re.compile(r"general\.base_model\.(\d+)\.(?:repo_url|url)")


class ModelDetails(BaseModel):
    """What a header states, as it states it; None and empty for what it does not.

    license: an identifier; license_name, license_link: of a licence that has none; languages: their codes; converted_from:
    address or owner/name of the model that the file was converted from; trained_from: the same of models that that one was
    trained or merged from; chat_template: in Jinja; bos_token, eos_token: as spelled; context: tokens that it was trained for.
    """

    model_config = ConfigDict(frozen=True)

    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    languages: tuple[str, ...] = ()
    converted_from: str | None = None
    trained_from: tuple[str, ...] = ()
    chat_template: str | None = None
    bos_token: str | None = None
    eos_token: str | None = None
    context: int | None = None


def model_details(path: Path, metadata: Mapping[str, object]) -> ModelDetails:
    """Details of the model in `path`, whose header has been read."""
    template = metadata.get("tokenizer.chat_template")
    context = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    special = _special_tokens(path, metadata)
    bases = sorted((int(found[1]), key) for key in metadata if (found := _BASE_MODEL.fullmatch(key)))
    addresses = {index: _line(metadata[key]) for index, key in reversed(bases)}  # repo_url before url
    return ModelDetails(
        license=_line(metadata.get("general.license")),
        license_name=_line(metadata.get("general.license.name")),
        license_link=_line(metadata.get("general.license.link")),
        languages=_languages(path, metadata.get("general.languages")),
        converted_from=next(filter(None, (_line(metadata.get(key)) for key in _CONVERTED_FROM)), None),
        trained_from=tuple(filter(None, (addresses[index] for index in sorted(addresses))))[:_SEVERAL],
        chat_template=template if isinstance(template, str) and 0 < len(template) <= _TEMPLATE else None,
        bos_token=special.get("bos"),
        eos_token=special.get("eos"),
        context=context if isinstance(context, int) and context > 0 else None,
    )


def _special_tokens(path: Path, metadata: Mapping[str, object]) -> dict[str, str]:
    """How the tokens that begin and end a text are spelled, by `bos` and `eos`."""
    ids = {name: metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    tokens = read_strings(path, "tokenizer.ggml.tokens")
    spelled = {n: _line(tokens[i].decode("utf-8", "replace")) for n, i in ids.items() if _is_index(i, tokens)}
    return {name: token for name, token in spelled.items() if token}


def _is_index(value: object, of: list[bytes]) -> TypeGuard[int]:
    return isinstance(value, int) and 0 <= value < len(of)


def _languages(path: Path, value: object) -> tuple[str, ...]:
    """Languages out of a list, which read_header only counts, or out of one text."""
    if isinstance(value, str):
        stated: list[object] = [value]
    elif isinstance(value, ArrayLength) and value.length <= _SEVERAL:
        stated = [s.decode("utf-8", "replace") for s in read_strings(path, "general.languages")]
    else:
        return ()
    return tuple(dict.fromkeys(filter(None, map(_line, stated))))


def _line(value: object) -> str | None:
    """A text of one line that is not too long; None for anything else."""
    text = value.strip() if isinstance(value, str) else ""
    plain = not any(unicodedata.category(c).startswith("C") for c in text)
    return text if text and plain and len(text) <= _LINE else None
