"""The GGUF models of a repository on the hub, listed without fetching them: names, sizes, and the metadata at the beginning of a header."""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.errors import BenchError
from bench.gguf_files.header import first_keys
from bench.gguf_files.shards import whole_stem
from bench.models import hub
from bench.models.sources import gguf_models

#: Bytes that are read of one file: the keys of a model's shape stand before its vocabulary.
_BEGINNING = 2**16


@dataclass(frozen=True)
class ListedModel:
    """name: of the whole file, without parts, folders and ending; path: of the first part; n_bytes: of all parts."""

    name: str
    path: str
    n_bytes: int


@dataclass(frozen=True)
class Listed:
    """named: the repository at its commit; metadata: keys at the beginning of one of the files, empty where they could not be read;
    n_weights: where the hub tells it."""

    named: str
    models: tuple[ListedModel, ...]
    metadata: dict[str, object]
    n_weights: int | None


def listed(named: str) -> Listed:
    """The models that a name of the hub stands for: of a whole repository, or of a glob after a colon.

    Raises BenchError for what does not exist, cannot be reached, or has no GGUF model.
    """
    found = hub.find(hub.parse_hub_name(named))
    models = gguf_models(found.files)
    if not models:
        raise BenchError(
            f"{named}: has no GGUF file to choose from; name a repository with GGUF files, they often end in -GGUF"
        )
    smallest = min((parts[0] for parts in models), key=lambda f: f.n_bytes)
    try:
        metadata = first_keys(hub.first_bytes(found, smallest, _BEGINNING))
    except BenchError:  # a gated repository tells its list of files and not their contents
        metadata = {}
    made = (
        ListedModel(whole_stem(parts[0].path.rpartition("/")[2]), parts[0].path, sum(f.n_bytes for f in parts))
        for parts in models
    )
    return Listed(f"hf:{found.repo}@{found.revision[:12]}", tuple(made), metadata, found.n_weights)
