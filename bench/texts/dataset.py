"""Texts from datasets: the dataset of `--dataset` as one UTF-8 file in the cache.

    wikitext, wikitext:validation, wikitext-103           WikiText as its authors published it, byte for byte
    [hf:]OWNER/NAME[@REVISION][:CONFIG[:SPLIT[:COLUMN]]]  a dataset on the hub; CONFIG and SPLIT may be empty
    rows.jsonl[:COLUMN], .json, .parquet, .csv            a file of rows
    text.txt, text.md                                     a text as it is, whole

Defaults: the only config or the dataset's default; split test, else validation, else train; column text, else content, else
the only text column. Rows without text are skipped. A row that ends with a newline is followed by the next one directly, any
other by an empty line. Only data is read: no code of a dataset is ever run.

A name on the hub is resolved to a commit when it is first asked for, and stands for that commit while its note is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bench.core.checked import read_checked, tell_damage, write_checked
from bench.core.errors import BenchError
from bench.core.files import complete_or_absent, file_sha256, folder_for_now
from bench.core.progress import Reporter
from bench.texts.rows import BUILDERS, WIKITEXT, FileDataset, HubDataset, open_file, open_hub

#: Part of every key: raise it when the code that makes texts changes what it makes.
_TEXTS = 1
_WIKITEXTS = {"wikitext": "wikitext-2-raw-v1", "wikitext-2": "wikitext-2-raw-v1", "wikitext-103": "wikitext-103-raw-v1"}
_HUB = re.compile(r"(?:hf:)?([\w.-]+(?:/[\w.-]+)?)(?:@([^:@]+))?(?::([^:]*))?(?::([^:]*))?(?::([^:]*))?")


class DatasetText(BaseModel):
    """A text in the cache.

    sha256: of the text. fingerprint: of its source, OWNER/NAME@COMMIT:CONFIG:SPLIT:COLUMN or the SHA-256 of a file.
    cut: whether there were more rows than were taken.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    path: Path
    sha256: str
    fingerprint: str
    cut: bool = False


def dataset_text(spec: str, cache: Path, *, limit_bytes: int | None, reporter: Reporter) -> DatasetText:
    """The text that `spec` names (see the module), from the cache where it is there: then the hub is not asked.

    limit_bytes: rows are taken, whole, until they make up so many bytes; None: all of them. Texts are always whole.
    Raises BenchError that says what is wrong with the name, the data or the connection.
    """
    source = _parse(spec)
    texts = cache.absolute() / "texts"
    note = texts / f"{_key(source, _state(source), limit_bytes)}.json"
    kept = read_checked(note, DatasetText, reporter.warn)
    if kept is not None:
        path = texts / kept.path.name  # whatever folder the note was written in
        if path.is_file() and not path.is_symlink():
            if file_sha256(path) == kept.sha256:
                return kept.model_copy(update={"path": path})
            tell_damage(path, reporter.warn)
    reporter.say(f"Reading {spec}")
    # `datasets` leaves locks in its cache, and falls back to older copies of a dataset that it finds there.
    with folder_for_now(texts, "datasets") as scratch:
        opened = open_file(source, str(scratch)) if isinstance(source, FileDataset) else open_hub(source, str(scratch))
        stem = re.sub(r"[^A-Za-z0-9.]+", "-", opened.name)[:80].strip("-")
        path, digest = texts / f"{stem}-{_key(opened.fingerprint, source, limit_bytes)}.txt", hashlib.sha256()
        with complete_or_absent(path) as partial, partial.open("wb") as f:
            rows = iter(opened.rows)
            for piece in joined(rows, limit_bytes=limit_bytes, wikitext=opened.wikitext):
                f.write(data := piece.encode())
                digest.update(data)
            cut = limit_bytes is not None and next(rows, None) is not None
            if not f.tell():
                raise BenchError(f"{spec}: holds no text; name another dataset, split or column")
    text = DatasetText(name=opened.name, path=path, sha256=digest.hexdigest(), fingerprint=opened.fingerprint, cut=cut)
    write_checked(note, text)
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


def _parse(spec: str) -> HubDataset | FileDataset:
    if not spec.startswith("hf:"):
        for path, column in ((spec, ""), spec.rpartition(":")[::2]):
            if Path(path).suffix.lower() in BUILDERS:
                return FileDataset(Path(path).expanduser(), column or None)
    match = _HUB.fullmatch(spec)
    repo, revision, config, split, column_ = (part or None for part in match.groups()) if match else [None] * 5
    if repo in _WIKITEXTS and not (split or column_):
        return HubDataset(WIKITEXT, revision, _WIKITEXTS[str(repo)], config, "text")
    if not repo or "/" not in repo:
        raise BenchError(
            f"{spec}: is neither {', '.join(_WIKITEXTS)} nor a dataset on the hub nor a file of rows or text; write "
            f"wikitext[:SPLIT], OWNER/NAME[@REVISION][:CONFIG[:SPLIT[:COLUMN]]] or FILE[:COLUMN] ({', '.join(BUILDERS)})"
        )
    return HubDataset(repo, revision, config, split, column_)


def _key(*parts: object) -> str:
    return hashlib.sha256(repr((_TEXTS, *parts)).encode()).hexdigest()[:16]


def _state(source: HubDataset | FileDataset) -> object:
    """What tells a changed file from the one whose text is kept."""
    if isinstance(source, HubDataset):
        return None
    if not source.path.is_file():
        raise BenchError(f"{source.path}: no such file; check the path, or write hf: before the name of a dataset")
    stat = source.path.stat()
    if not stat.st_size:
        raise BenchError(f"{source.path}: is empty; give a file with a text of at least one window")
    return source.path.resolve(), stat.st_size, stat.st_mtime_ns
