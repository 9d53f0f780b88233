"""The device that scores are computed on: found, and checked for room before anything is computed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from pydantic import BaseModel

from bench.core.checked import read_checked, write_checked
from bench.core.errors import BenchError, MeasurementError, nearest
from bench.core.progress import Reporter
from bench.engine.jobs import Device, DeviceCheckJob, DevicesJob
from bench.engine.memory import DEVICE_SHARE, memory_needed, shape_of
from bench.engine.settings import Offload
from bench.execute.content import Content
from bench.execute.job import Executor
from bench.gguf_files.info import ModelInfo
from bench.workbench.options import Options

#: Mean KL divergence in nats at which a device does not compute what the CPU does. Rounding differs by less than a hundredth of that.
_ANOTHER = 0.01
#: Seconds that a device gets for the check, where it computes on a CPU too, and bytes of the model that are read in one.
_TO_CHECK, _READ = 900.0, 20e6
_BLOCK = re.compile(r"blk\.(\d+)\.")


def offload_asked(
    options: Options,
    executor: Executor,
    model: Callable[[], tuple[ModelInfo, Content]],
    threads: int,
    reporter: Reporter,
) -> Offload | None:
    """What --score-on and --gpu-layers ask for; None for the CPU. model: whose layers must fit, which is not asked for where the CPU scores.

    Raises BenchError for a device that there is not, where its memory does not hold the layers that are asked for, and where it computes other probabilities
    than the CPU.
    """
    asked = options.score_on.strip()
    if asked.lower() == "cpu":
        if options.gpu_layers is not None:
            raise BenchError(
                "--gpu-layers: belongs to --score-on gpu, and the CPU scores here; add that, or leave it out"
            )
        return None
    info, content = model()
    device = _named("--score-on", asked, _devices("--score-on", executor))
    offload = _placed(f"--score-on {asked}", device, info, options)
    layers = info.n_layers + 1
    pace = _check(offload, executor, content, threads, info)
    reporter.say(
        f"Scores are computed on {offload.in_words}, {offload.layers} of {layers} layers of {info.name}, {pace:,.0f} tokens/s"
    )
    keep_pace(options.cache, (asked.lower(), device.name.lower()), pace * info.n_weights)
    return offload


def timed_on(asked: str, options: Options, executor: Executor, files: Sequence[ModelInfo]) -> list[Offload] | None:
    """Where files are timed, one each, for `time --on`; None for the CPU. Raises BenchError as offload_asked does."""
    asked = asked.strip()
    if asked.lower() == "cpu":
        if options.gpu_layers is not None:
            raise BenchError("--gpu-layers: belongs to --on gpu, and the CPU is timed here; add that, or leave it out")
        return None
    device = _named("--on", asked, _devices("--on", executor))
    return [_placed(f"--on {asked}", device, info, options) for info in files]


def _placed(told: str, device: Device, info: ModelInfo, options: Options) -> Offload:
    """The layers of a model that go to a device. told: the option that asks for it. Raises BenchError where they do not fit."""
    layers, now = info.n_layers + 1, fitting(info, device.free, options.window)
    # of its memory as a whole, so that the same command asks for the same tomorrow
    wanted = min(layers, options.gpu_layers or fitting(info, device.total, options.window))
    if not wanted or wanted > now:
        told = f"--gpu-layers {wanted}" if options.gpu_layers else told
        holds = f"{now} of the {layers} layers" if now else "no layer"
        raise BenchError(
            f"{told}: {device.name} has {device.free / 1e9:,.1f} of {device.total / 1e9:,.1f} GB free, which hold {holds} of {info.name}; end what else "
            + (f"uses it, or give --gpu-layers {now}" if now else "uses it, or leave the option out")
        )
    return Offload(device=device.name, description=device.description, layers=wanted)


class KnownPace(BaseModel):
    """Of a device, when it was last used. operations: weights times tokens of a prompt that it computes in a second."""

    operations: float


def keep_pace(cache: Path, names: Iterable[str], operations: float) -> None:
    """Keep what a plan of the next run goes by, which asks no device. names: that it may be asked for by; operations: see KnownPace."""
    for name in set(names):
        write_checked(_pace_file(cache, name), KnownPace(operations=operations))


def known_pace(options: Options, tell: Callable[[str], None]) -> float | None:
    """Weights times tokens that the device of --score-on computed in a second when it was last used; None for the CPU, and before a first use."""
    asked = options.score_on.strip().lower()
    if asked == "cpu":
        return None
    kept = read_checked(_pace_file(options.cache, asked), KnownPace, tell)
    return None if kept is None else kept.operations


def _pace_file(cache: Path, name: str) -> Path:
    return cache / "pace" / f"device-{re.sub(r'[^a-z0-9]', '-', name)}.json"


def check_device(options: Options) -> None:
    """Raise BenchError for options that contradict each other."""
    asked = options.score_on.strip()
    if asked.lower() == "cpu" and options.gpu_layers is not None:
        raise BenchError("--gpu-layers: belongs to --score-on gpu, and the CPU scores here; add that, or leave it out")


def _check(offload: Offload, executor: Executor, model: Content, threads: int, info: ModelInfo) -> float:
    """The device's pace in tokens a second. Raises BenchError for one that does not compute what the CPU does, or nothing at all."""
    limit = _TO_CHECK + info.n_bytes / _READ
    try:
        found = executor.do(DeviceCheckJob(model=model, offload=offload, threads=threads, limit_s=limit))
    except MeasurementError as e:
        raise BenchError(
            f"--score-on: {offload.in_words} cannot be used: {e}; update its driver, try fewer --gpu-layers or another device, or score on the CPU"
        ) from e
    kl = found.kl
    if kl is None or kl > _ANOTHER:
        what = (
            "values that are no numbers"
            if kl is None
            else f"other probabilities than the CPU (a mean KL divergence of {kl:.2g})"
        )
        raise BenchError(
            f"--score-on: {offload.in_words} computes {what}; update its driver, try fewer --gpu-layers or another device, or score on the CPU"
        )
    return found.pace


def _devices(option: str, executor: Executor) -> tuple[Device, ...]:
    """Raises BenchError where a driver does not even say what there is."""
    try:
        return executor.do(DevicesJob()).devices
    except MeasurementError as e:
        raise BenchError(
            f"{option}: the engine cannot tell which GPUs there are: {e}; update the driver, or score on the CPU"
        ) from e


def _named(option: str, asked: str, devices: tuple[Device, ...]) -> Device:
    if not devices:
        raise BenchError(
            f"{option} {asked}: the engine finds no GPU; build one for it (BENCH_ENGINE=cuda, vulkan, metal or hip before nox), or leave {option} out"
        )
    if asked.lower() == "gpu":  # one of its own before one that shares the CPU's memory
        return next((d for d in devices if d.kind == "gpu"), devices[0])
    found = {d.name.lower(): d for d in devices}
    if asked.lower() not in found:
        names = [d.name for d in devices]
        raise BenchError(
            f"{option} {asked}: there is no such device{nearest(asked, names)}; give one of {', '.join(names)}, gpu or cpu"
        )
    return found[asked.lower()]


def fitting(info: ModelInfo, memory: int, window: int) -> int:
    """How many layers of a model so many bytes of a device hold beside keys, values and intermediate results. llama.cpp puts the output there first, which is a
    copy where it is the embeddings, and then layers from the last one on."""
    needed = memory_needed(shape_of(info.path), info.n_bytes, window=window, outputs=window)
    room = DEVICE_SHARE * memory - needed.kv_cache - needed.buffers
    blocks: Counter[int] = Counter()
    outside: dict[str, int] = {}
    for tensor in info.tensors:
        if found := _BLOCK.match(tensor.name):
            blocks[int(found[1])] += tensor.n_bytes
        else:
            outside[tensor.name.partition(".")[0]] = tensor.n_bytes
    output = outside.get("output", outside.get("token_embd", 0))
    sizes = [output, *(blocks[n] for n in reversed(range(info.n_layers)))]
    return sum(1 for total in accumulate(sizes) if total <= room)
