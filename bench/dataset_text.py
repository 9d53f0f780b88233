"""Texts out of datasets: what `--dataset` names, as one UTF-8 file in the cache.

    wikitext, wikitext:validation, wikitext-103           WikiText as its authors published it, byte for byte
    [hf:]OWNER/NAME[@REVISION][:CONFIG[:SPLIT[:COLUMN]]]  a dataset on the hub; CONFIG and SPLIT may be empty
    rows.jsonl[:COLUMN], .json, .parquet, .csv            a file of rows
    text.txt, text.md                                     a text as it is, whole

Left out, they are: the only config or the dataset's default; split test, else validation, else train; column text, else
content, else the only one of text. Rows without text are skipped. A row that ends with a newline is followed by the next
one directly, any other by an empty line. Only data is read: no code of a dataset is ever run.

A name on the hub is resolved to a commit when it is first asked for, and stands for that commit while its note is kept.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bench import prompts
from bench.errors import BenchError, nearest
from bench.gguf_io import complete_or_absent, file_sha256
from bench.progress import Reporter

#: Part of every key: raise it when the code that makes texts changes what it makes.
_TEXTS = 1
_BUILDERS = {".txt": "", ".md": "", ".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
_SPLITS = ("test", "validation", "train")
_WIKITEXT = "Salesforce/wikitext"
_WIKITEXTS = {"wikitext": "wikitext-2-raw-v1", "wikitext-2": "wikitext-2-raw-v1", "wikitext-103": "wikitext-103-raw-v1"}
_HUB = re.compile(r"(?:hf:)?([\w.-]+(?:/[\w.-]+)?)(?:@([^:@]+))?(?::([^:]*))?(?::([^:]*))?(?::([^:]*))?")


class DatasetText(BaseModel):
    """A text in the cache.

    sha256: of the text. fingerprint: of its source, OWNER/NAME@COMMIT:CONFIG:SPLIT:COLUMN or the SHA-256 of a file.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    path: Path
    sha256: str
    fingerprint: str


class _Note(BaseModel):
    """A text as it was written; it is made again when the size or time of its file are others."""

    text: DatasetText
    n_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class _Hub:
    """A dataset on the hub as it was asked for; None: left out."""

    repo: str
    revision: str | None
    config: str | None
    split: str | None
    column: str | None


@dataclass(frozen=True)
class _File:
    path: Path
    column: str | None


@dataclass(frozen=True)
class _Opened:
    name: str
    fingerprint: str
    rows: Iterator[str | None]
    wikitext: bool = False


def dataset_text(spec: str, cache: Path, *, limit_bytes: int | None, reporter: Reporter) -> DatasetText:
    """The text that `spec` names (see the module), from the cache where it is there: then the hub is not asked.

    limit_bytes: rows are taken, whole, until they make up so many bytes; None: all of them. Texts are always whole.
    Raises BenchError that says what is wrong with the name, the data or the connection.
    """
    source = _parse(spec)
    texts = cache.absolute() / "texts"
    note = texts / f"{_key(source, _state(source), limit_bytes)}.json"
    if (kept := _kept(note)) is not None:
        return kept
    reporter.say(f"Reading {spec}")
    # `datasets` leaves locks in its cache, and falls back to older copies of a dataset that it finds there.
    with tempfile.TemporaryDirectory() as scratch:
        opened = _open_file(source, scratch) if isinstance(source, _File) else _open_hub(source, scratch)
        stem = re.sub(r"[^A-Za-z0-9.]+", "-", opened.name)[:80].strip("-")
        path, digest = texts / f"{stem}-{_key(opened.fingerprint, source, limit_bytes)}.txt", hashlib.sha256()
        with complete_or_absent(path) as partial, partial.open("wb") as f:
            for piece in joined(opened.rows, limit_bytes=limit_bytes, wikitext=opened.wikitext):
                f.write(data := piece.encode())
                digest.update(data)
            if not f.tell():
                raise BenchError(f"{spec}: holds no text; name another dataset, split or column")
    text = DatasetText(name=opened.name, path=path, sha256=digest.hexdigest(), fingerprint=opened.fingerprint)
    with complete_or_absent(note) as partial:
        made = _Note(text=text, n_bytes=path.stat().st_size, modified_ns=path.stat().st_mtime_ns)
        partial.write_text(made.model_dump_json(), encoding="utf-8")
    return text


def joined(rows: Iterable[str | None], *, limit_bytes: int | None = None, wikitext: bool = False) -> Iterator[str]:
    """The pieces of the text that rows make (see the module) until they have `limit_bytes` bytes.

    wikitext: rows are lines, of which the dataset made those of one space and a newline empty.
    """
    n_bytes, between = 0, ""
    for row in rows:
        if wikitext:
            piece = row or " \n"
        elif row and not row.isspace():
            piece, between = between + row, "" if row.endswith("\n") else "\n\n"
        else:
            continue
        yield piece
        n_bytes += len(piece.encode())
        if limit_bytes is not None and n_bytes >= limit_bytes:
            return


def _parse(spec: str) -> _Hub | _File:
    if not spec.startswith("hf:"):
        for path, column in ((spec, ""), spec.rpartition(":")[::2]):
            if Path(path).suffix.lower() in _BUILDERS:
                return _File(Path(path).expanduser(), column or None)
    match = _HUB.fullmatch(spec)
    repo, revision, config, split, column_ = (part or None for part in match.groups()) if match else [None] * 5
    if repo in _WIKITEXTS and not (split or column_):
        return _Hub(_WIKITEXT, revision, _WIKITEXTS[str(repo)], config, "text")
    if not repo or "/" not in repo:
        raise BenchError(
            f"{spec}: is neither {', '.join(_WIKITEXTS)} nor a dataset on the hub nor a file of rows or text; write "
            f"wikitext[:SPLIT], OWNER/NAME[@REVISION][:CONFIG[:SPLIT[:COLUMN]]] or FILE[:COLUMN] ({', '.join(_BUILDERS)})"
        )
    return _Hub(repo, revision, config, split, column_)


def _key(*parts: object) -> str:
    return hashlib.sha256(repr((_TEXTS, *parts)).encode()).hexdigest()[:16]


def _state(source: _Hub | _File) -> object:
    """What tells a changed file from the one whose text is kept."""
    if isinstance(source, _Hub):
        return None
    if not source.path.is_file():
        raise BenchError(f"{source.path}: no such file; check the path, or write hf: before the name of a dataset")
    stat = source.path.stat()
    if not stat.st_size:
        raise BenchError(f"{source.path}: is empty; give a file with a text of at least one window")
    return source.path.resolve(), stat.st_size, stat.st_mtime_ns


def _kept(note: Path) -> DatasetText | None:
    try:
        made = _Note.model_validate_json(note.read_bytes())
        stat = made.text.path.stat()
        return made.text if (stat.st_size, stat.st_mtime_ns) == (made.n_bytes, made.modified_ns) else None
    except (OSError, ValidationError):
        return None  # not made yet, or by another version of this program


def _open_file(asked: _File, scratch: str) -> _Opened:
    path, column, builder = asked.path, asked.column, _BUILDERS[asked.path.suffix.lower()]
    if not builder:
        if column:
            raise BenchError(f"{path}: is a text without columns; leave :{column} out")
        text = prompts.from_file(path).text
        return _Opened(path.name, file_sha256(path), iter([text]))
    from datasets import Features, Value, load_dataset

    _quiet()
    reason = _file_reason(path)
    options: dict[str, Any] = {"data_files": glob.escape(str(path.resolve())), "cache_dir": scratch}
    with _told(str(path), reason):
        if builder == "csv":  # cells as they are written: "NA" is a word and 007 no number
            import pandas

            header = pandas.read_csv(path, nrows=0).columns
            options |= {"features": Features({c: Value("string") for c in header}), "keep_default_na": False}
        stream = load_dataset(builder, split="train", streaming=True, **options)
        chosen = _text_column(stream, column, str(path))
        name = f"{path.name}:{column}" if column else path.name
        return _Opened(name, file_sha256(path), _texts(stream, chosen, str(path), reason))


def _open_hub(asked: _Hub, scratch: str) -> _Opened:
    from datasets import get_dataset_config_names, get_dataset_default_config_name, load_dataset_builder

    _quiet()
    with _told(asked.repo, _hub_reason):
        repo, commit = _resolve(asked)
        # A bare name could also be that of a directory here.
        at: dict[str, Any] = {"path": f"hf://datasets/{repo}", "revision": commit, "cache_dir": scratch}
        configs = get_dataset_config_names(**at)
        config = _one_of("config", asked.config or get_dataset_default_config_name(**at), configs, repo)
        streams = load_dataset_builder(name=config, **at).as_streaming_dataset()
        split = _one_of("split", asked.split or _default(_SPLITS, list(streams)), list(streams), repo)
        column = _text_column(streams[split], asked.column, repo)
    wikitext = repo == _WIKITEXT
    of_config = "" if config == "default" else f" ({config})"
    of_column = f", column {column}" if asked.column not in (None, "text") else ""
    name = f"{'WikiText' if wikitext else repo}{of_config}, {split} split{of_column}"
    rows = _texts(streams[split], column, repo, _hub_reason)
    return _Opened(name, f"{repo}@{commit}:{config}:{split}:{column}", rows, wikitext)


def _resolve(asked: _Hub) -> tuple[str, str]:
    """(name, commit) of a dataset; one that was renamed is also found by its old name."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        info = api.dataset_info(asked.repo, revision=asked.revision, timeout=30)
        return info.id, str(info.sha)
    except GatedRepoError:
        raise
    except RevisionNotFoundError:
        refs = api.list_repo_refs(asked.repo, repo_type="dataset")
        _one_of("revision", asked.revision, [ref.name for ref in (*refs.branches, *refs.tags)], asked.repo)
        raise
    except RepositoryNotFoundError as e:
        owner, _, name = asked.repo.partition("/")
        similar: list[str] = []
        with suppress(Exception):  # only a help: the error is told without it
            similar += [d.id for d in api.list_datasets(author=owner, limit=99)]
            similar += [d.id for d in api.list_datasets(search=name, limit=99)]
        raise BenchError(
            f"{asked.repo}: no such dataset on the hub, or a private one; check the name, or log in with `hf auth login`"
            f"{nearest(asked.repo, similar)}"
        ) from e


def _default(preferred: tuple[str, ...], known: list[str]) -> str | None:
    return next((name for name in preferred if name in known), known[0] if len(known) == 1 else None)


def _one_of(kind: str, asked: str | None, known: list[str], where: str) -> str:
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    if asked is None:
        raise BenchError(f"{where}: has several {kind}s; name one of {listed}")
    if asked not in known:
        raise BenchError(f"{where}: has no {kind} {asked}; name one of {listed}{nearest(asked, known)}")
    return asked


def _text_column(stream: Any, asked: str | None, where: str) -> str:
    """The column that was asked for, which must hold text, or the one that is meant where none was."""
    from datasets import Dataset, Value

    features = stream.features or Dataset.from_list(list(stream.take(20))).features
    if not features:
        raise BenchError(f"{where}: holds no rows; name another file or dataset")
    texts = [c for c, f in features.items() if isinstance(f, Value) and f.dtype in ("string", "large_string")]
    if not texts:
        raise BenchError(f"{where}: has no column of text, only {', '.join(features)}; name another file or dataset")
    if asked in features and asked not in texts:
        raise BenchError(f"{where}: column {asked} is no text; name one of {', '.join(texts)}")
    return _one_of("column", asked or _default(("text", "content"), texts), texts, where)


def _texts(stream: Any, column: str, where: str, reason: Callable[[Exception], str]) -> Iterator[str | None]:
    with _told(where, reason):
        for row in stream:
            yield row[column]


def _quiet() -> None:
    """Nothing is printed but by this program."""
    import datasets
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    datasets.disable_progress_bars()
    disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    hub_logging.set_verbosity(logging.CRITICAL)
    # Beside what huggingface_hub does again; nobody is told meanwhile.
    datasets.config.STREAMING_READ_MAX_RETRIES, datasets.config.STREAMING_READ_RETRY_INTERVAL = 2, 1


@contextmanager
def _told(where: str, reason: Callable[[Exception], str]) -> Iterator[None]:
    """Turns whatever `datasets` raises, which has no common type, into one line."""
    try:
        yield
    except BenchError:
        raise
    except Exception as e:
        raise BenchError(" ".join(f"{where}: {reason(e)}".split())) from e


def _file_reason(path: Path) -> Callable[[Exception], str]:
    """What is wrong with a file that `datasets` could not read; it tells no number of a line that is not JSON."""

    def reason(e: Exception) -> str:
        suffix = path.suffix.lower()
        try:
            text = path.read_text(encoding="utf-8-sig") if suffix != ".parquet" else ""
        except UnicodeDecodeError as error:
            return f"is not UTF-8 text (byte {error.start:,}); convert it to UTF-8 first"
        if _BUILDERS[suffix] == "json":
            whole = suffix == ".json" and text.lstrip().startswith(("[", "{\n"))
            for number, part in enumerate([text] if whole else text.split("\n")):
                try:
                    json.loads(part.strip() or "null")
                except json.JSONDecodeError as error:
                    return f"line {number + error.lineno} is not JSON ({error.msg}); correct or remove it"
        return f"cannot be read ({e}); give rows of columns as .jsonl, .parquet or .csv, or a text"

    return reason


def _hub_reason(e: Exception) -> str:
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled

    cause: BaseException | None = e
    while cause is not None:
        # `datasets` tells of a gated one by an error of its own, without the cause.
        if isinstance(cause, GatedRepoError) or "gated dataset" in str(cause):
            return "is gated; ask for access on its page on the hub, then log in with `hf auth login`"
        if isinstance(cause, OfflineModeIsEnabled):
            return "the hub is not asked while HF_HUB_OFFLINE is set; unset it, or give a file"
        if isinstance(cause, EmptyDatasetError | DataFilesNotFoundError):
            return "has no files of rows or text that can be read; name another dataset"
        if "scripts are no longer supported" in str(cause):
            return "is made by code of its own, which is not run; name a dataset of plain files, or give a file"
        if isinstance(cause, HfHubHTTPError) and not isinstance(cause, EntryNotFoundError):
            status = cause.response.status_code
            remedy = "log in with `hf auth login`" if status in (401, 403) else "wait and run again, or give a file"
            return f"the hub answered {status}; {remedy}"
        # The module's name differs between versions of huggingface_hub; its errors are no OSErrors.
        if isinstance(cause, ConnectionError | TimeoutError) or type(cause).__module__.startswith("httpx"):
            return f"the hub cannot be reached ({e}); check the network and run again, or give a file"
        cause = cause.__cause__ or cause.__context__
    return f"cannot be read ({e}); name another dataset, or give a file"
