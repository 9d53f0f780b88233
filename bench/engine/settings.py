"""How windows are processed, and what the engine is: figures compare only where both are equal."""

from __future__ import annotations

from bench.execute.job import Frozen


class Settings(Frozen):
    """How windows are processed. Figures compare only between equal settings.

    window, batch, ubatch, generate in tokens; generate: tokens generated in each timed round, 0 for none.
    """

    window: int = 2048
    batch: int = 2048
    ubatch: int = 512
    threads: int = 1
    generate: int = 32


class LibraryInfo(Frozen):
    """The loaded engine as it reports itself, and the label that follows from it."""

    binding: str
    llama_cpp: str
    features: tuple[str, ...]
    isa: str
