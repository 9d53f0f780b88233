"""Jobs for the engine itself: its description, tokens of a text, memory of a model."""

from __future__ import annotations

from typing import ClassVar

from bench.engine.settings import LibraryInfo, Offload
from bench.execute.content import Content
from bench.execute.job import Frozen, Job
from bench.texts.prompts import Part


class LibraryJob(Job[LibraryInfo]):
    """What the loaded library reports of itself."""

    done_by: ClassVar[str] = "bench.engine.answers:library_job"

    def patience(self) -> float:
        """Loading it begins the drivers of a build for GPUs."""
        return 600.0


class Device(Frozen):
    """A device that models can be computed on. kind: gpu, or integrated gpu; free, total: bytes of its memory."""

    name: str
    description: str
    kind: str
    free: int
    total: int


class Devices(Frozen):
    """In llama.cpp's order."""

    devices: tuple[Device, ...]


class DevicesJob(Job[Devices]):
    """Devices beside the CPU that the engine can compute on here. limit_s: seconds after which a driver is taken to hang; they take some to begin."""

    done_by: ClassVar[str] = "bench.engine.answers:devices_job"
    limit_s: float = 120.0

    def patience(self) -> float:
        return self.limit_s


class DeviceCheck(Frozen):
    """kl: mean KL divergence of the device's probabilities from the CPU's, nats; None where the device's are no numbers. pace: tokens of a prompt that the device
    computes in a second."""

    kl: float | None
    pace: float


class DeviceCheckJob(Job[DeviceCheck]):
    """Whether a device computes what the CPU does: the first tokens of the evaluation text, on both. limit_s: seconds after which its driver is taken to hang."""

    done_by: ClassVar[str] = "bench.engine.answers:device_check_job"

    model: Content
    offload: Offload
    threads: int
    limit_s: float

    def patience(self) -> float:
        return self.limit_s


class TokenizeResult(Frozen):
    tokens: int


class TokenizeJob(Job[TokenizeResult]):
    """Tokenize a part of the prompt set, or a text file, with a model's vocabulary. out: a TokenStream (texts/stream.py); template: of conversations, for a file that
    holds some."""

    done_by: ClassVar[str] = "bench.engine.answers:tokenize_job"

    model: Content
    source: Content | Part
    out: Content
    template: str | None = None


class PiecesResult(Frozen):
    pieces: tuple[str, ...]


class PiecesJob(Job[PiecesResult]):
    """The texts of `count` tokens of a stream from the token `first` on. Joined they are the text: a character of several
    tokens stands in the last of them."""

    done_by: ClassVar[str] = "bench.engine.answers:pieces_job"

    model: Content
    stream: Content
    first: int
    count: int


class SpansResult(Frozen):
    """lengths: bytes of the text that each token stands for, in the text's order; None where the tokens do not give the text back byte for
    byte."""

    lengths: tuple[int, ...] | None


class SpansJob(Job[SpansResult]):
    """Where in the text the first `count` tokens of its stream are. source: the text that the stream was made of."""

    done_by: ClassVar[str] = "bench.engine.answers:spans_job"

    model: Content
    stream: Content
    source: Content | Part
    count: int


class Buffers(Frozen):
    """What llama.cpp reserves for a context, in bytes, as it says itself. kv_cache: with the state of recurrent layers."""

    kv_cache: int
    compute: int
    output: int


class MemoryJob(Job[Buffers]):
    """What a context of `window` tokens takes beside the weights, in batches of `ubatch` (see memory.py)."""

    done_by: ClassVar[str] = "bench.engine.answers:memory_job"

    model: Content
    window: int
    ubatch: int = 512


class Pace(Frozen):
    """What limits generation on a machine (pace.py). bandwidth: bytes/s that `threads` threads read together; kernels: weights/s
    that one thread multiplies, by type."""

    threads: int
    bandwidth: float
    kernels: dict[str, float]


class PaceJob(Job[Pace]):
    """Measure what limits generation, with a number of threads."""

    done_by: ClassVar[str] = "bench.engine.answers:pace_job"
    pinned: ClassVar[bool] = True

    threads: int
