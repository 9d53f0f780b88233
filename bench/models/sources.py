"""Where a model comes from, as a user names it: a file, a part of a split file, the Hugging Face hub, a checkpoint.

model.gguf                          a file
model-00001-of-00003.gguf           any part of a split one: the parts are joined in the cache
hf:owner/repo@revision:file.gguf    a file of a repository; a glob where it matches one model (or, for --compare, several)
hf:owner/repo, directory/           a checkpoint with safetensors: converted to GGUF by llama.cpp's own converter
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.gguf_files.shards import first_shard, is_split, joined, whole_stem
from bench.models import hub
from bench.models.answers import HubFile, HubRepo
from bench.models.convert import convert, is_checkpoint
from bench.models.download import download, is_here

_HUB = "hf:"
#: What of a repository is fetched; the converter takes licence, languages and base models out of README.md.
_CHECKPOINT = (".json", ".safetensors", ".model", ".txt", ".jinja", ".tiktoken", "README.md")
#: Names of GGUF files that are no models: projectors of vision models, importance matrices.
_NO_MODEL = re.compile(r"^mmproj|^imatrix|[-_.]imatrix\.gguf$")
#: Files that `--model` is told of where a repository has several.
_NAMED = 8


@dataclass(frozen=True)
class LocalModel:
    """A whole GGUF file on this machine. name: of the file as its maker named it; origin: what it was made from, for
    instance `hf:owner/repo@commit:file`, None for a file of the user's; owner: of the repository, if any; sha256: of a file that
    was made of it in the cache, and was checked just now."""

    path: Path
    name: str
    origin: str | None = None
    owner: str | None = None
    sha256: str | None = None


def local_model(named: str, cache: Path, reporter: Reporter) -> LocalModel:
    """The one model that is named. Raises BenchError when there is none, or more than one."""
    if named.startswith(_HUB):
        wanted = hub.parse_hub_name(named)
        found = hub.find(wanted)
        models = gguf_models(found.files)
        if not models and wanted.file is None and any(f.path.endswith(".safetensors") for f in found.files):
            owner, _, name = found.repo.partition("/")
            origin = f"{_HUB}{found.repo}@{found.revision}"
            checkpoint = _checkpoint(found, cache, reporter)
            made, digest = convert(checkpoint, name, cache, reporter, key=origin)
            return LocalModel(made, name, origin, owner, digest)
        if len(models) != 1:
            raise BenchError(f"{named}: {_which(models)}")
        return _fetched(found, models[0], cache, reporter)
    path = Path(named)
    if path.is_dir() and is_checkpoint(path):
        name = path.resolve().name
        made, digest = convert(path, name, cache, reporter)
        return LocalModel(made, name, sha256=digest)
    return _whole(path, cache, reporter, LocalModel(path, whole_stem(path.name)))


def checkpoint_repository(origin: str | None) -> str | None:
    """owner/name of the checkpoint on the hub that a model was converted from; None for a model of another origin."""
    named = (origin or "").removeprefix(_HUB)
    return named.partition("@")[0] if origin and origin.startswith(_HUB) and ":" not in named else None


def model_names(named: str) -> list[str]:
    """Names of all the models that one name stands for, each for local_model: a glob on this machine or of a repository."""
    if named.startswith(_HUB):
        found = hub.find(hub.parse_hub_name(named))
        models = gguf_models(found.files)
        if not models:
            raise BenchError(f"{named}: {_which(models)}")
        return [_pinned(found, parts) for parts in models]
    path = Path(named)
    if any(c in named for c in "*?[") and not path.exists():
        paths = sorted(p for p in path.parent.glob(path.name) if first_shard(p.name) == p.name)
        if not paths:
            raise BenchError(
                f"{named}: matches no file; check the path, and that the shell has not changed the pattern"
            )
        return [str(p) for p in paths]
    return [named]


@dataclass(frozen=True)
class Remote:
    """A model of a repository before it is fetched. n_bytes: of its files; missing: of those that are not here yet; copied: of
    the file that is made of it on this machine, where one is."""

    n_bytes: int
    missing: int
    copied: int


def remote_models(named: str) -> dict[str, Remote]:
    """What a name of the hub stands for, by the names that model_names gives; empty for one of this machine.

    Raises BenchError as fetching it would.
    """
    if not named.startswith(_HUB):
        return {}
    found = hub.find(hub.parse_hub_name(named))
    models = gguf_models(found.files) or [parts for parts in [_of_checkpoint(found.files)] if parts]
    remote = {}
    for parts in models:
        n_bytes = sum(f.n_bytes for f in parts)
        missing = sum(f.n_bytes for f in parts if not is_here(found, f))
        remote[_pinned(found, parts)] = Remote(n_bytes, missing, n_bytes if len(parts) > 1 else 0)
    return remote


def gguf_models(files: Sequence[HubFile]) -> list[list[HubFile]]:
    """The GGUF models among a repository's files, each as its parts; importance matrices and projectors are none."""
    by_path = {f.path: f for f in files if f.path.endswith(".gguf")}
    models: dict[str, list[HubFile]] = {}
    for path, file in by_path.items():
        folder, _, name = path.rpartition("/")
        if len(by_path) == 1 or not _NO_MODEL.search(name.lower()):
            models.setdefault(f"{folder}/{first_shard(name)}", []).append(file)
    return [sorted(parts, key=lambda f: f.path) for _, parts in sorted(models.items())]


def _pinned(found: HubRepo, parts: Sequence[HubFile]) -> str:
    """The name of one model at the commit that was found, by its first part."""
    return f"{_HUB}{found.repo}@{found.revision}:{parts[0].path}"


def _which(models: list[list[HubFile]]) -> str:
    if not models:
        return "has no GGUF model and no checkpoint with safetensors; name another repository or file"
    names = [parts[0].path for parts in models]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"matches {len(names)} models: {', '.join(names[:_NAMED])}{more}; name one of them after a colon"


def _fetched(found: HubRepo, parts: list[HubFile], cache: Path, reporter: Reporter) -> LocalModel:
    """Download a model: a file, or all the parts of one."""
    paths = [download(found, f, cache, reporter) for f in hub.shards(found, parts[0].path)]
    name = parts[0].path.rpartition("/")[2]
    origin = _pinned(found, parts)
    return _whole(
        paths[0], cache, reporter, LocalModel(paths[0], whole_stem(name), origin, found.repo.partition("/")[0])
    )


def _checkpoint(found: HubRepo, cache: Path, reporter: Reporter) -> Path:
    """Download what a converter reads of a repository: configuration, vocabulary, weights. Returns their directory."""
    paths = [download(found, f, cache, reporter) for f in _of_checkpoint(found.files)]
    return paths[0].parent


def _of_checkpoint(files: Sequence[HubFile]) -> list[HubFile]:
    return [f for f in files if "/" not in f.path and f.path.endswith(_CHECKPOINT)]


def _whole(path: Path, cache: Path, reporter: Reporter, local: LocalModel) -> LocalModel:
    if not is_split(path):
        return local
    with reporter.steps(f"Joining {local.name}", 1) as steps:
        made, digest = joined(path, cache, steps.share, reporter.warn)
    return LocalModel(made, local.name, local.origin, local.owner, digest)
