"""Values of single tokens in a file beside the records, for published runs: compressed, in a format that any program reads.

Most of a record file is values of tokens, as text. `pack` moves them into tokens.parquet beside it: one row per scored token, in
the order of the records. Each record then refers to its rows. Nothing is rounded: read back, the records are the same to the bit.
A packed run may be continued; new values are in the record file until it is packed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.measures.windows.jobs import TokenData, WindowResult, pack, unpack
from bench.measures.windows.records import FloorRecord, Rows, WindowRecord
from bench.records.identity import FORMAT, Header
from bench.records.record import Record
from bench.records.run import FILE_NAME, Run

if TYPE_CHECKING:
    import pyarrow as pa

TOKENS_FILE = "tokens.parquet"
_FLOATS = ("nll", "kl", "p_change")
#: Metadata of the file that names the run.
_RUN = b"run"

Scored = TypeVar("Scored", WindowRecord, FloorRecord)


@dataclass(frozen=True)
class Apart:
    """The values of tokens of a run that stand apart. directory: of the run; run: its id."""

    directory: Path
    run: str

    @property
    def path(self) -> Path:
        return self.directory / TOKENS_FILE

    @cached_property
    def _table(self) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.path.is_file():
            raise BenchError(f"{self.path}: is missing; copy it beside {FILE_NAME}, whose records refer to it")
        try:
            table = pq.read_table(self.path)
        except (OSError, pa.ArrowException) as e:
            raise BenchError(f"{self.path}: cannot be read ({e}); restore it as it was published") from e
        if (table.schema.metadata or {}).get(_RUN) != self.run.encode():
            raise BenchError(
                f"{self.path}: holds the tokens of another run than {FILE_NAME}; restore both as they were published"
            )
        lacking = [
            name for name, kind in _columns().items() if name not in table.column_names or table[name].type != kind
        ]
        if lacking:
            raise BenchError(
                f"{self.path}: lacks {', '.join(lacking)} as this program writes them; restore it as it was published"
            )
        return table

    def filled(self, record: Scored) -> Scored:
        """A record with its values of tokens. Raises BenchError where the two files do not belong together."""
        if record.apart is None:
            return record
        rows = record.apart
        part = self._table.slice(rows.first, rows.count)
        whose = {"recipe": _recipe(record), "window": record.result.window}
        if part.num_rows != rows.count or any(set(part[c].to_pylist()) != {value} for c, value in whose.items()):
            raise BenchError(
                f"{self.path}: does not have the tokens of {whose['recipe']}, window {whose['window']}; it belongs to another "
                f"{FILE_NAME}, restore both as they were published"
            )
        index = {name: i for i, name in enumerate(rows.kind_names)}
        values: dict[str, Any] = {name: _packed(part, name) for name in _FLOATS}
        try:
            data = TokenData(
                kind_names=rows.kind_names,
                kinds=pack(np.array([index[k] for k in part["kind"].to_pylist()]), np.uint8),
                flags=pack(part["flags"].to_numpy(), np.uint8),
                **values,
            )
            result = WindowResult(**{**dict(record.result), "tokens": data})
        except (KeyError, ValueError) as e:  # another kind of prompt; what does not go together
            raise BenchError(
                f"{self.path}: the tokens of {whose['recipe']}, window {whose['window']}, do not go with their record; restore both "
                "files as they were published"
            ) from e
        return record.model_copy(update={"result": result, "apart": None})


def _columns() -> dict[str, pa.DataType]:
    """Columns of the file, with their types."""
    import pyarrow as pa

    whose = {"recipe": pa.string(), "window": pa.int32(), "kind": pa.string(), "flags": pa.uint8()}
    return whose | dict.fromkeys(_FLOATS, pa.float32())


def _recipe(record: WindowRecord | FloorRecord) -> str:
    return record.recipe if isinstance(record, WindowRecord) else ""


def _packed(part: pa.Table, name: str) -> str | None:
    """A column of floats as TokenData has it; None for one without values."""
    column = part[name]
    return None if column.null_count else pack(column.to_numpy(), np.float32)


def pack_tokens(run: Run) -> bool:
    """Move the values of tokens out of a run's record file, if any are in it. Returns whether there were.

    The run is one that was loaded from its directory. Both files are replaced only once what was written has been read back
    and found to be the same.
    """
    directory = run.directory
    scored = [r for r in run.records if isinstance(r, WindowRecord | FloorRecord)]
    if directory is None or not any(r.result.tokens is not None for r in scored):
        return False
    whole = _whole(run.records, Apart(directory, run.header.id))
    table, records = _split(whole)
    table = table.replace_schema_metadata({_RUN: run.header.id.encode()})
    target = directory / TOKENS_FILE
    header = run.header.model_copy(update={"format": FORMAT})
    # the tokens get their name first: the records that are there until then do not need them, or find theirs in them
    with complete_or_absent(directory / FILE_NAME) as lines, complete_or_absent(target) as partial:
        _write(table, partial)
        lines.write_bytes(_lines(directory / FILE_NAME, run, header, records))
        if _whole(records, _Written(partial, run.header.id)) != whole:
            raise BenchError(f"{target}: read back, it is not what was written; nothing was changed, report this")
    return True


def _whole(records: Sequence[Record], apart: Apart) -> tuple[Record, ...]:
    """Records with their values of tokens."""

    def filled(record: Record) -> Record:
        if isinstance(record, WindowRecord):
            return apart.filled(record)
        return apart.filled(record) if isinstance(record, FloorRecord) else record

    return tuple(map(filled, records))


@dataclass(frozen=True)
class _Written(Apart):
    """The file before it has its name. directory: its path."""

    @property
    def path(self) -> Path:
        return self.directory


def _split(records: Sequence[Record]) -> tuple[pa.Table, list[Record]]:
    """All values of tokens as one table, and the records that refer to it."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in _columns()}
    kept: list[Record] = []
    first = 0
    for r in records:
        if not (isinstance(r, WindowRecord | FloorRecord) and (data := r.result.tokens) is not None):
            kept.append(r)
            continue
        flags = unpack(data.flags, np.uint8)
        n = len(flags)
        names = np.array(data.kind_names, object)
        columns["recipe"].append(pa.array([_recipe(r)] * n))
        columns["window"].append(pa.array(np.full(n, r.result.window), pa.int32()))
        columns["kind"].append(pa.array(names[unpack(data.kinds, np.uint8)]))
        columns["flags"].append(pa.array(flags))
        for name in _FLOATS:
            packed = getattr(data, name)
            values = pa.nulls(n, pa.float32()) if packed is None else pa.array(unpack(packed, np.float32))
            columns[name].append(values)
        rows = Rows(first=first, count=n, kind_names=data.kind_names)
        result = r.result.model_copy(update={"tokens": None})
        kept.append(r.model_copy(update={"result": result, "apart": rows}))
        first += n
    return pa.table({name: pa.chunked_array(parts) for name, parts in columns.items()}), kept


def _write(table: pa.Table, path: Path) -> None:
    """Bytes of floats are put side by side before they are compressed: those of exponents are much alike."""
    import pyarrow.parquet as pq

    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=["recipe", "window", "kind", "flags"],
        use_byte_stream_split=list(_FLOATS),
    )


def _lines(path: Path, run: Run, header: Header, records: Sequence[Record]) -> bytes:
    """The record file with what has changed. Every other line stays as it was written, by whatever version."""
    _, *written = path.read_bytes().split(b"\n")[:-1]
    lines = [
        line if new is old else new.model_dump_json().encode()
        for line, old, new in zip(written, run.records, records, strict=True)
    ]
    return b"".join(line + b"\n" for line in (header.model_dump_json().encode(), *lines))
