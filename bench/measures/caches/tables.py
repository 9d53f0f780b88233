"""Tables of caches from records, as text."""

from __future__ import annotations

import pandas as pd

from bench.core.formats import MISSING, divergence_change, divergence_text, percent, share, size
from bench.measures.caches import statistics as stats
from bench.measures.caches.frames import rotated
from bench.measures.caches.statistics import CONTROL, Measured
from bench.records.run import Run
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import TOGETHER, verdicts, with_interval

KEY = f"""\
Key
- Cache: types of keys and values, K/V where they differ; f16 is llama.cpp's own choice; f16 without flash attention is the control: another kernel for the same
- Size: of the cache for {{window}} tokens; B/token: its bytes for each; Rotated: whether llama.cpp rotates keys (K) and values (V) before it quantizes them
- KL to f16: mean divergence from the same file with a cache in f16, in nats: what the cache alone costs; Same top: share of tokens with the same most likely token
- Δ PPL: of perplexity against the same file with a cache in f16, paired by window; a change no larger than the control's is within the measurement floor, and so is a KL to f16 that is marked (floor)
- KL, Δ KL: divergence from the reference with a cache in f16, and how much of it the cache adds
- {TOGETHER}"""

POSITIONS_KEY = """\
Key
- Columns: positions in the window of the tokens that count; figures: mean divergence from the same file with a cache in f16, in nats [95 %]"""


def caches_table(run: Run) -> pd.DataFrame:
    """Every file with every cache; empty without any."""
    rows: list[dict[str, object]] = []
    changes: list[Estimate | None] = []
    for name, found in stats.all_measured(run).items():
        control = stats.measured(run, name, CONTROL)
        own_floor = control.kl(stats.own) if control is not None else None
        for m in found:
            is_judged = not m.cache.is_plain and m.cache != CONTROL
            change = stats.above_floor(m.ppl_change(), control) if is_judged else None
            changes.append(change)
            rows.append(_row(name, m, own_floor))
    words = verdicts(changes, "better", "worse")
    table = pd.DataFrame(rows)
    if rows:
        judged = [MISSING if c is None else w for c, w in zip(changes, words, strict=True)]
        table.insert(list(table).index("Δ PPL [95 %]") + 1, "Verdict", judged)
        # of a run that measured the reference alone
        table = table.loc[
            :, [c for c in table if not (c in ("KL [95 %]", "Δ KL [95 %]") and (table[c] == MISSING).all())]
        ]
    return table


def _row(name: str, m: Measured, own_floor: Estimate | None) -> dict[str, object]:
    plain, kept = m.cache.is_plain, m.kept

    def text(estimate: Estimate | None, form: object) -> str:
        return MISSING if estimate is None else with_interval(estimate, form)  # type: ignore[arg-type]

    own = m.kl(stats.own)
    at_floor = own is not None and own_floor is not None and m.cache != CONTROL and own.value <= own_floor.value
    return {
        "Recipe": name,
        "Cache": m.cache.name,
        "Size": MISSING if kept is None else size(kept.k_bytes + kept.v_bytes),
        "B/token": MISSING if kept is None else f"{(kept.k_bytes + kept.v_bytes) / kept.cells:,.0f}",
        "Rotated": rotated(kept) or MISSING,
        "KL to f16 [95 %]": MISSING if plain else text(own, divergence_text) + (" (floor)" if at_floor else ""),
        "Same top [95 %]": MISSING if plain else text(m.same_top(stats.own), share),
        "Δ PPL [95 %]": MISSING if plain else text(m.ppl_change(), percent),
        "KL [95 %]": text(m.kl(stats.reference), divergence_text),
        "Δ KL [95 %]": MISSING if plain else text(m.kl_change(), divergence_change),
    }


def positions_table(run: Run) -> pd.DataFrame:
    """Where in the window a cache begins to drift: divergence from the same file with a cache in f16, part by part."""
    rows = []
    for name, found in stats.all_measured(run).items():
        for m in found:
            if m.cache.is_plain or not (by_position := m.kl_by_position(stats.own)):
                continue
            row, last = {"Recipe": name, "Cache": m.cache.name}, run.identity.settings.first_scored
            for part, kl in zip(m.windows[0].by_position, by_position, strict=True):
                first, last = last + 1, last + part.tokens
                row[f"{first}-{last}"] = with_interval(kl, divergence_text)
            rows.append(row)
    return pd.DataFrame(rows)


def notes(run: Run) -> list[str]:
    """What llama.cpp does not compute."""
    return [f"{name} with a cache of {cache.name}: {why}" for name, cache, why in stats.refused(run)]
