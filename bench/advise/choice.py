"""Choosing one of several files of unmeasured quality, by the guide: the one to take, a smaller or faster one, a better one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.advise.candidates import Candidate
from bench.advise.situation import SIXTEEN, Situation, room
from bench.core.formats import size

#: Tokens a second that one reads: 238 words a minute (Brysbaert 2019, How many words do we read per minute?), and about 4 tokens
#: for 3 words of English.
READING = 238 / 60 * 4 / 3

#: The same in words, for speeds that are expected: a range of them counts by its middle.
AS_READ = f"as fast as one reads ({READING:.0f} tokens/s or more in the middle of the expected range)"

#: An alternative differs in size from what is recommended by this share at least, if there is such a file.
_APART = 0.08

#: More bits than are worth their memory and time, unless quality is what matters most.
_LARGE = (*SIXTEEN, "Q8_0")

#: What the guide calls formats of 3 bits and fewer.
FEW_BITS = ("very low", "ultra low")


@dataclass(frozen=True)
class Pick:
    """name: what to take; file: in a repository, where it is in one; why: a sentence; speed: in words, None where nothing tells;
    measured: whether it was measured."""

    name: str
    n_bytes: int
    why: str
    memory: int | None
    fit: str | None
    speed: str | None
    file: str | None = None
    measured: bool = False


@dataclass(frozen=True)
class Recommendation:
    """take: None when nothing can be recommended; then `because` says why and what to do. Sentences are whole. smaller_is: what the
    smaller one is against what is taken: `Smaller`, `Faster`, or `Smaller and faster`."""

    take: Pick | None
    smaller: Pick | None
    better: Pick | None
    because: tuple[str, ...]
    smaller_is: str = "Smaller"


def by_guide(candidates: Sequence[Candidate], here: Situation) -> Recommendation:
    """candidates: most bits first.

    prefer quality: the best that fits, of 16 bits only where nothing else is there. balance: the best of at most 6 bits that fits
    and generates as fast as one reads; of 8 and then 16 bits where nothing else of 4 bits and more is there, since formats of 3
    bits and fewer are no price for speed. speed: the fastest of 4 bits and more.
    """
    allowed = [c for c in candidates if here.wishes.allows(c.n_bytes)]
    fitting = [c for c in allowed if c.fit == "fits"] or [c for c in allowed if c.fit == "tight"]
    if not fitting:
        return Recommendation(None, None, None, (_nothing(candidates, here),))
    good = [c for c in fitting if c.format and not c.format.superseded and here.suits(c.format)] or fitting
    large = _LARGE if here.wishes.prefer == "balance" else SIXTEEN
    many = [c for c in good if not (c.format and c.format.memory in FEW_BITS)]
    left = ([c for c in many if not _is_one_of(c, dropped)] for dropped in (large, SIXTEEN, ()))
    take, why = _taken(good, next(filter(None, left), []), here)
    less = [c for c in good if c.n_bytes < take.n_bytes and candidates.index(c) > candidates.index(take)]
    more = [c for c in good if c.n_bytes > take.n_bytes and candidates.index(c) < candidates.index(take)]
    smaller = next((c for c in less if c.n_bytes <= (1 - _APART) * take.n_bytes), less[0] if less else None)
    better = next((c for c in reversed(more) if c.n_bytes >= (1 + _APART) * take.n_bytes), more[-1] if more else None)
    return Recommendation(
        _pick(take, why),
        _pick(smaller, _use(smaller)) if smaller else None,
        _pick(better, _use(better)) if better else None,
        _caveats(take, here),
        called(is_faster(smaller, take)),
    )


def is_faster(one: Candidate | None, other: Candidate) -> bool:
    """Whether one is expected to generate faster; not where nothing tells."""
    return bool(one and one.speed and other.speed and one.speed.middle > other.speed.middle)


def called(faster: bool, smaller: bool = True) -> str:
    """What an alternative is called that is one of these, or both."""
    if smaller:
        return "Smaller and faster" if faster else "Smaller"
    return "Faster"


def _is_one_of(candidate: Candidate, formats: Sequence[str]) -> bool:
    return candidate.format is not None and candidate.format.name in formats


def _kind(enough: Sequence[Candidate], prefer: str) -> str:
    """What the candidates of 4 bits and more are that one is taken of; nothing where that is no kind of its own."""
    if any(c.format is None or _is_one_of(c, SIXTEEN) for c in enough):
        return ""
    few = prefer == "balance" and not any(_is_one_of(c, _LARGE) for c in enough)
    return " of at most 6 bits" if few else " of the quantized files"


def _taken(good: Sequence[Candidate], enough: Sequence[Candidate], here: Situation) -> tuple[Candidate, str]:
    """What to take, and why. enough: those of 4 bits and more to take one of."""
    limit, prefer = here.wishes.that_fit("fits"), here.wishes.prefer
    if not enough:
        return good[0], f"It has the best quality that {limit}, and nothing of 4 bits and more does."
    kind = _kind(enough, prefer)
    if prefer == "quality":
        return enough[0], f"It has the best quality{kind} that {here.wishes.that_fit('fit') if kind else limit}."
    if prefer == "speed":
        fastest = max(enough, key=lambda c: c.speed.middle if c.speed else -c.n_bytes)
        return fastest, "It generates fastest of the formats with 4 bits and more; fewer bits cost too much quality."
    at_ease = [c for c in enough if c.speed and c.speed.middle >= READING]
    if at_ease:
        verb, generate = ("fit", "generate") if kind == " of the quantized files" else ("fits", "generates")
        return (
            at_ease[0],
            f"It has the best quality{kind} that {here.wishes.that_fit(verb)} and {generate} {AS_READ}.",
        )
    first = next((c for c in enough if _is_one_of(c, ("Q4_K", "Q4_0", "IQ4_XS"))), None)
    usual = "the usual compromise between size and quality"
    take, what = (first, usual) if first else (enough[-1], "the smallest file of 4 bits and more")
    if take.speed is None:
        return take, f"It is {what}, and it fits."
    slow = f"No format of 4 bits and more generates {AS_READ}"
    return take, f"{slow}. This one is {what}."


def _use(candidate: Candidate) -> str:
    return f"Take it when {candidate.format.use[0]}." if candidate.format else "The guide does not know its format."


def _pick(c: Candidate, why: str) -> Pick:
    speed = f"{c.speed} tokens/s (expected)" if c.speed else None
    return Pick(c.name, c.n_bytes, why, c.memory.needed, c.fit, speed, c.file)


def _caveats(take: Candidate, here: Situation) -> tuple[str, ...]:
    said = []
    if take.fit == "tight":
        said.append("It fits only once other programs are closed.")
    if take.format and take.format.memory == "ultra low":
        said.append("So few bits often make answers wrong: prefer a smaller model of 4 bits, if there is one.")
    return tuple(said)


def _nothing(candidates: Sequence[Candidate], here: Situation) -> str:
    smallest = min(candidates, key=lambda c: c.n_bytes)
    if not any(here.wishes.allows(c.n_bytes) for c in candidates):
        most = here.wishes.max_size or 0
        return (
            f"No file has at most {size(most)}: the smallest is {smallest.name} with {size(smallest.n_bytes)}. "
            "Allow more with --max-size, or take a smaller model."
        )
    least = min(candidates, key=lambda c: c.memory.needed)
    return (
        f"Nothing fits: {least.name} needs {size(least.memory.needed)} of memory; {room(here.machine)}. "
        "Take a smaller model or a shorter --context."
    )
