"""Two runs of different models side by side: bits per byte of the text that both scored, file by file.

Perplexities of tokens do not compare between vocabularies; the probability that each gives to the same bytes does. So "3B in Q4 or 1.5B
in Q8?" has an answer, with an interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from bench.core.errors import BenchError
from bench.core.formats import size
from bench.measures.columns import Column, Columns
from bench.measures.frames import interval
from bench.measures.windows.common_text import CommonText, common_text
from bench.records.identity import SPEEDS
from bench.records.run import Run
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import TOGETHER, shown, verdicts, with_interval

#: What may differ between runs of two models: how much of the text they scored, and what no score depends on.
_MAY_DIFFER = (
    "model.", "importance", "machine.", SPEEDS, "windows ", "until", "settings.threads ", "settings.generate ",
)  # fmt: skip

COLUMNS = Columns(
    "compared-models",
    "`compare_runs(...)` of runs of two models",
    "One row a file of the first run and a file of the second: bits for a byte of the text that both runs scored, paired by stretch of text; by size.",
    (
        Column("recipe_a", "name of a recipe of the first run, or of its reference"),
        Column("recipe_b", "the same of the second run"),
        Column("bytes_a", "size of the file of the first run", "bytes"),
        Column("bytes_b", "size of the file of the second run", "bytes"),
        Column(
            "bits_per_byte_a",
            "-log2 of the probability that the file of the first run gives the text, for each of its bytes (UTF-8)",
            "bits",
            interval=True,
        ),
        Column("bits_per_byte_b", "the same of the file of the second run", "bits", interval=True),
        Column("bits_per_byte_change", "that of the second run minus that of the first", "bits", interval=True),
        Column(
            "better",
            "file that is shown to take fewer bits: A, of the first run, or B; none where no difference is shown. Judged for all rows together",
        ),
        Column("similar_size", "whether one of the two is the nearest in size to the other among the files of its run"),
        Column("text_bytes", "bytes of the text that both runs scored", "bytes"),
    ),
    index=("recipe_a", "recipe_b"),
)

KEY = f"""\
Key
- Bits/byte: -log2 of the probability that a file gives the text which both runs scored, for each of its bytes (UTF-8); lower is better
- B - A: paired by stretch of text, with its 95 % interval
- Context: windows of each model have the same number of tokens, but begin elsewhere in the text; so a stretch may stand behind more text for one than for the other
- {TOGETHER}"""


def are_of_two_models(a: Run, b: Run) -> bool:
    """Whether the runs have other reference models, so that what compares is bits per byte."""
    return a.identity.model.sha256 != b.identity.model.sha256


@dataclass(frozen=True)
class Pair:
    """A file of run A and one of run B. change: bits per byte of B minus those of A; similar: whether one is the nearest in size to the other."""

    a: str
    b: str
    bytes_a: int
    bytes_b: int
    bits_a: Estimate
    bits_b: Estimate
    change: Estimate
    similar: bool


class ModelComparison:
    """Files of two runs of different models, every one of A with every one of B, by size. Raises BenchError for runs that do not compare."""

    def __init__(self, a: Run, b: Run) -> None:
        # one text may have two names
        aside = ("prompts.name ",) if a.identity.prompts.sha256 == b.identity.prompts.sha256 else ()
        different = [d for d in a.identity.differences(b.identity) if not d.startswith((*_MAY_DIFFER, *aside))]
        if different:
            raise BenchError(
                f"cannot compare: {'; '.join(different)}; the bits per byte of two models compare on one text, in windows of the same number of "
                "tokens, scored alike by the same build of the engine"
            )
        self._runs = a, b
        self.common: CommonText = common_text(a, b)

    @cached_property
    def pairs(self) -> list[Pair]:
        """All pairs, small ones first."""
        common = self.common
        in_a, in_b = (
            {n: run.files[n].n_bytes for n in of}
            for run, of in zip(self._runs, (common.bits_a, common.bits_b), strict=True)
        )
        similar = {(n, _nearest(n_bytes, in_b)) for n, n_bytes in in_a.items()}
        similar |= {(_nearest(n_bytes, in_a), n) for n, n_bytes in in_b.items()}
        of_a, of_b = {n: common.of_a(n) for n in in_a}, {n: common.of_b(n) for n in in_b}
        found = [
            Pair(x, y, in_a[x], in_b[y], of_a[x], of_b[y], common.change(x, y), (x, y) in similar)
            for x in in_a
            for y in in_b
        ]
        return sorted(found, key=lambda p: (p.bytes_a * p.bytes_b, p.bytes_a))

    def frame(self) -> pd.DataFrame:
        """All pairs as numbers."""
        told = shown([p.change for p in self.pairs])
        return pd.DataFrame(
            [
                {
                    "recipe_a": p.a,
                    "recipe_b": p.b,
                    "bytes_a": p.bytes_a,
                    "bytes_b": p.bytes_b,
                    **interval("bits_per_byte_a", p.bits_a),
                    **interval("bits_per_byte_b", p.bits_b),
                    **interval("bits_per_byte_change", p.change),
                    "better": ("B" if p.change.value < 0 else "A") if is_shown else None,
                    "similar_size": p.similar,
                    "text_bytes": self.common.total_bytes,
                }
                for p, is_shown in zip(self.pairs, told, strict=True)
            ]
        )

    def table(self, *, everything: bool = False) -> pd.DataFrame:
        """Pairs of similar size, or all of them, as text."""
        pairs = [p for p in self.pairs if everything or p.similar]
        words = verdicts([p.change for p in pairs], "B better", "A better")
        return pd.DataFrame(
            [
                {
                    "A": p.a,
                    "Size A": size(p.bytes_a),
                    "B": p.b,
                    "Size B": size(p.bytes_b),
                    "Bits/byte A": f"{p.bits_a.value:.4f}",
                    "Bits/byte B": f"{p.bits_b.value:.4f}",
                    "B - A [95 %]": with_interval(p.change, "{:+.4f}".format),
                    "Verdict": word,
                }
                for p, word in zip(pairs, words, strict=True)
            ]
        )

    def notes(self, *, everything: bool = False) -> list[str]:
        """What a reader must know beside the table, a sentence each."""
        common = self.common
        shares = [
            f"{100 * common.total_bytes / x.n_bytes:.0f} % of what {n} scored"
            for n, x in (("A", common.a), ("B", common.b))
        ]
        said = [
            f"Both runs scored {common.total_bytes:,} bytes of the text, {' and '.join(shares)}, in {common.layout.n_windows} windows."
        ]
        if common.a.run.identity.settings.scored == "half":
            said.append(
                "The second half of each window is scored, so text that lies in the first half of a window of one model is left out; --score "
                "all in both runs leaves the least out."
            )
        left = sum(not p.similar for p in self.pairs)
        if left and not everything:
            said.append(
                f"Each file stands beside that of the other run which is nearest in size; --all shows {left} more pair{'s' if left > 1 else ''}."
            )
        return said


def _nearest(n_bytes: int, sizes: dict[str, int]) -> str:
    """The file whose size is nearest by ratio, the first of several."""
    return min(sizes, key=lambda n: max(sizes[n], n_bytes) / max(min(sizes[n], n_bytes), 1))
