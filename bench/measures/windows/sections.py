"""The sections of windows: the tables of windows.tables under their headings, and their columns in the tables of all files."""

from __future__ import annotations

import pandas as pd

from bench.measures.sections import FileColumn, Section, Table
from bench.measures.windows import bits, by_cpu, distances, tables
from bench.measures.windows import statistics as stats
from bench.measures.windows.equal_size import equal_size_key, equal_size_summary, equal_size_table
from bench.measures.windows.positions import KEY as POSITIONS_KEY
from bench.measures.windows.positions import positions_table
from bench.measures.windows.runs import windows_of
from bench.records.families import pairs
from bench.records.resolution import resolution
from bench.records.run import Run


def _fields(run: Run) -> dict[str, object]:
    """What the keys of tables name of a run."""
    i = run.identity
    return {
        "window": i.settings.window,
        "windows": i.windows,
        "isa": i.library.isa,
        "threads": i.settings.threads,
        "timed": _timed(run) if i.speeds else "",
        "ratios": tables.PAIRED_RATIOS if i.speeds else "",
        "prompts": i.prompts.name + i.settings.scored_text,
    }


def _timed(run: Run) -> str:
    """What a time of a window is, for keys."""
    in_pieces = any(w and stats.pieces(w) is not None for w in map(windows_of(run).results, run.files))
    if in_pieces:
        return f"what it takes where nothing disturbs it, by {run.windows} passes side by side"
    return f"median ± half the interquartile range over {run.windows} passes"


def published(run: Run) -> Table | None:
    """The published form; None for a run without the method's files."""
    frame = tables.published_table(run)
    if frame.empty:
        return None
    gated = [p.gated or "" for p in pairs(run)]
    some = "".join(gated[:1]) + (" and so on" if len(gated) > 1 else "")
    key = tables.PUBLISHED_KEY + (tables.PUBLISHED_SPEED_KEY if run.identity.speeds else f"\n- {tables.NO_SPEEDS}")
    what = "Perplexity, size and speed" if run.identity.speeds else "Perplexity and size"
    return Table(
        "published",
        f"{what} of Standard and DynamicGate",
        frame,
        key=key.format(**_fields(run), gated=some),
        page_key=key.format(**_fields(run), gated=", ".join(gated)),
    )


def headline(run: Run) -> list[Section]:
    """The published form, and mixed recipes against the standard ones."""
    found = []
    if (table := published(run)) is not None:
        found.append(Section("Comparison", "comparison", (table,), bare=True))
    if len(paired := tables.paired_table(run)):
        title = "Against Standard of the same type, paired"
        key = tables.PAIRED_KEY.format(**_fields(run))
        found.append(Section(title, "paired", (Table("paired-table", "Paired with Standard", paired, key=key),)))
    return found


def sections(run: Run) -> list[Section]:
    """Distance from the reference, recipes of equal size, kinds of prompt, speeds on several CPUs."""
    found = []
    if len(reference := tables.reference_table(run)):
        table = Table("reference-table", "Distance from the reference", reference, key=tables.reference_key(run))
        found.append(Section("Against the reference", "reference", (table,), place=1))
    if len(sizes := equal_size_table(run)):
        table = Table("equal-size-table", "Held against a recipe of the same size", sizes, key=equal_size_key(run))
        found.append(Section("At equal size", "equal-size", (table,), said=tuple(equal_size_summary(run))))
    kinds = [
        Table(name, caption, frame, heading=heading)
        for name, caption, heading, frame in (
            ("kinds-ppl", "Perplexity by kind of prompt", "Perplexity by kind of prompt", tables.kinds_table(run)),
            (
                "kinds-kl",
                "KL divergence from the reference by kind of prompt, in nats",
                "KL divergence from the reference by kind of prompt",
                tables.kl_kinds_table(run),
            ),
        )
        if len(frame)
    ]
    if kinds:
        found.append(Section("By kind of prompt", "kinds", tuple(kinds), place=2))
    if len(found_bits := bits.bits_table(run)):
        table = Table("bits-table", "Bits for each byte and word of the text", found_bits, key=bits.KEY)
        found.append(Section("Bits per byte", "bits", (table,), place=3))
    if len(more := distances.distances_table(run)):
        made = (
            Table("distances-table", "More distances from the reference", more, key=distances.KEY),
            Table(
                "surety-table",
                "Divergence by how sure the reference was",
                distances.surety_table(run),
                key=distances.SURETY_KEY,
                label="By how sure the reference was:",
            ),
        )
        found.append(Section("More distances", "distances", made, place=3))
    if len(positions := positions_table(run)):
        table = Table(
            "positions-table", "Distance from the reference by position in the window", positions, key=POSITIONS_KEY
        )
        found.append(Section("By position in the window", "positions", (table,), place=4))
    if len(speeds := by_cpu.by_cpu_table(run)):
        table = Table("by-cpu-table", "Speed by CPU model", speeds, key=by_cpu.KEY.format(**_fields(run)))
        found.append(Section("Speed by CPU model", "by-cpu", (table,), place=5))
    return found


def summary_tables(run: Run) -> list[Table]:
    """What an index of runs shows of one."""
    found = [t for t in (published(run),) if t is not None]
    if len(sizes := equal_size_table(run, against="Standard")):
        caption = "Automatic choices held against Standard of the same size"
        found.append(Table("equal-size", caption, sizes, key=equal_size_key(run)))
    return found


_PPL = "PPL: perplexity, lower is better"
#: Columns of the tables of all files: (title, its raw figure, whether Markdown has it, what a card says of it or None).
_COLUMNS: tuple[tuple[str, str, bool, str | None], ...] = (
    ("PPL [95 %]", "ppl", True, _PPL),
    ("SE", "ppl_se", True, None),
    ("vs reference", "ppl_change_vs_reference", True, "vs reference: perplexity against the reference's, paired"),
    ("KL [95 %]", "kl", False, "KL: mean divergence from the reference in nats, lower is better"),
    ("Same top [95 %]", "same_top", False, None),
    ("Window", "window_seconds", True, None),
    ("pp", "prompt_tokens_per_second", True, "pp: tokens of a prompt processed per second"),
    ("tg", "generation_tokens_per_second", True, "tg: tokens generated per second"),
    ("Memory", "peak_memory_bytes", True, None),
    ("Load", "load_seconds", True, None),
    *((title, figure, True, None) for title, figure in tables.ENERGY_COLUMNS.items()),
)


def file_columns(run: Run) -> list[FileColumn]:
    """Every figure of a file as a column."""
    raw, full, reference = tables.full_frame(run), tables.full_table(run), tables.reference_table(run)
    found = []
    for title, figure, everywhere, card in _COLUMNS:
        source = full if title in full else reference
        if card == _PPL and len(reference):
            card = None  # divergence tells more, and the absolute interval hides what is paired
        if title in source:
            cells = dict(zip(source["Recipe"], source[title], strict=True))
            values = (
                dict(zip(raw["recipe"], pd.to_numeric(raw[figure]).to_list(), strict=True)) if figure in raw else None
            )
            found.append(FileColumn(title, cells, values, everywhere=everywhere, card=card))
    return found


def file_key(run: Run, *, everywhere: bool) -> list[str]:
    """What those columns mean; everywhere: of those that every table has."""
    key = tables.FULL_KEY + (tables.FULL_SPEED_KEY if run.identity.speeds else tables.FULL_MEMORY_KEY)
    lines = key.format(**_fields(run)).splitlines()
    if any(figure in tables.full_frame(run) for figure in tables.ENERGY_COLUMNS.values()):
        lines += tables.ENERGY_KEY.splitlines()
    if not everywhere and len(tables.reference_table(run)):
        lines += [line.partition("; ")[0] for line in tables.REFERENCE_KEY.splitlines()[1:3]]
    lines += [key for key in (resolution(run).key(run.files),) if key]
    return [line.removeprefix("- ") for line in lines]
