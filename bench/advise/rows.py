"""The candidates for programs: files of a run, files of a repository and formats, all in one form."""

from __future__ import annotations

from dataclasses import asdict

from bench.advise.candidates import Candidate
from bench.advise.measured import Measured
from bench.advise.situation import Fit
from bench.advise.speed import Speed
from bench.engine.memory import Memory


def of_candidate(c: Candidate) -> dict[str, object]:
    """A format or a file of unmeasured quality. format: what the guide calls it, None for what it does not know."""
    known: dict[str, object] = {
        "file": c.file,
        "bits_per_weight": c.bits,
        "format": c.format.name if c.format else None,
    }
    return _row(c.name, c.n_bytes, c.memory, c.fit, c.speed) | known


def of_measured(m: Measured, needs: Memory | None) -> dict[str, object]:
    """A file of a run. needs: memory of its use, None where only the peak of its measurement is known."""
    known: dict[str, object] = {
        "family": m.family,
        "perplexity": m.perplexity,
        "ppl_change": asdict(m.ppl_change) if m.ppl_change else None,
        "kl": asdict(m.kl) if m.kl else None,
        "beyond": m.beyond,
        "beaten_by": m.beaten_by,
        "is_reference": m.is_reference,
        "memory_is_estimate": m.memory_is_estimate,
    }
    return _row(m.recipe, m.n_bytes, needs or m.memory, m.fit, m.speed) | known


def _row(name: str, n_bytes: int, memory: Memory | int, fit: Fit, speed: Speed | None) -> dict[str, object]:
    """What every candidate has. memory: bytes, with its parts where they are known; fits: `fits`, `tight` or `does not fit`;
    tokens_per_second: value is in the middle of what is expected, or measured."""
    parts = {"needed": memory} if isinstance(memory, int) else {"needed": memory.needed} | asdict(memory)
    pace = (
        {"low": speed.low, "high": speed.high, "value": speed.middle, "measured": speed.measured is not None}
        if speed
        else None
    )
    return {"name": name, "bytes": n_bytes, "memory": parts, "tokens_per_second": pace, "fits": fit}
