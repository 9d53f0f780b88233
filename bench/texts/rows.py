"""Rows of datasets, opened through `datasets`: the choice of config, split and column, and errors in words."""

from __future__ import annotations

import codecs
import glob
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, nearest
from bench.core.files import file_sha256
from bench.core.parsed import json_value
from bench.texts import prompts

#: How `datasets` reads a file, by its ending; a text is read as it is.
BUILDERS = {".txt": "", ".md": "", ".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
#: Brackets in a line from which on its depth is looked at.
_MANY = 500
_SPLITS = ("test", "validation", "train")
WIKITEXT = "Salesforce/wikitext"


@dataclass(frozen=True)
class HubDataset:
    """A dataset on the hub as it was asked for; None: left out."""

    repo: str
    revision: str | None
    config: str | None
    split: str | None
    column: str | None


@dataclass(frozen=True)
class FileDataset:
    path: Path
    column: str | None


@dataclass(frozen=True)
class Opened:
    name: str
    fingerprint: str
    rows: Iterator[str | None]
    wikitext: bool = False


def open_file(asked: FileDataset, scratch: str) -> Opened:
    path, column, builder = asked.path, asked.column, BUILDERS[asked.path.suffix.lower()]
    if not builder:
        if column:
            raise BenchError(f"{path}: is a text without columns; leave :{column} out")
        text = prompts.from_file(path).text
        return Opened(path.name, file_sha256(path), iter([text]))
    from datasets import Features, Value, load_dataset

    _quiet()
    if builder == "json":
        _check_lines(path)
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
        return Opened(name, file_sha256(path), _texts(stream, chosen, str(path), reason))


def _check_lines(path: Path) -> None:
    """Raise BenchError for lines that the library's reader crashes on: values that are no object, such as null, and deep ones."""
    with path.open("rb") as f:
        for number, line in enumerate(f, 1):
            start = line.removeprefix(codecs.BOM_UTF8).strip()
            if number == 1 and path.suffix.lower() == ".json" and (start[:1] == b"[" or start in (b"{", b"")):
                return  # one value over many lines
            if start and start[:1] != b"{":
                raise BenchError(f'{path}: line {number} is no JSON object; each line is a row, {{"text": "…"}}')
            if line.count(b"{") + line.count(b"[") > _MANY:
                try:
                    json_value(line.decode("utf-8", "replace"))
                except ValueError as e:
                    raise BenchError(f"{path}: line {number} cannot be read ({e}); correct or remove it") from e


def open_hub(asked: HubDataset, scratch: str) -> Opened:
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
    wikitext = repo == WIKITEXT
    of_config = "" if config == "default" else f" ({config})"
    of_column = f", column {column}" if asked.column not in (None, "text") else ""
    name = f"{'WikiText' if wikitext else repo}{of_config}, {split} split{of_column}"
    rows = _texts(streams[split], column, repo, _hub_reason)
    return Opened(name, f"{repo}@{commit}:{config}:{split}:{column}", rows, wikitext)


def _resolve(asked: HubDataset) -> tuple[str, str]:
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
        if BUILDERS[suffix] == "json":
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
