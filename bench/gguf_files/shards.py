"""Models that are split into several GGUF files: found from any one of them, and joined into one file in the cache.

llama.cpp loads split files itself, but recipes are built from one file's bytes, and tables show its size and hash.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from bench.core.checked import Tell, made_file
from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.gguf_files.copy import copy_bytes, file_head, pad
from bench.gguf_files.header import Header, read_header

#: How llama-gguf-split names the parts of a model.
_NAME = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>(?!00000)\d{5})\.gguf\Z", re.A)


def shard_names(name: str) -> list[str]:
    """The names of all parts of a model, from that of one of them; the name alone for a file that is no part."""
    found = _NAME.match(name)
    if not found:
        return [name]
    return [f"{found['stem']}-{i:05}-of-{found['count']}.gguf" for i in range(1, int(found["count"]) + 1)]


def first_shard(name: str) -> str:
    """The first of shard_names, which may be a hundred thousand."""
    found = _NAME.match(name)
    return f"{found['stem']}-00001-of-{found['count']}.gguf" if found else name


def whole_stem(name: str) -> str:
    """A file's name without its ending, and without the numbers of a part."""
    found = _NAME.match(name)
    return found["stem"] if found else name.removesuffix(".gguf")


def whole_bytes(path: Path) -> int:
    """Bytes of a model of which `path` is the file or a part, as far as its parts are here."""
    return sum(p.stat().st_size for p in (path.with_name(n) for n in shard_names(path.name)) if p.is_file())


def is_split(path: Path) -> bool:
    return _count(read_header(path)) > 1


def joined(path: Path, cache: Path, progress: Callable[[float], None], tell: Tell) -> tuple[Path, str]:
    """The whole model that `path` is a part of, as one file in the cache, and its SHA-256.

    Raises BenchError when parts are missing or belong to different models, or when there is no room for the copy.
    """
    parts = _parts(path)
    stats = [p.stat() for p in parts]
    key = hashlib.sha256(
        repr([(str(p.resolve()), s.st_size, s.st_mtime_ns) for p, s in zip(parts, stats, strict=True)]).encode()
    )
    target = cache / "models" / f"{whole_stem(path.name)}-joined-{key.hexdigest()[:12]}.gguf"
    return target, made_file(target, lambda: _make(path, parts, target, progress), tell)


def _make(path: Path, parts: list[Path], target: Path, progress: Callable[[float], None]) -> None:
    headers = [read_header(p) for p in parts]
    _check(parts, headers)
    needed = sum(p.stat().st_size for p in parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(target.parent).free) < needed:
        raise BenchError(
            f"{target.parent}: joining the {len(parts)} parts of {path.name} needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "free some space or choose another directory with --cache"
        )
    with complete_or_absent(target) as partial:
        _join(parts, headers, partial, progress)


def _parts(path: Path) -> list[Path]:
    names = shard_names(path.name)
    if len(names) == 1:
        raise BenchError(
            f"{path}: is one part of {_count(read_header(path))} but not named like one (NAME-00001-of-00003.gguf), so the others "
            "cannot be found; give the parts the names that they were made with"
        )
    parts = [path.with_name(n) for n in names]
    missing = [p.name for p in parts if not p.is_file()]
    if missing:
        raise BenchError(
            f"{path}: {len(missing)} of {len(parts)} parts are missing beside it, such as {missing[0]}; download them too"
        )
    return parts


def _count(header: Header) -> int:
    count = header.metadata.get("split.count", 1)
    return count if isinstance(count, int) else 1


def _check(parts: list[Path], headers: list[Header]) -> None:
    """Raise BenchError unless the parts are those of one model, each in its place."""
    expected = headers[0].metadata.get("split.tensors.count")
    for i, (part, header) in enumerate(zip(parts, headers, strict=True)):
        place = header.metadata.get("split.no"), _count(header), header.metadata.get("split.tensors.count")
        if place != (i, len(parts), expected):
            raise BenchError(
                f"{part}: says of itself that it is part {_ordinal(place[0])} of {place[1]} of a model of {place[2]} tensors, where part {i + 1} of "
                f"{len(parts)} of a model of {expected} is expected; the parts are not of one model, download them again"
            )
    names = [t.name for h in headers for t in h.tensors]
    if len(names) != expected or len(set(names)) != len(names):
        raise BenchError(
            f"{parts[0]}: its {len(parts)} parts hold {len(set(names))} tensors where {expected} are expected; they are not of one "
            "model, download them again"
        )


def _ordinal(number: object) -> object:
    return number + 1 if isinstance(number, int) else "?"


def _join(parts: list[Path], headers: list[Header], target: Path, progress: Callable[[float], None]) -> None:
    first = headers[0]
    tensors = [(t.name, t.shape, t.type, t.n_bytes) for h in headers for t in h.tensors]
    with parts[0].open("rb") as f:
        metadata = f.read(first.metadata_end)
    changes = dict.fromkeys(("split.no", "split.count", "split.tensors.count"))
    total, done = sum(t[3] for t in tensors), 0
    with target.open("wb") as out:
        out.write(file_head(metadata, first, changes, tensors))
        for part, header in zip(parts, headers, strict=True):
            with part.open("rb") as source:
                for tensor in header.tensors:
                    copy_bytes(source, tensor.start, tensor.n_bytes, out)
                    pad(out, first.alignment)
                    done += tensor.n_bytes
                    progress(done / total)
