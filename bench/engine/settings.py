"""Settings of windows, and the engine's own description: figures are comparable only where both are equal."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from bench.core.errors import BenchError, nearest
from bench.execute.job import Frozen


class Offload(Frozen):
    """A device beside the CPU that computes scores. device: its name with llama.cpp, such as Vulkan0; description: what its driver calls it; layers: of
    the model that it holds, counting the output as one; what is left is the CPU's."""

    device: str
    description: str
    layers: Annotated[int, Field(ge=1, le=2**16)]

    @property
    def in_words(self) -> str:
        return f"{self.device} ({self.description})"


class Settings(Frozen):
    """Settings for processing windows. Figures are comparable only if these are equal.

    window, batch, ubatch, generate in tokens; generate: tokens generated in each timed round, 0 for none. scored: `half`, the second half of each
    window, whose first token is replaced by BOS where the vocabulary asks for it (llama-perplexity's convention); `all`, every token but the
    first, and nothing is replaced (the convention of the papers on GPTQ, AQLM and QuIP#); `written`, the tokens of a conversation that a model
    wrote (texts/traces.py), of which each window holds one. offload: the device that scores are computed on, None for the CPU, of which then nothing is told.
    """

    window: Annotated[int, Field(ge=1, le=2**31)] = 2048
    batch: Annotated[int, Field(ge=1, le=2**31)] = 2048
    ubatch: Annotated[int, Field(ge=1, le=2**31)] = 512
    threads: Annotated[int, Field(ge=1, le=2**16)] = 1
    generate: Annotated[int, Field(ge=0, le=2**31)] = 32
    scored: Literal["half", "all", "written"] = "half"
    offload: Offload | None = Field(default=None, exclude_if=lambda value: value is None)

    @property
    def on_cpu(self) -> Self:
        """The same on the CPU, where speeds are measured."""
        return self.model_copy(update={"offload": None})

    @property
    def first_scored(self) -> int:
        """Index in the window of the first token whose logits are scored: for the token after it."""
        return self.window // 2 if self.scored == "half" else 0

    @property
    def with_bos(self) -> bool:
        """Whether the first token of a window is replaced by BOS, where the vocabulary asks for it."""
        return self.scored == "half"

    @property
    def scored_text(self) -> str:
        """What is said behind the size of windows where it is not the usual half of them that is scored."""
        return {
            "half": "",
            "all": ", all tokens scored",
            "written": ", a conversation each, the model's own tokens scored",
        }[self.scored]

    @property
    def logits(self) -> int:
        """Tokens of a window whose logits are kept, at most."""
        return self.window - self.first_scored


#: Types that llama.cpp keeps keys and values in, most bits first, with the numbers that ggml.h gives them.
CACHE_TYPES = {
    "f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q5_1": 7, "q5_0": 6, "q4_1": 3, "q4_0": 2, "iq4_nl": 20,
}  # fmt: skip


class Cache(Frozen):
    """How attention keeps keys and values, as llama.cpp does it unless told.

    k, v: their types; flash: whether attention may be computed by the kernel that fuses its steps (flash attention), which llama.cpp takes where
    it can, and must take where v is quantized; rotation: whether it may rotate keys and values before they are quantized.
    """

    k: str = "f16"
    v: str = "f16"
    flash: bool = True
    rotation: bool = True

    @classmethod
    def parse(cls, named: str, option: str) -> Self:
        """`q8_0`, or `q8_0/q4_0` for keys and values. Raises BenchError, which begins with the option, for what llama.cpp has no type of."""
        k, _, v = named.strip().lower().partition("/")
        for part in (k, v or k):
            if part not in CACHE_TYPES:
                raise BenchError(
                    f"{option} {named}: llama.cpp has no cache type {part!r}{nearest(part, CACHE_TYPES)}; give one of {', '.join(CACHE_TYPES)}"
                )
        return cls(k=k, v=v or k)

    @property
    def is_plain(self) -> bool:
        """Whether it is what scores and speeds are measured with unless told."""
        return self == PLAIN

    @property
    def is_quantized(self) -> bool:
        return any("q" in t for t in (self.k, self.v))

    @property
    def name(self) -> str:
        """`q8_0`, `q8_0/q4_0`, and what is unusual about it."""
        types = self.k if self.k == self.v else f"{self.k}/{self.v}"
        return ", ".join(
            [types, *([] if self.flash else ["no flash attention"]), *([] if self.rotation else ["no rotation"])]
        )


#: What scores and speeds are measured with unless told.
PLAIN = Cache()


class LibraryInfo(Frozen):
    """The loaded engine as it reports itself, and the label that follows from it."""

    binding: str
    llama_cpp: str
    features: tuple[str, ...]
    isa: str
