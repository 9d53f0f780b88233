"""Advice on sizes of model, where no model is named: which size, in which format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from bench.advise.advice import Advice, Shown, about, sixteen
from bench.advise.bits import n_weights, stored
from bench.advise.candidates import Candidate, of_size
from bench.advise.choice import AS_READ, FEW_BITS, READING, Pick, Recommendation, by_guide, called, is_faster
from bench.advise.gpu import of_candidates
from bench.advise.guide import GuideFormat, guide
from bench.advise.next_step import TO_NAME
from bench.advise.rows import of_candidate
from bench.advise.situation import Prefer, Situation
from bench.core.formats import MISSING, size
from bench.recipes.recipe import standard_formats

#: Stands behind a format of 3 bits and fewer.
_FEW = "few bits"


def on_sizes(here: Situation) -> Advice:
    """Which size of model, in which format."""
    by_model = {m.name: of_size(m, here) for m in guide().models}
    # what can be found on the hub for any model: no mixed recipes
    usual = {name: [c for c in rows if c.name in standard_formats()] for name, rows in by_model.items()}
    chosen = {name: by_guide(rows, here) for name, rows in usual.items()}
    taken = {name: found.take for name, found in chosen.items() if found.take and found.take.fit == "fits"}
    rows_taken = {name: next(c for c in by_model[name] if c.name == pick.name) for name, pick in taken.items()}
    found = _on_sizes(rows_taken, taken, here.wishes.prefer)
    sizes = pd.DataFrame(
        {
            "Model": list(by_model),
            "Take": [_marked(rows_taken[n]) if n in taken else MISSING for n in by_model],
            "Size": [size(taken[n].n_bytes) if n in taken else MISSING for n in by_model],
            "Memory": [size(taken[n].memory or 0) if n in taken else MISSING for n in by_model],
            "Tokens/s": [str((rows_taken[n].speed if n in taken else None) or MISSING) for n in by_model],
            "Like": [m.like for m in guide().models],
        }
    )
    whole = {name: there.whole for name, rows in usual.items() if (there := of_candidates(rows, here)) is not None}
    if here.gpu is not None:
        held = {n: next(c for c in usual[n] if c.name == p.name) for n, p in whole.items() if p}
        sizes.insert(5, "Whole on GPU", [_marked(held[n]) if n in held else MISSING for n in by_model])
    formats = guide().formats
    needs: dict[str, list[str]] = {"Format": [f.recipes[0] for f in formats]}
    for name, rows in by_model.items():
        by_name = {c.name: c for c in rows}
        needs[name] = [_need(by_name.get(f.recipes[0])) for f in formats]
    told = tuple(s for s in (*about(here), *sixteen(here)))
    data = tuple(
        of_candidate(c) | {"name": _model_in(n, c.name), "model": n} for n, rows in by_model.items() for c in rows
    )
    tables = (
        Shown(
            "What to take of each size of model",
            sizes,
            ("Tokens/s: generated on the CPU, expected", *_whole(here), *_few(rows_taken)),
        ),
        Shown(
            f"Memory by format and size of model, context of {here.wishes.context} tokens",
            pd.DataFrame(needs),
            (
                f"In brackets: only once other programs are closed; {MISSING}: does not fit, or stores nothing in the format",
            ),
        ),
        Shown("What each format is for", None, tuple(_in_words(f) for f in formats)),
    )
    return Advice("Sizes of model", found, here.wishes.context, tables, told, here, data, TO_NAME)


def _in_words(row: GuideFormat) -> str:
    """A format in a line: its bits per weight, when to take it and when not."""
    like = [m.name for m in guide().models if bool(m.experts) == row.only_experts]
    model = like[len(like) // 3]
    bits = stored(row.recipes[0], model).bits
    names = ", ".join(row.recipes)
    return f"{names} ({bits:.2f} bits per weight of {model}): take it when {row.use[0]}. Avoid it when {row.avoid[0]}."


def _marked(candidate: Candidate) -> str:
    return f"{candidate.name} ({_FEW})" if _has_few_bits(candidate) else candidate.name


def _whole(here: Situation) -> tuple[str, ...]:
    """The line of the key on the GPU, where there is one."""
    if here.gpu is None:
        return ()
    return (
        f"Whole on GPU: the best format of which {here.gpu.name} holds all ({size(here.gpu.room)} of its memory can be used)",
    )


def _few(rows: Mapping[str, Candidate]) -> tuple[str, ...]:
    """The line of the key on few bits, where a row is marked with them."""
    told = f"{_FEW}: 3 or fewer for each weight; answers are often wrong, so take a smaller model in 4 bits"
    return (told,) if any(map(_has_few_bits, rows.values())) else ()


def _has_few_bits(candidate: Candidate) -> bool:
    return candidate.format is not None and candidate.format.memory in FEW_BITS


def _on_sizes(rows: Mapping[str, Candidate], picks: Mapping[str, Pick], prefer: Prefer) -> Recommendation:
    """The largest size of model that generates as fast as one reads in 4 bits or more; the largest at all where quality is what
    matters most. rows, picks: what to take of each size."""
    weights = {m.name: n_weights(m) for m in guide().models}
    order = sorted((n for n, c in rows.items() if c.format and not _has_few_bits(c)), key=lambda n: weights[n])
    if not order:
        return Recommendation(
            None, None, None, ("No size of model fits in 4 bits or more. Close other programs, or allow more memory.",)
        )
    at_ease = [n for n in order if (speed := rows[n].speed) and speed.middle >= READING]
    if prefer == "quality":
        name = order[-1]
        why = "It is the largest size of model that fits in 4 bits or more, in the best format of it that fits."
    elif at_ease:
        name = at_ease[-1]
        why = f"It is the largest size of model that fits in 4 bits or more and generates {AS_READ}."
    else:
        name = order[0]
        why = f"No size of model generates {AS_READ} here; this is the smallest."
    i = order.index(name)
    more = order[i + 1 : i + 2]
    faster = {n for n in order[:i] if is_faster(rows[n], rows[name])}
    lighter = {n for n in order[:i] if rows[n].n_bytes < rows[name].n_bytes}
    less = [n for n in order[:i] if n in faster | lighter]
    # one that is at ease or at least faster, before one that only saves memory
    small = next(reversed([n for n in less if n in faster or n in at_ease] or less), None)

    def pick(model: str, why: str) -> Pick:
        return replace(picks[model], name=_model_in(model, picks[model].name), why=why)

    return Recommendation(
        pick(name, why),
        pick(small, f"It needs {size(rows[small].memory.needed)} of memory.") if small else None,
        pick(more[0], _better(rows[more[0]])) if more else None,
        (),
        called(small in faster, small in lighter),
    )


def _better(row: Candidate) -> str:
    slow = row.speed is not None and row.speed.middle < READING
    pace = f" It generates slower than one reads ({READING:.0f} tokens/s)." if slow else ""
    return f"It is a larger model and needs {size(row.memory.needed)} of memory.{pace}"


def _model_in(model: str, recipe: str) -> str:
    return f"a model of {model} in {recipe}"


def _need(candidate: Candidate | None) -> str:
    if candidate is None or candidate.fit == "does not fit":
        return MISSING
    need = size(candidate.memory.needed)
    return need if candidate.fit == "fits" else f"({need})"
