"""Third-party files that are scored beside the recipes: their description, and whether they are comparable with the reference."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.formats import in_one_line
from bench.core.progress import Reporter
from bench.gguf_files.header import Header, read_header, read_strings
from bench.models.reference import Reference, describe
from bench.models.sources import LocalModel, local_model, model_names
from bench.recipes.recipe import standard_formats

FAMILY = "Published"

#: Keys of a header that tell how a file was made, by what a table calls them.
_HEADER = {
    # not general.author or general.organization, which are the model's and stand in every file that is made of it
    "made by": ("general.quantized_by",),
    "importance matrix": ("quantize.imatrix.file",),
    "its text": ("quantize.imatrix.dataset",),
    "its chunks": ("quantize.imatrix.chunks_count",),
}


@dataclass(frozen=True)
class Compared:
    """A file to compare. name: in tables; base: the standard format it is named after; origin: where it came from.

    perplexity_only: why it cannot be compared token by token, None where it can. told: what its header says of its making.
    """

    name: str
    base: str
    file: Reference
    origin: str
    perplexity_only: str | None
    told: dict[str, str]


def compared_files(named: Sequence[str], reference: Reference, cache: Path, reporter: Reporter) -> list[Compared]:
    """The files that `--compare` names. Raises BenchError for one that is no model or reads text as other tokens.

    Of several that one name stands for, those that are not comparable are left out with a warning. The reference itself is left out.
    """
    found: dict[str, Compared] = {}
    tokens = _tokens(reference.path)
    for name in named:
        several = model_names(name)
        for single in several:
            try:
                model = local_model(single, cache, reporter)
                compared = _compared(model, reference, tokens, cache, reporter)
            except BenchError as e:
                if len(several) == 1:
                    raise
                reporter.warn(f"left out: {e}")
                continue
            if compared.file.sha256 == reference.sha256:
                if len(several) == 1:  # a glob may well match it
                    reporter.warn(f"{model.path.name}: is the reference itself, which is measured anyway")
            elif compared.file.sha256 in {c.file.sha256 for c in found.values()}:
                reporter.warn(f"{model.path.name}: is the same file as another that is compared; it is measured once")
            else:
                label = _free(compared, model, found)
                found[label] = replace(compared, name=label)
    return list(found.values())


def _compared(
    model: LocalModel, reference: Reference, tokens: list[bytes], cache: Path, reporter: Reporter
) -> Compared:
    file = describe(model.path, cache, reporter, model.sha256)
    header = read_header(model.path)
    label = _label(in_one_line(model.name), [reference.info.name, reference.path.stem])
    return Compared(
        name=f"{model.owner or 'file'}:{label}",
        base=_format(label, file),
        file=file,
        origin=model.origin or in_one_line(model.path.name),
        perplexity_only=_compare_vocabularies(model.path, tokens),
        told=told(header),
    )


def _free(compared: Compared, model: LocalModel, taken: Collection[str]) -> str:
    """A name that no other compared file has: the short one, or that of the file, or one with its hash."""
    owner = compared.name.partition(":")[0]
    name = in_one_line(model.name)
    names = [compared.name, f"{owner}:{name}", f"{owner}:{name}@{compared.file.sha256[:8]}"]
    return next(n for n in names if n not in taken)


def _label(name: str, models: list[str]) -> str:
    """A file's name without that of its model: `Q4_K_M` of `SmolLM2-135M-Instruct-Q4_K_M`."""
    for model in models:
        pattern = "[-_. ]?".join(re.escape(part) for part in re.split(r"[-_. ]+", model) if part)
        if found := re.match(rf"{pattern}[-_.]+(.+)$", name, re.IGNORECASE):
            return found[1]
    return name


def _format(label: str, file: Reference) -> str:
    """The standard format that a file is named after, or else its most common type."""
    known = {f.upper(): f for f in standard_formats()}
    parts = re.split(r"[-.]", label.upper())
    named = next((known[p] for p in reversed(parts) if p in known), None)
    return named or next(iter(file.info.weights_by_type))


def _tokens(path: Path) -> list[bytes]:
    return read_strings(path, "tokenizer.ggml.tokens")


def _compare_vocabularies(path: Path, reference: list[bytes]) -> str | None:
    """Why a file's probabilities cannot be compared token by token with the reference's, None where they can.

    Raises BenchError when its tokens stand for other texts, which no figure of one text is comparable over.
    """
    tokens = _tokens(path)
    if not tokens:
        raise BenchError(f"{path.name}: has no vocabulary, so it is no language model by itself; name a model's file")
    common = min(len(tokens), len(reference))
    different = next((i for i in range(common) if tokens[i] != reference[i]), None)
    if different is not None:
        theirs, ours = (t[different].decode("utf-8", "replace") for t in (tokens, reference))
        raise BenchError(
            f"{path.name}: its vocabulary is another one than the reference's (token {different} is {theirs!r} there and {ours!r} in the "
            "reference), so neither perplexity nor divergence would compare; give files of the same model"
        )
    if len(tokens) == len(reference):
        return None
    return (
        f"its vocabulary has {len(tokens):,} tokens and the reference's {len(reference):,}, the common ones equal: perplexity "
        "compares, divergence over all tokens does not"
    )


def told(header: Header) -> dict[str, str]:
    """What a header says of how its file was made, in the words of _HEADER. Paths are shortened to their last part."""
    found = {}
    for name, keys in _HEADER.items():
        value = next((header.metadata[k] for k in keys if header.metadata.get(k)), None)
        if value is not None:
            found[name] = in_one_line(re.split(r"[/\\]", str(value))[-1])
    return found
