"""The inputs of advice: the machine that it is for, and the user's requirements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.advise.cpu import has
from bench.advise.guide import GuideFormat
from bench.advise.speed import Limits
from bench.core.errors import BenchError
from bench.core.formats import size
from bench.engine.memory import DEVICE_SHARE, MachineMemory
from bench.recipes.sizes import parse_size

#: Left to the system and other programs: this share of memory, and this many bytes at least.
_HEADROOM, _LEAST_HEADROOM = 0.05, 500_000_000
#: Share of a described machine's memory that is taken to be in use by its system and other programs.
IN_USE = 0.25

Fit = Literal["fits", "tight", "does not fit"]
Prefer = Literal["balance", "quality", "speed"]

#: Types that hold a model's weights without quantizing them.
SIXTEEN = ("BF16", "F16")


def usable(n_bytes: int) -> int:
    """What is left of memory for a model."""
    return max(0, n_bytes - max(_LEAST_HEADROOM, int(_HEADROOM * n_bytes)))


def fit(needed: int, machine: MachineMemory) -> Fit:
    """Whether so many bytes fit in what is available, with some headroom. tight: only once other programs are closed."""
    if needed <= usable(machine.available):
        return "fits"
    return "tight" if needed <= usable(machine.total) else "does not fit"


def room(machine: MachineMemory) -> str:
    """How much memory a model may use, in words."""
    return (
        f"{size(usable(machine.total))} can be used of {size(machine.total)}, and now {size(usable(machine.available))}"
    )


def described_memory(total: int) -> MachineMemory:
    """The memory of a machine that is only told of."""
    return MachineMemory(total, int(total * (1 - IN_USE)))


def bytes_of(text: str, option: str) -> int:
    """Bytes of `80MB` or `8GB`. Raises BenchError, which names the option, for what is no number of bytes."""
    try:
        found = parse_size(text)
        n_bytes = None if found.together else found.n_bytes
    except ValueError:
        n_bytes = None
    if n_bytes is None:
        raise BenchError(f"{option} {text}: is no number of bytes; write for instance 80MB, 8GB or 8GiB")
    return n_bytes


def bandwidth_of(text: str) -> float:
    """Bytes a second of `50GB/s` or `50GB`. Raises BenchError for what is none."""
    try:
        return float(bytes_of(text.strip().removesuffix("/s"), "--bandwidth"))
    except BenchError as e:
        raise BenchError(f"--bandwidth {text}: is no number of bytes a second; write for instance 50GB/s") from e


@dataclass(frozen=True)
class Wishes:
    """context: tokens; max_size: bytes of a file, None for any; prefer: see choice.py."""

    context: int = 4096
    max_size: int | None = None
    prefer: Prefer = "balance"

    def allows(self, n_bytes: int) -> bool:
        return self.max_size is None or n_bytes <= self.max_size

    def that_fit(self, verb: str) -> str:
        """`fits` or `fits and has at most 80.0M`. verb: fits, or fit for several."""
        have = "has" if verb == "fits" else "have"
        return verb if self.max_size is None else f"{verb} and {have} at most {size(self.max_size)}"


@dataclass(frozen=True)
class Gpu:
    """A GPU beside the CPU. free, total: bytes of its memory."""

    name: str
    free: int
    total: int

    @property
    def room(self) -> int:
        """Bytes that a model may use: what it takes there is a forecast."""
        return int(DEVICE_SHARE * self.free)


@dataclass(frozen=True)
class Situation:
    """cpu: instruction sets; features: of the engine, as LibraryInfo has them; limits: of generation, None where not known;
    stored: the type of 16 bits that the model is in, None for another; described: whether it is a machine that is only told of;
    memory_described: whether its memory is told too, or else is this machine's; gpu: None for none."""

    cpu: tuple[str, ...]
    features: tuple[str, ...]
    machine: MachineMemory
    limits: Limits | None = None
    wishes: Wishes = Wishes()
    stored: str | None = None
    described: bool = False
    memory_described: bool = False
    gpu: Gpu | None = None

    def suits(self, row: GuideFormat) -> bool:
        """Whether the format is at its best here."""
        if self.stored and row.name in SIXTEEN:
            return row.name == self.stored
        return not row.wants or any(has(self.cpu, w) for w in row.wants)
