"""Meanings and units of the columns of this measure's tables."""

from __future__ import annotations

from bench.measures.columns import FAMILY, RECIPE, SHARE, TOKENS_PER_SECOND, Column, Columns

FILES = Columns(
    "files",
    "`load_run(...).files`, `tables/full.csv`",
    "One row a file, the reference first. A run without speeds (`--no-speed`) has no columns of time, here and in the other tables.",
    (
        RECIPE,
        FAMILY,
        Column("base", "format that the recipe starts from; what is compared pairwise has the same"),
        Column("bytes", "size of the file", "bytes"),
        Column("bits_per_weight", "8 x bytes of tensors / number of weights", "bits"),
        Column("windows", "windows on record; a file that lacks one has no figures"),
        Column("replaced_tensors", "tensors that llama.cpp stored in another type than asked, for their width"),
        Column("sha256", "hash of the file"),
        Column("ppl", "perplexity, exp(mean NLL) over the scored tokens of all windows", "", interval=True),
        Column("ppl_se", "token-level standard error of the perplexity, as llama-perplexity prints it"),
        Column("tokens", "scored tokens of all windows"),
        Column(
            "window_seconds",
            "time to process one window where nothing disturbs it; in runs that timed windows as a whole, the median over passes",
            "s",
            interval=True,
        ),
        Column("window_seconds_half_iqr", "half the interquartile range of the time as it was", "s"),
        Column("prompt_tokens_per_second", "tokens of a window / that time (pp)", TOKENS_PER_SECOND),
        Column(
            "generation_tokens_per_second",
            "generated tokens / their time, likewise (tg); none when not timed",
            TOKENS_PER_SECOND,
            interval=True,
        ),
        Column("load_seconds", "time to load model and context, median", "s"),
        Column("peak_memory_bytes", "largest resident memory of the measuring process", "bytes"),
        Column("disturbed_passes", "passes in which other work took more than 5 % of the CPU time"),
        Column(
            "joules_per_prompt_token",
            "energy of the processors' packages for a window / its tokens, typical pass; this and the next four only where the machine lets "
            "its counters be read",
            "J/token",
            interval=True,
        ),
        Column(
            "prompt_energy_ratio_vs_reference",
            "that energy / the reference's: trimmed mean of the ratios within passes",
            "ratio",
            interval=True,
        ),
        Column(
            "joules_per_generated_token",
            "energy of the packages while tokens are generated / their number, typical pass",
            "J/token",
            interval=True,
        ),
        Column(
            "generation_energy_ratio_vs_reference", "that energy / the reference's, likewise", "ratio", interval=True
        ),
        Column("idle_watts", "power of the packages at rest before the passes, median; it is part of all joules", "W"),
        Column(
            "ppl_change_vs_reference",
            "PPL / PPL of the reference - 1, paired by window; 0.1 is 10 % worse",
            "ratio",
            interval=True,
        ),
        Column("kl", "mean KL divergence from the reference over the scored tokens", "nats", interval=True),
        Column("same_top", "tokens where the likeliest token is the reference's", SHARE, interval=True),
        Column(
            "p_change_rms",
            "root mean square of the change of the correct token's probability (RMS Δp)",
            "probability",
            interval=True,
        ),
        *(
            Column(
                f"kl_{p:g}", f"{'median' if p == 50 else f'{p:g} % percentile'} of the KL divergence of tokens", "nats"
            )
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
            "time for a window / that of the standard file of the same base: trimmed mean of the ratios within passes",
            "ratio",
            interval=True,
        ),
    ),
    index=("recipe",),
)


WINDOWS = Columns(
    "windows",
    "`load_run(...).windows`",
    "One row a recipe and window on record; also for a file that lacks others.",
    (
        RECIPE,
        FAMILY,
        Column("window", "index of the window in the text"),
        Column(
            "tokens", "scored tokens of the window; unless asked otherwise, its second half but for the first of it"
        ),
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
    ),
    index=("recipe", "window"),
)


KINDS = Columns(
    "kinds",
    "`load_run(...).kinds`",
    "One row a recipe with all its windows and a kind of prompt.",
    (
        RECIPE,
        FAMILY,
        Column("kind", "kind of prompt: prose, code and so on; `text` for a text of one's own"),
        Column("tokens", "scored tokens of the kind"),
        Column("ppl", "perplexity over them"),
        Column("kl", "mean KL divergence from the reference over them", "nats"),
    ),
    index=("recipe", "kind"),
)


TOKENS = Columns(
    "tokens",
    "`load_run(...).tokens(recipe)`",
    "One row a scored token, in the text's order. What is against the reference is missing for the reference itself.",
    (
        Column("window", "index of the window in the text"),
        Column(
            "position",
            "place of the token in its window, from 0; in a run of traces, its number among the scored tokens of the window, from 1",
        ),
        Column("kind", "kind of prompt that the token is of"),
        Column("nll", "negative log-likelihood of the token", "nats"),
        Column("top_correct", "whether the likeliest token is the correct one"),
        Column("kl", "KL divergence from the reference's distribution for this token", "nats"),
        Column("p_change", "probability of the correct token minus the reference's", "probability"),
        Column("same_top", "whether the likeliest token is the reference's"),
        Column("reference_top_correct", "whether the reference's likeliest token is the correct one"),
    ),
    index=("window", "position"),
)


BITS = Columns(
    "bits",
    "`load_run(...).bits`",
    "One row a file with all its windows, in runs of this version.",
    (
        RECIPE,
        Column(
            "bits_per_byte",
            "-log2 of the probability of the scored text, for each of its bytes (UTF-8)",
            "bits",
            interval=True,
        ),
        Column("bits_per_word", "the same for each word between white space", "bits", interval=True),
        Column("n_bytes", "bytes that the scored tokens spell", "bytes"),
        Column("n_words", "words that they spell"),
    ),
    index=("recipe",),
)


DISTANCES = Columns(
    "distances",
    "`load_run(...).distances`",
    "One row a recipe that was compared with the reference, in runs of this version. `surety_0` to `surety_4`: tokens for which the reference's largest probability lies in one of five equal ranges, from the least sure.",
    (
        RECIPE,
        Column("kl", "mean KL(reference || file)", "nats", interval=True),
        Column("reverse_kl", "mean KL(file || reference)", "nats", interval=True),
        Column(
            "overlap",
            "mean over tokens of the sum of min(p, p_ref): the expected share of drafted tokens that the reference keeps",
            SHARE,
            interval=True,
        ),
        Column("macro_kl", "mean over kinds of prompt of the KL of each", "nats"),
        *(
            column
            for i in range(5)
            for column in (
                Column(f"tokens_surety_{i}", "share of the scored tokens in this range", SHARE),
                Column(f"kl_surety_{i}", "mean KL over the tokens in this range", "nats", interval=True),
            )
        ),
    ),
    index=("recipe",),
)


POSITIONS = Columns(
    "positions",
    "`load_run(...).positions`",
    "One row a recipe and part of the window; the scored tokens of a window are in parts of equal length. Without the reference, and without files that were not compared with it token by token.",
    (
        RECIPE,
        Column("first", "place in the window of the part's first token, from 0"),
        Column("last", "place of its last token"),
        Column("kl", "mean KL divergence from the reference", "nats", interval=True),
        Column(
            "p_change_rms",
            "root mean square of the change of the correct token's probability",
            "probability",
            interval=True,
        ),
        Column("nll_change", "mean negative log-likelihood minus the reference's", "nats", interval=True),
    ),
    index=("recipe", "first"),
)


#: Of recipes that are held against others.
_CHANGES = (
    RECIPE,
    Column("against", "name of the recipe that it is held against"),
    Column("bytes", "size of the recipe's file", "bytes"),
    Column("bytes_change", "size / that of the other's file - 1", "ratio"),
    Column("ppl_change", "PPL / PPL of the other - 1, paired by window; -0.1 is 10 % better", "ratio", interval=True),
    Column("kl_change", "mean KL divergence minus that of the other, paired by window", "nats", interval=True),
    Column(
        "time_ratio",
        "time for a window / that of the other: trimmed mean of the ratios within passes",
        "ratio",
        interval=True,
    ),
    Column(
        "generation_ratio",
        "time for a generated token / that of the other: trimmed mean of the ratios within passes",
        "ratio",
        interval=True,
    ),
    Column(
        "can_be_told",
        "whether the reference can judge both files; it cannot judge files of as many bits as it was once stored in itself",
    ),
)

PAIRED = Columns(
    "paired",
    "`load_run(...).paired()`",
    "One row a mixed recipe, held against the standard file of the same base, or a recipe that was asked for.",
    _CHANGES,
    index=("recipe",),
)

EQUAL_SIZE = Columns(
    "equal-size",
    "`load_run(...).equal_size()`",
    "One row a recipe that got its types within the size of another: automatic choices, and random controls.",
    (*_CHANGES, Column("is_control", "whether it is a random control of the other")),
    index=("recipe",),
)


COMPARISON = Columns(
    "comparison",
    "`tables/comparison.csv`",
    "The published form, as text.",
    (
        Column("Quantization", "format that both files start from"),
        Column("Standard PPL", "perplexity of llama.cpp's own mix"),
        Column("DynamicGate PPL", "perplexity of the mixed recipe"),
        Column("Δ PPL", "change from the first to the second, paired by window", "%"),
        Column("Std Size", "size of the standard file", "M: 10^6, G: 10^9 bytes"),
        Column("DG Size", "size of the mixed file", "M: 10^6, G: 10^9 bytes"),
        Column("Δ Size", "mixed minus standard", "M: 10^6, G: 10^9 bytes"),
        Column("Std Speed", "time for one window, standard", "s"),
        Column("DG Speed", "time for one window, mixed", "s"),
    ),
)
