"""Functions that do the engine's jobs, in a worker process."""

from __future__ import annotations

from bench.engine.device_check import compared
from bench.engine.devices import devices
from bench.engine.jobs import (
    Buffers,
    DeviceCheck,
    DeviceCheckJob,
    Devices,
    DevicesJob,
    LibraryJob,
    MemoryJob,
    Pace,
    PaceJob,
    PiecesJob,
    PiecesResult,
    SpansJob,
    SpansResult,
    TokenizeJob,
    TokenizeResult,
)
from bench.engine.llama import library
from bench.engine.memory import reserved_buffers
from bench.engine.pace import measure_pace
from bench.engine.settings import LibraryInfo
from bench.engine.tokenize import pieces, spans, tokenize
from bench.execute.content import Content, Site
from bench.execute.job import Share


def library_job(job: LibraryJob, site: Site, progress: Share) -> LibraryInfo:
    """What the loaded library reports of itself."""
    return library()


def devices_job(job: DevicesJob, site: Site, progress: Share) -> Devices:
    """What there is beside the CPU."""
    return Devices(devices=devices())


def device_check_job(job: DeviceCheckJob, site: Site, progress: Share) -> DeviceCheck:
    """Whether a device computes what the CPU does."""
    kl, pace = compared(site.path(job.model), job.offload, job.threads)
    return DeviceCheck(kl=kl, pace=pace)


def tokenize_job(job: TokenizeJob, site: Site, progress: Share) -> TokenizeResult:
    """Write a token stream."""
    source = site.path(job.source) if isinstance(job.source, Content) else job.source
    return TokenizeResult(tokens=tokenize(site.path(job.model), source, site.path(job.out), job.template))


def pieces_job(job: PiecesJob, site: Site, progress: Share) -> PiecesResult:
    """What tokens of a stream spell."""
    return PiecesResult(pieces=pieces(site.path(job.model), site.path(job.stream), job.first, job.count))


def spans_job(job: SpansJob, site: Site, progress: Share) -> SpansResult:
    """Where in the text tokens are."""
    source = site.path(job.source) if isinstance(job.source, Content) else job.source
    return SpansResult(lengths=spans(site.path(job.model), site.path(job.stream), source, job.count))


def memory_job(job: MemoryJob, site: Site, progress: Share) -> Buffers:
    """What llama.cpp would reserve."""
    return reserved_buffers(site.path(job.model), window=job.window, ubatch=job.ubatch)


def pace_job(job: PaceJob, site: Site, progress: Share) -> Pace:
    """What limits generation here."""
    return measure_pace(job.threads)
