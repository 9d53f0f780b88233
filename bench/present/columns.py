"""What every column of the tables that programs read means, and its unit: docs/columns.md is made of this.

A test holds it against the frames themselves: no column without a meaning, no meaning without its column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SHARE = "share of 1"
_TOKENS_PER_SECOND = "tokens/s"


@dataclass(frozen=True)
class Column:
    """A column. unit: empty for what has none; interval: whether NAME_low and NAME_high follow, its 95 % interval."""

    name: str
    meaning: str
    unit: str = ""
    interval: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, f"{self.name}_low", f"{self.name}_high") if self.interval else (self.name,)


@dataclass(frozen=True)
class Table:
    """A table. where: how to get it; about: what a row is, and what is not said by single columns."""

    name: str
    where: str
    about: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, the ends of intervals among them."""
        return tuple(name for column in self.columns for name in column.names)


_RECIPE = Column("recipe", "name of the recipe, or of the reference")
_FAMILY = Column("family", "Reference, Standard (llama.cpp's own mix), DynamicGate and so on")

_FILES = (
    _RECIPE,
    _FAMILY,
    Column("base", "format that the recipe starts from; what is compared pairwise has the same"),
    Column("bytes", "size of the file", "bytes"),
    Column("bits_per_weight", "8 x bytes of tensors / number of weights", "bits"),
    Column("windows", "windows on record; a file that lacks one has no figures"),
    Column("replaced_tensors", "tensors that llama.cpp stored in another type than asked, for their width"),
    Column("sha256", "hash of the file"),
    Column("ppl", "perplexity, exp(mean NLL) over the scored tokens of all windows", "", interval=True),
    Column("ppl_se", "token-level standard error of the perplexity, as llama-perplexity prints it"),
    Column("tokens", "scored tokens of all windows"),
    Column("window_seconds", "time to process one window, median over passes", "s"),
    Column("window_seconds_half_iqr", "half the interquartile range of that time", "s"),
    Column("prompt_tokens_per_second", "tokens of a window / median time (pp)", _TOKENS_PER_SECOND),
    Column(
        "generation_tokens_per_second", "generated tokens / their median time (tg); none when not timed", "tokens/s"
    ),
    Column("load_seconds", "time to load model and context, median", "s"),
    Column("peak_memory_bytes", "largest resident memory of the measuring process", "bytes"),
    Column("disturbed_passes", "passes in which other work took more than 5 % of the CPU time"),
    Column(
        "ppl_change_vs_reference",
        "PPL / PPL of the reference - 1, paired by window; 0.1 is 10 % worse",
        "ratio",
        interval=True,
    ),
    Column("kl", "mean KL divergence from the reference over the scored tokens", "nats", interval=True),
    Column("same_top", "tokens where the likeliest token is the reference's", _SHARE, interval=True),
    Column(
        "p_change_rms",
        "root mean square of the change of the correct token's probability (RMS Δp)",
        "probability",
        interval=True,
    ),
    *(
        Column(f"kl_{p:g}", f"{'median' if p == 50 else f'{p:g} % percentile'} of the KL divergence of tokens", "nats")
        for p in (50, 90, 95, 99, 99.9)
    ),
    Column("kl_max", "largest KL divergence of a token", "nats"),
    Column("right_to_wrong", "tokens whose likeliest token is the correct one in the reference only"),
    Column("wrong_to_right", "tokens whose likeliest token is the correct one here only"),
    Column(
        "ppl_change_vs_standard",
        "PPL / PPL of the standard file of the same base - 1, paired by window",
        "ratio",
        interval=True,
    ),
    Column(
        "time_ratio_vs_standard",
        "time for a window / that of the standard file of the same base, median of the ratios within passes",
        "ratio",
        interval=True,
    ),
)

_WINDOWS = (
    _RECIPE,
    _FAMILY,
    Column("window", "index of the window in the text"),
    Column("tokens", "scored tokens of the window: its second half, but for the first of it"),
    Column("nll", "sum of the negative log-likelihoods of the scored tokens", "nats"),
    Column("ppl", "perplexity of the window"),
    Column("kl", "mean KL divergence from the reference over the scored tokens", "nats"),
    Column("seconds", "time to process the window from an empty context", "s"),
    Column("generate_seconds", "time to generate the run's number of tokens (run.identity.settings.generate)", "s"),
    Column("load_seconds", "time to load model and context", "s"),
    Column("scoring_seconds", "time from logits to scores, not part of seconds", "s"),
    Column("peak_memory_bytes", "largest resident memory of the process up to the end of the window", "bytes"),
    Column("disturbed", "whether other work took more than 5 % of the CPU time"),
    Column("load", "load average of the machine over the minute before", "processes"),
    Column("sitting", "when the program was started; times compare within a sitting and a window only"),
)

_KINDS = (
    _RECIPE,
    _FAMILY,
    Column("kind", "kind of prompt: prose, code and so on; `text` for a text of one's own"),
    Column("tokens", "scored tokens of the kind"),
    Column("ppl", "perplexity over them"),
    Column("kl", "mean KL divergence from the reference over them", "nats"),
)

_TENSOR = (
    Column("tensor", "name of the tensor"),
    Column("layer", "layer from 0, none for a tensor outside the layers"),
    Column("kind", "kind of tensor, as recipes name it: attention-v, feed-forward-down, embeddings"),
    Column("type", "type it is stored in"),
    Column("bits", "bits per weight of that type, scales included", "bits"),
    Column("asked", "type that was asked for; another than `type` where llama.cpp replaced it"),
)

_TOKENS = (
    Column("window", "index of the window in the text"),
    Column("position", "place of the token in its window, from 0"),
    Column("kind", "kind of prompt that the token is of"),
    Column("nll", "negative log-likelihood of the token", "nats"),
    Column("top_correct", "whether the likeliest token is the correct one"),
    Column("kl", "KL divergence from the reference's distribution for this token", "nats"),
    Column("p_change", "probability of the correct token minus the reference's", "probability"),
    Column("same_top", "whether the likeliest token is the reference's"),
    Column("reference_top_correct", "whether the reference's likeliest token is the correct one"),
)

_PROBLEMS = (
    Column("set", "name of the set of problems"),
    Column("scored", "what is scored: gap (infill), all or assistant (conversations)"),
    _RECIPE,
    Column("problem", "name of the problem"),
    Column("group", "language or topic"),
    Column("tokens", "scored tokens"),
    Column("ppl", "perplexity over them"),
    Column("kl", "mean KL divergence from the reference over them", "nats"),
    Column("same_top", "tokens where the likeliest token is the reference's", _SHARE),
    Column("exact", "1 for a gap that is filled to the letter, else 0"),
    Column("similarity", "1 - edit distance / length of the longer, of completion and what belongs there", _SHARE),
    Column("completion", "what the file wrote"),
    Column("expected", "what belongs into the gap"),
)

_SAMPLES = (
    _RECIPE,
    Column("prompt", "name of the prompt"),
    Column("text", "the prompt"),
    Column("completion", "what the file wrote after it, always its likeliest token"),
    Column("tokens", "tokens that it wrote"),
    Column("ended", "whether it came to an end by itself, before the limit"),
    Column("same_until", "index of the first token that is not the reference's, none where all are", "tokens"),
    Column("agreeing", "the reference's tokens that stand at the same place", _SHARE),
)

_SENSITIVITY = (
    *_TENSOR[:3],
    Column("weights", "number of weights"),
    Column("measured_in", "type that most tensors of this measurement were quantized to"),
    Column("type", "type that this tensor was quantized to, alone"),
    Column("saved_bytes", "bytes that this saves", "bytes"),
    Column("weighted_error", "relative error of the weights, weighted by the importance matrix", "ratio"),
    Column("kl", "mean KL divergence of the output from the reference that it causes", "nats"),
)

_COMPARISON = (
    Column("Quantization", "format that both files start from"),
    Column("Standard PPL", "perplexity of llama.cpp's own mix"),
    Column("DynamicGate PPL", "perplexity of the mixed recipe"),
    Column("Δ PPL", "change from the first to the second, paired by window", "%"),
    Column("Std Size", "size of the standard file", "M: 10^6, G: 10^9 bytes"),
    Column("DG Size", "size of the mixed file", "M: 10^6, G: 10^9 bytes"),
    Column("Δ Size", "mixed minus standard", "M: 10^6, G: 10^9 bytes"),
    Column("Std Speed", "median time for one window, standard", "s"),
    Column("DG Speed", "median time for one window, mixed", "s"),
)

_COMPARED = (
    Column("Recipe", "name of a recipe that both runs have"),
    Column("Δ PPL [95 %]", "change of perplexity from the first run to the second, paired by window", "%"),
    Column("Perplexity", "what the interval allows to say: B is the second run"),
    Column("Δ KL [95 %]", "change of the mean KL divergence from the reference", "nats"),
    Column("Δ Size", "change of the file's size", "%"),
    Column(
        "Time ratio to reference [95 %]",
        "time for a window, each relative to its run's reference in the same pass: second run / first",
        "ratio",
    ),
    Column("Time", "what that interval allows to say"),
)

TABLES = (
    Table("files", "`load_run(...).files`, `tables/full.csv`", "One row a file, the reference first.", _FILES),
    Table(
        "windows",
        "`load_run(...).windows`",
        "One row a recipe and window on record; also for a file that lacks others.",
        _WINDOWS,
    ),
    Table("kinds", "`load_run(...).kinds`", "One row a recipe with all its windows and a kind of prompt.", _KINDS),
    Table("types", "`load_run(...).types`", "One row a recipe and tensor.", (_RECIPE, _FAMILY, *_TENSOR)),
    Table(
        "tokens",
        "`load_run(...).tokens(recipe)`",
        "One row a scored token, in the text's order. What is against the reference is missing for the reference itself.",
        _TOKENS,
    ),
    Table(
        "problems",
        "`load_run(...).problems`",
        "One row a recipe and infill problem or conversation; empty for a run without any.",
        _PROBLEMS,
    ),
    Table(
        "samples",
        "`load_run(...).samples`",
        "One row a recipe and prompt that it went on from; empty for a run without any.",
        _SAMPLES,
    ),
    Table("recipe", "`resolve_recipe(...)`", "One row a tensor, in the order of the model.", _TENSOR),
    Table("compared", "`compare_runs(...)`", "One row a recipe of both runs, as text.", _COMPARED),
    Table("comparison", "`tables/comparison.csv`", "The published form, as text.", _COMPARISON),
    Table(
        "sensitivity", "`sensitivity.csv`", "One row a tensor and type that it was quantized to alone.", _SENSITIVITY
    ),
)


def table(name: str) -> Table:
    """The table of that name; KeyError for none."""
    return {t.name: t for t in TABLES}[name]


def markdown() -> Iterator[str]:
    """docs/columns.md, line by line."""
    yield "# Columns"
    yield ""
    yield "Made by `nox -s docs` from `bench/present/columns.py`. Figures that do not exist are empty (NaN, None), never 0."
    yield "A column with an interval has two more, NAME_low and NAME_high: its 95 % interval, empty for fewer than 6 windows."
    yield "`files` leaves out the columns that a run has no figures for at all, such as `kl` in a run without a reference."
    for t in TABLES:
        yield from ("", f"## {t.name}", "", f"{t.where}. {t.about}", "", "| column | unit | meaning |", "|---|---|---|")
        for c in t.columns:
            yield f"| {f'`{c.name}`, with interval' if c.interval else f'`{c.name}`'} | {c.unit} | {c.meaning} |"
