"""Settings of windows, and the engine's own description: figures are comparable only where both are equal."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bench.execute.job import Frozen


class Settings(Frozen):
    """Settings for processing windows. Figures are comparable only if these are equal.

    window, batch, ubatch, generate in tokens; generate: tokens generated in each timed round, 0 for none.
    """

    window: Annotated[int, Field(ge=1, le=2**31)] = 2048
    batch: Annotated[int, Field(ge=1, le=2**31)] = 2048
    ubatch: Annotated[int, Field(ge=1, le=2**31)] = 512
    threads: Annotated[int, Field(ge=1, le=2**16)] = 1
    generate: Annotated[int, Field(ge=0, le=2**31)] = 32


class LibraryInfo(Frozen):
    """The loaded engine as it reports itself, and the label that follows from it."""

    binding: str
    llama_cpp: str
    features: tuple[str, ...]
    isa: str
