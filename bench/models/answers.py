"""Answers of the hub as types with limits. An answer is checked once, when it is read, and trusted afterwards.

Names of files are used as paths, as keys and in messages, so a name that could leave its folder or steer a terminal is refused.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from bench.core.formats import in_one_line
from bench.core.values import Count, Some
from bench.models.exchange import NoHubError

_STRICT = ConfigDict(strict=True, frozen=True)
#: Files of a repository. Lists are given up at their first mistake (FailFast): one for each of ten million files would take minutes.
_MOST_FILES = 50_000
#: Names of a list that is only a help.
_MOST_NAMES = 2000
#: Bytes of a name in a folder, as file systems have it; and characters of a path.
_LONGEST_NAME, _LONGEST_PATH = 255, 1000
#: Control characters, halves of characters, separators of lines and paragraphs; and what turns the direction of writing.
_NEVER = {"Cc", "Cs", "Zl", "Zp"}
_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def _is_path(text: str) -> str:
    ascii_only = text.isascii() and text.isprintable()  # nearly all are, and there may be many
    if not ascii_only and any(
        unicodedata.category(c) in _NEVER or unicodedata.bidirectional(c) in _TURNS for c in text
    ):
        raise ValueError("a name with control characters")
    parts = text.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError("no path inside a repository")
    if any(len(part.encode()) > _LONGEST_NAME for part in parts):
        raise ValueError("a name too long for a file")
    return text


def _some_or_none(value: Any) -> int | None:
    """A number that nothing depends on."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 2**53 else None


RepoPath = Annotated[str, Field(min_length=1, max_length=_LONGEST_PATH), AfterValidator(_is_path)]
Sha1 = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Shown = Annotated[str, AfterValidator(lambda text: in_one_line(text[:200]))]


@dataclass(frozen=True, config=ConfigDict(strict=True))
class HubFile:
    """A file of a repository: bytes of its content, its SHA-256 where the hub tells it, its name in git."""

    path: RepoPath
    n_bytes: Count
    sha256: Sha256 | None
    oid: Sha1


@dataclass(frozen=True, config=ConfigDict(strict=True))
class HubRepo:
    """A repository at one commit with those of its files that were asked for. n_weights: of its GGUF models, where the hub
    tells it."""

    repo: str
    revision: Sha1
    files: tuple[HubFile, ...]
    n_weights: Some | None = None

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        if len({f.path for f in self.files}) < len(self.files):
            raise ValueError("two files of one name")
        return self


class _Answer(BaseModel):
    model_config = _STRICT


class _Lfs(_Answer):
    sha256: Sha256
    size: Count


class _Sibling(_Answer):
    rfilename: RepoPath
    oid: Sha1 = Field(validation_alias="blobId")
    size: Count | None = None
    lfs: _Lfs | None = None


class _Gguf(_Answer):
    total: Annotated[int | None, BeforeValidator(_some_or_none)] = None


class _Model(_Answer):
    sha: Sha1
    siblings: Annotated[tuple[_Sibling, ...], Field(max_length=_MOST_FILES), FailFast()] = ()
    gguf: _Gguf | None = None


class _Ref(_Answer):
    name: _Shown


class _Refs(_Answer):
    branches: Annotated[tuple[_Ref, ...], Field(max_length=_MOST_NAMES), FailFast()] = ()
    tags: Annotated[tuple[_Ref, ...], Field(max_length=_MOST_NAMES), FailFast()] = ()


class _Named(_Answer):
    id: _Shown


_MODELS = TypeAdapter(Annotated[tuple[_Named, ...], Field(max_length=_MOST_NAMES), FailFast()])


def repository(repo: str, revision: str | None, answer: bytes) -> HubRepo:
    """The repository of an answer. Raises NoHubError for what no hub answers, another commit than the one that was asked for too."""
    try:
        model = _Model.model_validate_json(answer)
        found = HubRepo(
            repo,
            model.sha,
            tuple(
                HubFile(s.rfilename, s.lfs.size if s.lfs else s.size, s.lfs.sha256 if s.lfs else None, s.oid)  # type: ignore[arg-type]
                for s in model.siblings
            ),
            model.gguf.total if model.gguf else None,
        )
    except ValidationError as e:
        raise NoHubError(_first(e)) from e
    if re.fullmatch("[0-9a-f]{40}", revision or "") and revision != found.revision:
        raise NoHubError(f"it answers with commit {found.revision[:12]} where {revision} was asked for")
    return found


def revisions(answer: bytes) -> list[str]:
    """Names of branches and tags. Raises NoHubError."""
    try:
        refs = _Refs.model_validate_json(answer)
    except ValidationError as e:
        raise NoHubError(_first(e)) from e
    return [ref.name for ref in (*refs.branches, *refs.tags)]


def repositories(answer: bytes) -> list[str]:
    """Names of a list of repositories. Raises NoHubError."""
    try:
        found = _MODELS.validate_json(answer)
    except ValidationError as e:
        raise NoHubError(_first(e)) from e
    return [model.id for model in found]


def _first(error: ValidationError) -> str:
    """What is wrong first, and where in the answer."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
