"""Measurements side by side with the tools, and their report."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pandas as pd
from pydantic import BaseModel, ConfigDict

from bench.core.errors import BenchError
from bench.core.formats import markdown
from bench.peers.side_by_side import Ran
from bench.peers.values import Value


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Targets(_Frozen):
    """Largest ratios of ours to the tools' that are aimed for; None where nothing was set."""

    wall: float | None = None
    memory: float | None = None
    disk: float | None = None


class Round(_Frozen):
    """One side of one round: wall seconds, bytes of the largest process and of the watched files."""

    seconds: float
    alone: float
    peak_bytes: int
    disk_bytes: int

    @classmethod
    def of(cls, ran: Ran) -> Round:
        return cls(seconds=ran.seconds, alone=ran.alone, peak_bytes=ran.peak_bytes, disk_bytes=ran.disk_bytes)


class Measured(_Frozen):
    """A work done by both, round by round, with what it was measured on."""

    work: str
    targets: Targets
    where: str
    tools: tuple[Round, ...]
    ours: tuple[Round, ...]
    values: tuple[Value, ...]


def together(before: Measured | None, new: Measured) -> Measured:
    """The rounds of both, with the newer values.

    Raises: BenchError if they are not of the same work, machine and versions.
    """
    if before is None:
        return new
    for field in ("work", "where"):
        if (old := getattr(before, field)) != (now := getattr(new, field)):
            raise BenchError(f"--add: the rounds before are of another {field}: {old}; now: {now}; measure them anew")
    return new.model_copy(update={"tools": before.tools + new.tools, "ours": before.ours + new.ours})


def _ratios(m: Measured, of: Callable[[Round], float]) -> list[float]:
    return [of(o) / of(t) for t, o in zip(m.tools, m.ours, strict=True) if of(t) and of(o)]


def table_row(m: Measured) -> dict[str, str]:
    figures = {
        "wall": (_ratios(m, lambda r: r.seconds), m.targets.wall),
        "memory": (_ratios(m, lambda r: r.peak_bytes), m.targets.memory),
        "disk": (_ratios(m, lambda r: r.disk_bytes), m.targets.disk),
    }
    row = {
        "Work": m.work,
        "Rounds": str(len(m.ours)),
        "Tools": f"{median(r.seconds for r in m.tools):.1f} s, {median(r.peak_bytes for r in m.tools) / 1e6:.0f} MB",
        "Ours": f"{median(r.seconds for r in m.ours):.1f} s, {median(r.peak_bytes for r in m.ours) / 1e6:.0f} MB",
    }
    verdicts = []
    for name, (ratios, target) in figures.items():
        spread = f" [{min(ratios):.2f}, {max(ratios):.2f}]" if len(ratios) > 1 else ""
        aim = "" if target is None else f" (≤ {target:g})"
        row[f"{name.capitalize()} ratio"] = f"{median(ratios):.2f}{spread}{aim}" if ratios else "–"
        if target is not None:
            verdicts.append((name, bool(ratios) and median(ratios) <= target))
    missed = [name for name, met in verdicts if not met]
    row["Target"] = f"missed: {', '.join(missed)}" if missed else "met" if verdicts else "–"
    return row


def overview(measured: list[Measured]) -> str:
    """Where it was measured, and a row for every work."""
    where = (f"- {where}" for where in dict.fromkeys(m.where for m in measured))
    return "\n\n".join([*where, markdown(pd.DataFrame([table_row(m) for m in measured]))])


def times(measured: list[Measured]) -> str:
    """Ratios of wall time with their targets, the ones that were missed included: a row for every work."""
    rows = [table_row(m) for m in measured if m.targets.wall is not None]
    shown = [
        {"Work": r["Work"], "Time, ours / tools (target)": r["Wall ratio"], "Target": r["Target"].partition(":")[0]}
        for r in rows
    ]
    missed = sum(r["Target"].startswith("missed") for r in rows)
    said = f"{missed} of {len(rows)} comparisons missed a target." if missed else "Every comparison met its target."
    return f"{markdown(pd.DataFrame(shown))}\n\n{said}"


def report(measured: list[Measured]) -> str:
    lines = [
        "# Side by side with llama.cpp's tools",
        "Made by `nox -s peers`. The same work by both in alternating slices of time, of which only a side's own count; process "
        "start and load included, nothing cached on our side. Memory is that of the largest process. Ratios are ours / tools: "
        "median [smallest, largest] over rounds, with the target in parentheses.",
        overview(measured),
    ]
    for m in measured:
        if m.values:
            lines += [f"## {m.work}", markdown(pd.DataFrame([v.row() for v in m.values]))]
    return "\n\n".join(lines) + "\n"
